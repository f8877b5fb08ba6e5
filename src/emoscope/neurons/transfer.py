"""Sets of others: those that several corpora found, ready to act on one of them, and those that a part of a study lends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from emoscope.neurons.activity import Activity
from emoscope.neurons.controls import CONTROLS, DrawnSet, Ground, covariates, draw_each
from emoscope.neurons.fusion import WAYS, rank_fused, refuse_unknown
from emoscope.neurons.jobs import ALL, SetSpec, Wanted, controls_of
from emoscope.neurons.plan import SPAN_ITEMS, SelectionPlan
from emoscope.neurons.ranking import Chosen, Job, rank_streaming
from emoscope.neurons.samples import Sample, acting_folds
from emoscope.neurons.selection import FoundSets, SetTable
from emoscope.neurons.selectors import find_selector
from emoscope.neurons.sources import EqualSamples, Source, equal_samples


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
    refuse_unknown(fuse)
    if host not in [source.name for source in sources]:
        raise ValueError(f"host {host!r} is no source: they are {', '.join(source.name for source in sources)}")
    equal = equal_samples(sources, spec)
    kept = [source for source in sources if source.name in equal.kept]
    acting = next(source for source in sources if source.name == host)
    folds = acting_folds(acting.items)
    found = {one.name: _found_in(one, host, equal, spec, folds) for one in kept}
    if fuse and equal.fused_n:
        found |= _fused(kept, host, equal, spec, folds, fuse, consistency)
    if not found:
        return {}
    used = acting.items.filter(pl.col("fate") == "used")["item"].to_numpy()
    standardised = _covariates(acting.activity, used, spec) if spec.matched else None
    means = acting.activity.mean_product(used).astype("float32").ravel()
    shape, ground = (acting.activity.layers, acting.activity.width), Ground(acting.total, standardised)
    return {
        name: FoundSets(*_tables(name, by_fold, equal.emotions, spec, ground), equal.identifiable, *shape, means)
        for name, by_fold in found.items()
    }


def _found_in(source: Source, host: str, equal: EqualSamples, spec: SetSpec, folds: Sequence[str]) -> dict[str, Found]:
    """The sets that one source finds for the folds of the host."""
    own = {fold: equal.sample(source.name, host, fold) for fold in folds}
    needed = {sample.fold: sample for sample in own.values()}
    plan = SelectionPlan([sample.selection(equal.emotions) for sample in needed.values()])
    selector, size = spec.headline[0], spec.neurons(spec.headline[1], source.total)
    jobs = [Job(fold, selector, size) for fold in needed]
    ranked = rank_streaming(source.activity, plan, spec.scope_name, jobs, spec.seed, spec.floor)
    return {fold: Found(sample, ranked[sample.fold, selector, None].take(size)) for fold, sample in own.items()}


def _fused(
    kept: Sequence[Source], host: str, equal: EqualSamples, spec: SetSpec, folds: Sequence[str],
    fuse: Sequence[str], consistency: float,
) -> dict[str, dict[str, Found]]:  # fmt: skip
    """The fused sets: name -> fold -> what was found."""
    corpora, numbers, parts = [], [], []
    for source in kept:
        own = [equal.sample(source.name, host, fold).part(equal.emotions, equal.fused_n) for fold in folds]
        needed = {sample.fold: sample for sample in own}
        plan = SelectionPlan([sample.selection(equal.emotions) for sample in needed.values()])
        corpora.append((source.activity, plan))
        numbers.append([list(needed).index(sample.fold) for sample in own])
        parts.append(own)
    samples = [_together(group) for group in zip(*parts, strict=True)]
    asked = {sample.fold: which for sample, which in zip(samples, zip(*numbers, strict=True), strict=True)}
    selector, size = find_selector(spec.headline[0]), spec.neurons(spec.headline[1], kept[0].total)
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
    source: str, by_fold: dict[str, Found], emotions: tuple[str, ...], spec: SetSpec, ground: Ground
) -> tuple[pl.DataFrame, dict[tuple[str, str], dict[str, np.ndarray]]]:
    """The table of one source's target sets and matched controls, and their neurons."""
    table, head = SetTable(spec, ground.neurons, source), Wanted(*spec.headline)
    drawn: dict[str, list[tuple[Wanted, dict[str, DrawnSet]]]] = {}
    for fold, found in by_fold.items():
        sample, known = Sample(fold, found.sample.clips, found.sample.n), found.sample.fold
        groups = dict(zip(emotions, found.chosen, strict=True))
        table.add(head, sample, groups)
        if known not in drawn:  # what is found once has one control in every fold
            drawn[known] = list(_matched(source, known, groups, spec, ground)) if spec.matched else []
        for one, controls in drawn[known]:
            table.add(one, sample, controls)
    lent = {name: lent_name(name, source) for name, _ in table.sets}
    sets = {(lent[name], fold): group for (name, fold), group in table.sets.items()}
    return table.frame().with_columns(pl.col("set").replace_strict(lent)), sets


