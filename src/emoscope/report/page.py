"""How a page is made: its figures are drawn, its tables filled, and both set into a template of this package."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import polars as pl
from altair.utils.schemapi import debug_mode

from emoscope.report.markup import pictures, to_html, to_latex
from emoscope.runs.folder import replacing

Shown = TypeVar("Shown")
"""What a page is about, such as a run with its tables."""

NARROW = 620
"""Pictures up to this width in pixels are shrunk to a phone's page; wider ones are scrolled, so that they stay legible."""


@dataclass(frozen=True)
class Figure(Generic[Shown]):
    """A figure of a page.

    Attributes:
        name: of its files, and its anchor.
        draw: makes an Altair chart; ``None`` where there is nothing to show.
        missing: why there may be nothing to show, for the page to say.
        on_page: whether the page shows it; otherwise its files alone are written.
    """

    name: str
    draw: Callable[[Shown], Any | None]
    missing: str = ""
    on_page: bool = True


@dataclass(frozen=True)
class Table(Generic[Shown]):
    """A table of a page.

    Attributes:
        name: of its files, and its anchor.
        fill: makes a frame of texts; ``None`` where there is nothing to show.
        caption: in sentences, for the page and for LaTeX.
    """

    name: str
    fill: Callable[[Shown], pl.DataFrame | None]
    caption: str


def draw_figure(figure: Figure[Shown], about: Shown, folder: Path | None = None) -> dict[str, str]:
    """Draw a figure.

    Args:
        figure: what to draw.
        about: what it is drawn from.
        folder: receives ``<name>.svg`` and ``<name>.pdf``, and loses those of an earlier page; without it no file is written.

    Returns:
        ``title``, ``how`` (to read it) and, where the page shows it, ``light`` and ``dark`` (SVG) and ``size``
        (``narrow`` or ``wide``); or ``missing``, why there is none.
    """
    if folder is not None:
        folder.mkdir(exist_ok=True)
        for ending in ("svg", "pdf"):
            (folder / f"{figure.name}.{ending}").unlink(missing_ok=True)
    with debug_mode(False):  # the specifications are checked by the tests, not again on every page
        chart = figure.draw(about)
    if chart is None:
        return {"missing": figure.missing}
    drawn = pictures(chart, figure.name, folder, shown=figure.on_page)
    if not figure.on_page:
        return drawn
    width = re.search(r'<svg[^>]* width="([\d.]+)"', drawn["light"])
    return {**drawn, "size": "narrow" if width and float(width[1]) <= NARROW else "wide"}


def draw_those_there(figures: Iterable[Figure[Shown]], about: Shown) -> dict[str, dict[str, str]]:
    """Name to drawn figure, without files, of those that have something to show."""
    drawn = {figure.name: draw_figure(figure, about) for figure in figures}
    return {name: found for name, found in drawn.items() if "missing" not in found}


def fill_table(table: Table[Shown], about: Shown, folder: Path, csv: bool = False) -> dict[str, str] | None:
    """Fill a table and write it as LaTeX; that of an earlier page goes where there is nothing to show.

    Args:
        table: what to fill.
        about: what it is filled from.
        folder: receives ``<name>.tex``.
        csv: whether it receives ``<name>.csv``, too.

    Returns:
        ``caption`` and ``html``; ``None`` where there is nothing to show.
    """
    frame, path = table.fill(about), folder / f"{table.name}.tex"
    if frame is None:
        path.unlink(missing_ok=True)
        return None
    write_latex(frame, table.name, table.caption, path)
    if csv:
        write_csv(frame, path.with_suffix(".csv"))
    return {"caption": table.caption, "html": to_html(frame, table.name)}


def write_latex(frame: pl.DataFrame, name: str, caption: str, path: Path) -> None:
    """Write a table of texts as LaTeX, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(to_latex(frame, name, caption), encoding="utf-8")


def write_csv(frame: pl.DataFrame, path: Path) -> None:
    """Write a table as CSV, whole or not at all."""
    with replacing(path) as partial:
        frame.write_csv(partial)


def render(template: str, **values: object) -> str:
    """The HTML of a page.

    Args:
        template: a file of this package.
        values: every name that the template uses.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("emoscope.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template(template).render(**values)


def write_page(html: str, path: Path) -> Path:
    """Write a page, whole or not at all, and say where it is."""
    with replacing(path) as partial:
        partial.write_text(html, encoding="utf-8")
    return path
