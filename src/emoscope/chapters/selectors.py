"""Does it matter by which rule neurons are selected?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import altair as alt
import polars as pl

from emoscope.analysis.contrasts import Changes, Compared, measures, shared
from emoscope.analysis.estimate import unit
from emoscope.analysis.parts import Part, StudyRuns
from emoscope.analysis.responses import Responses
from emoscope.report.page import Figure, Question, Table
from emoscope.report.plots import GAP, INTERVALS, dots, marks_of, panels
from emoscope.report.theme import title
from emoscope.report.wording import CLEAR_HIGH, CLEAR_LOW, OPEN, UNTESTED, judge, made, name_selector
from emoscope.schemas import as_table, empty
from emoscope.wording import estimate_text, listed, number, p_value, spread

COMPARED = {
    "deactivate": ("gap", "sensitivity", "bias"),
    "steer": ("pull_gap", "pull_overall", "sensitivity", "bias"),
}
"""The measures in which selectors are compared."""


def differences(responses: Responses, compared: Sequence[Compared]) -> pl.DataFrame:
    """Paired differences between the target sets of every two selectors, on the same items and emotions.

    Args:
        responses: the stored answers by likelihood.
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
    rows, changes = [], Changes(responses)
    for (kind, alpha, budget), members in groups.items():
        members.sort(key=lambda one: (one.family["selector"] != headline["selector"], one.family["selector"]))
        for first, second in combinations(members, 2):
            both = [first.conditions[0], second.conditions[0]]
            targets, used = shared(responses, both)
            if not targets or not used.any():
                continue
            own, other = (measures(changes.count(one, targets, used)) for one in both)
            for measure in COMPARED[kind]:
                row = own[measure].beyond(other[measure]).columns()
                row |= {"kind": kind, "alpha": alpha, "budget": budget, "measure": measure, "unit": unit(measure)}
                row |= {"first": first.family["selector"], "second": second.family["selector"]}
                rows.append(row)
    frame = as_table("differences", rows)
    leads = pl.col("first") != headline["selector"]
    return frame.sort("kind", "alpha", "budget", "measure", leads, "first", "second", nulls_last=False)


def draw_selectors(part: Part) -> Any | None:
    """The gap of every selector's sets, and by how much the headline's differs from each."""
    found = part.of_selectors("deactivate").filter((pl.col("measure") == "gap") & (pl.col("control") == "target"))
    order = [name for name in part.selectors if name in set(found["selector"])]
    if len(order) < 2:
        return None
    names = {name: name_selector(name) for name in order}
    shown = [pl.col("estimate"), pl.col("low"), pl.col("high")]
    own = found.select(
        pl.col("selector").replace(names).alias("row"), *shown, pl.col("unreliable").fill_null(False),
        pl.when(pl.col("selector") == part.selector).then(pl.lit("selected")).otherwise(pl.lit("control")).alias("series"),
    )  # fmt: skip
    rows = list(names.values())
    charts = [dots(own, rows, GAP, "selector", rule=0.0, width=350)]
    differences = part.table("differences").filter(
        (pl.col("kind") == "deactivate") & (pl.col("measure") == "gap") & (pl.col("first") == part.selector)
        & (pl.col("budget").eq_missing(pl.lit(part.budget)))
        & pl.col("estimate").is_not_null()
    )  # fmt: skip
    head = name_selector(part.selector)
    if len(differences):
        pairs = differences.select(
            pl.col("second").replace(names).alias("row"), *shown, pl.lit("difference").alias("series")
        )
        charts.append(dots(pairs, rows, f"{head} minus this selector (points)", None, rule=0.0, width=350))
    return alt.hconcat(*charts, spacing=24).properties(
        title=title(
            "How specific each selector's neurons are when switched off",
            f"{INTERVALS} Left: the gap, further left is more specific. Right: {head} minus the other selector on the same clips; "
            "only where the line keeps clear of zero are the two told apart.",
        )
    )  # fmt: skip


def tabulate_selectors(part: Part) -> pl.DataFrame | None:
    """Every selector's sets: how specific they are and how they move the answers."""
    measures = [
        ("deactivate", "gap", "gap (points)", 1), ("deactivate", "sensitivity", "evidence (AUC points)", 1),
        ("deactivate", "bias", "leaning (nat)", 2), ("steer", "pull_overall", "pull, all (points)", 1),
        ("steer", "pull_gap", "pull gap (points)", 1),
    ]  # fmt: skip
    rows = []
    for selector in part.selectors:
        row = {"neurons": name_selector(selector)}
        for kind, measure, heading, digits in measures:
            found = part.of_selectors(kind).filter(
                (pl.col("measure") == measure) & (pl.col("control") == "target") & (pl.col("selector") == selector)
            )
            row[heading] = estimate_text(found.row(0, named=True), "estimate", digits) if len(found) else "–"
        rows.append(row)
    return made(rows)


