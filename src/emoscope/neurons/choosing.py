"""Choosing neurons: from sums that lie in memory, or for many selections in one pass over the store."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emoscope.neurons.activity import Activity
from emoscope.neurons.running_top import Chosen, EqualLists, OneList, RunningLargest
from emoscope.neurons.scores import Statistics
from emoscope.neurons.selection_plan import SelectionPlan, stream, stream_rates, stream_variances
from emoscope.neurons.selectors import Selector, find_selector

FLOOR = 0.95
"""Share of all firing rates that lies at or below LAPE's bar (Tang et al. 2024)."""

Lists = EqualLists | OneList


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
    variance: np.ndarray | None = None,
) -> tuple[Chosen, ...]:
    """Choose each emotion's most specific neurons from sums over its items.

    Args:
        fired: K, at how many positions a neuron fires; (emotion, neuron).
        tokens: T, the number of positions; (emotion,).
        summed: S, the sum of its activation over these positions; (emotion, neuron).
        selector: a selector's name.
        size: neurons per emotion; of a selector that makes one list, neurons in it.
        seed: decides between neurons that tie in score and in mean activation.
        floor: LAPE's bar lies at this share of all rates.
        variance: pooled variance of the items' means, for selectors that read it; (neuron,).

    Returns:
        one :class:`Chosen` per emotion.

    Raises:
        ValueError: the selector is unknown or lacks the variance, fewer than two emotions, or an emotion has no
            position.

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
    if "variance" in find.needs and variance is None:
        raise ValueError(f"selector {selector!r} reads the variance of items, which sums do not tell: give `variance`")
    positions = np.asarray(tokens, "float64")
    rate, mean = fired / positions[:, None], summed / positions[:, None]
    rank = bar_rank(rate.size, floor) - 1
    bar = float(np.partition(rate, rank, axis=None)[rank]) if "bar" in find.needs else float("nan")
    lists = _lists(find, size, len(rate), seed)
    lists.add(find(Statistics(rate, mean, positions, bar=bar, variance=variance)), mean, 0)
    return lists.take(size)


@dataclass(frozen=True)
class Job:
    """One selector on one selection of a plan, at several sizes: what :func:`select_streaming` is asked for.

    Attributes:
        key: of the selection.
        selector: its name.
        sizes: how many neurons may be taken.
        layers: first and last layer of those that are ranked; ``None`` for all.
    """

    key: Hashable
    selector: str
    sizes: tuple[int, ...]
    layers: tuple[int, int] | None = None

    @property
    def name(self) -> tuple[Hashable, str]:
        """Under which the lists are found: the key, with the layers where only some are ranked, and the selector."""
        return self.key if self.layers is None else (self.key, self.layers), self.selector


def rank_streaming(
    activity: Activity,
    plan: SelectionPlan,
    scope: str | Sequence[str],
    jobs: Iterable[Job],
    seed: int = 0,
    floor: float = FLOOR,
    observe: Callable[[int, np.ndarray, np.ndarray], None] | None = None,
) -> dict[tuple[Hashable, str], Lists]:
    """Rank neurons for many selections and selectors in one pass over the store.

    Memory holds one layer and the neurons still in the running, never the scores of all neurons. Selectors
    that read the bar take one more pass, those that read the variance one more reading of the sums.

    Args:
        activity: the store.
        plan: the selections.
        scope: the positions that count.
        jobs: what to choose.
        seed: decides between ties.
        floor: LAPE's bar lies at this share of all rates.
        observe: is called with (layer, P, M), P and M (selection, emotion, width), as they pass by.

    Returns:
        for each job's name lists from which any number of neurons up to its largest size can be taken.

    Raises:
        ValueError: an unknown selector or selection key, or the store lacks scope or items.
    """
    jobs = list(jobs)
    numbers = {one.key: number for number, one in enumerate(plan.selections)}
    unknown = [job.key for job in jobs if job.key not in numbers]
    if unknown:
        raise ValueError(f"selection {unknown[0]!r} is not in the plan: it has {list(numbers)[:5]}")
    selectors = [find_selector(job.selector) for job in jobs]
    needed = {
        need: sorted({numbers[job.key] for job, one in zip(jobs, selectors, strict=True) if need in one.needs})
        for need in ("bar", "variance")
    }
    bars = find_bars(activity, plan, scope, needed["bar"], floor) if needed["bar"] else {}
    lists = [_lists(one, max(job.sizes), len(plan.emotions), seed) for job, one in zip(jobs, selectors, strict=True)]
    variances = _variances(activity, plan, scope, needed["variance"])
    positions = plan.tokens(activity, scope)
    for layer, rates, means in stream(activity, plan, scope):
        spread = next(variances)
        for job, selector, running in zip(jobs, selectors, lists, strict=True):
            if job.layers is not None and not job.layers[0] <= layer <= job.layers[1]:
                continue
            number = numbers[job.key]
            given = Statistics(
                rates[number], means[number], positions[number], plan.emotions, layer,
                bars.get(number, float("nan")), spread.get(number),
            )  # fmt: skip
            running.add(selector(given), means[number], layer * activity.width)
        if observe:
            observe(layer, rates, means)
    return {job.name: running for job, running in zip(jobs, lists, strict=True)}


def select_streaming(
    activity: Activity,
    plan: SelectionPlan,
    scope: str | Sequence[str],
    jobs: Sequence[Job],
    seed: int = 0,
    floor: float = FLOOR,
) -> dict[tuple[Hashable, str, int], tuple[Chosen, ...]]:
    """Choose neurons for many selections, selectors and sizes, see :func:`rank_streaming`.

    Returns:
        for each (selection key, selector, size) one :class:`Chosen` per emotion, as :func:`select_from_sums` does.
    """
    ranked = rank_streaming(activity, plan, scope, jobs, seed, floor)
    return {(*job.name, size): ranked[job.name].take(size) for job in jobs for size in job.sizes}


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


def _variances(
    activity: Activity, plan: SelectionPlan, scope: str | Sequence[str], numbers: Sequence[int]
) -> Iterator[Mapping[int, np.ndarray]]:
    """Layer by layer the variances of some selections: number -> (neuron,)."""
    if not numbers:
        yield from ({} for _ in range(activity.layers))
        return
    some = SelectionPlan([plan.selections[number] for number in numbers])
    for _, variance in stream_variances(activity, some, scope):
        yield dict(zip(numbers, variance, strict=True))


def _lists(selector: Selector, size: int, emotions: int, seed: int) -> Lists:
    return (OneList if selector.one_list else EqualLists)(size, emotions, seed)
