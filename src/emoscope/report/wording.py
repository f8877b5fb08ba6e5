"""What estimates say, in words and as cells of tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from emoscope.analysis.parts import Part, StudyRuns
from emoscope.analysis.standing import Blind, at_chance
from emoscope.neurons.controls import CONTROLS as CONTROL_KINDS
from emoscope.vocabulary import PRESENTED, TARGET
from emoscope.wording import bracket, listed, number

CONTROLS = {TARGET: "selected"} | {name: kind.called or name for name, kind in CONTROL_KINDS.items()}
"""How controls are called in figures and tables."""

MATCHED_IN = {"frequency": "firing rate", "magnitude": "mean activity", "down_norm": "output weight"}
"""What matched controls share with the selected neurons, in words."""


BLIND = "blind part of the excess gap"
"""The heading of what, of the excess gap, knows nothing of the clip."""

CLEAR_LOW, CLEAR_HIGH, OPEN, UNTESTED = "low", "high", "open", "untested"
"""What an estimate with its interval says: below zero, above zero, neither, or nothing."""

HEARD = {name: presented.heard for name, presented in PRESENTED.items() if presented.heard}
"""What is heard, in words, in the order of figures and tables."""


def name_selector(selector: str | None) -> str:
    """A selector's name as readers know it.

    Example:
        >>> name_selector("cas"), name_selector("mad-z"), name_selector("attribution-contrast")
        ('CAS', 'MAD-Z', 'attribution-contrast')
    """
    name = selector or "?"
    return name if name.startswith("attribution") else name.upper()


def blind_text(blind: Blind | None, measure: str = "excess_gap") -> str:
    """The blind part of a measure, a dash where that holds none or where it is not known."""
    return "–" if blind is None or blind.measure != measure else number(blind.part, sign=True)


def by_key(frame: pl.DataFrame, *names: str) -> dict[tuple[str, ...], dict[str, Any]]:
    """The rows of a table by the values of some columns."""
    return {tuple(row[name] for name in names): row for row in frame.iter_rows(named=True)}


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
    """Put an estimate into words and judge it; see :func:`~emoscope.report.wording.judge`."""
    found, why = judge(row, part)
    if row is None or row["estimate"] is None:
        return Outcome(where, found, "", why)
    text = f"{number(row['estimate'], sign=True)} {unit} {bracket(row['low'], row['high'])}"
    return Outcome(where, found, text.strip(), why)


def tally(outcomes: Iterable[Outcome], low: str, high: str, open_: str) -> list[str]:
    """One sentence for each thing that the outcomes say: on those below zero, above zero, and whose interval holds zero.

    Each sentence has ``{}`` in the place of its outcomes.

    Example:
        >>> tally([Outcome("a", OPEN, "+1 points", ""), Outcome("b", UNTESTED, "", "only 3 speakers")], "", "", "Open: {}.")
        ['Open: a +1 points.', 'Not tested: b (only 3 speakers).']
    """
    every, sentences = list(outcomes), []
    for found, words in ((CLEAR_LOW, low), (CLEAR_HIGH, high), (OPEN, open_)):
        if those := [f"{finding.where} {finding.text}" for finding in every if finding.found == found]:
            sentences.append(words.format(listed(those)))
    return [*sentences, *untested(every)]


def untested(outcomes: Iterable[Outcome]) -> list[str]:
    """What was not tested, each reason once.

    Example:
        >>> untested([Outcome("a", UNTESTED, "", "only 3 speakers"), Outcome("b", UNTESTED, "", "only 3 speakers")])
        ['Not tested: a and b (only 3 speakers).']
    """
    reasons: dict[str, list[str]] = {}
    for finding in outcomes:
        if finding.found == UNTESTED:
            reasons.setdefault(finding.why, []).append(finding.where)
    text = "; ".join(f"{listed(where)} ({why})" for why, where in reasons.items())
    return [f"Not tested: {text}."] if text else []


def judge(row: Mapping[str, Any] | None, part: Part | None = None) -> tuple[str, str]:
    """What an estimate with its interval says, and why it says nothing.

    An interval clear of zero counts only where speakers are known, the untouched model is above chance and the answers
    support a claim.

    Args:
        row: columns ``estimate``, ``low``, ``high`` and, where there are any, ``unreliable`` and ``reason``.
        part: the part that it comes from, for whether its speakers are known and its model is above chance.

    Example:
        >>> judge({"estimate": -4.0, "low": -6.0, "high": -2.0}), judge(None)
        (('low', ''), ('untested', 'not part of this run'))
        >>> judge({"estimate": -4.0, "low": None, "high": None, "reason": "only 3 speakers"})
        ('untested', 'only 3 speakers')
    """
    if row is None or row["estimate"] is None:
        reason = (row or {}).get("reason") or (part and part.failed) or "not part of this run"
        return UNTESTED, str(reason).rstrip(".")
    if row.get("unreliable"):
        return UNTESTED, "the answers support no claim"
    if part is not None and part.unknown_speakers:
        return UNTESTED, "speakers are unknown"
    if part is not None and at_chance(part.uar()):
        return UNTESTED, "the untouched model is not clearly above chance"
    if row["low"] is None or row["high"] is None:
        return UNTESTED, str(row.get("reason") or "no interval")
    return (CLEAR_HIGH if row["low"] > 0 else CLEAR_LOW if row["high"] < 0 else OPEN), ""


def value(row: Mapping[str, Any] | None, name: str) -> float | None:
    """A number of a row that may be missing."""
    return None if row is None else row[name]


def made(rows: Sequence[Mapping[str, str]]) -> pl.DataFrame | None:
    """Rows as a table without columns that hold nothing; ``None`` where nothing is left."""
    if not rows:
        return None
    frame = pl.DataFrame([dict(row) for row in rows], infer_schema_length=None)
    kept = [name for name in frame.columns if not set(frame[name]) <= {"–", ""}]
    return frame.select(kept) if len(kept) > 1 else None


def outcome_at(study: StudyRuns, where: str, row: Mapping[str, Any], corpus: str) -> Outcome:
    """An outcome on the clips of a corpus, whose speakers may be unknown."""
    return outcome(where, row, study.main(corpus))


def where(study: StudyRuns, part: Part, what: str = "") -> str:
    """What tells an estimate from others: its corpus, where a study has several, and what else is named."""
    return ", ".join(name for name in (part.name if len(study.mains) > 1 else "", what) if name)


def made_of(study: StudyRuns, rows: Sequence[Mapping[str, str]]) -> pl.DataFrame | None:
    """Rows with a column ``corpus`` as a table, as :func:`made` does it, without the corpus where there is one."""
    single = len(study.mains) == 1
    return made([{name: text for name, text in row.items() if name != "corpus"} for row in rows] if single else rows)


def strengths(study: StudyRuns) -> str:
    """The headline's strengths of steering, as a title names them."""
    return ", ".join(sorted({f"{part.alpha:g}" for part in study.mains if part.alpha is not None}))


def of_corpus(study: StudyRuns, part: Part, sentence: str) -> str:
    """A sentence about a corpus, which is named where a study has several."""
    return f"On {part.name}, {sentence}" if len(study.mains) > 1 else sentence[0].upper() + sentence[1:]


def on(study: StudyRuns, part: Part) -> str:
    """The words " on <name>" where a study has several corpora; nothing is said of a single one."""
    return f" on {part.name}" if len(study.mains) > 1 else ""
