"""The three sentences follow the tables by rule, in plain words."""

import polars as pl
import pytest

from emoscope.analysis.load import read_run
from emoscope.analysis.parts import StudyRuns
from emoscope.chapters.results import compute_tables
from emoscope.report.caveats import standing
from emoscope.report.sentences import AMPLIFIED, SWITCHED, headline
from tests.helpers.planted import THREE, write_run

EFFECT = {"low": pl.Float64, "high": pl.Float64, "estimate": pl.Float64, "draw_max": pl.Float64, "draw_min": pl.Float64}


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return compute_tables(read_run(write_run(tmp_path_factory.mktemp("run"), THREE, 5, 4)))


def with_verdict(content, **columns):
    changed = content.table("verdicts").with_columns(**{name: pl.lit(value) for name, value in columns.items()})
    return content.changed(verdicts=changed)


def with_effect(content, measure, control="target", **columns):
    """The content with other numbers for one measure of the headline selector."""
    this = (pl.col("measure") == measure) & (pl.col("selector") == "cas") & (pl.col("control") == control)
    changed = content.table("effects").with_columns(
        pl.when(this).then(pl.lit(value)).otherwise(name).alias(name) for name, value in columns.items()
    )
    return content.changed(effects=changed)


@pytest.mark.parametrize("verdict", SWITCHED)
def test_every_verdict_has_its_words(content, verdict):
    for bias, way in ((-0.4, "less"), (0.4, "more"), (0.01, "a little more")):
        ends = {"excess_bias_low": bias - 0.005, "excess_bias_high": bias + 0.005}
        _, off, more = headline(with_verdict(content, verdict=verdict, excess_bias=bias, **ends))
        assert off.claim == SWITCHED[verdict].format(way=way)
        assert more.claim == AMPLIFIED[verdict].format(way=way)
        assert "{" not in off.claim + more.claim


def test_gained_evidence_is_told_as_gained(content):
    numbers = {"excess_evidence": 0.8, "excess_evidence_low": 0.4, "excess_evidence_high": 1.2}
    _, _, more = headline(with_verdict(content, verdict="adds evidence and pulls the answer", **numbers))
    assert more.claim.startswith(
        "Amplifying them makes the model tell the emotion’s clips from others better, and answer it"
    )


def test_no_verdict_says_why(content):
    _, off, more = headline(with_verdict(content, verdict=None, reason="only 3 speakers"))
    assert off.claim == "There is no verdict on what switching these neurons off does (only 3 speakers)"
    assert more.claim == "There is no verdict on what amplifying them does (only 3 speakers)"
    assert not any("The verdict rests" in note for note in (*off.notes, *more.notes))


def test_undecided_names_the_interval_that_is_too_wide(content):
    _, off, _ = headline(with_verdict(content, verdict="undecided", reason="the interval of evidence is too wide"))
    assert any(note.endswith("; undecided: the interval of evidence is too wide.") for note in off.notes)


def test_a_clear_but_small_change_is_called_small(content):
    small = {"excess_bias": 0.07, "excess_bias_low": 0.06, "excess_bias_high": 0.08}
    wide = {"excess_evidence": -3.0, "excess_evidence_low": -4.0, "excess_evidence_high": -1.0}
    _, off, _ = headline(with_verdict(content, verdict="removes evidence and pulls the answer", **small, **wide))
    assert any(
        note.endswith(" Clear of zero, but small: the change of leaning (within ±0.1 nat).") for note in off.notes
    )
    _, off, _ = headline(
        with_verdict(
            content, verdict="removes evidence and pulls the answer", **(small | {"excess_bias_high": 0.12}), **wide
        )
    )
    assert not any("but small" in note for note in off.notes)


def test_an_interval_over_zero_is_open(content):
    _, off, _ = headline(with_effect(content, "excess_gap", estimate=-2.04, low=-5.0, high=0.96))
    assert "remains open (difference −2.0 points, 95 % interval −5.0 to 1.0). Of the excess gap" in off.text
    assert "falls" not in off.text
    _, _, more = headline(with_effect(content, "excess_pull_overall", estimate=1.0, low=-1.0, high=3.0))
    assert more.text.endswith("remains open (difference +1.0 points, 95 % interval −1.0 to 3.0).")


def test_the_other_way_round_is_said(content):
    _, off, _ = headline(with_effect(content, "excess_gap", estimate=3.0, low=1.0, high=5.0))
    assert "falls by 3.0 percentage points less than that of the other emotions (95 % interval 1.0 to 5.0)" in off.text
    _, _, more = headline(with_effect(content, "excess_pull_overall", estimate=-3.0, low=-5.0, high=-1.0))
    assert "draw 3.0 percentage points fewer of the clips" in more.text
    assert "(95 % interval 1.0 to 5.0)" in more.text


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(-1.0, 3.0, "Whether they draw clips of their own emotion more than others is open"),
     (0.5, 3.0, "They draw clips of their own emotion more than others"),
     (-3.0, -0.5, "They draw clips of their own emotion less than others")],
)  # fmt: skip
def test_the_excess_pull_gap_is_named(content, low, high, said):
    _, _, more = headline(with_effect(content, "excess_pull_gap", estimate=(low + high) / 2, low=low, high=high))
    assert more.notes[0].startswith(said)
    assert "excess pull gap" in more.notes[0]


def test_unreliable_answers_support_no_claim(content):
    _, off, _ = headline(with_effect(content, "excess_gap", unreliable=True))
    assert "cannot be said from answers that support no claim" in off.text
    lost = content.changed(uar=content.table("uar").with_columns(unreliable=pl.lit(True)))
    knows = headline(lost)[0]
    assert knows.claim == "The model hardly answers with the options offered"


def test_below_chance_is_not_above_it(content):
    lost = content.changed(uar=content.table("uar").with_columns(low=pl.lit(33.0)))
    assert headline(lost)[0].claim == "The model is not clearly above chance"
    assert standing(StudyRuns.alone(lost))[0].startswith("The untouched model is not clearly above chance: ")
    assert standing(StudyRuns.alone(content)) == []


def test_shuffled_labels_that_come_close_are_said(content):
    own = content.effect("deactivate", "gap")["estimate"]
    far = with_effect(content, "gap", "shuffled", estimate=0.4 * own, draw_min=0.9 * own, draw_max=0.0)
    assert not any("shuffled" in note for note in headline(far)[1].notes)
    near = with_effect(content, "gap", "shuffled", estimate=0.6 * own, draw_min=0.9 * own, draw_max=0.0)
    assert any("found on shuffled labels come close" in note for note in headline(near)[1].notes)
    one = with_effect(content, "gap", "shuffled", estimate=0.1 * own, draw_min=1.1 * own, draw_max=0.0)
    assert any(f"{1.1 * own:.1f} at most".replace("-", "−") in note for note in headline(one)[1].notes)
