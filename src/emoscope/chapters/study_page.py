"""The report of a study of several parts: the claims, then a chapter a question, over all of its corpora, on one page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from emoscope.analysis.parts import StudyRuns
from emoscope.chapters import (
    agnostic,
    answers,
    arousal,
    controls,
    deactivation,
    dissociation,
    efficiency,
    grounding,
    layer_effects,
    layers,
    published,
    selectivity,
    selectors,
    side_effects,
    steering,
    transfer,
    within,
)
from emoscope.chapters.claims import as_text, claims_of_study, grid
from emoscope.chapters.outcomes import tabulate_outcomes_of_parts
from emoscope.chapters.results import STUDY_TABLES
from emoscope.report.caveats import limits_of_parts, pilot_of_parts, standing_of_parts
from emoscope.report.glossary import GLOSSARY
from emoscope.report.page import Figure, Table, draw_figure, fill_table, render, write_csv, write_latex, write_page
from emoscope.report.provenance import environment_of_parts, parts, proofs_of_parts, subject_of_parts
from emoscope.runs.folder import RunFolder
from emoscope.vocabulary import COLUMN, GROUNDING, MAIN, SHARED, SIDE_EFFECT

OUTCOMES = Table(
    "outcomes",
    tabulate_outcomes_of_parts,
    "Neurons found on wrong answers, beyond matched neurons: gap where switched off, pull gap where amplified (points).",
)


@dataclass(frozen=True)
class Chapter:
    """One chapter.

    Attributes:
        id: the anchor.
        title: a few words, also for the list of chapters.
        question: what it asks.
        says: what it says first; nothing where no table tells.
        figures, tables: what it shows, in this order.
        roles: the parts whose reports tell more.
        section: the section of these reports.
    """

    id: str
    title: str
    question: str
    says: Callable[[StudyRuns], Sequence[str]]
    figures: tuple[Figure[StudyRuns], ...]
    tables: tuple[Table[StudyRuns], ...]
    roles: tuple[str, ...] = (MAIN,)
    section: str = ""


CHAPTERS = (
    Chapter(
        "which",
        "Which neurons",
        "Does it matter by which rule neurons are selected?",
        selectors.say_selectors,
        selectors.FIGURES_OF_PARTS,
        selectors.TABLES_OF_PARTS,
        section="best",
    ),
    Chapter(
        "deactivation",
        "Deactivation",
        "What is lost when an emotion’s neurons are switched off?",
        deactivation.say_deactivation,
        deactivation.FIGURES_OF_PARTS,
        (),
        section="matter",
    ),
    Chapter(
        "steering",
        "Steering and dose",
        "What does amplification do, and does more of it do more?",
        steering.say_steering,
        steering.FIGURES_OF_PARTS,
        steering.TABLES_OF_PARTS,
        section="steer",
    ),
    Chapter(
        "data",
        "How little data",
        "From how few clips can the neurons be found?",
        efficiency.say_efficiency,
        efficiency.FIGURES_OF_PARTS,
        efficiency.TABLES_OF_PARTS,
        section="best",
    ),
    Chapter(
        "layers",
        "Where in the layers",
        "In which layers do the neurons lie, and where do they act?",
        layers.say_layers,
        (*layers.FIGURES_OF_PARTS, *layer_effects.FIGURES_OF_PARTS),
        (),
        section="where",
    ),
    Chapter(
        "transfer",
        "Transfer and fusion",
        "Do neurons found on one corpus act on another, and do fused sets do better?",
        transfer.say_transfer,
        transfer.FIGURES_OF_PARTS,
        transfer.TABLES_OF_PARTS,
        roles=(SHARED,),
    ),
    Chapter(
        "agnostic",
        "Without a label",
        "Does amplification help where nobody tells it the emotion?",
        agnostic.say_agnostic,
        agnostic.FIGURES_OF_PARTS,
        (),
        section="steer",
    ),
    Chapter(
        "controls",
        "Controls and double dissociation",
        "Is it the emotion, or would any neurons do?",
        controls.say_controls,
        (*controls.FIGURES_OF_PARTS, *dissociation.FIGURES_OF_PARTS),
        (OUTCOMES, *arousal.TABLES_OF_PARTS, *dissociation.TABLES_OF_PARTS),
        roles=(MAIN, COLUMN),
        section="matter",
    ),
    Chapter(
        "side-effects",
        "Side effects",
        "What else do the neurons cost?",
        side_effects.say_side_effects,
        side_effects.FIGURES_OF_PARTS,
        side_effects.TABLES_OF_PARTS,
        roles=(COLUMN, SIDE_EFFECT),
    ),
    Chapter(
        "grounding",
        "Voice or words",
        "Do the neurons respond to the voice, or to what is said?",
        grounding.say_grounding,
        (*grounding.FIGURES_OF_PARTS, *selectivity.FIGURES_OF_PARTS),
        (*grounding.TABLES_OF_PARTS, *within.TABLES_OF_PARTS),
        roles=(GROUNDING,),
    ),
)
"""In the order of the page; the last chapter, what was run, has no such form."""

FIGURES = tuple(figure for chapter in CHAPTERS for figure in chapter.figures)
"""Of every chapter."""

TABLES: tuple[Table[StudyRuns], ...] = (
    *answers.TABLES_OF_PARTS,
    *(table for chapter in CHAPTERS for table in chapter.tables),
    *published.TABLES_OF_PARTS,
    Table("parts", parts, "Every part of the study: an ordinary run in a folder of its own."),
    Table("proofs", proofs_of_parts, "What was checked when the model was loaded. “Not run” is not “passed”."),
)
"""Of every chapter, and those that stand outside of them."""


def build_study_report(study: StudyRuns) -> Path:
    """Write ``report.html``, ``figures/`` (SVG, PDF) and ``tables/*.tex`` of a whole study, without a model.

    What the study, or a part of it, lacks is named in the report.

    Args:
        study: what ``write_study_tables`` returned; its parts have written their tables.

    Returns:
        the path of the page.
    """
    claims = claims_of_study(study)
    _write_claims(RunFolder(study.folder), claims)
    figures = {figure.name: draw_figure(figure, study, study.folder / "figures") for figure in FIGURES}
    return write_page(render_study(study, claims, figures, _tables(study)), study.folder / "report.html")


def render_study(
    study: StudyRuns,
    claims: pl.DataFrame,
    figures: Mapping[str, Mapping[str, str]],
    tables: Mapping[str, Mapping[str, str]],
) -> str:
    """The page's HTML.

    Args:
        study: what the report shows.
        claims: each claim of the paper on each corpus.
        figures: name to ``title``, ``how``, ``size``, ``light`` and ``dark``, or ``missing`` (why there is none).
        tables: name to ``caption`` and ``html``, of those that have rows.
    """
    corpora = [part.name for part in study.mains]
    pilot = pilot_of_parts(study)
    return render(
        "whole.html",
        name=study.name,
        subject=subject_of_parts(study),
        standing=standing_of_parts(study),
        pilot=pilot,
        corpora=corpora,
        claims=[] if pilot is not None else grid(claims, corpora),
        notes=study.notes,
        chapters=[
            {
                "id": one.id,
                "title": one.title,
                "question": one.question,
                "says": () if study.pilot else one.says(study),
                "tables": [table.name for table in one.tables],
                "figures": [(figure.name, figures[figure.name]) for figure in one.figures],
                "links": _links(study, one),
            }
            for one in CHAPTERS
        ],
        anchors={one.title: one.id for one in CHAPTERS},
        tables=tables,
        environment=environment_of_parts(study),
        study=_study(study),
        limits=limits_of_parts(study),
        glossary=GLOSSARY,
        version=study.manifest.get("emoscope", ""),
    )


def _links(study: StudyRuns, chapter: Chapter) -> list[tuple[str, str]]:
    end = f"#{chapter.section}" if chapter.section else ""
    parts = [part for role in chapter.roles for part in study.of_role(role) if part.link]
    return [(part.name, part.link + (end if part.role == "main" else "")) for part in parts]


def _tables(study: StudyRuns) -> dict[str, dict[str, str]]:
    """Fill every table that has rows; the numbers of those in ``STUDY_TABLES`` are in CSV already."""
    folder = study.folder / "tables"
    folder.mkdir(exist_ok=True)
    filled = {table.name: fill_table(table, study, folder, csv=table.name not in STUDY_TABLES) for table in TABLES}
    return {name: found for name, found in filled.items() if found is not None}


def _write_claims(run: RunFolder, claims: pl.DataFrame) -> None:
    run.write_table("tables/claims", claims)
    write_csv(claims, run / "tables/claims.csv")
    text = as_text(claims)
    if text is not None:
        caption = "The claims of Zhao, Schuller and Sisman (2026) on each corpus."
        write_latex(text, "claims", caption, run / "tables/claims.tex")


def _study(study: StudyRuns) -> str:
    path = study.folder / "study.toml"
    return path.read_text(encoding="utf-8") if path.is_file() else ""
