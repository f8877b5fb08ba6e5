"""Selectors: each formula worked out by hand, a slow re-implementation, and the streaming form.

The hand-worked example has three neurons and three emotions, T = 10, 10 and 20 positions:

              K (fires at)        P = K / T          S (sum)            M = S / T
               n0  n1  n2      n0   n1   n2       n0  n1  n2        n0    n1   n2
    anger       8   2   5     0.8  0.2  0.5        4  -1   2       0.4  -0.1  0.2
    fear        4   2   5     0.4  0.2  0.5        1   0   3       0.1   0.0  0.3
    sadness     4  12  10     0.2  0.6  0.5        2   8   8       0.1   0.4  0.4
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoscope.neurons.ranking import Job, SelectionPlan, rank_streaming, select_from_sums, tie_order
from emoscope.neurons.samples import Selection
from emoscope.neurons.selectors import (
    BUILT_IN,
    Statistics,
    cas,
    find_selector,
    lape,
    lape_original,
    mad,
    mad_active,
    mad_z,
    needs_gradients,
)

from .helpers import activity_of_counts, random_activity

FIRED = np.array([[8, 2, 5], [4, 2, 5], [4, 12, 10]])
TOKENS = np.array([10, 10, 20])
SUMMED = np.array([[4, -1, 2], [1, 0, 3], [2, 8, 8]])
VARIANCE = np.array([0.25, 0.01, 0.04])  # of n0, n1, n2: standard deviations 0.5, 0.1, 0.2
NAMES = sorted(name for name in BUILT_IN if not needs_gradients([name]))
"""What reads gradients: tests/neurons/test_attributed.py."""


def chosen(selector, size, floor=0.95):
    found = select_from_sums(FIRED, TOKENS, SUMMED, selector, size, floor=floor, variance=VARIANCE)
    return [one.neurons.tolist() for one in found]


def example(**more):
    return Statistics(FIRED / TOKENS[:, None], SUMMED / TOKENS[:, None], TOKENS, **more)


def test_lap_takes_the_highest_firing_rates():
    assert chosen("lap", 1) == [[0], [2], [1]]
    # fear: 0.5, then 0.4
    assert chosen("lap", 2) == [[0, 2], [0, 2], [1, 2]]


def test_cas_takes_the_margin_between_the_two_highest_rates():
    # n0: 0.8 - 0.4 = 0.4 for anger; n1: 0.6 - 0.2 = 0.4 for sadness; n2: 0.5 - 0.5 = 0 is not eligible
    assert chosen("cas", 3) == [[0], [], [1]]
    np.testing.assert_allclose(cas(example()), [[0.4, -np.inf, -np.inf], [-np.inf] * 3, [-np.inf, 0.4, -np.inf]])


def test_mad_takes_the_signed_distance_from_the_mean_of_the_others():
    # n0: 0.4 - 0.10 =  0.3,   0.1 - 0.25 = -0.15,  0.1 - 0.25  = -0.15
    # n1: -0.1 - 0.2 = -0.3,   0.0 - 0.15 = -0.15,  0.4 + 0.05  =  0.45
    # n2: 0.2 - 0.35 = -0.15,  0.3 - 0.30 =  0.00,  0.4 - 0.25  =  0.15
    np.testing.assert_allclose(
        mad(example()),
        [[0.3, -0.3, -0.15], [-0.15, -0.15, 0.0], [-0.15, 0.45, 0.15]],
        atol=1e-12,
    )
    assert chosen("mad", 1) == [[0], [2], [1]]
    # fear's second place is a tie at -0.15 between n0 (M = 0.1) and n1 (M = 0.0): the larger M wins
    assert chosen("mad", 2)[1] == [0, 2]
    assert select_from_sums(FIRED, TOKENS, SUMMED, "mad", 2)[1].columns["tied_at_cut"] == 2


def test_lape_takes_the_lowest_entropies_above_the_bar():
    # n0: q = 4/7, 2/7, 1/7: H = 4/7 ln 7/4 + 2/7 ln 7/2 + 1/7 ln 7 = 0.9557, largest for anger
    # n1: q = 0.2, 0.2, 0.6: H = 0.4 ln 5 + 0.6 ln 1/0.6 = 0.9503, largest for sadness
    # n2: q = 1/3 each: H = ln 3 = 1.0986; all three rates are largest, sadness has the largest M
    scores = lape(example(bar=0.4))
    expected = np.full((3, 3), -np.inf)
    expected[0, 0] = -(4 * math.log(7 / 4) + 2 * math.log(7 / 2) + math.log(7)) / 7
    expected[2, 1] = -(0.4 * math.log(5) + 0.6 * math.log(1 / 0.6))
    expected[2, 2] = -math.log(3)
    np.testing.assert_allclose(scores, expected)


def test_the_bar_is_the_ranked_rate_over_all_neurons_and_emotions():
    # ascending: 0.2 0.2 0.2 0.4 0.5 0.5 0.5 0.6 0.8. round(0.95 x 9) = 9: the bar is 0.8, none exceeds it
    assert chosen("lape", 3) == [[], [], []]
    # round(0.78 x 9) = 7: the bar is 0.5, n2 does not exceed it
    assert chosen("lape", 3, floor=0.78) == [[0], [], [1]]
    # round(0.44 x 9) = 4: the bar is 0.4; n1 (0.9503) comes before n2 (1.0986)
    assert chosen("lape", 1, floor=0.44) == [[0], [], [1]]
    assert chosen("lape", 3, floor=0.44) == [[0], [], [1, 2]]


def test_lape_gives_a_share_of_zero_no_entropy():
    rate = np.array([[0.5, 0.4], [0.0, 0.4]])
    np.testing.assert_allclose(lape(Statistics(rate, rate, np.ones(2), bar=0.1))[0], [0.0, -math.log(2)])


def test_lape_original_gives_a_neuron_to_every_emotion_above_the_bar():
    # entropies as above, n1 0.9503 < n0 0.9557 < n2 1.0986. Above a bar of 0.4: n0 for anger (0.8) only, as fear has
    # just 0.4; n1 for sadness (0.6); n2 for all three (0.5)
    scores = lape_original(example(bar=0.4))
    n0, n1, n2 = -0.955700, -0.950271, -1.098612
    np.testing.assert_allclose(scores, [[n0, -np.inf, n2], [-np.inf, -np.inf, n2], [-np.inf, n1, n2]], atol=1e-6)
    # one list: of 1 neuron n1, of 2 n1 and n0, of 3 all; round(0.44 x 9) = 4: the bar is 0.4
    assert chosen("lape-original", 1, floor=0.44) == [[], [], [1]]
    assert chosen("lape-original", 2, floor=0.44) == [[0], [], [1]]
    assert chosen("lape-original", 3, floor=0.44) == [[0, 2], [2], [1, 2]]
    # no more than are eligible: round(0.78 x 9) = 7: the bar is 0.5
    assert chosen("lape-original", 3, floor=0.78) == [[0], [], [1]]


def test_mad_z_divides_by_the_spread_of_items_within_emotions():
    # mad over standard deviations of 0.5, 0.1 and 0.2 (the added 1e-6 changes the sixth digit)
    # n0: 0.3 / 0.5, -0.15 / 0.5, -0.15 / 0.5;  n1: -0.3 / 0.1, -0.15 / 0.1, 0.45 / 0.1;  n2: -0.15 / 0.2, 0, 0.15 / 0.2
    np.testing.assert_allclose(
        mad_z(example(variance=VARIANCE)),
        [[0.6, -3.0, -0.75], [-0.3, -1.5, 0.0], [-0.3, 4.5, 0.75]],
        rtol=1e-4,
        atol=1e-9,
    )
    assert chosen("mad-z", 1) == [[0], [2], [1]]
    assert chosen("mad-z", 2) == [[0, 2], [0, 2], [1, 2]]
    with pytest.raises(ValueError, match="'mad-z' reads the variance"):
        select_from_sums(FIRED, TOKENS, SUMMED, "mad-z", 1)


def test_mad_active_asks_for_a_tenth_of_the_positions():
    # n0 fires for sadness at 2 of 20 positions, just enough, n1 for anger at none
    rate = np.array([[0.8, 0.0, 0.5], [0.4, 0.2, 0.5], [0.1, 0.6, 0.09]])
    mean = SUMMED / TOKENS[:, None]
    np.testing.assert_allclose(
        mad_active(Statistics(rate, mean, TOKENS)),
        [[0.3, -np.inf, -0.15], [-0.15, -0.15, 0.0], [-0.15, 0.45, -np.inf]], atol=1e-12,
    )  # fmt: skip
    found = select_from_sums(rate * TOKENS[:, None], TOKENS, SUMMED, "mad-active", 3)
    assert [one.neurons.tolist() for one in found] == [[0, 2], [0, 1, 2], [0, 1]]


def test_a_neuron_that_never_moves_does_not_win_by_its_stillness():
    # n1 has no spread: 0.45 / sqrt(0 + 1e-6) = 450, not infinity; n0 0.3 / sqrt(0.25 + 1e-6) = 0.599999
    scores = mad_z(example(variance=np.array([0.25, 0.0, 0.04])))
    np.testing.assert_allclose([scores[2, 1], scores[0, 0]], [450, 0.5999988], rtol=1e-7)


def test_of_two_emotions_mad_is_their_difference():
    # anger and fear alone: n0 0.4 - 0.1, n1 -0.1 - 0.0, n2 0.2 - 0.3; the other emotion has the same with the other sign
    two = Statistics((FIRED / TOKENS[:, None])[:2], (SUMMED / TOKENS[:, None])[:2], TOKENS[:2])
    np.testing.assert_allclose(mad(two), [[0.3, -0.1, -0.1], [-0.3, 0.1, 0.1]], atol=1e-12)
    # and CAS that of the rates: n0 0.8 - 0.4 for anger, n1 0.2 - 0.2 and n2 0.5 - 0.5 not eligible
    np.testing.assert_allclose(cas(two), [[0.4, -np.inf, -np.inf], [-np.inf] * 3])


def test_longer_clips_count_for_more(tmp_path):
    """From clips to scores: two clips of each emotion, of 10 and 30 positions (anger), 20 and 20 (fear).

              fires at (of)                mean activation
               n0      n1      n2           n0     n1    n2
    anger  10/10    0/10    5/10           1.0    0.0   0.5
            2/30   12/30   15/30           0.5    0.5   0.0
    fear    6/20    6/20   10/20           0.25   0.0   0.0
            6/20    2/20   10/20           0.25   0.5   0.5
    """
    fired = [[10, 0, 5], [2, 12, 15], [6, 6, 10], [6, 2, 10]]
    means = [[1.0, 0.0, 0.5], [0.5, 0.5, 0.0], [0.25, 0.0, 0.0], [0.25, 0.5, 0.5]]
    activity = activity_of_counts(tmp_path / "a.zarr", fired, [10, 30, 20, 20], means)
    one = Selection("all", np.arange(4), np.array([0, 0, 1, 1]), ("anger", "fear"))
    plan = SelectionPlan(activity, [one], "audio")
    ((seen,),) = plan.statistics()
    # P(anger) of n0 is 12 / 40 = 0.3, where the mean of the clips' rates would be (1 + 0.067) / 2 = 0.53
    np.testing.assert_allclose(seen.rate, [[0.3, 0.3, 0.5], [0.3, 0.2, 0.5]])
    # M(anger) of n0 is (10 x 1.0 + 30 x 0.5) / 40 = 0.625, of n1 30 x 0.5 / 40, of n2 10 x 0.5 / 40
    np.testing.assert_allclose(seen.mean, [[0.625, 0.375, 0.125], [0.25, 0.25, 0.25]])
    found = rank_streaming(plan, [Job("all", name, 1) for name in ("cas", "mad")])
    # CAS: n0 0.3 - 0.3 and n2 0.5 - 0.5 are not eligible, n1 0.1 for anger. MAD: n0 0.375 for anger, n2 0.125 for fear
    assert [one.neurons.tolist() for one in found[Job("all", "cas", 1)].take(1)] == [[1], []]
    assert [one.neurons.tolist() for one in found[Job("all", "mad", 1)].take(1)] == [[0], [2]]


def test_share_of_negative_means_and_sizes_are_reported():
    # anger by LAP: n0 (M = 0.4), n2 (0.2), n1 (-0.1)
    two, three = (select_from_sums(FIRED, TOKENS, SUMMED, "lap", size)[0] for size in (2, 3))
    assert two.columns["share_negative_mean"] == 0.0
    assert three.columns["share_negative_mean"] == pytest.approx(1 / 3)
    fear = select_from_sums(FIRED, TOKENS, SUMMED, "cas", 3)[1]
    assert (len(fear), fear.columns["share_negative_mean"], fear.columns["tied_at_cut"]) == (0, None, 0)


def test_margins_that_differ_only_in_the_last_bit_tie():
    # 3/10 - 1/10 and 2/10 - 0/10 are one margin, yet two different floats
    fired = np.array([[3, 2], [1, 0]])
    assert 3 / 10 - 1 / 10 != 2 / 10
    anger, _ = select_from_sums(fired, np.array([10, 10]), np.array([[1, 2], [0, 0]]), "cas", 1)
    assert anger.neurons.tolist() == [1]
    assert anger.columns["tied_at_cut"] == 2


def test_ties_do_not_prefer_early_layers():
    fired = np.ones((2, 1000), int) * np.array([[2], [1]])
    picks = select_from_sums(fired, np.array([4, 4]), fired * 0.0, "cas", 100)[0]
    assert picks.columns["tied_at_cut"] == 1000
    assert 10 <= (picks.neurons < 250).sum() <= 40  # 25 expected; layer order would give 100
    other = select_from_sums(fired, np.array([4, 4]), fired * 0.0, "cas", 100, seed=1)[0]
    assert set(picks.neurons) != set(other.neurons)


def slow_one_list(rate, mean, bar, size, seed):
    """Tang et al.'s rule again: the lowest entropies, then each neuron to the emotions above the bar."""
    found = []
    for n in range(rate.shape[1]):
        p, above = rate[:, n].tolist(), [e for e in range(len(rate)) if rate[e, n] > bar]
        if above:
            entropy = -sum(x / sum(p) * math.log(x / sum(p)) for x in p if x > 0)
            tie = -max(mean[e, n] for e in above), int(tie_order(np.array([n]), seed)[0])
            found.append((round(entropy, 12), *tie, n))
    found.sort()
    cut = found[size - 1][0] if len(found) > size else None
    tied = sum(one[0] == cut for one in found) if cut is not None and found[size][0] == cut else 0
    listed = sorted(one[3] for one in found[:size])
    return [([n for n in listed if rate[e, n] > bar], tied) for e in range(len(rate))]


