"""What interventions change, as sums per speaker, compared with the baseline and with controls.

D[m, e] is the accuracy on items of e under the set of m, minus the baseline's, in points; pull[m, e] is the change, in
points, of the share of items of e answered m. Sensitivity is the change of how well the log-odds of m tell items of m
from the others (the area under the ROC curve), bias the mean change of these log-odds over items of the other emotions.
All are kept so that controls are subtracted on the same items and every replicate of the jackknife is a subtraction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.estimate import Estimate, ratio, replicates
from emoscope.analysis.responses import Responses, answered
from emoscope.schemas import group as columns_of
from emoscope.vocabulary import GAPS


@dataclass(frozen=True)
class Change:
    """Changes against the baseline, for one set per target emotion."""

    targets: tuple[int, ...]  # the emotions whose sets were used, codes into the responses' labels; dimension (target)
    correct: np.ndarray  # items answered correctly more often than at baseline, dimensions (speaker, target, label)
    said: np.ndarray  # items answered with the target more often than at baseline, dimensions (speaker, target, label)
    items: np.ndarray  # items asked, dimensions (speaker, label)
    baseline: np.ndarray  # items answered correctly at baseline, dimensions (speaker, label)
    # change of the AUC in AUC points, all speakers, then without each; dimensions (1 + speaker, target)
    auc: np.ndarray
    lift: np.ndarray  # summed change of the log-odds of the target over items of other emotions, nat, (speaker, target)
    lifted: np.ndarray  # how many such items there are, dimensions (speaker, target)
    ranked: np.ndarray  # how many items have log-odds of the target, dimensions (speaker, target)
    baseline_auc: np.ndarray  # the baseline's AUC in AUC points, dimension (target)
    unreliable: bool  # whether the baseline or one of the conditions supports no claim
    speakers: tuple[str, ...]

    def accuracy(self) -> np.ndarray:
        """D in points, dimensions (1 + speaker, target, label): all speakers, then without each."""
        return ratio(replicates(100 * self.correct), replicates(self.items[:, np.newaxis, :]))

    def pull(self) -> np.ndarray:
        """Pull in points, dimensions (1 + speaker, target, label): all speakers, then without each."""
        return ratio(replicates(100 * self.said), replicates(self.items[:, np.newaxis, :]))

    def bias(self) -> np.ndarray:
        """Bias in nat, dimensions (1 + speaker, target): all speakers, then without each."""
        return ratio(replicates(self.lift), replicates(self.lifted))

    def minus(self, other: Change) -> Change:
        """The change beyond another one on the same items, such as a control's."""
        moved = {name: getattr(self, name) - getattr(other, name) for name in MOVED}
        return replace(self, **moved, unreliable=self.unreliable or other.unreliable)

    def estimate(self, values: np.ndarray, sizes: np.ndarray | None = None) -> Estimate:
        """An estimate from values over all speakers and without each; ``sizes`` counts all items if not given."""
        return Estimate(values, self.items.sum(axis=1) if sizes is None else sizes, self.unreliable, self.speakers)


MOVED = ("correct", "said", "auc", "lift")
"""What intervening moves: the fields of a change that are subtracted and averaged."""


def mean(changes: Sequence[Change]) -> Change:
    """The mean of changes on the same items and targets, such as those of control draws."""
    moved = {name: np.mean([getattr(change, name) for change in changes], axis=0) for name in MOVED}
    return replace(changes[0], **moved, unreliable=any(change.unreliable for change in changes))


