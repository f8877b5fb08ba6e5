"""Effects of conditions: what a set found for one emotion does to the answers about every emotion, on all items or some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.contrasts import Change, Compared, Family, compare, measures
from emoscope.analysis.estimate import Estimate, benjamini_hochberg, finite, rank, unit
from emoscope.analysis.responses import NOT_ASKED, Panel
from emoscope.schemas import as_table

RANKED = {"deactivate": ("gap",), "steer": ("pull_gap", "pull_overall")}
"""Measures that are ranked among combinations of matched sets: deactivation lowers them, steering raises them."""


def matrix(compared: Sequence[Compared], labels: Sequence[str]) -> pl.DataFrame:
    """D and pull for every family, target set and emotion, with jackknife intervals of each cell.

    Rows with a null ``draw`` are means over the draws of a control.

    Returns:
        the columns of table ``matrix``; ``n`` in items, ``baseline`` and ``accuracy`` in %, change and pull in
        points. q values are Benjamini and Hochberg's over the cells of the family's matrix.
    """
    rows: list[dict[str, Any]] = []
    for one in compared:
        cells = _cells(one, labels)
        for name in ("change", "pull"):
            for cell, q in zip(cells, benjamini_hochberg([cell[f"{name}_p"] for cell in cells]), strict=True):
                cell[f"{name}_q"] = q
        rows += cells
    return as_table("matrix", rows)


def effects(compared: Sequence[Compared]) -> pl.DataFrame:
    """Every measure of every family with its jackknife interval, and the target's excess over matched controls.

    The excess measures (``excess_gap``, ``excess_pull_gap`` and so on) are the target set's change minus
    the mean change over the matched draws, item by item, so that their interval is that of the paired
    difference. They exist where a family has matched controls.

    Returns:
        the columns of table ``effects``. Rows with a null ``draw`` are means over the draws of a control, with
        the smallest and the largest draw in ``draw_min`` and ``draw_max``.
    """
    rows: list[dict[str, Any]] = []
    for one in compared:
        rows += _effect_rows(one.family, one.change, one.draws, "", _ranks(one))
        if one.excess is not None:
            each = [one.excess.own.minus(draw) for draw in one.excess.matched]
            rows += _effect_rows(one.family, one.excess.beyond, each, "excess_", {})
    return as_table("effects", rows)


def _effect_rows(
    family: Family, change: Change, draws: Sequence[Change], prefix: str, ranks: Mapping[str, tuple[int, int]]
) -> list[dict[str, Any]]:
    single = [measures(draw) for draw in draws] if len(draws) > 1 else []
    rows = []
    for name, found in measures(change).items():
        over = [float(one[name].values[0]) for one in single]
        place, combinations = ranks.get(name, (None, None))
        row = family | found.columns() | {"measure": prefix + name, "unit": unit(name), "targets": len(change.targets)}
        row |= {"draws": len(draws), "draw_min": min(over, default=None), "draw_max": max(over, default=None)}
        rows.append(row | {"rank": place, "combinations": combinations})
    return rows


def _ranks(one: Compared) -> dict[str, tuple[int, int]]:
    if one.excess is None:
        return {}
    kind, found = one.family["kind"], {}
    own, controls = _terms(one.excess.own), [_terms(draw) for draw in one.excess.matched]
    for name in RANKED[kind]:
        placed = rank(own[name], np.stack([each[name] for each in controls]), kind == "deactivate")
        if placed is not None and np.isfinite(own[name]).all():
            found[name] = placed
    return found


def _terms(change: Change) -> dict[str, np.ndarray]:
    """What each target's set adds to the ranked measures, dimension (target)."""
    targets, size = list(change.targets), len(change.targets)
    heard = change.items.sum(axis=0) > 0
    accuracy, pull = change.accuracy()[0], change.pull()[0]
    found = {"pull_overall": pull[:, heard].mean(axis=1) / size}
    for name, cells in (("gap", accuracy[:, targets]), ("pull_gap", pull[:, targets])):
        own = np.diag(cells)
        others = (cells.sum(axis=1) - own) / (size - 1) if size > 1 else np.full_like(own, np.nan)
        found[name] = (own - others) / size
    return found


