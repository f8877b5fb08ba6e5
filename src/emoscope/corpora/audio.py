"""Read a clip's sound as the models want it: mono, 16 kHz, float32, even loudness, never trimmed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emoscope.corpora.sources import SHORTEST_S, Blocks, Unhearable, Waveform, blocks
from emoscope.files import sha256

RATE = 16_000
"""Sampling rate of every loaded clip, in Hz (all supported model families take 16 kHz)."""

LONGEST_GUESS = 1 << 25
"""Samples (35 minutes) for which room is made on the word of a header alone."""

LOWEST_RATE, HIGHEST_RATE = 1_000, 1_000_000
"""Sampling rates in Hz beyond which a header is damaged: resampling would make thousands of samples of one."""

LONGEST_S = 3_600
"""A file that lasts longer, in seconds, is no clip; a small one can hold days of silence, which would fill the memory."""

OPPOSED = -0.5
"""Channels whose correlation is below this are not mixed: they would cancel each other."""

FAR_APART = 0.01
"""A channel with less than this share of another's power (20 dB) takes nothing of it away."""

TARGET_RMS = 0.05
"""Root mean square of a clip under ``loudness="normalised"`` (full scale is 1)."""

SILENT_PEAK = 1e-4
"""A clip whose largest sample stays below this (-80 dB of full scale) is quarantined as silent."""

STEP = 1 << 20
"""Samples over which a clip is checked and measured at once (65 s), which bounds the scratch memory."""

LOWEST_HZ, DRIFT_HZ = 20.0, 5.0
"""What lies below the first is no sound; below the second it is an offset or drift."""

MOST_RUMBLE, MOST_DRIFT = 0.5, 0.1
"""Shares of a clip's power that may lie below these; where there is more, all below 20 Hz is taken out.

A tenth is 0.46 dB of level. Puffs of breath, which are part of many a recording, are rarely half of its power."""

TOLERANCE = 10 ** (-0.5 / 20)
"""By how much (0.5 dB) clipping at full scale may lower the level."""

WINDOW, WINDOWS = 400, 4
"""Samples (25 ms) whose mean keeps at least 0.4 of the power below 20 Hz; four such means do so below 5 Hz."""

KEPT, BEGIN = 0.4, 160
"""That share, and samples (10 ms) whose means show where an offset or rumble begins."""

BEFORE = 8_000
"""Samples (0.5 s) over which the filter settles before a clip begins."""

SCALES = (2.0**15, 2.0**23, 2.0**31)
"""Full scale of integers, which some programs write as floating-point numbers as they are."""

BEYOND = 4.0
"""Floating-point samples above this are on a scale of integers (overshoot of a loud recording stays below)."""

RUMBLE = "much of its power is an offset, drift or rumble below 20 Hz, which is taken out"
CLICKS = "its level is that of single clicks, which are clipped so that the rest has the usual level"
INTEGERS = "its samples are on a scale of integers, which is divided by full scale"
"""What is told of clips that are not heard as they are stored."""


class AudioError(ValueError):
    """A file whose sound cannot be used; ``reason`` is a short phrase for the clip's status."""

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path, self.reason = Path(path), reason
        super().__init__(f"{path}: {reason}")


@dataclass(frozen=True)
class SoundFacts:
    """What a sound file holds: length in seconds, rate in Hz, channels; and what is done beside mixing, resampling, one gain."""

    duration_s: float
    rate: int
    channels: int
    told: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Heard(SoundFacts):
    """A clip as a model hears it: samples (time,), mono, 16 kHz, in [-1, 1]."""

    samples: Waveform


