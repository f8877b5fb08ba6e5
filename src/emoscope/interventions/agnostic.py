"""Label-free injection: the neurons of several emotions at once, by shares that need no label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from emoscope.interventions.intervention import POSITIONS, Intervention, steer


def mix(
    sets: Mapping[str, Any], shares: Mapping[str, float], alpha: float, positions: Iterable[str] | str = POSITIONS
) -> Intervention:
    """Steer each emotion's neurons by its share of alpha: the gain is 1 + alpha * (sum of the shares of its emotions).

    Equal shares of sets that have no neuron in common are the union at alpha / (number of sets), bit for bit.

    Args:
        sets: emotion -> its neurons, a neuron set or flat neuron numbers.
        shares: emotion -> its weight, 0 or more; they are divided by their sum, so they need not add up to 1. An
            emotion without a set takes its share and steers nothing.
        alpha: the strength of which each set gets its share.
        positions: scopes at which to act, names or ``"audio+text"``; all by default.

    Raises:
        ValueError: a weight is negative, or their sum is not above 0.

    Example:
        >>> mix({"anger": [3, 5], "fear": [5]}, {"anger": 1, "fear": 3}, 1.0)
        Intervention(1 neurons x 1.25, 1 neurons x 2)
    """
    total = sum(shares.values())
    if not total > 0 or min(shares.values()) < 0:
        raise ValueError(f"shares {dict(shares)} must not be negative and must sum to more than 0")
    numbers = {
        emotion: np.unique(np.asarray(getattr(one, "neurons", one), np.int64))
        for emotion, one in sets.items()
        if shares.get(emotion)
    }
    neurons = _together(numbers)
    weight = np.zeros(len(neurons))
    for emotion, its in numbers.items():
        weight[np.searchsorted(neurons, its)] += shares[emotion]
    # neurons of equal weight make one edit: gains of several edits on a neuron would multiply
    done = Intervention()
    for level in np.unique(weight):
        done += steer(neurons[weight == level], alpha * float(level) / total, positions)
    return done


def union(sets: Mapping[str, Any], alpha: float, positions: Iterable[str] | str = POSITIONS) -> Intervention:
    """Steer all emotions' neurons alike: the gain is 1 + alpha on every neuron of any set.

    Example:
        >>> union({"anger": [3, 5], "fear": [5]}, 0.5)
        Intervention(2 neurons x 1.5)
    """
    return steer(
        _together({name: np.asarray(getattr(one, "neurons", one), np.int64) for name, one in sets.items()}),
        alpha,
        positions,
    )


def _together(sets: Mapping[str, np.ndarray]) -> np.ndarray:
    return np.unique(np.concatenate(list(sets.values()))) if sets else np.empty(0, np.int64)
