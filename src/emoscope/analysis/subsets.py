"""The headline's effects on a part of the items, as values with all speakers and without each."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.changes import Change
from emoscope.analysis.effects import columns, measures
from emoscope.analysis.families import compare
from emoscope.analysis.jackknife import interval
from emoscope.analysis.panel import NOT_ASKED, Panel

MEASURED = {"deactivate": ("self", "cross", "gap"), "steer": ("pull", "pull_cross", "pull_gap")}
"""The measures that are looked at on parts of the items, for each kind of intervention."""

ALIKE = ("kind", "selector", "budget", "scope", "to", "alpha", "positions", "layers")
"""What a headline's condition and its controls have in common."""

ESTIMATE: dict[str, Any] = {
    "estimate": pl.Float64, "low": pl.Float64, "high": pl.Float64, "p": pl.Float64, "speakers": pl.Int64,
    "df": pl.Float64, "n": pl.Int64, "reason": pl.String,
}  # fmt: skip
"""The columns of an estimate with its interval and the number of its items."""

Key = tuple[str, str, str]  # kind, control, measure


@dataclass(frozen=True)
class Measured:
    """One measure on some items.

    Attributes:
        values: with all speakers, then without each, dimension (1 + speaker).
        sizes: items per speaker, dimension (speaker).
        hollow: whether a condition behind it, or the baseline, supports no claim.
    """

    values: np.ndarray
    sizes: np.ndarray
    hollow: bool

    def row(self) -> dict[str, Any]:
        """The columns of :data:`ESTIMATE`, and ``hollow``."""
        return columns(interval(self.values, self.sizes)) | {"n": int(self.sizes.sum()), "hollow": self.hollow}


def headline_conditions(conditions: pl.DataFrame) -> pl.DataFrame:
    """The declared conditions and their controls, so that the other families are not computed for each part."""
    declared = set(conditions.filter(pl.col("headline").fill_null(False)).select(ALIKE).iter_rows())
    kept = [row in declared for row in conditions.select(ALIKE).iter_rows()]
    return conditions.filter(pl.Series(kept, dtype=pl.Boolean))


def on_items(panel: Panel, used: np.ndarray) -> Panel:
    """The same panel, as if only some items had been asked; dimension (item).

    The speakers stay the same ones, so that values of different parts can be subtracted speaker by speaker.
    """
    return replace(panel, answers=np.where(used, panel.answers, NOT_ASKED))


def measured(panel: Panel, conditions: pl.DataFrame, hollow: Set[str], used: np.ndarray) -> dict[Key, Measured]:
    """What the headline's sets and their matched controls change on some items.

    Args:
        panel: the stored answers by likelihood.
        conditions: from :func:`headline_conditions`; where targets are left out, effects are over the others.
        hollow: conditions whose answers support no claim.
        used: which items to count, dimension (item).

    Returns:
        (kind, control, measure) to values in points, for target sets, the mean over matched draws and, as measures
        that begin with ``excess_``, target sets beyond these draws.
    """
    found: dict[Key, Measured] = {}

    def add(kind: str, control: str, prefix: str, change: Change, is_hollow: bool) -> None:
        every, sizes = measures(change), change.items.sum(axis=1)
        for name in MEASURED[kind]:
            found[kind, control, prefix + name] = Measured(every[name], sizes, is_hollow)

    kept = conditions.filter(pl.col("control").fill_null("target").is_in(["target", "matched"]))
    for one in compare(on_items(panel, used), kept, hollow):
        kind, control = one.family["kind"], one.family["control"]
        if control == "matched" and one.family["draw"] is None:
            add(kind, control, "", one.change, one.hollow)
        if control == "target":
            add(kind, control, "", one.change, one.hollow)
            if one.excess is not None:
                add(kind, control, "excess_", one.excess.beyond, one.excess.hollow)
    return found
