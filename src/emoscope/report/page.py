"""How a page is made: its figures are drawn, its tables filled, and both set into a template of this package."""

from __future__ import annotations

import base64
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import polars as pl
from altair.utils.schemapi import debug_mode

from emoscope.analysis.parts import Part, StudyRuns
from emoscope.report.markup import lean, to_html, to_latex
from emoscope.report.theme import Chart, Drawing, Pictures, pictures, title_of, to_spec
from emoscope.runs.folder import replacing
from emoscope.vocabulary import MAIN

NARROW = 620
"""Pictures up to this width in pixels are shrunk to a phone's page; wider ones are scrolled, so that they stay legible."""

Pages = Literal["run", "study", "both"]
"""Which pages show something: that of one run, of a study of several parts, or both."""


@dataclass(frozen=True)
class Figure:
    """A figure of a page.

    Attributes:
        name: of its files, and its anchor.
        draw: makes an Altair chart; ``None`` where there is nothing to show. It takes what the page is about: a part
            (``pages="run"``) or a study, which for a run holds it alone.
        missing: why there may be nothing to show, for the page to say; where empty, nothing is said.
        on_page: whether the page shows it; otherwise its files alone are written.
    """

    name: str
    draw: Callable[[Any], Chart | None]
    missing: str = ""
    pages: Pages = "run"
    on_page: bool = True


@dataclass(frozen=True)
class Table:
    """A table of a page.

    Attributes:
        name: of its files, and its anchor.
        fill: makes a frame of texts; ``None`` where there is nothing to show. It takes what ``Figure.draw`` takes.
        caption: in sentences, for the page and for LaTeX.
        missing: why there is nothing to show; where empty, nothing is said.
        folded: what to click to see it; where empty, it is seen at once.
        files: whether it is also written beside the page; not where it tells times, which no two runs share.
    """

    name: str
    fill: Callable[[Any], pl.DataFrame | None]
    caption: str
    pages: Pages = "run"
    missing: str = ""
    folded: str = ""
    files: bool = True


@dataclass(frozen=True)
class Note:
    """Sentences between figures and tables.

    Attributes:
        say: the sentences, none where there is nothing to say. It takes what ``Figure.draw`` takes.
    """

    say: Callable[[Any], Sequence[str] | str | None]
    pages: Pages = "run"


Item = Figure | Table | Note
Computed = pl.DataFrame | tuple[pl.DataFrame, Sequence[str]]
"""A result table, or one with notes on what could not be computed."""


@dataclass(frozen=True)
class Question:
    """A research question: what is computed for it, and what pages show.

    Attributes:
        section: the section of the page, one of :data:`emoscope.chapters.SECTIONS`.
        place: its questions are shown in the order of these numbers.
        items: what is shown, in order.
        says: what the section says first, from a study, which for a run holds it alone; ``says_on``: on which pages.
        tables: name -> computes a result table from a part.
        study_tables: the same from a study of several parts; later ones may read earlier ones.
    """

    section: str
    place: int
    items: tuple[Item, ...] = ()
    says: Callable[[StudyRuns], Sequence[str]] | None = None
    says_on: Pages = "study"
    tables: Mapping[str, Callable[[Part], Computed]] = field(default_factory=dict)
    study_tables: Mapping[str, Callable[[StudyRuns], pl.DataFrame]] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """A section of a page: an anchor, a few words for a heading, and what it asks; ``roles``: whose reports tell more."""

    id: str
    title: str
    asks: str
    roles: tuple[str, ...] = (MAIN,)


def draw_figure(figure: Figure, about: object, folder: Path | None = None) -> dict[str, str]:
    """Draw a figure.

    Args:
        folder: receives ``<name>.svg`` and ``<name>.pdf``, and loses those of an earlier page; without it no file is written.

    Returns:
        ``title``, ``how`` (to read it) and, where the page shows it, ``light`` and ``dark`` (SVG) and ``size``
        (``narrow`` or ``wide``); or ``missing``, why there is none.
    """
    return begin_figure(figure, about, folder)()


