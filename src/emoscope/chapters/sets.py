"""How large, how alike and how well matched the sets are, and which words their neurons write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.load import Run
from emoscope.analysis.parts import Part
from emoscope.neurons.sets import expected_jaccard, load_set
from emoscope.report.page import Figure, Note, Question, Table
from emoscope.report.plots import dots
from emoscope.report.theme import title
from emoscope.report.wording import CONTROLS, MATCHED_IN, name_selector
from emoscope.schemas import as_table, schema
from emoscope.wording import number

ALL = "all"
"""The fold of the sets found on every speaker; they are shown, and never act on the items they were found on."""


def stored_sets(folder: Path, which: Iterable[tuple[str, str]]) -> list[dict[str, np.ndarray]] | None:
    """The neurons of each emotion, for sets of a run folder by names and folds; ``None`` where one is not stored."""
    try:
        return [load_set(folder / "sets", name, fold) for name, fold in which]
    except FileNotFoundError:
        return None


def jaccard(sets: list[np.ndarray]) -> np.ndarray:
    """The Jaccard index (shared neurons over neurons in either) of every two sets, dimension (pair).

    Example:
        >>> jaccard([np.array([1, 2, 3]), np.array([2, 3, 4]), np.array([7])]).tolist()
        [0.5, 0.0, 0.0]
    """
    names, places = np.unique(np.concatenate(sets), return_inverse=True)
    holds = np.zeros((len(sets), len(names)), dtype=np.float32)
    holds[np.repeat(np.arange(len(sets)), [len(one) for one in sets]), places] = 1
    both, sizes = holds @ holds.T, holds.sum(axis=1)
    first, second = np.triu_indices(len(sets), k=1)
    either = sizes[first] + sizes[second] - both[first, second]
    return np.asarray(np.divide(both[first, second], either, out=np.ones(len(first)), where=either > 0), dtype=float)


def stability(run: Run) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """How far the sets found on different folds agree: the Jaccard index of every two folds.

    Labels are shuffled anew for each fold, so the agreement of sets of shuffled labels is what a selector
    prefers whatever the labels say.

    Args:
        run: the run folder's tables; the neurons are read from ``sets/``.

    Returns:
        the columns of table ``stability`` (mean, smallest and largest over pairs of folds and, for shuffled
        labels, over draws; ``chance`` for two random sets of the mean size; ``n`` in clips per emotion, of the
        fold with the fewest), and notes on sets that are not stored. Empty where a study has one fold.
    """
    chosen = run.sets.filter((pl.col("fold") != ALL) & pl.col("control").is_in(["target", "shuffled"]))
    model: Any = run.manifest.get("model", {})
    neurons = (model.get("layers") or 0) * (model.get("width") or 0)
    found: dict[tuple[Any, ...], list[np.ndarray]] = {}
    info: dict[tuple[Any, ...], dict[str, Any]] = {}
    notes = []
    by_set = chosen.group_by("set", "selector", "budget", "scope", "control", "draw").agg(
        pl.col("fold").unique().sort(), pl.col("n").min()
    )
    for row in by_set.sort("set").iter_rows(named=True):
        if len(row["fold"]) < 2:
            continue
        stored = stored_sets(run.folder, [(row["set"], fold) for fold in row["fold"]])
        if stored is None:
            notes.append(f"stability: no neurons stored for a {row['control']} set of {row['selector']}")
            continue
        for emotion in sorted(set.intersection(*[set(one) for one in stored])):
            key = (row["selector"], row["budget"], row["scope"], row["control"], emotion)
            sets = [one[emotion] for one in stored]
            found.setdefault(key, []).append(jaccard(sets))
            size = round(float(np.mean([len(one) for one in sets])))
            info[key] = {
                "folds": len(sets),
                "n": row["n"],
                "chance": expected_jaccard(size, size, neurons) if neurons else None,
            }
    rows = []
    for key, values in found.items():
        every = np.concatenate(values)
        row = dict(zip(("selector", "budget", "scope", "control", "emotion"), key, strict=True)) | info[key]
        row |= {"jaccard": float(every.mean()), "jaccard_min": float(every.min()), "jaccard_max": float(every.max())}
        rows.append(row)
    return as_table("stability", rows), tuple(sorted(set(notes)))


def matching(run: Run) -> pl.DataFrame:
    """How like their sets the matched controls are, in each covariate that they were matched on.

    Args:
        run: the run folder's tables.

    Returns:
        the columns of table ``matching``: mean and largest absolute standardised mean difference over folds and
        draws, and the percentage of controls that count as well matched (all differences at most 0.25).
    """
    chosen = run.sets.filter(pl.col("control") == "matched")
    acting = chosen.filter(pl.col("fold") != ALL)
    chosen = chosen if acting.is_empty() else acting
    by = ["selector", "budget", "scope", "emotion"]
    parts = [
        chosen.group_by(by).agg(
            pl.lit(name).alias("covariate"),
            pl.col(f"smd_{name}").abs().mean().alias("smd_mean"),
            pl.col(f"smd_{name}").abs().max().alias("smd_largest"),
            (100 * pl.col("well_matched").cast(pl.Float64).mean()).alias("share_well_matched"),
        )
        for name in ("frequency", "magnitude", "down_norm")
    ]
    return pl.concat(parts).select(*schema("matching")).cast(pl.Schema(schema("matching"))).sort(*by, "covariate")


def draw_stability(part: Part) -> Any | None:
    """How much the sets of different folds overlap, next to shuffled labels and to chance."""
    found = part.sized(part.table("stability")).filter(pl.col("jaccard").is_not_null())
    order = [name for name in part.selectors if name in set(found["selector"])]
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


SHOWN_TOKENS = 6
"""Tokens named per emotion and direction."""

FOUND_ON = {
    "misses": "found on misses", "hits-as-misses": "as many hits as misses", "false-alarms": "found on false alarms",
    "hits-as-false-alarms": "as many hits as false alarms",
}  # fmt: skip
"""How the sets of the baseline's outcomes are called."""


