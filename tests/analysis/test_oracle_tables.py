"""What is read of single neurons and of sets, from answers made of random numbers."""

from __future__ import annotations

import numpy as np
import pytest

from emoscope.analysis.oracle_tables import (
    UNTOUCHED,
    Answers,
    area_table,
    conditions_of,
    measure_sets,
    rank_table,
    ranked_neurons,
    read_singles,
    set_table,
)
from emoscope.analysis.pairs import Clips
from emoscope.analysis.responses import Responses
from emoscope.neurons.candidates import Candidates
from emoscope.neurons.variants import variants

EMOTIONS, NEURONS, SPEAKERS = ("anger", "fear", "sadness"), 12, 12
FOLDS = ("s", "t")


def candidates() -> Candidates:
    rng = np.random.default_rng(3)
    neurons = np.arange(NEURONS) * 3
    scores = {("mad", fold): rng.normal(size=(3, NEURONS)) for fold in FOLDS}
    best = {key: tuple(neurons[np.argsort(-row)][:8] for row in table) for key, table in scores.items()}
    return Candidates(EMOTIONS, FOLDS, ("mad",), neurons, neurons[:4], scores, best)


def asked(conditions, sides: bool) -> Answers:
    """Random answers; of fixed sides the second half of the speakers identifies."""
    rng = np.random.default_rng(0)
    truth = np.tile(np.arange(3), SPEAKERS)
    speaker = np.repeat(np.arange(SPEAKERS), 3)
    tests = speaker < SPEAKERS // 2 if sides else np.ones(len(truth), bool)
    fold = speaker % 2
    inside = tuple((fold == number) & tests for number in range(2))
    outside = tuple(~tests if sides else ~own for own in inside)
    rows = {name: place for place, name in enumerate([UNTOUCHED, *conditions])}
    logp = rng.normal(size=(len(rows), len(truth), 3))
    names = tuple(f"p{n:02}" for n in range(SPEAKERS))
    codes = np.zeros((len(rows), len(truth)), np.int16)
    responses = Responses(EMOTIONS, np.arange(len(truth)), truth, speaker, names, 0, 33.3, rows, codes, logp)
    return Answers(responses, logp, Clips(truth, speaker, speaker, 3), (0, 1, 2), inside, outside)


def singles_of(sides: bool):
    known = candidates()
    answers = asked([f"deactivate/{neuron}" for neuron in known.neurons], sides)
    return known, answers, list(read_singles(answers, known, ["deactivate"]))


def test_clips_that_only_identify_make_the_oracles_scores_and_nothing_else():
    known, answers, (one,) = singles_of(sides=True)
    tested = answers.inside[0] | answers.inside[1]
    assert len(one.sizes) == SPEAKERS // 2
    moved = answers.moved([f"deactivate/{neuron}" for neuron in known.neurons])
    np.testing.assert_allclose(one.effect, moved.on(tested).specific())
    np.testing.assert_allclose(one.found[0], -moved.within(~tested).T)
    np.testing.assert_allclose(one.found[0], one.found[1])
    other = asked([f"deactivate/{neuron}" for neuron in known.neurons], sides=True)
    other.logp[:, ~tested] += np.random.default_rng(1).normal(size=other.logp[:, ~tested].shape)
    (changed,) = read_singles(other, known, ["deactivate"])
    np.testing.assert_allclose(changed.lost, one.lost)
    assert not np.allclose(changed.found[0], one.found[0])


def test_the_oracle_ranks_the_largest_losses_outside_a_fold_first():
    known, _, (one,) = singles_of(sides=False)
    ranked = ranked_neurons(known, [one], [])
    for fold, found in zip(FOLDS, one.found, strict=True):
        for emotion, lost in zip(EMOTIONS, found, strict=True):
            pool = known.pool(fold)
            assert ranked["oracle"][fold][emotion].tolist() == known.neurons[pool[np.argsort(-lost[pool])]].tolist()
            assert ranked["mad"][fold][emotion] is known.best["mad", fold][EMOTIONS.index(emotion)]
    table = rank_table(known, [one])
    assert set(table["selector"]) == {"mad", "oracle"}
    assert table["spearman_high"].max() <= 1


def test_sets_are_beyond_what_they_are_compared_with():
    known, _, singles = singles_of(sides=False)
    cuts = variants(ranked_neurons(known, singles, []), "mad", 4, np.ones(40), 10, 0)
    conditions = [name for cut in cuts for name in conditions_of(cut, EMOTIONS)]
    answers = asked(conditions, sides=False)
    measured = measure_sets(answers, known, cuts, np.ones(40))
    table = set_table(measured, answers.clips.sizes)

    def effect(selector, act, tenth=None):
        found = table.filter(selector=selector, act=act, size_wanted=4)
        return (found if tenth is None else found.filter(tenth=tenth)).row(0, named=True)

    off, less = effect("mad", "off"), effect("mad", "a tenth less", 2)
    assert off["excess"] == pytest.approx(off["effect"] - effect("random", "off")["effect"])
    assert less["excess"] == pytest.approx(less["effect"] - off["effect"])
    keep = effect("mad", "keep")
    assert keep["excess"] == pytest.approx(keep["effect"] - effect("mad", "keep others")["effect"])
    # of a decoder in which all write alike, four of forty write a tenth
    assert off["activity"] == pytest.approx(10)
    drawn = [cut for cut in cuts if (cut.selector, cut.act, cut.size) == ("random", "off", 4)]
    each = [answers.moved(conditions_of(cut, EMOTIONS)).specific()[0].diagonal().mean() for cut in drawn]
    assert effect("random", "off")["effect"] == pytest.approx(np.mean(each))
    # random draws are one row, tenths a row each
    assert table.filter(selector="random", act="off", size_wanted=4).height == 1
    assert table.filter(selector="mad", act="a tenth less").height == 4
    areas = area_table(measured, answers.clips.sizes)
    assert areas.height == 3 + 3 * 2
