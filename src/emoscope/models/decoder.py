"""Find a model's text decoder and its MLP neurons by structure, reach their weights, and add an adapter to them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from emoscope.models.checkpoint import TABLES, read_json, some

AT_ONCE = 256  # neurons of packed weights whose columns are computed in one go

ACTIVATION_NAMES = ("act_fn", "activation_fn", "act")  # where gated MLPs keep their activation function
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"  # files of an adapter

LORA_DOWN, LORA_UP = ".lora_A.weight", ".lora_B.weight"  # ends of the names of two factors: to the rank, and from it


@dataclass(frozen=True)
class Site:
    """The gated MLP of one decoder layer: ``down(act(gate(x)) * up(x))``.

    A neuron's activation is one element of ``act(gate(x))``; the gated product is what enters ``down``.
    """

    name: str  # path of the MLP inside the model
    gate: nn.Module
    up: nn.Module
    act: Callable[[torch.Tensor], torch.Tensor]
    down: nn.Linear
    fused: bool = False  # whether gate and up are one module, with the gate in the first half of its output

    def activation(self, gate_output: torch.Tensor) -> torch.Tensor:
        """act(gate(x)), (..., width), from the output of ``gate``."""
        return self.act(gate_output.chunk(2, -1)[0] if self.fused else gate_output)

    def upward(self, up_output: torch.Tensor) -> torch.Tensor:
        """up(x), (..., width), from the output of ``up``."""
        return up_output.chunk(2, -1)[1] if self.fused else up_output


@dataclass(frozen=True)
class Decoder:
    """The text decoder inside an audio-language model."""

    backbone: nn.Module  # the module that runs all layers and the final norm (no output head), at the path ``name``
    name: str
    sites: tuple[Site, ...]  # one gated MLP per layer
    width: int  # neurons per layer
    hidden: int  # size of the hidden state
    blocks: tuple[nn.Module, ...]  # the layers themselves, which hold the MLPs

    @property
    def layers(self) -> int:
        """Number of decoder layers."""
        return len(self.sites)

    def mlp(self, layer: int) -> nn.Module:
        """The MLP of a layer, which holds its neurons."""
        down = self.sites[layer].down
        return next(module for module in self.blocks[layer].modules() if down in module.children())

    @property
    def packed(self) -> bool:
        """Whether output weights are quantised; they can then be used, and not edited."""
        return any(is_packed(site.down.weight) for site in self.sites)

    @property
    def dtype(self) -> torch.dtype:
        """In which the decoder computes: the dtype of its weights that are not packed."""
        weights = (self.sites[0].down.weight, *self.backbone.parameters())
        return next(weight.dtype for weight in weights if not is_packed(weight))

    def down_norms(self) -> npt.NDArray[np.float32]:
        """Euclidean norm of each neuron's output weights (its column of down_proj); (layer, width)."""
        norms = []
        for layer, weight in enumerate(site.down.weight for site in self.sites):
            # packed weights a part at a time: unpacked they may not fit beside the model
            every = torch.arange(self.width).split(AT_ONCE)
            parts = (self.columns(layer, part) for part in every) if is_packed(weight) else [weight.detach()]
            norms.append(torch.cat([part.float().norm(dim=0) for part in parts]).cpu())
        return np.stack(norms)

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

    @contextmanager
    def scaled(self, gains: Mapping[int, tuple[torch.Tensor, torch.Tensor | float]]) -> Iterator[None]:
        """Scale output weights inside the block, layer -> neurons and gains; afterwards every bit is as before."""
        kept = []
        try:
            for layer, (neurons, gain) in gains.items():
                weight = self.sites[layer].down.weight.detach()
                if is_packed(weight):
                    raise ValueError(
                        f"layer {layer} holds quantised weights, and a column of them cannot be scaled exactly: "
                        "use gains, or load the model unquantised"
                    )
                old = self.columns(layer, neurons)
                weight[:, neurons] = old * gain
                kept.append((weight, neurons, old))
            yield
        finally:
            for weight, neurons, old in kept:
                weight[:, neurons] = old

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


def gated_site(name: str, mlp: nn.Module) -> Site:
    """The neurons of an MLP with ``gate_proj`` and ``up_proj``, or both fused in one; else ``ValueError``."""
    act = next((getattr(mlp, a) for a in ACTIVATION_NAMES if hasattr(mlp, a)), None)
    fused = getattr(mlp, "gate_up_proj", None)
    gate, up = getattr(mlp, "gate_proj", fused), getattr(mlp, "up_proj", fused)
    down: Any = mlp.down_proj
    if gate is None or up is None or act is None:
        raise ValueError(f"{name} is no gated MLP with gate_proj, up_proj, an activation function and down_proj: {mlp}")
    return Site(name, gate, up, act, down, fused=gate is fused)


