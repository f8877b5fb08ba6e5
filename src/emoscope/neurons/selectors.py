"""Selectors: how specific a neuron is to an emotion, and the best of them at a budget.

A selector is a function of P (firing rate) and M (mean activation), both (emotion, neuron), and of a bar on
P. It returns a score (emotion, neuron), larger = more specific, -inf = not eligible. To add one, write the
function and name it in :data:`SELECTORS`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import xlogy

from emoscope.neurons.activity import Activity
from emoscope.neurons.running_top import Chosen, RunningLargest, RunningTop
from emoscope.neurons.selection_plan import SelectionPlan, stream, stream_rates

FLOOR = 0.95
"""Share of all firing rates that lies at or below LAPE's bar (Tang et al. 2024)."""


def lap(rate: np.ndarray, mean: np.ndarray, bar: float) -> np.ndarray:
    """Frequency: the firing rate itself (as compared by Zhao, Schuller and Sisman 2026).

    Example:
        >>> lap(np.array([[0.5, 0.1], [0.2, 0.3]]), np.zeros((2, 2)), 0.0)
        array([[0.5, 0.1],
               [0.2, 0.3]])
    """
    return rate


def lape(rate: np.ndarray, mean: np.ndarray, bar: float) -> np.ndarray:
    """Entropy: minus the entropy of the rates over emotions, for the emotion that fires most (Tang et al. 2024).

    Only neurons whose largest rate exceeds the bar are eligible. Where two emotions share the largest rate,
    the one of the larger mean activation gets the neuron. Equal budgets per emotion are our choice; the
    authors take one list for all classes.

    Example:
        >>> lape(np.array([[0.5, 0.1], [0.0, 0.1]]), np.zeros((2, 2)), 0.2)
        array([[  0., -inf],
               [-inf, -inf]])
    """
    score = np.full(rate.shape, -np.inf)
    eligible = np.flatnonzero(rate.max(axis=0) > bar)
    rates = rate[:, eligible]
    share = rates / rates.sum(axis=0)
    largest = np.where(rates == rates.max(axis=0), mean[:, eligible], -np.inf).argmax(axis=0)
    score[largest, eligible] = xlogy(share, share).sum(axis=0)
    return score


def mad(rate: np.ndarray, mean: np.ndarray, bar: float) -> np.ndarray:
    """Mean deviation: mean activation minus the mean of the other emotions' means, signed, not z-scored.

    The selector is named by Zhao, Schuller and Sisman (2026); sign and scale are our reading.

    Example:
        >>> mad(np.zeros((3, 1)), np.array([[3.0], [1.0], [2.0]]), 0.0).ravel()
        array([ 1.5, -1.5,  0. ])
    """
    others = (mean.sum(axis=0) - mean) / (len(mean) - 1)
    return mean - others


def cas(rate: np.ndarray, mean: np.ndarray, bar: float) -> np.ndarray:
    """Contrast: largest minus second largest firing rate, credited to the emotion with the largest.

    The selector of Zhao, Schuller and Sisman (2026). A margin of 0 is not eligible, so the sets of different
    emotions share no neuron.

    Example:
        >>> cas(np.array([[0.5, 0.1], [0.25, 0.1]]), np.zeros((2, 2)), 0.0)
        array([[0.25, -inf],
               [-inf, -inf]])
    """
    first, second = rate[0].copy(), np.full(rate.shape[1], -np.inf)
    for row in rate[1:]:
        np.maximum(second, np.minimum(first, row), out=second)
        np.maximum(first, row, out=first)
    margin = np.where(first > second, first - second, -np.inf)
    return np.where(rate == first, margin, -np.inf)


@dataclass(frozen=True)
class Selector:
    """A selector.

    Attributes:
        name: as written in study files.
        family: what kind of statistic it is.
        score: the function of (P, M, bar), see the module's text.
        needs_bar: whether the bar must be computed, which takes a second pass over the store.
    """

    name: str
    family: str
    score: Callable[[np.ndarray, np.ndarray, float], np.ndarray]
    needs_bar: bool = False


SELECTORS: dict[str, Selector] = {
    "lap": Selector("lap", "frequency", lap),
    "lape": Selector("lape", "entropy", lape, needs_bar=True),
    "mad": Selector("mad", "mean deviation", mad),
    "cas": Selector("cas", "contrast", cas),
}


def find_selector(name: str) -> Selector:
    """Look a selector up.

    Raises:
        ValueError: there is none of that name.

    Example:
        >>> find_selector("cas").family
        'contrast'
    """
    if name not in SELECTORS:
        raise ValueError(f"selector {name!r} is not known: choose one of {', '.join(SELECTORS)}")
    return SELECTORS[name]


def bar_rank(count: int, floor: float = FLOOR) -> int:
    """Which of ``count`` firing rates, in ascending order and counted from 1, is the bar.

    Example:
        >>> bar_rank(20), bar_rank(9)
        (19, 9)
    """
    return max(1, round(floor * count))


