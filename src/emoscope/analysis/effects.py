"""Effects of conditions: what a set found for one emotion does to the answers about every emotion.

D[m, e] is the accuracy on items of e under the set of m, minus the baseline's, in points; pull[m, e] is
the change, in points, of the share of items of e answered m. Both are differences of counts per speaker,
so controls are subtracted from them item by item and every replicate of the jackknife is a subtraction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.jackknife import Interval, interval, replicates
from emoscope.analysis.panel import Panel

FAMILY = ("kind", "selector", "budget", "scope", "to", "control", "draw", "alpha", "positions", "layers")
"""The columns that, together, name one set per emotion under one intervention."""

FAMILY_TYPES: dict[str, Any] = {
    "kind": pl.String, "selector": pl.String, "budget": pl.Float64, "scope": pl.String, "to": pl.String,
    "control": pl.String, "draw": pl.Int64, "alpha": pl.Float64, "positions": pl.String, "layers": pl.String,
}  # fmt: skip
MATRIX: dict[str, Any] = FAMILY_TYPES | {
    "target": pl.String, "emotion": pl.String, "n": pl.Int64, "baseline": pl.Float64, "accuracy": pl.Float64,
    "change": pl.Float64, "change_low": pl.Float64, "change_high": pl.Float64, "pull": pl.Float64,
    "pull_low": pl.Float64, "pull_high": pl.Float64, "draws": pl.Int64, "change_p": pl.Float64,
    "change_q": pl.Float64, "pull_p": pl.Float64, "pull_q": pl.Float64, "hollow": pl.Boolean,
}  # fmt: skip
EFFECTS: dict[str, Any] = FAMILY_TYPES | {
    "measure": pl.String, "estimate": pl.Float64, "low": pl.Float64, "high": pl.Float64, "speakers": pl.Int64,
    "df": pl.Float64, "n": pl.Int64, "targets": pl.Int64, "draws": pl.Int64, "draw_min": pl.Float64,
    "draw_max": pl.Float64, "reason": pl.String, "unit": pl.String, "p": pl.Float64, "rank": pl.Int64,
    "combinations": pl.Int64, "hollow": pl.Boolean,
}  # fmt: skip

Family = dict[str, Any]
Conditions = dict[str, str]  # target emotion -> condition id


@dataclass(frozen=True)
class Change:
    """Changes against the baseline, as counts per speaker.

    Attributes:
        targets: the emotions whose sets were used, codes into the panel's labels; dimension (target).
        correct: items answered correctly more often than at baseline, dimensions (speaker, target, label).
        said: items answered with the target more often than at baseline, dimensions (speaker, target, label).
        items: items asked, dimensions (speaker, label).
        baseline: items answered correctly at baseline, dimensions (speaker, label).
    """

    targets: tuple[int, ...]
    correct: np.ndarray
    said: np.ndarray
    items: np.ndarray
    baseline: np.ndarray

    def accuracy(self) -> np.ndarray:
        """D in points, dimensions (1 + speaker, target, label): all speakers, then without each."""
        return _points(self.correct, self.items)

    def pull(self) -> np.ndarray:
        """Pull in points, dimensions (1 + speaker, target, label): all speakers, then without each."""
        return _points(self.said, self.items)

    def minus(self, other: Change) -> Change:
        """The change beyond another one on the same items, such as a control's."""
        return Change(self.targets, self.correct - other.correct, self.said - other.said, self.items, self.baseline)


def change(panel: Panel, conditions: Mapping[str, str], targets: Sequence[str], used: np.ndarray) -> Change:
    """Count, per speaker, how answers change under one condition per target emotion.

    Args:
        panel: the stored answers.
        conditions: target emotion to condition id.
        targets: the emotions to look at, in order.
        used: which items to count, dimension (item).
    """
    before = panel.answer("baseline")
    right = (before == panel.truth) & used
    correct, said = [], []
    for target in targets:
        code, after = panel.labels.index(target), panel.answer(conditions[target])
        correct.append(panel.per_speaker(((after == panel.truth) & used).astype(float) - right))
        said.append(panel.per_speaker(((after == code) & used).astype(float) - ((before == code) & used)))
    return Change(
        targets=tuple(panel.labels.index(target) for target in targets),
        correct=np.stack(correct, axis=1),
        said=np.stack(said, axis=1),
        items=panel.per_speaker(used.astype(float)),
        baseline=panel.per_speaker(right.astype(float)),
    )


