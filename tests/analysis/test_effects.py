"""Matrices and effects: a 2 x 2 example by hand. The verdict: case by case, and on simulated interventions."""

import math

import polars as pl
import pytest

from emoscope.analysis import effects as module
from emoscope.analysis.contrasts import compare
from emoscope.analysis.effects import verdict
from emoscope.analysis.load import read_run
from emoscope.analysis.responses import build_responses
from emoscope.chapters.results import compute_tables
from emoscope.schemas import schema
from tests.helpers.planted import THREE, write_run
from tests.helpers.runs import deactivations, small_run, write_simulation

A, F = "anger", "fear"


def effects(responses, conditions):
    return module.effects(compare(responses, conditions))


def matrix(responses, conditions):
    return module.matrix(compare(responses, conditions), responses.labels)


# Five speakers, each with two clips of anger and two of fear: 10 items per emotion.
ITEMS = [(f"s{s}", truth) for s in range(5) for truth in (A, A, F, F)]
# baseline: everybody right except one clip of fear of speaker 0, answered anger:        anger 100 %, fear 90 %
BASE = [A, A, F, A] + [A, A, F, F] * 4
# anger's set off: every speaker loses one clip of anger (to fear), fear is unchanged:   anger  50 %, fear 90 %
ANGER = [F, A, F, A] + [F, A, F, F] * 4
# fear's set off: speakers 0 and 1 answer anger throughout:                              anger 100 %, fear 60 %
FEAR = [A, A, A, A] * 2 + [A, A, F, F] * 3
# matched controls: draw 0 changes nothing; draw 1 of anger loses one clip of anger of speaker 4 to fear
MATCHED = [A, A, F, A] + [A, A, F, F] * 3 + [F, A, F, F]
SAID = {"baseline": BASE, "anger": ANGER, "fear": FEAR}
CONTROLS = {"anger~matched0": BASE, "fear~matched0": BASE, "anger~matched1": MATCHED, "fear~matched1": BASE}


def responses_and_conditions(**more):
    rows = [*deactivations(), *deactivations("matched", 0), *deactivations("matched", 1)]
    run = small_run(ITEMS, SAID | CONTROLS | more, rows)
    return build_responses(run), run.conditions


def measured(frame, name, control="target", draw=0):
    same_draw = pl.col("draw").is_null() if draw is None else pl.col("draw") == draw
    return frame.filter((pl.col("measure") == name) & (pl.col("control") == control) & same_draw).row(0, named=True)


def test_matrix_by_hand():
    found = matrix(*responses_and_conditions()).filter(pl.col("control") == "target")
    cells = {(row["target"], row["emotion"]): row for row in found.iter_rows(named=True)}
    change = {key: row["change"] for key, row in cells.items()}
    assert change == pytest.approx({(A, A): -50, (A, F): 0, (F, A): 0, (F, F): -30})
    # anger's set off: of the clips of fear none more is answered anger; fear's set off: no clip of anger answered fear
    pull = {key: row["pull"] for key, row in cells.items()}
    assert pull == pytest.approx({(A, A): -50, (A, F): 0, (F, A): 0, (F, F): -30})
    assert cells[F, F]["baseline"] == pytest.approx(90)
    assert cells[F, F]["accuracy"] == pytest.approx(60)
    assert {row["n"] for row in cells.values()} == {10}
    # every speaker loses half of anger: without any of them the change is the same, so the interval has no width
    assert (cells[A, A]["change_low"], cells[A, A]["change_high"]) == pytest.approx((-50, -50))
    assert cells[F, F]["change_low"] < -30 < cells[F, F]["change_high"]


def test_pull_counts_answers_with_the_sets_emotion():
    # the set of anger, amplified: two of ten clips of fear are answered anger (one was at baseline): + 10 points
    said = [A, A, F, A] + [A, A, F, A] + [A, A, F, F] * 3
    run = small_run(ITEMS, SAID | {"anger": said}, deactivations(targets=[A]))
    found = matrix(build_responses(run), run.conditions)
    cells = {row["emotion"]: row for row in found.iter_rows(named=True)}
    assert cells[F]["pull"] == pytest.approx(10)
    assert cells[F]["change"] == pytest.approx(-10)
    assert cells[A]["pull"] == 0


