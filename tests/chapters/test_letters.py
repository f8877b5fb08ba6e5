"""Effects by the letter behind which the right option stands."""

from dataclasses import replace

import polars as pl
import pytest

from emoscope.analysis.parts import Part
from emoscope.chapters.factors import letters
from emoscope.schemas import schema
from tests.helpers.runs import deactivations, small_run

ITEMS = [(speaker, truth) for speaker in ("s1", "s2", "s3", "s4", "s5") for truth in ("anger", "fear")]


@pytest.fixture
def run():
    # every clip in both letter orders; the sets act where the right option stands behind A, and nowhere else
    found = small_run(
        [*ITEMS, *ITEMS],
        {
            "baseline": ["anger", "fear"] * 5 + ["anger", "anger"] * 5,
            "anger": ["fear", "fear"] * 5 + ["anger", "anger"] * 5,
            "fear": ["anger", "anger"] * 5 + ["anger", "anger"] * 5,
            "anger~matched0": ["anger", "fear"] * 5 + ["anger", "anger"] * 5,
            "fear~matched0": ["anger", "fear"] * 5 + ["anger", "anger"] * 5,
        },
        [*({**one, "headline": True} for one in deactivations()), *deactivations("matched")],
    )
    first = [[truth, "fear" if truth == "anger" else "anger"] for _, truth in ITEMS]
    return replace(found, items=found.items.with_columns(pl.Series("options", [*first, *(one[::-1] for one in first)])))


def by(run):
    found = letters(Part.alone(run))
    return {(row["kind"], row["control"], row["measure"], row["letter"]): row for row in found.iter_rows(named=True)}


def test_an_effect_of_one_letter_is_found_there_and_told_apart(run):
    rows = by(run)
    gaps = [rows["deactivate", "target", "excess_gap", letter] for letter in "AB"]
    assert [row["estimate"] for row in gaps] == [-100, 0]
    assert [(row["low"], row["high"]) for row in gaps] == [(-100, -100), (0, 0)]  # all speakers agree
    assert [row["apart"] for row in gaps] == [-100, 100]
    assert [row["apart_high"] for row in gaps] == [-100, 100]
    assert rows["deactivate", "matched", "gap", "A"]["estimate"] == 0
    assert [row["n"] for row in gaps] == [10, 10]


def test_the_untouched_model_is_shown_by_letter_too(run):
    rows = by(run)
    assert [rows["baseline", "none", "uar", letter]["estimate"] for letter in "AB"] == [100, 50]
    # behind A: all of the first ten; of the others fear shows anger, the answer, behind A
    assert [rows["baseline", "none", "answered", letter]["estimate"] for letter in "AB"] == [75, 25]


def test_text_questions_have_an_accuracy(run):
    asked = replace(run, manifest={"study": {"question": {"presentation": "text"}}})
    row = by(asked)["baseline", "none", "accuracy", "B"]
    assert row["estimate"] == 50
    assert ("baseline", "none", "uar", "B") not in by(asked)


def test_one_letter_order_is_no_factor(run):
    alone = replace(run, items=run.items.head(10))
    assert letters(Part.alone(alone)).is_empty()
    empty = replace(run, answers=run.answers.clear())
    assert letters(Part.alone(empty)).schema == pl.Schema(schema("letters"))


def test_an_emotion_that_a_letter_lacks_leaves_no_gap(run):
    part = replace(run, items=run.items.filter((pl.col("item") < 10) | (pl.col("truth") == "anger")))
    row = by(part)["deactivate", "target", "gap", "B"]
    assert (row["estimate"], row["reason"], row["apart"]) == (None, "no items", None)
