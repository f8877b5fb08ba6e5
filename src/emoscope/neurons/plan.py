"""Many selections in one pass over the store: which items count for which emotion, and what selectors read of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import scipy.sparse

from emoscope.neurons.activity import Activity
from emoscope.neurons.selectors import Statistics

FLOOR = 0.95
"""Share of all firing rates that lies at or below LAPE's bar (Tang et al. 2024)."""

SPAN_ITEMS = 512
"""Items read at once, so that memory does not grow with the corpus."""


@dataclass(frozen=True)
class Selection:
    """The items on which one group of neuron sets is fitted: one fold, size, draw or shuffle of labels.

    Attributes:
        key: names the selection in results.
        items: row numbers of the items; int64 (item,).
        labels: the number of each item's emotion in ``emotions``; int64 (item,).
        emotions: the emotions, at least two.

    Raises:
        ValueError: items and labels differ in length, a label is out of range, or an emotion has no item.
    """

    key: Hashable
    items: np.ndarray
    labels: np.ndarray
    emotions: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.items) != len(self.labels):
            raise ValueError(f"selection {self.key}: {len(self.items)} items but {len(self.labels)} labels")
        if len(self.emotions) < 2:
            raise ValueError(f"selection {self.key} has the emotions {self.emotions}: selectors compare at least two")
        counts = np.bincount(np.asarray(self.labels, "int64"), minlength=len(self.emotions))
        if len(counts) > len(self.emotions):
            raise ValueError(f"selection {self.key}: label {len(counts) - 1} has no emotion in {self.emotions}")
        if not counts.all():
            raise ValueError(f"selection {self.key} has no item of {self.emotions[int(counts.argmin())]}")


