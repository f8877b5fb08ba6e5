"""What is lost when an emotion's neurons are switched off?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import altair as alt
import polars as pl

from emoscope.analysis.effects import NO_BIAS, NO_EVIDENCE
from emoscope.analysis.estimate import estimate_of
from emoscope.analysis.parts import Part, Row, StudyRuns
from emoscope.analysis.standing import BLIND_PART, blind_part, count_options
from emoscope.chapters.provenance import null
from emoscope.report import plots
from emoscope.report.caveats import close, matching, rank
from emoscope.report.page import Figure, Note, Question, Table
from emoscope.report.theme import Chart, title, titled
from emoscope.report.wording import BLIND, CONTROLS, blind_text, made, name_selector, outcome, tally
from emoscope.vocabulary import Role, acting
from emoscope.wording import bracket, estimate_text, listed, number, p_value

CELLS = (
    "Row: the emotion whose neurons were changed; column: the emotion of the clip. The diagonal (framed) is the "
    "emotion's own effect. Bold: clear of zero after correction for all cells of the matrix."
)
DRAWN = (
    ("sensitivity", "change of evidence (AUC points)", NO_EVIDENCE),
    ("bias", "change of leaning (nat)", NO_BIAS),
)
"""What is drawn of evidence and leaning: measure, axis, and up to where a change is small."""


def draw_deactivation(part: Part, controls: Sequence[str] = tuple(CONTROLS)) -> Chart | None:
    """D of the headline selector next to the means of its controls."""
    heading = title(
        "What switching neurons off does to each emotion, next to control sets",
        f"{CELLS} Control panels are means over draws.",
    )
    return draw_matrices(part, "deactivate", "change", controls, "change of accuracy (points)", heading)


def draw_evidence(part: Part) -> Chart | None:
    """Sensitivity and bias per emotion of selected and matched neurons, and their mean difference."""
    found = acting(part.table("evidence"), "deactivate").filter(pl.col("control").is_in(["target", "matched"]))
    if found.is_empty():
        return None
    order = [*(e for e in part.responses.labels if e in set(found["target"])), "mean of emotions", plots.BEYOND]
    charts: list[Chart] = []
    for measure, x, limit in DRAWN:
        rows = [
            {"row": row["target"], "series": plots.series_of(row["control"])}
            | plots.marks_of(estimate_of(row, measure))
            for row in found.iter_rows(named=True)
        ]
        rows += [
            row | {"row": plots.BEYOND if row["series"] == "difference" else "mean of emotions"}
            for row in plots.three([part], "deactivate", measure)
        ]
        frame = plots.as_rows(rows).filter(pl.col("estimate").is_not_null())
        if frame.is_empty():
            return None
        there = [name for name in order if name in set(frame["row"])]
        y = None if charts else "neurons switched off"
        charts.append(plots.dots(frame, there, x, y, rule=0.0, band=limit, width=350))
    return alt.hconcat(
        *charts,
        spacing=24,
        title=title(
            "Does the model lose evidence for the emotion, or only lean away from answering it?",
            f"{plots.INTERVALS} Circle: selected; diamond: matched; square: their difference. The verdict "
            "rests on comparisons within speakers. Left of zero: evidence is lost (first panel), the answer is avoided (second). Grey band: small "
            "changes.",
        ),
    )


def draw_gaps(part: Part) -> Chart | None:
    """The gap under deactivation of the headline's sets and of their controls, and the excess gap."""
    shown = [("gap", control, name, plots.series_of(control)) for control, name in CONTROLS.items()]
    shown.insert(1, ("excess_gap", "target", plots.BEYOND, "difference"))
    rows = [
        {"row": name, "series": series} | plots.marks_of(row)
        for measure, control, name, series in shown
        if (row := part.effect("deactivate", measure, control)) is not None
    ]
    if not rows:
        return None
    draws = part.table("effects").filter(role="headline", kind="deactivate", measure="gap")
    draws = draws.filter(pl.col("control").is_in(list(CONTROLS)[1:]), pl.col("draw").is_not_null())
    ticks = draws.select(pl.col("control").replace(CONTROLS).alias("row"), "estimate")
    frame, order = pl.DataFrame(rows, infer_schema_length=None), [row["row"] for row in rows]
    return titled(
        plots.dots(frame, order, plots.GAP, "neurons switched off", rule=0.0, ticks=ticks),
        title(
            f"How specific switching off is: {name_selector(part.selector)} and its controls",
            f"{plots.INTERVALS} Further left: hurts its own emotion more than the others; zero: no difference. "
            f"Small ticks: single control draws.{plots.hollow_note(rows)}",
        ),
    )


