"""The kinds of picture over several corpora: panels of one corpus each, on one scale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl

from emoscope.analysis.parts import Part
from emoscope.report.plots import SIGNED, dots, marks_of
from emoscope.report.theme import LIGHT
from emoscope.wording import number

SERIES_KEY = "Circle: selected; diamond: matched; square: their difference."

WIDTH, ACROSS, SPACE, PAGE = 245, 3, 18, 1000
"""In pixels: the width of one panel, how many stand side by side, what lies between them, and a laptop's page."""

CELL_WIDTH, CELL_HEIGHT = 104, 44
"""Of a cell that holds an estimate and its interval, in pixels."""


def three(parts: Iterable[Part], kind: str, measure: str) -> list[dict[str, Any]]:
    """An effect of the selected neurons, of matched ones and their difference: rows of :func:`dots`, named by part."""
    rows = []
    for part in parts:
        for which, control in ((measure, "target"), (measure, "matched"), (f"excess_{measure}", "target")):
            row = part.effect(kind, which, control)
            if row is not None and row["estimate"] is not None:
                rows.append({"row": part.name, "series": series_of_measure(which, control)} | marks_of(row))
    return rows


def panels(
    frames: Mapping[str, Sequence[Mapping[str, Any]]], order: Sequence[str], x: str, y: str, heading: alt.TitleParams
) -> Any | None:
    """Rows of dots in one panel a corpus on one scale; ``None`` where there are none."""
    there = {name: rows for name, rows in frames.items() if rows}
    if not there or not order:
        return None
    every = [row for rows in there.values() for row in rows]
    ends = [row[name] for row in every for name in ("estimate", "low", "high") if row[name] is not None]
    low, high = min(0.0, *ends), max(0.0, *ends)
    room = 0.04 * (high - low or 1.0)
    names = 40 + 6.5 * max(len(name) for name in order)  # long names leave less room for the panels
    width = min(WIDTH, int((PAGE - names) / min(ACROSS, len(there))) - SPACE)
    most = max(Counter((name, row["row"]) for name, rows in there.items() for row in rows).values())
    drawn = []
    for place, (name, rows) in enumerate(there.items()):
        first = place % ACROSS == 0
        drawn.append((name, dotted(rows, order, x, y, first, most, width, domain=(low - room, high + room))))
    return side_by_side(drawn, heading)


def dotted(
    rows: Sequence[Mapping[str, Any]], order: Sequence[str], x: str, y: str, named: bool = True, most: int | None = None,
    width: int = WIDTH, rule: float | None = 0.0, domain: tuple[float, float] | None = None, band: float | None = None,
) -> Any:  # fmt: skip
    """Rows of :func:`~emoscope.report.plots.dots`, tall enough for the marks of each.

    Args:
        rows: columns of ``dots``.
        order: the names of the rows, from the top.
        x: what the horizontal axis shows, with its unit.
        y: what the rows are.
        named: whether the names are written here, or by the picture to the left.
        most: how many marks share a row, in this picture or beside it; as in this one where not given.
        width: of the frame, in pixels.
        rule: where to draw a dashed line.
        domain: ends of the x axis.
        band: up to where, on both sides of zero, values count as small.
    """
    frame = as_rows(rows)
    most = most or max(Counter(frame["row"]).values(), default=1)
    chart = dots(
        frame, order, x, y if named else None, rule=rule, domain=domain, width=width, band=None if band is None else (-band, band)
    )  # fmt: skip
    return chart.properties(height=max(len(order) * (26 if most == 1 else 15 * most + 8), 46))


def side_by_side(drawn: Sequence[tuple[str, Any]], heading: alt.TitleParams) -> Any | None:
    """Named panels, :data:`ACROSS` a line; ``None`` where there are none."""
    if not drawn:
        return None
    named = [chart.properties(title=alt.TitleParams(name, fontSize=13)) for name, chart in drawn]
    return alt.concat(*named, columns=min(ACROSS, len(named)), spacing=SPACE).properties(title=heading)


def lines(shown: pl.DataFrame, x: str, y: str, level: float | None = None, ticks: Sequence[float] | None = None) -> Any:
    """Estimates with intervals over a number, joined by a line for each series.

    Args:
        shown: columns ``x``, ``estimate``, ``low``, ``high``, ``series`` ("selected" or "control") and ``hollow``.
        x: what the horizontal axis shows, with its unit.
        y: what the vertical axis shows, with its unit.
        level: where to draw a grey dashed line besides the one at zero.
        ticks: values at which a logarithmic x axis is labelled; linear where not given.
    """
    colour = alt.Color("series:N", legend=None).scale(domain=["selected", "control"], range=[LIGHT.accent, LIGHT.muted])
    across = alt.X("x:Q", title=x)
    whole = all(float(value).is_integer() for value in shown["x"])
    across = across.axis(grid=False, tickCount=5, tickMinStep=1 if whole else 0.1) if ticks is None else across.scale(type="log", nice=False, padding=10).axis(
        grid=False, values=list(ticks), format="d", labelOverlap=True
    )  # fmt: skip
    base = alt.Chart(shown)
    # no label at the very top, so that the titles of panels side by side stand on one line
    down = alt.Y("estimate:Q", title=y).scale(nice=False, padding=10)
    drawn: list[Any] = []
    for at, dash in ((0.0, [3, 3]), (level, [6, 4])):
        if at is not None:
            rule = alt.Chart(pl.DataFrame({"at": [at]})).mark_rule(color=LIGHT.muted, strokeDash=dash)
            drawn.append(rule.encode(y=alt.Y("at:Q", title=y)))
    fill = alt.condition("datum.hollow", alt.value(LIGHT.page), colour)
    span = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1.5, opacity=0.55)
    return alt.layer(
        *drawn,
        span.encode(x=across, y=alt.Y("low:Q", title=y), y2="high:Q", color=colour),
        base.mark_line(strokeWidth=2).encode(x=across, y=down, color=colour),
        base.mark_point(size=55, opacity=1).encode(x=across, y=down, color=colour, fill=fill),
    ).properties(width=WIDTH, height=190)


