"""Delete-one-speaker jackknife intervals.

Every statistic here is computed from sums per speaker: once with all speakers, and once without each
of them. Intervals use the t distribution with G_eff - 1 degrees of freedom, where
G_eff = (sum n_g)^2 / sum n_g^2 and n_g is the number of items of speaker g, so that a few speakers with
many items do not count as many speakers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emoscope.vocabulary import LEVEL, MINIMUM_SPEAKERS

ROUNDING = 1e-12
"""Estimates and errors (in points or nat) below this are rounding errors of sums that cancel."""


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % interval.

    Attributes:
        estimate: the statistic over all speakers; ``None`` where it is not defined.
        low, high: the interval's ends, in the units of the estimate; ``None`` where none can be given.
        speakers: the number of speakers with items.
        df: degrees of freedom, G_eff - 1; ``None`` without an interval.
        reason: why there is no interval; ``None`` where there is one.
        p: two-sided, of the hypothesis that the statistic is 0; ``None`` without an interval.
    """

    estimate: float | None
    low: float | None
    high: float | None
    speakers: int
    df: float | None
    reason: str | None = None
    p: float | None = None


def replicates(sums: np.ndarray) -> np.ndarray:
    """Totals over all speakers, followed by the totals without each speaker.

    Args:
        sums: sums per speaker, dimensions (speaker, ...).

    Returns:
        dimensions (1 + speaker, ...).

    Example:
        >>> replicates(np.array([1, 2, 4])).tolist()
        [7, 6, 5, 3]
    """
    total = sums.sum(axis=0, keepdims=True)
    return np.concatenate([total, total - sums], axis=0)


def interval(values: np.ndarray, sizes: np.ndarray, level: float = 1 - LEVEL) -> Interval:
    """The delete-one-speaker jackknife interval of a statistic (Quenouille 1956, Tukey 1958).

    The standard error is sqrt((G - 1) / G * sum of (value without g - mean of those)^2).

    Args:
        values: the statistic over all speakers, then without each speaker; dimension (1 + speaker).
        sizes: items per speaker, dimension (speaker); speakers without items are left out.
        level: the interval's coverage.

    Example:
        >>> found = interval(np.array([3.0, 3.5, 3.25, 3.0, 2.75, 2.5]), np.ones(5))
        >>> round(found.low, 3), found.estimate, round(found.high, 3), found.df
        (1.037, 3.0, 4.963, 4.0)
        >>> interval(np.array([2.0, 3.0, 1.0]), np.ones(2)).reason
        'only 2 speakers: an interval needs at least 5'
    """
    values = np.asarray(values, dtype=np.float64)
    values = np.where(np.abs(values) < ROUNDING, 0.0, values)  # else a rounding error could look clear of zero
    heard = np.asarray(sizes) > 0
    sizes = np.asarray(sizes, dtype=np.float64)[heard]
    speakers = len(sizes)
    estimate = float(values[0])
    if not np.isfinite(estimate):
        return Interval(None, None, None, speakers, None, "no items")
    if speakers < MINIMUM_SPEAKERS:
        few = f"only {speakers} speaker{'' if speakers == 1 else 's'}"
        return Interval(estimate, None, None, speakers, None, f"{few}: an interval needs at least {MINIMUM_SPEAKERS}")
    without = values[1:][heard]
    if not np.isfinite(without).all():
        return Interval(estimate, None, None, speakers, None, "one speaker alone has all items of an emotion")
    df = effective_number(sizes) - 1
    error = float(np.sqrt((speakers - 1) / speakers * np.sum((without - without.mean()) ** 2)))
    half = float(t_quantile(df, (1 + level) / 2) * error)
    return Interval(estimate, estimate - half, estimate + half, speakers, df, p=two_sided(estimate, error, df))


def two_sided(estimate: float, error: float, df: float) -> float:
    """The two-sided p value of estimate / error under Student's t with df degrees of freedom.

    Sums that should cancel leave rounding errors, so both are taken as 0 below :data:`ROUNDING`: an estimate
    of 0 has p = 1, another estimate without any spread p = 0.

    Example:
        >>> round(two_sided(2.7764451, 1.0, 4.0), 6), two_sided(0.0, 0.0, 4.0), two_sided(-3.0, 0.0, 4.0)
        (0.05, 1.0, 0.0)
    """
    from scipy.special import stdtr  # scipy.stats would take longer to import than the analysis takes

    if abs(estimate) < ROUNDING:
        return 1.0
    return 0.0 if error < ROUNDING else float(2 * stdtr(df, -abs(estimate / error)))


def effective_number(sizes: np.ndarray) -> float:
    """How many equally large speakers these speakers are worth: (sum n)^2 / sum n^2 (Kish 1965).

    Example:
        >>> effective_number(np.array([10, 10])), round(effective_number(np.array([18, 2])), 2)
        (2.0, 1.22)
    """
    sizes = np.asarray(sizes, dtype=np.float64)
    return float(sizes.sum() ** 2 / np.sum(sizes**2))


def t_quantile(df: float, probability: float) -> float:
    """The value that Student's t with df degrees of freedom stays below with a probability."""
    from scipy.special import stdtrit  # scipy.stats would take longer to import than the analysis takes

    return float(stdtrit(df, probability))
