"""Units of the intervening stage: what their names depend on, and when the null is asked."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from emoscope.experiments.engine import run_study
from emoscope.experiments.heard import load_inputs
from emoscope.experiments.intervene import (
    LAST,
    LINE,
    PADDED,
    SetsByFold,
    Way,
    first_layer,
    intervene,
    plan_work,
    put,
    why_no_null,
)
from emoscope.experiments.schema import Study
from emoscope.experiments.stages import Task, plan, select, sets_by_fold
from emoscope.experiments.study import parse_study
from emoscope.models.registry import load_model
from emoscope.models.values import Request
from emoscope.runs import Log, RunFolder
from tests.helpers.packs import unpacked
from tests.helpers.small_study import heard_before

SMALL = """
name = "small"
[model]
allow_trained_on = true
positions_per_batch = 64
[[corpora]]
id = "polish"
where = { take = [1], word = ["nie"] }
[identify]
scope = "all"
items_per_emotion = 5
minimum = 1
selectors = ["mad"]
[headline]
selector = "mad"
[interventions]
deactivate = ["zero", "mean"]
alphas = []
positions = []
generate = false
[controls]
matched = 1
random = 0
shuffled = 0
orthogonal = 0
"""


@pytest.fixture(scope="module")
def model():
    """One whose rows are padded, as its attention is not torch's own."""
    return load_model("tiny", attention="eager")


@pytest.fixture(scope="module")
def packing():
    return load_model("tiny")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, model) -> RunFolder:
    """A run in which no two prompts fit one batch."""
    return run_study(parse_study(SMALL), tmp_path_factory.mktemp("runs") / "alone", model=model)


def answers(run: RunFolder) -> pl.DataFrame:
    return pl.read_parquet(run / "answers" / "*.parquet").filter(pl.col("scoring") == "likelihood")


def test_a_null_in_the_baseline_s_own_batches_is_not_asked(alone: RunFolder, model) -> None:
    assert alone.read_json("manifest.json")["null"] == "not run: every batch holds one row"
    assert "null" not in alone.read_table("conditions")["kind"].to_list()
    assert "null" not in answers(alone)["condition"].to_list()
    assert (alone / "report.html").is_file()
    items = alone.read_table("items")
    wide = parse_study(SMALL.replace("positions_per_batch = 64", "positions_per_batch = 1024"))
    assert why_no_null(alone, wide, items, model) == ""
    one = items.with_columns((pl.col("item") == 3).alias("evaluated"))
    assert why_no_null(alone, wide, one, model) == "not run: every batch holds one row"


def test_the_mean_changes_answers_otherwise_than_zero(alone: RunFolder) -> None:
    logp = {condition: np.array(group.sort("item")["logp"].to_list())
            for (condition,), group in answers(alone).group_by("condition")}  # fmt: skip
    zero = "deactivate/anger/mad@0.05:all"
    for name in (zero, "reliance/all", "reliance/layer=2", "reliance/union", f"{zero}~matched0"):
        assert np.abs(logp[name] - logp[f"{name}/to=mean"]).max() > 1e-3
        assert np.abs(logp["baseline"] - logp[f"{name}/to=mean"]).max() > 1e-3


def test_a_unit_s_name_depends_on_the_means(alone: RunFolder, model) -> None:
    listened = heard_before(Task(parse_study(SMALL), alone, Log("quiet")), model)
    selected = select(listened)
    found = selected.found
    conditions, items = alone.read_table("conditions"), listened.items

    def names(sets: SetsByFold, study: Study = listened.study) -> dict[str, str]:
        return {work.condition["condition"]: work.unit.id for work in plan_work(study, items, conditions, sets, model)}

    sets = sets_by_fold(selected)
    before = names(sets)
    assert set(before.values()) <= set(alone.read_table("units")["unit"])
    assert len(set(before.values())) == len(before)
    means = found.mean_product.copy()
    neuron = found.sets["mad@0.05:all", "m1"]["fear"][0]
    means[neuron] = np.nextafter(means[neuron], np.float32(1))
    after = names(dataclasses.replace(sets, mean_product=means))
    changed = {name for name in before if before[name] != after[name]}
    assert "deactivate/fear/mad@0.05:all/to=mean" in changed
    assert {"reliance/all/to=mean", "reliance/union/to=mean"} <= changed
    assert all(name.endswith("/to=mean") for name in changed)
    assert f"reliance/layer={(neuron // 512 + 1) % 4}/to=mean" not in changed


