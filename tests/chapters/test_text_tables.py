"""The tables as text: the numbers of the result tables, with their intervals, in the rows that they belong to."""

import dataclasses

import polars as pl
import pytest

from emoscope.analysis.load import read_run
from emoscope.analysis.parts import StudyRuns
from emoscope.chapters.pages import tables
from emoscope.chapters.results import compute_tables
from emoscope.chapters.sets import tabulate_matching as matching
from emoscope.chapters.sets import tabulate_neurons as neurons
from emoscope.chapters.sets import tabulate_words as words
from emoscope.chapters.wordings import tabulate_wordings as wordings
from emoscope.schemas import schema
from emoscope.wording import bracket, number
from tests.helpers.planted import THREE, write_run


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return compute_tables(read_run(write_run(tmp_path_factory.mktemp("run"), THREE, 5, 2)))


def shown(name, content):
    return filled(next(one for one in tables("run") if one.name == name), content)


def filled(table, content):
    return table.fill(content if table.pages == "run" else StudyRuns.alone(content))


def test_every_table_is_text_and_has_a_caption(content):
    for one in tables("run"):
        name, caption, frame = one.name, one.caption, filled(one, content)
        # this run asks in one wording, has no sets of misses, no peer, no oracle, and emotions of high arousal alone
        if name in ("wordings", "outcomes", "outcome_sets", "published", "arousal", "untrained", "oracle"):
            assert frame is None
            continue
        assert set(frame.dtypes) == {pl.String}, name
        assert caption.endswith("."), name
        assert not frame.null_count().sum_horizontal()[0]


def test_set_to_zero_and_to_their_mean_stand_below_each_other(content):
    frame = shown("effects_deactivate", content)
    assert frame["neurons"].to_list() == [
        "CAS, selected", "CAS, matched (mean of 10)", "CAS, random (mean of 5)", "CAS, shuffled labels (mean of 5)",
        "CAS, selected, to their mean", "CAS, matched (mean of 10), to their mean",
    ]  # fmt: skip
    row = (
        content.table("effects")
        .filter((pl.col("measure") == "excess_gap") & (pl.col("to") == "mean") & (pl.col("selector") == "cas"))
        .row(0, named=True)
    )
    assert frame["excess gap"][4] == f"{number(row['estimate'], sign=True)} {bracket(row['low'], row['high'])}"


def test_verdicts_tell_the_headline_from_exploration(content):
    done = shown("verdicts", content)["what was done"].to_list()
    assert done == ["switched off *", "set to their mean", "amplified, alpha 0.5 *"]


def test_a_missing_verdict_is_explained(content):
    changed = content.table("verdicts").with_columns(verdict=pl.lit(None, pl.String), reason=pl.lit("only 3 speakers"))
    frame = shown("verdicts", content.changed(verdicts=changed))
    assert set(frame["verdict"]) == {"no verdict"}
    assert set(frame["why"]) == {"only 3 speakers"}


def test_differences_are_those_of_the_table(content):
    frame = shown("differences", content)
    row = (
        content.table("differences")
        .filter((pl.col("second") == "lap") & (pl.col("measure") == "gap"))
        .row(0, named=True)
    )
    found = frame.filter(pl.col("difference between") == "CAS minus LAP")["gap (points)"][0]
    assert found == f"{number(row['estimate'], sign=True)} {bracket(row['low'], row['high'])}"
    assert len(frame) == 6  # pairs of four selectors


def test_matching_takes_the_largest_difference(content):
    one = (pl.col("emotion") == "anger") & (pl.col("covariate") == "magnitude")
    least = pl.when(one).then(0.1).otherwise("smd_largest").alias("smd_largest")
    frame = matching(content.changed(matching=content.table("matching").with_columns(least)))
    by = dict(frame.select("covariate", "largest difference (SD)").iter_rows())
    assert by == {"firing rate": "0.05", "mean activity": "0.31", "output weight": "0.02"}


def test_words_are_counted_over_neurons(content):
    frame = words(content)
    first = frame.row(0, named=True)
    assert first["emotion"] == "anger"
    assert first["raise its own name"] == "1"
    assert first["lower its own name"] == "0"
    assert first["raised most often"].startswith("B (101), ")  # neither a line break nor half a letter is named
    assert "␣anger (1)" in first["raised most often"]
    assert first["lowered most often"] == "␣No (102), C (102)"


def test_neurons_chosen_in_most_folds_come_first_and_then_the_latest_layers(content):
    frame = neurons(content).filter(pl.col("emotion") == "anger")
    order = [(int(folds.split()[0]), int(layer)) for folds, layer in frame.select("folds", "layer").iter_rows()]
    assert len(order) == 5
    assert order == sorted(order, reverse=True)
    assert order[0][0] >= 4


def test_without_folds_neurons_have_no_such_column(content):
    run = dataclasses.replace(content.run, sets=content.run.sets.filter(pl.col("fold") == "all"))
    assert "folds" not in neurons(dataclasses.replace(content, run=run)).columns


def test_each_wording_has_a_row_and_the_last_says_how_far_they_lie_apart(content):
    rows = [
        {"wording": "lettered", "n": 6, "uar": 100.0, "uar_low": 90.0, "uar_high": 100.0, "letter_mass": 0.9}
        | {"excess_gap": -20.0, "excess_gap_low": -30.0, "excess_gap_high": -10.0},
        {"wording": "listed", "n": 6, "uar": 50.0, "letter_mass": 0.8, "excess_gap": 4.0},
    ]
    table = pl.DataFrame(
        [{name: row.get(name) for name in schema("wordings")} for row in rows], schema=schema("wordings")
    )
    shown = wordings(content.changed(wordings=table))
    assert shown.to_dicts()[0] == {
        "wording": "lettered", "items": "6", "letter mass": "0.90", "UAR (%)": "100.0 [90.0, 100.0]",
        "switched off: excess gap": "−20.0 [−30.0, −10.0]",
    }  # fmt: skip
    assert list(shown.row(2)) == ["largest minus smallest", "", "", "50.0", "24.0"]
