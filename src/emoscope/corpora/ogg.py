"""Walk the pages of an Ogg file: whether it is whole, and whether another recording follows in it."""

from __future__ import annotations

from dataclasses import dataclass

from emoscope.corpora.splice import Bytes

HEADER = 27
"""Bytes of a page's header before the lengths of its parts (RFC 3533, section 6)."""

BEGINS = 2
"""Flag of a page that begins a stream."""

UNTIMED = (1 << 64) - 1
"""Position of a page on which no packet ends."""


@dataclass(frozen=True)
class Pages:
    """What the pages of an Ogg file say.

    Attributes:
        missing: bytes that the last page lacks.
        further: samples of what follows behind the first recording.
    """

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
        head = raw[at : at + HEADER + 255]
        parts = head[HEADER - 1] if len(head) >= HEADER else 0
        end = at + HEADER + parts + sum(head[HEADER : HEADER + parts])
        if len(head) < HEADER + parts or end > len(raw):
            return Pages(max(1, end - len(raw)), sum(lengths[1:]))
        begins = bool(head[5] & BEGINS)
        if begins and begun:
            # streams that belong together begin together: this is another recording
            lengths.append(0)
        begun = not begins
        position = int.from_bytes(head[6:14], "little")
        if position != UNTIMED:
            lengths[-1] = max(lengths[-1], position)
        at = end
    return Pages(0, sum(lengths[1:]))
