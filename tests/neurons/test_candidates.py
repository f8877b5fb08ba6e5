"""The best neurons of every selector in order, and scores of any neurons, are those of the study's own sets."""

from __future__ import annotations

import numpy as np
import pytest

from emoscope.neurons.candidates import find_candidates
from emoscope.neurons.ranking import SelectionPlan
from emoscope.neurons.samples import draw_samples
from emoscope.neurons.selection import find_sets
from emoscope.neurons.selectors import find_selector

from .helpers import random_activity
from .test_selection import EMOTIONS, make_items, with_spec

SELECTORS = ("mad", "cas", "lape", "mad-z", "lape-original")


@pytest.fixture(scope="module")
def activity(tmp_path_factory):
    return random_activity(tmp_path_factory.mktemp("activity") / "a.zarr", items=96, layers=3, width=40)[0]


@pytest.fixture(scope="module")
def known(activity):
    return find_candidates(activity, make_items(), with_spec(), SELECTORS, best=12, sampled=15)


def test_the_first_of_ranked_neurons_are_the_sets_of_a_study(activity, known):
    spec = with_spec(selectors=SELECTORS[:4], headline=("cas", 0.1), controls={})
    found = find_sets(activity, make_items(), spec)
    for selector in SELECTORS[:4]:
        for fold in known.folds:
            for budget, size in ((0.05, 6), (0.1, 12)):
                sets = found.sets[f"{selector}@{budget:g}:audio+answer", fold]
                for emotion, best in zip(EMOTIONS, known.best[selector, fold], strict=True):
                    assert sorted(best[:size]) == sets[emotion].tolist()


def test_scores_are_those_of_each_layer_and_the_best_stand_first(activity, known):
    sample = draw_samples(make_items(), with_spec())[0][1]
    plan = SelectionPlan(activity, [sample.selection(EMOTIONS)], "audio+answer")
    layers = [find_selector("mad")(given) for (given,) in plan.statistics()]
    scores = known.scores["mad", sample.fold]
    np.testing.assert_array_equal(scores, np.concatenate(layers, axis=1)[:, known.neurons])
    for emotion, best in enumerate(known.best["mad", sample.fold]):
        own = scores[emotion, np.searchsorted(known.neurons, best)]
        assert (np.diff(own) <= 1e-12).all()
        # nothing that was asked about has a larger score than the last of the best
        assert (scores[emotion, ~np.isin(known.neurons, best)] <= own[-1] + 1e-12).all()


def test_the_pool_of_a_fold_was_chosen_without_its_clips(known):
    for fold in known.folds:
        own = [its for (_, of), lists in known.best.items() if of == fold for its in lists]
        assert known.neurons[known.pool(fold)].tolist() == sorted(
            {*known.sampled.tolist(), *np.concatenate(own).tolist()}
        )
    assert any(len(known.pool(fold)) < len(known.neurons) for fold in known.folds)
    assert len(set(known.sampled.tolist())) == 15


def test_without_names_it_is_every_selector_whose_statistics_the_store_holds(activity, monkeypatch):
    monkeypatch.setattr("emoscope.neurons.candidates.SELECTORS", {"mad": None})
    found = find_candidates(activity, make_items(), with_spec(), (), best=2, sampled=0)
    assert found.selectors == ("mad", *dict.fromkeys(name for name in with_spec().selectors if name != "mad"))
