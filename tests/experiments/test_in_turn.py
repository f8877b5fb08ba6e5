"""Permuted draws that are asked one after the other: where that ends, and that it ends there again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from emoscope.analysis.declared import apart
from emoscope.analysis.headline import declared_evidence
from emoscope.analysis.load import read_run
from emoscope.analysis.responses import build_responses
from emoscope.chapters.results import write_tables
from emoscope.experiments import in_turn
from emoscope.experiments.engine import run_study
from emoscope.experiments.in_turn import in_turns
from emoscope.experiments.intervene import intervene
from emoscope.experiments.stages import Task, listen, plan, select
from emoscope.experiments.study import parse_study
from emoscope.models.registry import load_model
from emoscope.report.methods import paragraph
from emoscope.runs import Log, RunFolder, Shard
from emoscope.vocabulary import FEWEST_PERMUTED as FEWEST

STUDY = """
name = "in turn"
[model]
allow_trained_on = true
[[corpora]]
id = "polish"
where = { take = [1], word = ["nie"] }
[identify]
scope = "all"
items_per_emotion = 8
minimum = 2
selectors = ["mad"]
[headline]
selector = "mad"
budget = 0.001  # two neurons, which take no more than others do
[interventions]
alphas = []
agnostic = []
positions = []
reliance = false
generate = false
[controls]
matched = 0
random = 0
orthogonal = 0
shuffled = 1
permuted = 22
"""
"""With 22 draws p is at most 0.05 only where none takes as much as the target sets."""


@pytest.fixture(scope="module")
def model():
    return load_model("tiny")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, model) -> RunFolder:
    return run_study(parse_study(STUDY), tmp_path_factory.mktemp("runs") / "one", model=model)


def tables(run: RunFolder) -> dict[str, bytes]:
    paths = [*run.path.glob("*.parquet"), *run.path.glob("tables/*.parquet")]
    return {str(path.relative_to(run.path)): path.read_bytes() for path in paths}


def asked_now(folder: Path, model, **more) -> tuple[RunFolder, int]:
    """Run the study in a folder, and count the units that had to be asked."""
    (folder / "manifest.json").unlink(missing_ok=True)
    log = Log("quiet", folder / "now.jsonl")
    found = run_study(parse_study(STUDY), folder, log, model, **more)
    log.close()
    events = [json.loads(line) for line in (folder / "now.jsonl").read_text().splitlines()]
    (folder / "now.jsonl").unlink()
    return found, sum(event["event"] == "unit" and event["stage"] == "intervening" for event in events)


def test_no_further_draw_is_asked_once_p_must_stay_above_the_level(run: RunFolder) -> None:
    shuffled = run.read_table("conditions").filter(control="shuffled", kind="deactivate")
    draws = sorted(set(shuffled["draw"]))
    assert draws == list(range(len(draws)))
    assert FEWEST <= len(draws) < 22
    assert shuffled.height == 3 * len(draws)
    read = read_run(run.path)
    evidence = declared_evidence(read, build_responses(read)).evidence
    own, *each = (apart(change)[0] for change in (evidence.off.own, *evidence.off.permuted))
    assert len(each) == len(draws)
    below = [sum(value <= own for value in each[:count]) for count in range(len(each) + 1)]
    # it stopped at the first number of draws, 19 or more, at which one of them was as low
    assert below[-1] >= 1
    assert all(number == 0 for number in below[FEWEST:-1])
    # every unit of the run is there, also of those draws
    units = run.read_table("units")
    assert set(units["unit"]) <= run.units()
    assert set(units["condition"]) >= set(shuffled["condition"])
    told = run.read_json("manifest.json")["permuted"]
    assert told.startswith(f"stopped after {len(draws)} of 22 permuted draws: {below[-1]} of them take as much")
    assert told in paragraph(write_tables(run.path))[-1]


@pytest.mark.parametrize(("whole", "stops"), [(FEWEST - 1, False), (FEWEST, True)])
def test_it_does_not_stop_with_fewer_whole_draws_than_can_decide(monkeypatch, whole: int, stops: bool) -> None:
    # with one of 19 asked draws left out, the rule would take the rest for too few to decide, and p would count for nothing
    monkeypatch.setattr(in_turn, "read_draws", lambda *_: (-0.1, [-1.0] * whole))
    planned = pl.DataFrame({"control": ["shuffled"] * 40, "draw": range(40)}).with_columns(
        kind=pl.lit("deactivate"), to=pl.lit("zero"), role=pl.lit("headline")
    )
    assert bool(in_turn.why_stopped(None, planned, [])) is stops


def test_nothing_stops_where_the_claim_counts_fewer_emotions_than_the_null(
    run: RunFolder, model, tmp_path: Path
) -> None:
    folder = RunFolder(shutil.copytree(run.path, tmp_path / "copy"))
    selected = select(listen(Task(parse_study(STUDY), folder, Log("quiet")), model))
    planned, heard = plan(selected), selected.listened
    always, _ = in_turns(planned.work, heard.study)
    assert in_turn.rests_alike(heard, planned.conditions, always)
    lacking = (pl.col("kind") == "steer") & (pl.col("target") == "anger")
    assert not in_turn.rests_alike(heard, planned.conditions.filter(~lacking), always)


def test_a_run_that_goes_on_asks_nothing_and_ends_alike(run: RunFolder, model) -> None:
    before, units = tables(run), run.units()
    again, asked = asked_now(run.path, model)
    assert asked == 0
    assert tables(again) == before
    assert again.units() == units
    assert again.read_json("manifest.json")["permuted"].startswith("stopped after")


def test_draws_that_were_asked_in_vain_do_not_count(run: RunFolder, model, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "all", create=True)
    selected = select(listen(Task(parse_study(STUDY), folder, Log("quiet")), model))
    planned = plan(selected)
    intervene(folder, selected.listened.study, planned.work, planned.sets, model, Log("quiet"))
    everything = folder.units()
    again, asked = asked_now(folder.path, model)
    assert asked == 0
    assert tables(again) == tables(run)
    assert again.units() == everything > set(run.read_table("units")["unit"])


def test_shards_leave_these_draws_to_the_merging_call(run: RunFolder, model, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    folder, _ = asked_now(tmp_path / "run", model, shard=Shard(1, 1))
    selected = select(listen(Task(parse_study(STUDY), folder, Log("quiet")), model))
    always, later = in_turns(plan(selected).work, selected.listened.study)
    assert len(later) == 22 - FEWEST
    assert all(part.unit.done(folder) for part in always)
    assert not any(part.unit.done(folder) for parts in later for part in parts)
    assert tables(asked_now(folder.path, model)[0]) == tables(run)
