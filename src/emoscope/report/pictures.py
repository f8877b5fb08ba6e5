"""A chart as a page shows it, light and dark, and as the files that lie beside the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoscope.report.markup import lean
from emoscope.report.theme import DARK, LIGHT, mixes_colours, recoloured, title_of, to_pdf, to_png, to_spec, to_svg
from emoscope.runs.folder import replacing


@dataclass(frozen=True)
class Picture:
    """A chart as a notebook shows it: a drawn PNG, so that nothing is loaded and no script runs.

    Attributes:
        chart: the Altair chart, to change it further.
    """

    chart: Any

    def save(self, path: str | Path) -> Path:
        """Write the picture; the ending decides between ``.svg``, ``.pdf`` and ``.png``.

        Raises:
            ValueError: another ending.
        """
        path = Path(path)
        draw = {
            ".svg": lambda: to_svg(to_spec(self.chart)).encode(),
            ".pdf": lambda: to_pdf(to_svg(to_spec(self.chart))),
            ".png": lambda: to_png(self.chart),
        }
        if path.suffix.lower() not in draw:
            raise ValueError(f"{path}: a picture is written as {', '.join(draw)}; give one of these endings")
        content = draw[path.suffix.lower()]()
        with replacing(path) as partial:
            partial.write_bytes(content)
        return path

    def to_dict(self) -> dict[str, Any]:
        """The chart's Vega-Lite specification."""
        spec: dict[str, Any] = self.chart.to_dict()
        return spec

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        png = to_png(self.chart, scale=SCALE)
        # bytes 16 to 24 of a PNG are its width and height
        width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))
        return png, {"width": round(width / SCALE), "height": round(height / SCALE)}

    def __repr__(self) -> str:
        return f"Picture({title_of(self.chart)[0]!r}; .save(path) writes it, .chart is the Altair chart)"


SCALE = 2
"""Pixels of a PNG per unit of its size on the screen."""


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
