"""Where answers go, by hand."""

import pytest

from emoscope.analysis.contrasts import compare
from emoscope.analysis.responses import build_responses
from emoscope.chapters.flows import flows
from tests.helpers.runs import deactivations, small_run

A, F, S = "anger", "fear", "sadness"
# five speakers, each with two clips of anger and one of fear
ITEMS = [(f"s{s}", truth) for s in range(5) for truth in (A, A, F)]
BASE = [A, S, F] * 5
# anger's set off: the clip that was right goes to fear for speakers 0-3 and cannot be read for speaker 4
OFF = [F, S, F] * 4 + [None, S, F]
# matched draw 0 changes nothing; draw 1 sends speaker 0's clip of fear to anger
ONE = [A, S, A] + [A, S, F] * 4


@pytest.fixture(scope="module")
def found():
    rows = [row | {"headline": True} for row in deactivations(targets=(A,))]
    rows += [*deactivations("matched", 0, (A,)), *deactivations("matched", 1, (A,))]
    said = {"baseline": BASE, A: OFF, "anger~matched0": BASE, "anger~matched1": ONE}
    run = small_run(ITEMS, said, rows, options=(A, F, S))
    responses = build_responses(run)
    return flows(responses, compare(responses, run.conditions))


def ways(found, control):
    part = found.filter(control=control)
    return {(row["truth"], row["before"], row["after"]): row for row in part.iter_rows(named=True)}


def test_every_way_is_counted(found):
    went = ways(found, "target")
    assert {way: row["count"] for way, row in went.items()} == {
        (A, A, F): 4, (A, A, None): 1, (A, S, S): 5, (F, F, F): 5,
    }  # fmt: skip
    assert went[A, A, F]["n"] == 10
    assert went[A, A, F]["share"] == pytest.approx(40)
    # without one of speakers 0-3 it is 3 of 8, without speaker 4 it is 4 of 8: 37.5 four times and 50
    assert went[A, A, F]["low"] < 40 < went[A, A, F]["high"]
    assert went[F, F, F]["low"] == went[F, F, F]["high"] == pytest.approx(100)


def test_matched_draws_are_averaged(found):
    went = ways(found, "matched")
    assert went[F, F, A]["count"] == pytest.approx(0.5)
    assert went[F, F, F]["count"] == pytest.approx(4.5)
    assert went[F, F, A]["draws"] == 2
    assert (A, A, F) not in went


def test_shares_of_an_emotion_add_up(found):
    for part in found.partition_by("control", "target", "truth"):
        assert part["share"].sum() == pytest.approx(100)
        assert part["count"].sum() == pytest.approx(part["n"][0])
