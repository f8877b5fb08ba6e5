"""Run folders of version 1 of the format, whose columns and files had other names, are read as today's."""

from __future__ import annotations

import polars as pl

from emoscope.analysis.load import read_run
from emoscope.runs.folder import RunFolder
from emoscope.schemas import conform, read_table, renamed, schema
from tests.golden.outputs import unpack


def test_items_of_a_stored_run_have_todays_columns(tmp_path):
    folder = unpack("demo", tmp_path)
    assert "fate" in pl.read_parquet(folder / "items.parquet").columns
    for items in (read_run(folder).items, RunFolder(folder).read_table("items"), read_table(folder, "items")):
        assert set(items["status"]) >= {"used"}
        assert "fate" not in items.columns


def test_tables_and_files_of_old_names_are_read(tmp_path):
    (tmp_path / "tables").mkdir()
    pl.DataFrame({"kind": ["steer"], "hollow": [True]}).write_parquet(tmp_path / "tables" / "foreign.parquet")
    pl.DataFrame({"set": ["cas"]}).write_parquet(tmp_path / "foreign_sets.parquet")
    for found in (read_table(tmp_path, "transferred"), RunFolder(tmp_path).read_table("tables/transferred")):
        assert found["unreliable"].to_list() == [True]
    assert RunFolder(tmp_path).read_table("transferred_sets")["set"].to_list() == ["cas"]
    pl.DataFrame({"set": ["mad"]}).write_parquet(tmp_path / "transferred_sets.parquet")
    assert RunFolder(tmp_path).read_table("transferred_sets")["set"].to_list() == ["mad"]


def test_a_label_column_that_had_todays_name_gives_way():
    old = pl.DataFrame({"fate": ["used"], "why": [None], "status": ["married"]})
    assert conform(old, "items").select("status", "status_label").rows() == [("used", "married")]
    new = pl.DataFrame({"status": ["used"], "why": [None], "fate": ["sealed"], "hollow": [True]})
    assert renamed(new, "items").columns == new.columns


def test_todays_tables_have_no_old_names():
    assert {"fate", "hollow"}.isdisjoint({*schema("items"), *schema("effects"), *schema("transferred")})


def test_a_label_column_called_status_is_kept_under_another_name(tmp_path):
    from emoscope.corpora import polish_folder
    from emoscope.experiments.items import candidate_items, study_corpus
    from emoscope.experiments.study import parse_study

    files = sorted(polish_folder().glob("*.flac"))[:8]
    rows = [f"{path},{('anger', 'fear')[n % 2]},s{n % 4},{('old', 'new')[n // 4]}" for n, path in enumerate(files)]
    (tmp_path / "t.csv").write_text("\n".join(["path,emotion,speaker,status", *rows]))
    study = parse_study(f'[[corpora]]\nid = "table"\nroot = "{tmp_path}/t.csv"\n[identify]\nminimum = 1\n')
    items = candidate_items(study, study_corpus(study, ()))
    assert items["status_label"].value_counts().sort("status_label").rows() == [("new", 4), ("old", 4)]
    assert set(items["status"]) <= {None, "excluded"}
