"""Every figure says what it shows, in which units, and how to read it."""

import json
import re

import polars as pl
import pytest

from emoscope.analysis.load import read_run
from emoscope.analysis.parts import StudyRuns
from emoscope.chapters.answers import draw_confusion as confusion
from emoscope.chapters.deactivation import draw_deactivation as deactivation
from emoscope.chapters.deactivation import draw_evidence as evidence
from emoscope.chapters.deactivation import main_figure
from emoscope.chapters.pages import figures
from emoscope.chapters.results import compute_tables
from emoscope.report.markup import Picture
from emoscope.report.theme import DARK, LIGHT, in_theme, mixes_colours, recoloured, title_of, to_png, to_spec, to_svg
from emoscope.schemas import as_table, schema
from tests.helpers.planted import SEVEN, THREE, write_run


def drawing(figure):
    """Draws a figure of a run's page from its part."""
    return figure.draw if figure.pages == "run" else lambda part: figure.draw(StudyRuns.alone(part))


FIGURES = {one.name: drawing(one) for one in figures("run")}

UNIT = re.compile(
    r"\((%|points|AUC points|nat|gain − 1|number from the input|number of clips|count)\)|alpha|rank correlation"
)


def oracle_tables():
    """What a further command makes."""
    names = ("mad", "oracle", "random")
    ranks = [{"selector": name, "to": "zero", "among": "all asked", **ends("spearman", 0.2)} for name in names[:2]]
    areas = [{"selector": name, **ends("area", -0.2)} for name in names]
    return {"oracle_ranks": as_table("oracle_ranks", ranks), "oracle_areas": as_table("oracle_areas", areas)}


def ends(name, value):
    return {name: value, f"{name}_low": value - 0.1, f"{name}_high": value + 0.1}


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    part = compute_tables(read_run(write_run(tmp_path_factory.mktemp("run"), SEVEN, 6, 2)))
    return part.changed(**oracle_tables())


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return compute_tables(read_run(write_run(tmp_path_factory.mktemp("run"), THREE, 5, 4)))


def encodings(spec):
    """All position and colour encodings of a specification, however deeply layered."""
    if isinstance(spec, dict):
        yield from spec.get("encoding", {}).items()
        for part in spec.values():
            yield from encodings(part)
    elif isinstance(spec, list):
        for part in spec:
            yield from encodings(part)


@pytest.mark.parametrize("name", FIGURES)
def test_specification(content, name):
    spec = to_spec(FIGURES[name](content), validate=True)
    assert len(spec["title"]["text"]) > 20
    how = " ".join(spec["title"]["subtitle"])
    assert how.endswith(".")
    assert len(how) > 40
    axes = {"x": set(), "y": set()}
    for channel, encoding in encodings(spec):
        if channel in axes and "field" in encoding and "title" in encoding:
            axes[channel].add(encoding["title"])
            if encoding["type"] == "quantitative":
                assert UNIT.search(encoding["title"]), encoding
        if channel == "color" and encoding.get("type") == "quantitative":
            assert UNIT.search(encoding["title"]), encoding
    assert all(axes.values()), f"an axis of {name} has no title"
    assert not any(
        "field" in e and "title" not in e and e.get("type") == "quantitative" for c, e in encodings(spec) if c == "y"
    )


def test_matrices_are_centred_at_zero_and_alike(content):
    scales = [e["scale"] for c, e in encodings(to_spec(deactivation(content))) if c == "color" and "scale" in e]
    assert len(scales) == 4  # the headline's sets and three controls
    for scale in scales:
        assert scale == scales[0]
        assert scale["domain"][3] == 0
        assert scale["domain"] == [-one for one in reversed(scale["domain"])]


def test_every_row_of_an_axis_is_named_once(content):
    """Pictures side by side name their rows at the left only, and share their order."""
    axes = [e for c, e in encodings(to_spec(FIGURES["selectors"](content))) if c == "y" and e.get("type") == "nominal"]
    named = [e["axis"]["labels"] for e in axes]
    assert {True, False} == set(named)
    assert {tuple(e["scale"]["domain"]) for e in axes} == {("CAS", "LAP", "LAPE", "MAD")}


