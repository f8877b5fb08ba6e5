"""A small study of the embedded model, once more on models with random weights."""

import shutil

import numpy as np
import polars as pl
import pytest
from msgspec.structs import replace

from emoscope.analysis.declared import judge
from emoscope.analysis.headline import declared_evidence
from emoscope.analysis.load import read_run
from emoscope.analysis.parts import Part
from emoscope.analysis.responses import build_responses
from emoscope.chapters.controls import say_untrained, tabulate_untrained
from emoscope.experiments.engine import run_study
from emoscope.experiments.schema import Controls, Study
from emoscope.experiments.study import parse_study
from emoscope.experiments.untrained import narrowed, refuse_half, run_untrained
from emoscope.models.registry import load_model
from emoscope.models.untrained import untrain
from emoscope.runs import RunFolder

STUDY = """
[model]
allow_trained_on = true
[[corpora]]
id = "polish"
where = { take = [1], word = ["nie", "tak"] }
[identify]
scope = "all"
items_per_emotion = 8
minimum = 2
selectors = ["mad", "cas"]
[headline]
selector = "mad"
[interventions]
alphas = [1.0]
positions = []
reliance = false
agnostic = []
generate = false
[controls]
matched = 1
random = 1
shuffled = 0
orthogonal = 5
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunFolder:
    return run_study(parse_study(STUDY), tmp_path_factory.mktemp("runs") / "small")


@pytest.fixture(scope="module")
def table(run) -> pl.DataFrame:
    return run_untrained(run.path, "decoder", [3])


def test_a_model_that_learned_nothing_is_asked_what_the_claims_need_on_the_same_clips(run, table):
    own = RunFolder(run / "untrained/decoder-3")
    items, conditions = own.read_table("items"), own.read_table("conditions")
    before = run.read_table("items").filter(pl.col("status") == "used")
    assert items.select("clip", "fold", "truth", "options").equals(before.select("clip", "fold", "truth", "options"))
    assert set(items["status"]) == {"used"}
    # baseline; three sets and their five draws each, switched off and amplified by the declared strength
    assert conditions.height == 1 + 2 * 3 * 6
    assert set(conditions["control"].drop_nulls()) == {"target", "orthogonal"}
    assert set(conditions["alpha"].drop_nulls()) == {0.5}
    # sets rest on the true labels of all clips, not on those that were answered rightly: eight of each are outside a fold
    sets = own.read_table("sets").filter(pl.col("fold") != "all")
    assert set(sets["n"]) == {8}
    assert not items["correct"].all()


def test_its_row_says_which_weights_they_were_and_what_was_found(run, table):
    row = table.row(0, named=True)
    sum_ = untrain(load_model("tiny"), "decoder", 3).info.checksum
    assert (row["weights"], row["seed"], row["weights_checksum"]) == ("decoder", 3, sum_)
    manifest = RunFolder(run / "untrained/decoder-3").read_json("manifest.json")
    assert (manifest["weights"], manifest["seed"], manifest["model"]["checksum"]) == ("decoder", 3, sum_)
    assert {proof["status"] for proof in manifest["proofs"]} <= {"passed", "not run"}
    # judged anew from its folder, without the gate of a model that tells nothing apart
    read = read_run(run / "untrained/decoder-3")
    evidence = declared_evidence(read, build_responses(read)).evidence
    test = judge(evidence, gated=False)["exists"]
    assert (row["estimate"], row["low"], row["p"]) == (test.estimate, test.low, test.p)
    assert row["verdict"] == test.verdict
    assert judge(evidence)["exists"].verdict in ("not testable", test.verdict)
    assert row["vacuous"] == (row["probe_low"] <= row["chance"])
    assert row["chance"] == pytest.approx(100 / 3)
    assert np.isfinite(row["probe"])


def test_what_is_done_is_not_done_again_and_further_models_join_it(run, table, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("emoscope.experiments.stages.load", None)
        assert run_untrained(run.path, "decoder", [3]).equals(table)
    (run / "untrained.parquet").unlink()
    # stopped before it was judged: its answers are taken as they are
    manifest = run / "untrained/decoder-3/manifest.json"
    kept = manifest.read_text()
    manifest.unlink()
    assert run_untrained(run.path, "decoder", [3]).drop("probe").equals(table.drop("probe"))
    assert manifest.read_text() == kept
    both = run_untrained(run.path, "all", [0])
    assert both.select("weights", "seed").rows() == [("all", 0), ("decoder", 3)]
    part = Part.alone(read_run(run.path))
    assert tabulate_untrained(part)["models"].to_list() == ["1", "1"]
    assert [text[:17] for text in say_untrained(part.table("untrained"))] == ["Of 1 models with "] * 2


def test_a_run_that_is_not_finished_is_refused(tmp_path, run):
    with pytest.raises(ValueError, match="is no finished run with sets"):
        run_untrained(RunFolder(tmp_path / "new", create=True).path)


@pytest.fixture
def moved(tmp_path, run, table) -> RunFolder:
    """The run in another folder, without its untrained models, as if its recordings had been elsewhere."""
    shutil.copytree(run.path, tmp_path / "moved", ignore=shutil.ignore_patterns("untrained*", "activity.zarr"))
    folder = RunFolder(tmp_path / "moved")
    items = folder.read_table("items")
    folder.write_table("items", items.with_columns(path="/gone/" + pl.col("path").str.split("/").list.last()))
    return folder


def test_recordings_that_are_not_as_the_run_heard_them_are_named_before_a_model_is_loaded(moved, monkeypatch, tmp_path):
    monkeypatch.setattr("emoscope.experiments.stages.load", None)
    lost = r"30 of the 30 recordings that .*moved has heard .* such as /gone/\S+ \(file not found\): put them"
    with pytest.raises(ValueError, match=lost):
        run_untrained(moved.path, "decoder", [3])
    assert not (moved / "untrained").exists()
    (tmp_path / "other.flac").write_bytes(b"another")
    moved.write_table("items", moved.read_table("items").with_columns(path=pl.lit(str(tmp_path / "other.flac"))))
    with pytest.raises(ValueError, match=r"other\.flac \(another recording\)"):
        run_untrained(moved.path, "decoder", [3])


def test_half_a_model_left_while_recordings_were_away_is_removed_so_that_it_is_begun_anew(tmp_path):
    half = RunFolder(tmp_path / "untrained/decoder-3", create=True)
    items = pl.DataFrame({"clip": ["a", "b"], "status": ["used", "quarantined"], "why": [None, "file not found"]})
    refuse_half(half, items.head(1))
    assert half.path.exists()
    with pytest.raises(ValueError, match=r"decoder-3 holds no answers to 1 of 2 items, .* 'b' \(file not found\): the"):
        refuse_half(half, items)
    assert not half.path.exists()


def test_what_is_asked_is_what_declared_claims_need():
    study = narrowed(Study(controls=Controls(outcomes=True)).with_budget(0.01))
    assert study.controls == replace(Controls(), matched=0, random=0, shuffled=0)
    assert study.identify.budgets == (0.01,)
    # four draws are too few to be tested beyond
    few = narrowed(Study(controls=Controls(orthogonal=4, matched=7)).with_budget(0.01))
    assert (few.controls.orthogonal, few.controls.matched) == (0, 7)
