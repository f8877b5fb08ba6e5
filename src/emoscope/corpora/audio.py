"""Read a clip's sound as the models want it: mono, 16 kHz, float32, even loudness, never trimmed."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from emoscope.corpora.video import VideoError, is_video, video_blocks

if TYPE_CHECKING:
    import soundfile

RATE = 16_000
"""Sampling rate of every loaded clip, in Hz (all supported model families take 16 kHz)."""

TARGET_RMS = 0.05
"""Root mean square of a clip under ``loudness="normalised"`` (full scale is 1)."""

SHORTEST_S = 0.1
"""A clip shorter than this, in seconds, gives fewer than two audio tokens and is quarantined."""

SILENT_PEAK = 1e-4
"""A clip whose largest sample stays below this (-80 dB of full scale) is quarantined as silent."""

BLOCK = 1 << 18
"""Frames of a file that are decoded at once: 5 s at 48 kHz."""

STEP = 1 << 20
"""Samples over which a clip is checked and measured at once (65 s), which bounds the scratch memory."""

LONGEST_GUESS = 1 << 25
"""Samples (35 minutes) for which room is made on the word of a header alone."""

UNREADABLE = "not readable as audio: the file is damaged or no sound file; convert it to wav or flac"
"""Reason of a file that libsndfile cannot read (its own messages name the wrong cause)."""

DATA_SIZE = re.compile(r"^data : (\d+) \(should be \d+\)", re.MULTILINE)
BLOCK_ALIGN = re.compile(r"Block Align +: (\d+)")
"""What libsndfile says of a WAV file whose data chunk ends before its size, and of the bytes of a frame."""

Waveform = npt.NDArray[np.float32]


class AudioError(ValueError):
    """A file whose sound cannot be used; ``reason`` is a short phrase for the clip's fate."""

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path, self.reason = Path(path), reason
        super().__init__(f"{path}: {reason}")


def load_audio(path: str | Path, loudness: str = "normalised") -> Waveform:
    """Load one sound file as mono 16 kHz float32 samples, untrimmed.

    Args:
        path: wav, flac, mp3, ogg or anything else libsndfile reads, or a video (with the extra ``video``); any rate
            and channel count.
        loudness: ``"normalised"`` scales the clip to a root mean square of 0.05 (in RAVDESS neutral
            clips are about 20 dB quieter than angry ones, and without this step selectors find
            loudness neurons); ``"as recorded"`` leaves the level alone.

    Returns:
        samples (time,), in [-1, 1].

    Raises:
        AudioError: the file is missing, empty, unreadable, cut off, holds NaN, is silent or shorter than 0.1 s.
        ValueError: an unknown ``loudness``.

    Example:
        >>> from emoscope.corpora import polish_folder
        >>> samples = load_audio(polish_folder() / "m1.a_nie_3.flac")
        >>> samples.dtype, bool(abs((samples**2).mean() ** 0.5 - 0.05) < 0.001)
        (dtype('float32'), True)
    """
    import soundfile

    path = Path(path)
    _check_loudness(loudness)
    if path.is_dir():
        raise AudioError(path, "is a folder: give one sound file")
    if not path.is_file():
        raise AudioError(path, "file not found")
    if path.stat().st_size == 0:
        raise AudioError(path, "file is empty")
    try:
        if is_video(path):
            mono = _mono(video_blocks(path))
        else:
            with soundfile.SoundFile(path) as file:
                mono = _mono(_blocks(file, path), math.ceil(file.frames * RATE / file.samplerate))
    except VideoError as error:
        raise AudioError(path, str(error)) from error
    except soundfile.SoundFileError as error:
        raise AudioError(path, UNREADABLE) from error
    except PermissionError as error:
        raise AudioError(path, "not readable (no permission)") from error
    return _settle(mono, path, loudness)


def _blocks(file: soundfile.SoundFile, path: Path) -> Iterator[tuple[Waveform, int]]:
    """Samples (time, channel) of a sound file with their rate, some at a time; refuses a file that is cut off."""
    rate, held = file.samplerate, 0
    while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
        held += len(block)
        yield block, rate
    if not held:
        raise AudioError(path, "holds no sound: it is empty or cut off; copy the file again")
    promised = promised_frames(file, path)
    if promised - held > SHORTEST_S * rate:
        lengths = f"its header promises {promised / rate:.2f} s, it holds {held / rate:.2f} s"
        raise AudioError(path, f"cut off ({lengths}): copy the file again")


