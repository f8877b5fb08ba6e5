"""What depends on the wording of the question."""

from dataclasses import replace

import polars as pl
import pytest

from emoscope.analysis.parts import Part
from emoscope.chapters.wordings import wordings
from emoscope.schemas import schema
from tests.helpers.runs import deactivations, small_run

ITEMS = [(speaker, truth) for speaker in ("s1", "s2", "s3") for truth in ("anger", "fear")]


@pytest.fixture
def run():
    # every clip in two wordings: in "listed" the model is right half the time, and the sets do nothing
    found = small_run(
        [*ITEMS, *ITEMS],
        {
            "baseline": ["anger", "fear"] * 3 + ["anger", "anger"] * 3,
            "anger": ["fear", "fear"] * 3 + ["anger", "anger"] * 3,
            "fear": ["anger", "anger"] * 3 + ["anger", "anger"] * 3,
            "anger~matched0": ["anger", "fear"] * 3 + ["anger", "anger"] * 3,
            "fear~matched0": ["anger", "fear"] * 3 + ["anger", "anger"] * 3,
        },
        [
            *({**one, "headline": True} for one in deactivations()), *deactivations("matched"),
            *({**one, "condition": f"mad {one['condition']}", "selector": "mad"} for one in deactivations()),
        ],
    )  # fmt: skip
    asked = pl.Series("wording", ["lettered"] * 6 + ["listed"] * 6)
    return replace(found, items=found.items.with_columns(asked))


def test_each_wording_has_its_own_recall_and_effect(run):
    rows = {row["wording"]: row for row in wordings(Part.alone(run)).iter_rows(named=True)}
    assert list(rows) == ["lettered", "listed"]
    assert [row["n"] for row in rows.values()] == [6, 6]
    assert (rows["lettered"]["uar"], rows["listed"]["uar"]) == (100, 50)
    # by hand: own emotion -100, other emotion 0, matched controls nothing
    assert (rows["lettered"]["excess_gap"], rows["listed"]["excess_gap"]) == (-100, 0)
    assert rows["lettered"]["excess_pull_gap"] is None
    assert rows["lettered"]["letter_mass"] == pytest.approx(0.9)


def test_one_wording_is_no_table(run):
    alone = replace(run, items=run.items.with_columns(pl.lit("listed").alias("wording")))
    for one in (alone, small_run(ITEMS, {"baseline": ["anger"] * 6})):
        assert wordings(Part.alone(one)).is_empty()
        assert wordings(Part.alone(one)).schema == pl.Schema(schema("wordings"))


def test_a_run_without_answers_has_no_row(run):
    assert wordings(Part.alone(replace(run, answers=run.answers.clear()))).is_empty()
