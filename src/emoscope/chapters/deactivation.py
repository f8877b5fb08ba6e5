"""What is lost when an emotion's neurons are switched off?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import altair as alt
import polars as pl

from emoscope.analysis.effects import NO_BIAS, NO_SENSITIVITY
from emoscope.analysis.estimate import estimate_of
from emoscope.analysis.parts import Part, StudyRuns
from emoscope.analysis.standing import BLIND_PART, blind_part, count_options
from emoscope.report.caveats import CLOSE, matching, rank
from emoscope.report.page import Figure, Note, Question, Table
from emoscope.report.plots import (
    BEYOND,
    GAP,
    INTERVALS,
    PANEL_SPACE,
    SERIES_KEY,
    WIDTH,
    across,
    dots,
    hollow_note,
    marks_of,
    names_of,
    series_of,
    signed_matrix,
    three,
)
from emoscope.report.provenance import null
from emoscope.report.theme import Chart, title
from emoscope.report.wording import (
    BLIND,
    CONTROLS,
    blind_text,
    made,
    name_selector,
    outcome,
    tally,
)
from emoscope.vocabulary import acting
from emoscope.wording import DOING, estimate_text, listed, number, p_value

CELLS = (
    "Row: the emotion whose neurons were changed; column: the emotion of the clip. "
    "The diagonal (framed) is the emotion's own effect. Bold: clear of zero after correction for all cells of the matrix."
)


def draw_deactivation(part: Part, controls: Sequence[str] = tuple(CONTROLS)) -> Any | None:
    """D of the headline selector next to the means of its controls."""
    return draw_matrices(
        part, "deactivate", "change", controls, "change of accuracy (points)",
        title("What switching neurons off does to each emotion, next to control sets", f"{CELLS} Control panels are means over draws."),
    )  # fmt: skip


def draw_evidence(part: Part) -> Any | None:
    """Sensitivity and bias per emotion of selected and matched neurons, and their mean difference."""
    found = acting(part.table("evidence"), "deactivate")
    found = found.filter(pl.col("control").is_in(["target", "matched"]))
    if found.is_empty():
        return None
    order = [*(one for one in part.responses.labels if one in set(found["target"])), "mean of emotions", BEYOND]
    charts: list[Any] = []
    for measure, x, limit in (
        ("sensitivity", "change of evidence (AUC points)", NO_SENSITIVITY), ("bias", "change of leaning (nat)", NO_BIAS),
    ):  # fmt: skip
        rows = [
            {"row": row["target"], "series": series_of(row["control"]), "unreliable": False} | estimate_of(row, measure)
            for row in found.iter_rows(named=True)
        ]
        means = [("mean of emotions", control, measure, series_of(control)) for control in ("target", "matched")]
        for name, control, which, series in [*means, (BEYOND, "target", f"excess_{measure}", "difference")]:
            one = part.effect("deactivate", which, control)
            if one is not None:
                rows.append({"row": name, "series": series} | marks_of(one))
        frame = pl.DataFrame(rows, infer_schema_length=None).filter(pl.col("estimate").is_not_null())
        if frame.is_empty():
            return None
        there = [name for name in order if name in set(frame["row"])]
        charts.append(
            dots(frame, there, x, "neurons switched off" if not charts else None, rule=0.0,
                 band=limit, width=350)
        )  # fmt: skip
    return alt.hconcat(*charts, spacing=24).properties(
        title=title(
            "Does the model lose evidence for the emotion, or only lean away from answering it?",
            f"{INTERVALS} Circle: selected; diamond: matched; square: their difference, on which the verdict rests. "
            "Left of zero: evidence is lost (first panel), the answer is avoided (second). Grey band: small changes.",
        )
    )  # fmt: skip


def draw_gaps(part: Part) -> Any | None:
    """The gap under deactivation of the headline's sets and of their controls, and the excess gap."""
    found = acting(part.table("effects"), "deactivate")
    rows = []
    for measure, control in (
        ("gap", "target"),
        ("excess_gap", "target"),
        *(("gap", c) for c in CONTROLS if c != "target"),
    ):
        for row in found.filter((pl.col("measure") == measure) & (pl.col("control") == control)).iter_rows(named=True):
            beyond = measure == "excess_gap"
            name = BEYOND if beyond else CONTROLS[control]
            rows.append({"row": name, "series": "difference" if beyond else series_of(control)} | marks_of(row))
    if not rows:
        return None
    draws = part.table("effects").filter(
        (pl.col("role") == "headline") & (pl.col("kind") == "deactivate") & (pl.col("measure") == "gap")
        & pl.col("control").is_in([one for one in CONTROLS if one != "target"]) & pl.col("draw").is_not_null()
    )  # fmt: skip
    ticks = draws.select(pl.col("control").replace(CONTROLS).alias("row"), "estimate")
    return dots(
        pl.DataFrame(rows, infer_schema_length=None), order=[row["row"] for row in rows], x=GAP,
        y="neurons switched off", rule=0.0, ticks=ticks,
    ).properties(
        title=title(
            f"How specific switching off is: {name_selector(part.selector)} and its controls",
            f"{INTERVALS} Further left: hurts its own emotion more than the others; zero: no difference. "
            f"Small ticks: single control draws.{hollow_note(rows)}",
        )
    )  # fmt: skip