def _cells(one: Compared, labels: Sequence[str]) -> list[dict[str, Any]]:
    change, rows = one.change, []
    accuracy, pull = change.accuracy(), change.pull()
    for e, emotion in enumerate(labels):
        items = change.items[:, e]
        if not items.sum():
            continue
        before = 100 * float(change.baseline[:, e].sum() / items.sum())
        for m, target in enumerate(one.targets):
            row = one.family | {"target": target, "emotion": emotion, "n": int(items.sum()), "baseline": before}
            row |= {"draws": len(one.draws), "hollow": change.hollow}
            for name, values in (("change", accuracy), ("pull", pull)):
                row |= change.estimate(values[:, m, e], items).named(name)
            row["accuracy"] = before + float(row["change"] or 0)
            rows.append(row)
    return rows


def evidence(compared: Sequence[Compared]) -> pl.DataFrame:
    """Sensitivity and bias of every family and target emotion, with jackknife intervals.

    Sensitivity is the change of the area under the ROC curve of the target's log-odds, its items against all
    others; bias the mean change of these log-odds over the others' items (see ``docs/method.md``).

    Returns:
        the columns of table ``evidence``: auc (the baseline's) and sensitivity in AUC points (100 x AUC), bias in
        nat, ``n`` in items. Excess columns are the target set's change minus the mean of matched draws.
    """
    rows: list[dict[str, Any]] = []
    for one in compared:
        for m, target in enumerate(one.targets):
            row = one.family | {"target": target, "draws": len(one.draws), "n": int(one.change.ranked[:, m].sum())}
            found = [("", one.change, m)]
            if one.excess is not None and target in one.excess.targets:
                found.append(("excess_", one.excess.beyond, one.excess.targets.index(target)))
            for prefix, change, place in found:
                for name, values in (("sensitivity", change.auc), ("bias", change.bias())):
                    row |= change.estimate(values[:, place], change.ranked[:, place]).named(prefix + name)
            rows.append(row | {"auc": finite(one.change.baseline_auc[m])})
    return as_table("evidence", rows)


MEASURED = {"deactivate": ("self", "cross", "gap"), "steer": ("pull", "pull_cross", "pull_gap")}
"""The measures that are looked at on parts of the items, for each kind of intervention."""

ALIKE = ("kind", "selector", "budget", "scope", "to", "alpha", "positions", "layers")
"""What a headline's condition and its controls have in common."""

Key = tuple[str, str, str]  # kind, control, measure


def headline_conditions(conditions: pl.DataFrame) -> pl.DataFrame:
    """The declared conditions and their controls, so that the other families are not computed for each part."""
    declared = set(conditions.filter(pl.col("headline").fill_null(False)).select(ALIKE).iter_rows())
    kept = [row in declared for row in conditions.select(ALIKE).iter_rows()]
    return conditions.filter(pl.Series(kept, dtype=pl.Boolean))


def on_items(panel: Panel, used: np.ndarray) -> Panel:
    """The same panel, as if only some items had been asked; dimension (item).

    The speakers stay the same ones, so that values of different parts can be subtracted speaker by speaker.
    """
    return replace(panel, answers=np.where(used, panel.answers, NOT_ASKED))


def measured(panel: Panel, conditions: pl.DataFrame, hollow: Set[str], used: np.ndarray) -> dict[Key, Estimate]:
    """What the headline's sets and their matched controls change on some items.

    Args:
        panel: the stored answers by likelihood.
        conditions: from :func:`headline_conditions`; where targets are left out, effects are over the others.
        used: which items to count, dimension (item).

    Returns:
        (kind, control, measure) to points, for target sets, the mean over matched draws and, as measures that begin
        with ``excess_``, target sets beyond these draws.
    """
    found: dict[Key, Estimate] = {}
    kept = conditions.filter(pl.col("control").fill_null("target").is_in(["target", "matched"]))
    for one in compare(on_items(panel, used), kept, hollow):
        kind, control = one.family["kind"], one.family["control"]
        changes = [("", one.change)] if control == "target" or one.family["draw"] is None else []
        changes += [("excess_", one.excess.beyond)] if one.excess is not None else []
        for prefix, change in changes:
            every = measures(change)
            found |= {(kind, control, prefix + name): every[name] for name in MEASURED[kind]}
    return found
