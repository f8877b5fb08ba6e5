"""Count what an MP3 holds by walking its frames: the length that its header or a library gives may be a guess."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from emoscope.corpora.splice import Bytes

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


@dataclass(frozen=True)
class Header:
    """One frame's header: length in bytes, samples a channel, rate in Hz, what may not change in a file, bytes before a tag."""

    length: int
    samples: int
    rate: int
    kind: int
    side: int
    layer: int


@dataclass(frozen=True)
class Frames:
    """What a walk over an MP3's frames found.

    Attributes:
        start: offset of the first frame that holds sound.
        end: offset behind the last whole frame.
        count: whole frames with sound.
        first: header of the first of them.
        info: the frame before them that only tells about the file (Xing, Info or VBRI); empty where there is none.
        stated: how many frames that one promises; ``None`` where it does not say.
        count_at: where in ``info`` it says so.
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

    @property
    def stated_s(self) -> float | None:
        """Seconds that the file's own header promises, if it says so."""
        return None if self.stated is None else self.stated * self.first.samples / self.first.rate

    def true_info(self) -> bytes:
        """An info frame with the right number of frames: the file's own, or a plain one where it has none."""
        if self.info and self.count_at:
            end = self.count_at + 4
            return self.info[: self.count_at] + self.count.to_bytes(4, "big") + self.info[end:]
        version, pad_rate, mode = self.first.kind >> 16 & 3, self.first.kind >> 8 & 0x0C, self.first.kind & 0xC0
        # layer III without a checksum, at a bit rate with room
        head = bytes([0xFF, 0xE3 | version << 3, ROOMY << 4 | pad_rate, mode])
        header = header_at(head, 0)
        assert header is not None
        fields = b"Xing" + (1).to_bytes(4, "big") + self.count.to_bytes(4, "big")
        return (head + bytes(header.side) + fields).ljust(header.length, b"\0")


def header_at(raw: Bytes, at: int) -> Header | None:
    """The header of an MPEG audio frame at an offset, or ``None`` where there is none (or one of free bit rate).

    Example:
        >>> header = header_at(bytes([0xFF, 0xFB, 0x90, 0x00]), 0)
        >>> header.length, header.samples, header.rate
        (417, 1152, 44100)
    """
    return _header(raw[at : at + 4])


@lru_cache(maxsize=4096)
def _header(four: bytes) -> Header | None:
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
    if layer == 1:
        length, samples = (12 * per_second // rate + padding) * 4, 384
    else:
        samples = 1152 if layer == 2 or old else 576
        length = samples // 8 * per_second // rate + padding
    # one and two channels may not alternate, the ways to code two may
    kind = version << 16 | place << 10 | (0xC0 if mono else 0)
    return Header(
        length, samples, rate, kind | layer << 20, (17 if mono else 32) if old else (9 if mono else 17), layer
    )


def walk(raw: Bytes) -> Frames | None:
    """Count the frames of an MP3, past tags and bytes that are no frames; ``None`` where no two follow each other."""
    size = len(raw)
    at = _next(raw, 0, None)
    if at is None:
        return None
    first = header_at(raw, at)
    assert first is not None
    info, stated, count_at = _info(raw[at : at + first.length], first)
    if info:
        at += len(info)
    start = end = at
    count, further = 0, 0.0
    while at < size:
        header = header_at(raw, at)
        if header is None or header.kind != first.kind:
            found = _next(raw, at, first.kind)
            rest = walk(raw[at:found])
            further += rest.duration_s + rest.further_s if rest else 0.0
            if found is None:
                break
            at = found
            continue
        if at + header.length > size:
            break
        if not count:
            start = at
        at += header.length
        count, end = count + 1, at
    return Frames(start, end, count, first, info, stated, count_at, further)


def _info(frame: bytes, header: Header) -> tuple[bytes, int | None, int]:
    """The frame if it only tells about the file, the number of frames that it states, and where it does."""
    for at in (4 + header.side, 6 + header.side):
        if frame[at : at + 4] in (b"Xing", b"Info"):
            if frame[at + 7 : at + 8] and frame[at + 7] & 1:
                return frame, int.from_bytes(frame[at + 8 : at + 12], "big"), at + 8
            return frame, None, 0
    if frame[36:40] == b"VBRI":
        return frame, int.from_bytes(frame[50:54], "big"), 50
    return b"", None, 0


def _next(raw: Bytes, at: int, kind: int | None) -> int | None:
    """The next offset at which two frames of one kind follow each other, or the last one ends the file."""
    while True:
        if raw[at : at + 3] == b"ID3":
            four = raw[at + 6 : at + 10]
            at += 10 + sum((byte & 127) << shift for byte, shift in zip(four, (21, 14, 7, 0), strict=False))
            continue
        header = header_at(raw, at)
        if header is not None and kind in (None, header.kind):
            after = at + header.length
            following = header_at(raw, after)
            if after == len(raw) or (following is not None and following.kind == header.kind):
                return at
        sync, tag = raw.find(b"\xff", at + 1), -1 if kind is not None else raw.find(b"ID3", at + 1, at + 4096)
        places = [place for place in (sync, tag) if place >= 0]
        if not places:
            return None
        at = min(places)
