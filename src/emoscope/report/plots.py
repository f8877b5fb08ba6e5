"""The kinds of picture that figures are made of: matrices, rows of dots with intervals, curves, and panels of these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl

from emoscope.analysis.parts import Part
from emoscope.report.theme import LIGHT, Chart, titled
from emoscope.vocabulary import LEVEL
from emoscope.wording import number

Marks = pl.DataFrame | Sequence[Mapping[str, Any]]
"""What :func:`dots` draws: columns ``row``, ``series`` (of :data:`SERIES`), ``estimate``, ``low``, ``high`` and, where
a dot may rest on a condition that supports no claim, ``unreliable``."""

SERIES = {
    "selected": (LIGHT.accent, "circle"),
    "control": (LIGHT.muted, "diamond"),
    "difference": (LIGHT.ink, "square"),
}
"""What a dot stands for: its colour and, for readers without colour, its shape."""

NAMES = {"selected": LIGHT.accent, "matched": LIGHT.muted, "selected minus matched": LIGHT.ink}
"""What a curve stands for, and its colour."""

CURVE = ("x", "estimate", "low", "high", "series", "unreliable")
"""The columns of what :func:`curve` draws."""

BEYOND = "selected minus matched"
GAP = "gap: own effect minus effect on the others (points)"
INTERVALS = "Mark: estimate; line: 95 % interval over speakers."
HOLLOW = "Hollow marks rest on answers that support no claim."
SERIES_KEY = "Circle: selected; diamond: matched; square: their difference."
BEYOND_KEY = "Circle: selected neurons; square: beyond matched ones."
"""What figures say of their marks and axes."""

PAGE, WIDTH, ACROSS, SPACE, PANEL_SPACE = 1000, 245, 3, 18, 16
"""In pixels: a laptop's page, the width of one panel, how many stand side by side, what lies between them, and between
matrices."""


def across(count: int, columns: Sequence[str]) -> int:
    """How many of ``count`` matrices fit side by side on a laptop's page, the first of a line with its names."""
    return max(1, min(count, int((PAGE - 130) // (len(columns) * _cell_width(columns) + PANEL_SPACE))))


def _cell_width(columns: Sequence[str]) -> int:
    return 42 if len(columns) <= 4 else 28


def signed_matrix(
    cells: pl.DataFrame,
    rows: Sequence[str],
    columns: Sequence[str],
    most: float,
    legend: str,
    named: bool = True,
    x: str = "emotion of the clip",
    y: str = "neurons of",
) -> Chart:
    """A matrix of signed numbers, colours centred at zero, the numbers in the cells, the diagonal framed.

    Args:
        cells: columns ``row``, ``column``, ``value``, ``unreliable`` (drawn without colour) and either ``low`` and
            ``high``, the interval, written below the value and bold where clear of zero, or ``q``, bold where below
            :data:`~emoscope.vocabulary.LEVEL`.
        rows, columns: their order, from the top and from the left.
        most: the value at the ends of the colour scale.
        legend: what the colour says, with its unit.
        named: whether the names of the rows are written here, or by a picture to the left.
    """
    intervals = "low" in cells.columns
    if intervals:
        ends = zip(cells["low"], cells["high"], strict=True)
        spans = ["no interval" if low is None else f"{number(low)} to {number(high)}" for low, high in ends]
        labels = [number(value, sign=True) for value in cells["value"]]
        clear = ~pl.col("unreliable") & ((pl.col("low") > 0) | (pl.col("high") < 0)).fill_null(False)
        cells = cells.with_columns(pl.Series("label", labels), pl.Series("span", spans), clear=clear)
    else:
        cells = cells.with_columns(clear=(pl.col("q") < LEVEL).fill_null(False))
    base = _cells(cells, rows, columns, x, y if named else None)
    full, empty = base.transform_filter("!datum.unreliable"), base.transform_filter("datum.unreliable")
    framed = base.transform_filter("datum.row == datum.column")
    drawn = [full.mark_rect(stroke=LIGHT.page, strokeWidth=1).encode(color=_diverging(legend, most))]
    if cells["unreliable"].any():
        drawn.append(empty.mark_rect(fillOpacity=0, stroke=LIGHT.line, strokeDash=[2, 2]))
    drawn.append(framed.mark_rect(fillOpacity=0, stroke=LIGHT.ink, strokeWidth=1.3))
    on = _on(f"!datum.unreliable && abs(datum.value) > {0.62 * most}")
    for test, weight in (("datum.clear", 700), ("!datum.clear", 400)):
        text = base.transform_filter(test)
        label = text.mark_text(fontSize=14 if intervals else 12, fontWeight=weight, dy=-7 if intervals else 0)  # type: ignore[arg-type]
        drawn.append(label.encode(text=alt.Text("label:N"), color=on))
    if intervals:
        drawn.append(base.mark_text(fontSize=11, dy=10).encode(text=alt.Text("span:N"), color=on))
    width, height = (104, 44) if intervals else (_cell_width(columns), 30)
    return alt.layer(*drawn, width=len(columns) * width, height=len(rows) * height)


def heat(cells: pl.DataFrame, rows: Sequence[str], columns: Sequence[str], x: str, y: str, legend: str) -> Chart:
    """A matrix of shares from 0 to 100 %, the numbers in the cells."""
    scale = alt.Scale(domain=[0, 33, 67, 100], range=list(LIGHT.sequential), clamp=True, interpolate="rgb")
    shown = alt.Legend(orient="bottom", direction="horizontal", values=[0, 50, 100])
    base = _cells(cells, rows, columns, x, y)
    filled = base.mark_rect(stroke=LIGHT.page, strokeWidth=1)
    return alt.layer(
        filled.encode(color=alt.Color("value:Q", title=legend, scale=scale, legend=shown)),
        base.mark_text(fontSize=12).encode(text=alt.Text("label:N"), color=_on("datum.value > 62")),
        width=len(columns) * _cell_width(columns),
        height=len(rows) * 30,
    )


def _cells(cells: pl.DataFrame, rows: Sequence[str], columns: Sequence[str], x: str, y: str | None) -> alt.Chart:
    """Cells with labels, whole numbers unless there are labels, on their two axes; the names above wide cells."""
    wide = "label" in cells.columns
    if not wide:
        rounded = (pl.col("value").round(0) + 0.0).cast(pl.Int64).cast(pl.String)
        cells = cells.with_columns(label=rounded.str.replace("-", "−"))
    bare: dict[str, Any] = {"domain": False, "ticks": False, "grid": False}
    above: dict[str, Any] = {"orient": "top"} if wide else {}
    angle = 0 if wide or all(len(name) < 6 for name in columns) else -40
    return alt.Chart(cells).encode(
        x=alt.X("column:N", title=x, sort=list(columns)).axis(labelAngle=angle, **bare, **above),
        y=alt.Y("row:N", title=y, sort=list(rows)).axis(labelPadding=6, labels=y is not None, **bare),
    )


def _diverging(legend: str, most: float) -> alt.Color:
    domain = [most * part for part in (-1, -0.6, -0.2, 0, 0.2, 0.6, 1)]
    # the ends of the scale carry a sign: an expression in the language of Vega
    signed = "datum.value == 0 ? '0' : replace(format(datum.value, '+.0f'), '-', '−')"
    scale = alt.Scale(domain=domain, range=list(LIGHT.diverging), clamp=True, interpolate="rgb")
    shown = alt.Legend(orient="bottom", direction="horizontal", labelExpr=signed, values=[-most, 0, most])
    return alt.Color("value:Q", title=legend, scale=scale, legend=shown)


def _on(test: str) -> alt.ColorValue:
    # what alt.condition says as a dictionary, in which Altair looks long for the class that it describes
    return alt.ColorValue(LIGHT.ink, condition={"test": test, "value": LIGHT.on_strong})


def dots(
    rows: Marks,
    order: Sequence[str],
    x: str,
    y: str | None,
    named: bool = True,
    most: int | None = None,
    width: int = 300,
    rule: float | None = 0.0,
    rule_name: str = "",
    domain: tuple[float, float] | None = None,
    band: float | None = None,
    ticks: pl.DataFrame | None = None,
) -> Chart:
    """Named rows of estimates with their intervals; marks that share a row stand one below the other.

    Args:
        rows: the marks.
        order: the names of the rows, from the top.
        x: what the horizontal axis shows, with its unit.
        y: what the rows are; ``None``, or not ``named``, where a picture to the left names them already.
        most: how many marks share a row, in this picture or beside it; as in this one where not given.
        width: of the frame, in pixels.
        rule: where to draw a dashed line, and ``rule_name`` above it.
        domain: ends of the x axis.
        band: up to where, on both sides of zero, values count as small.
        ticks: columns ``row`` and ``estimate``: single draws, as small ticks.
    """
    frame = as_rows(rows)
    shared = Counter(frame["row"])
    most = most or max(shared.values(), default=1)
    labelled = named and y is not None
    over = alt.X("estimate:Q", title=x).scale(domain=list(domain) if domain else alt.Undefined, zero=True)
    over = over.axis(tickCount=6)
    down = alt.Y("row:N", title=y if labelled else None, sort=list(order)).scale(domain=list(order))
    down = down.axis(domain=False, ticks=False, grid=True, labelPadding=6, labels=labelled)
    drawn: list[Chart] = []
    if band is not None:
        small = alt.Chart(pl.DataFrame({"from": [-band], "till": [band]})).mark_rect(color=LIGHT.line, opacity=0.7)
        drawn.append(small.encode(x=alt.X("from:Q", title=x), x2=alt.X2("till:Q")))
    if rule is not None:
        line = alt.Chart(pl.DataFrame({"at": [rule]})).encode(x=alt.X("at:Q", title=x))
        drawn.append(line.mark_rule(color=LIGHT.muted, strokeDash=[4, 3]))
        if rule_name:
            drawn.append(line.mark_text(color=LIGHT.muted, fontSize=11, text=rule_name).encode(y=alt.YValue(-8)))
    if ticks is not None and len(ticks):
        tick = alt.Chart(ticks).mark_tick(color=LIGHT.muted, opacity=0.7, size=9, thickness=1)
        drawn.append(tick.encode(x=over, y=down))
    if domain:  # an interval may reach beyond 100 %; the table tells, the picture ends at its frame
        frame = frame.with_columns(pl.col("low", "high").clip(*domain))
    alone = pl.col("row").is_in([row for row, marks in shared.items() if marks == 1])
    drawn += [*_marks(frame.filter(alone), x, over, down), *_marks(frame.filter(~alone), x, over, down, beside=True)]
    height = max(len(order) * (26 if most == 1 else 15 * most + 8), 46)
    return alt.layer(*drawn, width=width, height=height)


def _marks(marks: pl.DataFrame, x: str, over: alt.X, down: alt.Y, beside: bool = False) -> list[alt.Chart]:
    """Intervals and estimates; with ``beside`` each series on a line of its own within the row."""
    if marks.is_empty():
        return []
    names = list(SERIES)  # all of them, so that pictures side by side share one scale
    colour = alt.Color("series:N", legend=None).scale(domain=names, range=[SERIES[name][0] for name in names])
    shape = alt.Shape("series:N", legend=None).scale(domain=names, range=[SERIES[name][1] for name in names])
    there = [name for name in names if name in set(marks["series"])]
    place: dict[str, Any] = {"yOffset": alt.YOffset("series:N", sort=there).scale(domain=there)} if beside else {}
    base = alt.Chart(marks)
    span = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=2, opacity=0.75)
    point = base.mark_point(size=70, opacity=1, strokeWidth=1.6)
    fill = alt.condition("datum.unreliable", alt.value(LIGHT.page), colour)
    return [
        span.encode(x=alt.X("low:Q", title=x), x2=alt.X2("high:Q"), y=down, color=colour, **place),
        point.encode(x=over, y=down, color=colour, fill=fill, shape=shape, **place),
    ]


def panels(
    frames: Mapping[str, Sequence[Mapping[str, Any]]], order: Sequence[str], x: str, y: str, heading: alt.TitleParams
) -> Chart | None:
    """Rows of :func:`dots` in one panel a corpus on one scale; ``None`` where there are none."""
    there = {name: rows for name, rows in frames.items() if rows}
    if not there or not order:
        return None
    domain = reach(row for rows in there.values() for row in rows)
    names = 40 + 6.5 * max(len(name) for name in order)  # long names leave less room for the panels
    width = min(WIDTH, int((PAGE - names) / min(ACROSS, len(there))) - SPACE)
    most = max(Counter((name, row["row"]) for name, rows in there.items() for row in rows).values())
    drawn = [
        (name, dots(rows, order, x, y, place % ACROSS == 0, most, width, domain=domain))
        for place, (name, rows) in enumerate(there.items())
    ]
    return side_by_side(drawn, heading)


def side_by_side(drawn: Sequence[tuple[str, Chart]], heading: alt.TitleParams, columns: int = ACROSS) -> Chart | None:
    """Panels, so many a line, named where a name is given; ``None`` where there are none."""
    if not drawn:
        return None
    named = [titled(chart, alt.TitleParams(name, fontSize=13)) if name else chart for name, chart in drawn]
    return alt.concat(*named, columns=min(columns, len(named)), spacing=SPACE, title=heading)


def curve(
    found: pl.DataFrame,
    x: alt.X,
    label: str,
    rule: float | None = None,
    mark: float | None = None,
    width: int = 178,
    names: Sequence[str] = ("selected", "matched"),
    legend: bool = True,
) -> Chart:
    """Estimates with intervals over a quantity, a line for each series.

    Args:
        found: the columns of :data:`CURVE`, ``series`` being one of :data:`NAMES`, or "control", drawn as "matched".
        x: the encoding of the column ``x``.
        label: what the vertical axis shows, with its unit.
        rule: where to draw a dashed line across; ``mark``: an upright line.
        width: of the frame, in pixels.
        names: the series that pictures side by side have among them, so that they share their colours.
        legend: whether the series are named above the frame.
    """
    found = found.with_columns(pl.col("series").replace("control", "matched")).sort("series", "x")
    above = alt.Legend(symbolOpacity=1, symbolStrokeWidth=0, orient="top", direction="horizontal") if legend else None
    scale = alt.Scale(domain=list(names), range=[NAMES[name] for name in names])
    colour = alt.Color("series:N", title=None, scale=scale, legend=above)
    # no label at the very top, so that the titles of panels side by side stand on one line
    y = alt.Y("estimate:Q", title=label).scale(nice=False, padding=10)
    drawn: list[Chart] = []
    if rule is not None:
        line = alt.Chart(pl.DataFrame({"at": [float(rule)]})).mark_rule(color=LIGHT.muted, strokeDash=[3, 3])
        drawn.append(line.encode(y=alt.Y("at:Q", title=label)))
    if mark is not None:
        upright = alt.Chart(pl.DataFrame({"x": [float(mark)]})).mark_rule(color=LIGHT.line, strokeWidth=2)
        drawn.append(upright.encode(x=x))
    base = alt.Chart(found)
    fill = alt.condition("datum.unreliable", alt.value(LIGHT.page), colour)
    span = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1.5, opacity=0.55)
    drawn += [
        span.encode(x=x, y=alt.Y("low:Q", title=label), y2=alt.Y2("high:Q"), color=colour),
        base.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour),
        base.mark_point(size=55, opacity=1).encode(x=x, y=y, color=colour, fill=fill),
    ]
    return alt.layer(*drawn, width=width, height=190)


