"""The effects of single neurons and how scores foretell them, against arithmetic that is written out."""

from __future__ import annotations

import numpy as np
import pytest

from emoscope.analysis.oracle import Moved, area, foretold, losses, spearman
from emoscope.analysis.pairs import Clips

SPEAKERS, PER, EMOTIONS = 6, 2, 3


@pytest.fixture
def moved() -> Moved:
    rng = np.random.default_rng(0)
    truth = np.tile(np.repeat(np.arange(EMOTIONS), PER), SPEAKERS)
    speaker = np.repeat(np.arange(SPEAKERS), PER * EMOTIONS)
    clips = Clips(truth, speaker, speaker, EMOTIONS)
    change = rng.normal(size=(4, len(truth), EMOTIONS))
    return Moved(clips, rng.normal(size=(len(truth), EMOTIONS)), change)


def slowly(moved: Moved, kept: np.ndarray, emotion: int) -> np.ndarray:
    """Own pairs minus other pairs, speaker by speaker: all have equally many clips, so that each counts alike."""
    clips, separations = moved.clips, {}
    for first in range(EMOTIONS):
        for second in range(first):
            found = []
            for who in np.unique(clips.speaker[kept]):
                one, other = (
                    moved.change[:, kept & (clips.speaker == who) & (clips.truth == e)] for e in (first, second)
                )
                said = [part[..., first] - part[..., second] for part in (one, other)]
                found.append(said[0].mean(axis=1) - said[1].mean(axis=1))
            separations[first, second] = np.mean(found, axis=0)
    own = [value for pair, value in separations.items() if emotion in pair]
    others = [value for pair, value in separations.items() if emotion not in pair]
    return np.mean(own, axis=0) - np.mean(others, axis=0)


def test_the_effect_is_own_pairs_minus_others_of_all_clips_and_of_some(moved):
    everything, few = np.ones(len(moved.clips.truth), bool), moved.clips.speaker < 2
    for emotion in range(EMOTIONS):
        np.testing.assert_allclose(moved.specific()[0, :, emotion], slowly(moved, everything, emotion))
        np.testing.assert_allclose(moved.specific()[3, :, emotion], slowly(moved, moved.clips.speaker != 2, emotion))
        # too few speakers for a test, enough for an effect
        np.testing.assert_allclose(moved.within(few)[:, emotion], slowly(moved, few, emotion))
    assert np.isnan(moved.within(~everything)).all()


def test_a_unit_that_is_left_out_is_missing_in_its_fold_alone(moved):
    folds = [moved.clips.speaker // 2 == fold for fold in range(3)]
    lost = losses(moved, folds)
    np.testing.assert_allclose(lost[0, 1], -moved.within(folds[1]))
    np.testing.assert_allclose(lost[1 + 3, 1], -moved.within(folds[1] & (moved.clips.speaker != 3)))
    np.testing.assert_allclose(lost[1 + 3, [0, 2]], lost[0, [0, 2]])
    alone = losses(moved, [moved.clips.speaker == 0, moved.clips.speaker > 0])
    assert np.isnan(alone[1, 0]).all()


def test_scores_that_are_the_losses_foretell_them_and_folds_without_clips_do_not_count():
    rng = np.random.default_rng(1)
    lost = rng.normal(size=(3, 2, 20, 2))  # (1 + unit, fold, neuron, emotion)
    lost[1, 0] = np.nan
    right = [lost[0, fold].T for fold in range(2)]
    every = [np.arange(20)] * 2
    np.testing.assert_allclose(foretold(right, lost, every)[0], 1)
    against = [right[0], -right[1]]
    np.testing.assert_allclose(foretold(against, lost[:1], every)[0], 0, atol=1e-12)
    alone = foretold(against, lost, every)[1]
    np.testing.assert_allclose(alone, [spearman(-right[1][e], lost[1, 1, :, e]) for e in range(2)])
    # of the neurons that count alone
    some = [np.arange(5)] * 2
    np.testing.assert_allclose(
        foretold([score * np.where(np.arange(20) < 5, 1, -1) for score in right], lost, some)[0], 1
    )


def test_the_area_is_the_mean_over_sizes_that_double():
    assert area(np.array([0.0, 2.0, 4.0]), [1, 2, 4]) == pytest.approx(2)
    assert area(np.array([3.0]), [7]) == 3
