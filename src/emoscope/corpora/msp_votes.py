"""The single raters of MSP-Podcast: which share of them chose which class."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path

from emoscope.corpora.text_tables import Row, TextTable
from emoscope.emotions import CODES, UnknownEmotion, canonical

CLASSES = ("anger", "sadness", "happiness", "surprise", "fear", "disgust", "contempt", "neutral", "other")
NAMED = ("EmoClass_Major", "EmoClass_Primary", "EmoClass")
"""Columns that hold a rater's class where each row is one rater (releases 1.6 and 2.0)."""


def shares(file: Path) -> dict[str, dict[str, str]]:
    """Read ``labels_detailed.csv``: clip id -> columns raters, share_anger, share_sadness and so on.

    Each row is one rater's answer. Releases 1.7 to 1.12 put it into one text, ``EmoDetail``
    (``WORKER00000001; Happy; Happy,Amused; A:5; V:6; D:4;``), others into columns. A rater's own word ("Other-…")
    counts as other; rows without a class are no votes.

    Raises:
        ValueError: the file has neither of these columns.
    """
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    known: dict[str, str | None] = {}
    needed = ("FileName", "EmoDetail")
    for row in TextTable(file, needed).rows(needed, {"EmoDetail": NAMED}):
        if isinstance(row, Row):
            continue
        word = _word(row["emodetail"])
        if word not in known:
            known[word] = _emotion(word)
        emotion = known[word]
        if emotion is not None:
            votes[row["filename"]][emotion] += 1
    # one text object for each number: there are as many as 200,000 clips
    texts = {0.0: "0.000"}
    columns = [(f"share_{label}", label) for label in CLASSES]
    found = {}
    for name, counted in votes.items():
        total = counted.total()
        found[os.path.splitext(name)[0]] = {"raters": str(total)} | {
            column: texts.setdefault(counted[label] / total, f"{counted[label] / total:.3f}")
            for column, label in columns
        }
    return found


def _word(text: str) -> str:
    """A rater's class, in its own column or as the second part of the text."""
    first, *rest = text.split(";", 2)
    return (rest[0] if rest and first.lstrip().upper().startswith("WORKER") else first).strip()


def _emotion(word: str) -> str | None:
    if not word:
        return None
    if word in CODES["msp-podcast"]:
        return CODES["msp-podcast"][word]
    try:
        emotion = canonical(word)
    except UnknownEmotion:
        return "other"
    return emotion if emotion in CLASSES else "other"
