"""In which layers, and at which positions, does switching off take effect?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from emoscope.analysis.estimate import benjamini_hochberg, estimate_of, named
from emoscope.analysis.parts import Part, Row, StudyRuns
from emoscope.report.page import Figure, Question
from emoscope.report.plots import (
    GAP,
    INTERVALS,
    SERIES,
    SERIES_KEY,
    hollow_note,
    marks_of,
    names_of,
    panels,
    series_of,
    side_by_side,
)
from emoscope.report.theme import LIGHT, Chart, title
from emoscope.report.wording import by_key, where
from emoscope.schemas import as_table, schema
from emoscope.vocabulary import RESELECTED, Role, acting

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
    alone = effects.filter(kind="deactivate", role="single layer")
    wanted = {
        "gap": alone.filter(control="target", measure="gap"),
        "matched_gap": alone.filter(pl.col("draw").is_null(), control="matched", measure="gap"),
        "excess_gap": alone.filter(control="target", measure="excess_gap"),
    }
    counted = layers.filter(control="target").group_by(*SET, "layer")
    counts = counted.agg(
        pl.col("neurons").mean(),
        neurons_min=pl.col("neurons").min(),
        neurons_max=pl.col("neurons").max(),
    )
    held = by_key(counts, *SET, "layer")
    rows: dict[tuple[Any, ...], Row] = {}
    for name, chosen in wanted.items():
        for row in chosen.with_columns(layer=pl.col("layers").cast(pl.Int64)).iter_rows(named=True):
            place = tuple(row[column] for column in (*SET, "layer"))
            new = (
                dict.fromkeys(schema("profile")) | dict(zip((*SET, "layer"), place, strict=True)) | held.get(place, {})
            )
            one = rows.setdefault(place, new)
            one |= named(name, row) | {"hollow": bool(one["hollow"]) or row["hollow"]}
            if name == "excess_gap" or one["speakers"] is None:
                one |= {"speakers": row["speakers"], "reason": row["reason"]}
    for key in {place[:-1] for place in rows}:
        mine = [one for place, one in rows.items() if place[:-1] == key]
        for one, q in zip(mine, benjamini_hochberg([one["excess_gap_p"] for one in mine]), strict=True):
            one["excess_gap_q"] = q
    return as_table("profile", rows.values())


def draw_ranges(study: StudyRuns) -> Chart | None:
    """The gap by the layers in which neurons were switched off, equally many in each range, next to matched controls."""
    found = _by_place(study, "layers", "layers")
    names = sorted(names_of(found), key=lambda name: (RESELECTED in name, *map(int, name.split()[0].split("-"))))
    fewest = _fewest(study.parts[0], names) if len(study.mains) == 1 else ""
    anew = (
        " Reselected: the best neurons of these layers, as many in each." if any(RESELECTED in n for n in names) else ""
    )
    heading = title(
        "In which layers switching off takes effect",
        f"{INTERVALS} The selected neurons of these layers alone, cut at random to the number in the range that holds "
        f"fewest{fewest}; further left: more specific.{anew} {SERIES_KEY}{hollow_note(found)}",
    )
    return _panels(study, found, names, "layers switched off", heading)


def draw_positions(study: StudyRuns) -> Chart | None:
    """The gap by the positions at which neurons were switched off, next to matched controls."""
    found = _by_place(study, "positions", "headline", "position")
    there = names_of(found)
    if len(there) < 2:
        return None
    known = ("all", "audio", "text", "decision", "answer")
    order = [*(name for name in known if name in there), *sorted(set(there) - set(known))]
    heading = title(
        "Where in the prompt switching off takes effect",
        f"{INTERVALS} The same neurons, switched off only at the named positions; further left: more specific. "
        f"{SERIES_KEY}{hollow_note(found)}",
    )
    return _panels(study, found, order, "positions switched off", heading)


def _by_place(study: StudyRuns, column: str, *roles: Role) -> list[Row]:
    """Gaps of sets that were switched off in some places only, and of their controls, with the corpus of each."""
    return [
        {"corpus": part.name, "row": row[column], "series": series_of(row["control"], row["measure"])} | marks_of(row)
        for part in study.mains
        for row in acting(part.table("effects"), "deactivate", *roles)
        .filter(pl.col("control").is_in(["target", "matched"]), pl.col("measure").is_in(["gap", "excess_gap"]))
        .iter_rows(named=True)
    ]


def _panels(
    study: StudyRuns, found: Sequence[Row], order: Sequence[str], y: str, heading: alt.TitleParams
) -> Chart | None:
    frames = {where(study, part): [row for row in found if row["corpus"] == part.name] for part in study.mains}
    return panels(frames, order, GAP, y, heading)


def draw_profile(study: StudyRuns) -> Chart | None:
    """The excess gap of each single layer's neurons, over how many neurons of the sets lie there; a panel a corpus."""
    shown = {where(study, part): part.own("profile") for part in study.mains}
    drawn = [(name, _profile(found)) for name, found in shown.items() if len(found)]
    rows = [row for found in shown.values() for row in found.select("hollow").to_dicts()]
    beyond = any(found["excess_gap"].count() for found in shown.values())
    what = "Circle: selected; square: selected minus matched." if beyond else "No matched control was asked."
    heading = title(
        "In which single layer switching off takes effect",
        f"{INTERVALS} All selected neurons of that layer, and no others, were switched off; below zero: more specific. "
        f"{what} Bars: neurons of a set in that layer, mean over emotions. Layers do not add up: later ones may make "
        f"up for earlier ones.{hollow_note(rows)}",
    )
    return side_by_side(drawn, heading, across=1)


