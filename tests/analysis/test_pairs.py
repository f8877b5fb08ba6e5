"""Separations of pairs of emotions, beside a slow count that really leaves units out, and what leaves them untouched."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoscope.analysis.declared import apart, apart_share, gather
from emoscope.analysis.pairs import FEWEST_UNITS, Clips, PairChange
from tests.analysis.slow_declared import Asked

NESTED = "every speaker in a unit of his own"
SHARED = "two speakers a unit"
CROSSED = "speakers who speak in several units"


def drawn(seed, units=NESTED, speakers=7, options=4, most=4):
    """Clips with unequal numbers, some speakers in one emotion only, and log-probabilities of two sets."""
    rng = np.random.default_rng(seed)
    rows = []
    for who in range(speakers):
        emotions = [rng.integers(options)] if who % 4 == 3 else range(options)
        for emotion in emotions:
            for _ in range(rng.integers(0, most + 1)):
                unit = {NESTED: who, SHARED: who // 2, CROSSED: (who + rng.integers(3)) % speakers}[units]
                rows.append((emotion, who, unit))
    rng.shuffle(rows)
    truth, speaker, unit = (np.unique(part, return_inverse=True)[1] for part in np.array(rows).T)
    truth = np.array([row[0] for row in rows])
    logp = rng.normal(size=(2, len(rows), options)) + 1.5 * np.eye(options)[truth]
    logp[1] = logp[1].round()  # ties
    return Clips(truth, speaker, unit, options), logp


def slow(clips, logp):
    """Separations and AUCs by leaving the clips of every unit out."""
    asked = Asked(clips.truth.tolist(), clips.speaker.tolist(), clips.unit.tolist(), clips.options, [], [])
    shape = (1 + clips.units, len(logp), clips.options, clips.options)
    found = np.full((2, *shape), np.nan)
    for one, gone in enumerate((None, *range(clips.units))):
        for place, values in enumerate(logp.tolist()):
            for e in range(clips.options):
                for c in range(clips.options):
                    if e != c:
                        found[0, one, place, e, c] = asked.separation(values, e, c, gone)
                        found[1, one, place, e, c] = asked.auc(values, e, c, gone)
    return found


@pytest.mark.parametrize("units", [NESTED, SHARED, CROSSED])
@pytest.mark.parametrize("seed", range(4))
def test_separations_and_aucs_are_those_of_a_slow_count(units, seed):
    clips, logp = drawn(seed, units)
    separations, aucs = slow(clips, logp)
    off = ~np.eye(clips.options, dtype=bool)
    np.testing.assert_allclose(clips.separations(logp)[..., off], separations[..., off], atol=1e-10)
    np.testing.assert_allclose(clips.aucs(logp)[..., off], aucs[..., off], atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([NESTED, SHARED, CROSSED]), st.integers(1, 6), st.integers(2, 4))
def test_separations_are_those_of_a_slow_count_whatever_the_clips(seed, units, speakers, options):
    clips, logp = drawn(seed, units, speakers, options, most=2)
    off = ~np.eye(clips.options, dtype=bool)
    np.testing.assert_allclose(clips.separations(logp)[..., off], slow(clips, logp)[0][..., off], atol=1e-10)


@pytest.mark.parametrize("units", [NESTED, SHARED, CROSSED])
def test_which_pairs_have_enough_units(units):
    clips, logp = drawn(2, units, speakers=8)
    asked = Asked(
        clips.truth.tolist(), clips.speaker.tolist(), clips.unit.tolist(), clips.options, logp[0].tolist(), []
    )
    testable = np.zeros((clips.options,) * 2, bool)
    for pair in asked.pairs:
        testable[pair] = testable[pair[::-1]] = True
    assert clips.testable.tolist() == testable.tolist()
    assert np.isfinite(clips.separations(logp)[:, :, testable]).all()


def test_the_weights_of_units_are_what_leaving_them_out_takes():
    for units in (NESTED, SHARED, CROSSED):
        clips, _ = drawn(1, units)
        asked = Asked(clips.truth.tolist(), clips.speaker.tolist(), clips.unit.tolist(), clips.options, [], [])
        np.testing.assert_allclose(clips.sizes, [asked.weight(unit) for unit in range(clips.units)], atol=1e-9)


def test_a_pair_that_hangs_on_one_unit_is_not_testable():
    # one speaker in five sessions: anger in each, fear in one of them alone
    truth = np.array([0, 0, 0, 0, 0, 1])
    clips = Clips(truth, np.zeros(6, int), np.array([0, 1, 2, 3, 4, 2]), 2)
    assert not clips.testable.any()
    assert FEWEST_UNITS == 5


def test_speakers_of_one_emotion_do_not_count():
    clips, logp = drawn(0, speakers=8)
    alone = np.isin(clips.speaker, [3, 7])
    assert alone.any()
    whole = [who for who in range(clips.speaker.max() + 1) if not alone[clips.speaker == who].any()]
    rest = np.isin(clips.speaker, whole)
    codes = {who: code for code, who in enumerate(whole)}
    speaker = np.array([codes[who] for who in clips.speaker[rest]])
    without = Clips(clips.truth[rest], speaker, speaker, clips.options).separations(logp[:, rest])
    np.testing.assert_allclose(without[0], clips.separations(logp)[0])


def even(options, speakers=6, each=3):
    truth = np.tile(np.repeat(np.arange(options), each), speakers)
    speaker = np.repeat(np.arange(speakers), options * each)
    return Clips(truth, speaker, speaker, options)


def answers(clips, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(clips.truth), clips.options)) + 2 * np.eye(clips.options)[clips.truth]


def moved(clips, before, change, targets=None):
    """What one set per target does; ``change`` has the dimensions (target, item, option)."""
    targets = range(clips.options) if targets is None else targets
    evidence = gather(clips, before, (before + change, []), {}, targets, None)
    assert evidence.off is not None
    return evidence.off.own


@pytest.mark.parametrize("options", [3, 7])
@pytest.mark.parametrize(
    "kind", ["alike", "differing between speakers", "common to all options", "common and different on every clip"]
)
def test_a_shift_of_the_answers_changes_nothing(options, kind):
    clips, rng = even(options), np.random.default_rng(1)
    before = answers(clips)
    shape = (options, len(clips.truth), options)
    change = {
        "alike": np.broadcast_to(rng.normal(size=(options, 1, options)), shape),
        "differing between speakers": rng.normal(size=(options, 6, options))[:, clips.speaker],
        "common to all options": np.full(shape, 0.7),
        "common and different on every clip": np.broadcast_to(rng.normal(size=(options, shape[1], 1)), shape),
    }[kind]
    found = moved(clips, before, change)
    np.testing.assert_allclose(found.change[..., found.testable], 0, atol=1e-12)
    np.testing.assert_allclose(apart(found), 0, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-3, 3), st.sampled_from([NESTED, SHARED, CROSSED]))
def test_shifts_of_speakers_and_clips_leave_every_separation(seed, size, units):
    clips, logp = drawn(seed, units, most=2)
    rng = np.random.default_rng(seed)
    of_speaker = size * rng.normal(size=(clips.speaker.max() + 1, clips.options))[clips.speaker]
    of_clip = size * rng.normal(size=(len(clips.truth), 1))
    before, after = clips.separations(logp), clips.separations(logp + of_speaker + of_clip)
    np.testing.assert_allclose(after, before, atol=1e-9)


@pytest.mark.parametrize("options", [3, 7])
@pytest.mark.parametrize("loss", [0.15, -0.1])
def test_a_relative_loss_reads_as_itself_whatever_the_number_of_emotions(options, loss):
    clips = even(options)
    before = answers(clips)
    own = np.eye(options, dtype=bool)[clips.truth]
    # on clips of its own emotion a set takes a share of what sets the option above the others; elsewhere nothing
    sums = np.stack([clips.sums(before)[:, e].sum(axis=0) / clips.counts[:, e].sum() for e in range(options)])
    change = np.zeros((options, len(clips.truth), options))
    for m in range(options):
        for c in range(options):
            apart_now = sums[m, m] - sums[m, c] - sums[c, m] + sums[c, c]
            change[m, own[:, m], c] += loss * apart_now
    found = moved(clips, before, change)
    np.testing.assert_allclose(found.own_share[0], -100 * loss)
    np.testing.assert_allclose(found.others_share[0], 0, atol=1e-9)
    np.testing.assert_allclose(apart_share(found)[0], -100 * loss)


def test_less_confidence_is_no_larger_share_of_any_emotion():
    clips = even(5)
    before = answers(clips)
    found = moved(clips, before, np.broadcast_to(-0.2 * before, (5, *before.shape)))
    np.testing.assert_allclose(found.own_share, -20)
    np.testing.assert_allclose(found.others_share, -20)
    np.testing.assert_allclose(apart(found), 0, atol=1e-12)  # each option has a set, and every pair two emotions
    np.testing.assert_allclose(found.nearest[np.isfinite(found.nearest)], 0, atol=1e-9)


def test_losses_are_those_of_a_slow_count():
    clips, logp = drawn(3, speakers=9)
    rng = np.random.default_rng(0)
    targets = (0, 1, 3)
    sets = logp[0] + rng.normal(size=(3, *logp[0].shape)) * 0.3
    off = (sets, [])
    own = gather(clips, logp[0], off, {}, targets, None).off.own
    asked = Asked(
        clips.truth.tolist(), clips.speaker.tolist(), clips.unit.tolist(), clips.options, logp[0].tolist(), targets
    )
    every = sets.tolist()
    for place, gone in ((0, None), (3, 2)):
        for m, target in enumerate(targets):
            assert own.own[place, m] == pytest.approx(asked.mean_change(every, m, True, gone))
            assert own.others[place, m] == pytest.approx(asked.mean_change(every, m, False, gone))
            assert own.own_share[place, m] == pytest.approx(asked.share(every, m, True, gone))
            assert own.others_share[place, m] == pytest.approx(asked.share(every, m, False, gone))
            for emotion in range(clips.options):
                if emotion == target or not asked.thirds(m, emotion):
                    assert np.isnan(own.nearest[place, m, emotion])
                else:
                    assert own.nearest[place, m, emotion] == pytest.approx(asked.nearest(every, m, emotion, gone))


def test_an_emotion_without_pairs_is_not_told_a_number():
    change = np.zeros((1, 1, 3, 3))
    testable = np.zeros((3, 3), bool)
    found = PairChange((2,), change, np.ones((1, 3, 3)), testable)
    assert np.isnan(found.own).all()
    assert np.isnan(found.own_share).all()
