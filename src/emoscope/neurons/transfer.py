"""Sets that several corpora found, ready to act on one of them: each corpus's own, and sets fused over all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from emoscope.neurons.activity import Activity
from emoscope.neurons.agreement import score_agreement
from emoscope.neurons.choosing import Job, rank_streaming
from emoscope.neurons.controls import COVARIATES, MatchedSet, Matcher, covariates, seeded_generator
from emoscope.neurons.equal_samples import EqualSamples, Source, equal_samples, first_clips, host_folds, selection_of
from emoscope.neurons.found_sets import FoundSets, SetTable
from emoscope.neurons.fusion import WAYS, rank_fused
from emoscope.neurons.identification import Sample
from emoscope.neurons.lending import lent_name
from emoscope.neurons.running_top import Chosen
from emoscope.neurons.selection_plan import SPAN_ITEMS, SelectionPlan
from emoscope.neurons.selectors import find_selector
from emoscope.neurons.set_spec import ALL, SetSpec

__all__ = ["EqualSamples", "Source", "equal_samples", "score_agreement", "transfer_sets"]


@dataclass(frozen=True)
class Found:
    """What one source found for a fold of the host: the clips, and the neurons of each emotion."""

    sample: Sample
    chosen: tuple[Chosen, ...]


def transfer_sets(
    sources: Sequence[Source], host: str, spec: SetSpec, fuse: Sequence[str] = WAYS, consistency: float = 0.3
) -> dict[str, FoundSets]:
    """Find the headline's sets in every source, and fused over all, for the folds of the corpus on which they act.

    Every set is found on the same emotions and on equally many clips of each (:func:`equal_samples`, which also
    says which sources are left out). In the host a fold's set is found on the clips outside the fold. Another source's
    set is found on clips from all its folds and is the same in every fold of the host, except where it has clips of
    the speakers of a fold. A fused set takes an equal part of its clips from every source.

    The matched controls of a set are like it on all items of the host, on which both act.

    Args:
        sources: the corpora, asked about ``spec.emotions``.
        host: the name of the one on which the sets act; it may be one that is left out as a source.
        spec: what to find; of its selectors, budgets and controls the headline and ``matched`` count.
        fuse: ways to fuse, of :data:`~emoscope.neurons.fusion.WAYS`.
        consistency: weight of the spread over corpora in consistency fusion.

    Returns:
        source, or such as ``"fused: joint"`` -> its sets for every fold of the host and ``"all"``; set ids end in
        ``~from=<source>``, which also fills the column ``source``. Sources that are left out are not there, nor are
        fused sets where there is nothing to fuse.

    Raises:
        ValueError: the host is no source, an unknown fusion, or sources that cannot be compared.
    """
    if unknown := [way for way in fuse if way not in WAYS]:
        raise ValueError(f"fusion {unknown[0]!r} is not known: choose from {', '.join(WAYS)}")
    if host not in [source.name for source in sources]:
        raise ValueError(f"host {host!r} is no source: they are {', '.join(source.name for source in sources)}")
    equal = equal_samples(sources, spec)
    kept = [source for source in sources if source.name in equal.kept]
    acting = next(source for source in sources if source.name == host)
    folds = host_folds(acting.items)
    found = {one.name: _found_in(one, host, equal, spec, folds) for one in kept}
    if fuse and equal.fused_n:
        found |= _fused(kept, host, equal, spec, folds, fuse, consistency)
    if not found:
        return {}
    used = acting.items.filter(pl.col("fate") == "used")["item"].to_numpy()
    standardised = _covariates(acting.activity, used, spec) if spec.matched else None
    means = acting.activity.mean_product(used).astype("float32").ravel()
    shape = acting.activity.layers, acting.activity.width
    return {
        name: FoundSets(*_tables(name, by_fold, equal.emotions, spec, standardised), equal.identifiable, *shape, means)
        for name, by_fold in found.items()
    }  # fmt: skip


def _size(activity: Activity, spec: SetSpec) -> int:
    return max(1, round(spec.headline[1] * activity.layers * activity.width))


def _found_in(source: Source, host: str, equal: EqualSamples, spec: SetSpec, folds: Sequence[str]) -> dict[str, Found]:
    """The sets that one source finds for the folds of the host."""
    own = {fold: equal.sample(source.name, host, fold) for fold in folds}
    needed = {sample.fold: sample for sample in own.values()}
    plan = SelectionPlan([selection_of(sample, equal.emotions) for sample in needed.values()])
    (selector, _), size = spec.headline, _size(source.activity, spec)
    jobs = [Job(fold, selector, (size,)) for fold in needed]
    ranked = rank_streaming(source.activity, plan, spec.scope_name, jobs, spec.seed, spec.floor)
    return {fold: Found(sample, ranked[sample.fold, selector].take(size)) for fold, sample in own.items()}


def _fused(
    kept: Sequence[Source], host: str, equal: EqualSamples, spec: SetSpec, folds: Sequence[str],
    fuse: Sequence[str], consistency: float,
) -> dict[str, dict[str, Found]]:  # fmt: skip
    """The fused sets: name -> fold -> what was found."""
    corpora, numbers, parts = [], [], []
    for source in kept:
        own = [first_clips(equal.sample(source.name, host, fold), equal.emotions, equal.fused_n) for fold in folds]
        needed = {sample.fold: sample for sample in own}
        plan = SelectionPlan([selection_of(sample, equal.emotions) for sample in needed.values()])
        corpora.append((source.activity, plan))
        numbers.append([list(needed).index(sample.fold) for sample in own])
        parts.append(own)
    samples = [_together(group) for group in zip(*parts, strict=True)]
    asked = {sample.fold: which for sample, which in zip(samples, zip(*numbers, strict=True), strict=True)}
    selector, size = find_selector(spec.headline[0]), _size(kept[0].activity, spec)
    ranked = rank_fused(corpora, asked, spec.scope_name, selector, fuse, consistency, size, spec.seed, spec.floor)
    return {
        f"fused: {way}": {
            fold: Found(sample, ranked[way, sample.fold].take(size))
            for fold, sample in zip(folds, samples, strict=True)
        }
        for way in fuse
    }


def _together(samples: Sequence[Sample]) -> Sample:
    """The clips of several sources for one fold of the host."""
    fold = next((one.fold for one in samples if one.fold != ALL), ALL)
    return Sample(fold, tuple(clip for one in samples for clip in one.clips), sum(one.n for one in samples))


def _covariates(activity: Activity, used: np.ndarray, spec: SetSpec) -> np.ndarray:
    """What matched controls share with a set, over all items of the host; (layer, width, covariate)."""
    positions = activity.tokens(spec.scope_name, used).sum()
    rates = np.zeros((activity.layers, activity.width))
    for layer in range(activity.layers):
        for start in range(0, len(used), SPAN_ITEMS):
            rates[layer] += activity.read_counts(layer, spec.scope_name, used[start : start + SPAN_ITEMS]).sum(axis=0)
    return covariates(rates / positions, activity.mean_magnitude(used), activity.down_norm)


def _tables(
    source: str, by_fold: dict[str, Found], emotions: tuple[str, ...], spec: SetSpec, standardised: np.ndarray | None,
) -> tuple[pl.DataFrame, dict[tuple[str, str], dict[str, np.ndarray]]]:  # fmt: skip
    """The table of one source's target sets and matched controls, and their neurons."""
    table, (selector, budget) = SetTable(spec, source), spec.headline
    controls: dict[str, list[tuple[int, str, MatchedSet]]] = {}
    for fold, found in by_fold.items():
        sample, known = Sample(fold, found.sample.clips, found.sample.n), found.sample.fold
        groups = dict(zip(emotions, found.chosen, strict=True))
        table.add(sample, selector, budget, "target", 0, groups)
        if standardised is not None and known not in controls:  # what is found once has one control in every fold
            controls[known] = list(_matched(source, known, groups, spec, standardised))
        for draw, emotion, control in controls.get(known, []):
            smd = {f"smd_{one}": None if np.isnan(control.smd[one]) else control.smd[one] for one in COVARIATES}
            table.put(sample, selector, budget, "matched", draw, emotion, control.neurons, groups[emotion].wanted,
                      **smd, well_matched=control.well_matched)  # fmt: skip
    lent = {name: lent_name(name, source) for name, _ in table.sets}
    sets = {(lent[name], fold): group for (name, fold), group in table.sets.items()}
    return table.frame().with_columns(pl.col("set").replace_strict(lent)), sets


def _matched(
    source: str, fold: str, groups: dict[str, Chosen], spec: SetSpec, standardised: np.ndarray
) -> Iterator[tuple[int, str, MatchedSet]]:
    """The matched controls of one fold's sets: (draw, emotion, control)."""
    matcher = Matcher(standardised, np.unique(np.concatenate([one.neurons for one in groups.values()])))
    for draw in range(spec.matched):
        for emotion, one in groups.items():
            generator = seeded_generator(spec.seed, "matched", source, fold, emotion, draw)
            yield draw, emotion, matcher.draw(one.neurons, generator)
