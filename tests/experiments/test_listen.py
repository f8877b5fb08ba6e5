"""Listening where the memory of a device is full; batches."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emoscope.experiments.heard import batches, together
from emoscope.experiments.stages import Task, listen
from emoscope.experiments.study import parse_study
from emoscope.models.registry import load_model
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
    plain, sizes, most, proofs = type(model).score_lines, [], 5, 0

    def score_lines(model, lines, observe, answer):
        found = plain(model, lines, observe, answer)
        sizes.append(len(found))
        if len(found) > most and len(sizes) > proofs:
            raise torch.OutOfMemoryError("CUDA out of memory")  # when activations were observed already
        return found

    monkeypatch.setattr(type(model), "score_lines", score_lines)
    log = Log("quiet")
    log.say = said.append
    after = listen(Task(study, RunFolder(tmp_path / "after", create=True), log), model)
    assert "The memory of cpu is full: from here on 256 positions at a time." in said, (said, sizes)
    assert max(sizes[-3:]) <= 5
    assert after.items.drop("path").equals(before.items.drop("path"))
    one, other = (Activity.open(heard.run / "activity.zarr") for heard in (before, after))
    # sums of what was observed in vain would differ by a pass
    np.testing.assert_allclose(one.mean_product(), other.mean_product(), rtol=1e-4, atol=1e-6)
    most, proofs = 0, len(sizes) + 1  # the proof that comes first may hear its rows
    with pytest.raises(torch.OutOfMemoryError):
        listen(Task(study, RunFolder(tmp_path / "never", create=True), log), model)
    assert sizes[-1] == 1


def test_rows_are_heard_in_lines_where_a_proof_allows_it(tmp_path: Path, monkeypatch) -> None:
    """The same answers as in padded batches, in few passes; the path stands in the unit's key."""
    study, model, passes = parse_study(STUDY), load_model("tiny"), []
    model.decoder.backbone.register_forward_hook(lambda *_: passes.append(1))
    monkeypatch.setattr("emoscope.experiments.record.prove_model", lambda *_: ())
    model.packs = False
    padded = listen(Task(study, RunFolder(tmp_path / "padded", create=True), Log("quiet")), model)
    before, model.packs = len(passes), True
    lines = listen(Task(study, RunFolder(tmp_path / "lines", create=True), Log("quiet")), model)
    assert before == 4  # two batches, each with its answers
    assert len(passes) - before == 3  # two lines, and all answers together
    assert lines.items.drop("path").equals(padded.items.drop("path"))
    paths = {heard.run.card(heard.units[0])["key"]["path"] for heard in (padded, lines)}
    assert paths == {"padded", "line"}
    one, other = (heard.run.answers(heard.units)[0] for heard in (padded, lines))
    assert one["answer"].equals(other["answer"])
    np.testing.assert_allclose(one["logp"].to_list(), other["logp"].to_list(), rtol=0, atol=1e-5)
    one, other = (Activity.open(heard.run / "activity.zarr") for heard in (padded, lines))
    np.testing.assert_allclose(one.mean_product(), other.mean_product(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(one.read_sums(1, "text"), other.read_sums(1, "text"), rtol=2e-3, atol=1e-4)


@given(st.lists(st.integers(1, 60), min_size=1), st.integers(1, 200), st.integers(0, 800))
def test_batches_are_answered_together_as_many_as_fit(lengths, positions, most) -> None:
    rows = [Prepared(torch.zeros(n, 1), torch.zeros(n, dtype=torch.int8), ("A",)) for n in lengths]
    groups = batches(rows, positions, padded=False)
    assert sum(map(len, groups)) == len(rows)
    found = list(together(groups, rows, most))
    assert [rows for part in found for rows in part] == groups
    sizes = [[sum(lengths[row] for row in group) for group in part] for part in found]
    assert all(len(part) == 1 or sum(part) <= most for part in sizes)
    assert all(sum(part) + following[0] > most for part, following in itertools.pairwise(sizes))


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