def slow_selection(rate, mean, selector, size, seed, floor=0.95, variance=None):
    """The definitions again, one neuron at a time, with plain sorting."""
    emotions, neurons = rate.shape
    bar = sorted(rate.ravel().tolist())[max(1, round(floor * rate.size)) - 1]
    if selector == "lape-original":
        return slow_one_list(rate, mean, bar, size, seed)
    result = []
    for e in range(emotions):
        found = []
        for n in range(neurons):
            p, m = rate[:, n].tolist(), mean[:, n].tolist()
            others = [i for i in range(emotions) if i != e]
            if selector == "lap":
                score = p[e]
            elif selector.startswith("mad"):
                score = m[e] - sum(m[i] for i in others) / len(others)
                if selector == "mad-z":
                    score /= math.sqrt(variance[n] + 1e-6)
                if selector == "mad-active" and p[e] < 0.1:
                    continue
            elif selector == "cas":
                score = p[e] - max(p[i] for i in others)
                if score <= 0:
                    continue
            else:
                best = max((p[i], m[i], -i) for i in range(emotions))
                if p[e] <= bar or (p[e], m[e], -e) != best:
                    continue
                score = sum(x / sum(p) * math.log(x / sum(p)) for x in p if x > 0)
            found.append((-round(score, 12), -m[e], int(tie_order(np.array([n]), seed)[0]), n))
        found.sort()
        cut = found[size - 1][0] if len(found) > size else None
        tied = sum(one[0] == cut for one in found)
        left_out = cut is not None and found[size][0] == cut
        result.append((sorted(one[3] for one in found[:size]), tied if left_out else 0))
    return result


