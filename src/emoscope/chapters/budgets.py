"""How many neurons does it take?"""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from emoscope.analysis.parts import Part
from emoscope.chapters.efficiency import GAP_OFF
from emoscope.report.page import Figure, Question, Table
from emoscope.report.plots import CURVE, INTERVALS, NAMES, curve, hollow_note
from emoscope.report.theme import title
from emoscope.report.wording import CONTROLS, name_selector
from emoscope.vocabulary import acting
from emoscope.wording import estimate_text, number


def draw_budgets(part: Part) -> Any | None:
    """The gap under deactivation over the number of neurons, next to matched controls, and the excess gap."""
    found = gaps_by_budget(part)
    if found["budget"].n_unique() < 2:
        return None
    found = found.with_columns(
        pl.when(pl.col("measure") == "excess_gap").then(pl.lit("selected minus matched"))
        .otherwise(pl.col("control").replace(CONTROLS)).alias("series"), (100 * pl.col("budget")).alias("x"),
    )  # fmt: skip
    shown = sorted(found["x"].unique().to_list())
    x = (
        alt.X("x:Q", title="neurons per emotion, of all (%)")
        .scale(type="log", domain=[shown[0] / 1.25, shown[-1] * 1.25])
        .axis(grid=False, values=shown, format="~g")
    )
    mark = 100 * part.budget if part.budget is not None else None
    panels = [
        curve(found.filter(pl.col("measure") == measure).select(CURVE), x, label, 0, mark, 330, tuple(NAMES))
        for measure, label in (("gap", GAP_OFF), ("excess_gap", "gap beyond matched neurons (points)"))
    ]
    return alt.hconcat(*panels, spacing=24).properties(
        title=title(
            f"How many neurons it takes: {name_selector(part.selector)} over budgets",
            f"{INTERVALS} Lower: switching off hurts the emotion more than the others. Upright line: the headline’s budget, fixed "
            f"beforehand; the others are exploration.{hollow_note(found)}",
        )
    )  # fmt: skip


def gaps_by_budget(part: Part) -> pl.DataFrame:
    """The gap of selected and of matched neurons, and the excess gap, at each budget that has matched controls."""
    found = acting(part.table("effects"), "deactivate", "headline", "budget").filter(
        pl.col("control").is_in(["target", "matched"]) & pl.col("measure").is_in(["gap", "excess_gap"])
        & pl.col("estimate").is_not_null()
    )  # fmt: skip
    controlled = found.filter(pl.col("measure") == "excess_gap")["budget"].to_list()
    return (
        found.filter(pl.col("budget").is_in(controlled))
        .with_columns(pl.col("unreliable").fill_null(False))
        .sort("budget")
    )


def tabulate_budgets(part: Part) -> pl.DataFrame | None:
    """The headline selector's gap at each budget that has matched controls."""
    found = gaps_by_budget(part)
    if found["budget"].n_unique() < 2:
        return None
    by = {(row["budget"], row["control"], row["measure"]): row for row in found.iter_rows(named=True)}
    wanted = {
        row["budget"]: row["size_wanted"] for row in part.run.sets.filter(selector=part.selector).iter_rows(named=True)
    }
    rows = []
    for budget in found["budget"].unique().sort():
        matched = by.get((budget, "matched", "gap"))
        rows.append({
            "neurons per emotion": f"{number(100 * budget, 2)} %" + (" *" if budget == part.budget else ""),
            "number": str(wanted.get(budget) or "–"), "gap": estimate_text(by.get((budget, "target", "gap")), "estimate"),
            "matched": estimate_text(matched, "estimate") + (f" (mean of {matched['draws']})" if matched else ""),
            "excess gap": estimate_text(by.get((budget, "target", "excess_gap")), "estimate"),
        })  # fmt: skip
    return pl.DataFrame(rows)


QUESTIONS = (
    Question(
        "deactivation",
        30,
        (
            Figure("budgets", draw_budgets, "the headline’s selector was switched off at one budget alone"),
            Table(
                "budgets",
                tabulate_budgets,
                "Switching off as many neurons of the headline’s selector as each budget gives, in points, with "
                "95 % intervals over speakers. *: the headline’s budget, fixed beforehand; the others are "
                "exploration.",
            ),
        ),
    ),
)
