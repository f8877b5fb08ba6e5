"""The tables of a study in parts."""

import dataclasses
import json
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from emoscope.analysis.estimate import Estimate, welch
from emoscope.analysis.parts import StudyRuns
from emoscope.chapters.grounding import selectivity
from emoscope.chapters.results import compute_study_tables, study_tables, write_study_tables
from emoscope.chapters.transfer import SAME_SPEAKERS
from emoscope.schemas import empty, schema
from tests.chapters.test_transferred import one
from tests.helpers.planted_parts import write_study
from tests.helpers.slowly import slow_selectivity, slow_side_effects, slow_whole

NUMBERS = ("alpha", "budget")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_study(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def found(folder) -> StudyRuns:
    return write_study_tables(folder)


def test_every_number_again_slowly(tmp_path):
    folder = write_study(tmp_path, speakers=5, clips=2, fused=["fused: joint"])
    fast = compute_study_tables(folder)
    slow = slow_whole(folder) | {"side_effects": slow_side_effects(folder), "selectivity": slow_selectivity(folder)}
    assert set(slow) == set(study_tables())
    for name, rows in slow.items():
        frame: pl.DataFrame = fast.table(name)
        assert frame.height == len(rows) > 0, name
        keys = [column for column, dtype in frame.schema.items() if dtype != pl.Float64 or column in NUMBERS]
        expected = {tuple(row[column] for column in keys): row for row in rows}
        assert len(expected) == len(rows), name
        for row in frame.iter_rows(named=True):
            other = expected[tuple(row[column] for column in keys)]
            for column, value in row.items():
                close = pytest.approx(other[column], rel=1e-7, abs=1e-8) if isinstance(value, float) else other[column]
                assert value == close, (name, column, row, other)


def test_tables_are_written_with_their_columns(folder, found):
    for name in study_tables():
        stored = pl.read_parquet(folder / "tables" / f"{name}.parquet")
        assert stored.schema == schema(name), name
        assert (folder / "tables" / f"{name}.csv").is_file()


def test_transfer_finds_the_planted_strengths(found):
    gaps = found.table("transfer").filter((pl.col("measure") == "excess_gap") & (pl.col("kind") == "deactivate"))
    for host, other in (("first", "second"), ("second", "first")):
        own, fused, theirs = (one(gaps, host=host, source=source) for source in (host, "fused: joint", other))
        assert own["diagonal"]
        assert own["estimate"] < fused["estimate"] < theirs["estimate"] < 0
        assert own["less"] is None
        assert own["kept"] == pytest.approx(100)
        assert theirs["less"] == pytest.approx(theirs["estimate"] - own["estimate"])
        assert theirs["kept"] == pytest.approx(100 * theirs["estimate"] / own["estimate"])
        assert (fused["fused"], theirs["fused"]) == (True, False)


def test_both_directions_of_a_transfer_are_compared(found):
    row = one(found.table("asymmetry"), kind="deactivate", measure="excess_gap")
    assert (row["first"], row["second"]) == ("first", "second")
    assert row["estimate"] == pytest.approx(row["forward"] - row["backward"])
    assert row["low"] < 0 < row["high"]  # both were planted alike


def test_directions_between_the_same_speakers_have_no_interval(tmp_path):
    folder = write_study(tmp_path, clips=2, fused=[])
    manifest = json.loads((folder / "manifest.json").read_text())
    for card in manifest["parts"]:
        card["corpus"] = "first"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    row = one(compute_study_tables(folder).table("asymmetry"), kind="deactivate", measure="gap")
    assert (row["low"], row["p"], row["reason"]) == (None, None, SAME_SPEAKERS)
    assert row["estimate"] is not None


def test_welch_of_two_estimates_without_spread():
    sure = {"estimate": 2.0, "low": 2.0, "high": 2.0, "df": 4.0, "reason": None}
    found = welch(sure, sure | {"estimate": 1.0, "low": 1.0, "high": 1.0, "df": 6.0})
    assert (found["estimate"], found["low"], found["high"], found["p"]) == (1.0, 1.0, 1.0, 0.0)
    few = {"estimate": 2.0, "low": None, "high": None, "df": None, "reason": "only 4 speakers"}
    assert welch(sure, few)["reason"] == "only 4 speakers"


def test_the_two_questions_dissociate(found):
    rows = found.table("dissociation").filter((pl.col("kind") == "deactivate") & (pl.col("measure") == "excess_damage"))
    own = [one(rows, what="effect", question=q, sets=q) for q in ("emotion", "word")]
    crossed = [one(rows, what="effect", question=q, sets=s) for q, s in (("emotion", "word"), ("word", "emotion"))]
    assert all(row["high"] < 0 for row in own)
    assert all(row["low"] <= 0 <= row["high"] for row in crossed)
    differences = [one(rows, what="difference", question=q) for q in ("emotion", "word")]
    interaction = one(rows, what="interaction")
    assert interaction["high"] < 0
    assert interaction["verdict"] == "double dissociation"
    assert (
        one(found.table("dissociation"), kind="steer", measure="excess_damage", what="interaction")["verdict"]
        == "no dissociation"
    )
    assert interaction["estimate"] == pytest.approx(sum(row["estimate"] for row in differences))


def test_a_speaker_is_left_out_of_both_questions_at_once():
    """Values move together over the speakers, so that the spread of their difference is none."""
    sizes = np.ones(5)
    values = np.array([3.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    first, second = Estimate(values, sizes), Estimate(values - 2, sizes)
    found = first.minus(second).interval()
    assert (found.estimate, found.low, found.high) == pytest.approx((2, 2, 2))
    assert first.interval().high - first.interval().low > 1


def test_noise_leaves_nothing_to_remove(found):
    rows = found.table("grounding")
    assert set(rows["presentation"]) == {"audio", "noise", "transcript"}
    uar = {p: one(rows, presentation=p, measure="uar") for p in ("audio", "noise", "transcript")}
    assert uar["noise"]["note"] == "UAR is not clear of chance"
    assert uar["audio"]["note"] is uar["audio"]["less"] is uar["transcript"]["note"] is None
    assert uar["noise"]["p"] > 0.05 > uar["audio"]["p"]
    assert uar["noise"]["less_high"] < 0
    gap = one(rows, presentation="noise", measure="excess_gap", kind="deactivate")
    assert gap["note"].startswith("nothing to remove")
    assert gap["low"] <= 0 <= gap["high"]
    assert one(rows, presentation="audio", measure="excess_gap", kind="deactivate")["high"] < 0
    assert set(rows["corpus"]) == {"first"}  # the second was asked on the voice alone


def test_the_voice_is_compared_on_the_clips_that_both_were_asked_about(tmp_path):
    """Where the voice was tested on fewer clips than what takes its place."""
    rows = []
    for name, parts in (("few", ["first"]), ("few in both", ["first", "first.noise"])):
        folder = write_study(tmp_path / name, speakers=5, clips=4, fused=[])
        for part in parts:
            path = folder / "parts" / part / "items.parquet"
            pl.read_parquet(path).with_columns(evaluated=pl.col("take") < 2).write_parquet(path)
        rows.append(compute_study_tables(folder).table("grounding").filter(pl.col("presentation") == "noise"))
    less = [rows[place].select(pl.col("^less.*$").round(9)) for place in (0, 1)]
    assert less[0].equals(less[1])
    assert not rows[0]["estimate"].equals(rows[1]["estimate"])


def test_an_answer_that_is_always_the_same_is_at_chance(tmp_path):
    """UAR is then 100 / 3 without any spread: its interval and chance differ by rounding alone."""
    folder = write_study(tmp_path, speakers=5, clips=2, fused=[])
    path = folder / "parts" / "first.transcript" / "answers" / "a.parquet"
    answers = pl.read_parquet(path)
    always = pl.when(pl.col("condition") == "baseline").then(pl.lit("fear")).otherwise("answer").alias("answer")
    answers.with_columns(always).write_parquet(path)
    row = one(compute_study_tables(folder).table("grounding"), presentation="transcript", measure="uar")
    assert row["low"] == pytest.approx(100 / 3)
    assert (row["note"], row["p"]) == ("UAR is not clear of chance", 1.0)


def test_sets_are_selective_on_the_voice(found):
    rows = {
        p: one(found.table("selectivity"), presentation=p, measure="firing", emotion=None) for p in ("audio", "noise")
    }
    assert rows["audio"]["excess_low"] > 0
    assert rows["audio"]["own"] - rows["audio"]["others"] == pytest.approx(rows["audio"]["estimate"])
    assert rows["noise"]["low"] < 0 < rows["noise"]["high"]


def test_further_columns_of_a_part_and_the_lack_of_parts_change_nothing(found, tmp_path):
    folder = write_study(tmp_path)
    path = folder / "parts" / "first" / "set_activity.parquet"
    pl.read_parquet(path).with_columns(later=pl.lit(1)).write_parquet(path)
    assert compute_study_tables(folder).table("selectivity").equals(found.table("selectivity"))
    none = dataclasses.replace(found, parts=())
    assert selectivity(none).equals(empty("selectivity"))


def test_other_tasks_stand_beside_the_emotion_question(found):
    rows = found.table("side_effects").filter((pl.col("corpus") == "first") & (pl.col("kind") == "deactivate"))
    assert rows["ability"].to_list() == ["emotion", "word", "transcription", "text"]
    assert rows["measure"].to_list() == ["UAR", "UAR", "WER", "accuracy"]
    emotion, word, written, _ = rows.to_dicts()
    assert emotion["excess_high"] < 0
    assert word["excess_low"] <= 0 <= word["excess_high"]
    assert (written["baseline"], written["under"]) == pytest.approx((10, 12.5), abs=1)  # every tenth, every eighth word
    assert written["excess"] == pytest.approx(written["under"] - written["matched"])


def test_a_part_that_failed_is_said_and_the_rest_stands(folder, found):
    assert "second.word: fewer than two labels of word can be identified: nie 3, tak 41" in found.notes
    assert set(found.table("dissociation")["corpus"]) == {"first"}


def test_parts_that_are_not_there_are_said(tmp_path):
    import shutil

    folder = write_study(tmp_path, clips=2, fused=[])
    shutil.rmtree(folder / "parts" / "first.noise")
    shutil.rmtree(folder / "parts" / "second.shared")
    (folder / "agreement.parquet").unlink()
    found = compute_study_tables(folder)
    assert "first.noise: its folder is missing" in found.notes
    assert set(found.table("transfer")["host"]) == {"first"}
    assert found.table("asymmetry").is_empty()
    assert found.table("agreement").is_empty()
    assert set(found.table("grounding")["presentation"]) == {"audio", "transcript"}


def test_an_ordinary_run_is_no_study_in_parts(folder):
    with pytest.raises(FileNotFoundError, match="no study in parts"):
        compute_study_tables(folder / "parts" / "first")


def test_activity_without_matched_controls_has_no_excess_and_no_warning(tmp_path):
    folder = write_study(tmp_path, speakers=5, clips=2)
    path = folder / "parts" / "first" / "set_activity.parquet"
    stored = pl.read_parquet(path)
    stored.filter(pl.col("control") != "matched").write_parquet(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rows = compute_study_tables(folder).table("selectivity")
    assert rows["estimate"].null_count() < rows.height
    assert rows["excess"].null_count() == rows.height
