"""How unevenly neurons lie over the layers, beside sets that were found on shuffled labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emoscope.analysis.estimate import Estimate
from emoscope.vocabulary import MINIMUM_SPEAKERS

Neurons = Mapping[str, np.ndarray]
"""Emotion -> the numbers of its neurons, counted through all layers."""


def clustered(
    own: Sequence[Neurons], sizes: np.ndarray, shuffled: Sequence[Neurons], layers: int, width: int
) -> dict[str, Any]:
    """How unevenly sets lie over the layers, as a row of table ``clustering`` without the columns that name the set.

    Args:
        own: the sets found on all speakers, then those found without each fold.
        sizes: clips of each fold, dimension (fold).
        shuffled: the sets of each draw of shuffled labels, found on all speakers.
        layers, width: how many layers there are, and neurons in each.
    """
    values, by_chance = ([spread(by_emotion, layers, width) for by_emotion in sets] for sets in (own, shuffled))
    found = Estimate(np.array(values), sizes).interval()
    row: dict[str, Any] = {"estimate": values[0], "low": found.low, "high": found.high}
    row |= {"folds": len(sizes), "df": found.df, "reason": None if found.low is not None else _why(len(sizes))}
    row |= {"shuffled": float(np.mean(by_chance)), "shuffled_min": min(by_chance), "shuffled_max": max(by_chance)}
    return row | {"draws": len(by_chance)}


def _why(folds: int) -> str:
    if folds < 2:
        return "the sets were found once and not on folds of speakers, so that nothing says how they vary"
    return f"only {folds} folds of speakers: an interval needs at least {MINIMUM_SPEAKERS}"


def spread(sets: Neurons, layers: int, width: int) -> float:
    """The mean :func:`unevenness` over the emotions of a set, in %."""
    return float(np.mean([unevenness(np.bincount(neurons // width, minlength=layers)) for neurons in sets.values()]))


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
