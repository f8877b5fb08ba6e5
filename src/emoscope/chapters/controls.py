"""Is it the emotion, or would any neurons do?"""

from __future__ import annotations

import polars as pl

from emoscope.analysis.parts import Part, Row, StudyRuns
from emoscope.analysis.potency import MISNAMED, potency
from emoscope.report.page import Figure, Question, Table
from emoscope.report.plots import BEYOND, GAP, INTERVALS, marks_of, panels
from emoscope.report.theme import Chart, title
from emoscope.report.wording import CONTROLS, on
from emoscope.vocabulary import TARGET
from emoscope.wording import listed, number

ROWS = (
    (CONTROLS["target"], "gap", "target", "selected"),
    (BEYOND, "excess_gap", "target", "difference"),
    *((name, "gap", control, "control") for control, name in CONTROLS.items() if control != "target"),
    ("missed clips", "gap", "misses", "control"),
    ("false alarms", "gap", "false-alarms", "control"),
)
"""The headline's neurons and every control: name, measure, whose sets, and series of the picture."""


def draw_controls(study: StudyRuns) -> Chart | None:
    """The gap of the headline's neurons and of every control, a panel a corpus."""
    frames = {
        part.name: [
            {"row": name, "series": series} | marks_of(row)
            for name, measure, control, series in ROWS
            if (row := part.effect("deactivate", measure, control)) is not None and row["estimate"] is not None
        ]
        for part in study.mains
    }
    there = {row["row"] for rows in frames.values() for row in rows}
    return panels(
        frames,
        [name for name, *_ in ROWS if name in there],
        GAP,
        "neurons",
        title(
            "The headline’s neurons next to every control",
            f"{INTERVALS} Further left: hurts its own emotion more than the others. Controls are means over draws; "
            "missed clips and false alarms: the same selector on clips that were answered wrongly.",
        ),
    )


def say_controls(study: StudyRuns) -> list[str]:
    """Whether random, shuffled and wrong answers' neurons do as much as the headline's."""
    sentences = []
    for control, name in (("shuffled", "neurons found on shuffled labels"), ("random", "random neurons")):
        texts = []
        for part in study.mains:
            own, row = part.effect("deactivate", "gap"), part.effect("deactivate", "gap", control)
            if own and row and own["estimate"] and row["estimate"] is not None:
                share = number(100 * row["estimate"] / own["estimate"], 0)
                gaps = f"{number(row['estimate'], sign=True)} of {number(own['estimate'], sign=True)} points"
                texts.append(f"{share} %{on(study, part)} ({gaps})")
        if texts:
            sentences.append(f"Of the headline’s gap, {name} reach {listed(texts)}.")
    return sentences


CALLED = {**CONTROLS, MISNAMED: "selected, wrongly named"}


def tabulate_potency(part: Part) -> pl.DataFrame | None:
    """How much the headline's sets and every control move the answers, and how specifically."""
    rows = []
    places = {name: place for place, name in enumerate(dict.fromkeys([TARGET, MISNAMED, *CALLED]))}
    found = part.table("potency").sort("kind", "alpha", pl.col("control").replace_strict(places, default=None))
    for row in found.iter_rows(named=True):
        off = row["alpha"] is None

        def span(name: str, digits: int, row: Row = row) -> str:
            ends = [number(row[f"{name}_{end}"], digits, sign=name == "gap") for end in ("min", "max")]
            mean = number(row[name], digits, sign=name == "gap")
            return f"{mean} ({' to '.join(ends)})" if row["draws"] > 1 else mean

        done = {"neurons": CALLED.get(row["control"], row["control"]), "alpha": "off" if off else f"{row['alpha']:g}"}
        rows.append(
            done | {"draws": str(row["draws"]), "divergence (nat)": span("kl", 3), "gap (points)": span("gap", 1)}
        )
    return pl.DataFrame(rows) if rows else None


QUESTIONS = (
    Question(
        "controls",
        5,
        (
            Figure("controls", draw_controls, "no control was switched off", pages="study"),
            Table(
                "potency",
                tabulate_potency,
                "How far the options’ probabilities move from the untouched model’s (mean Kullback-Leibler divergence over "
                "clips and sets), and the gap (amplified: pull gap); means over draws, in brackets the least and the most. "
                "Wrongly named: the selected sets under the names of the other emotions, which are as potent.",
            ),
        ),
        tables={"potency": lambda part: potency(part.responses, part.compared)},
        says=say_controls,
        says_on="both",
    ),
)
