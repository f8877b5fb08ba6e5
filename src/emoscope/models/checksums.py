"""Checksums of models: what makes two runs comparable."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emoscope.checksums import Checksums, sha256
from emoscope.models.lookup import CARD, HUB_FILES, LEFT_ON_HUB

if TYPE_CHECKING:
    from torch import nn

ABOUT = (CARD, "training.json", "README*")
"""Files that tell people of a model and change no answer."""


AT_ONCE = 4 * 2**20
"""Bytes of a weight file that are looked at in one go."""

BLOCK = 256 * 2**10
"""Bytes whose bits are compared in one go: they stay in the processor's cache."""

READERS = 4
"""Files that are read side by side at most."""

NOT_FINITE = {
    "F64": ("<u8", 0x7FF0 << 48), "F32": ("<u4", 0x7F80 << 16), "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80),
    "F8_E5M2": ("u1", 0x7C), "F8_E4M3": ("u1", 0x7F), "C64": ("<u4", 0x7F80 << 16),
}  # fmt: skip
"""Dtype as safetensors names it -> whole numbers of its size, and the bits that are all set where a value is infinite
or no number. Whole numbers, and other packed values, are not looked at."""


def weights_checksum(*folders: Path) -> str:
    """Sha256 (hex) over all files of a model's folders that decide its answers, in the order of their names.

    These are the weights (``.safetensors``) and what stands beside them: configuration, tokenizer, processor and
    chat template (``.json``, ``.jinja``, ``.txt``, ``.model``). Left out are emoscope.json, training.json, any README
    and the same weights in another format, which are not loaded. What was read in each weight file is remembered by
    path, size and time of change, as a 7B model takes many seconds; the small files are read each time.
    """
    return scan_weights(*folders)[0]


def scan_weights(*folders: Path) -> tuple[str, dict[Path, list[str]]]:
    """:func:`weights_checksum`, and the tensors that hold a value that is not finite: file -> names.

    Every weight file is read once for both, a few MB at a time.
    """
    files = [
        path
        for folder in folders
        for path in sorted({path for pattern in HUB_FILES for path in folder.glob(pattern) if path.is_file()})
        if not any(path.match(pattern) for pattern in (*ABOUT, *LEFT_ON_HUB))
    ]
    large = [path.resolve() for path in files if path.suffix == ".safetensors"]
    with (
        Checksums("shards.json", read_weights) as remembered,
        ThreadPoolExecutor(max(1, min(READERS, os.cpu_count() or 1))) as readers,
    ):
        found = dict(zip(large, readers.map(remembered.of, large), strict=True))
    digest = hashlib.sha256()
    for path in files:
        checksum = found[path.resolve()][0] if path.resolve() in found else sha256(path)
        digest.update(f"{path.name} {checksum}\n".encode())
    return digest.hexdigest(), {path: names for path, (_, names) in found.items() if names}


def read_weights(path: Path) -> tuple[str, list[str]]:
    """Sha256 (hex) of a safetensors file, and the names of its tensors that hold a value that is not finite.

    Of a file that is no safetensors the second is empty: whoever loads it finds that out.
    """
    digest, found = hashlib.sha256(), []
    kept = memoryview(bytearray(AT_ONCE))
    with path.open("rb") as file:
        for name, dtype, size in _pieces(path):
            finite = True
            while size:
                count = file.readinto(kept[: min(size, AT_ONCE)])
                if not count:
                    break
                digest.update(kept[:count])
                finite = finite and _finite(kept[:count], dtype)
                size -= count
            if not finite:
                found.append(name)
        while count := file.readinto(kept):
            digest.update(kept[:count])
    return digest.hexdigest(), found


def _pieces(path: Path) -> Iterator[tuple[str, str, int]]:
    """Name, dtype and bytes of all that stands in a safetensors file, in order; what is no tensor has no dtype."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass  # the library checks the header: its sizes and places fit each other and the file
    except SafetensorError:
        return
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    yield "", "", 8 + size
    end = 0
    for name, tensor in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = tensor["data_offsets"]
        if start > end:
            yield "", "", start - end
        yield name, str(tensor["dtype"]), stop - start
        end = stop


def _finite(values: memoryview, dtype: str) -> bool:
    """Whether no value is infinite or no number, by its bits: nothing is converted."""
    kind, bits = NOT_FINITE.get(dtype, ("", 0))
    if not kind:
        return True
    whole = np.frombuffer(values, kind)
    masked = np.empty(BLOCK // whole.itemsize, kind)
    for start in range(0, len(whole), len(masked)):
        block = whole[start : start + len(masked)]
        # the largest that is left is cheaper than a comparison of each
        if np.bitwise_and(block, whole.dtype.type(bits), out=masked[: len(block)]).max() == bits:
            return False
    return True


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
