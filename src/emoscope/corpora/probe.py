"""Tell whether a sound file can be heard, and what it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from emoscope.checksums import Checksums
from emoscope.corpora.audio import hear


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
        AudioError: as in :func:`~emoscope.corpora.audio.load_audio`.

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
