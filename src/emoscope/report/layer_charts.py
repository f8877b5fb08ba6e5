"""Figures of what the headline's sets do in some layers alone: in ranges of them, and in each single one."""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from emoscope.report.answer_charts import INTERVALS
from emoscope.report.content import Content
from emoscope.report.effect_charts import GAP, hollow_note, marks_of, series_of
from emoscope.report.marks import SERIES, dots
from emoscope.report.theme import LIGHT, title
from emoscope.vocabulary import acting

RESELECTED = "reselected"
"""Ends the name of a range where the neurons were found within it."""


def ranges(content: Content) -> Any | None:
    """The gap by the layers in which neurons were switched off, equally many in each range, next to matched controls."""
    found = acting(content.tables.effects, "deactivate", "layers").filter(
        pl.col("control").is_in(["target", "matched"]) & pl.col("measure").is_in(["gap", "excess_gap"])
    )  # fmt: skip
    if found.is_empty():
        return None
    names = sorted(set(found["layers"]), key=lambda name: (RESELECTED in name, *map(int, name.split()[0].split("-"))))
    rows = [
        {"row": _words(row["layers"]), "series": "difference" if row["measure"] == "excess_gap" else series_of(row["control"])}
        | marks_of(row)
        for row in found.iter_rows(named=True)
    ]  # fmt: skip
    anew = any(RESELECTED in name for name in names)
    more = " Found anew: the best neurons of these layers, as many in each." if anew else ""
    frame = pl.DataFrame(rows, infer_schema_length=None)
    return dots(frame, order=list(map(_words, names)), x=GAP, y="layers switched off", rule=0.0).properties(
        title=title(
            "In which layers switching off takes effect",
            f"{INTERVALS} The selected neurons of these layers alone, cut at random to the number in the range that holds "
            f"fewest{_fewest(content, names)}; further left: more specific.{more} Circle: selected; diamond: matched; "
            f"square: their difference.{hollow_note(rows)}",
        )
    )  # fmt: skip


def profile(content: Content) -> Any | None:
    """The excess gap of each single layer's neurons, over how many neurons of the sets lie there."""
    found = content.own(content.sized(content.tables.profile))
    if found.is_empty():
        return None
    beyond = found["excess_gap"].is_not_null().any()
    measures = {"gap": "selected", "excess_gap": "difference"} if beyond else {"gap": "selected"}
    rows = [
        {"layer": row["layer"], "series": series, "estimate": row[name], "low": row[f"{name}_low"],
         "high": row[f"{name}_high"], "hollow": bool(row["hollow"])}
        for row in found.iter_rows(named=True)
        for name, series in measures.items()
    ]  # fmt: skip
    names = list(measures.values())
    colour = alt.Color("series:N", legend=None).scale(domain=names, range=[SERIES[name][0] for name in names])
    shape = alt.Shape("series:N", legend=None).scale(domain=names, range=[SERIES[name][1] for name in names])
    fill = alt.condition("datum.hollow", alt.value(LIGHT.page), colour)
    base = alt.Chart(pl.DataFrame(rows, infer_schema_length=None))
    width = max(200, min(640, 44 * found.height))
    x = alt.X("layer:O", title=None).axis(labels=False, ticks=False)
    y = alt.Y("estimate:Q", title="gap (points)").scale(zero=True)
    beside = alt.XOffset("series:N").scale(domain=names)
    zero = (
        alt.Chart(pl.DataFrame({"at": [0.0]}))
        .mark_rule(color=LIGHT.muted, strokeDash=[4, 3])
        .encode(y=alt.Y("at:Q", title="gap (points)"))
    )
    span = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=2, opacity=0.75)
    dot = base.mark_point(size=45, opacity=1, strokeWidth=1.4).encode(fill=fill, shape=shape)
    upper = alt.layer(
        zero,
        span.encode(x=x, xOffset=beside, y=alt.Y("low:Q", title="gap (points)"), y2="high:Q", color=colour),
        dot.encode(x=x, xOffset=beside, y=y, color=colour),
    ).properties(width=width, height=170)
    below = alt.Chart(found.select("layer", "neurons")).mark_bar(
        color=LIGHT.muted, size=min(22, width / found.height / 2)
    )
    lower = below.encode(
        x=alt.X("layer:O", title="layer switched off (number from the input)").axis(labelAngle=0, labelOverlap=True),
        y=alt.Y("neurons:Q", title="neurons (count)").axis(tickCount=3),
    ).properties(width=width, height=60)
    what = "Circle: selected; square: selected minus matched." if beyond else "No matched control was asked."
    return alt.vconcat(upper, lower, spacing=8).properties(
        title=title(
            "In which single layer switching off takes effect",
            f"{INTERVALS} All selected neurons of that layer, and no others, were switched off; below zero: more specific. "
            f"{what} Bars: neurons of a set in that layer, mean over emotions. Layers do not add up: later ones may make "
            f"up for earlier ones.{hollow_note(rows)}",
        )
    )  # fmt: skip


def _words(layers: str) -> str:
    return layers.replace(f" {RESELECTED}", ", found anew")


def _fewest(content: Content, names: list[str]) -> str:
    """How many neurons an emotion has in the range that holds fewest of its set."""
    held = content.own(content.sized(content.tables.layers)).filter(pl.col("control") == "target")
    inside = []
    for name in names:
        if RESELECTED in name:
            continue
        first, last = map(int, name.split("-"))
        part = held.filter((pl.col("layer") >= first) & (pl.col("layer") <= last))
        inside.append(part.group_by("emotion").agg(pl.col("neurons").sum()))
    if not inside:
        return ""
    fewest = pl.concat(inside).group_by("emotion").agg(pl.col("neurons").min())["neurons"].to_list()
    return f" (about {min(fewest)} to {max(fewest)} an emotion)" if fewest else ""