def _mono(blocks: Iterator[tuple[Waveform, int]], expected: int = 0) -> Waveform:
    """Mix to one channel and resample to 16 kHz block by block, so that a long clip is in memory once."""
    import soxr

    mono = np.empty(min(expected, LONGEST_GUESS) + 1, dtype=np.float32)
    filled = 0

    def keep(part: Waveform) -> None:
        nonlocal filled
        if filled + len(part) > len(mono):
            # headers of some files only guess the length
            mono.resize(len(mono) * 5 // 4 + len(part), refcheck=False)
        mono[filled : filled + len(part)] = part
        filled += len(part)

    stream = None
    for block, rate in blocks:
        mixed = block.mean(axis=1)
        if rate != RATE:
            stream = stream or soxr.ResampleStream(rate, RATE, 1, dtype="float32", quality="HQ")
            mixed = stream.resample_chunk(mixed)
        keep(mixed)
    if stream:
        keep(stream.resample_chunk(np.empty(0, dtype=np.float32), last=True))
    mono.resize(filled, refcheck=False)
    return mono


def promised_frames(file: soundfile.SoundFile, path: Path) -> int:
    """How many frames a file's header promises; libsndfile itself takes a shorter file without complaint."""
    if file.format in ("WAV", "WAVEX"):
        size = DATA_SIZE.search(file.extra_info)
        align = BLOCK_ALIGN.search(file.extra_info)
        # programs that write to a pipe leave a size of nearly 2**31 or 2**32
        if size and align and int(size[1]) < 0x7FFF0000:
            return int(size[1]) // max(1, int(align[1]))
    if file.format == "MP3":
        with path.open("rb") as raw:
            head = raw.read(4096)
        # without such a header the length is a guess
        if b"Xing" in head or b"Info" in head:
            return int(file.frames)
    return 0


def prepare_samples(samples: npt.ArrayLike, path: str | Path = "samples", loudness: str = "normalised") -> Waveform:
    """Check mono 16 kHz samples (time,) and bring them to the wanted loudness.

    Raises:
        AudioError: too short, silent, or not finite; ``path`` names the clip in the message.
        ValueError: an unknown ``loudness``.

    Example:
        >>> prepare_samples(np.full(16_000, 0.5))[:2]
        array([0.05, 0.05], dtype=float32)
    """
    _check_loudness(loudness)
    return _settle(np.array(samples, dtype=np.float32), path, loudness)


def _settle(mono: Waveform, path: str | Path, loudness: str) -> Waveform:
    """Check samples and bring them to the wanted loudness, in place."""
    if len(mono) < SHORTEST_S * RATE:
        raise AudioError(path, f"too short ({len(mono) / RATE:.3f} s; at least {SHORTEST_S} s are needed)")
    parts = [mono[start : start + STEP] for start in range(0, len(mono), STEP)]
    if not all(np.isfinite(part).all() for part in parts):
        raise AudioError(path, "holds samples that are not numbers (NaN or infinite)")
    if max(np.abs(part).max() for part in parts) < SILENT_PEAK:
        raise AudioError(path, "silent (no sample above -80 dB of full scale)")
    if loudness == "normalised":
        power = sum(np.sum(np.square(part, dtype=np.float64)) for part in parts) / len(mono)
        np.multiply(mono, TARGET_RMS / np.sqrt(power), out=mono, casting="same_kind")
    return np.clip(mono, -1.0, 1.0, out=mono)


def _check_loudness(loudness: str) -> None:
    if loudness not in ("normalised", "as recorded"):
        raise ValueError(f'loudness {loudness!r} is not known: give "normalised" or "as recorded"')


def checksum(path: str | Path) -> str:
    """Content hash of a file: sha256 of its bytes, in hexadecimal.

    Raises:
        AudioError: the file is missing or cannot be read.

    Example:
        >>> from emoscope.corpora import polish_folder
        >>> len(checksum(polish_folder() / "m1.a_nie_3.flac"))
        64
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise AudioError(path, "file not found") from error
    except OSError as error:
        raise AudioError(path, f"not readable ({error.strerror})") from error
