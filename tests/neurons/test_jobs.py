"""The list of sets that a study wants, made before anything is heard, names the sets that are found."""

from __future__ import annotations

import dataclasses

import pytest

from emoscope.neurons.jobs import Wanted, in_table_order, wanted_sets
from emoscope.neurons.selection import find_sets

from .helpers import random_activity
from .test_selection import EMOTIONS, SPEC, make_items

RICH = dataclasses.replace(
    SPEC, budgets=(0.05, 0.1, 0.3), ranges=((0, 1), (2, 2)), sizes=(2, 3, 9, 99), size_draws=2, common_size=True, controls=SPEC.controls | {"matched": 5},
    outcomes=True, minimum=1,
)  # fmt: skip


def test_the_list_names_the_sets_that_are_found_in_the_order_of_the_table(tmp_path):
    answered = make_items()["truth"].replace_strict(dict(zip(EMOTIONS, EMOTIONS[1:] + EMOTIONS[:1], strict=True)))
    items = make_items(answered=answered)
    found = find_sets(random_activity(tmp_path / "a.zarr", items=96, layers=3, width=40)[0], items, RICH)
    folds = found.frame["fold"].unique().sort().to_list()
    wanted = wanted_sets(RICH)
    assert len(set(wanted)) == len(wanted)
    # what only ranking and the clips tell: the common size, a size that no fold has, hits that are there twice
    assert [one.selector for one in wanted if one.budget is None] == list(SPEC.selectors)
    names = {RICH.name_of(one) for one in wanted if one.budget is not None}
    missing = names - set(found.frame["set"])
    assert all("fewer9~" in name or "hits-as" in name for name in missing)
    assert set(found.frame.filter(found.frame["budget"].is_in(RICH.budgets))["set"]) == names - missing
    order = [(one, fold) for one, fold in in_table_order(wanted, ["s0", "s1", "s2", "s3", "all"]) if one.budget]
    listed = [key for one, fold in order if (key := (RICH.name_of(one), fold)) in found.sets]
    assert listed == [key for key in found.sets if key[0] in names]
    assert sorted({fold for _, fold in order}) == folds


def test_a_control_knows_the_set_after_which_it_is_drawn():
    wanted = {RICH.name_of(one): one for one in wanted_sets(RICH) if one.budget is not None}
    head = Wanted(*RICH.headline)
    assert wanted["cas@0.1:audio+answer~matched4"].like == head == wanted["cas@0.1:audio+answer~random1"].like
    assert wanted["cas@0.3:audio+answer~matched2"].like == Wanted("cas", 0.3)
    within = wanted["cas@0.1:audio+answer~layers2-2~matched1"]
    assert within.like == wanted["cas@0.1:audio+answer~layers2-2"]
    assert within.kind is wanted["cas@0.1:audio+answer~matched4"].kind
    # five draws of the headline, at most three anywhere else
    assert "cas@0.3:audio+answer~matched3" not in wanted
    with pytest.raises(ValueError, match="the common size of lap is known when it has ranked"):
        RICH.name_of(Wanted("lap", None))