def select_from_sums(
    fired: np.ndarray,
    tokens: np.ndarray,
    summed: np.ndarray,
    selector: str,
    size: int,
    seed: int = 0,
    floor: float = FLOOR,
) -> tuple[Chosen, ...]:
    """Choose each emotion's most specific neurons from sums over its items.

    Args:
        fired: K, at how many positions a neuron fires; (emotion, neuron).
        tokens: T, the number of positions; (emotion,).
        summed: S, the sum of its activation over these positions; (emotion, neuron).
        selector: a name in :data:`SELECTORS`.
        size: neurons per emotion.
        seed: decides between neurons that tie in score and in mean activation.
        floor: LAPE's bar lies at this share of all rates.

    Returns:
        one :class:`Chosen` per emotion.

    Raises:
        ValueError: the selector is unknown, fewer than two emotions, or an emotion has no position.

    Example:
        >>> fired = np.array([[8, 1, 4], [1, 6, 4]])
        >>> anger, fear = select_from_sums(fired, np.array([10, 10]), fired * 0.1, "cas", 1)
        >>> anger.neurons, fear.neurons
        (array([0]), array([1]))
    """
    find = find_selector(selector)
    if len(fired) < 2 or not np.all(tokens):
        raise ValueError(
            f"tokens {list(map(int, tokens))}: selectors compare at least two emotions that have positions"
        )
    rate, mean = fired / np.asarray(tokens, "float64")[:, None], summed / np.asarray(tokens, "float64")[:, None]
    rank = bar_rank(rate.size, floor) - 1
    bar = float(np.partition(rate, rank, axis=None)[rank]) if find.needs_bar else 0.0
    scores = find.score(rate, mean, bar)
    chosen = []
    for score, row in zip(scores, mean, strict=True):
        top = RunningTop(size, seed)
        top.add(score, row, 0)
        chosen.append(top.take(size))
    return tuple(chosen)


@dataclass(frozen=True)
class Job:
    """One selector on one selection of a plan, at several sizes: what :func:`select_streaming` is asked for."""

    key: Hashable
    selector: str
    sizes: tuple[int, ...]


def select_streaming(
    activity: Activity,
    plan: SelectionPlan,
    scope: str | Sequence[str],
    jobs: Iterable[Job],
    seed: int = 0,
    floor: float = FLOOR,
    observe: Callable[[int, np.ndarray, np.ndarray], None] | None = None,
) -> dict[tuple[Hashable, str, int], tuple[Chosen, ...]]:
    """Choose neurons for many selections, selectors and sizes in one pass over the store.

    Memory holds one layer and the neurons still in the running, never the scores of all neurons. A selector
    that needs the bar takes one more pass.

    Args:
        activity: the store.
        plan: the selections.
        scope: the positions that count.
        jobs: what to choose.
        seed: decides between ties.
        floor: LAPE's bar lies at this share of all rates.
        observe: is called with (layer, P, M), P and M (selection, emotion, width), as they pass by.

    Returns:
        for each (selection key, selector, size) one :class:`Chosen` per emotion, as :func:`select_from_sums` does.

    Raises:
        ValueError: an unknown selector or selection key, or the store lacks scope or items.
    """
    jobs = list(jobs)
    numbers = {one.key: number for number, one in enumerate(plan.selections)}
    unknown = [job.key for job in jobs if job.key not in numbers]
    if unknown:
        raise ValueError(f"selection {unknown[0]!r} is not in the plan: it has {list(numbers)[:5]}")
    barred = {numbers[job.key] for job in jobs if find_selector(job.selector).needs_bar}
    bars = find_bars(activity, plan, scope, sorted(barred), floor) if barred else {}
    tops = [[RunningTop(max(job.sizes), seed) for _ in plan.emotions] for job in jobs]
    for layer, rates, means in stream(activity, plan, scope):
        for job, running in zip(jobs, tops, strict=True):
            number = numbers[job.key]
            score = SELECTORS[job.selector].score(rates[number], means[number], bars.get(number, 0.0))
            for emotion, top in enumerate(running):
                top.add(score[emotion], means[number, emotion], layer * activity.width)
        if observe:
            observe(layer, rates, means)
    return {
        (job.key, job.selector, size): tuple(top.take(size) for top in running)
        for job, running in zip(jobs, tops, strict=True)
        for size in job.sizes
    }


def find_bars(
    activity: Activity, plan: SelectionPlan, scope: str | Sequence[str], numbers: Sequence[int], floor: float = FLOOR
) -> Mapping[int, float]:
    """LAPE's bar of some selections: the round(floor N)-th smallest of all N rates (layers x neurons x emotions)."""
    count = activity.layers * activity.width * len(plan.emotions)
    largest = {number: RunningLargest(count - bar_rank(count, floor) + 1) for number in numbers}
    for _, rates in stream_rates(activity, plan, scope):
        for number, kept in largest.items():
            kept.add(rates[number])
    return {number: kept.smallest() for number, kept in largest.items()}
