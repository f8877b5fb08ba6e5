"""Add a low-rank adapter that lies beside a checkpoint to the weights of its decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from emoscope.models.decoder import find_decoder
from emoscope.models.lookup import read_json
from emoscope.models.opening import some

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""Files of an adapter."""

DOWN, UP = ".lora_A.weight", ".lora_B.weight"
"""Ends of the names of the two factors: hidden size to rank, and rank to output size."""

SPECIAL = {
    "use_dora": False, "rank_pattern": {}, "alpha_pattern": {}, "modules_to_save": None, "bias": "none",
    "fan_in_fan_out": False, "layers_to_transform": None,
}  # fmt: skip
"""Settings of an adapter that would need more than W + scale · B A -> their values where they are not used."""


@dataclass(frozen=True)
class Change:
    """What an adapter adds to one weight: ``scale · up @ down``."""

    scale: float
    up: torch.Tensor
    down: torch.Tensor

    def rows(self, rows: Sequence[slice] = ()) -> torch.Tensor:
        """The change in some rows of the weight, or all; float32."""
        up = torch.cat([self.up[row] for row in rows]) if rows else self.up
        return self.scale * (up.float() @ self.down.float())


def merge_lora(model: nn.Module, folder: Path) -> int:
    """Add ``alpha / r · B A`` to each weight that an adapter changes, so that plain layers compute what both did.

    Args:
        model: whose text decoder the adapter is for; changed in place.
        folder: as for :func:`low_rank_changes`.

    Returns:
        how many layers were changed.

    Raises:
        FileNotFoundError, ValueError: as for :func:`low_rank_changes`.
    """
    changes = low_rank_changes(model, folder)
    for name, change in changes.items():
        weight = model.get_parameter(name)
        with torch.no_grad():
            weight.copy_(weight.float() + change.rows().to(weight.device))
    return len(changes)


def low_rank_changes(model: nn.Module, folder: Path) -> dict[str, Change]:
    """What an adapter adds to each weight of a model that it changes.

    Args:
        model: whose text decoder the adapter is for.
        folder: holds adapter_config.json and adapter_model.safetensors, as the package peft writes them.

    Returns:
        name of the weight -> change.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: an adapter of another kind, one that does not fit or leaves layers out, or weights that are
            quantised.
    """
    from safetensors.torch import load_file

    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} lacks {name}: without its adapter the decoder was not trained to hear; fetch the model again"
            )
    scale = _scale(read_json(folder / CONFIG), folder)
    factors = load_file(folder / WEIGHTS)
    decoder = find_decoder(model)
    stems = [name.removesuffix(DOWN) for name in factors if name.endswith(DOWN)]
    if {stem + end for stem in stems for end in (DOWN, UP)} != set(factors) or not stems:
        raise ValueError(f"{folder} holds tensors that are no pairs of factors ({DOWN}, {UP}): {sorted(factors)[:3]}")
    _refuse_gaps([stem.partition(".layers.")[2] for stem in stems], decoder.layers, folder)
    changes = {}
    for stem in stems:
        path = f"{decoder.name}.layers.{stem.partition('.layers.')[2]}"
        try:
            weight = model.get_submodule(path).weight
        except AttributeError as error:
            raise ValueError(f"{folder}: {stem} is no layer of the text decoder {decoder.name}") from error
        down, up = factors[stem + DOWN], factors[stem + UP]
        if not isinstance(weight, nn.Parameter) or not weight.is_floating_point():
            raise ValueError("an adapter cannot be added to quantised weights: load the model without quantise")
        if (up.shape[0], down.shape[1]) != weight.shape:
            raise ValueError(f"{folder}: {stem} changes a weight {up.shape[0]} x {down.shape[1]}, not {weight.shape}")
        changes[f"{path}.weight"] = Change(scale, up, down)
    return changes


def _refuse_gaps(paths: Sequence[str], layers: int, folder: Path) -> None:
    """Raise ``ValueError`` where an adapter changes a weight such as ``mlp.down_proj`` in some layers and not in others."""
    kinds: dict[str, set[str]] = {}
    for path in paths:
        layer, _, kind = path.partition(".")
        kinds.setdefault(kind, set()).add(layer)
    absent = [f"{i}.{kind}" for kind, found in sorted(kinds.items()) for i in range(layers) if str(i) not in found]
    if absent:
        raise ValueError(f"{folder}: the adapter lacks the factors of the layers {some(absent)}: fetch the model again")


def _scale(config: Mapping[str, Any], folder: Path) -> float:
    used = [name for name, unused in SPECIAL.items() if (config.get(name) or unused) != unused]
    if config.get("peft_type") != "LORA" or used:
        raise ValueError(
            f"{folder} holds an adapter of type {config.get('peft_type')!r} with {', '.join(used) or 'no special settings'}: "
            "only plain LORA can be added to the weights"
        )
    rank = float(config["r"])
    return float(config["lora_alpha"]) / (rank**0.5 if config.get("use_rslora") else rank)
