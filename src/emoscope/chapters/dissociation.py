"""Do sets for the emotion hurt the emotion question, and sets for another column that column's: double dissociation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from emoscope.analysis.accuracy import level
from emoscope.analysis.acts import Act, Asked
from emoscope.analysis.estimate import Estimate, Interval, mean_over_parts
from emoscope.analysis.parts import Row, StudyRuns
from emoscope.analysis.responses import answered
from emoscope.report.page import Figure, Question, Table
from emoscope.report.plots import BEYOND_KEY, INTERVALS, marks_of, panels, series_of
from emoscope.report.theme import Chart, title
from emoscope.report.wording import UNTESTED, made, outcome_at, value
from emoscope.schemas import as_table
from emoscope.vocabulary import COLUMN
from emoscope.wording import DONE, listed, p_value, spread

DOUBLE, TOGETHER, NONE = "double dissociation", "interaction alone", "no dissociation"


def dissociation(study: StudyRuns) -> pl.DataFrame:
    """What the sets of two questions about the same clips cost each question.

    On each question the two kinds of sets are compared on the same items. Across the questions, which need not be asked
    about the same clips, a speaker is left out of both at once. Table ``dissociation``; empty where no other column was
    asked, or one of the two found no sets.
    """
    rows: list[Row] = []
    for main in study.mains:
        for column in study.of_role(COLUMN, main.name):
            first, second = main.asked, column.asked
            if first is None or second is None or column.column is None:
                continue
            named = (first.question, column.column)
            crossed = [
                (asked.acts[None], asked.acts.get(part.name, {})) for asked, part in ((first, column), (second, main))
            ]
            for key in [key for key in crossed[0][0] if all(key in acts for pair in crossed for acts in pair)]:
                about = {"corpus": main.name, "column": column.column, "kind": key[0], "alpha": key[1]}
                pairs = [(pair[0][key], pair[1][key]) for pair in crossed]
                for excess in (False, True) if all(act.matched for pair in pairs for act in pair) else (False,):
                    rows += [about | row for row in _rows((first, second), named, pairs, excess)]
    return as_table("dissociation", rows)


def _rows(asked: Sequence[Asked], named: Sequence[str], pairs: Sequence[tuple[Act, Act]], excess: bool) -> list[Row]:
    rows, differences = [], []
    touched = [question.touched(pair, excess) for question, pair in zip(asked, pairs, strict=True)]
    measure = {"measure": "excess_damage" if excess else "damage", "draws": len(pairs[0][0].matched) if excess else 1}
    for place, (question, pair) in enumerate(zip(asked, pairs, strict=True)):
        used = answered(question.responses, [draw for act in pair for draw in act.draws(excess)])[1]
        if not used.any():
            return []
        own, other = (_damage(question, act, used, excess, touched[place]) for act in pair)
        differences.append(own.beyond(other))
        effects = (
            ("effect", named[place], own),
            ("effect", named[1 - place], other),
            ("difference", None, differences[-1]),
        )
        fixed = measure | {"question": named[place]}
        rows += [fixed | {"what": what, "sets": sets} | found.columns() for what, sets, found in effects]
    # the sum: own sets minus others' on one question, plus the same on the other
    both = differences[0].minus(replace(differences[1], values=-differences[1].values))
    decided = None if both.unreliable else verdict([apart.interval() for apart in differences], both.interval())
    total = {"what": "interaction", "question": None, "sets": None, "verdict": decided}
    return [*rows, measure | total | both.columns()]


def verdict(differences: Sequence[Interval], interaction: Interval) -> str | None:
    """What the two differences and the interaction say together.

    * "double dissociation": on both questions their own sets cost more, both intervals below 0;
    * "interaction alone": the interaction's interval is below 0, but not those of both differences: one kind of sets
      may hurt both questions more, only not equally much;
    * "no dissociation" otherwise, which may be for want of clips; ``None`` where an interval is missing.

    Example:
        >>> below, open_ = Interval(-9, -14, -4, 12, 11.0), Interval(-1, -4, 2, 12, 11.0)
        >>> verdict([below, below], below), verdict([below, open_], below), verdict([open_, open_], open_)
        ('double dissociation', 'interaction alone', 'no dissociation')
    """
    ends = [interval.high for interval in (*differences, interaction)]
    if any(end is None for end in ends):
        return None
    clear = [end is not None and end < 0 for end in ends]
    if all(clear[:-1]):
        return DOUBLE
    return TOGETHER if clear[-1] else NONE


def _damage(asked: Asked, act: Act, used: np.ndarray, excess: bool, unreliable: bool) -> Estimate:
    """Change of the level in points, mean over the targets, or beyond the mean of matched draws."""
    own = level(asked.responses, list(act.own.values()), used, asked.level)
    controls = [[draw[t] for t in act.own] for draw in act.matched] if excess else [["baseline"]]
    like = mean_over_parts([level(asked.responses, control, used, asked.level) for control in controls])
    return replace(own.beyond(like), unreliable=unreliable)


LAST = pl.col("what").replace_strict({"effect": 0, "difference": 1, "interaction": 2}, default=3, return_dtype=pl.Int64)
"""Sorts rows of the table of dissociation, what rests on others last."""


def draw_dissociation(study: StudyRuns) -> Chart | None:
    """What each question loses under its own and under the other question's neurons, a panel a corpus and column."""
    found = study.table("dissociation").filter(pl.col("measure").is_in(["damage", "excess_damage"]), kind="deactivate")
    if found.is_empty():
        return None
    frames: dict[str, list[Row]] = {}
    generic, found = found["column"].n_unique() > 1, study.by_corpus(found)
    for row in found.filter(pl.col("estimate").is_not_null()).iter_rows(named=True):
        mark = {"row": dissociated(row, generic), "series": series_of("target", row["measure"])} | marks_of(row)
        frames.setdefault(f"{row['corpus']}: {row['column']}", []).append(mark)
    names = [dissociated(row, generic) for row in found.sort(LAST).iter_rows(named=True)]
    return panels(
        frames,
        list(dict.fromkeys(names)),
        "change of UAR (points)",
        "question",
        title(
            "Each question under its own neurons and under the other’s",
            f"{INTERVALS} {BEYOND_KEY} Left of zero: answers get worse. Own minus other, and both together (the "
            "interaction): left of zero, "
            "each question suffers more under its own neurons; the same clips are asked both questions.",
        ),
    )


