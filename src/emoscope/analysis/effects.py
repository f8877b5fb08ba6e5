"""Effects of conditions: what a set found for one emotion does to the answers about every emotion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.changes import Change
from emoscope.analysis.families import Compared, Excess
from emoscope.analysis.jackknife import Interval, interval
from emoscope.analysis.multiplicity import benjamini_hochberg
from emoscope.analysis.ranks import rank
from emoscope.schemas import as_table

UNITS = {"sensitivity": "AUC points", "bias": "nat"}
"""Units of measures, with and without ``excess_``; all others are in points."""

RANKED = {"deactivate": ("gap",), "steer": ("pull_gap", "pull_overall")}
"""Measures that are ranked among combinations of matched sets: deactivation lowers them, steering raises them."""


def unit(measure: str) -> str:
    """The unit of a measure.

    Example:
        >>> unit("gap"), unit("excess_sensitivity")
        ('points', 'AUC points')
    """
    return UNITS.get(measure.removeprefix("excess_"), "points")


def measures(change: Change) -> dict[str, np.ndarray]:
    """Reduce a change to the named effects, each of dimension (1 + speaker): all speakers, then without each.

    ``self`` is the mean of D's diagonal, ``cross`` the mean off it and ``gap`` their difference, which does
    not move when all effects of one set, or all effects on one emotion, move alike. For that, only the
    emotions that have a set enter. ``pull``, ``pull_cross`` and ``pull_gap`` are the same of the pull
    matrix; on the diagonal both matrices are equal, so ``pull`` is ``self`` under another name and
    ``pull_cross`` says how much items of *other* emotions are pulled. ``uar_change`` and ``pull_overall``
    average D and pull over all labels, then over the targets. ``sensitivity`` (AUC points) and ``bias``
    (nat) are means over the targets; all others are in points.
    """
    accuracy, pull = change.accuracy(), change.pull()
    heard = change.items.sum(axis=0) > 0
    found = {
        "uar_change": accuracy[:, :, heard].mean(axis=(1, 2)),
        "pull_overall": pull[:, :, heard].mean(axis=(1, 2)),
    }
    for names, matrix in ((("self", "cross", "gap"), accuracy), (("pull", "pull_cross", "pull_gap"), pull)):
        square = matrix[:, :, list(change.targets)]
        size = len(change.targets)
        own = np.einsum("rmm->r", square) / size
        others = (square.sum(axis=(1, 2)) - own * size) / (size * (size - 1)) if size > 1 else np.full_like(own, np.nan)
        found |= dict(zip(names, (own, others, own - others), strict=True))
    return found | {"sensitivity": change.auc.mean(axis=1), "bias": change.bias().mean(axis=1)}


def matrix(compared: Sequence[Compared], labels: Sequence[str]) -> pl.DataFrame:
    """D and pull for every family, target set and emotion, with jackknife intervals of each cell.

    Rows with a null ``draw`` are means over the draws of a control.

    Args:
        compared: the families and what they change.
        labels: the panel's labels.

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

    Args:
        compared: the families and what they change.

    Returns:
        the columns of table ``effects``. Rows with a null ``draw`` are means over the draws of a control, with
        the smallest and the largest draw in ``draw_min`` and ``draw_max``.
    """
    rows: list[dict[str, Any]] = []
    for one in compared:
        rows += _effect_rows(one.family, one.change, one.draws, "", one.hollow, _ranks(one.family, one.excess))
        if one.excess is not None:
            each = [one.excess.own.minus(draw) for draw in one.excess.matched]
            rows += _effect_rows(one.family, one.excess.beyond, each, "excess_", one.excess.hollow, {})
    return as_table("effects", rows)


def columns(found: Interval) -> dict[str, Any]:
    """An interval as the columns of a result table."""
    return {name: getattr(found, name) for name in ("estimate", "low", "high", "speakers", "df", "reason", "p")}


def _effect_rows(
    family: dict[str, Any],
    change: Change,
    draws: Sequence[Change],
    prefix: str,
    hollow: bool,
    ranks: Mapping[str, tuple[int, int]],
) -> list[dict[str, Any]]:
    sizes = change.items.sum(axis=1)
    single = [measures(draw) for draw in draws] if len(draws) > 1 else []
    rows = []
    for name, values in measures(change).items():
        over = [float(one[name][0]) for one in single]
        place, combinations = ranks.get(name, (None, None))
        rows.append(
            family
            | {"measure": prefix + name, "n": int(sizes.sum()), "targets": len(change.targets), "draws": len(draws)}
            | {"draw_min": min(over, default=None), "draw_max": max(over, default=None), "unit": unit(name)}
            | {"rank": place, "combinations": combinations, "hollow": hollow}
            | columns(interval(values, sizes))
        )
    return rows


def _ranks(family: dict[str, Any], excess: Excess | None) -> dict[str, tuple[int, int]]:
    if excess is None:
        return {}
    falls, found = family["kind"] == "deactivate", {}
    own, controls = _terms(excess.own), [_terms(draw) for draw in excess.matched]
    for name in RANKED[family["kind"]]:
        placed = rank(own[name], np.stack([one[name] for one in controls]), falls)
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
            row |= {"draws": len(one.draws), "hollow": one.hollow}
            for name, values in (("change", accuracy), ("pull", pull)):
                found = interval(values[:, m, e], items)
                row |= {name: found.estimate, f"{name}_p": found.p}
                row |= {f"{name}_low": found.low, f"{name}_high": found.high}
            row["accuracy"] = before + float(row["change"] or 0)
            rows.append(row)
    return rows
