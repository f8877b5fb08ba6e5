"""From stored activity and baseline answers to neuron sets: folds, selectors, budgets and their controls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl

from emoscope.neurons.activity import Activity
from emoscope.neurons.controls import CONTROLS, SMALLEST, Control, Draw, Ground, covariates, draw_each
from emoscope.neurons.jobs import ALL, SetSpec, Wanted, in_table_order, transferred_name, wanted_sets
from emoscope.neurons.ranking import Chosen, Job, Lists, Ranked, SelectionPlan, rank_streaming
from emoscope.neurons.samples import (
    Notes,
    NotIdentifiable,
    Sample,
    Selection,
    draw_samples,
    fewer_clips,
    outcome_samples,
    renamed_clips,
)
from emoscope.neurons.selectors import Statistics
from emoscope.neurons.sets import FILE, NeuronSet, NeuronSets, load_set, set_folder
from emoscope.schemas import as_table, schema
from emoscope.vocabulary import FEWER, MATCHED, OUTCOME_CONTROLS, QUIET, RESELECTED, TARGET, USED

__all__ = ["ALL", "COLUMNS", "FoundSets", "NotIdentifiable", "SetSpec", "find_sets", "load_set"]

COLUMNS = schema("sets")  # columns of ``sets.parquet`` and their types

META = ("selector", "budget", "scope", "site", "label", "source", "control", "draw", "size", "n")
"""What a stored set says of its origin."""


@dataclass(frozen=True)
class FoundSets:
    """The sets that :func:`find_sets` found."""

    frame: pl.DataFrame  # one row per set, fold and emotion, with the columns ``COLUMNS``
    # (set id, fold) -> emotion -> flat neuron numbers, ascending; int64 (neuron,)
    sets: dict[tuple[str, str], dict[str, np.ndarray]]
    identifiable: dict[str, int | str]  # emotion -> clips per emotion (of the fold ``"all"``), or why it has no set
    layers: int
    width: int
    mean_product: np.ndarray  # of every neuron, over the blocks of the used items; float32
    # the like of ``identifiable`` for misses and false alarms, where sets were also found on these
    outcomes: Notes = field(default_factory=dict)

    def save_sets(self, folder: str | Path) -> None:
        """Write the sets of every fold where :func:`~emoscope.neurons.sets.load_set` finds them, and no earlier ones."""
        for name in self.frame["set"].unique():
            self.neuron_sets(name).save(place := set_folder(folder, name), {"set": name})
            for earlier in place.iterdir():
                if earlier.name != FILE and earlier.is_file():
                    earlier.unlink()

    def neuron_sets(self, name: str) -> NeuronSets:
        """One set as a mapping from emotion to :class:`NeuronSet`, with its folds; a ``ValueError`` without."""
        groups: dict[str, dict[str, NeuronSet]] = {}
        for row in self.frame.filter(pl.col("set") == name).iter_rows(named=True):
            fold, emotion = row["fold"], row["emotion"]
            neurons = self.sets[name, fold][emotion]
            meta, means = {key: row[key] for key in META}, self.mean_product[neurons]
            group = groups.setdefault(fold, {})
            group[emotion] = NeuronSet(emotion, neurons, self.layers, self.width, meta, means)
        if not groups:
            raise ValueError(f"set {name!r} was not found: there are {', '.join(self.frame['set'].unique().sort())}")
        lacking = {emotion: why for emotion, why in self.identifiable.items() if isinstance(why, str)}
        return NeuronSets(groups.pop(ALL), groups, lacking)

    def __repr__(self) -> str:
        names, folds = self.frame["set"].n_unique(), self.frame["fold"].n_unique()
        emotions = ", ".join(self.frame["emotion"].unique(maintain_order=True))
        return f"FoundSets({names} sets x {folds} folds of {emotions})"

    def _repr_html_(self) -> str:
        return f"<p>{self!r}</p>{self.frame._repr_html_()}"


FoundOn = dict[tuple[str, int, int | None, str], Sample]  # (``clips``, fold) -> the clips on which a set is found there

Names = dict[tuple[str, int], dict[str, str]]  # (control, draw) -> clip -> the emotion that it stands for in all folds


class SetTable:
    """Sets in a decoder of ``total`` neurons, and the rows that describe them; ``transferred`` to another corpus or not."""

    def __init__(
        self, spec: SetSpec, total: int, source: str | None, transferred: bool = False, names: Names | None = None
    ) -> None:
        self.spec, self.total, self.source, self.transferred = spec, total, source, transferred
        self.names: Names = names or {}
        self.sets: dict[tuple[str, str], dict[str, np.ndarray]] = {}
        self.rows: list[dict[str, object]] = []

    def add(self, want: Wanted, sample: Sample, found: Mapping[str, Chosen]) -> None:
        """Add the neurons of each emotion that a set has in the fold of a sample."""
        assert want.budget is not None
        name = self.spec.name_of(want)
        if self.transferred and self.source:
            name = transferred_name(name, self.source)
        self.sets[name, sample.fold] = {emotion: its.neurons for emotion, its in found.items()}
        about = {name: getattr(want, name) for name in ("selector", "budget", "control", "draw", "size", "layers")}
        about |= {"set": name, "scope": self.spec.scope_name, "site": self.spec.site, "label": self.spec.label}
        about |= {"source": self.source, "n": sample.n, "fold": sample.fold}
        about["size_wanted"] = self.spec.neurons(want.budget, self.total)
        for emotion, its in found.items():
            letters = None if want.control in CONTROLS else sample.letter_share(emotion)
            row = {"emotion": emotion, "size_reached": len(its.neurons), "letter_share": letters, **its.columns}
            if names := self.names.get((want.control, want.draw)):
                row["names_kept"] = sample.kept(emotion, names)
            self.rows.append(about | row)


def find_sets(activity: Activity, items: pl.DataFrame, spec: SetSpec) -> FoundSets:
    """Find the neuron sets that a study wants (:func:`~emoscope.neurons.jobs.wanted_sets`), in every fold.

    Items identify neurons when the baseline answered them correctly; equally many clips per emotion are taken, in an
    order seeded by the clips' names, with all correct letter orders of a clip. The sets of a fold are found on the
    clips outside it, those of the fold ``"all"`` on every clip. Where a study fixes the sides (``side`` is ``identify``
    or ``evaluate``, never ``both``), all folds take the identify side.

    ``items`` has one row per item, with the columns item, clip, speaker, fold, truth, correct, status and, if sides are
    fixed, side; ``answered`` for misses and false alarms, ``options`` to balance letters; ``corpus`` is kept as the
    sets' source. :class:`NotIdentifiable` says that fewer than two emotions have enough correct clips, a ``ValueError``
    that the store has another site or lacks the scope or an item.
    """
    if activity.site != spec.site:
        raise ValueError(f"site {spec.site!r}: the activity was read at {activity.site!r}; listen again with that site")
    samples, identifiable = draw_samples(items, spec)
    folds = [sample.fold for sample in samples]
    outcomes, notes = outcome_samples(items, samples, samples[0].emotions, spec) if spec.outcomes else ([], {})
    found_on: FoundOn = {(TARGET, 0, None, sample.fold): sample for sample in samples}
    found_on |= {(FEWER, draw, sample.n, sample.fold): sample for draw, sample in fewer_clips(samples, spec)}
    found_on |= {(control, draw, None, sample.fold): sample for control, draw, sample in outcomes}
    wanted = [want for want in wanted_sets(spec) if (*want.clips, ALL) in found_on]
    names = _names(wanted, samples, spec.seed)
    wanted = [want for want in wanted if not want.relabelled or (want.control, want.draw) in names]
    overall: dict[str, list[np.ndarray]] = {fold: [] for fold in folds}
    between: dict[str, list[np.ndarray]] = {fold: [] for fold in folds}

    def observe(seen: list[Statistics]) -> None:
        for fold, given in zip(folds, seen, strict=False):  # the target sets' selections stand first
            weights = given.positions[:, None] / given.positions.sum()
            overall[fold].append((weights * given.rate).sum(axis=0))
            between[fold].append(given.mean.var(axis=0))

    ranked: Ranked = {}
    groups: dict[tuple[bool, tuple[str, ...]], list[tuple[Wanted, Sample]]] = {}
    for want, fold in in_table_order(wanted, folds):
        sample = found_on[*want.clips, fold]
        if not want.drawn:
            groups.setdefault((want.control in OUTCOME_CONTROLS, sample.emotions), []).append((want, sample))
    for (others, emotions), pairs in groups.items():
        watched = observe if spec.needs_covariates and not others else None
        ranked |= _rank(activity, pairs, emotions, spec, names, watched)

    source = "+".join(sorted(items["corpus"].unique())) if "corpus" in items.columns else None
    used = items.filter(pl.col("status") == USED)["item"].to_numpy()
    table = SetTable(spec, activity.neurons, source, names=names)
    wanted = _at_common_size(wanted, ranked, samples, spec, table.total)
    grounds = {fold: Ground(table.total) for fold in folds}
    if spec.needs_covariates:
        grounds = _grounds(activity, samples, overall, between, spec)
    _fill(table, wanted, ranked, found_on, grounds)
    means = activity.mean_product(used).astype("float32").ravel()
    frame = as_table("sets", table.rows)
    return FoundSets(frame, table.sets, identifiable, activity.layers, activity.width, means, notes)


def _names(wanted: Sequence[Wanted], samples: Sequence[Sample], seed: int) -> Names:
    """The other names of clips on which controls are ranked; draws that the clips do not give are left out."""
    found: Names = {}
    for want in wanted:
        if want.kind and want.relabelled:
            names = renamed_clips(samples, want.kind, want.draw, seed)
            found |= {(want.control, want.draw): names} if names else {}
    return found


def _grounds(
    activity: Activity,
    samples: Sequence[Sample],
    rates: Mapping[str, list[np.ndarray]],
    between: Mapping[str, list[np.ndarray]],
    spec: SetSpec,
) -> dict[str, Ground]:
    """What controls of each fold are drawn from, by what neurons do in the study's scope on the fold's own items."""
    selections = [sample.selection(sample.emotions) for sample in samples]
    layers = SelectionPlan(activity, selections, spec.scope_name).magnitudes()
    magnitudes = np.stack(list(layers), axis=1)  # (fold, layer, width)
    spread = _within_speakers(activity, samples[-1], spec) if spec.controls.get(QUIET) else None
    found = {}
    for sample, magnitude in zip(samples, magnitudes, strict=True):
        like = covariates(np.stack(rates[sample.fold]), magnitude, activity.down_norm)
        told = None if spread is None else np.stack(between[sample.fold]) / np.maximum(spread, SMALLEST)
        found[sample.fold] = Ground(activity.neurons, like, spread, told)
    return found


def _within_speakers(activity: Activity, sample: Sample, spec: SetSpec) -> np.ndarray:
    """Variance of every neuron's mean activation between items of one speaker, over all of a sample; (layer, width)."""
    speakers = [clip.speaker or "" for clip in sample.clips for _ in clip.items]
    items = np.array([item for clip in sample.clips for item in clip.items])
    names = tuple(dict.fromkeys(speakers))
    labels = np.array([names.index(speaker) for speaker in speakers])
    if len(names) == 1:  # selections compare at least two groups: the same items twice
        items, labels, names = np.tile(items, 2), np.repeat([0, 1], len(items)), (*names, "again")
    plan = SelectionPlan(activity, [Selection("speakers", items, labels, names)], spec.scope_name)
    return np.concatenate(list(plan.variances()))


