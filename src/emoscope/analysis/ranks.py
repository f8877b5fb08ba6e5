"""Where a family of target sets ranks among the combinations of its matched control sets."""

from __future__ import annotations

import numpy as np

MOST_HALF = 1_000_000
"""Sums kept of each half of the emotions; 10 draws for each of 12 emotions are still counted exactly."""

ROUNDING = 1e-9
"""Sums (in points) closer than this are equal: they differ only by the order of addition."""


def rank(own: np.ndarray, controls: np.ndarray, falls: bool) -> tuple[int, int] | None:
    """The rank of a sum over emotions among all sums that take one control draw per emotion.

    Controls are single sets, one per emotion and draw, and a gap is a sum with one term per emotion's set.
    Draws can therefore be combined freely: 10 draws for each of 4 emotions give 10,000 control gaps. They
    are counted in two halves, whose sums are sorted, so that none of the combinations is made.

    Args:
        own: the target sets' terms, dimension (emotion).
        controls: the control sets' terms, dimensions (draw, emotion).
        falls: whether smaller sums are the expected direction.

    Returns:
        1 + the number of combinations at least as extreme, and how many combinations there are; ``None``
        where there are too many to count.

    Example:
        >>> rank(np.array([-3.0, -1.0]), np.array([[0.0, 0.0], [-4.0, -1.0]]), falls=True)
        (3, 4)
    """
    sign = 1 if falls else -1
    draws, emotions = controls.shape
    if draws ** (emotions - emotions // 2) > MOST_HALF:
        return None
    first, second = (np.zeros(1), np.zeros(1))
    for emotion in range(emotions):
        terms = sign * controls[:, emotion]
        if emotion < emotions // 2:
            first = np.add.outer(first, terms).ravel()
        else:
            second = np.add.outer(second, terms).ravel()
    limit = sign * float(own.sum()) + ROUNDING
    extreme = int(np.searchsorted(np.sort(second), limit - first, side="right").sum())
    return 1 + extreme, draws**emotions
