"""Tell whether a sound file can be heard without decoding all of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emoscope.corpora.audio import SHORTEST_S, SILENT_PEAK, UNREADABLE, AudioError, load_audio, promised_frames
from emoscope.corpora.video import is_video, video_facts

if TYPE_CHECKING:
    import soundfile

BLOCK = 4096
"""Frames that are read at once while looking for sound."""

END_S = 0.05
"""How much of a compressed file's end is decoded, in seconds: a file that is cut off has no end."""

LOUD = 10 * SILENT_PEAK
"""A sample above this level is sound, even where resampling takes part of it away."""

HOLDS_ANY_NUMBER = ("FLOAT", "DOUBLE")
"""Sample formats that can hold NaN and infinity; such files are read whole."""


@dataclass(frozen=True)
class SoundFacts:
    """What the header of a sound file says: length in seconds, sampling rate in Hz, channels."""

    duration_s: float
    rate: int
    channels: int


def probe_audio(path: str | Path) -> SoundFacts:
    """Check that a sound file can be heard, at a fraction of the cost of decoding it.

    The header is read, then the sound until a sample is clearly not silence, then the end. Whatever is not sure
    after that (short files, quiet ones, floating-point ones, an end that is not there) is decoded whole, so that a
    fault found here is one that :func:`~emoscope.corpora.audio.load_audio` states, too. The other way round, damage
    in the middle of a compressed file goes unseen.

    Raises:
        AudioError: as in :func:`~emoscope.corpora.audio.load_audio`.

    Example:
        >>> from emoscope.corpora import polish_folder
        >>> probe_audio(polish_folder() / "m1.a_nie_3.flac")
        SoundFacts(duration_s=1.321, rate=16000, channels=1)
    """
    import soundfile

    path = Path(path)
    if is_video(path):
        load_audio(path, loudness="as recorded")
        return SoundFacts(*video_facts(path))
    try:
        with soundfile.SoundFile(path) as file:
            facts = SoundFacts(file.frames / file.samplerate, file.samplerate, file.channels)
            sure = _surely_sound(file, path)
    except (soundfile.SoundFileError, OSError) as error:
        load_audio(path, loudness="as recorded")
        raise AudioError(path, UNREADABLE) from error
    if not sure:
        load_audio(path, loudness="as recorded")
    return facts


def _surely_sound(file: soundfile.SoundFile, path: Path) -> bool:
    import soundfile

    if file.subtype in HOLDS_ANY_NUMBER or file.frames < 2 * SHORTEST_S * file.samplerate:
        return False
    if promised_frames(file, path) - file.frames > SHORTEST_S * file.samplerate:
        return False
    try:
        if not _is_heard(file):
            return False
        end = min(file.frames, round(END_S * file.samplerate))
        file.seek(file.frames - end)
        return len(file.read(end, dtype="float32")) == end
    except soundfile.SoundFileError:
        return False


def _is_heard(file: soundfile.SoundFile) -> bool:
    while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
        if np.abs(block.mean(axis=1)).max() > LOUD:
            return True
    return False
