"""Value objects of a corpus: a clip, what is known of a corpus, a clip that is not used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FIELDS = ("speaker", "session", "split")
"""Columns that stand in the clip itself, beside its labels."""

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
