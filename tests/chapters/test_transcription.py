"""Word errors of transcriptions against the classical edit distance."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import pytest

from emoscope.analysis.load import Run
from emoscope.chapters.side_effects import spoken_words, transcription, word_errors
from emoscope.schemas import conform, empty, schema
from tests.analysis.slow_transcription import edits, words_of

WORDS = ("dogs", "are", "sitting", "by", "the", "door", "Kids", "it's")


def texts(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(0, 7))) + draw.choice(("", ".", "!")) for _ in range(count)]


def test_errors_are_the_edit_distance():
    said, written = texts(200, 1), texts(200, 2)
    for row, true, found in zip(word_errors(said, written), said, written, strict=True):
        assert row["errors"] == edits(words_of(true), words_of(found))
        assert row["errors"] == row["substitutions"] + row["deletions"] + row["insertions"]
        assert row["words"] == len(words_of(true))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The speaker says: 'Stop!'", ["stop"]),
        ("The speaker says \"Stop it.\"", ["stop", "it"]),
        ("The transcription of the audio is: I think so", ["i", "think", "so"]),
        ("The speaker is late. I said: come", ["the", "speaker", "is", "late", "i", "said", "come"]),
        ("The door: closed", ["the", "door", "closed"]),
        ("Żółw, ZAŻÓŁĆ…", ["żółw", "zażółć"]),
        ("It\N{RIGHT SINGLE QUOTATION MARK}s eleven o'clock", ["it's", "eleven", "o'clock"]),
        ("", []),
    ],
)  # fmt: skip
def test_the_words_of_a_text(text, words):
    assert spoken_words(text) == words


def test_composed_and_decomposed_letters_are_the_same_word():
    assert spoken_words("\u0061\u0328") == spoken_words("\u0105")


def simulated() -> Run:
    said = texts(30, 3)
    said[7] = said[7] or "door"
    items = conform(
        pl.DataFrame({"item": range(30), "transcript": [None if n == 5 else t for n, t in enumerate(said)]}),
        "items",
    )
    rows = []
    for condition, seed in (("baseline", 4), ("deactivate/anger/set~from=main", 5), ("matched~from=main", 6)):
        for item, text in enumerate(texts(30, seed)):
            rows.append({"item": item, "condition": condition, "scoring": "transcription", "text": text})
    answers = conform(pl.DataFrame(rows), "answers")
    own = answers.filter(pl.col("condition") == "baseline")
    conditions, sets = empty("conditions"), empty("sets")
    other = Run(Path(), items, sets, conditions, answers, {})
    return Run(Path(), items, sets, conditions, own, {}, transferred={"main": other})


def test_the_table_counts_every_item_and_condition_once():
    run = simulated()
    found = transcription(run)
    assert found.columns == list(schema("transcription"))
    assert found.height == 3 * 29
    said = dict(run.items.select("item", "transcript").iter_rows())
    written = {(c, i): t for c, i, t in run.transferred["main"].answers.select("condition", "item", "text").iter_rows()}
    for row in found.iter_rows(named=True):
        true, text = words_of(said[row["item"]]), words_of(written[row["condition"], row["item"]])
        assert (row["words"], row["errors"]) == (len(true), edits(true, text))
        assert (row["said"], row["written"]) == (" ".join(true), " ".join(text))


def test_it_is_empty_where_nothing_is_written_down():
    run = simulated()
    none = Run(run.folder, run.items, run.sets, run.conditions, run.answers.clear(), {})
    assert transcription(none).is_empty()
    assert transcription(none).columns == list(schema("transcription"))