@pytest.mark.parametrize("selector", NAMES)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), emotions=st.integers(2, 4), neurons=st.integers(1, 30), size=st.integers(1, 12))
def test_fast_path_agrees_with_the_slow_one(selector, seed, emotions, neurons, size):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(1, 6, emotions)  # few positions, so that ties abound
    fired = rng.integers(0, tokens[:, None] + 1, (emotions, neurons))
    summed = rng.integers(-3, 4, (emotions, neurons)) / 4
    spread = rng.integers(0, 3, neurons) / 8
    fast = select_from_sums(fired, tokens, summed, selector, size, seed=seed, floor=0.6, variance=spread)
    rate, mean = fired / tokens[:, None], summed / tokens[:, None]
    slow = slow_selection(rate, mean, selector, size, seed, floor=0.6, variance=spread)
    assert [(one.neurons.tolist(), one.columns["tied_at_cut"]) for one in fast] == slow


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_sets_keep_their_budget_and_cas_sets_share_no_neuron(seed):
    rng = np.random.default_rng(seed)
    fired = rng.integers(0, 9, (4, 60))
    for selector in NAMES:
        spread = rng.random(60)
        found = select_from_sums(
            fired, np.full(4, 8), rng.normal(size=(4, 60)), selector, 7, seed=seed, variance=spread
        )
        for one in found:
            assert len(one) <= 7
            assert (np.diff(one.neurons) > 0).all()
        if selector in ("lap", "mad", "mad-z"):
            assert all(len(one) == 7 for one in found)
        if selector == "cas":
            everything = np.concatenate([one.neurons for one in found])
            assert len(everything) == len(set(everything.tolist()))


