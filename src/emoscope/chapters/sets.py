"""How large, how alike and how well matched the sets are, and which words their neurons write."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from emoscope.analysis.load import Run
from emoscope.analysis.parts import Part, Row
from emoscope.neurons.sets import load_set
from emoscope.neurons.sources import expected_jaccard
from emoscope.report.page import Figure, Note, Question, Table
from emoscope.report.plots import dots, marks_of, series_of
from emoscope.report.theme import Chart, title, titled
from emoscope.report.wording import CONTROLS, MATCHED_IN, name_selector
from emoscope.schemas import as_table, conform
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
    holds[np.repeat(np.arange(len(sets)), [len(neurons) for neurons in sets]), places] = 1
    both, sizes = holds @ holds.T, holds.sum(axis=1)
    first, second = np.triu_indices(len(sets), k=1)
    either = sizes[first] + sizes[second] - both[first, second]
    return np.asarray(np.divide(both[first, second], either, out=np.ones(len(first)), where=either > 0), dtype=float)


def layers_and_width(run: Run) -> tuple[int, int]:
    """How many layers a run's model has, and neurons in each; 0 where the manifest does not say."""
    model = run.manifest.get("model") or {}
    return model.get("layers") or 0, model.get("width") or 0


def stability(run: Run) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """How far the sets found on different folds agree: the Jaccard index of every two folds.

    Labels are shuffled anew for each fold, so the agreement of sets of shuffled labels is what a selector
    prefers whatever the labels say.

    Returns:
        the columns of table ``stability`` (mean, smallest and largest over pairs of folds and, for shuffled
        labels, over draws; ``chance`` for two random sets of the mean size; ``n`` in clips per emotion, of the
        fold with the fewest), and notes on sets that are not stored. Empty where a study has one fold.
    """
    chosen = run.sets.filter(pl.col("fold") != ALL, pl.col("control").is_in(["target", "shuffled"]))
    neurons = math.prod(layers_and_width(run))
    about = ("selector", "budget", "scope", "control")
    pairs: dict[tuple[object, ...], list[np.ndarray]] = {}
    rows: dict[tuple[object, ...], Row] = {}
    notes = set()
    by_set = chosen.group_by("set", *about, "draw").agg(pl.col("fold").unique().sort(), pl.col("n").min())
    for row in by_set.filter(pl.col("fold").list.len() > 1).sort("set").iter_rows(named=True):
        stored = stored_sets(run.folder, [(row["set"], fold) for fold in row["fold"]])
        if stored is None:
            notes.add(f"stability: no neurons stored for a {row['control']} set of {row['selector']}")
            continue
        for emotion in sorted(set.intersection(*map(set, stored))):
            key, sets = (*(row[name] for name in about), emotion), [by_emotion[emotion] for by_emotion in stored]
            pairs.setdefault(key, []).append(jaccard(sets))
            size = round(float(np.mean([len(indices) for indices in sets])))
            rows[key] = dict(zip((*about, "emotion"), key, strict=True)) | {"folds": len(sets), "n": row["n"]}
            rows[key]["chance"] = expected_jaccard(size, size, neurons) if neurons else None
    for key, row in rows.items():
        every = np.concatenate(pairs[key])
        row |= {"jaccard": float(every.mean()), "jaccard_min": float(every.min()), "jaccard_max": float(every.max())}
    return as_table("stability", rows.values()), tuple(sorted(notes))


def matching(run: Run) -> pl.DataFrame:
    """How like their sets the matched controls are, in each covariate that they were matched on.

    Returns:
        the columns of table ``matching``: mean and largest absolute standardised mean difference over folds and
        draws, and the percentage of controls that count as well matched (all differences at most 0.25).
    """
    chosen = run.sets.filter(control="matched")
    acting = chosen.filter(pl.col("fold") != ALL)
    by = ("selector", "budget", "scope", "emotion")
    grouped = (chosen if acting.is_empty() else acting).group_by(by)
    well = 100 * pl.col("well_matched").cast(pl.Float64).mean()
    parts = []
    for name in MATCHED_IN:
        apart = pl.col(f"smd_{name}").abs()
        means = grouped.agg(smd_mean=apart.mean(), smd_largest=apart.max(), share_well_matched=well)
        parts.append(means.with_columns(covariate=pl.lit(name)))
    return conform(pl.concat(parts), "matching").sort(*by, "covariate")