class SelectionPlan:
    """Selections over the same emotions that are computed together, in one pass over the store.

    Layers are yielded in order, and arrays are overwritten by the next layer: copy what is to be kept.

    Attributes:
        activity, scope: the store, and the positions that count.
        selections: the selections, in order.
        emotions: their emotions.
        items: row numbers of all items that some selection uses, ascending; int64 (item,).
        floor: LAPE's bar lies at this share of all firing rates.

    Raises:
        ValueError: no selection, or selections of other emotions.

    Example:
        >>> import tempfile
        >>> store = Activity.create(f"{tempfile.mkdtemp()}/activity.zarr", 10, 1, 4, np.ones((1, 4)), 10)
        >>> one = Selection("all", np.array([4, 2, 9]), np.array([0, 1, 0]), ("anger", "fear"))
        >>> plan = SelectionPlan(store, [one], "audio")
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
        other = [one for one in self.selections if one.emotions != self.emotions]
        if other:
            raise ValueError(f"selection {other[0].key} has the emotions {other[0].emotions}, others {self.emotions}")
        self.items = np.unique(np.concatenate([one.items for one in self.selections]).astype("int64"))

    @cached_property
    def matrix(self) -> scipy.sparse.csr_array:
        """How often each item counts: sparse float64 (selection x emotion, item), emotions varying fastest."""
        emotions = len(self.emotions)
        rows = np.concatenate([number * emotions + one.labels for number, one in enumerate(self.selections)])
        columns = np.searchsorted(self.items, np.concatenate([one.items for one in self.selections]))
        shape = (len(self.selections) * emotions, len(self.items))
        return scipy.sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=shape).tocsr()

    @cached_property
    def positions(self) -> np.ndarray:
        """T, the number of positions of the scope; float64 (selection, emotion).

        Raises:
            ValueError: an emotion has none, the scope is not stored, or an item was not written.
        """
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
        which selections are to have ``"bar"`` and ``"variance"``, each of which costs a further reading.
        """
        barred, spread = (sorted((needs or {}).get(need, ())) for need in ("bar", "variance"))
        bars = self.bars(barred) if barred else {}
        varied = [self.selections[number] for number in spread]
        variances = SelectionPlan(self.activity, varied, self.scope).variances() if varied else None
        positions, summed = self.positions, self._sums(self.activity.width)
        for layer, rates in enumerate(self.rates()):
            self._total(partial(self.activity.read_sums, layer, self.scope), summed)
            summed /= positions.T[:, :, None]
            variance = dict(zip(spread, next(variances), strict=True)) if variances else {}
            numbers = range(len(self.selections))
            bar = [bars.get(number, float("nan")) for number in numbers]
            yield [
                Statistics(rates[n], summed[:, n], positions[n], self.emotions, layer, bar[n], variance.get(n))
                for n in numbers
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
        tokens = dict(zip(self.items.tolist(), positions.tolist(), strict=True))
        counts = (self.matrix @ (positions > 0).astype("float64")).reshape(-1, len(self.emotions))
        freedom = np.maximum(counts - 1, 0).sum(axis=1)
        sums = self._sums(2 * width)
        for layer in range(activity.layers):

            def read(items: np.ndarray, layer: int = layer) -> np.ndarray:
                weights = np.array([1 / tokens[item] if tokens[item] else 0.0 for item in items.tolist()])
                means = activity.read_sums(layer, self.scope, items) * weights[:, None]
                return np.concatenate([means, means**2], axis=1)

            self._total(read, sums)
            squares = sums[..., width:] - sums[..., :width] ** 2 / np.maximum(counts.T, 1)[:, :, None]
            yield np.maximum(squares.sum(axis=0), 0) / np.maximum(freedom, 1)[:, None]

    def bars(self, numbers: Sequence[int]) -> dict[int, float]:
        """LAPE's bar of some selections, over the rates of all layers, neurons and emotions."""
        found = {number: self.running_bar() for number in numbers}
        for rates in self.rates():
            for number, bar in found.items():
                bar.add(rates[number])
        return {number: bar.value() for number, bar in found.items()}

    def running_bar(self) -> RunningBar:
        """The bar of as many rates as a selection has."""
        return RunningBar(self.activity.layers * self.activity.width * len(self.emotions), self.floor)

    def _sums(self, width: int, dtype: str = "float64") -> np.ndarray:
        return np.empty((len(self.emotions), len(self.selections), width), dtype)

    def _total(self, read: Callable[[np.ndarray], np.ndarray], out: np.ndarray) -> None:
        """Sum what ``read(items)`` gives (item, width) into ``out`` (emotion, selection, width), in its precision.

        Firing counts are whole numbers and activation sums multiples of 2**-24, so in float64 nothing is
        rounded, and neither the order of the items nor the number of threads changes a bit.
        """
        # the items of an emotion are nearly the same in all selections: a dense product over just those
        # items runs some ten times faster than a sparse one
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
        by_item = self.matrix.tocsc()
        for start in range(0, len(self.items), SPAN_ITEMS):
            span = by_item[:, start : start + SPAN_ITEMS].tocsr()
            parts = []
            for emotion in range(len(self.emotions)):
                rows = span[emotion :: len(self.emotions)]
                columns = np.unique(rows.indices)
                if len(columns):
                    parts.append((emotion, columns, rows[:, columns].toarray()))
            spans.append((start, parts))
        return spans


def bar_rank(count: int, floor: float = FLOOR) -> int:
    """Which of ``count`` firing rates, in ascending order and counted from 1, is the bar.

    Example:
        >>> bar_rank(20), bar_rank(9)
        (19, 9)
    """
    return max(1, round(floor * count))


class RunningBar:
    """LAPE's bar of rates that are seen piece by piece: the ``round(floor * count)``-th smallest of ``count`` rates.

    Only the largest ones are kept, down to the bar.

    Example:
        >>> bar = RunningBar(4, floor=0.75)
        >>> bar.add(np.array([3.0, 1.0])); bar.add(np.array([2.0, 5.0]))
        >>> bar.value()
        3.0
    """

    def __init__(self, count: int, floor: float = FLOOR) -> None:
        self.size, self._cut = count - bar_rank(count, floor) + 1, -np.inf
        self._pieces: list[np.ndarray] = []
        self._count = 0

    def add(self, rates: np.ndarray) -> None:
        """Consider the rates of an array of any shape."""
        piece = rates[rates > self._cut]
        self._pieces.append(piece)
        self._count += len(piece)
        if self._count > 2 * self.size:  # now and then, since each cut costs a pass over all that is kept
            self._shrink()

    def value(self) -> float:
        """The bar, when all rates were seen."""
        self._shrink()
        return float(self._pieces[0].min())

    def _shrink(self) -> None:
        together = np.concatenate(self._pieces)
        if len(together) > self.size:
            together = np.partition(together, len(together) - self.size)[len(together) - self.size :]
        if len(together) == self.size:
            self._cut = together.min()
        self._pieces, self._count = [together], len(together)
