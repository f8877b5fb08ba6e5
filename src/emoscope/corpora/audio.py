"""Read a clip's sound as the models want it (mono, 16 kHz, float32, even loudness, never trimmed), and tell what it is."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from emoscope.checksums import Checksums, sha256
from emoscope.corpora.level import RATE, Unhearable, Waveform, settle
from emoscope.corpora.sources import Blocks, blocks

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


LISTED = "listed_s"
"""Label column: seconds that a clip lasts by its row."""

TIME = re.compile(r"(?:(?P<days>\d+) days?,? )?(?:(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d+(?:[.,]\d+)?)")

FACTOR, SECONDS = 1.5, 1.0
"""A file is far longer where it is beyond both: this many times as long, and this many seconds longer."""


class AudioError(ValueError):
    """A file whose sound cannot be used; ``reason`` is a short phrase for the clip's fate."""

    def __init__(self, path: str | Path, reason: str) -> None:
        self.path, self.reason = Path(path), reason
        super().__init__(f"{path}: {reason}")


@dataclass(frozen=True)
class Heard:
    """A clip as a model hears it, and what its file holds.

    Attributes:
        samples: (time,), mono, 16 kHz, in [-1, 1].
        duration_s: length of the file in seconds.
        rate: sampling rate of the file in Hz.
        channels: channels of the file.
        told: what was done beside mixing, resampling and one gain, a sentence each.
    """

    samples: Waveform
    duration_s: float
    rate: int
    channels: int
    told: tuple[str, ...] = ()


