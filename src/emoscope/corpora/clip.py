"""Value objects of a corpus: a clip, what is known of a corpus, a clip that is not used, the fates of many clips."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emoscope.emotions import CORPORA

FIELDS = ("speaker", "session", "split")
"""Columns that stand in the clip itself, beside its labels."""

NOT_FOUND = "file not found"
"""Reason of a clip whose file is not there."""

ABOUT_LABELS = ("label", "no ", "code ")
"""Reasons that begin so are about a clip's label, whatever other labels it has."""


@dataclass(frozen=True)
class Clip:
    """One recording with its labels.

    Attributes:
        id: unique within the corpus.
        path: the sound file.
        labels: column -> label; ``"emotion"`` (a canonical name) first, then others such as ``"word"``.
        speaker: who speaks, ``None`` where unknown.
        session: the recording session, if the corpus has any.
        split: the official part (train, test …), if the corpus has any.
        transcript: what is said, if known.

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

    def value(self, column: str) -> str | None:
        """The clip's value in a column (a label, ``"speaker"``, ``"session"``, ``"split"`` or ``"clip"``)."""
        if column in FIELDS:
            known: str | None = getattr(self, column)
            return known
        return self.id if column == "clip" else self.labels.get(column)


@dataclass(frozen=True)
class UsualTask:
    """The task that the literature usually sets on a corpus.

    Attributes:
        about: the task in a few words.
        emotions: the labels offered, by their canonical names.
        merge: label -> the labels that it takes together.
        folds: the column over which it is cross-fitted, as ``identify.folds`` of a study.
        clips: how many clips a complete copy gives, where that is known.
    """

    about: str
    emotions: tuple[str, ...]
    merge: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folds: str = "speaker"
    clips: int | None = None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> UsualTask:
        """The task as an entry of ``data/corpora.toml`` writes it."""
        merge = {label: tuple(olds) for label, olds in entry.get("merge", {}).items()}
        return cls(**{**entry, "emotions": tuple(entry["emotions"]), "merge": merge})


@dataclass(frozen=True)
class CorpusInfo:
    """What is known of a corpus before it is opened.

    Attributes:
        id: the name under which it is opened.
        title: its full name.
        licence: short name of the licence.
        citation: authors, year, and where to find it.
        language: language of the speech, or ``"none"``.
        url: home page.
        may_embed_audio: whether a report may hold its sound.
        expected: what a complete copy holds, such as ``{"clips": 450, "speakers": 5, "anger": 150, "split=test": 90}``.
        folds: the column over which the corpus is cross-fitted by default; its values keep speakers apart.
        usual: its usual task; of other corpora all emotions are asked.
    """

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
        entry = CORPORA[corpus]
        known = {name: entry[name] for name in cls.__dataclass_fields__ if name in entry}
        if "usual" in known:
            known["usual"] = UsualTask.of(known["usual"])
        return cls(corpus, **known)


@dataclass(frozen=True)
class Lost:
    """A clip that is not used.

    Attributes:
        id: the clip's id (or the file's name where it has none).
        path: the sound file.
        fate: ``"excluded"`` (by a rule) or ``"quarantined"`` (its sound cannot be used).
        why: the reason, in a few words.
        clip: the clip with its labels, where they are known.
    """

    id: str
    path: Path
    fate: str
    why: str
    clip: Clip | None = None

    @property
    def by_label(self) -> bool:
        """Whether the clip is excluded for its label: none is given, it is unknown, or it is not asked about.

        Example:
            >>> clip = Clip("x", Path("x.wav"), {"emotion": "calm"})
            >>> Lost("x", clip.path, "excluded", "label calm is not asked", clip).by_label
            True
            >>> Lost("x", clip.path, "excluded", "second copy (of y.wav)", clip).by_label
            False
        """
        if self.fate != "excluded" or self.clip is None:
            return False
        return "emotion" not in self.clip.labels or self.why.startswith(ABOUT_LABELS)


