"""Open a sound file with the library that reads it, and give its samples some at a time, all that it holds."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from emoscope.corpora.chunks import Extent, extent
from emoscope.corpora.flac import HEAD, Stream, stream
from emoscope.corpora.level import SHORTEST_S, Unhearable, Waveform
from emoscope.corpora.mpeg import walk
from emoscope.corpora.ogg import pages
from emoscope.corpora.splice import Bytes, Spliced
from emoscope.corpora.video import is_video, kind_of, video_blocks
from emoscope.first_bytes import what_is

if TYPE_CHECKING:
    import soundfile

BLOCK = 1 << 18
"""Frames of a file that are decoded at once: 5 s at 48 kHz."""

UNREADABLE = "not readable as audio: the file is damaged or no sound file; convert it to wav or flac"
"""Reason of a file that libsndfile cannot read (its own messages name the wrong cause)."""


HEADERLESS = (
    "holds, by its ending raw, samples without a header, so that their rate is not known: convert it to wav or flac"
)

SAVE_AGAIN = "open it in a sound editor, and save what belongs to it"


@dataclass(frozen=True)
class Lengths:
    """How long a file is, in seconds, by what does not guess: its own header, and its frames or bytes."""

    promised: float | None = None
    further: float = 0.0


Blocks = Iterator[tuple[Waveform, int, int]]
"""Samples (time, channel), their rate in Hz, and how many there will be (0: not known)."""


def blocks(path: Path) -> Blocks:
    """Samples of a sound file or video, some at a time.

    Sizes in headers that are 0, unknown or wrong are put right from what the file holds before libsndfile reads it,
    and an MP3's frames are counted; what then is missing or left over is refused with both numbers.

    Raises:
        Unhearable: the file is damaged, cut off, or something else than its name says.
    """
    if path.suffix.lower() == ".raw":
        raise Unhearable(_really(path) or HEADERLESS)
    if is_video(path):
        yield from _named(path, video_blocks(path))
        return
    import soundfile

    # libsndfile reports a fault while it opens a file, or while it reads
    try:
        with _opened(path) as (file, lengths):
            yield from _whole(file, lengths)
    except soundfile.SoundFileError as error:
        if kind_of(path):
            yield from _named(path, video_blocks(path))
        else:
            raise Unhearable(_really(path) or UNREADABLE) from error


def _named(path: Path, found: Iterator[tuple[Waveform, int]]) -> Blocks:
    try:
        for samples, rate in found:
            yield samples, rate, 0
    except Unhearable as error:
        raise Unhearable(_really(path) or str(error)) from error


def _really(path: Path) -> str | None:
    words = what_is(path)
    return f"is {words}" if words else None


@contextmanager
def _opened(path: Path) -> Iterator[tuple[soundfile.SoundFile, Lengths]]:
    """A file as libsndfile reads all of it, and the length that it should have."""
    import soundfile

    with ExitStack() as stack:
        raw: Bytes = stack.enter_context(_mapped(path))
        found = extent(raw)
        if found is not None:
            if (fault := _fault(found)) and _refused(path):
                raise Unhearable(fault)
            wrong = found.stated is None or (raw[:4] == b"riff" and found.end < len(raw))
            source = stack.enter_context(Spliced(found.true_head(raw), path, found.start, found.end)) if wrong else path
            file = stack.enter_context(soundfile.SoundFile(source))
            yield file, _by_bytes(found, file)
            return
        flac = stream(raw)
        if flac is not None:
            begin = flac.start + HEAD
            wrong = _held(flac) != flac.stated
            source = stack.enter_context(Spliced(flac.true_head(raw), path, begin, len(raw))) if wrong else path
            yield stack.enter_context(soundfile.SoundFile(source)), Lengths(flac.held / flac.rate)
            return
        file = stack.enter_context(soundfile.SoundFile(path))
        if (ogg := pages(raw)) is not None:
            if ogg.missing:
                raise Unhearable(f"cut off (its last part lacks {ogg.missing:,} bytes): copy the file again")
            # positions in Opus count at 48 kHz, whatever the rate
            further = ogg.further / (48_000 if file.subtype == "OPUS" else file.samplerate)
            yield file, Lengths(file.frames / file.samplerate, further)
            return
        frames = walk(raw) if file.format == "MP3" else None
        if frames is None:
            yield file, Lengths(_stated_by_nist(raw, file))
            return
        length = frames.duration_s
        # where libsndfile reads on, the first frames were none
        further = frames.further_s if file.frames / file.samplerate - length <= SHORTEST_S else 0.0
        if frames.stated != frames.count and length - file.frames / file.samplerate > SHORTEST_S:
            if frames.first.layer == 3:
                # libsndfile stops where its own guess, or a wrong header, says that the file ends
                spliced = stack.enter_context(Spliced(frames.true_info(), path, frames.start, frames.end))
                file = stack.enter_context(soundfile.SoundFile(spliced))
        elif frames.stated is not None:
            # without what encoders add at both ends
            length = file.frames / file.samplerate
        yield file, Lengths(length, further)


def _fault(found: Extent) -> str | None:
    """What is wrong with a file's sizes in bytes, where libsndfile does not open it at all."""
    if found.stated is None or (found.held == found.stated and not found.further):
        return None
    promised = f"its header promises {found.stated:,} bytes of sound"
    if found.further:
        return f"{promised}, and another {found.further:,} bytes follow: {SAVE_AGAIN}"
    return f"cut off ({promised}, it holds {found.held:,}): copy the file again"


