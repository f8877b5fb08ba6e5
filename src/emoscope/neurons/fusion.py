"""Sets that act on one corpus and were found in others: in each alone, or by one score from the scores of several.

Formulas of fusion as described by follow-up work (docs/method.md), for any selector in place of its contrast score.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from emoscope.neurons.activity import Activity
from emoscope.neurons.controls import CONTROLS, Chosen, Ground, covariates, draw_each
from emoscope.neurons.jobs import ALL, SetSpec, Wanted, controls_of
from emoscope.neurons.ranking import SPAN_ITEMS, Job, Lists, SelectionPlan, rank_streaming
from emoscope.neurons.samples import Sample, acting_folds
from emoscope.neurons.selection import FoundSets, SetTable
from emoscope.neurons.selectors import ATTRIBUTED, Selector, Statistics, find_selector
from emoscope.neurons.sources import EqualSamples, Source, equal_samples
from emoscope.schemas import as_table
from emoscope.vocabulary import MATCHED, USED

OVERLAP, JOINT, CONSISTENCY = "overlap", "joint", "consistency"
WAYS = (OVERLAP, JOINT, CONSISTENCY)

SMALLEST_SPREAD = 1e-9  # what is added to a standard deviation, so that scores that do not vary become 0


class Scale:
    """Mean, standard deviation and lowest value of the eligible scores of one corpus, which are seen piece by piece.

    Means and sums of squared deviations are merged after Chan, Golub and LeVeque (1983). All are 0 of nothing.

    Example:
        >>> scale = Scale()
        >>> scale.add(np.array([[1.0, -np.inf], [2.0, 3.0]])); scale.add(np.array([6.0]))
        >>> scale.mean, scale.lowest, scale(np.array([6.0, -np.inf])).round(3)
        (3.0, 1.0, array([1.604,  -inf]))
    """

    def __init__(self) -> None:
        self.mean, self.lowest, self._count, self._squares = 0.0, 0.0, 0, 0.0

    @property
    def std(self) -> float:
        """The standard deviation of what was seen."""
        return float(np.sqrt(self._squares / max(self._count, 1)))

    def add(self, scores: np.ndarray) -> None:
        """Consider scores of any shape; -inf is no score."""
        finite = scores[scores > -np.inf]
        if not len(finite):
            return
        self.lowest = min(float(finite.min()), self.lowest if self._count else np.inf)
        count, mean = self._count + len(finite), float(finite.mean())
        apart = mean - self.mean
        self._squares += float(((finite - mean) ** 2).sum()) + apart**2 * self._count * len(finite) / count
        self.mean += apart * len(finite) / count
        self._count = count

    def __call__(self, scores: np.ndarray) -> np.ndarray:
        """z-scores; what is not eligible (-inf) stays so."""
        return (scores - self.mean) / (self.std + SMALLEST_SPREAD)


def overlap(standardised: Sequence[np.ndarray]) -> np.ndarray:
    """The smallest z-score over corpora (emotion, neuron), for the emotion that has the largest in all of them.

    For other emotions, and where it is not eligible in some corpus, the neuron is not eligible.

    Example:
        >>> one, two = np.array([[2.0, 1.0], [0.0, 0.5]]), np.array([[1.5, 0.0], [0.0, 3.0]])
        >>> overlap([one, two])
        array([[ 1.5, -inf],
               [-inf, -inf]])
    """
    same = np.logical_and.reduce([z == z.max(axis=0) for z in standardised])
    return np.where(same, np.minimum.reduce(list(standardised)), -np.inf)


def consistency(standardised: Sequence[np.ndarray], scales: Sequence[Scale], weight: float) -> np.ndarray:
    """Mean of the z-scores over corpora minus ``weight`` times their standard deviation.

    The z-scores (emotion, neuron) of each corpus come with the scale that they were made with. Where a neuron is
    eligible in some corpora only, it counts in the others as the lowest eligible one there.

    Example:
        >>> scale = Scale()
        >>> scale.add(np.array([1.0, 3.0]))
        >>> one, two = np.array([[2.0, 1.0, -np.inf]]), np.array([[1.0, -np.inf, -np.inf]])
        >>> consistency([one, two], [scale, scale], 0.5).round(6)
        array([[ 1.25, -0.5 ,  -inf]])
    """
    lowest = [scale(np.array(scale.lowest)) for scale in scales]
    filled = np.stack([np.maximum(z, least) for z, least in zip(standardised, lowest, strict=True)])
    eligible = np.logical_or.reduce([z > -np.inf for z in standardised])
    return np.where(eligible, filled.mean(axis=0) - weight * filled.std(axis=0), -np.inf)


def pooled(statistics: Sequence[Statistics], bar: float = float("nan")) -> Statistics:
    """The statistics of all corpora's positions together: K and T, and the sums behind M, are added.

    The variance within emotions is the mean of the corpora's, so that a difference between corpora is none.

    Example:
        >>> one = Statistics(np.array([[0.5], [0.1]]), np.array([[2.0], [1.0]]), np.array([10.0, 10.0]))
        >>> two = Statistics(np.array([[0.2], [0.3]]), np.array([[0.0], [1.0]]), np.array([30.0, 10.0]))
        >>> both = pooled([one, two])
        >>> both.rate.ravel(), both.mean.ravel(), both.positions
        (array([0.275, 0.2  ]), array([0.5, 1. ]), array([40., 20.]))
    """
    positions = np.sum([stats.positions for stats in statistics], axis=0)
    variances = [stats.variance for stats in statistics if stats.variance is not None]
    # counts are whole numbers, which a rate times its positions only nearly is: equal rates must stay equal
    fired = np.sum([np.rint(stats.rate * stats.positions[:, None]) for stats in statistics], axis=0)
    summed = np.sum([stats.mean * stats.positions[:, None] for stats in statistics], axis=0)
    rate, mean = fired / positions[:, None], summed / positions[:, None]
    variance = np.mean(variances, axis=0) if variances else None
    # means over equally many clips of every corpus
    owed = {
        name: np.mean(found, axis=0) if all(one is not None for one in found) else None
        for name in ATTRIBUTED
        for found in [[getattr(given, name) for given in statistics]]
    }
    return Statistics(rate, mean, positions, statistics[0].emotions, statistics[0].layer, bar, variance, **owed)


def rank_fused(
    plans: Sequence[SelectionPlan],
    folds: Mapping[str, Sequence[int]],
    selector: Selector,
    ways: Sequence[str],
    weight: float,
    size: int,
    seed: int = 0,
) -> dict[tuple[str, str], Lists]:
    """Rank neurons by their fused scores, layer by layer through all stores at once; the scales take one pass more.

    There is a plan for each corpus; ``folds`` says for each fold which selection of each plan stands for it. Ties go
    to the larger mean activation, averaged over corpora; the seed decides between the rest. ``weight`` is that of the
    spread in consistency fusion. Memory holds one layer of every corpus and the neurons still in the running. Gives
    (way, fold) -> lists from which up to ``size`` neurons can be taken; a ``ValueError`` names a way that is none.
    """
    if unknown := [way for way in ways if way not in WAYS]:
        raise ValueError(f"fusion {unknown[0]!r} is not known: choose from {', '.join(WAYS)}")
    emotions, width = plans[0].emotions, plans[0].activity.width
    lists = {(way, fold): Lists(size, len(emotions), seed, selector.one_list) for way in ways for fold in folds}
    scales, bars = _scales_and_bars(plans, folds, selector, ways)
    for layer, seen in enumerate(_layers(plans, selector)):
        made = [
            [scale(selector(stats)) for scale, stats in zip(of_corpus, given, strict=True)]
            for of_corpus, given in (zip(scales, seen, strict=True) if {*ways} - {JOINT} else ())
        ]
        for fold, which in folds.items():
            given = [of_corpus[number] for of_corpus, number in zip(seen, which, strict=True)]
            means = np.mean([stats.mean for stats in given], axis=0)
            for way in ways:
                if way == JOINT:
                    together = pooled(given, bars.get(fold, float("nan")))
                    lists[way, fold].add(selector(together), together.mean, layer * width)
                    continue
                standardised = [of_corpus[number] for of_corpus, number in zip(made, which, strict=True)]
                used = [of_corpus[number] for of_corpus, number in zip(scales, which, strict=True)]
                fused = overlap(standardised) if way == OVERLAP else consistency(standardised, used, weight)
                lists[way, fold].add(fused, means, layer * width)
    return lists


def _layers(plans: Sequence[SelectionPlan], selector: Selector) -> Iterator[tuple[list[Statistics], ...]]:
    """Layer by layer the statistics of every corpus and selection."""
    needs = [dict.fromkeys(selector.needs, range(len(plan.selections))) for plan in plans]
    return zip(*(plan.statistics(needed) for plan, needed in zip(plans, needs, strict=True)), strict=True)


def _scales_and_bars(
    plans: Sequence[SelectionPlan], folds: Mapping[str, Sequence[int]], selector: Selector, ways: Sequence[str]
) -> tuple[list[list[Scale]], dict[str, float]]:
    """The scale of every corpus and selection, and LAPE's bar of the pooled rates of every fold."""
    scales = [[Scale() for _ in plan.selections] for plan in plans]
    bars = {fold: plans[0].running_bar() for fold in folds if JOINT in ways and "bar" in selector.needs}
    if bars or {*ways} - {JOINT}:
        for seen in _layers(plans, selector):
            for of_corpus, given in zip(scales, seen, strict=True):
                for scale, stats in zip(of_corpus, given, strict=True):
                    scale.add(selector(stats))
            for fold, bar in bars.items():
                bar.add(pooled([seen[corpus][number] for corpus, number in enumerate(folds[fold])]).rate)
    return scales, {fold: bar.value() for fold, bar in bars.items()}