def find_decoder(model: nn.Module, site: Callable[[str, nn.Module], Site] = gated_site) -> Decoder:
    """Find the text decoder by structure, never by its path (that changes between transformers versions).

    It is the module with a list named ``layers`` that is as long as the text configuration says and whose
    items all have ``mlp.down_proj``. ``site`` makes the :class:`Site` of a layer from the path and module of its MLP.
    ``ValueError`` for no such module, more than one, or MLPs of another build.

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
    ((name, backbone),) = found.items()
    prefix = f"{name}." if name else ""
    sites = tuple(site(f"{prefix}layers.{i}.mlp", block.mlp) for i, block in enumerate(backbone.layers))
    shapes = {(site.down.in_features, site.down.out_features) for site in sites}
    if len(shapes) != 1:
        raise ValueError(f"{type(model).__name__}: layers differ in width {sorted(shapes)}; equal layers are needed")
    width, hidden = shapes.pop()
    return Decoder(backbone, name, sites, width, hidden, tuple(backbone.layers))


Change = Callable[[Sequence[slice]], torch.Tensor]
"""Gives what an adapter adds to some rows of a weight, or to all if none are named: ``scale · up @ down``; float32."""


def merge_lora(model: nn.Module, folder: Path) -> None:
    """Add ``alpha / r · B A`` to each weight that an adapter changes, so that plain layers compute what both did."""
    for name, change in low_rank_changes(model, folder).items():
        weight = model.get_parameter(name)
        with torch.no_grad():
            weight.copy_(weight.float() + change(()).to(weight.device))


def low_rank_changes(model: nn.Module, folder: Path) -> dict[str, Change]:
    """What an adapter for a model's text decoder, as the package peft writes it, adds to each weight: name -> change.

    ``FileNotFoundError`` where a file is missing; ``ValueError`` for an adapter of another kind, one that does not fit
    or leaves layers out, or weights that are quantised.
    """
    from safetensors.torch import load_file

    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} lacks {name}: without its adapter the decoder was not trained to hear; fetch the model again"
            )
    scale = _scale(read_json(folder / ADAPTER_CONFIG), folder)
    factors = load_file(folder / ADAPTER_WEIGHTS)
    decoder = find_decoder(model)
    stems = [name.removesuffix(LORA_DOWN) for name in factors if name.endswith(LORA_DOWN)]
    if {stem + end for stem in stems for end in (LORA_DOWN, LORA_UP)} != set(factors) or not stems:
        raise ValueError(
            f"{folder} holds tensors that are no pairs of factors ({LORA_DOWN}, {LORA_UP}): {sorted(factors)[:3]}"
        )
    own = {stem: stem.partition(".layers.")[2] for stem in stems}  # such as 3.mlp.down_proj
    kinds = sorted({end.partition(".")[2] for end in own.values()})
    every = [f"{layer}.{kind}" for kind in kinds for layer in range(decoder.layers)]
    if absent := [end for end in every if end not in own.values()]:
        raise ValueError(f"{folder}: the adapter lacks the factors of the layers {some(absent)}: fetch the model again")
    changes: dict[str, Change] = {}
    for stem, end in own.items():
        path = f"{decoder.name}.layers.{end}"
        try:
            weight = model.get_submodule(path).weight
        except AttributeError as error:
            raise ValueError(f"{folder}: {stem} is no layer of the text decoder {decoder.name}") from error
        down, up = factors[stem + LORA_DOWN], factors[stem + LORA_UP]
        if not isinstance(weight, nn.Parameter) or not weight.is_floating_point():
            raise ValueError("an adapter cannot be added to quantised weights: load the model without quantise")
        if (up.shape[0], down.shape[1]) != weight.shape:
            raise ValueError(f"{folder}: {stem} changes a weight {up.shape[0]} x {down.shape[1]}, not {weight.shape}")
        changes[f"{path}.weight"] = partial(_change, scale, up, down)
    return changes


def _change(scale: float, up: torch.Tensor, down: torch.Tensor, rows: Sequence[slice]) -> torch.Tensor:
    return scale * ((torch.cat([up[row] for row in rows]) if rows else up).float() @ down.float())


def _scale(config: Mapping[str, Any], folder: Path) -> float:
    used = [name for name in TABLES["adapter_unused"] if config.get(name) not in (None, False, "", "none", {}, [])]
    if config.get("peft_type") != "LORA" or used:
        raise ValueError(
            f"{folder} holds an adapter of type {config.get('peft_type')!r} with "
            f"{', '.join(used) or 'no special settings'}: only plain LORA can be added to the weights"
        )
    rank = float(config["r"])
    return float(config["lora_alpha"]) / (rank**0.5 if config.get("use_rslora") else rank)
