"""Whether a label can be read from the activity at all: a linear probe, fitted on other speakers' items."""

from __future__ import annotations

import numpy as np
import polars as pl

from emoscope.neurons.activity import Activity
from emoscope.neurons.samples import ALL, acting_folds, on_side

PENALTIES = 10.0 ** np.arange(-4, 1)
"""Of which the probe takes the best, as shares of the mean squared length of an item."""


def read_labels(activity: Activity, items: pl.DataFrame, scope: str) -> pl.DataFrame:
    """What a ridge regression reads from the mean activations of all neurons, of every item that sets may act on.

    For each fold it is fitted on the items by which that fold's sets are found (those outside it, or the side that
    identifies). An activation counts as its difference from the mean over the speaker's items, in standard deviations
    of the neuron, as effects compare clips of one speaker. Classes weigh alike; the penalty is that of the smallest
    squared error with one item left out.

    Args:
        items: those that were heard, with the columns item, fold, speaker, truth and, if sides are fixed, side.
        scope: whose positions count.

    Returns:
        the rows of ``items`` that some fold tests, with the column ``read``.
    """
    items = items.sort("item")
    truth = items["truth"].to_numpy()
    kernel = _kernel(activity, items, scope)
    finds = items["item"].is_in(on_side(items, "identify")["item"].to_list()).to_numpy()
    tests = items["item"].is_in(on_side(items, "evaluate")["item"].to_list()).to_numpy()
    fold = items["fold"].fill_null("").to_numpy()
    read = np.full(len(items), None, dtype=object)
    for acting in (name for name in acting_folds(items) if name != ALL):
        there, fitted = tests & (fold == acting), finds & (fold != acting)
        read[there] = ridge(kernel[np.ix_(fitted, fitted)], truth[fitted], kernel[np.ix_(there, fitted)])
    found = items.with_columns(read=pl.Series(read.tolist(), dtype=pl.String))
    return found.filter(pl.col("read").is_not_null())


def _kernel(activity: Activity, items: pl.DataFrame, scope: str) -> np.ndarray:
    """Inner products of all items' activations, (item, item), a layer at a time."""
    numbers = items["item"].to_numpy()
    tokens = np.maximum(activity.tokens(scope, numbers), 1)[:, None]
    whose = np.unique(items["speaker"].fill_null("").to_numpy(), return_inverse=True)[1]
    total = np.zeros((len(numbers), len(numbers)))
    for layer in range(activity.layers):
        means = activity.read_sums(layer, scope, numbers) / tokens
        own = np.zeros((whose.max() + 1, means.shape[1]))
        np.add.at(own, whose, means)
        means -= (own / np.bincount(whose)[:, None])[whose]
        spread = means.std(axis=0)
        means /= np.where(spread > 0, spread, np.inf)
        total += means @ means.T
    return total


def ridge(kernel: np.ndarray, labels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Read the labels of other items by a ridge regression in its dual form.

    Args:
        kernel: inner products of the items with known ``labels``, (item, item).
        others: those of the other items with these, (other, item).

    Returns:
        a label for each of the other items, dimension (other).

    Example:
        >>> known, other = np.array([[1.0], [2.0], [-1.0], [-2.0]]), np.array([[3.0], [-0.5]])
        >>> ridge(known @ known.T, np.array(["up", "up", "down", "down"]), other @ known.T).tolist()
        ['up', 'down']
    """
    names, codes = np.unique(labels, return_inverse=True)
    wanted = np.eye(len(names))[codes] / np.bincount(codes)
    level, seen = wanted.mean(axis=0), kernel.mean(axis=0)
    centred = kernel - seen - seen[:, None] + seen.mean()
    values, vectors = np.linalg.eigh(centred)
    values, turned = np.maximum(values, 0.0), vectors.T @ (wanted - level)

    def left_out(penalty: float) -> float:
        kept = values / (values + penalty)
        alone = 1 - np.einsum("ik,k,ik->i", vectors, kept, vectors) - 1 / len(codes)
        errors = (wanted - level - vectors @ (kept[:, None] * turned)) / np.maximum(alone, 1e-9)[:, None]
        return float((errors**2).sum())

    penalty = min(PENALTIES * max(float(values.mean()), 1e-12), key=left_out)
    weights = vectors @ (turned / (values + penalty)[:, None])
    apart = others - others.mean(axis=1, keepdims=True) - seen + seen.mean()
    return np.asarray(names[(level + apart @ weights).argmax(axis=1)])