def tabulate_differences(part: Part) -> pl.DataFrame | None:
    """Paired differences between selectors, on the same clips."""
    names = {
        ("deactivate", "gap"): "gap (points)", ("deactivate", "sensitivity"): "evidence (AUC points)",
        ("deactivate", "bias"): "leaning (nat)", ("steer", "pull_overall"): "pull, all (points)",
        ("steer", "pull_gap"): "pull gap (points)",
    }  # fmt: skip
    found = part.table("differences").filter(pl.col("budget").eq_missing(pl.lit(part.budget)))
    pairs = list(dict.fromkeys(found.select("first", "second").iter_rows()))
    rows = []
    for first, second in pairs:
        row = {"difference between": f"{name_selector(first)} minus {name_selector(second)}"}
        for (kind, measure), heading in names.items():
            one = found.filter(
                (pl.col("first") == first) & (pl.col("second") == second) & (pl.col("kind") == kind) & (pl.col("measure") == measure)
                & ((pl.col("kind") == "deactivate") | pl.col("alpha").eq_missing(pl.lit(part.alpha)))
            )  # fmt: skip
            digits = 2 if measure == "bias" else 1
            row[heading] = estimate_text(one.row(0, named=True), "estimate", digits) if len(one) else "–"
        rows.append(row)
    return made(rows)


def draw_selectors_of_parts(study: StudyRuns) -> Any | None:
    """The gap of each selector's neurons, next to matched neurons of the headline's."""
    order = list(dict.fromkeys(name for part in study.mains for name in part.selectors))
    names = [name_selector(name) for name in order]
    frames = {}
    for part in study.mains:
        effects = part.table("effects")
        if effects is None or len(part.selectors) < 2:
            continue
        found = part.of_selectors("deactivate").filter(pl.col("measure") == "gap")
        rows = [
            {"row": name_selector(row["selector"]), "series": "selected" if row["control"] == "target" else "control"} | marks_of(row)
            for row in found.filter(pl.col("control").is_in(["target", "matched"])).iter_rows(named=True)
        ]  # fmt: skip
        frames[part.name] = rows
    return panels(
        frames, names, GAP, "selector",
        title(
            "How specific each selector’s neurons are when switched off",
            f"{INTERVALS} Further left: hurts its own emotion more than the others. Circle: selected; diamond: matched neurons.",
        ),
    )  # fmt: skip


def say_selectors(study: StudyRuns) -> list[str]:
    """From which other selectors the headline's can be told apart, on each corpus."""
    said = []
    for part in study.mains:
        table = part.table("differences")
        if table is None or part.selector is None:
            continue
        found = table.filter(
            (pl.col("kind") == "deactivate") & (pl.col("measure") == "gap") & (pl.col("first") == part.selector)
            & pl.col("budget").eq_missing(pl.lit(part.budget))
        )  # fmt: skip
        groups: dict[str, list[str]] = {}
        for row in found.iter_rows(named=True):
            groups.setdefault(judge(row, part)[0], []).append(name_selector(row["second"]))
        words = {
            CLEAR_LOW: "more specific than {}", CLEAR_HIGH: "less specific than {}", OPEN: "not told apart from {}",
            UNTESTED: "not compared with {}",
        }  # fmt: skip
        texts = [text.format(listed(groups[name])) for name, text in words.items() if name in groups]
        if texts:
            said.append(f"On {part.name}, {name_selector(part.selector)}’s neurons are {listed(texts)}.")
    return said


def tabulate_selectors_of_parts(study: StudyRuns) -> pl.DataFrame | None:
    """Paired differences of the gap between the headline's selector and the others, at every budget."""
    rows = []
    for part in study.mains:
        table = part.table("differences")
        found = table.filter(
            (pl.col("kind") == "deactivate") & (pl.col("measure") == "gap") & (pl.col("first") == part.selector)
        )
        for row in found.iter_rows(named=True):
            rows.append({
                "corpus": part.name, "difference between": f"{name_selector(row['first'])} minus {name_selector(row['second'])}",
                "budget (%)": number(100 * (row["budget"] or 0), 2), "gap (points)": spread(row), "p": p_value(row["p"]),
            })  # fmt: skip
    return made(rows)


QUESTIONS = (
    Question(
        "which",
        10,
        (
            Figure("selectors", draw_selectors, "fewer than two selectors were switched off"),
            Table(
                "selectors",
                tabulate_selectors,
                "Every selector at the headline’s budget and alpha, with 95 % intervals over speakers. Gap, "
                "evidence and leaning: switched off; pull: amplified.",
            ),
            Table(
                "differences",
                tabulate_differences,
                "Differences between selectors on the same clips, with 95 % intervals over speakers.",
            ),
            Figure("selectors", draw_selectors_of_parts, "fewer than two selectors were switched off", pages="study"),
            Table(
                "selectors",
                tabulate_selectors_of_parts,
                "Paired differences of the gap between selectors, on the same clips. Below zero: the first is "
                "more specific.",
                pages="study",
            ),
        ),
        says=say_selectors,
        tables={"differences": lambda part: differences(part.responses, part.compared)},
    ),
)
