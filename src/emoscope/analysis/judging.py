"""The declared claims about anybody's interventions, from a table of answers: no model, no hook, no run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from emoscope.analysis import declared
from emoscope.analysis.answer_table import AnswerTable, answer_table, read_answers
from emoscope.analysis.claim_rules import permuted_text
from emoscope.analysis.declared import CLAIMS, FEWEST_DRAWS, RESERVED, RULE, SUPPORTED, Test
from emoscope.analysis.headline import CONTROLS
from emoscope.analysis.pairs import FEWEST_UNITS, Clips
from emoscope.schemas import as_table
from emoscope.vocabulary import DEACTIVATE, ORTHOGONAL, SHUFFLED, STEER, TARGET
from emoscope.wording import bracket, listed, number, p_text

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Range:
    """The smallest and the largest number over pairs of emotions."""

    fewest: int
    most: int

    def __str__(self) -> str:
        return f"{self.fewest}" if self.fewest == self.most else f"{self.fewest} to {self.most}"


@dataclass(frozen=True, eq=False)
class Judged:
    """What the declared claims say of a table of answers.

    Attributes:
        tests: a row for each claim, with the columns of table ``tests`` (see docs/run-folder.md).
        clips, left_out: how many clips (or items) count, and how many do not, as their speaker is unknown.
        speakers, units: how many there are.
        pairs: ``"clips"``, ``"speakers"`` or ``"units"`` -> how many of them two emotions share.
        control, draws: beyond which control sets, and how many draws of it.
        alpha: the declared strength of steering.
    """

    tests: pl.DataFrame
    clips: int
    left_out: int
    speakers: int
    units: int
    pairs: Mapping[str, Range]
    control: str | None
    draws: int
    alpha: float | None

    def __repr__(self) -> str:
        lines = [self._line(row) for row in self.tests.iter_rows(named=True)]
        beyond = f"Beyond {self.draws} draws of {self.control} sets" if self.control else "Without control sets"
        steered = "" if self.alpha is None else f", steered by {self.alpha:g}"
        without = f" ({self.left_out} without a speaker left out)" if self.left_out else ""
        shared = ", ".join(f"{held} {what}" for what, held in self.pairs.items())
        return "\n".join([
            *lines, f"{beyond}{steered}; rule {RULE}.",
            f"{self.clips} clips{without}, {self.speakers} speakers, {self.units} independent units; two emotions share {shared}.",
        ])  # fmt: skip

    def _line(self, row: Mapping[str, Any]) -> str:
        test = Test(**{name: row[name] for name in Test.__dataclass_fields__})
        told = f"{test.name:<20} {test.verdict:<28}"
        if test.estimate is not None:
            ends = (bracket(*pair, digits=2) for pair in ((test.low, test.high), (test.set_low, test.set_high)))
            sets, these = ends
            p = test.p if test.p_holm is None else test.p_holm
            told += f" {number(test.estimate, 2, sign=True)} {row['unit']} {sets}, for these very sets {these}"
            told += "" if p is None else f", {p_text(p)}"
            told += f", {null}" if (null := permuted_text(test)) else ""
        return f"{told} ({test.why})" if test.why else told.rstrip()


def judge(
    answers: str | Path | pl.DataFrame | pandas.DataFrame, alpha: float | None = None, control: str | None = None
) -> Judged:
    """Decide the declared claims about interventions from the answers under them, whoever made them.

    Args:
        answers: a file or frame with a row for every clip and condition; docs/judge.md has the columns.
        alpha: the declared strength of steering; may be left out where there is one only.
        control: beyond which control sets claims are tested; by default orthogonal or matched sets, or those of which
            there are most draws.

    Raises:
        ValueError: the table says what cannot be, or lacks something; the value, and what to do.

    Example:
        >>> from emoscope.testing.worlds import World, simulate
        >>> world = World(emotions=4, speakers=8, loss=0.3, gain=0.2)
        >>> judged = judge(simulate(world, np.random.default_rng(0)).to_frame(), alpha=0.5)
        >>> judged.tests["verdict"][0], judged.pairs["speakers"]
        ('supported with reservations', Range(fewest=8, most=8))
    """
    if isinstance(answers, str | Path):
        table = answer_table(read_answers(Path(answers)), str(answers))
    else:
        table = answer_table(answers)
    clips = table.coded()
    if clips.units < FEWEST_UNITS:
        raise ValueError(
            f"{clips.units} independent units ({listed(sorted(table.clips['unit'].unique())[:5])}): claims need at least "
            f"{FEWEST_UNITS}; ask further speakers, or give smaller units that are independent"
        )
    alpha = _declared_alpha(table, alpha)
    control = chosen_control(table, control)
    under = {act: (draws[TARGET][0], draws.get(control or "", ())) for act, draws in table.under.items()}
    evidence = declared.gather(
        clips, table.untouched, under.get((DEACTIVATE, None)),
        {by: drawn for (kind, by), drawn in under.items() if kind == STEER and by is not None},
        [table.options.index(name) for name in table.targets], alpha,
        {by: draws[SHUFFLED] for (_, by), draws in table.under.items() if SHUFFLED in draws},
    )  # fmt: skip
    tests = {name: _reserved(test, control) for name, test in declared.judge(evidence).items()}
    frame = as_table(
        "tests",
        rows_of(tests.values(), table.options, control=control, n=len(clips.truth), left_out=table.left_out),
    )
    draws = max(len(drawn) for _, drawn in under.values())
    speakers = len(set(table.clips["speaker"]))
    return Judged(
        frame, len(clips.truth), table.left_out, speakers, clips.units, pair_ranges(clips), control, draws, alpha
    )


def rows_of(tests: Iterable[Test], options: Iterable[str], **about: object) -> list[dict[str, object]]:
    """Tests as rows of table ``tests``; ``about`` says what is the same in all of them."""
    claims, labels = {claim.name: claim for claim in CLAIMS}, list(options)
    return [
        vars(test) | {"kind": claims[test.name].kind, "unit": claims[test.name].unit, "rule": RULE}
        | {"why": re.sub(r"\{(\d+)\}", lambda code: labels[int(code[1])], test.why) or None} | about
        for test in tests
    ]  # fmt: skip


def pair_ranges(clips: Clips) -> dict[str, Range]:
    """How many clips, speakers and units pairs of emotions share: of speakers who have both emotions."""
    counts = np.zeros((int(clips.speaker.max()) + 1, clips.options))
    np.add.at(counts, (clips.speaker, clips.truth), 1)
    both = (counts[:, :, None] > 0) & (counts[:, None, :] > 0)
    held = {
        "clips": ((counts[:, :, None] + counts[:, None, :]) * both).sum(axis=0),
        "speakers": both.sum(axis=0),
        "units": clips.units_of_pair,
    }
    pairs = np.triu_indices(clips.options, 1)
    return {what: Range(int(found[pairs].min()), int(found[pairs].max())) for what, found in held.items()}


def _reserved(test: Test, control: str | None) -> Test:
    """A claim that holds beyond other than orthogonal sets holds with reservations, as in runs."""
    if test.verdict != SUPPORTED or control == ORTHOGONAL:
        return test
    doubt = f"beyond {control} sets alone, not beyond {ORTHOGONAL} ones"
    return replace(test, verdict=RESERVED, why="; ".join(filter(None, (test.why, doubt))))


def _declared_alpha(table: AnswerTable, alpha: float | None) -> float | None:
    strengths = sorted(by for kind, by in table.under if kind == STEER and by is not None)
    if alpha is not None and alpha not in strengths:
        there = f"strengths there are {listed([f'{by:g}' for by in strengths])}" if strengths else "nothing is steered"
        raise ValueError(f"alpha {alpha:g} is not in the table: {there}")
    if alpha is None and len(strengths) > 1:
        told = listed([f"{by:g}" for by in strengths])
        raise ValueError(f"steered by {told}: say which is the declared one, with --alpha or alpha=")
    return alpha if alpha is not None or not strengths else strengths[0]


def chosen_control(table: AnswerTable, control: str | None = None) -> str | None:
    """Beyond which control sets claims are tested: as in runs, the first of the declared ones that has enough draws."""
    draws: dict[str, int] = {}
    for controls in table.under.values():
        for name, drawn in controls.items():
            draws[name] = max(len(drawn), draws.get(name, 0))
    del draws[TARGET]
    if control is not None and control not in draws:
        raise ValueError(f"control {control!r} is not in the table: it has {listed(sorted(draws)) or 'none'}")
    enough = [name for name in CONTROLS if draws.get(name, 0) >= FEWEST_DRAWS]
    most = max(sorted(draws), key=lambda name: (name != SHUFFLED, draws[name]), default=None)
    return control or next(iter(enough), most)
