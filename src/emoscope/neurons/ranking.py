"""Ranking neurons by a selector's scores, which are seen layer by layer, for many selections in one pass over the store."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from emoscope.neurons.plan import FLOOR, RunningBar, SelectionPlan
from emoscope.neurons.selectors import Selector, Statistics, find_selector

DECIMALS = 12
"""Scores are compared to this many decimals: equal margins, such as 0.3 - 0.1 and 0.2, differ in the last bit."""


@dataclass(frozen=True)
class Chosen:
    """The neurons chosen for one emotion.

    Attributes:
        neurons: flat numbers, ascending; int64 (neuron,).
        wanted: how many were wanted; fewer are there when fewer were eligible.
        tied_at_cut: how many eligible neurons have the score of the last chosen one, it included, when not all
            of them found room; 0 when the cut falls between two scores.
        share_negative_mean: share of the chosen whose mean activation for the emotion is at most 0 (steering
            them pushes away from it); None when none was chosen.
    """

    neurons: np.ndarray
    wanted: int
    tied_at_cut: int
    share_negative_mean: float | None

    @property
    def columns(self) -> dict[str, object]:
        """What the table of sets says of the choice."""
        return {"tied_at_cut": self.tied_at_cut, "share_negative_mean": self.share_negative_mean}

    def __len__(self) -> int:
        return len(self.neurons)


def tie_order(neurons: np.ndarray, seed: int) -> np.ndarray:
    """A seeded hash of flat neuron numbers that orders ties without regard to layers; uint64.

    It is the mixing function of splitmix64 (Steele, Lea and Flood 2014).

    Example:
        >>> order = tie_order(np.arange(4), seed=0)
        >>> bool((np.diff(order.astype(float)) > 0).all()), len(set(order.tolist()))
        (False, 4)
    """
    mixed = np.asarray(neurons).astype("uint64")
    mixed = mixed + np.uint64((seed * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


class RunningTop:
    """Keeps the ``size`` best neurons, by score, then by mean activation, then by :func:`tie_order`.

    Example:
        >>> top = RunningTop(2, seed=0)
        >>> top.add(np.array([0.1, 0.5, -np.inf]), np.zeros(3), first=0)
        >>> top.add(np.array([0.5, 0.5]), np.array([-1.0, 2.0]), first=3)
        >>> top.take(2)
        Chosen(neurons=array([1, 4]), wanted=2, tied_at_cut=3, share_negative_mean=0.5)
    """

    def __init__(self, size: int, seed: int) -> None:
        if size < 1:
            raise ValueError(f"{size} neurons: choose at least 1")
        self.size, self.seed = size, seed
        self._scores, self._means, self._neurons = np.empty(0), np.empty(0), np.empty(0, "int64")
        self._cut = -np.inf  # score of the last one kept, once `size` are kept
        self._left_out = 0  # seen, not kept, and of exactly that score

    def add(self, scores: np.ndarray, means: np.ndarray, first: int) -> None:
        """Consider the neurons ``first``, ``first + 1`` …; scores and means are (neuron,)."""
        slack = 0.5 * 10.0**-DECIMALS
        places = np.flatnonzero(scores >= self._cut - slack if self._cut > -np.inf else scores > -np.inf)
        if not len(places):
            return
        self._scores = np.concatenate([self._scores, np.round(scores[places], DECIMALS)])
        self._means = np.concatenate([self._means, means[places]])
        self._neurons = np.concatenate([self._neurons, places + first])
        if len(self._scores) < self.size:
            return
        kept, cut, tied, room = self._best(self.size)
        self._left_out = tied - room + (self._left_out if cut == self._cut else 0)
        self._cut = cut
        self._scores, self._means, self._neurons = self._scores[kept], self._means[kept], self._neurons[kept]

    def take(self, size: int) -> Chosen:
        """The best ``size`` of what was kept."""
        if size > self.size:
            raise ValueError(f"{size} neurons: this list keeps {self.size}")
        kept, tied_at_cut = np.arange(len(self._scores)), 0
        if len(self._scores) >= size:
            kept, cut, tied, room = self._best(size)
            tied += self._left_out if cut == self._cut else 0
            tied_at_cut = tied if tied > room else 0
        negative = float(np.mean(self._means[kept] <= 0)) if len(kept) else None
        return Chosen(np.sort(self._neurons[kept]), size, tied_at_cut, negative)

    def _best(self, size: int) -> tuple[np.ndarray, float, int, int]:
        """Places of the best ``size``, the score at the cut, how many have it and how many of these find room."""
        place = len(self._scores) - size
        cut = float(np.partition(self._scores, place)[place])
        above, tied = np.flatnonzero(self._scores > cut), np.flatnonzero(self._scores == cut)
        room = size - len(above)
        if len(tied) > room:
            order = np.lexsort((tie_order(self._neurons[tied], self.seed), -self._means[tied]))
            return np.concatenate([above, tied[order[:room]]]), cut, len(tied), room
        return np.concatenate([above, tied]), cut, len(tied), room


class EqualLists:
    """One list for each emotion, all of one size.

    Example:
        >>> lists = EqualLists(1, 2, seed=0)
        >>> lists.add(np.array([[0.1, 0.5], [0.3, 0.2]]), np.zeros((2, 2)), first=0)
        >>> [one.neurons.tolist() for one in lists.take(1)]
        [[1], [0]]
    """

    def __init__(self, size: int, emotions: int, seed: int) -> None:
        self._tops = tuple(RunningTop(size, seed) for _ in range(emotions))

    def add(self, scores: np.ndarray, means: np.ndarray, first: int) -> None:
        """Consider the neurons ``first``, ``first + 1`` …; scores and means are (emotion, neuron)."""
        for top, score, mean in zip(self._tops, scores, means, strict=True):
            top.add(score, mean, first)

    def take(self, size: int) -> tuple[Chosen, ...]:
        """The best ``size`` of each emotion."""
        return tuple(top.take(size) for top in self._tops)


class OneList:
    """One list of the best neurons for any emotion; each goes to every emotion for which it is eligible.

    Ties go to the neuron of the larger mean activation, for the emotion of those for which it is eligible that has
    the largest.

    Example:
        >>> lists = OneList(1, 2, seed=0)
        >>> lists.add(np.array([[0.1, 0.5], [0.3, 0.2]]), np.zeros((2, 2)), first=0)
        >>> [one.neurons.tolist() for one in lists.take(1)]
        [[1], [1]]
    """

    def __init__(self, size: int, emotions: int, seed: int) -> None:
        self._top = RunningTop(size, seed)
        self._eligible: tuple[list[np.ndarray], ...] = tuple([] for _ in range(emotions))
        self._means: tuple[list[np.ndarray], ...] = tuple([] for _ in range(emotions))

    def add(self, scores: np.ndarray, means: np.ndarray, first: int) -> None:
        """As :meth:`EqualLists.add`."""
        eligible = scores > -np.inf
        self._top.add(scores.max(axis=0), np.where(eligible, means, -np.inf).max(axis=0), first)
        for emotion, row in enumerate(eligible):
            places = np.flatnonzero(row)
            self._eligible[emotion].append(places + first)
            self._means[emotion].append(means[emotion, places])

    def take(self, size: int) -> tuple[Chosen, ...]:
        """The neurons of the best ``size``, by emotion; ``tied_at_cut`` is that of the list."""
        listed, found = self._top.take(size), []
        for eligible, means in zip(self._eligible, self._means, strict=True):
            neurons = np.concatenate(eligible) if eligible else np.empty(0, "int64")
            inside = np.isin(neurons, listed.neurons)
            negative = float(np.mean(np.concatenate(means)[inside] <= 0)) if inside.any() else None
            found.append(Chosen(neurons[inside], size, listed.tied_at_cut, negative))
        return tuple(found)


Lists = EqualLists | OneList


def lists_of(selector: Selector, size: int, emotions: int, seed: int) -> Lists:
    """Empty lists of the kind that a selector makes."""
    return (OneList if selector.one_list else EqualLists)(size, emotions, seed)


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
    """Choose each emotion's most specific neurons from sums over its items: one :class:`Chosen` per emotion.

    Args:
        fired: K, at how many positions a neuron fires; (emotion, neuron).
        tokens: T, the number of positions; (emotion,).
        summed: S, the sum of its activation over these positions; (emotion, neuron).
        selector: a selector's name.
        size: neurons per emotion; of a selector that makes one list, neurons in it.
        seed: decides between neurons that tie in score and in mean activation.
        floor: LAPE's bar lies at this share of all rates.
        variance: pooled variance of the items' means, for selectors that read it; (neuron,).

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
    bar = RunningBar(rate.size, floor)
    bar.add(rate)
    lists = lists_of(find, size, len(rate), seed)
    lists.add(find(Statistics(rate, mean, positions, bar=bar.value(), variance=variance)), mean, 0)
    return lists.take(size)


