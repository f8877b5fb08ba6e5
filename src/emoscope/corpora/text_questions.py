"""Questions about no recording: a corpus whose items are text alone, asked to see what else an intervention harms."""

from __future__ import annotations

import tomllib
from pathlib import Path

from emoscope.corpora.clip import Clip, CorpusInfo
from emoscope.corpora.corpus import Corpus

BANK = Path(__file__).parents[1] / "data" / "text_questions.toml"
"""The questions; its head says how it is written."""

CHOICES = ("choice 1", "choice 2", "choice 3", "choice 4")
"""Label columns that hold a question's choices; the label ``answer`` names the one that is right."""

INFO = CorpusInfo(
    "text-questions", "Text-only questions", licence="Apache-2.0", citation="written for emoscope", language="English",
    expected={"clips": 40},
)  # fmt: skip


def open_text_questions(root: str | Path | None = None) -> Corpus:
    """Open the questions as clips without sound.

    Every question has labels ``kind``, ``question``, ``choice 1`` to ``choice 4`` and ``answer``, the column of the
    right one, equally often each. So all questions have the same options, though they offer other words.

    Args:
        root: another bank, written like the package's own.

    Raises:
        ValueError: a question that does not have four different choices.

    Example:
        >>> labels = open_text_questions().clips[1].labels
        >>> labels["question"], labels["answer"], labels["choice 2"]
        ('What is the capital of France?', 'choice 2', 'Paris')
    """
    path = BANK if root is None else Path(root)
    bank = tomllib.loads(path.read_text(encoding="utf-8"))["questions"]
    clips = []
    for number, entry in enumerate(bank):
        choices = list(entry["choices"])
        if len(choices) != len(CHOICES) or len(set(choices)) != len(choices):
            raise ValueError(f"question {entry['question']!r}: {choices} are not {len(CHOICES)} different choices")
        turn = number % len(CHOICES)
        spread = choices[len(CHOICES) - turn :] + choices[: len(CHOICES) - turn]
        labels = {"answer": CHOICES[turn], "kind": entry["kind"], "question": entry["question"]}
        clips.append(Clip(f"q{number + 1:02d}", path, {**labels, **dict(zip(CHOICES, spread, strict=True))}))
    return Corpus(INFO, tuple(clips))