def three(parts: Iterable[Part], kind: str, measure: str) -> list[dict[str, Any]]:
    """An effect of the selected neurons, of matched ones and their difference: rows of :func:`dots`, named by part."""
    rows = []
    for part in parts:
        for which, control in ((measure, "target"), (measure, "matched"), (f"excess_{measure}", "target")):
            row = part.effect(kind, which, control)
            if row is not None and row["estimate"] is not None:
                rows.append({"row": part.name, "series": series_of(control, which)} | marks_of(row))
    return rows


def series_of(control: str, measure: str = "") -> str:
    """The series of :data:`SERIES` of a measure of a set or its control."""
    return "difference" if measure.startswith("excess_") else "selected" if control == "target" else "control"


def marks_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a dot needs of a row of effects."""
    return {name: row[name] for name in ("estimate", "low", "high")} | {"unreliable": bool(row.get("unreliable"))}


def as_rows(rows: Marks) -> pl.DataFrame:
    """Marks as a frame with all columns, whatever their intervals hold."""
    types = {"estimate": pl.Float64, "low": pl.Float64, "high": pl.Float64}
    frame = (
        rows if isinstance(rows, pl.DataFrame) else pl.DataFrame([dict(row) for row in rows], schema_overrides=types)
    )
    return frame if "unreliable" in frame.columns else frame.with_columns(unreliable=pl.lit(False))


def names_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of rows, each once, in their order."""
    return list(dict.fromkeys(row["row"] for row in rows))