def begin_figure(
    figure: Figure, about: object, folder: Path | None, drawing: Drawing | None = None
) -> Callable[[], dict[str, str]]:
    """Begin what :func:`draw_figure` does; what is returned ends it.

    Args:
        drawing: where the figure is drawn in the meantime; without it, by this process when it is ended.
    """
    if folder is not None:
        folder.mkdir(exist_ok=True)
    with debug_mode(False):  # the specifications are checked by the tests, not again on every page
        chart = figure.draw(about)
    if chart is None:
        for path in [folder / f"{figure.name}.{ending}" for ending in ("svg", "pdf")] if folder else []:
            path.unlink(missing_ok=True)
        return lambda: {"missing": figure.missing}
    wanted = to_spec(chart), figure.name, folder is not None, figure.on_page
    drawn = drawing.draw(*wanted).result if drawing else partial(pictures, *wanted)
    return partial(_shown, *title_of(chart), figure.name, drawn, folder)


def _shown(heading: str, how: str, name: str, drawn: Callable[[], Pictures], folder: Path | None) -> dict[str, str]:
    """Write a drawn figure's files, and say what a page shows."""
    found = drawn()
    if folder is not None:
        write_text(found.svg, folder / f"{name}.svg")
        write_bytes(base64.b64decode(found.pdf), folder / f"{name}.pdf")
    if not found.light:
        return {"title": heading, "how": how}
    width = re.search(r'<svg[^>]* width="([\d.]+)"', found.light)
    size = "narrow" if width and float(width[1]) <= NARROW else "wide"
    return {"title": heading, "how": how, "size": size} | {
        "light": lean(found.light, heading), "dark": lean(found.dark, heading)
    }  # fmt: skip


def draw_those_there(figures: Iterable[Figure], about: object) -> dict[str, dict[str, str]]:
    """Name to drawn figure, without files, of those that have something to show."""
    drawn = {figure.name: draw_figure(figure, about) for figure in figures}
    return {name: found for name, found in drawn.items() if "missing" not in found}


def fill_table(table: Table, about: object, folder: Path, csv: bool = False) -> dict[str, str] | None:
    """Fill a table and write it to a folder as ``<name>.tex`` and, with ``csv``, as ``<name>.csv``.

    Where there is nothing to show, the LaTeX of an earlier page goes.

    Returns:
        ``caption`` and ``html``; ``None`` where there is nothing to show.
    """
    frame, latex = table.fill(about), folder / f"{table.name}.tex"
    if frame is None or not table.files:
        latex.unlink(missing_ok=True)
    if frame is None:
        return None
    if table.files:
        write_text(to_latex(frame, table.name, table.caption), latex)
        if csv:
            write_csv(frame, folder / f"{table.name}.csv")
    return {"caption": table.caption, "html": to_html(frame, table.name)}


def write_csv(frame: pl.DataFrame, path: Path) -> None:
    """Write a table as CSV, whole or not at all."""
    write_text(frame.write_csv(), path)


def render(template: str, **values: object) -> str:
    """The HTML of a page, from a template of this package and every name that it uses."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("emoscope.report", ".")
    templates = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return templates.get_template(template).render(**values)


def read_data(name: str) -> dict[str, Any]:
    """What a file of the package's data holds, such as the words of the report and what they mean: ``glossary.toml``."""
    return tomllib.loads((files("emoscope") / "data" / name).read_text(encoding="utf-8"))


def write_text(text: str, path: Path) -> Path:
    """Write a page, a picture or a table as text, whole or not at all, and say where it is."""
    return write_bytes(text.encode(), path)


def write_bytes(content: bytes, path: Path) -> Path:
    """Write a file, whole or not at all, unless it holds just that, and say where it is."""
    if not (path.is_file() and path.read_bytes() == content):
        with replacing(path) as partial:
            partial.write_bytes(content)
    return path
