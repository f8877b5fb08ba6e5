"""Estimates over speakers: delete-one-speaker jackknife intervals, ranks among controls, corrections for several tests.

Every statistic here is computed from sums per speaker: once with all speakers, and once without each of them. Intervals
use the t distribution with G_eff - 1 degrees of freedom, where G_eff = (sum n_g)^2 / sum n_g^2 and n_g is the number of
items of speaker g, so that a few speakers with many items do not count as many speakers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from emoscope.vocabulary import LEVEL, MINIMUM_SPEAKERS

ROUNDING = 1e-12  # estimates and errors (in points or nat) below this are rounding errors of sums that cancel


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval."""

    estimate: float | None  # the statistic over all speakers; ``None`` where it is not defined
    low: float | None  # the interval's ends, in the units of the estimate; ``None`` where none can be given
    high: float | None
    speakers: int  # the number of speakers with items
    df: float | None  # degrees of freedom, G_eff - 1; ``None`` without an interval
    reason: str | None = None  # why there is no interval; ``None`` where there is one
    p: float | None = None  # two-sided, of the hypothesis that the statistic is 0; ``None`` without an interval


@dataclass(frozen=True, eq=False)
class Estimate:
    """A statistic over all speakers and without each of them, and the items that it rests on."""

    values: np.ndarray  # over all speakers, then without each, dimension (1 + speaker); NaN where it is not defined
    sizes: np.ndarray  # items of each speaker, dimension (speaker)
    unreliable: bool = False  # whether the baseline or a condition behind it supports no claim
    speakers: tuple[str, ...] = ()  # their names; only needed to subtract a statistic of other speakers
    bounded: bool = False  # whether it is a share in %, whose interval ends at 0 and 100

    @classmethod
    def share(cls, hits: np.ndarray, items: np.ndarray, unreliable: bool = False) -> Estimate:
        """The share of items that are hits, in %, from both numbers of each speaker, dimension (speaker).

        Example:
            >>> Estimate.share(np.array([1, 1]), np.array([4, 1])).values.tolist()
            [40.0, 100.0, 25.0]
        """
        return cls(ratio(100 * replicates(hits), replicates(items)), items, unreliable, bounded=True)

    def interval(self) -> Interval:
        """The delete-one-speaker jackknife interval at 95 % (Quenouille 1956, Tukey 1958).

        The standard error is sqrt((G - 1) / G * sum of (value without g - mean of those)^2), over the G speakers with
        items. Of a share, what lies outside 0 and 100 % is cut off: no share lies there, so that the interval holds it as
        often as before.

        Example:
            >>> found = Estimate(np.array([3.0, 3.5, 3.25, 3.0, 2.75, 2.5]), np.ones(5)).interval()
            >>> round(found.low, 3), found.estimate, round(found.high, 3), found.df
            (1.037, 3.0, 4.963, 4.0)
            >>> Estimate(np.array([2.0, 3.0, 1.0]), np.ones(2)).interval().reason
            'only 2 speakers: an interval needs at least 5'
        """
        heard, speakers, df, quantile = _spread(np.asarray(self.sizes, dtype=np.float64).tobytes())
        estimate = _rounded(float(self.values[0]))
        if not math.isfinite(estimate):
            return Interval(None, None, None, speakers, None, "no items")
        if speakers < MINIMUM_SPEAKERS:
            few = f"only {speakers} speaker{'s' if speakers != 1 else ''}"
            few = f"{few}: an interval needs at least {MINIMUM_SPEAKERS}"
            return Interval(estimate, None, None, speakers, None, few)
        without = np.asarray(self.values, dtype=np.float64)[1:][heard]
        without[np.abs(without) < ROUNDING] = 0.0  # a rounding error could look clear of zero
        total = float(np.add.reduce(without))
        if not math.isfinite(total):
            return Interval(estimate, None, None, speakers, None, "one speaker alone has all items of an emotion")
        squares = float(np.add.reduce((without - total / speakers) ** 2))
        error = math.sqrt((speakers - 1) / speakers * squares)
        half = quantile * error
        low, high = estimate - half, estimate + half
        if self.bounded:
            low, high = max(low, 0.0), min(high, 100.0)
        return Interval(estimate, low, high, speakers, df, p=two_sided(estimate, error, df))

    def beyond(self, other: Estimate) -> Estimate:
        """The difference to a statistic of the same items, such as that under a control."""
        unreliable = self.unreliable or other.unreliable
        return replace(self, values=self.values - other.values, unreliable=unreliable, bounded=False)

    def minus(self, other: Estimate) -> Estimate:
        """The difference to a statistic of other items, whose numbers add up.

        A speaker is left out of both at once; who has items in one of the two only changes that one.

        Example:
            >>> first = Estimate(np.array([5.0, 4.0, 6.0]), np.array([2, 2]), speakers=("a", "b"))
            >>> found = first.minus(Estimate(np.array([1.0, 3.0, 1.0]), np.array([1, 0]), speakers=("b", "c")))
            >>> found.values.tolist(), found.speakers, found.sizes.tolist()
            ([4.0, 3.0, 3.0, 4.0], ('a', 'b', 'c'), [2, 3, 0])
        """
        names = tuple(sorted({*self.speakers, *other.speakers}))
        own, others = (self, other) if self.speakers == other.speakers else (self._over(names), other._over(names))
        return Estimate(
            own.values - others.values, own.sizes + others.sizes, self.unreliable or other.unreliable, own.speakers
        )

    def _over(self, names: tuple[str, ...]) -> Estimate:
        places = {name: place for place, name in enumerate(self.speakers)}
        values = [self.values[0], *(self.values[1 + places[s]] if s in places else self.values[0] for s in names)]
        sizes = [self.sizes[places[s]] if s in places else 0 for s in names]
        return replace(self, values=np.array(values), sizes=np.array(sizes), speakers=names)

    def columns(self) -> dict[str, Any]:
        """The interval as columns of a result table, with the number of items and whether it is unreliable."""
        return vars(self.interval()) | {"n": int(self.sizes.sum()), "unreliable": self.unreliable}

    def named(self, name: str) -> dict[str, Any]:
        """The interval as the columns ``name``, ``name_low``, ``name_high`` and ``name_p``."""
        return named(name, vars(self.interval()))


