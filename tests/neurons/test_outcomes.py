"""Sets from misses and false alarms, worked out by hand on three neurons, and letters that are levelled.

The example: each of three speakers has four clips, of 10 audio positions each. n0 follows what is in the voice, n1
what is answered, n2 fires where both are fear:

    in the voice   answered    n0  n1  n2
    anger          anger        8   6   1     a hit of anger
    fear           fear         2   1   7     a hit of fear
    anger          fear         8   1   3     a miss of anger, a false alarm of fear
    fear           anger        2   6   3     a miss of fear, a false alarm of anger
"""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest

from emoscope.neurons.samples import (
    IdentificationClip,
    draw_samples,
    fewer_clips,
    level_letters,
    outcome_samples,
    pools,
)
from emoscope.neurons.selection import ALL, SetSpec, find_sets

from .helpers import activity_of_counts, random_activity
from .test_selection import EMOTIONS, SPEC, make_items

CLIPS = [
    ("anger", "anger", (8, 6, 1)), ("fear", "fear", (2, 1, 7)), ("anger", "fear", (8, 1, 3)), ("fear", "anger", (2, 6, 3)),
]  # fmt: skip
THREE = SetSpec(
    ("anger", "fear"), ("cas",), (1 / 3,), "audio", items_per_emotion=9, minimum=2, controls={},
    headline=("cas", 1 / 3), outcomes=True,
)  # fmt: skip
NAME = "cas@0.333333:audio"


def three_neurons(extra_hits=0):
    """The clips of the example for three speakers, then so many more hits of both emotions of each."""
    rows = [(speaker, *clip) for speaker in "stu" for clip in [*CLIPS, *CLIPS[:2] * extra_hits]]
    items = pl.DataFrame({
        "item": range(len(rows)), "clip": [f"c{n}" for n in range(len(rows))], "speaker": [row[0] for row in rows],
        "fold": [row[0] for row in rows], "truth": [row[1] for row in rows], "answered": [row[2] for row in rows],
        "correct": [row[1] == row[2] for row in rows], "status": ["used"] * len(rows),
        "options": [["anger", "fear"]] * len(rows),
    })  # fmt: skip
    return items, np.array([row[3] for row in rows])


def neurons(found, control, fold, draw=0):
    name = NAME + (f"~{control}{draw}" if control else "")
    return {emotion: one.tolist() for emotion, one in found.sets[name, fold].items()}


def test_each_outcome_finds_its_own_neurons(tmp_path):
    items, fired = three_neurons()
    found = find_sets(activity_of_counts(tmp_path / "a.zarr", fired, [10] * 12), items, THREE)
    for fold in ("s", "t", "u", ALL):
        # hits: P(anger) = 0.8 0.6 0.1, P(fear) = 0.2 0.1 0.7; margins: n0 0.6 anger, n1 0.5 anger, n2 0.6 fear
        assert neurons(found, "", fold) == {"anger": [0], "fear": [2]}
        # misses, by what is in the voice: 0.8 0.1 0.3 and 0.2 0.6 0.3; n0 0.6 anger, n1 0.5 fear, n2 0
        assert neurons(found, "misses", fold) == {"anger": [0], "fear": [1]}
        # false alarms, by what is answered: 0.2 0.6 0.3 and 0.8 0.1 0.3; n0 0.6 fear, n1 0.5 anger, n2 0
        assert neurons(found, "false-alarms", fold) == {"anger": [1], "fear": [0]}
    assert found.outcomes == {one: {"anger": 3, "fear": 3} for one in ("misses", "false-alarms")}
    # as many hits as misses: the target sets are these hits' sets
    assert set(found.frame["control"]) == {"target", "misses", "false-alarms"}
    assert found.frame.filter(pl.col("fold") != ALL)["n"].unique().to_list() == [2]
    # without it nothing else changes
    usual = find_sets(activity_of_counts(tmp_path / "b.zarr", fired, [10] * 12), items, dataclasses.replace(THREE, outcomes=False))  # fmt: skip
    assert usual.frame.equals(found.frame.filter(control="target"))
    assert usual.outcomes == {}


def test_hits_are_drawn_again_where_there_are_more_of_them(tmp_path):
    items, fired = three_neurons(extra_hits=2)
    found = find_sets(activity_of_counts(tmp_path / "a.zarr", fired, [10] * 24), items, THREE)
    sizes = found.frame.filter(fold="s").group_by("control").agg(pl.col("n").first())
    assert dict(sizes.iter_rows()) == {
        "target": 6, "misses": 2, "hits-as-misses": 2, "false-alarms": 2, "hits-as-false-alarms": 2,
    }  # fmt: skip
    assert neurons(found, "hits-as-misses", "s") == neurons(found, "", "s") == {"anger": [0], "fear": [2]}
    samples, _ = draw_samples(items, THREE)
    drawn, _ = outcome_samples(items, samples, ("anger", "fear"), THREE)
    full = {sample.fold: {clip.name for clip in sample.clips} for sample in samples}
    for control, _, sample in drawn:
        names = {clip.name for clip in sample.clips}
        assert not any(clip.fold == sample.fold for clip in sample.clips)
        assert (names < full[sample.fold]) == control.startswith("hits")
        assert [clip.emotion for clip in sample.clips] == ["anger"] * sample.n + ["fear"] * sample.n
    # twice as many hits: a second draw, of other clips
    both = [{one.name for one in sample.clips} for control, _, sample in drawn if (control, sample.fold) == ("hits-as-misses", "s")]  # fmt: skip
    assert [len(names) for names in both] == [4, 4]
    assert not both[0] & both[1]
    assert neurons(found, "hits-as-misses", "s", 1) == {"anger": [0], "fear": [2]}


