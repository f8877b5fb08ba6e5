"""The report of a run, and of a study of several parts: one HTML file that holds everything it shows and loads nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from emoscope.analysis.parts import Part, StudyRuns
from emoscope.chapters import SECTIONS, questions
from emoscope.chapters.claims import as_text, grid
from emoscope.report import caveats, methods, provenance, sentences
from emoscope.report.page import (
    Figure,
    Item,
    Note,
    Pages,
    Question,
    Section,
    Table,
    draw_figure,
    fill_table,
    glossary,
    render,
    write_latex,
    write_page,
)

WHAT_WAS_RUN = Question(
    "run",
    0,
    (
        Table("counts", provenance.counts, "What became of every clip, and how many conditions were asked."),
        Note(provenance.told),
        Table(
            "parts", provenance.parts, "Every part of the study: an ordinary run in a folder of its own.", pages="study"
        ),
        Table(
            "proofs",
            provenance.proofs,
            "What was checked when the model was loaded. “Not run” is not “passed”.",
            "both",
            "proofs",
        ),
        Table(
            "environment",
            provenance.environment,
            "Model, environment, time and corpora.",
            "both",
            folded="Model, environment, time and corpora",
            files=False,
        ),
    ),
)


def items(page: Pages, asked: Iterable[Question] | None = None) -> list[Item]:
    """What a page shows, of every question or of some, in its order."""
    asked = (*questions(), WHAT_WAS_RUN) if asked is None else asked
    return [item for question in asked for item in question.items if item.pages in (page, "both")]


def figures(page: Pages) -> list[Figure]:
    """The figures of a page, in its order."""
    return [item for item in items(page) if isinstance(item, Figure)]


def tables(page: Pages) -> list[Table]:
    """The tables of a page, in its order."""
    return [item for item in items(page) if isinstance(item, Table)]


def build_report(about: Part | StudyRuns, step: Callable[[], None] | None = None) -> Path:
    """Write ``report.html``, ``figures/*.svg`` and ``.pdf`` and ``tables/*.tex``, without a model.

    Whatever the folder lacks is named in the report.

    Args:
        about: what ``write_tables`` returned for a run, or ``write_study_tables`` for a study of several parts.
        step: called after each figure, whether there is one or not: ``len(figures("run"))`` times for a run.

    Returns:
        the path of the page.
    """
    page, study = _page(about)
    drawn = {}
    for figure in figures(page):
        drawn[figure.name] = draw_figure(figure, _subject(figure, study), study.folder / "figures")
        if step:
            step()
    folder = study.folder / "tables"
    folder.mkdir(exist_ok=True)
    filled = {}
    for table in tables(page):
        # the numbers behind a run's tables are in CSV already
        csv = page == "study" and table.name not in study.computed
        filled[table.name] = fill_table(table, _subject(table, study), folder, csv)
    claims = as_text(study.table("claims"))
    (folder / "claims.tex").unlink(missing_ok=True)
    if claims is not None and not study.pilot:
        write_latex(claims, "claims", "The claims of Zhao, Schuller and Sisman (2026).", folder / "claims.tex")
    return write_page(render_report(about, drawn, filled), study.folder / "report.html")


def render_report(
    about: Part | StudyRuns,
    drawn: Mapping[str, Mapping[str, str]],
    filled: Mapping[str, Mapping[str, str] | None],
) -> str:
    """The page's HTML.

    Args:
        about: what the page shows.
        drawn: name to ``title``, ``how``, ``size``, ``light`` and ``dark`` (SVG), or ``missing`` (why there is none).
        filled: name to ``caption`` and ``html``, or ``None`` where there is nothing to fill it with.
    """
    page, study = _page(about)
    part = study.parts[0] if page == "run" else None
    sections = []
    for name, group in groupby((*questions(), WHAT_WAS_RUN), key=lambda one: one.section):
        section = next(one for one in SECTIONS if one.id == name)
        found = _section(section, list(group), page, study, drawn, filled)
        if found["items"]:
            sections.append(found)
    claimed = study.table("claims")
    corpora = sorted(set(claimed["corpus"].drop_nulls())) if part else [one.name for one in study.mains]
    path = study.folder / "study.toml"
    return render(
        "report.html",
        page=page,
        name=study.name,
        subject=provenance.subject(study),
        standing=caveats.standing(study),
        pilot=caveats.pilot(study),
        headline=sentences.headline(part) if part else (),
        missing=[f"{one} is not in the run folder" for one in part.run.missing] if part else (),
        corpora=corpora,
        claims=[] if study.pilot else grid(claimed, corpora),
        sections=sections,
        anchors={one["title"]: one["id"] for one in sections},
        notes=study.notes,
        methods=methods.paragraph(part) if part else (),
        bibtex=methods.bibtex(part) if part else "",
        study=path.read_text(encoding="utf-8") if path.is_file() else "",
        limits=caveats.limits(study),
        glossary=glossary(),
        version=study.manifest.get("emoscope", ""),
    )


def _page(about: Part | StudyRuns) -> tuple[Pages, StudyRuns]:
    """A run is a study with one part."""
    return ("study", about) if isinstance(about, StudyRuns) else ("run", StudyRuns.alone(about))


def _subject(item: Item, study: StudyRuns) -> Part | StudyRuns:
    """What an item is made from."""
    return study.parts[0] if item.pages == "run" else study


def _section(
    section: Section,
    asked: list[Question],
    page: Pages,
    study: StudyRuns,
    drawn: Mapping[str, Mapping[str, str]],
    filled: Mapping[str, Mapping[str, str] | None],
) -> dict[str, Any]:
    """What the template needs of a section."""
    made: list[dict[str, Any]] = []
    for item in items(page, asked):
        if isinstance(item, Note):
            said = item.say(_subject(item, study))
            made += [{"kind": "note", "text": text} for text in ([said] if isinstance(said, str) else said or ())]
        elif isinstance(item, Figure):
            if item.on_page:
                made.append({"kind": "figure", "name": item.name, **drawn[item.name]})
        elif found := filled.get(item.name):
            made.append({"kind": "table", "name": item.name, "folded": item.folded, **found})
        elif item.missing:
            made.append({"kind": "missing", "missing": item.missing})
    leads = [one.says for one in asked if one.says and one.says_on in (page, "both") and not study.pilot]
    says = [text for say in leads for text in say(study)]
    linked = [part for role in section.roles for part in study.of_role(role) if part.link]
    links = [(part.name, part.link + (f"#{section.id}" if part.role == "main" else "")) for part in linked]
    return {"id": section.id, "title": section.title, "asks": section.asks, "items": made, "says": says, "links": links}
