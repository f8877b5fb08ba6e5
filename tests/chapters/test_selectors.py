"""Differences between selectors, on runs of five speakers worked out by hand."""

import math

import polars as pl
import pytest
from scipy import stats

from emoscope.analysis.contrasts import compare
from emoscope.analysis.responses import build_responses
from emoscope.chapters.selectors import differences
from emoscope.schemas import schema
from tests.helpers.runs import deactivations, small_run

A, F = "anger", "fear"

# Five speakers with two clips of each emotion; all right at baseline.
ITEMS = [(f"s{s}", truth) for s in range(5) for truth in (A, A, F, F)]
BASE = [A, A, F, F] * 5
# cas: anger's set costs speakers 0 to 3 one clip of anger each, fear's set nothing: D = [[-40, 0], [0, 0]], gap -20
CAS = [F, A, F, F] * 4 + [A, A, F, F]
# lap: anger's set costs speaker 0 one clip: gap -5
LAP = [F, A, F, F] + [A, A, F, F] * 4


def rows(selector, headline=False, control="target"):
    end = "" if control == "target" else "~matched"
    found = deactivations(control)
    return [row | {"condition": f"{row['target']}/{selector}{end}", "selector": selector, "headline": headline}
            for row in found]  # fmt: skip


def run_of_two():
    said = {"baseline": BASE, "anger/cas": CAS, "fear/cas": BASE, "anger/lap": LAP, "fear/lap": BASE}
    said |= {"anger/lap~matched": BASE, "fear/lap~matched": BASE}
    conditions = [*rows("cas"), *rows("lap", headline=True), *rows("lap", control="matched")]
    return small_run(ITEMS, said, conditions)


def test_difference_between_selectors_by_hand():
    run = run_of_two()
    responses = build_responses(run)
    found = differences(responses, compare(responses, run.conditions))
    assert found.schema == pl.Schema(schema("differences"))
    gap = found.filter(pl.col("measure") == "gap").row(0, named=True)
    # lap is the headline's selector, so it stands first: -5 - (-20) = 15; clips lost less: 0, 1, 1, 1, 0 of 10
    assert (gap["first"], gap["second"], gap["estimate"]) == ("lap", "cas", pytest.approx(15))
    without = [100 * (3 - one) / 8 / 2 for one in (0, 1, 1, 1, 0)]
    mean = sum(without) / 5
    error = math.sqrt(4 / 5 * sum((value - mean) ** 2 for value in without))
    assert gap["high"] == pytest.approx(15 + 2.7764451 * error)
    assert gap["p"] == pytest.approx(2 * stats.t.sf(15 / error, 4))
    assert gap["df"] == pytest.approx(4)


def test_without_a_headline_nothing_is_compared():
    run = small_run(ITEMS, {"baseline": BASE, "anger/cas": CAS, "fear/cas": BASE}, rows("cas"))
    responses = build_responses(run)
    assert differences(responses, compare(responses, run.conditions)).is_empty()
