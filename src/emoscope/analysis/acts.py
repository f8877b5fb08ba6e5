"""What was asked of a part under the headline's sets: its own, and those of every other source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import polars as pl

from emoscope.analysis.accuracy import uar, unreliable_conditions
from emoscope.analysis.contrasts import Changes, Conditions, Family, group, mean, measures, shared, with_controls
from emoscope.analysis.estimate import Estimate, unit
from emoscope.analysis.load import Run
from emoscope.analysis.responses import Responses, asked_label, build_responses, level_of

Key = tuple[str, float | None]  # kind and alpha of an intervention


@dataclass(frozen=True)
class Act:
    """One intervention of the headline: its target sets and each draw of their matched controls.

    Attributes:
        own: target -> condition; ``matched``: the same of every matched draw.
    """

    family: Family
    own: Conditions
    matched: tuple[Conditions, ...]

    def draws(self, excess: bool) -> list[Conditions]:
        """The conditions that an effect rests on, without or with the controls."""
        return [self.own, *self.matched] if excess else [self.own]

    @property
    def excesses(self) -> tuple[bool, ...]:
        """Without the controls and, where there are any, with them."""
        return (False, True) if self.matched else (False,)

    def about(self, measure: str, excess: bool) -> dict[str, object]:
        """What a row of a table says of a measure: its name, unit, and how many draws it rests on."""
        draws = len(self.matched) if excess else 1
        return {"measure": "excess_" * excess + measure, "unit": unit(measure), "draws": draws}


def headline_acts(conditions: pl.DataFrame) -> dict[Key, Act]:
    """The interventions that a study declares as its headline: to zero, at all positions and layers.

    Where no condition is marked as the headline's, as for sets of other parts, all count.
    """
    marked = conditions.filter(pl.col("headline").fill_null(False))
    found: dict[Key, Act] = {}
    for family, (own, *_), matched in with_controls(group(conditions)):
        plain = (family["control"], family["positions"], family["layers"]) == ("target", "all", "all")
        declared = marked.is_empty() or any(condition in set(marked["condition"]) for condition in own.values())
        if plain and family["to"] != "mean" and declared:
            found.setdefault((family["kind"], family["alpha"]), Act(family, own, tuple(matched)))
    return found


@dataclass(frozen=True)
class Asked:
    """One part's question, answered under the headline's sets of the part itself and of every source.

    Attributes:
        responses: these answers by likelihood.
        acts: source (``None``: the part itself) -> kind and alpha -> the intervention.
        unreliable: conditions whose answers support no claim.
    """

    run: Run
    responses: Responses
    acts: Mapping[str | None, Mapping[Key, Act]]
    unreliable: frozenset[str]

    @classmethod
    def of(cls, run: Run) -> Asked:
        """Arrange a part's answers."""
        every: dict[str | None, Run] = {None: run} | dict(run.transferred.items())
        found = {source: headline_acts(_answered(its_run)) for source, its_run in every.items()}
        acts = [act for each in found.values() for act in each.values()]
        wanted = sorted({"baseline"}.union(*(draw.values() for act in acts for draw in act.draws(True))))
        there = pl.col("condition") != "baseline"  # the runs under other sets hold it once more
        asked, answers = (
            pl.concat(
                [getattr(run, table), *(getattr(its_run, table).filter(there) for its_run in run.transferred.values())]
            )
            for table in ("conditions", "answers")
        )
        together = replace(run, answers=answers.filter(pl.col("condition").is_in(wanted)), conditions=asked)
        by_scoring = {scoring: build_responses(together, scoring) for scoring in ("likelihood", "generation")}
        unreliable = unreliable_conditions(uar(together, by_scoring))
        return cls(run, by_scoring["likelihood"], found, unreliable)

    @cached_property
    def changes(self) -> Changes:
        """What each condition changes, counted once."""
        return Changes(self.responses, self.unreliable)

    @property
    def question(self) -> str:
        """The label column that is asked about."""
        return asked_label(self.run)

    @property
    def level(self) -> str:
        """Whether answers are judged by UAR or by accuracy."""
        return level_of(self.run)

    def measured(
        self, acts: Sequence[Act], excess: bool, only: np.ndarray | None = None
    ) -> tuple[list[dict[str, Estimate]], int]:
        """The measures of each act, and of how many emotions; none where no item was asked under all acts.

        Args:
            excess: what the acts change beyond the mean of their matched draws.
            only: which items to count, dimension (item); all where not given.
        """
        targets, used = shared(self.responses, [draw for act in acts for draw in act.draws(excess)])
        used = used if only is None else used & only
        if not targets or not used.any():
            return [], 0
        found = []
        for act in acts:
            own, *matched = (self.changes.count(draw, targets, used) for draw in act.draws(excess))
            found.append(measures(mean([own.minus(draw) for draw in matched]) if excess else own))
        return found, len(targets)

    def touched(self, acts: Sequence[Act], excess: bool) -> bool:
        """Whether a condition that an effect rests on is unreliable."""
        behind = {"baseline"}.union(*(draw.values() for act in acts for draw in act.draws(excess)))
        return not self.unreliable.isdisjoint(behind)


def _answered(run: Run) -> pl.DataFrame:
    """The conditions with answers by likelihood."""
    there = run.answers.filter(scoring="likelihood")["condition"].unique()
    return run.conditions.filter(pl.col("condition").is_in(there.implode()))
