"""Read the weights of a plain torch module from the safetensors of a checkpoint folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from emoscope.models.opening import some, weight_files


class Place(NamedTuple):
    """Where a tensor stands: file, name in it, dtype as safetensors names it, shape."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def is_floating_point(self) -> bool:
        """Whether its values are not whole numbers."""
        return "F" in self.dtype


def places(folder: Path) -> list[Place]:
    """The tensors in a folder's safetensors; only the headers are read.

    Raises:
        FileNotFoundError: the folder holds no safetensors, or not all shards of its index.
        ValueError: a file is no safetensors, or not whole; weights stand there twice.
    """
    from safetensors import SafetensorError, safe_open

    found: dict[str, Place] = {}
    for file in weight_files(folder):
        try:
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 (no mapping)
                    part = opened.get_slice(name)
                    found[name] = Place(file, name, str(part.get_dtype()), tuple(part.get_shape()))
        except SafetensorError as error:
            raise ValueError(f"{file} is no whole safetensors file ({error}): fetch the model again") from error
    return list(found.values())


def refuse_wrong(folder: Path, wrong: Mapping[str, Iterable[str]]) -> None:
    """Raise ``ValueError`` with the first names of what is wrong with a folder's weights, if anything is.

    Args:
        folder: named in the error.
        wrong: what is wrong -> names.

    Example:
        >>> refuse_wrong(Path("model"), {"missing": [], "unexpected": ["b.weight", "a.weight"]})
        Traceback (most recent call last):
        ...
        ValueError: model does not hold the weights that its config.json asks for: unexpected a.weight, b.weight...
    """
    found = [f"{what} {some(sorted(names))}" for what, names in wrong.items() if names]
    if found:
        raise ValueError(
            f"{folder} does not hold the weights that its config.json asks for: {'; '.join(found)}: fetch the model "
            "again, or take the config.json that belongs to these weights"
        )


def fill(
    module: nn.Module, folder: Path, prefixes: tuple[str, ...], spare: re.Pattern[str], dtype: torch.dtype
) -> dict[str, Place]:
    """Give a module the weights that a folder stores for it.

    Args:
        module: made on the meta device; it is filled in place, and set to evaluation.
        folder: holds the safetensors.
        prefixes: what may stand before the module's own names, such as ``"model.encoder."``; the first that fits
            is taken off each stored name.
        spare: names, without prefix, that are not used (matched in full).
        dtype: of the weights.

    Returns:
        name in the module -> where it stands.

    Raises:
        FileNotFoundError: the folder holds no safetensors.
        ValueError: missing or unexpected names, or another shape.
    """
    from safetensors import safe_open

    stored = {}
    for place in places(folder):
        prefix = next((p for p in prefixes if place.name.startswith(p)), "")
        stored[place.name.removeprefix(prefix)] = place
    wanted = module.state_dict()
    refuse_wrong(
        folder,
        {
            "missing": set(wanted) - set(stored),
            "unexpected": [name for name in set(stored) - set(wanted) if not spare.fullmatch(name)],
            "of another shape": [
                f"{name} {list(stored[name].shape)}, where config.json says {list(tensor.shape)}"
                for name, tensor in wanted.items()
                if name in stored and stored[name].shape != tuple(tensor.shape)
            ],
        },
    )
    found = {name: stored[name] for name in wanted}
    tensors = {}
    for file in sorted({place.file for place in found.values()}):
        with safe_open(file, framework="pt") as opened:
            for name, place in found.items():
                if place.file == file:
                    tensors[name] = opened.get_tensor(place.name).to(dtype)
    module.load_state_dict(tensors, assign=True)
    module.eval().requires_grad_(False)
    return found