def dissociated(row: Row, generic: bool = False) -> str:
    """What a row of the table of dissociation is, in words.

    Args:
        row: of the table.
        generic: leave the column's name out, so that panels of several columns share their rows.

    Example:
        >>> dissociated({"what": "effect", "question": "word", "sets": "emotion", "column": "word"})
        'asked word, neurons: emotion'
        >>> dissociated({"what": "difference", "question": "word", "sets": None, "column": "word"}, generic=True)
        'asked the column: own minus other'
    """
    called = {row["column"]: "the column"} if generic else {}
    question, sets = (called.get(row[name], row[name]) for name in ("question", "sets"))
    if row["what"] == "effect":
        return f"asked {question}, neurons: {sets}"
    return f"asked {question}: own minus other" if row["what"] == "difference" else "both together"


DISSOCIATED = {
    DOUBLE: "Double dissociation: beyond matched neurons, each of the two questions suffers more under its own "
    "neurons than under the other’s; both together: {}.",
    TOGETHER: "The two differences together are clear of zero, but not each of them, so that one kind of neurons may "
    "hurt both questions more: {}.",
    NONE: "No double dissociation is shown; the two differences together: {}.",
    UNTESTED: "Not tested: {}.",
}
"""The verdicts on two questions, and their neurons, in words."""


def say_dissociation(study: StudyRuns) -> list[str]:
    """Whether each question suffers more under its own neurons than under the other question's."""
    found = study.table("dissociation").filter(kind="deactivate", measure="excess_damage", what="interaction")
    groups: dict[str, list[str]] = {}
    for row in found.iter_rows(named=True):
        finding = outcome_at(study, f"{row['corpus']}, “{row['column']}”", row, row["corpus"])
        known = finding.found != UNTESTED and row["verdict"] is not None
        text = finding.text if known else f"({finding.why or 'a difference has no interval'})"
        groups.setdefault(row["verdict"] if known else UNTESTED, []).append(f"{finding.where} {text}")
    return [words.format(listed(groups[name])) for name, words in DISSOCIATED.items() if name in groups]


def tabulate_dissociation(study: StudyRuns) -> pl.DataFrame | None:
    """Each question under its own neurons and under the other's."""
    found = study.by_corpus(study.table("dissociation").sort("column", "kind", LAST, maintain_order=True))
    rows = []
    for _, group in found.group_by("corpus", "column", "kind", "what", "question", "sets", maintain_order=True):
        by = {row["measure"]: row for row in group.iter_rows(named=True)}
        row, beyond = next(iter(by.values())), by.get("excess_damage")
        rows.append(
            {
                "corpus": row["corpus"],
                "column": row["column"],
                "what": f"{DONE.get(row['kind'], row['kind'])}: {dissociated(row)}",
                "UAR (points)": spread(by.get("damage")),
                "beyond matched": spread(beyond),
                "p": p_value(value(beyond, "p")),
            }
        )
    return made(rows)


QUESTIONS = (
    Question(
        "controls",
        40,
        (
            Figure("dissociation", draw_dissociation, "no other column of the same clips was asked", pages="study"),
            Table(
                "dissociation",
                tabulate_dissociation,
                "Each question under its own neurons and under the other question’s: change of UAR in points.",
                pages="study",
            ),
        ),
        says=say_dissociation,
        study_tables={"dissociation": dissociation},
    ),
)