@pytest.mark.long
def test_passes_that_begin_later_give_the_same_bits(alone: RunFolder, model, tmp_path, monkeypatch) -> None:
    assert model.resumes  # as the run's proofs have shown
    text = SMALL.replace("positions_per_batch = 64", "positions_per_batch = 256")
    study = parse_study(text.replace("generate = false", "generate = false\nprofile = true\nlayers = ['0-1', '2-3']\nreselect_in_ranges = true"))  # fmt: skip
    planned = plan(select(heard_before(Task(study, alone, Log("quiet")), model)))
    conditions, sets = planned.conditions, planned.sets
    work = [
        one
        for one in planned.work
        if one.condition["target"] in (None, "fear") and one.condition["control"] != "matched"
    ]
    begun, found = [], {}
    plain = type(model).score
    monkeypatch.setattr(type(model), "score", lambda *given, start=None: begun.append(start) or plain(*given, start=start))  # fmt: skip
    for resumes in (True, False):
        monkeypatch.setattr(model, "resumes", resumes)
        run = RunFolder(shutil.copytree(alone.path, tmp_path / str(resumes)))
        begun.clear()
        intervene(run, study, work, sets, model, Log("quiet"))
        found[resumes] = [answers.rows() for answers in run.answers([one.unit.id for one in work])]
        layers = [start.layer for start in begun if start is not None]
        assert ({0, 1, 2, 3} <= set(layers)) is resumes
        # in the order of their layers: what is asked first and the rest, alike and by each item
        assert sum(before > after for before, after in itertools.pairwise(layers)) <= 3
    assert found[True] == found[False]
    single = conditions.filter(pl.col("layers") == "3").filter(pl.col("kind") == "deactivate")
    later = {one.condition["condition"]: first_layer(one, sets) for one in work}
    asked = {later[name] for name in single["condition"] if name in later}
    assert asked
    assert asked <= {3, 4}
    assert later["reliance/layer=2"] == 2
    assert (later["null"], later["reliance/all"]) == (None, 0)


def test_batches_are_padded_once_where_the_device_has_room(model, monkeypatch) -> None:
    prepared = model.prepare([Request(None, text, ("A",)) for text in ("Say A.", "A", "Say it.")])
    groups = [[1], [2, 0]]

    def kept(model) -> list[bool]:
        monkeypatch.setattr("emoscope.experiments.intervene.batches", lambda *_: groups)
        return [make() is make() for _, make in put(Way(True, False, True), prepared, [], 64, model)]

    assert kept(model) == [True, True]
    elsewhere = type(model)(copy.deepcopy(model.model).to("meta"), model.processor, "elsewhere", "")
    assert kept(elsewhere) == [False, False]
    one, two = prepared[1].embeddings.nbytes, 2 * max(prepared[row].embeddings.nbytes for row in (0, 2))
    for has, wanted in ((one, [True, False]), (one + two - 1, [True, False]), (one + two, [True, True])):
        monkeypatch.setattr("emoscope.models.passes.room", lambda _device, has=has: has)
        assert kept(elsewhere) == wanted


def test_means_in_a_run_s_sets_are_those_of_its_activity(alone: RunFolder) -> None:
    from emoscope.neurons.activity import Activity
    from emoscope.neurons.sets import NeuronSets

    means = Activity.open(alone / "activity.zarr").mean_product().ravel()
    sets = NeuronSets.load(Path(alone / "sets" / "mad@0.05_all"))
    for one in (*sets.values(), *sets.folds["m3"].values()):
        np.testing.assert_allclose(one.mean_product, means[one.neurons], rtol=1e-6)


ORDERS = (
    SMALL.replace("positions_per_batch = 64", "positions_per_batch = 512")
    .replace("[interventions]", "[question]\nletter_orders = 2\n[interventions]")
    .replace("positions = []", 'positions = ["audio", "decision"]\nagnostic = ["mix", "union"]')
)


@pytest.fixture(scope="module")
def ordered(tmp_path_factory: pytest.TempPathFactory, packing) -> RunFolder:
    """A run on two letter orders of each clip, in one line."""
    return run_study(parse_study(ORDERS), tmp_path_factory.mktemp("runs") / "ordered", model=packing)


def test_a_run_in_one_line_answers_as_one_that_pads(ordered: RunFolder, packing, tmp_path, monkeypatch) -> None:
    study = parse_study(ORDERS)
    selected = select(heard_before(Task(study, ordered, Log("quiet")), packing))
    work = plan(selected).work
    paths = ordered.read_json("manifest.json")["paths"]
    assert list(paths) == [LINE, LAST]
    assert {part.path for part in work if part.condition["positions"] == "decision"} == {LAST}
    assert sum(of["units"] for of in paths.values()) == len(work) + len(selected.listened.units)
    monkeypatch.setattr(packing, "packs", False)
    run = RunFolder(shutil.copytree(ordered.path, tmp_path / "padded"))
    other = plan(selected).work
    assert {part.path for part in other} == {PADDED}
    assert not {part.unit.id for part in work} & {part.unit.id for part in other}
    intervene(run, study, other, sets_by_fold(selected), packing, Log("quiet"))
    one, two = (
        pl.concat(run.answers([part.unit.id for part in some])).sort("condition", "item") for some in (work, other)
    )
    assert one["answer"].equals(two["answer"])
    assert np.abs(np.array(one["logp"].to_list()) - np.array(two["logp"].to_list())).max() < 1e-5
    assert one["condition"].n_unique() > 30