def draw_stability(part: Part) -> Chart | None:
    """How much the sets of different folds overlap, next to shuffled labels and to chance."""
    found = part.sized(part.table("stability")).filter(pl.col("jaccard").is_not_null())
    order = [name for name in part.selectors if name in set(found["selector"])]
    if not order:
        return None
    means = found.group_by("selector", "control").agg(
        estimate=100 * pl.col("jaccard").mean(),
        low=100 * pl.col("jaccard_min").min(),
        high=100 * pl.col("jaccard_max").max(),
    )
    rows = [
        {"row": name_selector(row["selector"]), "series": series_of(row["control"])} | marks_of(row)
        for row in means.sort("selector", pl.col("control") == "target").iter_rows(named=True)
    ]
    by_chance = 100 * (found.select(pl.col("chance").mean()).item() or 0.0)
    names, x = [name_selector(name) for name in order], "neurons shared by two folds' sets (%)"
    chart = dots(rows, names, x, "selector", domain=(0, 100), rule=by_chance, rule_name="chance")
    shuffled = " diamond: sets from shuffled labels;" if set(found["control"]) != {"target"} else ""
    heading = title(
        "How alike the sets are that were found on different speakers",
        f"Circle: mean over emotions and pairs of folds (Jaccard index);{shuffled} line: from the least to the most alike "
        "pair. Dashed line: two random sets of that size.",
    )
    return titled(chart, heading)


SHOWN_TOKENS = 6
"""Tokens named per emotion and direction."""

CALLED = CONTROLS | {
    "misses": "found on misses",
    "hits-as-misses": "as many hits as misses",
    "false-alarms": "found on false alarms",
    "hits-as-false-alarms": "as many hits as false alarms",
}
"""How controls, and the sets of the baseline's outcomes, are called; rows stand in this order."""


def tabulate_sets(part: Part) -> pl.DataFrame | None:
    """Sizes wanted and reached, ties and negative means, over folds and emotions."""
    found = part.run.sets.filter(pl.col("control") != "fewer")
    grouped = found.group_by("selector", "budget", "scope", "control", maintain_order=True).agg(
        pl.col("draw").n_unique().alias("draws"),
        pl.col("n").min(),
        pl.col("size_wanted").max(),
        pl.col("size_reached").min().alias("least"),
        pl.col("size_reached").max().alias("most"),
        pl.col("tied_at_cut").max(),
        (100 * pl.col("share_negative_mean").mean()).alias("negative"),
        (100 * pl.col("letter_share").max()).alias("letter"),
        (100 * pl.col("names_kept").mean()).alias("kept"),
    )

    def place(row: Row) -> tuple[int, float, str, int]:
        selectors, called = [*part.selectors, row["selector"]], [*CALLED, row["control"]]
        own, control = selectors.index(row["selector"]), called.index(row["control"])
        return own, row["budget"] or 0, row["scope"] or "", control

    rows = [
        {
            "neurons": f"{name_selector(row['selector'])}, {CALLED.get(row['control'], row['control'])}",
            "budget (%)": number(100 * (row["budget"] or 0), 2),
            "scope": row["scope"],
            "draws": str(row["draws"]),
            "clips per emotion": number(row["n"], 0),
            "size wanted": str(row["size_wanted"]),
            "size reached": " to ".join(dict.fromkeys(number(row[end], 0) for end in ("least", "most"))),
            "tied at the cut (most)": number(row["tied_at_cut"], 0),
            "negative mean (%)": number(row["negative"]),
            "behind one letter (most, %)": number(row["letter"]),
            "clips with their own label (%)": number(row["kept"]),
        }
        for row in sorted(grouped.iter_rows(named=True), key=place)
    ]
    if not rows:
        return None
    sometimes = {"letter_share": "behind one letter (most, %)", "names_kept": "clips with their own label (%)"}
    return pl.DataFrame(rows).drop(shown for name, shown in sometimes.items() if not found[name].count())


