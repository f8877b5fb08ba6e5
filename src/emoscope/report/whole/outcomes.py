"""Estimates over several corpora in words: what is clear, what is open, and what was not tested."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emoscope.report.content import bracket, number
from emoscope.report.whole.content import CLEAR_HIGH, CLEAR_LOW, OPEN, UNTESTED, Part, judge


@dataclass(frozen=True)
class Outcome:
    """One estimate in words.

    Attributes:
        where: the corpus, or what else tells it from the others.
        found: one of ``CLEAR_LOW``, ``CLEAR_HIGH``, ``OPEN`` and ``UNTESTED``.
        text: the estimate and its interval.
        why: why it says nothing; empty where it says something.
    """

    where: str
    found: str
    text: str
    why: str


def outcome(where: str, row: Mapping[str, Any] | None, part: Part | None = None, unit: str = "points") -> Outcome:
    """Put an estimate into words and judge it; see :func:`~emoscope.report.whole.content.judge`."""
    found, why = judge(row, part)
    if row is None or row["estimate"] is None:
        return Outcome(where, found, "", why)
    return Outcome(
        where, found, f"{number(row['estimate'], sign=True)} {unit} {bracket(row['low'], row['high'])}".strip(), why
    )


def tally(outcomes: Iterable[Outcome], low: str, high: str, open_: str) -> list[str]:
    """One sentence for each thing that the outcomes say.

    Args:
        outcomes: one a corpus.
        low: the sentence about those below zero, with ``{}`` for them.
        high: about those above zero.
        open_: about those whose interval holds zero.

    Example:
        >>> tally([Outcome("a", OPEN, "+1 points", ""), Outcome("b", UNTESTED, "", "only 3 speakers")], "", "", "Open: {}.")
        ['Open: a +1 points.', 'Not tested: b (only 3 speakers).']
    """
    listed_ = list(outcomes)
    said = []
    for found, words in ((CLEAR_LOW, low), (CLEAR_HIGH, high), (OPEN, open_)):
        those = [one for one in listed_ if one.found == found]
        if those:
            said.append(words.format(listed([f"{one.where} {one.text}" for one in those])))
    return [*said, *untested(listed_)]


def untested(outcomes: Iterable[Outcome]) -> list[str]:
    """What was not tested, each reason once.

    Example:
        >>> untested([Outcome("a", UNTESTED, "", "only 3 speakers"), Outcome("b", UNTESTED, "", "only 3 speakers")])
        ['Not tested: a and b (only 3 speakers).']
    """
    reasons: dict[str, list[str]] = {}
    for one in outcomes:
        if one.found == UNTESTED:
            reasons.setdefault(one.why, []).append(one.where)
    return (
        [f"Not tested: {'; '.join(f'{listed(where)} ({why})' for why, where in reasons.items())}."] if reasons else []
    )


def listed(names: Sequence[str]) -> str:
    """Names as a list in words.

    Example:
        >>> listed(["a", "b", "c"])
        'a, b and c'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
