"""Runs side by side on one page that opens offline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl

from emoscope.analysis.side_by_side import Difference
from emoscope.report.content import number
from emoscope.report.marks import dots
from emoscope.report.markup import to_html
from emoscope.report.pictures import pictures
from emoscope.report.theme import LIGHT, title
from emoscope.runs.folder import replacing

FIGURES = {
    "uar": ("UAR without intervention", "UAR (%)", "How well each model hears emotion, with its 95 % interval over speakers."),
    "excess_gap": ("Deactivation: excess gap", "excess gap (points)", "What switching the headline’s neurons off takes from "
                   "their own emotion more than from others, beyond matched controls. Below 0: specific."),
    "excess_pull_gap": ("Steering: excess pull gap", "excess pull gap (points)", "What amplifying the headline’s neurons adds "
                        "to answers naming their emotion on its own clips more than on others, beyond matched controls."),
}  # fmt: skip


def shown(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of :func:`~emoscope.analysis.side_by_side.side_by_side` as ready text."""
    made = [
        {
            "neurons": one["run"] + (" (pilot)" if one["pilot"] else ""), "what": one["model"], "corpus": one["corpus"],
            "emotions": str(one["emotions"]), "items": _whole(one["items"]), "speakers": _whole(one["speakers"]),
            "UAR (%)": _spanned(one, "uar"), "chance (%)": number(one["chance"]),
            "excess gap": _spanned(one, "excess_gap"), "blind part of it": number(one["excess_gap_blind"]),
            "excess pull gap": _spanned(one, "excess_pull_gap"),
            "verdict": one["verdict"] or "–", "why": one["steer_verdict"] or "–",
        }
        for one in rows.iter_rows(named=True)
    ]  # fmt: skip
    named = {"neurons": "run", "what": "model", "verdict": "off: verdict", "why": "steered: verdict"}
    return pl.DataFrame(made).rename(named)


def write_compare_page(rows: pl.DataFrame, differences: Sequence[Difference], path: Path, version: str = "") -> None:
    """Write the page.

    Args:
        rows: from :func:`~emoscope.analysis.side_by_side.side_by_side`.
        differences: from there, too.
        path: the file to write.
        version: of emoscope, for the page's last line.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("emoscope.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    drawn = {name: pictures(chart, name) for name in FIGURES if (chart := figure(rows, name)) is not None}
    page = environment.get_template("compare.html").render(
        runs=rows.height, differences=[str(one) for one in differences], figures=drawn,
        table=to_html(shown(rows), "runs"), pilots=rows.filter("pilot")["run"].to_list(), version=version,
    )  # fmt: skip
    with replacing(path) as partial:
        partial.write_text(page, encoding="utf-8")


def figure(rows: pl.DataFrame, measure: str) -> Any | None:
    """One measure of every run with its interval; ``None`` where no run has it."""
    heading, x, how = FIGURES[measure]
    mine = rows.filter(pl.col(measure).is_not_null()).select(
        pl.col("run").alias("row"), pl.col(measure).alias("estimate"), pl.col(f"{measure}_low").alias("low"),
        pl.col(f"{measure}_high").alias("high"), pl.lit("selected").alias("series"),
    )  # fmt: skip
    if mine.is_empty():
        return None
    chart = dots(mine, rows["run"].to_list(), x, "run", rule=None if measure == "uar" else 0.0, width=460)
    if measure == "uar":
        chance = rows.select(pl.col("run").alias("row"), pl.col("chance").alias("at")).drop_nulls()
        tick = alt.Chart(chance).mark_tick(color=LIGHT.muted, thickness=2, size=16)
        chart = alt.layer(chart, tick.encode(x=alt.X("at:Q", title=x), y=alt.Y("row:N", sort=rows["run"].to_list())))
        how += " Grey ticks: chance."
    return chart.properties(title=title(heading, how))


def _whole(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _spanned(row: dict[str, Any], measure: str) -> str:
    if row[measure] is None:
        return "–"
    if row[f"{measure}_low"] is None:
        return number(row[measure])
    return f"{number(row[measure])} [{number(row[f'{measure}_low'])}, {number(row[f'{measure}_high'])}]"