def load_audio(path: str | Path, loudness: str = "normalised") -> Waveform:
    """Load one sound file as mono 16 kHz float32 samples (time,) in [-1, 1], untrimmed.

    Channels are mixed, unless two of them cancel each other (a correlation below -0.5): then the louder one is heard.

    Args:
        path: anything that libsndfile reads, or a video (with the extra ``video``); any rate and channel count.
        loudness: ``"normalised"`` scales the clip to a root mean square of 0.05 within 0.5 dB (in RAVDESS neutral clips
            are about 20 dB quieter than angry ones, and without this step selectors find loudness neurons);
            ``"as recorded"`` leaves the level alone.

    Raises:
        AudioError: the file is missing, empty, unreadable, cut off, holds NaN, is silent or shorter than 0.1 s.
        ValueError: an unknown ``loudness``.

    Example:
        >>> from emoscope.corpora import polish_folder
        >>> round(float(load_audio(polish_folder() / "m1.a_nie_3.flac").std()), 3)
        0.05
    """
    return hear(path, loudness).samples


def hear(path: str | Path, loudness: str = "normalised") -> Heard:
    """Load one sound file as :func:`load_audio` does, with its errors, and say what it holds and what was done to it.

    Example:
        >>> from emoscope.corpora import polish_folder
        >>> hear(polish_folder() / "m1.a_nie_3.flac").duration_s
        1.321
    """
    path = Path(path)
    if path.is_dir():
        raise AudioError(path, "is a folder: give one sound file")
    if not path.is_file():
        raise AudioError(path, "file not found")
    with _refused(path):
        if path.stat().st_size == 0:
            raise Unhearable("file is empty")
        notes = []
        samples, frames, rate, channels = _mono(blocks(path))
        if (channel := channels.louder()) is not None:
            notes.append(f"its channels cancel each other: channel {channel + 1}, the louder one, is heard alone")
            samples, frames, rate, channels = _mono(blocks(path), channel)
        notes += settle(samples, loudness)
    return Heard(frames / rate, rate, channels.count, tuple(notes), samples=samples)


@contextmanager
def _refused(path: str | Path) -> Iterator[None]:
    """Name the file of what cannot be heard or read."""
    try:
        yield
    except Unhearable as error:
        raise AudioError(path, str(error)) from error
    except PermissionError as error:
        raise AudioError(path, "not readable (no permission)") from error