def draw_matrices(
    part: Part, kind: str, value: str, controls: Sequence[str], legend: str, heading: alt.TitleParams
) -> Chart | None:
    """The matrices of one kind of intervention: the headline's sets, then the means of their controls."""
    found = acting(part.table("matrix"), kind).filter(pl.col(value).is_not_null())
    unreliable = pl.col("unreliable").fill_null(False)
    cells = found.select("control", "draws", unreliable, row="target", column="emotion", value=value, q=f"{value}_q")
    parts = [(control, panel) for control in controls if len(panel := cells.filter(control=control))]
    if not parts:
        return None
    most = max(5.0, max(float(panel["value"].abs().max() or 0) for _, panel in parts))  # type: ignore[arg-type]
    rows = [e for e in part.responses.labels if any(e in set(panel["row"]) for _, panel in parts)]
    line = plots.across(len(parts), part.emotions)
    drawn = []
    for place, (control, panel) in enumerate(parts):
        draws = "" if control == "target" else f" (mean of {panel['draws'][0]})"
        name = f"{name_selector(part.selector)}, {CONTROLS[control]}{draws}"
        panel, first = panel.drop("control", "draws"), place % line == 0
        chart = plots.signed_matrix(panel, rows, part.emotions, most, legend, first)
        drawn.append(titled(chart, alt.TitleParams(name, fontSize=13)))
    return alt.concat(*drawn, columns=line, spacing=plots.PANEL_SPACE, title=heading)


MEASURES = {
    "deactivate": {
        "self": "own emotion",
        "cross": "other emotions",
        "gap": "gap",
        "excess_gap": "excess gap",
        "uar_change": "UAR",
    },
    "steer": {
        "pull": "pull, own emotion",
        "pull_cross": "pull, other emotions",
        "pull_overall": "pull, all",
        "pull_gap": "pull gap",
        "excess_pull_gap": "excess pull gap",
        "uar_change": "UAR",
    },
}
"""The columns of the tables of effects, with their headings."""

DONE = {"zero": "switched off", "mean": "set to their mean"}


def tabulate_verdicts(part: Part) -> pl.DataFrame | None:
    """What the rule says about every intervention on the headline's sets that has matched controls."""
    if part.pilot is not None:  # it supports no claim
        return None
    found = part.own("verdicts").filter(control="target", layers="all")
    rows = [
        {
            "what was done": _done(row) + (" *" if row["headline"] else ""),
            "evidence (AUC points)": estimate_text(row, "excess_evidence"),
            "leaning (nat)": estimate_text(row, "excess_bias", 2),
            "verdict": row["verdict"] or "no verdict",
            "why": row["reason"] or "",
        }
        for row in found.sort("kind", "to", "alpha", descending=[False, True, False]).iter_rows(named=True)
    ]
    return made(rows)


def tabulate_tests(part: Part) -> pl.DataFrame | None:
    """The declared claims in the order in which they are tested, with both intervals."""
    if part.pilot is not None:  # it supports no claim
        return None
    rows = [
        {
            "claim": row["name"],
            "verdict": row["verdict"],
            "estimate": "–" if row["estimate"] is None else number(row["estimate"], 2, sign=True),
            "unit": row["unit"],
            "95 %, such sets": bracket(row["low"], row["high"], 2, sign=True),
            "95 %, these sets": bracket(row["set_low"], row["set_high"], 2, sign=True),
            "df": number(row["df"]),
            "p": p_value(row["p"]),
            "p, Holm": p_value(row["p_holm"]),
            "p, permuted labels": f"{p_value(row['permutation_p'])} ({row['permuted']} draws)"
            if row["permuted"]
            else "",
            "beyond": "" if row["control"] is None else f"{row['draws']} {row['control']} sets",
            "why": row["why"] or "",
        }
        for row in part.table("tests").iter_rows(named=True)
    ]
    return made(rows)


def tabulate_effects(part: Part, kind: str) -> pl.DataFrame | None:
    """The headline selector and its controls: set to zero and to their mean, or amplified."""
    rows = []
    roles: list[tuple[Role, str]] = [("headline", ""), ("to mean", ", to their mean")]
    for role, to in roles[: 2 if kind == "deactivate" else 1]:
        found = acting(part.table("effects"), kind, role)
        for control, called in CONTROLS.items():
            every = {row["measure"]: row for row in found.filter(control=control).iter_rows(named=True)}
            shown = [every[measure] for measure in MEASURES[kind] if measure in every]
            if not shown:
                continue
            draws = max(row["draws"] for row in shown if not row["measure"].startswith("excess"))
            name = f"{name_selector(part.selector)}, {called}" + (f" (mean of {draws})" if control != "target" else "")
            row = {"neurons": name + to + (", unreliable" if any(row["unreliable"] for row in shown) else "")}
            row |= {heading: estimate_text(every.get(measure)) for measure, heading in MEASURES[kind].items()}
            if kind == "deactivate":
                row[BLIND] = blind_text(blind_part(every.get, count_options(part.run.items)))
            rows.append(row)
    return made(rows)


def _done(row: Row) -> str:
    if row["kind"] == "steer":
        return f"{'amplified' if row['alpha'] > 0 else 'weakened'}, alpha {row['alpha']:g}".replace("-", "−")
    return DONE.get(row["to"] or "zero", f"set to {row['to']}")