def draw_matrices(
    part: Part, kind: str, value: str, controls: Sequence[str], legend: str, heading: alt.TitleParams
) -> Any | None:
    """The matrices of one kind of intervention: the headline's sets, then the means of their controls."""
    found = acting(part.table("matrix"), kind).filter(pl.col(value).is_not_null())
    parts = []
    for control in controls:
        mine = found.filter(pl.col("control") == control)
        if len(mine):
            draws = "" if control == "target" else f" (mean of {mine['draws'][0]})"
            cells = mine.select(
                pl.col("target").alias("row"), pl.col("emotion").alias("column"), pl.col(value).alias("value"),
                pl.col(f"{value}_q").alias("q"), pl.col("unreliable").fill_null(False),
            )  # fmt: skip
            parts.append((f"{name_selector(part.selector)}, {CONTROLS[control]}{draws}", cells))
    if not parts:
        return None
    most = max(5.0, max(float(cells["value"].abs().max() or 0) for _, cells in parts))  # type: ignore[arg-type]
    rows = [e for e in part.responses.labels if any(e in set(cells["row"]) for _, cells in parts)]
    line = across(len(parts), part.emotions)
    drawn = [
        signed_matrix(cells, rows, part.emotions, most, legend, named=place % line == 0).properties(
            title=alt.TitleParams(name, fontSize=13)
        )
        for place, (name, cells) in enumerate(parts)
    ]
    return alt.concat(*drawn, columns=line, spacing=PANEL_SPACE).properties(title=heading)


MEASURES = {
    "deactivate": {"self": "own emotion", "cross": "other emotions", "gap": "gap", "excess_gap": "excess gap", "uar_change": "UAR"},
    "steer": {
        "pull": "pull, own emotion", "pull_cross": "pull, other emotions", "pull_overall": "pull, all",
        "pull_gap": "pull gap", "excess_pull_gap": "excess pull gap", "uar_change": "UAR",
    },
}  # fmt: skip
"""The columns of the tables of effects, with their headings."""

DONE = {"zero": "switched off", "mean": "set to their mean"}


def tabulate_effects_deactivate(part: Part) -> pl.DataFrame | None:
    """The headline selector and its controls, set to zero and to their mean."""
    return tabulate_effects(part, "deactivate")


def tabulate_verdicts(part: Part) -> pl.DataFrame | None:
    """What the rule says about every intervention on the headline's sets that has matched controls."""
    if part.pilot is not None:  # it supports no claim
        return None
    found = part.own("verdicts").filter((pl.col("control") == "target") & (pl.col("layers") == "all"))
    rows = [
        {
            "what was done": _done(row) + (" *" if row["headline"] else ""),
            "evidence (AUC points)": estimate_text(row, "excess_sensitivity"), "leaning (nat)": estimate_text(row, "excess_bias", 2),
            "verdict": row["verdict"] or "no verdict", "why": row["reason"] or "",
        }
        for row in found.sort("kind", "to", "alpha", descending=[False, True, False]).iter_rows(named=True)
    ]  # fmt: skip
    return made(rows)


