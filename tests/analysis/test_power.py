"""Power by simulation, against what is known in closed form and against the analysis itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import nct, t

from emoscope.analysis.estimate import Estimate, replicates
from emoscope.analysis.load import read_run
from emoscope.analysis.power import Spread, clear_of_zero, needs, power, run_spread
from emoscope.chapters.results import compute_tables
from tests.helpers.runs import write_simulation

EXAMPLE = Path(__file__).parents[2] / "docs" / "example-run"


@pytest.mark.parametrize(("speakers", "clips", "gap"), [(5, 20, 12.0), (10, 10, 8.0), (24, 3, 6.0), (24, 100, 4.0)])
def test_power_is_that_of_the_noncentral_t_for_equal_speakers(speakers: int, clips: int, gap: float) -> None:
    spread = Spread(between=6.0, within=16.0, emotions=4)
    error = np.sqrt((6**2 + 16**2 / clips) / speakers)
    known = 100 * nct.sf(t.ppf(0.975, speakers - 1), speakers - 1, gap / error)
    # 20,000 studies: a standard error of 0.35 points at most
    assert power(gap, spread, speakers, clips, studies=20_000) == pytest.approx(known, abs=1.2)


def test_without_a_gap_an_interval_lies_above_zero_in_2_5_percent_of_studies() -> None:
    spread = Spread(between=6.0, within=16.0, emotions=4)
    assert power(1e-9, spread, 24, 10, studies=40_000) == pytest.approx(2.5, abs=0.3)


def test_intervals_are_those_of_the_analysis() -> None:
    rng = np.random.default_rng(0)
    gaps, sizes = rng.normal(3, 4, (200, 8)), rng.integers(3, 30, (200, 8)).astype(float)
    clear = clear_of_zero(gaps, sizes)
    for study in range(200):
        values = replicates(gaps[study] * sizes[study]) / replicates(sizes[study])
        found = Estimate(values, sizes[study]).interval()
        assert found.low is not None
        assert clear[study] == (found.low > 0)
    assert 20 < clear.sum() < 180


def test_the_spread_of_a_run_is_found_again_in_its_interval() -> None:
    """With G speakers of equal size, the interval's half width is t times sqrt((between^2 + within^2 / n) / G)."""
    run = read_run(EXAMPLE)
    spread = run_spread(run)
    effects = compute_tables(run).table("effects")
    row = next(
        one for one in effects.to_dicts()
        if (one["measure"], one["kind"], one["to"]) == ("excess_gap", "deactivate", "zero")
        and (one["selector"], one["control"], one["positions"], one.get("size")) == ("mad", "target", "all", None)
    )  # fmt: skip
    assert spread.estimate == pytest.approx(row["estimate"])
    clips = row["n"] / row["speakers"] / spread.emotions
    error = np.sqrt((spread.between**2 + spread.within**2 / clips) / row["speakers"])
    assert t.ppf(0.975, row["speakers"] - 1) * error == pytest.approx((row["high"] - row["low"]) / 2, rel=1e-6)


def test_speakers_that_differ_are_told_from_clips_that_differ(tmp_path: Path) -> None:
    # the simulated interventions differ by 20 % (standard deviation) between speakers, and so do their gaps
    write_simulation(tmp_path, "evidence", speakers=40, clips=12, seed=1)
    run = read_run(tmp_path)
    manifest = {**run.manifest, "headline": _headline(run)}
    spread = run_spread(type(run)(run.folder, run.items, run.sets, run.conditions, run.answers, manifest))
    assert spread.emotions == 3
    assert spread.estimate is not None
    assert spread.between == pytest.approx(0.2 * abs(spread.estimate), abs=2)
    assert spread.within > 20


def _headline(run) -> dict[str, object]:
    row = run.conditions.filter(run.conditions["kind"] == "deactivate").row(0, named=True)
    return {"selector": row["selector"], "budget": row["budget"], "scope": row["scope"], "alpha": 0.5}


def test_more_speakers_and_more_clips_need_less_of_the_other() -> None:
    found = needs(5.0, Spread(6.0, 16.0, 4), (5, 15, 24, 50, 100), (3, 30))
    fewest = [one.clips for one in found]
    assert fewest[0] is None  # speakers differ too much: no number of clips is enough
    known = [clips for clips in fewest if clips]
    assert known == sorted(known, reverse=True)
    assert all(one.power[3] <= one.power[30] for one in found)
    assert found == needs(5.0, Spread(6.0, 16.0, 4), (5, 15, 24, 50, 100), (3, 30))
    last = found[-1]
    assert last.clips
    assert power(5.0, Spread(6.0, 16.0, 4), 100, last.clips) >= 80
    assert last.clips == 1 or power(5.0, Spread(6.0, 16.0, 4), 100, last.clips - 1) < 80


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 5"):
        needs(5.0, Spread(6.0, 16.0, 4), (4,), (3,))
    with pytest.raises(ValueError, match="spreads of at least 0"):
        Spread(-1.0, 16.0, 4)
    with pytest.raises(ValueError, match="excess_pull_gap"):
        run_spread(read_run(EXAMPLE), "gap")


@pytest.mark.journey
def test_the_command_says_its_assumptions(tmp_path: Path) -> None:
    program = "import sys; from emoscope.cli import app; app(sys.argv[1:], result_action='return_value'); assert 'torch' not in sys.modules"
    for further, said in (
        ((str(EXAMPLE), "--gap", "10"), "The run itself found -15.1 points."),
        (("--between", "3", "--speakers", "10"), "assumed; between as given"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", program, "power", *further],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 0, done.stderr
        assert said in " ".join(done.stdout.split())
