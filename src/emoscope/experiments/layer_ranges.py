"""Where in the layers sets act: the headline's in a range or in one layer alone, and sets found within a range."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emoscope.experiments.study import Study, StudyError
from emoscope.neurons.controls import seeded_generator

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


def ranges_to_reselect(study: Study, layers: int) -> tuple[tuple[int, int], ...]:
    """The ranges within which a study finds the headline's neurons anew."""
    work = study.interventions
    return tuple(layer_ranges(work.layers, layers).values()) if work.reselect_in_ranges else ()


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


def reselected(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a set found within a range is in a condition: a target or a matched set, in these layers alone.

    Args:
        row: of the table of sets; its column ``layers`` names the range.
    """
    control = "matched" if row["control"] == "reselected matched" else "target"
    return {**row, "control": control, "layers": f"{row['layers']}{RESELECTED}"}


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
