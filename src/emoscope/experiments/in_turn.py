"""Draws of the permutation null that are asked one after the other, and no further ones once they have decided."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from emoscope.experiments.intervene import ask_units, list_units
from emoscope.vocabulary import DEACTIVATE, LEVEL, SHUFFLED, TARGET

if TYPE_CHECKING:
    from emoscope.experiments.intervene import Work
    from emoscope.experiments.schema import Study
    from emoscope.experiments.stages import Listened, Planned

FEWEST = round(1 / LEVEL) - 1
"""Fewer draws cannot decide, so that these are always asked, with everything else: who reads no more than the answers
sees by their number that they decide."""


def in_turns(work: Sequence[Work], study: Study) -> tuple[list[Work], list[list[Work]]]:
    """The units that are asked in any case, and those of each further permuted draw, in the order of draws."""
    always: list[Work] = []
    later: dict[int, list[Work]] = defaultdict(list)
    least = max(FEWEST, study.controls.shuffled)
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
    with log.stage("intervening", sum(len(part.block) for parts in later for part in parts), "answers") as progress:
        for parts in later:
            if stopped := why_stopped(heard, planned.conditions, asked):
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
    planned, found = conditions.filter(control=SHUFFLED)["draw"].n_unique(), read_draws(heard, conditions, asked)
    # a draw that is not whole counts for neither: with fewer left, the claim's rule would not let p decide
    if found is None or len(found[1]) < FEWEST or (1 + (below := as_low(*found))) / (1 + planned) <= LEVEL:
        return ""
    return (
        f"stopped after {len(found[1])} of {planned} permuted draws: {below} of them take as much as the target sets, so "
        f"that p can no longer be at most {LEVEL:g}"
    )


def as_low(own: float, draws: Sequence[float]) -> int:
    """How many draws are as low as the target sets, or lower, as the permutation null counts them.

    Example:
        >>> as_low(-0.7, [-0.1, 0.2, -0.8, 0.0])
        1
    """
    from emoscope.analysis.estimate import permutation_p

    return round(permutation_p(own, draws)[0] * (1 + len(draws))) - 1


def read_draws(heard: Listened, conditions: pl.DataFrame, asked: Sequence[Work]) -> tuple[float, list[float]] | None:
    """The declared estimand of deactivation, in nat, of the target sets and of every permuted draw that was asked.

    ``None`` where it does not exist: in studies of written answers, or with too few speakers.
    """
    from emoscope.analysis.declared import apart
    from emoscope.analysis.headline import declared_evidence
    from emoscope.analysis.load import Run
    from emoscope.analysis.responses import build_responses
    from emoscope.schemas import conform, empty

    counted = conditions.filter(
        pl.col("control").is_in([TARGET, SHUFFLED]), pl.col("to") != "mean", kind=DEACTIVATE, role="headline"
    )
    names = set(counted["condition"])
    units = [part.unit.id for part in asked if part.condition["condition"] in names]
    answers = conform(pl.concat(heard.run.answers([*heard.units, *units]), how="diagonal_relaxed"), "answers")
    about = {"study": {"identify": {"label": heard.study.identify.label}}}
    known = Run(heard.run.path, heard.items, empty("sets"), counted, answers, about)
    found = declared_evidence(known, build_responses(known))
    if found is None or found.evidence.off is None:
        return None
    own, *draws = (float(apart(change)[0]) for change in (found.evidence.off.own, *found.evidence.off.permuted))
    return (own, draws) if own == own else None
