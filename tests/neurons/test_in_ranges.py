"""Sets found within ranges of layers: the best of each range, equally many, with controls of their own."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest

from emoscope.neurons.selection import ALL, find_sets

from .helpers import random_activity
from .test_selection import EMOTIONS, SPEC, make_items

WIDTH = 40
RANGED = dataclasses.replace(SPEC, ranges=((0, 0), (1, 2)), headline=("cas", 0.05), controls={"matched": 5})
NAME = "cas@0.05:audio+answer"


@pytest.fixture(scope="module")
def activity(tmp_path_factory):
    return random_activity(tmp_path_factory.mktemp("ranges") / "a.zarr", items=96, layers=3, width=WIDTH)[0]


@pytest.fixture(scope="module")
def found(activity):
    return find_sets(activity, make_items(), RANGED)


def inside(neurons, first, last):
    return set(neurons[(neurons // WIDTH >= first) & (neurons // WIDTH <= last)].tolist())


def test_the_best_of_each_range_are_found(activity, found):
    budgets = (0.02, 0.05, 0.1, 0.3)
    more = find_sets(
        activity,
        make_items(),
        dataclasses.replace(RANGED, ranges=(), controls={}, budgets=budgets, headline=("cas", 0.05)),
    )
    for first, last in RANGED.ranges:
        for fold in ("s1", ALL):
            for emotion in EMOTIONS:
                mine = found.sets[f"{NAME}~layers{first}-{last}", fold][emotion]
                assert len(mine) == 6 == len(inside(mine, first, last))
                # longer and shorter lists of all layers hold more and fewer of the range, in the same order
                lists = [inside(more.sets[f"cas@{b:g}:audio+answer", fold][emotion], first, last) for b in budgets]
                assert min(map(len, lists)) < 6 <= max(map(len, lists))
                assert all(set(mine.tolist()) <= part or set(mine.tolist()) >= part for part in lists)


def test_all_ranges_get_as_many_as_the_poorest_has(activity):
    # LAPE's bar leaves some emotion few neurons of layer 0
    spec = dataclasses.replace(RANGED, selectors=("lape",), headline=("lape", 0.2), budgets=(0.2,), floor=0.8)
    sets = find_sets(activity, make_items(), spec).frame.filter(pl.col("control") == "reselected")
    assert set(sets["size_wanted"]) == {24}
    assert sets.group_by("fold").agg(pl.col("size_reached").n_unique())["size_reached"].to_list() == [1] * 5
    assert 0 < sets["size_reached"].max() < 24
    # where one has none at all, none gets any
    none = dataclasses.replace(spec, floor=0.998)
    sets = find_sets(activity, make_items(), none).frame.filter(pl.col("layers").is_not_null())
    assert set(sets["size_reached"]) == {0}


def test_matched_controls_lie_in_the_same_layers(found):
    sets = found.frame.filter(pl.col("control") == "reselected matched")
    assert sorted(sets["draw"].unique()) == [0, 1, 2]
    assert sets.height == 2 * 3 * 5 * 3  # ranges, draws, folds, emotions
    assert sets["smd_frequency"].null_count() == 0
    for layers in ("0-0", "1-2"):
        chosen, like = found.sets[f"{NAME}~layers{layers}", ALL], found.sets[f"{NAME}~layers{layers}~matched1", ALL]
        taken = set(np.concatenate([*chosen.values(), *found.sets[NAME, ALL].values()]).tolist())
        for emotion in EMOTIONS:
            assert not taken & set(like[emotion].tolist())
            if layers == "1-2":  # layer 0 has too few left for all of them
                np.testing.assert_array_equal(
                    np.bincount(like[emotion] // WIDTH, minlength=3), np.bincount(chosen[emotion] // WIDTH, minlength=3)
                )


def test_all_other_sets_stay_as_they_were(activity, found):
    usual = find_sets(activity, make_items(), dataclasses.replace(RANGED, ranges=()))
    assert usual.frame.equals(found.frame.filter(pl.col("layers").is_null()))
    assert set(found.frame.filter(pl.col("layers").is_not_null())["control"]) == {"reselected", "reselected matched"}
    assert len(found.sets) == len(usual.sets) + 2 * 4 * 5
    assert found.neuron_sets(f"{NAME}~layers0-0")["fear"].meta["control"] == "reselected"
