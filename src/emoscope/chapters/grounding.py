"""Voice or words: the same question on the voice, on noise in its place and on the transcript."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from emoscope.analysis.accuracy import level
from emoscope.analysis.acts import Act, Asked, Key
from emoscope.analysis.contrasts import mean, measures
from emoscope.analysis.estimate import Estimate, unit
from emoscope.analysis.parts import Part, StudyRuns
from emoscope.analysis.responses import presentation
from emoscope.report.page import Figure, Question, Table
from emoscope.report.plots import BEYOND_KEY, INTERVALS, dots, marks_of
from emoscope.report.theme import LIGHT, title
from emoscope.report.wording import HEARD, UNTESTED, Outcome, made, outcome_at, tally, value
from emoscope.schemas import as_table
from emoscope.vocabulary import GROUNDING as ROLE
from emoscope.vocabulary import MAIN
from emoscope.wording import estimate_text, number, spread

NO_INTERVAL = "no interval of UAR: whether the model hears anything cannot be said"

AT_CHANCE = "UAR is not clear of chance"

NOTHING_TO_REMOVE = f"nothing to remove: {AT_CHANCE}"


def grounding(study: StudyRuns) -> pl.DataFrame:
    """UAR and the effects of a corpus's own sets on the voice and on what stands in its place.

    Args:
        whole: the study.

    Returns:
        the columns of table ``grounding``; empty for a corpus that was asked on the voice alone.
    """
    rows: list[dict[str, Any]] = []
    for main in study.of_role(MAIN):
        others = [part for part in study.of_role(ROLE, main.name) if part.asked is not None]
        if main.asked is None or not others:
            continue
        rows += _rows(main, main.asked, main.asked.acts[None], None)
        for part in others:
            if part.asked is not None:
                rows += _rows(part, part.asked, part.asked.acts.get(main.name, {}), main.asked)
    return as_table("grounding", rows)


def _rows(part: Part, asked: Asked, acts: Mapping[Key, Act], voice: Asked | None) -> list[dict[str, Any]]:
    used = asked.panel.asked("baseline")
    chance = asked.panel.chance
    heard = _uar(asked, used)
    note, nothing = None, None
    above = replace(heard, values=heard.values - chance).interval()
    if above.low is None:
        note = nothing = NO_INTERVAL
    elif above.low <= 0:
        note, nothing = AT_CHANCE, NOTHING_TO_REMOVE
    about = {"corpus": part.of, "presentation": presentation(asked.run), "part": part.name, "chance": chance}
    row = about | {"kind": "baseline", "measure": "uar", "unit": "%", "draws": 1, "note": note}
    row |= heard.columns() | {"p": above.p}
    if voice is not None:
        both = used & _same_clips(asked, voice), voice.panel.asked("baseline") & _same_clips(voice, asked)
        compared = all(one.any() for one in both)
        row |= _uar(asked, both[0]).minus(_uar(voice, both[1])).named("less") if compared else {}
    rows = [row]
    for (kind, alpha), act in acts.items():
        same = None if voice is None else voice.acts[None].get((kind, alpha))
        for excess in (False, True) if act.matched else (False,):
            effects = _effects(asked, act, excess, None)
            before = {} if voice is None or same is None else _effects(voice, same, excess, asked)
            there = {} if voice is None else _effects(asked, act, excess, voice)
            for measure, one in effects.items():
                row = about | {"kind": kind, "alpha": alpha, "unit": unit(measure)} | one.columns()
                row |= {"measure": "excess_" * excess + measure, "draws": len(act.matched) if excess else 1}
                row["note"] = nothing if kind == "deactivate" else None
                compared = measure in before and measure in there
                rows.append(row | (there[measure].minus(before[measure]).named("less") if compared else {}))
    return rows


def _uar(asked: Asked, used: np.ndarray) -> Estimate:
    return level(asked.panel, ["baseline"], used, hollow=asked.hollow)


def _effects(asked: Asked, act: Act, excess: bool, on: Asked | None) -> dict[str, Estimate]:
    """The measures of an act, on the clips of another presentation where one is named."""
    if excess and not act.matched:
        return {}
    targets, used = asked.shared([act], excess)
    used = used if on is None else used & _same_clips(asked, on)
    if not targets or not used.any():
        return {}
    return measures(mean(asked.each(act, excess, targets, used)))


def _same_clips(asked: Asked, other: Asked) -> np.ndarray:
    """Which of the items are about a clip that another part was asked about, dimension (item)."""
    clips = dict(asked.run.items.select("item", "clip").iter_rows())
    there = other.run.items.filter(pl.col("item").is_in(other.panel.items[other.panel.asked("baseline")].tolist()))
    known = set(there["clip"])
    return np.array([clips[item] in known for item in asked.panel.items.tolist()], dtype=bool)


def draw_grounding(study: StudyRuns) -> Any | None:
    """UAR and gap on the voice, on the transcript in its place, and on noise, a row a corpus and presentation."""
    found = study.table("grounding")
    if found.is_empty():
        return None
    rows = [f"{corpus}: {HEARD.get(one, one)}" for corpus, one in heard_in_order(study, found)]
    named = pl.concat_str("corpus", pl.lit(": "), pl.col("presentation").replace(HEARD)).alias("row")
    shown = found.with_columns(named).filter(pl.col("estimate").is_not_null())
    levels = shown.filter((pl.col("kind") == "baseline") & (pl.col("measure") == "uar"))
    charts: list[Any] = []
    if len(levels):
        x = "UAR, nothing changed (%)"
        marked = [{"row": row["row"], "series": "selected"} | marks_of(row) for row in levels.iter_rows(named=True)]
        chart = dots(marked, rows, x, "corpus", most=2, domain=(0, 100), width=280, rule=None)
        tick = alt.Chart(levels.select("row", "chance").drop_nulls()).mark_tick(color=LIGHT.muted, thickness=2, size=16)
        charts.append(alt.layer(chart, tick.encode(x=alt.X("chance:Q", title=x), y=alt.Y("row:N", sort=rows))))
    effects = shown.filter((pl.col("kind") == "deactivate") & pl.col("measure").is_in(["gap", "excess_gap"]))
    if len(effects):
        series = {"gap": "selected", "excess_gap": "difference"}
        marked = [
            {"row": row["row"], "series": series[row["measure"]]} | marks_of(row)
            for row in effects.iter_rows(named=True)
        ]
        x = "gap, neurons switched off (points)"
        charts.append(dots(marked, rows, x, "corpus", not charts, most=2, width=280))
    if not charts:
        return None
    return alt.hconcat(*charts, spacing=24).properties(
        title=title(
            "The same question on the voice, on the transcript in its place, and on noise",
            f"{INTERVALS} First: the untouched model; grey ticks: guessing. Where UAR is at chance, there is nothing to remove. "
            f"Second: {BEYOND_KEY[0].lower()}{BEYOND_KEY[1:]} Further left: hurts its own emotion more.",
        )
    )  # fmt: skip


def heard_in_order(study: StudyRuns, found: pl.DataFrame) -> list[tuple[str, str]]:
    """Corpora and presentations of a table, corpora in the order of the study, presentations in that of :data:`HEARD`."""
    corpora = study.in_order(found["corpus"])
    order = [*HEARD, *sorted(set(found["presentation"]) - set(HEARD))]
    there = set(found.select("corpus", "presentation").iter_rows())
    return [(corpus, one) for corpus in corpora for one in order if (corpus, one) in there]


def say_grounding(study: StudyRuns) -> list[str]:
    """Whether the effect needs the voice: the same sets on the transcript and on noise."""
    found = study.table("grounding")
    if found.is_empty():
        return []
    off = found.filter((pl.col("kind") == "deactivate") & (pl.col("measure") == "excess_gap"))
    noted = {
        (row["corpus"], row["presentation"]): row["note"]
        for row in found.iter_rows(named=True) if row["note"]
    }  # fmt: skip
    outcomes = []
    for row in off.iter_rows(named=True):
        where, note = (
            f"{row['corpus']}, {HEARD.get(row['presentation'], row['presentation'])}",
            noted.get((row["corpus"], row["presentation"])),
        )
        outcomes.append(Outcome(where, UNTESTED, "", note) if note else outcome_at(study, where, row, row["corpus"]))
    return tally(
        outcomes,
        "Switched off, the neurons found on the voice hurt their own emotion more, beyond matched neurons, where this is heard: {}.",
        "They hurt it less than matched neurons where this is heard: {}.",
        "Whether they hurt it more than matched neurons is open where this is heard: {}.",
    )


def tabulate_grounding(study: StudyRuns) -> pl.DataFrame | None:
    """The same question on the voice, on the transcript and on noise."""
    found = study.table("grounding")
    if found.is_empty():
        return None
    rows = []
    for corpus, heard in heard_in_order(study, found):
        group = found.filter((pl.col("corpus") == corpus) & (pl.col("presentation") == heard))
        by = {(row["kind"], row["measure"]): row for row in group.iter_rows(named=True)}
        uar, beyond = by.get(("baseline", "uar")), by.get(("deactivate", "excess_gap"))
        rows.append({
            "corpus": corpus, "what is heard": HEARD.get(heard, heard), "UAR (%)": spread(uar, sign=False),
            "chance (%)": number(value(uar, "chance")), "off: excess gap": spread(beyond),
            "minus the voice’s": estimate_text(beyond, "less"), "amplified: excess pull": spread(by.get(("steer", "excess_pull_overall"))),
            "note": next((row["note"] for row in by.values() if row["note"]), ""),
        })  # fmt: skip
    return made(rows)


QUESTIONS = (
    Question(
        "grounding",
        10,
        (
            Figure("grounding", draw_grounding, "nothing was heard in place of the voice", pages="study"),
            Table(
                "grounding",
                tabulate_grounding,
                "The same question on the voice, on the transcript in its place, and on noise of equal length and"
                " loudness (points).",
                pages="study",
            ),
        ),
        says=say_grounding,
        study_tables={"grounding": grounding},
    ),
)
