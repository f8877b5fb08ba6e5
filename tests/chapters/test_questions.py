"""Questions are found by themselves, those of other programs too, and each stands in a section of the pages."""

import polars as pl
import pytest

from emoscope import chapters
from emoscope.chapters import SECTIONS, questions, register_question
from emoscope.chapters.pages import build_report, figures, tables
from emoscope.chapters.results import study_tables, write_tables
from emoscope.report.page import Note, Question
from emoscope.report.page import Table as Shown
from emoscope.schemas import tables as declared
from tests.helpers.planted import THREE, write_run
from tests.helpers.program import figureless


def test_every_table_of_a_question_is_declared_and_computed_once():
    named = [name for one in questions() for name in one.tables]
    assert len(named) == len(set(named))
    assert {*named, *study_tables()} <= set(declared())
    order = [section.id for section in SECTIONS]
    places = [(order.index(one.section), one.place) for one in questions()]
    assert places == sorted(set(places)), "two questions at one place"


@pytest.mark.parametrize("page", ["run", "study"])
def test_names_are_used_once_on_a_page(page):
    for items in (figures(page), tables(page)):
        names = [one.name for one in items]
        assert len(names) == len(set(names))


def test_a_question_of_another_program_stands_on_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(chapters, "_REGISTERED", [])
    count = lambda part: pl.DataFrame({"what": ["clips"], "how many": [str(len(part.run.items))]})  # noqa: E731
    register_question(
        Question("which", 99, (Note(lambda part: "Asked elsewhere."), Shown("counted", count, "How many clips.")))
    )
    figureless(monkeypatch)
    page = build_report(write_tables(write_run(tmp_path, THREE, 5, 1, only=("baseline",)))).read_text(encoding="utf-8")
    assert "Asked elsewhere." in page
    assert 'id="table_counted"' in page


def test_a_question_registered_again_replaces_itself_and_a_place_that_is_on_no_page_is_refused(monkeypatch):
    monkeypatch.setattr(chapters, "_REGISTERED", [])
    before = len(questions())
    for _ in range(2):
        register_question(Question("which", 99))
    assert len(questions()) == before + 1
    with pytest.raises(ValueError, match="section 'nowhere' is not on any page: choose from model, which"):
        register_question(Question("nowhere", 1))
