"""Effects of conditions: what a set found for one emotion does to the answers about every emotion, on all items or some."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import polars as pl

from emoscope.analysis.claim_rules import TOO_UNRELIABLE
from emoscope.analysis.contrasts import Change, Compared, Family, compare, measures
from emoscope.analysis.estimate import Estimate, benjamini_hochberg, finite, rank, unit
from emoscope.analysis.parts import Part
from emoscope.analysis.responses import NOT_ASKED
from emoscope.schemas import as_table

RANKED = {"deactivate": ("gap",), "steer": ("pull_gap", "pull_overall")}
"""Measures that are ranked among combinations of matched sets: deactivation lowers them, steering raises them."""


def matrix(compared: Sequence[Compared], labels: Sequence[str]) -> pl.DataFrame:
    """D and pull for every family, target set and emotion, with jackknife intervals of each cell: table ``matrix``.

    Rows with a null ``draw`` are means over the draws of a control. ``n`` is in items, ``baseline`` and ``accuracy`` in
    %, change and pull in points; q values are Benjamini and Hochberg's over the cells of the family's matrix.
    """
    rows: list[dict[str, Any]] = []
    for case in compared:
        cells = _cells(case, labels)
        for name in ("change", "pull"):
            for cell, q in zip(cells, benjamini_hochberg([cell[f"{name}_p"] for cell in cells]), strict=True):
                cell[f"{name}_q"] = q
        rows += cells
    return as_table("matrix", rows)


def effects(compared: Sequence[Compared]) -> pl.DataFrame:
    """Every measure of every family with its jackknife interval, and the excess over matched controls: ``effects``.

    The excess measures (``excess_gap``, ``excess_pull_gap`` and so on) are the target set's change minus the mean change
    over the matched draws, item by item, so that their interval is that of the paired difference. Rows with a null
    ``draw`` are means over the draws of a control, with the smallest and the largest in ``draw_min`` and ``draw_max``.
    """
    rows: list[dict[str, Any]] = []
    for case in compared:
        rows += _effect_rows(case.family, case.change, case.draws, "", _ranks(case))
        if case.excess is not None:
            each = [case.excess.own.minus(draw) for draw in case.excess.matched]
            rows += _effect_rows(case.family, case.excess.beyond, each, "excess_", {})
    return as_table("effects", rows)


def _effect_rows(
    family: Family, change: Change, draws: Sequence[Change], prefix: str, ranks: Mapping[str, tuple[int, int]]
) -> list[dict[str, Any]]:
    single = [measures(draw) for draw in draws] if len(draws) > 1 else []
    rows = []
    for name, found in measures(change).items():
        over = [float(draw[name].values[0]) for draw in single]
        place, combinations = ranks.get(name, (None, None))
        row = family | found.columns() | {"measure": prefix + name, "unit": unit(name), "targets": len(change.targets)}
        row |= {"draws": len(draws), "draw_min": min(over, default=None), "draw_max": max(over, default=None)}
        rows.append(row | {"rank": place, "combinations": combinations})
    return rows


def _ranks(case: Compared) -> dict[str, tuple[int, int]]:
    if case.excess is None:
        return {}
    kind, found = case.family["kind"], {}
    own, controls = _terms(case.excess.own), [_terms(draw) for draw in case.excess.matched]
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


def _cells(case: Compared, labels: Sequence[str]) -> list[dict[str, Any]]:
    change, rows = case.change, []
    accuracy, pull = change.accuracy(), change.pull()
    for e, emotion in enumerate(labels):
        items = change.items[:, e]
        if not items.sum():
            continue
        before = 100 * float(change.baseline[:, e].sum() / items.sum())
        for m, target in enumerate(case.targets):
            row = case.family | {"target": target, "emotion": emotion, "n": int(items.sum()), "baseline": before}
            row |= {"draws": len(case.draws), "unreliable": change.unreliable}
            for name, values in (("change", accuracy), ("pull", pull)):
                row |= change.estimate(values[:, m, e], items).named(name)
            row["accuracy"] = before + float(row["change"] or 0)
            rows.append(row)
    return rows


def evidence(compared: Sequence[Compared]) -> pl.DataFrame:
    """Sensitivity and bias of every family and target emotion, with jackknife intervals: table ``evidence``.

    The columns auc (the baseline's) and sensitivity are in AUC points (100 x AUC), bias in nat, ``n`` in items. Excess
    columns are the target set's change minus the mean of matched draws.
    """
    rows: list[dict[str, Any]] = []
    for case in compared:
        for m, target in enumerate(case.targets):
            row = case.family | {"target": target, "draws": len(case.draws), "n": int(case.change.ranked[:, m].sum())}
            found = [("", case.change, m)]
            if case.excess is not None and target in case.excess.targets:
                found.append(("excess_", case.excess.beyond, case.excess.targets.index(target)))
            for prefix, change, place in found:
                for name, values in (("sensitivity", change.auc), ("bias", change.bias())):
                    row |= change.estimate(values[:, place], change.ranked[:, place]).named(prefix + name)
            rows.append(row | {"auc": finite(case.change.baseline_auc[m])})
    return as_table("evidence", rows)


NO_SENSITIVITY, NO_BIAS = 2.0, 0.1
"""Changes within these limits (AUC points, nat) are small: both ends of an interval must lie within."""


def verdict(sensitivity: tuple[float, float], bias: tuple[float, float]) -> tuple[str, str | None]:
    """The verdict from the 95 % intervals of the excess sensitivity (AUC points) and the excess bias (nat).

    * evidence falls: the sensitivity interval lies below 0;
    * the answer moves: the bias interval excludes 0;
    * both: the two together; "removes evidence": only the first;
    * "pulls the answer": only the second, and the sensitivity interval lies within +-2 AUC points;
    * "neither": neither of the two, and both intervals lie within +-2 AUC points and +-0.1 nat;
    * else "undecided", beside which stands which interval is too wide.

    Example:
        >>> verdict((-9.0, -3.0), (-0.2, 0.3)), verdict((-1.0, 0.5), (-0.9, -0.4))
        (('removes evidence', None), ('pulls the answer', None))
        >>> verdict((-3.0, 0.5), (-0.9, -0.4))
        ('undecided', 'the sensitivity interval is not within ±2 AUC points')
    """
    falls, moves = sensitivity[1] < 0, bias[0] > 0 or bias[1] < 0
    if falls:
        return ("both" if moves else "removes evidence"), None
    no_loss = max(map(abs, sensitivity)) <= NO_SENSITIVITY
    no_pull = max(map(abs, bias)) <= NO_BIAS
    if moves and no_loss:
        return "pulls the answer", None
    if no_loss and no_pull:
        return "neither", None
    wide = [] if no_loss else [f"the sensitivity interval is not within ±{NO_SENSITIVITY:g} AUC points"]
    wide += [] if no_pull or moves else [f"the bias interval is not within ±{NO_BIAS:g} nat"]
    return "undecided", "; ".join(wide)


def verdicts(compared: Sequence[Compared], unknown_speakers: int) -> pl.DataFrame:
    """One verdict for each family of target sets that has matched controls and acts at all positions: ``verdicts``.

    Where speakers of some items are unknown, recordings stand in for them and no verdict is given. Sensitivity (AUC
    points) and bias (nat) are means over the emotions.
    """
    rows: list[dict[str, Any]] = []
    for case in compared:
        if case.excess is None or case.family["positions"] != "all":
            continue
        found = measures(case.excess.beyond)
        decided, reason = _decide(found["sensitivity"], found["bias"], unknown_speakers)
        row = case.family | found["sensitivity"].columns()
        row |= {"verdict": decided, "reason": reason, "headline": case.headline}
        rows.append(row | found["sensitivity"].named("excess_sensitivity") | found["bias"].named("excess_bias"))
    return as_table("verdicts", rows)


def _decide(sensitivity: Estimate, bias: Estimate, unknown: int) -> tuple[str | None, str | None]:
    if sensitivity.unreliable:
        return None, TOO_UNRELIABLE
    if unknown:
        return None, "speakers are unknown"
    first, second = sensitivity.interval(), bias.interval()
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return None, first.reason or second.reason
    return verdict((first.low, first.high), (second.low, second.high))


MEASURED = {"deactivate": ("self", "cross", "gap"), "steer": ("pull", "pull_cross", "pull_gap")}
"""The measures that are looked at on parts of the items, for each kind of intervention."""

ALIKE = ("kind", "selector", "budget", "scope", "to", "alpha", "positions", "layers")
"""What a headline's condition and its controls have in common."""

Key = tuple[str, str, str]  # kind, control, measure

Group = TypeVar("Group", bound=Hashable)


def headline_conditions(conditions: pl.DataFrame) -> pl.DataFrame:
    """The declared conditions and their controls, so that the other families are not computed for each part."""
    declared = conditions.filter(pl.col("headline").fill_null(False))
    return conditions.join(declared, on=ALIKE, how="semi", nulls_equal=True, maintain_order="left")


def by_groups(
    part: Part, groups: Mapping[Group, np.ndarray], own_emotions: bool = False
) -> dict[Group, dict[Key, Estimate]]:
    """What the headline's sets and their matched controls change on groups of the items.

    The speakers stay the same ones, so that values of different groups can be subtracted speaker by speaker. Answers by
    likelihood count.

    Args:
        groups: name to which items to count, dimension (item).
        own_emotions: whether only sets of emotions that a group holds count there; otherwise effects of a group that
            lacks an emotion are not defined.

    Returns:
        name to (kind, control, measure) to points; measures that begin with ``excess_`` are those beyond matched draws.
    """
    responses, conditions = part.responses, headline_conditions(part.run.conditions)
    kept = conditions.filter(pl.col("control").fill_null("target").is_in(["target", "matched"]))
    found: dict[Group, dict[Key, Estimate]] = {}
    for name, used in groups.items():
        # of the log-odds nothing is measured here, and the areas under curves would take most of the time
        none = np.broadcast_to(np.nan, responses.log_odds.shape)
        asked = replace(responses, answers=np.where(used, responses.answers, NOT_ASKED), log_odds=none)
        there = [responses.labels[code] for code in set(responses.truth[used].tolist())]
        found[name] = {}
        counted = kept.filter(pl.col("target").is_in(there)) if own_emotions else kept
        for case in compare(asked, counted, part.unreliable):
            kind, control = case.family["kind"], case.family["control"]
            changes = [("", case.change)] if control == "target" or case.family["draw"] is None else []
            changes += [("excess_", case.excess.beyond)] if case.excess is not None else []
            for prefix, change in changes:
                every = measures(change)
                found[name] |= {(kind, control, prefix + measure): every[measure] for measure in MEASURED[kind]}
    return found
