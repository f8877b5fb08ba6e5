"""The kinds of picture that figures are made of: matrices, rows of dots with intervals, curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl

from emoscope.report.theme import LIGHT

SIGNED = "datum.value == 0 ? '0' : replace(format(datum.value, '+.0f'), '-', '−')"
"""How the ends of a signed colour scale are labelled, in the language of Vega."""

SERIES = {
    "selected": (LIGHT.accent, "circle"), "control": (LIGHT.muted, "diamond"), "difference": (LIGHT.ink, "square"),
}  # fmt: skip
"""What a dot stands for: its colour and, for readers without colour, its shape."""

PANEL_SPACE = 16
"""Between matrices side by side, in pixels."""

CLEAR = 0.05
"""The false discovery rate below which a cell of a matrix is printed in bold."""


def cell_size(columns: Sequence[str]) -> int:
    """The width of a matrix cell in pixels: smaller where there are many emotions."""
    return 42 if len(columns) <= 4 else 28


def signed_matrix(
    cells: pl.DataFrame, rows: Sequence[str], columns: Sequence[str], most: float, legend: str, named: bool = True,
    x: str = "emotion of the clip", y: str = "neurons of",
) -> Any:  # fmt: skip
    """A matrix of signed numbers, colours centred at zero, the numbers in the cells, the diagonal framed.

    Args:
        cells: columns ``row``, ``column``, ``value``, ``q`` (printed in bold below :data:`CLEAR`) and ``hollow``
            (drawn without colour).
        rows: the order of the rows, from the top.
        columns: the order of the columns, from the left.
        most: the value at the ends of the colour scale.
        legend: what the colour says, with its unit.
        named: write the names of the rows, which a picture to the left may have done already.
        x: what the columns are.
        y: what the rows are.
    """
    colour = alt.Color("value:Q", title=legend).scale(
        domain=[most * part for part in (-1, -0.6, -0.2, 0, 0.2, 0.6, 1)], range=list(LIGHT.diverging), clamp=True, interpolate="rgb"
    ).legend(orient="bottom", direction="horizontal", labelExpr=SIGNED, values=[-most, 0, most])  # fmt: skip
    base = _cells(cells, rows, columns, x, y if named else None)
    full = base.transform_filter("!datum.hollow")
    strong = f"!datum.hollow && abs(datum.value) > {0.62 * most}"
    drawn = [full.mark_rect(stroke=LIGHT.page, strokeWidth=1).encode(color=colour)]
    if cells["hollow"].any():
        empty = base.transform_filter("datum.hollow")
        drawn.append(empty.mark_rect(fillOpacity=0, stroke=LIGHT.line, strokeDash=[2, 2]))
    drawn.append(
        base.transform_filter("datum.row == datum.column").mark_rect(fillOpacity=0, stroke=LIGHT.ink, strokeWidth=1.3)
    )
    for test, weight in (
        (f"datum.q < {CLEAR} && isValid(datum.q)", 700),
        (f"!(datum.q < {CLEAR} && isValid(datum.q))", 400),
    ):
        text = base.transform_filter(test).mark_text(fontSize=12, fontWeight=weight)  # type: ignore[arg-type]
        drawn.append(text.encode(text=alt.Text("label:N"), color=_on(strong)))  # fmt: skip
    return _sized(alt.layer(*drawn), rows, columns)


def heat(cells: pl.DataFrame, rows: Sequence[str], columns: Sequence[str], x: str, y: str, legend: str) -> Any:
    """A matrix of shares from 0 to 100 %, the numbers in the cells."""
    colour = alt.Color("value:Q", title=legend).scale(
        domain=[0, 33, 67, 100], range=list(LIGHT.sequential), clamp=True, interpolate="rgb"
    ).legend(orient="bottom", direction="horizontal", values=[0, 50, 100])  # fmt: skip
    base = _cells(cells, rows, columns, x, y)
    text = base.mark_text(fontSize=12).encode(text=alt.Text("label:N"), color=_on("datum.value > 62"))
    return _sized(alt.layer(base.mark_rect(stroke=LIGHT.page, strokeWidth=1).encode(color=colour), text), rows, columns)


def across(count: int, columns: Sequence[str]) -> int:
    """How many of ``count`` matrices fit side by side on a laptop's page, the first of a line with its names."""
    return max(1, min(count, int((1000 - 130) // (len(columns) * cell_size(columns) + PANEL_SPACE))))


def dots(
    rows: pl.DataFrame, order: Sequence[str], x: str, y: str | None, domain: tuple[float, float] | None = None,
    rule: float | None = None, rule_name: str = "", band: tuple[float, float] | None = None, ticks: pl.DataFrame | None = None,
    width: int = 300,
) -> Any:  # fmt: skip
    """Named rows of estimates with their intervals.

    Args:
        rows: columns ``row``, ``estimate``, ``low``, ``high``, ``series`` (of :data:`SERIES`) and, where a dot may
            rest on a condition that supports no claim, ``hollow``.
        order: the names of the rows, from the top.
        x: what the horizontal axis shows, with its unit.
        y: what the rows are; ``None`` where the picture to the left names them already.
        domain: ends of the x axis.
        rule: where to draw a dashed line.
        rule_name: what to write above it.
        band: from where to where values count as small.
        ticks: columns ``row`` and ``estimate``: single draws, as small ticks.
        width: of the frame, in pixels.
    """
    names = list(SERIES)  # all of them, so that pictures side by side share one scale
    colour = alt.Color("series:N", legend=None).scale(domain=names, range=[SERIES[name][0] for name in names])
    shape = alt.Shape("series:N", legend=None).scale(domain=names, range=[SERIES[name][1] for name in names])
    ends = list(domain) if domain else alt.Undefined
    across = alt.X("estimate:Q", title=x).scale(domain=ends, zero=True).axis(tickCount=6)
    axis: dict[str, Any] = {"domain": False, "ticks": False, "grid": True, "labelPadding": 6, "labels": y is not None}
    down = alt.Y("row:N", title=y, sort=list(order)).axis(**axis).scale(domain=list(order))
    several = rows.group_by("row").len().filter(pl.col("len") > 1)["row"].to_list()
    beside = [name for name in names if name in set(rows.filter(pl.col("row").is_in(several))["series"])]
    drawn: list[Any] = []
    if band is not None:
        limits = pl.DataFrame({"from": [band[0]], "till": [band[1]]})
        drawn.append(
            alt.Chart(limits).mark_rect(color=LIGHT.line, opacity=0.7).encode(x=alt.X("from:Q", title=x), x2="till:Q")
        )
    if rule is not None:
        line = alt.Chart(pl.DataFrame({"at": [rule]}))
        drawn.append(line.mark_rule(color=LIGHT.muted, strokeDash=[4, 3]).encode(x=alt.X("at:Q", title=x)))
        if rule_name:
            name = line.mark_text(color=LIGHT.muted, fontSize=11, text=rule_name)
            drawn.append(name.encode(x=alt.X("at:Q", title=x), y=alt.value(-8)))
    if ticks is not None and len(ticks):
        tick = alt.Chart(ticks).mark_tick(color=LIGHT.muted, opacity=0.7, size=9, thickness=1)
        drawn.append(tick.encode(x=across, y=down))
    if domain:  # an interval may reach beyond 100 %; the table tells, the picture ends at its frame
        rows = rows.with_columns(pl.col("low", "high").clip(*domain))
    if "hollow" not in rows.columns:
        rows = rows.with_columns(pl.lit(False).alias("hollow"))
    fill = alt.condition("datum.hollow", alt.value(LIGHT.page), colour)
    for alone in (True, False):  # marks that share a row stand beside each other, a single one on its line
        part = rows.filter(pl.col("row").is_in(several) != alone)
        if part.is_empty():
            continue
        place: dict[str, Any] = {} if alone else {"yOffset": alt.YOffset("series:N", sort=beside).scale(domain=beside)}
        base = alt.Chart(part)
        span = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=2, opacity=0.75)
        drawn.append(span.encode(x=alt.X("low:Q", title=x), x2="high:Q", y=down, color=colour, **place))
        point = base.mark_point(size=70, opacity=1, strokeWidth=1.6)
        drawn.append(point.encode(x=across, y=down, color=colour, fill=fill, shape=shape, **place))
    height = max(len(order), 1) * (34 if several else 26)
    return alt.layer(*drawn).properties(width=width, height=height)


def _cells(cells: pl.DataFrame, rows: Sequence[str], columns: Sequence[str], x: str, y: str | None) -> alt.Chart:
    rounded = pl.col("value").round(0) + 0.0
    shown = cells.with_columns(rounded.cast(pl.Int64).cast(pl.String).str.replace("-", "−").alias("label"))
    angle = 0 if all(len(name) < 6 for name in columns) else -40
    return alt.Chart(shown).encode(
        x=alt.X("column:N", title=x, sort=list(columns)).axis(labelAngle=angle, domain=False, ticks=False, grid=False),
        y=alt.Y("row:N", title=y, sort=list(rows)).axis(
            domain=False, ticks=False, grid=False, labelPadding=6, labels=y is not None
        ),
    )


def _sized(chart: Any, rows: Sequence[str], columns: Sequence[str]) -> Any:
    return chart.properties(width=len(columns) * cell_size(columns), height=len(rows) * 30)


def _on(test: str) -> Any:
    return alt.condition(test, alt.value(LIGHT.on_strong), alt.value(LIGHT.ink))


INTERVALS = "Mark: estimate; line: 95 % interval over speakers."

HOLLOW = "Hollow marks rest on answers that support no claim."
"""Said below a figure that has some."""

GAP = "gap: own effect minus effect on the others (points)"

SELECTED, BEYOND = "selected", "selected minus matched"


def series_of(control: str) -> str:
    """The series of :data:`~emoscope.report.plots.SERIES` of a set or its control."""
    return "selected" if control == "target" else "control"


def marks_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a dot needs of a row of effects."""
    return {name: row[name] for name in ("estimate", "low", "high")} | {"hollow": bool(row.get("hollow"))}


def hollow_note(rows: Sequence[dict[str, Any]]) -> str:
    """What hollow marks say, where there are any."""
    return f" {HOLLOW}" if any(row["hollow"] for row in rows) else ""


CURVE = ("x", "estimate", "low", "high", "series", "hollow")
"""The columns of what :func:`curve` draws."""

NAMES = {"selected": LIGHT.accent, "matched": LIGHT.muted, "selected minus matched": LIGHT.ink}
"""What a curve stands for, and its colour."""


def curve(
    found: pl.DataFrame, x: alt.X, label: str, rule: float | None = None, mark: float | None = None,
    width: int = 178, names: Sequence[str] = ("selected", "matched"), legend: bool = True,
) -> Any:  # fmt: skip
    """Estimates with intervals over a quantity, a line for each series.

    Args:
        found: the columns of :data:`CURVE`, ``series`` being one of :data:`NAMES`.
        x: the encoding of the column ``x``, with its title.
        label: what the vertical axis shows, with its unit.
        rule: where to draw a dashed line across.
        mark: where to draw an upright line.
        width: of the frame, in pixels.
        names: the series that pictures side by side have among them, so that they share their colours.
        legend: name the series above the frame.
    """
    colour = alt.Color("series:N", title=None).scale(domain=list(names), range=[NAMES[name] for name in names])
    colour = colour.legend(
        alt.Legend(symbolOpacity=1, symbolStrokeWidth=0, orient="top", direction="horizontal") if legend else None
    )
    y = alt.Y("estimate:Q", title=label)
    drawn: list[Any] = []
    if rule is not None:
        line = alt.Chart(pl.DataFrame({"at": [float(rule)]})).mark_rule(color=LIGHT.muted, strokeDash=[3, 3])
        drawn.append(line.encode(y=alt.Y("at:Q", title=label)))
    if mark is not None:
        upright = alt.Chart(pl.DataFrame({"x": [float(mark)]})).mark_rule(color=LIGHT.line, strokeWidth=2)
        drawn.append(upright.encode(x=x))
    base = alt.Chart(found.sort("series", "x"))
    fill = alt.condition("datum.hollow", alt.value(LIGHT.page), colour)
    span = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1.5, opacity=0.55)
    drawn += [
        span.encode(x=x, y=alt.Y("low:Q", title=label), y2="high:Q", color=colour),
        base.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour),
        base.mark_point(size=55, opacity=1).encode(x=x, y=y, color=colour, fill=fill),
    ]
    return alt.layer(*drawn).properties(width=width, height=220)


def hollow_said(found: pl.DataFrame) -> str:
    """What hollow marks say, where a table has some."""
    return f" {HOLLOW}" if found["hollow"].any() else ""
