"""Do sets hurt emotions of like arousal more: cross effects within and across arousal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.changes import Change
from emoscope.analysis.families import Compared, mean
from emoscope.analysis.subsets import Measured
from emoscope.emotions import arousal_of
from emoscope.schemas import as_table

CROSS = {"deactivate": "cross", "steer": "pull_cross"}
"""The measure that is split, for each kind of intervention."""


def arousal(compared: Sequence[Compared], labels: Sequence[str]) -> pl.DataFrame:
    """The headline's effects on other emotions, parted into emotions of the same and of the other arousal.

    Args:
        compared: the families and what they change.
        labels: the panel's labels; those whose arousal is not known do not enter.

    Returns:
        the columns of table ``arousal``, in points: ``…_same`` and ``…_other`` are means over the pairs (set, emotion
        of the clips) of the same and of the other arousal, ``…_apart`` is the former minus the latter, ``excess_…``
        the target sets' beyond matched controls. ``pairs`` counts pairs. Empty where either kind of pair is missing.
    """
    level = [arousal_of(label) for label in labels]
    rows: list[dict[str, Any]] = []
    for one in compared:
        if not one.headline:
            continue
        kind, parts = one.family["kind"], [("target", "", one.change, one.hollow)]
        if one.excess is not None:
            parts += [
                ("matched", "", mean(one.excess.matched), one.excess.hollow),
                ("target", "excess_", one.excess.beyond, one.excess.hollow),
            ]
        for control, prefix, change, hollow in parts:
            for measure, (found, pairs) in _split(kind, change, level, hollow).items():
                row = {"kind": kind, "control": control, "measure": prefix + measure, "pairs": pairs}
                rows.append(row | found.row())
    return as_table("arousal", rows)


def _split(
    kind: str, change: Change, level: Sequence[str | None], hollow: bool
) -> dict[str, tuple[Measured, int]]:  # fmt: skip
    """Cross effects over pairs of the same arousal, of the other one, and their difference, with how many pairs."""
    matrix = change.accuracy() if kind == "deactivate" else change.pull()  # (1 + speaker, target, label)
    known = [code for code in change.targets if level[code] is not None]
    place = {code: m for m, code in enumerate(change.targets)}
    pairs = [(m, e) for m in known for e in known if m != e]
    same = [(place[m], e) for m, e in pairs if level[m] == level[e]]
    other = [(place[m], e) for m, e in pairs if level[m] != level[e]]
    if not same or not other:
        return {}
    means = [np.mean([matrix[:, m, e] for m, e in part], axis=0) for part in (same, other)]
    sizes, name = change.items[:, known].sum(axis=1), CROSS[kind]
    values = {"same": means[0], "other": means[1], "apart": means[0] - means[1]}
    counts = {"same": len(same), "other": len(other), "apart": len(pairs)}
    return {f"{name}_{end}": (Measured(one, sizes, hollow), counts[end]) for end, one in values.items()}
