"""What a corpus consists of: a clip, its labels and how they are read and chosen, a clip that is not used, what is known of all."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import msgspec

from emoscope.emotions import CORPORA, UnknownEmotion, canonical, folded, in_order

FIELDS = ("speaker", "session", "split")
"""Columns that stand in the clip itself, beside its labels."""

STATUSES = ("excluded", "quarantined")
"""Of clips that are not used: by a rule, or because their sound cannot be used."""

NOT_FOUND = "file not found"
"""Reason of a clip whose file is not there."""

ABOUT_LABELS = ("label", "no ", "code ")
"""Reasons that begin so are about a clip's label, whatever other labels it has."""

RANGE = re.compile(r"(-?\d+(?:\.\d+)?)\s*(?:-|–|—|\.\.|\bto\b)\s*(-?\d+(?:\.\d+)?)")
"""A range as people write it: 201-225, 201 – 225, 201..225, 2.5 to 4, -1 to 0."""

NUMBER = re.compile(r"-?\d+(?:\.\d+)?")

LISTED = "listed_s"
"""Label column: seconds that a clip lasts by its row."""

TIME = re.compile(r"(?:(?:(\d+) days?,? )?(?:(\d+):)?(\d+):)?(\d+(?:[.,]\d+)?)")
"""Days, hours, minutes and seconds."""


@dataclass(frozen=True)
class Clip:
    """One recording with its labels; ``None`` stands for what is not known.

    ``labels`` are column -> label: ``"emotion"`` (a canonical name) first, then others such as ``"word"``. ``split`` is
    the official part (train, test …). ``block`` is the smallest unit that is independent of others, such as a dialogue:
    only clips of one block and speaker may change places where labels are permuted.

    Example:
        >>> Clip("x1", Path("x1.wav"), {"emotion": "anger"}, speaker="x").labels["emotion"]
        'anger'
    """

    id: str
    path: Path
    labels: Mapping[str, str]
    speaker: str | None = None
    session: str | None = None
    split: str | None = None
    transcript: str | None = None
    block: str | None = None

    def value(self, column: str) -> str | None:
        """The clip's value in a column (a label, ``"speaker"``, ``"session"``, ``"split"`` or ``"clip"``)."""
        known: str | None = getattr(self, column) if column in FIELDS else self.labels.get(column)
        return self.id if column == "clip" else known


@dataclass(frozen=True)
class UsualTask:
    """The task that the literature usually sets on a corpus; ``merge`` is label -> the labels that it stands for."""

    about: str
    emotions: tuple[str, ...]
    merge: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folds: str = "speaker"
    clips: int | None = None


@dataclass(frozen=True)
class CorpusInfo:
    """What is known of a corpus before it is opened, as the head of ``data/corpora.toml`` explains it."""

    id: str
    title: str
    licence: str = "unknown"
    citation: str = ""
    language: str = "unknown"
    url: str = ""
    may_embed_audio: bool = False
    expected: Mapping[str, int] = field(default_factory=dict)
    folds: str = "speaker"
    usual: UsualTask | None = None

    @classmethod
    def of(cls, corpus: str) -> CorpusInfo:
        """What ``data/corpora.toml`` says of a corpus.

        Example:
            >>> info = CorpusInfo.of("iemocap")
            >>> info.expected["clips"], info.usual.emotions, info.usual.folds, info.usual.clips
            (10039, ('anger', 'happiness', 'neutral', 'sadness'), 'session', 5531)
        """
        return msgspec.convert({"id": corpus, **CORPORA[corpus]}, cls)


@dataclass(frozen=True)
class Lost:
    """A clip that is not used, with one of the :data:`STATUSES` and the reason; ``clip`` where its labels are known.

    Where it has no id, ``id`` is the file's name.
    """

    id: str
    path: Path
    status: str
    why: str
    clip: Clip | None = None

    @property
    def by_label(self) -> bool:
        """Whether the clip is excluded for its label: none is given, it is unknown, or it is not asked about.

        Example:
            >>> clip = Clip("x", Path("x.wav"), {"emotion": "calm"})
            >>> [Lost("x", clip.path, "excluded", why, clip).by_label for why in ("label calm is not asked", "second copy")]
            [True, False]
        """
        if self.status != "excluded" or self.clip is None:
            return False
        return "emotion" not in self.clip.labels or self.why.startswith(ABOUT_LABELS)