def test_effects_by_hand():
    found = effects(*responses_and_conditions())
    estimates = {name: measured(found, name)["estimate"] for name in ("self", "cross", "gap", "uar_change", "pull_gap")}
    # diagonal -50, -30; off the diagonal 0, 0; change of UAR (-25 - 15) / 2
    assert estimates == pytest.approx({"self": -40, "cross": 0, "gap": -40, "uar_change": -20, "pull_gap": -40})
    # matched: draw 0 nothing; draw 1 self (-10 + 0) / 2 = -5; mean -2.5; excess -40 - -2.5
    assert measured(found, "gap", "matched", 1)["estimate"] == pytest.approx(-5)
    mean = measured(found, "gap", "matched", None)
    assert (mean["estimate"], mean["draw_min"], mean["draw_max"], mean["draws"]) == pytest.approx((-2.5, -5, 0, 2))
    excess = measured(found, "excess_gap")
    assert excess["estimate"] == pytest.approx(-37.5)
    assert (excess["draw_min"], excess["draw_max"]) == pytest.approx((-40, -35))
    assert (excess["n"], excess["targets"], excess["speakers"], excess["df"]) == (20, 2, 5, 4)


def test_interval_of_the_excess_gap_by_hand():
    # Counts of lost clips per speaker: anger's set 1 each; fear's set 1 (speaker 0), 2 (speaker 1), 0, 0, 0;
    # matched mean of anger 1/2 for speaker 4. Each emotion has 10 items; 8 without one speaker.
    anger, fear, control = [1, 1, 1, 1, 1], [1, 2, 0, 0, 0], [0, 0, 0, 0, 0.5]
    without = []
    for g in range(5):
        own = [-100 * (sum(x) - x[g]) / 8 for x in (anger, fear, control)]
        without.append((own[0] + own[1]) / 2 - own[2] / 2)
    mean = sum(without) / 5
    error = math.sqrt(4 / 5 * sum((value - mean) ** 2 for value in without))
    excess = measured(effects(*responses_and_conditions()), "excess_gap")
    assert excess["high"] == pytest.approx(-37.5 + 2.7764451 * error)
    assert excess["low"] == pytest.approx(-37.5 - 2.7764451 * error)


def test_effects_without_matched_controls_have_no_excess():
    run = small_run(ITEMS, SAID, deactivations())
    found = effects(build_responses(run), run.conditions)
    assert not [name for name in found["measure"] if name.startswith("excess")]


def test_a_single_target_has_no_gap():
    run = small_run(ITEMS, SAID, deactivations(targets=[A]))
    found = effects(build_responses(run), run.conditions)
    assert measured(found, "self")["estimate"] == pytest.approx(-50)
    assert measured(found, "gap")["estimate"] is None


def test_the_gap_ignores_what_hits_all_emotions_alike():
    # as before, and beside it every set loses both clips of fear of speaker 3: column effects do not move the gap
    hit = {name: [*said[:14], A, A, *said[16:]] for name, said in SAID.items() if name != "baseline"}
    run = small_run(ITEMS, SAID | hit, deactivations())
    found = effects(build_responses(run), run.conditions)
    assert measured(found, "gap")["estimate"] == pytest.approx(-40)
    assert measured(found, "self")["estimate"] == pytest.approx(-50)


def test_items_without_an_answer_are_left_out_on_both_sides():
    # the run stopped before speaker 4 was asked under fear's set: all effects of that family are on 16 items
    run = small_run(ITEMS, SAID | {"fear": [*FEAR[:16], *["-"] * 4]}, deactivations())
    found = effects(build_responses(run), run.conditions)
    gap = measured(found, "gap")
    assert gap["n"] == 16
    assert gap["estimate"] == pytest.approx((-50 + -100 * 3 / 8) / 2)
    assert gap["low"] is None  # four speakers are left
    assert "only 4 speakers" in gap["reason"]


def test_unknown_speakers_count_as_recordings():
    run = small_run([(None, truth) for _, truth in ITEMS], SAID, deactivations())
    responses = build_responses(run)
    assert responses.unknown_speakers == 20
    gap = measured(effects(responses, run.conditions), "gap")
    assert gap["speakers"] == 20
    assert gap["low"] < -40 < gap["high"]