def some_plan(activity, rng, scope, selections=6, emotions=3):
    labels = np.arange(activity.items) % emotions
    names = ("anger", "fear", "sadness")[:emotions]
    made = []
    for number in range(selections):
        picked = rng.permutation(activity.items)[: rng.integers(activity.items // 2, activity.items)]
        shuffled = rng.permutation(labels[picked]) if number % 2 else labels[picked]
        made.append(Selection(f"s{number}", picked, shuffled, names))
    return SelectionPlan(activity, made, scope)


def pooled_variance(groups):
    """Variance of items within emotions, pooled: the textbook's formula; groups of (item, neuron)."""
    squares = sum(((group - group.mean(axis=0)) ** 2).sum(axis=0) for group in groups)
    return squares / sum(len(group) - 1 for group in groups)


def test_variance_of_four_items_worked_out(tmp_path):
    activity, blocks = random_activity(tmp_path / "a.zarr", items=4, layers=1, width=2)
    blocks[0].tokens[:] = [[4, 3, 1, 1], [6, 3, 1, 1], [2, 3, 1, 1], [2, 3, 1, 1]]
    blocks[0].means["audio"][:, 0] = [[0.5, 1.0], [0.25, 2.0], [-0.25, 1.0], [0.25, 1.0]]
    activity.write(0, blocks[0])
    one = Selection("one", np.arange(4), np.array([0, 0, 1, 1]), ("anger", "fear"))
    # anger's items 0.5 and 0.25, mean 0.375: 2 x 0.125^2 = 0.03125; fear's -0.25 and 0.25: 2 x 0.25^2 = 0.125
    # pooled over 1 + 1 degrees of freedom: 0.078125. n1: (2 x 0.5^2 + 0) / 2 = 0.25. Lengths of clips do not matter
    (variance,) = SelectionPlan(activity, [one], "audio").variances()
    np.testing.assert_allclose(variance, [[0.078125, 0.25]])
    # one item of each emotion has no spread
    alone = Selection("one", np.array([0, 2]), np.array([0, 1]), ("anger", "fear"))
    (variance,) = SelectionPlan(activity, [alone], "audio").variances()
    np.testing.assert_array_equal(variance, [[0.0, 0.0]])


def test_streaming_gives_what_sums_in_memory_give(tmp_path):
    # few tokens and a wide net of ties: three layers, each with equal counts in many neurons
    activity, _ = random_activity(tmp_path / "a.zarr", layers=4, width=40, seed=3)
    scope, sizes = "decision+answer", (1, 5, 17, 150)
    plan = some_plan(activity, np.random.default_rng(0), scope)
    jobs = [Job(one.key, selector, max(sizes)) for one in plan.selections for selector in NAMES]
    found = rank_streaming(plan, jobs, seed=5)
    counts, sums = (
        np.concatenate([read(layer, scope) for layer in range(4)], axis=1)
        for read in (activity.read_counts, activity.read_sums)
    )
    tokens, ties = activity.tokens(scope), 0
    for one in plan.selections:
        groups = [one.items[one.labels == e] for e in range(3)]
        fired, summed = (np.stack([array[group].sum(axis=0) for group in groups]) for array in (counts, sums))
        total = np.array([tokens[group].sum() for group in groups])
        spread = pooled_variance([sums[group] / tokens[group][:, None] for group in groups])
        for selector in NAMES:
            for size in sizes:
                expected = select_from_sums(fired, total, summed, selector, size, seed=5, variance=spread)
                for fast, slow in zip(found[Job(one.key, selector, size)].take(size), expected, strict=True):
                    assert fast.neurons.tolist() == slow.neurons.tolist()
                    assert fast.columns["tied_at_cut"] == slow.columns["tied_at_cut"]
                    assert fast.columns["share_negative_mean"] == slow.columns["share_negative_mean"]
                    ties += slow.columns["tied_at_cut"]
    assert ties > 0


def test_streamed_bars_are_the_ranked_rates(tmp_path):
    activity, _ = random_activity(tmp_path / "a.zarr", layers=4, width=40)
    plan = some_plan(activity, np.random.default_rng(1), "audio")
    bars = plan.bars([0, 3])
    tokens, counts = activity.tokens("audio"), [activity.read_counts(layer, "audio") for layer in range(4)]
    for number, bar in bars.items():
        one = plan.selections[number]
        groups = [one.items[one.labels == e] for e in range(3)]
        rates = sorted(float(k[g].sum(0)[n] / tokens[g].sum()) for k in counts for g in groups for n in range(40))
        assert bar == rates[round(0.95 * 480) - 1]


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="'casual' is not known: choose from lap, lape, lape-original, mad"):
        find_selector("casual")
    with pytest.raises(ValueError, match="at least two emotions"):
        select_from_sums(FIRED[:1], TOKENS[:1], SUMMED[:1], "cas", 1)
    activity, _ = random_activity(tmp_path / "a.zarr")
    plan = some_plan(activity, np.random.default_rng(0), "audio", 1)
    with pytest.raises(ValueError, match="'other' is not in the plan"):
        rank_streaming(plan, [Job("other", "cas", 1)])


@pytest.mark.parametrize("name", sorted(BUILT_IN - {*NAMES}))
def test_sums_of_activity_give_no_selector_by_gradients(name):
    with pytest.raises(ValueError, match="reads gradients"):
        select_from_sums(np.ones((2, 3)), np.ones(2), np.ones((2, 3)), name, 1)
