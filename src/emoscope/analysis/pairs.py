"""Evidence for one emotion against another: what a set takes from it, free of any shift of the answers.

The *separation* of two emotions e and c is, over clips of one speaker, the mean of log p(e) - log p(c) on clips of e
minus its mean on clips of c. Whatever makes an answer likelier by the same factor on every clip, adds to both means
alike and leaves it as it was. A set's *pairwise change* is the separation under it minus that of the untouched model;
*own pairs* hold the set's emotion, *other pairs* do not (our definitions, see docs/method.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np

from emoscope.analysis.estimate import ratio
from emoscope.vocabulary import MINIMUM_SPEAKERS

FEWEST_UNITS = MINIMUM_SPEAKERS
"""A pair of emotions counts where at least so many independent units have clips of both."""


@dataclass(frozen=True, eq=False)
class Clips:
    """Who speaks in which independent unit, and which emotion it is.

    Attributes:
        truth: code of the true emotion among the options, dimension (item).
        speaker: whose clips are compared with each other, dimension (item).
        unit: what is left out together for intervals (the speaker, or the session that speakers share), dimension (item).
        options: how many options there are.
    """

    truth: np.ndarray
    speaker: np.ndarray
    unit: np.ndarray
    options: int

    @cached_property
    def units(self) -> int:
        """How many independent units there are."""
        return int(self.unit.max()) + 1 if len(self.unit) else 0

    @cached_property
    def _cells(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Unit and speaker of each cell (a speaker's clips in one unit); the order of items by cell and emotion, with starts and places."""
        speakers = int(self.speaker.max()) + 1
        keys, cell = np.unique(self.unit.astype(np.int64) * speakers + self.speaker, return_inverse=True)
        place = cell * self.options + self.truth
        order = np.argsort(place, kind="stable")
        there, starts = np.unique(place[order], return_index=True)
        return keys // speakers, keys % speakers, order, starts, there

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums over items (item, ...) by cell and true emotion, dimensions (cell, emotion, ...)."""
        units, _, order, starts, there = self._cells
        found = np.zeros((len(units) * self.options, *values.shape[1:]))
        found[there] = np.add.reduceat(values[order], starts, axis=0, dtype=np.float64)
        return found.reshape(len(units), self.options, *values.shape[1:])

    @cached_property
    def counts(self) -> np.ndarray:
        """How many items each cell has of each emotion, dimensions (cell, emotion)."""
        return self.sums(np.ones(len(self.truth)))

    @cached_property
    def units_of_pair(self) -> np.ndarray:
        """In how many units some speaker has clips of both emotions, dimensions (emotion, emotion)."""
        units, speaker, *_ = self._cells
        whole = np.zeros((speaker.max() + 1, self.options))
        np.add.at(whole, speaker, self.counts)
        # a unit counts for a pair where it holds a clip of one of the two by a speaker who has both
        both = (whole[speaker][:, :, None] > 0) & (whole[speaker][:, None, :] > 0)
        holds = both & ((self.counts[:, :, None] > 0) | (self.counts[:, None, :] > 0))
        found = np.zeros((self.units, self.options, self.options), bool)
        np.logical_or.at(found, units, holds)
        return found.sum(axis=0) * ~np.eye(self.options, dtype=bool)

    @cached_property
    def testable(self) -> np.ndarray:
        """Which pairs of different emotions have enough units, and none that holds all of it; dimensions (emotion, emotion)."""
        return np.asarray((self.units_of_pair >= FEWEST_UNITS) & (self._weights_left > 0).all(axis=0))

    @cached_property
    def sizes(self) -> np.ndarray:
        """How much weight leaving each unit out takes, summed over pairs of emotions, dimension (unit)."""
        return np.asarray((self._weights_left[0] - self._weights_left[1:]).sum(axis=(1, 2)))

    @cached_property
    def _weights_left(self) -> np.ndarray:
        """The weights of pairs over speakers, with all units and without each, dimensions (1 + unit, emotion, emotion)."""
        units, speaker, *_ = self._cells
        counts = np.zeros((speaker.max() + 1, self.options))
        np.add.at(counts, speaker, self.counts)
        lost = np.zeros((self.units, self.options, self.options))
        np.add.at(lost, units, _weights(counts)[speaker] - _weights(counts[speaker] - self.counts))
        weight = _weights(counts).sum(axis=0)
        left = np.concatenate([weight[None], weight - lost])
        return np.where(left > 1e-9 * np.maximum(weight, 1), left, 0.0)

    def separations(self, logp: np.ndarray) -> np.ndarray:
        """The separation of every pair of emotions, with all units and without each.

        Speakers within a pair count by n(e) n(c) / (n(e) + n(c)), the inverse of the variance of a difference of means.

        Args:
            logp: natural logs of the options' probabilities, or changes of them, dimensions (set, item, option).

        Returns:
            nat, dimensions (1 + unit, set, emotion, emotion), the same for (e, c) as for (c, e); NaN where no speaker has both.

        Example:
            >>> clips = Clips(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), 2)
            >>> logp = np.log([[[0.8, 0.2], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]])
            >>> clips.separations(logp)[:, 0, 0, 1].round(3).tolist()  # ln 4 of one of two speakers
            [0.693, 0.0, 1.386]
        """
        units, speaker, *_ = self._cells
        sums = self.sums(np.moveaxis(logp, 0, 1))  # (cell, emotion, set, option)
        sets = sums.shape[2]
        whole, counts = sums, self.counts
        if len(speaker) != speaker.max() + 1:
            whole = np.zeros((speaker.max() + 1, *sums.shape[1:]))
            counts = np.zeros((len(whole), self.options))
            np.add.at(whole, speaker, sums)
            np.add.at(counts, speaker, self.counts)
        else:
            whole, counts = whole[np.argsort(speaker)], counts[np.argsort(speaker)]
        every = _weighted(whole, counts)
        gone = np.zeros((self.units, sets, self.options, self.options))
        rest = counts[speaker] - self.counts
        partly = rest.sum(axis=1) > 0
        np.add.at(gone, units, every[speaker])
        if partly.any():  # speakers who also speak in other units keep what they say there
            np.subtract.at(gone, units[partly], _weighted(whole[speaker[partly]] - sums[partly], rest[partly]))
        total = every.sum(axis=0)
        found = np.concatenate([total[None], total - gone])
        return ratio(found, np.broadcast_to(self._weights_left[:, None], found.shape))

    def aucs(self, logp: np.ndarray) -> np.ndarray:
        """How well log p(e) - log p(c) tells clips of e from clips of c of the same speaker, with all units and without each.

        The share of such pairs of clips in which that of e has the larger value, ties counting one half (Mann and Whitney
        1947); speakers count as in :meth:`separations`, which does not see evidence that drowns in noise.

        Args:
            logp: natural logs of the options' probabilities, dimensions (set, item, option).

        Returns:
            AUC points (50 is chance), dimensions (1 + unit, set, emotion, emotion); NaN where no speaker has both.

        Example:
            >>> clips = Clips(np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), 2)
            >>> logp = np.log([[[0.8, 0.2], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]])
            >>> clips.aucs(logp)[:, 0, 0, 1].tolist()
            [75.0, 50.0, 100.0]
        """
        units, speaker, *_ = self._cells
        every = np.zeros((len(logp), self.options, self.options))
        gone = np.zeros((self.units, *every.shape))
        for who in np.unique(speaker):
            said = self.speaker == who
            won = self._won(logp, np.flatnonzero(said))
            every = every + won
            spoken = units[speaker == who]
            for unit in spoken:
                rest = np.flatnonzero(said & (self.unit != unit)) if len(spoken) > 1 else np.zeros(0, int)
                gone[unit] += won - self._won(logp, rest)
        found = np.concatenate([every[None], every - gone])
        return 100 * ratio(found, np.broadcast_to(self._weights_left[:, None], found.shape))

    def _won(self, logp: np.ndarray, items: np.ndarray) -> np.ndarray:
        """Shares of won pairs among some items times the weights of pairs of emotions, (set, emotion, emotion)."""
        found = np.zeros((len(logp), self.options, self.options))
        by_emotion = {int(code): items[self.truth[items] == code] for code in np.unique(self.truth[items])}
        counts = np.bincount(self.truth[items], minlength=self.options).astype(float)
        weights = _weights(counts[None])[0]
        for first, second in combinations(sorted(by_emotion), 2):
            left, right = (
                logp[:, by_emotion[code], first] - logp[:, by_emotion[code], second] for code in (first, second)
            )
            higher = left[:, :, None] > right[:, None, :]
            equal = left[:, :, None] == right[:, None, :]
            share = (higher + 0.5 * equal).mean(axis=(1, 2)) * weights[first, second]
            found[:, first, second] = found[:, second, first] = share
        return found


def _weights(counts: np.ndarray) -> np.ndarray:
    """n(e) n(c) / (n(e) + n(c)) of each cell and pair, 0 where it lacks one of them; dimensions (cell, emotion, emotion)."""
    first, second = counts[:, :, None], counts[:, None, :]
    found = ratio(first * second, first + second)
    found[:, range(counts.shape[1]), range(counts.shape[1])] = 0
    return np.where(np.isnan(found), 0.0, found)


def _weighted(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Each row's separation times its weight, dimensions (row, set, emotion, emotion)."""
    means = ratio(sums, np.broadcast_to(counts[:, :, None, None], sums.shape))
    means = np.where(np.isnan(means), 0.0, means)  # has no weight
    said = np.moveaxis(means, 2, 1)  # (row, set, emotion of the clip, option)
    own = np.einsum("rsee->rse", said)
    apart = own[..., :, None] + own[..., None, :] - said - np.swapaxes(said, -1, -2)
    return np.asarray(apart * _weights(counts)[:, None])


