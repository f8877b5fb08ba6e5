"""Interventions as values that add up: which neurons get which gain or mean, and where; and gains of rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

    from emoscope.models.audio_lm import AudioLM
    from emoscope.models.hooks import SparseGains
    from emoscope.models.values import Gains, ModelInfo

Numbers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

POSITIONS = ("audio", "text", "decision", "answer")  # all scopes of positions, in the order of their codes


@dataclass(frozen=True, eq=False)
class Edit:
    """One gain on some neurons, or the means that replace their gated products."""

    neurons: Numbers  # int64, sorted, each once; ``layer * width + index``
    gain: float  # factor on the activation: 0 deactivates, 1 changes nothing, 1 + alpha steers
    positions: tuple[str, ...] = POSITIONS  # the scopes at which the edit acts, a part of :data:`POSITIONS`
    # float32 (neuron,), what the gated product of each neuron becomes (the gain is 0 then); ``None``: a gain alone
    means: Floats | None = None
    decoder: tuple[int, int] | None = None  # layers and width of the model in which the neurons were found

    def __post_init__(self) -> None:
        if not np.isfinite(self.gain):
            raise ValueError(f"gain {self.gain} is not finite: give a number such as 0 or 1.5")
        unknown = [p for p in self.positions if p not in POSITIONS]
        if unknown or not self.positions:
            raise ValueError(f"positions {self.positions!r} are not known: choose from {', '.join(POSITIONS)}")
        given = np.asarray(self.neurons, dtype=np.int64)
        neurons, first = np.unique(given, return_index=True)
        neurons.flags.writeable = False
        if self.means is not None:
            object.__setattr__(self, "means", _aligned(given, np.asarray(self.means, np.float32), first))
            if self.gain != 0:
                raise ValueError(f"gain {self.gain:g} with means: a mean replaces the product, so the gain is 0")
        object.__setattr__(self, "neurons", neurons)
        object.__setattr__(self, "gain", float(self.gain))
        object.__setattr__(self, "positions", tuple(p for p in POSITIONS if p in self.positions))

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, Edit) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[bytes, float, tuple[str, ...], bytes | None]:
        means = None if self.means is None else self.means.tobytes()
        return self.neurons.tobytes(), self.gain, self.positions, means

    def __repr__(self) -> str:
        where = "" if self.positions == POSITIONS else f" at {'+'.join(self.positions)}"
        what = f"x {self.gain:g}" if self.means is None else "to their mean"
        return f"{len(self.neurons)} neurons {what}{where}"


def _aligned(given: Numbers, means: Floats, first: npt.NDArray[np.intp]) -> Floats:
    """Means in the order of the sorted neurons."""
    if means.shape != given.shape:
        raise ValueError(f"{means.size} means for {given.size} neurons: give one for each")
    if not np.isfinite(means).all():
        raise ValueError(f"the mean {means[~np.isfinite(means)][0]} is not finite: the statistics are damaged")
    kept = means[first]
    if len(kept) < len(means) and not np.array_equal(kept[np.searchsorted(given[first], given)], means):
        raise ValueError("a neuron is given twice with different means: give it once")
    kept.flags.writeable = False
    return kept


def told(value: object) -> str:
    """A value as an error message shows it: by its contents where they are short, else by its kind."""
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text and " at 0x" not in text else f"a {type(value).__name__}"


@dataclass(frozen=True)
class Intervention:
    """Edits that act together; ``a + b`` has the edits of both, in any order.

    Where edits meet on a neuron, gains multiply, as they act on its activation. A mean comes after them: it
    replaces the gated product, so that a neuron that is set to its mean stays there, whatever gains it has too.

    Raises:
        ValueError: two edits give one neuron different means at the same positions.

    Example:
        >>> from emoscope.interventions.kinds import deactivate, steer
        >>> deactivate([3, 5]) + steer([8], 0.5)
        Intervention(2 neurons x 0, 1 neurons x 1.5)
    """

    edits: tuple[Edit, ...] = ()

    def __post_init__(self) -> None:
        for first, second in combinations([edit for edit in self.edits if edit.means is not None], 2):
            assert first.means is not None
            assert second.means is not None
            shared, here, there = np.intersect1d(first.neurons, second.neurons, assume_unique=True, return_indices=True)
            differ = first.means[here] != second.means[there]
            if differ.any() and set(first.positions) & set(second.positions):
                place = int(differ.argmax())
                raise ValueError(
                    f"neuron {shared[place]} is set to {first.means[here][place]:g} and to {second.means[there][place]:g}: "
                    "the means come from different runs; take both sets from one"
                )

    def __add__(self, other: Intervention) -> Intervention:
        if not isinstance(other, Intervention):
            raise TypeError(f"an intervention cannot be added to {told(other)}: add deactivate(...) or steer(...)")
        return Intervention(self.edits + other.edits)

    def gains(self, info: ModelInfo, rows: int) -> Gains:
        """The gains for a batch of ``rows`` rows, all under this intervention."""
        return gains_for(info, [self] * rows)

    def __repr__(self) -> str:
        return f"Intervention({', '.join(map(repr, self.edits)) or 'nothing'})"


def gains_for(info: ModelInfo, interventions: Sequence[Intervention]) -> Gains:
    """Turn one intervention per batch row into gains that are written out for each neuron.

    Equal interventions are worked out once. No tensor is larger than (rows, width), and only layers that an
    edit touches have one; where all rows share one intervention it is not even copied per row. Means become
    offsets behind a gain of 0, and act after all gains.

    Raises:
        ValueError: a neuron number that the model does not have.
    """
    import torch

    from emoscope.models.values import Gains

    distinct, places = _distinct(interventions)
    rows, parts = torch.tensor(places, dtype=torch.long), list[Gains]()

    def spread(columns: Numbers, touched: Floats, neutral: float) -> torch.Tensor:
        whole = torch.full((len(distinct), info.width), neutral)
        whole[:, columns] = torch.from_numpy(touched)
        return whole.expand(len(rows), -1) if len(whole) == 1 else whole[rows]

    for positions, layers in _stages(info, distinct):
        values = {layer: spread(columns, gain, 1.0) for layer, columns, gain, _, _ in layers}
        offsets = {layer: spread(columns, mean, 0.0) for layer, columns, _, mean, _ in layers if mean is not None}
        parts.append(Gains(values, torch.tensor(positions)[rows], offsets))
    if not parts:
        return Gains({}, torch.ones(len(interventions), len(POSITIONS), dtype=torch.bool))
    return replace(parts[0], more=tuple(parts[1:]))


def sparse_gains(info: ModelInfo, interventions: Sequence[Intervention]) -> SparseGains:
    """The same gains, held once for each distinct intervention and for the neurons alone that any of them touches.

    Made for all rows that are asked under a condition; ``of`` then gives those of each batch, for which nothing is
    worked out or copied again. ``ValueError`` as for :func:`gains_for`.
    """
    import torch

    from emoscope.models.hooks import SparseGains, layer_gains

    distinct, places = _distinct(interventions)
    parts = []
    for positions, layers in _stages(info, distinct):
        flags = None if all(map(all, positions)) else torch.tensor(positions)
        for layer, columns, gain, mean, acting in layers:
            means = None if mean is None else torch.from_numpy(mean)
            tables = torch.from_numpy(columns), torch.from_numpy(gain), means
            parts.append(layer_gains(layer, info.width, *tables, flags, acting))
    return SparseGains(tuple(parts), info.width, places)


def _distinct(interventions: Sequence[Intervention]) -> tuple[list[Intervention], tuple[int, ...]]:
    """The interventions that differ, and which of them each row has."""
    # rows mostly repeat the same few objects: comparing contents for each would take longer than the rest
    objects = {id(intervention): intervention for intervention in interventions}
    distinct = {intervention: place for place, intervention in enumerate(dict.fromkeys(objects.values()))}
    places = {identity: distinct[intervention] for identity, intervention in objects.items()}
    return list(distinct), tuple(places[id(intervention)] for intervention in interventions)


Layer = tuple[int, Numbers, Floats, Floats | None, frozenset[int]]
"""A layer, the neurons in it that any of some interventions touches, gains and means (intervention, neuron), and which
interventions touch any."""


def _stages(info: ModelInfo, interventions: Sequence[Intervention]) -> Iterator[tuple[list[list[bool]], list[Layer]]]:
    """What acts one after the other: at which scopes (intervention, 4), and what in each layer.

    Each intervention's edits are grouped by the positions at which they act; means come last, as they replace what
    gains have made.
    """
    stages = []
    for intervention in interventions:
        groups: dict[tuple[bool, tuple[str, ...]], list[Edit]] = defaultdict(list)
        for edit in intervention.edits:
            if len(edit.neurons) and edit.gain != 1:
                groups[edit.means is not None, edit.positions].append(edit)
        stages.append([(key[1], groups[key]) for key in sorted(groups, key=lambda key: key[0])])
    for stage in range(max(map(len, stages), default=0)):
        edits = [s[stage] if stage < len(s) else (POSITIONS, []) for s in stages]
        positions = [[p in acting for p in POSITIONS] for acting, _ in edits]
        yield positions, _layers(info, [edits_here for _, edits_here in edits])


def _layers(info: ModelInfo, edits: Sequence[Sequence[Edit]]) -> list[Layer]:
    """All layers that any edit touches, in order."""
    found: dict[int, list[tuple[int, Numbers, float, Floats | None]]] = defaultdict(list)
    for place, of_one in enumerate(edits):
        for edit in of_one:
            _refuse_foreign(info, edit)
            bounds = np.searchsorted(edit.neurons, np.arange(info.layers + 1) * info.width)
            for layer in map(int, np.flatnonzero(np.diff(bounds))):
                part = slice(bounds[layer], bounds[layer + 1])
                means = None if edit.means is None else edit.means[part]
                found[layer].append((place, edit.neurons[part] - layer * info.width, edit.gain, means))
    layers: list[Layer] = []
    for layer, parts in sorted(found.items()):
        columns = parts[0][1] if len(parts) == 1 else np.unique(np.concatenate([index for _, index, _, _ in parts]))
        gains = np.ones((len(edits), len(columns)), np.float32)
        set_to = np.zeros_like(gains) if any(means is not None for *_, means in parts) else None
        for place, index, gain, means in parts:
            where = np.searchsorted(columns, index)
            gains[place, where] *= gain
            if means is not None and set_to is not None:
                set_to[place, where] = means
        layers.append((layer, columns, gains, set_to, frozenset(place for place, *_ in parts)))
    return layers


def _refuse_foreign(info: ModelInfo, edit: Edit) -> None:
    """``ValueError`` for neurons that the model does not have, or that were found in one of another size."""
    if edit.decoder not in (None, (info.layers, info.width)):
        raise ValueError(
            f"the neurons were found in a model of {edit.decoder[0]} layers x {edit.decoder[1]} neurons, and "
            f"{info.id} has {info.layers} x {info.width}: take a set that was found in this model"
        )
    wrong = edit.neurons[0] if edit.neurons[0] < 0 else edit.neurons[-1]
    if not 0 <= wrong < info.layers * info.width:
        raise ValueError(
            f"neuron {wrong}: {info.id} has {info.layers} layers x {info.width} neurons, "
            f"numbers 0 to {info.layers * info.width - 1}; is the set from another model?"
        )


@contextmanager
def edited(model: AudioLM, intervention: Intervention) -> Iterator[AudioLM]:
    """Scale the neurons' columns of down_proj inside the block: no hook, full speed, the same for all rows.

    The same as gains by hook, for edits at all positions; afterwards every bit is as before.

    Raises:
        ValueError: an edit limited to some positions or with means, or quantised weights.
        ProofFailed: the bits are not as before afterwards.
    """
    from emoscope.models.values import ProofFailed

    for edit in intervention.edits:
        if edit.positions != POSITIONS:
            raise ValueError(f"{edit!r}: weights act at every position; use gains for edits at some positions")
        if edit.means is not None:
            raise ValueError(f"{edit!r}: a column of down_proj can be scaled, it cannot hold a mean; use gains")
    gains = {}
    for layer, (gain, *_) in intervention.gains(model.info, 1).values.items():
        neurons, weight = (gain != 1).nonzero().flatten(), model.decoder.sites[layer].down.weight
        gains[layer] = neurons.to(weight.device), gain[neurons].to(weight.device, weight.dtype)
    before = model.decoder.fingerprint(list(gains))
    with model.decoder.scaled(gains):
        yield model
    if model.decoder.fingerprint(list(gains)) != before:
        raise ProofFailed("down_proj was not restored bit for bit after a weight edit: load the model again")