def test_an_emotion_without_a_set_is_evaluated_and_leaves_the_gap_alone(tmp_path):
    run = read_run(write_run(tmp_path, THREE, 5, 4, unidentifiable=("happiness",)))
    responses = build_responses(run)
    cells = matrix(responses, run.conditions).filter((pl.col("control") == "target") & (pl.col("kind") == "deactivate"))
    assert set(cells["target"]) == {"anger", "fear"}
    assert set(cells["emotion"]) == set(THREE)
    assert set(effects(responses, run.conditions)["targets"]) == {2}


def test_tables_without_rows_keep_their_columns():
    run = small_run(ITEMS, {"baseline": BASE})
    assert matrix(build_responses(run), run.conditions).schema == pl.Schema(schema("matrix"))
    assert effects(build_responses(run), run.conditions).schema == pl.Schema(schema("effects"))


def test_ranks_by_hand():
    # gap -40 in all: -25 from anger's set (-50 / 2), -15 from fear's. Matched draws give 0, or -2.5 for draw 1 of anger:
    # none of the 2 x 2 combinations is as low.
    gap = measured(effects(*responses_and_conditions()), "gap")
    assert (gap["rank"], gap["combinations"]) == (1, 4)
    # with fear's matched draw 1 as strong as fear's own set and anger's as anger's, the pair of these two is as low
    found = effects(*responses_and_conditions(**{"anger~matched1": ANGER, "fear~matched1": FEAR}))
    gap = measured(found, "gap")
    assert (gap["rank"], gap["combinations"]) == (2, 4)
    assert found.filter(pl.col("rank").is_not_null())["measure"].to_list() == ["gap"]


def test_steering_ranks_upwards():
    # amplified, anger's set turns one clip of fear of every speaker into anger; matched draws change nothing or half of it
    pulled = [A, A, A, A] + [A, A, A, F] * 4
    half = [A, A, A, A] * 1 + [A, A, A, F] * 2 + [A, A, F, F] * 2
    kind = {"kind": "steer", "alpha": 0.5, "to": None}
    rows = [row | kind for draw in (0, 1) for row in deactivations("matched", draw)]
    run = small_run(
        ITEMS,
        {"baseline": BASE, "anger": pulled, "fear": BASE} | CONTROLS | {"anger~matched1": half},
        [row | kind for row in deactivations()] + rows,
    )
    found = effects(build_responses(run), run.conditions)
    overall = measured(found, "pull_overall")
    # +50 points on fear (one was at baseline: +5 of 10), 0 on anger: mean over emotions 25, over the two sets 12.5
    assert overall["estimate"] == pytest.approx(12.5)
    assert (overall["rank"], overall["combinations"]) == (1, 4)
    # pulling the clips of other emotions lowers the pull gap (-25), so all four combinations are higher
    assert measured(found, "pull_gap")["rank"] == 5
    assert set(found.filter(pl.col("rank").is_not_null())["measure"]) == {"pull_gap", "pull_overall"}


def test_unreliable_conditions_mark_what_rests_on_them():
    responses, conditions = responses_and_conditions()

    def marked(unreliable):
        found = module.effects(compare(responses, conditions, unreliable))
        names = (("gap", "target", 0), ("excess_gap", "target", 0), ("gap", "matched", 0), ("gap", "matched", None))
        return [measured(found, *name)["unreliable"] for name in names]

    assert marked(set()) == [False, False, False, False]
    assert marked({"baseline"}) == [True, True, True, True]
    assert marked({"fear"}) == [True, True, False, False]
    assert marked({"fear~matched1"}) == [False, True, False, True]


def test_cells_get_q_values():
    # D and pull have the same four p values: anger's own cell 0 (no spread), fear's own cell p, two cells without change 1
    cells = matrix(*responses_and_conditions()).filter(pl.col("control") == "target")
    by = {(row["target"], row["emotion"]): row for row in cells.iter_rows(named=True)}
    assert (by[A, A]["change_p"], by[A, A]["change_q"]) == (0, 0)
    assert by[F, F]["change_q"] == pytest.approx(by[F, F]["change_p"] * 4 / 2)
    assert by[A, F]["change_p"] == by[A, F]["change_q"] == 1


