"""The look of the figures in light and in dark, and how a chart becomes an SVG."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from io import BytesIO
from textwrap import wrap
from typing import Any, TypeAlias, cast

import altair as alt
from altair.typing import ChartType
from altair.utils.schemapi import debug_mode

Chart: TypeAlias = ChartType
"""Any chart of Altair: single, layered, side by side."""

FONT = "Helvetica Neue, Helvetica, Arial, sans-serif"


@dataclass(frozen=True)
class Theme:
    """Colours of a figure; charts are made in :data:`LIGHT` and recoloured when they are drawn.

    Attributes:
        ink, muted, line: text, secondary text and controls, grid lines.
        accent: the one colour, for what the study selected.
        page: what stands behind the figure.
        diverging: from most negative over zero to most positive; readable without red-green vision.
        sequential: from nothing to most.
        on_strong: text on the strongest cells.
    """

    name: str
    ink: str
    muted: str
    line: str
    accent: str
    page: str
    diverging: tuple[str, ...]
    sequential: tuple[str, ...]
    on_strong: str


LIGHT = Theme(
    name="light", ink="#1f2328", muted="#7a828c", line="#e3e6ea", accent="#1c6a94", page="#ffffff",
    diverging=("#9c430c", "#dd8a49", "#f5dcc5", "#f7f7f6", "#cfe1ee", "#66a3cb", "#1b6995"),
    sequential=("#f7f7f6", "#cfe1ee", "#66a3cb", "#1b6995"), on_strong="#ffffff",
)  # fmt: skip
DARK = Theme(
    name="dark", ink="#e6e8eb", muted="#8b949e", line="#30363d", accent="#6fb3de", page="#14171b",
    diverging=("#f2a970", "#b9662d", "#5c3a25", "#23282e", "#27465b", "#3d80ad", "#9bcdf0"),
    sequential=("#23282e", "#27465b", "#3d80ad", "#9bcdf0"), on_strong="#14171b",
)  # fmt: skip


def to_spec(chart: Chart, validate: bool = False) -> dict[str, Any]:
    """The Vega-Lite specification of a chart, with the fonts and colours of the light theme.

    With ``validate`` it is checked against the schema of Vega-Lite: slow, so left to the tests.
    """
    with debug_mode(validate):
        spec: dict[str, Any] = chart.to_dict(validate=validate)
    plain = {"labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal"}
    plain |= {"labelLimit": 260, "titleLimit": 320, "labelColor": LIGHT.ink, "titleColor": LIGHT.muted}
    lines = {"gridColor": LIGHT.line, "domainColor": LIGHT.line, "tickColor": LIGHT.line, "titlePadding": 8}
    lines |= {"maxExtent": 400, "labelSeparation": 4}  # long names push the axis title aside; labels keep apart
    # set on the finished dictionary: every configure_ method of Altair copies the whole chart
    spec["config"] = {
        "background": LIGHT.page, "font": FONT, "padding": 4, "view": {"stroke": None}, "concat": {"spacing": 28},
        "axis": plain | lines, "legend": plain | {"gradientLength": 140},
        "title": {
            "anchor": "start", "fontSize": 15, "fontWeight": 600, "color": LIGHT.ink, "subtitleColor": LIGHT.muted,
            "subtitleFontSize": 12, "subtitlePadding": 5, "offset": 14,
        },
    }  # fmt: skip
    return spec


def in_theme(spec: dict[str, Any], theme: Theme) -> dict[str, Any]:
    """A specification with the colours of the light theme exchanged for those of another one.

    Example:
        >>> in_theme({"color": LIGHT.accent}, DARK) == {"color": DARK.accent}
        True
    """
    exchanged: dict[str, Any] = spec if theme is LIGHT else json.loads(recoloured(json.dumps(spec), theme))
    return exchanged


def mixes_colours(spec: dict[str, Any]) -> bool:
    """Whether a picture holds colours between those of its theme, as matrices do."""
    return '"interpolate"' in json.dumps(spec)


def recoloured(svg: str, theme: Theme) -> str:
    """A picture drawn in the light theme in the colours of another, much faster than drawing it anew.

    Right for pictures that do not mix colours (:func:`mixes_colours`).

    Example:
        >>> recoloured(f'<path fill="{LIGHT.ink}"/>', DARK) == f'<path fill="{DARK.ink}"/>'
        True
    """
    light, other = (re.findall(r"#\w{6}", str(colours)) for colours in (LIGHT, theme))
    colours = dict(zip(light, other, strict=True))
    return re.sub("|".join(colours), lambda found: colours[found[0]], svg)


def title(text: str, how_to_read: str) -> alt.TitleParams:
    """The title of a figure: what it shows, and below it one line on how to read it."""
    lines = wrap(how_to_read, 100, break_long_words=False, break_on_hyphens=False)  # Vega breaks no lines
    return alt.TitleParams(text, subtitle=lines or [""])


def title_of(chart: Chart) -> tuple[str, str]:
    """The title of a chart and its line on how to read it."""
    return str(chart.title.text), " ".join(chart.title.subtitle)


def to_svg(spec: dict[str, Any], theme: Theme = LIGHT, prefix: str = "id", titled: bool = True) -> str:
    """Draw a specification as SVG text; the same specification always gives the same text.

    Args:
        prefix: put before the ids inside the SVG, which must be unique on a page that holds several.
        titled: keep the title inside the picture; a page writes it beside the picture instead.
    """
    import vl_convert

    shown = {name: part for name, part in spec.items() if titled or name != "title"}
    svg: str = vl_convert.vegalite_to_svg(in_theme(shown, theme))
    # Vega numbers ids over all pictures that a process draws, so they are numbered anew
    names = {old: f"{prefix}{n}" for n, old in enumerate(dict.fromkeys(re.findall(r'\bid="([^"]+)"', svg)))}
    svg = re.sub(r'\bid="([^"]+)"', lambda found: f'id="{names[found[1]]}"', svg)
    return re.sub(r"url\(#([^)]+)\)", lambda found: f"url(#{names.get(found[1], found[1])})", svg)


def to_pdf(svg: str) -> bytes:
    """A picture that :func:`to_svg` drew as a PDF of one page, with its fonts; the same picture gives the same bytes."""
    import vl_convert
    from pypdf import PdfReader, PdfWriter
    from pypdf.generic import DictionaryObject, NameObject

    writer = PdfWriter()
    # the converter numbers fonts in an order that changes from call to call; the writer numbers what it meets
    page = PdfReader(BytesIO(vl_convert.svg_to_pdf(svg))).pages[0]
    resources = cast(DictionaryObject, page["/Resources"])
    for kind, found in resources.items():
        if isinstance(found, DictionaryObject):
            resources[NameObject(kind)] = DictionaryObject({name: found.raw_get(name) for name in sorted(found)})
    writer.add_page(page)
    written = BytesIO()
    writer.write(written)
    return written.getvalue()


def to_png(chart: Chart, scale: float = 2.0) -> bytes:
    """Draw a chart as a PNG on white."""
    import vl_convert

    return bytes(vl_convert.vegalite_to_png(to_spec(chart), scale=scale))