@dataclass
class Fates:
    """What becomes of the clips that a label file names.

    Attributes:
        clips: id -> clip, of those that can be used.
        lost: those that cannot, with their reasons; readers add files and lines that make no sense.
        named: ids of all clips that were added.

    Example:
        >>> from pathlib import Path
        >>> fates = Fates()
        >>> for name, why, missing in (("a", None, ""), ("a", None, ""), ("b", "no majority", ""), ("c", None, "file not found")):
        ...     fates.add(Clip(name, Path("x.wav"), {}), why, missing)
        >>> list(fates.clips), [(one.id, one.fate, one.why) for one in fates.lost]
        (['a'], [('a', 'excluded', 'second label of this clip'), ('b', 'excluded', 'no majority'), ('c', 'quarantined', 'file not found')])
    """

    clips: dict[str, Clip] = field(default_factory=dict)
    lost: list[Lost] = field(default_factory=list)
    named: set[str] = field(default_factory=set)

    def add(self, clip: Clip, why: str | None, missing: str | None, again: str = "second label of this clip") -> None:
        """Add a clip.

        Args:
            clip: as its label file describes it.
            why: why it is excluded, if it is.
            missing: why there is no sound to be heard, if there is none; then it is quarantined.
            again: why it is excluded where a clip of its id was added already.
        """
        why = again if clip.id in self.named else why
        self.named.add(clip.id)
        if why or missing:
            self.lost.append(Lost(clip.id, clip.path, "excluded" if why else "quarantined", why or missing or "", clip))
        else:
            self.clips[clip.id] = clip

    def add_thirds(self, columns: Iterable[str]) -> None:
        """Add to every rated clip a column such as ``activation_third``: low, mid or high.

        So a study can ask about ratings as it asks about emotions. The bounds are ratings that part all rated clips,
        also those that are not in use, as evenly as their ties permit; clips of one rating are in one third. A column
        with fewer than three different ratings gets no thirds.

        Args:
            columns: label columns that hold numbers; a clip whose text is no number gets no third.

        Example:
            >>> fates = Fates({str(n): Clip(str(n), Path("x"), {"activation": f"{n / 2}"}) for n in range(6)})
            >>> fates.add_thirds(["activation"])
            >>> [clip.labels["activation_third"] for clip in fates.clips.values()]
            ['low', 'low', 'mid', 'mid', 'high', 'high']
        """
        rated = {lost.clip.id: lost.clip for lost in self.lost if lost.clip} | self.clips
        bounds = {}
        for column in columns:
            numbers = [number for clip in rated.values() if (number := _number(clip, column)) is not None]
            if len(set(numbers)) >= 3:
                bounds[column] = _bounds(sorted(numbers))

        def placed(clip: Clip) -> Clip:
            labels = dict(clip.labels)
            for column, (low, high) in bounds.items():
                number = _number(clip, column)
                if number is not None:
                    labels[f"{column}_third"] = "low" if number <= low else "mid" if number <= high else "high"
            return replace(clip, labels=labels)

        self.clips = {clip.id: placed(clip) for clip in self.clips.values()}
        self.lost = [replace(one, clip=placed(one.clip)) if one.clip else one for one in self.lost]


RATINGS = ("valence", "activation", "dominance")
"""Columns of ratings, in the order in which IEMOCAP lists them."""


def _bounds(ordered: Sequence[float]) -> tuple[float, float]:
    """The largest rating of the lower third, and of the middle one."""
    different = sorted(set(ordered))

    def off(bound: float, share: float) -> float:
        return abs(bisect_right(ordered, bound) / len(ordered) - share)

    low = min(different[:-2], key=lambda bound: off(bound, 1 / 3))
    return low, min((bound for bound in different[:-1] if bound > low), key=lambda bound: off(bound, 2 / 3))


def _number(clip: Clip, column: str) -> float | None:
    try:
        number = float(clip.labels.get(column, ""))
    except ValueError:
        return None
    # a text "nan" reads as a number that equals nothing
    return number if number == number else None