def test_letter_orders_of_a_clip_share_their_sound_but_where_each_is_treated_otherwise(ordered, packing) -> None:
    work = plan(select(heard_before(Task(parse_study(ORDERS), ordered, Log("quiet")), packing))).work
    prepared = load_inputs(ordered, [item["item"] for item in work[0].block])
    sizes = {}
    for apart in (False, True):
        made = put(Way(False, False, apart), prepared, work[0].block, 512, packing)
        sizes[apart] = sum(make().embeddings.shape[1] for _, make in made)
    assert sizes[True] == sum(map(len, prepared))
    # the sound is some half of a prompt of the embedded model
    assert sizes[False] < 0.8 * sizes[True]


def test_the_headline_and_its_controls_are_asked_first_on_all_blocks(ordered, packing, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("emoscope.experiments.intervene.BLOCK", 10)
    selected = select(heard_before(Task(parse_study(ORDERS), ordered, Log("quiet")), packing))
    work = plan(selected).work
    assert len({id(part.block) for part in work}) > 2
    run, asked = unpacked(RunFolder(shutil.copytree(ordered.path, tmp_path / "run"))), []
    for answer in (run / "answers").glob("*.parquet"):
        if answer.stem in {part.unit.id for part in work}:
            answer.unlink()
    by_unit = {part.unit.id: part for part in work}
    plain = RunFolder.write_table
    monkeypatch.setattr(RunFolder, "write_table", lambda run, name, table: asked.append(by_unit[name.split("/")[1]]) or plain(run, name, table))  # fmt: skip
    intervene(run, parse_study(ORDERS), work, sets_by_fold(selected), packing, Log("quiet"))
    roles = [part.condition["role"] in ("headline", "reference") for part in asked]
    assert roles == sorted(roles, reverse=True)
    assert 0 < sum(roles) < len(roles)
    for first in (True, False):
        blocks = [part.block[0]["item"] for part in asked if part.first is first]
        assert blocks == sorted(blocks)
    assert {part.condition["control"] for part in asked if part.first} == {None, "target", "matched"}


def test_where_memory_ends_smaller_batches_are_asked_and_no_answer_is_lost(ordered, packing, tmp_path, monkeypatch) -> None:  # fmt: skip
    import torch

    selected = select(heard_before(Task(parse_study(ORDERS), ordered, Log("quiet")), packing))
    work, run = plan(selected).work, unpacked(RunFolder(shutil.copytree(ordered.path, tmp_path / "run")))
    before = {part.unit.id: run.read_table(f"answers/{part.unit.id}") for part in work}
    for part in work:
        (run / f"answers/{part.unit.id}.parquet").unlink()
    plain, largest, said = type(packing).score, [], []

    def score(model, batch, *given, **more):
        if len(batch) > 3 and len(largest) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        largest.append(len(batch))
        return plain(model, batch, *given, **more)

    monkeypatch.setattr(type(packing), "score", score)
    monkeypatch.setattr(packing, "most_positions", None)
    log = Log("quiet")
    log.say = said.append
    intervene(run, parse_study(ORDERS), work, sets_by_fold(selected), packing, log)
    assert max(largest[:21]) > 3 >= max(largest[21:])
    assert said == [
        f"The memory of cpu is full: from here on {n} positions at a time." for n in (256, 128)[: len(said)]
    ]
    assert {run.card(part.unit.id)["notes"].get("positions") for part in work} >= {None, int(said[-1].split()[-5])}
    for part in work:
        (after,) = run.answers([part.unit.id])
        assert after["answer"].equals(before[part.unit.id]["answer"])
        assert np.abs(np.array(after["logp"].to_list()) - np.array(before[part.unit.id]["logp"].to_list())).max() < 1e-5
    unpacked(run)
    monkeypatch.setattr(type(packing), "score", lambda *_, **__: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    (run / f"answers/{work[0].unit.id}.parquet").unlink()
    with pytest.raises(torch.OutOfMemoryError):
        intervene(run, parse_study(ORDERS), work, sets_by_fold(selected), packing, log)
