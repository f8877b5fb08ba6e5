"""How far the sets of different folds agree, and how like their sets matched controls are."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.run_tables import Run
from emoscope.neurons.selection import load_set
from emoscope.schemas import as_table, schema

ALL = "all"
"""The fold of the sets found on every speaker; they are shown, and never act on the items they were found on."""


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
        try:
            stored = [load_set(run.folder / "sets", row["set"], fold) for fold in row["fold"]]
        except FileNotFoundError:
            notes.append(f"stability: no neurons stored for a {row['control']} set of {row['selector']}")
            continue
        for emotion in sorted(set.intersection(*[set(one) for one in stored])):
            key = (row["selector"], row["budget"], row["scope"], row["control"], emotion)
            sets = [one[emotion] for one in stored]
            found.setdefault(key, []).append(jaccard(sets))
            size = round(float(np.mean([len(one) for one in sets])))
            info[key] = {"folds": len(sets), "n": row["n"], "chance": chance(size, neurons) if neurons else None}
    rows = []
    for key, values in found.items():
        every = np.concatenate(values)
        row = dict(zip(("selector", "budget", "scope", "control", "emotion"), key, strict=True)) | info[key]
        row |= {"jaccard": float(every.mean()), "jaccard_min": float(every.min()), "jaccard_max": float(every.max())}
        rows.append(row)
    return as_table("stability", rows), tuple(sorted(set(notes)))


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


def chance(size: int, neurons: int) -> float:
    """The expected Jaccard index of two random sets of ``size`` of all neurons.

    The number they share is hypergeometric; i shared neurons give i / (2 size - i).

    Example:
        >>> round(chance(1, 4), 6)  # one of four: the same with probability 1/4
        0.25
        >>> round(chance(2, 3), 6)  # two of three: both with probability 1/3, else one of three: 1/3 + 2/3 * 1/3
        0.555556
    """
    from scipy.special import gammaln

    def choose(n: float | np.ndarray, k: float | np.ndarray) -> Any:
        return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)

    if size == 0:
        return 0.0
    shared = np.arange(max(0, 2 * size - neurons), size + 1, dtype=float)
    log_share = choose(size, shared) + choose(neurons - size, size - shared) - choose(neurons, size)
    return float(np.sum(np.exp(log_share) * shared / (2 * size - shared)))


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
