"""Counting how often claims hold in worlds of known truth, and the command that does."""

import json
from dataclasses import replace

import pytest
from scipy import stats

from emoscope.analysis import declared
from emoscope.analysis.declared import CLAIMS, SUPPORTED, UNSUPPORTED, UNTESTED
from emoscope.testing import calibration
from emoscope.testing.calibration import Cell, calibrate, judged, main, with_null
from emoscope.testing.worlds import World

SMALL = World(emotions=3, speakers=6, clips=2, draws=5)


def test_the_limits_of_a_share_are_exact():
    for hits in (0, 1, 30, 200):
        low, high = Cell("w", "exists", False, 200, hits, 200).limits()
        exact = stats.binomtest(hits, 200).proportion_ci(0.99, "exact")
        assert (low, high) == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize(
    ("hits", "true", "holds"), [(100, False, True), (118, False, True), (135, False, False), (300, True, True)]
)
def test_a_false_claim_may_hold_seldom(hits, true, holds):
    assert Cell("w", "exists", true, 2000, hits, 2000).holds is holds


def test_a_few_studies_cannot_show_that_a_claim_holds_seldom():
    assert not Cell("w", "exists", False, 20, 0, 20).holds


def test_permuted_draws_cost_nothing_where_they_keep_little_and_all_where_they_keep_it_all():
    world = replace(SMALL, speakers=8, loss=0.5, permuted=19, alphas=())
    little = replace(world, kept=(0.05, 0.02), kept_of_others=(0.05, 0.02))
    assert with_null(little, "a", 0) == (True, True, 0)
    # what they keep of the own emotion alone, more at times than the target sets
    whole = replace(world, loss=0.1, kept=(0.99, 0.01), kept_of_others=(0.01, 0.01))
    found = [with_null(whole, "a", study) for study in range(4)]
    assert any(without and not held and below >= 1 for without, held, below in found)
    assert all(without or not held for without, held, _ in found)


def test_the_cost_of_permuted_draws_is_printed(capsys):
    assert main(["--permuted", "--studies", "1", "--jobs", "1", "--only", "4 emotions, a loss of 15 %, twice"]) == 0
    assert (
        "| 10 speakers in 5 sessions, 4 emotions, a loss of 15 %, twice as much kept | 100.0 | 100.0 |"
        in capsys.readouterr().out
    )


def test_a_study_is_the_same_whoever_counts_it():
    assert judged(SMALL, "a", 3) == judged(SMALL, "a", 3)
    assert list(judged(SMALL, "a", 3)) == [claim.name for claim in CLAIMS]


def test_counts_are_those_of_single_studies():
    ((name, cells, wrong),) = calibrate({"a": SMALL}, 12)
    found = [judged(SMALL, "a", study) for study in range(12)]
    assert name == "a"
    for cell in cells:
        assert (cell.studies, cell.true) == (12, False)
        assert cell.supported == sum(row[cell.claim] == SUPPORTED for row in found)
    assert wrong == sum(SUPPORTED in row.values() for row in found) / 12


def few(monkeypatch, **worlds):
    monkeypatch.setattr(calibration, "star", lambda: worlds)


def test_the_command_prints_a_row_a_world_and_writes_counts(monkeypatch, tmp_path, capsys):
    few(monkeypatch, nothing=SMALL, real=replace(SMALL, loss=0.3, gain=0.3), other=SMALL)
    monkeypatch.setattr(calibration, "LIMIT", 0.5)
    code = main(["--studies", "20", "--jobs", "1", "--only", "n", "--out", str(tmp_path / "counts.json")])
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows] == ["| world", "| nothing"]
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert [row["claim"] for row in counts] == [claim.name for claim in CLAIMS]
    assert all(row["studies"] == 20 for row in counts)
    assert code == 0


def test_a_rule_that_says_supported_too_often_fails(monkeypatch, capsys):
    few(monkeypatch, nothing=SMALL)
    # a rule that supports whatever points the right way
    monkeypatch.setattr(declared, "LEVEL", 1.0)
    assert main(["--studies", "60", "--jobs", "1"]) == 1
    assert "nothing: exists" in capsys.readouterr().out


def test_intervals_hold_what_they_are_about(monkeypatch, capsys):
    few(monkeypatch, nothing=SMALL)
    assert main(["--studies", "40", "--jobs", "1", "--coverage"]) == 0
    row = capsys.readouterr().out.splitlines()[2].strip("| ").split(" | ")
    assert row[0] == "nothing"
    assert min(float(row[1]), float(row[2])) > 80


def test_claims_about_sets_have_a_row_a_world(monkeypatch, capsys):
    # verdicts of known shares: always of one pair in three, and never
    worlds = {("transfer", "a"): (True, lambda rng: [SUPPORTED, UNSUPPORTED, UNTESTED])}
    worlds |= {
        ("transfer", "b"): (False, lambda rng: [UNSUPPORTED, SUPPORTED]),
        ("crowds", "c"): (False, lambda rng: [UNTESTED]),
    }
    monkeypatch.setattr(calibration, "claims", lambda: worlds)
    assert main(["--studies", "80", "--jobs", "1", "--sets"]) == 1
    printed = capsys.readouterr().out
    rows = [line.strip("| ").split(" | ") for line in printed.splitlines()[2:5]]
    assert [row[:4] for row in rows] == [
        ["transfer", "a", "yes", "33.3"], ["transfer", "b", "no", "**100.0**"], ["crowds", "c", "no", "**0.0**"],
    ]  # fmt: skip
    assert [row[5] for row in rows] == ["33.3", "0.0", "100.0"]
    assert "b: transfer 100.0 %" in printed
    assert "c: crowds" not in printed