def _profile(found: pl.DataFrame) -> alt.VConcatChart:
    measures = {"gap": "selected"} | ({"excess_gap": "difference"} if found["excess_gap"].count() else {})
    rows = [
        {"layer": row["layer"], "series": series, **estimate_of(row, name), "hollow": bool(row["hollow"])}
        for row in found.iter_rows(named=True)
        for name, series in measures.items()
    ]
    names, gap = list(measures.values()), "gap (points)"
    colour = alt.Color("series:N", legend=None).scale(domain=names, range=[SERIES[name][0] for name in names])
    shape = alt.Shape("series:N", legend=None).scale(domain=names, range=[SERIES[name][1] for name in names])
    fill = alt.condition("datum.hollow", alt.value(LIGHT.page), colour)
    base = alt.Chart(pl.DataFrame(rows, infer_schema_length=None)).encode(
        x=alt.X("layer:O", title=None).axis(labels=False, ticks=False),
        xOffset=alt.XOffset("series:N").scale(domain=names),
        color=colour,
    )
    width = max(200, min(640, 44 * found.height))
    zero = alt.Chart(pl.DataFrame({"at": [0.0]})).mark_rule(color=LIGHT.muted, strokeDash=[4, 3])
    span = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=2, opacity=0.75)
    dot = base.mark_point(size=45, opacity=1, strokeWidth=1.4)
    upper = alt.layer(
        zero.encode(y=alt.Y("at:Q", title=gap)),
        span.encode(y=alt.Y("low:Q", title=gap), y2="high:Q"),
        dot.encode(y=alt.Y("estimate:Q", title=gap).scale(zero=True), fill=fill, shape=shape),
    )
    size = min(22, width / found.height / 2)
    lower = alt.Chart(found.select("layer", "neurons")).mark_bar(color=LIGHT.muted, size=size)
    lower = lower.encode(
        x=alt.X("layer:O", title="layer switched off (number from the input)").axis(labelAngle=0, labelOverlap=True),
        y=alt.Y("neurons:Q", title="neurons (count)").axis(tickCount=3),
    )
    return alt.vconcat(upper.properties(width=width, height=170), lower.properties(width=width, height=60), spacing=8)


def _fewest(part: Part, names: Sequence[str]) -> str:
    """How many neurons an emotion has in the range that holds fewest of its set."""
    held = part.own("layers").filter(control="target")
    ranges = [map(int, name.split("-")) for name in names if RESELECTED not in name]
    inside = [
        held.filter(pl.col("layer").is_between(first, last)).group_by("emotion").agg(pl.col("neurons").sum())
        for first, last in ranges
    ]
    if not inside:
        return ""
    fewest = pl.concat(inside).group_by("emotion").agg(pl.col("neurons").min())["neurons"].to_list()
    return f" (about {min(fewest)} to {max(fewest)} an emotion)" if fewest else ""


QUESTIONS = (
    Question(
        "layers",
        20,
        (
            Figure("positions", draw_positions, "neurons were not switched off by position", pages="both"),
            Figure("ranges", draw_ranges, "sets were not restricted to ranges of layers", pages="both"),
            Figure("profile", draw_profile, "neurons were not switched off layer by layer", pages="both"),
        ),
        tables={"profile": lambda part: profile(part.table("effects"), part.table("layers"))},
    ),
)
