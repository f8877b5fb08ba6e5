"""What single neurons do when they are truly changed, and how well every selector's scores foretell it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from emoscope.analysis.estimate import ratio
from emoscope.analysis.pairs import Clips, PairChange

AT_ONCE = 512
"""Changes whose separations are computed together, so that memory does not grow with the number of neurons."""


@dataclass(frozen=True, eq=False)
class Moved:
    """How far the options' log-probabilities move under changes of the model, from the untouched model's.

    Attributes:
        clips: whose clips they are.
        untouched: nat, dimensions (item, option).
        change: nat, dimensions (change, item, option).
    """

    clips: Clips
    untouched: np.ndarray
    change: np.ndarray

    @cached_property
    def level(self) -> np.ndarray:
        """The untouched model's separations, nat, dimensions (1 + unit, emotion, emotion)."""
        return self.clips.separations(self.untouched[None])[:, 0]

    def specific(self) -> np.ndarray:
        """The pairwise change of every emotion under every change of the model: own pairs minus other pairs.

        Returns:
            nat, dimensions (1 + unit, change, emotion): with all units and without each.
        """
        found = []
        for start in range(0, len(self.change), AT_ONCE):
            change = self.clips.separations(self.change[start : start + AT_ONCE])
            pairs = PairChange(range(self.clips.options), change, self.level, self.clips.testable)
            found.append(pairs.under_names(own=True) - pairs.under_names(own=False))
        return np.concatenate(found, axis=1)

    def targeted(self, codes: Sequence[int]) -> PairChange:
        """The change of all separations, where each change of the model is the set of one emotion."""
        return PairChange(codes, self.clips.separations(self.change), self.level, self.clips.testable)

    def on(self, kept: np.ndarray) -> Moved:
        """The same of some of the items, bool (item,)."""
        clips = self.clips
        speaker, unit = (np.unique(codes[kept], return_inverse=True)[1] for codes in (clips.speaker, clips.unit))
        part = Clips(clips.truth[kept], speaker, unit, clips.options)
        return Moved(part, self.untouched[kept], self.change[:, kept])

    def within(self, kept: np.ndarray) -> np.ndarray:
        """Own minus other pairs on some of the items, whoever speaks and however few they are.

        Args:
            kept: bool (item,).

        Returns:
            nat, dimensions (change, emotion); NaN where there are no pairs of both kinds.
        """
        options = self.clips.options
        if not kept.any():
            return np.full((len(self.change), options), np.nan)
        part = self.on(kept)
        change = part.clips.separations(part.change)[:1]
        there = np.isfinite(change[0]).all(axis=0)
        pairs = PairChange(range(options), change, change[:, 0], there)
        return np.asarray((pairs.under_names(own=True) - pairs.under_names(own=False))[0])


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation over the last axis, ties sharing their mean rank; NaN where one does not vary.

    Example:
        >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([[1.0, 5.0, 2.0], [9.0, 9.0, 9.0]])).tolist()
        [0.5, nan]
    """
    from scipy.stats import rankdata

    ranks = [rankdata(values, axis=-1) for values in np.broadcast_arrays(first, second)]
    ranks = [each - each.mean(axis=-1, keepdims=True) for each in ranks]
    spread = np.sqrt(np.prod([(each**2).sum(axis=-1) for each in ranks], axis=0))
    product = (ranks[0] * ranks[1]).sum(axis=-1)
    return np.divide(product, spread, out=np.full_like(spread, np.nan), where=spread > 0)


def losses(moved: Moved, inside: Sequence[np.ndarray]) -> np.ndarray:
    """What every change of the model takes on the clips inside each fold: minus the pairwise change there.

    Where a unit is left out, its clips are missing in its fold; a fold without other clips has none.

    Args:
        inside: of each fold, which items are in it, bool (item,).

    Returns:
        nat, dimensions (1 + unit, fold, change, emotion); NaN where there are no pairs of both kinds.
    """
    whole = np.array([-moved.within(kept) for kept in inside])
    found = np.repeat(whole[None], 1 + moved.clips.units, axis=0)
    for unit in range(moved.clips.units):
        own = moved.clips.unit == unit
        for fold, kept in enumerate(inside):
            if (kept & own).any():
                found[1 + unit, fold] = -moved.within(kept & ~own)
    return found


def foretold(scores: Sequence[np.ndarray], lost: np.ndarray, places: Sequence[np.ndarray]) -> np.ndarray:
    """How well scores foretell what is lost on clips that did not make them: the mean over folds of Spearman's.

    Args:
        scores: of each fold, larger where more should be lost, -inf where a neuron is not eligible; (emotion, neuron).
        lost: of the scores' emotions, from :func:`losses`, dimensions (1 + unit, fold, neuron, emotion).
        places: of each fold, which neurons count, int (neuron,).

    Returns:
        dimensions (1 + unit, emotion); NaN where no fold has a correlation.
    """
    found = []
    for fold, (score, kept) in enumerate(zip(scores, places, strict=True)):
        there = np.moveaxis(lost[:, fold, kept], 1, 2)  # (1 + unit, emotion, neuron)
        known = np.isfinite(there).all(axis=-1)
        found.append(np.where(known, spearman(score[:, kept], np.nan_to_num(there)), np.nan))
    known = np.isfinite(found)
    return ratio(np.where(known, found, 0.0).sum(axis=0), known.sum(axis=0))


def area(effects: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """The mean effect over sizes that are doubled again and again: the area under it over log size, by its range.

    By the trapezoidal rule, so that no selector is judged at one size.

    Args:
        effects: dimensions (size, ...).
        sizes: in rising order.

    Example:
        >>> float(area(np.array([0.0, 1.0, 1.0]), [1, 2, 4]))
        0.75
    """
    at = np.log2(sizes)
    if len(at) == 1:
        return np.asarray(effects[0])
    return np.asarray(np.trapezoid(effects, at, axis=0) / (at[-1] - at[0]))
