"""The recorded run in docs stays small; tests/golden looks at the report that it gives."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

EXAMPLE = Path(__file__).parents[2] / "docs" / "example-run"
STORED = ("answers.parquet", "conditions.parquet", "items.parquet", "manifest.json", "neurons.parquet", "sets",
          "sets.parquet", "study.toml", "units.parquet", "README.md")  # fmt: skip


def stored_files() -> list[Path]:
    found = [EXAMPLE / name for name in STORED]
    return [path for one in found for path in ([one] if one.is_file() else sorted(one.rglob("*"))) if path.is_file()]


def test_it_is_small_and_names_no_folder_of_a_machine():
    files = stored_files()
    assert sum(path.stat().st_size for path in files) < 30_000_000
    for path in files:
        if path.suffix in (".json", ".toml"):
            roots = re.findall(r'"(/[\w./-]+)"', path.read_text())
            assert not roots, path
    paths = pl.read_parquet(EXAMPLE / "items.parquet")["path"]
    assert not paths.str.contains("/").any()