def tabulate_matching(part: Part) -> pl.DataFrame | None:
    """How like the headline's sets their matched controls are, per covariate."""
    grouped = part.own("matching").group_by("covariate", maintain_order=True)
    rows = [
        {
            "covariate": MATCHED_IN.get(row["covariate"], row["covariate"]),
            "mean difference (SD)": number(row["smd_mean"], 2),
            "largest difference (SD)": number(row["smd_largest"], 2),
        }
        for row in grouped.agg(pl.col("smd_mean").mean(), pl.col("smd_largest").max()).iter_rows(named=True)
    ]
    return pl.DataFrame(rows) if rows else None


def tabulate_words(part: Part) -> pl.DataFrame | None:
    """Per emotion, the tokens that most of the headline's neurons raise or lower."""
    rows = []
    for emotion in _emotions(part):
        own = part.table("neurons").filter(emotion=emotion)
        raised, lowered = ([tokens or [] for tokens in own[way].to_list()] for way in ("raises", "lowers"))
        rows.append(
            {
                "emotion": emotion,
                "size": str(len(own)),
                "raise its own name": _naming(raised, emotion),
                "lower its own name": _naming(lowered, emotion),
                "raised most often": _commonest(raised),
                "lowered most often": _commonest(lowered),
            }
        )
    return pl.DataFrame(rows) if rows else None


def _naming(written: Iterable[Sequence[str]], emotion: str) -> str:
    """Of how many neurons a token is the emotion's name."""
    return str(sum(emotion.lower() in [token.strip().lower() for token in tokens] for tokens in written))


def tabulate_neurons(part: Part) -> pl.DataFrame | None:
    """A few neurons of each emotion with the tokens that they raise and lower."""
    emotions, folds = _emotions(part), _folds(part)
    rows = []
    for emotion in emotions:
        own = part.table("neurons").filter(emotion=emotion).rows(named=True)
        chosen = {row["neuron"]: sum(row["neuron"] in fold.get(emotion, ()) for fold in folds) for row in own}
        ordered = sorted(own, key=lambda row: (-chosen[row["neuron"]], -row["layer"], row["index"]))
        rows += [
            {
                "emotion": emotion,
                "layer": str(row["layer"]),
                "index": str(row["index"]),
                "folds": f"{chosen[row['neuron']]} of {len(folds)}",
                "raises": "  ".join(map(_visible, row["raises"] or [])),
                "lowers": "  ".join(map(_visible, row["lowers"] or [])),
            }
            for row in ordered[: 5 if len(emotions) <= 4 else 3]
        ]
    if not rows:
        return None
    return pl.DataFrame(rows).drop([] if len(folds) > 1 else ["folds"])


def _emotions(part: Part) -> list[str]:
    there = set(part.table("neurons")["emotion"])
    return [label for label in part.responses.labels if label in there] or sorted(there)


def _folds(part: Part) -> list[dict[str, np.ndarray]]:
    """The neurons of the headline's sets in each fold; empty where they are not stored."""
    chosen = part.own(part.run.sets).filter(pl.col("fold") != ALL, control="target")
    names = sorted(set(chosen.select("set", "fold").iter_rows()))
    return [group for name in names for group in stored_sets(part.run.folder, [name]) or ()]


def _commonest(written: Iterable[Sequence[str]]) -> str:
    counts = Counter(token for tokens in written for token in tokens)
    ordered = sorted(counts.items(), key=lambda counted: (-counted[1], counted[0]))
    readable = [(token, n) for token, n in ordered if "�" not in token and token.strip()]
    return ", ".join(f"{_visible(token)} ({n})" for token, n in readable[:SHOWN_TOKENS])


def _visible(token: str) -> str:
    """A token with its leading space shown, since it is part of the token."""
    return "".join("␣" if letter.isspace() else letter for letter in token) or "∅"


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
