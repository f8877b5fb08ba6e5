"""From stored activity and baseline answers to neuron sets: folds, selectors, budgets and their controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from emoscope.neurons.activity import Activity
from emoscope.neurons.choosing import Job, Lists, rank_streaming
from emoscope.neurons.controls import COVARIATES, Matcher, covariates, random_neurons, seeded_generator, shuffled_labels
from emoscope.neurons.found_sets import COLUMNS, FoundSets, SetTable, load_set
from emoscope.neurons.identification import NotIdentifiable, Sample, draw_samples, fewer_clips
from emoscope.neurons.in_ranges import add_range_sets, range_jobs
from emoscope.neurons.outcomes import add_outcome_sets
from emoscope.neurons.selection_plan import Selection, SelectionPlan
from emoscope.neurons.selectors import find_selector
from emoscope.neurons.set_spec import ALL, SetSpec

__all__ = ["ALL", "COLUMNS", "FoundSets", "NotIdentifiable", "SetSpec", "find_sets", "load_set"]


def find_sets(activity: Activity, items: pl.DataFrame, spec: SetSpec) -> FoundSets:
    """Find the neuron sets of every fold, selector and budget, and the controls of the headline; matched ones also at its other budgets.

    Where the specification asks for it, also those of all selectors at the largest number of neurons that all of
    them reach, and those of the headline within ranges of layers, from fewer clips, from misses and from false alarms.

    Items identify neurons when the baseline answered them correctly; equally many clips per emotion are
    taken, in an order seeded by the clips' names, with all correct letter orders of a clip. The sets of a
    fold are found on the clips outside it, those of the fold ``"all"`` on every clip. Where a study fixes
    the sides (``side`` is ``identify`` or ``evaluate``, never ``both``), all folds take the identify side.

    Args:
        activity: the store.
        items: one row per item, with the columns item, clip, speaker, fold, truth, correct, fate and, if
            sides are fixed, side; ``answered`` for misses and false alarms, ``options`` to balance letters; ``corpus``
            is kept as the sets' source.
        spec: what to find.

    Raises:
        NotIdentifiable: fewer than two emotions have enough correct clips.
        ValueError: the store has another site or lacks the scope or an item.
    """
    if activity.site != spec.site:
        raise ValueError(f"site {spec.site!r}: the activity was read at {activity.site!r}; listen again with that site")
    samples, identifiable = draw_samples(items, spec)
    emotions = tuple(emotion for emotion in spec.emotions if isinstance(identifiable[emotion], int))
    total = activity.layers * activity.width
    sizes = {budget: max(1, round(budget * total)) for budget in spec.budgets}
    selector, budget = spec.headline
    drawn = [(sample, "target", 0) for sample in samples]
    drawn += [(sample, "shuffled", draw) for sample in samples for draw in range(spec.shuffled)]
    drawn += [(sample, "fewer", draw) for draw, sample in fewer_clips(samples, spec)]
    plan = SelectionPlan([_selection(sample, control, draw, emotions, spec) for sample, control, draw in drawn])
    jobs = [Job(_key(sample), name, tuple(sizes.values())) for sample in samples for name in spec.selectors]
    jobs += [Job(_key(*one), selector, (sizes[budget],)) for one in drawn if one[1] != "target"]
    jobs += range_jobs([_key(sample) for sample in samples], spec, sizes[budget])
    overall, observe = _overall_rates(activity, plan, samples, spec)
    ranked = rank_streaming(activity, plan, spec.scope_name, jobs, spec.seed, spec.floor, observe)

    table = SetTable(spec, "+".join(sorted(items["corpus"].unique())) if "corpus" in items.columns else None)
    wanted = [(name, share, size) for name in spec.selectors for share, size in sizes.items()]
    for name, share, size in [*wanted, *_at_common_size(ranked, samples, spec, set(sizes.values()), total)]:
        for sample in samples:
            groups = ranked[_key(sample), name].take(size)
            table.add(sample, name, share, "target", 0, dict(zip(emotions, groups, strict=True)))
    used = items.filter(pl.col("fate") == "used")["item"].to_numpy()
    magnitude = activity.mean_magnitude(used) if spec.matched else None
    for sample in samples:
        target = table.sets[spec.set_id(selector, budget), sample.fold]
        standardised = None
        if magnitude is not None:
            standardised = covariates(overall[sample.fold], magnitude, activity.down_norm)
            for share, size in sizes.items():
                _add_matched(table, sample, share, size, standardised)
        if spec.ranges:
            add_range_sets(table, ranked, _key(sample), sample, emotions, sizes[budget], standardised)
        for draw in range(spec.random):
            for emotion in emotions:
                generator = seeded_generator(spec.seed, "random", sample.fold, emotion, draw)
                neurons = random_neurons(len(target[emotion]), total, generator)
                table.put(sample, selector, budget, "random", draw, emotion, neurons, sizes[budget])
    for sample, control, draw in drawn:
        if control != "target":
            groups = ranked[_key(sample, control, draw), selector].take(sizes[budget])
            table.add(sample, selector, budget, control, draw, dict(zip(emotions, groups, strict=True)))
    outcomes = add_outcome_sets(table, activity, items, samples, emotions, spec) if spec.outcomes else {}
    means = activity.mean_product(used).astype("float32").ravel()
    return FoundSets(table.frame(), table.sets, identifiable, activity.layers, activity.width, means, outcomes)


def _add_matched(table: SetTable, sample: Sample, budget: float, size: int, standardised: np.ndarray) -> None:
    """Add the matched controls of the headline's selector at one budget."""
    spec = table.spec
    selector, declared = spec.headline
    target = table.sets[spec.set_id(selector, budget), sample.fold]
    matcher = Matcher(standardised, np.unique(np.concatenate(list(target.values()))))
    # the seed of the headline's draws does not depend on which other budgets there are
    share = () if budget == declared else (f"{budget:g}",)
    for draw in range(spec.matched_draws(budget)):
        for emotion, chosen in target.items():
            found = matcher.draw(chosen, seeded_generator(spec.seed, "matched", sample.fold, emotion, draw, *share))
            smd = {f"smd_{name}": None if np.isnan(found.smd[name]) else found.smd[name] for name in COVARIATES}
            table.put(sample, selector, budget, "matched", draw, emotion, found.neurons, size,
                      **smd, well_matched=found.well_matched)  # fmt: skip