class Changes:
    """The changes of the responses' conditions, some of them unreliable; what one condition changes is counted once."""

    def __init__(self, responses: Responses, unreliable: Set[str] = frozenset()) -> None:
        self.responses, self._unreliable = responses, unreliable
        self._known: dict[tuple[str, int, bytes], tuple[np.ndarray, ...]] = {}
        self._before: dict[tuple[int, bytes], np.ndarray] = {}  # the baseline's areas under the curve

    def count(self, conditions: Mapping[str, str], targets: Sequence[str], used: np.ndarray) -> Change:
        """Count how answers change under one condition per target emotion, on the items that are used, (item)."""
        responses, key = self.responses, used.tobytes()
        codes = tuple(responses.labels.index(target) for target in targets)
        pieces = []
        for code, target in zip(codes, targets, strict=True):
            name = (conditions[target], code, key)
            if name not in self._known:
                self._known[name] = self._count_one(conditions[target], code, used)
            pieces.append(self._known[name])
        correct, said, auc, before, lift, lifted, ranked = (
            np.stack(part, axis=1) for part in zip(*pieces, strict=True)
        )
        right = (responses.answer("baseline") == responses.truth) & used
        return Change(
            targets=codes, correct=correct, said=said, auc=auc - before, lift=lift, lifted=lifted, ranked=ranked,
            items=responses.per_speaker(used.astype(float)), baseline=responses.per_speaker(right.astype(float)),
            baseline_auc=before[0], unreliable=bool(self._unreliable & {"baseline", *conditions.values()}), speakers=responses.speakers,
        )  # fmt: skip

    def _count_one(self, condition: str, code: int, used: np.ndarray) -> tuple[np.ndarray, ...]:
        responses = self.responses
        before, after, speakers = responses.answer("baseline"), responses.answer(condition), len(responses.speakers)
        correct = responses.per_speaker(
            (((after == responses.truth) & used).astype(float)) - ((before == responses.truth) & used)
        )
        said = responses.per_speaker(((after == code) & used).astype(float) - ((before == code) & used))
        level, moved = (responses.log_odds[responses.rows[name], :, code] for name in ("baseline", condition))
        ranked = used & ~np.isnan(level) & ~np.isnan(moved)
        own, who = (responses.truth == code)[ranked], responses.speaker[ranked]
        key = code, ranked.tobytes()
        if key not in self._before:
            self._before[key] = 100 * auc(level[ranked], own, who, speakers)
        areas = 100 * auc(moved[ranked], own, who, speakers), self._before[key]
        lift = np.bincount(who[~own], (moved - level)[ranked][~own], speakers)
        lifted = np.bincount(who[~own], minlength=speakers).astype(float)
        return correct, said, *areas, lift, lifted, np.bincount(who, minlength=speakers).astype(float)


def auc(scores: np.ndarray, positive: np.ndarray, speaker: np.ndarray, speakers: int) -> np.ndarray:
    """The area under the ROC curve (Mann and Whitney 1947), with all speakers and without each.

    The share of pairs (a positive item of speaker g, a negative item of speaker h) in which the positive one scores
    higher, a tie counting one half. The won pairs form a matrix of speakers x speakers; without speaker g its row and
    its column are missing, so its row sums, column sums and diagonal are all it takes.

    Scores, which items are positive, and the numbers of their speakers are of dimension (item). The shares, between 0
    and 1, are of dimension (1 + speaker); NaN where no pair is left.

    Example:
        >>> auc(np.array([3.0, 1.0, 2.0, 1.0]), np.array([True, True, False, False]), np.array([0, 1, 0, 1]), 2)
        array([0.625, 0.5  , 1.   ])
    """
    who, others = speaker[positive], speaker[~positive]
    left, right = scores[positive][:, np.newaxis], scores[~positive]
    halves = (left > right).astype(np.int8) + (left >= right)
    rows, columns = halves.sum(axis=1), halves.sum(axis=0)
    own = np.where(who[:, np.newaxis] == others, halves, 0).sum(axis=1)
    gone = np.bincount(who, rows - own, speakers) + np.bincount(others, columns, speakers)
    won = np.concatenate([[rows.sum()], rows.sum() - gone]) / 2
    return ratio(
        won, replicates(np.bincount(who, minlength=speakers)) * replicates(np.bincount(others, minlength=speakers))
    )


