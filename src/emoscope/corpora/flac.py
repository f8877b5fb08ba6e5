"""Find the last frame of a FLAC file, which tells how long its sound is: the header may say nothing, or less."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from emoscope.corpora.splice import Bytes

INFO = b"fLaC\0\0\0\x22"
"""How a file begins: its mark, and the header of the block that describes the sound, which must come first."""

STATED_AT, HEAD = 21, 26
"""Where in a file the 36 bits begin that state how many samples there are, and where they end."""

SMALL_BLOCKS = {1: 192, 2: 576, 3: 1152, 4: 2304, 5: 4608}
"""Code of a frame's header -> its samples (RFC 9639, section 9.1.1); codes 8 to 15 are 256 times a power of two."""


def _table(polynomial: int, bits: int) -> tuple[int, ...]:
    top, mask = 1 << bits - 1, (1 << bits) - 1
    table = []
    for byte in range(256):
        value = byte << bits - 8
        for _ in range(8):
            value = (value << 1 ^ (polynomial if value & top else 0)) & mask
        table.append(value)
    return tuple(table)


CRC8, CRC16 = _table(0x07, 8), _table(0x8005, 16)


@dataclass(frozen=True)
class Frame:
    """A frame: its offset, its first sample, and how many there are."""

    at: int
    first: int
    samples: int


@dataclass(frozen=True)
class Stream:
    """What a FLAC file says of its length, and what its frames say.

    Attributes:
        start: offset of its mark.
        rate: in Hz.
        stated: samples a channel that the header promises; 0 where it does not say.
        held: samples up to the end of the last frame.
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
    start = _behind_tag(raw)
    head = raw[start : start + HEAD]
    if len(head) < HEAD or head[:8] != INFO:
        return None
    packed = int.from_bytes(head[18:HEAD], "big")
    rate, stated, block = packed >> 44, packed & (1 << 36) - 1, int.from_bytes(head[10:12], "big")
    at = _frames_begin(raw, start + 4)
    if at is None or not rate:
        return None
    another = raw.find(INFO, at)
    end = another if another >= 0 else len(raw)
    for frame in _backwards(raw, at, end, block):
        held = frame.first + frame.samples
        cut = held != stated and not _ends(raw, frame.at, end)
        # what looks like a header may be sound: where nothing else speaks for it, the frame before it must end there
        if not cut or _follows(frame, next(_backwards(raw, at, frame.at, block), None), raw):
            return Stream(start, rate, stated, held, cut, another >= 0)
    return None


def _behind_tag(raw: Bytes) -> int:
    if raw[:3] != b"ID3":
        return 0
    return 10 + sum((byte & 127) << shift for byte, shift in zip(raw[6:10], (21, 14, 7, 0), strict=False))


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
    if len(head) < 6 or (head[2] ^ like[0]) & 0x0F or (head[3] ^ like[1]) & 0x0F:
        return None
    # channels may be coded each for itself, or as one and a difference
    if (head[3] >> 4 < 8) != (like[1] >> 4 < 8) and {head[3] >> 4, like[1] >> 4} & {0, 2, 3, 4, 5, 6, 7}:
        return None
    number, used = _number(head[4:])
    code, at_rate = head[2] >> 4, {12: 1, 13: 2, 14: 2}.get(head[2] & 15, 0)
    extra = {6: 1, 7: 2}.get(code, 0)
    size = 4 + used + extra + at_rate
    if not used or not code or len(head) <= size or _crc8(head[: size + 1]):
        return None
    if extra:
        samples = int.from_bytes(head[4 + used : 4 + used + extra], "big") + 1
    else:
        samples = SMALL_BLOCKS.get(code) or 1 << code
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
    """Whether the frame at an offset ends where the file does, or before a tag; zeros may fill the file up."""
    tags = [end - 128] if raw[end - 128 : end - 125] == b"TAG" else []
    tags += [place for mark in (b"APETAGEX", b"ID3", b"3DI") if (place := raw.find(mark, at, end)) >= 0]
    return any(not _crc16(raw[at:place]) for place in [end, *tags] if place > at)


def _follows(frame: Frame, before: Frame | None, raw: Bytes) -> bool:
    if before is None or before.first + before.samples != frame.first:
        return False
    return not _crc16(raw[before.at : frame.at])


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value = CRC8[value ^ byte]
    return value


def _crc16(data: bytes) -> int:
    value = 0
    for byte in data:
        value = (value << 8 ^ CRC16[value >> 8 ^ byte]) & 0xFFFF
    return value
