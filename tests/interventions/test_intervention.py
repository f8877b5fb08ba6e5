"""Interventions as values, and the gains that they become."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emoscope.interventions.intervention import POSITIONS, Edit, Intervention, deactivate, gains_for, nothing, steer
from emoscope.models.values import ModelInfo

INFO = ModelInfo("m", "f", None, "", 3, 4, 8, 16, True, "left", "float32", "cpu")

neurons = st.lists(st.integers(0, INFO.layers * INFO.width - 1), max_size=6, unique=True)
positions = st.lists(st.sampled_from(POSITIONS), min_size=1, unique=True).map(tuple)
gain = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 1.5, 4.0])
edits = st.builds(lambda n, g, p: Edit(np.array(n, dtype=np.int64), g, p), neurons, gain, positions)
interventions = st.lists(edits, max_size=4).map(lambda found: Intervention(tuple(found)))


def slow(rows):
    """(row, scope, layer, width) by looping over everything."""
    out = np.ones((len(rows), 4, INFO.layers, INFO.width))
    for row, intervention in enumerate(rows):
        for edit in intervention.edits:
            for scope, name in enumerate(POSITIONS):
                for neuron in edit.neurons if name in edit.positions else ():
                    out[row, scope, neuron // INFO.width, neuron % INFO.width] *= edit.gain
    return out


def dense(gains, rows):
    """The same from gains."""
    out = np.ones((rows, 4, INFO.layers, INFO.width))
    for part in gains.parts:
        for layer, values in part.values.items():
            assert values.shape == (rows, INFO.width)
            assert values.dtype == torch.float32
            for row in range(rows):
                for scope in range(4):
                    if part.positions is None or part.positions[row, scope]:
                        out[row, scope, layer] *= values[row].numpy()
    return out


@given(st.lists(interventions, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_gains_say_what_the_edits_say(rows):
    np.testing.assert_allclose(dense(gains_for(INFO, rows), len(rows)), slow(rows))


@given(interventions, interventions, interventions)
@settings(max_examples=60, deadline=None)
def test_adding_is_an_algebra(a, b, c):
    def effect(intervention):
        return slow([intervention])

    np.testing.assert_allclose(effect(a + b), effect(a) * effect(b))
    np.testing.assert_allclose(effect(a + b), effect(b + a))
    assert (a + b) + c == a + (b + c)
    assert a + nothing() == a == nothing() + a


@given(interventions, st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_one_intervention_for_all_rows(intervention, rows):
    np.testing.assert_allclose(dense(intervention.gains(INFO, rows), rows), slow([intervention] * rows))


def test_gains_of_the_verbs():
    assert deactivate([5, 2, 5]).edits[0].gain == 0
    assert deactivate([5, 2, 5]).edits[0].neurons.tolist() == [2, 5]
    assert steer([1], 0.5).edits[0].gain == 1.5
    assert slow([steer([1], -1.0)]).tolist() == slow([deactivate([1])]).tolist()
    assert deactivate([1], "text+audio").edits[0].positions == ("audio", "text")
    assert deactivate([1], "all").edits[0].positions == POSITIONS
    assert deactivate(np.array([1], dtype=np.int32), ["answer"]).edits[0].positions == ("answer",)
    assert repr(nothing()) == "Intervention(nothing)"


def test_a_neuron_set_is_taken_as_it_is():
    from emoscope.neurons.neuron_set import NeuronSet

    chosen = NeuronSet("anger", np.array([1, 6], dtype=np.int64), INFO.layers, INFO.width)
    assert deactivate(chosen) == deactivate([1, 6])


def test_only_touched_layers_have_gains():
    gains = gains_for(INFO, [deactivate([5]), nothing(), steer([5], 0.0)])
    assert list(gains.values) == [1]
    assert gains.values[1].tolist() == [[1, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert gains_for(INFO, [nothing(), deactivate([])]).values == {}


def test_edits_at_different_positions_become_further_gains():
    gains = (deactivate([5], "audio") + steer([5], 1.0)).gains(INFO, 2)
    assert len(gains.parts) == 2
    same = (deactivate([5], "audio") + deactivate([6], "audio")).gains(INFO, 2)
    assert len(same.parts) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: deactivate([0], "audio+speech"), r"positions \('audio', 'speech'\) are not known"),
        (lambda: deactivate([0], ()), "positions .* are not known"),
        (lambda: steer([0], float("nan")), "gain nan is not finite"),
        (lambda: deactivate([0.5]), "give a row of whole numbers"),
        (lambda: deactivate([[1]]), "give a row of whole numbers"),
        (lambda: gains_for(INFO, [deactivate([12])]), "neuron 12: m has 3 layers x 4 neurons, numbers 0 to 11"),
        (lambda: gains_for(INFO, [deactivate([-1])]), "neuron -1"),
    ],
)
def test_mistakes_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def test_adding_something_else_is_refused():
    with pytest.raises(TypeError):
        deactivate([1]) + 3


def test_a_7b_model_in_64_rows_takes_no_time():
    info = replace(INFO, layers=28, width=18_944)
    draw = np.random.default_rng(0)
    sets = [deactivate(draw.choice(28 * 18_944, 2652, replace=False)) for _ in range(5)]
    gains_for(info, sets)
    start = time.perf_counter()
    gains = gains_for(info, [sets[row % 5] for row in range(64)])
    assert time.perf_counter() - start < 3
    assert len(gains.values) == 28
    assert sum(int((gains.values[layer][7] == 0).sum()) for layer in gains.values) == 2652
    one = sets[0].gains(info, 64)
    # shared by all rows: one row in memory
    assert one.values[0].stride(0) == 0
