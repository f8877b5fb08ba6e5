"""Sets of misses and false alarms next to those of hits: by hand, by a slow re-implementation, and the verdict's rule."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from emoscope.analysis.estimate import Interval
from emoscope.analysis.load import read_run
from emoscope.analysis.responses import build_responses
from emoscope.chapters.outcomes import outcome_effects, outcome_sets, verdict
from emoscope.chapters.results import compute_tables
from emoscope.neurons.selection import SetSpec, find_sets
from emoscope.schemas import schema
from emoscope.vocabulary import OUTCOME_CONTROLS
from tests.helpers.runs import EMOTIONS, NAMES, deactivations, small_run, write_simulation
from tests.helpers.slowly import Families, Slow, slow_outcome_effects, slow_outcome_sets
from tests.neurons.helpers import random_activity

SOURCES = {"misses": "target", "hits-as-misses": "target", "false-alarms": "matched"}
"""A control of the simulated run -> whose answers it gives, except on every third, fourth or fifth item."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A simulated run in which sets of misses lose evidence nearly as sets of hits do, and false alarms do nothing."""
    folder = write_simulation(tmp_path_factory.mktemp("outcomes") / "run", "evidence", speakers=6, clips=5, matched=2)
    conditions = pl.read_parquet(folder / "conditions.parquet")
    named = {name: folder / "answers" / f"{n:03d}.parquet" for n, name in enumerate(conditions["condition"])}
    rows = conditions.with_columns(pl.lit("zero").alias("to")).to_dicts()
    for n, (control, source) in enumerate(SOURCES.items()):
        for emotion in EMOTIONS if control != "false-alarms" else EMOTIONS[1:]:
            like = next(row for row in rows if row["condition"] == f"deactivate/{emotion}/{source}0")
            row = like | {"condition": f"deactivate/{emotion}/{control}", "control": control, "headline": False}
            rows.append(row)
            other = pl.read_parquet(named["baseline"])
            mixed = pl.concat([pl.read_parquet(named[like["condition"]]), other]).filter(
                (pl.int_range(pl.len()) < len(other)) == (pl.col("item") % (3 + n) > 0)
            )
            write(folder, f"{control}-{emotion}", mixed, row["condition"])
    for row in [one for one in rows if one["kind"] == "deactivate"]:
        name = row["condition"].replace("deactivate", "steer")
        rows.append(row | {"condition": name, "kind": "steer", "alpha": 0.5, "to": None, "headline": False})
        found = next(pl.read_parquet(path) for path in sorted((folder / "answers").glob("*.parquet"))
                     if pl.read_parquet(path)["condition"][0] == row["condition"])  # fmt: skip
        write(folder, "steer-" + name.replace("/", "-"), found, name)
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(folder / "conditions.parquet")
    items = pl.read_parquet(folder / "items.parquet").with_columns(
        answered=pl.Series([EMOTIONS[n * n % 3] if n % 4 == 1 else EMOTIONS[n // 5 % 3] for n in range(90)])
    )
    items = items.with_columns(correct=pl.col("answered") == pl.col("truth"))
    activity, _ = random_activity(folder / "activity.zarr", items=90, layers=3, width=40)
    spec = SetSpec(
        EMOTIONS, ("cas",), (0.05,), "all", items_per_emotion=30, minimum=3, controls={},
        headline=("cas", 0.05), outcomes=True,
    )  # fmt: skip
    found = find_sets(activity, items, spec)
    found.frame.write_parquet(folder / "sets.parquet")
    found.save_sets(folder / "sets")
    manifest = json.loads((folder / "manifest.json").read_text()) | {"model": {"layers": 3, "width": 40}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def write(folder: Path, unit: str, answers: pl.DataFrame, condition: str) -> None:
    answers.with_columns(condition=pl.lit(condition)).write_parquet(folder / "answers" / f"{unit}.parquet")
    (folder / "units" / f"{unit}.json").write_text("{}")


def assert_same(frame: pl.DataFrame, slow: list[dict], keys: tuple[str, ...]) -> None:
    expected = {tuple(row[name] for name in keys): row for row in slow}
    assert len(frame) == len(slow) == len(expected) > 0
    for row in frame.iter_rows(named=True):
        other = expected[tuple(row[name] for name in keys)]
        assert set(row) == set(other)
        for name, value in row.items():
            close = pytest.approx(other[name], rel=1e-7, abs=1e-8) if isinstance(value, float) else other[name]
            assert value == close, (name, row, other)


def test_every_number_next_to_a_slow_re_implementation(folder):
    run, slow = read_run(folder), Slow(folder)
    effects = outcome_effects(build_responses(run, "likelihood"), run.conditions, run.sets)
    keys = ("kind", "outcome", "sets", "against", "measure")
    assert_same(effects, slow_outcome_effects(slow, Families(slow), set()), keys)
    overlap, notes = outcome_sets(run)
    assert notes == ()
    assert_same(overlap, slow_outcome_sets(slow), ("outcome", "emotion"))
    assert set(overlap["outcome"]) == {"misses", "false-alarms"}


def test_what_the_simulated_sets_do(folder):
    run = read_run(folder)
    found = outcome_effects(build_responses(run, "likelihood"), run.conditions, run.sets)
    said = {(row["kind"], row["outcome"]): row for row in found.filter(pl.col("verdict").is_not_null()).to_dicts()}
    assert said["deactivate", "misses"]["verdict"] in ("acts as hits do", "acts less")
    assert said["deactivate", "false-alarms"]["verdict"] == "does not act"
    # false alarms have two emotions, and are compared with hits of these two
    assert set(found.filter(outcome="false-alarms")["targets"]) == {2}
    assert set(found.filter(outcome="misses")["targets"]) == {3}
    # what switching off removes, amplifying in this simulation does, too: no effect in the direction of steering
    assert set(found.filter(kind="steer")["verdict"]) == {None}
    assert "sets of as many hits do not act beyond matched controls" in found.filter(kind="steer")["reason"].to_list()
    unreliable = outcome_effects(
        build_responses(run, "likelihood"), run.conditions, run.sets, {"deactivate/fear/matched1"}
    )
    assert unreliable.filter(kind="deactivate")["unreliable"].all()
    assert not unreliable.filter(kind="steer")["unreliable"].any()
    assert unreliable.filter(kind="deactivate")["verdict"].null_count() == unreliable.filter(kind="deactivate").height


def test_sets_that_are_not_stored_are_noted(folder, tmp_path):
    run = dataclasses.replace(read_run(folder), folder=tmp_path)
    frame, notes = outcome_sets(run)
    assert frame.is_empty()
    assert notes == tuple(f"outcomes: no neurons stored for sets of {name}" for name in ("false-alarms", "misses"))
    assert outcome_sets(small_run([("s", "anger")], {}))[0].is_empty()


def test_worked_out_by_hand():
    # two clips of each emotion; hits take both clips of their emotion, misses one of anger, matched sets none
    items = [("a", "anger"), ("b", "anger"), ("a", "fear"), ("b", "fear")]
    right = ["anger", "anger", "fear", "fear"]
    answers = {
        "baseline": right, "anger": ["fear", "fear", "fear", "fear"], "fear": ["anger", "anger", "anger", "anger"],
        "anger~misses0": ["fear", "anger", "fear", "fear"], "fear~misses0": right,
        "anger~matched0": right, "fear~matched0": right,
    }  # fmt: skip
    conditions = [row for control in ("target", "misses", "matched") for row in deactivations(control)]
    run = small_run(items, answers, conditions)
    found = outcome_effects(build_responses(run, "likelihood"), run.conditions, run.sets)
    gaps = found.filter(measure="gap").select("sets", "against", "estimate", "n", "targets", "draws", "clips").rows()
    # misses: D = [-50 0; 0 0], gap -25; hits: D = [-100 0; 0 -100], gap -100; there are no sets of as many hits
    assert gaps == [
        ("hits", "baseline", -100.0, 4, 2, 1, None), ("hits", "matched", -100.0, 4, 2, 1, None),
        ("outcome", "baseline", -25.0, 4, 2, 1, None), ("outcome", "hits", 75.0, 4, 2, 1, None),
        ("outcome", "matched", -25.0, 4, 2, 1, None),
    ]  # fmt: skip
    assert set(found.filter(measure="gap")["reason"]) == {"only 2 speakers: an interval needs at least 5"}
    assert set(found["verdict"]) == {None}
    # without matched controls, or without the baseline
    alone = outcome_effects(build_responses(run, "likelihood"), run.conditions.filter(pl.col("control") != "matched"), run.sets)  # fmt: skip
    assert set(alone["against"]) == {"baseline", "hits"}
    rest = small_run(items, {"anger": right}, conditions)
    empty = outcome_effects(build_responses(rest, "likelihood"), rest.conditions, rest.sets)
    assert (empty.height, empty.schema) == (0, pl.Schema(schema("outcomes")))


def test_hits_of_their_own_are_never_replaced_by_the_full_set():
    items = [("a", "anger"), ("b", "fear")]
    answers = {name: ["anger", "fear"] for name in ("baseline", "anger", "fear", "anger~misses0", "fear~misses0")}
    conditions = [row for control in ("target", "misses", "hits-as-misses") for row in deactivations(control)]
    run = small_run(items, answers, conditions)  # whose conditions are planned, but not answered yet
    assert outcome_effects(build_responses(run, "likelihood"), run.conditions, run.sets).is_empty()


def span(low, high):
    return Interval(low if low is None else (low + high) / 2, low, high, 9, 8.0, "too few" if low is None else None)


@pytest.mark.parametrize(
    ("own", "hits", "less", "said"),
    [
        ((-9, -3), (-9, -4), (-2, 3), "acts as hits do"), ((-5, -1), (-9, -6), (2, 7), "acts less"),
        ((-2, 2), (-9, -6), (4, 8), "does not act"), ((-4, 1), (-9, -6), (-1, 8), "undecided"),
        ((1, 4), (-9, -6), (7, 12), "acts the other way"), ((-9, -3), (-3, 2), (-6, 1), None),
    ],
)  # fmt: skip
def test_the_rule_of_the_verdict(own, hits, less, said):
    assert verdict(span(*own), span(*hits), span(*less), falls=True)[0] == said
    turned = [span(-high, -low) for low, high in (own, hits, less)]
    assert verdict(*turned, falls=False)[0] == said
    assert verdict(span(*own), span(None, None), span(*less), falls=True) == (None, "too few")


def test_no_other_number_changes(folder):
    run = read_run(folder)
    usual = ~pl.col("control").fill_null("target").is_in([*OUTCOME_CONTROLS])
    conditions = run.conditions.filter(usual)
    kept = pl.col("condition").is_in(conditions["condition"].to_list())
    less = dataclasses.replace(
        run, sets=run.sets.filter(usual), conditions=conditions, answers=run.answers.filter(kept)
    )
    both, without = compute_tables(run), compute_tables(less)
    assert both.table("effects").filter(~usual).height > 0
    for name in NAMES:
        frame: pl.DataFrame = both.table(name)
        for column, own in (("control", usual), ("condition", kept)):
            if column in frame.columns:
                frame = frame.filter(own)
        if not name.startswith("outcome"):
            assert_frame_equal(frame, without.table(name))
    assert both.table("outcomes").height > without.table("outcomes").height == without.table("outcome_sets").height == 0
