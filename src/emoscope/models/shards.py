"""Read the weights of a plain torch module from the safetensors of a checkpoint folder."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from emoscope.models.lookup import read_json

SHOWN = 5
"""Names listed in an error; more are counted."""


def stored_names(folder: Path) -> dict[str, Path]:
    """Name of each tensor in a folder's safetensors -> its file; only the headers are read.

    As in transformers, ``model.safetensors`` is taken where it exists, else the shards that the index names.

    Raises:
        FileNotFoundError: the folder holds no safetensors, or not all shards of its index.
    """
    from safetensors import safe_open

    names: dict[str, Path] = {}
    for file in _files(folder):
        with safe_open(file, framework="pt") as opened:
            names.update(dict.fromkeys(opened.keys(), file))
    return names


def _files(folder: Path) -> list[Path]:
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if not index.is_file():
        raise FileNotFoundError(
            f"{folder} holds neither model.safetensors nor model.safetensors.index.json: no other weights are read"
        )
    shards = sorted({folder / shard for shard in read_json(index)["weight_map"].values()})
    for shard in shards:
        if not shard.is_file():
            raise FileNotFoundError(f"{folder} lacks {shard.name}, one of {len(shards)} shards: fetch the model again")
    return shards


def check_names(folder: Path, wanted: Iterable[str], stored: Iterable[str], spare: re.Pattern[str]) -> None:
    """Compare the names that a model needs with those that are stored.

    Args:
        folder: named in the error.
        wanted: names that must be there.
        stored: names that are there.
        spare: what may be there besides (matched in full).

    Raises:
        ValueError: a name is missing, or one is there that nothing explains.

    Example:
        >>> check_names(Path("model"), ["norm.weight"], ["norm.weight", "ema_count"], re.compile("ema_.*"))
    """
    wanted, stored = set(wanted), set(stored)
    missing = sorted(wanted - stored)
    unexpected = sorted(name for name in stored - wanted if not spare.fullmatch(name))
    if missing or unexpected:
        found = [
            f"{what} {_some(names)}" for what, names in (("missing", missing), ("unexpected", unexpected)) if names
        ]
        raise ValueError(f"{folder} does not hold the weights of this model: {'; '.join(found)}")


def fill(module: nn.Module, folder: Path, prefixes: tuple[str, ...], spare: re.Pattern[str], dtype: torch.dtype) -> Any:
    """Give a module the weights that a folder stores for it.

    Args:
        module: made on the meta device; it is filled in place.
        folder: holds the safetensors.
        prefixes: what may stand before the module's own names, such as ``"model.encoder."``; the first that fits
            is taken off each stored name.
        spare: names, without prefix, that are not used.
        dtype: of the weights.

    Raises:
        FileNotFoundError: the folder holds no safetensors.
        ValueError: missing or unexpected names, or another shape.
    """
    from safetensors import safe_open

    stored = {}
    for name, file in stored_names(folder).items():
        prefix = next((p for p in prefixes if name.startswith(p)), "")
        stored[name.removeprefix(prefix)] = name, file
    wanted = module.state_dict()
    check_names(folder, wanted, stored, spare)
    tensors = {}
    for file in sorted({stored[name][1] for name in wanted}):
        with safe_open(file, framework="pt") as opened:
            for name in wanted:
                if stored[name][1] == file:
                    tensors[name] = opened.get_tensor(stored[name][0]).to(dtype)
    for name, tensor in tensors.items():
        if tensor.shape != wanted[name].shape:
            raise ValueError(
                f"{folder}: {name} is {tuple(tensor.shape)}, where its config.json says {tuple(wanted[name].shape)}"
            )
    module.load_state_dict(tensors, assign=True)
    return module.eval().requires_grad_(False)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
