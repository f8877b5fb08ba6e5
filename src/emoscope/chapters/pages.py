"""The report of a run, and of a study of several parts: one HTML file that holds everything it shows and loads nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from itertools import groupby
from pathlib import Path

from emoscope.analysis.parts import Part, Row, StudyRuns
from emoscope.chapters import SECTIONS, provenance, questions
from emoscope.chapters.claims import as_text, grid, notes
from emoscope.report import caveats, methods, page, sentences
from emoscope.report.page import Figure, Item, Note, Pages, Question, Section, Table
from emoscope.report.theme import KEPT, Drawing

Made = Mapping[str, Mapping[str, str] | None]
"""Figures or tables of a page by name: what :func:`~emoscope.report.page.draw_figure` and ``fill_table`` give."""

CLAIMS = Table(
    "claims",
    lambda study: None if study.pilot else as_text(study.table("claims")),
    "The claims of Zhao, Schuller and Sisman (2026).",
)
"""It is written, and stands on the page in another form."""


def items(shown_on: Pages, asked: Iterable[Question] | None = None) -> list[Item]:
    """What a page shows, of every question or of some, in its order."""
    asked = questions() if asked is None else asked
    return [item for question in asked for item in question.items if item.pages in (shown_on, "both")]


def figures(shown_on: Pages) -> list[Figure]:
    """The figures of a page, in its order."""
    return [item for item in items(shown_on) if isinstance(item, Figure)]


def tables(shown_on: Pages) -> list[Table]:
    """The tables of a page, in its order."""
    return [item for item in items(shown_on) if isinstance(item, Table)]


def build_report(
    about: Part | StudyRuns, step: Callable[[], None] | None = None, drawing: Drawing | None = None
) -> Path:
    """Write ``report.html``, ``figures/*.svg`` and ``.pdf`` and ``tables/*.tex``, without a model.

    Whatever the folder lacks is named in the report.

    Args:
        about: what ``write_tables`` returned for a run, or ``write_study_tables`` for a study of several parts.
        step: called after each figure, whether there is one or not: ``len(figures("run"))`` times for a run.
        drawing: what draws; it takes a moment to start, so it may be begun before the tables. A new one by default.
    """
    shown_on, study = _page(about)
    begun, kept = {}, study.folder / KEPT
    with nullcontext(drawing) if drawing else Drawing(not kept.is_file()) as drawing, drawing.keeping(kept):
        for figure in figures(shown_on):
            begun[figure.name] = page.begin_figure(figure, _subject(figure, study), study.folder / "figures", drawing)
            if step:
                step()
        filled = _fill_tables(shown_on, study)
        drawn = {name: end() for name, end in begun.items()}
    return page.write_text(render_report(about, drawn, filled), study.folder / "report.html")


def _fill_tables(shown_on: Pages, study: StudyRuns) -> Made:
    """Fill the tables of a page, and write those that lie beside it."""
    folder = study.folder / "tables"
    folder.mkdir(exist_ok=True)
    filled = {}
    for table in tables(shown_on):
        # the numbers behind a run's tables are in CSV already
        csv = shown_on == "study" and table.name not in study.computed
        filled[table.name] = page.fill_table(table, _subject(table, study), folder, csv)
    page.fill_table(CLAIMS, study, folder)
    return filled


def render_report(about: Part | StudyRuns, drawn: Made, filled: Made) -> str:
    """The HTML of the page of a run or of a study."""
    shown_on, study = _page(about)
    part = study.parts[0] if shown_on == "run" else None
    groups = {name: list(asked) for name, asked in groupby(questions(), key=lambda question: question.section)}
    sections = [
        _section(section, groups[section.id], shown_on, study, drawn, filled)
        for section in SECTIONS
        if section.id in groups
    ]
    sections = [section for section in sections if section["items"]]
    claimed = study.table("claims")
    corpora = sorted(set(claimed["corpus"].drop_nulls())) if part else [main.name for main in study.mains]
    path = study.folder / "study.toml"
    return page.render(
        "report.html",
        page=shown_on,
        name=study.name,
        subject=provenance.subject(study),
        conclusion=sentences.conclude(study),
        pilot=caveats.pilot(study),
        headline=sentences.headline(part) if part else (),
        missing=[f"{name} is not in the run folder" for name in part.run.missing] if part else (),
        corpora=corpora,
        claims=[] if study.pilot else grid(claimed, corpora),
        shared=notes(claimed),
        sections=sections,
        anchors={section["title"]: section["id"] for section in sections},
        notes=study.notes,
        methods=methods.paragraph(part) if part else (),
        bibtex=methods.bibtex(part) if part else "",
        study=path.read_text(encoding="utf-8") if path.is_file() else "",
        limits=caveats.limits(study),
        glossary=page.read_data("glossary.toml"),
        version=study.manifest.get("emoscope", ""),
    )


def _page(about: Part | StudyRuns) -> tuple[Pages, StudyRuns]:
    """A run is a study with one part."""
    return ("study", about) if isinstance(about, StudyRuns) else ("run", StudyRuns.alone(about))


def _subject(item: Item, study: StudyRuns) -> Part | StudyRuns:
    """What an item is made from."""
    return study.parts[0] if item.pages == "run" else study


def _section(
    section: Section, asked: list[Question], shown_on: Pages, study: StudyRuns, drawn: Made, filled: Made
) -> Row:
    """What the template needs of a section."""
    made: list[Row] = []
    for item in items(shown_on, asked):
        if isinstance(item, Note):
            said = item.say(_subject(item, study))
            made += [{"kind": "note", "text": text} for text in ([said] if isinstance(said, str) else said or ())]
        elif isinstance(item, Figure):
            figure = drawn[item.name] or {}
            if item.on_page and figure.get("missing") != "":
                made.append({"kind": "figure", "name": item.name, **figure})
        elif found := filled.get(item.name):
            made.append({"kind": "table", "name": item.name, "folded": item.folded, **found})
        elif item.missing:
            made.append({"kind": "missing", "missing": item.missing})
    leads = [
        question.says
        for question in asked
        if question.says and question.says_on in (shown_on, "both") and not study.pilot
    ]
    says = [text for say in leads for text in say(study)]
    linked = [part for role in section.roles for part in study.of_role(role) if part.link]
    links = [(part.name, part.link + (f"#{section.id}" if part.role == "main" else "")) for part in linked]
    return {"id": section.id, "title": section.title, "asks": section.asks, "items": made, "says": says, "links": links}
