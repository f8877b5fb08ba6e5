"""How far do results depend on the wording of the question, where a study asks in several?"""

from __future__ import annotations

import numpy as np
import polars as pl

from emoscope.analysis.accuracy import level
from emoscope.analysis.effects import by_groups
from emoscope.analysis.parts import Part, Row
from emoscope.analysis.responses import evaluated_items
from emoscope.report.page import Question, Table
from emoscope.schemas import as_table, empty
from emoscope.vocabulary import GAPS
from emoscope.wording import DONE, estimate_text, number


def wordings(part: Part) -> pl.DataFrame:
    """UAR of the untouched model and the headline's effects, on the items of each wording alone.

    The neuron sets are those of the study: they were found on all wordings together. The interval of each number is
    over speakers, as everywhere; no interval is given for the spread over wordings, which are few and not drawn
    from anything.

    Returns:
        the columns of table ``wordings``, in the order in which the study lists them; uar in %, effects in points.
        Empty where there is one wording.
    """
    responses, items = part.responses, evaluated_items(part.run)
    there = items["wording"].drop_nulls().unique(maintain_order=True).to_list()
    groups = {wording: (items["wording"] == wording).fill_null(False).to_numpy() for wording in there}
    if len(groups) < 2 or "baseline" not in responses.rows:
        return empty("wordings")
    rows: list[Row] = []
    answers = part.run.answers.filter(scoring="likelihood", condition="baseline").sort("item")
    for wording, found in by_groups(part, groups).items():
        of_wording = items.filter(wording=wording)
        untouched = level(responses, ["baseline"], responses.asked("baseline") & groups[wording])
        row = untouched.columns() | untouched.named("uar") | {"wording": wording}
        row["chance"] = float(np.mean(100 / of_wording["options"].list.len().drop_nulls().to_numpy()))
        row["letter_mass"] = answers.join(of_wording, on="item", how="semi")["letter_mass"].mean()
        for kind, measure in GAPS.items():
            if (excess := found.get((kind, "target", f"excess_{measure}"))) is not None:
                row |= excess.named(f"excess_{measure}")
        rows.append(row)
    return as_table("wordings", rows)


def tabulate_wordings(part: Part) -> pl.DataFrame | None:
    """The untouched model and the headline's effects on each wording of the question, and how far these lie apart."""
    found = part.table("wordings")
    if found.is_empty():
        return None
    effects = {
        f"excess_{measure}": f"{DONE[kind]}: excess {measure.replace('_', ' ')}" for kind, measure in GAPS.items()
    }
    headings = {"uar": "UAR (%)"} | effects
    values = {name: there for name in headings if (there := found[name].drop_nulls().to_list())}
    rows = [
        {"wording": row["wording"], "items": str(row["n"]), "letter mass": number(row["letter_mass"], 2)}
        | {headings[name]: estimate_text(row, name, sign=name != "uar") for name in values}
        for row in found.iter_rows(named=True)
    ]
    apart = {headings[name]: number(max(there) - min(there)) for name, there in values.items()}
    rows.append({"wording": "largest minus smallest", "items": "", "letter mass": ""} | apart)
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
        tables={"wordings": wordings},
    ),
)