def test_the_band_holds_what_is_too_small_to_matter(content):
    spec = json.dumps(to_spec(evidence(content)))
    assert '"from": -2.0, "till": 2.0' in spec
    assert '"from": -0.1, "till": 0.1' in spec


def marked(content, **columns):
    """The content of a report whose matrix and effects are changed in some columns."""
    return content.changed(
        matrix=content.table("matrix").with_columns(
            **{k: pl.lit(v) for k, v in columns.items() if k in schema("matrix")}
        ),
        effects=content.table("effects").with_columns(
            **{k: pl.lit(v) for k, v in columns.items() if k in schema("effects")}
        ),
    )


def test_unreliable_conditions_are_drawn_hollow(small):
    for name in ("gaps", "positions", "dose"):
        full, unreliable = (to_svg(to_spec(FIGURES[name](marked(small, unreliable=one)))) for one in (False, True))
        empty = f'fill="{LIGHT.page}" stroke="{LIGHT.accent}"'
        assert empty not in full
        assert empty in unreliable
        assert "support no claim" in " ".join(title_of(FIGURES[name](marked(small, unreliable=True))))
    full, unreliable = (to_svg(to_spec(deactivation(marked(small, unreliable=one)))) for one in (False, True))
    assert full.count('stroke-dasharray="2,2"') == 0
    assert unreliable.count('stroke-dasharray="2,2"') == 4 * 9


def test_cells_clear_of_zero_are_bold(small):
    some, none = (to_svg(to_spec(deactivation(marked(small, change_q=q)))) for q in (0.04, 0.06))
    assert some.count('font-weight="700"') == none.count('font-weight="700"') + 4 * 9


def test_numbers_stand_in_the_cells(small):
    svg = to_svg(to_spec(confusion(small)))
    shares = small.table("confusion").filter(small.table("confusion")["scoring"] == "likelihood")["share"].to_list()
    for share in shares[:9]:
        assert f">{share:.0f}<" in svg


def test_main_figure_can_be_drawn(small):
    assert to_png(main_figure(small), scale=0.5).startswith(b"\x89PNG")


def test_ids_differ_between_pictures(small):
    first, second = (to_svg(to_spec(deactivation(small)), theme, prefix=theme.name) for theme in (LIGHT, DARK))
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert set(re.findall(r"url\(#([^)]+)\)", first)) <= ids[0]


def test_exchanging_colours_gives_what_drawing_in_the_dark_gives(small):
    for name in ("gaps", "dose", "layers"):
        spec = to_spec(FIGURES[name](small))
        assert not mixes_colours(spec)
        assert recoloured(to_svg(spec, LIGHT), DARK) == to_svg(spec, DARK)
    for name in ("confusion", "deactivation", "layers_by_emotion"):
        assert mixes_colours(to_spec(FIGURES[name](small)))


def test_no_light_colour_is_left_in_the_dark(small):
    light, dark = (json.dumps(in_theme(to_spec(deactivation(small)), theme)) for theme in (LIGHT, DARK))
    used = set(re.findall(r"#[0-9a-f]{6}", light))
    assert LIGHT.ink in used
    assert not used & set(re.findall(r"#[0-9a-f]{6}", dark))


def test_a_picture_shows_without_a_script_and_is_written_by_its_ending(small, tmp_path):
    picture = Picture(main_figure(small))
    png, size = picture._repr_png_()
    assert png.startswith(b"\x89PNG")
    assert 300 < size["width"] < 1200
    # nothing else is offered to a notebook, least of all Altair's own HTML, which loads a script
    assert not hasattr(picture, "_repr_mimebundle_")
    assert not hasattr(picture, "_repr_html_")
    assert "Switching off" in repr(picture)
    starts = {".svg": b"<svg", ".pdf": b"%PDF", ".png": b"\x89PNG"}
    for ending, start in starts.items():
        assert picture.save(tmp_path / f"effect{ending}").read_bytes().startswith(start)
    with pytest.raises(ValueError, match=r"effect.gif: a picture is written as .svg, .pdf, .png"):
        picture.save(tmp_path / "effect.gif")
