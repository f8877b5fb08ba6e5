"""Simulated studies lose and gain what their worlds say, and are the same for the same seed."""

from dataclasses import replace

import numpy as np
import pytest

from emoscope.analysis.declared import CLAIMS, SUPPORTED, gather, judge
from emoscope.testing.worlds import NULLS, REAL, World, simulate, star

SMALL = World(emotions=4, speakers=8, clips=2, draws=5, effects=0.1)
OFF, ON = [[claim.name for claim in CLAIMS if claim.kind == kind] for kind in ("deactivate", "steer")]


def evidence(world, seed=0):
    answers = simulate(world, np.random.default_rng(seed))
    amplified = {alpha: answers.amplified[alpha] for alpha in answers.amplified}
    return gather(answers.clips, answers.untouched, answers.off, amplified, range(world.emotions), 0.5)


def mean_share(world, name, act=lambda found: found.off.own, studies=200):
    """A share of all sets' pairs over studies, as a ratio of sums, which few nats of one study do not upset."""
    moved = before = 0.0
    for seed in range(studies):
        change = act(evidence(world, seed))
        values = getattr(change, name)[0]
        there = 100 * values / getattr(change, f"{name}_share")[0]
        moved, before = moved + values.sum(), before + there.sum()
    return 100 * moved / before


@pytest.mark.parametrize("emotions", [3, 7])
def test_own_pairs_lose_the_share_that_a_world_says(emotions):
    # a pair loses f of its separation where one of its two emotions does
    world = replace(SMALL, emotions=emotions, speakers=6, clips=1, loss=0.2, alphas=())
    assert mean_share(world, "own") == pytest.approx(-20, abs=2)
    assert mean_share(world, "others") == pytest.approx(0, abs=2)


def test_own_pairs_gain_with_the_strength():
    world = replace(SMALL, speakers=6, clips=1, gain=0.2, alphas=(0.5, 1.0))
    for alpha in (0.5, 1.0):
        found = mean_share(world, "own", lambda found, alpha=alpha: found.amplified[alpha].own, studies=150)
        assert found == pytest.approx(20 * alpha, abs=2)


def test_controls_hold_the_share_that_leaks():
    world = replace(SMALL, speakers=6, clips=1, loss=0.3, leak=0.5, alphas=())
    assert mean_share(world, "own", lambda found: found.off.draws[0], studies=150) == pytest.approx(-15, abs=2.5)


def test_what_a_study_is_expected_to_change_is_what_many_clips_show():
    world = replace(SMALL, speakers=40, clips=20, loss=0.2, neighbour=0.5, own_loss=0.1, varies=0.0, alphas=())
    answers = simulate(world, np.random.default_rng(0))
    found = gather(answers.clips, answers.untouched, answers.off, {}, range(4), None)
    off = ~np.eye(4, dtype=bool)
    for place, change in enumerate((found.off.own, *found.off.draws)):
        np.testing.assert_allclose(change.change[0][:, off], answers.expected[place][:, off], atol=0.15)


@pytest.mark.parametrize("name", ["answer shift", "answer shift, differing between speakers", "floor and ceiling"])
def test_shifts_change_no_separation(name):
    still = {"effects": 0.0, "own_loss": 0.0, "own_shift": 0.0}
    found = evidence(replace(NULLS[name], **still, emotions=4, speakers=6, draws=5))
    for act in (found.off, *found.amplified.values()):
        np.testing.assert_allclose(act.own.own, 0, atol=1e-9)


def test_less_confidence_takes_the_same_share_of_everything():
    still = {"effects": 0.0, "own_loss": 0.0, "own_shift": 0.0}
    found = evidence(replace(NULLS["loss of confidence"], **still, emotions=4, speakers=6, draws=5)).off.own
    np.testing.assert_allclose(found.own_share, -20)
    np.testing.assert_allclose(found.others_share, -20)


