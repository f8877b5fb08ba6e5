"""Sets of several corpora for the folds of one: which clips find them, what they hold, and how they are named."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections import Counter

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from emoscope.neurons.controls import Matcher, covariates, seeded_generator
from emoscope.neurons.fusion import transfer_sets
from emoscope.neurons.selection import ALL, COLUMNS, SetSpec, find_sets, load_set
from emoscope.neurons.sources import AGREEMENT, Source, equal_samples, expected_jaccard, score_agreement

from .helpers import activity_of_counts, random_activity
from .test_fusion import SCOPE, dense, slow_best, slow_fused, slow_scores

EMOTIONS = ("anger", "fear", "sadness")
SPEC = SetSpec(
    EMOTIONS, selectors=("lap", "mad", "cas"), budgets=(0.1,), headline=("cas", 0.1), items_per_emotion=99, minimum=4, controls={"matched": 2},
    seed=3,
)  # fmt: skip
NAMES = ("first", "second", "third")
N, EACH = 10, 3
"""Clips per emotion of a set, and of each corpus in a fused set of three."""
FUSED = ("fused: overlap", "fused: joint", "fused: consistency")


def make_items(name, count=72, right=0.8, seed=0, **more):
    """Clips of four speakers; most are answered correctly."""
    rng, speakers = np.random.default_rng(seed), [f"{name}{i % 4}" for i in range(count)]
    columns = {
        "item": np.arange(count), "clip": [f"{name}.{i}" for i in range(count)], "corpus": [name] * count,
        "speaker": speakers, "fold": speakers, "truth": [EMOTIONS[i // 4 % 3] for i in range(count)],
        "correct": rng.random(count) < right, "status": ["used"] * count, "side": ["both"] * count,
    }  # fmt: skip
    return pl.DataFrame({**columns, **more})


def with_spec(**changes):
    return dataclasses.replace(SPEC, **changes)


def with_items(source, items):
    return dataclasses.replace(source, items=items)


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("transfer")
    made = [random_activity(folder / f"{n}.zarr", items=72, layers=2, width=45, seed=n)[0] for n in range(3)]
    return [Source(name, made[n], make_items(name, right=0.9 - n / 10, seed=n)) for n, name in enumerate(NAMES)]


@pytest.fixture(scope="module")
def found(sources):
    return transfer_sets(sources, "second", SPEC)


def fewest(items):
    """The fewest correct clips of an emotion outside a fold, counted one by one."""
    right = items.filter("correct").rows(named=True)
    return min(
        sum(row["truth"] == emotion and row["fold"] != fold for row in right)
        for emotion in EMOTIONS for fold in set(items["fold"])
    )  # fmt: skip


def slow_clips(items, n, fold=None):
    """The first n correct clips of each emotion outside a fold, in the order of a hash; row numbers and labels."""
    rows, labels = [], []
    for number, emotion in enumerate(EMOTIONS):
        there = [
            row for row in items.rows(named=True)
            if row["correct"] and row["truth"] == emotion and (fold is None or row["fold"] != fold)
        ]  # fmt: skip
        there.sort(key=lambda row: hashlib.sha256(f"{SPEC.seed}\x1f{row['clip']}".encode()).hexdigest())
        rows += [row["item"] for row in there[:n]]
        labels += [number] * n
    return np.array(rows), np.array(labels)


def test_all_sets_come_from_equally_many_clips(sources, found):
    n = min(fewest(source.items) for source in sources)
    assert n == N
    assert n < min(fewest(source.items) for source in sources[:2])
    assert list(found) == [*NAMES, *FUSED]
    for name, one in found.items():
        # an equal part of each of three corpora, and no more than n in all
        assert set(one.frame["n"]) == {3 * EACH if name in FUSED else N}
        assert one.identifiable == dict.fromkeys(EMOTIONS, N)
    assert set(transfer_sets(sources, "first", with_spec(items_per_emotion=5), [])["third"].frame["n"]) == {5}
    for host in NAMES:
        equal = equal_samples(sources, SPEC)
        assert (equal.n, equal.fused_n, equal.kept, equal.left_out) == (N, EACH, NAMES, {})
        for fold in [*(f"{host}{n}" for n in range(4)), ALL]:
            sample = equal.sample(host, host, fold)
            assert Counter(clip.emotion for clip in sample.clips) == dict.fromkeys(EMOTIONS, N)
            assert fold not in {clip.fold for clip in sample.clips}


def test_a_table_row_for_every_fold_emotion_and_draw(found):
    for source, one in found.items():
        assert one.frame.schema == pl.Schema(COLUMNS)
        names = [f"cas@0.1:audio+answer{control}~from={source}" for control in ("", "~matched0", "~matched1")]
        assert sorted(set(one.frame["set"])) == sorted(names)
        assert set(one.frame["source"]) == {source}
        assert {fold for _, fold in one.sets} == {*(f"second{n}" for n in range(4)), ALL} == set(one.frame["fold"])
        assert one.frame.height == 3 * 5 * 3 == len(one.frame.unique(["set", "fold", "emotion"]))
        for row in one.frame.iter_rows(named=True):
            assert row["size_reached"] == len(one.sets[row["set"], row["fold"]][row["emotion"]])
            assert (row["size_wanted"], row["budget"], row["selector"], row["size"]) == (9, 0.1, "cas", None)
            assert (row["well_matched"] is None) == (row["control"] == "target")


def test_in_its_own_corpus_a_set_is_cross_fitted_and_elsewhere_it_is_found_on_all_clips(sources, found):
    alone = {one.name: find_sets(one.activity, one.items, with_spec(items_per_emotion=N)) for one in sources}
    own = "cas@0.1:audio+answer"
    folds = [*(f"second{n}" for n in range(4)), ALL]
    for name in NAMES:
        for fold in folds:
            group = found[name].sets[f"{own}~from={name}", fold]
            expected = alone[name].sets[own, fold if name == "second" else ALL]
            assert {e: one.tolist() for e, one in group.items()} == {e: one.tolist() for e, one in expected.items()}
        matched = {tuple(found[name].sets[f"{own}~matched0~from={name}", fold]["fear"]) for fold in folds}
        assert len(matched) == (5 if name == "second" else 1)


@pytest.mark.parametrize("selector", ["cas", "mad"])
def test_fused_sets_are_the_slow_computation(sources, selector):
    spec = with_spec(selectors=(selector,), headline=(selector, 0.1), controls={})
    made = transfer_sets(sources, "second", spec, consistency=0.6)
    for fold in ("second1", ALL):
        sums = [
            dense(one.activity, *slow_clips(one.items, EACH, fold if one.name == "second" else None)) for one in sources
        ]
        for way in ("overlap", "joint", "consistency"):
            best = slow_best(*slow_fused(selector, sums, way, 0.6), 9, SPEC.seed)
            group = made[f"fused: {way}"].sets[f"{selector}@0.1:audio+answer~from=fused: {way}", fold]
            assert [group[emotion].tolist() for emotion in EMOTIONS] == best, (fold, way)


def test_no_clip_of_a_fold_finds_the_sets_that_act_on_it(sources, found):
    # the labels of one speaker's clips are turned round: as many per emotion as before
    turned = dict(zip(EMOTIONS, (*EMOTIONS[1:], EMOTIONS[0]), strict=True))
    items = sources[1].items.with_columns(correct=pl.lit(True))
    truth = pl.when(pl.col("fold") == "second2").then(pl.col("truth").replace(turned)).otherwise("truth")
    one, other = (
        transfer_sets([sources[0], with_items(sources[1], mine), sources[2]], "second", with_spec(items_per_emotion=8))
        for mine in (items, items.with_columns(truth=truth))
    )
    for source in ("second", *FUSED):
        name = f"cas@0.1:audio+answer~from={source}"
        assert same(one[source], other[source], name, "second2")
        assert same(one[source], other[source], name.replace("~from", "~matched1~from"), "second2")
        assert not all(same(one[source], other[source], name, f"second{n}") for n in (0, 1, 3))
    for source in ("first", "third"):
        assert one[source].frame.equals(other[source].frame)


def same(one, other, name, fold):
    pairs = [(one.sets[name, fold][e], other.sets[name, fold][e]) for e in EMOTIONS]
    return all(np.array_equal(*pair) for pair in pairs)


def test_a_corpus_with_fewer_than_two_identifiable_emotions_is_only_a_host(sources):
    few = with_items(sources[1], sources[1].items.with_columns(pl.col("correct") & (pl.col("truth") == "fear")))
    mixed = [sources[0], few, sources[2]]
    equal = equal_samples(mixed, SPEC)
    assert equal.kept == ("first", "third")
    assert equal.fused_n == N // 2
    assert list(equal.left_out) == ["second"]
    assert "fewer than two emotions have 4 correctly answered clips" in equal.left_out["second"]
    made = transfer_sets(mixed, "second", SPEC)
    assert list(made) == ["first", "third", *FUSED]
    for source, one in made.items():
        assert set(one.frame["fold"]) == {*(f"second{n}" for n in range(4)), ALL}
        for name in set(one.frame["set"]):
            assert all(same(one, one, name, fold) for fold in set(one.frame["fold"]))
            assert len({tuple(one.sets[name, fold]["fear"]) for fold in set(one.frame["fold"])}) == 1, (source, name)
    assert set(score_agreement(mixed, SPEC).select("source", "target").unique().iter_rows()) == {("first", "third")}
    # two of three: nothing to fuse, nothing to compare
    alone = [few, with_items(sources[0], few.items.with_columns(clip=pl.col("clip") + "x")), sources[2]]
    assert list(transfer_sets(alone, "second", with_spec(controls={}))) == ["third"]
    assert score_agreement(alone, SPEC).equals(pl.DataFrame(schema=AGREEMENT))
    # and none
    none = equal_samples(alone[:2], SPEC)
    assert (none.n, none.emotions, none.fused_n, list(none.left_out)) == (0, (), 0, ["second", "first"])
    assert transfer_sets(alone[:2], "first", SPEC) == {}


def test_emotions_are_those_identifiable_everywhere(sources):
    known = [
        with_items(one, one.items.with_columns(pl.col("correct") & pl.col("truth").is_in(emotions)))
        for one, emotions in zip(sources, (EMOTIONS, EMOTIONS[:2], EMOTIONS), strict=True)
    ]
    equal = equal_samples(known, SPEC)
    assert (equal.emotions, equal.left_out) == (("anger", "fear"), {})
    assert equal.identifiable == {
        "anger": equal.n, "fear": equal.n, "sadness": "second: not identifiable (0 correct)"
    }  # fmt: skip
    made = transfer_sets(known, "first", with_spec(controls={}), [])["third"]
    assert set(made.frame["emotion"]) == {"anger", "fear"}
    # where that leaves one, the corpus without which most are left is left out: the last of those that do
    known[2] = with_items(known[2], sources[2].items.with_columns(pl.col("correct") & (pl.col("truth") != "anger")))
    equal = equal_samples(known, SPEC)
    assert equal.kept == ("first", "second")
    assert equal.left_out == {
        "third": "of its identifiable emotions (fear, sadness) fewer than two are identifiable in first, second"
    }


def test_speakers_who_are_in_two_corpora_do_not_find_what_acts_on_them(sources):
    # the second half of a corpus as a corpus of its own; its speakers are dealt into other folds there
    whole = sources[0].items.with_columns(correct=pl.lit(True))
    halves = [whole.filter(pl.col("item") < 36), whole.filter(pl.col("item") >= 36)]
    halves[1] = halves[1].with_columns(fold=pl.col("speaker").replace_strict({f"first{n}": f"fold{n // 2}" for n in range(4)}))  # fmt: skip
    split = [Source(f"half{n}", sources[0].activity, items) for n, items in enumerate(halves)]
    equal = equal_samples(split, with_spec(minimum=2))
    # outside one of two folds 2 speakers with 3 clips of an emotion each are left
    assert equal.n == 6
    for fold, speakers in (("fold0", {"first2", "first3"}), ("fold1", {"first0", "first1"})):
        sample = equal.sample("half0", "half1", fold)
        assert {clip.speaker for clip in sample.clips} == speakers
        assert {clip.items[0] < 36 for clip in sample.clips} == {True}
    assert {clip.speaker for clip in equal.sample("half1", "half0", "first3").clips} == {"first0", "first1", "first2"}
    made = transfer_sets(split, "half1", with_spec(minimum=2))
    for source in made:
        groups = {tuple(made[source].sets[f"cas@0.1:audio+answer~from={source}", f]["fear"]) for f in ("fold0", "fold1", ALL)}  # fmt: skip
        assert len(groups) > 1
    # speakers of the same name in another corpus are other people; unknown ones may be anyone but themselves
    other = [split[0], with_items(split[1], halves[1].with_columns(corpus=pl.lit("other")))]
    assert list(equal_samples(other, with_spec(minimum=2)).samples["half0", "half1"]) == [ALL]
    unknown = [with_items(one, one.items.with_columns(speaker=pl.lit(None, pl.String))) for one in split]
    assert list(equal_samples(unknown, with_spec(minimum=2)).samples["half0", "half1"]) == [ALL]
    # nor do clips of a fixed side that tests find what acts on another corpus
    side = pl.when(pl.col("speaker").is_in(["first0", "first1"])).then(pl.lit("identify")).otherwise(pl.lit("evaluate"))
    fixed = [split[0], with_items(split[1], halves[1].with_columns(side=side, fold=side))]
    equal = equal_samples(fixed, with_spec(minimum=2))
    assert {clip.speaker for clip in equal.sample("half1", "half0", "first1").clips} == {"first0"}
    assert {clip.speaker for clip in equal.sample("half0", "half1", "evaluate").clips} == {"first0", "first1"}
    # without its speakers a corpus may have too little left
    equal = equal_samples(split, with_spec(minimum=7))
    assert equal.kept == ()
    assert "7 correctly answered clips outside every fold (anger 6, fear 6, sadness 6)" in equal.left_out["half0"]


def test_a_speaker_in_several_folds_does_not_find_what_acts_on_the_same_clips(sources):
    # a corpus of one voice, whose recordings are dealt into folds; the same corpus twice
    voice = sources[0].items.with_columns(speaker=pl.lit("one"), correct=pl.lit(True), fold=pl.format("fold{}", pl.col("item") // 12 % 2))  # fmt: skip
    folds = dict(voice.select("clip", "fold").iter_rows())
    two = [with_items(sources[0], voice), dataclasses.replace(sources[0], name="again", items=voice)]
    equal = equal_samples(two, with_spec(minimum=2))
    for fold in ("fold0", "fold1"):
        assert fold not in {folds[clip.name] for clip in equal.sample("again", "first", fold).clips}


def test_a_fixed_side_that_tests_finds_nothing(sources):
    side = pl.when(pl.col("speaker").is_in(["second0", "second1"])).then(pl.lit("identify")).otherwise(pl.lit("evaluate"))  # fmt: skip
    fixed = with_items(sources[1], sources[1].items.with_columns(side=side, fold=side))
    mixed = [sources[0], fixed, sources[2]]
    equal = equal_samples(mixed, SPEC)
    for host in ("first", "second"):
        for sample in equal.samples["second", host].values():
            assert {clip.speaker for clip in sample.clips} == {"second0", "second1"}
    assert {fold for _, fold in transfer_sets(mixed, "second", SPEC, [])["first"].sets} == {"evaluate", ALL}


def test_matched_controls_are_like_the_set_where_both_act(sources, found):
    host = sources[1]
    counts = np.stack([host.activity.read_counts(layer, SCOPE).sum(axis=0) for layer in range(2)])
    sizes = np.stack([sum(abs(host.activity.read_sums(layer, part)).sum(axis=0) for part in SCOPE.split("+")) for layer in range(2)])  # fmt: skip
    tokens = host.activity.tokens(SCOPE).sum()
    like = covariates(counts / tokens, sizes / tokens, host.activity.down_norm)
    for source in ("second", "third", "fused: joint"):
        name, fold = f"~from={source}", ALL if source == "third" else "second3"
        target = found[source].sets[f"cas@0.1:audio+answer{name}", "second3"]
        matcher = Matcher(like, np.concatenate(list(target.values())))
        expected = matcher.draw(target["fear"], seeded_generator(SPEC.seed, "matched", source, fold, "fear", 1))
        control = found[source].sets[f"cas@0.1:audio+answer~matched1{name}", "second3"]
        np.testing.assert_array_equal(control["fear"], expected.neurons)
        assert not set(control["fear"]) & set(np.concatenate(list(target.values())))
        np.testing.assert_array_equal(np.sort(control["fear"] // 45), np.sort(target["fear"] // 45))
    assert {one.split("~")[1] for one, _ in transfer_sets(sources, "first", with_spec(controls={}), [])["first"].sets} == {"from=first"}  # fmt: skip


def test_sets_and_their_means_are_stored_and_read(sources, found, tmp_path):
    found["fused: joint"].save_sets(tmp_path)
    found["third"].save_sets(tmp_path)
    assert len(list(tmp_path.iterdir())) == 6
    for source in ("fused: joint", "third"):
        name = f"cas@0.1:audio+answer~matched1~from={source}"
        for emotion, neurons in load_set(tmp_path, name, "second0").items():
            np.testing.assert_array_equal(neurons, found[source].sets[name, "second0"][emotion])
    # the means that a set is set to are those of the clips on which it acts
    np.testing.assert_array_equal(
        found["third"].mean_product, sources[1].activity.mean_product().astype("float32").ravel()
    )


def test_mistakes_are_named(sources, tmp_path):
    with pytest.raises(ValueError, match="host 'none' is no source: they are first, second, third"):
        transfer_sets(sources, "none", SPEC)
    with pytest.raises(ValueError, match="fusion 'sum' is not known: choose from overlap, joint, consistency"):
        transfer_sets(sources, "first", SPEC, ["sum"])
    with pytest.raises(ValueError, match="give each another name"):
        equal_samples([sources[0], sources[0]], SPEC)
    narrow = random_activity(tmp_path / "narrow.zarr", items=72, layers=2, width=20)[0]
    with pytest.raises(ValueError, match="second was heard by a decoder of 2 layers x 20 neurons and first by one of 2 x 45"):  # fmt: skip
        equal_samples([sources[0], dataclasses.replace(sources[1], activity=narrow)], SPEC)
    with pytest.raises(ValueError, match="the activity of first was read at 'gate'"):
        equal_samples(sources, with_spec(site="product"))


# --- agreement ---------------------------------------------------------------------------------------------------


def test_agreement_is_the_slow_computation(sources):
    table = score_agreement(sources, SPEC)
    assert table.schema == pl.Schema(AGREEMENT)
    pairs = [("first", "second"), ("first", "third"), ("second", "third")]
    assert list(table.select("source", "target").unique(maintain_order=True).iter_rows()) == pairs
    assert table.height == 3 * 3 * 3
    by_name = {source.name: source for source in sources}
    for selector in ("mad", "cas"):
        scores, best = {}, {}
        for name, source in by_name.items():
            fired, summed, tokens = dense(source.activity, *slow_clips(source.items, N))
            scores[name] = slow_scores(selector, fired / tokens[:, None], summed / tokens[:, None])
            best[name] = [set(one) for one in slow_best(scores[name], summed / tokens[:, None], 9, SPEC.seed)]
        for row in table.filter(selector=selector).iter_rows(named=True):
            place, (one, two) = EMOTIONS.index(row["emotion"]), (row["source"], row["target"])
            correlation = spearmanr(scores[one], scores[two], axis=1).statistic[:3, 3:]
            jaccard = np.array([[len(a & b) / len(a | b) for b in best[two]] for a in best[one]])
            others = [(place, e) for e in range(3) if e != place] + [(e, place) for e in range(3) if e != place]
            assert row["n"] == N
            assert row["jaccard"] == pytest.approx(jaccard[place, place])
            assert row["spearman"] == pytest.approx(correlation[place, place])
            assert row["jaccard_other"] == pytest.approx(np.mean([jaccard[pair] for pair in others]))
            assert row["spearman_other"] == pytest.approx(np.mean([correlation[pair] for pair in others]))
            assert row["chance"] == pytest.approx(slow_chance(9, 9, 90))


def slow_chance(first, second, neurons):
    """Over all numbers of shared neurons: the ways to draw them, times the Jaccard index."""
    ways = {i: math.comb(first, i) * math.comb(neurons - first, second - i) for i in range(min(first, second) + 1)}
    return sum(count * i / (first + second - i) for i, count in ways.items()) / math.comb(neurons, second)


def test_chance_of_sets_of_different_sizes():
    for first, second, neurons in ((1, 2, 4), (3, 5, 7), (6, 6, 6), (40, 10, 300)):
        assert expected_jaccard(first, second, neurons) == pytest.approx(slow_chance(first, second, neurons))
        assert expected_jaccard(second, first, neurons) == pytest.approx(expected_jaccard(first, second, neurons))
    assert expected_jaccard(0, 5, 10) == 0


def test_margins_that_are_equal_share_their_rank(tmp_path):
    # 10 positions; CAS of three neurons for anger: corpus 1 (3 - 1, 4 - 2, 5 - 0), corpus 2 (4 - 2, 3 - 1, 5 - 0).
    # .3 - .1 and .4 - .2 differ in the last bit, which would make the ranks 1 2 3 and 2 1 3
    pair = []
    for name, fired in (("one", [[3, 4, 5], [1, 2, 0]]), ("two", [[4, 3, 5], [2, 1, 0]])):
        activity = activity_of_counts(tmp_path / f"{name}.zarr", fired * 2, [10] * 4)
        items = pl.DataFrame({
            "item": range(4), "clip": list("abcd"), "corpus": [name] * 4, "speaker": list("sstt"), "fold": list("sstt"),
            "truth": ["anger", "fear"] * 2, "correct": [True] * 4, "status": ["used"] * 4,
        })  # fmt: skip
        pair.append(Source(name, activity, items))
    spec = SetSpec(("anger", "fear"), ("cas",), (0.4,), "audio", minimum=1, headline=("cas", 0.4))
    anger, fear = score_agreement(pair, spec).rows(named=True)
    assert (anger["spearman"], anger["n"], anger["jaccard"]) == (pytest.approx(1), 1, 1.0)
    # one of three neurons, of which each set holds one
    assert anger["chance"] == pytest.approx(1 / 3)
    # no neuron prefers fear: nothing to correlate
    assert (fear["spearman"], fear["jaccard"], fear["chance"]) == (None, 0.0, 0.0)


def test_the_same_activity_agrees_fully_with_itself(sources):
    twin = dataclasses.replace(sources[0], name="twin")
    table = score_agreement([sources[0], twin], SPEC)
    assert set(table["jaccard"]) == {1.0}
    np.testing.assert_allclose(table["spearman"], 1)
    assert table["spearman_other"].max() < 0.5
    assert table["jaccard_other"].max() < 0.5
