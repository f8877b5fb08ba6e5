"""Interventions: which neurons get which gain, at which positions. Plain values that add up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from emoscope.models.values import Gains, ModelInfo

POSITIONS = ("audio", "text", "decision", "answer")
"""All scopes of positions, in the order of their codes."""


@dataclass(frozen=True, eq=False)
class Edit:
    """One gain on some neurons.

    Attributes:
        neurons: int64, sorted, each once; ``layer * width + index``.
        gain: factor on the activation: 0 deactivates, 1 changes nothing, 1 + alpha steers.
        positions: the scopes at which the gain acts, a part of :data:`POSITIONS`.
    """

    neurons: npt.NDArray[np.int64]
    gain: float
    positions: tuple[str, ...] = POSITIONS

    def __post_init__(self) -> None:
        if not np.isfinite(self.gain):
            raise ValueError(f"gain {self.gain} is not finite: give a number such as 0 or 1.5")
        unknown = [p for p in self.positions if p not in POSITIONS]
        if unknown or not self.positions:
            raise ValueError(f"positions {self.positions!r} are not known: choose from {', '.join(POSITIONS)}")
        neurons = np.unique(np.asarray(self.neurons, dtype=np.int64))
        neurons.flags.writeable = False
        object.__setattr__(self, "neurons", neurons)
        object.__setattr__(self, "gain", float(self.gain))
        object.__setattr__(self, "positions", tuple(p for p in POSITIONS if p in self.positions))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Edit):
            return NotImplemented
        same = self.gain == other.gain and self.positions == other.positions
        return same and np.array_equal(self.neurons, other.neurons)

    def __hash__(self) -> int:
        return hash((self.neurons.tobytes(), self.gain, self.positions))

    def __repr__(self) -> str:
        where = "" if self.positions == POSITIONS else f" at {'+'.join(self.positions)}"
        return f"{len(self.neurons)} neurons x {self.gain:g}{where}"


@dataclass(frozen=True)
class Intervention:
    """Edits that act together; ``a + b`` has the edits of both, and where they meet gains multiply.

    Example:
        >>> deactivate([3, 5]) + steer([8], 0.5)
        Intervention(2 neurons x 0, 1 neurons x 1.5)
    """

    edits: tuple[Edit, ...] = ()

    def __add__(self, other: Intervention) -> Intervention:
        if not isinstance(other, Intervention):
            return NotImplemented
        return Intervention(self.edits + other.edits)

    def gains(self, info: ModelInfo, rows: int) -> Gains:
        """The gains for a batch of ``rows`` rows, all under this intervention."""
        return gains_for(info, [self] * rows)

    def __repr__(self) -> str:
        return f"Intervention({', '.join(map(repr, self.edits)) or 'nothing'})"


def deactivate(neurons: Any, positions: Iterable[str] | str = POSITIONS) -> Intervention:
    """Set the activation of neurons to zero.

    Args:
        neurons: a neuron set, or flat neuron numbers.
        positions: scopes at which to act, names or ``"audio+text"``; all by default.

    Example:
        >>> deactivate([1, 2], positions="audio")
        Intervention(2 neurons x 0 at audio)
    """
    return Intervention((Edit(_numbers(neurons), 0.0, _scopes(positions)),))


def steer(neurons: Any, alpha: float, positions: Iterable[str] | str = POSITIONS) -> Intervention:
    """Multiply the activation of neurons by ``1 + alpha``.

    Args:
        neurons: a neuron set, or flat neuron numbers.
        alpha: 0 changes nothing, 0.5 amplifies by half, -1 deactivates.
        positions: scopes at which to act, names or ``"audio+text"``; all by default.
    """
    return Intervention((Edit(_numbers(neurons), 1.0 + alpha, _scopes(positions)),))


def nothing() -> Intervention:
    """The intervention that changes nothing: the neutral element of ``+``."""
    return Intervention()


def _numbers(neurons: Any) -> npt.NDArray[np.int64]:
    numbers = np.asarray(getattr(neurons, "neurons", neurons))
    if numbers.size == 0:
        return np.empty(0, np.int64)
    if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer):
        raise ValueError(f"neurons of shape {numbers.shape} and type {numbers.dtype}: give a row of whole numbers")
    return numbers.astype(np.int64)


def _scopes(positions: Iterable[str] | str) -> tuple[str, ...]:
    if isinstance(positions, str):
        return POSITIONS if positions == "all" else tuple(positions.split("+"))
    return tuple(positions)


def gains_for(info: ModelInfo, interventions: Sequence[Intervention]) -> Gains:
    """Turn one intervention per batch row into gains.

    Equal interventions are worked out once. No tensor is larger than (rows, width), and only layers that an
    edit touches have one; where all rows share one intervention it is not even copied per row.

    Args:
        info: of the model; its number of layers and neurons per layer.
        interventions: one per row.

    Returns:
        gains of as many rows.

    Raises:
        ValueError: a neuron number that the model does not have.
    """
    import torch

    from emoscope.models.values import Gains

    distinct: dict[Intervention, int] = {}
    by_identity: dict[int, int] = {}
    row_of = []
    for intervention in interventions:
        # rows mostly repeat the same few objects: comparing contents for each would take longer than the rest
        if id(intervention) not in by_identity:
            by_identity[id(intervention)] = distinct.setdefault(intervention, len(distinct))
        row_of.append(by_identity[id(intervention)])
    rows = torch.tensor(row_of, dtype=torch.long)
    parts: list[Gains] = []
    stages = [_stages(intervention) for intervention in distinct]
    for stage in range(max(map(len, stages), default=0)):
        edits = [s[stage] if stage < len(s) else (POSITIONS, []) for s in stages]
        layers = _layers(info, [edits_here for _, edits_here in edits])
        flags = torch.tensor([[p in positions for p in POSITIONS] for positions, _ in edits])
        spread = {layer: _spread(torch.from_numpy(gain), rows) for layer, gain in layers.items()}
        parts.append(Gains(spread, flags[rows]))
    if not parts:
        return Gains({}, torch.ones(len(interventions), len(POSITIONS), dtype=torch.bool))
    return Gains(parts[0].values, parts[0].positions, more=tuple(parts[1:]))


def _stages(intervention: Intervention) -> list[tuple[tuple[str, ...], list[Edit]]]:
    """Edits grouped by the positions at which they act."""
    groups: dict[tuple[str, ...], list[Edit]] = defaultdict(list)
    for edit in intervention.edits:
        if len(edit.neurons) and edit.gain != 1:
            groups[edit.positions].append(edit)
    return list(groups.items())


def _layers(info: ModelInfo, edits: Sequence[Sequence[Edit]]) -> dict[int, npt.NDArray[np.float32]]:
    """Layer -> float32 (intervention, width) for all layers that any edit touches."""
    layers: dict[int, npt.NDArray[np.float32]] = {}
    for place, of_one in enumerate(edits):
        for edit in of_one:
            if edit.neurons[0] < 0 or edit.neurons[-1] >= info.layers * info.width:
                wrong = edit.neurons[0] if edit.neurons[0] < 0 else edit.neurons[-1]
                raise ValueError(
                    f"neuron {wrong}: {info.id} has {info.layers} layers x {info.width} neurons, "
                    f"numbers 0 to {info.layers * info.width - 1}; is the set from another model?"
                )
            bounds = np.searchsorted(edit.neurons, np.arange(info.layers + 1) * info.width)
            for layer in np.flatnonzero(np.diff(bounds)):
                gain = layers.setdefault(int(layer), np.ones((len(edits), info.width), np.float32))
                gain[place, edit.neurons[bounds[layer] : bounds[layer + 1]] - layer * info.width] *= edit.gain
    return dict(sorted(layers.items()))


def _spread(gain: Any, rows: Any) -> Any:
    return gain.expand(len(rows), -1) if len(gain) == 1 else gain[rows]
