"""Sets from misses and from false alarms: do neurons follow what is heard, or what is answered?

A hit of an emotion has both, the emotion in the voice and in the answer; a miss has it in the voice alone, a false
alarm in the answer alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from emoscope.neurons.activity import Activity
from emoscope.neurons.choosing import Job, rank_streaming
from emoscope.neurons.found_sets import SetTable
from emoscope.neurons.identification import Sample, first, pools
from emoscope.neurons.selection_plan import Selection, SelectionPlan
from emoscope.neurons.set_spec import OUTCOMES, SetSpec

Notes = dict[str, dict[str, int | str]]


def outcome_samples(
    items: pl.DataFrame, samples: Sequence[Sample], emotions: Sequence[str], spec: SetSpec
) -> tuple[list[tuple[str, int, Sample]], Notes]:
    """Draw misses and false alarms, and as many hits, for every fold.

    An emotion with fewer than ``spec.minimum`` clips of an outcome outside some fold is left out; with fewer than
    two emotions the outcome has no set. In each fold all emotions have the same number of clips, no more than the
    fold's hits. The hits are the first so many of the fold's own sample; where they are that sample itself, they
    are not drawn again. Where every fold has twice as many, the next so many are a second draw, which says how alike
    two sets of hits are that share no clip.

    Args:
        items: as :func:`~emoscope.neurons.selection.find_sets` takes them, with the column ``answered``.
        samples: the hits, from :func:`~emoscope.neurons.identification.draw_samples`.
        emotions: those that have hits.
        spec: cap, minimum and seed.

    Returns:
        (control, draw, sample) for each outcome, its hits and every fold; and for each outcome how many clips its sample
        of all folds has of each emotion, or why there is no set.
    """
    drawn: list[tuple[str, int, Sample]] = []
    notes: Notes = {}
    for outcome, like in OUTCOMES.items():
        outside = pools(items, spec, outcome)
        counts = {e: min(sum(clip.emotion == e for clip in pool) for pool in outside.values()) for e in emotions}
        kept = [emotion for emotion in emotions if counts[emotion] >= max(1, spec.minimum)]
        notes[outcome] = {e: f"no set ({count} {outcome.replace('-', ' ')})" for e, count in counts.items()}
        if len(kept) < 2:
            continue
        found, hits, more = [], [], []
        for sample in samples:
            groups = [[clip for clip in outside[sample.fold] if clip.emotion == emotion] for emotion in kept]
            n = min(sample.n, *map(len, groups))
            found.append(Sample(sample.fold, tuple(c for group in groups for c in first(group, n, spec)), n))
            own = [[clip for clip in sample.clips if clip.emotion == emotion] for emotion in kept]
            hits.append(Sample(sample.fold, tuple(clip for group in own for clip in group[:n]), n))
            more.append(Sample(sample.fold, tuple(clip for group in own for clip in group[n : 2 * n]), n))
        notes[outcome] |= dict.fromkeys(kept, found[-1].n)
        drawn += [(outcome, 0, sample) for sample in found]
        if hits != list(samples):
            drawn += [(like, 0, sample) for sample in hits]
        if all(len(sample.clips) == len(other.clips) for sample, other in zip(more, hits, strict=True)):
            drawn += [(like, 1, sample) for sample in more]
    return drawn, notes


def add_outcome_sets(
    table: SetTable,
    activity: Activity,
    items: pl.DataFrame,
    samples: Sequence[Sample],
    emotions: Sequence[str],
    spec: SetSpec,
) -> Notes:
    """Find the headline's sets on misses, on false alarms and on as many hits, and add them to a table of sets.

    Args:
        table: receives the sets, under the controls of
            :data:`~emoscope.neurons.set_spec.OUTCOMES`.
        activity: the store; it is read once more.
        items: as :func:`outcome_samples` takes them.
        samples: the hits.
        emotions: those that have hits.
        spec: headline, cap, minimum and seed.

    Returns:
        for each outcome how many clips its sets of all folds have of each emotion, or why there is no set.
    """
    drawn, notes = outcome_samples(items, samples, emotions, spec)
    selector, budget = spec.headline
    size = max(1, round(budget * activity.layers * activity.width))
    groups: dict[tuple[str, ...], list[tuple[str, int, Sample]]] = {}
    for one in drawn:
        there = tuple(dict.fromkeys(clip.emotion for clip in one[2].clips))
        groups.setdefault(there, []).append(one)
    for kept, members in groups.items():
        plan = SelectionPlan([_selection(*one, kept) for one in members])
        jobs = [Job((control, draw, sample.fold), selector, (size,)) for control, draw, sample in members]
        ranked = rank_streaming(activity, plan, spec.scope_name, jobs, spec.seed, spec.floor)
        for control, draw, sample in members:
            chosen = ranked[(control, draw, sample.fold), selector].take(size)
            table.add(sample, selector, budget, control, draw, dict(zip(kept, chosen, strict=True)))
    return notes


def _selection(control: str, draw: int, sample: Sample, emotions: tuple[str, ...]) -> Selection:
    labels = [emotions.index(clip.emotion) for clip in sample.clips for _ in clip.items]
    rows = np.concatenate([clip.items for clip in sample.clips]).astype("int64")
    return Selection((control, draw, sample.fold), rows, np.array(labels), emotions)