def mean_change(changes: Sequence[Change]) -> Change:
    """The mean of changes counted on the same items and targets, such as those of several control draws."""
    first = changes[0]
    return Change(
        first.targets,
        np.mean([one.correct for one in changes], axis=0),
        np.mean([one.said for one in changes], axis=0),
        first.items,
        first.baseline,
    )


def measures(changed: Change) -> dict[str, np.ndarray]:
    """Reduce the matrices to the named effects, in points, each of dimension (1 + speaker).

    ``self`` is the mean of D's diagonal, ``cross`` the mean off it and ``gap`` their difference, which does
    not move when all effects of one set, or all effects on one emotion, move alike. For that, only the
    emotions that have a set enter. ``pull``, ``pull_cross`` and ``pull_gap`` are the same of the pull
    matrix; on the diagonal both matrices are equal, so ``pull`` is ``self`` under another name and
    ``pull_cross`` says how much items of *other* emotions are pulled. ``uar_change`` and ``pull_overall``
    average D and pull over all labels, then over the targets.
    """
    accuracy, pull = changed.accuracy(), changed.pull()
    heard = changed.items.sum(axis=0) > 0
    found = {
        "uar_change": accuracy[:, :, heard].mean(axis=(1, 2)),
        "pull_overall": pull[:, :, heard].mean(axis=(1, 2)),
    }
    for names, matrix in ((("self", "cross", "gap"), accuracy), (("pull", "pull_cross", "pull_gap"), pull)):
        square = matrix[:, :, list(changed.targets)]
        size = len(changed.targets)
        own = np.einsum("rmm->r", square) / size
        others = (square.sum(axis=(1, 2)) - own * size) / (size * (size - 1)) if size > 1 else np.full_like(own, np.nan)
        found |= dict(zip(names, (own, others, own - others), strict=True))
    return found


def families(panel: Panel, conditions: pl.DataFrame) -> list[tuple[Family, Conditions]]:
    """Group the answered conditions into families: one condition per target emotion, else alike."""
    frame = conditions.filter(
        pl.col("kind").is_in(["deactivate", "steer"])
        & pl.col("target").is_in(list(panel.labels))
        & pl.col("condition").is_in(list(panel.rows))
    ).with_columns(
        pl.col("control").fill_null("target"),
        pl.col("positions").fill_null("all"),
        pl.col("layers").fill_null("all"),
    )
    grouped: dict[tuple[Any, ...], Conditions] = {}
    for row in frame.sort("condition").iter_rows(named=True):
        grouped.setdefault(tuple(row[name] for name in FAMILY), {})[row["target"]] = row["condition"]
    return [(dict(zip(FAMILY, key, strict=True)), members) for key, members in grouped.items()]


def matrix(panel: Panel, conditions: pl.DataFrame) -> pl.DataFrame:
    """D and pull for every family, target set and emotion, with jackknife intervals of each cell.

    Rows with a null ``draw`` are means over the draws of a control.

    Args:
        panel: the stored answers.
        conditions: the table of conditions.

    Returns:
        the columns of :data:`MATRIX`; ``n`` in items, ``baseline`` and ``accuracy`` in %, the others in points.
    """
    rows: list[dict[str, Any]] = []
    for family, draws in _with_means(families(panel, conditions)):
        targets = _shared_targets(panel, draws)
        used = _used(panel, draws)
        if not targets or not used.any():
            continue
        changed = mean_change([change(panel, draw, targets, used) for draw in draws])
        rows += _cells(panel, family, targets, changed, len(draws))
    return _sorted(rows, MATRIX, (*FAMILY, "target", "emotion"))


def effects(panel: Panel, conditions: pl.DataFrame) -> pl.DataFrame:
    """Every measure of every family with its jackknife interval, and the target's excess over matched controls.

    The excess measures (``excess_gap``, ``excess_pull_gap`` and so on) are the target set's change minus
    the mean change over the matched draws, item by item, so that their interval is that of the paired
    difference. They exist where a family has matched controls.

    Args:
        panel: the stored answers.
        conditions: the table of conditions.

    Returns:
        the columns of :data:`EFFECTS`, estimates in points. Rows with a null ``draw`` are means over the draws
        of a control, with the smallest and the largest draw in ``draw_min`` and ``draw_max``.
    """
    grouped = families(panel, conditions)
    by_key = _draws_by_family(grouped)
    rows: list[dict[str, Any]] = []
    for family, draws in _with_means(grouped):
        targets, used = _shared_targets(panel, draws), _used(panel, draws)
        if targets and used.any():
            each = [change(panel, draw, targets, used) for draw in draws]
            rows += _effect_rows(family, mean_change(each), each, prefix="")
        matched = by_key.get(_key(family | {"control": "matched"}), []) if family["control"] == "target" else []
        if matched:
            both = [*draws, *matched]
            targets, used = _shared_targets(panel, both), _used(panel, both)
            if targets and used.any():
                own = change(panel, draws[0], targets, used)
                each = [own.minus(change(panel, draw, targets, used)) for draw in matched]
                rows += _effect_rows(family, mean_change(each), each, prefix="excess_")
    return _sorted(rows, EFFECTS, (*FAMILY, "measure"))


