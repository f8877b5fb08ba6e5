"""Damage bytes at random: the same seed damages them in the same way."""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

NUMBERS = (0, 1, 2, 3, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFE, 0xFFFF_FFFF,
           0x7FFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF)  # fmt: skip
"""What a field for a length, a count or a rate is set to."""

WORDS = (b"0", b"-1", b"1", b"2147483648", b"1000000000000", b"1e400", b"NaN", b"Infinity", b"true", b"null", b"[]", b"{}",
         b'""', b'"x"', b"[" * 200_000, b'{"a":' * 50_000, b"0.5", b"-0", b"../outside", b"/etc/passwd")  # fmt: skip
"""What a number of a text is replaced by."""

MARKS = (b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"'", b"\r", b"\n", b"\t", b",", b";", b"|", b"[", b"]", b"{", b"}", b"#", b"=",
         b":", b"\\", b"\xe9", b"\xed\xa0\x80", b"\x1a", b"../", b"%s", b"{{", b"$(", b" ")  # fmt: skip
"""What has a meaning in one of the formats."""


def damage(data: bytes, other: bytes, tokens: Sequence[bytes], random: Random) -> bytes:
    """Edit bytes one to three times.

    Args:
        data: what is damaged.
        other: another input of its kind, of which pieces are spliced in.
        tokens: words of the format, put in at random places.
        random: decides everything.

    Example:
        >>> damage(b"RIFF", b"fLaC", [b"data"], Random(1)) == damage(b"RIFF", b"fLaC", [b"data"], Random(1))
        True
    """
    for _ in range(random.choice((1, 1, 2, 3))):
        data = random.choice(EDITS)(data, other, tokens, random)
    return data


def _place(data: bytes, random: Random) -> int:
    # headers stand first: half of the edits fall into the first 256 bytes
    return random.randrange(min(len(data), 256 if random.random() < 0.5 else len(data)) or 1)


def _flip(data: bytes, other: bytes, tokens: Sequence[bytes], random: Random) -> bytes:
    changed = bytearray(data or b"\0")
    for _ in range(random.choice((1, 1, 4, 64))):
        changed[_place(data, random)] ^= 1 << random.randrange(8)
    return bytes(changed)


def _cut(data: bytes, other: bytes, tokens: Sequence[bytes], random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _drop(data: bytes, other: bytes, tokens: Sequence[bytes], random: Random) -> bytes:
    start = _place(data, random)
    return data[:start] + data[start + random.choice((1, 2, 4, 8, 100, 5_000)) :]


def _repeat(data: bytes, other: bytes, tokens: Sequence[bytes], random: Random) -> bytes:
    start = _place(data, random)
    end = start + random.choice((1, 4, 16, 500))
    return data[:end] + data[start:end] * random.choice((1, 2, 100)) + data[end:]


def _insert(data: bytes, other: bytes, tokens: Sequence[bytes], random: Random) -> bytes:
    start = _place(data, random)
    return data[:start] + random.choice((random.randbytes(4), random.choice(MARKS), *tokens)) + data[start:]


def _overwrite(data: bytes, other: bytes, tokens: Sequence[bytes], random: Random) -> bytes:
    start = _place(data, random)
    more = random.choice((random.randbytes(4), random.choice(MARKS), bytes(64), *tokens))
    return data[:start] + more + data[start + len(more) :]


def _field(data: bytes, other: bytes, tokens: Sequence[bytes], random: Random) -> bytes:
    start, size = _place(data, random), random.choice((1, 2, 4, 8))
    value = random.choice((*NUMBERS, len(data), len(data) + 1)) & (1 << 8 * size) - 1
    return data[:start] + value.to_bytes(size, random.choice(("little", "big"))) + data[start + size :]


def _number(data: bytes, other: bytes, tokens: Sequence[bytes], random: Random) -> bytes:
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data[:100_000]))
    if not found:
        return _field(data, other, tokens, random)
    one = random.choice(found)
    return data[: one.start()] + random.choice(WORDS) + data[one.end() :]


def _splice(data: bytes, other: bytes, tokens: Sequence[bytes], random: Random) -> bytes:
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]


def _lines(data: bytes, other: bytes, tokens: Sequence[bytes], random: Random) -> bytes:
    lines = data.split(b"\n")
    one = random.randrange(len(lines))
    return b"\n".join(
        random.choice(
            (lines[:one] + lines[one + 1 :], lines[:one] + lines[one : one + 1] * 2 + lines[one + 1 :], lines[::-1])
        )
    )


EDITS = (_flip, _cut, _drop, _repeat, _insert, _overwrite, _field, _field, _number, _splice, _lines)
