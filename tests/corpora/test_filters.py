from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoscope.corpora.clip import accepted, natural


def all_accepted(column: str, wanted: object, values: list[str]) -> set[str]:
    return set().union(*accepted(column, wanted, values).values())


@pytest.mark.parametrize(
    ("wanted", "values", "expected"),
    [
        (3, ["3", "03", "30", "m3"], {"3", "03"}),
        ("3", ["3", "03"], {"3"}),
        ("226-250", ["000226", "000250", "000225", "000251", "x"], {"000226", "000250"}),
        ("1-2", ["1-2", "1", "2"], {"1-2"}),
        ("250-226", ["230"], set()),
        ((1, "b"), ["1", "b", "c"], {"1", "b"}),
        (True, ["1", "True"], {"True"}),
        ("201-225, 251-357", ["m200", "m201", "m225", "m230", "m357"], {"m201", "m225", "m357"}),
        ("1 – 2,5..6, 9 to 10,x", ["1", "3", "5", "9", "x", "y"], {"1", "5", "9", "x"}),
        ("2.5-4", ["2.4", "2.5", "3", "40"], {"2.5", "3"}),
        ("3", ["03", "30"], {"03"}),
        ("yes, sir", ["yes, sir", "yes"], {"yes, sir"}),
    ],
)
def test_accepted(wanted: object, values: list[str], expected: set[str]) -> None:
    assert all_accepted("column", wanted, values) == expected


def test_emotion_words_are_understood_in_the_emotion_column_only() -> None:
    assert all_accepted("emotion", ["joy", "irony"], ["happiness", "irony", "fear"]) == {"happiness", "irony"}
    assert all_accepted("word", "joy", ["happiness"]) == frozenset()


@given(st.text(max_size=8), st.text(max_size=8))
def test_natural_order_is_total(a: str, b: str) -> None:
    assert (natural(a) <= natural(b)) or (natural(b) <= natural(a))


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("0-5", {"0.5", "3"}), ("-3 to -1", {"-3", "-1.5"}), ("-3..-1", {"-3", "-1.5"}), ("-3-0", {"-3", "-1.5"}),
        (-1.5, {"-1.5"}), ("-3.0", {"-3"}), ("1--1", set()),
    ],
)  # fmt: skip
def test_numbers_below_zero_are_below_zero(wanted: object, found: set[str]) -> None:
    assert all_accepted("valence", wanted, ["-3", "-1.5", "0.5", "3"]) == found
    # a sign within a name is none
    assert all_accepted("speaker", "1-2", ["spk-1", "spk-2", "spk-3"]) == {"spk-1", "spk-2"}
