"""Do effects hold among clips that say the same: gaps within each value of another label column."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from emoscope.analysis.effects import by_groups, headline_conditions
from emoscope.analysis.estimate import mean_over_parts
from emoscope.analysis.parts import Part, Row, StudyRuns
from emoscope.analysis.responses import asked_label, evaluated_items
from emoscope.report.page import Question, Table
from emoscope.report.wording import by_key, made_of, outcome, tally, where
from emoscope.schemas import as_table, schema
from emoscope.vocabulary import GAPS
from emoscope.wording import DONE, estimate_text, number

NO_LABELS = (set(schema("items")) - {"emotion"}) | {"presentation"}
"""Columns of the items that are no labels of the corpus."""

MOST_VALUES = 100
"""A column of more values names clips rather than what they have in common."""


def within(part: Part) -> pl.DataFrame:
    """The headline's effects within each value of every other label column, and their mean over the values.

    Where each word is spoken in every emotion, effects within a word cannot come from the word.

    Returns:
        the columns of table ``within``, in points. A null ``value`` is the mean over the values, each counting alike;
        ``values`` says over how many, ``covered`` how many % of the items lie in them. Empty where the corpus has no
        such column.
    """
    rows: list[Row] = []
    for column, values in crossed_columns(part).items():
        found = by_groups(part, values, own_emotions=True)
        covered = 100 * float(np.any(list(values.values()), axis=0).mean())
        for key in dict.fromkeys(key for one in found.values() for key in one):
            parts = {value: one[key] for value, one in found.items() if key in one}
            about = dict(zip(("kind", "control", "measure"), key, strict=True)) | {"column": column, "covered": covered}
            mean = mean_over_parts(list(parts.values()))
            rows.append(about | mean.columns() | {"value": None, "values": len(parts)})
            rows += [about | one.columns() | {"value": value, "values": 1} for value, one in parts.items()]
    return as_table("within", rows)


def crossed_columns(part: Part) -> dict[str, dict[str, np.ndarray]]:
    """The label columns of which at least two values each hold two or more of the emotions that have a set.

    Within a value an emotion counts where at least two speakers spoke it, since the jackknife leaves one out.

    Returns:
        column to value to its items of these emotions, dimension (item).
    """
    run, panel = part.run, part.panel
    items, asked = evaluated_items(run), asked_label(run)
    targets = set(headline_conditions(run.conditions)["target"].drop_nulls())
    codes = [code for code, label in enumerate(panel.labels) if label in targets]
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, dtype in items.schema.items():
        if dtype != pl.String or name in {*NO_LABELS, asked} or items[name].n_unique() > MOST_VALUES + 1:
            continue
        column, values = items[name].to_numpy(), {}
        for value in items[name].drop_nulls().unique().sort().to_list():
            here = column == value
            heard = [code for code in codes if len(set(panel.speaker[here & (panel.truth == code)].tolist())) > 1]
            if len(heard) > 1:
                values[value] = here & np.isin(panel.truth, heard)
        if len(values) > 1:
            found[name] = values
    return found


def tabulate_within(study: StudyRuns) -> pl.DataFrame | None:
    """The headline's gaps within each further label column, next to those over all clips."""
    columns = [
        (f"{DONE[kind]}: {which}{measure.replace('_', ' ')}", (kind, prefix + measure, control))
        for kind, measure in GAPS.items()
        for which, control, prefix in (
            ("", "target", ""),
            ("matched, ", "matched", ""),
            ("excess ", "target", "excess_"),
        )
    ]
    rows = []
    for part in study.mains:
        found = part.table("within").filter(pl.col("value").is_null())
        by = by_key(found, "kind", "measure", "control", "column")
        named = found.unique("column", keep="first", maintain_order=True).sort("column")
        for one in (None, *named.iter_rows(named=True)) if len(found) else ():
            row = {"corpus": part.name, "clips that count": "all", "values": ""}
            if one is not None:
                row |= {"clips that count": f"within the same {one['column']}", "values": str(one["values"])}
            row["share of clips (%)"] = number(one["covered"] if one else 100.0, 0)
            effects = {name: by.get((*key, one["column"])) if one else part.effect(*key) for name, key in columns}
            rows.append(row | {name: estimate_text(effect) for name, effect in effects.items()})
    return made_of(study, rows)


def say_within(study: StudyRuns) -> list[str]:
    """Whether effects hold among clips that share a word, or another label."""
    found = []
    for part in study.mains:
        every = part.effect("deactivate", "excess_gap")
        rows = part.table("within").filter(
            pl.col("value").is_null(), kind="deactivate", control="target", measure="excess_gap"
        )
        for row in rows.iter_rows(named=True):
            one = outcome(where(study, part, f"within the same {row['column']}"), row, part)
            over = f" (over all clips {number(every['estimate'], sign=True)})" if every else ""
            found.append(replace(one, text=one.text + over))
    lead = "Among clips that share it, switching off"
    return tally(
        found,
        f"{lead} still hurts the own emotion more, beyond matched neurons, so that it does not come from it alone: {{}}.",
        f"{lead} hurts the own emotion less than matched neurons do: {{}}.",
        "Among clips that share it, whether switching off hurts the own emotion more is open: {}.",
    )


QUESTIONS = (
    Question(
        "factors",
        20,
        (
            Table(
                "within",
                tabulate_within,
                "Gaps over the clips of one value of a label column at a time, then averaged over its values, in points "
                "with 95 % intervals over speakers. A gap within what is said alike does not come from what is said.",
                pages="both",
            ),
        ),
        says=say_within,
        says_on="both",
        tables={"within": within},
    ),
)