FAMILY = tuple(name for name in columns_of("family") if name != "role")
"""The columns that, together, name one set per emotion under one intervention.

``size`` counts the clips per emotion of sets from fewer clips (control "fewer"), and is null for all others.
"""

Family = dict[str, Any]

Conditions = dict[str, str]  # target emotion -> condition id


@dataclass(frozen=True)
class Excess:
    """A target family's change beyond its matched controls, on the items asked under all of them."""

    targets: tuple[str, ...]  # the emotions that the sets and every draw have
    own: Change  # under the target sets
    matched: tuple[Change, ...]  # under each matched draw
    beyond: Change  # ``own`` minus the mean of ``matched``
    conditions: tuple[Conditions, ...]  # of every matched draw


@dataclass(frozen=True)
class Compared:
    """A family and what it changes."""

    family: Family  # the values of ``FAMILY``, and its role; a null draw means all draws of a control
    conditions: tuple[Conditions, ...]  # target emotion to condition id, for each draw
    targets: tuple[str, ...]  # the emotions that every draw has
    draws: tuple[Change, ...]  # the change under each draw
    change: Change  # their mean
    excess: Excess | None  # the change beyond matched controls; ``None`` where there are none
    headline: bool  # whether the study declares these conditions as its headline


def compare(responses: Responses, conditions: pl.DataFrame, unreliable: Set[str] = frozenset()) -> list[Compared]:
    """Compare every family with the baseline, and target sets also with their matched controls.

    Families come in the order of their conditions' names, then the means over the draws of each control; those without
    an item that was answered under all their conditions are left out.
    """
    if "baseline" not in responses.rows:
        return []
    changes = Changes(responses, unreliable)
    declared = set(conditions.filter(pl.col("headline").fill_null(False))["condition"])
    found = []
    for family, draws, matched in with_controls(families(responses, conditions)):
        targets, used = shared(responses, draws)
        if not targets or not used.any():
            continue
        each = tuple(changes.count(draw, targets, used) for draw in draws)
        declares = family["control"] == "target" and not declared.isdisjoint(draws[0].values())
        excess = _excess(changes, draws[0], matched)
        found.append(Compared(family, tuple(draws), targets, each, mean(each), excess, declares))
    return found


def families(responses: Responses, conditions: pl.DataFrame) -> list[tuple[Family, Conditions]]:
    """Group the answered conditions into families: one condition per target emotion, else alike."""
    options = conditions.filter(pl.col("target").is_in(list(responses.labels)))
    return group(options.filter(pl.col("condition").is_in(list(responses.rows))))


def group(conditions: pl.DataFrame) -> list[tuple[Family, Conditions]]:
    """Group conditions into families, whether or not their targets are options of the question."""
    frame = conditions.filter(pl.col("kind").is_in(["deactivate", "steer"])).with_columns(
        pl.col("control").fill_null("target"), pl.col("positions", "layers").fill_null("all")
    )
    found: dict[tuple[Any, ...], tuple[Family, Conditions]] = {}
    for *values, role, target, condition in (
        frame.sort("condition").select(*FAMILY, "role", "target", "condition").rows()
    ):
        family = dict(zip((*FAMILY, "role"), (*values, role), strict=True))
        found.setdefault(tuple(values), (family, {}))[1][target] = condition
    return list(found.values())


def shared(responses: Responses, draws: Sequence[Conditions]) -> tuple[tuple[str, ...], np.ndarray]:
    """The options that all draws target, and the items answered at baseline and under all conditions."""
    targets, used = answered(responses, draws)
    return tuple(label for label in responses.labels if label in targets), used


def _excess(changes: Changes, own: Conditions, matched: Sequence[Conditions]) -> Excess | None:
    both = [own, *matched]
    targets, used = shared(changes.responses, both)
    if not matched or not targets or not used.any():
        return None
    change, *controls = (changes.count(draw, targets, used) for draw in both)
    return Excess(targets, change, tuple(controls), change.minus(mean(controls)), tuple(matched))