Found = dict[str, tuple[Sample, tuple[Chosen, ...]]]
"""What one source found: fold of the host -> the clips, and the neurons of each emotion."""


def transfer_sets(
    sources: Sequence[Source], host: str, spec: SetSpec, fuse: Sequence[str] = WAYS, consistency: float = 0.3
) -> dict[str, FoundSets]:
    """Find the headline's sets in every source, and fused over all, for the folds of the corpus on which they act.

    Every set is found on the same emotions and on equally many clips of each (:func:`equal_samples`, which also says
    which sources are left out). In the host, which may be left out itself, a fold's set is found on the clips outside
    the fold. Another source's set is found on clips from all its folds and is the same in every fold of the host, except
    where it has clips of the speakers of a fold. A fused set takes an equal part of its clips from every source. The
    matched controls of a set are like it on all items of the host, on which both act. Of selectors, budgets and controls
    of ``spec`` the headline and the matched ones count; ``consistency`` is the weight of the spread over corpora.

    Gives source, or such as ``"fused: joint"`` -> its sets for every fold of the host and ``"all"``; set ids end in
    ``~from=<source>``, which also fills the column ``source``. Sources that are left out are not there, nor are fused
    sets where there is nothing to fuse.
    """
    if host not in [source.name for source in sources]:
        raise ValueError(f"host {host!r} is no source: they are {', '.join(source.name for source in sources)}")
    equal = equal_samples(sources, spec)
    kept = [source for source in sources if source.name in equal.kept]
    acting = next(source for source in sources if source.name == host)
    folds = acting_folds(acting.items)
    found = {source.name: _found_in(source, host, equal, spec, folds) for source in kept}
    if fuse and equal.fused_n:
        found |= _fused(kept, host, equal, spec, folds, fuse, consistency)
    if not found:
        return {}
    activity, used = acting.activity, acting.items.filter(pl.col("status") == USED)["item"].to_numpy()
    standardised = _covariates(activity, used, spec) if spec.controls.get(MATCHED) else None
    means = activity.mean_product(used).astype("float32").ravel()
    ground, about = Ground(activity.neurons, standardised), (equal.identifiable, activity.layers, activity.width, means)
    tables = {name: _table(name, its, equal.emotions, spec, ground) for name, its in found.items()}
    return {name: FoundSets(as_table("sets", table.rows), table.sets, *about) for name, table in tables.items()}