def tabulate_sets(part: Part) -> pl.DataFrame | None:
    """Sizes wanted and reached, ties and negative means, over folds and emotions."""
    found = part.run.sets.filter(pl.col("control") != "fewer")
    if found.is_empty():
        return None
    grouped = found.group_by("selector", "budget", "scope", "control", maintain_order=True).agg(
        pl.col("draw").n_unique().alias("draws"), pl.col("n").min(), pl.col("size_wanted").max(),
        pl.col("size_reached").min().alias("least"), pl.col("size_reached").max().alias("most"),
        pl.col("tied_at_cut").max(), (100 * pl.col("share_negative_mean").mean()).alias("negative"),
        (100 * pl.col("letter_share").max()).alias("letter"),
    )  # fmt: skip
    order = [*CONTROLS, *FOUND_ON]
    called = CONTROLS | FOUND_ON
    rows = [
        {
            "neurons": f"{name_selector(row['selector'])}, {called.get(row['control'], row['control'])}",
            "budget (%)": number(100 * (row["budget"] or 0), 2), "scope": row["scope"], "draws": str(row["draws"]),
            "clips per emotion": str(row["n"] if row["n"] is not None else "–"), "size wanted": str(row["size_wanted"]),
            "size reached": _range(row["least"], row["most"]),
            "tied at the cut (most)": str(row["tied_at_cut"] if row["tied_at_cut"] is not None else "–"),
            "negative mean (%)": number(row["negative"]), "behind one letter (most, %)": number(row["letter"]),
        }
        for row in sorted(
            grouped.iter_rows(named=True),
            key=lambda r: (part.selectors.index(r["selector"]) if r["selector"] in part.selectors else 99,
                           r["budget"] or 0, r["scope"] or "", order.index(r["control"]) if r["control"] in order else 9),
        )
    ]  # fmt: skip
    frame = pl.DataFrame(rows)
    return frame if found["letter_share"].count() else frame.drop("behind one letter (most, %)")


def tabulate_matching(part: Part) -> pl.DataFrame | None:
    """How like the headline's sets their matched controls are, per covariate."""
    found = part.own("matching")
    grouped = found.group_by("covariate", maintain_order=True).agg(
        pl.col("smd_mean").mean(), pl.col("smd_largest").max()
    )
    rows = [
        {
            "covariate": MATCHED_IN.get(row["covariate"], row["covariate"]),
            "mean difference (SD)": number(row["smd_mean"], 2), "largest difference (SD)": number(row["smd_largest"], 2),
        }
        for row in grouped.iter_rows(named=True)
    ]  # fmt: skip
    return pl.DataFrame(rows) if rows else None


def tabulate_words(part: Part) -> pl.DataFrame | None:
    """Per emotion, the tokens that most of the headline's neurons raise or lower."""
    found = part.table("neurons")
    rows = []
    for emotion in _emotions(part):
        own = found.filter(pl.col("emotion") == emotion)
        counted = {
            way: Counter(token for tokens in own[way].to_list() for token in tokens or [])
            for way in ("raises", "lowers")
        }
        named = {
            way: sum(any(_is(token, emotion) for token in tokens or []) for tokens in own[way].to_list())
            for way in counted
        }
        rows.append({
            "emotion": emotion, "size": str(len(own)), "raise its own name": str(named["raises"]),
            "lower its own name": str(named["lowers"]), "raised most often": _commonest(counted["raises"]), "lowered most often": _commonest(counted["lowers"]),
        })  # fmt: skip
    return pl.DataFrame(rows) if rows else None