def _key(want: Wanted, sample: Sample) -> tuple[str, str, int, int]:
    """Names the selection of items on which a set is ranked."""
    control, draw = (want.control, want.draw) if want.kind else want.clips[:2]
    return sample.fold, control, draw, sample.n


def _rank(
    activity: Activity,
    pairs: Iterable[tuple[Wanted, Sample]],
    emotions: tuple[str, ...],
    spec: SetSpec,
    names: Names,
    observe: Callable[[list[Statistics]], None] | None,
) -> Ranked:
    """Rank the neurons of sets of the same emotions, each on its clips, in one pass over the store."""
    selections, jobs = {}, []
    for want, sample in pairs:
        key = _key(want, sample)
        if key not in selections:
            selections[key] = sample.selection(emotions, key, names.get((want.control, want.draw)))
        if want.budget is not None:
            jobs.append(Job(key, want.selector, spec.neurons(want.budget, activity.neurons), want.within))
    plan = SelectionPlan(activity, list(selections.values()), spec.scope_name, spec.floor)
    return rank_streaming(plan, jobs, spec.seed, observe)


def _at_common_size(
    wanted: Sequence[Wanted], ranked: Ranked, samples: Sequence[Sample], spec: SetSpec, total: int
) -> list[Wanted]:
    """The sets with the common size filled in: the most neurons that all reach, where every budget wants another number."""
    sizes = {spec.neurons(budget, total) for budget in spec.budgets}
    tops = [ranked[Job(_key(want, its), want.selector, 0)] for want in wanted if want.budget is None for its in samples]
    reached = min((len(chosen) for top in tops for chosen in top.take(max(sizes))), default=0)
    kept = [want for want in wanted if want.budget is not None or reached not in {0, *sizes}]
    return [replace(want, budget=reached / total) if want.budget is None else want for want in kept]