def accepted(column: str, wanted: object, values: Iterable[str]) -> dict[str, frozenset[str]]:
    """Each part of a filter (a value, or a list of them), as the user wrote it -> those of a column's values that it accepts.

    A number matches text that reads as that number (3 and ``"03"``); text such as ``"226-250"`` is an inclusive range over
    a value's number (the digits of ``"m08"``), and commas separate several: ``"201-225, 251-357"``. What the column holds
    exactly is that value alone. In ``"emotion"`` words such as ``"joy"`` are understood too.

    Example:
        >>> accepted("take", ["3", "7-9"], ["1", "03"]), accepted("valence", "-1 to 0", ["-2.5", "-0.5"])
        ({'3': frozenset({'03'}), '7-9': frozenset()}, {'-1 to 0': frozenset({'-0.5'})})
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
    number = float(value) if NUMBER.fullmatch(value) else None
    if isinstance(item, int | float) and not isinstance(item, bool):
        return number == item
    if text in pool or str(item) in pool:
        return False
    if between := RANGE.fullmatch(text):
        digits = "".join(re.findall(r"[0-9]", value))
        number = float(digits) if number is None and digits else number
        return number is not None and float(between[1]) <= number <= float(between[2])
    if NUMBER.fullmatch(text):
        return number == float(text)
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


def count_values(clips: Iterable[Clip], column: str) -> dict[str, int]:
    """Number of clips per value of a column, in the order of tables; clips without a value count as ``"unknown"``."""
    counted = Counter(clip.value(column) or "unknown" for clip in clips)
    order = in_order(counted) if column == "emotion" else sorted(counted, key=natural)
    return {value: counted[value] for value in order}


NOTHING = frozenset({"", "nan", "none", "null", "na", "n/a"})

Words = Mapping[str, str]
"""Words of a corpus -> the emotion that each means."""

Reading = Callable[[str | None], tuple[str | None, str | None]]
"""From a word to (emotion, None), or (None, the reason why its clips are excluded)."""


def vocabulary(labels: Words | None = None, corpus: str | None = None, given: Words | None = None) -> Reading:
    """How words are read: by the user's own (``labels``), those that the corpus explains, its codes, and emoscope's.

    An empty emotion leaves a word's clips out.

    Example:
        >>> read = vocabulary({"Ironic": "irony", "xxx": ""})
        >>> read("ironic"), read("Happy"), read("xxx")
        (('irony', None), ('happiness', None), (None, "label 'xxx' is left out by labels"))
        >>> print(read("angyr")[1])
        emotion 'angyr' is not known: did you mean 'angry'? In a study: labels = { angyr = "anger" }
    """
    both = [*(given or {}).items(), *(labels or {}).items()]
    own = {folded(str(word)): str(emotion).strip() for word, emotion in both}

    @cache
    def read(text: str | None) -> tuple[str | None, str | None]:
        word = (text or "").strip()
        if (emotion := own.get(folded(word))) is not None:
            return (as_label("emotion", emotion), None) if emotion else (None, f"label {word!r} is left out by labels")
        if word.lower() in NOTHING:
            return None, "no emotion is given"
        try:
            return canonical(word, corpus), None
        except UnknownEmotion as error:
            end = "" if str(error).endswith("?") else "."
            bare = re.fullmatch(r"[A-Za-z0-9_-]+", error.name)
            key = error.name if bare else json.dumps(error.name, ensure_ascii=False)
            line = f'labels = {{ {key} = "{canonical(error.nearest) if error.nearest else "neutral"}" }}'
            return None, f"{error}{end} In a study: {line}{'' if error.nearest else ', or whatever it means'}"

    return read


def seconds_of(text: str | None) -> float | None:
    """Seconds of a text such as "4.1", "0:04.1" or "00:00:04,100".

    Example:
        >>> seconds_of("4.1"), seconds_of("00:00:04,100"), seconds_of("0 days 00:01:00"), seconds_of("soon")
        (4.1, 4.1, 60.0, None)
    """
    match = TIME.fullmatch(text or "")
    if match is None:
        return None
    days, hours, minutes, seconds = (float((part or "0").replace(",", ".")) for part in match.groups())
    return 86_400 * days + 3600 * hours + 60 * minutes + seconds
