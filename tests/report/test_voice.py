"""Page, terminal, printed result, notebook and table ``claims`` say the same verdicts, caveats first."""

import json
import re
from html import unescape

import polars as pl
import pytest

from emoscope.chapters.pages import build_report
from emoscope.chapters.results import write_tables
from emoscope.experiments.result import Result, print_pilot, print_result
from emoscope.report.sentences import EXPLORED
from emoscope.runs import RunFolder
from tests.helpers.program import figureless
from tests.helpers.runs import write_simulation

PILOT = {
    "uar": 60.0, "chance": 33.3, "p": 0.01, "letter_mass": 0.9, "agreement": None, "emotions": [], "confusion": {},
    "projected_hours": None, "projected_gb": None, "clips_per_second": 0, "answers_per_second": 0,
    "generated_per_second": 0, "verdict": ["ready for the full study"],
}  # fmt: skip
RUNS = {
    "supported": {"speakers": 8},
    "at chance": {"speakers": 6, "bonus": 0.0},
    "unknown speakers": {"speakers": None, "recordings": 6},
    "three speakers": {"speakers": 3},
    "pilot": {"speakers": 6},
}
FIRST = {
    "at chance": "The untouched model is not clearly above chance: ",
    "unknown speakers": "Speakers unknown: the same voice may be on both sides. ",
    "three speakers": "Only 3 speakers: with fewer than five no interval can be given",
}
LINE = re.compile(r"(✓|\(✓\)|–|\?) (supported with reservations|supported|not supported|not testable): (.*)")


@pytest.fixture(scope="module", params=RUNS)
def case(request, tmp_path_factory):
    folder = write_simulation(
        tmp_path_factory.mktemp("run"), "evidence", **({"clips": 4, "matched": 5} | RUNS[request.param])
    )
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"headline": {"selector": "cas", "budget": 0.05, "scope": "all", "alpha": 0.5}, "emotions": ["anger"]}
    manifest |= {"pilot": PILOT} if request.param == "pilot" else {}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.MonkeyPatch.context() as patched:
        figureless(patched)
        build_report(write_tables(folder))
    return request.param, RunFolder(folder)


def plain(text):
    """Text without tags, and with single spaces between words."""
    return re.sub(
        r"\s+", " ", unescape(re.sub(r"<[^>]*>", "", re.sub(r"<(style|svg)\b.*?</\1>", "", text, flags=re.S)))
    ).strip()


def voices(name, run, capsys):
    (print_pilot if name == "pilot" else print_result)(run)
    result = Result.of(run)
    return {
        "terminal": plain(capsys.readouterr().out.replace("<", "&lt;")), "printed": plain(repr(result)), "notebook": plain(result._repr_html_()),
        "page": plain((run / "report.html").read_text(encoding="utf-8")),
    }  # fmt: skip


def verdict_said(lines, row):
    """What the lines say about a claim of the table."""
    if row["declared"]:
        heads = (row["claim"], "all declared claims (", "all claims (")
        return [found[2] for found in map(LINE.match, lines) if found and found[3].startswith(heads)]
    said = [found[2] for found in map(LINE.match, lines) if found and found[3].startswith("all claims (")]
    for line in lines:
        for part in (
            line.split(", not corrected: ")[-1].rstrip(".").split("; ") if line.startswith("Exploration") else ()
        ):
            outcome, _, names = part.partition(": ")
            said += [outcome.split(" ", 1)[1]] if EXPLORED[row["name"]] in names.split(", ") else []
    return said


def test_every_voice_says_the_verdicts_of_the_table_of_claims(case, capsys):
    name, run = case
    claims = pl.read_parquet(run / "tables" / "claims.parquet")
    lines = Result.of(run).conclusion.lines()
    assert [verdict_said(lines, row) for row in claims.to_dicts()] == [[verdict] for verdict in claims["verdict"]]
    for voice, text in voices(name, run, capsys).items():
        assert [line for line in lines if plain(line) not in text] == [], voice
    declared = set(claims.filter("declared")["verdict"])
    assert (declared == {"not testable"}) is (name != "supported")
    assert ("supported with reservations" in declared) is (name == "supported")


def test_caveats_come_before_any_number(case, capsys):
    name, run = case
    for voice, text in voices(name, run, capsys).items():
        before = text.split("emoscope report")[-1] if voice == "page" else text
        if name in FIRST:
            assert 0 <= before.index(FIRST[name]) < re.search(r"\d", before.replace(FIRST[name], "")).start() + 60, (
                voice
            )
            assert Result.of(run).gap["caveats"][0].startswith(FIRST[name])


def test_at_chance_no_sentence_speaks_of_an_effect(case):
    name, run = case
    page = (run / "report.html").read_text(encoding="utf-8")
    said = plain(" ".join(re.findall(r'<div class="(?:headline|says|answer)">.*?</div>', page, re.S)))
    assert ("recognition of the emotion falls by" in said) is (name == "supported")
    if name == "at chance":
        assert "points" not in said
        assert said.count("not clearly above chance") >= 3


def test_known_speakers_are_counted_and_recordings_apart(case):
    name, run = case
    gap = Result.of(run).gap
    assert (gap["speakers"], gap["recordings"]) == {
        "supported": (8, 0), "at chance": (6, 0), "unknown speakers": (0, 72), "three speakers": (3, 0), "pilot": (6, 0),
    }[name]  # fmt: skip
