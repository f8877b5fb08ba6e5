"""Sets cut from ranked neurons: how large they are, what they share, how much they write."""

from __future__ import annotations

import numpy as np
import pytest

from emoscope.neurons.variants import DRAWS, RANDOM, variants

WIDTH, LAYERS, SIZE = 50, 4, 20
RANKED = {
    name: {fold: {e: np.random.default_rng([n, f, k]).permutation(LAYERS * WIDTH)[:60] for k, e in enumerate(("anger", "fear"))}
           for f, fold in enumerate("st")}
    for n, name in enumerate(("mad", "cas"))
}  # fmt: skip
WRITTEN = np.random.default_rng(9).random(LAYERS * WIDTH)


@pytest.fixture(scope="module")
def cuts():
    return variants(RANKED, "mad", SIZE, WRITTEN, WIDTH, seed=0)


def of(cuts, selector, act, size=SIZE):
    return [cut for cut in cuts if (cut.selector, cut.act, cut.size) == (selector, act, size)]


def test_every_size_is_a_beginning_of_the_ranks_and_random_sets_have_it_too(cuts):
    for size in (1, 2, 5, 10, 20):
        (cut,) = of(cuts, "cas", "off", size)
        for fold, lists in cut.sets.items():
            for emotion, its in lists.items():
                assert its.tolist() == RANKED["cas"][fold][emotion][:size].tolist()
        drawn = of(cuts, RANDOM, "off", size)
        assert [len(cut.sets["s"]["fear"]) for cut in drawn] == [size] * DRAWS
    assert len({cut.name for cut in cuts}) == len(cuts)


def test_sets_of_equal_activity_write_as_nearly_as_can_be_what_the_headlines_set_does(cuts):
    wanted = WRITTEN[RANKED["mad"]["t"]["fear"][:SIZE]].sum()
    (cut,) = of(cuts, "cas", "equal activity")
    count, ranked = len(cut.sets["t"]["fear"]), RANKED["cas"]["t"]["fear"]
    apart = [abs(WRITTEN[ranked[:n]].sum() - wanted) for n in (count - 1, count, count + 1)]
    assert apart[1] == min(apart)
    (same,) = of(cuts, "mad", "equal activity")
    assert len(same.sets["t"]["fear"]) == SIZE


def test_tenths_are_by_rank_and_together_make_the_set(cuts):
    whole = RANKED["cas"]["s"]["anger"][:SIZE]
    lost = [np.setdiff1d(whole, cut.sets["s"]["anger"]) for cut in of(cuts, "cas", "a tenth less")]
    assert sorted(lost[0]) == sorted(whole[:2])
    assert sorted(np.concatenate(lost)) == sorted(whole)
    for cut in of(cuts, "cas", "a tenth more"):
        its = cut.sets["s"]["anger"]
        assert len(np.unique(its)) == SIZE + 2
        assert np.isin(whole, its).all()


def test_what_is_kept_in_place_of_a_set_lies_in_the_same_layers_and_shares_nothing(cuts):
    (kept,) = of(cuts, "cas", "keep")
    own = kept.sets["s"]["anger"]
    for cut in of(cuts, "cas", "keep others"):
        others = cut.sets["s"]["anger"]
        assert not np.isin(others, own).any()
        assert (
            np.bincount(others // WIDTH, minlength=LAYERS).tolist()
            == np.bincount(own // WIDTH, minlength=LAYERS).tolist()
        )
