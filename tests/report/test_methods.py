"""What can be pasted into a paper is true of this run and cites what it uses."""

import dataclasses
import re

import polars as pl
import pytest

from emoscope.analysis.load import read_run
from emoscope.analysis.parts import Part, StudyRuns
from emoscope.chapters.results import compute_tables
from emoscope.chapters.sets import tabulate_sets as sets
from emoscope.report.caveats import standing
from emoscope.report.methods import bibtex, paragraph
from emoscope.wording import number
from tests.helpers.planted import SELECTORS, THREE, write_run


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return compute_tables(read_run(write_run(tmp_path_factory.mktemp("run"), THREE, 5, 2)))


def test_the_paragraph_holds_the_run_s_numbers(content):
    text = " ".join(paragraph(content))
    uar = content.uar("baseline")
    for part in (
        "We asked planted (4 decoder layers of 512 MLP neurons, float32, cpu)", "30 clips by 5 speakers of Planted voices (none)",
        "3 lettered options (anger, fear, happiness)", f"recall is {number(uar['uar'])} %", "5 % of all neurons (102)",
        "positions “audio+answer”", "30 correctly answered clips", "found on other speakers (5 folds)", "Tang et al., 2024",
        "set to zero and, in further conditions, to its mean", "alpha = 0.25, 0.5, 1 and 2", "10 sets of matched neurons",
        "5 sets of random neurons", "The declared claims rest on the pairwise change of separations beyond control sets",
        "emoscope 0.1.0 (seed 0; python 3.11, torch 2.13.0)",
    ):  # fmt: skip
        assert part in text, part
    assert "None" not in text


@pytest.mark.parametrize(
    ("presentation", "told", "first"),
    [
        ("audio", "which emotion it hears in 30 clips", None),
        (
            "noise",
            "which emotion it hears, with noise as long and as loud in place of the voice, in 30 clips",
            "noise as long",
        ),
        (
            "transcript",
            "with what is said as text in place of the voice, in 30 clips",
            "what is said stands there as text",
        ),
    ],
)
def test_what_takes_the_voice_s_place_is_told(content, presentation, told, first):
    manifest = {**content.run.manifest, "study": {"question": {"presentation": presentation}}}
    other = Part.alone(dataclasses.replace(content.run, manifest=manifest))
    assert told in " ".join(paragraph(other))
    said = standing(StudyRuns.alone(other))
    assert any(line.startswith("No voice is heard") for line in said) == (first is not None)
    assert first is None or first in said[0]


def test_other_runs_say_other_things(tmp_path):
    other = compute_tables(read_run(write_run(tmp_path, THREE, None, 2, only=("baseline", "deactivate"))))
    text = " ".join(paragraph(other))
    assert "speakers whose names are not known" in text
    assert "amplified" not in text
    assert "found on other recordings" in text


def test_balanced_letters_and_sets_of_misses_are_told(content):
    for told in ("each letter as equally often", "found on misses"):
        assert told not in " ".join(paragraph(content))
    control = pl.col("control").replace("random", "misses")
    study = {"identify": {"balance_letters": True}}
    run = dataclasses.replace(
        content.run, conditions=content.run.conditions.with_columns(control), manifest={**content.run.manifest, "study": study}
    )  # fmt: skip
    text = " ".join(paragraph(dataclasses.replace(content, run=run)))
    assert "30 correctly answered clips per emotion, chosen so that the right option stood behind each letter" in text
    assert "found on misses and on false alarms of the untouched model" in text
    named = run.sets.with_columns(control, letter_share=pl.when(pl.col("control") == "target").then(0.4))
    frame = sets(dataclasses.replace(content, run=dataclasses.replace(run, sets=named)))
    assert "CAS, found on misses" in frame["neurons"].to_list()
    assert dict(zip(frame["neurons"], frame["behind one letter (most, %)"], strict=True))["CAS, selected"] == "40.0"
    assert "behind one letter (most, %)" not in sets(content).columns


def test_bibtex_has_balanced_entries_with_different_keys(content):
    text = bibtex(content)
    keys = re.findall(r"^@\w+\{(\w+),$", text, re.MULTILINE)
    assert keys == ["zhao2026emotion", "emoscope", "planted", "tang2024language"]
    assert text.count("{") == text.count("}")


def test_lape_is_cited_where_it_is_used(content):
    kept = content.run.conditions.filter(content.run.conditions["selector"].fill_null("cas") != "lape")
    without = dataclasses.replace(content, run=dataclasses.replace(content.run, conditions=kept))
    assert set(without.selectors) == set(SELECTORS) - {"lape"}
    assert "tang2024" not in bibtex(without)


def test_the_paper_is_cited_as_in_the_citation_file(content, request):
    cited = (request.config.rootpath / "CITATION.cff").read_text(encoding="utf-8")
    title, pages = (
        re.findall(r'^  title: "(.+)"', cited, re.MULTILINE)[0],
        re.findall(r"^  (?:start|end): (\d+)", cited, re.MULTILINE),
    )
    assert title in bibtex(content)
    assert "--".join(pages) in bibtex(content)
