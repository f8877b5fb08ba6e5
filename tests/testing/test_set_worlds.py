"""Worlds about sets do what they say, and the claims about sets tell the plain ones apart."""

from dataclasses import replace

import numpy as np
import pytest

from emoscope.analysis.clusters import clustered
from emoscope.analysis.declared import SUPPORTED, apart, gather
from emoscope.testing.set_worlds import (
    CROWDS,
    MODEST,
    SEVERAL,
    SIZES,
    TRANSFER,
    Few,
    Layout,
    carrying,
    claims,
    crowding,
    enough,
    few_clips,
    find_sets,
)
from emoscope.testing.worlds import World

SMALL = World(emotions=4, speakers=6, clips=2, draws=5, loss=0.2, shift=-1.0)


def supported(verdicts, world, studies):
    found = [each for seed in range(studies) for each in verdicts(world, np.random.default_rng(seed))]
    return found.count(SUPPORTED) / len(found)


@pytest.mark.parametrize("name", CROWDS)
def test_emotions_sets_are_as_uneven_as_those_of_shuffled_labels_unless_they_crowd(name):
    world = replace(CROWDS[name], draws=5)
    found = [find_sets(world, np.random.default_rng(seed)) for seed in range(12)]
    rows = [clustered(each.own[:1], np.zeros(0), each.shuffled, world.layers, world.width) for each in found]
    more = np.mean([row["estimate"] - row["shuffled"] for row in rows])
    # one study's unevenness has a standard deviation of 3 to 5 points
    assert more > 4 if world.crowded else more < 3


def test_neurons_that_know_an_emotion_are_found_and_those_of_shuffled_labels_are_others():
    world = Layout(knowing=24, strength=3.0, crowd=200.0, draws=2)  # all of them in the last layer
    found = find_sets(world, np.random.default_rng(0))
    last = [
        [(sets // world.width == world.layers - 1).mean() for each in some for sets in each.values()]
        for some in (found.own, found.shuffled)
    ]
    assert min(last[0]) > 0.9  # but for neurons that know two emotions
    assert max(last[1]) < 0.75


def test_louder_layers_are_favoured_under_any_labels():
    found = find_sets(Layout(louder=2.0), np.random.default_rng(0))
    for sets in (found.own[0], found.shuffled[0]):
        counts = sum(np.bincount(neurons // 100, minlength=12) for neurons in sets.values())
        assert counts[6:].sum() > 0.9 * counts.sum()


def test_sets_without_a_speaker_differ_from_those_of_all():
    found = find_sets(Layout(draws=1), np.random.default_rng(0))
    shared = [len(np.intersect1d(found.own[0]["0"], each["0"])) for each in found.own[1:]]
    assert 10 < np.mean(shared) < 24


@pytest.mark.parametrize(("loss", "shift"), [(0.0, 0.0), (0.5, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_sets_from_few_clips_keep_the_share_that_a_world_says(loss, shift):
    still = replace(SMALL, effects=0.0, own_loss=0.0, own_shift=0.0)
    answers, few = few_clips(Few(False, still, loss, shift), np.random.default_rng(0))
    assert len(few) == SEVERAL * len(SIZES)
    assert len(answers.off[1]) == SMALL.draws
    evidence = gather(answers.clips, answers.untouched, (answers.off[0], few), {}, range(4), None)
    whole = apart(evidence.off.own)
    for each in evidence.off.draws:
        np.testing.assert_allclose(apart(each), loss * whole, atol=1e-9)
    # on clips of other emotions sets move their own option by the shift alone, where they hold no loss of others
    moved = [np.log(np.mean(np.exp(each[0, answers.clips.truth == 2] - answers.untouched[answers.clips.truth == 2]), axis=0))[0] for each in few]  # fmt: skip
    np.testing.assert_allclose(moved, -shift, atol=1e-9)


def test_without_loss_and_shift_sets_from_few_clips_are_like_matched_ones():
    answers, few = few_clips(Few(False, SMALL, 0.0), np.random.default_rng(0))
    spreads = [(each - answers.untouched).std() for each in (*answers.off[1], *few)]
    assert max(spreads) < 1.2 * min(spreads)
    assert not any(np.allclose(one, other) for one in few for other in answers.off[1])


def test_what_a_world_says_of_transfer_is_what_its_sets_do():
    assert all(each.acts == each.world.truths()["exists"] for each in TRANSFER.values())
    assert all(each.enough == (each.loss >= 0.8) for each in MODEST.values())
    assert len(claims()) == len(CROWDS) + len(MODEST) + len(TRANSFER)


@pytest.mark.parametrize(
    ("verdicts", "false", "true", "studies"),
    [
        (crowding, CROWDS["no neuron knows an emotion"], CROWDS["they crowd"], 4),
        (enough, MODEST["few clips find nothing"], Few(True, World(emotions=4, loss=0.4), 1.0), 3),
        (carrying, TRANSFER["no effect beyond matched sets"], TRANSFER["half of a loss of 15 %"], 2),
    ],
)
def test_claims_about_sets_hold_where_they_are_true_and_not_where_nothing_is_there(verdicts, false, true, studies):
    assert supported(verdicts, false, studies) == 0
    assert supported(verdicts, true, studies) >= 0.7
