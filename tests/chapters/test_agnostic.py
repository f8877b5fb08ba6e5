"""Steering without a label, worked out by hand on two emotions."""

import math

import polars as pl
import pytest

from emoscope.analysis.responses import build_responses
from emoscope.chapters.agnostic import agnostic
from tests.helpers.runs import small_run

A, F = "anger", "fear"
# five speakers, each with one clip of anger and one of fear
ITEMS = [(f"s{s}", truth) for s in range(5) for truth in (A, F)]
LIKE = {A: [math.log(0.6), math.log(0.3)], F: [math.log(0.3), math.log(0.6)]}
"""Log-probabilities (anger, fear) behind an answer; 2/3 and 1/3 among the options."""

# baseline: anger is always heard, fear only from speakers 0 and 1
BASE = [A, F, A, F, A, A, A, A, A, A]
# with anger amplified everybody answers anger, but for the clip of fear of speaker 0
ANGER = [A, F, A, A, A, A, A, A, A, A]
# with fear amplified all clips are answered fear, but for the clip of anger of speaker 0
FEAR = [A, F, F, F, F, F, F, F, F, F]
UNION = [F, F, A, F, A, F, A, A, A, A]
SAID = {"baseline": BASE, "steer/anger": ANGER, "steer/fear": FEAR, "union": UNION}


def condition(name, kind, target=None):
    about = {"condition": name, "kind": kind, "target": target, "set": "s", "alpha": 0.5, "control": "target"}
    return about | {"draw": 0, "selector": "cas", "budget": 0.05, "scope": "all", "positions": "all", "layers": "all"}


ROWS = [condition("steer/anger", "steer", A), condition("steer/fear", "steer", F)] + [
    condition(kind, kind) for kind in ("union", "two-pass", "mix-outputs")
]


@pytest.fixture(scope="module")
def found():
    run = small_run(ITEMS, SAID, ROWS, logp={name: [LIKE[one] for one in said] for name, said in SAID.items()})
    return agnostic(build_responses(run), run.conditions)


def value(found, way, measure, against="baseline"):
    return found.row(
        by_predicate=(pl.col("way") == way) & (pl.col("measure") == measure) & (pl.col("against") == against),
        named=True,
    )["estimate"]


def test_union_by_hand(found):
    # lost: the clip of anger of speaker 0, one of five; gained: the clip of fear of speaker 2. Over two emotions, halves.
    assert value(found, "union", "lost") == pytest.approx(10)
    assert value(found, "union", "gained") == pytest.approx(10)
    assert value(found, "union", "uar_change") == pytest.approx(0)
    # log p of the true option: once from 2/3 to 1/3, once back
    assert value(found, "union", "true_logp") == pytest.approx(0)


def test_two_pass_takes_the_pass_of_the_answered_emotion(found):
    # answered anger at baseline: the anger pass, in which these five clips of anger and three of fear stay anger;
    # answered fear (speakers 0 and 1): the fear pass, fear both times
    assert value(found, "two-pass", "lost") == value(found, "two-pass", "gained") == 0


def test_told_the_label_every_clip_but_two_is_right_already(found):
    # anger's clips in the anger pass: all right; fear's in the fear pass: all right, three of five gained
    assert value(found, "targeted", "gained") == pytest.approx(30)
    assert value(found, "targeted", "lost") == 0
    # three of five clips of fear go from 1/3 to 2/3
    assert value(found, "targeted", "true_logp") == pytest.approx(0.6 * math.log(2) / 2)
    assert value(found, "union", "uar_change", "targeted") == pytest.approx(-30)


def test_outputs_mixed(found):
    # the passes agree on the two clips of speaker 0; elsewhere one says anger and one fear with equal force, so that
    # the mean is level and the first option, anger, is taken: fear of speaker 1 is lost
    assert value(found, "mix-outputs", "lost") == pytest.approx(10)
    assert value(found, "mix-outputs", "gained") == 0
    # level is 1/2: anger of speakers 1-4 from 2/3, fear of 1 from 2/3, of 2-4 from 1/3
    anger = 4 * math.log(0.75) / 5
    fear = (math.log(0.75) + 3 * math.log(1.5)) / 5
    assert value(found, "mix-outputs", "true_logp") == pytest.approx((anger + fear) / 2)


def test_an_emotion_without_a_set_keeps_its_baseline_answer():
    rows = [row for row in ROWS if row["condition"] != "steer/fear"]
    run = small_run(ITEMS, SAID, rows, logp={name: [LIKE[one] for one in said] for name, said in SAID.items()})
    found = agnostic(build_responses(run), run.conditions)
    assert value(found, "targeted", "gained") == value(found, "targeted", "lost") == 0
    assert value(found, "two-pass", "gained") == value(found, "two-pass", "lost") == 0


def test_without_log_probabilities_answers_are_still_counted():
    run = small_run(ITEMS, SAID, ROWS)
    found = agnostic(build_responses(run), run.conditions)
    assert value(found, "union", "gained") == pytest.approx(10)
    assert value(found, "union", "true_logp") is None
