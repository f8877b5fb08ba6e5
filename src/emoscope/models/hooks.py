"""Hooks on the neurons of a decoder: gains per batch row, and activations for an observer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import nn

from emoscope.models.decoder import Decoder
from emoscope.models.values import ANSWER, Gains, Layout, Observer, ProofFailed, sent

# below one in so many neurons of a layer they are gathered and written back, which takes less memory; above, all are
# multiplied in place, which is faster on a CPU (about equal at one in 32)
FEW = 32


class Firings:
    """How often the decoder ran and how often each hook fired while :func:`hooked` was active."""

    def __init__(self, scopes: torch.Tensor | None, layout: Layout | None = None) -> None:
        self.forwards, self._prompt, self._layout = 0, scopes, layout
        self.fired = Counter[str]()

    def scopes(self, product: torch.Tensor) -> torch.Tensor:
        """Scope codes (row, position) of the running pass: the prompt first, then one answer position a pass."""
        rows, positions = product.shape[:2]
        if self._layout is not None:
            return self._layout.seen(rows)[1].to(product.device)
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
class LayerGains:
    """Gains of some interventions in one layer, of the neurons alone that any of them touches."""

    layer: int
    columns: torch.Tensor | None  # int64 (column,), the neurons; ``None``: all of the layer, in order
    gain: torch.Tensor | None  # (intervention, column)
    offset: torch.Tensor | None  # (intervention, column), added after the gain
    positions: torch.Tensor | None  # bool (intervention, 4), the scopes at which they act; ``None``: at all
    acting: frozenset[int]  # the interventions that touch any of the neurons
    place: tuple[torch.device, torch.dtype] | None = None  # where the tensors are, and in what precision

    def bring(self, device: torch.device, dtype: torch.dtype) -> None:
        """Move the tensors where they are used: once, as all batches of a condition use the same."""
        # the weights may be elsewhere, or packed as whole numbers
        if self.place != (device, dtype):
            self.place = device, dtype
            self.gain, self.offset = (
                None if t is None else sent(t.to(dtype), device) for t in (self.gain, self.offset)
            )
            self.columns, self.positions = (
                None if t is None else sent(t, device) for t in (self.columns, self.positions)
            )

    def apply(self, product: torch.Tensor, rows: torch.Tensor, firings: Firings) -> None:
        """Change the gated product (row, position, width) in place: it is made anew in every pass.

        ``rows`` int64 (row,) names the intervention of each row; where there is only one, it acts on all.
        """
        self.bring(product.device, product.dtype)

        def of_rows(tensor: torch.Tensor) -> torch.Tensor:
            return tensor if len(tensor) == 1 else tensor.index_select(0, rows)

        active = None
        if self.positions is not None:
            # padding has code -1: it reads the last column, which does no harm as nothing attends to it
            positions = of_rows(self.positions).expand(len(product), -1)
            active = torch.take_along_dim(positions, firings.scopes(product).long() % 4, dim=1)[..., None]
        part = product if self.columns is None else product[..., self.columns]
        for change, neutral, act in ((self.gain, 1, part.mul_), (self.offset, 0, part.add_)):
            if change is not None:
                change = of_rows(change)[:, None]
                act(change if active is None else torch.where(active, change, neutral))
        if self.columns is not None:
            product[..., self.columns] = part


@dataclass(frozen=True)
class SparseGains:
    """Gains of some interventions on the neurons that they touch, made once for many batches; and a row for each item.

    Example:
        >>> from emoscope.interventions.intervention import sparse_gains
        >>> from emoscope.interventions.kinds import deactivate
        >>> from emoscope.models.registry import load_model
        >>> gains = sparse_gains(load_model("tiny").info, [deactivate([3]), deactivate([600]), deactivate([3])])
        >>> gains.rows, [part.layer for part in gains.layers], [part.layer for part in gains.of([0, 2]).layers]
        (3, [0, 1], [0])
    """

    layers: tuple[LayerGains, ...]  # in the order in which they act
    width: int  # neurons per layer of the decoder
    places: tuple[int, ...]  # the intervention of each row

    @property
    def rows(self) -> int:
        """How many rows the gains are for."""
        return len(self.places)

    def of(self, rows: Sequence[int]) -> SparseGains:
        """The gains of some of the rows, such as those of a batch: the same tensors, of the layers that touch them."""
        places = tuple(self.places[row] for row in rows)
        acting = set(places)
        return SparseGains(tuple(change for change in self.layers if change.acting & acting), self.width, places)


def layer_gains(
    layer: int,
    width: int,
    columns: torch.Tensor,
    gain: torch.Tensor,
    offset: torch.Tensor | None,
    positions: torch.Tensor | None,
    acting: frozenset[int],
) -> LayerGains:
    """Gains and offsets (intervention, column) of some neurons of a layer, written out for all where these are many."""
    if len(columns) * FEW < width:
        return LayerGains(layer, columns, gain, offset, positions, acting)

    def whole(part: torch.Tensor, neutral: float) -> torch.Tensor:
        return part.new_full((len(part), width), neutral).index_copy_(1, columns, part)

    added = None if offset is None else whole(offset, 0)
    return LayerGains(layer, None, whole(gain, 1), added, positions, acting)


Change = Callable[[torch.Tensor, "Firings"], None]  # changes a gated product in place


@contextmanager
def hooked(
    decoder: Decoder,
    gains: Gains | SparseGains | Sequence[Gains | SparseGains] | None = None,
    observe: Observer | None = None,
    scopes: torch.Tensor | None = None,
    forwards: int | None = None,
    layout: Layout | None = None,
) -> Iterator[Firings]:
    """Apply gains, in order, and show activations to an observer in every pass of the decoder inside the block.

    Only layers with gains get a gain hook. ``scopes`` are the scope codes int8 (row, position) of the prompt, on which
    the first pass runs, later ones on an answer position; positions of gains and observers need them. Rows of a layout
    stand in one line, each position of which is changed as a row of its own.
    :class:`ProofFailed` where a hook did not fire once a pass, or there were not ``forwards`` passes (``None``: any
    number); ``ValueError`` for gains of the wrong shape.
    """
    firings, gates, activations = Firings(scopes, layout), dict[int, torch.Tensor](), dict[int, torch.Tensor]()
    rows = None if scopes is None or layout is not None else len(scopes)
    changes: dict[int, list[Change]] = {}
    for given in [gains] if isinstance(gains, Gains | SparseGains) else gains or ():
        own = sparse(decoder, given, rows) if isinstance(given, Gains) else given
        for layer, change in _changes(decoder, own, layout):
            changes.setdefault(layer, []).append(change)

    def at_start(_module: nn.Module, _args: object) -> None:
        firings.forwards += 1

    def at_gate(layer: int, _module: nn.Module, _args: object, output: torch.Tensor) -> None:
        firings.fired[f"gate of layer {layer}"] += 1
        gates[layer] = output

    def at_activation(layer: int, _module: nn.Module, _args: object, output: torch.Tensor) -> None:
        activations[layer] = output

    def at_down(layer: int, _module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        product = args[0] if layout is None else args[0].transpose(0, 1)
        firings.fired[f"down of layer {layer}"] += 1
        for change in changes.get(layer, ()):
            change(product, firings)
        if observe is None:
            return
        if layer not in gates:
            raise ProofFailed(f"layer {layer}: down_proj ran before gate_proj, so its activation is unknown")
        gate, activation = gates.pop(layer), activations.pop(layer, None)
        if activation is None:
            activation = decoder.sites[layer].activation(gate)
        activation = activation if layout is None else activation.transpose(0, 1)
        observe.observe(layer, activation, product, firings.scopes(product))

    # what a layer's own module made need not be computed again
    modules = [site.act for site in decoder.sites if isinstance(site.act, nn.Module)]
    acting = modules if len(set(modules)) == decoder.layers else None
    with ExitStack() as hooks:
        hooks.enter_context(decoder.backbone.register_forward_pre_hook(at_start))
        for layer, site in enumerate(decoder.sites):
            if observe is not None:
                hooks.enter_context(site.gate.register_forward_hook(partial(at_gate, layer)))
                if acting is not None:
                    hooks.enter_context(acting[layer].register_forward_hook(partial(at_activation, layer)))
                firings.fired[f"gate of layer {layer}"] = 0
            if observe is not None or layer in changes:
                hooks.enter_context(site.down.register_forward_pre_hook(partial(at_down, layer)))
                firings.fired[f"down of layer {layer}"] = 0
        yield firings
    firings.verify(forwards)


def _changes(decoder: Decoder, gains: SparseGains, layout: Layout | None) -> Iterator[tuple[int, Change]]:
    """What is done to the gated products of each layer, in order."""
    if gains.layers and gains.width != decoder.width:
        raise ValueError(f"gains are of {gains.width} neurons a layer, the decoder has {decoder.width}")

    @cache
    def rows(device: torch.device, seen: int) -> torch.Tensor:
        # once a pass, and not for each layer
        places = sent(torch.tensor(gains.places), device)
        return places if layout is None else places.index_select(0, layout.seen(seen)[0].to(device))

    def act(part: LayerGains, product: torch.Tensor, firings: Firings) -> None:
        part.apply(product, rows(product.device, len(product)), firings)

    for part in gains.layers:
        if not 0 <= part.layer < decoder.layers:
            raise ValueError(f"gains name layer {part.layer}: the decoder has layers 0 to {decoder.layers - 1}")
        yield part.layer, partial(act, part)


def sparse(decoder: Decoder, gains: Gains, rows: int | None) -> SparseGains:
    """Check the shapes of gains that are written out for each neuron, and keep the neurons that they touch."""
    layers, places, wanted = list[LayerGains](), tuple(range(gains.rows or 0)), "row" if rows is None else rows
    acting = frozenset(places)
    for part in gains.parts:
        flags = None if part.positions is None or bool(part.positions.all()) else part.positions
        for layer in sorted({*part.values, *part.offsets}):
            given, touched = (
                (part.values.get(layer), part.offsets.get(layer)),
                torch.zeros(decoder.width, dtype=torch.bool),
            )
            for tensor, neutral in zip(given, (1, 0), strict=True):
                if tensor is None:
                    continue
                if tensor.ndim != 2 or tensor.shape[1] != decoder.width or rows not in (None, len(tensor)):
                    shape = tuple(tensor.shape)
                    raise ValueError(f"gains of layer {layer} are {shape}, not ({wanted}, {decoder.width})")
                touched |= (_once(tensor) != neutral).any(0).cpu()
            gain, offset = (None if tensor is None else _once(tensor) for tensor in given)
            columns = touched.nonzero().flatten()
            if len(columns) and len(columns) * FEW >= decoder.width:
                layers.append(LayerGains(layer, None, gain, offset, flags, acting))
            elif len(columns):
                gain, offset = (None if t is None else t[:, columns.to(t.device)] for t in (gain, offset))
                layers.append(LayerGains(layer, columns, gain, offset, flags, acting))
    return SparseGains(tuple(layers), decoder.width, places)


def _once(tensor: torch.Tensor) -> torch.Tensor:
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
