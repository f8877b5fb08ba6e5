"""How far two corpora agree about the neurons of an emotion: shared neurons, and correlation of all scores."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from scipy.special import gammaln
from scipy.stats import rankdata

from emoscope.neurons.equal_samples import EqualSamples, Source, equal_samples, selection_of
from emoscope.neurons.fusion import stream_statistics
from emoscope.neurons.running_top import DECIMALS, EqualLists, OneList
from emoscope.neurons.selection_plan import SelectionPlan
from emoscope.neurons.selectors import find_selector
from emoscope.neurons.set_spec import ALL, SetSpec

COLUMNS: dict[str, Any] = {
    "source": pl.String, "target": pl.String, "selector": pl.String, "emotion": pl.String, "n": pl.Int64,
    "jaccard": pl.Float64, "jaccard_other": pl.Float64, "chance": pl.Float64, "spearman": pl.Float64,
    "spearman_other": pl.Float64,
}  # fmt: skip


def score_agreement(sources: Sequence[Source], spec: SetSpec) -> pl.DataFrame:
    """Compare the sets and scores of every two sources, emotion by emotion, for all selectors.

    Sets have the headline's budget; they and the scores come from equally many clips of the same emotions
    (:func:`~emoscope.neurons.equal_samples.equal_samples`).

    Args:
        sources: the corpora.
        spec: emotions, selectors, budget.

    Returns:
        one row for every two sources (in their order), selector and emotion: ``n`` clips per emotion in each;
        ``jaccard`` of their sets, beside ``chance`` (expected of two random sets of these sizes) and
        ``jaccard_other``, with the sets of other emotions, mean; ``spearman``, the rank correlation of the scores
        of all neurons (those that are not eligible share the lowest rank; null where a score does not vary), beside
        ``spearman_other``, with the scores for other emotions, mean. Empty where fewer than two sources are not left
        out.

    Raises:
        ValueError: sources that cannot be compared.
    """
    equal = equal_samples(sources, spec)
    kept = [source for source in sources if source.name in equal.kept]
    rows: list[dict[str, Any]] = []
    for selector in spec.selectors if len(kept) > 1 else ():
        found = {source.name: _ranks_and_sets(source, equal, spec, selector) for source in kept}
        for one, two in combinations(found, 2):
            rows += [{"source": one, "target": two, "selector": selector, "n": equal.n, **row}
                     for row in _compared(found[one], found[two], equal.emotions)]  # fmt: skip
    return pl.DataFrame(rows, schema=COLUMNS)


def expected_jaccard(first: int, second: int, neurons: int) -> float:
    """The expected Jaccard index of two random sets of these sizes, of all neurons.

    The number that they share is hypergeometric; i shared neurons give i / (first + second - i).

    Example:
        >>> round(expected_jaccard(1, 2, 4), 6)  # half of the time one shared, of two
        0.25
    """

    def choose(n: Any, k: Any) -> Any:
        return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)

    if not first or not second:
        return 0.0
    shared = np.arange(max(0, first + second - neurons), min(first, second) + 1, dtype=float)
    log_share = choose(first, shared) + choose(neurons - first, second - shared) - choose(neurons, second)
    return float(np.sum(np.exp(log_share) * shared / (first + second - shared)))


def _ranks_and_sets(
    source: Source, equal: EqualSamples, spec: SetSpec, name: str
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Ranks of all neurons, centred and of length 1 (emotion, neuron), and the set of each emotion."""
    activity, selector, emotions = source.activity, find_selector(name), equal.emotions
    total = activity.layers * activity.width
    size = max(1, round(spec.headline[1] * total))
    lists = (OneList if selector.one_list else EqualLists)(size, len(emotions), spec.seed)
    plan = SelectionPlan([selection_of(equal.sample(source.name, source.name, ALL), emotions)])
    scores = np.empty((len(emotions), total))
    for layer, (given,) in enumerate(stream_statistics(activity, plan, spec.scope_name, selector, spec.floor)):
        found = selector(given)
        scores[:, layer * activity.width : (layer + 1) * activity.width] = found
        lists.add(found, given.mean, layer * activity.width)
    ranks = rankdata(np.round(scores, DECIMALS), axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    length = np.sqrt((ranks**2).sum(axis=1, keepdims=True))
    ranks /= np.where(length > 0, length, np.nan)
    return ranks, tuple(one.neurons for one in lists.take(size))


def _compared(
    one: tuple[np.ndarray, tuple[np.ndarray, ...]], two: tuple[np.ndarray, tuple[np.ndarray, ...]],
    emotions: Sequence[str],
) -> list[dict[str, Any]]:  # fmt: skip
    correlations = one[0] @ two[0].T
    shared = np.array([[len(np.intersect1d(a, b)) for b in two[1]] for a in one[1]], float)
    either = np.array([[len(np.union1d(a, b)) for b in two[1]] for a in one[1]], float)
    jaccard = np.divide(shared, either, out=np.zeros_like(shared), where=either > 0)
    rows = []
    for i, emotion in enumerate(emotions):
        chance = expected_jaccard(len(one[1][i]), len(two[1][i]), one[0].shape[1])
        rows.append({
            "emotion": emotion, "jaccard": jaccard[i, i], "jaccard_other": _others(jaccard, i), "chance": chance,
            "spearman": _number(correlations[i, i]), "spearman_other": _number(_others(correlations, i)),
        })  # fmt: skip
    return rows


def _others(table: np.ndarray, place: int) -> float:
    """Mean of an emotion with the other emotions, in both directions."""
    others = np.arange(len(table)) != place
    return float(np.mean([table[place, others], table[others, place]]))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
