"""Intervals, worked out by hand and by plain loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from emoscope.analysis.estimate import Estimate, effective_number, replicates


def test_interval_by_hand():
    # means of five speakers with one item each: 0, 0, 0, 0, 5. All: 1. Without the last: 0; without another: 5/4.
    # Mean of those: 1. Squares: 4 * (1/4)^2 + 1 = 5/4. Variance 4/5 * 5/4 = 1. t(4) at 97.5 %: 2.7764.
    values = np.array([0.0, 0, 0, 0, 5])
    found = Estimate(replicates(values) / np.array([5, 4, 4, 4, 4, 4]), np.ones(5)).interval()
    assert found.estimate == 1
    assert found.df == 4
    assert found.high == pytest.approx(1 + 2.7764, abs=1e-4)
    assert found.low == pytest.approx(1 - 2.7764, abs=1e-4)
    assert found.reason is None


def test_interval_of_a_mean_is_the_textbook_one():
    values = np.array([3.0, 1, 4, 1, 5, 9, 2])
    found = Estimate(replicates(values) / np.array([7, *[6] * 7]), np.ones(7)).interval()
    low, high = stats.t.interval(0.95, 6, values.mean(), stats.sem(values))
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_unequal_speakers_have_fewer_degrees_of_freedom():
    # (4 + 1 + 1 + 1 + 1)^2 / (16 + 4) = 64 / 20 = 3.2
    sizes = np.array([4, 1, 1, 1, 1])
    assert effective_number(sizes) == pytest.approx(3.2)
    found = Estimate(np.array([1.0, 1.1, 0.9, 1.0, 1.0, 1.0]), sizes).interval()
    assert found.df == pytest.approx(2.2)
    error = np.sqrt(4 / 5 * 0.02)
    assert found.high == pytest.approx(1 + stats.t.ppf(0.975, 2.2) * error)


@pytest.mark.parametrize(("speakers", "given_"), [(1, False), (4, False), (5, True)])
def test_fewer_than_five_speakers_get_no_interval(speakers, given_):
    found = Estimate(np.linspace(0, 1, speakers + 1), np.ones(speakers)).interval()
    assert (found.low is not None) == given_
    assert found.estimate == 0
    if not given_:
        assert found.reason == f"only {speakers} speaker{'s' * (speakers > 1)}: an interval needs at least 5"


def test_speakers_without_items_do_not_count():
    found = Estimate(np.array([1.0, 1, 1, 1, 1, 1]), np.array([3, 3, 3, 3, 0])).interval()
    assert found.speakers == 4
    assert found.low is None


def test_a_speaker_without_items_changes_nothing():
    values = np.array([1.0, 1.2, 0.9, 1.0, 1.0, 1.1])
    assert (
        Estimate(np.append(values, 1.0), np.array([2, 2, 2, 2, 2, 0])).interval()
        == Estimate(values, np.full(5, 2)).interval()
    )


def test_an_emotion_of_one_speaker_gets_no_interval():
    found = Estimate(np.array([1.0, np.nan, 1, 1, 1, 1]), np.ones(5)).interval()
    assert found.low is None
    assert "one speaker alone" in found.reason


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=5, max_size=12))
def test_interval_equals_plain_loops(speakers):
    sizes = [n for n, _ in speakers]
    hits = [min(n, h) for n, h in speakers]
    without = []
    for left_out in range(len(speakers)):
        without.append(
            sum(h for g, h in enumerate(hits) if g != left_out) / sum(n for g, n in enumerate(sizes) if g != left_out)
        )
    mean = sum(without) / len(without)
    variance = (len(without) - 1) / len(without) * sum((value - mean) ** 2 for value in without)
    df = sum(sizes) ** 2 / sum(n * n for n in sizes) - 1
    half = stats.t.ppf(0.975, df) * variance**0.5
    sums = np.array([hits, sizes], dtype=float).T
    reps = replicates(sums)
    found = Estimate(reps[:, 0] / reps[:, 1], np.array(sizes)).interval()
    assert found.estimate == pytest.approx(sum(hits) / sum(sizes))
    assert found.high - found.low == pytest.approx(2 * half, rel=1e-6, abs=1e-9)


def test_the_interval_of_a_share_stays_within_0_and_100():
    hits, items = np.array([9, 10, 10, 10, 5]), np.full(5, 10)
    share = Estimate.share(hits, items)
    found, bare = share.interval(), Estimate(share.values, items).interval()
    assert bare.high > 100
    assert (found.low, found.high, found.p) == (bare.low, 100, bare.p)
    assert Estimate.share(items - hits, items).interval().low == 0
    # a difference of shares may be below 0
    assert Estimate.share(items - hits, items).beyond(share).interval().high < 0
    assert not Estimate.share(items - hits, items).minus(share).bounded