@dataclass(frozen=True)
class Job:
    """One selector on one selection of a plan (by its key), for at most ``size`` neurons.

    ``layers`` are the first and last layer of those that are ranked; ``None`` for all.
    """

    key: Hashable
    selector: str
    size: int
    layers: tuple[int, int] | None = None

    @property
    def name(self) -> JobName:
        """Under which the lists are found."""
        return self.key, self.selector, self.layers


JobName = tuple[Hashable, str, tuple[int, int] | None]
"""Key of a selection, selector, layers."""

Ranked = dict[JobName, Lists]
"""Name of a job -> lists from which neurons can be taken."""


def rank_streaming(
    plan: SelectionPlan, jobs: Sequence[Job], seed: int = 0, observe: Callable[[list[Statistics]], None] | None = None
) -> Ranked:
    """Rank neurons for many selections and selectors in one pass over the store.

    Memory holds one layer of the plan's sums and the neurons still in the running.

    ``observe`` is called with the statistics of every selection as they pass by, layer by layer.

    Returns:
        for each job's name lists from which any number of neurons up to its size can be taken.

    Raises:
        ValueError: an unknown selector or selection key, or the store lacks scope or items.
    """
    numbers = {one.key: number for number, one in enumerate(plan.selections)}
    unknown = [job.key for job in jobs if job.key not in numbers]
    if unknown:
        raise ValueError(f"selection {unknown[0]!r} is not in the plan: it has {list(numbers)[:5]}")
    selectors = [find_selector(job.selector) for job in jobs]
    needs: dict[str, set[int]] = {}
    for job, selector in zip(jobs, selectors, strict=True):
        for need in selector.needs:
            needs.setdefault(need, set()).add(numbers[job.key])
    lists = [lists_of(one, job.size, len(plan.emotions), seed) for job, one in zip(jobs, selectors, strict=True)]
    for layer, seen in enumerate(plan.statistics(needs)):
        for job, selector, running in zip(jobs, selectors, lists, strict=True):
            if job.layers is None or job.layers[0] <= layer <= job.layers[1]:
                given = seen[numbers[job.key]]
                running.add(selector(given), given.mean, layer * plan.activity.width)
        if observe:
            observe(seen)
    return {job.name: running for job, running in zip(jobs, lists, strict=True)}
