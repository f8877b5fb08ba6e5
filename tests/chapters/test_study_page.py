"""The report of a whole study: a chapter a question, from the tables of its parts, each lack named."""

import dataclasses
import json
import re

import polars as pl
import pytest

from emoscope.analysis.declared import SUPPORTED, UNSUPPORTED, UNTESTED
from emoscope.chapters import SECTIONS
from emoscope.chapters.claims import as_text, grid, notes
from emoscope.chapters.deactivation import say_deactivation
from emoscope.chapters.dissociation import say_dissociation
from emoscope.chapters.efficiency import say_efficiency
from emoscope.chapters.pages import build_report, figures, render_report, tables
from emoscope.chapters.published import tabulate_published
from emoscope.chapters.results import study_tables, write_study_tables, write_tables
from emoscope.chapters.side_effects import say_side_effects
from emoscope.chapters.steering import say_dose
from emoscope.chapters.transfer import say_transfer
from emoscope.report.caveats import standing
from emoscope.report.page import draw_figure
from emoscope.report.theme import to_spec
from emoscope.report.wording import judge
from emoscope.schemas import as_table
from tests.chapters.test_pages import Page
from tests.helpers.planted_parts import write_study
from tests.helpers.program import undrawn as leave_out_drawing


def figure_named(name):
    return next(one for one in figures("study") if one.name == name)


def undrawn(study, monkeypatch):
    """The page without its pictures, which take most of the time."""
    leave_out_drawing(monkeypatch)
    return build_report(study).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_study(tmp_path_factory.mktemp("whole"))
    for name in ("first", "second"):
        write_tables(folder / "parts" / name)
    (folder / "parts" / "first" / "report.html").write_text("")
    return folder


@pytest.fixture(scope="module")
def whole(folder):
    return write_study_tables(folder)


@pytest.fixture(scope="module")
def page(whole):
    with pytest.MonkeyPatch.context() as patch:
        return undrawn(whole, patch)


def changed(whole, table, which, **columns):
    """The study with other numbers in some rows of one of its tables."""
    frame = whole.table(table).with_columns(
        pl.when(which).then(pl.lit(value)).otherwise(name).alias(name) for name, value in columns.items()
    )
    return dataclasses.replace(whole, computed={**whole.computed, table: frame})


def test_the_page_stands_alone_and_every_link_leads_somewhere(folder, page):
    parsed = Page(page)
    assert parsed.loads == []
    assert parsed.open == []
    assert len(parsed.ids) == len(set(parsed.ids)), "an id is used twice"
    for link in parsed.links:
        path, _, anchor = link.partition("#")
        assert anchor in parsed.ids if not path else (folder / path).is_file(), link
    assert "parts/first/report.html#deactivation" in parsed.links
    assert not re.search(r"@import|url\((?!#)|https?://", page)


def test_every_chapter_is_there_with_its_figures_or_why_not(page):
    parsed = Page(page)
    sections = [one for one in SECTIONS if one.id not in ("words",)]  # those of which a study's page shows something
    for place, section in enumerate(sections, 1):
        assert f"{place} {section.title}" in parsed.text
    for one in (one for one in figures("study") if one.missing):
        assert (f"figure-{one.name}" in parsed.ids) != (f"Not in this study: {one.missing}." in parsed.text), one.name
    for name in ("transfer", "agreement", "dissociation", "side_effects", "grounding", "selectivity"):
        assert f"figure-{name}" in parsed.ids
    assert "Not in this study: nothing was amplified without a label." in parsed.text


def test_a_part_that_failed_says_why(page):
    text = Page(page).text
    assert text.count("fewer than two labels of word can be identified: nie 3, tak 41") == 2  # the table, and the notes


def test_claims_stand_first_a_column_a_corpus(page):
    text = Page(page).text
    assert text.index("What Zhao, Schuller and Sisman (2026) claim") < text.index("2 Which neurons")
    assert re.search(
        r"claim first second Declared tests, in the order of their two sequences Switching off an emotion’s neurons takes "
        r"evidence for that emotion, more than for others Deactivation (\S+ )*?(not )?(supported|testable)",
        text,
    )