@dataclass(frozen=True, eq=False)
class PairChange:
    """What one set per target emotion changes of all separations.

    Attributes:
        targets: codes of the emotions whose sets were used, dimension (target).
        change: nat, dimensions (1 + unit, target, emotion, emotion).
        untouched: the model's own separations, nat, dimensions (1 + unit, emotion, emotion).
        testable: which pairs count, dimensions (emotion, emotion).
    """

    targets: Sequence[int]
    change: np.ndarray
    untouched: np.ndarray
    testable: np.ndarray

    @cached_property
    def own(self) -> np.ndarray:
        """The mean change over own pairs in nat, dimensions (1 + unit, target)."""
        return self._mean(self._known, self._pairs)

    @cached_property
    def others(self) -> np.ndarray:
        """The mean change over other pairs in nat, dimensions (1 + unit, target)."""
        return self._mean(self._known, ~self._pairs)

    @cached_property
    def own_share(self) -> np.ndarray:
        """The change of own pairs in % of what the untouched model has of them, dimensions (1 + unit, target)."""
        return 100 * self.own / self._mean(self._before, self._pairs)

    @cached_property
    def others_share(self) -> np.ndarray:
        """The change of other pairs in % of what the untouched model has of them, dimensions (1 + unit, target)."""
        return 100 * self.others / self._mean(self._before, ~self._pairs)

    def under_names(self, own: bool, share: bool = False) -> np.ndarray:
        """The mean change of every set over the pairs that hold an emotion, or over those that do not.

        In nat, or in % of what the untouched model has of these pairs; dimensions (1 + unit, target, name), names being
        the targets' emotions.
        """
        kept = ((self._pairs if own else ~self._pairs) & self.testable).astype(float)
        count = kept.sum(axis=(1, 2))
        found = np.einsum("rtec,nec->rtn", self._known, kept)
        over = np.broadcast_to(count, found.shape)
        if share:
            before = np.einsum("rec,nec->rn", np.nan_to_num(self.untouched), kept) / 100
            over = np.broadcast_to(before[:, None], found.shape)
        return np.divide(found, over, out=np.full_like(found, np.nan), where=(count > 0) & (over != 0))

    @cached_property
    def _pairs(self) -> np.ndarray:
        """Which pairs hold the target, dimensions (target, emotion, emotion)."""
        codes = np.arange(len(self.testable))
        named = codes == np.asarray(list(self.targets))[:, None]
        return np.asarray(named[:, :, None] | named[:, None, :])

    @property
    def _before(self) -> np.ndarray:
        return np.broadcast_to(np.nan_to_num(self.untouched)[:, None], self.change.shape)

    def _mean(self, values: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """The mean over the testable pairs of those kept, dimensions (1 + unit, target)."""
        kept = (kept & self.testable).astype(float)
        count = kept.sum(axis=(1, 2))
        found = np.einsum("rtec,tec->rt", values, kept)
        return np.divide(found, count, out=np.full_like(found, np.nan), where=count > 0)

    @cached_property
    def losses(self) -> np.ndarray:
        """The change of every emotion under every set in %, dimensions (1 + unit, target, emotion).

        The pairs of an emotion with the set's own are left out but for the own emotion itself: a pair that loses both of
        its emotions would count twice.
        """
        against = np.repeat(self.testable[None], len(self.targets), axis=0)
        for place, target in enumerate(self.targets):
            against[place, :, target] = False
        return self._share(np.einsum("rtec,tec->rte", self._known, against), against)

    @cached_property
    def nearest(self) -> np.ndarray:
        """Own loss minus that of another emotion, against the same third ones, in %; dimensions (1 + unit, target, emotion).

        Below 0 where the set's own emotion loses more; NaN for the own emotion, and where no third emotion has both pairs.
        """
        targets = list(self.targets)
        third = self.testable[targets][:, None] & self.testable[None]
        third[range(len(targets)), targets] = False
        for place, target in enumerate(targets):
            third[place, :, target] = False
        own = self._known[:, range(len(targets)), targets]  # (1 + unit, target, option)
        before = np.nan_to_num(self.untouched)[:, targets]
        lost = np.einsum("rtc,tec->rte", own, third)
        there = np.einsum("rtc,tec->rte", before, third.astype(float))
        share = 100 * np.divide(lost, there, out=np.full_like(lost, np.nan), where=third.any(axis=2))
        return np.asarray(share - self._share(np.einsum("rtec,tec->rte", self._known, third), third))

    @cached_property
    def _known(self) -> np.ndarray:
        return np.nan_to_num(self.change)

    def _share(self, moved: np.ndarray, against: np.ndarray) -> np.ndarray:
        before = np.einsum("rec,tec->rte", np.nan_to_num(self.untouched), against.astype(float))
        return 100 * np.divide(moved, before, out=np.full_like(moved, np.nan), where=against.any(axis=2))
