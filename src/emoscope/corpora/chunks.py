"""Where a sound file's samples begin and end by its chunks or pages: its header may say nothing, or less than it holds."""

from __future__ import annotations

import io
import mmap
import os
import re
import struct
from dataclasses import dataclass

Bytes = bytes | mmap.mmap
"""Content of a file, in memory or mapped."""


def behind_tags(raw: Bytes, at: int = 0) -> int:
    """Offset behind ID3 tags, which not only MP3 files carry in front."""
    while raw[at : at + 3] == b"ID3":
        sizes = zip(raw[at + 6 : at + 10], (21, 14, 7, 0), strict=False)
        at += 10 + sum((byte & 127) << shift for byte, shift in sizes)
    return at


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


@dataclass(frozen=True)
class Layout:
    """How a file of chunks is written: lengths of its beginning and of an id, format of a size, and what it counts."""

    begins: int
    id_bytes: int
    size: str
    counts_header: bool = False
    align: int = 1

    def behind(self, end: int) -> int:
        """Where the next chunk begins."""
        return end + -end % self.align


WAV = Layout(12, 4, "<I", align=2)
LAYOUTS = {
    b"RIFF": WAV,
    b"RF64": WAV,
    b"BW64": WAV,
    b"FORM": Layout(12, 4, ">I", align=2),
    b"caff": Layout(8, 4, ">q"),
    b"riff": Layout(40, 16, "<q", counts_header=True, align=8),
}
"""First bytes -> layout of WAV, RF64, AIFF, CAF and W64."""

SOUND = (b"data", b"SSND")
UNKNOWN = 0x7FFF0000
"""Programs that write to a pipe leave a size of nearly 2**31 or 2**32."""

TAIL = 1 << 16
"""How far from a file's end a chunk is looked for behind sound of unknown size, in bytes."""

BEHIND = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"fact", b"cue ", b"PEAK", b"smpl", b"JUNK", b"afsp", b"_PMX")
"""Chunks that programs write behind the sound."""


@dataclass(frozen=True)
class Extent:
    """Where a file's samples are, in bytes.

    Attributes:
        start: offset of the first.
        stated: how many the header promises; ``None`` where it does not say.
        end: where those that are there end.
        further: bytes that follow and belong to nothing.
        size_at: where the header says how many, in the format ``size``.
        around: what that number counts beside the samples.
    """

    start: int
    stated: int | None
    end: int
    further: int
    size_at: int
    size: str
    around: int = 0

    @property
    def held(self) -> int:
        """How many bytes of sound are there."""
        return self.end - self.start

    def true_head(self, raw: Bytes) -> bytes:
        """The file's bytes before its samples, with the number of those that are there."""
        head = bytearray(raw[: self.start])
        most = 0xFFFFFFFF if self.size[1] == "I" else 1 << 62
        struct.pack_into(self.size, head, self.size_at, min(self.held + self.around, most))
        return bytes(head)


def extent(raw: Bytes) -> Extent | None:
    r"""Where the samples of a WAV, RF64, W64, AIFF, CAF or AU file are; ``None`` in any other file.

    Example:
        >>> head = b"RIFF\0\0\0\0WAVEfmt \2\0\0\0\1\0data\0\0\0\0"
        >>> extent(head + b"\1" * 8)
        Extent(start=30, stated=None, end=38, further=0, size_at=26, size='<I', around=0)
    """
    begin = behind_tags(raw)
    if raw[begin : begin + 4] == b".snd":
        start = begin + int.from_bytes(raw[begin + 4 : begin + 8], "big")
        return _settled(raw, start, begin + 8, ">I") if start <= len(raw) else None
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
    """The extent that begins at an offset, with its true end and what follows there."""
    stated, there = struct.unpack_from(size, raw, size_at)[0] - around, len(raw) - start
    known = 0 < stated <= there or there < stated < (UNKNOWN if size[1] == "I" else 1 << 62)
    if not known and there > 0:
        if layout and _chunks_to_end(raw, start, layout):
            # a size of 0 that is meant: there is no sound
            return Extent(start, 0, start, 0, size_at, size, around)
        return Extent(start, None, _without_tail(raw, start, layout), 0, size_at, size, around)
    end = min(start + stated, len(raw))
    chunks_follow = layout and any(_chunks_to_end(raw, at, layout) for at in {end, layout.behind(end)})
    # some programs fill a file up with zeros
    zeros = chunks_follow or not any(raw[at : at + TAIL].strip(b"\0") for at in range(end, len(raw), TAIL))
    return Extent(start, stated, end, 0 if zeros else len(raw) - end, size_at, size, around)


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


PAGE_HEADER = 27
"""Bytes of an Ogg page's header before the lengths of its parts (RFC 3533, section 6)."""

UNTIMED = (1 << 64) - 1
"""Position of a page on which no packet ends."""


@dataclass(frozen=True)
class Pages:
    """What the pages of an Ogg file say: bytes that the last one lacks, and samples behind the first recording."""

    missing: int
    further: int


def pages(raw: Bytes) -> Pages | None:
    r"""Walk the pages of an Ogg file; ``None`` in any other file.

    Example:
        >>> page = b"OggS\0\2" + bytes(20) + b"\1\5hello"
        >>> pages(page), pages(page[:-2])
        (Pages(missing=0, further=0), Pages(missing=2, further=0))
    """
    if raw[:4] != b"OggS":
        return None
    at, begun, lengths = 0, False, [0]
    while raw[at : at + 4] == b"OggS":
        head = raw[at : at + PAGE_HEADER + 255]
        parts = head[PAGE_HEADER - 1] if len(head) >= PAGE_HEADER else 0
        end = at + PAGE_HEADER + parts + sum(head[PAGE_HEADER : PAGE_HEADER + parts])
        if len(head) < PAGE_HEADER + parts or end > len(raw):
            return Pages(max(1, end - len(raw)), sum(lengths[1:]))
        begins = bool(head[5] & 2)
        if begins and begun:
            # streams that belong together begin together: this is another recording
            lengths.append(0)
        begun = not begins
        position = int.from_bytes(head[6:14], "little")
        if position != UNTIMED:
            lengths[-1] = max(lengths[-1], position)
        at = end
    return Pages(0, sum(lengths[1:]))
