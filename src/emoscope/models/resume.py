"""Passes that begin at a later layer: what the layers before it compute is the same under gains that act after them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from emoscope.models.decoder import Decoder
from emoscope.models.hooks import only_blocks

if TYPE_CHECKING:
    from emoscope.models.audio_lm import AudioLM
    from emoscope.models.values import Batch, Prepared

BYTES = 2 << 30
"""Memory of the host that the starts of one block of items may take.

At 256 items of 800 positions a hidden state of 3584 numbers in bfloat16 takes 1.4 GB. Of the device's memory it takes
that of one batch at a time.
"""


@dataclass(frozen=True)
class Start:
    """The state of a batch before one layer, with no gain acting.

    Attributes:
        layer: the first layer that is still to be run.
        output: what the layer before it returned: a tensor, or a tuple of tensors, on the host.
        device: where it was.
    """

    layer: int
    output: Any
    device: torch.device

    @property
    def bytes(self) -> int:
        """Memory of the host that it takes."""
        return sum(tensor.numel() * tensor.element_size() for tensor in _tensors(self.output))


def from_layer(decoder: Decoder, start: Start | None) -> Any:
    """A context in which passes run from ``start`` on; all layers are run where it is ``None``."""
    if start is None:
        return nullcontext()
    return only_blocks(decoder.blocks, start.layer, decoder.layers, _moved(start.output, start.device))


@contextmanager
def to_layer(decoder: Decoder, layer: int, earlier: Start | None) -> Iterator[Callable[[], Start]]:
    """A context in which a pass runs the layers before ``layer``; what it gives tells the state that was reached.

    Raises:
        ValueError: a layer that the decoder does not have, or one before ``earlier``.
    """
    first = 0 if earlier is None else earlier.layer
    if not max(first, 1) <= layer <= decoder.layers:
        raise ValueError(f"a pass cannot begin at layer {layer}: give one of {max(first, 1)} to {decoder.layers}")
    before = None if earlier is None else _moved(earlier.output, earlier.device)
    with only_blocks(decoder.blocks, first, layer, before) as kept:

        def reached() -> Start:
            device = next(_tensors(kept[0])).device
            return Start(layer, _moved(kept[0], torch.device("cpu")), device)

        yield reached


class Starts:
    """The starts of the batches of one block, each kept at one layer: that of the latest condition.

    Conditions are best asked in the order of their layers: the state then moves on from layer to layer, and one full
    pass a batch serves them all.

    Args:
        model: asked for passes; where it has not shown that they may begin later, there are no starts.
        limit: bytes that all starts may take; batches beyond that run in full.
    """

    def __init__(self, model: AudioLM, limit: int = BYTES) -> None:
        self.model, self.limit = model, limit
        self._kept: dict[int, Start] = {}

    def at(self, number: int, batch: Sequence[Prepared] | Batch, layer: int) -> Start | None:
        """The start of one batch, or ``None`` if its pass is to run in full.

        Args:
            number: of the batch within its block; the same for the same batch.
            batch: the batch.
            layer: the first layer in which gains act; the number of layers where none does.
        """
        if layer < 1 or not self.model.resumes:
            return None
        kept = self._kept.get(number)
        if kept is not None and kept.layer == layer:
            return kept
        if kept is None:
            # as large as the inputs, or a few times that: no pass is made for what would not be kept
            others = sum(start.bytes for start in self._kept.values())
            if others + _input_bytes(batch) > self.limit:
                return None
        start = self.model.begin(batch, layer, kept if kept is not None and kept.layer < layer else None)
        others = sum(start.bytes for place, start in self._kept.items() if place != number)
        if others + start.bytes <= self.limit:
            self._kept[number] = start
        return start


def _input_bytes(batch: Sequence[Prepared] | Batch) -> int:
    if not isinstance(batch, Sequence):
        return batch.embeddings.numel() * batch.embeddings.element_size()
    longest = max(len(row) for row in batch)
    one = batch[0].embeddings
    return len(batch) * longest * one.shape[1] * one.element_size()


def _tensors(output: Any) -> Iterator[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, tuple | list):
        for part in output:
            yield from _tensors(part)


def _moved(output: Any, device: torch.device) -> Any:
    if isinstance(output, torch.Tensor):
        return output.to(device)
    return tuple(_moved(part, device) for part in output) if isinstance(output, tuple | list) else output
