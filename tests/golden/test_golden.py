"""Stored runs give the outputs that they gave; stored activity the sets.

A change of structure changes none of them. Where one is meant to change, `python -m tests.golden --freeze` freezes it
anew, in a commit that says which and why.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json

import polars as pl
import pytest

from emoscope.neurons.selection import find_sets
from tests.golden.__main__ import built
from tests.golden.outputs import FONTS, HERE, RUNS, Outputs, collect, unpack
from tests.helpers.program import inside, undrawn
from tests.neurons.helpers import random_activity
from tests.neurons.test_selection import SPEC, make_items


def frozen(run: str) -> Outputs:
    return Outputs.read(HERE / f"{run}.frozen.zip")


def test_the_example_gives_the_tables_and_the_page_that_it_gave(tmp_path, monkeypatch):
    undrawn(monkeypatch)
    folder = unpack("example", tmp_path / "run")
    assert inside("report", folder, cwd=tmp_path).returncode == 0
    found, wanted = collect(folder), frozen("example")
    for one in (found, wanted):
        one.texts = {name: text for name, text in one.texts.items() if not name.endswith(".svg")}
    assert len(wanted.tables) > 20
    assert len(wanted.texts) > 10
    assert found.differences(wanted) == []
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "is not in the run folder" not in page
    tests = pl.read_parquet(folder / "tables" / "tests.parquet")
    declared = tests.row(by_predicate=pl.col("name") == "exists", named=True)
    assert f"pairwise change −{abs(declared['estimate']):.2f} nat" in " ".join(page.split())
    assert "Of the excess gap of −15.5 points, −5.1 know nothing of the clip" in " ".join(page.split())


@pytest.mark.long
@pytest.mark.parametrize("run", RUNS)
def test_every_stored_run_gives_the_outputs_that_it_gave(run, tmp_path):
    found = collect(built(run, tmp_path))
    assert any(name.endswith(".svg") for name in found.texts)
    assert found.differences(frozen(run)) == []
    if not found.compares_pictures(frozen(run)):
        pytest.skip("all but the pictures is as it was: this machine has other fonts than the one that froze them")


@pytest.mark.long
def test_the_same_outputs_give_the_same_files(tmp_path):
    for name in ("one", "other"):
        built("example", tmp_path / name)
    for path in sorted((tmp_path / "one").rglob("*")):
        other = tmp_path / "other" / path.relative_to(tmp_path / "one")
        assert path.is_dir() or path.read_bytes() == other.read_bytes(), path


def test_stored_activity_gives_the_sets_that_it_gave(tmp_path):
    activity = random_activity(tmp_path / "a.zarr", items=96, layers=3, width=40)[0]
    spec = dataclasses.replace(SPEC, ranges=((0, 1), (2, 2)), sizes=(2,), common_size=True)
    found = find_sets(activity, make_items(), spec)
    assert len(found.sets) > 100
    neurons = {
        f"{name} {fold} {emotion}": hashlib.sha256(one.astype("int64").tobytes()).hexdigest()[:16]
        for (name, fold), groups in found.sets.items()
        for emotion, one in groups.items()
    }
    path = HERE / "sets.json"
    assert json.loads(path.read_text(encoding="utf-8")) == neurons


def test_a_number_that_changed_is_seen_and_one_that_was_rounded_is_not():
    def outputs(value: float, text: str = "a") -> Outputs:
        return Outputs({"t": pl.DataFrame({"x": [1.0, value, None]})}, {"page": text})

    assert outputs(2.0).differences(outputs(2.0 + 1e-12)) == []
    assert outputs(2.0).differences(outputs(2.001)) == ["t: x in 1 rows, first 1: 2.0, where 2.001 was"]
    assert outputs(2.0, "b").differences(outputs(2.0)) == ["page: other text"]
    assert outputs(2.0).differences(Outputs({}, {"page": "a"})) == ["t: only on one side"]


def test_pictures_of_a_machine_with_other_fonts_are_not_taken_as_equal():
    def outputs(fonts: str, picture: str) -> Outputs:
        return Outputs({}, {FONTS: fonts, "a.svg": picture})

    assert outputs("one", "a").differences(outputs("one", "b")) == ["a.svg: other text"]
    assert outputs("one", "a").differences(outputs("other", "b")) == []
    assert not outputs("one", "a").compares_pictures(outputs("other", "b"))
