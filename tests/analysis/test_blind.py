"""The blind part of a gap: what is left of it when labels say nothing, and how it is told."""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import polars as pl
import pytest

from emoscope.analysis.contrasts import Changes, compare, measures
from emoscope.analysis.effects import effects
from emoscope.analysis.load import read_run
from emoscope.analysis.responses import build_responses
from emoscope.analysis.standing import Blind, blind_part, count_options
from tests.helpers.runs import EMOTIONS, deactivations, small_run, write_simulation


def changed(responses, conditions, truth=None):
    """The measures of one condition per emotion, under the responses' labels or under others."""
    responses = responses if truth is None else replace(responses, truth=np.asarray(truth))
    change = Changes(responses).count(conditions, list(conditions), np.ones(len(responses.items), dtype=bool))
    return {name: float(one.values[0]) for name, one in measures(change).items()}


def part_of(found, options):
    rows = {name: {"estimate": value, "targets": options} for name, value in found.items()}
    return blind_part(rows.get, options).part


def test_over_all_permutations_of_labels_the_mean_gap_is_the_blind_part():
    rng = np.random.default_rng(0)
    options = ("anger", "fear", "neutral")
    items = [(speaker, emotion) for speaker in ("s", "t") for emotion in options]
    said = {name: rng.choice(options, len(items)).tolist() for name in ("baseline", *options)}
    run = small_run(items, said, deactivations(targets=options), options=options)
    responses, conditions = build_responses(run), {name: name for name in options}
    orders = list(permutations(range(3)))
    gaps = [changed(responses, conditions, [*first, *second])["gap"] for first, second in product(orders, orders)]
    part = part_of(changed(responses, conditions), 3)
    assert abs(part) > 5
    assert np.mean(gaps) == pytest.approx(part)


@pytest.mark.parametrize("intervention", ["bias", "evidence"])
def test_under_labels_permuted_within_speaker_the_gap_is_the_blind_part(tmp_path, intervention):
    write_simulation(tmp_path, intervention, speakers=10, clips=8)
    responses, rng = build_responses(read_run(tmp_path)), np.random.default_rng(1)
    conditions = {emotion: f"deactivate/{emotion}/target0" for emotion in EMOTIONS}
    found, gaps = changed(responses, conditions), []
    part = part_of(found, len(EMOTIONS))
    for _ in range(60):
        truth = responses.truth.copy()
        for speaker in range(len(responses.speakers)):
            mine = np.flatnonzero(responses.speaker == speaker)
            truth[mine] = rng.permutation(truth[mine])
        gaps.append(changed(responses, conditions, truth)["gap"])
    error = np.std(gaps, ddof=1) / np.sqrt(len(gaps))
    assert np.mean(gaps) == pytest.approx(part, abs=3.5 * error)
    assert part < -5
    assert found["gap"] < part - 3  # with the true labels there is more


def rows_of(run, **less):
    """The effects of the target sets of a simulation, by measure."""
    found = effects(compare(build_responses(run), less.get("conditions", run.conditions)))
    return {row["measure"]: row for row in found.filter(pl.col("control") == "target").iter_rows(named=True)}


def test_stored_effects_hold_what_answers_that_move_alike_would_give(tmp_path):
    """A slow, obvious count from the answers: each option's change of share, averaged over the clips' emotions."""
    run = read_run(write_simulation(tmp_path, "uneven", speakers=5, clips=4, matched=2))
    truth = dict(run.items.select("item", "truth").iter_rows())
    answers = {}
    for item, condition, answer in run.answers.select("item", "condition", "answer").iter_rows():
        answers.setdefault(condition, {}).setdefault(truth[item], []).append(answer)

    def share(condition, answer):
        return np.mean([100 * np.mean([one == answer for one in answers[condition][c]]) for c in EMOTIONS])

    def blind(control):
        gaps = []
        for emotion in EMOTIONS:
            moved = {e: share(f"deactivate/{emotion}/{control}", e) - share("baseline", e) for e in EMOTIONS}
            gaps.append(moved[emotion] - np.mean([moved[e] for e in EMOTIONS if e != emotion]))
        return np.mean(gaps)

    found = blind_part(rows_of(run).get, count_options(run.items))
    assert found.measure == "excess_gap"
    assert found.part == pytest.approx(blind("target0") - np.mean([blind("matched0"), blind("matched1")]))
    assert abs(found.part) > 5


def test_without_a_set_for_every_option_it_is_not_told(tmp_path):
    run = read_run(write_simulation(tmp_path, "bias", speakers=5, clips=2, matched=1))
    some = run.conditions.filter(pl.col("target").ne_missing("fear"))
    found = blind_part(rows_of(run, conditions=some).get, count_options(run.items))
    assert found.part is None
    assert found.brief() == "blind part unknown"
    assert found.sentence().endswith("knows nothing of the clip cannot be told: 2 of 3 options have a set.")


def test_the_gap_itself_is_parted_where_nothing_was_matched():
    rows = {
        "gap": {"estimate": -6.0, "targets": 2},
        "pull_overall": {"estimate": 1.0},
        "excess_gap": {"estimate": None},
    }
    found = blind_part(rows.get, 2)
    assert found == Blind("gap", -6.0, 2.0, 2, 2)
    assert found.sentence().startswith("Of the gap of −6.0 points, +2.0 know nothing of the clip (the blind part)")
    assert found.sentence().endswith("No claim rests on the gap.")
    assert blind_part({}.get, 2) is None
