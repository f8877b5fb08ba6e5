"""Ranking neurons by a selector's scores, for many selections of items in one pass over the store, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from emoscope.neurons.activity import Activity
from emoscope.neurons.controls import Chosen
from emoscope.neurons.owed import Owed
from emoscope.neurons.samples import Selection
from emoscope.neurons.selectors import ATTRIBUTED, FLOOR, RunningBar, Statistics, find_selector, needs_gradients

if TYPE_CHECKING:
    import scipy.sparse

SPAN_ITEMS = 512  # items read at once, so that memory does not grow with the corpus


class SelectionPlan:
    """Selections over the same emotions that are computed together, in one pass over the store.

    Layers are yielded in order, and arrays are overwritten by the next layer: copy what is to be kept. ``items`` are
    the row numbers of all items that some selection uses, ascending; int64 (item,).

    Example:
        >>> import tempfile
        >>> store = Activity.create(f"{tempfile.mkdtemp()}/activity.zarr", 10, 1, 4, np.ones((1, 4)), 10)
        >>> selection = Selection("all", np.array([4, 2, 9]), np.array([0, 1, 0]), ("anger", "fear"))
        >>> plan = SelectionPlan(store, [selection], "audio")
        >>> plan.items, plan.matrix.toarray()
        (array([2, 4, 9]), array([[0., 1., 1.],
               [1., 0., 0.]]))
    """

    def __init__(
        self, activity: Activity, selections: Sequence[Selection], scope: str | Sequence[str], floor: float = FLOOR
    ) -> None:
        if not selections:
            raise ValueError("a plan needs at least one selection")
        self.activity, self.scope, self.floor = activity, scope, floor
        self.selections, self.emotions = tuple(selections), selections[0].emotions
        if unlike := [selection for selection in self.selections if selection.emotions != self.emotions]:
            raise ValueError(f"selection {unlike[0].key} has the emotions {unlike[0].emotions}, others {self.emotions}")
        self.items = np.unique(np.concatenate([selection.items for selection in self.selections]).astype("int64"))

    @cached_property
    def matrix(self) -> scipy.sparse.csr_array:
        """How often each item counts: sparse float64 (selection x emotion, item), emotions varying fastest."""
        import scipy.sparse  # imported late: a finished run is recognised without it

        emotions = len(self.emotions)
        rows = np.concatenate([place * emotions + selection.labels for place, selection in enumerate(self.selections)])
        columns = np.searchsorted(self.items, np.concatenate([selection.items for selection in self.selections]))
        shape = (len(self.selections) * emotions, len(self.items))
        return scipy.sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=shape).tocsr()

    @cached_property
    def positions(self) -> np.ndarray:
        """T, the number of positions of the scope; float64 (selection, emotion). A ``ValueError`` says who has none."""
        tokens = self.activity.tokens(self.scope, self.items).astype("float64")
        total = (self.matrix @ tokens).reshape(-1, len(self.emotions))
        if not total.all():
            number, emotion = np.argwhere(total == 0)[0]
            raise ValueError(
                f"selection {self.selections[number].key}: the items of {self.emotions[emotion]} have no position "
                f"in scope {self.scope!r}; choose a scope that was listened to"
            )
        return total

    def statistics(self, needs: Mapping[str, Iterable[int]] | None = None) -> Iterator[list[Statistics]]:
        """What selectors read: the statistics of every selection.

        P = K / T and M = S / T, where K is the number of positions at which the neuron fires, S the sum of its
        activation and T the number of positions, over all positions of the scope of an emotion's items. ``needs`` says
        which selections are to have ``"bar"``, ``"variance"`` and what rests on gradients, each of which costs a further
        reading.
        """
        barred, spread = (sorted((needs or {}).get(need, ())) for need in ("bar", "variance"))
        asked = {need: numbers for need in ATTRIBUTED if (numbers := set((needs or {}).get(need, ())))}
        owing = sorted(set().union(*asked.values()))
        owed = Owed(self.activity, [self.selections[number] for number in owing], self.scope) if owing else None
        bars = self.bars(barred) if barred else {}
        varied = [self.selections[number] for number in spread]
        variances = SelectionPlan(self.activity, varied, self.scope).variances() if varied else None
        positions, summed = self.positions, self._sums(self.activity.width)
        bar = [bars.get(number, float("nan")) for number in range(len(self.selections))]
        for layer, rates in enumerate(self.rates()):
            self._total(partial(self.activity.read_sums, layer, self.scope), summed)
            summed /= positions.T[:, :, None]
            variance = dict(zip(spread, next(variances), strict=True)) if variances else {}
            of = {need: dict(zip(owing, getattr(owed, need)(layer), strict=True)) for need in asked}
            yield [
                Statistics(
                    rates[n],
                    summed[:, n],
                    positions[n],
                    self.emotions,
                    layer,
                    bar[n],
                    variance.get(n),
                    **{need: found.get(n) for need, found in of.items()},
                )
                for n in range(len(bar))
            ]

    def rates(self) -> Iterator[np.ndarray]:
        """P alone, which halves the reading: float64 (selection, emotion, width)."""
        # float32 holds whole numbers up to 2**24 exactly and is twice as fast; a count never exceeds the positions
        precision = "float32" if self.positions.max() < 2**24 else "float64"
        # made once: handing 200 MB back to the system and asking for it anew costs as much as the arithmetic
        fired, rates = self._sums(self.activity.width, precision), self._sums(self.activity.width)
        for layer in range(self.activity.layers):
            self._total(partial(self.activity.read_counts, layer, self.scope, dtype=precision), fired)
            np.divide(fired, self.positions.T[:, :, None], out=rates)
            yield rates.transpose(1, 0, 2)

    def variances(self) -> Iterator[np.ndarray]:
        """Variance of the items' mean activations within emotions, pooled over emotions: float64 (selection, width).

        With x the mean activation over the positions of an item, and n(e) the items of emotion e that have positions:
        sum over e of sum over items of (x - mean of x)^2, over sum of (n(e) - 1); 0 where no emotion has two items.
        The order of items may change the last bit.
        """
        activity, width = self.activity, self.activity.width
        positions = activity.tokens(self.scope, self.items)
        counts = (self.matrix @ (positions > 0).astype("float64")).reshape(-1, len(self.emotions))
        freedom = np.maximum(counts - 1, 0).sum(axis=1)
        sums = self._sums(2 * width)
        for layer in range(activity.layers):

            def read(items: np.ndarray, layer: int = layer) -> np.ndarray:
                its = positions[np.searchsorted(self.items, items)][:, None]
                means = activity.read_sums(layer, self.scope, items) * np.where(its > 0, 1 / np.maximum(its, 1), 0.0)
                return np.concatenate([means, means**2], axis=1)

            self._total(read, sums)
            squares = sums[..., width:] - sums[..., :width] ** 2 / np.maximum(counts.T, 1)[:, :, None]
            yield np.maximum(squares.sum(axis=0), 0) / np.maximum(freedom, 1)[:, None]

    def magnitudes(self) -> Iterator[np.ndarray]:
        """Mean absolute activation of every selection's items, as far as stored (:meth:`Activity.read_magnitudes`).

        Over the positions of the scope; float64 (selection, width), layer by layer.
        """
        summed, positions = self._sums(self.activity.width), self.positions.sum(axis=1)
        for layer in range(self.activity.layers):
            self._total(partial(self.activity.read_magnitudes, layer, self.scope), summed)
            yield summed.sum(axis=0) / positions[:, None]

    def bars(self, numbers: Iterable[int]) -> dict[int, float]:
        """LAPE's bar of some selections, over the rates of all layers, neurons and emotions."""
        found = {number: self.running_bar() for number in numbers}
        for rates in self.rates():
            for number, bar in found.items():
                bar.add(rates[number])
        return {number: bar.value() for number, bar in found.items()}

    def running_bar(self) -> RunningBar:
        """The bar of as many rates as a selection has."""
        return RunningBar(self.activity.neurons * len(self.emotions), self.floor)

    def _sums(self, width: int, dtype: str = "float64") -> np.ndarray:
        return np.empty((len(self.emotions), len(self.selections), width), dtype)

    def _total(self, read: Callable[[np.ndarray], np.ndarray], out: np.ndarray) -> None:
        """Sum what ``read(items)`` gives (item, width) into ``out`` (emotion, selection, width), in its precision.

        Firing counts are whole numbers and activation sums multiples of 2**-24, so in float64 nothing is
        rounded, and neither the order of the items nor the number of threads changes a bit.
        """
        # an emotion's items are nearly the same in all selections: a dense product over just those is ten times faster
        begun: set[int] = set()
        for start, parts in self._dense:
            chunk = read(self.items[start : start + SPAN_ITEMS])
            for emotion, columns, weights in parts:
                weights = weights.astype(out.dtype)
                if emotion in begun:
                    out[emotion] += weights @ chunk[columns]
                else:  # every emotion has items, so every part of `out` is written
                    np.matmul(weights, chunk[columns], out=out[emotion])
                    begun.add(emotion)

    @cached_property
    def _dense(self) -> list[tuple[int, list[tuple[int, np.ndarray, np.ndarray]]]]:
        """First item of each span -> for each emotion with items in it their places, and the matrix over just those."""
        spans = []
        by_item, emotions = self.matrix.tocsc(), len(self.emotions)
        for start in range(0, len(self.items), SPAN_ITEMS):
            span = by_item[:, start : start + SPAN_ITEMS].tocsr()
            rows = [span[emotion::emotions] for emotion in range(emotions)]
            places = [np.unique(block.indices) for block in rows]
            parts = [(e, its, rows[e][:, its].toarray()) for e, its in enumerate(places) if len(its)]
            spans.append((start, parts))
        return spans


