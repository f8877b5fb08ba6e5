"""Tables over something that a study sweeps: the budget, and the number of clips that find the neurons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from emoscope.report.content import Content, bracket, number
from emoscope.report.sweep_charts import gaps_by_budget


def budgets(content: Content) -> pl.DataFrame | None:
    """The headline selector's gap at each budget that has matched controls."""
    found = gaps_by_budget(content)
    if found["budget"].n_unique() < 2:
        return None
    by = {(row["budget"], row["control"], row["measure"]): row for row in found.iter_rows(named=True)}
    wanted = {row["budget"]: row["size_wanted"] for row in content.own(content.run.sets).iter_rows(named=True)}
    rows = []
    for budget in found["budget"].unique().sort():
        matched = by.get((budget, "matched", "gap"))
        rows.append({
            "neurons per emotion": f"{number(100 * budget, 2)} %" + (" *" if budget == content.budget else ""),
            "number": str(wanted.get(budget) or "–"), "gap": _spread(by.get((budget, "target", "gap")), "estimate"),
            "matched": _spread(matched, "estimate") + (f" (mean of {matched['draws']})" if matched else ""),
            "excess gap": _spread(by.get((budget, "target", "excess_gap")), "estimate"),
        })  # fmt: skip
    return pl.DataFrame(rows)


def efficiency(content: Content) -> pl.DataFrame | None:
    """Sets from fewer clips: what they share with the full set, and the gaps that they reach."""
    found = content.own(content.sized(content.tables.efficiency)).filter(pl.col("draw").is_null())
    if len(found) < 2:
        return None
    shown = {"gap": "switched off: gap", "pull_gap": "amplified: pull gap"}
    shown = {name: heading for name, heading in shown.items() if found[name].null_count() < len(found)}
    rows = []
    for row in found.sort("full", "size").iter_rows(named=True):
        ends = bracket(100 * row["jaccard_min"], 100 * row["jaccard_max"])
        one = {"clips per emotion": f"{row['size']}{', the full set' if row['full'] else ''}"}
        one["shared with the full set (%)"] = "–" if row["full"] else f"{number(100 * row['jaccard'])} {ends}"
        one["two random sets (%)"] = "–" if row["chance"] is None else number(100 * row["chance"])
        rows.append(one | {heading: _spread(row, name) for name, heading in shown.items()})
    return pl.DataFrame(rows)


TABLES: Mapping[str, tuple[Callable[[Content], pl.DataFrame | None], str]] = {
    "budgets": (budgets, "Switching off as many neurons of the headline’s selector as each budget gives, in points, with 95 % intervals over speakers. "
                "*: the headline’s budget, fixed beforehand; the others are exploration."),
    "efficiency": (efficiency, "Neurons found from fewer clips, mean over draws. Shared: Jaccard index, in brackets the least and the most alike draw, "
                   "fold and emotion; gaps in points with 95 % intervals over speakers."),
}  # fmt: skip
"""Name to the function that fills a table, and its caption."""


def _spread(row: Mapping[str, Any] | None, name: str) -> str:
    if row is None:
        return "–"
    ends = (row["low"], row["high"]) if name == "estimate" else (row[f"{name}_low"], row[f"{name}_high"])
    return f"{number(row[name], sign=True)} {bracket(*ends)}".strip()