def hollow_note(rows: Marks) -> str:
    """What hollow marks say, where there are any."""
    return f" {HOLLOW}" if as_rows(rows)["unreliable"].any() else ""


def with_chance(chart: Chart, found: pl.DataFrame, order: Sequence[str], x: str) -> Chart:
    """Rows of :func:`dots` with a grey tick at each row's ``chance``."""
    tick = alt.Chart(found.select("row", "chance").drop_nulls()).mark_tick(color=LIGHT.muted, thickness=2, size=16)
    return alt.layer(chart, tick.encode(x=alt.X("chance:Q", title=x), y=alt.Y("row:N", sort=list(order))))


def beside(charts: Sequence[Chart], heading: alt.TitleParams, below: bool = False) -> Chart | None:
    """Charts beside each other, or below; ``None`` where there are none."""
    if not charts:
        return None
    return (alt.vconcat if below else alt.hconcat)(*charts, spacing=24, title=heading)


def stacked(drawn: Mapping[str, Sequence[Chart]], heading: alt.TitleParams, spacing: int = 24) -> Chart | None:
    """A line of panels a corpus, named where there are several; ``None`` where there are none."""
    lines = {name: alt.hconcat(*charts, spacing=spacing) for name, charts in drawn.items() if charts}
    if not lines:
        return None
    if len(lines) == 1:
        return titled(next(iter(lines.values())), heading)
    named = [titled(line, alt.TitleParams(name, fontSize=13)) for name, line in lines.items()]
    return alt.vconcat(*named, spacing=24, title=heading)


def reach(rows: Iterable[Mapping[str, Any]]) -> tuple[float, float]:
    """The ends of an axis that holds zero and all marks with their intervals, with some room."""
    ends = [row[name] for row in rows for name in ("estimate", "low", "high") if row[name] is not None]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    room = 0.04 * (high - low or 1.0)
    return low - room, high + room
