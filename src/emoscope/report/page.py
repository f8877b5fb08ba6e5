"""The report: one HTML file that holds everything it shows and loads nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from altair.utils.schemapi import debug_mode

from emoscope.analysis.tables import Tables, write_tables
from emoscope.report import caveats, factors, methods, outcome_tables, provenance, sentences, set_tables
from emoscope.report.charts import FIGURES, main_figure
from emoscope.report.content import Content, number, open_content
from emoscope.report.glossary import GLOSSARY
from emoscope.report.markup import to_html, to_latex
from emoscope.report.pictures import pictures
from emoscope.report.tables import TABLES
from emoscope.runs.folder import replacing

__all__ = ["FIGURES", "build_report", "main_figure", "render"]

NOT_OFF, NOT_AMPLIFIED, NO_SETS = "no set was switched off", "no set was amplified", "no neuron sets are stored"
MISSING = {
    "recall": "baseline answers", "confusion": "baseline answers", "deactivation": NOT_OFF, "flows": NOT_OFF,
    "evidence": "the options’ probabilities under sets that were switched off", "gaps": NOT_OFF,
    "reliance": "no MLP layer was switched off", "steering": NOT_AMPLIFIED, "dose": NOT_AMPLIFIED,
    "agnostic": "nothing was amplified without a label", "budgets": "the headline’s selector was switched off at one budget alone",
    "factors": "nothing was switched off or amplified next to matched neurons", "efficiency": "neurons were not found from fewer clips",
    "selectors": "fewer than two selectors were switched off", "stability": "no sets of two or more folds to compare",
    "positions": "neurons were not switched off by position", "ranges": "sets were not restricted to ranges of layers", "profile": "neurons were not switched off layer by layer",
    "layers": NO_SETS, "layers_by_emotion": NO_SETS, "main": NOT_OFF,
}  # fmt: skip
"""Why a run lacks a figure."""

CLAIMS = ("claims", "verdicts", "tests")
"""Tables that a pilot, which supports no claim, does not show."""


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
    figures = content.run.folder / "figures"
    figures.mkdir(exist_ok=True)
    shown: dict[str, dict[str, str]] = {}
    for name, draw in FIGURES.items():
        for end in ("svg", "pdf"):
            (figures / f"{name}.{end}").unlink(missing_ok=True)
        shown[name] = _figure(content, name, draw, figures)
        if step:
            step()
    path = content.run.folder / "report.html"
    with replacing(path) as partial:
        partial.write_text(render(content, shown, _tables(content)), encoding="utf-8")
    return path


def render(
    content: Content, figures: Mapping[str, Mapping[str, str]], tables: Mapping[str, Mapping[str, str] | None]
) -> str:
    """The page's HTML.

    Args:
        content: what the report shows.
        figures: name to ``title``, ``how``, ``light`` and ``dark`` (SVG), or ``missing`` (why there is none).
        tables: name to ``caption`` and ``html``, or ``None`` where the run has nothing to fill it with.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("emoscope.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    records = {
        name: None if frame is None else {"html": to_html(frame, name)}
        for name, frame in (
            ("counts", provenance.counts(content)), ("proofs", provenance.proofs(content)),
            ("environment", provenance.environment(content)),
        )
    }  # fmt: skip
    return environment.get_template("template.html").render(
        name=provenance.study_name(content), subject=provenance.subject(content), standing=caveats.standing(content),
        pilot=content.pilot, headline=sentences.headline(content), missing=_missing(content),
        figures=figures, tables={**tables, **records},
        matching={kind: caveats.matching(content, kind) for kind in ("deactivate", "steer")},
        rank={kind: caveats.rank(content, kind) for kind in ("deactivate", "steer")}, null=provenance.null(content), notes=factors.notes(content),
        percept=outcome_tables.percept(content),
        no_interval=_no_interval(content), reliance=_reliance(content), identifiable=provenance.identifiable(content),
        tokens=set_tables.SHOWN_TOKENS, methods=methods.paragraph(content), bibtex=methods.bibtex(content),
        told=provenance.told(content), study=provenance.study(content), limits=caveats.limits(content), glossary=GLOSSARY,
        version=content.run.manifest.get("emoscope", ""),
    )  # fmt: skip


def _tables(content: Content) -> dict[str, dict[str, str] | None]:
    """Fill every table, write it as LaTeX beside the CSV, and return it as HTML."""
    shown: dict[str, dict[str, str] | None] = {}
    folder = content.run.folder / "tables"
    folder.mkdir(exist_ok=True)
    for name, (fill, caption) in TABLES.items():
        frame, path = fill(content), folder / f"{name}.tex"
        if content.pilot is not None and name in CLAIMS:
            frame = None
        if frame is None:
            path.unlink(missing_ok=True)
            shown[name] = None
            continue
        with replacing(path) as partial:
            partial.write_text(to_latex(frame, name, caption), encoding="utf-8")
        shown[name] = {"caption": caption, "html": to_html(frame, name)}
    return shown


def _figure(content: Content, name: str, draw: Callable[..., Any], folder: Path) -> dict[str, str]:
    with debug_mode(False):  # the specifications are checked by the tests, not again in every report
        chart = draw(content)
    if chart is None:
        return {"missing": MISSING[name]}
    # the page shows the full set of matrices instead of the main one
    return pictures(chart, name, folder, shown=name != "main")


def _missing(content: Content) -> list[str]:
    files = [f"{name} is not in the run folder" for name in content.run.missing]
    return [*files, *content.tables.notes]


def _no_interval(content: Content) -> str | None:
    reasons = content.tables.uar.filter(content.tables.uar["condition"] == "baseline")["reason"].drop_nulls()
    return f"No intervals: {reasons[0]}." if len(reasons) else None


def _reliance(content: Content) -> str | None:
    found = content.tables.reliance.filter(content.tables.reliance["layers"] == "all")
    if found.is_empty():
        return None
    row = found.row(0, named=True)
    return (
        f"With every MLP layer off, UAR is {number(row['uar'])} %, and {number(row['commonest_share'], 0)} % of the answers are "
        f"“{row['commonest']}”. This is a reference line, not an upper bound: with all layers off the model may no longer know "
        "which letter stands for what."
    )