def _found_in(source: Source, host: str, equal: EqualSamples, spec: SetSpec, folds: Sequence[str]) -> Found:
    own = {fold: equal.sample(source.name, host, fold) for fold in folds}
    needed = {sample.fold: sample for sample in own.values()}
    plan = _plan(source, needed.values(), equal, spec)
    selector, size = spec.headline[0], spec.neurons(spec.headline[1], source.activity.neurons)
    ranked = rank_streaming(plan, [Job(fold, selector, size) for fold in needed], spec.seed)
    return {fold: (sample, ranked[Job(sample.fold, selector, size)].take(size)) for fold, sample in own.items()}


def _plan(source: Source, samples: Iterable[Sample], equal: EqualSamples, spec: SetSpec) -> SelectionPlan:
    selections = [sample.selection(equal.emotions) for sample in samples]
    return SelectionPlan(source.activity, selections, spec.scope_name, spec.floor)


def _fused(
    kept: Sequence[Source],
    host: str,
    equal: EqualSamples,
    spec: SetSpec,
    folds: Sequence[str],
    fuse: Sequence[str],
    weight: float,
) -> dict[str, Found]:
    plans, numbers, parts = [], [], []
    for source in kept:
        own = [equal.sample(source.name, host, fold).part(equal.emotions, equal.fused_n) for fold in folds]
        needed = {sample.fold: sample for sample in own}
        plans.append(_plan(source, needed.values(), equal, spec))
        numbers.append([list(needed).index(sample.fold) for sample in own])
        parts.append(own)
    samples = [_together(group) for group in zip(*parts, strict=True)]
    asked = {sample.fold: which for sample, which in zip(samples, zip(*numbers, strict=True), strict=True)}
    selector, size = find_selector(spec.headline[0]), spec.neurons(spec.headline[1], kept[0].activity.neurons)
    ranked = rank_fused(plans, asked, selector, fuse, weight, size, spec.seed)
    by_fold = dict(zip(folds, samples, strict=True))
    return {
        f"fused: {way}": {fold: (sample, ranked[way, sample.fold].take(size)) for fold, sample in by_fold.items()}
        for way in fuse
    }


