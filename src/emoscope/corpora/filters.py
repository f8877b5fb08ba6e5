"""Filters on a column's values: single values, lists of values, and ranges of numbers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from emoscope.emotions import UnknownEmotion, canonical

RANGE = re.compile(r"(-?\d+(?:\.\d+)?)\s*(?:-|–|—|\.\.|\bto\b)\s*(-?\d+(?:\.\d+)?)")
"""A range as people write it: 201-225, 201 – 225, 201..225, 2.5 to 4, -1 to 0."""

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def accepted(column: str, wanted: object, values: Iterable[str]) -> frozenset[str]:
    """Choose those of a column's values that a filter accepts.

    Args:
        column: the column's name; in ``"emotion"`` words such as ``"joy"`` are understood too.
        wanted: one value or a list of them. A number matches text that reads as that number (3 and
            ``"03"``); text such as ``"226-250"`` is an inclusive range over a value's number (the digits of ``"m08"``),
            and commas separate several: ``"201-225, 251-357"``. What the column holds exactly is that value alone.
        values: the values to choose from.

    Example:
        >>> sorted(accepted("speaker", "9-10", ["m08", "m09", "m10", "m11"]))
        ['m09', 'm10']
        >>> sorted(accepted("take", [3, "4"], ["1", "03", "4"]))
        ['03', '4']
        >>> sorted(accepted("valence", "-1 to 1", ["-2.5", "-0.5", "0", "1.5"]))
        ['-0.5', '0']
        >>> sorted(accepted("speaker", "1-2, 9", ["m1", "m2", "m3", "m9", "9"]))
        ['9', 'm1', 'm2']
    """
    return frozenset().union(*accepted_each(column, wanted, values).values())


def accepted_each(column: str, wanted: object, values: Iterable[str]) -> dict[str, frozenset[str]]:
    """The same for each part of a filter: what the user wrote -> the values that it accepts.

    Example:
        >>> accepted_each("take", ["3", "7-9"], ["1", "3"])
        {'3': frozenset({'3'}), '7-9': frozenset()}
    """
    pool = frozenset(values)
    items: list[object] = []
    for item in wanted if isinstance(wanted, list | tuple | set | frozenset) else (wanted,):
        commas = isinstance(item, str) and "," in item and item not in pool
        items += [part.strip() for part in str(item).split(",") if part.strip()] if commas else [item]
    return {str(item): frozenset(value for value in pool if _matches(column, item, value, pool)) for item in items}


def _matches(column: str, item: object, value: str, pool: frozenset[str]) -> bool:
    text = str(item).strip()
    if value in (text, str(item)):
        return True
    if isinstance(item, int | float) and not isinstance(item, bool):
        return bool(NUMBER.fullmatch(value)) and float(value) == item
    if text in pool or str(item) in pool:
        return False
    if between := RANGE.fullmatch(text):
        number = _number(value)
        return number is not None and float(between[1]) <= number <= float(between[2])
    if NUMBER.fullmatch(text):
        return bool(NUMBER.fullmatch(value)) and float(value) == float(text)
    return column == "emotion" and value == as_label(column, text)


def _number(value: str) -> float | None:
    """The number that a value is, or that its digits make."""
    if NUMBER.fullmatch(value):
        return float(value)
    digits = "".join(re.findall(r"[0-9]", value))
    return float(digits) if digits else None


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
    near = difflib.get_close_matches(label, there, n=1, cutoff=0.75)
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
