"""Clips that no set and no test can use are not heard: against a slow count, and in a run of the embedded model."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from emoscope.corpora.folds import seeded_hash
from emoscope.experiments.conditions import set_spec
from emoscope.experiments.heard import UNUSABLE, Heard, Quotas, input_lengths, settle
from emoscope.experiments.pilot import plan_full
from emoscope.experiments.schema import Study
from emoscope.experiments.stages import Task, listen
from emoscope.experiments.study import parse_study
from emoscope.models.registry import load_model
from emoscope.neurons.samples import NotIdentifiable, draw_samples
from emoscope.runs import Log, RunFolder, Shard, Unit
from emoscope.runs.shards import Unfinished
from emoscope.schemas import schema
from tests.helpers.packs import unpacked

EMOTIONS = ("anger", "fear", "sadness")


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, bool | None], Study]:
    """Items in the order of listening, clip -> whether it is answered rightly (``None``: it cannot be heard), a study."""
    fixed, orders = draw(st.booleans()), draw(st.integers(1, 3))
    clips, rates = [], {emotion: draw(st.sampled_from([0.1, 0.5, 0.9])) for emotion in EMOTIONS}
    generator = draw(st.randoms(use_true_random=False))
    for speaker in "stuv"[: draw(st.integers(2, 4))]:
        side = ("identify" if speaker in "su" else "evaluate") if fixed else "both"
        for emotion in EMOTIONS:
            for number in range(generator.randrange(12)):
                clip = f"{speaker}{emotion}{number}"
                clips.append((number, seeded_hash(0, "order", clip), clip, speaker, emotion, side))
    heard = {one[2]: generator.random() < rates[one[4]] if generator.random() < 0.95 else None for one in clips}
    if draw(st.booleans()):
        clips.sort()
    else:
        generator.shuffle(clips)
    if draw(st.booleans()):
        # one voice is heard after all others, so that its fold is late to have a clip to test
        clips.sort(key=lambda clip: clip[3] == "t")
    items = [
        {"item": orders * place + order, "clip": clip, "speaker": speaker, "fold": side if fixed else speaker,
         "side": side, "truth": emotion, "order": order}
        for place, (_, _, clip, speaker, emotion, side) in enumerate(clips) for order in range(orders)
    ]  # fmt: skip
    identify = {"items_per_emotion": draw(st.integers(1, 4)), "minimum": draw(st.integers(1, 3))}
    study = parse_study('name = "quotas"\n[[corpora]]\nid = "polish"\n').with_budget(0.01)
    study = replace(
        study, identify=replace(study.identify, **identify),
        evaluate=replace(study.evaluate, items_per_emotion=draw(st.integers(1, 4))),
    )  # fmt: skip
    return items, heard, study


def in_blocks(
    run: RunFolder,
    items: list[dict[str, Any]],
    right: dict[str, bool | None],
    study: Study,
    pick: Random,
    size: int = 4,
):
    """Hear blocks in any order in which they can be heard; the settled items, and how many were asked."""
    blocks = [items[start : start + size] for start in range(0, len(items), size)]

    def unit(number: int, block: list[dict[str, Any]]) -> Unit:
        return Unit({"start": number, "asked": [item["item"] for item in block]})

    def done(number: int, block: list[dict[str, Any]]) -> Unit | None:
        return one if (one := unit(number, block)).done(run) else None

    heard, asked = Heard(run, study, blocks, done), 0
    while not heard.look():
        ready = [n for n in range(len(blocks)) if heard.block(n) is not None and heard.done(n) is None]
        number = pick.choice(ready)
        block = heard.block(number) or []
        usable = [item for item in block if right[item["clip"]] is not None]
        rows = [
            (item["item"], "baseline", "likelihood", item["truth"] if right[item["clip"]] else "other", "letter")
            for item in usable
        ]
        table = pl.DataFrame(rows, schema=["item", "condition", "scoring", "answer", "form"], orient="row")
        lost = {str(item["item"]): "silent" for item in block if right[item["clip"]] is None}
        notes = {"quarantined": lost, "duration_s": {str(item["item"]): 1.0 for item in usable}}
        unit(number, block).finish(run, table, notes)
        asked += len(block)
    blank = {
        name: pl.Series([None] * len(items), dtype=schema("items")[name]) for name in ("status", "why", "duration_s")
    }
    return settle(pl.DataFrame(items).with_columns(**blank), study, items, heard.outcomes), asked


def slowly(items: list[dict[str, Any]], right: dict[str, bool | None], study: Study) -> pl.DataFrame:
    """Hear every clip of every block until all quotas are filled."""
    heard: list[dict[str, Any]] = []
    for start in range(0, len(items), 4):
        heard += items[start : start + 4]
        used = [item for item in heard if right[item["clip"]] is not None]
        following = items[start + 4 : start + 5]
        if used and following and following[0]["clip"] != heard[-1]["clip"] and all(
            len({i["clip"] for i in used if i["truth"] == emotion and i["side"] != "identify"})
            >= study.evaluate.items_per_emotion
            and all(
                len({i["clip"] for i in used if i["truth"] == emotion and i["side"] != "evaluate"
                     and right[i["clip"]] and i["fold"] != out})
                >= study.identify.items_per_emotion
                for out in {i["fold"] for i in used if i["side"] != "identify"}
            )
            for emotion in {i["truth"] for i in items}
        ):  # fmt: skip
            break
    tested = {emotion: list[str]() for emotion in EMOTIONS}
    rows = []
    for item in items:
        used = item in heard and right[item["clip"]] is not None
        clips = tested[item["truth"]]
        if used and item["side"] != "identify" and item["clip"] not in clips:
            clips.append(item["clip"])
        evaluated = used and item["clip"] in clips[: study.evaluate.items_per_emotion]
        rows.append(
            item | {"status": "used" if used else "not needed", "correct": right[item["clip"]], "evaluated": evaluated}
        )
    return pl.DataFrame(rows)


def drawn(items: pl.DataFrame, study: Study):
    """Which clips find sets, in every fold."""
    try:
        samples, _ = draw_samples(items, set_spec(study, EMOTIONS, 4))
    except NotIdentifiable:
        return None
    return [(one.fold, one.n, [(clip.name, clip.items) for clip in one.clips]) for one in samples]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(corpora(), st.integers(), st.integers(1, 3))
def test_clips_are_left_out_only_where_neither_sets_nor_tests_use_them(
    tmp_path_factory, monkeypatch, made, seed, ahead
) -> None:
    items, right, study = made
    if not items:
        return
    monkeypatch.setattr("emoscope.experiments.heard.AHEAD", ahead)
    found, _ = in_blocks(RunFolder(tmp_path_factory.mktemp("run"), create=True), items, right, study, Random(0))
    slow = slowly(items, right, study)
    assert found.filter("evaluated")["item"].to_list() == slow.filter("evaluated")["item"].to_list()
    assert drawn(found, study) == drawn(slow, study)
    # in whatever order processes hear the blocks
    again, _ = in_blocks(RunFolder(tmp_path_factory.mktemp("run"), create=True), items, right, study, Random(seed))
    assert again.equals(found)


def test_a_fold_keeps_a_clip_and_a_clip_that_comes_before_is_heard() -> None:
    names = sorted((f"clip{number}" for number in range(8)), key=lambda clip: seeded_hash(0, clip))
    # by hash the first is the last that is heard; that of fold u comes after the others of its emotion
    order = [(names[1], "s"), (names[2], "t"), (names[3], "s"), (names[4], "t"), (names[5], "s"), (names[6], "t"),
             (names[7], "u"), (names[0], "s")]  # fmt: skip
    items = [
        {"item": place, "clip": clip, "speaker": fold, "fold": fold, "side": "both", "truth": "anger", "order": 0}
        for place, (clip, fold) in enumerate(order)
    ]
    study = parse_study('name = "quotas"\n[[corpora]]\nid = "polish"\n[identify]\nitems_per_emotion = 1\nminimum = 1\n')
    study = replace(study, evaluate=replace(study.evaluate, items_per_emotion=2))
    quotas = Quotas(study, items)
    assert not quotas.may_spare()
    quotas.take((item, True) for item in items[:4])
    assert quotas.may_spare()
    assert {item["clip"] for item in items[4:] if not quotas.can_use(item)} == {names[5], names[6]}
    # where sets are also found on wrong answers every clip may be in one
    wrong = Quotas(replace(study, controls=replace(study.controls, outcomes=True)), items)
    wrong.take((item, True) for item in items[:4])
    assert all(map(wrong.can_use, items))


def test_a_pilot_projects_how_many_clips_are_heard_where_one_emotion_is_weak(tmp_path) -> None:
    study = parse_study('name = "quotas"\n[[corpora]]\nid = "polish"\n').with_budget(0.01)
    clips = sorted((number, seeded_hash(0, "order", f"{s}{e}{number}"), f"{s}{e}{number}", s, e)
                   for s in "abcdefghij" for e in EMOTIONS for number in range(80))  # fmt: skip
    items = [
        {"item": place, "clip": clip, "speaker": fold, "fold": fold, "side": "both", "truth": emotion, "order": 0,
         "wording": "lettered", "options": list(EMOTIONS)}
        for place, (_, _, clip, fold, emotion) in enumerate(clips)
    ]  # fmt: skip
    draw = Random(1)
    right = {item["clip"]: draw.random() < (0.1 if item["truth"] == "anger" else 0.8) for item in items}
    settled, asked = in_blocks(RunFolder(tmp_path / "run", create=True), items, right, study, Random(0), size=64)
    assert settled.filter(status="used").height == asked < 0.8 * len(items)
    assert plan_full(study, settled, EMOTIONS, 4).heard == pytest.approx(asked, rel=0.08)
    whole = replace(study, controls=replace(study.controls, outcomes=True))
    assert plan_full(whole, settled, EMOTIONS, 4).heard == len(items)


QUOTAS = """
name = "quotas"
[model]
allow_trained_on = true
[[corpora]]
id = "polish"
[identify]
items_per_emotion = FIND
minimum = 2
[evaluate]
items_per_emotion = 8
"""


@pytest.mark.long
def test_processes_that_take_turns_and_other_quotas_between_leave_the_bytes_of_one_process(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("emoscope.experiments.heard.AHEAD", 2)
    model = load_model("tiny")

    def listened(folder: str, find: int, *shards: str) -> tuple[pl.DataFrame, dict[str, bytes], int]:
        """The settled items, the bytes of the store and of the answers, and how many items were asked."""
        run = RunFolder(tmp_path / folder, create=True)
        task = Task(parse_study(QUOTAS.replace("FIND", str(find))), run, Log("quiet"))
        left = [Shard.parse(one) for one in shards]
        while left:
            with suppress(Unfinished):
                listen(task, model, left[0])
                left = left[1:]
                continue
            left = left[1:] + left[:1]
        found = listen(task, model)
        used = [unpacked(run) / f"answers/{unit}.parquet" for unit in found.units]
        files = [path for path in (run / "activity.zarr").rglob("c/*") if path.is_file()]
        told = {str(path.relative_to(run.path)): path.read_bytes() for path in [*used, *files]}
        return found.items, told, sum(table.height for table in run.answers(found.units))

    items, told, asked = listened("one", 80)
    assert asked < len(items.filter(pl.col("item") < 64 * sum(name.startswith("answers") for name in told)))
    assert set(items.filter(status="not needed")["why"]) == {"quotas were filled before", UNUSABLE}
    assert listened("turns", 80, "1/2", "2/2")[1:] == (told, asked)
    assert listened("one", 60)[2] < asked
    again, bytes_again, _ = listened("one", 80)
    assert again.equals(items)
    # what another study's unit kept of a block in between is not taken for that of this one's
    assert {name: bytes_again[name] for name in told} == told
    lengths = input_lengths(RunFolder(tmp_path / "one"), again.filter("evaluated")["item"].to_list())
    assert min(lengths) > 0
