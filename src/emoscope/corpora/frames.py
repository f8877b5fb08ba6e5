"""Tell how much sound an MP3, FLAC or Ogg file holds by its frames or pages: the length that its header gives may be a guess."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

Bytes = bytes | mmap.mmap
"""Content of a file, in memory or mapped."""


def behind_tags(raw: Bytes, at: int = 0) -> int:
    """Offset behind ID3 tags, which not only MP3 files carry in front."""
    while raw[at : at + 3] == b"ID3":
        sizes = zip(raw[at + 6 : at + 10], (21, 14, 7, 0), strict=False)
        at += 10 + sum((byte & 127) << shift for byte, shift in sizes)
    return at


KBPS = {
    ("1", 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    ("1", 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    ("1", 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    ("2", 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    ("2", 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    ("2", 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
}
"""MPEG version and layer -> bit rates in kbit/s, from the frame header's index 1 (ISO 11172-3 and 13818-3)."""

RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""Version bits -> sampling rates in Hz."""

ROOMY = 9
"""Index of a bit rate whose frame has room for the fields of an info header at every sampling rate."""


class Header(NamedTuple):
    """One frame's header: length in bytes, samples a channel, rate in Hz, what may not change in a file, where a tag begins."""

    length: int
    samples: int
    rate: int
    kind: int
    tag_at: int
    layer: int


@dataclass(frozen=True)
class Frames:
    """The whole frames of an MP3 that hold sound, from offset ``start`` to ``end``.

    Attributes:
        info: the frame before them that only tells about the file (Xing, Info or VBRI); empty where there is none.
        stated: how many frames that one promises, at ``count_at``; ``None`` where it does not say.
        further_s: seconds of frames of another kind (rate, layer or number of channels) between these or behind them.
    """

    start: int
    end: int
    count: int
    first: Header
    info: bytes = b""
    stated: int | None = None
    count_at: int = 0
    further_s: float = 0.0

    @property
    def duration_s(self) -> float:
        """Seconds that the frames last."""
        return self.count * self.first.samples / self.first.rate

    def true_info(self) -> bytes:
        """An info frame with the right number of frames: the file's own, or a plain one where it has none."""
        if self.info and self.count_at:
            return self.info[: self.count_at] + self.count.to_bytes(4, "big") + self.info[self.count_at + 4 :]
        version, pad_rate, mode = self.first.kind >> 16 & 3, self.first.kind >> 8 & 0x0C, self.first.kind & 0xC0
        # layer III without a checksum, at a bit rate with room
        head = bytes([0xFF, 0xE3 | version << 3, ROOMY << 4 | pad_rate, mode])
        header = header_of(head)
        assert header is not None
        fields = b"Xing" + (1).to_bytes(4, "big") + self.count.to_bytes(4, "big")
        return (head.ljust(header.tag_at, b"\0") + fields).ljust(header.length, b"\0")


