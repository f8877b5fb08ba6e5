"""Does the model lose evidence of an emotion, or only say it more or less often: sensitivity and bias."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from emoscope.analysis.changes import Change
from emoscope.analysis.families import Compared
from emoscope.analysis.jackknife import interval
from emoscope.schemas import as_table


def evidence(compared: Sequence[Compared]) -> pl.DataFrame:
    """Sensitivity and bias of every family and target emotion, with jackknife intervals.

    Sensitivity is the change of the area under the ROC curve of the target's log-odds, its items against all
    others; bias the mean change of these log-odds over the others' items (see ``docs/method.md``).

    Args:
        compared: the families and what they change.

    Returns:
        the columns of table ``evidence``: auc (the baseline's) and sensitivity in AUC points (100 x AUC), bias in
        nat, ``n`` in items. Excess columns are the target set's change minus the mean of matched draws.
    """
    rows: list[dict[str, Any]] = []
    for one in compared:
        beyond = one.excess.beyond if one.excess is not None else None
        for m, target in enumerate(one.targets):
            row = one.family | {"target": target, "draws": len(one.draws), "n": int(one.change.ranked[:, m].sum())}
            row |= _columns(one.change, m, "") | {"auc": _finite(one.change.baseline_auc[m])}
            if one.excess is not None and beyond is not None and target in one.excess.targets:
                row |= _columns(beyond, one.excess.targets.index(target), "excess_")
            rows.append(row)
    return as_table("evidence", rows)


def _columns(change: Change, m: int, prefix: str) -> dict[str, float | None]:
    sizes = change.ranked[:, m]
    row: dict[str, float | None] = {}
    for name, values in (("sensitivity", change.auc[:, m]), ("bias", change.bias()[:, m])):
        found = interval(values, sizes)
        row |= {prefix + name: found.estimate, f"{prefix}{name}_low": found.low, f"{prefix}{name}_high": found.high}
    return row


def _finite(value: float) -> float | None:
    return float(value) if value == value else None