def _key(sample: Sample, control: str = "target", draw: int = 0) -> tuple[str, str, int, int]:
    return sample.fold, control, draw, sample.n


def _at_common_size(
    ranked: Mapping[tuple[Any, str], Lists], samples: Sequence[Sample], spec: SetSpec, sizes: set[int], total: int
) -> list[tuple[str, float, int]]:
    """(selector, budget, neurons) of every selector at the most neurons that all reach, where a budget wants more.

    Selectors that make one list are left out: their sets differ in size between emotions by rule.
    """
    equal = [name for name in spec.selectors if not find_selector(name).one_list]
    if not spec.common_size or len(equal) < 2:
        return []
    lists = [ranked[_key(sample), name].take(max(sizes)) for sample in samples for name in equal]
    reached = min(len(one) for groups in lists for one in groups)
    return [] if reached == 0 or reached in sizes else [(name, reached / total, reached) for name in equal]


def _selection(sample: Sample, control: str, draw: int, emotions: tuple[str, ...], spec: SetSpec) -> Selection:
    """The sample with its true labels, or with labels shuffled within speaker."""
    labels = np.array([emotions.index(clip.emotion) for clip in sample.clips])
    if control == "shuffled":
        generator = seeded_generator(spec.seed, "shuffled", sample.fold, draw)
        labels = shuffled_labels(labels, [clip.speaker for clip in sample.clips], generator)
    rows = np.concatenate([clip.items for clip in sample.clips]).astype("int64")
    repeats = [len(clip.items) for clip in sample.clips]
    return Selection(_key(sample, control, draw), rows, np.repeat(labels, repeats), emotions)


def _overall_rates(
    activity: Activity, plan: SelectionPlan, samples: Sequence[Sample], spec: SetSpec
) -> tuple[dict[str, np.ndarray], Callable[[int, np.ndarray, np.ndarray], None] | None]:
    """Firing rates over all emotions of each fold's items (layer, width), filled while selecting."""
    if not spec.matched:
        return {}, None
    tokens = plan.tokens(activity, spec.scope_name)
    numbers = {one.key: number for number, one in enumerate(plan.selections)}
    folds = {sample.fold: numbers[_key(sample)] for sample in samples}
    overall = {fold: np.empty((activity.layers, activity.width)) for fold in folds}

    def observe(layer: int, rates: np.ndarray, means: np.ndarray) -> None:
        for fold, number in folds.items():
            weights = tokens[number][:, None] / tokens[number].sum()
            overall[fold][layer] = (weights * rates[number]).sum(axis=0)

    return overall, observe
