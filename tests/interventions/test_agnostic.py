"""Gains without a label: shares of alpha, summed where an emotion's neurons are another's too."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emoscope.interventions.kinds import mix, steer, union
from emoscope.models.values import ModelInfo

INFO = ModelInfo("m", "f", None, "", 2, 12, 8, 16, True, "left", "float32", "cpu")


def gains(intervention):
    values = intervention.gains(INFO, 1).values
    return torch.stack(
        [values[layer][0] if layer in values else torch.ones(INFO.width) for layer in range(INFO.layers)]
    )


def test_three_neurons_by_hand():
    # neuron 0 is anger's, 1 is anger's and fear's, 2 is fear's; shares 1/4 and 3/4, alpha 2:
    # gains 1 + 2/4, 1 + 2, 1 + 6/4
    found = gains(mix({"anger": [0, 1], "fear": [1, 2]}, {"anger": 1.0, "fear": 3.0}, 2.0))
    assert found[0, :4].tolist() == [1.5, 3.0, 2.5, 1.0]
    assert gains(union({"anger": [0, 1], "fear": [1, 2]}, 2.0))[0, :4].tolist() == [3.0, 3.0, 3.0, 1.0]


def test_an_emotion_without_a_set_takes_its_share():
    assert gains(mix({"anger": [0]}, {"anger": 1.0, "fear": 3.0}, 2.0))[0, 0] == 1.5


@given(
    st.lists(st.integers(0, 23), min_size=3, max_size=23, unique=True),
    st.integers(1, 7),
    st.floats(-0.9, 8).filter(lambda alpha: abs(alpha) > 1e-3),
)
def test_equal_shares_of_disjoint_sets_are_the_union_at_a_part_of_alpha_bit_for_bit(neurons, count, alpha):
    sets = {f"e{n}": np.array(part, dtype=np.int64) for n, part in enumerate(np.array_split(neurons, count))}
    mixed, united = mix(sets, dict.fromkeys(sets, 1.0), alpha), union(sets, alpha / count)
    assert torch.equal(gains(mixed), gains(united))
    assert mixed == united or len(neurons) < count


def test_one_share_of_one_is_targeted_steering():
    sets = {"anger": [0, 5], "fear": [7]}
    assert torch.equal(gains(mix(sets, {"anger": 1.0, "fear": 0.0}, 0.5)), gains(steer([0, 5], 0.5)))


@pytest.mark.parametrize("shares", [{"anger": 0.0}, {"anger": -1.0, "fear": 2.0}])
def test_shares_that_are_none(shares):
    with pytest.raises(ValueError, match="must not be negative"):
        mix({"anger": [0]}, shares, 0.5)
