"""How many clips it takes: what sets from fewer clips share with the full set, and the gap that they reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.effects import measures
from emoscope.analysis.families import Compared
from emoscope.analysis.jackknife import interval
from emoscope.analysis.run_tables import Run
from emoscope.analysis.sets import ALL, chance, jaccard
from emoscope.neurons.selection import load_set
from emoscope.schemas import as_table, empty

SET = ("selector", "budget", "scope")
REACHED = {"deactivate": "gap", "steer": "pull_gap"}
"""The measure that sets reach under each kind of intervention."""


def efficiency(run: Run, compared: Sequence[Compared]) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Overlap with the full set and gap, for each number of clips per emotion and each draw of them.

    Args:
        run: the run folder's tables; the neurons are read from ``sets/``.
        compared: the families and what they change.

    Returns:
        the columns of table ``efficiency``, and notes on sets that are not stored. ``size`` in clips per emotion;
        ``jaccard`` with the full set of the same fold, as mean, smallest and largest over folds, emotions and draws;
        gap (deactivation to zero) and pull_gap (steering at the headline's alpha) in points, null where such
        conditions were not run. A null draw means all draws; ``full`` marks the full set, whose size is that of the
        fold with the fewest clips. Empty where a study has no such sets.
    """
    fewer = run.sets.filter((pl.col("control") == "fewer") & (pl.col("fold") != ALL))
    if fewer.is_empty():
        return empty("efficiency"), ()
    model: Any = run.manifest.get("model", {})
    neurons = (model.get("layers") or 0) * (model.get("width") or 0)
    full = run.sets.filter(pl.col("control") == "target").join(fewer.select(SET).unique(), on=SET)
    acting = full.filter(pl.col("fold") != ALL)
    found: dict[tuple[Any, ...], list[float]] = {}
    reached: dict[tuple[Any, ...], list[int]] = {}
    notes = set()
    names = {tuple(row[name] for name in SET): row["set"] for row in full.iter_rows(named=True)}
    for row in fewer.sort("set", "fold", "emotion").iter_rows(named=True):
        about = tuple(row[name] for name in SET)
        try:
            one, whole = (load_set(run.folder / "sets", name, row["fold"]) for name in (row["set"], names[about]))
        except FileNotFoundError:
            notes.add(f"efficiency: no neurons stored for sets of fewer clips of {row['selector']}")
            continue
        share = float(jaccard([one[row["emotion"]], whole[row["emotion"]]])[0])
        for draw in (row["draw"], None):
            found.setdefault((*about, row["size"], draw), []).append(share)
            reached.setdefault((*about, row["size"], draw), []).append(row["size_reached"])
    rows = []
    folds = acting["fold"].n_unique()
    for key, shares in found.items():
        row = dict(zip((*SET, "size", "draw"), key, strict=True)) | {"full": False, "folds": folds}
        row |= {"jaccard": float(np.mean(shares)), "jaccard_min": min(shares), "jaccard_max": max(shares)}
        sizes = reached[key]
        row["chance"] = chance(round(float(np.mean(sizes))), neurons) if neurons else None
        rows.append(row | _gaps(compared, row, "fewer"))
    for about, group in acting.group_by(SET, maintain_order=True):
        row = dict(zip(SET, about, strict=True)) | {
            "size": group["n"].min(),
            "draw": None,
            "full": True,
            "folds": folds,
        }
        row |= {"jaccard": 1.0, "jaccard_min": 1.0, "jaccard_max": 1.0, "chance": None}
        rows.append(row | _gaps(compared, row, "target"))
    return as_table("efficiency", rows), tuple(sorted(notes))


def _gaps(compared: Sequence[Compared], row: dict[str, Any], control: str) -> dict[str, Any]:
    """The measures of :data:`REACHED` of the families of one row, each with its interval."""
    alphas = {one.family["alpha"] for one in compared if one.headline and one.family["kind"] == "steer"}
    columns: dict[str, Any] = {"reason": None}
    for kind, measure in REACHED.items():
        wanted = {name: row[name] for name in SET} | {
            "kind": kind,
            "control": control,
            "positions": "all",
            "layers": "all",
        }
        if control == "fewer":
            wanted |= {"size": row["size"], "draw": row["draw"]}
        able = [
            one for one in compared
            if all(one.family[name] == value for name, value in wanted.items()) and one.family["to"] != "mean"
            and (kind == "deactivate" or one.family["alpha"] in alphas)
        ]  # fmt: skip
        if able:
            change = able[0].change
            got = interval(measures(change)[measure], change.items.sum(axis=1))
            columns |= {measure: got.estimate, f"{measure}_low": got.low, f"{measure}_high": got.high}
            columns["reason"] = columns["reason"] or got.reason
        else:
            columns |= dict.fromkeys((measure, f"{measure}_low", f"{measure}_high"))
    return columns
