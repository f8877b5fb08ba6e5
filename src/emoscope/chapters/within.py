"""Do effects hold among clips that say the same: gaps within each value of another label column."""

from __future__ import annotations

import numpy as np
import polars as pl

from emoscope.analysis.effects import by_groups, headline_conditions
from emoscope.analysis.estimate import mean_over_parts
from emoscope.analysis.parts import Part, Row, StudyRuns
from emoscope.analysis.responses import asked_label, evaluated_items
from emoscope.report.page import Note, Question, Table
from emoscope.report.wording import by_key, made, outcome, tally
from emoscope.schemas import as_table, schema
from emoscope.vocabulary import GAPS
from emoscope.wording import DONE, bracket, estimate_text, number, p_value, spread

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


def tabulate_within(part: Part) -> pl.DataFrame | None:
    """The headline's gaps within each further label column, next to those over all clips."""
    found = part.table("within").filter(pl.col("value").is_null())
    by = by_key(found, "kind", "control", "measure", "column")
    columns = [
        (f"{DONE[kind]}: {which}{measure.replace('_', ' ')}", kind, control, prefix + measure)
        for kind, measure in GAPS.items()
        for which, control, prefix in (("", "target", ""), ("matched, ", "matched", ""), ("excess ", "target", "excess_"))
    ]  # fmt: skip
    rows = []
    if not found.is_empty():
        row = {"clips that count": "all", "values": "", "share of clips (%)": number(100.0, 0)}
        rows.append(
            row | {name: estimate_text(part.effect(kind, which, control)) for name, kind, control, which in columns}
        )
    for column in found["column"].unique().sort():
        any_row = found.filter(pl.col("column") == column).row(0, named=True)
        row = {"clips that count": f"within the same {column}", "values": str(any_row["values"])}
        row["share of clips (%)"] = number(any_row["covered"], 0)
        rows.append(
            row
            | {name: estimate_text(by.get((kind, control, which, column))) for name, kind, control, which in columns}
        )
    return made(rows)


def within_note(part: Part) -> str | None:
    """Whether the excess gap holds within each further label column, in sentences; ``None`` where there is none."""
    if part.pilot is not None:  # it supports no claim
        return None
    found = part.table("within").filter(
        pl.col("value").is_null() & (pl.col("kind") == "deactivate") & (pl.col("measure") == "excess_gap")
    )
    every, said = part.effect("deactivate", "excess_gap"), []
    for row in found.iter_rows(named=True):
        if row["low"] is None or not part.speakers or row["hollow"] or every is None:
            continue
        clear = row["low"] > 0 or row["high"] < 0
        lead = "Within the same" if clear else "Whether the excess gap holds within the same"
        end = f"{number(row['estimate'], sign=True)} points {bracket(row['low'], row['high'])}, over all clips {number(every['estimate'], sign=True)}"
        said.append(
            f"{lead} {row['column']} the excess gap is {end}: it does not come from the {row['column']} alone."
            if clear
            else f"{lead} {row['column']} remains open ({end})."
        )
    return " ".join(said) or None


def tabulate_within_of_parts(study: StudyRuns) -> pl.DataFrame | None:
    """Gaps within each value of another column, such as the spoken word, as means over the values."""
    rows = []
    for part in study.mains:
        table = part.table("within")
        for (column, kind), group in table.filter(pl.col("value").is_null()).group_by(
            "column", "kind", maintain_order=True
        ):
            found = {(row["control"], row["measure"]): row for row in group.iter_rows(named=True)}
            gap = GAPS[str(kind)]
            some = next(iter(found.values()))
            rows.append({
                "corpus": part.name, "column": str(column), "neurons": DONE.get(str(kind), str(kind)), "values": str(some["values"]),
                "gap": spread(found.get(("target", gap))), "matched": spread(found.get(("matched", gap))),
                "beyond matched": spread(found.get(("target", f"excess_{gap}"))), "p": p_value((found.get(("target", f"excess_{gap}")) or {}).get("p")),
            })  # fmt: skip
    return made(rows)


def say_within(study: StudyRuns) -> list[str]:
    """Whether effects hold among clips that share a word, or another label."""
    found = []
    for part in study.mains:
        table = part.table("within")
        if table is not None:
            rows = table.filter(
                pl.col("value").is_null() & (pl.col("kind") == "deactivate") & (pl.col("control") == "target")
                & (pl.col("measure") == "excess_gap")
            )  # fmt: skip
            found += [
                outcome(f"{part.name}, within “{row['column']}”", row, part) for row in rows.iter_rows(named=True)
            ]
    return tally(
        found,
        "Among clips that share it, switching off still hurts the own emotion more, beyond matched neurons: {}.",
        "Among clips that share it, switching off hurts the own emotion less than matched neurons do: {}.",
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
                "Gaps over the clips of one value of a label column at a time, then averaged over its values, in "
                "points with 95 % intervals over speakers. A gap within what is said alike does not come from "
                "what is said.",
            ),
            Note(within_note),
            Table(
                "within",
                tabulate_within_of_parts,
                "Gaps among clips that share a word, a statement or another label: means over its values (points).",
                pages="study",
            ),
        ),
        says=say_within,
        tables={"within": within},
    ),
)
