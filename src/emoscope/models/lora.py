"""Add a low-rank adapter that lies beside a checkpoint to the weights of its decoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from emoscope.models.decoder import find_decoder
from emoscope.models.lookup import read_json

DOWN, UP = ".lora_A.weight", ".lora_B.weight"
"""Ends of the names of the two factors: hidden size to rank, and rank to output size."""

SPECIAL = {
    "use_dora": False, "rank_pattern": {}, "alpha_pattern": {}, "modules_to_save": None, "bias": "none",
    "fan_in_fan_out": False,
}  # fmt: skip
"""Settings of an adapter that would need more than W + scale · B A -> their values where they are not used."""


def merge_lora(model: nn.Module, folder: Path) -> int:
    """Add ``alpha / r · B A`` to each weight that an adapter changes, so that plain layers compute what both did.

    Args:
        model: whose text decoder the adapter is for; changed in place.
        folder: holds adapter_config.json and adapter_model.safetensors, as the package peft writes them.

    Returns:
        how many layers were changed.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: an adapter of another kind, one that does not fit, or weights that are quantised.
    """
    from safetensors.torch import load_file

    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} lacks {name}: without its adapter the decoder was not trained to hear; fetch the model again"
            )
    scale = _scale(read_json(folder / "adapter_config.json"), folder)
    factors = load_file(folder / "adapter_model.safetensors")
    decoder = find_decoder(model)
    stems = [name.removesuffix(DOWN) for name in factors if name.endswith(DOWN)]
    if {stem + end for stem in stems for end in (DOWN, UP)} != set(factors) or not stems:
        raise ValueError(f"{folder} holds tensors that are no pairs of factors ({DOWN}, {UP}): {sorted(factors)[:3]}")
    for stem in stems:
        try:
            weight = model.get_submodule(f"{decoder.name}.layers.{stem.partition('.layers.')[2]}").weight
        except AttributeError as error:
            raise ValueError(f"{folder}: {stem} is no layer of the text decoder {decoder.name}") from error
        down, up = factors[stem + DOWN], factors[stem + UP]
        if not isinstance(weight, nn.Parameter) or not weight.is_floating_point():
            raise ValueError("an adapter cannot be added to quantised weights: load the model without quantise")
        if (up.shape[0], down.shape[1]) != weight.shape:
            raise ValueError(f"{folder}: {stem} changes a weight {up.shape[0]} x {down.shape[1]}, not {weight.shape}")
        change = scale * (up.float() @ down.float())
        with torch.no_grad():
            weight.copy_(weight.float() + change.to(weight.device))
    return len(stems)


def _scale(config: Mapping[str, Any], folder: Path) -> float:
    used = [name for name, unused in SPECIAL.items() if (config.get(name) or unused) != unused]
    if config.get("peft_type") != "LORA" or used:
        raise ValueError(
            f"{folder} holds an adapter of type {config.get('peft_type')!r} with {', '.join(used) or 'no special settings'}: "
            "only plain LORA can be added to the weights"
        )
    rank = float(config["r"])
    return float(config["lora_alpha"]) / (rank**0.5 if config.get("use_rslora") else rank)
