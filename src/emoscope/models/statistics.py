"""Activations as sums of each clip and scope, taken layer by layer while a pass runs."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch

from emoscope.models.passes import pack
from emoscope.models.values import ANSWER, AUDIO, DECISION, PADDING, TEXT, Prepared, ProofFailed, sent

if TYPE_CHECKING:
    from emoscope.models.audio_lm import AudioLM
    from emoscope.neurons.activity import ActivityBlock

SPANS = {"audio": AUDIO, "text": TEXT}  # scopes of many positions: counts and means are kept
SINGLES = {"decision": DECISION, "answer": ANSWER}  # scopes of one position: the value is kept
ELEMENTS = 1 << 24  # elements of a layer's activation that are widened to float32 at once (64 MB)
IN_CACHE = 1 << 19  # the same on a CPU, where what is derived of them should stay in its cache (2 MB)
TOGETHER = 8  # rows that are added up in one product, at most: each costs as much as it has rows
AT_ONCE = 1 << 24  # bytes of results that wait on a device to be copied to the host together


class ScopeStatistics:
    """An observer that keeps sums for each row of a block of items, never more activations than of the running layer.

    Counted at ``site``: ``"gate"``, the activated gate, which is a neuron's activation, or ``"product"``, the gated
    product; ``ValueError`` for another. Sums stay on the device of their layer and are copied to the host together, so
    that a pass waits for its device once: to read where its scopes are. A block may be scored in several batches::

        statistics = ScopeStatistics(info.layers, info.width, rows=len(prepared))
        model.score(prepared[:8], observe=statistics.of(range(8)))
        model.score(prepared[8:], observe=statistics.of(range(8, len(prepared))))
        statistics.block()
    """

    def __init__(self, layers: int, width: int, rows: int, site: str = "gate") -> None:
        if site not in ("gate", "product"):
            raise ValueError(f'site {site!r} is not known: give "gate" or "product"')
        self.site, self.rows, self.size = site, np.arange(rows), (layers, width)
        self.lengths: Sequence[int] = ()  # positions of each row, where they stand in one line
        shape = rows, layers, width
        self.counts = {scope: np.zeros(shape, np.uint16) for scope in SPANS}
        self.means = {scope: np.zeros(shape, np.float16) for scope in SPANS}
        self.values = {scope: np.zeros(shape, np.float16) for scope in SINGLES}
        self.tokens = np.zeros((rows, 4), np.int32)
        # layer -> float32 (2, width) on its device: absolute activations and products, over all prompt positions
        self._sums: dict[int, torch.Tensor] = {}
        self._results = _ToHost()
        self._places: dict[torch.device, _Places] = {}  # of the running pass
        self._latest = layers  # the layer that was observed last

    def of(self, rows: Sequence[int] | np.ndarray, lengths: Sequence[int] = ()) -> ScopeStatistics:
        """The observer for a batch whose rows are these items of the block: it adds to the same sums.

        Args:
            lengths: positions of each row, where they stand in one line.
        """
        part = copy(self)
        part.lengths = lengths
        part.rows, part._places, part._latest = np.asarray(rows, dtype=np.int64), {}, self.size[0]
        return part

    def block(self) -> ActivityBlock:
        """The statistics as the activity store takes them."""
        from emoscope.neurons.activity import ActivityBlock

        self._results.finish()
        sums = np.zeros((2, *self.size), np.float32)
        layers = groupby(self._sums.items(), key=lambda pair: pair[1].device)
        for numbers, tensors in (zip(*group, strict=True) for _, group in layers):
            sums[:, list(numbers)] = torch.stack(tensors, 1).cpu().numpy()
        positions = int(self.tokens[:, [AUDIO, TEXT, DECISION]].sum())
        return ActivityBlock(self.counts, self.means, self.values, self.tokens, sums[0], sums[1], positions)

    def observe(self, layer: int, activation: torch.Tensor, product: torch.Tensor, scopes: torch.Tensor) -> None:
        """Observe one layer of a batch that holds the whole block, in order, or the rows that :meth:`of` names.

        The layers of a pass are observed in their order: one that does not follow the last begins another pass.
        """
        lengths = self.lengths or [activation.shape[1]] * len(self.rows)
        activation, product = activation.flatten(0, 1), product.flatten(0, 1)
        if len(activation) != sum(lengths):
            raise ProofFailed(f"{len(activation)} positions were observed as {len(self.rows)} items of {sum(lengths)}")
        if layer <= self._latest:
            self._places = {}
        self._latest = layer
        if scopes.device not in self._places:
            self._places[scopes.device] = places = _Places.of(scopes, lengths, self.size[1])
            # the two passes of a batch share no scope
            self.tokens[self.rows] = np.where(places.tokens, places.tokens, self.tokens[self.rows])
        places = self._places[scopes.device]
        found = torch.cat([self._reduce(layer, part, activation, product, places.single) for part in places.parts], 1)
        arrays: list[np.ndarray] = [self.values[places.single]] if places.single else []
        halves = len(arrays)
        if places.single != "answer":
            arrays += [*self.means.values(), *self.counts.values()]
            halves += len(self.means)
        # as numbers of two bytes, whatever they mean
        results = [half(found[:halves]).view(torch.int16), found[halves:].to(torch.int32).to(torch.int16)]
        self._results.add(arrays, self.rows, layer, torch.cat(results))

    def _reduce(
        self, layer: int, part: _Part, activation: torch.Tensor, product: torch.Tensor, single: str
    ) -> torch.Tensor:
        """The value at the single position of some rows, their means and counts: float32 (result, row, width)."""
        activation, product = activation[part.positions], product[part.positions]
        activation = activation.float() if self.site == "gate" else product.float()
        found = [activation.index_select(0, part.index)[None]] if single else []
        if single == "answer":
            return found[0]
        shape = len(SPANS), -1, activation.shape[1]
        found.append((part.spans @ activation).view(shape) / part.tokens)
        # one tensor in turn for what is derived of every activation; comparing straight into it is many times faster
        # on a CPU than by way of truth values
        every = torch.empty_like(activation, memory_format=torch.contiguous_format)
        found.append((part.spans @ torch.gt(activation, 0, out=every)).view(shape))
        if layer not in self._sums:
            self._sums[layer] = torch.zeros(2, self.size[1], device=activation.device)
        sums = self._sums[layer]
        sums[0] += part.prompt @ torch.abs(activation, out=every)
        sums[1] += part.prompt @ (product if product.dtype == every.dtype else every.copy_(product))
        return torch.cat(found)


def lines_apart(model: AudioLM, rows: Sequence[Prepared]) -> float:
    """How far what is recorded of rows in lines, answers pooled over lines, is from what is recorded of padded ones.

    Returns:
        the largest difference, as a share of the largest value of its kind.
    """
    size = model.info.layers, model.info.width, len(rows)
    padded, line, every = ScopeStatistics(*size), ScopeStatistics(*size), range(len(rows))
    model.score(rows, observe=padded)
    parts = [part for part in (every[:1], every[1:]) if part]
    lines = [pack([rows[row] for row in part], model.device, whole=True) for part in parts]
    model.score_lines(lines, [line.of(part, [len(rows[row]) for row in part]) for part in parts], line.of(every))
    return line.block().apart(padded.block())


@dataclass(frozen=True)
class _Part:
    """Some rows of a pass, on the device of its layers."""

    positions: slice  # where they stand among all positions
    index: torch.Tensor  # int64 (row,): where the single position of each row is, among these
    spans: torch.Tensor  # 1 where a position is of a row and span and 0 elsewhere, float32 (span * row, position)
    tokens: torch.Tensor  # its positions, at least 1, (span, row, 1)
    prompt: torch.Tensor  # 1 where there is no padding, float32 (position,)


@dataclass(frozen=True)
class _Places:
    """Where the scopes of one pass are."""

    tokens: np.ndarray  # int32, positions of each scope, (row, 4)
    single: str  # which scope of one position the pass has: decision or answer; empty if neither
    parts: Sequence[_Part]

    @classmethod
    def of(cls, scopes: torch.Tensor, lengths: Sequence[int], width: int) -> _Places:
        """Read the scope codes int8 of a pass, row after row; the only time that the host waits for its device.

        Args:
            lengths: positions of each row, padded or not.
        """
        codes, rows = scopes.cpu().numpy().ravel(), np.repeat(np.arange(len(lengths)), lengths)
        tokens = np.stack([np.bincount(rows[codes == code], minlength=len(lengths)) for code in range(4)], 1)
        single = next((scope for scope, code in SINGLES.items() if tokens[:, code].any()), "")
        code = SINGLES.get(single, PADDING)
        if single and (tokens[:, code] != 1).any():
            raise ProofFailed(f"rows have {sorted(set(tokens[:, code].tolist()))} positions of scope {single}, not one")
        most = (min(ELEMENTS, IN_CACHE) if scopes.device.type == "cpu" else ELEMENTS) // width
        places = _cut(lengths, most, len(lengths) if single == "answer" else TOGETHER)
        marks = [
            np.stack([(np.arange(own.start, own.stop)[:, None] == rows[p]) & (codes[p] == c) for c in SPANS.values()])
            for own, p in places
        ]

        def on_device(array: np.ndarray) -> torch.Tensor:
            return sent(torch.from_numpy(array), scopes.device)

        # all parts together, as each copy to a device takes time of its own
        index, prompt = on_device(np.flatnonzero(codes == code)), on_device((codes != PADDING).astype(np.float32))
        counts = on_device(tokens[:, list(SPANS.values())].T[..., None].clip(1).astype(np.float32))
        spans = on_device(np.concatenate([mark.ravel() for mark in marks]).astype(np.float32))
        parts = [
            _Part(
                place, index[own] - place.start, mark.view(-1, place.stop - place.start), counts[:, own], prompt[place]
            )
            for (own, place), mark in zip(places, spans.split([mark.size for mark in marks]), strict=True)
        ]
        return cls(tokens.astype(np.int32), single, parts)


def _cut(lengths: Sequence[int], most: int, rows: int) -> list[tuple[slice, slice]]:
    """Cut rows into parts of at most so many, and so many positions if they are several: their rows, their positions."""
    ends, cuts = [0, *accumulate(lengths)], [0]
    while cuts[-1] < len(lengths):
        fitting = bisect(ends, ends[cuts[-1]] + most) - 1
        cuts.append(min(max(cuts[-1] + 1, fitting), cuts[-1] + rows))
    return [(slice(*cut), slice(ends[cut[0]], ends[cut[1]])) for cut in pairwise(cuts)]


_Place = tuple[Sequence[np.ndarray], np.ndarray, int]  # arrays, their rows, and the layer, to which results belong


class _ToHost:
    """Results of layers on their way to arrays of the host: copied some at a time, and stored while the device works on.

    Results are numbers of two bytes; they wait on the device until there are ``AT_ONCE`` bytes of them.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[_Place, torch.Tensor]] = []
        self._copied: list[tuple[list[_Place], torch.Tensor, torch.cuda.Event | None]] = []

    def add(self, arrays: Sequence[np.ndarray], rows: np.ndarray, layer: int, results: torch.Tensor) -> None:
        """Results int16 (array, row, width), of which each goes to ``array[rows, layer]``."""
        self._waiting.append(((arrays, rows, layer), results))
        if sum(waiting.nbytes for _, waiting in self._waiting) >= AT_ONCE:
            self._copy()

    def finish(self) -> None:
        """Store all that there is."""
        self._copy()
        self._store()

    def _copy(self) -> None:
        """Begin to copy what waits, then store what was copied before."""
        copied = []
        for device, group in groupby(self._waiting, key=lambda pair: pair[1].device):
            places, results = zip(*group, strict=True)
            # on a GPU into pinned memory, in the order of its work: the host need not wait
            host = torch.cat([result.flatten() for result in results]).to("cpu", non_blocking=device.type == "cuda")
            copied.append((list(places), host, _ready(device)))
        self._waiting = []
        self._store()
        self._copied = copied

    def _store(self) -> None:
        for places, host, ready in self._copied:
            if ready is not None:
                ready.synchronize()
            start = 0
            for arrays, rows, layer in places:
                for array in arrays:
                    end = start + len(rows) * array.shape[-1]
                    values = host[start:end].numpy().view(array.dtype)
                    array[rows, layer], start = values.reshape(len(rows), -1), end
        self._copied = []


def _ready(device: torch.device) -> torch.cuda.Event | None:
    """What a GPU reaches when it has done all that was asked of it so far."""
    if device.type != "cuda":
        return None
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(device))
    return event


def half(values: torch.Tensor) -> torch.Tensor:
    """Round to float16 without losing the sign: a positive value stays positive, a large one stays finite.

    Example:
        >>> half(torch.tensor([1e-9, -1e-9, 0.0, 1e6])).tolist()
        [5.960464477539063e-08, -5.960464477539063e-08, 0.0, 65504.0]
    """
    limits = torch.finfo(torch.float16)
    smallest = limits.smallest_normal * limits.eps
    clamped = values.float().clamp(limits.min, limits.max)
    kept = torch.where((clamped != 0) & (clamped.abs() < smallest), torch.sign(clamped) * smallest, clamped)
    return kept.half()