DECIMALS = 12
"""Scores are compared to this many decimals: equal margins, such as 0.3 - 0.1 and 0.2, differ in the last bit."""


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
        Chosen(neurons=array([1, 4]), columns={'tied_at_cut': 3, 'share_negative_mean': 0.5})
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
        return _chosen(self._neurons[kept], self._means[kept], tied_at_cut)

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


class Lists:
    """The best neurons of each emotion, ``size`` of each; or one list of the best for any emotion.

    Of one list, a neuron goes to every emotion for which it is eligible. Ties in it go to the neuron of the larger mean
    activation, for the emotion of those for which it is eligible that has the largest; ``tied_at_cut`` is the list's.

    Example:
        >>> for one_list in (False, True):
        ...     lists = Lists(1, 2, seed=0, one_list=one_list)
        ...     lists.add(np.array([[0.1, 0.5], [0.3, 0.2]]), np.zeros((2, 2)), first=0)
        ...     print([best.neurons.tolist() for best in lists.take(1)])
        [[1], [0]]
        [[1], [1]]
    """

    def __init__(self, size: int, emotions: int, seed: int, one_list: bool = False) -> None:
        self._one_list, self._emotions = one_list, emotions
        self._tops = tuple(RunningTop(size, seed) for _ in range(1 if one_list else emotions))
        self._eligible: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # of one list: emotion, neuron, mean

    def add(self, scores: np.ndarray, means: np.ndarray, first: int) -> None:
        """Consider the neurons ``first``, ``first + 1`` …; scores and means are (emotion, neuron)."""
        if self._one_list:
            eligible = scores > -np.inf
            emotions, places = np.nonzero(eligible)
            self._eligible.append((emotions, places + first, means[eligible]))
            scores, means = (np.max(table, axis=0)[None] for table in (scores, np.where(eligible, means, -np.inf)))
        for top, score, mean in zip(self._tops, scores, means, strict=True):
            top.add(score, mean, first)

    def take(self, size: int) -> tuple[Chosen, ...]:
        """The best ``size`` of each emotion, or those of the best ``size`` in all that are eligible for it."""
        best = [top.take(size) for top in self._tops]
        if not self._one_list:
            return tuple(best)
        emotions, neurons, means = (np.concatenate(parts) for parts in zip(*self._eligible, strict=True))
        listed = np.isin(neurons, best[0].neurons)
        own = [listed & (emotions == emotion) for emotion in range(self._emotions)]
        return tuple(_chosen(neurons[mask], means[mask], best[0].columns["tied_at_cut"]) for mask in own)