def tabulate_tests(part: Part) -> pl.DataFrame | None:
    """The tests that the study declared beforehand, corrected for their number."""
    if part.pilot is not None:  # it supports no claim
        return None
    names, blind = {"excess_gap": "excess gap", "excess_pull_gap": "excess pull gap"}, part.blind()
    rows = [
        {
            "claim tested": f"{DOING.get(row['kind'], row['kind'])}: {names.get(row['measure'], row['measure'])}",
            "corpus": row["corpus"] or "", "estimate (points)": estimate_text(row, "estimate"),
            BLIND: blind_text(blind, row["measure"]), "df": number(row["df"]),
            "p": p_value(row["p"]), "p, Holm": p_value(row["p_holm"]), "why": row["reason"] or "",
        }
        for row in part.table("tests").iter_rows(named=True)
    ]  # fmt: skip
    return made(rows)


def tabulate_effects(part: Part, kind: str) -> pl.DataFrame | None:
    """The headline selector and its controls under one kind of intervention."""
    rows = []
    for to in ("zero", "mean") if kind == "deactivate" else ("zero",):
        found = acting(part.table("effects"), kind, "to mean" if to == "mean" else "headline")
        for control in CONTROLS:
            mine = found.filter(pl.col("control") == control)
            every = {row["measure"]: row for row in mine.iter_rows(named=True)}
            by = {measure: every[measure] for measure in MEASURES[kind] if measure in every}
            if not by:
                continue
            draws = max(row["draws"] for row in by.values() if not row["measure"].startswith("excess"))
            name = f"{name_selector(part.selector)}, {CONTROLS[control]}"
            name += f" (mean of {draws})" if control != "target" else ""
            name += ", to their mean" if to == "mean" else ""
            name += ", unreliable" if any(row["unreliable"] for row in by.values()) else ""
            row = {"neurons": name} | {
                heading: estimate_text(by[measure], "estimate") if measure in by else "–" for measure, heading in MEASURES[kind].items()
            }  # fmt: skip
            if kind == "deactivate":
                row[BLIND] = blind_text(blind_part(every.get, count_options(part.run.items)), "excess_gap")
            rows.append(row)
    return made(rows)


def _done(row: Mapping[str, Any]) -> str:
    if row["kind"] == "steer":
        return f"{'amplified' if row['alpha'] > 0 else 'weakened'}, alpha {row['alpha']:g}".replace("-", "−")
    return DONE.get(row["to"] or "zero", f"set to {row['to']}")


def draw_deactivation_of_parts(study: StudyRuns) -> Any | None:
    """Gap, evidence and leaning of the headline's neurons, of matched ones, and their difference, a row a corpus."""
    charts: list[Any] = []
    for measure, x, band in (
        ("gap", "gap (points)", None), ("sensitivity", "change of evidence (AUC points)", NO_SENSITIVITY),
        ("bias", "change of leaning (nat)", NO_BIAS),
    ):  # fmt: skip
        rows = three(study.mains, "deactivate", measure)
        if rows:
            charts.append(dots(rows, names_of(rows), x, "corpus", not charts, width=WIDTH, band=band))
    if not charts:
        return None
    return alt.hconcat(*charts, spacing=20).properties(
        title=title(
            "What switching the headline’s neurons off does, next to matched neurons",
            f"{INTERVALS} {SERIES_KEY} First: own effect minus effect on the others; left of zero, the emotion’s own clips suffer more. "
            "Second: left of zero, evidence is lost. Third: left of zero, the answer is avoided. Grey band: small changes.",
        )
    )  # fmt: skip


VERDICTS = {
    "removes evidence": "the model loses evidence for the emotion", "pulls the answer": "the answer moves without a loss of evidence",
    "both": "evidence is lost and the answer moves besides", "neither": "neither evidence nor the answer moves",
    "undecided": "undecided",
}  # fmt: skip