def draw_deactivation_of_parts(study: StudyRuns) -> Chart | None:
    """Gap, evidence and leaning of the headline's neurons, of matched ones, and their difference, a row a corpus."""
    return by_measure(
        study,
        "deactivate",
        (("gap", "gap (points)", None), *DRAWN),
        title(
            "What switching the headline’s neurons off does, next to matched neurons",
            f"{plots.INTERVALS} {plots.SERIES_KEY} First: own effect minus effect on the others; left of zero, the "
            "emotion’s own clips suffer more. Second: left of zero, evidence is lost. Third: left of zero, the answer "
            "is avoided. Grey band: small changes.",
        ),
    )


def by_measure(
    study: StudyRuns, kind: str, measures: Iterable[tuple[str, str, float | None]], heading: alt.TitleParams
) -> Chart | None:
    """Effects of the headline's neurons, of matched ones and their difference, a row a corpus, a panel a measure.

    ``measures`` are their names, axis titles, and up to where a change is small.
    """
    charts: list[Chart] = []
    for measure, x, band in measures:
        rows = plots.three(study.mains, kind, measure)
        if rows:
            charts.append(plots.dots(rows, plots.names_of(rows), x, "corpus", not charts, width=plots.WIDTH, band=band))
    return alt.hconcat(*charts, spacing=20, title=heading) if charts else None


VERDICTS = {
    "removes evidence": "the emotion is told apart less well",
    "adds evidence": "the emotion is told apart better",
    "pulls the answer": "the answer moves, and the emotion is told apart about as well",
    "removes evidence and pulls the answer": "the emotion is told apart less well, and the answer moves besides",
    "adds evidence and pulls the answer": "the emotion is told apart better, and the answer moves besides",
    "neither": "neither how well the emotion is told apart nor the answer moves",
    "undecided": "undecided",
}
"""The verdicts of the rule, in words."""


def say_deactivation(study: StudyRuns) -> list[str]:
    """Whether switching the headline's neurons off hurts their own emotion more, beyond matched neurons."""
    found = []
    for part in study.mains:
        finding, blind = outcome(part.name, part.effect("deactivate", "excess_gap"), part), part.blind()
        if blind is not None and blind.measure == "excess_gap" and finding.text:
            finding = replace(finding, text=f"{finding.text} ({blind.brief()})")
        found.append(finding)
    sentences = tally(
        found,
        "Switching the headline’s neurons off hurts their own emotion more than the others, beyond matched neurons: "
        "{}.",
        "It hurts their own emotion less than matched neurons do: {}.",
        "Whether it hurts their own emotion more than matched neurons do is open: {}.",
    )
    if any("blind part" in finding.text for finding in found):
        sentences.append(BLIND_PART)
    sentences += say_verdicts(study, "deactivate", "Switched off")
    near = {part.name: close(part, "deactivate", "gap") for part in study.mains}
    return [*sentences, *(f"{name}: {warning}" for name, warning in near.items() if warning)]


def say_verdicts(study: StudyRuns, kind: str, lead: str) -> list[str]:
    """The verdicts on one kind of intervention, each with its corpora."""
    verdicts = {part.name: (part.verdict(kind) or {}).get("verdict") for part in study.mains}
    by = {words: [corpus for corpus, found in verdicts.items() if found == name] for name, words in VERDICTS.items()}
    texts = [f"{words} on {listed(corpora)}" for words, corpora in by.items() if corpora]
    return [f"{lead}, by the rule of verdicts: {'; '.join(texts)}."] if texts else []


def main_figure(part: Part) -> Chart | None:
    """The headline's matrix of changes under deactivation, next to that of its matched controls."""
    chart = draw_deactivation(part, ("target", "matched"))
    return chart and titled(chart, title("Switching off an emotion's neurons, next to matched neurons", CELLS))


QUESTIONS = (
    Question(
        "deactivation",
        10,
        (
            Table(
                "verdicts",
                tabulate_verdicts,
                "Verdicts by rule, for selected minus matched neurons, means over emotions with 95 % intervals "
                "over speakers that include how much matched sets differ. Evidence: how well clips of an emotion are "
                "told from another’s of the same speaker. Evidence or leaning counts as changed where its interval keeps clear of zero, "
                "however small the change; as unchanged where the interval holds zero and lies within ±2 AUC "
                "points or ±0.1 nat. *: the headline, fixed beforehand; the others are exploration.",
                missing="verdicts, which need matched controls that were switched off or amplified, and which a pilot "
                "does not give",
            ),
            Table(
                "tests",
                tabulate_tests,
                "The declared claims, in two fixed sequences: each is tested only if the one before it holds; p of the "
                "first of each is corrected for there being two (Holm). Estimates are beyond control sets; the first "
                "interval includes how much such sets differ, the second is that of these very sets.",
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
                partial(tabulate_effects, kind="deactivate"),
                "Effects of switching off, in points of accuracy (UAR: change of the unweighted average recall), "
                "with 95 % intervals over speakers. Blind part: answers that move alike on clips of all emotions "
                "give as much.",
            ),
            Figure("deactivation", draw_deactivation_of_parts, "no set was switched off", pages="study"),
        ),
        says=say_deactivation,
    ),
)
