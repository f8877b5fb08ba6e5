"""Sets that several corpora found, ready to act on one of them: each corpus's own, and sets fused over all."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from emoscope.neurons.activity import Activity
from emoscope.neurons.agreement import score_agreement
from emoscope.neurons.choosing import Job, rank_streaming
from emoscope.neurons.controls import COVARIATES, MatchedSet, Matcher, covariates, seeded_generator
from emoscope.neurons.equal_samples import EqualSamples, Source, equal_samples, host_folds, selection_of
from emoscope.neurons.found_sets import FoundSets, SetTable
from emoscope.neurons.fusion import WAYS, rank_fused
from emoscope.neurons.identification import Sample
from emoscope.neurons.running_top import Chosen
from emoscope.neurons.selection_plan import SPAN_ITEMS, SelectionPlan
from emoscope.neurons.selectors import find_selector
from emoscope.neurons.set_spec import ALL, SetSpec

__all__ = ["EqualSamples", "Source", "equal_samples", "from_source", "score_agreement", "transfer_sets"]

Found = dict[str, tuple[Chosen, ...]]
"""Fold of the host -> what was chosen for each emotion."""


def transfer_sets(
    sources: Sequence[Source], host: str, spec: SetSpec, fuse: Sequence[str] = WAYS, consistency: float = 0.3
) -> dict[str, FoundSets]:
    """Find the headline's sets in every source, and fused over all, for the folds of the corpus on which they act.

    Every set is found on the same emotions and on equally many clips of each, see :func:`equal_samples`, which also
    says which sources are left out. In the host a fold's set is found on the clips outside it. Another source's set
    is found on clips from all its folds and is the same in every fold of the host. A fused set takes an equal part of
    its clips from every source, in the host outside the fold.

    Firing rates and magnitudes of matched controls are those of all items of the host, on which the sets act.

    Args:
        sources: the corpora, asked about emotions of which ``spec.emotions`` are shared.
        host: the name of the one on which the sets act; it may be one that is left out as a source.
        spec: what to find; of its selectors, budgets and controls the headline and ``matched`` count.
        fuse: ways to fuse, of :data:`~emoscope.neurons.fusion.WAYS`.
        consistency: weight of the spread over corpora in consistency fusion.

    Returns:
        source, or such as ``"fused: joint"`` -> its sets, with set ids that end in ``~from=<source>`` and the column
        ``source``. Left-out sources are not there, nor fused sets of fewer than two sources.

    Raises:
        NotIdentifiable: every source is left out.
        ValueError: the host is no source, an unknown fusion, or sources that cannot be compared.
    """
    if unknown := [way for way in fuse if way not in WAYS]:
        raise ValueError(f"fusion {unknown[0]!r} is not known: choose from {', '.join(WAYS)}")
    if host not in [source.name for source in sources]:
        raise ValueError(f"host {host!r} is no source: they are {', '.join(source.name for source in sources)}")
    equal = equal_samples(sources, spec)
    acting = next(source for source in sources if source.name == host)
    folds = host_folds(acting.items)
    found = {
        source.name: (_found_in(source, equal, spec, folds if source.name == host else [ALL]), equal.n)
        for source in sources
        if source.name in equal.samples
    }
    if fuse and equal.fused_n:
        fused = _fused(sources, host, equal, spec, folds, fuse, consistency)
        found |= {f"fused: {way}": (one, equal.fused_n * len(equal.samples)) for way, one in fused.items()}
    used = acting.items.filter(pl.col("fate") == "used")["item"].to_numpy()
    standardised = _covariates(acting.activity, used, spec) if spec.matched else None
    means = acting.activity.mean_product(used).astype("float32").ravel()
    return {
        name: _as_sets(name, chosen, n, folds, equal, spec, standardised, acting.activity, means)
        for name, (chosen, n) in found.items()
    }


def from_source(found: FoundSets, source: str, spec: SetSpec) -> FoundSets:
    """The headline's target sets and its first ``spec.matched`` matched draws, named after where they were found.

    Args:
        found: sets.
        source: fills the column ``source``, and the ends of the set ids: ``~from=<source>``.
        spec: headline and matched draws.
    """
    (selector, budget), ending = spec.headline, f"~from={source}"
    kept = found.frame.filter(
        (pl.col("selector") == selector)
        & (pl.col("budget") == budget)
        & ((pl.col("control") == "target") | ((pl.col("control") == "matched") & (pl.col("draw") < spec.matched)))
    )
    names = set(kept["set"])
    sets = {(name + ending, fold): group for (name, fold), group in found.sets.items() if name in names}
    frame = kept.with_columns(pl.col("set") + ending, source=pl.lit(source, pl.String))
    return dataclasses.replace(found, frame=frame, sets=sets)


def _size(activity: Activity, spec: SetSpec) -> int:
    return max(1, round(spec.headline[1] * activity.layers * activity.width))


def _found_in(source: Source, equal: EqualSamples, spec: SetSpec, folds: Sequence[str]) -> Found:
    """The sets that one source finds for some folds; ``"all"`` stands for a fold in which it has no clip."""
    samples, size = equal.samples[source.name], _size(source.activity, spec)
    own = {fold: fold if fold in samples else ALL for fold in folds}
    needed = list(dict.fromkeys(own.values()))
    plan = SelectionPlan([selection_of(samples[fold], equal.emotions) for fold in needed])
    jobs = [Job(fold, spec.headline[0], (size,)) for fold in needed]
    ranked = rank_streaming(source.activity, plan, spec.scope_name, jobs, spec.seed, spec.floor)
    return {fold: ranked[one, spec.headline[0]].take(size) for fold, one in own.items()}


def _fused(
    sources: Sequence[Source], host: str, equal: EqualSamples, spec: SetSpec, folds: Sequence[str],
    fuse: Sequence[str], consistency: float,
) -> dict[str, Found]:  # fmt: skip
    """The fused sets: way -> fold -> what was chosen. Without the host, they are the same in every fold."""
    kept = [source for source in sources if source.name in equal.samples]
    asked = list(folds) if host in equal.samples else [ALL]
    corpora, numbers = [], []
    for source in kept:
        samples = equal.samples[source.name]
        own = [fold if source.name == host and fold in samples else ALL for fold in asked]
        needed = list(dict.fromkeys(own))
        plan = SelectionPlan([selection_of(samples[fold], equal.emotions, equal.fused_n) for fold in needed])
        corpora.append((source.activity, plan))
        numbers.append([needed.index(fold) for fold in own])
    size = _size(kept[0].activity, spec)
    which = {fold: [of_corpus[place] for of_corpus in numbers] for place, fold in enumerate(asked)}
    ranked = rank_fused(
        corpora, which, spec.scope_name, find_selector(spec.headline[0]), fuse, consistency, size, spec.seed, spec.floor
    )
    return {way: {fold: ranked[way, fold].take(size) for fold in asked} for way in fuse}


def _covariates(activity: Activity, used: np.ndarray, spec: SetSpec) -> np.ndarray:
    """What matched controls share with a set, over all items of the host; (layer, width, covariate)."""
    positions = activity.tokens(spec.scope_name, used).sum()
    rates = np.zeros((activity.layers, activity.width))
    for layer in range(activity.layers):
        for start in range(0, len(used), SPAN_ITEMS):
            rates[layer] += activity.read_counts(layer, spec.scope_name, used[start : start + SPAN_ITEMS]).sum(axis=0)
    return covariates(rates / positions, activity.mean_magnitude(used), activity.down_norm)


def _as_sets(
    source: str, chosen: Mapping[str, tuple[Chosen, ...]], n: int, folds: Sequence[str], equal: EqualSamples,
    spec: SetSpec, standardised: np.ndarray | None, activity: Activity, means: np.ndarray,
) -> FoundSets:  # fmt: skip
    """Target sets and matched controls of every fold of the host as tables; what is found once acts in all folds."""
    (selector, budget), table, size = spec.headline, SetTable(spec, source), _size(activity, spec)
    controls = {}
    for fold, groups in chosen.items():
        target = {emotion: one.neurons for emotion, one in zip(equal.emotions, groups, strict=True)}
        controls[fold] = [] if standardised is None else _matched(source, fold, target, spec, standardised)
    for fold in folds:
        sample, found = Sample(fold, (), n), fold if fold in chosen else ALL
        table.add(sample, selector, budget, "target", 0, dict(zip(equal.emotions, chosen[found], strict=True)))
        for draw, emotion, control in controls[found]:
            smd = {f"smd_{name}": None if np.isnan(control.smd[name]) else control.smd[name] for name in COVARIATES}
            table.put(sample, selector, budget, "matched", draw, emotion, control.neurons, size,
                      **smd, well_matched=control.well_matched)  # fmt: skip
    found_sets = FoundSets(table.frame(), table.sets, equal.identifiable, activity.layers, activity.width, means)
    return from_source(found_sets, source, spec)


def _matched(
    source: str, fold: str, target: Mapping[str, np.ndarray], spec: SetSpec, standardised: np.ndarray
) -> list[tuple[int, str, MatchedSet]]:
    """The matched controls of one fold: (draw, emotion, control)."""
    matcher = Matcher(standardised, np.unique(np.concatenate(list(target.values()))))
    return [
        (draw, emotion, matcher.draw(neurons, seeded_generator(spec.seed, "matched", source, fold, emotion, draw)))
        for draw in range(spec.matched)
        for emotion, neurons in target.items()
    ]
