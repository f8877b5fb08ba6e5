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
    """Selections over the same emotions that are computed together.

    Attributes:
        selections: the selections, in order.
        emotions: their emotions.
        items: row numbers of all items that some selection uses, ascending; int64 (item,).

    Example:
        >>> import numpy as np
        >>> one = Selection("all", np.array([4, 2, 9]), np.array([0, 1, 0]), ("anger", "fear"))
        >>> plan = SelectionPlan([one])
        >>> plan.items, plan.matrix.toarray()
        (array([2, 4, 9]), array([[0., 1., 1.],
               [1., 0., 0.]]))
    """

    def __init__(self, selections: Sequence[Selection]) -> None:
        if not selections:
            raise ValueError("a plan needs at least one selection")
        self.selections = tuple(selections)
        self.emotions = self.selections[0].emotions
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

    def tokens(self, activity: Activity, scope: str | Sequence[str]) -> np.ndarray:
        """T, the number of positions of the scope; float64 (selection, emotion).

        Raises:
            ValueError: an emotion has no position in the scope.
        """
        total = (self.matrix @ activity.tokens(scope, self.items).astype("float64")).reshape(-1, len(self.emotions))
        if not total.all():
            number, emotion = np.argwhere(total == 0)[0]
            raise ValueError(
                f"selection {self.selections[number].key}: the items of {self.emotions[emotion]} have no position "
                f"in scope {scope!r}; choose a scope that was listened to"
            )
        return total

    def total(self, read: Callable[[np.ndarray], np.ndarray], out: np.ndarray) -> None:
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


def stream_statistics(
    activity: Activity,
    plan: SelectionPlan,
    scope: str | Sequence[str],
    needs: Mapping[str, Iterable[int]] | None = None,
    floor: float = FLOOR,
) -> Iterator[list[Statistics]]:
    """What selectors read, layer by layer: the statistics of every selection of a plan, in its order.

    P = K / T and M = S / T, where K is the number of positions at which the neuron fires, S the sum of its
    activation and T the number of positions, over all positions of the scope of an emotion's items. ``needs`` says
    which selections are to have ``"bar"`` and ``"variance"``. The next layer overwrites the arrays.

    Raises:
        ValueError: the scope is not stored, an item was not written, or an emotion has no position.
    """
    barred, spread = (sorted((needs or {}).get(need, ())) for need in ("bar", "variance"))
    bars = find_bars(activity, plan, scope, barred, floor) if barred else {}
    varied = SelectionPlan([plan.selections[number] for number in spread]) if spread else None
    variances = stream_variances(activity, varied, scope) if varied else None
    positions = plan.tokens(activity, scope)
    summed = np.empty((len(plan.emotions), len(plan.selections), activity.width))
    for layer, rates in enumerate(stream_rates(activity, plan, scope)):
        plan.total(partial(activity.read_sums, layer, scope), summed)
        summed /= positions.T[:, :, None]
        variance = dict(zip(spread, next(variances), strict=True)) if variances else {}
        yield [
            Statistics(
                rates[number], summed[:, number], positions[number], plan.emotions, layer,
                bars.get(number, float("nan")), variance.get(number),
            )
            for number in range(len(plan.selections))
        ]  # fmt: skip


def stream_rates(activity: Activity, plan: SelectionPlan, scope: str | Sequence[str]) -> Iterator[np.ndarray]:
    """The firing rates alone, which halves the reading: float64 (selection, emotion, width), layer by layer."""
    tokens = plan.tokens(activity, scope)
    # float32 holds whole numbers up to 2**24 exactly and is twice as fast; a count never exceeds the tokens
    precision = "float32" if tokens.max() < 2**24 else "float64"
    shape = (len(plan.emotions), len(plan.selections), activity.width)
    # made once: handing 200 MB back to the system and asking for it anew costs as much as the arithmetic
    fired, rates = np.empty(shape, precision), np.empty(shape)
    for layer in range(activity.layers):
        plan.total(partial(activity.read_counts, layer, scope, dtype=precision), fired)
        np.divide(fired, tokens.T[:, :, None], out=rates)
        yield rates.transpose(1, 0, 2)


def stream_variances(activity: Activity, plan: SelectionPlan, scope: str | Sequence[str]) -> Iterator[np.ndarray]:
    """Variance of the items' mean activations within emotions, pooled over emotions: float64 (selection, width), by layer.

    With x the mean activation over the positions of an item, and n(e) the items of emotion e that have positions:
    sum over e of sum over items of (x - mean of x)^2, over sum of (n(e) - 1); 0 where no emotion has two items.
    The order of items may change the last bit.
    """
    positions = activity.tokens(scope, plan.items)
    tokens = dict(zip(plan.items.tolist(), positions.tolist(), strict=True))
    counts = (plan.matrix @ (positions > 0).astype("float64")).reshape(-1, len(plan.emotions))
    freedom = np.maximum(counts - 1, 0).sum(axis=1)
    width = activity.width
    sums = np.empty((len(plan.emotions), len(plan.selections), 2 * width))
    for layer in range(activity.layers):

        def read(items: np.ndarray, layer: int = layer) -> np.ndarray:
            weights = np.array([1 / tokens[item] if tokens[item] else 0.0 for item in items.tolist()])
            means = activity.read_sums(layer, scope, items) * weights[:, None]
            return np.concatenate([means, means**2], axis=1)

        plan.total(read, sums)
        squares = sums[..., width:] - sums[..., :width] ** 2 / np.maximum(counts.T, 1)[:, :, None]
        yield np.maximum(squares.sum(axis=0), 0) / np.maximum(freedom, 1)[:, None]


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


def find_bars(
    activity: Activity, plan: SelectionPlan, scope: str | Sequence[str], numbers: Sequence[int], floor: float = FLOOR
) -> dict[int, float]:
    """LAPE's bar of some selections, over the rates of all layers, neurons and emotions."""
    count = activity.layers * activity.width * len(plan.emotions)
    bars = {number: RunningBar(count, floor) for number in numbers}
    for rates in stream_rates(activity, plan, scope):
        for number, bar in bars.items():
            bar.add(rates[number])
    return {number: bar.value() for number, bar in bars.items()}
