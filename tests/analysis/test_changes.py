"""Log-odds, the AUC without each speaker, sensitivity and bias, worked out by hand and by brute force."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoscope.analysis.contrasts import Changes, auc, compare, measures
from emoscope.analysis.effects import effects, evidence
from emoscope.analysis.responses import build_responses, log_odds
from tests.helpers.runs import deactivations, small_run

A, F = "anger", "fear"

# Two options, so the log-odds of anger are logp(anger) - logp(fear), and those of fear the negative.
# Speaker s0 has one item of each emotion, s1 too. Log-odds of anger at baseline and with anger's set off:
#   item      0 (s0 anger)  1 (s0 fear)  2 (s1 anger)  3 (s1 fear)
#   baseline       3             0             1            -2
#   anger off      1             2             1            -4
ITEMS = [("s0", A), ("s0", F), ("s1", A), ("s1", F)]
BEFORE, AFTER = [3.0, 0.0, 1.0, -2.0], [1.0, 2.0, 1.0, -4.0]


def pairs(odds, shift=0.0):
    """Log-probabilities of (anger, fear) with these log-odds of anger."""
    return [(one + shift, shift) for one in odds]


def odd_run(before=BEFORE, after=AFTER, shift=0.0, items=ITEMS):
    said = {"baseline": [A, F, A, F], "anger": [A, A, A, F]}
    logp = {"baseline": pairs(before), "anger": pairs(after, shift)}
    return small_run(items, said, deactivations(targets=[A]), logp=logp)


def test_log_odds_by_hand():
    # probabilities 1/2, 1/4, 1/8: odds 1/2 : 3/8, 1/4 : 5/8, 1/8 : 3/4
    found = log_odds(np.log([[0.5, 0.25, 0.125]]))
    assert found[0] == pytest.approx(np.log([4 / 3, 2 / 5, 1 / 6]))


def test_log_odds_do_not_lose_a_tiny_rest():
    # the others together have e^-40 of the probability: 1 - p would round to 0
    assert log_odds(np.array([0.0, -40.0]))[0] == pytest.approx(40)


@given(st.lists(st.floats(-30, 0), min_size=2, max_size=7), st.floats(-50, 50))
def test_log_odds_ignore_a_shift_of_all_options(logp, shift):
    assert log_odds(np.array(logp) + shift) == pytest.approx(log_odds(np.array(logp)), abs=1e-9)


def test_an_item_that_does_not_offer_a_label_has_no_log_odds_of_it():
    run = odd_run()
    items = run.items.with_columns(pl.Series("options", [[A, F], [A, F, "sadness"], [F, A], [A, F]]))
    answers = run.answers.with_columns(
        pl.when(pl.col("item") == 1).then([0.0, 0.0, np.log(2)]).otherwise("logp").alias("logp")
    )
    responses = build_responses(type(run)(run.folder, items, run.sets, run.conditions, answers, {}))
    found = responses.log_odds[responses.rows["baseline"]]
    assert responses.labels == (A, F, "sadness")
    assert np.isnan(found[:, 2]).tolist() == [True, False, True, True]
    assert found[1] == pytest.approx([np.log(1 / 3), np.log(1 / 3), 0])
    assert found[2, :2].tolist() == [1, -1]


def test_auc_by_hand():
    # positives 3 (speaker 0), 1 (speaker 1); negatives 2 (speaker 0), 1 (speaker 1).
    # Pairs: 3 > 2, 3 > 1, 1 < 2, 1 = 1: (1 + 1 + 0 + 1/2) / 4. Without speaker 0 only the tie is left, without 1 only 3 > 2.
    found = auc(np.array([3.0, 1, 2, 1]), np.array([True, True, False, False]), np.array([0, 1, 0, 1]), 2)
    assert found.tolist() == [0.625, 0.5, 1.0]


def test_auc_without_any_pair_is_not_defined():
    assert np.isnan(auc(np.array([1.0, 2]), np.array([True, True]), np.array([0, 1]), 2)).all()
    # speaker 0 has the only negative item
    assert np.isnan(auc(np.array([1.0, 2, 3]), np.array([True, False, True]), np.array([0, 0, 1]), 2)).tolist() == [
        False,
        True,
        False,
    ]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 3)), min_size=4, max_size=40),
)
def test_auc_equals_brute_force(items):
    scores, positive, speaker = (np.array(part) for part in zip(*items, strict=True))

    def plain(kept):
        first, second = scores[kept & positive], scores[kept & ~positive]
        won = [(a > b) + (a == b) / 2 for a in first for b in second]
        return sum(won) / len(won) if won else np.nan

    expected = [plain(np.ones(len(items), dtype=bool))] + [plain(speaker != g) for g in range(4)]
    assert auc(scores.astype(float), positive, speaker, 4) == pytest.approx(expected, nan_ok=True)


def test_sensitivity_and_bias_by_hand():
    responses = build_responses(odd_run())
    change = Changes(responses).count({A: "anger"}, [A], np.ones(4, dtype=bool))
    # AUC at baseline: 3 and 1 against 0 and -2: 4 of 4. With the set off 1 and 1 against 2 and -4: 2 of 4.
    assert change.baseline_auc.tolist() == [100]
    assert change.auc[0].tolist() == [-50]
    # Without s0: 1 against -4, still 1 of 1. Without s1: 1 against 2, none of 1 (1 of 1 at baseline).
    assert change.auc[1:, 0].tolist() == [0, -100]
    # Bias over the items of fear: from 0 to 2 and from -2 to -4: (2 - 2) / 2; without s0 -2, without s1 +2
    assert change.bias()[:, 0].tolist() == [0, -2, 2]


def test_sensitivity_and_bias_ignore_a_shift_of_all_options():
    first, second = (
        measures(Changes(build_responses(odd_run(shift=s))).count({A: "anger"}, [A], np.ones(4, dtype=bool)))
        for s in (0.0, -7.0)
    )
    for name in ("sensitivity", "bias"):
        assert second[name].values == pytest.approx(first[name].values, abs=1e-12)


def test_a_constant_shift_of_the_target_is_bias_alone():
    run = odd_run(after=[one - 0.75 for one in BEFORE])
    row = evidence(compare(build_responses(run), run.conditions)).row(0, named=True)
    assert (row["auc"], row["sensitivity"], row["bias"]) == (100, 0, -0.75)
    assert (row["n"], row["sensitivity_low"], row["excess_bias"]) == (4, None, None)


def test_excess_is_the_target_minus_the_mean_of_matched():
    # matched draw 0 changes nothing; draw 1 moves the item of fear of s0 from 0 to 2, above one item of anger:
    # AUC 3 of 4, so -25, bias (2 + 0) / 2 = 1. Means -12.5 and 0.5. The target: -50 and 0.
    names = ["baseline", "anger", "anger~matched0", "anger~matched1"]
    odds = [BEFORE, AFTER, BEFORE, [3.0, 2.0, 1.0, -2.0]]
    rows = [*deactivations(targets=[A])]
    rows += [*deactivations("matched", 0, targets=[A]), *deactivations("matched", 1, targets=[A])]
    logp = {name: pairs(one) for name, one in zip(names, odds, strict=True)}
    run = small_run(ITEMS, {name: [A, F, A, F] for name in names}, rows, logp=logp)
    compared = compare(build_responses(run), run.conditions)
    row = evidence(compared).filter(pl.col("control") == "target").row(0, named=True)
    assert (row["excess_sensitivity"], row["excess_bias"]) == (-37.5, -0.5)
    mean = evidence(compared).filter(pl.col("draw").is_null()).row(0, named=True)
    assert (mean["sensitivity"], mean["bias"], mean["draws"]) == (-12.5, 0.5, 2)
    excess = {row["measure"]: row for row in effects(compared).iter_rows(named=True) if row["control"] == "target"}
    assert (excess["excess_sensitivity"]["estimate"], excess["excess_bias"]["estimate"]) == (-37.5, -0.5)
    assert (excess["excess_sensitivity"]["unit"], excess["excess_bias"]["unit"]) == ("AUC points", "nat")
    assert excess["excess_gap"]["unit"] == "points"


def test_without_log_probabilities_there_is_no_evidence():
    run = small_run(ITEMS, {"baseline": [A, F, A, F], "anger": [A, A, A, F]}, deactivations(targets=[A]))
    row = evidence(compare(build_responses(run), run.conditions)).row(0, named=True)
    assert (row["auc"], row["sensitivity"], row["bias"], row["n"]) == (None, None, None, 0)
