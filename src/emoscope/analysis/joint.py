"""Statistics of several parts of one corpus together: a speaker who is left out is left out of all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emoscope.analysis.jackknife import Interval, interval


@dataclass(frozen=True)
class Replicated:
    """A statistic with all speakers and without each of them.

    Attributes:
        values: dimension (1 + speaker).
        speakers: their names.
        sizes: items of each, dimension (speaker).
    """

    values: np.ndarray
    speakers: tuple[str, ...]
    sizes: np.ndarray

    def minus(self, other: Replicated) -> Replicated:
        """The difference to a statistic of other items of the same corpus.

        Leaving out a speaker who has items in one of the two only changes that one.

        Example:
            >>> first = Replicated(np.array([5.0, 4.0, 6.0]), ("a", "b"), np.array([2, 2]))
            >>> found = first.minus(Replicated(np.array([1.0, 3.0, 1.0]), ("b", "c"), np.array([1, 0])))
            >>> found.values.tolist(), found.speakers, found.sizes.tolist()
            ([4.0, 3.0, 3.0, 4.0], ('a', 'b', 'c'), [2, 3, 0])
        """
        both = tuple(sorted({*self.speakers, *other.speakers}))
        mine, theirs = self._over(both), other._over(both)
        return Replicated(mine[0] - theirs[0], both, mine[1] + theirs[1])

    def interval(self) -> Interval:
        """The jackknife interval over the speakers."""
        return interval(self.values, self.sizes)

    def _over(self, speakers: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
        places = {name: place for place, name in enumerate(self.speakers)}
        values = [self.values[0], *(self.values[1 + places[s]] if s in places else self.values[0] for s in speakers)]
        return np.array(values), np.array([self.sizes[places[s]] if s in places else 0 for s in speakers])
