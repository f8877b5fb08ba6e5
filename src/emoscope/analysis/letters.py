"""Do effects depend on the letter behind which the right option stands."""

from __future__ import annotations

from collections.abc import Mapping, Set

import numpy as np
import polars as pl

from emoscope.analysis.effects import columns
from emoscope.analysis.jackknife import interval, replicates
from emoscope.analysis.levels import level, level_of
from emoscope.analysis.panel import Panel, evaluated_items
from emoscope.analysis.run_tables import Run
from emoscope.analysis.subsets import Key, Measured, headline_conditions, measured
from emoscope.questions import LETTERS as ALPHABET
from emoscope.schemas import as_table, empty

NONE = "none"
"""The control of measures of the untouched model."""


def letters(run: Run, panel: Panel, hollow: Set[str] = frozenset()) -> pl.DataFrame:
    """The untouched model's answers and the headline's effects, by the letter behind which the right option stands.

    A neuron that writes a letter rather than an emotion has effects that depend on the letter. ``apart`` is a letter's
    value minus the mean of the other letters', subtracted speaker by speaker.

    Args:
        run: the run folder's tables.
        panel: its answers by likelihood.
        hollow: conditions whose answers support no claim.

    Returns:
        the columns of table ``letters``; effects in points. Of the untouched model (kind ``baseline``) ``uar``
        (``accuracy`` of text questions, which have options of their own) is over the items whose right option has the
        letter, and ``answered`` the share of all items that are answered with the letter, both in %. Empty where fewer
        than two letters occur.
    """
    places = letter_places(run, panel)
    if "baseline" not in panel.rows or not len(panel.items):
        return empty("letters")
    asked = panel.asked("baseline")
    right = places[np.arange(len(panel.items)), panel.truth]
    there = sorted(set(right[asked & (right >= 0)].tolist()))
    if len(there) < 2:
        return empty("letters")
    conditions, which = headline_conditions(run.conditions), level_of(run)
    found: dict[int, Mapping[Key, Measured]] = {}
    for letter in there:
        used = asked & (right == letter)
        sizes = panel.per_speaker(used.astype(float)).sum(axis=1)
        levels = Measured(level(panel, "baseline", used, which), sizes, "baseline" in hollow)
        found[letter] = {
            ("baseline", NONE, which.lower()): levels,
            ("baseline", NONE, "answered"): _answered(panel, places, letter, "baseline" in hollow),
            **measured(panel, conditions, hollow, used),
        }
    rows = []
    for letter, values in found.items():
        others = [found[other] for other in there if other != letter]
        for key, one in values.items():
            row = dict(zip(("kind", "control", "measure"), key, strict=True)) | {"letter": ALPHABET[letter]}
            rest = [other[key] for other in others if key in other]
            if len(rest) == len(others):
                sizes = one.sizes if key[2] == "answered" else one.sizes + sum(other.sizes for other in rest)
                apart = columns(interval(one.values - np.mean([other.values for other in rest], axis=0), sizes))
                row |= {"apart": apart["estimate"], "apart_p": apart["p"]}
                row |= {f"apart_{end}": apart[end] for end in ("low", "high")}
            rows.append(row | one.row())
    return as_table("letters", rows)


def letter_places(run: Run, panel: Panel) -> np.ndarray:
    """At which place each item shows each label, 0 for the letter A; -1 where it does not; dimensions (item, label)."""
    places = np.full((len(panel.items), len(panel.labels)), -1)
    codes = {label: code for code, label in enumerate(panel.labels)}
    for item, options in enumerate(evaluated_items(run)["options"].to_list()):
        for place, option in enumerate(options or ()):
            places[item, codes[option]] = place
    return places


def _answered(panel: Panel, places: np.ndarray, letter: int, hollow: bool) -> Measured:
    """The share of all items whose answer stands behind a letter, in %."""
    used, answer = panel.asked("baseline"), panel.answer("baseline")
    said = used & (answer >= 0) & (places[np.arange(len(answer)), np.maximum(answer, 0)] == letter)
    items, hits = (panel.per_speaker(one.astype(float)).sum(axis=1) for one in (used, said))
    asked = replicates(items)
    values = np.divide(100 * replicates(hits), asked, out=np.full(asked.shape, np.nan), where=asked > 0)
    return Measured(values, items, hollow)
