"""Do effects hold among clips that say the same: gaps within each value of another label column."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.panel import Panel, asked_label, evaluated_items
from emoscope.analysis.run_tables import Run
from emoscope.analysis.subsets import Key, Measured, headline_conditions, measured
from emoscope.schemas import as_table, schema

NO_LABELS = (set(schema("items")) - {"emotion"}) | {"presentation"}
"""Columns of the items that are no labels of the corpus."""

MOST_VALUES = 100
"""A column of more values names clips rather than what they have in common."""

Members = dict[str, tuple[tuple[str, ...], np.ndarray]]  # value -> its labels and its items, dimension (item)


def within(run: Run, panel: Panel, hollow: Set[str] = frozenset()) -> pl.DataFrame:
    """The headline's effects within each value of every other label column, and their mean over the values.

    Where each word is spoken in every emotion, effects within a word cannot come from the word.

    Args:
        run: the run folder's tables.
        panel: its answers by likelihood.
        hollow: conditions whose answers support no claim.

    Returns:
        the columns of table ``within``, in points. A null ``value`` is the mean over the values, each counting alike;
        ``values`` says over how many, ``covered`` how many % of the items lie in them. Empty where the corpus has no
        such column.
    """
    conditions = headline_conditions(run.conditions)
    targets = set(conditions["target"].drop_nulls())
    rows: list[dict[str, Any]] = []
    for column, values in crossed_columns(run, panel, targets).items():
        found: dict[str, dict[Key, Measured]] = {}
        for value, (labels, used) in values.items():
            found[value] = measured(panel, conditions.filter(pl.col("target").is_in(labels)), hollow, used)
        counted = np.any([used for _, used in values.values()], axis=0)
        covered = 100 * float(counted.mean())
        for key in dict.fromkeys(key for one in found.values() for key in one):
            parts = {value: one[key] for value, one in found.items() if key in one}
            mean = Measured(
                np.mean([one.values for one in parts.values()], axis=0), sum(one.sizes for one in parts.values()),  # type: ignore[arg-type]
                any(one.hollow for one in parts.values()),
            )  # fmt: skip
            about = dict(zip(("kind", "control", "measure"), key, strict=True)) | {"column": column, "covered": covered}
            rows.append(about | mean.row() | {"value": None, "values": len(parts)})
            rows += [about | one.row() | {"value": value, "values": 1} for value, one in parts.items()]
    return as_table("within", rows)


def crossed_columns(run: Run, panel: Panel, targets: Set[str]) -> dict[str, Members]:
    """The label columns of which at least two values each hold two or more of the emotions that have a set.

    Within a value an emotion counts where at least two speakers spoke it, since the jackknife leaves one out.

    Args:
        run: the run folder's tables.
        panel: its answers by likelihood.
        targets: the emotions that have a set.

    Returns:
        column to value to its emotions and its items of these emotions.
    """
    items, asked = evaluated_items(run), asked_label(run)
    names = [
        name for name, dtype in items.schema.items()
        if dtype == pl.String and name not in NO_LABELS and name != asked and items[name].n_unique() <= MOST_VALUES + 1
    ]  # fmt: skip
    codes = {panel.labels.index(one): one for one in panel.labels if one in targets}
    found: dict[str, Members] = {}
    for name in names:
        column, values = items[name].to_numpy(), {}
        for value in items[name].drop_nulls().unique().sort().to_list():
            here = column == value
            labels = [
                (code, label) for code, label in codes.items()
                if len(set(panel.speaker[here & (panel.truth == code)].tolist())) > 1
            ]  # fmt: skip
            if len(labels) > 1:
                used = here & np.isin(panel.truth, [code for code, _ in labels])
                values[value] = (tuple(label for _, label in labels), used)
        if len(values) > 1:
            found[name] = values
    return found
