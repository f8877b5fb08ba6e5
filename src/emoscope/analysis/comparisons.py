"""The declared tests of a study, and differences between selectors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import polars as pl

from emoscope.analysis.changes import Changes
from emoscope.analysis.effects import columns, measures, unit
from emoscope.analysis.families import Compared, shared
from emoscope.analysis.jackknife import Interval, interval
from emoscope.analysis.multiplicity import holm
from emoscope.analysis.panel import Panel
from emoscope.analysis.run_tables import Run
from emoscope.schemas import as_table, empty

DECLARED = {"deactivate": "gap", "steer": "pull_gap"}
"""The measure that the headline of each kind is tested on, beyond matched controls."""

COMPARED = {
    "deactivate": ("gap", "sensitivity", "bias"),
    "steer": ("pull_gap", "pull_overall", "sensitivity", "bias"),
}
"""The measures in which selectors are compared."""


def headline_tests(compared: Sequence[Compared], run: Run) -> pl.DataFrame:
    """The declared headline tests, adjusted for their number after Holm (1979).

    Args:
        compared: the families and what they change.
        run: the run folder's tables, for the name of the corpus.

    Returns:
        the columns of table ``tests``, one row for each kind that the study declares; points.
    """
    corpus = "+".join(sorted(set(run.items.filter(pl.col("fate") == "used")["corpus"].drop_nulls())))
    rows: list[dict[str, Any]] = []
    for kind, measure in DECLARED.items():
        declared = [one for one in compared if one.headline and one.family["kind"] == kind]
        if not declared:
            continue
        one = min(declared, key=lambda this: (this.family["positions"] != "all", this.family["to"] == "mean"))
        found = Interval(None, None, None, 0, None, "no matched controls")
        if one.excess is not None:
            found = interval(measures(one.excess.beyond)[measure], one.excess.beyond.items.sum(axis=1))
        row = columns(found) | {"kind": kind, "measure": f"excess_{measure}", "corpus": corpus}
        if one.excess is not None and one.excess.hollow:
            row |= {"p": None, "reason": "too few answers are letters, or the written answers differ too often"}
        rows.append(row)
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = p
    return as_table("tests", rows)


def differences(panel: Panel, compared: Sequence[Compared]) -> pl.DataFrame:
    """Paired differences between the target sets of every two selectors, on the same items and emotions.

    Args:
        panel: the stored answers by likelihood.
        compared: the families and what they change.

    Returns:
        the columns of table ``differences``: the first selector's measure minus the second's, at every budget that
        both have, at the headline's scope, at all positions. The headline's selector always stands first.
    """
    headline = next((one.family for one in compared if one.headline), None)
    if headline is None:
        return empty("differences")
    fixed = {"scope": headline["scope"], "control": "target"}
    fixed |= {"positions": "all", "layers": "all"}
    groups: dict[tuple[Any, ...], list[Compared]] = {}
    for one in compared:
        if all(one.family[name] == value for name, value in fixed.items()) and one.family["to"] != "mean":
            groups.setdefault((one.family["kind"], one.family["alpha"], one.family["budget"]), []).append(one)
    rows, changes = [], Changes(panel)
    for (kind, alpha, budget), members in groups.items():
        members.sort(key=lambda one: (one.family["selector"] != headline["selector"], one.family["selector"]))
        for first, second in combinations(members, 2):
            both = [first.conditions[0], second.conditions[0]]
            targets, used = shared(panel, both)
            if not targets or not used.any():
                continue
            change = [changes.count(one, targets, used) for one in both]
            found, other = measures(change[0]), measures(change[1])
            sizes = change[0].items.sum(axis=1)
            for measure in COMPARED[kind]:
                row = columns(interval(found[measure] - other[measure], sizes))
                row |= {"kind": kind, "alpha": alpha, "budget": budget, "measure": measure, "unit": unit(measure)}
                row |= {"first": first.family["selector"], "second": second.family["selector"]}
                rows.append(row)
    frame = as_table("differences", rows)
    leads = pl.col("first") != headline["selector"]
    return frame.sort("kind", "alpha", "budget", "measure", leads, "first", "second", nulls_last=False)
