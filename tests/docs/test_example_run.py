"""The recorded run in docs gives its report to anybody, without a model, and stays small."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import polars as pl
import pytest

from emoscope.analysis.tables import write_tables
from emoscope.report.page import build_report

EXAMPLE = Path(__file__).parents[2] / "docs" / "example-run"
STORED = ("answers.parquet", "conditions.parquet", "items.parquet", "manifest.json", "neurons.parquet", "sets",
          "sets.parquet", "study.toml", "units.parquet", "README.md")  # fmt: skip


def stored_files() -> list[Path]:
    found = [EXAMPLE / name for name in STORED]
    return [path for one in found for path in ([one] if one.is_file() else sorted(one.rglob("*"))) if path.is_file()]


@pytest.mark.journey
def test_the_report_builds_from_the_recorded_tables(tmp_path):
    copy = tmp_path / "example"
    for path in stored_files():
        place = copy / path.relative_to(EXAMPLE)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, place)
    tables = write_tables(copy)
    page = build_report(copy, tables).read_text(encoding="utf-8")
    assert "is not in the run folder" not in page
    assert len(page) < 3_000_000
    declared = tables.tests.filter(pl.col("kind") == "deactivate").row(0, named=True)
    assert declared["measure"] == "excess_gap"
    assert f"{abs(declared['estimate']):.1f} percentage points" in " ".join(page.split())
    assert "Of the excess gap of −15.1 points, −5.1 know nothing of the clip" in " ".join(page.split())
    assert tables.run.items.filter(pl.col("evaluated"))["truth"].n_unique() == 7


def test_it_is_small_and_names_no_folder_of_a_machine():
    files = stored_files()
    assert sum(path.stat().st_size for path in files) < 12_000_000
    for path in files:
        if path.suffix in (".json", ".toml"):
            roots = re.findall(r'"(/[\w./-]+)"', path.read_text())
            assert not roots, path
    paths = pl.read_parquet(EXAMPLE / "items.parquet")["path"]
    assert not paths.str.contains("/").any()
