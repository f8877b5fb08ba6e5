"""The report of a run: one HTML file that holds everything it shows and loads nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from emoscope.analysis.parts import Part
from emoscope.chapters import (
    agnostic,
    answers,
    arousal,
    budgets,
    claims,
    deactivation,
    efficiency,
    flows,
    layer_effects,
    layers,
    letters,
    outcomes,
    published,
    selectors,
    sets,
    steering,
    within,
    wordings,
)
from emoscope.chapters.deactivation import CELLS, draw_deactivation
from emoscope.chapters.sets import SHOWN_TOKENS
from emoscope.report import methods, sentences
from emoscope.report.caveats import limits, matching, rank, standing
from emoscope.report.glossary import GLOSSARY
from emoscope.report.markup import to_html
from emoscope.report.page import Figure, Table, draw_figure, fill_table, render, write_page
from emoscope.report.provenance import counts, environment, identifiable, null, proofs, study, study_name, subject, told
from emoscope.report.theme import title


def main_figure(part: Part) -> Any | None:
    """The headline's matrix of changes under deactivation, next to that of its matched controls.

    Returns:
        an Altair chart; ``None`` where the run has no deactivation of the headline's sets.
    """
    chart = draw_deactivation(part, ("target", "matched"))
    return chart and chart.properties(title=title("Switching off an emotion's neurons, next to matched neurons", CELLS))


FIGURES: tuple[Figure[Part], ...] = (
    *answers.FIGURES,
    *deactivation.FIGURES,
    *flows.FIGURES,
    *budgets.FIGURES,
    *steering.FIGURES,
    *agnostic.FIGURES,
    *selectors.FIGURES,
    *sets.FIGURES,
    *efficiency.FIGURES,
    *letters.FIGURES,
    *layer_effects.FIGURES,
    *layers.FIGURES,
    Figure[Part]("main", main_figure, "no set was switched off", on_page=False),
)
"""Of every chapter; the template says where each stands, and shows the full set of matrices instead of the main one."""

TABLES: tuple[Table[Part], ...] = (
    *claims.TABLES,
    *published.TABLES,
    *answers.TABLES,
    *wordings.TABLES,
    *deactivation.TABLES,
    *steering.TABLES,
    Table("outcomes", outcomes.tabulate_outcomes, outcomes.CAPTION),
    Table("outcome_sets", outcomes.tabulate_outcome_sets, outcomes.SETS_CAPTION),
    *agnostic.TABLES,
    *selectors.TABLES,
    *sets.TABLES,
    *budgets.TABLES,
    *efficiency.TABLES,
    *letters.TABLES,
    *within.TABLES,
    *arousal.TABLES,
)
"""Of every chapter; the template says where each stands."""


def notes(part: Part) -> dict[str, str | None]:
    """One sentence by rule on each of letters, what is said, arousal and how answers were written; ``None`` without.

    A pilot supports no claim, so it has the last alone.
    """
    if part.pilot is not None:
        return {"letters": None, "within": None, "arousal": None, "forms": answers.forms_note(part)}
    return {
        "letters": letters.letters_note(part),
        "within": within.within_note(part),
        "arousal": arousal.arousal_note(part),
        "forms": answers.forms_note(part),
    }


def build_report(part: Part, step: Callable[[], None] | None = None) -> Path:
    """Write ``report.html``, ``figures/*.svg`` and ``.pdf`` and ``tables/*.tex`` of a run folder, without a model.

    Whatever the folder lacks is named in the report.

    Args:
        part: what ``write_tables`` returned.
        step: called after each figure, whether the run has it or not: ``len(FIGURES)`` times.

    Returns:
        the path of the page.
    """
    shown = {}
    for figure in FIGURES:
        shown[figure.name] = draw_figure(figure, part, part.run.folder / "figures")
        if step:
            step()
    return write_page(render_report(part, shown, _tables(part)), part.run.folder / "report.html")


def render_report(
    part: Part, figures: Mapping[str, Mapping[str, str]], tables: Mapping[str, Mapping[str, str] | None]
) -> str:
    """The page's HTML.

    Args:
        part: what the report shows.
        figures: name to ``title``, ``how``, ``light`` and ``dark`` (SVG), or ``missing`` (why there is none).
        tables: name to ``caption`` and ``html``, or ``None`` where the run has nothing to fill it with.
    """
    records = {"counts": counts(part), "proofs": proofs(part), "environment": environment(part)}
    return render(
        "template.html",
        name=study_name(part),
        subject=subject(part),
        standing=standing(part),
        pilot=part.pilot,
        headline=sentences.headline(part),
        missing=_missing(part),
        figures=figures,
        tables={
            **tables,
            **{name: None if frame is None else {"html": to_html(frame, name)} for name, frame in records.items()},
        },
        matching={kind: matching(part, kind) for kind in ("deactivate", "steer")},
        rank={kind: rank(part, kind) for kind in ("deactivate", "steer")},
        null=null(part),
        notes=notes(part),
        percept=outcomes.percept(part),
        no_interval=_no_interval(part),
        reliance=answers.reliance_note(part),
        identifiable=identifiable(part),
        tokens=SHOWN_TOKENS,
        methods=methods.paragraph(part),
        bibtex=methods.bibtex(part),
        told=told(part),
        study=study(part),
        limits=limits(part),
        glossary=GLOSSARY,
        version=part.run.manifest.get("emoscope", ""),
    )


def _tables(part: Part) -> dict[str, dict[str, str] | None]:
    """Fill every table; its numbers are in CSV already."""
    folder = part.run.folder / "tables"
    folder.mkdir(exist_ok=True)
    return {table.name: fill_table(table, part, folder) for table in TABLES}


def _missing(part: Part) -> list[str]:
    files = [f"{name} is not in the run folder" for name in part.run.missing]
    return [*files, *part.notes]


def _no_interval(part: Part) -> str | None:
    reasons = part.table("uar").filter(condition="baseline")["reason"].drop_nulls()
    return f"No intervals: {reasons[0]}." if len(reasons) else None