def _fill(
    table: SetTable, wanted: Sequence[Wanted], ranked: Ranked, found_on: FoundOn, grounds: Mapping[str, Ground]
) -> None:
    """Put the neurons of every set into the table: taken from its lists, or drawn after those of another set."""
    spec, head = table.spec, Wanted(*table.spec.headline)
    reselected = [want for want in wanted if want.control == RESELECTED]

    @lru_cache(maxsize=1)  # what is looked up for one draw serves the next
    def drawer(control: Control, like: Wanted, fold: str) -> Draw:
        assert control.draw is not None
        chosen = table.sets[spec.name_of(like), fold]
        excluded = [*chosen.values(), *(table.sets[spec.name_of(head), fold].values() if like.within else ())]
        return control.draw(grounds[fold], chosen, np.unique(np.concatenate(excluded)))

    for want, fold in in_table_order(wanted, list(grounds)):
        sample = found_on[*want.clips, fold]
        if (kind := want.kind) and want.drawn:
            draw = drawer(kind, want.like, fold)
            # the seeds of the headline's own do not depend on which other budgets and ranges there are
            apart = () if want.like == head else (want.layers or f"{want.budget:g}",)
            table.add(want, sample, draw_each(draw, sample.emotions, (spec.seed, kind.name, fold), want.draw, *apart))
        else:
            size = spec.neurons(want.budget or 0, table.total)
            chosen = _taken(want, sample, ranked, size, reselected)
            table.add(want, sample, dict(zip(sample.emotions, chosen, strict=True)))


