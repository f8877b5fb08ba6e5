"""Figures that compare selectors and show in which layers the selected neurons lie."""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from emoscope.report.answer_charts import INTERVALS
from emoscope.report.content import Content, name_selector
from emoscope.report.effect_charts import GAP
from emoscope.report.marks import dots, heat
from emoscope.report.theme import LIGHT, title


def selectors(content: Content) -> Any | None:
    """The gap of every selector's sets, and by how much the headline's differs from each."""
    found = content.of_selectors(content.tables.effects, "deactivate").filter(
        (pl.col("measure") == "gap") & (pl.col("control") == "target")
    )
    order = [name for name in content.selectors if name in set(found["selector"])]
    if len(order) < 2:
        return None
    names = {name: name_selector(name) for name in order}
    shown = [pl.col("estimate"), pl.col("low"), pl.col("high")]
    own = found.select(
        pl.col("selector").replace(names).alias("row"), *shown, pl.col("hollow").fill_null(False),
        pl.when(pl.col("selector") == content.selector).then(pl.lit("selected")).otherwise(pl.lit("control")).alias("series"),
    )  # fmt: skip
    rows = list(names.values())
    charts = [dots(own, rows, GAP, "selector", rule=0.0, width=350)]
    differences = content.tables.differences.filter(
        (pl.col("kind") == "deactivate") & (pl.col("measure") == "gap") & (pl.col("first") == content.selector)
        & (pl.col("budget").eq_missing(pl.lit(content.budget)))
        & pl.col("estimate").is_not_null()
    )  # fmt: skip
    head = name_selector(content.selector)
    if len(differences):
        pairs = differences.select(
            pl.col("second").replace(names).alias("row"), *shown, pl.lit("difference").alias("series")
        )
        charts.append(dots(pairs, rows, f"{head} minus this selector (points)", None, rule=0.0, width=350))
    return alt.hconcat(*charts, spacing=24).properties(
        title=title(
            "How specific each selector's neurons are when switched off",
            f"{INTERVALS} Left: the gap, further left is more specific. Right: {head} minus the other selector on the same clips; "
            "only where the line keeps clear of zero are the two told apart.",
        )
    )  # fmt: skip


def stability(content: Content) -> Any | None:
    """How much the sets of different folds overlap, next to shuffled labels and to chance."""
    found = content.sized(content.tables.stability).filter(pl.col("jaccard").is_not_null())
    order = [name for name in content.selectors if name in set(found["selector"])]
    if not order:
        return None
    means = found.group_by("selector", "control").agg(
        (100 * pl.col("jaccard").mean()).alias("estimate"), (100 * pl.col("jaccard_min").min()).alias("low"),
        (100 * pl.col("jaccard_max").max()).alias("high"),
    )  # fmt: skip
    rows = means.select(
        pl.col("selector").replace({name: name_selector(name) for name in order}).alias("row"), "estimate", "low", "high",
        pl.when(pl.col("control") == "target").then(pl.lit("selected")).otherwise(pl.lit("control")).alias("series"),
    ).sort("row", "series")  # fmt: skip
    shuffled = " diamond: sets from shuffled labels;" if "control" in set(rows["series"]) else ""
    return dots(
        rows, [name_selector(name) for name in order], "neurons shared by two folds' sets (%)", "selector",
        domain=(0, 100), rule=100 * float(found["chance"].mean() or 0), rule_name="chance",  # type: ignore[arg-type]
    ).properties(
        title=title(
            "How alike the sets are that were found on different speakers",
            f"Circle: mean over emotions and pairs of folds (Jaccard index);{shuffled} line: from the least to the most alike pair. "
            "Dashed line: two random sets of that size.",
        )
    )  # fmt: skip


def layers(content: Content) -> Any | None:
    """The share of each selector's neurons per layer, next to sets from shuffled labels."""
    found = content.sized(content.tables.layers)
    if found.is_empty():
        return None
    means = (
        found.group_by("selector", "control", "layer").agg(pl.col("share").mean()).sort("selector", "control", "layer")
    )
    top = float(means["share"].max() or 1) * 1.05  # type: ignore[arg-type]
    charts = []
    for selector in [s for s in content.selectors if s in set(means["selector"])]:
        own = means.filter(pl.col("selector").eq_missing(pl.lit(selector)))
        x = alt.X("layer:O", title="layer (number from the input)").axis(labelAngle=0, labelOverlap=True)
        y = alt.Y("share:Q", title="share of the set (%)").scale(domain=[0, top])
        bars = alt.Chart(own.filter(pl.col("control") == "target")).mark_bar(color=LIGHT.accent, size=_bar(own))
        marks = [bars.encode(x=x, y=y)]
        shuffled = own.filter(pl.col("control") == "shuffled")
        if len(shuffled):
            tick = alt.Chart(shuffled).mark_tick(color=LIGHT.ink, thickness=2, size=_bar(own) + 4, orient="horizontal")
            marks.append(tick.encode(x=x, y=y))
        heading = alt.TitleParams(name_selector(selector), fontSize=13)
        charts.append(alt.layer(*marks).properties(width=165, height=160, title=heading))
    return alt.concat(*charts, columns=4, spacing=18).properties(
        title=title(
            "In which layers the selected neurons lie",
            "Bar: share of the set, mean over emotions; horizontal tick: the same for sets found on shuffled labels. "
            "Only a bar that leaves its tick says something about emotion.",
        )
    )


def layers_by_emotion(content: Content) -> Any | None:
    """The share of the headline selector's neurons per layer and emotion."""
    found = content.own(content.sized(content.tables.layers)).filter(pl.col("control") == "target")
    if found.is_empty():
        return None
    cells = found.select(
        pl.col("emotion").alias("row"), pl.col("layer").cast(pl.String).alias("column"), pl.col("share").alias("value")
    )
    emotions = [e for e in content.tables.panel.labels if e in set(found["emotion"])]
    return heat(
        cells, rows=emotions, columns=[str(layer) for layer in found["layer"].unique().sort()],
        x="layer (number from the input)", y="neurons of", legend="share of the set (%)",
    ).properties(
        title=title(
            f"In which layers each emotion's neurons lie ({name_selector(content.selector)})",
            "Each row adds up to 100 %: of the neurons selected for that emotion, the share in the column's layer.",
        )
    )  # fmt: skip


def _bar(own: pl.DataFrame) -> float:
    return max(2.0, min(26.0, 150 / max(own["layer"].n_unique(), 1)))