@lru_cache(maxsize=4096)
def header_of(four: bytes) -> Header | None:
    """The header of an MPEG audio frame that its first bytes are, or ``None`` (also for one of free bit rate).

    Example:
        >>> header_of(bytes([0xFF, 0xFB, 0x90, 0x00])).length
        417
    """
    if len(four) < 4 or four[0] != 0xFF or four[1] < 0xE0:
        return None
    version, layer = four[1] >> 3 & 3, 4 - (four[1] >> 1 & 3)
    bits, place = four[2] >> 4, four[2] >> 2 & 3
    if version == 1 or layer == 4 or bits in (0, 15) or place == 3:
        return None
    rate = RATES[version][place]
    per_second = KBPS["1" if version == 3 else "2", layer][bits - 1] * 1000
    padding = four[2] >> 1 & 1
    mono, old = four[3] >> 6 == 3, version == 3
    samples = 384 if layer == 1 else 1152 if layer == 2 or old else 576
    # in layer I the length is counted in slots of four bytes
    length = (12 * per_second // rate + padding) * 4 if layer == 1 else samples // 8 * per_second // rate + padding
    # one and two channels may not alternate, the ways to code two may
    kind = layer << 20 | version << 16 | place << 10 | (0xC0 if mono else 0)
    return Header(length, samples, rate, kind, 4 + ((17 if mono else 32) if old else (9 if mono else 17)), layer)


def walk(raw: Bytes) -> Frames | None:
    """Count the frames of an MP3, past tags and bytes that are no frames; ``None`` where no two follow each other."""
    found = _next(raw, 0, None)
    if found is None:
        return None
    at, first = found
    info, stated, count_at = _info(raw[at : at + first.length], first)
    start = end = at = at + len(info)
    count, further = 0, 0.0
    while at < len(raw):
        header = header_of(raw[at : at + 4])
        if header is None or header.kind != first.kind:
            found = _next(raw, at, first.kind)
            rest = walk(raw[at : found[0] if found else None])
            further += rest.duration_s + rest.further_s if rest else 0.0
            if found is None:
                break
            at = found[0]
            continue
        if at + header.length > len(raw):
            break
        start = start if count else at
        count, end = count + 1, at + header.length
        at = end
    return Frames(start, end, count, first, info, stated, count_at, further)


def _info(frame: bytes, header: Header) -> tuple[bytes, int | None, int]:
    """The frame if it only tells about the file, the number of frames that it states, and where it does."""
    # behind a checksum of two bytes, where there is one
    for at in (header.tag_at, header.tag_at + 2):
        if frame[at : at + 4] in (b"Xing", b"Info"):
            says = len(frame) > at + 7 and frame[at + 7] & 1
            return (frame, int.from_bytes(frame[at + 8 : at + 12], "big"), at + 8) if says else (frame, None, 0)
    if frame[36:40] == b"VBRI":
        return frame, int.from_bytes(frame[50:54], "big"), 50
    return b"", None, 0


def _next(raw: Bytes, at: int, kind: int | None) -> tuple[int, Header] | None:
    """The next frame with its offset that another of its kind follows, or that ends the file."""
    while True:
        at = behind_tags(raw, at)
        header = header_of(raw[at : at + 4])
        if header is not None and kind in (None, header.kind):
            after = at + header.length
            following = header_of(raw[after : after + 4])
            if after == len(raw) or (following is not None and following.kind == header.kind):
                return at, header
        sync, tag = raw.find(b"\xff", at + 1), -1 if kind is not None else raw.find(b"ID3", at + 1, at + 4096)
        places = [place for place in (sync, tag) if place >= 0]
        if not places:
            return None
        at = min(places)


FLAC_INFO = (b"fLaC\0\0\0\x22", b"fLaC\x80\0\0\x22")
"""How a file begins: its mark, and the header of the block that describes the sound, which comes first, or alone."""

STATED_AT, HEAD = 21, 26
"""Where in a file the 36 bits begin that state how many samples there are, and where they end."""

SMALL_BLOCKS = {1: 192, 2: 576, 3: 1152, 4: 2304, 5: 4608}
"""Code of a frame's header -> its samples (RFC 9639, section 9.1.1); codes 8 to 15 are 256 times a power of two."""


def _checksum(polynomial: int, bits: int) -> Callable[[bytes], int]:
    """A cyclic redundancy check of 8 or 16 bits, which is 0 over a whole frame and the sum that ends it."""
    top, mask = 1 << bits - 1, (1 << bits) - 1
    table = []
    for byte in range(256):
        value = byte << bits - 8
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value & top else 0)) & mask
        table.append(value)

    def check(data: bytes) -> int:
        value = 0
        for byte in data:
            value = (value << 8 ^ table[value >> bits - 8 ^ byte]) & mask
        return value

    return check


_crc8, _crc16 = _checksum(0x07, 8), _checksum(0x8005, 16)


class Frame(NamedTuple):
    """A frame: its offset, its first sample, and how many there are."""

    at: int
    first: int
    samples: int


@dataclass(frozen=True)
class Stream:
    """What a FLAC file says of its length, and what its frames say; ``start`` is the offset of its mark.

    Attributes:
        stated: samples a channel that the header promises; 0 where it does not say.
        held: samples from the first frame to the end of the last one.
        cut: whether that frame ends too soon.
        more: whether another FLAC file follows.
    """

    start: int
    rate: int
    stated: int
    held: int
    cut: bool
    more: bool

    def true_head(self, raw: Bytes) -> bytes:
        """The file's bytes up to the number of its samples, with the number that its frames hold."""
        at = self.start + STATED_AT
        head = bytearray(raw[self.start : at + 5])
        head[STATED_AT:] = (int.from_bytes(head[STATED_AT:], "big") >> 36 << 36 | self.held).to_bytes(5, "big")
        return bytes(head)


def stream(raw: Bytes) -> Stream | None:
    """How long a FLAC file is by its header and by its last frame; ``None`` in any other file, or where it has none.

    Where both agree only headers of frames are read; else the last frame's checksum, or that of the one before it,
    must confirm it.

    Source: RFC 9639.

    Example:
        >>> import io, soundfile
        >>> file = io.BytesIO()
        >>> soundfile.write(file, [0.0, 0.5] * 4000, 16_000, format="FLAC")
        >>> whole = file.getvalue()
        >>> found = stream(whole[:21] + bytes([whole[21] & 240]) + bytes(4) + whole[26:])
        >>> found.stated, found.held, found.cut
        (0, 8000, False)
    """
    start = behind_tags(raw)
    head = raw[start : start + HEAD]
    if len(head) < HEAD or head[:8] not in FLAC_INFO:
        return None
    packed = int.from_bytes(head[18:HEAD], "big")
    rate, stated = packed >> 44, packed & (1 << 36) - 1
    at = _frames_begin(raw, start + 4)
    lead = _frame(raw[at : at + 16], at, 0, raw[at + 2 : at + 4]) if at is not None else None
    if at is None or lead is None or not rate:
        return None
    # numbered frames are as long as the first one, whatever the header says of them
    block = lead.samples
    # a part that was copied out of a file without decoding keeps the numbers that its frames had there
    lead = _frame(raw[at : at + 16], at, block, raw[at + 2 : at + 4]) or lead
    others = [place for mark in FLAC_INFO if (place := raw.find(mark, at)) >= 0]
    end = min(others, default=len(raw))
    for frame in _backwards(raw, at, end, block):
        held = frame.first + frame.samples - lead.first
        if frame.first // block + frame.samples == stated:
            # files of before 2007 number frames of several lengths by samples, without the flag that says so
            held = stated
        cut = held != stated and not _ends(raw, frame.at, end)
        # what looks like a header may be sound: where nothing else speaks for it, the frame before it must end there
        before = next(_backwards(raw, at, frame.at, block), None) if cut else None
        follows = before and before.first + before.samples == frame.first and not _crc16(raw[before.at : frame.at])
        if not cut or follows:
            return Stream(start, rate, stated, held, cut, bool(others))
    return None


