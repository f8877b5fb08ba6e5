"""One score from the scores of several corpora: overlap, joint and consistency-regularised fusion.

Formulas as described by follow-up work (docs/method.md), for any selector in place of its contrast score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from emoscope.neurons.activity import Activity
from emoscope.neurons.plan import SelectionPlan
from emoscope.neurons.ranking import FLOOR, Lists, lists_of, running_bar, stream_statistics
from emoscope.neurons.selectors import Selector, Statistics

OVERLAP, JOINT, CONSISTENCY = "overlap", "joint", "consistency"
WAYS = (OVERLAP, JOINT, CONSISTENCY)
"""Ways to fuse."""

SMALLEST_SPREAD = 1e-9
"""What is added to a standard deviation, so that scores that do not vary become 0."""


def refuse_unknown(ways: Sequence[str]) -> None:
    """Refuse ways to fuse that are none.

    Raises:
        ValueError: names the first.
    """
    if unknown := [way for way in ways if way not in WAYS]:
        raise ValueError(f"fusion {unknown[0]!r} is not known: choose from {', '.join(WAYS)}")


@dataclass(frozen=True)
class Scale:
    """Mean, standard deviation and lowest value of the eligible scores of one corpus."""

    mean: float
    std: float
    lowest: float

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """z-scores; what is not eligible (-inf) stays so.

        Example:
            >>> Scale(mean=2.0, std=0.5, lowest=1.0)(np.array([3.0, -np.inf])).round(3)
            array([  2., -inf])
        """
        return (scores - self.mean) / (self.std + SMALLEST_SPREAD)


class RunningScale:
    """The scale of scores that are seen piece by piece.

    Means and sums of squared deviations are merged after Chan, Golub and LeVeque (1983).

    Example:
        >>> running = RunningScale()
        >>> running.add(np.array([[1.0, -np.inf], [2.0, 3.0]])); running.add(np.array([6.0]))
        >>> running.scale()
        Scale(mean=3.0, std=1.8708286933869707, lowest=1.0)
    """

    def __init__(self) -> None:
        self._count, self._mean, self._squares, self._lowest = 0, 0.0, 0.0, np.inf

    def add(self, scores: np.ndarray) -> None:
        """Consider scores of any shape; -inf is no score."""
        finite = scores[scores > -np.inf]
        if not len(finite):
            return
        count, mean = self._count + len(finite), float(finite.mean())
        apart = mean - self._mean
        self._squares += float(((finite - mean) ** 2).sum()) + apart**2 * self._count * len(finite) / count
        self._mean += apart * len(finite) / count
        self._count, self._lowest = count, min(self._lowest, float(finite.min()))

    def scale(self) -> Scale:
        """The scale of what was seen; of nothing, that of a single 0."""
        if not self._count:
            return Scale(0.0, 0.0, 0.0)
        return Scale(self._mean, float(np.sqrt(self._squares / self._count)), float(self._lowest))


def overlap(standardised: Sequence[np.ndarray]) -> np.ndarray:
    """The smallest z-score over corpora, for the emotion that the neuron prefers in all of them.

    A neuron prefers the emotions of its largest score. For others, and where it is not eligible in some corpus,
    it is not eligible.

    Args:
        standardised: z-scores in each corpus; float64 (emotion, neuron).

    Example:
        >>> one, two = np.array([[2.0, 1.0], [0.0, 0.5]]), np.array([[1.5, 0.0], [0.0, 3.0]])
        >>> overlap([one, two])
        array([[ 1.5, -inf],
               [-inf, -inf]])
    """
    same = np.logical_and.reduce([z == z.max(axis=0) for z in standardised])
    return np.where(same, np.minimum.reduce(list(standardised)), -np.inf)


def consistency(standardised: Sequence[np.ndarray], scales: Sequence[Scale], weight: float) -> np.ndarray:
    """Mean of the z-scores over corpora minus ``weight`` times their standard deviation.

    Where a neuron is eligible in some corpora only, it counts in the others as the lowest eligible one there.

    Args:
        standardised: z-scores in each corpus; float64 (emotion, neuron).
        scales: the scales they were made with.
        weight: weight of the spread over corpora.

    Example:
        >>> scale = Scale(mean=2.0, std=1.0, lowest=1.0)
        >>> one, two = np.array([[2.0, 1.0, -np.inf]]), np.array([[1.0, -np.inf, -np.inf]])
        >>> consistency([one, two], [scale, scale], 0.5).round(6)
        array([[ 1.25, -0.5 ,  -inf]])
    """
    filled = np.stack([np.maximum(z, one(np.array(one.lowest))) for z, one in zip(standardised, scales, strict=True)])
    eligible = np.logical_or.reduce([z > -np.inf for z in standardised])
    return np.where(eligible, filled.mean(axis=0) - weight * filled.std(axis=0), -np.inf)


def pooled(statistics: Sequence[Statistics], bar: float = float("nan")) -> Statistics:
    """The statistics of all corpora's positions together: K and T, and the sums behind M, are added.

    The variance within emotions is the mean of the corpora's, so that a difference between corpora is none.

    Example:
        >>> one = Statistics(np.array([[0.5], [0.1]]), np.array([[2.0], [1.0]]), np.array([10.0, 10.0]))
        >>> two = Statistics(np.array([[0.2], [0.3]]), np.array([[0.0], [1.0]]), np.array([30.0, 10.0]))
        >>> both = pooled([one, two])
        >>> both.rate.ravel(), both.mean.ravel(), both.positions
        (array([0.275, 0.2  ]), array([0.5, 1. ]), array([40., 20.]))
    """
    positions = np.sum([one.positions for one in statistics], axis=0)
    variances = [one.variance for one in statistics if one.variance is not None]
    # counts are whole numbers, which a rate times its positions only nearly is: equal rates must stay equal
    fired = np.sum([np.rint(one.rate * one.positions[:, None]) for one in statistics], axis=0)
    summed = np.sum([one.mean * one.positions[:, None] for one in statistics], axis=0)
    first = statistics[0]
    return Statistics(
        fired / positions[:, None], summed / positions[:, None], positions, first.emotions, first.layer, bar,
        np.mean(variances, axis=0) if variances else None,
    )  # fmt: skip


def rank_fused(
    corpora: Sequence[tuple[Activity, SelectionPlan]],
    folds: Mapping[str, Sequence[int]],
    scope: str,
    selector: Selector,
    ways: Sequence[str],
    weight: float,
    size: int,
    seed: int = 0,
    floor: float = FLOOR,
) -> dict[tuple[str, str], Lists]:
    """Rank neurons by their fused scores, layer by layer through all stores at once.

    Memory holds one layer of every corpus and the neurons still in the running. The scales take one pass more.

    ``folds`` says for each fold, and each of the corpora, which selection of its plan stands for it there. Ties go to the
    larger mean activation, averaged over corpora; the seed decides between the rest. ``weight`` is that of the spread in
    consistency fusion.

    Returns:
        (way, fold) -> lists from which up to ``size`` neurons can be taken.

    Raises:
        ValueError: an unknown way, or a store lacks the scope or an item.
    """
    refuse_unknown(ways)
    layers = partial(_layers, corpora, scope, selector, floor)
    emotions, width = corpora[0][1].emotions, corpora[0][0].width
    lists = {(way, fold): lists_of(selector, size, len(emotions), seed) for way in ways for fold in folds}
    scales, bars = _scales_and_bars(layers, corpora, folds, selector, ways, floor)
    for layer, seen in enumerate(layers()):
        made = [
            [scale(selector(one)) for scale, one in zip(of_corpus, given, strict=True)]
            for of_corpus, given in (zip(scales, seen, strict=True) if {*ways} - {JOINT} else ())
        ]
        for fold, which in folds.items():
            given = [of_corpus[number] for of_corpus, number in zip(seen, which, strict=True)]
            means = np.mean([one.mean for one in given], axis=0)
            for way in ways:
                if way == JOINT:
                    together = pooled(given, bars.get(fold, float("nan")))
                    lists[way, fold].add(selector(together), together.mean, layer * width)
                    continue
                standardised = [of_corpus[number] for of_corpus, number in zip(made, which, strict=True)]
                used = [of_corpus[number] for of_corpus, number in zip(scales, which, strict=True)]
                fused = overlap(standardised) if way == OVERLAP else consistency(standardised, used, weight)
                lists[way, fold].add(fused, means, layer * width)
    return lists


def _layers(
    corpora: Sequence[tuple[Activity, SelectionPlan]], scope: str, selector: Selector, floor: float
) -> Iterator[tuple[list[Statistics], ...]]:
    """Layer by layer the statistics of every corpus and selection."""
    needs = [dict.fromkeys(selector.needs, range(len(plan.selections))) for _, plan in corpora]
    return zip(
        *(stream_statistics(*one, scope, need, floor) for one, need in zip(corpora, needs, strict=True)), strict=True
    )


def _scales_and_bars(
    layers: Callable[[], Iterator[tuple[list[Statistics], ...]]],
    corpora: Sequence[tuple[Activity, SelectionPlan]],
    folds: Mapping[str, Sequence[int]],
    selector: Selector,
    ways: Sequence[str],
    floor: float,
) -> tuple[list[list[Scale]], dict[str, float]]:
    """The scale of every corpus and selection, and LAPE's bar of the pooled rates of every fold."""
    running = [[RunningScale() for _ in plan.selections] for _, plan in corpora]
    barred = JOINT in ways and "bar" in selector.needs
    largest = {fold: running_bar(corpora[0][0], len(corpora[0][1].emotions), floor) for fold in folds if barred}
    if barred or {*ways} - {JOINT}:
        for seen in layers():
            for of_corpus, given in zip(running, seen, strict=True):
                for scale, one in zip(of_corpus, given, strict=True):
                    scale.add(selector(one))
            for fold, kept in largest.items():
                kept.add(pooled([seen[corpus][number] for corpus, number in enumerate(folds[fold])]).rate)
    return [[one.scale() for one in of_corpus] for of_corpus in running], {
        fold: kept.smallest() for fold, kept in largest.items()
    }
