"""The report of a run: one HTML file that holds everything it shows and loads nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
from emoscope.chapters.results import Tables, open_content, write_tables
from emoscope.chapters.sets import SHOWN_TOKENS
from emoscope.report import methods, sentences
from emoscope.report.caveats import limits, matching, rank, standing
from emoscope.report.glossary import GLOSSARY
from emoscope.report.markup import to_html
from emoscope.report.page import Figure, Table, draw_figure, fill_table, render, write_page
from emoscope.report.provenance import counts, environment, identifiable, null, proofs, study, study_name, subject, told
from emoscope.report.theme import title
from emoscope.report.views import Content


def main_figure(folder_or_content: str | Path | Content) -> Any | None:
    """The headline's matrix of changes under deactivation, next to that of its matched controls.

    Args:
        folder_or_content: a run folder, or its content.

    Returns:
        an Altair chart; ``None`` where the run has no deactivation of the headline's sets.
    """
    content = folder_or_content if isinstance(folder_or_content, Content) else open_content(folder_or_content)
    chart = draw_deactivation(content, ("target", "matched"))
    return chart and chart.properties(title=title("Switching off an emotion's neurons, next to matched neurons", CELLS))


FIGURES: tuple[Figure[Content], ...] = (
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
    Figure[Content]("main", main_figure, "no set was switched off", on_page=False),
)
"""Of every chapter; the template says where each stands, and shows the full set of matrices instead of the main one."""

TABLES: tuple[Table[Content], ...] = (
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


def notes(content: Content) -> dict[str, str | None]:
    """One sentence by rule on each of letters, what is said, arousal and how answers were written; ``None`` without.

    A pilot supports no claim, so it has the last alone.
    """
    if content.pilot is not None:
        return {"letters": None, "within": None, "arousal": None, "forms": answers.forms_note(content)}
    return {
        "letters": letters.letters_note(content),
        "within": within.within_note(content),
        "arousal": arousal.arousal_note(content),
        "forms": answers.forms_note(content),
    }


def build_report(
    folder: str | Path, tables_of_run: Tables | None = None, step: Callable[[], None] | None = None
) -> Path:
    """Write ``report.html``, ``figures/*.svg`` and ``.pdf`` and ``tables/*.tex`` of a run folder, without a model.

    Whatever the folder lacks is named in the report.

    Args:
        folder: the run folder.
        tables_of_run: what ``write_tables`` returned, if the tables were just written.
        step: called after each figure, whether the run has it or not: ``len(FIGURES)`` times.

    Returns:
        the path of the page.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    content = open_content(folder, tables_of_run or write_tables(folder))
    shown = {}
    for figure in FIGURES:
        shown[figure.name] = draw_figure(figure, content, content.run.folder / "figures")
        if step:
            step()
    return write_page(render_report(content, shown, _tables(content)), content.run.folder / "report.html")


def render_report(
    content: Content, figures: Mapping[str, Mapping[str, str]], tables: Mapping[str, Mapping[str, str] | None]
) -> str:
    """The page's HTML.

    Args:
        content: what the report shows.
        figures: name to ``title``, ``how``, ``light`` and ``dark`` (SVG), or ``missing`` (why there is none).
        tables: name to ``caption`` and ``html``, or ``None`` where the run has nothing to fill it with.
    """
    records = {"counts": counts(content), "proofs": proofs(content), "environment": environment(content)}
    return render(
        "template.html",
        name=study_name(content),
        subject=subject(content),
        standing=standing(content),
        pilot=content.pilot,
        headline=sentences.headline(content),
        missing=_missing(content),
        figures=figures,
        tables={
            **tables,
            **{name: None if frame is None else {"html": to_html(frame, name)} for name, frame in records.items()},
        },
        matching={kind: matching(content, kind) for kind in ("deactivate", "steer")},
        rank={kind: rank(content, kind) for kind in ("deactivate", "steer")},
        null=null(content),
        notes=notes(content),
        percept=outcomes.percept(content),
        no_interval=_no_interval(content),
        reliance=answers.reliance_note(content),
        identifiable=identifiable(content),
        tokens=SHOWN_TOKENS,
        methods=methods.paragraph(content),
        bibtex=methods.bibtex(content),
        told=told(content),
        study=study(content),
        limits=limits(content),
        glossary=GLOSSARY,
        version=content.run.manifest.get("emoscope", ""),
    )


def _tables(content: Content) -> dict[str, dict[str, str] | None]:
    """Fill every table; its numbers are in CSV already."""
    folder = content.run.folder / "tables"
    folder.mkdir(exist_ok=True)
    return {table.name: fill_table(table, content, folder) for table in TABLES}


def _missing(content: Content) -> list[str]:
    files = [f"{name} is not in the run folder" for name in content.run.missing]
    return [*files, *content.tables.notes]


def _no_interval(content: Content) -> str | None:
    reasons = content.tables.uar.filter(content.tables.uar["condition"] == "baseline")["reason"].drop_nulls()
    return f"No intervals: {reasons[0]}." if len(reasons) else None
