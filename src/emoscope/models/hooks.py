"""The only place that hooks into a model: gains per batch row, activations for an observer, passes that begin late.

A pass may begin at a later layer under gains that act after it: what the layers before it compute is then the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map_only

from emoscope.models.decoder import Decoder
from emoscope.models.values import ANSWER, Batch, Gains, Observer, ProofFailed, Rows

if TYPE_CHECKING:
    from emoscope.models.audio_lm import AudioLM

# below one in so many neurons of a layer they are gathered and written back, which takes less memory; above, all are
# multiplied in place, which is faster on a CPU (about equal at one in 32)
FEW = 32

# memory of the host that the starts of one block of items may take; of the device's, it is that of one batch at a time
# (at 256 items of 800 positions a hidden state of 3584 numbers in bfloat16 takes 1.4 GB)
BYTES = 2 << 30


class Firings:
    """How often the decoder ran and how often each hook fired while :func:`hooked` was active."""

    def __init__(self, scopes: torch.Tensor | None) -> None:
        self.forwards, self._prompt = 0, scopes
        self.fired = Counter[str]()

    def scopes(self, product: torch.Tensor) -> torch.Tensor:
        """Scope codes (row, position) of the running pass: the prompt first, then one answer position a pass."""
        rows, positions = product.shape[:2]
        if self.forwards > 1:
            return torch.full((rows, positions), ANSWER, dtype=torch.int8, device=product.device)
        if self._prompt is None or self._prompt.shape != (rows, positions):
            known = None if self._prompt is None else tuple(self._prompt.shape)
            raise ProofFailed(f"the decoder ran on (row, position) = {rows, positions}, but scopes are {known}")
        return self._prompt.to(product.device)

    def verify(self, forwards: int | None) -> None:
        """:class:`ProofFailed` where a hook did not fire once a pass, or there were not ``forwards`` passes."""
        if forwards is not None and self.forwards != forwards:
            raise ProofFailed(f"the decoder ran {self.forwards} times where {forwards} were expected")
        if self.forwards == 0:
            raise ProofFailed("the decoder did not run at all: nothing was measured or changed")
        if wrong := sorted(name for name, times in self.fired.items() if times != self.forwards):
            raise ProofFailed(
                f"{len(wrong)} of {len(self.fired)} hooks did not fire once a pass: "
                f"the {wrong[0]} fired {self.fired[wrong[0]]} times in {self.forwards} passes"
            )


@dataclass
class _Factor:
    """The gains of one layer, cut down to the neurons that they touch."""

    columns: torch.Tensor | None
    gain: torch.Tensor | None
    offset: torch.Tensor | None
    positions: torch.Tensor | None
    place: tuple[torch.device, torch.dtype] | None = None

    def apply(self, product: torch.Tensor, firings: Firings) -> None:
        """Change the gated product (row, position, width) in place: it is made anew in every pass."""
        if self.place != (product.device, product.dtype):
            # the weights may be elsewhere, or packed as whole numbers
            self.place = product.device, product.dtype
            self.gain, self.offset = (_shared(one, lambda one: one.to(product)) for one in (self.gain, self.offset))
            device, places = product.device, (self.columns, self.positions)
            self.columns, self.positions = (None if one is None else one.to(device) for one in places)
        active = None
        if self.positions is not None:
            # padding has code -1: it reads the last column, which does no harm as nothing attends to it
            active = torch.take_along_dim(self.positions, firings.scopes(product).long() % 4, dim=1)[..., None]
        part = product if self.columns is None else product[..., self.columns]
        for change, neutral, act in ((self.gain, 1, part.mul_), (self.offset, 0, part.add_)):
            if change is not None:
                act(change[:, None] if active is None else torch.where(active, change[:, None], neutral))
        if self.columns is not None:
            product[..., self.columns] = part


@contextmanager
def hooked(
    decoder: Decoder,
    gains: Gains | None = None,
    observe: Observer | None = None,
    scopes: torch.Tensor | None = None,
    forwards: int | None = None,
) -> Iterator[Firings]:
    """Apply gains and show activations to an observer in every pass of the decoder inside the block.

    Only layers with gains get a gain hook. ``scopes`` are the scope codes int8 (row, position) of the prompt, on which
    the first pass runs, later ones on an answer position; positions of gains and observers need them.
    :class:`ProofFailed` where a hook did not fire once a pass, or there were not ``forwards`` passes (``None``: any
    number); ``ValueError`` for gains of the wrong shape.
    """
    firings, gates = Firings(scopes), dict[int, torch.Tensor]()
    factors = {} if gains is None else _factors(decoder, gains, None if scopes is None else len(scopes))

    def at_start(_module: nn.Module, _args: object) -> None:
        firings.forwards += 1

    def at_gate(layer: int, _module: nn.Module, _args: object, output: torch.Tensor) -> None:
        firings.fired[f"gate of layer {layer}"] += 1
        gates[layer] = output

    def at_down(layer: int, _module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        product = args[0]
        firings.fired[f"down of layer {layer}"] += 1
        for factor in factors.get(layer, ()):
            factor.apply(product, firings)
        if observe is None:
            return
        if layer not in gates:
            raise ProofFailed(f"layer {layer}: down_proj ran before gate_proj, so its activation is unknown")
        activation = decoder.sites[layer].activation(gates.pop(layer))
        observe.observe(layer, activation, product, firings.scopes(product))

    with ExitStack() as hooks:
        hooks.enter_context(decoder.backbone.register_forward_pre_hook(at_start))
        for layer, site in enumerate(decoder.sites):
            if observe is not None:
                hooks.enter_context(site.gate.register_forward_hook(partial(at_gate, layer)))
                firings.fired[f"gate of layer {layer}"] = 0
            if observe is not None or layer in factors:
                hooks.enter_context(site.down.register_forward_pre_hook(partial(at_down, layer)))
                firings.fired[f"down of layer {layer}"] = 0
        yield firings
    firings.verify(forwards)


def _factors(decoder: Decoder, gains: Gains, rows: int | None) -> dict[int, list[_Factor]]:
    factors: dict[int, list[_Factor]] = {}
    for part in gains.parts:
        for layer in sorted({*part.values, *part.offsets}):
            if not 0 <= layer < decoder.layers:
                raise ValueError(f"gains name layer {layer}: the decoder has layers 0 to {decoder.layers - 1}")
            if factor := _factor(decoder, layer, part, rows):
                factors.setdefault(layer, []).append(factor)
    return factors


def _factor(decoder: Decoder, layer: int, gains: Gains, rows: int | None) -> _Factor | None:
    """Check the shapes and keep the touched neurons only; ``None`` if there are none."""
    gain, offset, positions = gains.values.get(layer), gains.offsets.get(layer), gains.positions
    touched = torch.zeros(decoder.width, dtype=torch.bool)
    for tensor, neutral in ((gain, 1), (offset, 0)):
        if tensor is None:
            continue
        if tensor.ndim != 2 or tensor.shape[1] != decoder.width or rows not in (None, len(tensor)):
            wanted = "row" if rows is None else rows
            raise ValueError(f"gains of layer {layer} are {tuple(tensor.shape)}, not ({wanted}, {decoder.width})")
        touched |= (_distinct(tensor) != neutral).any(0).cpu()
    columns = touched.nonzero().flatten()
    if len(columns) == 0:
        return None
    positions = None if positions is None or bool(positions.all()) else positions
    if len(columns) * FEW >= decoder.width:
        return _Factor(None, gain, offset, positions)

    def cut(part: torch.Tensor) -> torch.Tensor:
        return part[:, columns.to(part.device)]

    return _Factor(columns, _shared(gain, cut), _shared(offset, cut), positions)


def _shared(tensor: torch.Tensor | None, change: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor | None:
    """A tensor, if there is one, after a change; rows that share memory go on sharing it."""
    if tensor is None:
        return None
    made = change(_distinct(tensor))
    return made.expand(len(tensor), -1) if len(made) < len(tensor) else made


def _distinct(tensor: torch.Tensor) -> torch.Tensor:
    """The only row of a tensor whose rows share memory: copying or converting it would give each row its own."""
    return tensor[:1] if tensor.stride(0) == 0 else tensor


@contextmanager
def outputs(modules: Sequence[nn.Module]) -> Iterator[dict[int, torch.Tensor]]:
    """Keep the latest output of each module, by its place, inside the block, for checks."""
    kept: dict[int, torch.Tensor] = {}

    def keep(place: int, _module: nn.Module, _args: object, output: torch.Tensor) -> None:
        kept[place] = output

    with ExitStack() as hooks:
        for place, module in enumerate(modules):
            hooks.enter_context(module.register_forward_hook(partial(keep, place)))
        yield kept


@dataclass(frozen=True)
class Start:
    """The state of a batch before one layer, with no gain acting."""

    layer: int  # the first layer that is still to be run
    output: object  # what the layer before it returned, on the host: a tensor, or a tuple of tensors
    device: torch.device  # where it was

    @property
    def bytes(self) -> int:
        """Memory of the host that it takes."""
        return sum(tensor.nbytes for tensor in _tensors(self.output))


def run_to(decoder: Decoder, layer: int, earlier: Start | None, run: Callable[[], object]) -> Start:
    """The state that is reached when ``run`` makes a pass in which only the layers before ``layer`` work."""
    first = 0 if earlier is None else earlier.layer
    if not max(first, 1) <= layer <= decoder.layers:
        raise ValueError(f"a pass cannot begin at layer {layer}: give one of {max(first, 1)} to {decoder.layers}")
    with only_blocks(decoder, earlier, layer) as kept:
        run()
    device = _tensors(kept[0])[0].device
    return Start(layer, _moved(kept[0], torch.device("cpu")), device)


@contextmanager
def only_blocks(decoder: Decoder, start: Start | None, last: int | None = None) -> Iterator[list[object]]:
    """Let only the layers from a start to ``last - 1`` work inside the block; all others hand on what came before them.

    What stands around the layers (masks, rotary positions, the last norm) runs as ever. Gives a list that holds the
    output of layer ``last - 1`` after a pass, as the layer's class returns it; all layers work where neither is given.
    """
    blocks, first, last = decoder.blocks, 0 if start is None else start.layer, last or decoder.layers
    kept = [None if start is None else _moved(start.output, start.device)]
    own = {place: block.__dict__.get("forward") for place, block in enumerate(blocks) if not first <= place < last}

    def hand_on(*_args: object, **_more: object) -> object:
        return kept[0]

    def keep(_module: nn.Module, _args: object, output: object) -> None:
        kept[0] = output

    hook = blocks[last - 1].register_forward_hook(keep) if last > first else nullcontext()
    for place in own:
        blocks[place].forward = hand_on
    try:
        with hook:
            yield kept
    finally:
        for place, forward in own.items():
            del blocks[place].forward
            if forward is not None:  # such as that of a library which spreads layers over devices
                blocks[place].forward = forward


class Starts:
    """The starts of the batches of one block, each kept at one layer: that of the latest condition.

    Conditions are best asked in the order of their layers: the state then moves on, and one full pass a batch serves
    them all. There are none where the model has not shown that passes may begin later; batches whose starts would take
    more than ``limit`` bytes in all run in full.
    """

    def __init__(self, model: AudioLM, limit: int = BYTES) -> None:
        self.model, self.limit = model, limit
        self._kept: dict[int, Start] = {}

    def at(self, number: int, batch: Rows, layer: int) -> Start | None:
        """The start of a block's batch at the first layer in which gains act; ``None`` if its pass runs in full."""
        if layer < 1 or not self.model.resumes:
            return None
        kept = self._kept.get(number)
        if kept is not None and kept.layer == layer:
            return kept
        others = sum(start.bytes for place, start in self._kept.items() if place != number)
        # as large as the padded inputs, or a few times that: no pass is made for what would not be kept
        rows = [batch] if isinstance(batch, Batch) else batch
        if kept is None and others + len(rows) * max(row.embeddings.nbytes for row in rows) > self.limit:
            return None
        start = self.model.begin(batch, layer, kept if kept is not None and kept.layer < layer else None)
        if others + start.bytes <= self.limit:
            self._kept[number] = start
        return start


def _tensors(output: object) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor)]


def _moved(output: object, device: torch.device) -> object:
    return tree_map_only(torch.Tensor, lambda tensor: tensor.to(device), output)
