"""Checksums of models: what makes two runs comparable."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from emoscope.models.lookup import CARD, HUB_FILES, LEFT_ON_HUB

if TYPE_CHECKING:
    from torch import nn

BLOCK = 1 << 22
"""Bytes read at once."""

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
    for folder in folders:
        for path in sorted({path for pattern in HUB_FILES for path in folder.glob(pattern) if path.is_file()}):
            if any(path.match(pattern) for pattern in (*ABOUT, *LEFT_ON_HUB)):
                continue
            checksum = _weights(path.resolve()) if path.suffix == ".safetensors" else _file_checksum(path)
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


def _cache_file() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emoscope" / "checksums.json"


def _file_checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _weights(path: Path) -> str:
    stat = path.stat()
    key = f"{path}:{stat.st_size}:{stat.st_mtime_ns}"
    cache = _cache_file()
    try:
        known = json.loads(cache.read_text())
    except (OSError, ValueError):
        known = {}
    if isinstance(known.get(key), str):
        return str(known[key])
    known[key] = _file_checksum(path)
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        part = cache.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(known, indent=1))
        part.replace(cache)
    except OSError:
        pass  # without a writable cache the hash is computed anew each time
    return str(known[key])
