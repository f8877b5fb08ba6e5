"""Neuron sets as they were found: a table that describes them, their neurons, and their files."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from emoscope.neurons.identification import Sample
from emoscope.neurons.neuron_set import NeuronSet, NeuronSets, load_group, safe_name, save_group
from emoscope.neurons.running_top import Chosen
from emoscope.neurons.set_spec import ALL, SetSpec

COLUMNS = {
    "set": pl.String, "selector": pl.String, "budget": pl.Float64, "scope": pl.String, "site": pl.String,
    "label": pl.String, "source": pl.String, "control": pl.String, "draw": pl.Int64, "size": pl.Int64, "n": pl.Int64,
    "fold": pl.String, "emotion": pl.String, "size_wanted": pl.Int64, "size_reached": pl.Int64, "tied_at_cut": pl.Int64,
    "share_negative_mean": pl.Float64, "smd_frequency": pl.Float64, "smd_magnitude": pl.Float64,
    "smd_down_norm": pl.Float64, "well_matched": pl.Boolean, "letter_share": pl.Float64, "layers": pl.String,
}  # fmt: skip
"""Columns of ``sets.parquet``. Sizes and ``tied_at_cut`` count neurons, ``n`` clips per emotion, ``budget`` is a
share of all neurons. ``size`` is ``n`` for the control "fewer" (the selector on fewer clips, to be told from other
numbers of clips), null for all others. The ``smd`` columns are standardised mean differences (control minus target).
``layers`` is the range of layers, such as 0-8, within which a set was found, null for all others.
``letter_share`` is the largest share of the emotion's items that show its option behind one and the same letter, null
for matched, random and shuffled controls."""


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
        outcomes: where sets were also found on misses and false alarms: outcome -> emotion -> clips per emotion, or
            why it has no set.
    """

    frame: pl.DataFrame
    sets: dict[tuple[str, str], dict[str, np.ndarray]]
    identifiable: dict[str, int | str]
    layers: int
    width: int
    mean_product: np.ndarray
    outcomes: dict[str, dict[str, int | str]] = field(default_factory=dict)

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
        lacking = {emotion: why for emotion, why in self.identifiable.items() if isinstance(why, str)}
        return NeuronSets(groups.pop(ALL), groups, lacking)

    def _groups(self) -> dict[tuple[str, str], dict[str, NeuronSet]]:
        groups: dict[tuple[str, str], dict[str, NeuronSet]] = {key: {} for key in self.sets}
        kept = ["selector", "budget", "scope", "site", "label", "source", "control", "draw", "size", "n"]
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


class SetTable:
    """Collects sets and the rows that describe them."""

    def __init__(self, spec: SetSpec, source: str | None) -> None:
        self.spec, self.source = spec, source
        self.sets: dict[tuple[str, str], dict[str, np.ndarray]] = {}
        self._rows: list[dict[str, Any]] = []

    def put(
        self, sample: Sample, selector: str, budget: float, control: str, draw: int, emotion: str,
        neurons: np.ndarray, wanted: int, **more: Any,
    ) -> None:  # fmt: skip
        """Add one emotion's neurons; ``more`` are further columns of its row, ``layers`` among them."""
        size = sample.n if control == "fewer" else None
        name = self.spec.set_id(selector, budget, control, draw, size, more.get("layers"))
        self.sets.setdefault((name, sample.fold), {})[emotion] = neurons
        row = {
            "set": name, "selector": selector, "budget": budget, "scope": self.spec.scope_name, "site": self.spec.site,
            "label": self.spec.label, "source": self.source, "control": control, "draw": draw, "size": size,
            "n": sample.n, "fold": sample.fold, "emotion": emotion, "size_wanted": wanted, "size_reached": len(neurons),
            "letter_share": None if control in ("matched", "random", "shuffled") else sample.letter_share(emotion),
        }  # fmt: skip
        self._rows.append({**dict.fromkeys(COLUMNS), **row, **more})

    def add(
        self, sample: Sample, selector: str, budget: float, control: str, draw: int, groups: Mapping[str, Chosen]
    ) -> None:
        """Add what a selector chose for each emotion."""
        for emotion, one in groups.items():
            self.put(
                sample, selector, budget, control, draw, emotion, one.neurons, one.wanted,
                tied_at_cut=one.tied_at_cut, share_negative_mean=one.share_negative_mean,
            )  # fmt: skip

    def frame(self) -> pl.DataFrame:
        """The rows so far."""
        return pl.DataFrame(self._rows, schema=COLUMNS)
