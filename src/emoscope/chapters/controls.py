"""Is it the emotion, or would any neurons do?"""

from __future__ import annotations

from typing import Any

from emoscope.analysis.parts import StudyRuns
from emoscope.report.page import Figure, Question
from emoscope.report.plots import BEYOND, GAP, INTERVALS, marks_of, panels
from emoscope.report.theme import title
from emoscope.report.wording import CONTROLS
from emoscope.vocabulary import MATCHED, TARGET
from emoscope.wording import listed, number

MATRIX_CONTROLS = {name: called for name, called in CONTROLS.items() if name not in (TARGET, MATCHED)}
MATRIX_CONTROLS |= {"misses": "missed clips", "false-alarms": "false alarms"}
"""Controls shown as rows beside the selected and the matched neurons."""


def draw_controls_of_parts(study: StudyRuns) -> Any | None:
    """The gap of the headline's neurons and of every control, a panel a corpus."""
    frames: dict[str, list[dict[str, Any]]] = {}
    for part in study.mains:
        rows = []
        for name, measure, control, series in (
            (CONTROLS["target"], "gap", "target", "selected"), (BEYOND, "excess_gap", "target", "difference"),
            (CONTROLS["matched"], "gap", "matched", "control"), *((name, "gap", one, "control") for one, name in MATRIX_CONTROLS.items()),
        ):  # fmt: skip
            row = part.effect("deactivate", measure, control)
            if row is not None and row["estimate"] is not None:
                rows.append({"row": name, "series": series} | marks_of(row))
        frames[part.name] = rows
    there = list(dict.fromkeys(row["row"] for rows in frames.values() for row in rows))
    return panels(
        frames, there, GAP, "neurons",
        title(
            "The headline’s neurons next to every control",
            f"{INTERVALS} Further left: hurts its own emotion more than the others. Controls are means over draws; "
            "missed clips and false alarms: the same selector on clips that were answered wrongly.",
        ),
    )  # fmt: skip


def say_controls(study: StudyRuns) -> list[str]:
    """Whether random, shuffled and wrong answers' neurons do as much as the headline's."""
    said = []
    for control, name in (("shuffled", "neurons found on shuffled labels"), ("random", "random neurons")):
        texts = []
        for part in study.mains:
            own, row = part.effect("deactivate", "gap"), part.effect("deactivate", "gap", control)
            if own and row and own["estimate"] and row["estimate"] is not None:
                share = number(100 * row["estimate"] / own["estimate"], 0)
                texts.append(
                    f"{share} % on {part.name} ({number(row['estimate'], sign=True)} of {number(own['estimate'], sign=True)} points)"
                )
        if texts:
            said.append(f"Of the headline’s gap, {name} reach {listed(texts)}.")
    return said


QUESTIONS = (
    Question(
        "controls",
        5,
        (Figure("controls", draw_controls_of_parts, "no control was switched off", pages="study"),),
        says=say_controls,
    ),
)
