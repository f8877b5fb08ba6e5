"""In which layers do the selected neurons lie, next to sets found on shuffled labels, and do they crowd there?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from emoscope.analysis.estimate import Estimate
from emoscope.analysis.load import Run, in_known_order
from emoscope.analysis.parts import Part, StudyRuns
from emoscope.chapters.sets import ALL, stored_sets
from emoscope.report.page import Figure, Question
from emoscope.report.plots import WIDTH, heat, side_by_side
from emoscope.report.theme import LIGHT, title
from emoscope.report.wording import name_selector
from emoscope.schemas import as_table, empty
from emoscope.vocabulary import MINIMUM_SPEAKERS
from emoscope.wording import listed, number


def layers(run: Run) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Count the neurons of each set per layer, for the sets fitted on all speakers.

    Args:
        run: the run folder's tables.

    Returns:
        the columns of table ``layers`` (share in % of the set) for target and shuffled sets, and notes on what
        could not be counted.
    """
    model: Any = run.manifest.get("model", {})
    count, width = model.get("layers"), model.get("width")
    sets = run.sets.filter((pl.col("fold") == "all") & pl.col("control").is_in(["target", "shuffled"]))
    if sets.is_empty():
        return empty("layers"), ()
    if not count or not width:
        return empty("layers"), ("layers: the manifest does not say how many layers the model has",)
    rows, notes = [], []
    by_set = sets.select("set", "selector", "budget", "scope", "control", "draw").unique().sort("set")
    for one in by_set.iter_rows(named=True):
        stored = stored_sets(run.folder, [(one.pop("set"), ALL)])
        if stored is None:
            notes.append(f"layers: no neurons stored for a {one['control']} set of {one['selector']}")
            continue
        for emotion in in_known_order(stored[0]):
            counts = np.bincount(stored[0][emotion] // width, minlength=count)
            total = max(int(counts.sum()), 1)
            rows += [
                one | {"emotion": emotion, "layer": layer, "neurons": int(n), "share": 100 * int(n) / total}
                for layer, n in enumerate(counts)
            ]
    by = ["selector", "budget", "scope", "control", "draw", "emotion", "layer"]
    return as_table("layers", rows).sort(by), tuple(sorted(set(notes)))


def clustering(run: Run) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """How unevenly the sets of every selector lie over the layers, and those found on shuffled labels.

    Args:
        run: the run folder's tables; the neurons are read from ``sets/``.

    Returns:
        the columns of table ``clustering``, one row for each selector, budget and scope that has sets of shuffled
        labels: estimate in % (:func:`unevenness`, mean over emotions) of the sets fitted on all speakers, with the
        jackknife interval over folds, each set of a fold having been found without its speakers; and the mean,
        smallest and largest over the draws of shuffled labels. Then notes on what could not be computed.
    """
    model: Any = run.manifest.get("model", {})
    layers, width = model.get("layers"), model.get("width")
    there = run.sets.filter(pl.col("control").is_in(["target", "shuffled"]))
    if there.filter(pl.col("control") == "shuffled").is_empty():
        return empty("clustering"), ()
    if not layers or not width:
        return empty("clustering"), ("clustering: the manifest does not say how many layers there are",)
    clips = dict(run.items.filter(pl.col("fate") == "used").group_by("fold").len().iter_rows())
    rows, notes = [], set()
    by = ["selector", "budget", "scope"]
    for about, group in there.sort("set").group_by(by, maintain_order=True):
        names = {
            control: group.filter(pl.col("control") == control)["set"].unique().sort().to_list()
            for control in ("target", "shuffled")
        }
        if not names["target"] or not names["shuffled"]:
            continue
        folds = group.filter((pl.col("control") == "target") & (pl.col("fold") != ALL))["fold"].unique().sort()
        own = stored_sets(run.folder, [(names["target"][0], fold) for fold in (ALL, *folds)])
        others = stored_sets(run.folder, [(name, ALL) for name in names["shuffled"]])
        if own is None or others is None:
            notes.add(f"clustering: no neurons stored for sets of {about[0]}")
            continue
        values = [spread(one, layers, width) for one in own]
        found = Estimate(np.array(values), np.array([clips.get(fold, 0) for fold in folds])).interval()
        shuffled = [spread(one, layers, width) for one in others]
        row = dict(zip(by, about, strict=True)) | {
            "estimate": values[0], "low": found.low, "high": found.high, "folds": len(folds), "df": found.df,
            "shuffled": float(np.mean(shuffled)), "shuffled_min": min(shuffled), "shuffled_max": max(shuffled),
            "draws": len(shuffled), "reason": None if found.low is not None else _why(len(folds)),
        }  # fmt: skip
        rows.append(row)
    return as_table("clustering", rows), tuple(sorted(notes))


def _why(folds: int) -> str:
    if folds < 2:
        return "the sets were found once and not on folds of speakers, so that nothing says how they vary"
    return f"only {folds} folds of speakers: an interval needs at least {MINIMUM_SPEAKERS}"


def spread(sets: Mapping[str, np.ndarray], layers: int, width: int) -> float:
    """The mean :func:`unevenness` over the emotions of a set, in %."""
    return float(np.mean([unevenness(np.bincount(one // width, minlength=layers)) for one in sets.values()]))


def unevenness(neurons: np.ndarray | Sequence[int]) -> float:
    """The share, in %, of neurons that would have to move to another layer for all layers to hold equally many.

    It is the total variation distance between the layers' shares and equal ones.

    Args:
        neurons: how many there are in each layer, dimension (layer).

    Example:
        >>> unevenness([5, 5, 5, 5]), unevenness([10, 10, 0, 0]), unevenness([20, 0, 0, 0])
        (0.0, 50.0, 75.0)
    """
    counts = np.asarray(neurons, dtype=float)
    if not counts.sum():
        return 0.0
    return float(50 * np.abs(counts / counts.sum() - 1 / len(counts)).sum())


def draw_layers(part: Part) -> Any | None:
    """The share of each selector's neurons per layer, next to sets from shuffled labels."""
    found = part.sized(part.table("layers"))
    if found.is_empty():
        return None
    means = (
        found.group_by("selector", "control", "layer").agg(pl.col("share").mean()).sort("selector", "control", "layer")
    )
    top = float(means["share"].max() or 1) * 1.05  # type: ignore[arg-type]
    charts = []
    for selector in [s for s in part.selectors if s in set(means["selector"])]:
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


def draw_layers_by_emotion(part: Part) -> Any | None:
    """The share of the headline selector's neurons per layer and emotion."""
    found = part.own("layers").filter(pl.col("control") == "target")
    if found.is_empty():
        return None
    cells = found.select(
        pl.col("emotion").alias("row"), pl.col("layer").cast(pl.String).alias("column"), pl.col("share").alias("value")
    )
    emotions = [e for e in part.panel.labels if e in set(found["emotion"])]
    return heat(
        cells, rows=emotions, columns=[str(layer) for layer in found["layer"].unique().sort()],
        x="layer (number from the input)", y="neurons of", legend="share of the set (%)",
    ).properties(
        title=title(
            f"In which layers each emotion's neurons lie ({name_selector(part.selector)})",
            "Each row adds up to 100 %: of the neurons selected for that emotion, the share in the column's layer.",
        )
    )  # fmt: skip


def _bar(own: pl.DataFrame) -> float:
    return max(2.0, min(26.0, 150 / max(own["layer"].n_unique(), 1)))


def draw_layers_of_parts(study: StudyRuns) -> Any | None:
    """The share of the headline's neurons per layer next to sets from shuffled labels, a panel a corpus."""
    found = {}
    for part in study.mains:
        means = part.own("layers").group_by("control", "layer").agg(pl.col("share").mean())
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


def say_layers(study: StudyRuns) -> list[str]:
    """Which layers hold more of the headline's neurons than of sets found on shuffled labels."""
    said = []
    for part in study.mains:
        shares = part.own("layers").group_by("control", "draw", "layer").agg(pl.col("share").mean())
        own = shares.filter(pl.col("control") == "target").select("layer", "share")
        most = shares.filter(pl.col("control") == "shuffled").group_by("layer").agg(pl.col("share").max().alias("most"))
        if own.is_empty() or most.is_empty():
            continue
        above = (
            own.join(most, on="layer").filter(pl.col("share") > pl.col("most")).sort(pl.col("share") - pl.col("most"))
        )
        if above.is_empty():
            said.append(
                f"On {part.name} no layer holds more of them than every set found on shuffled labels has there."
            )
            continue
        top = above.row(-1, named=True)
        which = listed([str(layer) for layer in sorted(above["layer"].to_list())])
        said.append(
            f"On {part.name}, layer{'s' if len(above) > 1 else ''} {which} hold{'' if len(above) > 1 else 's'} more of them than any set "
            f"found on shuffled labels; furthest above stands layer {top['layer']} with {number(top['share'])} % "
            f"(shuffled: at most {number(top['most'])} %)."
        )
    return said


QUESTIONS = (
    Question(
        "layers",
        10,
        (
            Figure("layers", draw_layers, "no neuron sets are stored"),
            Figure("layers_by_emotion", draw_layers_by_emotion, "no neuron sets are stored"),
            Figure("layers", draw_layers_of_parts, "no neuron sets are stored", pages="study"),
        ),
        says=say_layers,
        tables={"layers": lambda part: layers(part.run), "clustering": lambda part: clustering(part.run)},
    ),
)