def _together(samples: Sequence[Sample]) -> Sample:
    """The clips of several sources for one fold of the host."""
    fold = next((sample.fold for sample in samples if sample.fold != ALL), ALL)
    return Sample(fold, tuple(clip for sample in samples for clip in sample.clips), sum(sample.n for sample in samples))


def _covariates(activity: Activity, used: np.ndarray, spec: SetSpec) -> np.ndarray:
    """What matched controls share with a set, over all items of the host; (layer, width, covariate)."""
    positions = activity.tokens(spec.scope_name, used).sum()
    rates, sizes = np.zeros((2, activity.layers, activity.width))
    for layer in range(activity.layers):
        for start in range(0, len(used), SPAN_ITEMS):
            items = used[start : start + SPAN_ITEMS]
            rates[layer] += activity.read_counts(layer, spec.scope_name, items).sum(axis=0)
            sizes[layer] += activity.read_magnitudes(layer, spec.scope_name, items).sum(axis=0)
    return covariates(rates / positions, sizes / positions, activity.down_norm)


def _table(source: str, found: Found, emotions: tuple[str, ...], spec: SetSpec, ground: Ground) -> SetTable:
    """One source's target sets and matched controls."""
    table, head = SetTable(spec, ground.neurons, source, transferred=True), Wanted(*spec.headline)
    drawn: dict[str, dict[Wanted, dict[str, Chosen]]] = {}
    matched = CONTROLS[MATCHED]
    for fold, (sample, chosen) in found.items():
        groups = dict(zip(emotions, chosen, strict=True))
        controls = drawn.setdefault(sample.fold, {})  # what is found once has one control in every fold
        if not controls and ground.standardised is not None and matched.draw:
            neurons = {emotion: its.neurons for emotion, its in groups.items()}
            draw = matched.draw(ground, neurons, np.unique(np.concatenate(list(neurons.values()))))
            for want in controls_of(head, spec, [matched]):
                controls[want] = draw_each(draw, neurons, (spec.seed, MATCHED, source, sample.fold), want.draw)
        for want, neurons_of in {head: groups, **controls}.items():
            table.add(want, replace(sample, fold=fold), neurons_of)
    return table
