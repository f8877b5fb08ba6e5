"""Pictures that a process of its own draws are those that this process would draw, whatever becomes of it."""

import os
import signal
import sys
from concurrent.futures import CancelledError

import pytest

from emoscope.report import theme
from emoscope.report.theme import Drawing, pictures

BARS = {
    "title": "two bars",
    "data": {"values": [{"x": "a", "y": 1}, {"x": "b", "y": 2}]},
    "mark": {"type": "bar", "color": theme.LIGHT.accent},
    "encoding": {"x": {"field": "x"}, "y": {"field": "y", "type": "quantitative"}},
}
MIXED = BARS | {
    "encoding": BARS["encoding"]
    | {"color": {"field": "y", "scale": {"range": list(theme.LIGHT.sequential), "interpolate": "rgb"}}}
}


@pytest.mark.parametrize("spec", [BARS, MIXED], ids=["recoloured", "drawn anew"])
def test_a_figure_is_the_same_whoever_draws_it(spec):
    with Drawing() as drawing:
        found = [drawing.draw(spec, "bars", *wanted) for wanted in ((True, True), (True, False), (False, True))]
        every, files, shown = (one.result() for one in found)
        assert drawing._process.poll() is None
    assert every == pictures(spec, "bars", True, True)
    assert (files.svg, files.pdf, files.light) == (every.svg, every.pdf, "")
    assert (shown.svg, shown.pdf, shown.light, shown.dark) == ("", "", every.light, every.dark)
    assert every.svg == theme.to_svg(spec)
    untitled = {name: part for name, part in spec.items() if name != "title"}
    assert every.light == theme.to_svg(untitled, theme.LIGHT, "bars-light-")
    assert every.dark == theme.to_svg(untitled, theme.DARK, "bars-dark-")


def test_where_no_process_starts_this_one_draws(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with Drawing() as drawing:
        assert drawing.draw(BARS, "bars", True, True).result() == pictures(BARS, "bars", True, True)


def test_a_process_that_ends_early_costs_no_figure():
    with Drawing() as drawing:
        first = drawing.draw(BARS, "bars", False, True).result()
        os.kill(drawing._process.pid, signal.SIGINT)  # as Ctrl-C: it is this process that decides
        assert drawing.draw(BARS, "bars", False, True).result() == first
        assert drawing._process.poll() is None
        drawing._process.kill()
        assert drawing.draw(BARS, "bars", False, True).result() == first


def test_what_waits_is_given_up_when_a_page_is_stopped():
    with Drawing() as drawing:
        waiting = [drawing.draw(BARS, "bars", True, True) for _ in range(20)]
    assert drawing._process.returncode == -signal.SIGKILL
    with pytest.raises(CancelledError):
        waiting[-1].result()


def test_what_is_kept_is_drawn_once_and_only_if_it_is_whole(tmp_path, monkeypatch):
    drawn, kept, draw = [], tmp_path / "cache" / "figures.json", Drawing._drawn
    monkeypatch.setattr(Drawing, "_drawn", lambda *of: drawn.append(of[2]) or draw(*of))

    def drawn_anew(wanted):
        drawn.clear()
        with Drawing(ahead=False) as drawing, drawing.keeping(kept):
            found = [drawing.draw(spec, name, False, True) for name, spec in wanted.items()]
            assert [one.result() for one in found] == [pictures(wanted[name], name, False, True) for name in wanted]
        assert (drawing._process is None) == (drawn == [])  # nothing starts for nothing
        return list(drawn)

    assert drawn_anew({"bars": BARS, "mixed": MIXED}) == ["bars", "mixed"]
    assert drawn_anew({"bars": BARS, "mixed": MIXED}) == []
    assert drawn_anew({"bars": MIXED, "mixed": MIXED}) == ["bars"]
    whole = kept.read_text()
    for wrong in (whole[:-9], "[]", '{"a": 1}', whole.replace("<path", "<paht", 1)):
        kept.write_text(wrong)
        assert drawn_anew({"bars": MIXED, "mixed": MIXED}) in (["bars"], ["bars", "mixed"])
        assert kept.read_text() == whole
    assert drawn_anew({"bars": MIXED}) == []
    assert len(kept.read_text()) < len(whole)
    monkeypatch.setattr(theme, "_version", lambda: "another")
    assert drawn_anew({"bars": MIXED}) == ["bars"]