def tabulate_neurons(part: Part) -> pl.DataFrame | None:
    """A few neurons of each emotion with the tokens that they raise and lower."""
    emotions = _emotions(part)
    folds = _folds(part)
    count = 5 if len(emotions) <= 4 else 3
    rows = []
    for emotion in emotions:
        own = part.table("neurons").filter(pl.col("emotion") == emotion).rows(named=True)
        chosen = {
            neuron: sum(neuron in fold.get(emotion, ()) for fold in folds) for neuron in (row["neuron"] for row in own)
        }
        for row in sorted(own, key=lambda row: (-chosen[row["neuron"]], -row["layer"], row["index"]))[:count]:
            rows.append({
                "emotion": emotion, "layer": str(row["layer"]), "index": str(row["index"]),
                "folds": f"{chosen[row['neuron']]} of {len(folds)}" if len(folds) > 1 else "–",
                "raises": _tokens(row["raises"]), "lowers": _tokens(row["lowers"]),
            })  # fmt: skip
    if not rows:
        return None
    frame = pl.DataFrame(rows)
    return frame if len(folds) > 1 else frame.drop("folds")


def _emotions(part: Part) -> list[str]:
    there = set(part.table("neurons")["emotion"])
    return [label for label in part.panel.labels if label in there] or sorted(there)


def _folds(part: Part) -> list[dict[str, set[int]]]:
    """The neurons of the headline's sets in each fold; empty where they are not stored."""
    chosen = part.own(part.run.sets).filter((pl.col("control") == "target") & (pl.col("fold") != "all"))
    found = []
    for name, fold in sorted(set(chosen.select("set", "fold").iter_rows())):
        for group in stored_sets(part.run.folder, [(name, fold)]) or ():
            found.append({emotion: set(neurons.tolist()) for emotion, neurons in group.items()})
    return found


def _commonest(counts: Counter[str]) -> str:
    ordered = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    readable = [(token, n) for token, n in ordered if "�" not in token and token.strip()]
    return ", ".join(f"{_visible(token)} ({n})" for token, n in readable[:SHOWN_TOKENS])


def _is(token: str, emotion: str) -> bool:
    return token.strip().lower() == emotion.lower()


def _tokens(tokens: Iterable[str] | None) -> str:
    return "  ".join(_visible(token) for token in tokens or [])


def _visible(token: str) -> str:
    """A token with its leading space shown, since it is part of the token."""
    return "".join("␣" if letter.isspace() else letter for letter in token) or "∅"


def _range(least: Any, most: Any) -> str:
    return "–" if least is None else (f"{least}" if least == most else f"{least} to {most}")


def without_sets(part: Part) -> list[str]:
    """For which emotions no neurons could be selected, and why."""
    found = part.run.manifest.get("identifiable") or {}
    lost = [f"{emotion}: {why}" for emotion, why in found.items() if not isinstance(why, (int, float))]
    return [f"No neurons could be selected for {'; '.join(lost)}."] if lost else []


def words_note(part: Part) -> list[str]:
    """How to read the words that neurons write."""
    if part.table("neurons").is_empty():
        return []
    return [
        "A neuron adds a fixed vector to the model’s state whenever it fires. Read directly by the output head, that "
        "vector makes some tokens more probable and others less. This is the direct path only: later layers may use the "
        "vector otherwise, so the list describes what a neuron writes, not what it does.",
        f"␣ is a space that belongs to the token; the {SHOWN_TOKENS} most frequent tokens are named, counted over neurons.",
    ]


QUESTIONS = (
    Question(
        "which",
        20,
        (
            Figure("stability", draw_stability, "no sets of two or more folds to compare"),
            Note(without_sets),
            Table(
                "sets",
                tabulate_sets,
                "Sizes in neurons per emotion, over all folds. Negative mean: neurons whose mean activation for "
                "their emotion is below zero, which amplification pushes away from it. Behind one letter: the "
                "largest share of the clips found on that show the right option behind the same letter.",
                missing="neuron sets",
            ),
        ),
        tables={"stability": lambda part: stability(part.run)},
    ),
    Question(
        "controls",
        10,
        (
            Table(
                "matching",
                tabulate_matching,
                "How far matched controls are from the selected neurons: absolute standardised mean differences, "
                "over folds, draws and emotions. Above 0.25 a control is not well matched.",
            ),
        ),
        tables={"matching": lambda part: matching(part.run)},
    ),
    Question(
        "words",
        10,
        (
            Table(
                "words",
                tabulate_words,
                "Tokens among the five that each of an emotion’s neurons raises or lowers most, with the number "
                "of neurons that do.",
                missing="neurons.parquet, the words that neurons write",
            ),
            Table(
                "neurons",
                tabulate_neurons,
                "Single neurons and the tokens that each raises and lowers most. First those chosen in most "
                "folds, and among them those nearest to the output.",
                folded="Single neurons",
            ),
            Note(words_note),
        ),
    ),
)
