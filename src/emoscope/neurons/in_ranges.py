"""The headline's selector within ranges of layers: equally many neurons in each, the best that the range has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emoscope.neurons.choosing import Job, Lists
from emoscope.neurons.controls import COVARIATES, Matcher, seeded_generator
from emoscope.neurons.found_sets import SetTable
from emoscope.neurons.identification import Sample
from emoscope.neurons.set_spec import SetSpec

DRAWS = 3
"""Matched controls of each of these sets, at most: the mean of a few is enough here."""


def range_jobs(keys: Sequence[Any], spec: SetSpec, size: int) -> list[Job]:
    """What is to be ranked: the headline's selector on the selections ``keys``, within each range alone."""
    return [Job(key, spec.headline[0], (size,), layers) for key in keys for layers in spec.ranges]


def add_range_sets(
    table: SetTable,
    ranked: Mapping[tuple[Any, str], Lists],
    key: Any,
    sample: Sample,
    emotions: Sequence[str],
    size: int,
    standardised: np.ndarray | None,
) -> None:
    """Add the sets that one fold finds within each range, and matched controls, to a table of sets.

    Each set has as many neurons as the headline's, or, where a selector does not reach so many in some range for
    some emotion, as many as it reaches there: sets of one fold differ in place and not in number.

    Args:
        table: receives the sets, under the controls "reselected" and "reselected matched"; ``layers`` names the range.
        ranked: the lists of :func:`range_jobs`.
        key: of the fold's selection.
        sample: the fold's clips.
        emotions: in the order of the lists.
        size: neurons of the headline's sets.
        standardised: the fold's covariates, for matched controls; ``None`` for none.
    """
    spec = table.spec
    selector, budget = spec.headline
    lists = {layers: ranked[(key, layers), selector] for layers in spec.ranges}
    reached = min((len(one) for each in lists.values() for one in each.take(size)), default=0)
    for (first, last), each in lists.items():
        name = f"{first}-{last}"
        chosen = dict(zip(emotions, each.take(max(1, reached)), strict=True))
        found = {emotion: one.neurons[:reached] for emotion, one in chosen.items()}
        for emotion, one in chosen.items():
            table.put(
                sample, selector, budget, "reselected", 0, emotion, found[emotion], size, layers=name,
                tied_at_cut=one.tied_at_cut, share_negative_mean=one.share_negative_mean,
            )  # fmt: skip
        if standardised is None:
            continue
        selected = [*found.values(), *table.sets[spec.set_id(selector, budget), sample.fold].values()]
        matcher = Matcher(standardised, np.unique(np.concatenate(selected)))
        for draw in range(min(spec.matched, DRAWS)):
            for emotion, neurons in found.items():
                generator = seeded_generator(spec.seed, "matched", sample.fold, emotion, draw, name)
                like = matcher.draw(neurons, generator)
                smd: dict[str, Any] = {
                    f"smd_{one}": None if np.isnan(like.smd[one]) else like.smd[one] for one in COVARIATES
                }
                table.put(
                    sample, selector, budget, "reselected matched", draw, emotion, like.neurons, size,
                    **smd, layers=name, well_matched=like.well_matched,
                )  # fmt: skip
