"""Reading a run folder and writing its tables."""

import shutil

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from emoscope.analysis.load import load_answers, read_run
from emoscope.chapters.results import write_tables
from emoscope.neurons.selection import load_set
from tests.helpers.planted import LAYERS, THREE, WIDTH, write_run
from tests.helpers.runs import NAMES


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("run"), THREE, 5, 4)


def test_units_without_a_record_are_not_read(folder):
    baseline = load_answers(folder).filter((pl.col("condition") == "baseline") & (pl.col("scoring") == "likelihood"))
    assert len(baseline) == 60  # the cut-short unit would add five
    assert baseline["item"].is_unique().all()
    assert (folder / "answers" / "a-unfinished.parquet").is_file()


def test_units_of_an_earlier_study_are_not_read(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run")
    units = sorted(path.stem for path in (folder / "units").glob("*.json"))
    pl.DataFrame({"unit": units[:2]}).write_parquet(tmp_path / "run" / "units.parquet")
    assert load_answers(tmp_path / "run")["condition"].n_unique() == 1


def test_tables_are_the_same_bytes_again(folder, tmp_path):
    write_tables(folder)
    first = {path.name: path.read_bytes() for path in (folder / "tables").iterdir()}
    assert set(first) == {f"{name}.{end}" for name in NAMES for end in ("parquet", "csv")}
    shutil.copytree(folder, tmp_path / "again", ignore=shutil.ignore_patterns("tables"))
    write_tables(tmp_path / "again")
    assert {path.name: path.read_bytes() for path in (tmp_path / "again" / "tables").iterdir()} == first


def test_csv_and_parquet_hold_the_same(folder):
    write_tables(folder)
    for name in NAMES:
        stored = pl.read_parquet(folder / "tables" / f"{name}.parquet")
        assert_frame_equal(pl.read_csv(folder / "tables" / f"{name}.csv", schema=stored.schema), stored)


def test_the_planted_effect_is_found(folder):
    effects = write_tables(folder).table("effects")
    by = {
        row["measure"]: row
        for row in effects.filter(
            (pl.col("kind") == "deactivate") & (pl.col("selector") == "cas") & (pl.col("control") == "target")
            & (pl.col("positions") == "all")
        ).iter_rows(named=True)
    }  # fmt: skip
    assert by["excess_gap"]["high"] < 0
    assert by["self"]["estimate"] < -20 < by["cross"]["estimate"]


def test_layers_are_counted(folder):
    layers = write_tables(folder).table("layers")
    cas = layers.filter(
        (pl.col("selector") == "cas") & (pl.col("control") == "target") & (pl.col("emotion") == "anger")
        & (pl.col("budget") == 0.05)
    )  # fmt: skip
    assert cas["layer"].to_list() == list(range(LAYERS))
    stored = load_set(folder / "sets", "cas@0.05:audio+answer")["anger"].tolist()
    assert cas["neurons"].to_list() == [sum(n // WIDTH == layer for n in stored) for layer in range(LAYERS)]
    assert cas["share"].sum() == pytest.approx(100)
    assert set(layers["control"]) == {"target", "shuffled"}


def test_layers_are_skipped_with_a_note(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run", ignore=shutil.ignore_patterns("sets"))
    found = write_tables(tmp_path / "run")
    assert found.table("layers").is_empty()
    assert any("no neurons stored" in note for note in found.notes)


def test_an_empty_folder_names_what_is_missing(tmp_path):
    run = read_run(tmp_path)
    assert set(run.missing) == {"manifest.json", "items.parquet", "sets.parquet", "conditions.parquet", "answers/"}
    found = write_tables(tmp_path)
    assert all(found.table(name).is_empty() for name in NAMES)
    assert any("baseline" in note for note in found.notes)


def test_a_folder_that_does_not_exist_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_run(tmp_path / "nowhere")
