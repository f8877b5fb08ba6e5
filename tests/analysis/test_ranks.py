"""Ranks among combinations of matched sets, by hand and by going through all combinations."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoscope.analysis.estimate import rank


def test_rank_by_hand():
    # two emotions, two draws each: sums 0 + 0, 0 - 1, -4 + 0, -4 - 1; two of them are at least as low as -3 - 1
    controls = np.array([[0.0, 0.0], [-4.0, -1.0]])
    assert rank(np.array([-3.0, -1.0]), controls, falls=True) == (3, 4)
    # all four are at least as low as 0 (equal ones count), and only 0 + 0 is at least as high
    assert rank(np.array([0.0, 0.0]), controls, falls=True) == (5, 4)
    assert rank(np.array([0.0, 0.0]), controls, falls=False) == (2, 4)
    assert rank(np.array([-5.0, -1.0]), controls, falls=True) == (1, 4)


def test_sums_that_differ_by_rounding_are_equal():
    controls = np.array([[0.1, 0.2], [0.3, 0.0]])
    assert rank(np.array([0.15, 0.15]), controls, falls=False) == (4, 4)  # 0.3, 0.1, 0.5, 0.3 with rounding errors


def test_ten_draws_of_seven_emotions_are_counted_exactly():
    rng = np.random.default_rng(0)
    controls = rng.normal(size=(10, 7))
    place, combinations = rank(controls.min(axis=0), controls, falls=True)
    assert (place, combinations) == (2, 10**7)  # the combination of all smallest draws is as low


def test_too_many_combinations_get_no_rank():
    assert rank(np.zeros(14), np.zeros((10, 14)), falls=True) is None


@pytest.mark.parametrize("falls", [True, False])
@given(values=st.lists(st.lists(st.integers(-3, 3), min_size=4, max_size=4), min_size=2, max_size=5))
def test_rank_equals_going_through_all_combinations(falls, values):
    own, controls = np.array(values[0], dtype=float), np.array(values[1:], dtype=float)
    sums = [sum(one) for one in product(*controls.T)]
    beyond = [one <= own.sum() if falls else one >= own.sum() for one in sums]
    assert rank(own, controls, falls) == (1 + sum(beyond), len(sums))