def _held(flac: Stream) -> int:
    """Samples of a FLAC file that is whole; refuses one that is not, or that another one follows."""
    stated, held = flac.stated / flac.rate, flac.held / flac.rate
    if flac.more:
        raise Unhearable(f"its header promises {stated:.2f} s, and another FLAC file follows: {SAVE_AGAIN}")
    if flac.cut or held < stated:
        both = f"its header promises {stated:.2f} s, it holds less than {held:.2f} s"
        last = f"its last frame, up to {held:.2f} s, is not whole"
        raise Unhearable(f"cut off ({both if stated else last}): copy the file again")
    return flac.held


def _refused(path: Path) -> bool:
    import soundfile

    try:
        soundfile.info(path)
    except soundfile.SoundFileError:
        return True
    return False


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        yield raw


def _by_bytes(found: Extent, file: soundfile.SoundFile) -> Lengths:
    if found.stated is None or not found.held or not file.frames:
        return Lengths()
    per_byte = file.frames / file.samplerate / found.held
    return Lengths(found.stated * per_byte, found.further * per_byte)


def _stated_by_nist(raw: Bytes, file: soundfile.SoundFile) -> float | None:
    if file.format != "NIST":
        return None
    words = raw[:1024].split()
    at = words.index(b"sample_count") if b"sample_count" in words else len(words)
    return int(words[at + 2]) / file.samplerate if at + 2 < len(words) and words[at + 2].isdigit() else None


def _whole(file: soundfile.SoundFile, lengths: Lengths) -> Blocks:
    """Samples of an opened file; refuses one that holds less than it should, or more than its header says."""
    rate, held = file.samplerate, 0
    if lengths.further > SHORTEST_S:
        promised = lengths.promised or 0.0
        raise Unhearable(
            f"its header promises {promised:.2f} s, and what would last another {lengths.further:.2f} s follows: "
            f"{SAVE_AGAIN}"
        )
    while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
        held += len(block)
        yield block, rate, file.frames
    if not held:
        raise Unhearable("holds no sound: it is empty or cut off; copy the file again")
    if lengths.promised is not None and lengths.promised - held / rate > SHORTEST_S:
        both = f"its header promises {lengths.promised:.2f} s, it holds {held / rate:.2f} s"
        raise Unhearable(f"cut off ({both}): copy the file again")
