"""The running best: any cut into pieces gives the same neurons and the same number of ties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoscope.neurons.plan import RunningBar, bar_rank
from emoscope.neurons.ranking import RunningTop, tie_order


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
        assert found.tied_at_cut == (len(at_cut) if left_out else 0)


@settings(max_examples=50, deadline=None)
@given(values=st.lists(st.integers(0, 9), min_size=5, max_size=60), floor=st.floats(0, 1), pieces=st.integers(1, 9))
def test_running_bar_is_the_ranked_value(values, floor, pieces):
    bar = RunningBar(len(values), floor)
    for piece in np.array_split(np.array(values, float), pieces):
        bar.add(piece)
    assert bar.value() == sorted(values)[bar_rank(len(values), floor) - 1]


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
