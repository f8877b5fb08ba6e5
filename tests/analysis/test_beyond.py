"""How differently target sets act on emotions that they are not named after is part of the error."""

import numpy as np
import pytest

from emoscope.analysis.beyond import Beyond, Names
from emoscope.analysis.declared import Act, apart_by_name, beyond_names
from emoscope.analysis.pairs import PairChange

UNITS = 6


def named(sets, draws=(), units=UNITS):
    """What sets do to separations, (target, emotion, emotion), the same whoever is left out."""
    size = len(sets)
    testable = ~np.eye(size, dtype=bool)

    def change(values):
        values = np.repeat(np.asarray(values, float)[None], 1 + units, axis=0)
        return PairChange(range(size), values, np.ones((1 + units, size, size)), testable)

    return beyond_names(Act(change(sets), tuple(change(draw) for draw in draws)), np.ones(units), apart_by_name)


def losing(losses):
    """The changes of pairs that lose what both of their emotions do, of losses (target, emotion)."""
    losses = np.asarray(losses, float)
    return -(losses[:, :, None] + losses[:, None, :]) * ~np.eye(losses.shape[1], dtype=bool)


def test_what_sets_do_to_other_emotions_by_hand():
    # what each of three sets reads under three names; those of other emotions differ by 2, 4 and 0
    values = np.array([[9.0, 1.0, 3.0], [-1.0, 9.0, 3.0], [5.0, 5.0, 9.0]])
    # without either of two units the first set's differ by 1 or 3, which is 1/2 of squares 4 x 1/4 = 0.5 of the clips
    fewer, more = values.copy(), values.copy()
    fewer[0, 1], more[0, 1] = 2.0, 0.0
    table = np.array([values, fewer, more])
    own = np.einsum("rtt->rt", table).mean(axis=1)[:, None]
    found = Beyond(own, np.zeros((2, 3, 1)), np.ones(2), Names.of(table, np.ones(2)))
    # squares about the mean of both: 2 x 1² + 2 x 2² + 0 = 10; each set has one degree of freedom, and its three numbers
    # add up to 0, 2/3; then the mean over three sets, and of their mean 1/3
    left, whole = found.between_names
    assert whole.tolist() == pytest.approx([10 * 2 / 3 / 3 / 3])
    assert left.tolist() == pytest.approx([(10 - 0.5) * 2 / 3 / 3 / 3])
    assert found.of_sets.tolist() == left.tolist()
    assert found.set_variance.tolist() == [0.0]
    assert found.error[0] ** 2 == pytest.approx(left[0])


def test_the_larger_of_both_spreads_counts():
    table = np.array([[[9.0, 1.0, 3.0], [-1.0, 9.0, 3.0], [5.0, 5.0, 9.0]]] * 4)
    own, draws = np.full((4, 1), 9.0), np.array([[[0.0]] * 4, [[2.0]] * 4])
    found = Beyond(own, draws, np.ones(3), Names.of(table, np.ones(3)))
    assert found.between_names[0] == pytest.approx([20 / 27])
    assert found.of_sets.tolist() == [3.0]  # 2 (1 + 1/2) of the draws
    assert Beyond(own, draws / 4, np.ones(3), Names.of(table, np.ones(3))).of_sets == pytest.approx([20 / 27])


def test_without_names_or_of_two_sets_there_is_none():
    own, draws = np.zeros((3, 1)), np.zeros((2, 3, 1))
    assert Beyond(own, draws, np.ones(2)).between_names[0].tolist() == [0.0]
    table = np.arange(12.0).reshape(3, 2, 2)
    assert Beyond(own, draws, np.ones(2), Names.of(table, np.ones(2))).between_names[0].tolist() == [0.0]


@pytest.mark.parametrize("size", [3, 4, 7])
def test_an_effect_on_the_own_emotion_alone_does_not_count(size):
    found = named(losing(np.diag(np.linspace(0.5, 2, size))))
    assert found.estimate[0] < -0.3
    assert found.between_names[0] == pytest.approx([0.0], abs=1e-20)


def test_emotions_that_are_fragile_under_all_sets_do_not_count():
    fragile = np.tile([0.1, 0.5, 1.0, 3.0], (4, 1))
    found = named(losing(fragile), [losing(fragile)] * 3)
    assert found.between_names[0] == pytest.approx([0.0], abs=1e-20)
    assert found.estimate == pytest.approx([0.0])


def test_sets_that_act_on_emotions_at_random_are_seen():
    rng = np.random.default_rng(0)
    found = [named(losing(rng.normal(size=(4, 4))), np.zeros((3, 4, 4, 4))) for _ in range(400)]
    true = np.var([one.estimate[0] for one in found])
    assert all(one.between_sets[0] == 0 for one in found)  # controls tell nothing of it
    assert np.mean([one.error[0] ** 2 for one in found]) == pytest.approx(true, rel=0.15)
    rejected = np.mean([one.test("x").p < 0.05 for one in found])
    assert rejected < 0.08
