"""Open a sound file or video with the library that reads it, and give its samples some at a time, all that it holds."""

from __future__ import annotations

import io
import mmap
import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from emoscope.corpora.files import is_video, unread
from emoscope.corpora.frames import HEAD, Bytes, Frames, Stream, behind_tags, pages, stream, walk
from emoscope.files import kind_of, what_is

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import InputContainer
    from soundfile import SoundFile

Waveform = npt.NDArray[np.float32]

SHORTEST_S = 0.1
"""A clip shorter than this, in seconds, gives fewer than two audio tokens and is quarantined."""

BLOCK = 1 << 18
"""Frames of a file that are decoded at once: 5 s at 48 kHz."""

UNREADABLE = "not readable as audio: the file is damaged or no sound file; convert it to wav or flac"
"""Reason of a file that libsndfile cannot read (its own messages name the wrong cause)."""

SAVE_AGAIN = "open it in a sound editor, and save what belongs to it"


class Unhearable(ValueError):
    """Sound that cannot be used; the message is a short reason."""


TIMED = frozenset({"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "asf", "avi", "flv", "ape", "wv", "tta"})
"""Formats whose header states a length; of others PyAV guesses it from the bit rate."""

FORMATS = ",".join(sorted(TIMED)) + (
    ",aac,ac3,amr,amrnb,amrwb,dss,dts,eac3,flac,gsm,loas,mp3,mpeg,mpegts,ogg,qcp,rm,tak,wav"
)
"""What PyAV may take a file for by its content; it knows lists of other files, too, and would open those."""

SLACK_S = 0.5
"""By so much, in seconds, the length that a video's header gives may differ from its sound: encoders pad both ends."""

Blocks = Iterator[tuple[Waveform, int, int]]
"""Samples (time, channel), their rate in Hz, and how many there will be (0: not known)."""

Opened = tuple["SoundFile", float | None, float]
"""A file as libsndfile reads all of it; seconds that it should hold, and seconds of something else that follow."""


def blocks(path: Path) -> Blocks:
    """Samples of a sound file or video, some at a time.

    Sizes in headers that are 0, unknown or wrong are put right from what the file holds before libsndfile reads it,
    and an MP3's frames are counted; what then is missing or left over is refused with both numbers.

    Raises:
        Unhearable: the file is damaged, cut off, or something else than its name says.
    """
    import soundfile

    if path.suffix.lower() == ".raw":
        fault = "holds, by its ending raw, samples without a header, so that their rate is not known"
        raise Unhearable(_really(path, f"{fault}: convert it to wav or flac"))
    if is_video(path):
        yield from _video_blocks(path)
        return
    # libsndfile reports a fault while it opens a file, or while it reads
    try:
        with _opened(path) as (file, promised, further):
            if further > SHORTEST_S:
                follows = f"what would last another {further:.2f} s follows"
                raise Unhearable(f"its header promises {promised or 0.0:.2f} s, and {follows}: {SAVE_AGAIN}")
            rate, held = file.samplerate, 0
            while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
                held += len(block)
                yield block, rate, file.frames
            _check_held(held / rate, promised, SHORTEST_S)
    except soundfile.SoundFileError as error:
        if not kind_of(path):
            raise Unhearable(_really(path, UNREADABLE)) from error
        yield from _video_blocks(path)


def _really(path: Path, else_: str) -> str:
    return f"is {words}" if (words := what_is(path)) else else_


def _check_held(held: float, promised: float | None, slack: float) -> None:
    """Refuse a file that held less sound than its header promises, in seconds, or none."""
    if not held:
        raise Unhearable("holds no sound: it is empty or cut off; copy the file again")
    if promised is not None and promised - held > slack:
        raise Unhearable(f"cut off (its header promises {promised:.2f} s, it holds {held:.2f} s): copy the file again")


@contextmanager
def _opened(path: Path) -> Iterator[Opened]:
    import soundfile

    with ExitStack() as stack:
        content = stack.enter_context(path.open("rb"))
        raw: Bytes = stack.enter_context(mmap.mmap(content.fileno(), 0, access=mmap.ACCESS_READ))

        def opened(head: bytes = b"", start: int = 0, end: int = 0) -> SoundFile:
            """The file, or a part of it behind another head."""
            source = stack.enter_context(Spliced(head, raw, start, end)) if head else path
            return stack.enter_context(soundfile.SoundFile(source))

        if (found := extent(raw)) is not None:
            if fault := _fault(found):
                try:
                    opened()
                except soundfile.SoundFileError:
                    raise Unhearable(fault) from None
            wrong = found.stated is None or (raw[:4] == b"riff" and found.end < len(raw))
            file = opened(found.true_head, found.start, found.end) if wrong else opened()
            per_byte = file.frames / file.samplerate / found.held if found.held else 0.0
            yield file, found.stated and found.stated * per_byte, found.further * per_byte
        elif (flac := stream(raw)) is not None:
            _check_flac(flac)
            right = flac.held == flac.stated
            file = opened() if right else opened(flac.true_head(raw), flac.start + HEAD, len(raw))
            yield file, flac.held / flac.rate, 0.0
        else:
            file = opened()
            if (ogg := pages(raw)) is not None:
                missing, further = ogg
                if missing:
                    raise Unhearable(f"cut off (its last part lacks {missing:,} bytes): copy the file again")
                # positions in Opus count at 48 kHz, whatever the rate
                per_second = 48_000 if file.subtype == "OPUS" else file.samplerate
                yield file, file.frames / file.samplerate, further / per_second
            elif (frames := walk(raw) if file.format == "MP3" else None) is not None:
                yield _by_frames(frames, file, opened)
            else:
                stated = re.search(rb"(?:^|\s)sample_count\s+\S+\s+(\d+)(?:\s|$)", raw[:1024])
                yield file, int(stated[1]) / file.samplerate if stated and file.format == "NIST" else None, 0.0


def _by_frames(frames: Frames, file: SoundFile, opened: Callable[[bytes, int, int], SoundFile]) -> Opened:
    length, read = frames.duration_s, file.frames / file.samplerate
    # where libsndfile reads on, the first frames were none
    further = frames.further_s if read - length <= SHORTEST_S else 0.0
    if frames.stated != frames.count and length - read > SHORTEST_S:
        if frames.first.layer == 3:
            # libsndfile stops where its own guess, or a wrong header, says that the file ends
            file = opened(frames.true_info(), frames.start, frames.end)
    elif frames.stated is not None:
        # without what encoders add at both ends
        length = read
    return file, length, further


def _fault(found: Extent) -> str | None:
    """What is wrong with a file's sizes in bytes, where libsndfile does not open it at all."""
    if found.stated is None or (found.held == found.stated and not found.further):
        return None
    promised = f"its header promises {found.stated:,} bytes of sound"
    if found.further:
        return f"{promised}, and another {found.further:,} bytes follow: {SAVE_AGAIN}"
    return f"cut off ({promised}, it holds {found.held:,}): copy the file again"


def _check_flac(flac: Stream) -> None:
    """Refuse a FLAC file that is not whole, or that another one follows."""
    stated, held = flac.stated / flac.rate, flac.held / flac.rate
    if flac.more:
        first = f"its header promises {stated:.2f} s" if stated else f"its first part holds {held:.2f} s"
        raise Unhearable(f"{first}, and another FLAC file follows: {SAVE_AGAIN}")
    if flac.cut or held < stated:
        both = f"its header promises {stated:.2f} s, it holds {'less than ' if flac.cut else ''}{held:.2f} s"
        last = f"its last frame, up to {held:.2f} s, is not whole"
        raise Unhearable(f"cut off ({both if held <= stated else last}): copy the file again")


def _video_blocks(path: Path) -> Blocks:
    """Decode the first sound track of a video, frame by frame; errors as in :func:`blocks`, or PyAV is missing."""
    if why := unread(path, kind_of(path)):
        raise Unhearable(_really(path, why))
    import av

    held = 0
    try:
        with av.open(str(path), options={"protocol_whitelist": "file", "format_whitelist": FORMATS}) as container:
            if not container.streams.audio:
                raise Unhearable("the video has no sound track")
            stream = container.streams.audio[0]
            rate, promised = stream.rate, _seconds(container, stream)
            same = av.AudioResampler(format="fltp")
            for frame in chain(container.decode(stream), [None]):  # None flushes what is left
                for part in same.resample(frame):
                    held += part.samples
                    yield np.ascontiguousarray(part.to_ndarray().T, dtype=np.float32), rate, 0
        _check_held(held / rate, promised, SLACK_S)
    except Unhearable as error:
        raise Unhearable(_really(path, str(error))) from error
    except (av.FFmpegError, ValueError) as error:
        fault = "the file is damaged; copy it again, or convert it to wav or flac"
        raise Unhearable(_really(path, f"not readable as {path.suffix.lower().lstrip('.')}: {fault}")) from error


def _seconds(container: InputContainer, stream: AudioStream) -> float:
    import av

    if container.format.name not in TIMED:
        return 0.0
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base


class Spliced(io.RawIOBase):
    """Reads as if a file consisted of other bytes (``head``) and its own between two offsets.

    Example:
        >>> Spliced(b"right", b"wrong sound rest", 5, 11).read()
        b'right sound'
    """

    def __init__(self, head: bytes, raw: Bytes, start: int, end: int) -> None:
        self._head, self._raw, self._size = head, raw, len(head) + end - start
        self._shift, self._at = start - len(head), 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to an offset."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def readinto(self, buffer: object) -> int:
        """Fill a buffer; returns how many bytes there were."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        end = max(self._at, min(self._at + len(view), self._size))
        part = self._head[self._at : end] or self._raw[self._shift + self._at : self._shift + end]
        view[: len(part)] = part
        self._at += len(part)
        return len(part)


class Layout(NamedTuple):
    """How a file of chunks is written: lengths of its beginning and of an id, format of a size, and what it counts."""

    begins: int
    id_bytes: int
    size: str
    counts_header: bool = False
    align: int = 1

    def behind(self, end: int) -> int:
        """Where the next chunk begins."""
        return end + -end % self.align


LAYOUTS = {
    **dict.fromkeys((b"RIFF", b"RF64", b"BW64"), Layout(12, 4, "<I", align=2)),
    b"FORM": Layout(12, 4, ">I", align=2),
    b"caff": Layout(8, 4, ">q"),
    b"riff": Layout(40, 16, "<q", counts_header=True, align=8),
}
"""First bytes -> layout of WAV, RF64, AIFF, CAF and W64."""

SOUND = (b"data", b"SSND")
UNKNOWN, TAIL = 0x7FFF0000, 1 << 16
"""Programs that write to a pipe leave a size of nearly 2**31 or 2**32; so near to the end, in bytes, a chunk is looked for."""

BEHIND = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"fact", b"cue ", b"PEAK", b"smpl", b"JUNK", b"afsp", b"_PMX")
"""Chunks that programs write behind the sound."""


class Extent(NamedTuple):
    """Where in a file the samples are that it holds, in bytes, and how many its header promises.

    ``stated`` is ``None`` where the header does not say, ``further`` counts bytes that follow and belong to nothing.
    ``true_head`` are the bytes before the samples, with the number of those that are there.
    """

    start: int
    stated: int | None
    end: int
    further: int
    true_head: bytes

    @property
    def held(self) -> int:
        """Bytes of sound that are there."""
        return self.end - self.start


def extent(raw: Bytes) -> Extent | None:
    r"""Where the samples of a WAV, RF64, W64, AIFF, CAF or AU file are; ``None`` in any other file.

    Example:
        >>> head = b"RIFF\0\0\0\0WAVEfmt \2\0\0\0\1\0data\0\0\0\0"
        >>> extent(head + b"\1" * 8)[:4]
        (30, None, 38, 0)
    """
    begin = behind_tags(raw)
    if raw[begin : begin + 4] == b".snd":
        start = begin + int.from_bytes(raw[begin + 4 : begin + 8], "big")
        return _settled(raw, start, begin + 8, ">I") if begin + 12 <= start <= len(raw) else None
    layout = LAYOUTS.get(raw[begin : begin + 4])
    if layout is None:
        return None
    at, wide = begin + layout.begins, None
    while (chunk := _chunk(raw, at, layout)) is not None:
        name, inside, size = chunk
        if name[:4] == b"ds64":
            wide = inside + 8
        if name[:4] in SOUND:
            if wide is not None and size == 0xFFFFFFFF and wide + 8 <= inside:
                return _settled(raw, inside, wide, "<q", layout=layout)
            # the samples of SSND begin after two numbers, those of a CAF after one
            skip = 8 if name == b"SSND" else 4 if raw[begin : begin + 4] == b"caff" else 0
            if inside + skip > len(raw):
                return None
            around = skip + (inside - at if layout.counts_header else 0)
            return _settled(raw, inside + skip, at + layout.id_bytes, layout.size, around, layout)
        if size < 0:
            return None
        at = layout.behind(inside + size)
    return None


def _chunk(raw: Bytes, at: int, layout: Layout) -> tuple[bytes, int, int] | None:
    """Name, offset of the content and size of the chunk at an offset."""
    inside = at + layout.id_bytes + struct.calcsize(layout.size)
    if inside > len(raw):
        return None
    name = raw[at : at + layout.id_bytes]
    (size,) = struct.unpack_from(layout.size, raw, at + layout.id_bytes)
    if not all(32 <= byte < 127 for byte in name[:4]):
        return None
    return name, inside, size - (inside - at if layout.counts_header else 0)


def _settled(raw: Bytes, start: int, size_at: int, size: str, around: int = 0, layout: Layout | None = None) -> Extent:
    """The extent that begins at an offset, with its true end and what follows there.

    Its size stands at an offset, in a format, and counts so many bytes around it, too.
    """
    stated, there, further = struct.unpack_from(size, raw, size_at)[0] - around, len(raw) - start, 0
    if not (0 < stated <= there or there < stated < (UNKNOWN if size[1] == "I" else 1 << 62)) and there > 0:
        # a size of 0 may be meant: there is no sound
        stated = 0 if layout and _chunks_to_end(raw, start, layout) else None
        end = _without_tail(raw, start, layout) if stated is None else start
    else:
        end = min(start + stated, len(raw))
        chunks_follow = layout and any(_chunks_to_end(raw, at, layout) for at in {end, layout.behind(end)})
        # some programs fill a file up with zeros
        zeros = chunks_follow or not any(raw[at : at + TAIL].strip(b"\0") for at in range(end, len(raw), TAIL))
        further = 0 if zeros else len(raw) - end
    head, most = bytearray(raw[:start]), 0xFFFFFFFF if size[1] == "I" else 1 << 62
    struct.pack_into(size, head, size_at, min(end - start + around, most))
    return Extent(start, stated, end, further, bytes(head))


def _chunks_to_end(raw: Bytes, at: int, layout: Layout) -> bool:
    """Whether from here on the file holds chunks and nothing else (the last may be cut off)."""
    while at < len(raw):
        chunk = _chunk(raw, at, layout)
        if chunk is None or chunk[0][:4] in LAYOUTS or chunk[2] < 0:
            # a few bytes less than a chunk's header are no sound either
            return len(raw) - at < layout.id_bytes
        at = layout.behind(chunk[1] + chunk[2])
    return True


def _without_tail(raw: Bytes, start: int, layout: Layout | None) -> int:
    """Where sound of unknown size ends: at the file's end, or before a chunk that ends there."""
    if layout is None or layout.id_bytes != 4:
        return len(raw)
    begin = max(start, len(raw) - TAIL)
    for found in re.finditer(b"(?=%b)" % b"|".join(BEHIND), raw[begin:]):
        at = begin + found.start()
        chunk = _chunk(raw, at, layout)
        if chunk and chunk[2] >= 0 and chunk[1] + chunk[2] <= len(raw) and _chunks_to_end(raw, at, layout):
            return at
    return len(raw)
