"""Cross effects within and across arousal."""

import polars as pl
import pytest

from emoscope.analysis.contrasts import compare
from emoscope.analysis.responses import build_responses
from emoscope.chapters.arousal import arousal
from emoscope.schemas import schema
from tests.helpers.runs import deactivations, small_run

LABELS = ("anger", "fear", "neutral")  # two of high arousal, one of low


def found(labels=LABELS, controls=True):
    right = list(labels) * 5
    first, second, third = labels

    def changed(**moved):
        return [moved.get(label, label) for label in right]

    run = small_run(
        [(speaker, label) for speaker in ("s1", "s2", "s3", "s4", "s5") for label in labels],
        {
            "baseline": right,
            # the sets of the first two take each other's clips with them; that of the third touches its own alone
            first: changed(**{first: third, second: third}), second: changed(**{first: third, second: third}),
            third: changed(**{third: first}),
            **{f"{label}~matched0": right for label in labels if controls},
        },
        [
            *({**one, "headline": True} for one in deactivations(targets=labels)),
            *(deactivations("matched", targets=labels) if controls else []),
        ],
        options=labels,
    )  # fmt: skip
    responses = build_responses(run)
    return arousal(compare(responses, run.conditions), responses.labels)


def test_emotions_of_like_arousal_are_told_from_the_others():
    rows = {(row["control"], row["measure"]): row for row in found().iter_rows(named=True)}
    for prefix in ("", "excess_"):
        values = [rows["target", f"{prefix}cross_{end}"] for end in ("same", "other", "apart")]
        assert [row["estimate"] for row in values] == [-100, 0, -100]
        assert [row["pairs"] for row in values] == [2, 4, 6]
        assert [row["high"] for row in values] == pytest.approx([-100, 0, -100])
    assert rows["matched", "cross_same"]["estimate"] == 0
    assert rows["target", "cross_same"]["n"] == 15


def test_without_controls_there_is_no_excess():
    assert set(found(controls=False)["measure"]) == {"cross_same", "cross_other", "cross_apart"}


def test_it_needs_pairs_of_both_kinds():
    assert found(("anger", "fear", "surprise")).is_empty()
    assert found(("no", "tak", "yes")).schema == pl.Schema(schema("arousal"))
