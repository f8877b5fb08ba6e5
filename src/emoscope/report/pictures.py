"""A chart as a page shows it, light and dark, and as the files that lie beside the page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from emoscope.report.markup import lean
from emoscope.report.theme import DARK, LIGHT, mixes_colours, recoloured, title_of, to_pdf, to_spec, to_svg
from emoscope.runs.folder import replacing


def pictures(chart: Any, name: str, folder: Path | None = None, shown: bool = True) -> dict[str, str]:
    """Draw a chart.

    Args:
        chart: an Altair chart with a title.
        name: of its files, and the beginning of the ids in its pictures.
        folder: receives ``<name>.svg`` and ``<name>.pdf``; without it no file is written.
        shown: whether the page shows it.

    Returns:
        ``title``, ``how`` (to read it) and, where it is shown, ``light`` and ``dark`` (SVG).
    """
    heading, how = title_of(chart)
    spec = to_spec(chart)
    if folder is not None:
        svg = to_svg(spec)
        with replacing(folder / f"{name}.svg") as partial:
            partial.write_text(svg, encoding="utf-8")
        with replacing(folder / f"{name}.pdf") as partial:
            partial.write_bytes(to_pdf(svg))
    if not shown:
        return {"title": heading, "how": how}
    light = to_svg(spec, LIGHT, prefix=f"{name}-light-", titled=False)
    dark = (
        to_svg(spec, DARK, prefix=f"{name}-dark-", titled=False)
        if mixes_colours(spec)
        else recoloured(light, DARK).replace(f"{name}-light-", f"{name}-dark-")
    )
    return {"title": heading, "how": how, "light": lean(light, heading), "dark": lean(dark, heading)}
