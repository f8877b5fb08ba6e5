"""Listening where the memory of a device is full; batches."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emoscope.experiments.listen import batches
from emoscope.experiments.stages import Task, listen
from emoscope.experiments.study import parse_study
from emoscope.models.registry import load_model
from emoscope.models.statistics import ScopeStatistics
from emoscope.models.values import Prepared
from emoscope.neurons.activity import Activity
from emoscope.runs import Log, RunFolder

STUDY = """
name = "heard"
[model]
allow_trained_on = true
positions_per_batch = 512
[[corpora]]
id = "polish"
where = { take = [1], word = ["nie"] }
"""


def test_where_memory_ends_a_block_is_heard_anew_in_smaller_batches(tmp_path: Path, monkeypatch) -> None:
    model, study, said = load_model("tiny"), parse_study(STUDY), []
    before = listen(Task(study, RunFolder(tmp_path / "before", create=True), Log("quiet")), model)
    plain, sizes, most = type(model).score, [], 5

    def score(model, rows, *given, observe=None, **more):
        found = plain(model, rows, *given, observe=observe, **more)
        sizes.append(len(rows))
        if isinstance(observe, ScopeStatistics) and len(rows) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")  # when activations were observed already
        return found

    monkeypatch.setattr(type(model), "score", score)
    log = Log("quiet")
    log.say = said.append
    after = listen(Task(study, RunFolder(tmp_path / "after", create=True), log), model)
    assert "The memory of cpu is full: from here on 256 positions at a time." in said, (said, sizes)
    assert max(sizes[-3:]) <= 5
    assert after.items.drop("path").equals(before.items.drop("path"))
    one, other = (Activity.open(heard.run / "activity.zarr") for heard in (before, after))
    # sums of what was observed in vain would differ by a pass
    np.testing.assert_allclose(one.mean_product(), other.mean_product(), rtol=1e-4, atol=1e-6)
    most = 0
    with pytest.raises(torch.OutOfMemoryError):
        listen(Task(study, RunFolder(tmp_path / "never", create=True), log), model)


@given(st.lists(st.integers(1, 60), min_size=1), st.integers(1, 200), st.booleans(), st.booleans())
def test_batches_hold_every_row_once_and_no_more_positions_than_they_may(lengths, positions, by_length, padded) -> None:
    rows = [Prepared(torch.zeros(n, 1), torch.zeros(n, dtype=torch.int8), ("A",)) for n in lengths]
    groups = batches(rows, positions, by_length, padded)
    assert sorted(row for group in groups for row in group) == list(range(len(rows)))
    for group in groups:
        own = [lengths[row] for row in group]
        assert len(own) == 1 or (len(own) * max(own) if padded else sum(own)) <= positions
    order = [row for group in groups for row in group]
    assert order == (sorted(range(len(rows)), key=lambda row: (lengths[row], row)) if by_length else order)
    # none could have taken in the next row
    for group, following in itertools.pairwise(groups):
        own = [lengths[row] for row in (*group, following[0])]
        assert (len(own) * max(own) if padded else sum(own)) > positions
