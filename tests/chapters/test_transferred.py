"""What sets of other parts do in a part."""

from pathlib import Path

import polars as pl
import pytest

from emoscope.analysis.load import read_run
from emoscope.chapters.results import write_tables
from emoscope.chapters.transferred import damage, transferred
from emoscope.schemas import schema
from tests.helpers.planted_parts import write_study
from tests.helpers.runs import deactivations, small_run
from tests.helpers.slowly import slow_foreign


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_study(tmp_path_factory.mktemp("whole"))


def one(frame: pl.DataFrame, **wanted) -> dict:
    for name, value in wanted.items():
        frame = frame.filter(pl.col(name).is_null() if value is None else pl.col(name) == value)
    (row,) = frame.to_dicts()
    return row


def test_damage_worked_out_by_hand():
    """Two clips each of anger and fear by one speaker; at baseline three of four are right: UAR (100 + 50) / 2 = 75.

    The set for the word "tak" leaves one of each right: UAR 50, damage -25. Its matched draws leave UAR 75 and 25:
    damage 0 and -50, mean -25; beyond them the set costs nothing, -25 and +25 beyond each.
    """
    conditions = [{"condition": "baseline", "kind": "baseline"}]
    conditions += [
        row for c, d in (("target", 0), ("matched", 0), ("matched", 1)) for row in deactivations(c, d, ["tak"])
    ]
    run = small_run(
        [("s", "anger"), ("s", "anger"), ("s", "fear"), ("s", "fear")],
        {
            "baseline": ["anger", "anger", "fear", "anger"], "tak": ["anger", "fear", "fear", None],
            "tak~matched0": ["anger", "anger", "fear", "anger"], "tak~matched1": ["fear", "fear", "fear", "anger"],
        },
        conditions,
    )  # fmt: skip
    from emoscope.analysis.responses import build_responses

    found = damage(build_responses(run), run.conditions)
    target = one(found, control="target", target=None, measure="damage")
    assert target["estimate"] == pytest.approx(-25)
    assert (target["n"], target["targets"], target["draws"], target["unit"]) == (4, 1, 1, "points")
    assert "only 1 speaker" in target["reason"]
    assert one(found, control="target", target="tak", measure="damage")["estimate"] == pytest.approx(-25)
    mean = one(found, control="matched", draw=None, target=None)
    assert (mean["estimate"], mean["draw_min"], mean["draw_max"]) == pytest.approx((-25, -50, 0))
    excess = one(found, measure="excess_damage", target=None)
    assert (excess["estimate"], excess["draw_min"], excess["draw_max"]) == pytest.approx((0, -25, 25), abs=1e-12)
    assert excess["draws"] == 2


def test_text_questions_are_judged_by_accuracy(whole):
    """Every question has options of its own, so a mean over labels has no interval; an accuracy has."""
    folder = whole / "parts" / "first.text"
    found = transferred(read_run(folder))
    assert one(found, kind="deactivate", control="target", target=None, measure="damage")["low"] is not None
    expected = {tuple(row[name] for name in ("kind", "control", "draw", "target", "measure")): row for row in slow_foreign(folder)}  # fmt: skip
    assert len(expected) == found.height > 0
    assert set(found["role"]) == {"transferred"}
    for row in found.drop("role").iter_rows(named=True):
        other = expected[tuple(row[name] for name in ("kind", "control", "draw", "target", "measure"))]
        for name, value in row.items():
            assert value == (
                pytest.approx(other[name], rel=1e-7, abs=1e-8) if isinstance(value, float) else other[name]
            )


def test_the_planted_strengths_come_out(whole):
    """Own sets act with strength 1, fused ones with 0.6, those of the other corpus with 0.4."""
    found = transferred(read_run(whole / "parts" / "second.shared"))
    gap = {
        s: one(found, source=s, kind="deactivate", control="target", measure="excess_gap") for s in set(found["source"])
    }
    assert gap["second"]["high"] < 0
    assert gap["second"]["estimate"] < gap["fused: joint"]["estimate"] < gap["first"]["estimate"] < 0


def test_own_sets_are_not_mixed_with_those_of_others(whole):
    tables = write_tables(whole / "parts" / "first")
    assert set(tables.table("transferred")["source"]) == {"first.word"}
    assert set(tables.table("effects")["measure"]) - set(
        tables.table("transferred")["measure"]
    )  # its targets are no options: damage alone
    assert set(tables.table("transferred")["measure"]) == {"damage", "excess_damage"}
    assert not tables.table("effects").filter(pl.col("measure").str.contains("damage")).height
    stored = pl.read_parquet(whole / "parts" / "first" / "tables" / "transferred.parquet")
    assert stored.equals(tables.table("transferred"))
    assert stored.schema == schema("transferred")


def test_a_part_that_no_other_sets_act_in_has_an_empty_table(whole):
    found = transferred(read_run(whole / "parts" / "second"))
    assert found.schema == schema("transferred")
    assert found.is_empty()
