"""The verdict: its rule case by case, when none is given, and on simulated interventions that are known."""

import polars as pl
import pytest

from emoscope.analysis.load import read_run
from emoscope.analysis.verdicts import verdict
from emoscope.chapters.results import compute_tables
from tests.helpers.runs import write_simulation


@pytest.mark.parametrize(
    ("sensitivity", "bias", "expected"),
    [
        ((-9, -3), (-0.2, 0.3), "removes evidence"),
        ((-9, -3), (-0.05, 0.05), "removes evidence"),
        ((-9, -3), (-0.9, -0.4), "both"),
        ((-9, -3), (0.4, 0.9), "both"),
        ((-1, 0.5), (-0.9, -0.4), "pulls the answer"),
        ((-2, 2), (0.01, 0.02), "pulls the answer"),
        ((0.1, 1.9), (-0.9, -0.4), "pulls the answer"),
        ((-1, 0.5), (-0.05, 0.1), "neither"),
        ((-2, 0), (0, 0), "neither"),
        ((-2.1, 0.5), (-0.9, -0.4), "undecided"),
        ((0.5, 2.1), (-0.9, -0.4), "undecided"),
        ((-1, 0.5), (-0.11, 0.05), "undecided"),
        ((-3, 3), (-1, 1), "undecided"),
    ],
)
def test_rule(sensitivity, bias, expected):
    said, reason = verdict(sensitivity, bias)
    assert said == expected
    assert (reason is not None) == (expected == "undecided")


def test_undecided_names_the_intervals_that_are_too_wide():
    sensitivity, bias = (
        "the sensitivity interval is not within ±2 AUC points",
        "the bias interval is not within ±0.1 nat",
    )
    assert verdict((-3, 3), (-1, 1))[1] == f"{sensitivity}; {bias}"
    assert verdict((-3, 3), (-0.1, 0.1))[1] == sensitivity
    assert verdict((-3, 3), (0.5, 1))[1] == sensitivity
    assert verdict((-1, 1), (-1, 1))[1] == bias


def simulated(folder, intervention, **more):
    tables = compute_tables(read_run(write_simulation(folder / "run", intervention, **more)))
    return tables.table("verdicts").row(0, named=True), tables


@pytest.mark.parametrize(
    ("intervention", "expected"),
    [
        ("bias", {"pulls the answer"}),
        ("evidence", {"removes evidence"}),
        ("shrunk", {"both"}),
        ("nothing", {"neither", "undecided"}),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_known_intervention_gets_its_verdict(tmp_path, intervention, expected, seed):
    row, _ = simulated(tmp_path, intervention, seed=seed)
    assert row["verdict"] in expected


def test_accuracy_alone_does_not_tell_bias_from_lost_evidence(tmp_path):
    gaps = []
    for intervention in ("bias", "evidence"):
        _, tables = simulated(tmp_path / intervention, intervention)
        gap = tables.table("effects").filter((pl.col("measure") == "excess_gap") & (pl.col("control") == "target"))
        gaps.append(gap["high"][0])
    assert max(gaps) < -10  # points: the accuracy of the target falls the most under either of them


def test_limits_of_the_rule_that_the_method_page_names(tmp_path):
    # a bias of another size for each speaker mixes the ranks of speakers: a small but clear loss of AUC
    row, _ = simulated(tmp_path / "uneven", "uneven")
    assert row["verdict"] == "both"
    assert -2 < row["excess_sensitivity"] < 0
    # a rival emotion that is said more often takes items away from the target, more of them where it is close
    row, _ = simulated(tmp_path / "rival", "rival")
    assert row["verdict"] == "both"
    assert -2 < row["excess_sensitivity"] < 0
    # evidence so large that the ranks survive its loss, although the answers do not
    row, tables = simulated(tmp_path / "ceiling", "evidence", bonus=12.0, strength=7.0)
    assert row["verdict"] == "neither"
    own = tables.table("effects").filter((pl.col("measure") == "self") & (pl.col("control") == "target"))
    assert own["estimate"][0] < -50


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"speakers": 4}, "only 4 speakers: an interval needs at least 5"),
        ({"speakers": None}, "speakers are unknown"),
        ({"letter_mass": 0.4}, "too few answers are letters, or the written answers differ too often"),
    ],
)
def test_no_verdict_and_why(tmp_path, more, reason):
    row, tables = simulated(tmp_path, "evidence", **more)
    assert (row["verdict"], row["reason"]) == (None, reason)
    assert row["headline"]
    assert row["hollow"] == ("letter_mass" in more)
    assert (row["excess_bias_low"] is None) == (more.get("speakers") == 4)
    effects = tables.table("effects")
    assert effects["hollow"].unique().to_list() == [row["hollow"]]
