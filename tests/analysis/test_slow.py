"""All result tables next to a slow, obvious re-implementation: on a real run and on simulated ones."""

import dataclasses
from pathlib import Path

import polars as pl
import pytest

from emoscope.analysis.load import read_run
from emoscope.chapters.results import compute_tables
from tests.helpers.packs import unpacked
from tests.helpers.planted_parts import write_study
from tests.helpers.program import figureless
from tests.helpers.runs import NAMES, write_simulation
from tests.helpers.slowly import slow_foreign, slow_tables

STUDY = """
name = "small"
[model]
allow_trained_on = true
[[corpora]]
id = "polish"
where = { take = [1], word = ["nie", "tak"] }
[identify]
scope = "all"
items_per_emotion = 8
minimum = 2
selectors = ["mad", "cas"]
compare_at_common_size = true
sizes = [3]
size_draws = 2
[headline]
selector = "mad"
[interventions]
deactivate = ["zero", "mean"]
alphas = [-0.5, 0.25, 1.0]
layers = ["0-1", "2-3"]
profile = true
positions = ["text"]
[controls]
matched = 2
random = 0
shuffled = 1
orthogonal = 0
"""


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Path:
    pytest.importorskip("torch")
    from emoscope.experiments.engine import run_study
    from emoscope.experiments.study import parse_study

    with pytest.MonkeyPatch.context() as patch:
        figureless(patch)
        # the slow way opens a file for each unit
        return unpacked(run_study(parse_study(STUDY), tmp_path_factory.mktemp("runs") / "small")).path


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    return write_study(tmp_path_factory.mktemp("whole"), clips=2)


def assert_same(folder: Path, some: tuple[str, ...]) -> None:
    fast, slow = compute_tables(read_run(folder)), slow_tables(folder) | {"transferred": slow_foreign(folder)}
    assert {*slow, "wordings", "published", "transcription", "potency"} == set(NAMES)
    for name in NAMES:
        if name == "wordings":  # these runs ask in one wording; test_wordings.py works others out by hand
            assert fast.table("wordings").is_empty()
            continue
        if name == "transcription":  # nothing is written down in these runs; test_transcription.py
            assert fast.table("transcription").is_empty()
            continue
        if name == "potency":  # test_potency.py
            continue
        if name == "published":  # nothing is published of these; test_published.py
            assert fast.table("published").is_empty()
            continue
        frame: pl.DataFrame = fast.table(name)
        if name == "claims":  # verdicts and numbers; not the words
            frame = frame.select("name", "verdict", "estimate", "low", "high")
        if name == "tests":  # the words, the version of the rules, and the permutation null: test_permuted.py
            frame = frame.drop("why", "rule", "permutation_p", "permutation_floor", "permuted")
        if "role" in frame.columns:  # what the condition is for is no number; test_vocabulary.py
            frame = frame.drop("role")
        assert len(frame) == len(slow[name]), name
        assert not frame.is_empty() or name not in some, name
        names = [column for column, dtype in frame.schema.items() if dtype != pl.Float64]
        names += [column for column in ("budget", "alpha") if column in frame.columns]
        expected = {tuple(row[column] for column in names): row for row in slow[name]}
        assert len(expected) == len(frame), name
        for row in frame.iter_rows(named=True):
            other = expected[tuple(row[column] for column in names)]
            assert set(row) == set(other), name
            for column, value in row.items():
                close = pytest.approx(other[column], rel=1e-7, abs=1e-8) if isinstance(value, float) else other[column]
                assert value == close, (name, column, row, other)


@pytest.mark.long
def test_every_number_of_a_real_run(real):
    assert_same(real, tuple(name for name in NAMES if name not in ("transferred", "outcomes", "outcome_sets")))


def test_sets_from_fewer_clips_leave_all_other_numbers_as_they_are(real):
    run = read_run(real)
    usual = pl.col("control").fill_null("target") != "fewer"
    other = ~pl.col("condition").is_in(run.conditions.filter(~usual)["condition"].implode())
    sets, conditions, answers = run.sets.filter(usual), run.conditions.filter(usual), run.answers.filter(other)
    both = compute_tables(run)
    without = compute_tables(dataclasses.replace(run, sets=sets, conditions=conditions, answers=answers))
    assert both.table("effects").filter(~usual).height > 0
    for name in NAMES:
        frame: pl.DataFrame = both.table(name)
        for column, kept in (("control", usual), ("condition", other)):
            if column in frame.columns:
                frame = frame.filter(kept)
        assert name == "efficiency" or frame.equals(without.table(name)), name
    assert without.table("efficiency").is_empty()


@pytest.mark.parametrize("intervention", ["evidence", "bias"])
def test_every_number_of_a_simulated_run(tmp_path, intervention):
    folder = write_simulation(tmp_path / "run", intervention, speakers=6, clips=4, matched=5)
    tests = compute_tables(read_run(folder)).table("tests").filter(kind="deactivate")
    assert tests["estimate"].null_count() == 0
    assert_same(folder, ("uar", "confusion", "matrix", "effects", "evidence", "verdicts", "tests"))


def test_every_number_where_speakers_are_few_or_unknown(tmp_path):
    for name, speakers in (("few", 4), ("unknown", None)):
        folder = write_simulation(tmp_path / name, "bias", speakers=speakers, clips=2, recordings=3)
        assert_same(folder, ("uar", "matrix", "effects", "evidence", "verdicts"))


def test_every_number_of_a_run_that_stopped_and_offers_fewer_options(tmp_path):
    folder = write_simulation(tmp_path / "run", "evidence", speakers=6, clips=5, fewer_options=True)
    for path in sorted((folder / "answers").glob("*.parquet"))[3:5]:
        pl.read_parquet(path).head(70).write_parquet(path)  # of 90 items
    (folder / "units" / "010.json").unlink()
    assert_same(folder, ("uar", "matrix", "effects", "evidence", "verdicts"))


@pytest.mark.parametrize("part", ["first", "first.shared", "first.word"])
def test_every_number_of_a_part_in_which_sets_of_others_act(whole, part):
    assert_same(whole / "parts" / part, ("uar", "transferred"))
