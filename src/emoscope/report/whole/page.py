"""The report of a whole study: the claims, then a chapter a question, over all of its corpora, on one page."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
from altair.utils.schemapi import debug_mode

from emoscope.analysis.claims import claims_of_whole
from emoscope.analysis.whole import NAMES, WholeTables
from emoscope.report.glossary import GLOSSARY
from emoscope.report.markup import to_html, to_latex
from emoscope.report.pictures import pictures
from emoscope.report.whole import caveats, charts, factors, probe_charts, provenance
from emoscope.report.whole import claims as claims_table
from emoscope.report.whole.chapters import CHAPTERS, Chapter
from emoscope.report.whole.content import Whole, read_whole
from emoscope.report.whole.tables import TABLES
from emoscope.runs.folder import RunFolder, replacing

FIGURES: Mapping[str, Callable[[Whole], Any | None]] = {**charts.FIGURES, **probe_charts.FIGURES}
"""Name to figure."""

NARROW = 620
"""Pictures up to this width in pixels are shrunk to a phone's page; wider ones are scrolled, so that they stay legible."""


def build_whole_report(folder: str | Path, tables: WholeTables) -> Path:
    """Write ``report.html``, ``figures/`` (SVG, PDF) and ``tables/*.tex`` of a whole study, without a model.

    What the study, or a part of it, lacks is named in the report.

    Args:
        folder: the run folder of the whole; its parts have written their tables.
        tables: what ``write_whole_tables`` returned.

    Returns:
        the path of the page.

    Raises:
        FileNotFoundError: the folder has no ``manifest.json``.
    """
    whole = read_whole(folder, {name: getattr(tables, name) for name in NAMES}, tables.notes)
    claims = claims_of_whole(folder, tables.transfer)
    _write_claims(RunFolder(folder), claims)
    place = whole.folder / "figures"
    place.mkdir(exist_ok=True)
    figures = {name: _figure(whole, name, place) for name in FIGURES}
    shown = _tables(whole)
    path = whole.folder / "report.html"
    with replacing(path) as partial:
        partial.write_text(render(whole, claims, figures, shown), encoding="utf-8")
    return path


def render(
    whole: Whole,
    claims: pl.DataFrame,
    figures: Mapping[str, Mapping[str, str] | None],
    tables: Mapping[str, Mapping[str, str]],
) -> str:
    """The page's HTML.

    Args:
        whole: what the report shows.
        claims: each claim of the paper on each corpus.
        figures: name to ``title``, ``how``, ``size``, ``light`` and ``dark``; ``None`` where there is none.
        tables: name to ``caption`` and ``html``, of those that have rows.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("emoscope.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    corpora = [part.name for part in whole.mains]
    pilot = caveats.pilot(whole)
    return environment.get_template("whole.html").render(
        name=whole.name, subject=provenance.subject(whole), standing=caveats.standing(whole), pilot=pilot,
        corpora=corpora, claims=[] if pilot is not None else claims_table.grid(claims, corpora), notes=whole.notes,
        chapters=[
            {
                "id": one.id, "title": one.title, "question": one.question, "says": () if whole.pilot else one.says(whole), "tables": one.tables,
                "figures": [(name, figures[name], why) for name, why in one.figures.items()], "links": _links(whole, one),
            }
            for one in CHAPTERS
        ],
        anchors={one.title: one.id for one in CHAPTERS}, tables=tables, environment=provenance.environment(whole),
        study=_study(whole), limits=caveats.limits(whole), glossary=GLOSSARY,
        version=whole.manifest.get("emoscope", ""),
    )  # fmt: skip


def _links(whole: Whole, chapter: Chapter) -> list[tuple[str, str]]:
    end = f"#{chapter.section}" if chapter.section else ""
    parts = [part for role in chapter.roles for part in whole.having(role) if part.link]
    return [(part.name, part.link + (end if part.role == "main" else "")) for part in parts]


def _figure(whole: Whole, name: str, folder: Path) -> dict[str, str] | None:
    for kind in ("svg", "pdf"):
        (folder / f"{name}.{kind}").unlink(missing_ok=True)
    with debug_mode(False):  # the specifications are checked by the tests, not again in every report
        chart = FIGURES[name](whole)
    if chart is None:
        return None
    drawn = pictures(chart, name, folder)
    width = re.search(r'<svg[^>]* width="([\d.]+)"', drawn["light"])
    size = "narrow" if width and float(width[1]) <= NARROW else "wide"
    return {**drawn, "size": size}


def _tables(whole: Whole) -> dict[str, dict[str, str]]:
    """Fill every table, write it as LaTeX and return it as HTML."""
    shown = {}
    folder = whole.folder / "tables"
    folder.mkdir(exist_ok=True)
    filled = {name: (fill(whole), caption) for name, (fill, caption) in (*TABLES.items(), *factors.TABLES.items())}
    filled["parts"] = provenance.parts(whole), "Every part of the study: an ordinary run in a folder of its own."
    filled["proofs"] = (
        provenance.proofs(whole),
        "What was checked when the model was loaded. “Not run” is not “passed”.",
    )
    for name, (frame, caption) in filled.items():
        path = folder / f"{name}.tex"
        if frame is None:
            path.unlink(missing_ok=True)
            continue
        with replacing(path) as partial:
            partial.write_text(to_latex(frame, name, caption), encoding="utf-8")
        if name not in NAMES:  # the others are written with their numbers
            with replacing(folder / f"{name}.csv") as partial:
                frame.write_csv(partial)
        shown[name] = {"caption": caption, "html": to_html(frame, name)}
    return shown


def _write_claims(run: RunFolder, claims: pl.DataFrame) -> None:
    run.write_table("tables/claims", claims)
    with replacing(run / "tables/claims.csv") as partial:
        claims.write_csv(partial)
    text = claims_table.as_text(claims)
    if text is not None:
        with replacing(run / "tables/claims.tex") as partial:
            partial.write_text(
                to_latex(text, "claims", "The claims of Zhao, Schuller and Sisman (2026) on each corpus."),
                encoding="utf-8",
            )


def _study(whole: Whole) -> str:
    path = whole.folder / "study.toml"
    return path.read_text(encoding="utf-8") if path.is_file() else ""