@pytest.mark.parametrize(
    ("evidence", "bias", "expected"),
    [
        ((-9, -3), (-0.2, 0.3), "removes evidence"),
        ((-9, -3), (-0.05, 0.05), "removes evidence"),
        ((-9, -3), (-0.9, -0.4), "removes evidence and pulls the answer"),
        ((-9, -3), (0.4, 0.9), "removes evidence and pulls the answer"),
        ((0.4, 1.2), (0.06, 0.08), "adds evidence and pulls the answer"),
        ((0.4, 1.2), (-0.02, 0.08), "adds evidence"),
        ((-1, 0.5), (-0.9, -0.4), "pulls the answer"),
        ((-2, 2), (0.01, 0.02), "pulls the answer"),
        ((0.1, 1.9), (-0.9, -0.4), "adds evidence and pulls the answer"),
        ((-1, 0.5), (-0.05, 0.1), "neither"),
        ((-2, 0), (0, 0), "neither"),
        ((-2.1, 0.5), (-0.9, -0.4), "undecided"),
        ((-0.5, 2.1), (-0.9, -0.4), "undecided"),
        ((-1, 0.5), (-0.11, 0.05), "undecided"),
        ((-3, 3), (-1, 1), "undecided"),
    ],
)
def test_rule(evidence, bias, expected):
    said, reason = verdict(evidence, bias)
    assert said == expected
    assert (reason is not None) == (expected == "undecided")


def test_undecided_names_the_intervals_that_are_too_wide():
    heard, bias = "the interval of evidence is not within ±2 AUC points", "the bias interval is not within ±0.1 nat"
    assert verdict((-3, 3), (-1, 1))[1] == f"{heard}; {bias}"
    assert verdict((-3, 3), (-0.1, 0.1))[1] == heard
    assert verdict((-3, 3), (0.5, 1))[1] == heard
    assert verdict((-1, 1), (-1, 1))[1] == bias


def simulated(folder, intervention, **more):
    tables = compute_tables(read_run(write_simulation(folder / "run", intervention, **more)))
    return tables.table("verdicts").row(0, named=True), tables


@pytest.mark.parametrize(
    ("intervention", "expected"),
    [
        ("bias", {"pulls the answer"}),
        ("evidence", {"removes evidence"}),
        ("shrunk", {"removes evidence and pulls the answer"}),
        ("nothing", {"neither", "undecided"}),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_known_intervention_gets_its_verdict(tmp_path, intervention, expected, seed):
    row, _ = simulated(tmp_path, intervention, seed=seed)
    assert row["verdict"] in expected


def test_accuracy_alone_does_not_tell_bias_from_lost_evidence(tmp_path):
    gaps = []
    for intervention in ("bias", "evidence"):
        _, tables = simulated(tmp_path / intervention, intervention)
        gap = tables.table("effects").filter((pl.col("measure") == "excess_gap") & (pl.col("control") == "target"))
        gaps.append(gap["high"][0])
    assert max(gaps) < -10  # points: the accuracy of the target falls the most under either of them


def test_limits_of_the_rule_that_the_method_page_names(tmp_path):
    # a bias of another size for each speaker is no evidence, since speakers are compared with themselves
    row, _ = simulated(tmp_path / "uneven", "uneven")
    assert row["verdict"] == "pulls the answer"
    # a rival emotion that is said more often takes evidence against itself, and pulls the answer
    row, _ = simulated(tmp_path / "rival", "rival")
    assert row["verdict"] == "pulls the answer"
    # evidence so large that the ranks survive its loss, although the answers do not
    row, tables = simulated(tmp_path / "ceiling", "evidence", bonus=12.0, strength=7.0)
    assert row["verdict"] == "neither"
    own = tables.table("effects").filter((pl.col("measure") == "self") & (pl.col("control") == "target"))
    assert own["estimate"][0] < -50


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"speakers": 4}, "only 4 speakers: an interval needs at least 5"),
        ({"speakers": None}, "speakers are unknown"),
        ({"letter_mass": 0.4}, "too few answers are letters, or the written answers differ too often"),
    ],
)
def test_no_verdict_and_why(tmp_path, more, reason):
    row, tables = simulated(tmp_path, "evidence", **more)
    assert (row["verdict"], row["reason"]) == (None, reason)
    assert row["headline"]
    assert row["unreliable"] == ("letter_mass" in more)
    # a recording is compared with no other one
    assert (row["excess_bias_low"] is None) == ("speakers" in more)
    effects = tables.table("effects")
    assert effects["unreliable"].unique().to_list() == [row["unreliable"]]