def _frames_begin(raw: Bytes, at: int) -> int | None:
    """Offset behind the blocks that describe the file."""
    while len(head := raw[at : at + 4]) == 4:
        at += 4 + int.from_bytes(head[1:], "big")
        if head[0] & 128:
            return at
    return None


def _backwards(raw: Bytes, begin: int, end: int, block: int) -> Iterator[Frame]:
    """What looks like frames between two offsets, the last one first."""
    sync, like = raw[begin : begin + 2], raw[begin + 2 : begin + 4]
    at = end
    while len(like) == 2 and (at := raw.rfind(sync, begin, at)) >= 0:
        frame = _frame(raw[at : at + 16], at, block, like)
        if frame is not None:
            yield frame


def _frame(head: bytes, at: int, block: int, like: bytes) -> Frame | None:
    """The frame that begins with these bytes; its rate, channels and depth are those of the file's first."""
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xFE != 0xF8:
        return None
    # channels may be coded each for itself, or as one and a difference
    ways = head[3] >> 4, like[1] >> 4
    others = (ways[0] < 8) != (ways[1] < 8) and {*ways} & {0, 2, 3, 4, 5, 6, 7}
    if (head[2] ^ like[0]) & 0x0F or (head[3] ^ like[1]) & 0x0F or others:
        return None
    number, used = _number(head[4:])
    code, at_rate = head[2] >> 4, {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    extra = {6: 1, 7: 2}.get(code, 0)
    size = 4 + used + extra + at_rate
    if not used or not code or len(head) <= size or _crc8(head[: size + 1]):
        return None
    samples = int.from_bytes(head[4 + used : size - at_rate], "big") + 1 if extra else SMALL_BLOCKS.get(code, 1 << code)
    return Frame(at, number if head[1] & 1 else number * block, samples)


def _number(coded: bytes) -> tuple[int, int]:
    """A number as UTF-8 codes it (up to 36 bits), and how many bytes it takes; 0 bytes where it is none."""
    ones = 8 - (coded[0] ^ 255).bit_length()
    if not ones:
        return coded[0], 1
    rest = coded[1:ones]
    if ones in (1, 8) or len(rest) < ones - 1 or any(byte >> 6 != 2 for byte in rest):
        return 0, 0
    number = coded[0] & (0x7F >> ones)
    for byte in rest:
        number = number << 6 | byte & 63
    return number, ones


def _ends(raw: Bytes, at: int, end: int) -> bool:
    """Whether the frame at an offset ends where the file does, or before a tag or the end of a line; zeros may fill it up."""
    tags = [end - 128] if raw[end - 128 : end - 125] == b"TAG" else []
    tags += [end - count for count in (1, 2) if raw[end - count : end] in (b"\n", b"\r\n")]
    tags += [place for mark in (b"APETAGEX", b"ID3", b"3DI", b"LYRICSBEGIN") if (place := raw.find(mark, at, end)) >= 0]
    return any(not _crc16(raw[at:place]) for place in [end, *tags] if place > at)


PAGE_HEADER = 27
"""Bytes of an Ogg page's header before the lengths of its parts (RFC 3533, section 6)."""

UNTIMED = (1 << 64) - 1
"""Position of a page on which no packet ends."""


def pages(raw: Bytes) -> tuple[int, int] | None:
    r"""What the pages of an Ogg file say: bytes that the last one lacks, samples behind the first recording; else ``None``.

    Example:
        >>> page = b"OggS\0\2" + bytes(20) + b"\1\5hello"
        >>> pages(page), pages(page[:-2])
        ((0, 0), (2, 0))
    """
    if raw[:4] != b"OggS":
        return None
    at, begun, lengths = 0, False, [0]
    while raw[at : at + 4] == b"OggS":
        head = raw[at : at + PAGE_HEADER + 255]
        parts = head[PAGE_HEADER - 1] if len(head) >= PAGE_HEADER else 0
        end = at + PAGE_HEADER + parts + sum(head[PAGE_HEADER : PAGE_HEADER + parts])
        if len(head) < PAGE_HEADER + parts or end > len(raw):
            return max(1, end - len(raw)), sum(lengths[1:])
        begins = bool(head[5] & 2)
        if begins and begun:
            # streams that belong together begin together: this is another recording
            lengths.append(0)
        begun = not begins
        position = int.from_bytes(head[6:14], "little")
        if position != UNTIMED:
            lengths[-1] = max(lengths[-1], position)
        at = end
    return 0, sum(lengths[1:])
