"""What goes into the model: clips decoded ahead, and the decoder's inputs kept on disk so that the audio encoder runs once per clip."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING

from emoscope.corpora.audio import AudioError, Heard, hear
from emoscope.runs.folder import RunFolder, replacing

if TYPE_CHECKING:
    from emoscope.experiments.schema import Row
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

    tensors: dict[str, torch.Tensor] = {"places": torch.tensor(list(places), dtype=torch.int64)}
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


Decoded = Heard | AudioError
"""A clip as it is heard, or why it cannot be."""

THREADS = 2
"""Clips decoded at a time; decoding runs outside Python's lock."""

AHEAD_BYTES = 256 << 20
"""Sound that may wait for its turn (70 minutes of it); beyond that a clip is decoded when it is asked for."""


class DecodeAhead:
    """Decodes clips in the background, block by block; what it hands out is what
    :func:`~emoscope.corpora.audio.hear` gives.

    Args:
        loudness: as in :func:`~emoscope.corpora.audio.load_audio`.
        most_bytes: of sound that waits.

    Example:
        >>> from emoscope.corpora import polish_folder
        >>> block = [{"clip": "a", "path": polish_folder() / "m1.a_nie_3.flac"}]
        >>> with DecodeAhead("normalised") as ahead:
        ...     ahead.start(block)
        ...     sounds = ahead.take(block)
        >>> sounds["a"].samples.dtype, sounds["a"].told
        (dtype('float32'), ())
    """

    def __init__(self, loudness: str, most_bytes: int = AHEAD_BYTES) -> None:
        self._loudness, self._most = loudness, most_bytes
        self._waiting: dict[str, Future[Decoded | None]] = {}
        self._bytes, self._lock = 0, Lock()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="decode")

    def __enter__(self) -> DecodeAhead:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # whoever stops a run waits for the clips that are being decoded, not for those in the queue
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._waiting.clear()

    def start(self, block: Sequence[Row]) -> None:
        """Begin to decode the clips of a block (items with ``clip`` and ``path``); returns at once."""
        for item in block:
            if item["clip"] not in self._waiting:
                self._waiting[item["clip"]] = self._pool.submit(self._decode_if_room, item["path"])

    def take(self, block: Sequence[Row]) -> dict[str, Decoded]:
        """The sound of a block's clips, or the reason why a clip has none; waits for what is not decoded yet.

        Returns:
            clip -> its samples (time,), mono, 16 kHz, and what was done to them.
        """
        sounds: dict[str, Decoded] = {}
        # a block that turned out to be done already is never taken
        for stale in self._waiting.keys() - {item["clip"] for item in block}:
            self._release(stale)
        self.start(block)
        for item in block:
            if item["clip"] not in sounds:
                found = self._release(item["clip"])
                sounds[item["clip"]] = _decode(item["path"], self._loudness) if found is None else found
        return sounds

    def _release(self, clip: str) -> Decoded | None:
        waiting = self._waiting.pop(clip)
        found = None if waiting.cancel() else waiting.result()
        if found is not None and not isinstance(found, AudioError):
            with self._lock:
                self._bytes -= found.samples.nbytes
        return found

    def _decode_if_room(self, path: str) -> Decoded | None:
        if self._bytes > self._most:
            return None
        found = _decode(path, self._loudness)
        if not isinstance(found, AudioError):
            with self._lock:
                self._bytes += found.samples.nbytes
        return found


def _decode(path: str, loudness: str) -> Decoded:
    try:
        return hear(path, loudness)
    except AudioError as error:
        return error
