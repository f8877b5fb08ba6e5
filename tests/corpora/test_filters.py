from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoscope.corpora.filters import accepted, natural


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
    ],
)
def test_accepted(wanted: object, values: list[str], expected: set[str]) -> None:
    assert accepted("column", wanted, values) == expected


def test_emotion_words_are_understood_in_the_emotion_column_only() -> None:
    assert accepted("emotion", ["joy", "irony"], ["happiness", "irony", "fear"]) == {"happiness", "irony"}
    assert accepted("word", "joy", ["happiness"]) == frozenset()


@given(st.text(max_size=8), st.text(max_size=8))
def test_natural_order_is_total(a: str, b: str) -> None:
    assert (natural(a) <= natural(b)) or (natural(b) <= natural(a))
