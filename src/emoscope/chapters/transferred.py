"""What sets that another part of a study found do in this one: effects, and what they cost the answers in all."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace

import numpy as np
import polars as pl

from emoscope.analysis.accuracy import hollow_conditions, level, uar
from emoscope.analysis.contrasts import FAMILY, Conditions, compare, group, with_controls
from emoscope.analysis.effects import effects
from emoscope.analysis.load import Run
from emoscope.analysis.parts import Row
from emoscope.analysis.responses import UAR, Panel, answered, build_panel, level_of
from emoscope.report.page import Question
from emoscope.schemas import as_table, empty, schema


def foreign(run: Run) -> pl.DataFrame:
    """What the sets of every source do to the answers of a part.

    ``damage`` is the change of UAR in points (of the accuracy, for text questions), below zero where answers get
    worse: the mean over the source's sets, whatever they were found for, and for each of them. ``excess_damage`` is
    the target sets' minus the mean of their matched draws', on the same items.

    Returns:
        the columns of table ``foreign``; empty where no other part's sets act here.
    """
    frames = [empty("foreign")]
    for source, part in run.foreign.items():
        panels = {scoring: build_panel(part, scoring) for scoring in ("likelihood", "generation")}
        hollow, panel = hollow_conditions(uar(part, panels)), panels["likelihood"]
        if "baseline" not in panel.rows:
            continue
        changed = effects(compare(panel, part.conditions, hollow)).with_columns(target=pl.lit(None, pl.String))
        found = (changed, damage(panel, part.conditions, hollow, level_of(run)))
        frames += [frame.with_columns(source=pl.lit(source)).select(list(schema("foreign"))) for frame in found]
    return pl.concat(frames).sort("source", *FAMILY, "measure", "target", nulls_last=False)


def damage(panel: Panel, conditions: pl.DataFrame, hollow: Set[str] = frozenset(), which: str = UAR) -> pl.DataFrame:
    """How many points of UAR, or accuracy, sets cost, whether or not their targets are options of the question.

    Returns:
        the columns of table ``foreign`` without ``source``; points.
    """
    rows: list[Row] = []
    for family, draws, matched in with_controls(group(conditions.filter(pl.col("condition").is_in(list(panel.rows))))):
        rows += _rows(panel, family, draws, [], hollow, which)
        rows += _rows(panel, family, draws, matched, hollow, which) if matched else []
    return as_table("foreign", rows).drop("source")


def _rows(
    panel: Panel, family: Row, draws: Sequence[Conditions], matched: Sequence[Conditions], hollow: Set[str], which: str
) -> list[Row]:
    """Damage by the draws of a family, or beyond matched draws: the mean over targets, then each target."""
    both = [*draws, *matched]
    targets, used = answered(panel, both)
    if not targets or not used.any():
        return []
    before = level(panel, ["baseline"], used, which)
    moved = np.stack([[level(panel, [one[t]], used, which).values for one in both] for t in targets]) - before.values
    each = moved[:, :1] - moved[:, 1:] if matched else moved  # (target, draw, 1 + speaker)
    touched = "baseline" in hollow or any(condition in hollow for draw in both for condition in draw.values())
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
        rows.append(row | replace(before, values=over.mean(axis=0), hollow=touched).columns())
    return rows


QUESTIONS = (Question("transfer", 20, (), tables={"foreign": lambda part: foreign(part.run)}),)
