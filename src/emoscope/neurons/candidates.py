"""The best neurons of every selector in rank order, and every selector's scores of any neurons, fold by fold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from emoscope.neurons.activity import Activity
from emoscope.neurons.controls import random_neurons, seeded_generator
from emoscope.neurons.jobs import ALL, SetSpec
from emoscope.neurons.ranking import DECIMALS, Job, SelectionPlan, rank_streaming, tie_order
from emoscope.neurons.samples import draw_samples
from emoscope.neurons.selectors import SELECTORS, find_selector

Key = tuple[str, str]  # selector, fold


@dataclass(frozen=True, eq=False)
class Candidates:
    """Neurons worth asking about: the best of every selector in every fold, and a random sample of all.

    Scores and ranks of a fold come from the clips outside it, which is where the study's sets of that fold come from.
    """

    emotions: tuple[str, ...]
    folds: tuple[str, ...]
    selectors: tuple[str, ...]
    neurons: np.ndarray  # all of them, flat numbers, ascending; int64 (neuron,)
    sampled: np.ndarray  # the random sample alone; int64 (neuron,)
    scores: Mapping[Key, np.ndarray]  # of ``neurons``, -inf where not eligible; float64 (emotion, neuron)
    best: Mapping[Key, tuple[np.ndarray, ...]]  # for each emotion the best neurons, the best first; int64 (neuron,)

    def pool(self, fold: str) -> np.ndarray:
        """What was chosen without the clips of a fold: its own best neurons and the sample; places in ``neurons``."""
        best = [its for (_, of), lists in self.best.items() if of == fold for its in lists]
        return np.flatnonzero(np.isin(self.neurons, np.concatenate([self.sampled, *best])))


def find_candidates(
    activity: Activity, items: pl.DataFrame, spec: SetSpec, selectors: Sequence[str], best: int, sampled: int
) -> Candidates:
    """Rank neurons as a study would, in every fold, and score all that some selector has among its ``best``.

    Args:
        items: those that were used, as :func:`~emoscope.neurons.selection.find_sets` takes them.
        spec: which clips identify, in which scope; its budgets and controls play no part.
        selectors: where none is named, emoscope's and the study's, as far as the store holds what they read.
        best: how many neurons of each selector, emotion and fold.
        sampled: how many neurons are drawn from all of the decoder, whatever selectors say of them.

    Raises:
        NotIdentifiable: fewer than two emotions have enough correct clips.
        ValueError: the store lacks the scope, or what a selector reads.
    """
    samples = [sample for sample in draw_samples(items, spec)[0] if sample.fold != ALL]
    emotions, folds = samples[0].emotions, tuple(sample.fold for sample in samples)
    plan = SelectionPlan(activity, [sample.selection(emotions) for sample in samples], spec.scope_name, spec.floor)
    selectors = selectors or [name for name in dict.fromkeys([*SELECTORS, *spec.selectors]) if readable(plan, name)]
    jobs = [Job(fold, name, min(best, activity.neurons)) for fold in folds for name in selectors]
    lists = {
        (job.selector, str(job.key)): found.take(job.size)
        for job, found in rank_streaming(plan, jobs, spec.seed).items()
    }
    luck = seeded_generator(spec.seed, "candidates")
    drawn = random_neurons(min(sampled, activity.neurons), activity.neurons, luck)
    neurons = np.unique(np.concatenate([drawn, *(its.neurons for found in lists.values() for its in found)]))
    scores, means = score_neurons(plan, selectors, neurons)
    ranked = {
        key: tuple(
            _in_order(its.neurons, neurons, scores[key][place], means[key[1]][place], spec.seed)
            for place, its in enumerate(found)
        )
        for key, found in lists.items()
    }
    return Candidates(emotions, folds, tuple(selectors), neurons, drawn, scores, ranked)


def readable(plan: SelectionPlan, selector: str) -> bool:
    """Whether the store holds what a selector reads beside rates and activations, which all stores hold."""
    more = {*find_selector(selector).needs} - {"bar", "variance"}
    try:
        return not more or bool(next(plan.statistics(dict.fromkeys(more, (0,)))))
    except ValueError:
        return False


def score_neurons(
    plan: SelectionPlan, selectors: Sequence[str], neurons: np.ndarray
) -> tuple[dict[Key, np.ndarray], dict[str, np.ndarray]]:
    """Every selector's scores of some neurons on each selection of a plan, and their mean activation, in one pass.

    Args:
        neurons: flat numbers, ascending.

    Returns:
        (selector, selection) -> scores; selection -> means; both float64 (emotion, neuron).
    """
    keys, width = [str(selection.key) for selection in plan.selections], plan.activity.width
    shape = len(plan.emotions), len(neurons)
    scores = {(name, key): np.empty(shape) for name in selectors for key in keys}
    means = {key: np.empty(shape) for key in keys}
    needs = {need: range(len(keys)) for name in selectors for need in find_selector(name).needs}
    edges = np.searchsorted(neurons, np.arange(plan.activity.layers + 1) * width)
    for layer, seen in enumerate(plan.statistics(needs)):
        places = slice(edges[layer], edges[layer + 1])
        columns = neurons[places] - layer * width
        for key, given in zip(keys, seen, strict=True):
            means[key][:, places] = given.mean[:, columns]
            for name in selectors:
                scores[name, key][:, places] = find_selector(name)(given)[:, columns]
    return scores, means


def _in_order(chosen: np.ndarray, neurons: np.ndarray, scores: np.ndarray, means: np.ndarray, seed: int) -> np.ndarray:
    """Chosen neurons by score, then by mean activation, then by :func:`~emoscope.neurons.ranking.tie_order`."""
    at = np.searchsorted(neurons, chosen)
    order = np.lexsort((tie_order(chosen, seed), -means[at], -np.round(scores[at], DECIMALS)))
    return np.asarray(chosen[order])
