"""Letter, word, arousal and sweeps as the report shows them: numbers of the tables, and sentences by rule."""

import dataclasses

import polars as pl
import pytest

from emoscope.analysis.load import read_run
from emoscope.analysis.parts import StudyRuns
from emoscope.chapters.answers import forms_note
from emoscope.chapters.arousal import say_arousal, tabulate_arousal
from emoscope.chapters.efficiency import draw_budgets as budgets_figure
from emoscope.chapters.efficiency import draw_efficiency, tabulate_efficiency
from emoscope.chapters.efficiency import tabulate_budgets as budgets
from emoscope.chapters.factors import draw_factors as factors
from emoscope.chapters.factors import letters_note, say_within, tabulate_within
from emoscope.chapters.factors import tabulate_letters as letters
from emoscope.chapters.results import compute_tables
from emoscope.schemas import schema
from emoscope.wording import bracket, number
from tests.helpers.planted import THREE, write_run


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    kinds = ("baseline", "deactivate")
    return compute_tables(read_run(write_run(tmp_path_factory.mktemp("run"), THREE, 5, 2, only=kinds)))


def arousal(part):
    return tabulate_arousal(StudyRuns.alone(part))


def efficiency(part):
    return tabulate_efficiency(StudyRuns.alone(part))


def efficiency_figure(part):
    return draw_efficiency(StudyRuns.alone(part))


def changed(content, **tables):
    return content.changed(**tables)


def test_each_letter_has_a_row_of_the_tables_numbers(content):
    frame = letters(content)
    assert frame["right option at"].to_list() == ["A", "C"]  # two takes
    row = (
        content.table("letters")
        .filter((pl.col("kind") == "deactivate") & (pl.col("measure") == "excess_gap") & (pl.col("letter") == "C"))
        .row(0, named=True)
    )
    assert frame["excess gap"][1] == f"{number(row['estimate'], sign=True)} {bracket(row['low'], row['high'])}"
    assert frame["apart from other letters"][1].startswith(number(row["apart"], sign=True))
    assert "amplified: excess pull gap" not in frame.columns  # nothing was amplified


def test_a_letter_is_named_where_it_is_clear_of_the_others(content):
    table = content.table("letters").with_columns(
        apart=pl.lit(0.0), apart_low=pl.lit(-1.0), apart_high=pl.lit(1.0), unreliable=pl.lit(False)
    )
    assert letters_note(changed(content, letters=table)) == (
        "Of 2 letters, none has an excess gap that is clear of the mean of the others."
    )
    one = pl.col("letter") == "A"
    table = table.with_columns(
        apart=pl.when(one).then(8.0).otherwise("apart"), apart_low=pl.when(one).then(2.0).otherwise("apart_low"),
        apart_high=pl.when(one).then(14.0).otherwise("apart_high"),
    )  # fmt: skip
    said = letters_note(changed(content, letters=table))
    assert "at A it is 8.0 points weaker [2.0, 14.0] than the mean of the other letters" in said
    assert letters_note(changed(content, letters=table.clear())) is None


def test_gaps_within_a_word_stand_below_those_of_all_clips(content):
    frame = tabulate_within(StudyRuns.alone(content))
    assert frame["clips that count"].to_list() == ["all", "within the same word"]
    assert frame["values"].to_list() == ["", "2"]
    every = content.effect("deactivate", "excess_gap")
    assert frame["switched off: excess gap"][0].startswith(number(every["estimate"], sign=True))
    none = StudyRuns.alone(changed(content, within=content.table("within").clear()))
    assert tabulate_within(none) is None
    assert say_within(none) == []
    (said,) = say_within(StudyRuns.alone(content))
    assert "so that it does not come from it alone: within the same word −" in said
    assert said.endswith(f"(over all clips {number(every['estimate'], sign=True)}).")
    wide = content.table("within").with_columns(high=pl.lit(5.0))
    (said,) = say_within(StudyRuns.alone(changed(content, within=wide)))
    assert "is open: within the same word" in said


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-9.0, -1.0, "more than those of the other, so that the sets hold arousal, too: planted −5.0 points [−9.0, −1.0]"),
        (1.0, 9.0, "hurts emotions of the other arousal more than those of the same"),
        (-9.0, 9.0, "remains open"), (None, None, "Not tested"),
    ],
)  # fmt: skip
def test_what_is_said_of_arousal_follows_from_the_interval(content, low, high, said):
    row = {
        "kind": "deactivate",
        "control": "target",
        "measure": "excess_cross_apart",
        "estimate": -5.0,
        "low": low,
        "high": high,
    }
    row |= {"pairs": 6, "unreliable": False}
    table = pl.DataFrame([{name: row.get(name) for name in schema("arousal")}], schema=schema("arousal"))
    assert said in say_arousal(StudyRuns.alone(changed(content, arousal=table)))[0]
    assert arousal(changed(content, arousal=table)) is None or low is not None
    assert arousal(content) is None  # all three are of high arousal


def test_a_pilot_says_how_answers_were_written_and_no_more(content):
    run = dataclasses.replace(content.run, manifest={**content.run.manifest, "pilot": {"verdict": ["Go on."]}})
    pilot = dataclasses.replace(content, run=run)
    assert letters_note(pilot) is None
    assert forms_note(pilot)


def test_refusals_are_told_apart_in_words(content):
    assert "UAR counts refusals and unreadable answers as not correct" not in forms_note(content)
    table = content.table("uar").with_columns(
        share_refused=pl.lit(12.5), share_unparsable=pl.lit(2.5), share_word=pl.lit(5.0), uar_readable=pl.lit(91.0)
    )
    said = forms_note(changed(content, uar=table))
    assert "12.5 % are refusals, 2.5 % cannot be read, and 5.0 % name the option in words." in said
    assert "over the answers that could be read it would be 91.0 %" in said


def test_budgets_with_controls_are_shown_and_the_headlines_is_marked(content):
    frame = budgets(content)
    assert frame["neurons per emotion"].to_list() == ["5.00 % *", "10.00 %"]
    assert frame["number"].to_list() == ["102", "205"]
    assert [one.split("(")[1] for one in frame["matched"]] == ["mean of 10)", "mean of 2)"]
    one = content.table("effects").filter(pl.col("budget") == 0.05)
    assert budgets(changed(content, effects=one)) is None
    assert budgets_figure(changed(content, effects=one)) is None
    bare = content.table("effects").filter((pl.col("control") != "matched") & (pl.col("measure") != "excess_gap"))
    assert budgets(changed(content, effects=bare)) is None  # a gap without its control is not shown


def test_sets_from_fewer_clips_end_with_the_full_set(content):
    frame = efficiency(content)
    assert frame["clips per emotion"].to_list() == ["5", "20", "30, the full set"]
    assert frame["shared with the full set (%)"][2] == "–"
    assert "amplified: pull gap" not in frame.columns
    assert efficiency(changed(content, efficiency=content.table("efficiency").clear())) is None
    assert efficiency_figure(changed(content, efficiency=content.table("efficiency").clear())) is None


def test_without_matched_controls_there_is_no_figure_of_factors(content):
    bare = content.table("effects").filter(~pl.col("measure").str.starts_with("excess_"))
    assert factors(changed(content, effects=bare)) is None