def load_audio(path: str | Path, loudness: str = "normalised") -> Waveform:
    """Load one sound file as mono 16 kHz float32 samples, untrimmed.

    Channels are mixed, unless two of them cancel each other (a correlation below -0.5): then the louder one is heard.

    Args:
        path: wav, flac, mp3, ogg or anything else libsndfile reads, or a video (with the extra ``video``); any rate
            and channel count.
        loudness: ``"normalised"`` scales the clip to a root mean square of 0.05 within 0.5 dB (in RAVDESS neutral
            clips are about 20 dB quieter than angry ones, and without this step selectors find
            loudness neurons; :func:`~emoscope.corpora.level.settle` states the rule); ``"as recorded"`` leaves the
            level alone.

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
    return hear(path, loudness).samples


def hear(path: str | Path, loudness: str = "normalised") -> Heard:
    """Load one sound file as :func:`load_audio` does, and say what it holds and what was done to it.

    Raises:
        AudioError, ValueError: as in :func:`load_audio`.

    Example:
        >>> from emoscope.corpora import polish_folder
        >>> heard = hear(polish_folder() / "m1.a_nie_3.flac")
        >>> heard.duration_s, heard.rate, heard.channels, heard.told
        (1.321, 16000, 1, ())
    """
    path = Path(path)
    _check_loudness(loudness)
    if path.is_dir():
        raise AudioError(path, "is a folder: give one sound file")
    if not path.is_file():
        raise AudioError(path, "file not found")
    try:
        if path.stat().st_size == 0:
            raise Unhearable("file is empty")
        samples, frames, rate, channels = _mono(blocks(path))
        told = []
        if (channel := channels.louder()) is not None:
            told.append(f"its channels cancel each other: channel {channel + 1}, the louder one, is heard alone")
            samples, frames, rate, channels = _mono(blocks(path), channel)
        told += settle(samples, loudness)
    except Unhearable as error:
        raise AudioError(path, str(error)) from error
    except PermissionError as error:
        raise AudioError(path, "not readable (no permission)") from error
    return Heard(samples, frames / rate, rate, channels.count, tuple(told))


class _Channels:
    """How channels go together, gathered block by block."""

    def __init__(self) -> None:
        self.count, self._n = 0, 0
        self._sum: npt.NDArray[np.float64] = np.zeros(0)
        self._products: npt.NDArray[np.float64] = np.zeros((0, 0))

    def add(self, block: Waveform, rate: int) -> None:
        if not self.count:
            self.count = block.shape[1]
            self._sum, self._products = np.zeros(self.count), np.zeros((self.count, self.count))
        if self.count == 1:
            return
        # means of some samples stand for what is left after resampling
        step = max(1, rate // RATE)
        slow = block[: len(block) // step * step].reshape(-1, step, self.count).mean(axis=1, dtype=np.float64)
        self._n += len(slow)
        self._sum += slow.sum(axis=0)
        self._products += slow.T @ slow

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
    """Mix to one channel (or take one) and resample block by block, so that a long clip is in memory once.

    Returns:
        samples (time,) at 16 kHz; frames, rate in Hz and channels of the file.
    """
    import soxr

    mono = np.empty(1, dtype=np.float32)
    filled, frames, rate, stream, channels = 0, 0, 0, None, _Channels()
    keep_ahead = True

    def keep(part: Waveform) -> None:
        nonlocal filled
        if filled + len(part) > len(mono):
            # headers of some files only guess the length
            mono.resize(len(mono) * 5 // 4 + len(part), refcheck=False)
        mono[filled : filled + len(part)] = part
        filled += len(part)

    for block, rate, expected in source:
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise Unhearable(
                f"its header says {rate:,} samples a second, which no sound has: make it anew from its source"
            )
        if frames > LONGEST_S * rate:
            raise Unhearable(f"lasts more than {LONGEST_S // 60} minutes, which is no clip: cut it into clips")
        if keep_ahead:
            mono.resize(min(-(-expected * RATE // rate), LONGEST_GUESS) + 1, refcheck=False)
            keep_ahead = False
        if block.shape[1] != (channels.count or block.shape[1]):
            raise Unhearable("its number of channels changes within the file: convert it to wav or flac")
        frames += len(block)
        channels.add(block, rate)
        mixed = block.mean(axis=1) if channel is None else block[:, channel]
        if rate != RATE:
            stream = stream or soxr.ResampleStream(rate, RATE, 1, dtype="float32", quality="HQ")
            mixed = stream.resample_chunk(np.ascontiguousarray(mixed))
        keep(mixed)
    if stream:
        keep(stream.resample_chunk(np.empty(0, dtype=np.float32), last=True))
    mono.resize(filled, refcheck=False)
    return mono, frames, rate, channels


def prepare_samples(samples: npt.ArrayLike, path: str | Path = "samples", loudness: str = "normalised") -> Waveform:
    """Check mono 16 kHz samples (time,) and bring them to the wanted loudness.

    Raises:
        AudioError: too short, silent, or not finite; ``path`` names the clip in the message.
        ValueError: an unknown ``loudness``.

    Example:
        >>> bool(abs(prepare_samples(np.sin(np.arange(16_000))).std() - 0.05) < 1e-6)
        True
    """
    _check_loudness(loudness)
    mono = np.array(samples, dtype=np.float32)
    try:
        settle(mono, loudness)
    except Unhearable as error:
        raise AudioError(path, str(error)) from error
    return mono


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
        return sha256(Path(path))
    except FileNotFoundError as error:
        raise AudioError(path, "file not found") from error
    except OSError as error:
        raise AudioError(path, f"not readable ({error.strerror})") from error


@dataclass(frozen=True)
class SoundFacts:
    """What a sound file holds: length in seconds, rate in Hz, channels, and what is told of how it is heard."""

    duration_s: float
    rate: int
    channels: int
    told: tuple[str, ...] = ()

    @classmethod
    def of(cls, found: Sequence[Any]) -> SoundFacts:
        """The facts as :func:`remembered_facts` gives them."""
        duration_s, rate, channels, told = found
        return cls(duration_s, rate, channels, tuple(told))


def probe_audio(path: str | Path) -> SoundFacts:
    """Look whether a sound file can be heard: it is decoded whole, as a study does it.

    Raises:
        AudioError: as in :func:`load_audio`.

    Example:
        >>> from emoscope.corpora import polish_folder
        >>> probe_audio(polish_folder() / "m1.a_nie_3.flac")
        SoundFacts(duration_s=1.321, rate=16000, channels=1, told=())
    """
    heard = hear(path)
    return SoundFacts(heard.duration_s, heard.rate, heard.channels, heard.told)


def remembered_facts() -> Checksums:
    """What sound files hold, as :func:`probe_audio` finds it, remembered from check to check of one version."""
    return Checksums(f"sound-facts-{version('emoscope')}.json", lambda path: astuple(probe_audio(path)))


def seconds_of(text: str | None) -> float | None:
    """Seconds of a text such as "4.1", "0:04.1" or "00:00:04,100".

    Example:
        >>> seconds_of("4.1"), seconds_of("00:00:04,100"), seconds_of("0 days 00:01:00"), seconds_of("soon")
        (4.1, 4.1, 60.0, None)
    """
    if text is None:
        return None
    if re.fullmatch(r"\d+(?:[.,]\d+)?", text):
        return float(text.replace(",", "."))
    match = TIME.fullmatch(text)
    if match is None:
        return None
    found = {name: float((match[name] or "0").replace(",", ".")) for name in ("days", "hours", "minutes", "seconds")}
    return 86_400 * found["days"] + 3600 * found["hours"] + 60 * found["minutes"] + found["seconds"]


def number_of_clips(count: int) -> str:
    """A number of clips in words.

    Example:
        >>> number_of_clips(1), number_of_clips(2)
        ('1 clip', '2 clips')
    """
    return "1 clip" if count == 1 else f"{count} clips"


def sound_notices(told: Mapping[str, Sequence[str]]) -> list[str]:
    """What is told of single clips, each sentence once with how many clips it is about.

    Args:
        told: clip id -> what was done to its sound, a sentence each (:class:`Heard`).

    Example:
        >>> sound_notices({"b": ["it clicks"], "a": ["it clicks"], "c": []})
        ['2 clips (such as a): it clicks']
    """
    clips: dict[str, list[str]] = defaultdict(list)
    for clip, sentences in told.items():
        for sentence in sentences:
            clips[re.sub(r"channel \d+, (.*?),", r"\1", sentence)].append(clip)
    return [
        f"{number_of_clips(len(found))} (such as {min(found)}): {sentence}" for sentence, found in sorted(clips.items())
    ]


def far_longer_clips(lengths: Iterable[tuple[str, float | None, str | None]]) -> list[tuple[str, float, str]]:
    """The clips whose file is far longer than their row says, of (id, seconds, listed seconds).

    Example:
        >>> far_longer_clips([("a", 300.0, "4.1"), ("b", 4.4, "4.1"), ("c", 300.0, None), ("d", None, "4.1")])
        [('a', 300.0, '4.1')]
    """
    return [
        (clip, seconds, listed)
        for clip, seconds, listed in lengths
        if seconds is not None
        and listed is not None
        and (said := seconds_of(listed)) is not None
        and seconds > max(FACTOR * said, said + SECONDS)
    ]


def length_notices(longer: Sequence[tuple[str, float, str]]) -> list[str]:
    """What is told of the clips that :func:`far_longer_clips` found: one sentence, or none.

    Example:
        >>> length_notices([("a", 300.0, "4.1")])
        ['1 clip of far more sound than their rows say, such as a: 300.0 s, listed 4.1 s; all of it is heard']
    """
    if not longer:
        return []
    clip, seconds, listed = min(longer)
    return [
        f"{number_of_clips(len(longer))} of far more sound than their rows say, such as {clip}: {seconds:.1f} s, "
        f"listed {listed} s; all of it is heard"
    ]
