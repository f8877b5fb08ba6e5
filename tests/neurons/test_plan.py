"""Selection plans: sums by matrix equal sums by loop, bit for bit, in any order of items and blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoscope.neurons.activity import Activity
from emoscope.neurons.plan import Selection, SelectionPlan

from .helpers import random_activity

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
    monkeypatch.setattr("emoscope.neurons.plan.SPAN_ITEMS", span)
    activity, _ = random_activity(tmp_path / "a.zarr")
    rng = np.random.default_rng(0)
    made = []
    for number in range(4):
        items = rng.permutation(40)[: 20 + number]
        made.append(Selection(number, items, rng.permutation(len(items)) % 2, NAMES))
    plan = SelectionPlan(activity, made, "all")
    tokens = activity.tokens("all")
    both = zip(statistics(plan), plan.rates(), strict=True)
    for layer, ((rate, mean), alone) in enumerate(both):
        fired, summed = activity.read_layer(layer, "all")
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
