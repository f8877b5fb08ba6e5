"""Estimates beyond control sets, with the error for these very sets and the error for sets of their kind."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from emoscope.analysis.estimate import ROUNDING, effective_number, t_quantile, two_sided
from emoscope.vocabulary import LEVEL


@dataclass(frozen=True)
class Test:
    """An estimate beyond control sets, its interval for these sets' kind, and what the claim's rule makes of it.

    ``estimate``, ``low`` and ``high`` are in the claim's unit; the interval includes how much sets differ. ``set_low``
    and ``set_high`` are those of the very sets. ``p`` is two-sided, ``p_holm`` corrected for the two first claims.
    ``permutation_p`` is that of the permutation null of so many ``permuted`` draws, ``permutation_floor`` the smallest
    that they can give.
    """

    __test__ = False  # pytest would take it for a class of tests

    name: str
    verdict: str
    why: str = ""
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    set_low: float | None = None
    set_high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    df: float | None = None
    units: int = 0
    draws: int = 0
    permutation_p: float | None = None
    permutation_floor: float | None = None
    permuted: int | None = 0  # null in tables of earlier rules


@dataclass(frozen=True, eq=False)
class Names:
    """How differently target sets act on the emotions that they are not named after, as it enters an error.

    A set may act more than any control on emotions, and know none. All are variances of a mean over target sets.

    Attributes:
        found: as it was observed, dimension (statistic).
        alone: what the clips alone explain of it, dimension (statistic).
        df: degrees of freedom.
    """

    found: np.ndarray
    alone: np.ndarray
    df: int

    @classmethod
    def of(cls, table: np.ndarray, sizes: np.ndarray) -> Names | None:
        """Of one statistic of every set under every name, (1 + unit, target, name); ``None`` of fewer than three sets.

        Under k names a set's statistics add up to 0, so that an effect on the own emotion is spread evenly over the other
        names and does not count here.
        """
        size = table.shape[1]
        if size < 3:
            return None
        others = table[:, ~np.eye(size, dtype=bool)].reshape(-1, size, size - 1)
        apart = (others - others.mean(axis=2, keepdims=True)).reshape(len(others), -1)
        scale = (size - 1) / size / size**2 / (size - 2)
        found, alone = (apart[0] ** 2).sum() * scale, _jackknife(apart, sizes).sum() * scale
        return cls(np.array([found]), np.array([alone]), size * (size - 2))


@dataclass(frozen=True, eq=False)
class Beyond:
    """Statistics of the target sets minus the mean of the control draws, each of them with both errors.

    Attributes:
        values: dimensions (1 + unit, statistic).
        draws: of each control draw, dimensions (draw, 1 + unit, statistic).
        sizes: dimension (unit).
        names: of the target sets, beyond the mean of the draws; ``None`` where they do not count.
    """

    values: np.ndarray
    draws: np.ndarray
    sizes: np.ndarray
    names: Names | None = None

    @cached_property
    def estimate(self) -> np.ndarray:
        """Dimension (statistic)."""
        return np.asarray(self._apart[0])

    @cached_property
    def _apart(self) -> np.ndarray:
        return self.values - self.draws.mean(axis=0) if len(self.draws) else self.values

    @cached_property
    def units(self) -> int:
        """How many independent units there are."""
        return int((self.sizes > 0).sum())

    @cached_property
    def set_variance(self) -> np.ndarray:
        """Squared error for these very sets: the delete-one-unit jackknife; dimension (statistic)."""
        return _jackknife(self._apart, self.sizes)

    @cached_property
    def between_sets(self) -> np.ndarray:
        """The variance of control sets beyond what the clips alone explain; dimension (statistic)."""
        return self._between_draws[0]

    @cached_property
    def _between_draws(self) -> tuple[np.ndarray, np.ndarray]:
        """The variance of control sets beyond what the clips alone explain, and all of it; dimension (statistic)."""
        count = len(self.draws)
        if count < 2:
            return np.zeros(self.values.shape[1]), np.zeros(self.values.shape[1])
        centred = self.draws - self.draws.mean(axis=0)
        alone = np.mean([_jackknife(draw, self.sizes) for draw in centred], axis=0) * count / (count - 1)
        found = self.draws[:, 0].var(axis=0, ddof=1)
        return np.maximum(found - alone, 0.0), found

    @cached_property
    def between_names(self) -> tuple[np.ndarray, np.ndarray]:
        """The same of target sets (:class:`Names`)."""
        none = np.zeros(self.values.shape[1])
        if self.names is None:
            return none, none
        return none + np.maximum(self.names.found - self.names.alone, 0.0), none + self.names.found

    @cached_property
    def of_sets(self) -> np.ndarray:
        """The part of the squared error that is due to the choice of sets: the larger of both; dimension (statistic)."""
        return np.maximum(self.between_sets * self._both, self.between_names[0])

    @property
    def _both(self) -> float:
        """A target set differs from the mean of so many draws."""
        return 1 + 1 / max(1, len(self.draws))

    @cached_property
    def error(self) -> np.ndarray:
        """The error with that of the choice of sets; dimension (statistic)."""
        return np.sqrt(self.set_variance + self.of_sets)

    @cached_property
    def df(self) -> np.ndarray:
        """Degrees of freedom after Satterthwaite (1946), no more than of the units; dimension (statistic)."""
        units = effective_number(self.sizes) - 1
        by_names = self.between_names[0] > self.between_sets * self._both
        spread = np.where(by_names, self.between_names[1], self._between_draws[1] * self._both)
        free = np.where(by_names, 1 if self.names is None else self.names.df, max(1, len(self.draws) - 1))
        # what is left after subtracting the clips' part is as uncertain as the whole
        each = self.set_variance**2 / units + np.where(self.of_sets > 0, spread**2 / free, 0.0)
        found = np.divide(self.error**4, each, out=np.full_like(each, units), where=each > 0)
        return np.clip(found, 1.0, units)

    def one_sided(self, sign: int) -> np.ndarray:
        """P of each statistic in the direction of ``sign`` (1 or -1); dimension (statistic)."""
        from scipy.special import stdtr  # scipy.stats would take longer to import than the analysis takes

        # as in two_sided: what rounding leaves is no effect
        estimate = np.where(np.abs(self.estimate) < ROUNDING, 0.0, self.estimate)
        return np.asarray(stdtr(self.df, -sign * estimate / np.maximum(self.error, ROUNDING)))

    def test(self, name: str, place: int = 0) -> Test:
        """The estimate at a place with both intervals; no verdict yet."""
        estimate, df = float(self.estimate[place]), float(self.df[place])
        half = t_quantile(df, 1 - LEVEL / 2) * float(self.error[place])
        own = t_quantile(effective_number(self.sizes) - 1, 1 - LEVEL / 2) * float(np.sqrt(self.set_variance[place]))
        return Test(
            name, "", "", estimate, estimate - half, estimate + half, estimate - own, estimate + own,
            two_sided(estimate, float(self.error[place]), df), None, df, self.units, len(self.draws),
        )  # fmt: skip


def _jackknife(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    without = values[1:][sizes > 0]
    count = len(without)
    return np.asarray((count - 1) / count * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
