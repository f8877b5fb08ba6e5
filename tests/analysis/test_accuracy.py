"""UAR, confusion, agreement, flips and MLP reliance, worked out by hand."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from emoscope.analysis.accuracy import changed, level, uar
from emoscope.analysis.responses import build_responses
from emoscope.chapters.answers import confusion, reliance
from tests.helpers.runs import small_run

A, F = "anger", "fear"
# three clips of anger (two right) and one of fear (right): accuracy 75 %, UAR (66.7 + 100) / 2
ITEMS = [("s0", A), ("s0", A), ("s1", A), ("s1", F)]
BASE = [A, F, A, F]


def by_scoring(run):
    return {scoring: build_responses(run, scoring) for scoring in ("likelihood", "generation")}


def test_uar_by_hand():
    run = small_run(ITEMS, {"baseline": BASE}, options=(F, A, "sadness", "neutral"))
    found = uar(run, by_scoring(run)).row(0, named=True)
    assert found["uar"] == pytest.approx((200 / 3 + 100) / 2)
    assert found["accuracy"] == pytest.approx(75)
    assert found["chance"] == 25
    assert found["letter_mass"] == pytest.approx(0.9)
    assert found["low"] is None
    assert found["reason"] == "only 2 speakers: an interval needs at least 5"


def test_recall_counts_per_speaker_equal_plain_loops():
    rng = np.random.default_rng(1)
    items = [(f"s{s}", e) for s in range(6) for e in (A, F) for _ in range(3 + s)]
    said = [str(rng.choice([A, F])) for _ in items]
    run = small_run(items, {"baseline": said})
    found = level(build_responses(run), ["baseline"]).interval()

    def loop(left_out):
        kept = [(t, a) for (s, t), a in zip(items, said, strict=True) if s != left_out]
        return np.mean([100 * np.mean([a == t for t, a in kept if t == e]) for e in (A, F)])

    without = np.array([loop(f"s{s}") for s in range(6)])
    assert found.estimate == pytest.approx(loop(None))
    error = np.sqrt(5 / 6 * np.sum((without - without.mean()) ** 2))
    n = np.array([2 * (3 + s) for s in range(6)])
    assert found.df == pytest.approx(n.sum() ** 2 / (n**2).sum() - 1)
    assert (found.high - found.low) / 2 > 2 * error  # t(df < 5) is larger than 2.57


def test_refusals_are_told_from_words_and_from_what_cannot_be_read():
    run = small_run(ITEMS, {"baseline": BASE}, generated={"baseline": [A, None, A, F]})
    forms = pl.Series("form", ["letter"] * 4 + ["letter", "refusal", "word", "word"])  # likelihood first
    run = replace(run, answers=run.answers.sort("scoring", descending=True).with_columns(forms))
    written, scored = uar(run, by_scoring(run)).to_dicts()
    assert (written["share_word"], written["share_refused"], written["share_unparsable"]) == (50, 25, 0)
    assert written["uar"] == pytest.approx((200 / 3 + 100) / 2)  # the refusal counts as not correct
    assert written["uar_readable"] == 100
    assert {scored[name] for name in ("share_word", "share_refused", "uar_readable")} == {None}


def test_an_emotion_without_a_readable_answer_leaves_no_readable_uar():
    run = small_run(ITEMS, {}, generated={"baseline": [A, A, A, None]})
    assert uar(run, by_scoring(run))["uar_readable"][0] is None


def test_unreadable_answers_are_wrong_and_counted():
    run = small_run(ITEMS, {}, generated={"baseline": [A, None, A, None]})
    row = uar(run, by_scoring(run)).row(0, named=True)
    assert row["unreadable"] == 50
    assert row["uar"] == pytest.approx((200 / 3 + 0) / 2)
    cells = confusion(by_scoring(run), run.conditions)
    lost = cells.filter(pl.col("answer").is_null())
    assert dict(zip(lost["truth"], lost["count"], strict=True)) == {A: 1, F: 1}


def test_confusion_by_hand():
    run = small_run(ITEMS, {"baseline": BASE})
    cells = confusion(by_scoring(run), run.conditions)
    found = {(row["truth"], row["answer"]): (row["count"], row["share"]) for row in cells.iter_rows(named=True)}
    assert found == {
        (A, A): (2, pytest.approx(200 / 3)),
        (A, F): (1, pytest.approx(100 / 3)),
        (F, A): (0, 0),
        (F, F): (1, 100),
    }


def test_agreement_and_unreliable_conditions():
    run = small_run(ITEMS, {"baseline": BASE, "null": BASE}, generated={"baseline": [A, A, A, F]})
    found = {(row["condition"], row["scoring"]): row for row in uar(run, by_scoring(run)).iter_rows(named=True)}
    assert found["baseline", "likelihood"]["agreement"] == 75
    assert found["baseline", "likelihood"]["unreliable"]
    assert found["null", "likelihood"]["agreement"] is None
    assert not found["null", "likelihood"]["unreliable"]


def test_a_condition_that_hardly_answers_in_letters_is_unreliable():
    run = small_run(ITEMS, {"baseline": BASE})
    weak = run.answers.with_columns(letter_mass=pl.lit(0.4))
    run = type(run)(run.folder, run.items, run.sets, run.conditions, weak, {})
    assert uar(run, by_scoring(run))["unreliable"].to_list() == [True]


def test_excluded_items_do_not_count():
    run = small_run(ITEMS, {"baseline": BASE})
    lost = run.items.with_columns(pl.Series("status", ["used", "quarantined", "used", "used"]))
    assert build_responses(type(run)(run.folder, lost, run.sets, run.conditions, run.answers, {})).items.tolist() == [
        0,
        2,
        3,
    ]


def test_flip_rate_of_the_null():
    run = small_run(ITEMS, {"baseline": BASE, "null": [A, F, A, A]})
    assert changed(build_responses(run), "null") == 25
    assert changed(build_responses(run), "missing") is None
    rows = {row["condition"]: row["changed"] for row in uar(run, by_scoring(run)).iter_rows(named=True)}
    assert rows == {"baseline": 0, "null": 25}


def test_reliance_by_hand():
    off = {"reliance/all": [A] * 4, "reliance/layer=10": BASE, "reliance/layer=2": BASE, "reliance/union": [F, F, A, F]}
    rows = [{"condition": name, "kind": "reliance", "layers": "all"} for name in off]
    run = small_run(ITEMS, {"baseline": BASE} | off, rows)
    found = reliance(build_responses(run), run.conditions)
    assert found["layers"].to_list() == ["all", "union", "2", "10"]
    every = found.row(0, named=True)
    assert (every["uar"], every["commonest"], every["commonest_share"]) == (50, A, 100)
    assert every["change"] == pytest.approx(50 - (200 / 3 + 100) / 2)
    assert found.row(2, named=True)["change"] == 0


def test_only_evaluated_items_count():
    run = small_run(ITEMS, {"baseline": BASE})
    side = pl.Series("side", ["identify", "evaluate", "both", "both"])
    changed_run = type(run)(run.folder, run.items.with_columns(side), run.sets, run.conditions, run.answers, {})
    assert build_responses(changed_run).items.tolist() == [1, 2, 3]


def test_items_that_only_identify_neurons_do_not_count():
    run = small_run(ITEMS, {"baseline": BASE})
    marked = run.items.with_columns(pl.Series("evaluated", [True, False, None, True]))
    assert build_responses(type(run)(run.folder, marked, run.sets, run.conditions, run.answers, {})).items.tolist() == [
        0,
        2,
        3,
    ]


def test_the_studys_label_is_analysed():
    run = small_run(ITEMS, {"baseline": BASE}, manifest={"study": {"identify": {"label": "word"}}})
    labels = pl.Series("label", ["emotion", "word", "word", "emotion"])
    both = type(run)(run.folder, run.items.with_columns(labels), run.sets, run.conditions, run.answers, run.manifest)
    assert build_responses(both).items.tolist() == [1, 2]


def test_reliance_says_to_what_layers_are_set():
    off = {"reliance/all/to=mean": BASE, "reliance/layer=1/to=mean": BASE, "reliance/all": [A] * 4}
    off |= {"reliance/layer=1": BASE}
    rows = [{"condition": name, "kind": "reliance", "to": "mean" if "mean" in name else "zero"} for name in off]
    run = small_run(ITEMS, {"baseline": BASE} | off, rows)
    found = reliance(build_responses(run), run.conditions)
    assert found.select("to", "layers").rows() == [("zero", "all"), ("zero", "1"), ("mean", "all"), ("mean", "1")]
    assert found["uar"].to_list()[0] == 50
