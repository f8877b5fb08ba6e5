"""Controls: matched sets against a slow re-implementation, and what every control must keep."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoscope.neurons.controls import (
    COVARIATES,
    Matcher,
    covariates,
    exchangeable,
    orthogonal_labels,
    random_neurons,
    seeded_generator,
    shuffled_labels,
    standardised_differences,
)


def test_covariates_are_standardised_within_each_layer():
    frequency = np.array([[0.1, 0.2, 0.3], [0.5, 0.5, 0.5]])
    magnitude = np.array([[1.0, 3.0, 2.0], [10.0, 30.0, 20.0]])
    down_norm = np.exp([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]])
    third = np.sqrt(3 / 2)  # three equally spaced values: spread sqrt(2/3) of the step
    expected = [
        [[-third, -third, -third], [0, third, 0], [third, 0, third]],
        [[0, -third, third], [0, third, 0], [0, 0, -third]],  # a rate that does not vary says nothing
    ]
    np.testing.assert_allclose(covariates(frequency, magnitude, down_norm), expected, atol=1e-9)
    assert np.isfinite(covariates(frequency, magnitude, np.zeros((2, 3)))).all()


def test_standardised_differences_worked_out():
    # means 1 and 2, variances 1 and 3: 1 / sqrt(2)
    chosen, control = np.array([[0.0], [2.0]]), np.array([[2 - np.sqrt(3)], [2 + np.sqrt(3)]])
    assert standardised_differences(chosen, control)["frequency"] == pytest.approx(1 / np.sqrt(2))
    flat = np.ones((2, 1))
    assert standardised_differences(flat, flat) == {"frequency": 0.0}
    assert standardised_differences(flat, flat * 0) == {"frequency": -np.inf}
    assert np.isnan(standardised_differences(flat, flat[:0])["frequency"])


def slow_draw(points, width, excluded, chosen, generator):
    order, luck = generator.permutation(chosen), generator.random(len(chosen))
    used = []
    for neuron, chance in zip(order, luck, strict=True):
        layer = neuron // width
        free = [n for n in range(layer * width, (layer + 1) * width) if n not in excluded and n not in used]
        free.sort(key=lambda n: np.sum((points[n] - points[neuron]) ** 2))
        near = free[:10]
        if near:
            used.append(near[int(chance * len(near))])
    return sorted(used)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, 90))
def test_matched_draws_agree_with_a_slow_search_and_keep_their_rules(seed, size):
    rng, layers, width = np.random.default_rng(seed), 3, 60
    z = rng.normal(size=(layers, width, 3))
    everything = rng.permutation(layers * width)
    chosen, excluded = np.sort(everything[:size]), everything[: min(120, size + 20)]
    matcher = Matcher(z, excluded)
    for draw in range(2):
        found = matcher.draw(chosen, seeded_generator(seed, draw))
        expected = slow_draw(z.reshape(-1, 3), width, set(excluded.tolist()), chosen, seeded_generator(seed, draw))
        assert found.neurons.tolist() == expected
        assert not set(found.neurons.tolist()) & set(excluded.tolist())
        room = np.bincount(np.setdiff1d(np.arange(layers * width), excluded) // width, minlength=layers)
        wanted = np.bincount(chosen // width, minlength=layers)
        np.testing.assert_array_equal(np.bincount(found.neurons // width, minlength=layers), np.minimum(room, wanted))


def test_partners_resemble_the_chosen_and_random_ones_do_not():
    rng, layers, width = np.random.default_rng(0), 4, 2000
    z = rng.normal(size=(layers, width, 3))
    score = z[..., 0].ravel() + 2.0 * rng.normal(size=layers * width)
    chosen = np.sort(np.argsort(-score)[:100])  # neurons that fire often
    matcher = Matcher(z, chosen)
    matched = matcher.draw(chosen, seeded_generator(1))
    elsewhere = random_neurons(100, layers * width, seeded_generator(2))
    assert matched.columns["well_matched"]
    assert max(abs(matched.columns[f"smd_{name}"]) for name in COVARIATES) <= 0.25
    assert standardised_differences(z.reshape(-1, 3)[chosen], z.reshape(-1, 3)[elsewhere])["frequency"] < -0.5
    assert matched.neurons.tolist() != matcher.draw(chosen, seeded_generator(3)).neurons.tolist()


def test_extremes_have_no_equals_and_a_full_layer_has_no_partners():
    z = np.zeros((1, 50, 3))
    z[0, :, 0] = np.linspace(-1, 1, 50)
    extreme = Matcher(z, np.arange(40, 50)).draw(np.arange(40, 50), seeded_generator(0))
    assert extreme.columns["smd_frequency"] < -0.25
    assert not extreme.columns["well_matched"]
    none_left = Matcher(z, np.arange(50)).draw(np.arange(3), seeded_generator(0))
    assert len(none_left.neurons) == 0
    assert not none_left.columns["well_matched"]


def test_a_control_that_is_too_small_is_not_well_matched():
    # all neurons alike: no difference, but one partner for two neurons
    short = Matcher(np.zeros((1, 3, 3)), np.arange(2)).draw(np.arange(2), seeded_generator(0))
    assert short.neurons.tolist() == [2]
    assert short.columns == {f"smd_{name}": 0.0 for name in COVARIATES} | {"well_matched": False}


def test_random_neurons_are_different_ones_from_anywhere():
    found = random_neurons(50, 60, seeded_generator("random", 0))
    assert len(set(found.tolist())) == 50
    assert found.tolist() == random_neurons(50, 60, seeded_generator("random", 0)).tolist()
    assert found.tolist() != random_neurons(50, 60, seeded_generator("random", 1)).tolist()


CLIPS = st.lists(
    st.tuples(st.sampled_from([0, 1, 2]), st.sampled_from(["a", "b", None]), st.sampled_from(["x", "y", None])),
    min_size=1,
    max_size=60,
)
"""Label, speaker and block of some clips."""


def may_change_places(clips, one, other):
    """Whether two clips may: in one block of one speaker, if it holds several labels; else outside all such blocks."""

    def stratum(clip):
        _, speaker, block = clip
        of_block = {each[0] for each in clips if each[1:] == (speaker, block)}
        return (speaker, block) if block is not None and len(of_block) > 1 else (speaker,)

    return stratum(clips[one]) == stratum(clips[other])


@settings(max_examples=50, deadline=None)
@given(clips=CLIPS, seed=st.integers(0, 99))
def test_labels_are_permuted_within_block_and_else_within_speaker(clips, seed):
    labels, units = np.array([clip[0] for clip in clips]), [clip[1:] for clip in clips]
    strata = exchangeable(labels, units)
    assert sorted(place for stratum in strata for place in stratum) == list(range(len(clips)))
    for stratum in strata:
        for place in range(len(clips)):
            assert (place in stratum) == may_change_places(clips, stratum[0], place)
    shuffled = shuffled_labels(labels, units, seeded_generator(seed))
    for stratum in strata:
        assert Counter(labels[stratum].tolist()) == Counter(shuffled[stratum].tolist())


def test_every_permutation_within_a_block_is_as_likely_the_truth_too():
    labels, units = np.array([0, 1, 2, 0]), [("s", "x"), ("s", "x"), ("s", "x"), ("s", "y")]
    generator = seeded_generator(0)
    found = Counter(tuple(shuffled_labels(labels, units, generator).tolist()) for _ in range(6000))
    assert len(found) == 6
    assert found[0, 1, 2, 0] > 0
    assert all(abs(count - 1000) < 4 * np.sqrt(1000) for count in found.values())


@settings(max_examples=50, deadline=None)
@given(clips=CLIPS, seed=st.integers(0, 99))
def test_orthogonal_names_are_spread_as_evenly_as_can_be(clips, seed):
    labels, units = np.array([clip[0] for clip in clips]), [clip[1:] for clip in clips]
    names, asked = orthogonal_labels(labels, units, seeded_generator(seed)), sorted(set(labels.tolist()))
    whole = [tuple(clip) for clip in clips]

    def even(kept):
        counts = [sum(names[place] == name for place in kept) for name in asked]
        return max(counts) - min(counts) <= 1

    every = range(len(whole))
    assert even(every)
    for label, speaker, block in set(whole):
        assert even([n for n in every if whole[n][0] == label])
        assert even([n for n in every if whole[n][1] == speaker])
        assert even([n for n in every if whole[n][1:] == (speaker, block)])
        of_speaker = [n for n in every if whole[n][:2] == (label, speaker)]
        # the first so many of a speaker's clips of a label, too: folds that hold some of them are no less even
        assert all(even(of_speaker[:count]) for count in range(len(of_speaker) + 1))


def test_orthogonal_names_differ_between_draws():
    labels, units = np.arange(60) % 3, [(f"s{n % 5}", None) for n in range(60)]
    draws = {tuple(orthogonal_labels(labels, units, seeded_generator(draw)).tolist()) for draw in range(20)}
    assert len(draws) == 20
    for names in draws:
        assert np.mean(labels == np.array(names)) == pytest.approx(1 / 3, abs=1.01 / 20)  # 6 or 7 of 20
    assert tuple(orthogonal_labels(labels, units, seeded_generator(3)).tolist()) in draws