def test_a_seed_gives_the_same_study():
    first, again, other = (simulate(SMALL, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.off[0], again.off[0])
    np.testing.assert_array_equal(first.untouched, again.untouched)
    assert not np.array_equal(first.untouched, other.untouched)


def test_who_speaks_is_as_a_world_says():
    clips = simulate(World(emotions=3, speakers=10, sessions=5, clips=2, draws=5), np.random.default_rng(0)).clips
    assert clips.units == 5
    assert all(len(set(clips.speaker[clips.unit == unit].tolist())) == 2 for unit in range(5))
    assert clips.counts.tolist() == [[2.0] * 3] * 10
    clips = simulate(World(emotions=3, speakers=200, single=0.5, draws=5), np.random.default_rng(0)).clips
    alone = ((clips.counts > 0).sum(axis=1) == 1).mean()
    assert 0.35 < alone < 0.65


@pytest.mark.parametrize(
    "name", ["nothing", "answer shift", "sets with effects of their own", "noise on the own option"]
)
def test_false_claims_are_seldom_supported(name):
    world = replace(NULLS[name], speakers=8, emotions=4, clips=2, draws=5)
    heads = {"exists": 0, "steers": 0}
    for seed in range(40):
        found = judge(evidence(world, seed))
        for head in heads:
            heads[head] += found[head].verdict == SUPPORTED
    assert max(heads.values()) <= 4  # at 2.5 % five and more of 40 are rarer than 1 in 250


@pytest.mark.parametrize("emotions", [4, 7])
def test_target_sets_that_act_more_than_controls_but_know_no_emotion_are_seldom_supported(emotions):
    name = "target sets with much larger effects of their own"
    world = replace(NULLS[name], speakers=8, emotions=emotions, clips=2, draws=5, alphas=())
    assert (world.potent, world.own_loss) == (0.15, 0.01)
    found = [judge(evidence(world, seed), onward=False)["exists"].verdict for seed in range(60)]
    assert found.count(SUPPORTED) <= 0.08 * 60


def test_target_sets_alone_are_potent():
    still = {"effects": 0.0, "own_shift": 0.0, "own_loss": 0.01, "alphas": ()}
    found = evidence(replace(SMALL, **still, potent=0.2)).off
    sizes = [np.abs(each.change[0][:, each.testable]).mean() for each in (found.own, *found.draws)]
    assert min(sizes[0] / size for size in sizes[1:]) > 10
    none = evidence(replace(SMALL, **still)).off
    np.testing.assert_allclose(none.draws[0].change, found.draws[0].change)  # controls stay as they are


def test_every_strength_is_worked_out_once():
    answers = simulate(replace(SMALL, alphas=(0.5, 1.0), shift_varies=1.0, steer_shift=1.0), np.random.default_rng(0))
    first = answers.amplified[0.5]
    np.testing.assert_array_equal(answers.amplified[1.0][0], answers.amplified[1.0][0])
    assert answers.amplified[0.5][0] is first[0]
    assert [draw is same for draw, same in zip(answers.amplified[0.5][1], first[1], strict=True)] == [True] * 5
    with pytest.raises(KeyError):
        answers.amplified[0.75]


def test_a_real_loss_and_gain_are_found():
    found = judge(evidence(REAL["a loss of 30 %, a gain of 15 %"]))
    assert {test.verdict for test in found.values()} == {SUPPORTED}


def test_every_world_says_which_claims_are_true():
    for name, world in star().items():
        truths = world.truths()
        assert list(truths) == [*OFF, *ON]
        for claims in (OFF, ON):  # a later claim is never true where an earlier one is not
            held = [truths[claim] for claim in claims]
            assert held == sorted(held, reverse=True), name
    assert all(all(world.truths().values()) for world in REAL.values())
    assert not any(NULLS["nothing"].truths().values())
    assert NULLS["two emotions hit alike"].truths() == dict.fromkeys([*OFF, *ON], True) | {
        "selective": False, "steers selectively": False,
    }  # fmt: skip
