"""What one intervention per emotion changes, as sums per speaker: counts of answers, ranks and log-odds.

D[m, e] is the accuracy on items of e under the set of m, minus the baseline's, in points; pull[m, e] is
the change, in points, of the share of items of e answered m. Sensitivity is the change of how well the
log-odds of m tell items of m from the others (the area under the ROC curve), bias the mean change of
these log-odds over items of the other emotions. All are kept so that controls are subtracted on the same
items and every replicate of the jackknife is a subtraction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emoscope.analysis.jackknife import replicates
from emoscope.analysis.panel import Panel


@dataclass(frozen=True)
class Change:
    """Changes against the baseline, for one set per target emotion.

    Attributes:
        targets: the emotions whose sets were used, codes into the panel's labels; dimension (target).
        correct: items answered correctly more often than at baseline, dimensions (speaker, target, label).
        said: items answered with the target more often than at baseline, dimensions (speaker, target, label).
        items: items asked, dimensions (speaker, label).
        baseline: items answered correctly at baseline, dimensions (speaker, label).
        auc: change of the AUC in AUC points, all speakers, then without each; dimensions (1 + speaker, target).
        lift: summed change of the log-odds of the target over items of other emotions, nat, (speaker, target).
        lifted: how many such items there are, dimensions (speaker, target).
        ranked: how many items have log-odds of the target, dimensions (speaker, target).
        baseline_auc: the baseline's AUC in AUC points, dimension (target).
    """

    targets: tuple[int, ...]
    correct: np.ndarray
    said: np.ndarray
    items: np.ndarray
    baseline: np.ndarray
    auc: np.ndarray
    lift: np.ndarray
    lifted: np.ndarray
    ranked: np.ndarray
    baseline_auc: np.ndarray

    def accuracy(self) -> np.ndarray:
        """D in points, dimensions (1 + speaker, target, label): all speakers, then without each."""
        return _shares(100 * self.correct, self.items[:, np.newaxis, :])

    def pull(self) -> np.ndarray:
        """Pull in points, dimensions (1 + speaker, target, label): all speakers, then without each."""
        return _shares(100 * self.said, self.items[:, np.newaxis, :])

    def bias(self) -> np.ndarray:
        """Bias in nat, dimensions (1 + speaker, target): all speakers, then without each."""
        return _shares(self.lift, self.lifted)

    def minus(self, other: Change) -> Change:
        """The change beyond another one on the same items, such as a control's."""
        return self._with([self, other], lambda both: both[0] - both[1])

    def mean(self, others: Sequence[Change]) -> Change:
        """The mean of this and other changes on the same items and targets, such as those of control draws."""
        return self._with([self, *others], lambda all_: np.mean(all_, axis=0))

    def _with(self, changes: Sequence[Change], combine: Callable[[list[np.ndarray]], np.ndarray]) -> Change:
        moved = {name: combine([getattr(one, name) for one in changes]) for name in ("correct", "said", "auc", "lift")}
        return Change(
            targets=self.targets, items=self.items, baseline=self.baseline, lifted=self.lifted,
            ranked=self.ranked, baseline_auc=self.baseline_auc, **moved,
        )  # fmt: skip


class Changes:
    """The changes of a panel's conditions; what one condition changes is counted once."""

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self._known: dict[tuple[str, int, bytes], tuple[np.ndarray, ...]] = {}

    def count(self, conditions: Mapping[str, str], targets: Sequence[str], used: np.ndarray) -> Change:
        """Count how answers change under one condition per target emotion.

        Args:
            conditions: target emotion to condition id.
            targets: the emotions to look at, in order.
            used: which items to count, dimension (item).
        """
        panel, key = self.panel, used.tobytes()
        codes = tuple(panel.labels.index(target) for target in targets)
        pieces = []
        for code, target in zip(codes, targets, strict=True):
            name = (conditions[target], code, key)
            if name not in self._known:
                self._known[name] = _count_one(panel, conditions[target], code, used)
            pieces.append(self._known[name])
        correct, said, auc, before, lift, lifted, ranked = (
            np.stack(part, axis=1) for part in zip(*pieces, strict=True)
        )
        right = (panel.answer("baseline") == panel.truth) & used
        return Change(
            targets=codes, correct=correct, said=said, auc=auc - before, lift=lift, lifted=lifted, ranked=ranked,
            items=panel.per_speaker(used.astype(float)), baseline=panel.per_speaker(right.astype(float)),
            baseline_auc=before[0],
        )  # fmt: skip


def auc(scores: np.ndarray, positive: np.ndarray, speaker: np.ndarray, speakers: int) -> np.ndarray:
    """The area under the ROC curve (Mann and Whitney 1947), with all speakers and without each.

    The share of pairs (a positive item of speaker g, a negative item of speaker h) in which the positive
    one scores higher, a tie counting one half. The won pairs form a matrix of speakers x speakers; without
    speaker g its row and its column are missing, so its row sums, column sums and diagonal are all it takes.

    Args:
        scores: dimension (item).
        positive: which items are positive, dimension (item).
        speaker: the number of the item's speaker, dimension (item).
        speakers: how many speakers there are.

    Returns:
        shares between 0 and 1, dimension (1 + speaker); NaN where no pair is left.

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
    pairs = replicates(np.bincount(who, minlength=speakers)) * replicates(np.bincount(others, minlength=speakers))
    return np.divide(won, pairs, out=np.full(speakers + 1, np.nan), where=pairs > 0)


def _count_one(panel: Panel, condition: str, code: int, used: np.ndarray) -> tuple[np.ndarray, ...]:
    before, after, speakers = panel.answer("baseline"), panel.answer(condition), len(panel.speakers)
    correct = panel.per_speaker((((after == panel.truth) & used).astype(float)) - ((before == panel.truth) & used))
    said = panel.per_speaker(((after == code) & used).astype(float) - ((before == code) & used))
    level, moved = (panel.log_odds[panel.rows[one], :, code] for one in ("baseline", condition))
    ranked = used & ~np.isnan(level) & ~np.isnan(moved)
    own, who = (panel.truth == code)[ranked], panel.speaker[ranked]
    auc_after, auc_before = (100 * auc(scores[ranked], own, who, speakers) for scores in (moved, level))
    lift = np.bincount(who[~own], (moved - level)[ranked][~own], speakers)
    lifted = np.bincount(who[~own], minlength=speakers).astype(float)
    return correct, said, auc_after, auc_before, lift, lifted, np.bincount(who, minlength=speakers).astype(float)


def _shares(sums: np.ndarray, items: np.ndarray) -> np.ndarray:
    asked = replicates(items)
    return np.divide(replicates(sums), asked, out=np.full((len(sums) + 1, *sums.shape[1:]), np.nan), where=asked > 0)
