"""Write sound that lies in memory or inside a data set to a file named by its content, once."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ENDINGS = ((b"RIFF", ".wav"), (b"fLaC", ".flac"), (b"OggS", ".ogg"), (b"FORM", ".aiff"), (b".snd", ".au"))
"""How a sound file begins -> its ending; anything else is taken for mp3, which has no such mark."""

MOST_CHANNELS = 64
"""A second axis that is longer than this is no axis of channels."""

LARGEST = 100.0
"""A sample beyond this is no floating-point sample, whose full scale is 1."""


def keep_bytes(content: bytes, into: Path) -> Path:
    """Write the bytes of a sound file into a folder, unless they are there.

    Returns:
        the file, named by its content.
    """
    ending = next((ending for mark, ending in ENDINGS if content.startswith(mark)), ".mp3")
    file = into / f"{hashlib.sha256(content).hexdigest()}{ending}"
    if not (file.is_file() and file.stat().st_size == len(content)):
        into.mkdir(parents=True, exist_ok=True)
        # renamed at the end, so that two runs at once never see half a file
        part = into / f".{file.name}.partial{os.getpid()}"
        part.write_bytes(content)
        part.replace(file)
    return file


def keep_samples(sound: Any, into: Path) -> Path:
    """Write samples with their rate into a folder, as floating-point WAV.

    Args:
        sound: ``(samples, rate)`` or ``{"array": samples, "sampling_rate": rate}``; samples (time,), (time, channel)
            or (channel, time), as floats of full scale 1 or as whole numbers (int16, say).
        into: the folder.

    Raises:
        ValueError: no samples, no rate, or samples that are no sound.

    Example:
        >>> import tempfile
        >>> file = keep_samples((np.zeros((2, 8_000), dtype=np.int16), 8_000), Path(tempfile.mkdtemp()))
        >>> import soundfile
        >>> soundfile.info(file).duration, soundfile.info(file).channels
        (1.0, 2)
    """
    from scipy.io import wavfile

    samples, rate = samples_of(sound)
    content = io.BytesIO()
    # libsndfile would write the time of day into the file, and equal samples would give other bytes
    wavfile.write(content, rate, samples)
    return keep_bytes(content.getvalue(), into)


def is_samples(sound: Any) -> bool:
    """Whether a value looks like samples with their rate."""
    return isinstance(sound, tuple) or (isinstance(sound, Mapping) and "array" in sound)


def samples_of(sound: Any) -> tuple[npt.NDArray[np.float32], int]:
    """Samples (time, channel) of full scale 1, and their rate in Hz; arguments and errors as in :func:`keep_samples`."""
    if isinstance(sound, Mapping):
        sound = (sound.get("array"), sound.get("sampling_rate"))
    if not isinstance(sound, tuple) or len(sound) != 2:
        raise ValueError(f"a sound of type {type(sound).__name__} is not known: give a file, or (samples, rate)")
    samples, rate = sound
    if np.ndim(samples) == 0 and np.ndim(rate) > 0:
        raise ValueError(f"({samples!r}, samples) has the rate first: give (samples, rate)")
    number = isinstance(rate, int | float | np.integer | np.floating) and not isinstance(rate, bool)
    if not number or not 0 < rate < 2**31 or rate != int(rate):
        raise ValueError(f"rate {rate!r} is no sampling rate: give (samples, rate) with whole Hz, such as 16000")
    array = np.asarray(samples)
    if array.dtype.kind not in "iuf" or array.ndim not in (1, 2):
        raise ValueError(
            f"samples of type {array.dtype} and shape {array.shape} are no sound: give numbers of shape (time,), "
            "(time, channel) or (channel, time)"
        )
    if array.ndim == 1:
        array = array[:, None]
    elif array.shape[0] < array.shape[1]:
        array = array.T
    if array.shape[1] > MOST_CHANNELS:
        raise ValueError(f"samples of shape {np.shape(samples)} have no axis of channels: give one clip at a time")
    if array.dtype.kind in "iu":
        half = 2.0 ** (8 * array.dtype.itemsize - 1)
        return np.asarray((array - (half if array.dtype.kind == "u" else 0.0)) / half, dtype=np.float32), int(rate)
    array = np.asarray(array, dtype=np.float32)
    if array.size and (largest := float(np.nanmax(np.abs(array), initial=0.0))) > LARGEST:
        raise ValueError(
            f"samples reach {largest:g}: floating-point samples have full scale 1; divide them, or give whole numbers (int16)"
        )
    return array, int(rate)


def user_cache() -> Path:
    """The folder of such files: ``emoscope/sounds`` in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "emoscope" / "sounds"