def _matched(
    source: str, fold: str, groups: dict[str, Chosen], spec: SetSpec, ground: Ground
) -> Iterator[tuple[Wanted, dict[str, DrawnSet]]]:
    """The matched controls of one fold's sets."""
    matched = CONTROLS["matched"]
    assert matched.draw is not None
    chosen = {emotion: one.neurons for emotion, one in groups.items()}
    draw = matched.draw(ground, chosen, np.unique(np.concatenate(list(chosen.values()))))
    for one in controls_of(Wanted(*spec.headline), spec, [matched]):
        yield one, draw_each(draw, chosen, (spec.seed, matched.name, source, fold), one.draw)


def lent_name(name: str, source: str) -> str:
    """The name of a set in a part that did not find it.

    Example:
        >>> lent_name("cas@0.05:all~matched1", "polish")
        'cas@0.05:all~matched1~from=polish'
    """
    return f"{name}~from={source}"


def lend(
    found: FoundSets, source: str, folds: Sequence[str], headline: tuple[str, float], matched: int, same: bool = True
) -> FoundSets | None:
    """The headline's target sets and their first matched controls, for the folds of another part.

    Args:
        found: the sets of the part that found them.
        source: its name.
        folds: the folds of the other part. A fold that the source has too, since both deal the same speakers, gets
            the sets of that fold, which were found on other speakers; any other gets those found on all clips.
        headline: selector and budget.
        matched: draws of matched controls.
        same: whether both deal the same speakers; otherwise folds of equal names have nothing to do with each other.

    Returns:
        the sets under other names, or ``None`` where nothing was found.
    """
    mine = found.frame.filter(
        (pl.col("selector") == headline[0])
        & (pl.col("budget") == headline[1])
        & ((pl.col("control") == "target") | ((pl.col("control") == "matched") & (pl.col("draw") < matched)))
    )
    if mine.is_empty():
        return None
    sets = {}
    for name in mine["set"].unique(maintain_order=True):
        for fold in (*folds, ALL):
            own = (name, fold) if same and (name, fold) in found.sets else (name, ALL)
            sets[lent_name(name, source), fold] = found.sets[own]
    frame = mine.filter(pl.col("fold").is_in([*(folds if same else ()), ALL])).with_columns(
        (pl.col("set") + f"~from={source}").alias("set"), pl.lit(source).alias("source")
    )
    return FoundSets(frame, sets, found.identifiable, found.layers, found.width, found.mean_product)


def gather(parts: Sequence[FoundSets]) -> FoundSets | None:
    """Sets of several sources together; ``None`` where there are none."""
    if not parts:
        return None
    first = parts[0]
    frame = pl.concat([one.frame for one in parts])
    sets = {key: groups for one in parts for key, groups in one.sets.items()}
    return FoundSets(frame, sets, first.identifiable, first.layers, first.width, first.mean_product)
