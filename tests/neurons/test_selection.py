"""find_sets: who identifies, folds, balance, controls, the table, the files, and what is transferred to other parts."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoscope.neurons.activity import Activity
from emoscope.neurons.controls import CONTROLS, Control, Matcher, covariates, seeded_generator
from emoscope.neurons.ranking import select_from_sums
from emoscope.neurons.samples import draw_samples, renamed_clips
from emoscope.neurons.selection import (
    ALL,
    COLUMNS,
    FoundSets,
    NotIdentifiable,
    SetSpec,
    as_transferred,
    find_sets,
    gather,
    load_set,
)
from emoscope.neurons.sets import NeuronSets

from .helpers import random_activity

EMOTIONS = ("anger", "fear", "sadness")
SPEC = SetSpec(
    EMOTIONS, budgets=(0.05, 0.1), headline=("cas", 0.1), items_per_emotion=10, minimum=4, controls={"matched": 2, "random": 2, "shuffled": 2}
)  # fmt: skip


def with_spec(**changes):
    return dataclasses.replace(SPEC, **changes)


def make_items(count=96, orders=1, seed=0, **more):
    """Clips of four speakers, asked in `orders` letter orders; four in five items are answered correctly."""
    rng, clip = np.random.default_rng(seed), np.arange(count) // orders
    speakers = [f"s{i % 4}" for i in clip]
    columns = {
        "item": np.arange(count), "clip": [f"clip{i}" for i in clip], "corpus": ["voices"] * count,
        "speaker": speakers, "fold": speakers, "truth": [EMOTIONS[i // 4 % 3] for i in clip],
        "correct": rng.random(count) < 0.8, "status": ["used"] * count, "side": ["both"] * count,
    }  # fmt: skip
    return pl.DataFrame({**columns, **more})


@pytest.fixture(scope="module")
def activity(tmp_path_factory):
    return random_activity(tmp_path_factory.mktemp("activity") / "a.zarr", items=96, layers=3, width=40)[0]


@pytest.fixture(scope="module")
def found(activity):
    return find_sets(activity, make_items(), SPEC)


def test_each_fold_takes_equally_many_correct_clips(found):
    items = make_items().filter("correct")
    for fold in ("s0", "s1", "s2", "s3", ALL):
        available = items.filter(pl.col("fold") != fold)["truth"].value_counts()["count"].to_list()
        assert found.frame.filter(fold=fold)["n"].unique().to_list() == [min(10, *available)]


def test_every_set_has_a_row_per_fold_and_emotion(found):
    assert found.frame.schema == pl.Schema(COLUMNS)
    targets = {f"{s}@{b}:audio+answer" for s in SPEC.selectors for b in ("0.05", "0.1")}
    controls = {f"cas@0.1:audio+answer~{c}{d}" for c in ("matched", "random", "shuffled") for d in (0, 1)}
    controls |= {f"cas@0.05:audio+answer~matched{d}" for d in (0, 1)}
    assert set(found.frame["set"]) == targets | controls
    assert set(found.frame["fold"]) == {"s0", "s1", "s2", "s3", ALL}
    assert found.frame.height == len(targets | controls) * 5 * 3 == len(found.frame.unique(["set", "fold", "emotion"]))
    for row in found.frame.iter_rows(named=True):
        assert row["size_reached"] == len(found.sets[row["set"], row["fold"]][row["emotion"]])
        assert row["size_wanted"] == round(row["budget"] * 120)
        assert (row["well_matched"] is None) == (row["control"] != "matched") == (row["smd_frequency"] is None)
        assert (row["tied_at_cut"] is None) == (row["control"] in ("matched", "random"))
    assert set(found.frame["source"]) == {"voices"}


def test_a_fold_is_found_on_correct_clips_of_the_others(activity, found):
    # 96 clips, all answered correctly: 24 of each emotion outside a speaker's fold, 32 in all, so none is left out
    same = make_items().with_columns(correct=pl.lit(True))
    spec = SetSpec(EMOTIONS, budgets=(0.1,), headline=("mad", 0.1), items_per_emotion=99, controls={}, minimum=4)  # fmt: skip
    sets = find_sets(activity, same, spec).sets
    for fold in ("s2", ALL):
        rows = [same.filter((pl.col("fold") != fold) & (pl.col("truth") == e))["item"].to_numpy() for e in EMOTIONS]
        fired, summed = (
            np.concatenate([np.stack([read(i, "audio+answer", r).sum(0) for r in rows]) for i in range(3)], axis=1)
            for read in (activity.read_counts, activity.read_sums)
        )
        tokens = np.array([activity.tokens("audio+answer", r).sum() for r in rows])
        for selector in spec.selectors:
            expected = select_from_sums(fired, tokens, summed, selector, 12)
            for emotion, one in zip(EMOTIONS, expected, strict=True):
                np.testing.assert_array_equal(sets[f"{selector}@0.1:audio+answer", fold][emotion], one.neurons)


def test_wrong_unused_and_unknown_items_change_nothing(activity, found):
    items = make_items()
    wrong = items.filter(~pl.col("correct"))["item"].to_list()
    assert wrong
    changed = items.with_columns(
        status=pl.when(pl.col("item").is_in(wrong[:9])).then(pl.lit("not needed")).otherwise("status"),
        correct=pl.when(pl.col("item").is_in(wrong[9:])).then(None).otherwise("correct"),
    )
    assert find_sets(activity, changed, SPEC).frame.equals(found.frame)
    # a correct answer counts only where the item is used
    status = pl.when(pl.col("speaker") == "s1").then(pl.lit("excluded")).otherwise("status")
    one_less = draw_samples(items.with_columns(status=status), SPEC)[0]
    assert [sample.fold for sample in one_less] == ["s0", "s2", "s3", ALL]
    assert not any(clip.speaker == "s1" for sample in one_less for clip in sample.clips)


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 1000))
def test_order_of_rows_changes_nothing(activity, found, seed):
    mixed = find_sets(activity, make_items().sample(fraction=1, shuffle=True, seed=seed), SPEC)
    assert mixed.frame.equals(found.frame)
    for key, group in found.sets.items():
        for emotion, neurons in group.items():
            np.testing.assert_array_equal(mixed.sets[key][emotion], neurons)


def test_another_seed_draws_other_clips_and_other_controls(activity):
    first, second = ({c.name for c in draw_samples(make_items(), with_spec(seed=seed))[0][-1].clips} for seed in (0, 1))
    assert len(first) == len(second) == 30
    assert first != second
    # with every clip taken, only ties and controls are left to chance
    items = make_items().with_columns(correct=pl.lit(True))
    one, two = (find_sets(activity, items, with_spec(seed=seed, items_per_emotion=99)).sets for seed in (0, 1))
    for emotion in EMOTIONS:
        for control in ("matched", "random", "shuffled"):
            draws = [tuple(sets[f"cas@0.1:audio+answer~{control}{d}", ALL][emotion]) for sets in (one, two) for d in (0, 1)]  # fmt: skip
            assert len(set(draws)) == 4
        target = one["mad@0.1:audio+answer", ALL][emotion]
        np.testing.assert_array_equal(target, two["mad@0.1:audio+answer", ALL][emotion])


@pytest.mark.parametrize("scope", ["audio+answer", "text"])
def test_matched_controls_use_what_neurons_do_in_the_scope_on_the_folds_own_items(activity, scope):
    items = make_items().with_columns(correct=pl.lit(True))
    sets = find_sets(activity, items, with_spec(items_per_emotion=99, scope=scope)).sets
    rows = items.filter(pl.col("fold") != "s1")["item"].to_list()
    parts, tokens = scope.split("+"), activity.tokens(scope, np.array(rows)).sum()
    fired, size = np.zeros((2, 3, 40))
    for layer in range(3):
        for row in rows:
            for part in parts:
                fired[layer] += activity.read_counts(layer, part, np.array([row]))[0]
                size[layer] += abs(activity.read_sums(layer, part, np.array([row]))[0])
    target = sets[f"cas@0.1:{scope}", "s1"]
    standardised = covariates(fired / tokens, size / tokens, activity.down_norm)
    matcher = Matcher(standardised, np.concatenate(list(target.values())))
    expected = matcher.draw(target["fear"], seeded_generator(0, "matched", "s1", "fear", 1))
    np.testing.assert_array_equal(sets[f"cas@0.1:{scope}~matched1", "s1"]["fear"], expected.neurons)


def test_quiet_controls_vary_as_much_between_clips_and_less_with_emotion(activity):
    items = make_items().with_columns(correct=pl.lit(True))
    sets = find_sets(activity, items, with_spec(items_per_emotion=99, scope="text", controls={"quiet": 2})).sets
    rows = items.to_dicts()
    tokens = activity.tokens("text")
    means = np.stack(
        [activity.read_sums(layer, "text") / tokens[:, None] for layer in range(3)]
    )  # (layer, item, width)
    spread = np.zeros((3, 40))
    for who in ("s0", "s1", "s2", "s3"):
        own = means[:, [row["item"] for row in rows if row["speaker"] == who]]
        spread += ((own - own.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    spread /= 96 - 4
    sums = np.stack([activity.read_sums(layer, "text") for layer in range(3)])
    for fold in ("s1", ALL):
        of = [[row["item"] for row in rows if row["fold"] != fold and row["truth"] == e] for e in EMOTIONS]
        by_emotion = np.stack([sums[:, own].sum(axis=1) / tokens[own].sum() for own in of])
        told = by_emotion.var(axis=0) / spread
        target = sets["cas@0.1:text", fold]
        free = [
            n
            for n in range(120)
            if told.ravel()[n] <= np.median(told[n // 40]) and n not in np.concatenate(list(target.values()))
        ]
        for draw in (0, 1):
            found = sets[f"cas@0.1:text~quiet{draw}", fold]["fear"]
            assert set(found.tolist()) <= set(free)
            np.testing.assert_array_equal(
                np.bincount(found // 40, minlength=3), np.bincount(target["fear"] // 40, minlength=3)
            )
            # each is one of the ten nearest of its layer, or nearer ones are used, for some chosen neuron
            far = np.log(spread.ravel())
            for neuron in found:
                layer = [n for n in free if n // 40 == neuron // 40]
                ranks = [
                    sum(abs(far[n] - far[c]) < abs(far[neuron] - far[c]) for n in layer)
                    for c in target["fear"]
                    if c // 40 == neuron // 40
                ]
                assert min(ranks) < 10 + len(found)
    first, second = (sets[f"cas@0.1:text~quiet{draw}", ALL]["fear"].tolist() for draw in (0, 1))
    assert first != second


def test_one_speaker_is_enough_for_quiet_controls(activity):
    items = make_items().with_columns(correct=pl.lit(True), speaker=pl.lit("s"))
    assert "quiet" in find_sets(activity, items, with_spec(controls={"quiet": 1})).frame["control"].to_list()


def test_blocks_of_an_earlier_run_change_no_control(activity, tmp_path):
    # the same folder, once with a third block that a longer study left there
    less = random_activity(tmp_path / "less.zarr", items=96, layers=3, width=40)[1]
    again = Activity.create(tmp_path / "a.zarr", 96, 3, 40, activity.down_norm, 32)
    for number in (0, 1):
        again.write(32 * number, less[number])
    items = make_items(64)
    unused = make_items(96).tail(32).with_columns(status=pl.lit("not needed"))
    expected = find_sets(again, items, SPEC)
    assert find_sets(activity, items, SPEC).frame.equals(expected.frame)
    assert find_sets(activity, pl.concat([items, unused]), SPEC).frame.equals(expected.frame)


@pytest.mark.parametrize("control", ["shuffled", "orthogonal"])
def test_relabelled_sets_are_the_selectors_own_on_clips_that_keep_their_names_in_every_fold(activity, control):
    items = make_items().with_columns(correct=pl.lit(True), block=pl.concat_str("speaker", pl.col("item") // 24))
    spec = with_spec(items_per_emotion=99, controls={control: 2})
    found = find_sets(activity, items, spec)
    samples = draw_samples(items, spec)[0]
    names = renamed_clips(samples, CONTROLS[control], 1, spec.seed)
    # every clip is in the sample of all clips, and the samples of folds are the same without the fold's own
    renamed = items.with_columns(truth=pl.col("clip").replace_strict(names))
    for fold in ("s0", "s3", ALL):
        rows = [renamed.filter(pl.col("fold") != fold, truth=e)["item"].to_numpy() for e in EMOTIONS]
        fired, summed = (
            np.concatenate([np.stack([read(i, "audio+answer", r).sum(0) for r in rows]) for i in range(3)], axis=1)
            for read in (activity.read_counts, activity.read_sums)
        )
        tokens = np.array([activity.tokens("audio+answer", r).sum() for r in rows])
        expected = select_from_sums(fired, tokens, summed, "cas", 12)
        for emotion, one in zip(EMOTIONS, expected, strict=True):
            own = found.sets[f"cas@0.1:audio+answer~{control}1", fold][emotion]
            np.testing.assert_array_equal(own, one.neurons)
            assert own.tolist() != found.sets["cas@0.1:audio+answer", fold][emotion].tolist()
            outside = items.filter(pl.col("fold") != fold, truth=emotion)
            kept = np.mean([names[clip] == emotion for clip in outside["clip"]])
            row = found.frame.filter(control=control, draw=1, fold=fold, emotion=emotion)
            assert row["names_kept"].item() == pytest.approx(kept)
            if control == "orthogonal":
                assert kept == pytest.approx(1 / 3, abs=0.05)
    assert found.frame.filter(control="target")["names_kept"].null_count() == 24 * 5


def test_names_are_drawn_anew_until_every_fold_has_all_of_them():
    # with one clip an emotion in each of three folds, most shuffles leave some fold without a name
    items = make_items(9, correct=[True] * 9, truth=[*EMOTIONS] * 3, speaker=["s"] * 9, fold=list("aaabbbccc"))
    spec = with_spec(minimum=1)
    samples = draw_samples(items, spec)[0]
    for draw in range(20):
        names = renamed_clips(samples, CONTROLS["shuffled"], draw, 0)
        assert all({names[clip.name] for clip in sample.clips} == set(EMOTIONS) for sample in samples)
    never = Control("never", relabel=lambda labels, units, generator: 0 * labels)
    assert renamed_clips(samples, never, 0, 0) is None


def test_controls_keep_their_rules(found):
    for fold in ("s0", ALL):
        target = found.sets["cas@0.1:audio+answer", fold]
        union = np.concatenate(list(target.values()))
        assert len(np.unique(union)) == len(union)
        for draw in (0, 1):
            for emotion, neurons in found.sets[f"cas@0.1:audio+answer~matched{draw}", fold].items():
                assert not np.isin(neurons, union).any()
                np.testing.assert_array_equal(np.bincount(neurons // 40), np.bincount(target[emotion] // 40))
            assert len(found.sets[f"cas@0.1:audio+answer~random{draw}", fold]["fear"]) == len(target["fear"])


def test_other_budgets_of_the_headlines_selector_have_matched_controls_of_their_size(found, activity):
    target = found.sets["cas@0.05:audio+answer", ALL]
    for draw in (0, 1):
        for emotion, neurons in found.sets[f"cas@0.05:audio+answer~matched{draw}", ALL].items():
            assert not np.isin(neurons, np.concatenate(list(target.values()))).any()
            np.testing.assert_array_equal(np.bincount(neurons // 40), np.bincount(target[emotion] // 40))
    # three draws are enough there, and those of the headline stay what they are without another budget
    many = find_sets(activity, make_items(), with_spec(controls={"matched": 4})).sets
    alone = find_sets(activity, make_items(), with_spec(budgets=(0.1,), controls={"matched": 4})).sets
    assert {name for name, _ in many if "0.05" in name and "matched" in name} == {
        f"cas@0.05:audio+answer~matched{draw}" for draw in range(3)
    }
    for key in [key for key in alone if "matched" in key[0]]:
        np.testing.assert_array_equal(many[key]["fear"], alone[key]["fear"])


def test_caps_count_clips_and_letter_orders_go_together(activity):
    items = make_items(orders=2)
    spec = with_spec(items_per_emotion=5, minimum=3, controls={})
    whole = find_sets(activity, items, spec)
    # the same five clips per emotion and all of their correct items, chosen beforehand
    samples, _ = draw_samples(items, spec)
    right = items.filter("correct")
    for sample in samples:
        assert sample.n == 5 == whole.frame.filter(fold=sample.fold)["n"].unique().item()
        assert len(sample.clips) == 15
        for clip in sample.clips:
            assert list(clip.items) == right.filter(clip=clip.name)["item"].to_list()
    assert any(len(clip.items) == 2 for clip in samples[0].clips)


def test_smaller_samples_are_nested(activity):
    few, many = (
        {c.name for c in draw_samples(make_items(), with_spec(items_per_emotion=n))[0][-1].clips} for n in (5, 10)
    )
    assert len(few) == 15
    assert few < many


def test_fixed_sides_identify_on_their_side_only(activity):
    side = ["identify" if i % 4 < 2 else "evaluate" for i in range(96)]
    items = make_items(side=side, fold=["official"] * 96)
    sets = find_sets(activity, items, SPEC)
    assert set(sets.frame["fold"]) == {"official", ALL}
    side_alone = items.filter(side="identify").with_columns(side=pl.lit("both"), fold="speaker")
    only = find_sets(activity, side_alone, SPEC)
    for (name, fold), group in sets.sets.items():
        if fold == "official" and "~" not in name:
            for emotion, neurons in group.items():
                np.testing.assert_array_equal(neurons, sets.sets[name, ALL][emotion])
                np.testing.assert_array_equal(neurons, only.sets[name, ALL][emotion])


def test_an_emotion_the_model_does_not_hear_gets_no_set(activity):
    deaf = (pl.col("truth") == "fear") & (pl.col("item") >= 30)
    items = make_items().with_columns(correct=pl.col("correct") & ~deaf)
    heard = items.filter(pl.col("correct") & (pl.col("truth") == "fear"))
    fewest = min(heard.filter(pl.col("fold") != f).height for f in ("s0", "s1", "s2", "s3"))
    assert fewest >= 4
    spec = with_spec(minimum=fewest + 1)
    sets = find_sets(activity, items, spec)
    assert sets.identifiable == {"anger": 10, "fear": f"not identifiable ({fewest} correct)", "sadness": 10}
    assert set(sets.frame["emotion"]) == {"anger", "sadness"}
    with pytest.raises(NotIdentifiable, match=f"fear {fewest}, sadness") as caught:
        find_sets(activity, items, with_spec(minimum=90))
    assert caught.value.counts["fear"] == fewest


def test_files_give_back_the_sets(found, tmp_path):
    found.save_sets(tmp_path)
    for folder in tmp_path.iterdir():  # one file for all folds
        assert [file.name for file in folder.iterdir()] == ["all.safetensors"]
    for (name, fold), group in found.sets.items():
        back = load_set(tmp_path, name, fold)
        assert list(back) == list(group)
        for emotion in group:
            np.testing.assert_array_equal(back[emotion], group[emotion])
    with pytest.raises(FileNotFoundError, match="s9"):
        load_set(tmp_path, "cas@0.1:audio+answer", "s9")


def test_folds_of_an_earlier_selection_do_not_stay(activity, found, tmp_path):
    found.save_sets(tmp_path)
    place = tmp_path / "cas@0.1_audio+answer"
    (place / "s3.safetensors").write_text("of an earlier version")
    other = tmp_path / "mine" / "all.safetensors"
    other.parent.mkdir()
    other.write_text("kept")
    fewer = find_sets(
        activity, make_items().filter(pl.col("speaker") != "s3"), with_spec(controls={**SPEC.controls, "matched": 1})
    )
    fewer.save_sets(tmp_path)
    assert [path.name for path in place.iterdir()] == ["all.safetensors"]
    assert set(NeuronSets.load(place).folds) == {"s0", "s1", "s2"}
    assert other.read_text() == "kept"


def test_sets_come_as_values_with_folds(found):
    sets = found.neuron_sets("cas@0.1:audio+answer")
    assert list(sets) == list(EMOTIONS)
    assert set(sets.folds) == {"s0", "s1", "s2", "s3"}
    assert sets["anger"].meta["selector"] == "cas"
    assert 0 < sets.stability["anger"] < 1
    assert repr(found) == "FoundSets(16 sets x 5 folds of anger, fear, sadness)"
    assert "<table" in found._repr_html_()
    with pytest.raises(ValueError, match="'cas' was not found"):
        found.neuron_sets("cas")


def test_every_set_has_the_means_of_its_neurons_over_all_items(activity, found, tmp_path):
    means = activity.mean_product().ravel()
    for name in ("cas@0.1:audio+answer", "cas@0.1:audio+answer~matched1"):
        sets = found.neuron_sets(name)
        for group in (sets, *sets.folds.values()):
            for one in group.values():
                np.testing.assert_allclose(one.mean_product, means[one.neurons], rtol=1e-6)
    found.save_sets(tmp_path)
    back = NeuronSets.load(tmp_path / "cas@0.1_audio+answer")
    np.testing.assert_array_equal(back.folds["s1"]["fear"].mean_product, found.mean_product[back.folds["s1"]["fear"].neurons])  # fmt: skip


def test_means_know_no_label(activity, found):
    swapped = make_items().with_columns(truth=pl.col("truth").reverse(), correct=pl.col("correct").reverse())
    np.testing.assert_array_equal(find_sets(activity, swapped, SPEC).mean_product, found.mean_product)


def test_mistakes_are_named(activity):
    with pytest.raises(ValueError, match=r"budget 0\.7 is not a fraction of neurons"):
        SetSpec(EMOTIONS, budgets=(0.7,), headline=("cas", 0.7))
    with pytest.raises(ValueError, match="headline"):
        SetSpec(EMOTIONS, budgets=(0.1,), headline=("cas", 0.2))
    with pytest.raises(ValueError, match="site 'product'"):
        find_sets(activity, make_items(), with_spec(site="product"))
    assert SetSpec(EMOTIONS, scope=("answer", "audio")).scope_name == "audio+answer"
    assert SetSpec(EMOTIONS, scope="all").scope_name == "all"


HEAD = ("mad", 0.05)


def found_in_two_folds() -> FoundSets:
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
    transferred = as_transferred(found_in_two_folds(), "here", ["fold1", "fold9"], HEAD, matched=1)
    assert transferred is not None
    assert {key: groups["anger"].tolist() for key, groups in transferred.sets.items()} == {
        ("a~from=here", "fold1"): [0], ("a~from=here", "fold9"): [2], ("a~from=here", "all"): [2],
        ("b~from=here", "fold1"): [10], ("b~from=here", "fold9"): [12], ("b~from=here", "all"): [12],
    }  # fmt: skip
    assert transferred.frame["source"].unique().to_list() == ["here"]


def test_folds_of_one_name_that_hold_other_speakers_get_those_of_all_clips() -> None:
    transferred = as_transferred(found_in_two_folds(), "here", ["fold1"], HEAD, matched=0, same=False)
    assert transferred is not None
    assert transferred.sets["a~from=here", "fold1"]["anger"].tolist() == [2]
    assert transferred.frame["fold"].to_list() == ["all"]


def test_where_nothing_was_found_nothing_is_transferred() -> None:
    assert as_transferred(found_in_two_folds(), "here", ["fold1"], ("cas", 0.05), matched=1) is None
    assert gather([]) is None
