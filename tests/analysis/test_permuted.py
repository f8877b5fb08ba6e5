"""The permutation null of the declared claims: its p beside a slow count from stored answers, and what it decides."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import polars as pl
import pytest

from emoscope.analysis.accuracy import uar
from emoscope.analysis.answer_table import run_answers
from emoscope.analysis.claim_rules import stated
from emoscope.analysis.declared import SUPPORTED, UNSUPPORTED, corrected, gather, judge
from emoscope.analysis.headline import declared_evidence
from emoscope.analysis.judging import judge as judge_answers
from emoscope.analysis.load import Run, read_run
from emoscope.analysis.parts import Part
from emoscope.analysis.responses import build_responses
from emoscope.testing.worlds import World, simulate
from tests.helpers.runs import EMOTIONS, acts, table, write_simulation


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return read_run(write_simulation(tmp_path_factory.mktemp("run"), "evidence", speakers=8, clips=4, matched=6))


def with_draws(run: Run, strengths) -> Run:
    """The run with a shuffled draw for each strength, which changes log-probabilities by so much of what targets do."""
    wide = run.answers.sort("item")
    level = np.array(wide.filter(condition="baseline")["logp"].to_list())
    rows, answers = [], [run.answers]
    for draw, strength in enumerate(strengths):
        for emotion in EMOTIONS:
            own = wide.filter(condition=f"deactivate/{emotion}/target0")
            name = f"deactivate/{emotion}/shuffled{draw}"
            rows.append(acts("deactivate", emotion, "shuffled", draw) | {"condition": name, "role": "headline"})
            logp = level + strength * (np.array(own["logp"].to_list()) - level)
            answers.append(own.with_columns(condition=pl.lit(name), logp=pl.Series(logp.tolist(), dtype=pl.List(pl.Float64))))  # fmt: skip
    more = table(rows, "conditions").select(run.conditions.columns)
    return replace(run, conditions=pl.concat([run.conditions, more]), answers=pl.concat(answers))


def found_in(run: Run):
    return declared_evidence(run, build_responses(run))


def slow_statistic(run: Run, control: str) -> float:
    """Own pairs minus other pairs, mean over emotions, by loops over speakers and pairs of emotions."""
    about = {row["item"]: (row["speaker"], row["truth"]) for row in run.items.to_dicts()}
    names = sorted(EMOTIONS)

    def chance(condition: str) -> dict[int, dict[str, float]]:
        rows = run.answers.filter(condition=condition).to_dicts()
        return {row["item"]: dict(zip(names, row["logp"], strict=True)) for row in rows}

    before, values = chance("baseline"), []
    for emotion in names:
        after, pairs = chance(f"deactivate/{emotion}/{control}"), {}
        for e, c in combinations(names, 2):
            total = weight = 0.0
            for who in {speaker for speaker, _ in about.values()}:
                means = []
                for truth in (e, c):
                    items = [item for item, one in about.items() if one == (who, truth)]
                    moved = [after[i][e] - after[i][c] - before[i][e] + before[i][c] for i in items]
                    means.append((sum(moved) / len(moved), len(moved)))
                (first, n), (second, m) = means
                total, weight = total + n * m / (n + m) * (first - second), weight + n * m / (n + m)
            pairs[e, c] = total / weight
        own = [value for pair, value in pairs.items() if emotion in pair]
        others = [value for pair, value in pairs.items() if emotion not in pair]
        values.append(sum(own) / len(own) - sum(others) / len(others))
    return sum(values) / len(values)


def test_p_is_that_of_a_slow_count_from_stored_answers(planted):
    strengths = np.random.default_rng(3).uniform(0.2, 1.15, 19)
    run = with_draws(planted, strengths)
    own = slow_statistic(run, "target0")
    draws = [slow_statistic(run, f"shuffled{draw}") for draw in range(19)]
    below = sum(draw <= own for draw in draws)
    assert 0 < below < 19
    test = judge(found_in(run).evidence)["exists"]
    assert (test.permutation_p, test.permutation_floor, test.permuted) == ((1 + below) / 20, 1 / 20, 19)
    # nothing else knows of these draws
    before = judge(found_in(planted).evidence)["exists"]
    assert (before.permutation_p, before.permuted) == (None, 0)
    assert (test.estimate, test.low, test.p, test.draws) == (before.estimate, before.low, before.p, before.draws)


def test_where_draws_can_decide_a_claim_also_needs_their_p(planted):
    assert judge(found_in(planted).evidence)["exists"].verdict == SUPPORTED
    kept = judge(found_in(with_draws(planted, [0.9] * 19)).evidence)
    assert (kept["exists"].verdict, kept["exists"].permutation_p) == (SUPPORTED, 0.05)
    tied = judge(found_in(with_draws(planted, [0.9] * 18 + [1.0])).evidence)
    assert (tied["exists"].verdict, tied["exists"].permutation_p) == (UNSUPPORTED, 0.1)
    assert tied["exists"].why == "sets found on permuted labels do as much: p = 0.100"
    assert tied["disproportionate"].why == "it is tested only where “exists” holds"
    assert tied["exists"].p_holm < 0.05
    # corrected anew over corpora, it stays so
    again = corrected([tied, kept])[0]["exists"]
    assert (again.verdict, again.why) == (UNSUPPORTED, tied["exists"].why)
    assert stated(tied["exists"], "change", "nat").number.endswith("permuted labels: p = 0.100 (floor 0.050, 19 draws)")


def test_fewer_draws_stand_beside_the_claim_and_decide_nothing(planted):
    found = judge(found_in(with_draws(planted, [1.5] * 18)).evidence)["exists"]
    assert (found.verdict, found.permutation_p) == (SUPPORTED, 1.0)
    told = stated(found, "change", "nat").number
    assert told.endswith("permuted labels: p = 1.000 (18 draws cannot decide: it is at least 0.053)")


def test_draws_that_rounding_tells_apart_are_ties(planted):
    found = judge(found_in(with_draws(planted, [1 - 1e-15, 0.5])).evidence)["exists"]
    assert found.permutation_p == 2 / 3


def test_a_draw_counts_where_all_its_sets_were_asked_about_every_clip_and_takes_no_clip_from_others(planted):
    run = with_draws(planted, [0.5, 0.6, 0.7])
    without_set = replace(run, answers=run.answers.filter(pl.col("condition") != "deactivate/fear/shuffled1"))
    gone = (pl.col("condition") == "deactivate/anger/shuffled0") & (pl.col("item") == 5)
    without_clip = replace(run, answers=run.answers.filter(~gone))
    for fewer in (without_set, without_clip):
        found = found_in(fewer)
        assert (found.clips, found.left_out) == (96, 0)
        assert len(found.permuted) == 2 * len(EMOTIONS)
        assert judge(found.evidence)["exists"].permuted == 2
    assert not found_in(run).permuted & found_in(run).conditions


@pytest.mark.parametrize("strength", [0.2, 1.5])
def test_a_draw_whose_answers_are_unreliable_counts_neither_for_nor_against(planted, strength):
    strengths = [0.9] * 19 + [strength]
    few_letters = (
        pl.when(condition="deactivate/fear/shuffled19").then(0.4).otherwise("letter_mass").alias("letter_mass")
    )
    run = with_draws(planted, strengths)
    run = replace(run, answers=run.answers.with_columns(few_letters))
    part = Part.alone(run).changed(uar=uar(run, {"likelihood": build_responses(run)}))
    assert "deactivate/fear/shuffled19" in part.unreliable
    found, without = part.declared, found_in(with_draws(planted, [0.9] * 19))
    assert found.permuted == without.permuted
    assert judge(found.evidence) == judge(without.evidence)
    # nor does it in a table of answers, which says nothing of letters
    assert judge_answers(run_answers(run)[0]).tests["permuted"][0] == 19


def test_amplified_sets_must_add_more_than_those_of_permuted_labels():
    answers = simulate(World(emotions=4, speakers=8, draws=5, loss=0.3, gain=0.3), np.random.default_rng(0))
    own = answers.amplified[0.5][0]
    for share, verdict in ((0.5, SUPPORTED), (1.5, UNSUPPORTED)):
        permuted = {0.5: [answers.untouched + share * (own - answers.untouched)] * 19, 0.25: [own] * 19}
        found = judge(gather(answers.clips, answers.untouched, None, answers.amplified, range(4), 0.5, permuted))
        assert found["steers"].verdict == verdict
        assert found["steers"].permutation_p == (0.05 if verdict == SUPPORTED else 1.0)


def test_a_table_of_answers_is_judged_alike(planted):
    run = with_draws(planted, [0.9] * 18 + [1.1])
    frame, _ = run_answers(run)
    found = judge_answers(frame)
    assert found.control == "matched"
    row = found.tests.row(by_predicate=pl.col("name") == "exists", named=True)
    assert (row["verdict"], row["permutation_p"], row["permuted"]) == (UNSUPPORTED, 0.1, 19)
    assert "permuted labels: p = 0.100 (floor 0.050, 19 draws)" in str(found)
    # where other controls are too few, permuted labels do not take their place by themselves
    few = frame.filter((pl.col("control") != "matched").fill_null(True) | (pl.col("draw") < 3))
    assert judge_answers(few).control == "matched"
