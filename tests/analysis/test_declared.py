"""The declared tests: their errors and order beside a slow computation, and all that keeps them from being made."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from emoscope.analysis.declared import (
    CLAIMS,
    FEWEST_DRAWS,
    RESERVED,
    SPARED,
    SUPPORTED,
    UNSUPPORTED,
    UNTESTED,
    Beyond,
    Test,
    above_rank_one,
    apart,
    beyond,
    corrected,
    gather,
    judge,
    left_over,
    rank_one,
)
from emoscope.analysis.pairs import Clips
from emoscope.testing.worlds import World, simulate
from tests.analysis import slow_declared as slow

OFF, ON = [[claim.name for claim in CLAIMS if claim.kind == kind] for kind in ("deactivate", "steer")]


def study(world=None, seed=0, targets=None, alpha=0.5):
    """A simulated study as it is judged, and the same for the slow way."""
    world = world or World(emotions=4, speakers=6, clips=1, draws=5, loss=0.2, gain=0.2, unequal=0.4)
    answers = simulate(world, np.random.default_rng(seed))
    targets = list(range(world.emotions)) if targets is None else targets
    off = cut(answers.off, targets)
    amplified = {one: cut(answers.amplified[one], targets) for one in answers.amplified}
    evidence = gather(answers.clips, answers.untouched, off, amplified, targets, alpha)
    clips = answers.clips
    lists = {one: listed(under) for one, under in amplified.items()}
    who = (clips.truth.tolist(), clips.speaker.tolist(), clips.unit.tolist(), clips.options)
    return evidence, slow.Asked(*who, answers.untouched.tolist(), targets, listed(off), lists, alpha)


def cut(under, targets):
    own, draws = under
    return own[targets], [draw[targets] for draw in draws]


def listed(under):
    return under[0].tolist(), [draw.tolist() for draw in under[1]]


WORLDS = {
    "a loss and a gain": (None, None),
    "nothing": (World(emotions=3, speakers=6, clips=2, draws=5), None),
    "sets with effects of their own": (World(emotions=4, speakers=5, clips=1, draws=6, own_loss=0.2, loss=0.3, gain=0.4), None),
    "three emotions": (World(emotions=3, speakers=6, clips=3, draws=5, loss=0.3, gain=0.3), None),
    "an option without a set": (World(emotions=5, speakers=5, clips=1, draws=5, alphas=(0.5,), loss=0.2), [0, 1, 3, 4]),
    "sessions": (World(emotions=3, speakers=10, sessions=5, clips=1, draws=5, loss=0.3, gain=0.2), None),
    "speakers of one emotion": (World(emotions=3, speakers=12, single=0.4, clips=1, draws=5, loss=0.2), None),
}  # fmt: skip


@pytest.mark.parametrize("name", WORLDS)
def test_every_number_and_verdict_is_that_of_a_slow_computation(name):
    world, targets = WORLDS[name]
    evidence, asked = study(world, seed=3, targets=targets)
    found, expected = judge(evidence), slow.declared_tests(asked)
    assert list(found) == [claim.name for claim in CLAIMS]
    for claim, test in found.items():
        row = expected[claim]
        assert test.verdict == row["verdict"], claim
        for column in ("estimate", "low", "high", "set_low", "set_high", "p", "p_holm", "df", "units", "draws"):
            value = getattr(test, column)
            close = (
                row[column] if value is None or row[column] is None else pytest.approx(row[column], rel=1e-6, abs=1e-9)
            )
            assert value == close, (claim, column)


def test_others_are_compared_with_a_third_of_the_own_loss_by_a_slow_computation():
    evidence, asked = study()
    found = beyond(evidence.off, evidence.sizes, left_over(SPARED))
    row = slow.act(asked, "spares", asked.off, asked.left_over)
    assert (found.estimate[0], found.error[0]) == pytest.approx(
        (row["estimate"], np.sqrt(row["sampling"] + row["between"] * 6 / 5))
    )


def test_both_parts_of_an_error_by_hand():
    # the target set reads 3, and 1 more or less without each of two units; draws read 0 and 2, whoever is left out
    values = np.array([[3.0], [2.0], [4.0]])
    draws = np.array([[[0.0]] * 3, [[2.0]] * 3])
    found = Beyond(values, draws, np.array([1.0, 1.0]))
    assert found.estimate.tolist() == [2.0]
    assert found.set_variance.tolist() == [1.0]  # 1/2 of (1 + 1)
    assert found.between_sets.tolist() == [2.0]  # the variance of 0 and 2
    assert found.error.tolist() == [2.0]  # 1 + 2 (1 + 1/2)
    assert found.df.tolist() == [1.0]  # 4² / (1² / 1 + 3² / 1) = 1.6 is more than two units have
    test = found.test("x")
    half = stats.t.ppf(0.975, 1) * 2
    assert (test.low, test.high) == pytest.approx((2 - half, 2 + half))
    assert test.set_high == pytest.approx(2 + stats.t.ppf(0.975, 1))
    assert test.p == pytest.approx(2 * stats.t.sf(1, 1))


def test_draws_that_differ_by_their_clips_alone_add_no_error():
    # jackknife variances of centred draws are 2 and 2 (and doubled for the mean): more than between 0 and 2
    values = np.zeros((3, 1))
    draws = np.array([[[0.0], [-2.0], [2.0]], [[2.0], [4.0], [0.0]]])
    found = Beyond(values, draws, np.array([1.0, 1.0]))
    assert found.between_sets.tolist() == [0.0]


def test_how_much_sets_differ_is_what_was_put_in():
    rng, sizes, between, spread = np.random.default_rng(0), np.ones(20), 0.5, 2.0
    found = []
    for _ in range(400):
        of_unit = spread * rng.normal(size=(11, 20))
        of_unit += np.sqrt(between) * rng.normal(size=(11, 1))
        whole = of_unit.mean(axis=1)
        without = (of_unit.sum(axis=1, keepdims=True) - of_unit) / 19
        values = np.concatenate([whole[:, None], without], axis=1)[..., None]
        found.append(Beyond(values[0], values[1:], sizes))
    # the variance of an estimate, in truth: both parts of one set and of the mean of ten
    true = (between + spread**2 / 20) * (1 + 1 / 10)
    assert np.var([one.estimate[0] for one in found]) == pytest.approx(true, rel=0.2)
    assert np.mean([one.error[0] ** 2 for one in found]) == pytest.approx(true, rel=0.05)
    rejected = np.mean([one.test("x").p < 0.05 for one in found])
    assert 0.02 < rejected < 0.08
    sets_as_given = [one.test("x") for one in found]
    assert np.mean([not one.set_low < 0 < one.set_high for one in sets_as_given]) > 0.15


def test_one_draw_says_nothing_of_how_sets_differ():
    found = Beyond(np.zeros((3, 1)), np.zeros((1, 3, 1)), np.ones(2))
    assert found.between_sets.tolist() == [0.0]
    assert found.test("x").p == 1.0


def test_an_answer_shift_is_neither_loss_nor_gain():
    world = World(emotions=4, speakers=8, draws=5, shift=-1.0, shift_varies=1.0, steer_shift=1.0)
    for seed in range(5):
        found = judge(study(world, seed)[0])
        assert {test.verdict for test in found.values()} == {UNSUPPORTED}
    world = replace(world, effects=0.0, own_loss=0.0, own_shift=0.0, varies=0.0)
    assert judge(study(world)[0])["exists"].p == 1.0  # exactly 0


def claims_of(**verdicts):
    """Six tests that would hold, but for those named, which get the p value or the estimate given."""
    signs = dict.fromkeys(OFF, -1.0) | dict.fromkeys(ON, 1.0)
    found = {name: Test(name, "", "", sign, 0.0, 0.0, 0.0, 0.0, 0.001) for name, sign in signs.items()}
    return found | {name: replace(found[name], **changed) for name, changed in verdicts.items()}


def verdicts(found):
    return [found[name].verdict for name in (*OFF, *ON)]


def test_each_claim_is_tested_only_where_the_one_before_it_holds():
    assert verdicts(corrected([claims_of()])[0]) == [SUPPORTED] * 6
    for place, name in enumerate(OFF):
        found = corrected([claims_of(**{name: {"p": 0.2}})])[0]
        assert verdicts(found) == [SUPPORTED] * place + [UNSUPPORTED] * (3 - place) + [SUPPORTED] * 3
        found = corrected([claims_of(**{name: {"estimate": 1.0}})])[0]  # clear, the other way
        assert found[name].verdict == UNSUPPORTED
    found = corrected([claims_of(exists={"p": 0.2})])[0]
    assert found["selective"].why == "it is tested only where “exists” holds"
    assert found["selective"].p == 0.001  # its number stays


def test_a_claim_behind_one_that_cannot_be_tested_cannot_be_either():
    found = corrected([claims_of(grows={"verdict": UNTESTED, "estimate": None, "p": None, "why": "no strengths"})])[0]
    assert verdicts(found) == [SUPPORTED] * 4 + [UNTESTED] * 2
    assert found["grows"].why == "no strengths"


def test_the_first_claims_are_corrected_over_both_sequences_and_all_corpora():
    found = corrected([claims_of(exists={"p": 0.03}, steers={"p": 0.02})])[0]
    assert (found["steers"].p_holm, found["exists"].p_holm) == pytest.approx((0.04, 0.04))
    assert found["exists"].verdict == SUPPORTED
    found = corrected([claims_of(exists={"p": 0.03}, steers={"p": 0.03})])[0]
    assert verdicts(found) == [UNSUPPORTED] * 6
    assert found["disproportionate"].p_holm is None
    two = corrected([claims_of(exists={"p": 0.02}), claims_of(steers={"p": 0.02})])
    # 4 of 4 tests: 0.001 x 4, 0.001 x 3; then 0.02 x 2 for both
    assert [one[name].p_holm for one in two for name in ("exists", "steers")] == pytest.approx(
        [0.04, 0.004, 0.004, 0.04]
    )
    assert verdicts(two[0]) == verdicts(two[1]) == [SUPPORTED] * 6
    three = corrected([claims_of(exists={"p": 0.03}), claims_of(), claims_of(exists={"p": 0.03})])
    assert [one["exists"].verdict for one in three] == [UNSUPPORTED, SUPPORTED, UNSUPPORTED]


def test_a_reason_is_that_of_the_verdict_and_what_a_number_is_of_stays():
    null = {"permutation_p": 0.1, "permutation_floor": 0.05, "permuted": 19}
    first = corrected([claims_of(exists={"p": 0.02} | null, selective={"why": "closest: {0} and {1}"})])[0]
    assert first["exists"].why == "sets found on permuted labels do as much: p = 0.100"
    assert first["selective"].why == "it is tested only where “exists” holds; closest: {0} and {1}"
    doubted = replace(first["steers"], verdict=RESERVED, why="one session")
    weaker = corrected([first | {"steers": replace(doubted, p=0.04)}, claims_of(exists={"p": 0.04})])[0]
    assert [weaker[name].verdict for name in ("exists", "steers")] == [UNSUPPORTED, UNSUPPORTED]
    assert [weaker[name].why for name in ("exists", "steers")] == ["", ""]
    assert weaker["selective"].why == first["selective"].why
    without = {"permutation_p": None, "permutation_floor": None}
    assert (
        corrected([first | {"exists": replace(first["exists"], **without)}])[0]["selective"].why
        == "closest: {0} and {1}"
    )


def test_a_first_claim_that_cannot_be_tested_still_counts():
    lacking = {"verdict": UNTESTED, "estimate": None, "p": None}
    found = corrected([claims_of(exists={"p": 0.03}, steers=lacking)])[0]
    assert found["exists"].p_holm == pytest.approx(0.06)
    assert found["steers"].p_holm is None


def without(world, **changed):
    return judge(study(replace(world, **changed))[0])


USUAL = World(emotions=4, speakers=8, clips=3, draws=5, loss=0.3, gain=0.3)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"emotions": 2}, "only 2 emotions have pairs of which at least 5 speakers (or sessions) have both"),
        ({"speakers": 4}, "only 0 emotions have pairs"),
        ({"speakers": 12, "sessions": 4}, "only 0 emotions have pairs"),
        ({"separation": (0.0, 0.0), "alike": 2.0, "noise": 3.0}, "the untouched model does not clearly tell"),
        ({"draws": 4}, "4 draws of control sets: 5 are needed"),
    ],
)
def test_what_keeps_all_claims_from_being_tested(changed, why):
    found = without(USUAL, **changed)
    assert set(verdicts(found)) == {UNTESTED}
    assert all(test.why.startswith(why) and test.estimate is None for test in found.values())


def test_what_keeps_some_claims_from_being_tested():
    found = judge(replace(study(USUAL)[0], off=None))
    assert found["selective"].why == "no set was switched off"
    assert found["exists"].p is None
    evidence = study(USUAL)[0]
    for alpha in (None, 0.75):
        assert judge(replace(evidence, alpha=alpha))["steers"].why == "no set was amplified by the declared strength"
    some = judge(study(USUAL, targets=[0, 2])[0])
    assert some["exists"].why.startswith("only 2 emotions have sets")
    few = {alpha: act for alpha, act in evidence.amplified.items() if alpha > 0.25}
    assert judge(replace(evidence, amplified=few))["grows"].verdict == UNTESTED
    # strengths without enough control sets are none: a slope of sets alone would count what any sets do
    weak = evidence.amplified[0.25]
    few = dict(evidence.amplified) | {0.25: replace(weak, draws=weak.draws[:FEWEST_DRAWS - 1])}  # fmt: skip
    found = judge(replace(evidence, amplified=few))
    assert (found["steers"].verdict, found["grows"].verdict) == (SUPPORTED, UNTESTED)
    assert found["grows"].why == "fewer than 3 strengths up to 1 with 5 draws of control sets"


def test_strengths_beyond_one_do_not_count_for_the_slope():
    evidence = study(USUAL)[0]
    far = dict(evidence.amplified) | {4.0: evidence.off, -1.0: evidence.off}
    assert judge(replace(evidence, amplified=far))["grows"] == judge(evidence)["grows"]


def few_of(emotion, speakers=9, clips=2, keep=3):
    """A study in which only some speakers speak in one emotion."""
    world = replace(USUAL, speakers=speakers, clips=clips)
    answers = simulate(world, np.random.default_rng(1))
    kept = (answers.clips.truth != emotion) | (answers.clips.speaker < keep)
    clips = Clips(answers.clips.truth[kept], answers.clips.speaker[kept], answers.clips.unit[kept], 4)
    off = (answers.off[0][:, kept], [draw[:, kept] for draw in answers.off[1]])
    return clips, answers.untouched[kept], off


def test_an_emotion_that_few_speakers_have_takes_no_part():
    clips, untouched, off = few_of(2)
    assert clips.testable.any(axis=0).tolist() == [True, True, False, True]
    found = judge(gather(clips, untouched, off, {}, range(4), None))
    assert found["exists"].verdict == SUPPORTED
    assert np.isfinite(found["exists"].estimate)
    only = cut(off, [0, 1, 3])
    assert judge(gather(clips, untouched, only, {}, [0, 1, 3], None)) == found


def test_every_emotion_must_be_comparable_with_every_other_one():
    answers = simulate(replace(USUAL, speakers=12, clips=4), np.random.default_rng(1))
    first = answers.clips.speaker < 6
    # some speakers have emotions 0 to 2, the others 2 and 3: 3 has no third emotion in common with the first two
    kept = np.where(first, answers.clips.truth < 3, answers.clips.truth > 1)
    clips = Clips(answers.clips.truth[kept], answers.clips.speaker[kept], answers.clips.unit[kept], 4)
    off = (answers.off[0][:, kept], [draw[:, kept] for draw in answers.off[1]])
    found = judge(gather(clips, answers.untouched[kept], off, {}, range(4), None))
    assert found["exists"].verdict == found["disproportionate"].verdict == SUPPORTED
    assert found["selective"].verdict == UNTESTED
    assert found["selective"].why.startswith("too few speakers (or sessions) to compare every emotion")


def test_two_emotions_hit_alike_are_not_selective():
    rejected = dict.fromkeys(OFF, 0)
    world = World(emotions=7, speakers=15, clips=3, draws=5, alphas=(), loss=0.3, neighbour=1.0)
    for seed in range(10):
        for name in OFF:
            rejected[name] += judge(study(world, seed)[0])[name].verdict == SUPPORTED
    assert rejected["exists"] == rejected["disproportionate"] == 10
    assert rejected["selective"] <= 1


def test_one_pair_hit_alike_is_enough():
    """Sets of three emotions know theirs; that of the first takes as much from the second."""
    answers = simulate(replace(USUAL, speakers=20, clips=5), np.random.default_rng(0))
    off = answers.off[0].copy()
    clips = answers.clips
    peaks = answers.untouched[clips.truth == 1].mean(axis=0)
    second = np.flatnonzero(clips.truth == 1)
    whole = judge(gather(clips, answers.untouched, answers.off, {}, range(4), None))
    assert whole["selective"].verdict == SUPPORTED
    for option in (0, 2, 3):
        off[0][second, option] += 0.3 * (peaks[1] - peaks[option] + 2)
    found = judge(gather(clips, answers.untouched, (off, answers.off[1]), {}, range(4), None))
    assert found["exists"].verdict == SUPPORTED
    assert found["selective"].verdict == UNSUPPORTED
    assert found["selective"].why == "closest: {0} and {1}"


def test_a_product_off_the_diagonal_is_found_whatever_the_diagonal():
    rng = np.random.default_rng(0)
    potent, fragile = rng.uniform(0.5, 2, (2, 6))
    whole = np.outer(potent, fragile)
    holed = whole + np.diag(rng.normal(size=6) * 10)
    np.testing.assert_allclose(rank_one(holed), whole, rtol=1e-3)
    lacking = holed.copy()
    lacking[0, 3] = np.nan
    np.testing.assert_allclose(rank_one(lacking, rounds=200), whole, rtol=1e-3)
    assert (rank_one(-whole) == 0).all()


def test_strong_sets_on_fragile_emotions_do_not_pass_for_selective():
    world = World(emotions=5, speakers=20, clips=3, draws=5, product=0.15, potency=0.6, fragility=0.6)
    found = [judge(study(world, seed)[0])["selective"].verdict for seed in range(12)]
    assert found.count(SUPPORTED) <= 1
    evidence, asked = study(replace(world, emotions=4))
    assert above_rank_one(evidence.off.own)[0] == pytest.approx(asked.above_rank_one(asked.off[0]))


def test_the_estimand_of_a_study_is_the_mean_over_its_sets():
    evidence, asked = study()
    assert apart(evidence.off.own)[0] == pytest.approx(asked.apart(asked.off[0]))


def test_later_claims_of_a_failed_sequence_can_be_left_uncounted():
    world = World(emotions=4, speakers=6, clips=2, draws=5)
    evidence = study(world, seed=3)[0]
    whole, short = judge(evidence), judge(evidence, onward=False)
    assert verdicts(whole) == verdicts(short)
    assert whole["selective"].estimate is not None
    assert short["selective"].estimate is None
