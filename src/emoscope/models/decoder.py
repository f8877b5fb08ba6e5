"""Find a model's text decoder and its MLP neurons by structure, and reach their weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

AT_ONCE = 256
"""Neurons of packed weights whose columns are computed in one go."""

ACTIVATION_NAMES = ("act_fn", "activation_fn", "act")
"""Attributes under which gated MLPs keep their activation function."""


@dataclass(frozen=True)
class Site:
    """The gated MLP of one decoder layer: ``down(act(gate(x)) * up(x))``.

    A neuron's activation is one element of ``act(gate(x))``; the gated product is what enters ``down``.

    Attributes:
        name: path of the MLP inside the model.
        gate, up: the modules that compute gate and up; one and the same where ``fused``.
        act: the activation function.
        down: the output projection; its input is the gated product.
        fused: whether one module computes both, the gate in the first half of its output.
    """

    name: str
    gate: nn.Module
    up: nn.Module
    act: Callable[[torch.Tensor], torch.Tensor]
    down: nn.Linear
    fused: bool = False

    def activation(self, gate_output: torch.Tensor) -> torch.Tensor:
        """act(gate(x)), (..., width), from the output of ``gate``."""
        return self.act(gate_output.chunk(2, -1)[0] if self.fused else gate_output)

    def upward(self, up_output: torch.Tensor) -> torch.Tensor:
        """up(x), (..., width), from the output of ``up``."""
        return up_output.chunk(2, -1)[1] if self.fused else up_output


@dataclass(frozen=True)
class Decoder:
    """The text decoder inside an audio-language model.

    Attributes:
        backbone: the module that runs all layers and the final norm (no output head).
        name: its path inside the model.
        sites: one gated MLP per layer.
        width: neurons per layer.
        hidden: hidden size.
        blocks: the layers themselves, which hold the MLPs.
    """

    backbone: nn.Module
    name: str
    sites: tuple[Site, ...]
    width: int
    hidden: int
    blocks: tuple[nn.Module, ...] = ()

    @property
    def layers(self) -> int:
        """Number of decoder layers."""
        return len(self.sites)

    @property
    def packed(self) -> bool:
        """Whether output weights are quantised; they can then be used, and not edited."""
        return any(is_packed(site.down.weight) for site in self.sites)

    @property
    def dtype(self) -> torch.dtype:
        """In which the decoder computes: the dtype of its weights that are not packed."""
        weights = (self.sites[0].down.weight, *self.backbone.parameters())
        return next(weight.dtype for weight in weights if not is_packed(weight))

    @property
    def names(self) -> tuple[str, ...]:
        """Path of each layer's MLP inside the model."""
        return tuple(site.name for site in self.sites)

    def down_norms(self) -> npt.NDArray[np.float32]:
        """Euclidean norm of each neuron's output weights (its column of down_proj); (layer, width)."""
        every = torch.arange(self.width)
        with torch.no_grad():
            return np.stack(
                [
                    # packed weights a part at a time: unpacked they may not fit beside the model
                    torch.cat([self.columns(layer, part).float().norm(dim=0) for part in every.split(AT_ONCE)]).cpu()
                    if is_packed(site.down.weight)
                    else site.down.weight.float().norm(dim=0).cpu()
                    for layer, site in enumerate(self.sites)
                ]
            )

    def columns(self, layer: int, neurons: torch.Tensor) -> torch.Tensor:
        """A copy of the output weights of some neurons of one layer, (hidden, neuron).

        Packed weights are never read as they are stored: the module is asked what it makes of each neuron alone.
        """
        down = self.sites[layer].down
        if not is_packed(down.weight):
            return down.weight.detach()[:, neurons].clone()
        parts = []
        with torch.no_grad():
            for part in neurons.split(AT_ONCE):
                alone = torch.zeros(len(part), self.width, dtype=self.dtype, device=down.weight.device)
                alone[torch.arange(len(part)), part.to(alone.device)] = 1
                # forward itself, so that hooks neither see nor change these rows
                made = down.forward(alone)
                parts.append((made if down.bias is None else made - down.bias).T)
        return torch.cat(parts, 1)

    def write_columns(self, layer: int, neurons: torch.Tensor, values: torch.Tensor) -> None:
        """Overwrite the output weights of some neurons of one layer with ``values`` (hidden, neuron).

        Raises:
            ValueError: the weights are quantised.
        """
        if is_packed(self.sites[layer].down.weight):
            raise ValueError(
                f"{self.sites[layer].name} holds quantised weights, and a column of them cannot be scaled exactly: "
                "use gains, or load the model unquantised"
            )
        with torch.no_grad():
            self.sites[layer].down.weight[:, neurons] = values

    def fingerprint(self, layers: Sequence[int] | None = None) -> str:
        """Hash of the bits of down_proj in the given layers (all if ``None``): differs if any one weight changes.

        The bits are summed as integers over each column before hashing, so that a large model on an
        accelerator need not be copied to the host.
        """
        digest = hashlib.sha256()
        for layer in range(self.layers) if layers is None else layers:
            for weight in stored(self.sites[layer].down.weight.detach()):
                size = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[weight.element_size()]
                digest.update(weight.contiguous().view(size).sum(dim=0, dtype=torch.int64).cpu().numpy().tobytes())
        return digest.hexdigest()

    def __repr__(self) -> str:
        return f"Decoder({self.name}: {self.layers} layers x {self.width} neurons)"


