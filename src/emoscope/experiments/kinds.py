"""On which neurons of a set a condition acts, and the intervention that it means for an item."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from emoscope.experiments.schema import Row, StudyError
from emoscope.interventions.intervention import Intervention
from emoscope.interventions.kinds import KINDS, Acted
from emoscope.neurons.controls import seeded_generator

if TYPE_CHECKING:
    from emoscope.models.audio_lm import ModelInfo

Ranges = Mapping[str, tuple[int, int]]
"""Name -> first and last layer."""

RESELECTED = " reselected"
"""Ends what the column ``layers`` of a condition says where its neurons were found within the range."""


def layer_ranges(asked: Sequence[str], layers: int) -> dict[str, tuple[int, int]]:
    """The ranges that a study asks for: name -> first and last layer.

    Args:
        asked: names such as ``"0-3"``; ``"thirds"`` stands for three ranges of like length.
        layers: decoder layers of the model.

    Raises:
        StudyError: the model has no such layer.

    Example:
        >>> layer_ranges(["thirds"], 28)
        {'0-8': (0, 8), '9-18': (9, 18), '19-27': (19, 27)}
    """
    found = {}
    edges = [round(layers * part / 3) for part in range(4)]
    thirds = [f"{a}-{b - 1}" for a, b in itertools.pairwise(edges) if b > a]
    for name in [one for part in asked for one in (thirds if part == "thirds" else [part])]:
        first, last = map(int, name.split("-"))
        if not first <= last < layers:
            raise StudyError(f"interventions.layers {name!r}: the model has the layers 0 to {layers - 1}")
        found[name] = (first, last)
    return found


def restricted(neurons: np.ndarray, layers: str, ranges: Ranges, width: int, *seed: object) -> np.ndarray:
    """The neurons of a set on which a condition acts, by what its column ``layers`` says.

    Args:
        neurons: the set, flat numbers; int64 (neuron,).
        layers: ``"all"``; ``"3"``, a single layer; ``"0-8"``, a range, cut as in :func:`within`; ``"0-8 reselected"``,
            where the whole set was found in that range.
        ranges: all ranges that are compared.
        width: neurons of a layer.
        seed: what the draw of :func:`within` depends on.

    Example:
        >>> restricted(np.array([0, 1, 2, 5]), "0", {}, 4)
        array([0, 1, 2])
    """
    neurons = np.asarray(neurons, np.int64)
    if layers == "all" or layers.endswith(RESELECTED):
        return neurons
    if layers.isdigit():
        return neurons[neurons // width == int(layers)]
    return within(neurons, ranges, layers, width, *seed)


def within(neurons: np.ndarray, ranges: Ranges, name: str, width: int, *seed: object) -> np.ndarray:
    """The neurons of one range, cut at random to the number that the range with fewest holds.

    Args:
        neurons: a set, flat numbers; int64 (neuron,).
        ranges: all ranges that are compared.
        name: the range.
        width: neurons of a layer.
        seed: what the draw depends on.

    Example:
        >>> within(np.array([0, 1, 2, 5]), {"0-0": (0, 0), "1-1": (1, 1)}, "1-1", 4)
        array([5])
    """
    layer = np.asarray(neurons, np.int64) // width
    inside = {one: neurons[(layer >= first) & (layer <= last)] for one, (first, last) in ranges.items()}
    size = min(map(len, inside.values()))
    drawn = seeded_generator("layers", name, *seed).choice(inside[name], size, replace=False)
    return np.sort(drawn).astype(np.int64)


@dataclass(frozen=True)
class SetsByFold:
    """The neurons of every set, fold and emotion, and which intervention a condition means for a row.

    Attributes:
        sets: (set, fold) -> emotion -> neurons (flat indices, sorted).
        info: the model's sizes.
        mean_product: mean gated product of every neuron, for conditions to the mean; float32 (layer * width,).
        ranges: the ranges of layers that the study compares.
        shares: item -> option -> probability at baseline, for conditions that mix by the model's own answer.
    """

    sets: Mapping[tuple[str, str], Mapping[str, np.ndarray]]
    info: ModelInfo
    mean_product: np.ndarray
    shares: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    ranges: Ranges = field(default_factory=dict)

    def neurons(self, condition: Row, fold: str) -> np.ndarray:
        """Neurons on which a condition acts for items of one fold: those of a set, of all sets, or whole layers."""
        width, layers, name = self.info.width, condition["layers"], condition["set"]
        if KINDS[condition["kind"]].idle:
            return np.arange(0, dtype=np.int64)
        if name is None:
            first, last = (0, self.info.layers) if layers == "all" else (int(layers), int(layers) + 1)
            return np.arange(first * width, last * width, dtype=np.int64)
        if condition["target"] is None:
            return np.unique(np.concatenate(list(self.sets[name, fold].values())))
        drawn = name, fold, condition["target"]
        return restricted(self.sets[name, fold][condition["target"]], layers, self.ranges, width, *drawn)

    def means(self, condition: Row, fold: str) -> np.ndarray | None:
        """What those neurons are set to where that is their mean, otherwise ``None``; float32 (neuron,)."""
        return self.mean_product[self.neurons(condition, fold)] if condition["to"] == "mean" else None

    def intervention(self, condition: Row, fold: str, item: int | None = None) -> Intervention:
        """What a condition does to items of one fold; ``item`` is needed where each is treated otherwise."""
        kind, name = KINDS[condition["kind"]], condition["set"]
        acted = Acted(
            neurons=self.neurons(condition, fold),
            positions=condition["positions"],
            alpha=condition["alpha"] or 0.0,
            to=condition["to"] or "zero",
            means=self.means(condition, fold),
            sets=self.sets[name, fold] if name is not None else {},
            shares=self.shares[item] if kind.by_item and item is not None else None,
        )
        return kind.act(acted)
