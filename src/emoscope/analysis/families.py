"""Families of conditions, one set per emotion under one intervention, compared with baseline and controls."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.changes import Change, Changes
from emoscope.analysis.panel import Panel
from emoscope.schemas import group as columns_of

FAMILY = tuple(name for name in columns_of("family") if name != "role")
"""The columns that, together, name one set per emotion under one intervention.

``size`` counts the clips per emotion of sets from fewer clips (control "fewer"), and is null for all others.
"""

Family = dict[str, Any]
Conditions = dict[str, str]  # target emotion -> condition id


@dataclass(frozen=True)
class Excess:
    """A target family's change beyond its matched controls, on the items asked under all of them.

    Attributes:
        targets: the emotions that the sets and every draw have.
        own: the change under the target sets.
        matched: the change under each matched draw.
        beyond: ``own`` minus the mean of ``matched``.
        hollow: whether any of these conditions, or the baseline, is hollow.
    """

    targets: tuple[str, ...]
    own: Change
    matched: tuple[Change, ...]
    beyond: Change
    hollow: bool


@dataclass(frozen=True)
class Compared:
    """A family and what it changes.

    Attributes:
        family: the values of :data:`FAMILY`, and its role; a null draw means all draws of a control.
        conditions: target emotion to condition id, for each draw.
        targets: the emotions that every draw has.
        draws: the change under each draw.
        change: their mean.
        excess: the change beyond matched controls; ``None`` where there are none.
        hollow: whether any of the conditions, or the baseline, is hollow.
        headline: whether the study declares these conditions as its headline.
    """

    family: Family
    conditions: tuple[Conditions, ...]
    targets: tuple[str, ...]
    draws: tuple[Change, ...]
    change: Change
    excess: Excess | None
    hollow: bool
    headline: bool


def compare(panel: Panel, conditions: pl.DataFrame, hollow: Set[str] = frozenset()) -> list[Compared]:
    """Compare every family with the baseline, and target sets also with their matched controls.

    Args:
        panel: the stored answers by likelihood.
        conditions: the table of conditions.
        hollow: conditions whose answers support no claim.

    Returns:
        families in the order of their conditions' names, then the means over the draws of each control; those
        without an item that was answered under all their conditions are left out.
    """
    if "baseline" not in panel.rows:
        return []
    grouped = families(panel, conditions)
    by_key, changes = draws_by_family(grouped), Changes(panel)
    declared = set(conditions.filter(pl.col("headline").fill_null(False))["condition"])
    found = []
    for family, draws in with_means(grouped):
        targets, used = shared(panel, draws)
        if not targets or not used.any():
            continue
        each = tuple(changes.count(draw, targets, used) for draw in draws)
        matched = (
            by_key.get(same_but_draw(family | {"control": "matched"}), []) if family["control"] == "target" else []
        )
        found.append(
            Compared(
                family=family,
                conditions=tuple(draws),
                targets=targets,
                draws=each,
                change=mean(each),
                excess=_excess(changes, draws[0], matched, hollow),
                hollow=_any_hollow(draws, hollow),
                headline=family["control"] == "target" and any(c in declared for c in draws[0].values()),
            )
        )
    return found


def families(panel: Panel, conditions: pl.DataFrame) -> list[tuple[Family, Conditions]]:
    """Group the answered conditions into families: one condition per target emotion, else alike."""
    options = conditions.filter(pl.col("target").is_in(list(panel.labels)))
    return group(options.filter(pl.col("condition").is_in(list(panel.rows))))


def group(conditions: pl.DataFrame) -> list[tuple[Family, Conditions]]:
    """Group conditions into families, whether or not their targets are options of the question."""
    frame = conditions.filter(pl.col("kind").is_in(["deactivate", "steer"])).with_columns(
        pl.col("control").fill_null("target"),
        pl.col("positions").fill_null("all"),
        pl.col("layers").fill_null("all"),
    )
    found: dict[tuple[Any, ...], Conditions] = {}
    for row in frame.sort("condition").iter_rows(named=True):
        found.setdefault(tuple(row[name] for name in FAMILY), {})[row["target"]] = row["condition"]
    roles = dict(frame.select("condition", "role").iter_rows())
    return [
        (dict(zip(FAMILY, key, strict=True)) | {"role": roles[next(iter(members.values()))]}, members)
        for key, members in found.items()
    ]


def shared(panel: Panel, draws: Sequence[Conditions]) -> tuple[tuple[str, ...], np.ndarray]:
    """The target emotions that all draws have, and the items answered at baseline and under all conditions."""
    used = panel.asked("baseline")
    for draw in draws:
        for condition in draw.values():
            used = used & panel.asked(condition)
    return tuple(label for label in panel.labels if all(label in draw for draw in draws)), used


def mean(changes: Sequence[Change]) -> Change:
    """The mean of changes on the same items and targets."""
    return changes[0].mean(changes[1:]) if len(changes) > 1 else changes[0]


def _excess(changes: Changes, own: Conditions, matched: Sequence[Conditions], hollow: Set[str]) -> Excess | None:
    both = [own, *matched]
    targets, used = shared(changes.panel, both)
    if not matched or not targets or not used.any():
        return None
    change, *controls = (changes.count(one, targets, used) for one in both)
    beyond = change.minus(mean(controls))
    return Excess(targets, change, tuple(controls), beyond, _any_hollow(both, hollow))


def _any_hollow(draws: Sequence[Conditions], hollow: Set[str]) -> bool:
    return "baseline" in hollow or any(condition in hollow for draw in draws for condition in draw.values())


def same_but_draw(family: Family) -> tuple[Any, ...]:
    """What the draws of one control have in common."""
    return tuple(family[name] for name in FAMILY if name != "draw")


def draws_by_family(grouped: Sequence[tuple[Family, Conditions]]) -> dict[tuple[Any, ...], list[Conditions]]:
    """All draws of each control together."""
    found: dict[tuple[Any, ...], list[Conditions]] = {}
    for family, members in grouped:
        found.setdefault(same_but_draw(family), []).append(members)
    return found


def with_means(grouped: Sequence[tuple[Family, Conditions]]) -> list[tuple[Family, list[Conditions]]]:
    """Every family by itself, then the controls' draws together, marked by a null draw."""
    single = [(family, [members]) for family, members in grouped]
    alike = {same_but_draw(family): family | {"draw": None} for family, _ in grouped}
    together = [(alike[key], draws) for key, draws in draws_by_family(grouped).items()]
    return single + [(family, draws) for family, draws in together if family["control"] != "target"]
