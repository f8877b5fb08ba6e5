"""A run that is exported gives the same report tables, and carries no sound and no machine's paths."""

from __future__ import annotations

import polars as pl
import pytest

from emoscope.analysis.load import export_run
from emoscope.chapters.results import write_tables
from emoscope.experiments.engine import run_study
from emoscope.experiments.study import parse_study
from tests.helpers.program import figureless
from tests.helpers.runs import NAMES

STUDY = """
[[corpora]]
id = "polish"
where = { take = [3], word = ["nie", "tak"] }
[identify]
scope = "all"
minimum = 2
selectors = ["mad"]
[headline]
selector = "mad"
[interventions]
alphas = []
positions = []
reliance = false
generate = false
[controls]
matched = 2
random = 0
shuffled = 0
orthogonal = 0
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        figureless(patch)
        return run_study(parse_study(STUDY), tmp_path_factory.mktemp("run") / "small")


def test_the_copy_gives_the_same_tables(run, tmp_path):
    copy = export_run(run.path, tmp_path / "copy")
    write_tables(copy.path)
    for name in NAMES:
        assert (copy / f"tables/{name}.csv").read_bytes() == (run / f"tables/{name}.csv").read_bytes(), name
    assert not (copy / "activity.zarr").exists()
    assert not (copy / "cache").exists()


def test_no_path_of_the_machine_is_in_the_copy(run, tmp_path):
    copy = export_run(run.path, tmp_path / "copy")
    paths = copy.read_table("items")["path"]
    assert paths.str.ends_with(".flac").all()
    assert not paths.str.contains("/").any()
    root = run.read_table("items")["path"][0].rsplit("/", 1)[0]
    for file in copy.path.rglob("*"):
        if file.is_file() and file.suffix in (".json", ".toml"):
            assert root not in file.read_text(), file


def test_a_changed_answers_file_is_not_exported(run, tmp_path):
    import shutil

    broken = shutil.copytree(run.path, tmp_path / "broken")
    answers = next((broken / "answers").glob("*.parquet"))
    pl.read_parquet(answers).with_columns(pl.lit("fear").alias("answer")).write_parquet(answers)
    with pytest.raises(ValueError, match="was changed after it was written"):
        export_run(broken, tmp_path / "copy")


def test_a_folder_that_holds_something_is_left_alone(run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(ValueError, match="not empty"):
        export_run(run.path, tmp_path / "mine")
    with pytest.raises(FileNotFoundError, match="not a finished run"):
        export_run(tmp_path / "mine", tmp_path / "copy")
