"""Filters on a column's values: single values, lists of values, and ranges of numbers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from emoscope.emotions import UnknownEmotion, canonical

RANGE = re.compile(r"\s*(\d+)\s*-\s*(\d+)\s*")


def accepted(column: str, wanted: object, values: Iterable[str]) -> frozenset[str]:
    """Choose those of a column's values that a filter accepts.

    Args:
        column: the column's name; in ``"emotion"`` words such as ``"joy"`` are understood too.
        wanted: one value or a list of them. A number matches text that reads as that number (3 and
            ``"03"``); text such as ``"226-250"`` is an inclusive range over the digits of a value,
            unless the column holds exactly that text.
        values: the values to choose from.

    Example:
        >>> sorted(accepted("speaker", "9-10", ["m08", "m09", "m10", "m11"]))
        ['m09', 'm10']
        >>> sorted(accepted("take", [3, "4"], ["1", "03", "4"]))
        ['03', '4']
    """
    pool = frozenset(values)
    chosen: set[str] = set()
    for item in wanted if isinstance(wanted, list | tuple | set | frozenset) else (wanted,):
        chosen |= {value for value in pool if _matches(column, item, value, pool)}
    return frozenset(chosen)


def _matches(column: str, item: object, value: str, pool: frozenset[str]) -> bool:
    text = str(item)
    if value == text:
        return True
    if isinstance(item, int) and not isinstance(item, bool):
        return value.isdecimal() and int(value) == item
    between = RANGE.fullmatch(text)
    if between and text not in pool:
        digits = "".join(re.findall(r"\d", value))
        return bool(digits) and int(between[1]) <= int(digits) <= int(between[2])
    return column == "emotion" and value == as_label(column, text)


def as_label(column: str, label: str) -> str:
    """Give a label as the corpora spell it: the canonical name of a known emotion, anything else unchanged.

    Example:
        >>> as_label("emotion", "Angry"), as_label("word", "mad")
        ('anger', 'mad')
    """
    if column != "emotion":
        return label
    try:
        return canonical(label)
    except UnknownEmotion:
        return label


def nearest_label(column: str, label: str, there: Iterable[str]) -> str | None:
    """The label of a column that a misspelt one may mean, by way of the emotions' other words too.

    Example:
        >>> nearest_label("emotion", "joyfull", ["anger", "happiness"]), nearest_label("word", "stopp", ["stop"])
        ('happiness', 'stop')
    """
    there = list(there)
    if column == "emotion":
        try:
            canonical(label)
        except UnknownEmotion as error:
            if error.nearest and canonical(error.nearest) in there:
                return canonical(error.nearest)
    near = difflib.get_close_matches(label, there, n=1, cutoff=0.6)
    return near[0] if near else None


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key that puts ``"m2"`` before ``"m10"``.

    Example:
        >>> sorted(["m10", "m2"], key=natural)
        ['m2', 'm10']
    """
    parts = re.findall(r"[0-9]+|[^0-9]+", text)
    return tuple((0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts)


def listed(values: Iterable[str], most: int = 12) -> str:
    """Values in natural order, for a message.

    Example:
        >>> listed(["m10", "m2", "m1"], most=2)
        'm1, m2 and 1 more'
    """
    ordered = sorted(values, key=natural)
    return ", ".join(ordered[:most]) + (f" and {len(ordered) - most} more" if len(ordered) > most else "")