def say_deactivation(study: StudyRuns) -> list[str]:
    """Whether switching the headline's neurons off hurts their own emotion more, beyond matched neurons."""
    found = []
    for part in study.mains:
        one, blind = outcome(part.name, part.effect("deactivate", "excess_gap"), part), part.blind()
        told = blind is not None and blind.measure == "excess_gap" and one.text
        found.append(replace(one, text=f"{one.text} ({blind.brief()})") if blind and told else one)
    said = tally(
        found,
        "Switching the headline’s neurons off hurts their own emotion more than the others, beyond matched neurons: {}.",
        "It hurts their own emotion less than matched neurons do: {}.",
        "Whether it hurts their own emotion more than matched neurons do is open: {}.",
    )
    if any("blind part" in one.text for one in found):
        said.append(BLIND_PART)
    return [*said, *say_verdicts(study, "deactivate", "Switched off"), *_close(study)]


def _close(study: StudyRuns) -> list[str]:
    """A warning where sets found on shuffled labels do nearly what the headline's do; see ``caveats.close``."""
    texts = []
    for part in study.mains:
        own, shuffled = part.effect("deactivate", "gap"), part.effect("deactivate", "gap", "shuffled")
        if not own or not shuffled or not own["estimate"] or shuffled["estimate"] is None:
            continue
        way = 1 if own["estimate"] > 0 else -1
        ends = [way * shuffled[name] for name in ("draw_min", "draw_max") if shuffled[name] is not None]
        most = max(ends, default=way * shuffled["estimate"])
        if shuffled["estimate"] / own["estimate"] >= CLOSE or most >= abs(own["estimate"]):
            texts.append(
                f"{part.name} ({number(shuffled['estimate'], sign=True)} points on average and {number(way * most, sign=True)} at most, "
                f"against {number(own['estimate'], sign=True)})"
            )
    return [f"Neurons found on shuffled labels come close: {listed(texts)}."] if texts else []


def say_verdicts(study: StudyRuns, kind: str, lead: str) -> list[str]:
    """The verdicts on one kind of intervention, each with its corpora."""
    groups: dict[str, list[str]] = {}
    for part in study.mains:
        row = part.verdict(kind)
        if row is not None and row["verdict"] in VERDICTS:
            groups.setdefault(row["verdict"], []).append(part.name)
    if not groups:
        return []
    texts = [f"{VERDICTS[name]} on {listed(groups[name])}" for name in VERDICTS if name in groups]
    return [f"{lead}, by the rule of verdicts: {'; '.join(texts)}."]


def main_figure(part: Part) -> Chart | None:
    """The headline's matrix of changes under deactivation, next to that of its matched controls."""
    chart = draw_deactivation(part, ("target", "matched"))
    return chart and chart.properties(title=title("Switching off an emotion's neurons, next to matched neurons", CELLS))


QUESTIONS = (
    Question(
        "deactivation",
        10,
        (
            Table(
                "verdicts",
                tabulate_verdicts,
                "Verdicts by rule, for selected minus matched neurons, means over emotions with 95 % intervals "
                "over speakers. Evidence or leaning counts as changed where its interval keeps clear of zero, "
                "however small the change; as unchanged where the interval holds zero and lies within ±2 AUC "
                "points or ±0.1 nat. *: the headline, fixed beforehand; the others are exploration.",
                missing="verdicts, which need matched controls that were switched off or amplified, and which a pilot "
                "does not give",
            ),
            Table(
                "tests",
                tabulate_tests,
                "The tests that were declared before the evaluation, with 95 % intervals over speakers and p "
                "values corrected for their number (Holm). Blind part: answers that move alike on clips of all "
                "emotions give as much of the excess gap; the excess pull gap has none.",
            ),
            Figure("deactivation", draw_deactivation, "no set was switched off"),
            Figure("main", main_figure, "no set was switched off", on_page=False),
            Figure("evidence", draw_evidence, "the options’ probabilities under sets that were switched off"),
            Figure("gaps", draw_gaps, "no set was switched off"),
            Note(lambda part: rank(part, "deactivate")),
            Note(lambda part: matching(part, "deactivate")),
            Note(null),
            Table(
                "effects_deactivate",
                tabulate_effects_deactivate,
                "Effects of switching off, in points of accuracy (UAR: change of the unweighted average recall), "
                "with 95 % intervals over speakers. Blind part: answers that move alike on clips of all emotions "
                "give as much.",
            ),
            Figure("deactivation", draw_deactivation_of_parts, "no set was switched off", pages="study"),
        ),
        says=say_deactivation,
    ),
)
