"""Whether the selected neurons crowd into some layers, next to sets found on shuffled labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.jackknife import interval
from emoscope.analysis.run_tables import Run
from emoscope.analysis.sets import ALL
from emoscope.neurons.selection import load_set
from emoscope.schemas import as_table, empty
from emoscope.vocabulary import MINIMUM_SPEAKERS


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
        try:
            own = [load_set(run.folder / "sets", names["target"][0], fold) for fold in (ALL, *folds)]
            others = [load_set(run.folder / "sets", name) for name in names["shuffled"]]
        except FileNotFoundError:
            notes.add(f"clustering: no neurons stored for sets of {about[0]}")
            continue
        values = [spread(one, layers, width) for one in own]
        found = interval(np.array(values), np.array([clips.get(fold, 0) for fold in folds]))
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
