"""The kinds of picture that the figures are made of: matrices and rows of dots with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from emoscope.report.theme import LIGHT

SIGNED = "datum.value == 0 ? '0' : replace(format(datum.value, '+.0f'), '-', '−')"
"""How the ends of a signed colour scale are labelled, in the language of Vega."""


def cell_size(columns: Sequence[str]) -> int:
    """The width of a matrix cell in pixels: smaller where there are many emotions."""
    return 42 if len(columns) <= 4 else 32 if len(columns) <= 10 else 25


def signed_matrix(cells: pl.DataFrame, rows: Sequence[str], columns: Sequence[str], most: float, legend: str) -> Any:
    """A matrix of signed numbers, colours centred at zero, the numbers in the cells, the diagonal framed.

    Args:
        cells: columns ``row``, ``column``, ``value``.
        rows: the order of the rows, from the top.
        columns: the order of the columns, from the left.
        most: the value at the ends of the colour scale.
        legend: what the colour says, with its unit.
    """
    colour = alt.Color("value:Q", title=legend).scale(
        domain=[most * part for part in (-1, -0.6, -0.2, 0, 0.2, 0.6, 1)], range=list(LIGHT.diverging), clamp=True, interpolate="rgb"
    ).legend(orient="bottom", direction="horizontal", labelExpr=SIGNED, values=[-most, 0, most])  # fmt: skip
    base = _cells(cells, rows, columns, "emotion of the clip", "neurons selected for")
    text = base.mark_text(fontSize=12).encode(text=alt.Text("label:N"), color=_on(f"abs(datum.value) > {0.62 * most}"))
    frame = base.transform_filter("datum.row == datum.column").mark_rect(
        fillOpacity=0, stroke=LIGHT.ink, strokeWidth=1.3
    )
    return _sized(
        alt.layer(base.mark_rect(stroke=LIGHT.page, strokeWidth=1).encode(color=colour), frame, text), rows, columns
    )


def heat(cells: pl.DataFrame, rows: Sequence[str], columns: Sequence[str], x: str, y: str, legend: str) -> Any:
    """A matrix of shares from 0 to 100 %, the numbers in the cells."""
    colour = alt.Color("value:Q", title=legend).scale(
        domain=[0, 33, 67, 100], range=list(LIGHT.sequential), clamp=True, interpolate="rgb"
    ).legend(orient="right", values=[0, 50, 100])  # fmt: skip
    base = _cells(cells, rows, columns, x, y)
    text = base.mark_text(fontSize=12).encode(text=alt.Text("label:N"), color=_on("datum.value > 62"))
    return _sized(alt.layer(base.mark_rect(stroke=LIGHT.page, strokeWidth=1).encode(color=colour), text), rows, columns)


def panels(drawn: Sequence[Any], width: Sequence[str]) -> Any:
    """Set matrices side by side, as many to a line as fit a laptop's page."""
    fit = max(1, min(len(drawn), int(1000 // (len(width) * cell_size(width) + 100))))
    return alt.concat(*drawn, columns=fit, spacing=16)


def dots(
    rows: pl.DataFrame, order: Sequence[str], series: str, strong: Sequence[str], x: str, y: str,
    domain: tuple[float, float] | None = None, rule: float | None = None, rule_name: str = "", ticks: pl.DataFrame | None = None,
    text: Sequence[str] | None = None,
) -> Any:  # fmt: skip
    """Named rows of estimates with their intervals.

    Args:
        rows: columns ``row``, ``estimate``, ``low``, ``high`` and the series.
        order: the names of the rows, from the top.
        series: the column that tells series apart.
        strong: the series drawn in the accent colour; others are grey and, beside a strong one, hollow.
        x: what the horizontal axis shows, with its unit.
        y: what the rows are.
        domain: ends of the x axis.
        rule: where to draw a dashed line.
        rule_name: what to write above it.
        ticks: columns ``row`` and ``estimate``: single draws, as small ticks.
        text: numbers written at the right end, in the order of ``rows``.
    """
    names = rows[series].unique().sort().to_list()
    colours = [LIGHT.accent if name in strong else LIGHT.muted for name in names]
    colour = alt.Color(f"{series}:N", legend=None).scale(domain=names, range=colours)
    across = alt.X("estimate:Q", title=x).scale(domain=list(domain) if domain else alt.Undefined, zero=True)
    down = alt.Y("row:N", title=y, sort=list(order)).axis(domain=False, ticks=False, grid=True, labelPadding=6)
    several = rows.group_by("row").len()["len"].max() != 1
    place: dict[str, Any] = {"yOffset": alt.YOffset(f"{series}:N", sort=[*strong])} if several else {}
    drawn: list[Any] = []
    if rule is not None:
        line = alt.Chart(pl.DataFrame({"at": [rule]}))
        drawn.append(line.mark_rule(color=LIGHT.muted, strokeDash=[4, 3]).encode(x=alt.X("at:Q", title=x)))
        if rule_name:
            drawn.append(
                line.mark_text(color=LIGHT.muted, fontSize=11, text=rule_name).encode(x="at:Q", y=alt.value(-8))
            )
    if ticks is not None and len(ticks):
        drawn.append(
            alt.Chart(ticks).mark_tick(color=LIGHT.muted, opacity=0.7, size=9, thickness=1).encode(x=across, y=down)
        )
    if domain:  # an interval may reach beyond 100 %; the table tells, the picture ends at its frame
        rows = rows.with_columns(pl.col("low", "high").clip(*domain))
    base = alt.Chart(rows)
    spread = base.transform_filter("isValid(datum.low)")
    drawn.append(
        spread.mark_rule(strokeWidth=2, opacity=0.75).encode(
            x=alt.X("low:Q", title=x), x2="high:Q", y=down, color=colour, **place
        )
    )
    hollow = several and len(strong) < len(names)
    fill = (
        alt.condition(alt.FieldOneOfPredicate(series, list(strong)), colour, alt.value(LIGHT.page))
        if hollow
        else colour
    )
    drawn.append(
        base.mark_point(size=75, opacity=1, strokeWidth=1.6).encode(x=across, y=down, color=colour, fill=fill, **place)
    )
    if text is not None:
        ends = rows.select("row").with_columns(pl.Series("label", list(text), dtype=pl.String))
        drawn.append(
            alt.Chart(ends).mark_text(align="right", color=LIGHT.ink, fontSize=12, fontWeight=500).encode(
                x=alt.value(575), y=down, text="label:N"
            )
        )  # fmt: skip
    height = max(len(order), 1) * (34 if several else 26)
    return alt.layer(*drawn).properties(width=520, height=height)


def _cells(cells: pl.DataFrame, rows: Sequence[str], columns: Sequence[str], x: str, y: str) -> alt.Chart:
    rounded = pl.col("value").round(0) + 0.0
    shown = cells.with_columns(rounded.cast(pl.Int64).cast(pl.String).str.replace("-", "−").alias("label"))
    angle = 0 if all(len(name) < 6 for name in columns) else -40
    return alt.Chart(shown).encode(
        x=alt.X("column:N", title=x, sort=list(columns)).axis(labelAngle=angle, domain=False, ticks=False, grid=False),
        y=alt.Y("row:N", title=y, sort=list(rows)).axis(domain=False, ticks=False, grid=False, labelPadding=6),
    )


def _sized(chart: Any, rows: Sequence[str], columns: Sequence[str]) -> Any:
    return chart.properties(width=len(columns) * cell_size(columns), height=len(rows) * 30)


def _on(test: str) -> Any:
    return alt.condition(test, alt.value(LIGHT.on_strong), alt.value(LIGHT.ink))
