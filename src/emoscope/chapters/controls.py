"""Is it the emotion, or would any neurons do?"""

from __future__ import annotations

from emoscope.analysis.parts import StudyRuns
from emoscope.report.page import Figure, Question
from emoscope.report.plots import BEYOND, GAP, INTERVALS, marks_of, panels
from emoscope.report.theme import Chart, title
from emoscope.report.wording import CONTROLS, on
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


QUESTIONS = (
    Question(
        "controls",
        5,
        (Figure("controls", draw_controls, "no control was switched off", pages="study"),),
        says=say_controls,
        says_on="both",
    ),
)
