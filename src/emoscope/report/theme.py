"""The look of the figures in light and in dark, and how a chart becomes an SVG."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, astuple, dataclass
from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from textwrap import wrap
from typing import IO, TYPE_CHECKING, Any, Self, TypeAlias, cast

from emoscope.runs.folder import replacing

if TYPE_CHECKING:
    import altair as alt
    from altair.typing import ChartType

# Altair is imported late: a process that only draws what others specified does without it
Chart: TypeAlias = "ChartType"
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
    from altair.utils.schemapi import debug_mode

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
    import altair as alt

    lines = wrap(how_to_read, 100, break_long_words=False, break_on_hyphens=False)  # Vega breaks no lines
    return alt.TitleParams(text, subtitle=lines or [""])


def titled(chart: Chart, heading: alt.TitleParams | str) -> Chart:
    """The chart, which was just made, with a title: Altair's ``properties`` would build all that is in it anew."""
    chart.title = heading
    return chart


def title_of(chart: Chart) -> tuple[str, str]:
    """The title of a chart and its line on how to read it."""
    return str(chart.title.text), " ".join(chart.title.subtitle)


def to_svg(spec: dict[str, Any], theme: Theme = LIGHT, prefix: str = "id") -> str:
    """Draw a specification as SVG text; the same specification always gives the same text.

    Args:
        prefix: put before the ids inside the SVG, which must be unique on a page that holds several.
    """
    import vl_convert

    return _rendered(vl_convert.vegalite_to_vega(in_theme(spec, theme)), prefix)


def _rendered(compiled: dict[str, Any], prefix: str) -> str:
    """A specification in Vega, to which Vega-Lite compiles, as SVG text."""
    import vl_convert

    svg: str = vl_convert.vega_to_svg(compiled)
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


@dataclass(frozen=True)
class Pictures:
    """A figure as its files and as a page shows it, without a title; texts are empty where they are not wanted."""

    svg: str = ""
    pdf: str = ""  # in base64
    light: str = ""
    dark: str = ""


def pictures(spec: dict[str, Any], name: str, files: bool, on_page: bool) -> Pictures:
    """Draw a figure for its files and in both themes; it is compiled once, as neither title nor colours matter there.

    Args:
        name: of the figure; the ids in its pictures begin with it, as a page holds several.
    """
    import vl_convert

    compiled = vl_convert.vegalite_to_vega(spec)
    svg = _rendered(compiled, "id") if files else ""
    pdf = base64.b64encode(to_pdf(svg)).decode() if files else ""
    if not on_page:
        return Pictures(svg, pdf)
    bare = {key: part for key, part in compiled.items() if key != "title"}  # a page writes it beside the picture
    of_light, of_dark = (f"{name}-{theme.name}-" for theme in (LIGHT, DARK))
    light = _rendered(bare, of_light)
    if mixes_colours(spec):
        dark = _rendered(in_theme(bare, DARK), of_dark)
    else:
        dark = recoloured(light, DARK).replace(of_light, of_dark)
    return Pictures(svg, pdf, light, dark)


KEPT = "cache/figures.json"
"""Where a run keeps its figures as they were drawn: hash of all that decides how they look -> checksum, and the pictures."""


class Drawing:
    """Draws figures one after the other in a process of its own, while this one makes the next figures and tables.

    The converter holds the interpreter's lock, so a thread would not do. Where no process starts, or it ends early,
    this one draws. It ends with this one, whatever ends it: nothing is left to read.

    Args:
        ahead: whether the process starts at once, as starting takes a while, or with the first figure.
    """

    def __init__(self, ahead: bool = True) -> None:
        self._one_by_one, self._ended = ThreadPoolExecutor(1), False
        self._process: subprocess.Popen[str] | None = None
        self._begun = False
        self._kept: dict[str, Pictures] = {}
        self._wanted: dict[str, Future[Pictures]] = {}
        if ahead:
            self._begin()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            with suppress(OSError):
                self._process = _drawing_process()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self._ended = True
        if self._process:  # whoever waits for a picture goes on
            self._process.kill()
        self._one_by_one.shutdown(cancel_futures=True)
        if self._process:
            self._process.communicate()

    @contextmanager
    def keeping(self, path: Path) -> Iterator[None]:
        """Meanwhile draw only what is not kept in a file (:data:`KEPT`), and keep in it what was wanted, and nothing else."""
        self._kept, self._wanted = _read_kept(path), {}
        yield
        if self._wanted.keys() != self._kept.keys():
            made = {key: astuple(future.result()) for key, future in self._wanted.items()}
            with replacing(path) as partial:
                partial.write_text(json.dumps({key: [_checksum(*each), *each] for key, each in made.items()}))

    def draw(self, spec: dict[str, Any], name: str, files: bool, on_page: bool) -> Future[Pictures]:
        """What :func:`pictures` returns, once it is drawn; at once where it is kept."""
        key, found = _checksum(_version(), json.dumps([spec, name, files, on_page])), Future[Pictures]()
        if key in self._kept:
            found.set_result(self._kept[key])
        else:
            self._begin()
            found = self._one_by_one.submit(self._drawn, spec, name, files, on_page)
        self._wanted[key] = found
        return found

    def _drawn(self, *figure: Any) -> Pictures:
        if self._process:
            to, back = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
            with suppress(OSError, ValueError):  # a closed pipe; half a line, or none
                print(json.dumps(figure), file=to, flush=True)
                return Pictures(**json.loads(back.readline()))
            self._process.kill()
        if self._ended:
            raise CancelledError
        return pictures(*figure)


def _read_kept(path: Path) -> dict[str, Pictures]:
    """The figures that a file keeps, without those that are damaged."""
    with suppress(OSError, ValueError, TypeError, AttributeError):  # it is not there, or holds something else
        found = json.loads(path.read_text(encoding="utf-8"))
        return {key: Pictures(*each) for key, (known, *each) in found.items() if known == _checksum(*each)}
    return {}


def _checksum(*texts: str) -> str:
    return sha256("\0".join(texts).encode()).hexdigest()


@cache
def _version() -> str:
    """Hash of what draws: this module, and the libraries that it calls."""
    from importlib.metadata import version

    return _checksum(Path(__file__).read_text(encoding="utf-8"), *map(version, ("vl-convert-python", "pypdf")))


def _drawing_process() -> subprocess.Popen[str]:
    """A process that draws what is written to it; it finds packages where this one does, and none where it starts."""
    command = [sys.executable, "-c", f"from {__name__} import draw_lines; draw_lines()"]
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONSAFEPATH": "1"}
    pipe, nothing = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(command, env=paths, stdin=pipe, stdout=pipe, stderr=nothing, text=True)


def draw_lines() -> None:
    """Draw the figures that stand on the standard input, arguments of :func:`pictures` as JSON, and answer line by line."""
    import vl_convert

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches this process, too: the other one ends it
    to_pdf(vl_convert.vegalite_to_svg({"mark": "point", "data": {"values": []}}))  # the first picture takes long
    for line in sys.stdin:
        print(json.dumps(asdict(pictures(*json.loads(line)))), flush=True)


def to_png(chart: Chart, scale: float = 2.0) -> bytes:
    """Draw a chart as a PNG on white."""
    import vl_convert

    return bytes(vl_convert.vegalite_to_png(to_spec(chart), scale=scale))
