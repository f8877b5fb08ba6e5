"""Holm and Benjamini-Hochberg, worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from emoscope.analysis.estimate import benjamini_hochberg, holm, permutation_p


def test_holm_by_hand():
    # sorted 0.01, 0.03, 0.04: times 3, 2, 1 = 0.03, 0.06, 0.04; the last may not be below the one before
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_a_test_without_a_p_value_still_counts():
    assert holm([0.02, None]) == [0.04, None]
    assert holm([None]) == [None]


def test_benjamini_hochberg_by_hand():
    # sorted 0.01, 0.02, 0.03, 0.5: times 4/1, 4/2, 4/3, 4/4 = 0.04, 0.04, 0.04, 0.5
    assert benjamini_hochberg([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.04, 0.04, 0.5, 0.04])
    assert benjamini_hochberg([None, 0.5]) == [None, 0.5]
    assert benjamini_hochberg([None]) == [None]


@given(st.lists(st.floats(0, 1) | st.sampled_from([0.01, 0.02]), min_size=1, max_size=12))
def test_they_are_those_of_scipy_to_the_last_bit(p):
    assert benjamini_hochberg(p) == false_discovery_control(p).tolist()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_adjusted_values_are_ordered_as_the_p_values_and_never_smaller(p):
    order = sorted(range(len(p)), key=lambda i: p[i])
    for adjusted in (holm(p), benjamini_hochberg(p)):
        found = [adjusted[i] for i in order]
        assert found == sorted(found)
        assert all(after >= before - 1e-12 for after, before in zip(adjusted, p, strict=True))
        assert max(adjusted) <= 1


def test_a_permutation_test_counts_the_truth_and_ties():
    assert permutation_p(-1.0, [-2.0, -1.0, 0.0]) == (0.75, 0.25)
    assert permutation_p(-1.0, [0.0] * 19) == (0.05, 0.05)
    assert permutation_p(-1.0, [float("nan")] * 3) == (1.0, 0.25)
    assert permutation_p(-1.0, []) == (1.0, 1.0)


@given(values=st.lists(st.integers(-3, 3), min_size=1, max_size=12))
def test_a_permutation_test_keeps_its_level_where_all_draws_are_alike(values):
    # whichever of them is the truth: the share with p up to a limit is at most that
    found = [permutation_p(value, values[:n] + values[n + 1 :])[0] for n, value in enumerate(values)]
    assert all(sum(p <= limit for p in found) / len(found) <= limit for limit in found)
