"""In which layers, and at which positions, does switching off take effect?"""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from emoscope.analysis.estimate import benjamini_hochberg, estimate_of, named
from emoscope.analysis.parts import Part, StudyRuns
from emoscope.report.page import Figure, Question
from emoscope.report.plots import (
    GAP,
    INTERVALS,
    SERIES,
    SERIES_KEY,
    dots,
    hollow_note,
    lines,
    marks_of,
    panels,
    series_of,
    side_by_side,
)
from emoscope.report.theme import LIGHT, title
from emoscope.schemas import as_table, schema
from emoscope.vocabulary import RESELECTED, acting

SET = ("selector", "budget", "scope")


def profile(effects: pl.DataFrame, layers: pl.DataFrame) -> pl.DataFrame:
    """The gap of each single layer's neurons, alone and beyond matched ones, beside how many neurons lie there.

    Args:
        effects: ``effects``; families whose ``layers`` is a single number are read.
        layers: ``layers``, for the neurons of the sets that are found on all speakers.

    Returns:
        the columns of table ``profile``, a row a set and layer; gaps in points, ``neurons`` as mean, fewest and most
        over emotions. q values are Benjamini and Hochberg's over the layers of a set. Empty where sets were not
        switched off layer by layer.
    """
    alone = effects.filter(
        (pl.col("kind") == "deactivate") & (pl.col("role") == "single layer")
    )  # fmt: skip
    wanted = {
        "gap": (alone["control"] == "target") & (alone["measure"] == "gap"),
        "matched_gap": (alone["control"] == "matched") & alone["draw"].is_null() & (alone["measure"] == "gap"),
        "excess_gap": (alone["control"] == "target") & (alone["measure"] == "excess_gap"),
    }
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name, chosen in wanted.items():
        for row in alone.filter(chosen).iter_rows(named=True):
            key = tuple(row[column] for column in SET)
            one = rows.setdefault((*key, int(row["layers"])), dict.fromkeys(schema("profile")))
            one |= dict(zip((*SET, "layer"), (*key, int(row["layers"])), strict=True))
            one |= named(name, row)
            one["hollow"] = bool(one["hollow"]) or row["hollow"]
            if name == "excess_gap" or one["speakers"] is None:
                one |= {"speakers": row["speakers"], "reason": row["reason"]}
    _add_counts(rows, layers)
    for key in {place[:-1] for place in rows}:
        mine = [one for place, one in rows.items() if place[:-1] == key]
        for one, q in zip(mine, benjamini_hochberg([one["excess_gap_p"] for one in mine]), strict=True):
            one["excess_gap_q"] = q
    return as_table("profile", list(rows.values()))


def _add_counts(rows: dict[tuple[Any, ...], dict[str, Any]], layers: pl.DataFrame) -> None:
    counts = layers.filter(pl.col("control") == "target").group_by(*SET, "layer").agg(
        pl.col("neurons").mean(), pl.col("neurons").min().alias("neurons_min"),
        pl.col("neurons").max().alias("neurons_max"),
    )  # fmt: skip
    for row in counts.iter_rows(named=True):
        one = rows.get(tuple(row[column] for column in (*SET, "layer")))
        if one is not None:
            one |= {name: row[name] for name in ("neurons", "neurons_min", "neurons_max")}


def draw_ranges(part: Part) -> Any | None:
    """The gap by the layers in which neurons were switched off, equally many in each range, next to matched controls."""
    found = acting(part.table("effects"), "deactivate", "layers").filter(
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
            f"fewest{_fewest(part, names)}; further left: more specific.{more} Circle: selected; diamond: matched; "
            f"square: their difference.{hollow_note(rows)}",
        )
    )  # fmt: skip


def draw_profile(part: Part) -> Any | None:
    """The excess gap of each single layer's neurons, over how many neurons of the sets lie there."""
    found = part.own("profile")
    if found.is_empty():
        return None
    beyond = found["excess_gap"].is_not_null().any()
    measures = {"gap": "selected", "excess_gap": "difference"} if beyond else {"gap": "selected"}
    rows = [
        {"layer": row["layer"], "series": series, **estimate_of(row, name), "hollow": bool(row["hollow"])}
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


def _fewest(part: Part, names: list[str]) -> str:
    """How many neurons an emotion has in the range that holds fewest of its set."""
    held = part.own("layers").filter(pl.col("control") == "target")
    inside = []
    for name in names:
        if RESELECTED in name:
            continue
        first, last = map(int, name.split("-"))
        mine = held.filter((pl.col("layer") >= first) & (pl.col("layer") <= last))
        inside.append(mine.group_by("emotion").agg(pl.col("neurons").sum()))
    if not inside:
        return ""
    fewest = pl.concat(inside).group_by("emotion").agg(pl.col("neurons").min())["neurons"].to_list()
    return f" (about {min(fewest)} to {max(fewest)} an emotion)" if fewest else ""


def draw_positions(part: Part) -> Any | None:
    """The gap by the positions at which neurons were switched off, next to matched controls."""
    found = acting(part.table("effects"), "deactivate", "headline", "position").filter(
        pl.col("control").is_in(["target", "matched"]) & pl.col("measure").is_in(["gap", "excess_gap"])
    )
    there = list(dict.fromkeys(found["positions"].to_list()))
    if len(there) < 2:
        return None
    order = [name for name in ("all", "audio", "text", "decision", "answer") if name in there]
    order += sorted(set(there) - set(order))
    rows = [
        {
            "row": row["positions"],
            "series": "difference" if row["measure"] == "excess_gap" else series_of(row["control"]),
        }
        | marks_of(row)
        for row in found.iter_rows(named=True)
    ]
    return dots(
        pl.DataFrame(rows, infer_schema_length=None), order=order, x=GAP, y="positions switched off", rule=0.0
    ).properties(
        title=title(
            "Where in the prompt switching off takes effect",
            f"{INTERVALS} The same neurons, switched off only at the named positions; further left: more specific. "
            f"Circle: selected; diamond: matched; square: their difference.{hollow_note(rows)}",
        )
    )  # fmt: skip


def draw_ranges_of_parts(study: StudyRuns) -> Any | None:
    """The gap by the layers in which neurons were switched off, next to matched controls, a panel a corpus."""
    frames: dict[str, list[dict[str, Any]]] = {}
    names: set[str] = set()
    for part in study.mains:
        effects = part.table("effects")
        found = acting(effects, "deactivate", "layers").filter(
            pl.col("control").is_in(["target", "matched"]) & pl.col("measure").is_in(["gap", "excess_gap"])
        )  # fmt: skip
        frames[part.name] = [
            {"row": row["layers"], "series": series_of(row["control"], row["measure"])} | marks_of(row)
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


def draw_profile_of_parts(study: StudyRuns) -> Any | None:
    """The excess gap of each single layer's neurons over the layers, a panel a corpus."""
    drawn = []
    for part in study.mains:
        found = part.own("profile").filter(pl.col("excess_gap").is_not_null()).sort("layer")
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


QUESTIONS = (
    Question(
        "layers",
        20,
        (
            Figure("positions", draw_positions, "neurons were not switched off by position"),
            Figure("ranges", draw_ranges, "sets were not restricted to ranges of layers"),
            Figure("profile", draw_profile, "neurons were not switched off layer by layer"),
            Figure("ranges", draw_ranges_of_parts, "sets were not restricted to ranges of layers", pages="study"),
            Figure("profile", draw_profile_of_parts, "sets were not switched off layer by layer", pages="study"),
        ),
        tables={"profile": lambda part: profile(part.table("effects"), part.table("layers"))},
    ),
)
