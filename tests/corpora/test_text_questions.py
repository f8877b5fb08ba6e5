"""The questions about no recording: what the bank holds, and how a study asks them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from emoscope.cli import corpus_check
from emoscope.corpora import list_corpora, open_corpus
from emoscope.corpora.registry import CHOICES
from emoscope.emotions import ALIASES
from emoscope.experiments.items import candidate_items
from emoscope.experiments.prompts import asked_text
from emoscope.experiments.schema import CorpusChoice, Identify, QuestionChoice, Study

BANK = open_corpus("text-questions")


def test_right_choices_are_spread_evenly_and_every_choice_differs():
    assert len(BANK) == 40 == len({clip.labels["question"] for clip in BANK})
    assert set(Counter(clip.labels["answer"] for clip in BANK).values()) == {10}
    assert set(BANK.counts("kind")) == {"knowledge", "arithmetic", "meaning"}
    for clip in BANK:
        assert len({clip.labels[choice] for choice in CHOICES}) == 4


def test_arithmetic_is_right():
    signs = {"plus": "+", "minus": "-", "times": "*", "divided by": "//"}
    checked = 0
    for clip in BANK:
        found = re.fullmatch(r"How much is (\d+) (plus|minus|times|divided by) (\d+)\?", clip.labels["question"])
        if found:
            first, sign, second = found.groups()
            right = {"+": int(first) + int(second), "-": int(first) - int(second), "*": int(first) * int(second),
                     "//": int(first) // int(second)}[signs[sign]]  # fmt: skip
            assert clip.labels[clip.labels["answer"]] == str(right)
            checked += 1
    assert checked == 5


def test_no_question_speaks_of_an_emotion_or_a_voice():
    words = {word for name, others in ALIASES.items() for word in (name, *others)} | {"voice", "speaker", "emotion"}
    for clip in BANK:
        said = " ".join([clip.labels["question"], *(clip.labels[choice] for choice in CHOICES)]).lower()
        assert not words & set(re.findall(r"\w+", said)), said


def test_a_question_with_a_repeated_choice_is_refused(tmp_path: Path):
    bank = tmp_path / "bank.toml"
    bank.write_text('[[questions]]\nkind = "x"\nquestion = "Which?"\nchoices = ["a", "b", "b", "c"]\n')
    with pytest.raises(ValueError, match=r"'Which\?': .* are not 4 different choices"):
        open_corpus("text-questions", bank)


def test_it_is_no_corpus_of_recordings():
    assert "text-questions" not in {info.id for info in list_corpora()}
    with pytest.raises(ValueError, match="holds no recordings"):
        corpus_check("text-questions")


def test_a_study_asks_each_once_with_letters_balanced_over_the_right_choices():
    study = Study(
        corpora=(CorpusChoice(id="text-questions"),), identify=Identify(label="answer", folds=5),
        question=QuestionChoice(presentation="text"),
    )  # fmt: skip
    items = candidate_items(study, BANK)
    assert items["status"].null_count() == items.height == 40 == items["checksum"].n_unique()
    assert items["fold"].n_unique() == 5
    letters = Counter(row["options"].index(row["truth"]) for row in items.iter_rows(named=True))
    assert max(letters.values()) - min(letters.values()) <= 4
    row = items.filter(pl.col("clip") == "q02").row(0, named=True)
    shown = dict(zip(row["options"], "ABCD", strict=True))
    text = asked_text(row, "text")[0]
    assert text.startswith("What is the capital of France? (A) ")
    assert f"({shown[row['truth']]}) Paris" in text
    assert text.endswith("Answer with the letter only.")
    assert "choice" not in text
