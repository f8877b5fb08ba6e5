"""Adjusting p values for how many hypotheses were tested."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


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
    from scipy.stats import false_discovery_control  # imported where it is needed: it takes long

    found = dict(zip(there, map(float, false_discovery_control([float(p[i] or 0) for i in there])), strict=True))
    return [found.get(i) for i in range(len(p))]
