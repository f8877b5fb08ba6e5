"""How far do results depend on the wording of the question, where a study asks in several?"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace
from typing import Any

import polars as pl

from emoscope.analysis.accuracy import level
from emoscope.analysis.contrasts import compare
from emoscope.analysis.effects import headline_conditions, headline_tests
from emoscope.analysis.estimate import named
from emoscope.analysis.load import Run
from emoscope.analysis.parts import Part
from emoscope.analysis.responses import build_panel, evaluated_items
from emoscope.report.page import Question, Table
from emoscope.schemas import as_table
from emoscope.vocabulary import GAPS
from emoscope.wording import estimate_text, number

EXCESS = tuple(f"excess_{measure}" for measure in GAPS.values())


def wordings(run: Run, hollow: Set[str] = frozenset()) -> pl.DataFrame:
    """UAR of the untouched model and the headline's effects, on the items of each wording alone.

    The neuron sets are those of the study: they were found on all wordings together. The interval of each number is
    over speakers, as everywhere; no interval is given for the spread over wordings, which are few and not drawn
    from anything.

    Args:
        run: the run folder's tables.
        hollow: conditions whose answers support no claim.

    Returns:
        the columns of table ``wordings``, in the order in which the study lists them; uar in %, effects in points.
        Empty where there is one wording.
    """
    items = evaluated_items(run)
    asked = items["wording"].drop_nulls().unique(maintain_order=True).to_list()
    rows: list[dict[str, Any]] = []
    for wording in asked if len(asked) > 1 else ():
        part = replace(run, items=items.filter(pl.col("wording") == wording))
        panel = build_panel(part)
        if "baseline" not in panel.rows:
            continue
        found = level(panel, ["baseline"])
        tests = headline_tests(compare(panel, headline_conditions(run.conditions), hollow), part)
        row = found.columns() | found.named("uar")
        row |= {"wording": wording, "chance": panel.chance, "letter_mass": _letter_mass(part)}
        for test in tests.iter_rows(named=True):
            row |= named(test["measure"], test)
        rows.append(row)
    return as_table("wordings", rows)


def _letter_mass(run: Run) -> float | None:
    answers = run.answers.filter((pl.col("scoring") == "likelihood") & (pl.col("condition") == "baseline"))
    found = answers.join(run.items.select("item"), on="item", how="semi").sort("item")["letter_mass"].mean()
    return found if isinstance(found, float) else None


def tabulate_wordings(part: Part) -> pl.DataFrame | None:
    """The untouched model and the headline's effects on each wording of the question, and how far these lie apart."""
    found = part.table("wordings")
    if found.is_empty():
        return None
    headings = {"excess_gap": "switched off: excess gap", "excess_pull_gap": "amplified: excess pull gap"}
    shown = [name for name in headings if found[name].null_count() < len(found)]
    rows = [
        {"wording": row["wording"], "items": str(row["n"]), "letter mass": number(row["letter_mass"], 2)}
        | {"UAR (%)": estimate_text(row, "uar", sign=False)}
        | {headings[name]: estimate_text(row, name) for name in shown}
        for row in found.iter_rows(named=True)
    ]
    there = {name: found[name].drop_nulls().to_list() for name in ("uar", *shown)}
    apart = {name: number(max(values) - min(values)) for name, values in there.items()}
    rows.append(
        {"wording": "largest minus smallest", "items": "", "letter mass": "", "UAR (%)": apart["uar"]}
        | {headings[name]: apart[name] for name in shown}
    )
    return pl.DataFrame(rows)


QUESTIONS = (
    Question(
        "model",
        20,
        (
            Table(
                "wordings",
                tabulate_wordings,
                "Each wording of the question alone, with 95 % intervals over speakers. The sets were found on "
                "all wordings together; effects in points, beyond matched neurons.",
            ),
        ),
        tables={"wordings": lambda part: wordings(part.run, part.hollow)},
    ),
)
