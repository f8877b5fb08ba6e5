"""From stored activity and baseline answers to neuron sets: folds, selectors, budgets and their controls."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from emoscope.neurons.activity import Activity
from emoscope.neurons.choosing import Job, rank_streaming
from emoscope.neurons.controls import COVARIATES, Matcher, covariates, random_neurons, seeded_generator, shuffled_labels
from emoscope.neurons.identification import NotIdentifiable, Sample, draw_samples
from emoscope.neurons.neuron_set import NeuronSet, NeuronSets, load_group, safe_name, save_group
from emoscope.neurons.running_top import Chosen
from emoscope.neurons.selection_plan import Selection, SelectionPlan
from emoscope.neurons.set_spec import ALL, SetSpec

__all__ = ["ALL", "COLUMNS", "FoundSets", "NotIdentifiable", "SetSpec", "find_sets", "load_set"]

COLUMNS = {
    "set": pl.String, "selector": pl.String, "budget": pl.Float64, "scope": pl.String, "site": pl.String,
    "label": pl.String, "source": pl.String, "control": pl.String, "draw": pl.Int64, "n": pl.Int64, "fold": pl.String,
    "emotion": pl.String, "size_wanted": pl.Int64, "size_reached": pl.Int64, "tied_at_cut": pl.Int64,
    "share_negative_mean": pl.Float64, "smd_frequency": pl.Float64, "smd_magnitude": pl.Float64,
    "smd_down_norm": pl.Float64, "well_matched": pl.Boolean,
}  # fmt: skip
"""Columns of ``sets.parquet``. Sizes and ``tied_at_cut`` count neurons, ``n`` clips per emotion, ``budget`` is a
share of all neurons, the ``smd`` columns are standardised mean differences (control minus target)."""


@dataclass(frozen=True)
class FoundSets:
    """The sets that :func:`find_sets` found.

    Attributes:
        frame: one row per set, fold and emotion, with the columns :data:`COLUMNS`.
        sets: (set id, fold) -> emotion -> flat neuron numbers, ascending; int64 (neuron,).
        identifiable: emotion -> clips per emotion (of the fold ``"all"``), or why it has no set.
        layers, width: the decoder's size.
        mean_product: mean gated product of every neuron over all prompt positions of the used items' blocks,
            whatever their emotion or fold (:meth:`Activity.mean_product`); float32 (layer * width,).
    """

    frame: pl.DataFrame
    sets: dict[tuple[str, str], dict[str, np.ndarray]]
    identifiable: dict[str, int | str]
    layers: int
    width: int
    mean_product: np.ndarray

    def save_sets(self, folder: str | Path) -> None:
        """Write ``<folder>/<set id with safe characters>/<fold>.safetensors``, each with a JSON card.

        The folder of each set is emptied first, so that no fold of an earlier selection stays in it.
        """
        for name in self.frame["set"].unique():
            shutil.rmtree(Path(folder) / safe_name(name), ignore_errors=True)
        for (name, fold), group in self._groups().items():
            path = Path(folder) / safe_name(name) / f"{safe_name(fold)}.safetensors"
            save_group(path, group, {"set": name, "fold": fold})

    def neuron_sets(self, name: str) -> NeuronSets:
        """One set as a mapping from emotion to :class:`NeuronSet`, with its folds.

        Raises:
            ValueError: there is no set of that name.
        """
        groups = {fold: group for (one, fold), group in self._groups().items() if one == name}
        if not groups:
            raise ValueError(f"set {name!r} was not found: there are {', '.join(self.frame['set'].unique().sort())}")
        return NeuronSets(groups.pop(ALL), groups)

    def _groups(self) -> dict[tuple[str, str], dict[str, NeuronSet]]:
        groups: dict[tuple[str, str], dict[str, NeuronSet]] = {key: {} for key in self.sets}
        kept = ["selector", "budget", "scope", "site", "label", "source", "control", "draw", "n"]
        for row in self.frame.iter_rows(named=True):
            key, emotion = (row["set"], row["fold"]), row["emotion"]
            meta = {name: row[name] for name in kept}
            neurons = self.sets[key][emotion]
            means = self.mean_product[neurons]
            groups[key][emotion] = NeuronSet(emotion, neurons, self.layers, self.width, meta, means)
        return groups

    def __repr__(self) -> str:
        names, folds = self.frame["set"].n_unique(), self.frame["fold"].n_unique()
        emotions = ", ".join(self.frame["emotion"].unique(maintain_order=True))
        return f"FoundSets({names} sets x {folds} folds of {emotions})"

    def _repr_html_(self) -> str:
        return f"<p>{self!r}</p>{self.frame._repr_html_()}"


def load_set(folder: str | Path, name: str, fold: str = ALL) -> dict[str, np.ndarray]:
    """Read the sets of one set id and fold: emotion -> flat neuron numbers; int64 (neuron,).

    Raises:
        FileNotFoundError: the folder does not hold that set and fold.
    """
    group = load_group(Path(folder) / safe_name(name) / f"{safe_name(fold)}.safetensors")
    return {emotion: one.neurons for emotion, one in group.items()}


def find_sets(activity: Activity, items: pl.DataFrame, spec: SetSpec) -> FoundSets:
    """Find the neuron sets of every fold, selector and budget, and the controls of the headline.

    Items identify neurons when the baseline answered them correctly; equally many clips per emotion are
    taken, in an order seeded by the clips' names, with all correct letter orders of a clip. The sets of a
    fold are found on the clips outside it, those of the fold ``"all"`` on every clip. Where a study fixes
    the sides (``side`` is ``identify`` or ``evaluate``, never ``both``), all folds take the identify side.

    Args:
        activity: the store.
        items: one row per item, with the columns item, clip, speaker, fold, truth, correct, fate and, if
            sides are fixed, side; ``corpus`` is kept as the sets' source.
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
    plan = SelectionPlan(
        [_selection(one, draw, emotions, spec) for one in samples for draw in range(spec.shuffled + 1)]
    )
    jobs = [Job((one.fold, 0), selector, tuple(sizes.values())) for one in samples for selector in spec.selectors]
    selector, budget = spec.headline
    headline_size = (sizes[budget],)
    jobs += [Job((one.fold, draw), selector, headline_size) for one in samples for draw in range(1, spec.shuffled + 1)]
    overall, observe = _overall_rates(activity, plan, spec)
    ranked = rank_streaming(activity, plan, spec.scope_name, jobs, spec.seed, spec.floor, observe)

    table = _Table(
        spec, samples, emotions, "+".join(sorted(items["corpus"].unique())) if "corpus" in items.columns else None
    )
    for one in spec.selectors:
        for share, size in sizes.items():
            for sample in samples:
                groups = ranked[(sample.fold, 0), one].take(size)
                table.add(sample, one, share, "target", 0, dict(zip(emotions, groups, strict=True)))
    used = items.filter(pl.col("fate") == "used")["item"].to_numpy()
    magnitude = activity.mean_magnitude(used) if spec.matched else None
    for sample in samples:
        target = table.sets[spec.set_id(selector, budget), sample.fold]
        if magnitude is not None:
            standardised = covariates(overall[sample.fold], magnitude, activity.down_norm)
            matcher = Matcher(standardised, np.unique(np.concatenate(list(target.values()))))
            for draw in range(spec.matched):
                for emotion in emotions:
                    generator = seeded_generator(spec.seed, "matched", sample.fold, emotion, draw)
                    found = matcher.draw(target[emotion], generator)
                    smd = {f"smd_{name}": None if np.isnan(found.smd[name]) else found.smd[name] for name in COVARIATES}
                    table.put(sample, selector, budget, "matched", draw, emotion, found.neurons, sizes[budget],
                              **smd, well_matched=found.well_matched)  # fmt: skip
        for draw in range(spec.random):
            for emotion in emotions:
                generator = seeded_generator(spec.seed, "random", sample.fold, emotion, draw)
                neurons = random_neurons(len(target[emotion]), total, generator)
                table.put(sample, selector, budget, "random", draw, emotion, neurons, sizes[budget])
        for draw in range(spec.shuffled):
            groups = ranked[(sample.fold, draw + 1), selector].take(sizes[budget])
            table.add(sample, selector, budget, "shuffled", draw, dict(zip(emotions, groups, strict=True)))
    means = activity.mean_product(used).astype("float32").ravel()
    return FoundSets(table.frame(), table.sets, identifiable, activity.layers, activity.width, means)


