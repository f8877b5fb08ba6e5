"""Interventions as values, and the gains that they become."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from emoscope.interventions.intervention import POSITIONS, Edit, Intervention, gains_for, sparse_gains
from emoscope.interventions.kinds import deactivate, steer
from emoscope.models.values import ModelInfo

INFO = ModelInfo("m", "f", None, "", 3, 4, 8, 16, True, "left", "float32", "cpu")

neurons = st.lists(st.integers(0, INFO.layers * INFO.width - 1), max_size=6, unique=True)
positions = st.lists(st.sampled_from(POSITIONS), min_size=1, unique=True).map(tuple)
gain = st.sampled_from([-1.0, 0.0, 0.5, 1.0, 1.5, 4.0])
MEANS = np.arange(INFO.layers * INFO.width, dtype=np.float32) / 8 - 0.5
"""The mean of each neuron."""

edits = st.builds(lambda n, g, p: Edit(np.array(n, dtype=np.int64), g, p), neurons, gain, positions) | st.builds(
    lambda n, p: Edit(np.array(n, dtype=np.int64), 0.0, p, MEANS[n]), neurons, positions
)
interventions = st.lists(edits, max_size=4).map(lambda found: Intervention(tuple(found)))


def slow(rows):
    """What becomes of a product of 1, (row, scope, layer, width), by looping: gains multiply, then means replace."""
    out = np.ones((len(rows), 4, INFO.layers, INFO.width))
    for row, intervention in enumerate(rows):
        for means in (False, True):
            for edit in intervention.edits:
                for scope, name in enumerate(POSITIONS):
                    for neuron in edit.neurons if name in edit.positions else ():
                        place = row, scope, neuron // INFO.width, neuron % INFO.width
                        if means and edit.means is not None:
                            out[place] = MEANS[neuron]
                        elif not means and edit.means is None:
                            out[place] *= edit.gain
    return out


def dense(gains, rows):
    """The same from gains."""
    out = np.ones((rows, 4, INFO.layers, INFO.width))
    for part in gains.parts:
        for layer in {*part.values, *part.offsets}:
            none = torch.zeros(rows, INFO.width)
            values, offsets = part.values[layer], part.offsets.get(layer, none)
            for tensor in (values, offsets):
                assert tensor.shape == (rows, INFO.width)
                assert tensor.dtype == torch.float32
            for row in range(rows):
                for scope in range(4):
                    if part.positions is None or part.positions[row, scope]:
                        out[row, scope, layer] = out[row, scope, layer] * values[row].numpy() + offsets[row].numpy()
    return out


@given(st.lists(interventions, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None)
def test_gains_say_what_the_edits_say(rows):
    np.testing.assert_allclose(dense(gains_for(INFO, rows), len(rows)), slow(rows))


@given(st.lists(interventions, min_size=1, max_size=4), st.data())
@settings(max_examples=150, deadline=None)
def test_gains_held_once_say_the_same_of_any_rows(rows, data):
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=6))
    gains, out = sparse_gains(INFO, rows).of(chosen), np.ones((len(chosen), 4, INFO.layers, INFO.width))
    assert gains.rows == len(chosen)
    for part in gains.layers:
        columns = slice(None) if part.columns is None else part.columns.numpy()
        for row, place in enumerate(gains.places):
            for scope in range(4):
                if part.positions is None or part.positions[place, scope]:
                    kept = out[row, scope, part.layer]
                    kept[columns] *= part.gain[place].numpy()
                    kept[columns] += 0 if part.offset is None else part.offset[place].numpy()
    np.testing.assert_allclose(out, slow([rows[row] for row in chosen]))
    # a layer that none of the rows touches is not hooked
    touched = {n // INFO.width for row in chosen for e in rows[row].edits if e.gain != 1 for n in e.neurons}
    assert {part.layer for part in gains.layers} == touched


@given(interventions, interventions, interventions)
@settings(max_examples=60, deadline=None)
def test_adding_is_an_algebra(a, b, c):
    def effect(intervention):
        return slow([intervention])

    def of(intervention):
        return dense(intervention.gains(INFO, 1), 1)

    if not any(edit.means is not None for edit in (*a.edits, *b.edits)):
        np.testing.assert_allclose(effect(a + b), effect(a) * effect(b))
    np.testing.assert_allclose(of(a + b), of(b + a))
    assert (a + b) + c == a + (b + c)
    assert a + Intervention() == a == Intervention() + a


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
    assert repr(Intervention()) == "Intervention(nothing)"


def test_two_neurons_set_to_their_mean_by_hand():
    # one layer of two neurons: products 4 and 10 where heard, means 1 and -2; down_proj adds them up
    info = replace(INFO, layers=1, width=2)
    gains = deactivate([0, 1], to="mean", means=[1, -2]).gains(info, 1)
    assert gains.values[0].tolist() == [[0, 0]]
    assert gains.offsets[0].tolist() == [[1, -2]]
    first = deactivate([0], to="mean", means=[1]).gains(info, 1)
    product = torch.tensor([[4.0, 10.0]]) * first.values[0] + first.offsets[0]
    assert product.tolist() == [[1, 10]]
    assert product.sum() == 11


def test_a_mean_is_taken_from_the_set_or_the_caller():
    from emoscope.neurons.sets import NeuronSet

    chosen = NeuronSet("anger", np.array([1, 6]), INFO.layers, INFO.width, mean_product=MEANS[[1, 6]])
    by_set = deactivate(chosen, to="mean")
    assert by_set.edits[0].means.tolist() == [-0.375, 0.25]
    assert by_set == deactivate([6, 1], to="mean", means=[0.25, -0.375])
    assert by_set == deactivate([6, 1, 6], to="mean", means=MEANS.reshape(INFO.layers, INFO.width))
    assert by_set != deactivate(chosen)
    assert hash(by_set) != hash(deactivate(chosen, to="mean", means=[0, 0]))
    assert repr(by_set) == "Intervention(2 neurons to their mean)"
    assert deactivate([], to="mean", means=[]).gains(INFO, 1).values == {}


def test_a_mean_stays_whatever_gain_meets_it():
    means = MEANS.reshape(INFO.layers, INFO.width)
    mean = deactivate([5], to="mean", means=means)
    for other in (steer([5], 1.0), deactivate([5]), steer([5], 1.0, "audio"), mean):
        for both in (mean + other, other + mean):
            assert (dense(both.gains(INFO, 1), 1)[0, :, 1, 1] == MEANS[5]).all()
    some = deactivate([5], "audio", to="mean", means=means) + steer([5], 1.0)
    assert dense(some.gains(INFO, 1), 1)[0, :, 1, 1].tolist() == [MEANS[5], 2, 2, 2]
    with pytest.raises(ValueError, match=r"neuron 5 is set to 0\.125 and to 3: the means come from different runs"):
        mean + deactivate([4, 5], to="mean", means=[3, 3])
    # at other positions another mean is no contradiction
    deactivate([5], "audio", to="mean", means=[1]) + deactivate([5], "text", to="mean", means=[2])


def test_a_neuron_set_is_taken_as_it_is():
    from emoscope.neurons.sets import NeuronSet

    chosen = NeuronSet("anger", np.array([1, 6], dtype=np.int64), INFO.layers, INFO.width)
    assert deactivate(chosen) == deactivate([1, 6])


def test_only_touched_layers_have_gains():
    gains = gains_for(INFO, [deactivate([5]), Intervention(), steer([5], 0.0)])
    assert list(gains.values) == [1]
    assert gains.values[1].tolist() == [[1, 0, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert gains_for(INFO, [Intervention(), deactivate([])]).values == {}


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
        (lambda: steer([0], float("nan")), "alpha nan is not finite"),
        (lambda: deactivate([0.5]), "give a row of whole numbers"),
        (lambda: deactivate([[1]]), "give a row of whole numbers"),
        (lambda: Edit(np.array([1]), float("inf")), "gain inf is not finite"),
        (lambda: deactivate([0], to="median"), 'to \'median\' is not known: give "zero" or "mean"'),
        (lambda: deactivate([0], to="mean"), r"none came with them: take the set from select\(heard, ...\)"),
        (lambda: deactivate([0], means=[1.0]), "means are given, but the neurons are set to zero"),
        (lambda: deactivate([0, 1], to="mean", means=[1.0]), "1 means for 2 neurons: give one for each"),
        (lambda: deactivate([0], to="mean", means=[np.inf]), "the mean inf is not finite"),
        (lambda: deactivate([0, 0], to="mean", means=[1, 2]), "given twice with different means"),
        (lambda: deactivate([9], to="mean", means=np.ones((2, 4))), "neuron 9: means are those of 2 layers x 4"),
        (lambda: Edit(np.array([1]), 1.5, means=np.array([1.0])), "gain 1.5 with means"),
        (lambda: gains_for(INFO, [deactivate([12])]), "neuron 12: m has 3 layers x 4 neurons, numbers 0 to 11"),
        (lambda: gains_for(INFO, [deactivate([-1])]), "neuron -1"),
    ],
)
def test_mistakes_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()


def of_another_model():
    from emoscope.neurons.sets import NeuronSet

    return NeuronSet("anger", np.array([1, 6]), 2, 4)


SETS = {"anger": [1], "fear": [2]}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: deactivate([1]) + 3, "cannot be added to 3: add deactivate"),
        (lambda: deactivate([1]) + "audio", "cannot be added to 'audio'"),
        (lambda: deactivate(SETS), r'the sets of anger, fear are given: say which emotion, as in deactivate\(sets\["anger"\]\)'),
        (lambda: steer(SETS, 1.0), r'say which emotion, as in steer\(sets\["anger"\], 0.5\)'),
        (lambda: steer(deactivate([1]), 1.0), "is given in place of neurons: add interventions with"),
        (lambda: deactivate(5), r"neurons 5: give a neuron set or a row of numbers"),
        (lambda: steer(0.5, [1]), r"neurons 0.5: give a neuron set or a row of numbers"),
        (lambda: steer([1], [0.5]), r"alpha \[0.5\] is not a number"),
        (lambda: steer([1], "0.5"), "alpha '0.5' is not a number"),
        (lambda: steer([1], True), "alpha True is not a number"),
        (lambda: deactivate([1], 0.5), "positions 0.5: give names"),
        (lambda: deactivate("anger"), "neurons of shape .* give a row of whole numbers"),
        (lambda: deactivate([True, False]), "type bool: give a row of whole numbers"),
        (lambda: deactivate([(0, 3), (1, 88)]), r"neurons \[0, 3\] ... are pairs: give a row"),
        (lambda: gains_for(INFO, [deactivate(of_another_model())]), "found in a model of 2 layers x 4 neurons, and m has 3 x 4"),
    ],
)  # fmt: skip
def test_what_is_no_neuron_strength_or_position_is_refused_with_what_to_write(wrong, message):
    with pytest.raises((TypeError, ValueError), match=message):
        wrong()


def test_a_set_of_numbers_is_a_row_of_neurons():
    assert deactivate({5, 2}) == deactivate([2, 5]) == deactivate(range(2, 6, 3))


def test_five_sets_of_a_7b_model_in_64_rows():
    info = replace(INFO, layers=28, width=18_944)
    draw = np.random.default_rng(0)
    sets = [deactivate(draw.choice(28 * 18_944, 2652, replace=False)) for _ in range(5)]
    gains = gains_for(info, [sets[row % 5] for row in range(64)])
    assert len(gains.values) == 28
    assert sum(int((gains.values[layer][7] == 0).sum()) for layer in gains.values) == 2652
    one = sets[0].gains(info, 64)
    # shared by all rows: one row in memory
    assert one.values[0].stride(0) == 0


def test_all_neurons_of_a_7b_model_set_to_their_mean_hold_one_row():
    info = replace(INFO, layers=28, width=18_944)
    every = deactivate(np.arange(28 * 18_944), to="mean", means=np.ones((28, 18_944), np.float32))
    gains = every.gains(info, 64)
    for tensor in (*gains.values.values(), *gains.offsets.values()):
        assert tensor.shape == (64, 18_944)
        assert tensor.untyped_storage().nbytes() == 4 * 18_944
