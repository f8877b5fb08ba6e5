"""Published figures stand beside ours where model and corpus are the same, and nowhere else."""

import json
import shutil

import polars as pl
import pytest

from emoscope.analysis.load import read_run
from emoscope.chapters.published import published_of_study
from emoscope.chapters.results import compute_tables
from emoscope.schemas import empty
from tests.helpers.planted import THREE, write_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"), THREE, 5, 2, only=("baseline", "deactivate", "steer"))


def called(folder, place, model, corpus):
    """The same run, said to be of another model and corpus."""
    shutil.copytree(folder, place, ignore=shutil.ignore_patterns("tables"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["model"]["id"] = model
    (place / "manifest.json").write_text(json.dumps(manifest))
    items = pl.read_parquet(folder / "items.parquet").with_columns(pl.lit(corpus).alias("corpus"))
    items.write_parquet(place / "items.parquet")
    return compute_tables(read_run(place))


def test_ours_are_those_of_the_tables(folder, tmp_path):
    found = called(folder, tmp_path / "run", "/weights/Qwen2.5-Omni-7B/", "msp-podcast")
    rows = {row["measure"]: row for row in found.table("published").iter_rows(named=True)}
    uar = found.table("uar").row(by_predicate=(pl.col("condition") == "baseline") & (pl.col("scoring") == "likelihood"), named=True)  # fmt: skip
    assert rows["UAR, untouched"]["ours"].startswith(f"{uar['uar']:.1f} % [")
    gap = found.table("effects").row(
        by_predicate=(pl.col("kind") == "deactivate") & (pl.col("measure") == "gap") & (pl.col("selector") == "cas") & (pl.col("budget") == 0.05)
        & (pl.col("control") == "target") & (pl.col("positions") == "all") & (pl.col("to") == "zero") & (pl.col("layers") == "all"),
        named=True,
    )  # fmt: skip
    assert rows["gap, switched off"]["published"] == "−13.5 points"
    assert rows["gap, switched off"]["ours"].startswith(f"−{-gap['estimate']:.1f} points [−")
    assert "ours with 3 emotions, so not comparable" in rows["UAR, untouched"]["note"]
    assert "ours: CAS, 5 % of the neurons, alpha 0.5" in rows["gap, steered"]["note"]
    own = found.table("matrix").filter((pl.col("target") == pl.col("emotion")) & (pl.col("selector") == "cas") & (pl.col("budget") == 0.05) & (pl.col("kind") == "deactivate")
                              & (pl.col("control") == "target") & (pl.col("positions") == "all") & (pl.col("to") == "zero") & (pl.col("layers") == "all"))["change"]  # fmt: skip
    assert f"to −{-own.min():.1f} points" in rows["accuracy of an emotion, its own neurons off"]["ours"]


@pytest.mark.parametrize(("model", "corpus"), [("Qwen/Qwen2.5-Omni-7B", "polish"), ("tiny", "msp-podcast")])
def test_another_model_or_corpus_has_none(folder, tmp_path, model, corpus):
    assert called(folder, tmp_path / "run", model, corpus).table("published").is_empty()


def test_fused_sets_stand_beside_those_fused_over_languages():
    rows = [
        {"source": source, "host": "meld", "kind": kind, "measure": "gap", "fused": source != "meld", "estimate": -5.0}
        for source in ("fused: joint", "meld")
        for kind in ("deactivate", "steer")
    ]
    transfer = pl.concat([empty("transfer"), pl.DataFrame(rows)], how="diagonal_relaxed")
    found = published_of_study("moonshotai/Kimi-Audio-7B-Instruct", transfer)
    assert found.select("published", "ours").rows() == [("−17.6 points", "−5.0 points"), ("+6.3 points", "−5.0 points")]
    assert found["note"].str.contains("ours fused: joint").all()
    assert published_of_study("tiny", transfer).is_empty()