class _Table:
    """Collects sets and the rows that describe them."""

    def __init__(self, spec: SetSpec, samples: list[Sample], emotions: tuple[str, ...], source: str | None) -> None:
        self.spec, self.source = spec, source
        self.sets: dict[tuple[str, str], dict[str, np.ndarray]] = {}
        self._rows: list[dict[str, Any]] = []

    def put(
        self, sample: Sample, selector: str, budget: float, control: str, draw: int, emotion: str,
        neurons: np.ndarray, wanted: int, **more: Any,
    ) -> None:  # fmt: skip
        name = self.spec.set_id(selector, budget, control, draw)
        self.sets.setdefault((name, sample.fold), {})[emotion] = neurons
        row = {
            "set": name, "selector": selector, "budget": budget, "scope": self.spec.scope_name, "site": self.spec.site,
            "label": self.spec.label, "source": self.source, "control": control, "draw": draw, "n": sample.n,
            "fold": sample.fold, "emotion": emotion, "size_wanted": wanted, "size_reached": len(neurons),
        }  # fmt: skip
        self._rows.append({**dict.fromkeys(COLUMNS), **row, **more})

    def add(
        self, sample: Sample, selector: str, budget: float, control: str, draw: int, groups: Mapping[str, Chosen]
    ) -> None:
        for emotion, one in groups.items():
            self.put(
                sample, selector, budget, control, draw, emotion, one.neurons, one.wanted,
                tied_at_cut=one.tied_at_cut, share_negative_mean=one.share_negative_mean,
            )  # fmt: skip

    def frame(self) -> pl.DataFrame:
        return pl.DataFrame(self._rows, schema=COLUMNS)


