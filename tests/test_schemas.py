"""Every stored table is declared once: what runs write, what readers read and what the docs say."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from emoscope import schemas
from emoscope.schemas import as_table, documented, schema, tables
from tests.golden.outputs import HERE, RUNS, Outputs, unpack

DOCS = Path(__file__).parents[1] / "docs" / "run-folder.md"


@pytest.mark.parametrize("run", ["demo", "example"])
def test_what_a_run_stores_is_as_declared(run, tmp_path):
    folder, seen = unpack(run, tmp_path), set()
    for name in ("items", "sets", "conditions", "answers", "units", "neurons"):
        stored = schemas.renamed(pl.read_parquet(folder / f"{name}.parquet"), name)
        declared = schema(name, stored=True)
        there = {column: dtype for column, dtype in stored.schema.items() if column in declared}
        assert there == {column: declared[column] for column in there}, name
        # columns that came later are absent from the recorded example
        assert run == "example" or set(there) >= set(declared) - {"role", "names_kept", "block"}, name
    for path, table in Outputs.read(HERE / f"{run}.frozen.zip").tables.items():
        name = Path(path).stem
        assert list(table.schema.items()) == list(schema(name).items()), name
        seen.add(name)
    assert len(seen) > 25


def test_every_table_that_a_study_of_several_parts_writes_is_declared():
    paths = Outputs.read(HERE / "three-corpora.frozen.zip").tables
    assert {Path(path).stem for path in paths} <= set(tables())
    assert set(RUNS) == {"example", "demo", "three-corpora"}


def test_rows_are_sorted_and_lack_nothing():
    table = as_table("differences", [{"kind": "steer", "p": 0.5, "unknown": 1}, {"kind": "deactivate"}])
    assert table["kind"].to_list() == ["deactivate", "steer"]
    assert table["p"].to_list() == [None, 0.5]
    assert table.columns == list(schema("differences"))


def test_declared_tests_stay_in_their_order():
    table = as_table("tests", [{"name": "steers", "p": 0.5}, {"name": "exists"}])
    assert table["name"].to_list() == ["steers", "exists"]


def test_every_column_says_what_it_holds():
    for name, table in tables().items():
        assert table.holds.endswith("."), name
        for column, one in table.columns.items():
            assert one.holds, (name, column)
        assert set(table.sorted_by) <= set(table.columns), name


def test_the_docs_are_made_from_the_declarations():
    assert DOCS.read_text(encoding="utf-8").endswith(f"\n\n{documented()}")


def test_a_question_declares_a_table_of_its_own():
    text = """
        [tables.doubled]
        file = "tables/doubled.parquet"
        holds = "An example."
        columns = ["emotion", "twice"]
        [columns]
        twice = ["Float64", "", "two times as much"]
    """
    try:
        schemas.declare_tables(text)
        schemas.declare_tables(text)  # twice the same is once
        assert list(schemas.schema("doubled")) == ["emotion", "twice"]
        assert schemas.as_table("doubled", [{"twice": 2.0}])["emotion"].to_list() == [None]
        with pytest.raises(ValueError, match="column 'thrice' of table 'more' is not declared"):
            schemas.declare_tables('[tables.more]\nfile = "tables/more.parquet"\nholds = ""\ncolumns = ["thrice"]')
        with pytest.raises(ValueError, match="'emotion' is declared otherwise"):
            schemas.declare_tables('[columns]\nemotion = ["Int64", "", "a number"]')
    finally:
        for cached in (schemas._declared, schemas.tables, schemas._types):
            cached.cache_clear()
    assert "doubled" not in schemas.tables()
