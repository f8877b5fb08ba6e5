"""Page's trend over three strengths, by hand."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import page_trend_test

from emoscope.analysis.contrasts import compare
from emoscope.analysis.responses import build_responses
from emoscope.chapters.steering import page, trend
from tests.helpers.runs import small_run

A, F = "anger", "fear"
# five speakers, each with two clips of either emotion; at baseline all are answered fear
ITEMS = [(f"s{s}", truth) for s in range(5) for truth in (A, A, F, F)]
BASE = [F] * 20
ONE = [A, F, F, F] * 5  # one clip of anger more is answered anger: pull 50 points
TWO = [A, A, F, F] * 5  # both: pull 100 points
ALL = [A, A, A, F] * 5  # and one clip of fear: pull 100 points, on fear's clips 50
SAID = {"baseline": BASE, "a.25": BASE, "a.5": ONE, "a1": TWO, "a2": ALL}
# the fear set does nothing, so that means over both sets are half of anger's


def rows(said, control="target", draw=0):
    end = "" if control == "target" else f"~{draw}"
    found, answers = [], {}
    for alpha, name in ((0.25, "a.25"), (0.5, "a.5"), (1.0, "a1"), (2.0, "a2")):
        for target in (A, F):
            about = {"condition": f"{target}/{name}{end}", "kind": "steer", "target": target, "alpha": alpha}
            about |= {"control": control, "draw": draw, "selector": "cas", "budget": 0.05, "scope": "all"}
            found.append(about | {"positions": "all", "layers": "all", "set": control})
            answers[about["condition"]] = said[name] if target == A else BASE
    return found, answers


def trends(items=ITEMS, matched=None, said=SAID):
    conditions, answers = rows(said)
    if matched:
        more, further = rows(matched, "matched")
        conditions, answers = conditions + more, answers | further
    run = small_run(items, {"baseline": BASE} | answers, conditions)
    found = trend(compare(build_responses(run), run.conditions))
    return {(row["control"], row["measure"]): row for row in found.iter_rows(named=True)}


def test_every_speaker_rises():
    row = trends()["target", "pull"]
    # alpha 2 lies beyond the rising part
    assert row["alphas"] == "0.25, 0.5, 1"
    # each speaker ranks 0, 25, 50 points as 1, 2, 3: L = 5 * (1 + 4 + 9); one order in 6 for each of five speakers
    assert row["page_l"] == 70
    assert row["p"] == pytest.approx(6**-5)
    # points 0, 25, 50 over alpha 0.25, 0.5, 1, whose mean is 7/12: away by -4/12, -1/12, 5/12
    assert row["slope"] == pytest.approx((-25 / 12 + 50 * 5 / 12) / ((16 + 1 + 25) / 144))
    assert row["low"] == pytest.approx(row["high"])  # all speakers are alike


def test_the_order_counts():
    falls = SAID | {"a.25": TWO, "a1": BASE}
    row = trends(said=falls)["target", "pull"]
    assert row["page_l"] == 5 * (3 + 4 + 3)  # the smallest L that there is
    assert row["p"] == pytest.approx(1)
    assert row["slope"] < 0


def test_controls_that_rise_alike_leave_no_trend_beyond_them():
    found = trends(matched=SAID)
    assert found["matched", "pull"]["page_l"] == 70
    beyond = found["target", "excess_pull_gap"]
    assert beyond["slope"] == 0
    assert beyond["page_l"] == 5 * 12  # ties share rank 2: 2 * (1 + 2 + 3) for each speaker
    assert beyond["p"] > 0.5


def test_a_speaker_without_an_emotion_is_no_block():
    items = [(speaker, A if speaker == "s4" else truth) for speaker, truth in ITEMS]
    row = trends(items)["target", "pull_gap"]
    assert (row["blocks"], row["p"]) == (4, None)
    assert row["reason"] == "only 4 speakers with every emotion: 5 are needed"


def test_two_strengths_are_too_few():
    conditions, answers = rows(SAID)
    kept = [row for row in conditions if row["alpha"] in (0.5, 1.0)]
    run = small_run(ITEMS, {"baseline": BASE} | answers, kept)
    found = trend(compare(build_responses(run), run.conditions))
    assert set(found["reason"]) == {"only 2 strengths up to 1: the test needs 3"}
    one = small_run(ITEMS, {"baseline": BASE} | answers, kept[:2])
    assert trend(compare(build_responses(one), one.conditions)).is_empty()
    assert found["page_l"].dtype == pl.Float64


# exact for few strengths and speakers, from the normal distribution for more; equal values are ties
@given(st.integers(3, 6), st.integers(5, 24), st.integers(0, 99), st.booleans())
def test_it_is_that_of_scipy_to_the_last_bit(strengths, speakers, seed, tied):
    values = np.random.default_rng(seed).normal(size=(speakers, strengths)) + np.arange(strengths) / 4
    values = values.round(0) if tied else values
    found, known = page(values), page_trend_test(values.round(9))
    assert (found["page_l"], found["p"]) == (known.statistic, known.pvalue)