def _selection(sample: Sample, draw: int, emotions: tuple[str, ...], spec: SetSpec) -> Selection:
    """The sample with its true labels (draw 0) or with labels shuffled within speaker (draw 1, 2 …)."""
    labels = np.array([emotions.index(clip.emotion) for clip in sample.clips])
    if draw:
        generator = seeded_generator(spec.seed, "shuffled", sample.fold, draw - 1)
        labels = shuffled_labels(labels, [clip.speaker for clip in sample.clips], generator)
    rows = np.concatenate([clip.items for clip in sample.clips]).astype("int64")
    repeats = [len(clip.items) for clip in sample.clips]
    return Selection((sample.fold, draw), rows, np.repeat(labels, repeats), emotions)


def _overall_rates(
    activity: Activity, plan: SelectionPlan, spec: SetSpec
) -> tuple[dict[str, np.ndarray], Callable[[int, np.ndarray, np.ndarray], None] | None]:
    """Firing rates over all emotions of each fold's items (layer, width), filled while selecting."""
    if not spec.matched:
        return {}, None
    tokens = plan.tokens(activity, spec.scope_name)
    folds = {one.key[0]: number for number, one in enumerate(plan.selections) if one.key[1] == 0}  # type: ignore[index]
    overall = {fold: np.empty((activity.layers, activity.width)) for fold in folds}

    def observe(layer: int, rates: np.ndarray, means: np.ndarray) -> None:
        for fold, number in folds.items():
            weights = tokens[number][:, None] / tokens[number].sum()
            overall[fold][layer] = (weights * rates[number]).sum(axis=0)

    return overall, observe