def _points(counts: np.ndarray, items: np.ndarray) -> np.ndarray:
    asked = replicates(items)[:, np.newaxis, :]
    return np.divide(
        100 * replicates(counts), asked, out=np.full((len(items) + 1, *counts.shape[1:]), np.nan), where=asked > 0
    )


def _key(family: Family) -> tuple[Any, ...]:
    return tuple(family[name] for name in FAMILY if name != "draw")


def _draws_by_family(grouped: Sequence[tuple[Family, Conditions]]) -> dict[tuple[Any, ...], list[Conditions]]:
    found: dict[tuple[Any, ...], list[Conditions]] = {}
    for family, members in grouped:
        found.setdefault(_key(family), []).append(members)
    return found


def _with_means(grouped: Sequence[tuple[Family, Conditions]]) -> list[tuple[Family, list[Conditions]]]:
    """Every family by itself, then the controls' draws together, marked by a null draw."""
    single = [(family, [members]) for family, members in grouped]
    together = [
        (dict(zip([name for name in FAMILY if name != "draw"], key, strict=True)) | {"draw": None}, draws)
        for key, draws in _draws_by_family(grouped).items()
    ]
    return single + [(family, draws) for family, draws in together if family["control"] != "target"]


def _shared_targets(panel: Panel, draws: Sequence[Conditions]) -> tuple[str, ...]:
    return tuple(label for label in panel.labels if all(label in draw for draw in draws))


def _used(panel: Panel, draws: Sequence[Conditions]) -> np.ndarray:
    """Items answered at baseline and under all these conditions."""
    used = panel.asked("baseline")
    for draw in draws:
        for condition in draw.values():
            used = used & panel.asked(condition)
    return used


def _effect_rows(family: Family, changed: Change, draws: Sequence[Change], prefix: str) -> list[dict[str, Any]]:
    sizes = changed.items.sum(axis=1)
    single = [measures(one) for one in draws] if len(draws) > 1 else []
    rows = []
    for name, values in measures(changed).items():
        found = interval(values, sizes)
        over = [float(one[name][0]) for one in single]
        rows.append(
            family
            | {"measure": prefix + name, "n": int(sizes.sum()), "targets": len(changed.targets), "draws": len(draws)}
            | {"draw_min": min(over, default=None), "draw_max": max(over, default=None)}
            | _columns(found)
        )
    return rows


def _columns(found: Interval) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("estimate", "low", "high", "speakers", "df", "reason")}


def _cells(panel: Panel, family: Family, targets: Sequence[str], changed: Change, draws: int) -> list[dict[str, Any]]:
    accuracy, pull = changed.accuracy(), changed.pull()
    rows = []
    for e, emotion in enumerate(panel.labels):
        items = changed.items[:, e]
        if not items.sum():
            continue
        before = 100 * float(changed.baseline[:, e].sum() / items.sum())
        for m, target in enumerate(targets):
            moved, pulled = interval(accuracy[:, m, e], items), interval(pull[:, m, e], items)
            rows.append(
                family
                | {"target": target, "emotion": emotion, "n": int(items.sum()), "baseline": before, "draws": draws}
                | {"accuracy": before + float(moved.estimate or 0), "change": moved.estimate, "pull": pulled.estimate}
                | {"change_low": moved.low, "change_high": moved.high, "pull_low": pulled.low, "pull_high": pulled.high}
            )
    return rows


def _sorted(rows: Sequence[dict[str, Any]], schema: Mapping[str, Any], by: Sequence[str]) -> pl.DataFrame:
    frame = pl.DataFrame(rows, schema=dict(schema), orient="row") if rows else pl.DataFrame(schema=dict(schema))
    return frame.sort(list(by), nulls_last=False)
