"""Sets that are lent to another part keep their neurons, fold by fold, under another name."""

import numpy as np
import polars as pl

from emoscope.neurons.selection import COLUMNS, FoundSets, gather, lend

HEAD = ("mad", 0.05)


def found() -> FoundSets:
    """A target set and two matched draws of anger, in two folds and over all."""
    rows, sets = [], {}
    for draw, (name, control) in enumerate([("a", "target"), ("b", "matched"), ("c", "matched")]):
        for place, fold in enumerate(("fold1", "fold2", "all")):
            sets[name, fold] = {"anger": np.array([10 * draw + place])}
            rows.append(dict.fromkeys(COLUMNS) | {
                "set": name, "selector": "mad", "budget": 0.05, "control": control, "draw": max(draw - 1, 0),
                "fold": fold, "emotion": "anger",
            })  # fmt: skip
    return FoundSets(pl.DataFrame(rows, schema=COLUMNS), sets, {"anger": 5}, 1, 100, np.zeros(100, dtype="float32"))


def test_a_fold_that_both_have_gets_its_own_sets_and_any_other_those_of_all_clips() -> None:
    lent = lend(found(), "here", ["fold1", "fold9"], HEAD, matched=1)
    assert lent is not None
    assert {key: groups["anger"].tolist() for key, groups in lent.sets.items()} == {
        ("a~from=here", "fold1"): [0], ("a~from=here", "fold9"): [2], ("a~from=here", "all"): [2],
        ("b~from=here", "fold1"): [10], ("b~from=here", "fold9"): [12], ("b~from=here", "all"): [12],
    }  # fmt: skip
    assert lent.frame["source"].unique().to_list() == ["here"]


def test_folds_of_one_name_that_hold_other_speakers_get_those_of_all_clips() -> None:
    lent = lend(found(), "here", ["fold1"], HEAD, matched=0, same=False)
    assert lent is not None
    assert lent.sets["a~from=here", "fold1"]["anger"].tolist() == [2]
    assert lent.frame["fold"].to_list() == ["all"]


def test_where_nothing_was_found_nothing_is_lent() -> None:
    assert lend(found(), "here", ["fold1"], ("cas", 0.05), matched=1) is None
    assert gather([]) is None
