"""How far two sets of neurons agree."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from emoscope.neurons.sets import load_set

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
