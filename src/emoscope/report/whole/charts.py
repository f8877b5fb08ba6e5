"""Figures of a whole study that rest on the tables of its main parts: one panel, or one row, a corpus."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import altair as alt
import polars as pl

from emoscope.analysis.verdicts import NO_BIAS, NO_SENSITIVITY
from emoscope.report.answer_charts import HOLLOW, INTERVALS
from emoscope.report.content import CONTROLS, name_selector
from emoscope.report.effect_charts import BEYOND, GAP, INJECTED
from emoscope.report.theme import LIGHT, title
from emoscope.report.whole.content import Whole
from emoscope.report.whole.marks import (
    SERIES_KEY,
    WIDTH,
    dotted,
    line_columns,
    lines,
    marks,
    names_of,
    panels,
    series_of,
    side_by_side,
    three,
)
from emoscope.vocabulary import acting

MATRIX_CONTROLS = {
    "random": "random",
    "shuffled": "shuffled labels",
    "misses": "missed clips",
    "false-alarms": "false alarms",
}
"""Controls shown as rows beside the selected and the matched neurons."""


def selectors(whole: Whole) -> Any | None:
    """The gap of each selector's neurons, next to matched neurons of the headline's."""
    order = list(dict.fromkeys(name for part in whole.mains for name in part.selectors))
    names = [name_selector(name) for name in order]
    frames = {}
    for part in whole.mains:
        effects = part.table("effects")
        if effects is None or len(part.selectors) < 2:
            continue
        found = part.of_selectors(effects, "deactivate").filter(pl.col("measure") == "gap")
        rows = [
            {"row": name_selector(row["selector"]), "series": "selected" if row["control"] == "target" else "control"} | marks(row)
            for row in found.filter(pl.col("control").is_in(["target", "matched"])).iter_rows(named=True)
        ]  # fmt: skip
        frames[part.name] = rows
    return panels(
        frames, names, GAP, "selector",
        title(
            "How specific each selector’s neurons are when switched off",
            f"{INTERVALS} Further left: hurts its own emotion more than the others. Circle: selected; diamond: matched neurons.",
        ),
    )  # fmt: skip


def deactivation(whole: Whole) -> Any | None:
    """Gap, evidence and leaning of the headline's neurons, of matched ones, and their difference, a row a corpus."""
    charts: list[Any] = []
    for measure, x, band in (
        ("gap", "gap (points)", None), ("sensitivity", "change of evidence (AUC points)", NO_SENSITIVITY),
        ("bias", "change of leaning (nat)", NO_BIAS),
    ):  # fmt: skip
        rows = three(whole.mains, "deactivate", measure)
        if rows:
            charts.append(dotted(rows, names_of(rows), x, "corpus", not charts, band=band))
    if not charts:
        return None
    return alt.hconcat(*charts, spacing=20).properties(
        title=title(
            "What switching the headline’s neurons off does, next to matched neurons",
            f"{INTERVALS} {SERIES_KEY} First: own effect minus effect on the others; left of zero, the emotion’s own clips suffer more. "
            "Second: left of zero, evidence is lost. Third: left of zero, the answer is avoided. Grey band: small changes.",
        )
    )  # fmt: skip


def steering(whole: Whole) -> Any | None:
    """How many more clips are answered with the amplified emotion, and UAR, a row a corpus."""
    charts: list[Any] = []
    for measure, x in (
        ("pull_overall", "all clips answered so (points)"), ("pull_gap", "own minus other clips (points)"),
        ("uar_change", "change of UAR (points)"),
    ):  # fmt: skip
        rows = three(whole.mains, "steer", measure)
        if rows:
            charts.append(dotted(rows, names_of(rows), x, "corpus", not charts))
    if not charts:
        return None
    strengths = sorted({f"{part.alpha:g}" for part in whole.mains if part.alpha is not None})
    return alt.hconcat(*charts, spacing=20).properties(
        title=title(
            f"What amplifying the headline’s neurons does (alpha = {', '.join(strengths)})",
            f"{INTERVALS} {SERIES_KEY} First: how many more of all clips are answered with the amplified emotion. Second: the same on its "
            "own clips minus that on the others. Third: what that costs or gains over all emotions.",
        )
    )  # fmt: skip


