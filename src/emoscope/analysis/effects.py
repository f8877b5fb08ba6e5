"""Effects of conditions: what a set found for one emotion does to the answers about every emotion, on all items or some."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import polars as pl

from emoscope.analysis.claim_rules import AT_CHANCE, TOO_UNRELIABLE
from emoscope.analysis.contrasts import Change, Compared, Family, compare, measures, shared
from emoscope.analysis.declared import Beyond, Test
from emoscope.analysis.estimate import Estimate, benjamini_hochberg, finite, rank, ratio, replicates, unit
from emoscope.analysis.headline import independent_units
from emoscope.analysis.pairs import Clips
from emoscope.analysis.parts import Part
from emoscope.analysis.responses import NOT_ASKED, log_odds
from emoscope.analysis.standing import at_chance
from emoscope.schemas import as_table
from emoscope.vocabulary import MINIMUM_SPEAKERS

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


NO_EVIDENCE, NO_BIAS = 2.0, 0.1
"""Changes within these limits (AUC points, nat) are small: both ends of an interval must lie within."""

FEWEST_DRAWS = 2  # one control set does not say how much sets differ


def verdict(evidence: tuple[float, float], bias: tuple[float, float]) -> tuple[str, str | None]:
    """The verdict from the 95 % intervals of evidence (AUC points) and bias (nat), both beyond matched controls.

    * "removes evidence", "adds evidence": the interval of evidence lies below, above 0;
    * the answer moves: the bias interval excludes 0;
    * "... and pulls the answer": the two together;
    * "pulls the answer": only the second, and the interval of evidence lies within +-2 AUC points;
    * "neither": neither of the two, and both intervals lie within +-2 AUC points and +-0.1 nat;
    * else "undecided", beside which stands which interval is too wide.

    Example:
        >>> verdict((-9.0, -3.0), (-0.2, 0.3)), verdict((0.4, 1.2), (0.06, 0.08)), verdict((-1.0, 0.5), (-0.9, -0.4))
        (('removes evidence', None), ('adds evidence and pulls the answer', None), ('pulls the answer', None))
        >>> verdict((-3.0, 0.5), (-0.9, -0.4))
        ('undecided', 'the interval of evidence is not within ±2 AUC points')
    """
    moves = bias[0] > 0 or bias[1] < 0
    if evidence[1] < 0 or evidence[0] > 0:
        said = "removes evidence" if evidence[1] < 0 else "adds evidence"
        return (f"{said} and pulls the answer" if moves else said), None
    kept = max(map(abs, evidence)) <= NO_EVIDENCE
    still = max(map(abs, bias)) <= NO_BIAS
    if moves and kept:
        return "pulls the answer", None
    if kept and still:
        return "neither", None
    wide = [] if kept else [f"the interval of evidence is not within ±{NO_EVIDENCE:g} AUC points"]
    wide += [] if still or moves else [f"the bias interval is not within ±{NO_BIAS:g} nat"]
    return "undecided", "; ".join(wide)


def heard_and_leant(
    clips: Clips, own: np.ndarray, draws: Sequence[np.ndarray], targets: Sequence[int]
) -> tuple[Test, Test] | str:
    """What a verdict rests on, beyond control sets and with their spread in the errors; or why there is none.

    Evidence is the mean over targets and their testable pairs of the within-speaker AUC of the target against the other
    emotion, in AUC points: no shift of a speaker's answers moves it. Bias is the mean over targets of the log-odds of
    the target on clips of other emotions, in nat. The untouched model's are in both terms of the difference and cancel.

    Args:
        own: log-probabilities among the options under the target sets, dimensions (target, item, option).
        draws: the same under every control draw.
        targets: codes of the emotions that have sets.
    """
    pairs = clips.testable[list(targets)]
    there = np.flatnonzero(pairs.any(axis=1)).tolist()
    if clips.units < MINIMUM_SPEAKERS:
        few = f"only {clips.units} speaker{'s' if clips.units != 1 else ''}"
        return f"{few}: an interval needs at least {MINIMUM_SPEAKERS}"
    if len(draws) < FEWEST_DRAWS:
        return "one draw of matched neurons does not say how much sets differ"
    if not there:
        return f"fewer than {MINIMUM_SPEAKERS} speakers have clips of an emotion with a set and of another one"

    every = np.stack([own, *draws])  # (set, target, item, option)
    found = clips.aucs(every.reshape(-1, *every.shape[2:])).reshape(-1, *every.shape[:2], clips.options, clips.options)
    areas = [found[:, :, place, targets[place], pairs[place]].mean(axis=2) for place in there]
    leans = []
    for place, target in enumerate(targets):
        others = clips.truth != target
        lean = log_odds(every[:, place][:, others])[..., target]
        sums = np.stack([np.bincount(clips.unit[others], each, clips.units) for each in lean], axis=1)
        leans.append(
            ratio(replicates(sums), replicates(np.bincount(clips.unit[others], minlength=clips.units))[:, None])
        )
    first, second = (
        Beyond(each[:, :1], np.moveaxis(each[:, 1:], 1, 0)[..., None], clips.sizes).test(name)
        for name, each in (("evidence", np.mean(areas, axis=0)), ("bias", np.mean(leans, axis=0)))
    )
    return first, second


def verdicts(part: Part) -> pl.DataFrame:
    """One verdict for each family of target sets that has matched controls and acts at all positions: ``verdicts``.

    None is given where speakers of some items are unknown, since recordings stand in for them, and where the untouched
    model is at chance. Evidence (AUC points) and bias (nat) are means over the emotions.
    """
    cases = [case for case in part.compared if case.excess is not None and case.family["positions"] == "all"]
    rows: list[dict[str, Any]] = []
    with np.errstate(invalid="ignore"):  # options that are not offered
        logp = -np.logaddexp(0, -part.responses.log_odds)  # among the item's options
    for case in cases:
        rests = _rests_on(part, case, logp)
        row = case.family | {
            "headline": case.headline,
            "unreliable": case.excess is not None and case.excess.beyond.unreliable,
        }
        row |= dict(zip(("verdict", "reason"), _decide(part, bool(row["unreliable"]), rests), strict=True))
        if not isinstance(rests, str):
            for name, test in zip(("excess_evidence", "excess_bias"), rests, strict=True):
                row |= {name: test.estimate, f"{name}_low": test.low, f"{name}_high": test.high}
            row["speakers"] = rests[0].units
        rows.append(row)
    return as_table("verdicts", rows)


def _rests_on(part: Part, case: Compared, logp: np.ndarray) -> tuple[Test, Test] | str:
    responses, excess = part.responses, case.excess
    assert excess is not None
    every = (case.conditions[0], *excess.conditions)
    _, used = shared(responses, every)
    rows = [[responses.rows[draw[name]] for name in excess.targets] for draw in every]
    for row in {row for each in rows for row in each}:
        used = used & np.isfinite(logp[row]).all(axis=1)
    if not used.any():
        return "no item was answered under all conditions with every option"
    units, _ = independent_units(part.run, responses)
    who, unit = (np.unique(codes[used], return_inverse=True)[1] for codes in (responses.speaker, units))
    clips = Clips(responses.truth[used], who, unit, len(responses.labels))
    own, *draws = (np.stack([logp[row][used] for row in each]) for each in rows)
    return heard_and_leant(clips, own, draws, [responses.labels.index(name) for name in excess.targets])


def _decide(part: Part, unreliable: bool, rests: tuple[Test, Test] | str) -> tuple[str | None, str | None]:
    if unreliable:
        return None, TOO_UNRELIABLE
    if part.responses.unknown_speakers:
        return None, "speakers are unknown"
    if isinstance(rests, str):
        return None, rests
    if at_chance(part.uar()):
        return None, AT_CHANCE
    return verdict(*((float(test.low or 0), float(test.high or 0)) for test in rests))


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
