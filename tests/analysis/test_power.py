"""Power by simulation, against what is known in closed form, against the claims' own error, and against simulated studies."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import nct, t

from emoscope.analysis.answer_table import answer_table, run_answers
from emoscope.analysis.beyond import Beyond, Names
from emoscope.analysis.judging import judge
from emoscope.analysis.load import read_run
from emoscope.analysis.power import Spread, needs, power, run_spread, simulated, spread_of
from emoscope.testing.calibration import judged
from emoscope.testing.worlds import World, simulate

EXAMPLE = Path(__file__).parents[2] / "docs" / "example-run"
KNOWN = Spread(between=0.2, within=0.4, sets=0.0, emotions=5, whole=4.0, alone=0.0, names_alone=0.0)
USUAL = Spread(between=0.2, within=0.4, sets=0.05, emotions=5, whole=4.0)


def measured(world: World, claim: str = "exists", seed: int = 0) -> Spread:
    return spread_of(answer_table(simulate(world, np.random.default_rng(seed)).to_frame()), claim)


@pytest.mark.parametrize(("speakers", "clips", "loss"), [(5, 20, 12.0), (10, 10, 8.0), (24, 3, 4.0), (24, 100, 3.0)])
def test_power_is_that_of_the_noncentral_t_where_sets_do_not_differ(speakers, clips, loss) -> None:
    error = np.sqrt((0.2**2 + 0.4**2 / clips) / speakers)
    # half the level: the first claim of two sequences, after Holm
    known = 100 * nct.sf(t.ppf(1 - 0.0125, speakers - 1), speakers - 1, 4.0 * loss / 100 / error)
    # 20,000 studies: a standard error of 0.35 points at most
    assert power(loss, KNOWN, speakers, clips, studies=20_000) == pytest.approx(known, abs=1.2)


@pytest.mark.parametrize(
    # one side of half the level is 1.25 %; where clips explain as much of how draws differ as sets do, it may be 2.1 %
    ("spread", "most"),
    [
        (KNOWN, 1.6),
        (replace(USUAL, alone=0.05), 1.7),
        (USUAL, 2.4),
        (replace(USUAL, sets=0.5, sizes=(0.4, 1.0, 1.6)), 1.9),
    ],
)
def test_without_a_loss_the_claim_is_seldom_supported(spread: Spread, most: float) -> None:
    assert power(1e-9, spread, 24, 10, studies=20_000) < most


def test_each_study_is_judged_by_the_error_of_the_claims() -> None:
    spread = replace(USUAL, sizes=(0.5, 1.0, 1.0, 1.5))
    own, draws, sizes, names = simulated(7.0, spread, 8, 5, studies=60)
    found = []
    for study in range(60):
        values = [own[:, study], *draws[:, :, study]]
        # with all speakers and without each, one after the other
        means = [
            [np.average(value, weights=sizes)]
            + [np.average(np.delete(value, g), weights=np.delete(sizes, g)) for g in range(8)]
            for value in values
        ]
        columns = np.array(means)[..., None]
        of_study = Names(names.found[[study]], names.alone[[study]], names.df)
        test = Beyond(columns[0], columns[1:], sizes, of_study).test("exists")
        found.append(test.estimate > 0 and test.p < 0.025)
    assert 0.1 < np.mean(found) < 0.95
    assert power(7.0, spread, 8, 5, studies=60) == pytest.approx(100 * np.mean(found))


@pytest.mark.parametrize("own_names", [None, 0.15])
def test_what_target_sets_do_to_other_names_is_as_if_drawn_for_every_speaker(own_names: float | None) -> None:
    """Against tables of every set under every name, drawn number by number for each speaker of each study."""
    spread = replace(USUAL, sets=0.08, names=own_names, names_alone=0.7, draws=5)
    k, speakers, rng = 5, 8, np.random.default_rng(5)
    of_set = k**2 / (k - 1)  # variance of one set under one name, as a multiple of that of the mean over sets
    speaks = 0.7 * (0.2**2 + 0.4**2 / 5) * of_set
    tables = []
    for _ in range(1500):
        target = np.sqrt(of_set) * (0.08 if own_names is None else own_names) * rng.normal(size=(k, k))
        controls = np.sqrt(of_set) * 0.08 * rng.normal(size=(5, k, k))
        each = target - controls.mean(axis=0) + np.sqrt(speaks) * rng.normal(size=(speakers, k, k))
        each -= each.mean(axis=2, keepdims=True)
        rows = np.stack([each.mean(axis=0), *(np.delete(each, g, axis=0).mean(axis=0) for g in range(speakers))])
        tables.append(Names.of(rows, np.ones(speakers)))
    names = simulated(4.0, spread, speakers, 5, studies=1500)[3]
    assert names.df == tables[0].df
    for what in ("found", "alone"):
        drawn = np.concatenate([getattr(table, what) for table in tables])
        assert getattr(names, what).mean() == pytest.approx(drawn.mean(), rel=0.05), what
        assert getattr(names, what).std() == pytest.approx(drawn.std(), rel=0.12), what


def test_target_sets_that_act_more_than_controls_need_a_larger_loss() -> None:
    as_controls, potent = (power(8.0, replace(USUAL, names=names), 24, 10, studies=2000) for names in (None, 0.15))
    assert as_controls > 90
    assert potent < as_controls - 20
    assert power(8.0, replace(USUAL, names=0.05), 24, 10, studies=2000) == as_controls
    # a quarter of how sets act on three names is known from three numbers
    assert power(4.0, replace(USUAL, emotions=3), 24, 10) < power(4.0, replace(USUAL, emotions=9), 24, 10) - 5


def test_the_spread_of_a_run_is_found_again_in_the_error_of_its_claim() -> None:
    """With speakers of equal size, the interval for these very sets is t times sqrt((between^2 + within^2 / n) / G)."""
    run = read_run(EXAMPLE)
    table, alpha = run_answers(run)
    row = judge(table, alpha=alpha).tests.row(0, named=True)
    spread = run_spread(run)
    assert (spread.estimate, spread.draws, spread.emotions) == (pytest.approx(row["estimate"]), 19, 7)
    error = np.sqrt((spread.between**2 + spread.within**2 / (525 / 7 / 25)) / 25)
    assert t.ppf(0.975, 24) * error == pytest.approx((row["set_high"] - row["set_low"]) / 2, rel=1e-6)


@pytest.mark.parametrize("claim", ["exists", "disproportionate"])
def test_sets_clips_and_speakers_that_differ_are_told_apart(claim: str) -> None:
    quiet = World(
        emotions=4, speakers=60, clips=4, draws=16, effects=0.0, own_loss=0.0, own_shift=0.5, varies=0.0, loss=0.2, alphas=()
    )  # fmt: skip
    still = measured(quiet, claim)
    whole = still.whole
    # shifts of answers are nothing
    assert max(still.between, still.within, still.sets) < 1e-3 * whole
    assert still.estimate == pytest.approx(-0.2 * whole, rel=0.05)  # clips vary
    # four sets, each of which one speaker loses by half as much more or less
    people = measured(replace(quiet, varies=0.5), claim)
    assert people.between == pytest.approx(0.2 * 0.5 * whole / 4**0.5, rel=0.2)
    assert people.within < 1e-3 * whole
    clips = measured(replace(quiet, effects=0.3), claim)
    assert clips.within > 0.02 * whole
    assert clips.between < 0.5 * clips.within / 4**0.5
    assert measured(replace(quiet, effects=0.6), claim).within == pytest.approx(2 * clips.within, rel=0.01)
    own = measured(replace(quiet, own_loss=0.1), claim)
    assert own.sets > 0.01 * whole
    assert own.within < 1e-3 * whole
    assert measured(replace(quiet, own_loss=0.2), claim).sets == pytest.approx(2 * own.sets, rel=0.01)
    # of potent target sets the control sets tell nothing; four sets lose .1 (1 + 1/3)^(1/2) of an emotion, more or less
    quiet = replace(quiet, loss=0.0)
    still, potent = measured(quiet, claim), measured(replace(quiet, potent=0.1), claim)
    assert max(potent.sets, still.names) < 1e-3 * whole
    assert potent.names == pytest.approx(0.1 / 3**0.5 * whole, rel=0.4)
    assert measured(replace(quiet, potent=0.2), claim).names == pytest.approx(2 * potent.names, rel=0.01)


def test_speakers_of_one_session_are_one_unit() -> None:
    world = World(emotions=4, speakers=60, clips=6, draws=5, loss=0.3, effects=0.1, alphas=())
    alone, shared = measured(world), measured(replace(world, sessions=30))
    # the mean of two speakers
    assert shared.between == pytest.approx(alone.between / 2**0.5, rel=0.3)
    assert shared.within == pytest.approx(alone.within)
    assert "30 speakers or sessions" in shared.source


def test_more_speakers_and_more_clips_need_less_of_the_other() -> None:
    spread = replace(USUAL, between=0.3, within=1.0)
    found = needs(8.0, spread, (5, 15, 24, 50, 100), (3, 30), studies=400)
    fewest = [one.clips for one in found]
    assert fewest[0] is None  # speakers differ too much: no number of clips is enough
    known = [clips for clips in fewest if clips]
    assert known == sorted(known, reverse=True)
    assert all(one.power[3] <= one.power[30] for one in found)
    assert found == needs(8.0, spread, (5, 15, 24, 50, 100), (3, 30), studies=400)
    last = found[-1]
    assert last.clips
    assert power(8.0, spread, 100, last.clips, 400) >= 80
    assert last.clips == 1 or power(8.0, spread, 100, last.clips - 1, 400) < 80
    # sets that differ are not made up for by speakers
    assert power(5.0, replace(spread, sets=0.3), 100, 30, 400) < 20


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 5"):
        needs(5.0, USUAL, (4,), (3,))
    with pytest.raises(ValueError, match="loss 0, clips 3"):
        needs(0.0, USUAL, (5,), (3,))
    with pytest.raises(ValueError, match="spreads of at least 0"):
        replace(USUAL, between=-1.0)
    with pytest.raises(ValueError, match="spreads of at least 0"):
        replace(USUAL, names=-0.1)
    with pytest.raises(ValueError, match="4 draws of control sets: claims need at least 5"):
        replace(USUAL, draws=4)
    with pytest.raises(ValueError, match="choose from exists, disproportionate"):
        run_spread(read_run(EXAMPLE), "excess_gap")
    with pytest.raises(ValueError, match="4 draws of control sets are switched off, 5 are needed"):
        measured(World(emotions=3, speakers=5, draws=4))
    with pytest.raises(ValueError, match="2 emotions have a set, 3 are needed"):
        measured(World(emotions=2, speakers=5, draws=5))


@pytest.mark.long
@pytest.mark.parametrize(
    ("speakers", "loss", "potent"), [(10, 2.0, 0.0), (25, 2.0, 0.0), (25, 10.0, 0.1)], ids=["10", "25", "potent"]
)
def test_power_agrees_with_simulated_studies(speakers: int, loss: float, potent: float) -> None:
    world = World(speakers=speakers, loss=loss / 100, potent=potent, alphas=(0.5,))
    # what one run measures varies, and so does what the untouched model tells apart
    runs = [replace(measured(replace(world, speakers=60, draws=30), seed=run), draws=world.draws) for run in range(6)]
    expected = np.mean([power(loss, spread, speakers, world.clips) for spread in runs])
    found = [
        judged(world, f"power, {speakers} speakers, {potent}", study)["exists"] == "supported" for study in range(400)
    ]
    # 5 points, and two standard errors of the share of 400 studies
    assert expected == pytest.approx(100 * np.mean(found), abs=5 + 4)


@pytest.mark.journey
def test_the_command_says_its_assumptions(tmp_path: Path) -> None:
    program = "import sys; from emoscope.cli import app; app(sys.argv[1:], result_action='return_value'); assert 'torch' not in sys.modules"
    for further, said in (
        ((str(EXAMPLE), "--loss", "5", "--speakers", "10"), "What was found there is -0.791 nat, a loss of 17.1 %."),
        (("--between", "0.3", "--separation", "4", "--speakers", "10"), "assumed; between, separation as given"),
        (("--sets", "0.1", "--speakers", "10"), "target sets on emotions other than their own by 0.1 (standard"),
        (
            ("--names", "0.2", "--speakers", "10"),
            "differ by 0.09, target sets on emotions other than their own by 0.2 (",
        ),
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