def test_what_was_planted_is_said(page):
    text = Page(page).text
    assert re.search(
        r"emotion more than the others, beyond matched neurons: first −\d\d\.\d points \[[^]]*\] \(blind part −?\d+\.\d\) and second −\d\d",
        text,
    )
    assert text.count("Blind part: what of the gap knows nothing of the clip") == 1
    assert "Double dissociation: beyond matched neurons, each of the two questions suffers more" in text
    assert "Not tested: first, noise (nothing to remove" in text
    assert "Sets fused over all corpora hurt their own emotion more, beyond matched neurons: overlap on 2 of 2" in text


def test_tables_are_written_as_latex_and_csv(folder, page):
    for name in (one.name for one in tables("study") if one.files):
        there = f'id="table_{name}"' in page
        assert (folder / "tables" / f"{name}.tex").is_file() == there, name
        assert (folder / "tables" / f"{name}.csv").is_file() == (there or name in study_tables()), name
    assert "Switching off the neurons" in (folder / "tables" / "claims.tex").read_text(encoding="utf-8")
    assert "estimate" in (folder / "tables" / "claims.csv").read_text(encoding="utf-8")


def test_a_cell_of_transfer_shows_its_interval(whole, tmp_path):
    drawn = draw_figure(figure_named("transfer"), whole, tmp_path)
    row = whole.table("transfer").filter(
        (pl.col("source") == "second") & (pl.col("host") == "first") & (pl.col("kind") == "deactivate") & (pl.col("measure") == "excess_gap")
    ).row(0, named=True)  # fmt: skip
    for number in (row["estimate"], row["low"], row["high"]):
        assert f"{number:.1f}".replace("-", "−") in drawn["light"]
    assert drawn["size"] == "narrow"
    assert (tmp_path / "transfer.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "transfer.svg").is_file()


@pytest.mark.parametrize("name", ["transfer", "dissociation", "deactivation"])
def test_figures_are_valid(whole, name):
    assert to_spec(figure_named(name).draw(whole), validate=True)["title"]["text"]


def test_an_open_direction_is_not_counted(whole):
    one = (pl.col("measure") == "excess_gap") & (pl.col("source") == "first") & (pl.col("host") == "second")
    said = say_transfer(changed(whole, "transfer", one, low=-30.0, high=-20.0, estimate=-25.0))
    assert "in 1 of 2 directions: first on second −25.0 points [−30.0, −20.0]" in said[0]
    said = say_transfer(changed(whole, "transfer", one, low=-30.0, high=2.0))
    assert said[0].endswith("in 0 of 2 directions.")
    said = say_transfer(changed(whole, "transfer", one, unreliable=True))
    assert "Of the 2 directions it is open in 1 and not tested in 1." in said


def test_the_studys_own_question_is_no_side_effect_whatever_it_asks(whole):
    own = pl.col("part") == pl.col("corpus")
    table = whole.table("side_effects").with_columns(
        pl.when(own).then(pl.lit("mood")).otherwise("ability").alias("ability")
    )
    said = say_side_effects(dataclasses.replace(whole, computed={**whole.computed, "side_effects": table}))
    assert said == say_side_effects(whole)


def test_more_wrong_words_are_harm(whole):
    wer = pl.col("measure") == "WER"
    said = say_side_effects(changed(whole, "side_effects", wer, excess=6.0, excess_low=2.0, excess_high=9.0))
    assert said[0].startswith(
        "Switching the headline’s neurons off harms more than matched neurons do: first, writing down"
    )
    said = say_side_effects(changed(whole, "side_effects", wer, excess=-6.0, excess_low=-9.0, excess_high=-2.0))
    assert said[0].startswith("It harms less than matched neurons do: first, writing down")


def test_a_difference_of_directions_needs_an_interval_clear_of_zero(whole):
    every = pl.lit(True)
    near = changed(whole, "asymmetry", every, estimate=3.0, low=-1.0, high=7.0)
    assert say_transfer(near)[-1] == "In no pair of corpora are the two directions told apart."
    far = changed(whole, "asymmetry", every, estimate=3.0, low=1.0, high=5.0)
    assert say_transfer(far)[-1].startswith("The two directions differ: first to second minus back +3.0")


@pytest.mark.parametrize(
    ("verdict", "said"),
    [("interaction alone", "The two differences together are clear of zero, but not each of them"),
     ("no dissociation", "No double dissociation is shown"), (None, "Not tested: first, “word”")],
)  # fmt: skip
def test_dissociation_follows_its_verdict(whole, verdict, said):
    (sentence,) = say_dissociation(changed(whole, "dissociation", pl.lit(True), verdict=verdict))
    assert sentence.startswith(said)


def without_speakers(part):
    items = part.run.items.with_columns(speaker=pl.lit(None, pl.String))
    return dataclasses.replace(part, run=dataclasses.replace(part.run, items=items))


def test_a_corpus_at_chance_is_named_before_anything_else(whole):
    part = whole.mains[0].changed(uar=whole.mains[0].table("uar").with_columns(low=pl.lit(0.0)))
    other = without_speakers(whole.mains[1])
    lost = dataclasses.replace(whole, parts=(part, other))
    first, second = standing(lost)
    assert first.startswith("On first: The untouched model is not clearly above chance: ")
    assert second.startswith("On second: Speakers unknown: ")
    page = render_report(lost, {one.name: {"missing": one.missing} for one in figures("study")}, {})
    assert f" {whole.name} {first}" in Page(page).text  # right behind the title


def test_unknown_speakers_support_nothing(whole):
    part = whole.mains[0]
    row = {"estimate": -4.0, "low": -6.0, "high": -2.0}
    assert judge(row, part) == ("low", "")
    assert judge(row, without_speakers(part)) == ("untested", "speakers are unknown")
    assert judge(row | {"unreliable": True}, part) == ("untested", "the answers support no claim")


@pytest.mark.parametrize(
    ("verdict", "number", "why", "said"),
    [
        (SUPPORTED, "pairwise change with 10 clips −0.42 nat", "91 % of the full set’s", "Few clips are enough to find the neurons: "),
        (UNSUPPORTED, "pairwise change with 20 clips −0.20 nat", "45 % of the full set’s", "That few clips are enough is not shown to "),
        (UNTESTED, "", "the full set is not shown to hurt its emotion", "Whether few clips are enough to find the neurons is not tested: "),
    ],
)  # fmt: skip
def test_few_clips_are_called_enough_where_the_claim_is_whatever_their_gaps(whole, verdict, number, why, said):
    part = whole.mains[0]
    rows = [
        {"selector": part.selector, "budget": part.budget, "scope": part.scope, "size": size, "draw": None, "full": size == 50,
         "gap": gap, "gap_low": gap - 1, "gap_high": gap + 1, "reason": None}
        for size, gap in ((10, -8.5), (50, -10.0))
    ]  # fmt: skip
    claims = as_table(
        "claims", [{"name": "modest", "corpus": part.name, "verdict": verdict, "number": number, "why": why}]
    )
    part = part.changed(efficiency=pl.DataFrame(rows, schema_overrides={"draw": pl.Int64}))
    study = dataclasses.replace(whole, parts=(part,), computed={"claims": claims})
    decided, published, caveat = say_efficiency(study)
    assert decided.startswith(said)
    assert decided.endswith(f"{number}, {why}." if number else f"{why}.")
    gaps = "−8.5 [−9.5, −7.5] from 10 clips per emotion and −10.0 [−11.0, −9.0] from 50 clips per emotion, the full set"
    assert published == f"As published, the gap when switched off: {gaps} (points)."
    assert caveat.startswith("No claim rests on these gaps")
    chance = part.changed(uar=part.table("uar").with_columns(low=pl.lit(0.0)))
    assert len(say_efficiency(dataclasses.replace(study, parts=(chance,)))) == 1


@pytest.mark.parametrize(
    ("p", "said"),
    [(0.01, "More amplification does more"), (0.3, "Whether more amplification draws more"), (None, "Not tested: first")],
)  # fmt: skip
def test_a_rise_needs_the_test_and_the_slope(whole, p, said):
    part = whole.mains[0]
    row = {
        "selector": part.selector,
        "budget": part.budget,
        "scope": part.scope,
        "to": None,
        "layers": "all",
        "positions": "all",
    }
    row |= {
        "measure": "excess_pull",
        "slope": 8.0,
        "low": 2.0,
        "high": 14.0,
        "p": p,
        "reason": None if p else "too few",
        "unreliable": False,
    }
    part = part.changed(trend=pl.DataFrame([row], schema_overrides={"to": pl.String, "p": pl.Float64}))
    sentence, *_ = say_dose(dataclasses.replace(whole, parts=(part,)))
    assert sentence.startswith(said)


@pytest.mark.parametrize(("shuffled", "most", "close"), [(0.4, 0.9, False), (0.6, 0.9, True), (0.1, 1.1, True)])
def test_shuffled_labels_that_come_close_are_said(whole, shuffled, most, close):
    part = whole.mains[0]
    effects = part.table("effects")
    own = part.effect("deactivate", "gap")["estimate"]
    matched = effects.filter((pl.col("control") == "matched") & pl.col("draw").is_null())
    added = matched.with_columns(
        control=pl.lit("shuffled"), estimate=pl.lit(shuffled * own), draw_min=pl.lit(most * own), draw_max=pl.lit(0.0)
    )
    part = part.changed(effects=pl.concat([effects, added]))
    said = say_deactivation(dataclasses.replace(whole, parts=(part,)))
    assert any(one.startswith("first: Neurons found on shuffled labels come close") for one in said) == close


def test_claims_of_another_corpus_name_it():
    found = pl.DataFrame({
        "name": "transfer", "declared": False, "claim": ["c", "c"], "question": ["q", "q"], "corpus": ["a", "b"], "source": ["b", "a"],
        "verdict": ["not supported", "not testable"], "number": ["−3", None], "why": [None, "too few"],
    })  # fmt: skip
    (row,) = grid(found, ["a", "b"])
    assert [cell["source"] for cells in row["cells"] for cell in cells] == ["b", "a"]
    assert [cell["kind"] for cells in row["cells"] for cell in cells] == ["not-supported", "not-testable"]
    assert as_text(found)["neurons"].to_list() == ["from b", "from a"]


def test_the_grid_says_declared_claims_first_and_shared_reasons_once():
    found = pl.DataFrame({
        "name": ["hurts", "exists", "selective"], "claim": ["x", "y", "z"], "declared": [False, True, True], "corpus": "a", "question": "q",
        "verdict": ["not testable", "supported with reservations", "supported with reservations"], "source": None, "number": None,
        "why": ["too few", "unlike; one session", "closest: b; unlike"],
    })  # fmt: skip
    rows = grid(found, ["a"])
    assert [row["claim"] for row in rows] == ["y", "z", "x"]
    assert notes(found) == ["unlike"]
    said = [(cell["sign"], cell["marks"], cell["why"]) for row in rows for (cell,) in row["cells"]]
    assert said == [("(✓)", [1], "one session"), ("(✓)", [1], "closest: b"), ("?", [], "too few")]


def test_a_pilot_makes_no_claims_and_names_are_text(folder, tmp_path, monkeypatch):
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["study"] = {"name": "<script>x</script>"}
    manifest["pilot"] = {"first": {"verdict": ["The model hears enough."]}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "parts").symlink_to(folder / "parts")
    html = undrawn(write_study_tables(tmp_path), monkeypatch)
    text = Page(html).text
    assert "<script" not in html
    assert "Nothing below supports a claim. first: The model hears enough." in text
    assert "What Zhao, Schuller and Sisman (2026) claim" not in text
    assert "beyond matched neurons: first" not in text
    assert "removes evidence" not in text.split("Glossary")[0]


def test_a_corpus_without_sets_says_why(whole):
    part = dataclasses.replace(whole.mains[0], failed="fewer than two emotions can be identified.")
    part = part.changed(effects=part.table("effects").clear())
    said = say_deactivation(dataclasses.replace(whole, parts=(part, whole.mains[1])))
    assert "Not tested: first (fewer than two emotions can be identified)." in said


def test_fused_sets_stand_beside_those_published(whole):
    assert tabulate_published(whole) is None  # nothing is published of the simulated model
    known = dataclasses.replace(whole, manifest=whole.manifest | {"model": {"id": "Qwen/Qwen2.5-Omni-7B"}})
    found = tabulate_published(known)
    assert set(found["corpus"]) == {"first", "second"}
    assert set(found["published"]) == {"−7.1 points", "+3.6 points"}
    assert found["note"].str.contains("ours fused").all()
