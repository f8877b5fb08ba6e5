"""Decoder inputs of heard items, kept on disk so that the audio encoder runs once per clip and run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emoscope.runs.folder import RunFolder, replacing

if TYPE_CHECKING:
    from emoscope.models.audio_lm import Prepared


def save_inputs(run: RunFolder, start: int, places: Sequence[int], prepared: Sequence[Prepared]) -> None:
    """Keep the inputs of one listening block.

    Args:
        run: the run folder.
        start: first item of the block.
        places: place in the block of each prepared item (quarantined items have none).
        prepared: what the decoder reads for each item.
    """
    import json

    import torch
    from safetensors.torch import save_file

    tensors: dict[str, Any] = {"places": torch.tensor(list(places), dtype=torch.int64)}
    for place, item in zip(places, prepared, strict=True):
        tensors[f"embeddings.{place}"] = item.embeddings.contiguous()
        tensors[f"scopes.{place}"] = item.scopes.contiguous()
        if item.position_ids is not None:
            tensors[f"position_ids.{place}"] = item.position_ids.contiguous()
    letters = json.dumps({str(p): list(item.letters) for p, item in zip(places, prepared, strict=True)})
    with replacing(inputs_path(run, start)) as partial:
        save_file(tensors, partial, metadata={"letters": letters})


def load_inputs(run: RunFolder, items: Sequence[int], block: int) -> list[Prepared]:
    """Read the inputs of some items.

    Args:
        run: the run folder.
        items: item numbers.
        block: items of one listening block.
    """
    import json

    from safetensors import safe_open

    from emoscope.models.audio_lm import Prepared

    found: dict[int, Prepared] = {}
    for start in sorted({item // block * block for item in items}):
        with safe_open(inputs_path(run, start), framework="pt") as file:
            letters = json.loads(file.metadata()["letters"])
            names = set(file.keys())
            for item in items:
                place = item - start
                if not 0 <= place < block:
                    continue
                positions = f"position_ids.{place}"
                found[item] = Prepared(
                    embeddings=file.get_tensor(f"embeddings.{place}"), scopes=file.get_tensor(f"scopes.{place}"),
                    letters=tuple(letters[str(place)]),
                    position_ids=file.get_tensor(positions) if positions in names else None,
                )  # fmt: skip
    return [found[item] for item in items]


def input_lengths(run: RunFolder, items: Sequence[int], block: int) -> list[int]:
    """How many positions the inputs of some items have, without reading them; arguments as in :func:`load_inputs`."""
    from safetensors import safe_open

    found: dict[int, int] = {}
    for start in sorted({item // block * block for item in items}):
        with safe_open(inputs_path(run, start), framework="pt") as file:
            mine = [item for item in items if start <= item < start + block]
            found |= {item: file.get_slice(f"scopes.{item - start}").get_shape()[0] for item in mine}
    return [found[item] for item in items]


def inputs_path(run: RunFolder, start: int) -> Path:
    """Where the inputs of the block that begins at item ``start`` are kept."""
    return run / "cache" / f"inputs-{start:07d}.safetensors"