class _Channels:
    """How channels go together, gathered block by block: sums (channel,), and of products (channel, channel)."""

    def __init__(self) -> None:
        self.count, self._n = 0, 0
        self._sum: npt.NDArray[np.float64] = np.zeros(1)
        self._products: npt.NDArray[np.float64] = np.zeros((1, 1))

    def add(self, block: Waveform, rate: int) -> None:
        self.count = block.shape[1]
        if self.count == 1:
            return
        # means of some samples stand for what is left after resampling
        step = max(1, rate // RATE)
        slow = block[: len(block) // step * step].reshape(-1, step, self.count).mean(axis=1, dtype=np.float64)
        self._n += len(slow)
        self._sum = self._sum + slow.sum(axis=0)
        self._products = self._products + slow.T @ slow

    def louder(self) -> int | None:
        """The channel to be heard alone where channels cancel each other."""
        if self.count < 2 or not self._n:
            return None
        mean = self._sum / self._n
        covariance = self._products / self._n - np.outer(mean, mean)
        power = np.clip(np.diag(covariance), 0, None)
        close = np.minimum.outer(power, power) > FAR_APART * np.maximum.outer(power, power)
        with np.errstate(divide="ignore", invalid="ignore"):
            opposed = covariance / np.sqrt(np.outer(power, power)) < OPPOSED
        return int(power.argmax()) if (opposed & close).any() else None


def _mono(source: Blocks, channel: int | None = None) -> tuple[Waveform, int, int, _Channels]:
    """Samples (time,) of one channel, mixed or taken, at 16 kHz; frames, rate and channels of the file.

    They are resampled block by block, so that a long clip is in memory once.
    """
    import soxr

    mono = np.empty(1, dtype=np.float32)
    filled, frames, rate, stream, channels = 0, 0, 0, None, _Channels()
    for block, rate, expected in source:
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            fault = f"its header says {rate:,} samples a second, which no sound has"
            raise Unhearable(f"{fault}: make it anew from its source")
        if frames > LONGEST_S * rate:
            raise Unhearable(f"lasts more than {LONGEST_S // 60} minutes, which is no clip: cut it into clips")
        if not frames:
            mono.resize(min(-(-expected * RATE // rate), LONGEST_GUESS) + 1, refcheck=False)
        if block.shape[1] != (channels.count or block.shape[1]):
            raise Unhearable("its number of channels changes within the file: convert it to wav or flac")
        frames += len(block)
        channels.add(block, rate)
        mixed = block.mean(axis=1) if channel is None else block[:, channel]
        if rate != RATE:
            stream = stream or soxr.ResampleStream(rate, RATE, 1, dtype="float32", quality="HQ")
            mixed = stream.resample_chunk(np.ascontiguousarray(mixed))
        filled = _put(mixed, mono, filled)
    if stream:
        filled = _put(stream.resample_chunk(np.empty(0, dtype=np.float32), last=True), mono, filled)
    mono.resize(filled, refcheck=False)
    return mono, frames, rate, channels


def _put(part: Waveform, mono: Waveform, at: int) -> int:
    """Write samples into others from one on, and say where they end; headers of some files only guess the length."""
    if at + len(part) > len(mono):
        mono.resize(len(mono) * 5 // 4 + len(part), refcheck=False)
    mono[at : at + len(part)] = part
    return at + len(part)


def prepare_samples(samples: npt.ArrayLike) -> Waveform:
    """Check mono 16 kHz samples (time,) and bring them to the usual level, with the errors of :func:`load_audio`.

    Example:
        >>> bool(abs(prepare_samples(np.sin(np.arange(16_000))).std() - 0.05) < 1e-6)
        True
    """
    mono = np.array(samples, dtype=np.float32)
    with _refused("samples"):
        settle(mono, "normalised")
    return mono


def checksum(path: str | Path) -> str:
    """Content hash of a file: sha256 of its bytes, in hexadecimal; an AudioError where it cannot be read.

    Example:
        >>> from emoscope.corpora import polish_folder
        >>> len(checksum(polish_folder() / "m1.a_nie_3.flac"))
        64
    """
    try:
        return sha256(Path(path))
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise AudioError(path, "file not found" if missing else f"not readable ({error.strerror})") from error


def settle(mono: Waveform, loudness: str) -> list[str]:
    """Check a clip's samples (time,), bring them to the wanted loudness in place, and say what was done beside one gain.

    The level is that of what a model hears: of the mixed, resampled clip. Where more than a tenth of its power is offset
    or drift below 5 Hz, or more than half lies below 20 Hz, all below 20 Hz is taken out first. Peaks are clipped at
    full scale; where that would cost more than 0.5 dB, as single clicks in a quiet clip do, the gain is raised until the
    clipped clip has the level. So every clip that is accepted has an RMS of 0.05 within 0.5 dB; one that is too short,
    silent (also but for clicks) or not finite is Unhearable.

    Example:
        >>> clip = np.full(16_000, 0.1, np.float32) + 0.02 * np.sin(np.arange(16_000, dtype=np.float32))
        >>> settle(clip, "normalised")
        ['much of its power is an offset, drift or rumble below 20 Hz, which is taken out']
        >>> round(float(np.std(clip)), 3)
        0.05
    """
    if loudness not in ("normalised", "as recorded"):
        raise ValueError(f'loudness {loudness!r} is not known: give "normalised" or "as recorded"')
    if len(mono) < SHORTEST_S * RATE:
        raise Unhearable(f"too short ({len(mono) / RATE:.3f} s; at least {SHORTEST_S} s are needed)")
    if not all(np.isfinite(part).all() for part in _parts(mono)):
        raise Unhearable("holds samples that are not numbers (NaN or infinite)")
    notes = []
    rest = _without_rumble(mono)
    if _peak(mono if rest is None else rest) < SILENT_PEAK:
        raise Unhearable("silent (no sample above -80 dB of full scale)")
    if loudness == "normalised":
        if rest is not None:
            mono[:] = rest
            notes.append(RUMBLE)
        if _raise(mono):
            notes.append(CLICKS)
    elif _scale_down(mono):
        notes.append(INTEGERS)
    np.clip(mono, -1.0, 1.0, out=mono)
    return notes


def _parts(mono: Waveform) -> list[Waveform]:
    return [mono[start : start + STEP] for start in range(0, len(mono), STEP)]


def _peak(mono: Waveform) -> float:
    return max(float(np.abs(part).max()) for part in _parts(mono))


def _power(mono: Waveform, gain: float | None = None) -> float:
    """The mean square of samples, or of what is left of them after a gain and clipping."""
    parts = _parts(mono) if gain is None else (np.minimum(np.abs(part) * gain, 1.0) for part in _parts(mono))
    return float(sum(np.sum(np.square(part, dtype=np.float64)) for part in parts) / len(mono))


def _without_rumble(mono: Waveform) -> Waveform | None:
    """The samples without what lies below 20 Hz, or ``None`` where that does not matter."""
    slow, power = _means(mono, WINDOW), _power(mono)
    drift = _means(slow, WINDOWS)
    within = np.mean(slow**2) < KEPT * MOST_RUMBLE * power
    if within and (not len(drift) or np.mean(drift**2) < KEPT * MOST_DRIFT * power):
        return None
    rest = _above(LOWEST_HZ, mono)
    rumbles = _power(rest) < (1 - MOST_RUMBLE) * power
    return rest if rumbles or _power(_above(DRIFT_HZ, mono)) < (1 - MOST_DRIFT) * power else None


def _means(samples: npt.NDArray[np.floating], count: int) -> npt.NDArray[np.float64]:
    whole = len(samples) // count * count
    return samples[:whole].reshape(-1, count).mean(axis=1, dtype=np.float64)


def _above(hz: float, mono: Waveform) -> Waveform:
    """Samples without what lies below a frequency; nothing is shifted in time, since they are filtered both ways."""
    return _filtered(hz, _filtered(hz, mono)[::-1])[::-1]


def _filtered(hz: float, samples: Waveform) -> Waveform:
    from scipy.signal import butter, sosfilt, sosfilt_zi

    high = butter(4, hz, "highpass", fs=RATE, output="sos")
    near = _means(samples[: 2 * BEGIN], BEGIN)
    # the clip is taken to have gone on before it began as it goes on after, mirrored: no jump is filtered
    before = 3 * near[0] - near[1] - samples[BEFORE:0:-1].astype(np.float64)
    _, state = sosfilt(high, before, zi=sosfilt_zi(high) * before[:BEGIN].mean())
    rest = np.empty_like(samples)
    for start, part in zip(range(0, len(samples), STEP), _parts(samples), strict=True):
        rest[start : start + STEP], state = sosfilt(high, part.astype(np.float64), zi=state)
    return rest


def _raise(mono: Waveform) -> bool:
    """Scale samples to the level; whether that took more than the gain that their power asks for."""
    gain = TARGET_RMS / np.sqrt(_power(mono))
    np.multiply(mono, gain, out=mono, casting="same_kind")
    if _peak(mono) <= 1.0 or _power(mono, 1.0) >= (TOLERANCE * TARGET_RMS) ** 2:
        return False
    low, high = 1.0, 2.0
    # what is left beside the clicks must itself be above silence
    most = TARGET_RMS / (SILENT_PEAK * gain)
    while _power(mono, high) < TARGET_RMS**2:
        if high > most:
            raise Unhearable("silent but for clicks (no other sample is above -80 dB of full scale)")
        low, high = high, 2 * high
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if _power(mono, middle) < TARGET_RMS**2 else (low, middle)
    np.multiply(mono, high, out=mono, casting="same_kind")
    return True


def _scale_down(mono: Waveform) -> bool:
    """Divide samples that are on a scale of integers by its full scale; whether they are."""
    peak = _peak(mono)
    if peak <= BEYOND:
        return False
    scale = next((scale for scale in SCALES if peak <= 1.25 * scale), None)
    if scale is None:
        raise Unhearable(f"its samples reach {peak:.3g}, where full scale is 1: save it again")
    np.multiply(mono, 1 / scale, out=mono, casting="same_kind")
    return True
