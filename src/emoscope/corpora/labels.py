"""Read labels: which emotion a corpus's word means, and which of a column's values a filter accepts."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from emoscope.corpora.clip import FIELDS, Clip
from emoscope.emotions import UnknownEmotion, canonical, folded, in_order

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


def columns_of(clips: Sequence[Clip]) -> tuple[str, ...]:
    """The columns that clips can be filtered by: labels first, then those of speaker, session, split that are known."""
    labels = dict.fromkeys(column for clip in clips for column in clip.labels)
    return (*labels, *(name for name in FIELDS if any(clip.value(name) is not None for clip in clips)))


def count_values(clips: Iterable[Clip], column: str) -> dict[str, int]:
    """Number of clips per value of a column, in the order of tables; clips without a value count as ``"unknown"``."""
    counted = Counter(clip.value(column) or "unknown" for clip in clips)
    order = in_order(counted) if column == "emotion" else sorted(counted, key=natural)
    return {value: counted[value] for value in order}


MISSING = frozenset({"", "nan", "none", "null", "na", "n/a"})


class Vocabulary:
    """The emoscope words, and before them the words that the user defines.

    Args:
        labels: the user's words -> emotion; an empty emotion leaves the word's clips out.
        corpus: id of a corpus whose codes are known, see :data:`emoscope.emotions.CODES`.
        given: words that the corpus itself explains -> emotion, tried after the user's.

    Example:
        >>> words = Vocabulary({"Ironic": "irony", "xxx": ""})
        >>> words.read("ironic"), words.read("Happy"), words.read("xxx")
        (('irony', None), ('happiness', None), (None, "label 'xxx' is left out by labels"))
        >>> print(words.read("angyr")[1])
        emotion 'angyr' is not known: did you mean 'angry'? In a study: labels = { angyr = "anger" }
        >>> print(words.read("0")[1])
        emotion '0' is a code that differs between corpora: write the word, such as 'anger'. In a study: labels = { 0 = "neutral" }, or whatever it means
    """

    def __init__(
        self,
        labels: Mapping[str, str] | None = None,
        corpus: str | None = None,
        given: Mapping[str, str] | None = None,
    ) -> None:
        both = [*(given or {}).items(), *(labels or {}).items()]
        self._own = {folded(str(word)): str(emotion).strip() for word, emotion in both}
        self._corpus = corpus
        self._seen: dict[str, tuple[str | None, str | None]] = {}

    def read(self, word: str | None) -> tuple[str | None, str | None]:
        """Give (emotion, None), or (None, the reason why the clip is excluded)."""
        word = (word or "").strip()
        if word not in self._seen:
            self._seen[word] = self._read(word)
        return self._seen[word]

    def _read(self, word: str) -> tuple[str | None, str | None]:
        own = self._own.get(folded(word))
        if own is not None:
            try:
                return (canonical(own), None) if own else (None, f"label {word!r} is left out by labels")
            except UnknownEmotion:
                return own, None
        if word.lower() in MISSING:
            return None, "no emotion is given"
        try:
            return canonical(word, self._corpus), None
        except UnknownEmotion as error:
            end = "" if str(error).endswith("?") else "."
            return None, f"{error}{end} In a study: {toml_line(error)}"


def toml_line(error: UnknownEmotion) -> str:
    """The line under [[corpora]] in a study file that maps an unknown word to an emotion.

    Example:
        >>> toml_line(UnknownEmotion("so so", "", None))
        'labels = { "so so" = "neutral" }, or whatever it means'
    """
    key = error.name if re.fullmatch(r"[A-Za-z0-9_-]+", error.name) else json.dumps(error.name, ensure_ascii=False)
    if error.nearest:
        return f'labels = {{ {key} = "{canonical(error.nearest)}" }}'
    return f'labels = {{ {key} = "neutral" }}, or whatever it means'
