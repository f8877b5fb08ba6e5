"""Checksums of models: what makes two runs comparable."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from emoscope.checksums import Checksums
from emoscope.models.lookup import CARD, HUB_FILES, LEFT_ON_HUB

if TYPE_CHECKING:
    from torch import nn

ABOUT = (CARD, "training.json", "README*")
"""Files that tell people of a model and change no answer."""


def weights_checksum(*folders: Path) -> str:
    """Sha256 (hex) over all files of a model's folders that decide its answers, in the order of their names.

    These are the weights (``.safetensors``) and what stands beside them: configuration, tokenizer, processor and
    chat template (``.json``, ``.jinja``, ``.txt``, ``.model``). Left out are emoscope.json, training.json, any README
    and the same weights in another format, which are not loaded. The hash of each weight file is remembered by path, size and time of change, as a 7B model takes half
    a minute; the small files are read each time.
    """
    digest = hashlib.sha256()
    with Checksums("weights.json") as remembered:
        for folder in folders:
            for path in sorted({path for pattern in HUB_FILES for path in folder.glob(pattern) if path.is_file()}):
                if any(path.match(pattern) for pattern in (*ABOUT, *LEFT_ON_HUB)):
                    continue
                large = path.suffix == ".safetensors"
                checksum = remembered.of(path.resolve()) if large else _file_checksum(path)
                digest.update(f"{path.name} {checksum}\n".encode())
    return digest.hexdigest()


def module_checksum(model: nn.Module) -> str:
    """Sha256 (hex) over the tensors of a module that is already in memory, in the order of their names."""
    import torch

    from emoscope.models.decoder import stored

    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        # bytes of any dtype, bfloat16 too, which numpy does not know; packed tensors by their parts
        for part in stored(tensor.detach()):
            digest.update(part.contiguous().flatten().cpu().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _file_checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