def _chosen(neurons: np.ndarray, means: np.ndarray, tied_at_cut: int) -> Chosen:
    """Neurons with how many eligible ones have the score of the last one, it included, if some of them found no room.

    The share of those whose mean activation is not positive stands beside it: steering them pushes away.
    """
    negative = float(np.mean(means <= 0)) if len(neurons) else None
    return Chosen(np.sort(neurons), {"tied_at_cut": tied_at_cut, "share_negative_mean": negative})


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

    From K = ``fired``, at how many positions a neuron fires, and S = ``summed``, the sum of its activation, each (emotion,
    neuron); T = ``tokens``, the number of positions (emotion,); and, for selectors that read it, the pooled ``variance``
    of the items' means (neuron,). ``size`` are neurons per emotion; of a selector that makes one list, neurons in it.
    A ``ValueError`` says: the selector is unknown, lacks the variance or reads gradients, fewer than two emotions, or one without position.

    Example:
        >>> fired = np.array([[8, 1, 4], [1, 6, 4]])
        >>> anger, fear = select_from_sums(fired, np.array([10, 10]), fired * 0.1, "cas", 1)
        >>> anger.neurons, fear.neurons
        (array([0]), array([1]))
    """
    find = find_selector(selector)
    if len(fired) < 2 or not np.all(tokens):
        raise ValueError(f"tokens {[*map(int, tokens)]}: selectors compare at least two emotions that have positions")
    if "variance" in find.needs and variance is None:
        raise ValueError(f"selector {selector!r} reads the variance of items, which sums do not tell: give `variance`")
    if needs_gradients([selector]):
        raise ValueError(f"selector {selector!r} reads gradients, which sums of activity do not tell: run a study")
    positions = np.asarray(tokens, "float64")
    rate, mean = fired / positions[:, None], summed / positions[:, None]
    bar = RunningBar(rate.size, floor)
    bar.add(rate)
    lists = Lists(size, len(rate), seed, find.one_list)
    lists.add(find(Statistics(rate, mean, positions, bar=bar.value(), variance=variance)), mean, 0)
    return lists.take(size)


@dataclass(frozen=True)
class Job:
    """One selector on one selection of a plan, for at most ``size`` neurons of all layers, or of the first to the last."""

    key: Hashable
    selector: str
    size: int = field(compare=False)
    layers: tuple[int, int] | None = None


Ranked = dict[Job, Lists]
"""Lists from which up to as many neurons can be taken as the job is for; looked up by a job of any size."""


def rank_streaming(
    plan: SelectionPlan, jobs: Sequence[Job], seed: int = 0, observe: Callable[[list[Statistics]], None] | None = None
) -> Ranked:
    """Rank neurons for many selections and selectors in one pass over the store.

    Memory holds one layer of the plan's sums and the neurons still in the running; of jobs that differ in size alone,
    the largest is done. ``observe`` is called with the statistics of every selection as they pass by, layer by layer.
    """
    numbers = {selection.key: number for number, selection in enumerate(plan.selections)}
    if unknown := [job.key for job in jobs if job.key not in numbers]:
        raise ValueError(f"selection {unknown[0]!r} is not in the plan: it has {list(numbers)[:5]}")
    ranked, needs = Ranked(), dict[str, set[int]]()
    for job in sorted(jobs, key=lambda job: job.size):
        selector = find_selector(job.selector)
        ranked[job] = Lists(job.size, len(plan.emotions), seed, selector.one_list)
        for need in selector.needs:
            needs.setdefault(need, set()).add(numbers[job.key])
    for layer, seen in enumerate(plan.statistics(needs)):
        for job, running in ranked.items():
            if job.layers is None or job.layers[0] <= layer <= job.layers[1]:
                given = seen[numbers[job.key]]
                running.add(find_selector(job.selector)(given), given.mean, layer * plan.activity.width)
        if observe:
            observe(seen)
    return ranked
