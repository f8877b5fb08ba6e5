"""What sets that another part of a study found do in this one: effects, and what they cost the answers in all."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace

import numpy as np
import polars as pl

from emoscope.analysis.accuracy import level, uar, unreliable_conditions
from emoscope.analysis.contrasts import FAMILY, Conditions, compare, group, with_controls
from emoscope.analysis.effects import effects
from emoscope.analysis.load import Run
from emoscope.analysis.parts import Row
from emoscope.analysis.responses import UAR, Responses, answered, build_responses, level_of
from emoscope.report.page import Question
from emoscope.schemas import as_table, empty, schema


def transferred(run: Run) -> pl.DataFrame:
    """What the sets of every source do to the answers of a part: table ``transferred``.

    ``damage`` is the change of UAR in points (of the accuracy, for text questions), below zero where answers get
    worse: the mean over the source's sets, whatever they were found for, and for each of them. ``excess_damage`` is
    the target sets' minus the mean of their matched draws', on the same items.
    """
    frames = [empty("transferred")]
    for source, part in run.transferred.items():
        by_scoring = {scoring: build_responses(part, scoring) for scoring in ("likelihood", "generation")}
        unreliable, responses = unreliable_conditions(uar(part, by_scoring)), by_scoring["likelihood"]
        if "baseline" not in responses.rows:
            continue
        changed = effects(compare(responses, part.conditions, unreliable)).with_columns(target=pl.lit(None, pl.String))
        found = (changed, damage(responses, part.conditions, unreliable, level_of(run)))
        frames += [frame.with_columns(source=pl.lit(source)).select(list(schema("transferred"))) for frame in found]
    return pl.concat(frames).sort("source", *FAMILY, "measure", "target", nulls_last=False)


def damage(
    responses: Responses, conditions: pl.DataFrame, unreliable: Set[str] = frozenset(), which: str = UAR
) -> pl.DataFrame:
    """How many points of UAR, or accuracy, sets cost, whether or not their targets are options of the question.

    The columns are those of table ``transferred`` without ``source``.
    """
    rows: list[Row] = []
    grouped = group(conditions.filter(pl.col("condition").is_in(list(responses.rows))))
    for family, draws, matched in with_controls(grouped):
        for like in ([], matched) if matched else ([],):
            rows += _rows(responses, family, draws, like, unreliable, which)
    return as_table("transferred", rows).drop("source")


def _rows(
    responses: Responses,
    family: Row,
    draws: Sequence[Conditions],
    matched: Sequence[Conditions],
    unreliable: Set[str],
    which: str,
) -> list[Row]:
    """Damage by the draws of a family, or beyond matched draws: the mean over targets, then each target."""
    both = [*draws, *matched]
    targets, used = answered(responses, both)
    if not targets or not used.any():
        return []
    before = level(responses, ["baseline"], used, which)
    moved = (
        np.stack([[level(responses, [draw[t]], used, which).values for draw in both] for t in targets]) - before.values
    )
    each = moved[:, :1] - moved[:, 1:] if matched else moved  # (target, draw, 1 + speaker)
    touched = "baseline" in unreliable or any(condition in unreliable for draw in both for condition in draw.values())
    fixed = family | {"measure": "excess_damage" if matched else "damage", "unit": "points"}
    fixed |= {"draws": each.shape[1], "rank": None, "combinations": None}
    named: list[tuple[str | None, np.ndarray]] = [(None, each.mean(axis=0))]
    if family["draw"] is None or family["control"] == "target":
        named += [(target, each[place]) for place, target in enumerate(targets)]
    rows = []
    for target, over in named:
        row = fixed | {"target": target, "targets": 1 if target else len(targets)}
        if len(over) > 1:
            row |= {"draw_min": float(over[:, 0].min()), "draw_max": float(over[:, 0].max())}
        rows.append(row | replace(before, values=over.mean(axis=0), unreliable=touched, bounded=False).columns())
    return rows


QUESTIONS = (Question("transfer", 20, (), tables={"transferred": lambda part: transferred(part.run)}),)