def mean_over_parts(parts: Sequence[Estimate]) -> Estimate:
    """The mean of a statistic over parts of the items, each counting alike; their items add up."""
    values = np.mean([part.values for part in parts], axis=0)
    sizes = np.sum([part.sizes for part in parts], axis=0)
    return replace(parts[0], values=values, sizes=sizes, unreliable=any(part.unreliable for part in parts))


def replicates(sums: np.ndarray) -> np.ndarray:
    """Totals over all speakers, then without each, dimensions (1 + speaker, ...), from sums of each (speaker, ...).

    Example:
        >>> replicates(np.array([1, 2, 4])).tolist()
        [7, 6, 5, 3]
    """
    total = sums.sum(axis=0)
    every = np.empty((1 + len(sums), *sums.shape[1:]), dtype=total.dtype)
    every[0] = total
    np.subtract(total, sums, out=every[1:])
    return every


def ratio(sums: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Sums over numbers of items, of dimensions that broadcast to those of the sums; NaN where there are no items."""
    return np.divide(sums, items, out=np.full(sums.shape, np.nan), where=items > 0)


def two_sided(estimate: float, error: float, df: float) -> float:
    """The two-sided p value of estimate / error under Student's t with df degrees of freedom.

    Both are taken as 0 below :data:`ROUNDING`: an estimate of 0 has p = 1, another estimate without any spread p = 0.

    Example:
        >>> round(two_sided(2.7764451, 1.0, 4.0), 6), two_sided(0.0, 0.0, 4.0), two_sided(-3.0, 0.0, 4.0)
        (0.05, 1.0, 0.0)
    """
    if abs(estimate) < ROUNDING:
        return 1.0
    return 0.0 if error < ROUNDING else float(2 * _special().stdtr(df, -abs(estimate / error)))


def effective_number(sizes: np.ndarray) -> float:
    """How many equally large speakers these speakers are worth: (sum n)^2 / sum n^2 (Kish 1965).

    Example:
        >>> effective_number(np.array([10, 10])), round(effective_number(np.array([18, 2])), 2)
        (2.0, 1.22)
    """
    sizes = np.asarray(sizes, dtype=np.float64)
    return float(sizes.sum() ** 2 / np.sum(sizes**2))


@cache
def t_quantile(df: float, probability: float) -> float:
    """The value that Student's t with df degrees of freedom stays below with a probability."""
    return float(_special().stdtrit(df, probability))


def _rounded(value: float) -> float:
    """0 where a value is a rounding error."""
    return 0.0 if abs(value) < ROUNDING else value


@lru_cache(maxsize=256)
def _spread(sizes: bytes) -> tuple[np.ndarray, int, float, float]:
    """Of speakers' numbers of items: who has any, how many have, the degrees of freedom, and the quantile of intervals."""
    items = np.frombuffer(sizes)
    heard = items > 0
    speakers = int(heard.sum())
    df = effective_number(items[heard]) - 1 if speakers else 0.0
    return heard, speakers, df, t_quantile(df, 1 - LEVEL / 2) if speakers >= MINIMUM_SPEAKERS else math.nan


@cache
def _special() -> ModuleType:
    """Student's t and the like: imported late, and not as part of scipy.stats, which takes longer than the analysis."""
    return import_module("scipy.special")


MOST_HALF = 1_000_000
"""Sums kept of each half of the emotions; 10 draws for each of 12 emotions are still counted exactly."""

EQUAL = 1e-9  # sums (in points) closer than this are equal: they differ only by the order of addition


def rank(own: np.ndarray, controls: np.ndarray, falls: bool) -> tuple[int, int] | None:
    """The rank of a sum over emotions among all sums that take one control draw per emotion.

    Controls are single sets, one per emotion and draw, and a gap is a sum with one term per emotion's set. Draws can
    therefore be combined freely: 10 draws for each of 4 emotions give 10,000 control gaps. They are counted in two
    halves, whose sums are sorted, so that none of the combinations is made.

    The terms ``own`` of the target sets are of dimension (emotion), those of the control sets (draw, emotion); the sums
    expected are smaller ones if the measure ``falls``. Gives 1 + the number of combinations at least as extreme, and
    how many there are; ``None`` where these are too many.

    Example:
        >>> rank(np.array([-3.0, -1.0]), np.array([[0.0, 0.0], [-4.0, -1.0]]), falls=True)
        (3, 4)
    """
    sign = 1 if falls else -1
    draws, emotions = controls.shape
    if draws ** (emotions - emotions // 2) > MOST_HALF:
        return None
    halves = [np.zeros(1), np.zeros(1)]
    for emotion, terms in enumerate(sign * controls.T):
        half = int(emotion >= emotions // 2)
        halves[half] = np.add.outer(halves[half], terms).ravel()
    limit = sign * float(own.sum()) + EQUAL
    extreme = int(np.searchsorted(np.sort(halves[1]), limit - halves[0], side="right").sum())
    return 1 + extreme, draws**emotions


def permutation_p(own: float, draws: Sequence[float]) -> tuple[float, float]:
    """The p value of a permutation test against a loss, and the smallest that so many draws can give.

    p = (1 + b) / (1 + d), where b of the d draws under permuted labels are as low as the statistic itself, or lower; the
    labels as they are count as one permutation (Phipson and Smyth 2010). A draw that is not a number, or differs by
    rounding, counts as lower.

    Example:
        >>> permutation_p(-0.7, [-0.1, 0.2, -0.8, 0.0])
        (0.4, 0.2)
    """
    count = 1 + len(draws)
    return (1 + as_low(own, draws)) / count, 1 / count


def as_low(own: float, draws: Sequence[float]) -> int:
    """How many draws under permuted labels are as low as the statistic itself, or lower: see :func:`permutation_p`."""
    return sum(not draw > own + ROUNDING for draw in draws)


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p values (Holm 1979); the chance of any false rejection stays below the level.

    A declared test without a p value counts among the tests and gets none.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = sorted((i for i, value in enumerate(p) if value is not None), key=lambda i: float(p[i] or 0))
    raised = np.maximum.accumulate([min(1.0, (len(p) - rank) * float(p[i] or 0)) for rank, i in enumerate(order)])
    adjusted = dict(zip(order, map(float, raised), strict=True))
    return [adjusted.get(i) for i in range(len(p))]


def benjamini_hochberg(p: Sequence[float | None]) -> list[float | None]:
    """Benjamini and Hochberg's adjusted p values (1995): the expected share of false discoveries; nulls stay null.

    Example:
        >>> benjamini_hochberg([0.01, None, 0.03, 0.02])
        [0.03, None, 0.03, 0.03]
    """
    there = [i for i, value in enumerate(p) if value is not None]
    if not there:
        return [None] * len(p)
    values = np.array([float(p[i] or 0) for i in there])
    order = np.argsort(values)
    raised = values[order] * (len(there) / np.arange(1.0, len(there) + 1))
    adjusted = np.minimum.accumulate(raised[::-1])[::-1].clip(0, 1)
    found = {there[place]: float(value) for place, value in zip(order, adjusted, strict=True)}
    return [found.get(i) for i in range(len(p))]


def finite(value: float) -> float | None:
    """A number for a table, null where it is not defined."""
    return float(value) if math.isfinite(value) else None


UNITS = {"sensitivity": "AUC points", "bias": "nat"}
"""Units of measures, with and without ``excess_``; all others are in points."""


def unit(measure: str) -> str:
    """The unit of a measure.

    Example:
        >>> unit("gap"), unit("excess_sensitivity")
        ('points', 'AUC points')
    """
    return UNITS.get(measure.removeprefix("excess_"), "points")


def named(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """The estimate of a row as the columns ``name``, ``name_low``, ``name_high`` and ``name_p``.

    Example:
        >>> named("gap", {"estimate": -3.0, "low": -4.0, "high": -2.0, "p": 0.01})
        {'gap': -3.0, 'gap_low': -4.0, 'gap_high': -2.0, 'gap_p': 0.01}
    """
    return {name: row["estimate"]} | {f"{name}_{end}": row.get(end) for end in ("low", "high", "p")}


def estimate_of(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The columns ``name``, ``name_low`` and ``name_high`` of a row as an estimate with its interval.

    Example:
        >>> estimate_of({"gap": -3.0, "gap_low": -4.0, "gap_high": -2.0}, "gap")
        {'estimate': -3.0, 'low': -4.0, 'high': -2.0}
    """
    return {"estimate": row[name], "low": row[f"{name}_low"], "high": row[f"{name}_high"]}


def welch(first: Mapping[str, Any], second: Mapping[str, Any], why_not: str | None = None) -> dict[str, Any]:
    """The difference of two independent estimates with Welch's interval (Welch 1947): estimate, low, high, df, p, reason.

    Both are rows with all of these but p; ``why_not`` says why there can be no interval.

    Example:
        >>> row = {"estimate": 3.0, "low": 3.0 - 2.776445, "high": 3.0 + 2.776445, "df": 4.0, "reason": None}
        >>> found = welch(row, row | {"estimate": 1.0})  # errors of 1 each: error sqrt(2), df 2^2 / (1/4 + 1/4) = 8
        >>> {name: round(found[name], 3) for name in ("estimate", "low", "high", "df", "p")}
        {'estimate': 2.0, 'low': -1.261, 'high': 5.261, 'df': 8.0, 'p': 0.195}
    """
    known = [row["estimate"] for row in (first, second)]
    estimate = None if None in known else known[0] - known[1]
    found: dict[str, Any] = dict.fromkeys(("low", "high", "df", "p")) | {"estimate": estimate}
    found["reason"] = why_not or first["reason"] or second["reason"]
    if found["reason"] or estimate is None:
        return found
    ends = [(row["high"] - row["low"], row["df"]) for row in (first, second)]
    squares = [(wide / 2 / t_quantile(df, 0.975)) ** 2 for wide, df in ends]
    parts = sum(square**2 / df for square, (_, df) in zip(squares, ends, strict=True))
    df = sum(squares) ** 2 / parts if parts > 0 else min(df for _, df in ends)
    error = math.sqrt(sum(squares))
    half = t_quantile(df, 0.975) * error
    return found | {"low": estimate - half, "high": estimate + half, "df": df, "p": two_sided(estimate, error, df)}
