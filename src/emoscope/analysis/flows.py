"""Where answers go: from what the untouched model answers to what it answers with the headline's sets changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.families import Compared, shared
from emoscope.analysis.jackknife import interval, replicates
from emoscope.analysis.panel import UNREADABLE, Panel
from emoscope.schemas import as_table


def flows(panel: Panel, compared: Sequence[Compared]) -> pl.DataFrame:
    """How many items of each true emotion were answered so before and otherwise after, under the headline's conditions.

    Summed over ``before`` it is the confusion matrix under a condition, over ``after`` that of the untouched model.

    Args:
        panel: the stored answers by likelihood.
        compared: the families and what they change.

    Returns:
        the columns of table ``flows``, one row for each way that some item went, of the headline's sets and of the
        mean over their matched draws (an empty ``draw``). ``count`` is in items, ``share`` in % of the ``n`` items of
        that true emotion. An answer that cannot be read is null.
    """
    rows: list[dict[str, Any]] = []
    for one in compared:
        if one.headline:
            like = one.family | {"control": "matched", "draw": None}
            for family in (one, *(other for other in compared if other.family == like)):
                rows += _rows(panel, family)
    return as_table("flows", rows)


def _rows(panel: Panel, one: Compared) -> list[dict[str, Any]]:
    _, used = shared(panel, one.conditions)
    items, before = panel.per_speaker(used.astype(float)), panel.answer("baseline")
    rows = []
    for target in one.targets:
        moved: dict[tuple[int, int], np.ndarray] = {}
        for draw in one.conditions:
            after = panel.answer(draw[target])
            for way in sorted(set(zip(before[used].tolist(), after[used].tolist(), strict=True))):
                went = used & (before == way[0]) & (after == way[1])
                moved[way] = moved.get(way, 0) + panel.per_speaker(went.astype(float)) / len(one.conditions)
        for (was, now), counts in moved.items():
            for e in np.flatnonzero(counts.sum(axis=0)):
                asked = replicates(items[:, e])
                share = np.full(asked.shape, np.nan)
                np.divide(100 * replicates(counts[:, e]), asked, out=share, where=asked > 0)
                found = interval(share, items[:, e])
                rows.append(
                    one.family
                    | {
                        "target": target,
                        "truth": panel.labels[e],
                        "before": _name(panel, was),
                        "after": _name(panel, now),
                    }
                    | {"count": float(counts[:, e].sum()), "n": int(items[:, e].sum()), "share": found.estimate}
                    | {"low": found.low, "high": found.high, "reason": found.reason}
                    | {"draws": len(one.conditions), "hollow": one.hollow}
                )
    return rows


def _name(panel: Panel, code: int) -> str | None:
    return None if code == UNREADABLE else panel.labels[code]
