"""Sets from fewer clips, and all selectors at the largest number of neurons that all of them reach."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest

from emoscope.neurons.samples import draw_samples, fewer_clips
from emoscope.neurons.selection import ALL, SetSpec, find_sets
from emoscope.neurons.sets import safe_name

from .helpers import random_activity
from .test_selection import EMOTIONS, SPEC, make_items


def with_spec(**changes):
    return dataclasses.replace(SPEC, **changes)


@pytest.fixture(scope="module")
def activity(tmp_path_factory):
    return random_activity(tmp_path_factory.mktemp("sizes") / "a.zarr", items=96, layers=3, width=40)[0]


SIZED = with_spec(sizes=(8, 3, 5), size_draws=2, controls={})


def test_fewer_clips_are_nested_and_balanced():
    samples, _ = draw_samples(make_items(), SIZED)
    found = {(one.fold, one.n, draw): one for draw, one in fewer_clips(samples, SIZED)}
    assert set(found) == {(s.fold, size, draw) for s in samples for size in (3, 5, 8) for draw in (0, 1)}
    for sample in samples:
        for draw in (0, 1):
            names = {n: {clip.name for clip in found[sample.fold, n, draw].clips} for n in (3, 5, 8)}
            assert names[3] < names[5] < names[8] < {clip.name for clip in sample.clips}
            for n in (3, 5, 8):
                emotions = [clip.emotion for clip in found[sample.fold, n, draw].clips]
                assert [emotions.count(one) for one in EMOTIONS] == [n, n, n]
        assert found[sample.fold, 5, 0].clips != found[sample.fold, 5, 1].clips
    other = dict(((one.fold, one.n, d), one) for d, one in fewer_clips(samples, dataclasses.replace(SIZED, seed=1)))  # noqa: C402
    assert other[ALL, 5, 0].clips != found[ALL, 5, 0].clips


def test_a_size_that_some_fold_lacks_is_left_out():
    # the fold of s0 has few correct clips outside it, as three speakers lose theirs
    samples, _ = draw_samples(make_items(), with_spec(items_per_emotion=99))
    fewest, most = min(one.n for one in samples), max(one.n for one in samples)
    assert fewest < most
    spec = with_spec(sizes=(2, fewest, fewest + 1, most), size_draws=1)
    assert {one.n for _, one in fewer_clips(samples, spec)} == {2, fewest}
    # where every fold has as many, that many are the set itself
    even, _ = draw_samples(make_items(), with_spec(items_per_emotion=4))
    assert {one.n for _, one in fewer_clips(even, with_spec(sizes=(2, 4)))} == {2}


def test_sets_from_fewer_clips_are_the_selectors_own_on_these_clips(activity):
    items = make_items()
    found = find_sets(activity, items, SIZED)
    samples, _ = draw_samples(items, SIZED)
    drawn = {(one.fold, one.n, draw): one for draw, one in fewer_clips(samples, SIZED)}
    for fold in ("s2", ALL):
        clips = {clip.name for clip in drawn[fold, 5, 1].clips}
        # the very same clips and no others, with the whole pipeline; no fold is left out of them
        alone = find_sets(activity, items.filter(pl.col("clip").is_in(clips)), with_spec(minimum=1, controls={}))
        for emotion in EMOTIONS:
            name = "cas@0.1:audio+answer~fewer5~draw1"
            np.testing.assert_array_equal(
                found.sets[name, fold][emotion], alone.sets["cas@0.1:audio+answer", ALL][emotion]
            )


def test_rows_tell_fewer_clips_from_the_full_set(activity):
    found = find_sets(activity, make_items(), SIZED)
    fewer = found.frame.filter(pl.col("control") == "fewer")
    assert fewer.select("size", "draw", "fold", "emotion").unique().height == fewer.height == 3 * 2 * 5 * 3
    assert (fewer["size"] == fewer["n"]).all()
    assert set(fewer["selector"]) == {"cas"}
    assert set(fewer["budget"]) == {0.1}
    assert found.frame.filter(pl.col("control") != "fewer")["size"].null_count() == found.frame.height - fewer.height
    # all else is as it was without sizes
    usual = find_sets(activity, make_items(), dataclasses.replace(SIZED, sizes=()))
    assert usual.frame.equals(found.frame.filter(pl.col("control") != "fewer"))
    assert safe_name("cas@0.1:audio+answer~fewer5~draw1") == "cas@0.1_audio+answer~fewer5~draw1"
    assert found.neuron_sets("cas@0.1:audio+answer~fewer5~draw1")["fear"].meta["size"] == 5


def test_every_selector_is_cut_to_what_all_reach(activity):
    # of 120 neurons LAPE's bar leaves fewer than the 60 that half of all neurons want; LAPE-original stays out of it
    spec = with_spec(
        selectors=("lap", "lape", "lape-original", "cas"), budgets=(0.02, 0.5), headline=("cas", 0.5), common_size=True, floor=0.6,
        controls={},
    )  # fmt: skip
    found = find_sets(activity, make_items(), spec)
    wanted = found.frame.filter(budget=0.5)
    fewest = {name: wanted.filter(selector=name)["size_reached"].min() for name in ("lap", "lape", "cas")}
    common = min(fewest.values())
    assert 2 < common < 60 == fewest["lap"]
    cut = found.frame.filter(~pl.col("budget").is_in([0.02, 0.5]))
    assert set(cut["selector"]) == {"lap", "lape", "cas"}
    assert set(cut["budget"]) == {common / 120}
    assert set(cut["size_wanted"]) == set(cut["size_reached"]) == {common}
    same = find_sets(activity, make_items(), dataclasses.replace(spec, budgets=(0.5, common / 120)))
    for row in cut.iter_rows(named=True):
        np.testing.assert_array_equal(
            found.sets[row["set"], row["fold"]][row["emotion"]], same.sets[row["set"], row["fold"]][row["emotion"]]
        )
    # nothing is added where all reach every budget, or where it is not asked for
    assert set(find_sets(activity, make_items(), dataclasses.replace(spec, common_size=False)).frame["budget"]) == {0.02, 0.5}  # fmt: skip
    easy = dataclasses.replace(spec, selectors=("lap", "mad"), headline=("mad", 0.5))
    assert set(find_sets(activity, make_items(), easy).frame["budget"]) == {0.02, 0.5}
    for frame in (same.frame, find_sets(activity, make_items(), easy).frame):  # nor a second time
        assert not frame.select("set", "fold", "emotion").is_duplicated().any()


def test_mistakes_are_named():
    with pytest.raises(ValueError, match=r"sizes \[0\] in 3 draws: each must be at least 1"):
        SetSpec(EMOTIONS, sizes=(0,))