def dose(whole: Whole) -> Any | None:
    """Pull on all clips over alpha, next to matched neurons, a panel a corpus."""
    drawn = []
    for part in whole.mains:
        effects = part.table("effects")
        if effects is None:
            continue
        found = acting(effects, "steer", "headline", "dose").filter(
            (pl.col("measure") == "pull_overall") & pl.col("control").is_in(["target", "matched"])
        )  # fmt: skip
        if found["alpha"].n_unique() > 1:
            shown = found.select(pl.col("alpha").alias("x"), *line_columns())
            drawn.append((part.name, lines(shown, "strength, alpha (gain − 1)", "clips answered so (points)")))
    return side_by_side(drawn, title(
        "More and less amplification",
        f"{INTERVALS} How many more of all clips are answered with the amplified emotion; blue: selected, grey: matched neurons. "
        f"Below alpha 0 neurons are weakened. {HOLLOW}",
    ))  # fmt: skip


def efficiency(whole: Whole) -> Any | None:
    """The gap of sets from fewer clips over their number, with that of matched neurons of the full set as a line."""
    drawn = []
    for part in whole.mains:
        table = part.table("efficiency")
        if table is None:
            continue
        found = part.own(part.sized(table)).filter(pl.col("draw").is_null() & pl.col("gap").is_not_null())
        if found["size"].n_unique() < 2:
            continue
        shown = found.select(
            pl.col("size").cast(pl.Float64).alias("x"), pl.col("gap").alias("estimate"), pl.col("gap_low").alias("low"),
            pl.col("gap_high").alias("high"), pl.lit("selected").alias("series"), pl.lit(False).alias("hollow"),
        ).unique("x", keep="last", maintain_order=True).sort("x")  # fmt: skip
        matched = part.effect("deactivate", "gap", "matched")
        level = None if matched is None else matched["estimate"]
        ticks = sorted(set(shown["x"].to_list()))
        drawn.append((part.name, lines(shown, "clips per emotion", "gap (points)", level, ticks)))
    return side_by_side(drawn, title(
        "How few clips suffice to find the neurons",
        f"{INTERVALS} Gap when neurons found from so many clips per emotion are switched off (mean over draws of clips); the last mark "
        "is the full set. Grey dashes: matched neurons of the full set.",
    ))  # fmt: skip


def layers(whole: Whole) -> Any | None:
    """The share of the headline's neurons per layer next to sets from shuffled labels, a panel a corpus."""
    found = {}
    for part in whole.mains:
        table = part.table("layers")
        if table is not None:
            means = part.own(part.sized(table)).group_by("control", "layer").agg(pl.col("share").mean())
            if "target" in set(means["control"]):
                found[part.name] = means.sort("control", "layer")
    if not found:
        return None
    top = max(float(means["share"].max() or 1) for means in found.values()) * 1.05  # type: ignore[arg-type]
    drawn: list[tuple[str, Any]] = []
    for name, means in found.items():
        size = max(2.0, min(26.0, (WIDTH + 30) * 0.8 / means["layer"].n_unique()))
        x = alt.X("layer:O", title="layer (number from the input)").axis(labelAngle=0, labelOverlap=True)
        y = alt.Y("share:Q", title=None if drawn else "share of the set (%)").scale(domain=[0, top])
        bars = alt.Chart(means.filter(pl.col("control") == "target")).mark_bar(color=LIGHT.accent, size=size)
        marked = [bars.encode(x=x, y=y)]
        shuffled = means.filter(pl.col("control") == "shuffled")
        if len(shuffled):
            tick = alt.Chart(shuffled).mark_tick(color=LIGHT.ink, thickness=2, size=size + 4, orient="horizontal")
            marked.append(tick.encode(x=x, y=y))
        drawn.append((name, alt.layer(*marked).properties(width=WIDTH + 30, height=160)))
    return side_by_side(drawn, title(
        "In which layers the headline’s neurons lie",
        "Bar: share of the set, mean over emotions; horizontal tick: the same for sets found on shuffled labels. "
        "Only a bar that leaves its tick says something about emotion.",
    ))  # fmt: skip


def ranges(whole: Whole) -> Any | None:
    """The gap by the layers in which neurons were switched off, next to matched controls, a panel a corpus."""
    frames: dict[str, list[dict[str, Any]]] = {}
    names: set[str] = set()
    for part in whole.mains:
        effects = part.table("effects")
        if effects is None:
            continue
        found = acting(effects, "deactivate", "layers").filter(
            pl.col("control").is_in(["target", "matched"]) & pl.col("measure").is_in(["gap", "excess_gap"])
        )  # fmt: skip
        frames[part.name] = [
            {"row": row["layers"], "series": series_of(row["measure"], row["control"])} | marks(row)
            for row in found.iter_rows(named=True)
        ]
        names |= set(found["layers"])
    order = sorted(names, key=lambda name: [int(end) for end in name.split(" ")[0].split("-")] + [name.count(" ")])
    return panels(
        frames, order, GAP, "layers",
        title(
            "In which layers switching off takes effect",
            f"{INTERVALS} {SERIES_KEY} The headline’s neurons of these layers alone; equally many in each range; “reselected”: found anew within it. "
            "Further left: more specific.",
        ),
    )  # fmt: skip


