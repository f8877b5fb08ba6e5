"""Sums by matrix equal sums by loop, bit for bit; the running best does not depend on how scores are cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoscope.neurons.activity import Activity
from emoscope.neurons.ranking import RunningTop, SelectionPlan, tie_order
from emoscope.neurons.samples import Selection
from emoscope.neurons.selectors import RunningBar

from .helpers import both, random_activity

NAMES = ("anger", "fear")


def statistics(plan):
    seen = plan.statistics()
    return [(np.stack([one.rate for one in layer]), np.stack([one.mean for one in layer])) for layer in seen]


def test_rates_and_means_of_two_items_worked_out(tmp_path):
    activity, blocks = random_activity(tmp_path / "a.zarr", items=2, layers=1, width=2)
    block = blocks[0]
    block.tokens[:] = [[4, 3, 1, 1], [6, 3, 1, 1]]
    block.counts["audio"][:] = [[[1, 4]], [[3, 0]]]
    block.means["audio"][:] = [[[0.5, 0.25]], [[-0.25, 1.0]]]
    block.values["answer"][:] = [[[0.5, -0.125]], [[0.25, 0.25]]]
    activity.write(0, block)
    plan = SelectionPlan(activity, [Selection("one", np.array([0, 1]), np.array([0, 1]), NAMES)], "audio+answer")
    # anger (item 0), T = 4 + 1: K = 1 + 1, 4 + 0; S = 4 x 0.5 + 0.5, 4 x 0.25 - 0.125
    # fear  (item 1), T = 6 + 1: K = 3 + 1, 0 + 1; S = -6 x 0.25 + 0.25, 6 + 0.25
    ((rate, mean),) = statistics(plan)
    np.testing.assert_array_equal(rate[0], [[2 / 5, 4 / 5], [4 / 7, 1 / 7]])
    np.testing.assert_array_equal(mean[0], [[2.5 / 5, 0.875 / 5], [-1.25 / 7, 6.25 / 7]])


@pytest.mark.parametrize("span", [7, 512])
def test_matrix_sums_equal_loops(tmp_path, monkeypatch, span):
    monkeypatch.setattr("emoscope.neurons.ranking.SPAN_ITEMS", span)
    activity, _ = random_activity(tmp_path / "a.zarr")
    rng = np.random.default_rng(0)
    made = []
    for number in range(4):
        items = rng.permutation(40)[: 20 + number]
        made.append(Selection(number, items, rng.permutation(len(items)) % 2, NAMES))
    plan = SelectionPlan(activity, made, "all")
    tokens = activity.tokens("all")
    pairs = zip(statistics(plan), plan.rates(), strict=True)
    for layer, ((rate, mean), alone) in enumerate(pairs):
        fired, summed = both(activity, layer, "all")
        np.testing.assert_array_equal(rate, alone)
        for number, one in enumerate(made):
            for emotion in range(2):
                members = one.items[one.labels == emotion]
                total = sum(tokens[i] for i in members)
                np.testing.assert_array_equal(rate[number, emotion], sum(fired[i] for i in members) / total)
                np.testing.assert_array_equal(mean[number, emotion], sum(summed[i] for i in members) / total)


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 1000))
def test_order_of_items_and_of_blocks_changes_no_bit(tmp_path_factory, seed):
    folder, rng = tmp_path_factory.mktemp("order"), np.random.default_rng(seed)
    activity, blocks = random_activity(folder / "a.zarr", items=70, layers=2, seed=seed)
    other = Activity.create(folder / "b.zarr", 70, 2, 5, activity.down_norm, 32)
    for number in rng.permutation(len(blocks)):
        other.write(32 * int(number), blocks[number])
    items = rng.permutation(70)[:50]
    mixed = rng.permutation(50)
    labels = np.arange(50) % 2
    one = SelectionPlan(activity, [Selection("s", items, labels, NAMES)], "all")
    two = SelectionPlan(other, [Selection("s", items[mixed], labels[mixed], NAMES)], "all")
    for first, second in zip(statistics(one), statistics(two), strict=True):
        np.testing.assert_array_equal(first, second)


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="has no item of fear"):
        Selection("x", np.array([1]), np.array([0]), NAMES)
    with pytest.raises(ValueError, match="at least two"):
        Selection("x", np.array([1]), np.array([0]), ("anger",))
    with pytest.raises(ValueError, match="2 items but 1 labels"):
        Selection("x", np.array([1, 2]), np.array([0]), NAMES)
    with pytest.raises(ValueError, match="label 2 has no emotion"):
        Selection("x", np.array([1, 2]), np.array([0, 2]), NAMES)
    one = Selection("x", np.array([0, 1]), np.array([0, 1]), NAMES)
    other = Selection("y", np.array([0, 1]), np.array([0, 1]), ("anger", "sadness"))
    activity, blocks = random_activity(tmp_path / "a.zarr", items=2)
    with pytest.raises(ValueError, match="selection y has the emotions"):
        SelectionPlan(activity, [one, other], "all")
    blocks[0].tokens[1, 3] = 0
    activity.write(0, blocks[0])
    with pytest.raises(ValueError, match="items of fear have no position in scope 'answer'"):
        _ = SelectionPlan(activity, [one], "answer").positions


@settings(max_examples=50, deadline=None)
@given(
    scores=st.lists(st.sampled_from([-np.inf, 0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=40),
    pieces=st.integers(1, 6),
    size=st.integers(1, 12),
    seed=st.integers(0, 99),
)
def test_pieces_give_what_one_sorting_gives(scores, pieces, size, seed):
    scores = np.array(scores)
    means = np.random.default_rng(seed).integers(-1, 2, len(scores)) / 2
    top = RunningTop(size, seed)
    for places in np.array_split(np.arange(len(scores)), pieces):
        if len(places):
            top.add(scores[places], means[places], int(places[0]))
    hashes = tie_order(np.arange(len(scores)), seed)
    order = sorted(np.flatnonzero(scores > -np.inf), key=lambda n: (-scores[n], -means[n], hashes[n]))
    for wanted in range(1, size + 1):
        found = top.take(wanted)
        assert found.neurons.tolist() == sorted(int(n) for n in order[:wanted])
        at_cut = [n for n in order if scores[n] == scores[order[wanted - 1]]] if len(order) >= wanted else []
        left_out = any(n in order[wanted:] for n in at_cut)
        assert found.columns["tied_at_cut"] == (len(at_cut) if left_out else 0)


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.integers(0, 9), min_size=5, max_size=60), floor=st.floats(0, 1), pieces=st.integers(1, 9))
def test_running_bar_is_the_ranked_value(values, floor, pieces):
    bar = RunningBar(len(values), floor)
    for piece in np.array_split(np.array(values, float), pieces):
        bar.add(piece)
    assert bar.value() == sorted(values)[max(1, round(floor * len(values))) - 1]


def test_tie_order_depends_on_the_seed_and_never_collides():
    numbers = np.arange(100_000)
    first, second = tie_order(numbers, 0), tie_order(numbers, 1)
    assert len(np.unique(first)) == len(numbers)
    assert abs(np.corrcoef(first.astype(float), numbers)[0, 1]) < 0.02
    assert abs(np.corrcoef(first.astype(float), second.astype(float))[0, 1]) < 0.02


def test_sizes_are_checked():
    with pytest.raises(ValueError, match="at least 1"):
        RunningTop(0, 0)
    with pytest.raises(ValueError, match="keeps 3"):
        RunningTop(3, 0).take(4)