def with_controls(
    grouped: Sequence[tuple[Family, Conditions]],
) -> list[tuple[Family, list[Conditions], list[Conditions]]]:
    """Each family with its draws, and for target sets those of their matched controls.

    Every family stands by itself, then all draws of each control together, marked by a null draw.
    """

    def key(family: Family, **changed: str) -> tuple[Any, ...]:
        return tuple((family | changed)[name] for name in FAMILY if name != "draw")

    every: dict[tuple[Any, ...], list[Conditions]] = {}
    for family, members in grouped:
        every.setdefault(key(family), []).append(members)
    alike = {key(family): family | {"draw": None} for family, _ in grouped}
    matched = {
        key(row): every.get(key(row, control="matched"), []) for row in alike.values() if row["control"] == "target"
    }
    single = [(family, [members], matched.get(key(family), [])) for family, members in grouped]
    return single + [(row, every[name], []) for name, row in alike.items() if row["control"] != "target"]


def measures(change: Change) -> dict[str, Estimate]:
    """Reduce a change to the named effects.

    ``self`` is the mean of D's diagonal, ``cross`` the mean off it and ``gap`` their difference, which does not move
    when all effects of one set, or all effects on one emotion, move alike. For that, only the emotions that have a set
    enter. ``pull``, ``pull_cross`` and ``pull_gap`` are the same of the pull matrix; on the diagonal both matrices are
    equal, so ``pull`` is ``self`` under another name and ``pull_cross`` says how much items of *other* emotions are
    pulled. ``uar_change`` and ``pull_overall`` average D and pull over all labels, then over the targets.
    ``sensitivity`` (AUC points) and ``bias`` (nat) are means over the targets; all others are in points.
    """
    accuracy, pull, heard = change.accuracy(), change.pull(), change.items.sum(axis=0) > 0
    found = {"uar_change": accuracy[:, :, heard].mean(axis=(1, 2))}
    found["pull_overall"] = pull[:, :, heard].mean(axis=(1, 2))
    for names, matrix in ((("self", "cross", "gap"), accuracy), (("pull", "pull_cross", "pull_gap"), pull)):
        square = matrix[:, :, list(change.targets)]
        size = len(change.targets)
        own = np.einsum("rmm->r", square) / size
        others = (square.sum(axis=(1, 2)) - own * size) / (size * (size - 1)) if size > 1 else np.full_like(own, np.nan)
        found |= dict(zip(names, (own, others, own - others), strict=True))
    found |= {"sensitivity": change.auc.mean(axis=1), "bias": change.bias().mean(axis=1)}
    return {name: change.estimate(values) for name, values in found.items()}


SET = ("selector", "budget", "scope")
"""The columns that name a set before it is known what it is a control of."""


def gaps_of(compared: Sequence[Compared], row: Mapping[str, Any], control: str) -> dict[str, Any]:
    """The measures of :data:`~emoscope.vocabulary.GAPS` of the families of a row of table ``efficiency``, with intervals.

    Args:
        row: with the columns of :data:`SET`; of sets from fewer clips also ``size`` and ``draw``.
        control: ``"target"`` for the full set, or ``"fewer"``.
    """
    alphas = {effect.family["alpha"] for effect in compared if effect.headline and effect.family["kind"] == "steer"}
    wanted = {name: row[name] for name in (*SET, *(("size", "draw") if control == "fewer" else ()))}
    wanted |= {"control": control, "positions": "all", "layers": "all"}
    columns: dict[str, Any] = {"reason": None}
    # reasons of switching off come first
    for effect in sorted(compared, key=lambda effect: str(effect.family["kind"])):
        family, kind = effect.family, effect.family["kind"]
        fits = all(family[name] == value for name, value in wanted.items()) and family["to"] != "mean"
        measure = GAPS[kind]
        if fits and measure not in columns and (kind == "deactivate" or family["alpha"] in alphas):
            got = measures(effect.change)[measure]
            columns |= got.named(measure) | {"reason": columns["reason"] or got.interval().reason}
    return columns