def profile(whole: Whole) -> Any | None:
    """The excess gap of each single layer's neurons over the layers, a panel a corpus."""
    drawn = []
    for part in whole.mains:
        table = part.table("profile")
        if table is None:
            continue
        found = part.own(part.sized(table)).filter(pl.col("excess_gap").is_not_null()).sort("layer")
        if found.is_empty():
            continue
        shown = pl.concat([
            found.select(
                pl.col("layer").cast(pl.Float64).alias("x"), pl.col(measure).alias("estimate"), pl.col(f"{measure}_low").alias("low"),
                pl.col(f"{measure}_high").alias("high"), pl.lit(series).alias("series"), pl.col("hollow").fill_null(False),
            )
            for measure, series in (("excess_gap", "selected"), ("matched_gap", "control"))
        ]).drop_nulls("estimate")  # fmt: skip
        drawn.append((part.name, lines(shown, "layer (number from the input)", "gap (points)")))
    return side_by_side(drawn, title(
        "What the neurons of a single layer do alone",
        f"{INTERVALS} Gap when the headline’s neurons of that layer alone are switched off. Blue: beyond matched neurons; grey: matched "
        "neurons. Layers hold unequal numbers of them: see above.",
    ))  # fmt: skip


def agnostic(whole: Whole) -> Any | None:
    """Change of UAR under steering that needs no label, next to matched neurons, a panel a corpus."""
    frames: dict[str, list[dict[str, Any]]] = {}
    for part in whole.mains:
        table = part.table("agnostic")
        if table is None:
            continue
        found = part.own(part.sized(table)).filter(
            (pl.col("against") != "targeted") & (pl.col("measure") == "uar_change") & pl.col("estimate").is_not_null()
        )
        frames[part.name] = [
            {"row": INJECTED[row["way"]], "series": "difference" if row["against"] == "matched" else series_of("", row["control"])}
            | marks(row)
            for row in found.iter_rows(named=True)
        ]  # fmt: skip
    there = {row["row"] for rows in frames.values() for row in rows}
    return panels(
        frames, [name for name in INJECTED.values() if name in there], "change of UAR (points)", "what was amplified",
        title(
            "Does amplification help where nobody tells it the emotion?",
            f"{INTERVALS} {SERIES_KEY} Right of zero: better. The first row knows the right answer and is only a mark to compare with.",
        ),
    )  # fmt: skip


def controls(whole: Whole) -> Any | None:
    """The gap of the headline's neurons and of every control, a panel a corpus."""
    frames: dict[str, list[dict[str, Any]]] = {}
    for part in whole.mains:
        rows = []
        for name, measure, control, series in (
            (CONTROLS["target"], "gap", "target", "selected"), (BEYOND, "excess_gap", "target", "difference"),
            (CONTROLS["matched"], "gap", "matched", "control"), *((name, "gap", one, "control") for one, name in MATRIX_CONTROLS.items()),
        ):  # fmt: skip
            row = part.effect("deactivate", measure, control)
            if row is not None and row["estimate"] is not None:
                rows.append({"row": name, "series": series} | marks(row))
        frames[part.name] = rows
    there = list(dict.fromkeys(row["row"] for rows in frames.values() for row in rows))
    return panels(
        frames, there, GAP, "neurons",
        title(
            "The headline’s neurons next to every control",
            f"{INTERVALS} Further left: hurts its own emotion more than the others. Controls are means over draws; "
            "missed clips and false alarms: the same selector on clips that were answered wrongly.",
        ),
    )  # fmt: skip


FIGURES: Mapping[str, Callable[[Whole], Any | None]] = {
    "selectors": selectors, "deactivation": deactivation, "steering": steering, "dose": dose, "efficiency": efficiency,
    "layers": layers, "ranges": ranges, "profile": profile, "agnostic": agnostic, "controls": controls,
}  # fmt: skip
"""Name to figure."""
