"""Percept or decision in the report: a sentence by rule, a table with intervals, and why there is nothing to show."""

from __future__ import annotations

import dataclasses

import polars as pl
import pytest

from emoscope.analysis.load import read_run
from emoscope.analysis.parts import StudyRuns
from emoscope.chapters.outcomes import say_outcomes, tabulate_outcomes
from emoscope.chapters.outcomes import tabulate_outcome_sets as outcome_sets
from emoscope.chapters.results import compute_tables
from emoscope.schemas import schema
from tests.helpers.planted import THREE, write_run


def percept(part):
    return say_outcomes(StudyRuns.alone(part))


def outcomes(part):
    return tabulate_outcomes(StudyRuns.alone(part))


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    return compute_tables(read_run(write_run(tmp_path_factory.mktemp("run"), THREE, 5, 2, only=("baseline",))))


def effect(content, outcome, whose, against, estimate, said=None, kind="deactivate", reason=None):
    about = {"selector": "cas", "budget": 0.05, "scope": "audio+answer", "kind": kind, "outcome": outcome}
    about |= {"sets": whose, "against": against, "measure": "gap" if kind == "deactivate" else "pull_gap"}
    about |= {"estimate": estimate, "low": estimate - 2, "high": estimate + 2, "clips": 12, "targets": 3}
    return {**dict.fromkeys(schema("outcomes")), **about, "verdict": said, "reason": reason, "unreliable": False}


def with_outcomes(content, misses, alarms, manifest=None):
    rows = []
    for outcome, said in (("misses", misses), ("false-alarms", alarms)):
        if said is not None:
            rows += [effect(content, outcome, "outcome", "matched", -8.0), effect(content, outcome, "hits", "matched", -12.0)]  # fmt: skip
            reason = None if said else "only 4 speakers: an interval needs at least 5"
            rows.append(effect(content, outcome, "outcome", "hits", 4.0, said or None, reason=reason))
    overlap = {
        "selector": "cas",
        "budget": 0.05,
        "scope": "audio+answer",
        "outcome": "misses",
        "emotion": "fear",
        "clips": 12,
    }
    shares = {"jaccard": 0.25, "jaccard_others": 0.05, "jaccard_hits": 0.3, "chance": 0.02, "layers_alike": 0.9}
    changed = content.changed(
        outcomes=pl.DataFrame(rows, schema=schema("outcomes")),
        outcome_sets=pl.DataFrame(
            [{**dict.fromkeys(schema("outcome_sets")), **overlap, **shares}], schema=schema("outcome_sets")
        ),
    )
    run = dataclasses.replace(content.run, manifest={**content.run.manifest, **(manifest or {})})
    return dataclasses.replace(changed, run=run)


@pytest.mark.parametrize(
    ("misses", "alarms", "begins"),
    [
        ("acts as hits do", "does not act", "The neurons follow what is in the voice"),
        ("does not act", "acts less", "The neurons follow what is answered"),
        ("acts the other way", "acts as hits do", "The neurons follow what is answered"),
        ("acts less", "acts as hits do", "Neurons that follow the voice and neurons that follow the answer both act"),
        ("does not act", "does not act", "Only neurons found where voice and answer agree act"),
        ("acts less", "undecided", "Whether the neurons follow what is heard or what is answered is undecided"),
        ("acts less", None, "Whether the neurons follow what is heard or what is answered is undecided"),
        ("", "", "Whether the neurons follow what is heard or what is answered is undecided"),
    ],
)
def test_the_sentence_follows_from_both_verdicts(content, misses, alarms, begins):
    (sentence,) = percept(with_outcomes(content, misses, alarms))
    assert sentence.startswith(begins)
    assert (
        "sets of misses of 3 emotions have a gap of −8.0 [−10.0, −6.0] points, those of as many hits −12.0 [−14.0, −10.0]"
        in sentence
    )
    assert ("only 4 speakers" in sentence) == (misses == "")


def test_the_table_shows_outcome_and_hits(content):
    frame = outcomes(with_outcomes(content, "acts less", "does not act"))
    assert frame["neurons"].to_list() == ["misses, switched off", "false alarms, switched off"]
    assert frame["found on as many hits"][0] == "−12.0 [−14.0, −10.0]"
    assert frame["what they do"].to_list() == ["acts less", "does not act"]
    overlap = outcome_sets(with_outcomes(content, "acts less", "does not act"))
    assert overlap.rows() == [("misses", "fear", "12", "25.0", "5.0", "30.0", "2.0", "90.0")]


def test_nothing_to_show_and_why(content):
    assert percept(content) == []
    assert outcomes(content) is None
    assert outcome_sets(content) is None
    notes = {"misses": {"anger": 9, "fear": "no set (2 misses)"}, "false-alarms": {"anger": "no set (1 false alarms)"}}
    few = percept(with_outcomes(content, "acts less", None, {"outcomes": notes}))
    assert few[1:] == [
        "Sets found on misses: too few clips for fear.", "Sets found on false alarms: none had enough clips.",
    ]  # fmt: skip


def test_several_corpora_are_told_apart(content):
    part = with_outcomes(content, "acts less", "does not act")
    both = dataclasses.replace(
        StudyRuns.alone(part), parts=tuple(dataclasses.replace(part, name=name) for name in ("first", "second"))
    )
    assert [one.split(": The")[0] for one in say_outcomes(both)] == ["first", "second"]
    frame = tabulate_outcomes(both)
    assert frame["corpus"].to_list() == ["first", "first", "second", "second"]
    row = frame.filter(pl.col("neurons").str.starts_with("misses")).row(0, named=True)
    assert row["found on them"] == "−8.0 [−10.0, −6.0]"
    assert row["difference"] == "+4.0 [2.0, 6.0]"