def _taken(want: Wanted, sample: Sample, ranked: Ranked, size: int, reselected: Sequence[Wanted]) -> Sequence[Chosen]:
    """The best neurons of each emotion; within ranges of layers as many as each range has for every emotion."""

    def lists(which: Wanted) -> Lists:
        return ranked[Job(_key(which, sample), which.selector, size, which.within)]

    if not want.within:
        return lists(want).take(size)
    # sets of one fold differ in place and not in number
    reached = min(len(chosen) for same_fold in reselected for chosen in lists(same_fold).take(size))
    return [replace(chosen, neurons=chosen.neurons[:reached]) for chosen in lists(want).take(max(1, reached))]


def as_transferred(
    found: FoundSets, source: str, folds: Sequence[str], headline: tuple[str, float], matched: int, same: bool = True
) -> FoundSets | None:
    """The headline's target sets and first matched controls of a part, under other names, for the folds of another.

    Where both deal the ``same`` speakers, a fold that the source has too gets the sets of that fold, which were found
    on other speakers; any other gets those found on all clips. ``None`` where nothing was found.
    """
    control = pl.col("control")
    kept = (control == TARGET) | ((control == MATCHED) & (pl.col("draw") < matched))
    rows = found.frame.filter(kept, pl.col("selector") == headline[0], pl.col("budget") == headline[1])
    if rows.is_empty():
        return None
    transferred = {name: transferred_name(name, source) for name in rows["set"].unique(maintain_order=True)}
    sets = {
        (new, fold): found.sets[(name, fold) if same and (name, fold) in found.sets else (name, ALL)]
        for name, new in transferred.items()
        for fold in (*folds, ALL)
    }
    frame = rows.filter(pl.col("fold").is_in([*(folds if same else ()), ALL])).with_columns(
        pl.col("set").replace_strict(transferred), pl.lit(source).alias("source")
    )
    return replace(found, frame=frame, sets=sets, outcomes={})


def gather(parts: Sequence[FoundSets]) -> FoundSets | None:
    """Sets of several sources together; ``None`` where there are none."""
    if not parts:
        return None
    sets = {key: groups for part in parts for key, groups in part.sets.items()}
    return replace(parts[0], frame=pl.concat([part.frame for part in parts]), sets=sets, outcomes={})