def intervals_matrix(found: pl.DataFrame, rows: Sequence[str], columns: Sequence[str], legend: str) -> Any:
    """A matrix of estimates, each with its interval below, the diagonal framed, clear ones in bold.

    Args:
        found: columns ``source`` (row), ``host`` (column), ``estimate``, ``low``, ``high``, ``hollow``, ``diagonal``.
        rows: the order of the rows, from the top.
        columns: the order of the columns, from the left.
        legend: what the colour says, with its unit.
    """
    cells = pl.DataFrame([
        {
            "row": row["source"], "column": row["host"], "value": row["estimate"], "label": number(row["estimate"], sign=True),
            "span": "no interval" if row["low"] is None else f"{number(row['low'])} to {number(row['high'])}",
            "clear": row["low"] is not None and (row["low"] > 0 or row["high"] < 0) and not row["hollow"],
            "hollow": bool(row["hollow"]), "framed": bool(row["diagonal"]),
        }
        for row in found.iter_rows(named=True)
    ])  # fmt: skip
    most = max(5.0, float(cells["value"].abs().max() or 0))  # type: ignore[arg-type]
    colour = alt.Color("value:Q", title=legend).scale(
        domain=[most * part for part in (-1, -0.6, -0.2, 0, 0.2, 0.6, 1)], range=list(LIGHT.diverging), clamp=True, interpolate="rgb"
    ).legend(orient="bottom", direction="horizontal", labelExpr=SIGNED, values=[-most, 0, most])  # fmt: skip
    axis: dict[str, Any] = {"domain": False, "ticks": False, "grid": False}
    base = alt.Chart(cells).encode(
        x=alt.X("column:N", title="clips of", sort=list(columns)).axis(labelAngle=0, orient="top", **axis),
        y=alt.Y("row:N", title="neurons found on", sort=list(rows)).axis(labelPadding=6, **axis),
    )
    drawn = [
        base.transform_filter("!datum.hollow").mark_rect(stroke=LIGHT.page, strokeWidth=1).encode(color=colour),
        base.transform_filter("datum.framed").mark_rect(fillOpacity=0, stroke=LIGHT.ink, strokeWidth=1.5),
    ]
    if cells["hollow"].any():
        empty = base.transform_filter("datum.hollow")
        drawn.append(empty.mark_rect(fillOpacity=0, stroke=LIGHT.line, strokeDash=[2, 2]))
    strong = f"!datum.hollow && abs(datum.value) > {0.62 * most}"
    on = alt.condition(strong, alt.value(LIGHT.on_strong), alt.value(LIGHT.ink))
    for test, weight in (("datum.clear", 700), ("!datum.clear", 400)):
        said = base.transform_filter(test)
        drawn.append(said.mark_text(fontSize=14, fontWeight=weight, dy=-7).encode(text="label:N", color=on))  # type: ignore[arg-type]
    drawn.append(base.mark_text(fontSize=11, dy=10).encode(text="span:N", color=on))
    return alt.layer(*drawn).properties(width=len(columns) * CELL_WIDTH, height=len(rows) * CELL_HEIGHT)


def series_of_measure(measure: str, control: str) -> str:
    """Of which series of :func:`dots` a measure of a family is."""
    return "difference" if measure.startswith("excess_") else "selected" if control == "target" else "control"


def as_rows(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Rows of :func:`dots` as a frame, whatever their intervals hold."""
    types = {"estimate": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    return pl.DataFrame([dict(row) for row in rows], schema_overrides=types)


def names_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of rows, each once, in their order."""
    return list(dict.fromkeys(row["row"] for row in rows))


def line_columns() -> list[pl.Expr]:
    """The columns of :func:`lines` but ``x``, from a table of effects."""
    series = (
        pl.when(pl.col("control") == "target").then(pl.lit("selected")).otherwise(pl.lit("control")).alias("series")
    )
    return [pl.col("estimate"), pl.col("low"), pl.col("high"), series, pl.col("hollow").fill_null(False)]


BEYOND_KEY = "Circle: selected neurons; square: beyond matched ones."
