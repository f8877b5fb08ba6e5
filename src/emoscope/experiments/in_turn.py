"""Draws of the permutation null that are asked one after the other, and no further ones once they have decided."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from emoscope.experiments.intervene import ask_units, list_units
from emoscope.vocabulary import DEACTIVATE, FEWEST_PERMUTED, LEVEL, SHUFFLED, TARGET

if TYPE_CHECKING:
    from emoscope.experiments.intervene import Work
    from emoscope.experiments.schema import Study
    from emoscope.experiments.stages import Listened, Planned


def in_turns(work: Sequence[Work], study: Study) -> tuple[list[Work], list[list[Work]]]:
    """The units that are asked in any case, and those of each further permuted draw, in the order of draws.

    As many draws as can decide are asked in any case: who reads no more than the answers sees by their number that they do.
    """
    always: list[Work] = []
    later: dict[int, list[Work]] = defaultdict(list)
    least = max(FEWEST_PERMUTED, study.controls.shuffled)
    for part in work:
        draw = part.condition["draw"] if part.condition["control"] == SHUFFLED else None
        (always if draw is None or draw < least else later[draw]).append(part)
    return always, [later[draw] for draw in sorted(later)]


def ask_in_turn(heard: Listened, planned: Planned, always: Sequence[Work], later: Sequence[Sequence[Work]]) -> Planned:
    """Ask draw after draw until they have decided; what was asked before is read, so that a resumed run ends alike.

    Args:
        always: the units that are asked in any case, all of them done.
        later: those of each further draw.

    Returns:
        what was asked of the plan, which the run's tables then hold, and why the rest was not.
    """
    run, log, asked, stopped = heard.run, heard.task.log, list(always), ""
    may_stop = rests_alike(heard, planned.conditions, always)
    with log.stage("intervening", sum(len(part.block) for parts in later for part in parts), "answers") as progress:
        for parts in later:
            if may_stop and (stopped := why_stopped(heard, planned.conditions, asked)):
                break
            ask_units(run, heard.study, parts, planned.sets, heard.model, progress)
            asked += parts
    if not stopped:
        return planned
    log.say(f"Permuted labels: {stopped}.")
    kept = {part.unit.id for part in asked}
    gone = {part.condition["condition"] for part in planned.work if part.unit.id not in kept}
    conditions = planned.conditions.filter(~pl.col("condition").is_in(list(gone)))
    run.write_table("conditions", conditions)
    run.write_table("units", list_units(asked, heard.units))
    work = [part for part in planned.work if part.unit.id in kept]
    return dataclasses.replace(planned, conditions=conditions, work=work, stopped=stopped)


def why_stopped(heard: Listened, conditions: pl.DataFrame, asked: Sequence[Work]) -> str:
    """Why no further draw need be asked: whatever it says, p stays above the level. Empty where it may still matter."""
    from emoscope.analysis.estimate import as_low

    planned = conditions.filter(control=SHUFFLED)["draw"].n_unique()
    found = read_draws(heard, conditions.filter(NULL), asked)
    # a draw that is not whole counts for neither: with fewer left, the claim's rule would not let p decide
    if found is None or len(found[1]) < FEWEST_PERMUTED or (1 + (below := as_low(*found))) / (1 + planned) <= LEVEL:
        return ""
    return (
        f"stopped after {len(found[1])} of {planned} permuted draws: {below} of them take as much as the target sets, so "
        f"that p can no longer be at most {LEVEL:g}"
    )


Draws = tuple[float, list[float]]
"""The declared estimand of deactivation, in nat, of the target sets and of every permuted draw that was asked."""

NULL = (
    pl.col("control").is_in([TARGET, SHUFFLED])
    & pl.col("to").ne_missing("mean")
    & (pl.col("kind") == DEACTIVATE)
    & (pl.col("role") == "headline")
)
"""The conditions of the permutation null."""


def rests_alike(heard: Listened, conditions: pl.DataFrame, asked: Sequence[Work]) -> bool:
    """Whether the null's own conditions give what it gives among all conditions, as the claim takes it.

    A claim counts the emotions and clips that all its conditions have; where those are fewer, its p is another one, and
    nothing can be decided beforehand.
    """
    whole, alone = (read_draws(heard, some, asked) for some in (conditions, conditions.filter(NULL)))
    if whole is None or alone is None or len(whole[1]) != len(alone[1]):
        return False
    return bool(np.allclose([whole[0], *whole[1]], [alone[0], *alone[1]], rtol=1e-9, atol=1e-9))


def read_draws(heard: Listened, conditions: pl.DataFrame, asked: Sequence[Work]) -> Draws | None:
    """What these conditions give, as far as they were asked.

    ``None`` where it does not exist: in studies of written answers, or with too few speakers.
    """
    from emoscope.analysis.accuracy import unreliable_scores
    from emoscope.analysis.declared import apart
    from emoscope.analysis.headline import declared_evidence
    from emoscope.analysis.load import Run
    from emoscope.analysis.responses import build_responses
    from emoscope.schemas import conform, empty

    names = set(conditions["condition"])
    units = [part.unit.id for part in asked if part.condition["condition"] in names]
    answers = conform(pl.concat(heard.run.answers([*heard.units, *units]), how="diagonal_relaxed"), "answers")
    about = {"study": {"identify": {"label": heard.study.identify.label}}}
    known = Run(heard.run.path, heard.items, empty("sets"), conditions, answers, about)
    responses = build_responses(known)
    found = declared_evidence(known, responses, unreliable=unreliable_scores(known, responses))
    if found is None or found.evidence.off is None:
        return None
    own, *draws = (float(apart(change)[0]) for change in (found.evidence.off.own, *found.evidence.off.permuted))
    return (own, draws) if own == own else None