def test_hits_and_misses_share_no_clip():
    # every clip in two letter orders, of which c2 is answered rightly in one: it is a hit and no miss
    items, _ = three_neurons()
    twice = pl.concat([items, items.with_columns(pl.col("item") + 12)]).with_columns(
        correct=pl.col("correct") | ((pl.col("clip") == "c2") & (pl.col("item") > 11))
    )
    names = {outcome: {clip.name for clip in pools(twice, THREE, outcome)[ALL]} for outcome in ("hits", "misses", "false-alarms")}  # fmt: skip
    assert names["hits"] == {f"c{n}" for n in (0, 1, 2, 4, 5, 8, 9)}
    assert names["misses"] == names["false-alarms"] == {f"c{n}" for n in (3, 6, 7, 10, 11)}


def test_too_few_clips_of_an_outcome_have_no_set(tmp_path):
    # four emotions of two clips each outside every fold, but fear is never answered otherwise
    items = make_items().with_columns(pl.when("correct").then("truth").otherwise(pl.lit("anger")).alias("answered"))
    items = items.with_columns(correct=pl.col("answered") == pl.col("truth"))
    spec = dataclasses.replace(SPEC, outcomes=True, minimum=2, controls={})
    activity = random_activity(tmp_path / "a.zarr", items=96, layers=3, width=40)[0]
    found = find_sets(activity, items, spec)
    wrong = items.filter(~pl.col("correct"))
    fewest = {
        emotion: min(wrong.filter((pl.col("fold") != fold) & (pl.col("truth") == emotion)).height for fold in ("s0", "s1", "s2", "s3"))
        for emotion in EMOTIONS
    }  # fmt: skip
    # anger is never missed and the only false alarm: misses have two emotions, false alarms one and so none
    assert fewest["anger"] == 0
    assert min(fewest["fear"], fewest["sadness"]) >= 2
    assert found.outcomes["misses"]["anger"] == "no set (0 misses)"
    assert found.outcomes["misses"]["fear"] == found.outcomes["misses"]["sadness"] > 2
    assert found.outcomes["false-alarms"]["fear"] == "no set (0 false alarms)"
    assert all(isinstance(one, str) for one in found.outcomes["false-alarms"].values())
    # their hits are of these two emotions alone
    assert set(found.frame["control"]) == {"target", "misses", "hits-as-misses"}
    for control in ("misses", "hits-as-misses"):
        assert found.frame.filter(control=control)["emotion"].unique().sort().to_list() == ["fear", "sadness"]
    both = make_items().filter(pl.col("truth") != "anger")
    alone = find_sets(activity, both, dataclasses.replace(spec, outcomes=False, emotions=("fear", "sadness"), items_per_emotion=found.outcomes["misses"]["fear"]))  # fmt: skip
    for emotion in ("fear", "sadness"):
        own = found.sets["cas@0.1:audio+answer~hits-as-misses0", ALL][emotion]
        np.testing.assert_array_equal(own, alone.sets["cas@0.1:audio+answer", ALL][emotion])
    with pytest.raises(ValueError, match="does not say what was answered"):
        find_sets(activity, items.drop("answered"), spec)


def clip(number, letters, items=None):
    return IdentificationClip(f"c{number}", "fear", None, None, tuple(items or range(len(letters))), tuple(letters))


def test_letters_are_levelled_by_choosing_clips():
    # behind A, A, A, A, B, C: of four clips two must be A; of five B and C are out
    clips = [clip(n, [letter]) for n, letter in enumerate([0, 0, 0, 0, 1, 2])]
    assert [one.name for one in level_letters(clips, 4)] == ["c0", "c4", "c5", "c1"]
    assert [one.name for one in level_letters(clips, 5)] == ["c0", "c4", "c5", "c1", "c2"]


def test_a_clip_in_several_letter_orders_stands_for_one_letter():
    # c0 could be A or B, c1 only A, c2 A in two wordings or C: A by c1, B by c0, C by c2
    clips = [clip(0, [0, 1], [10, 11]), clip(1, [0], [12]), clip(2, [0, 0, 2], [13, 14, 15])]
    found = level_letters(clips, 3)
    assert [(one.name, one.items, one.letters) for one in found] == [
        ("c1", (12,), (0,)), ("c0", (11,), (1,)), ("c2", (15,), (2,)),
    ]  # fmt: skip
    # all items that show the letter stay
    assert level_letters(clips[2:], 1)[0].items == (13, 14)


def test_balanced_letters_of_every_fold_and_size():
    options = [list(np.roll(EMOTIONS, n // 12)) for n in range(96)]
    items = make_items(options=options, correct=[n % 7 != 0 or n < 30 for n in range(96)])
    spec = dataclasses.replace(SPEC, items_per_emotion=6, sizes=(3,), size_draws=2)
    usual, level = (draw_samples(items, dataclasses.replace(spec, balance_letters=on))[0] for on in (False, True))
    assert max(sample.letter_share(emotion) for sample in usual for emotion in EMOTIONS) > 0.4
    for sample in level:
        assert sample.n == 6
        assert [sample.letter_share(emotion) for emotion in EMOTIONS] == [2 / 6] * 3
        assert not any(clip.fold == sample.fold for clip in sample.clips)
    fewer = fewer_clips(level, dataclasses.replace(spec, balance_letters=True))
    assert [sample.letter_share(emotion) for _, sample in fewer for emotion in EMOTIONS] == [1 / 3] * 30
    with pytest.raises(ValueError, match="balance_letters"):
        draw_samples(make_items(), dataclasses.replace(spec, balance_letters=True))
