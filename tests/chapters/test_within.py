"""Effects within each value of another label column."""

from dataclasses import replace

import polars as pl
import pytest

from emoscope.analysis.contrasts import compare
from emoscope.analysis.effects import effects
from emoscope.analysis.parts import Part
from emoscope.analysis.responses import build_responses
from emoscope.chapters.factors import within
from emoscope.schemas import schema
from tests.helpers.runs import deactivations, small_run

# "no" is said in anger twice and in fear once, "yes" the other way round, by every speaker
CELLS = [("no", "anger"), ("no", "anger"), ("no", "fear"), ("yes", "anger"), ("yes", "fear"), ("yes", "fear")]


def said(one):
    return [one[cell] for cell in CELLS] * 5


@pytest.fixture
def run():
    # under the "anger" set the word "no" is not understood any more, whatever the emotion
    right = {("no", "anger"): "anger", ("no", "fear"): "fear", ("yes", "anger"): "anger", ("yes", "fear"): "fear"}
    found = small_run(
        [(speaker, truth) for speaker in ("s1", "s2", "s3", "s4", "s5") for _, truth in CELLS],
        {
            "baseline": said(right),
            "anger": said(right | {("no", "anger"): "fear", ("no", "fear"): "anger"}),
            "fear": said(right | {("yes", "anger"): "fear", ("yes", "fear"): "anger"}),
            "anger~matched0": said(right), "fear~matched0": said(right),
        },
        [*({**one, "headline": True} for one in deactivations()), *deactivations("matched")],
    )  # fmt: skip
    words = pl.Series("word", [word for word, _ in CELLS] * 5)
    return replace(found, items=found.items.with_columns(words, pl.Series("take", [str(n) for n in range(30)])))


def test_an_effect_on_words_is_gone_within_a_word(run):
    responses = build_responses(run)
    gap = effects(compare(responses, run.conditions)).filter(
        pl.col("control") == "target", pl.col("measure") == "excess_gap"
    )
    assert gap["estimate"][0] == pytest.approx(-100 / 3)  # own -66.7, other -33.3
    found = within(Part.alone(run))
    assert found["column"].unique().to_list() == ["word"]  # a take has one clip each
    one = found.filter(pl.col("measure") == "excess_gap", pl.col("control") == "target").to_dicts()
    assert [(row["value"], row["estimate"], row["values"], row["n"]) for row in one] == [
        (None, 0, 2, 30), ("no", 0, 1, 15), ("yes", 0, 1, 15),
    ]  # fmt: skip
    assert {row["covered"] for row in one} == {100}
    assert [row["low"] for row in one] == [0, 0, 0]


def test_a_value_counts_the_emotions_that_two_speakers_said(run):
    alone = (pl.col("word") == "no") & (pl.col("truth") == "fear") & (pl.col("speaker") != "s1")
    part = replace(run, items=run.items.filter(~alone))
    assert within(Part.alone(part)).is_empty()  # one word is left: nothing to average over


def test_a_corpus_without_other_labels_has_no_row(run):
    bare = replace(run, items=run.items.drop("word", "take"))
    assert within(Part.alone(bare)).schema == pl.Schema(schema("within"))
    assert within(Part.alone(bare)).is_empty()


def test_the_emotion_is_another_column_where_words_are_asked(run):
    truth = pl.Series("truth", [word for word, _ in CELLS] * 5)
    asked = replace(
        run, items=run.items.with_columns(truth, pl.lit("word").alias("label"), pl.lit(["no", "yes"]).alias("options")),
        conditions=run.conditions.with_columns(pl.col("target").replace({"anger": "no", "fear": "yes"})),
        answers=run.answers.with_columns(pl.col("answer").replace({"anger": "no", "fear": "yes"})),
        manifest={"study": {"identify": {"label": "word"}}},
    )  # fmt: skip
    assert within(Part.alone(asked))["column"].unique().to_list() == ["emotion"]