def is_packed(weight: torch.Tensor) -> bool:
    """Whether a weight is quantised: whole numbers, or a tensor type of a quantisation library.

    Example:
        >>> is_packed(torch.ones(2, 2)), is_packed(torch.ones(2, 2, dtype=torch.int8))
        (False, True)
    """
    return not weight.is_floating_point() or type(weight) not in (torch.Tensor, nn.Parameter)


def stored(weight: torch.Tensor) -> Iterator[torch.Tensor]:
    """The plain tensors of which a weight consists: itself, or the parts of a library's packed tensor."""
    if type(weight) in (torch.Tensor, nn.Parameter) or not hasattr(weight, "__tensor_flatten__"):
        yield weight.as_subclass(torch.Tensor)
        return
    for name in weight.__tensor_flatten__()[0]:
        yield from stored(getattr(weight, name))


def find_decoder(model: nn.Module, site: Callable[[str, Any], Site] | None = None) -> Decoder:
    """Find the text decoder by structure, never by its path (that changes between transformers versions).

    It is the module with a list named ``layers`` that is as long as the text configuration says and whose
    items all have ``mlp.down_proj``.

    Args:
        model: the whole model.
        site: makes the :class:`Site` of a layer from the path and the module of its MLP; :func:`gated_site` if ``None``.

    Raises:
        ValueError: no such module, more than one, or MLPs of another build.

    Example:
        >>> from transformers import Qwen2Config, Qwen2ForCausalLM
        >>> config = Qwen2Config(vocab_size=8, hidden_size=8, intermediate_size=12, num_hidden_layers=2,
        ...                      num_attention_heads=2, num_key_value_heads=2)
        >>> find_decoder(Qwen2ForCausalLM(config))
        Decoder(model: 2 layers x 12 neurons)
    """
    config = model.config
    text = getattr(config, "text_config", None) or config
    wanted = getattr(text, "num_hidden_layers", None)
    found = {
        name: module
        for name, module in model.named_modules()
        if isinstance(blocks := getattr(module, "layers", None), nn.ModuleList)
        and len(blocks) == wanted
        and all(isinstance(getattr(getattr(block, "mlp", None), "down_proj", None), nn.Module) for block in blocks)
    }
    if len(found) != 1:
        what = f"modules {', '.join(found)} all fit" if found else "no module fits"
        raise ValueError(
            f"{type(model).__name__}: {what}; a text decoder is a list named layers, of length {wanted} "
            "(num_hidden_layers of the text configuration), whose items have mlp.down_proj"
        )
    (name, backbone), *_ = found.items()
    prefix = f"{name}." if name else ""
    make = site or gated_site
    sites = tuple(make(f"{prefix}layers.{i}.mlp", block.mlp) for i, block in enumerate(backbone.layers))
    shapes = {(site.down.in_features, site.down.out_features) for site in sites}
    if len(shapes) != 1:
        raise ValueError(f"{type(model).__name__}: layers differ in width {sorted(shapes)}; equal layers are needed")
    width, hidden = shapes.pop()
    return Decoder(backbone, name, sites, width, hidden, tuple(backbone.layers))


def gated_site(name: str, mlp: Any) -> Site:
    """The neurons of an MLP with ``gate_proj`` and ``up_proj``, or both fused as ``gate_up_proj``.

    Raises:
        ValueError: an MLP of another build.
    """
    act = next((getattr(mlp, a) for a in ACTIVATION_NAMES if hasattr(mlp, a)), None)
    fused = getattr(mlp, "gate_up_proj", None)
    gate, up = getattr(mlp, "gate_proj", fused), getattr(mlp, "up_proj", fused)
    if gate is None or up is None or act is None:
        raise ValueError(f"{name} is no gated MLP with gate_proj, up_proj, an activation function and down_proj: {mlp}")
    return Site(name, gate, up, act, mlp.down_proj, fused=gate is fused)
