"""The task that the literature usually sets on a corpus: which emotions, which merged, over what it is cross-fitted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from emoscope.emotions import in_order

if TYPE_CHECKING:
    from emoscope.corpora.corpus import Corpus


@dataclass(frozen=True)
class UsualTask:
    """What is usually asked about a corpus.

    Attributes:
        emotions: the labels offered, by their canonical names.
        merge: label -> the labels that it takes together.
        folds: the column over which it is cross-fitted, as ``identify.folds`` of a study.
        clips: how many clips a complete copy gives, where that is known.
        about: the same in a few words.

    Example:
        >>> USUAL_TASKS["iemocap"].emotions, USUAL_TASKS["iemocap"].folds, USUAL_TASKS["iemocap"].clips
        (('anger', 'happiness', 'neutral', 'sadness'), 'session', 5531)
    """

    emotions: tuple[str, ...]
    merge: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    folds: str = "speaker"
    clips: int | None = None
    about: str = ""


FOUR = ("anger", "happiness", "neutral", "sadness")

USUAL_TASKS: Mapping[str, UsualTask] = {
    "iemocap": UsualTask(
        FOUR,
        {"happiness": ("happiness", "excitement")},
        folds="session",
        clips=5531,
        about="four classes, excitement taken as happiness, each session in turn for the test",
    ),
    "meld": UsualTask(
        ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
        clips=13_708,
        about='seven classes, cross-fitted over the characters (the published split: identify.split = "official")',
    ),
    "msp-podcast": UsualTask(FOUR, about="four classes, cross-fitted over speakers"),
}
"""Corpus id -> its usual task; of other corpora all emotions are asked."""


def usual_counts(corpus: Corpus) -> dict[str, int] | None:
    """Clips in use of each emotion of the corpus's usual task; ``None`` where no task is usual.

    Example:
        >>> from emoscope.corpora import open_corpus
        >>> usual_counts(open_corpus("polish"))
    """
    task = USUAL_TASKS.get(corpus.info.id)
    if task is None:
        return None
    new = {old: name for name, olds in task.merge.items() for old in olds}
    counted = Counter(new.get(label, label) for clip in corpus.clips if (label := clip.labels.get("emotion")))
    return {label: counted[label] for label in in_order(task.emotions)}
