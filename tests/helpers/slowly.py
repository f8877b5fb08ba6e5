"""The slow re-implementation under today's names: it reads run folders, and names columns, as of version 1 of the format."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import polars as pl

from emoscope.schemas import OLD_FILES, OLD_NAMES
from tests.analysis import slow, slow_outcomes, slow_probes, slow_sources, slow_tables, slow_whole
from tests.analysis.slow import Families

__all__ = ["Families"]

Row = dict[str, Any]
PLACE = tempfile.TemporaryDirectory()


def as_before(folder: Path) -> Path:
    """A copy of a run folder as version 1 of the format had it."""
    copy = Path(tempfile.mkdtemp(dir=PLACE.name)) / folder.name
    shutil.copytree(folder, copy)
    for path in copy.rglob("*.parquet"):
        frame = pl.read_parquet(path)
        path.unlink()
        frame = frame.rename({new: old for old, new in OLD_NAMES.items()}, strict=False)
        name = next((old for now, old in OLD_FILES.items() if Path(now).name == path.name), path.name)
        frame.write_parquet(path.with_name(Path(name).name))
    return copy


def _today(rows: Iterable[Row]) -> list[Row]:
    return [{OLD_NAMES.get(key, key): value for key, value in row.items()} for row in rows]


def _of_rows(function: Callable[[Path], list[Row]]) -> Callable[[Path], list[Row]]:
    return lambda folder: _today(function(as_before(folder)))


def _of_tables(function: Callable[[Path], dict[str, list[Row]]]) -> Callable[[Path], dict[str, list[Row]]]:
    return lambda folder: {name: _today(rows) for name, rows in function(as_before(folder)).items()}


def Slow(folder: Path) -> slow.Slow:
    """The answers of a run."""
    return slow.Slow(as_before(folder))


def slow_outcome_effects(*given: Any) -> list[Row]:
    """Effects of sets found on wrong answers."""
    return _today(slow_outcomes.slow_outcome_effects(*given))


slow_outcome_sets = slow_outcomes.slow_outcome_sets
slow_foreign = _of_rows(slow_sources.slow_foreign)
slow_tables = _of_tables(slow_tables.slow_tables)  # type: ignore[assignment]
slow_whole = _of_tables(slow_whole.slow_whole)  # type: ignore[assignment]
slow_selectivity = _of_rows(slow_probes.slow_selectivity)
slow_side_effects = _of_rows(slow_probes.slow_side_effects)
