"""In which layers do the selected neurons lie, and in which layers and at which positions does switching off take effect?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from emoscope.analysis.clusters import clustered
from emoscope.analysis.estimate import benjamini_hochberg, estimate_of, named
from emoscope.analysis.load import Run
from emoscope.analysis.parts import Part, Row, StudyRuns
from emoscope.chapters.sets import ALL, layers_and_width, stored_sets
from emoscope.report import plots
from emoscope.report.page import Figure, Question
from emoscope.report.theme import LIGHT, Chart, title, titled
from emoscope.report.wording import by_key, name_selector, where
from emoscope.schemas import as_table, empty
from emoscope.vocabulary import RESELECTED, Role, acting
from emoscope.wording import listed, number

SET = ("selector", "budget", "scope")


def layers(run: Run) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Count the neurons of each set per layer, for the sets fitted on all speakers.

    Returns:
        the columns of table ``layers`` (share in % of the set) for target and shuffled sets, and notes on what
        could not be counted.
    """
    count, width = layers_and_width(run)
    sets = run.sets.filter(pl.col("control").is_in(["target", "shuffled"]), fold=ALL)
    if sets.is_empty():
        return empty("layers"), ()
    if not count or not width:
        return empty("layers"), ("layers: the manifest does not say how many layers the model has",)
    rows, notes = [], set()
    for row in sets.select("set", *SET, "control", "draw").unique().sort("set").iter_rows(named=True):
        stored = stored_sets(run.folder, [(row.pop("set"), ALL)])
        if stored is None:
            notes.add(f"layers: no neurons stored for a {row['control']} set of {row['selector']}")
            continue
        for emotion, neurons in stored[0].items():
            for layer, n in enumerate(np.bincount(neurons // width, minlength=count)):
                about = {"emotion": emotion, "layer": layer, "neurons": int(n)}
                rows.append(row | about | {"share": 100 * int(n) / max(len(neurons), 1)})
    return as_table("layers", rows), tuple(sorted(notes))


def clustering(run: Run) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """How unevenly the sets of every selector lie over the layers, and those found on shuffled labels.

    Returns:
        the columns of table ``clustering``, one row for each selector, budget and scope that has sets of shuffled
        labels: estimate in % (:func:`~emoscope.analysis.clusters.unevenness`, mean over emotions) of the sets fitted on all speakers, with the
        jackknife interval over folds, each set of a fold having been found without its speakers; and the mean,
        smallest and largest over the draws of shuffled labels. Then notes on what could not be computed.
    """
    layers, width = layers_and_width(run)
    there = run.sets.filter(pl.col("control").is_in(["target", "shuffled"]))
    if there.filter(control="shuffled").is_empty():
        return empty("clustering"), ()
    if not layers or not width:
        return empty("clustering"), ("clustering: the manifest does not say how many layers there are",)
    clips = dict(run.items.filter(status="used").group_by("fold").len().iter_rows())
    rows, notes = [], set()
    for about, group in there.sort("set").group_by(SET, maintain_order=True):
        target, shuffled = (group.filter(control=control) for control in ("target", "shuffled"))
        if target.is_empty() or shuffled.is_empty():
            continue
        folds = target.filter(pl.col("fold") != ALL)["fold"].unique().sort()
        own = stored_sets(run.folder, [(target["set"][0], fold) for fold in (ALL, *folds)])
        others = stored_sets(run.folder, [(name, ALL) for name in shuffled["set"].unique().sort()])
        if own is None or others is None:
            notes.add(f"clustering: no neurons stored for sets of {about[0]}")
            continue
        sizes = np.array([clips.get(fold, 0) for fold in folds])
        rows.append(dict(zip(SET, about, strict=True)) | clustered(own, sizes, others, layers, width))
    return as_table("clustering", rows), tuple(sorted(notes))


def draw_layers(study: StudyRuns) -> Chart | None:
    """The share of neurons per layer, next to sets from shuffled labels: of the headline, or of a run's every selector."""
    found: dict[str, pl.DataFrame] = {}
    for part in study.mains:
        sized, alone = part.sized(part.table("layers")), len(study.mains) == 1
        for selector in part.selectors if alone else [part.selector]:
            own = sized.filter(pl.col("selector").eq_missing(pl.lit(selector)))
            if "target" in set(own["control"]):
                means = own.group_by("control", "layer").agg(pl.col("share").mean()).sort("control", "layer")
                found[name_selector(selector) if alone else part.name] = means
    top = max((share for means in found.values() for share in means["share"]), default=1.0) * 1.05
    drawn: list[tuple[str, Chart]] = []
    for name, means in found.items():
        size = max(2.0, min(26.0, (plots.WIDTH + 30) * 0.8 / means["layer"].n_unique()))
        x = alt.X("layer:O", title="layer (number from the input)").axis(labelAngle=0, labelOverlap=True)
        y = alt.Y("share:Q", title="share of the set (%)").scale(domain=[0, top])
        bars = alt.Chart(means.filter(control="target")).mark_bar(color=LIGHT.accent, size=size)
        marked = [bars.encode(x=x, y=y)]
        if len(shuffled := means.filter(control="shuffled")):
            tick = alt.Chart(shuffled).mark_tick(color=LIGHT.ink, thickness=2, size=size + 4, orient="horizontal")
            marked.append(tick.encode(x=x, y=y))
        drawn.append((name, alt.layer(*marked, width=plots.WIDTH + 30, height=160)))
    heading = title(
        "In which layers the selected neurons lie",
        "Bar: share of the set, mean over emotions; horizontal tick: the same for sets found on shuffled labels. "
        "Only a bar that leaves its tick says something about emotion.",
    )
    return plots.side_by_side(drawn, heading)


def draw_layers_by_emotion(part: Part) -> Chart | None:
    """The share of the headline selector's neurons per layer and emotion."""
    found = part.own("layers").filter(control="target")
    if found.is_empty():
        return None
    cells = found.select(row="emotion", column=pl.col("layer").cast(pl.String), value="share")
    emotions = [e for e in part.responses.labels if e in set(found["emotion"])]
    columns = [str(layer) for layer in found["layer"].unique().sort()]
    chart = plots.heat(cells, emotions, columns, "layer (number from the input)", "neurons of", "share of the set (%)")
    heading = title(
        f"In which layers each emotion's neurons lie ({name_selector(part.selector)})",
        "Each row adds up to 100 %: of the neurons selected for that emotion, the share in the column's layer.",
    )
    return titled(chart, heading)


def say_layers(study: StudyRuns) -> list[str]:
    """Which layers hold more of the headline's neurons than of sets found on shuffled labels."""
    sentences = []
    for part in study.mains:
        shares = part.own("layers").group_by("control", "draw", "layer").agg(pl.col("share").mean())
        most = shares.filter(control="shuffled").group_by("layer").agg(most=pl.col("share").max())
        own = shares.filter(control="target")
        if own.is_empty() or most.is_empty():
            continue
        above = own.join(most, on="layer").filter(pl.col("share") > pl.col("most"))
        lead = f"On {part.name}" if len(study.mains) > 1 else "Of the headline’s neurons"
        if above.is_empty():
            sentences.append(f"{lead}, no layer holds more than every set found on shuffled labels has there.")
            continue
        top = above.sort(pl.col("share") - pl.col("most")).row(-1, named=True)
        which = listed([str(layer) for layer in above["layer"].sort()])
        sentences.append(
            f"{lead}, layer{'s' if len(above) > 1 else ''} {which} hold{'' if len(above) > 1 else 's'} more than any set "
            f"found on shuffled labels; furthest above stands layer {top['layer']} with {number(top['share'])} % "
            f"(shuffled: at most {number(top['most'])} %)."
        )
    return sentences


def profile(effects: pl.DataFrame, layers: pl.DataFrame) -> pl.DataFrame:
    """The gap of each single layer's neurons, alone and beyond matched ones, beside how many neurons lie there.

    Returns:
        the columns of table ``profile``, a row a set and layer; gaps in points, ``neurons`` as mean, fewest and most
        over emotions. q values are Benjamini and Hochberg's over the layers of a set. Empty where sets were not
        switched off layer by layer.
    """
    place = (*SET, "layer")
    count = pl.col("neurons")
    counts = layers.filter(control="target").group_by(place)
    held = by_key(counts.agg(count.mean(), neurons_min=count.min(), neurons_max=count.max()), *place)
    alone = acting(effects, "deactivate", "single layer").with_columns(layer=pl.col("layers").cast(pl.Int64))
    rows: dict[tuple[Any, ...], Row] = {}
    for name, control in (("gap", "target"), ("matched_gap", "matched"), ("excess_gap", "target")):
        for row in alone.filter(control=control, measure=name.removeprefix("matched_")).iter_rows(named=True):
            key = tuple(row[column] for column in place)
            layer = rows.setdefault(key, dict(zip(place, key, strict=True)) | held.get(key, {}))
            layer |= named(name, row) | {"unreliable": layer.get("unreliable") or row["unreliable"]}
            if name == "excess_gap" or layer.get("speakers") is None:
                layer |= {"speakers": row["speakers"], "reason": row["reason"]}
    for about in {key[:-1] for key in rows}:
        of_set = [layer for key, layer in rows.items() if key[:-1] == about]
        for layer, q in zip(of_set, benjamini_hochberg([layer.get("excess_gap_p") for layer in of_set]), strict=True):
            layer["excess_gap_q"] = q
    return as_table("profile", rows.values())


def draw_ranges(study: StudyRuns) -> Chart | None:
    """The gap by the layers in which neurons were switched off, equally many in each range, next to matched controls."""
    frames, found = _by_place(study, "layers", "layers")
    names = sorted(plots.names_of(found), key=lambda name: (RESELECTED in name, *map(int, name.split()[0].split("-"))))
    fewest = _fewest(study.parts[0], names) if len(study.mains) == 1 else ""
    several = any(RESELECTED in name for name in names)
    anew = " Reselected: the best neurons of these layers, as many in each." if several else ""
    heading = title(
        "In which layers switching off takes effect",
        f"{plots.INTERVALS} The selected neurons of these layers alone, cut at random to the number in the range that "
        f"holds fewest{fewest}; further left: more specific.{anew} {plots.SERIES_KEY}{plots.hollow_note(found)}",
    )
    return plots.panels(frames, names, plots.GAP, "layers switched off", heading)


def draw_positions(study: StudyRuns) -> Chart | None:
    """The gap by the positions at which neurons were switched off, next to matched controls."""
    frames, found = _by_place(study, "positions", "headline", "position")
    there = plots.names_of(found)
    if len(there) < 2:
        return None
    known = ("all", "audio", "text", "decision", "answer")
    order = [*(name for name in known if name in there), *sorted(set(there) - set(known))]
    heading = title(
        "Where in the prompt switching off takes effect",
        f"{plots.INTERVALS} The same neurons, switched off only at the named positions; further left: more specific. "
        f"{plots.SERIES_KEY}{plots.hollow_note(found)}",
    )
    return plots.panels(frames, order, plots.GAP, "positions switched off", heading)


def _by_place(study: StudyRuns, column: str, *roles: Role) -> tuple[dict[str, list[Row]], list[Row]]:
    """Gaps of sets that were switched off in some places only, and of their controls: by corpus, and all of them."""
    shown = pl.col("control").is_in(["target", "matched"]) & pl.col("measure").is_in(["gap", "excess_gap"])
    frames = {
        where(study, part): [
            {"row": row[column], "series": plots.series_of(row["control"], row["measure"])} | plots.marks_of(row)
            for row in acting(part.table("effects"), "deactivate", *roles).filter(shown).iter_rows(named=True)
        ]
        for part in study.mains
    }
    return frames, [row for rows in frames.values() for row in rows]


def draw_profile(study: StudyRuns) -> Chart | None:
    """The excess gap of each single layer's neurons, over how many neurons of the sets lie there; a panel a corpus."""
    shown = {where(study, part): part.own("profile") for part in study.mains}
    drawn = [(name, _profile(found)) for name, found in shown.items() if len(found)]
    rows = [row for found in shown.values() for row in found.select("unreliable").to_dicts()]
    beyond = any(found["excess_gap"].count() for found in shown.values())
    what = "Circle: selected; square: selected minus matched." if beyond else "No matched control was asked."
    heading = title(
        "In which single layer switching off takes effect",
        f"{plots.INTERVALS} All selected neurons of that layer, and no others, were switched off; below zero: more "
        f"specific. {what} Bars: neurons of a set in that layer, mean over emotions. Layers do not add up: later ones "
        f"may make up for earlier ones.{plots.hollow_note(rows)}",
    )
    return plots.side_by_side(drawn, heading, columns=1)


def _profile(found: pl.DataFrame) -> alt.VConcatChart:
    measures = {"gap": "selected"} | ({"excess_gap": "difference"} if found["excess_gap"].count() else {})
    rows = [
        {"layer": row["layer"], "series": series, **estimate_of(row, name), "unreliable": bool(row["unreliable"])}
        for row in found.iter_rows(named=True)
        for name, series in measures.items()
    ]
    names, gap = list(measures.values()), "gap (points)"
    colour = alt.Color("series:N", legend=None).scale(domain=names, range=[plots.SERIES[name][0] for name in names])
    shape = alt.Shape("series:N", legend=None).scale(domain=names, range=[plots.SERIES[name][1] for name in names])
    fill = alt.condition("datum.unreliable", alt.value(LIGHT.page), colour)
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
        span.encode(y=alt.Y("low:Q", title=gap), y2=alt.Y2("high:Q")),
        dot.encode(y=alt.Y("estimate:Q", title=gap).scale(zero=True), fill=fill, shape=shape),
        width=width,
        height=170,
    )
    size = min(22, width / found.height / 2)
    lower = alt.Chart(found.select("layer", "neurons")).mark_bar(color=LIGHT.muted, size=size)
    lower = lower.encode(
        x=alt.X("layer:O", title="layer switched off (number from the input)").axis(labelAngle=0, labelOverlap=True),
        y=alt.Y("neurons:Q", title="neurons (count)").axis(tickCount=3),
    )
    return alt.vconcat(upper, lower.properties(width=width, height=60), spacing=8)


def _fewest(part: Part, names: Sequence[str]) -> str:
    """How many neurons an emotion has in the range that holds fewest of its set."""
    held = part.own("layers").filter(control="target")
    inside = []
    for first, last in (map(int, name.split("-")) for name in names if RESELECTED not in name):
        inside.append(held.filter(pl.col("layer").is_between(first, last)).group_by("emotion").agg(pl.sum("neurons")))
    fewest = pl.concat(inside).group_by("emotion").agg(pl.min("neurons"))["neurons"] if inside else ()
    return f" (about {min(fewest)} to {max(fewest)} an emotion)" if len(fewest) else ""


QUESTIONS = (
    Question(
        "layers",
        10,
        (
            Figure("layers", draw_layers, "no neuron sets are stored", pages="both"),
            Figure("layers_by_emotion", draw_layers_by_emotion, "no neuron sets are stored"),
        ),
        says=say_layers,
        says_on="both",
        tables={"layers": lambda part: layers(part.run), "clustering": lambda part: clustering(part.run)},
    ),
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
