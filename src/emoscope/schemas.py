"""Every table that a run stores or a report shows numbers from: its columns, their types and units, its order."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

PART_OF_ESTIMATE = {
    "low": "lower end of the 95 % interval", "high": "upper end of the 95 % interval", "p": "two-sided p value",
    "q": "p value after Benjamini and Hochberg",
}  # fmt: skip
"""End of a column's name -> what the column holds of the estimate whose name stands before it."""

OLD_NAMES: Mapping[str, str] = {"fate": "status", "hollow": "unreliable"}
"""Columns of version 1 of a run folder's format -> their names since."""
OLD_FILES: Mapping[str, str] = {
    "transferred_sets.parquet": "foreign_sets.parquet",
    "tables/transferred.parquet": "tables/foreign.parquet",
}
"""Files of a run folder -> where version 1 has them."""


@dataclass(frozen=True)
class Column:
    """A column."""

    type: str  # in memory
    unit: str  # empty where it has none
    holds: str
    stored: str | None = None  # type in the file, where that is another


@dataclass(frozen=True)
class Table:
    """A stored table."""

    file: str  # where it stands in a run folder
    holds: str  # what a row is
    columns: Mapping[str, Column]  # name -> column, in order; readers give absent ones null, and keep further ones
    sorted_by: tuple[str, ...]  # columns by which its rows are sorted; empty where their order says something


@cache
def tables() -> Mapping[str, Table]:
    """Name -> every stored table, as ``data/tables.toml`` declares it.

    Example:
        >>> tables()["effects"].columns["low"].unit, tables()["answers"].sorted_by
        ('', ('condition', 'scoring', 'item'))
    """
    declared = _declared()
    groups, columns = declared["groups"], declared["columns"]

    def names(listed: Sequence[str]) -> list[str]:
        return [name for word in listed for name in (groups[word[1:]] if word.startswith("@") else [word])]

    found = {}
    for table, entry in declared["tables"].items():
        kinds, stored = entry.get("types", {}), entry.get("stored", {})
        made = {}
        for name in names(entry["columns"]):
            kind, unit, holds = columns.get(name) or _of_estimate(name, columns)
            made[name] = Column(kinds.get(name, kind), unit, holds, stored.get(name))
        found[table] = Table(entry["file"], entry["holds"], made, tuple(names(entry.get("sorted_by", []))))
    return found


@cache
def _declared() -> dict[str, dict[str, Any]]:
    return tomllib.loads((files("emoscope") / "data" / "tables.toml").read_text(encoding="utf-8"))


def declare_tables(text: str) -> None:
    """Declare further tables and columns, for a question that brings its own.

    Args:
        text: TOML with ``[tables.name]`` and ``[columns]``, as in ``data/tables.toml``.

    Raises:
        ValueError: a table or a column is declared otherwise already, or a table has a column that is not declared.
    """
    further = tomllib.loads(text)
    known = _declared()["columns"] | further.get("columns", {})
    for part, entries in further.items():
        for name, entry in entries.items():
            if _declared()[part].get(name, entry) != entry:
                raise ValueError(f"{name!r} is declared otherwise among the {part} already: choose another name")
            for column in entry["columns"] if part == "tables" else ():
                # of an estimate, the estimate is declared
                if not {column, column.rpartition("_")[0]} & known.keys() and column[1:] not in _declared()["groups"]:
                    raise ValueError(f"column {column!r} of table {name!r} is not declared: add it under [columns]")
    for part, entries in further.items():
        _declared()[part].update(entries)
    tables.cache_clear()


def _of_estimate(name: str, columns: Mapping[str, Sequence[str]]) -> Sequence[str]:
    estimate, _, end = name.rpartition("_")
    _, unit, _ = columns[estimate]
    return "Float64", unit if end in ("low", "high") else "", f"{PART_OF_ESTIMATE[end]} of {estimate}"


@cache
def group(name: str) -> tuple[str, ...]:
    """Columns that stand together in several tables: ``family`` or ``estimate``.

    Example:
        >>> group("family")[:3]
        ('kind', 'selector', 'budget')
    """
    return tuple(_declared()["groups"][name])


@cache
def _types(name: str, stored: bool) -> dict[str, Any]:
    import polars as pl

    # the names of types are polars' own; a list names what it holds in brackets
    def of(text: str) -> Any:
        outer, _, inner = text.partition("(")
        return getattr(pl, outer)(of(inner.rstrip(")"))) if inner else getattr(pl, outer)

    columns = tables()[name].columns
    return {column: of(entry.stored or entry.type if stored else entry.type) for column, entry in columns.items()}


def schema(name: str, stored: bool = False) -> dict[str, Any]:
    """Columns of a table -> their polars types, in memory or as stored.

    Example:
        >>> schema("tests")["kind"], schema("answers", stored=True)["letter_mass"]
        (String, Float32)
    """
    return dict(_types(name, stored))


def empty(name: str) -> pl.DataFrame:
    """A table without rows."""
    import polars as pl

    return pl.DataFrame(schema=schema(name))


def as_table(name: str, rows: Iterable[Mapping[str, Any]], stored: bool = False) -> pl.DataFrame:
    """Rows as a table, in its order; what a row does not name is null, what the table does not have is left out.

    Example:
        >>> as_table("tests", [{"kind": "steer", "p": 0.5}])["unit"].to_list()
        [None]
    """
    import polars as pl

    types = schema(name, stored)
    frame = pl.DataFrame([{key: row.get(key) for key in types} for row in rows], schema=types, orient="row")
    by = tables()[name].sorted_by
    return frame.sort(list(by), nulls_last=False) if by else frame


def read_table(folder: Path, name: str) -> pl.DataFrame:
    """A table of a run folder; empty where it is not there."""
    import polars as pl

    path = stored(folder, tables()[name].file)
    return conform(pl.read_parquet(path), name) if path.is_file() else empty(name)


def stored(folder: Path, file: str) -> Path:
    """Where a file of a run folder stands: under its name, or under that of version 1 of the format."""
    old = folder / OLD_FILES.get(file, file)
    return old if old.is_file() and not (folder / file).is_file() else folder / file


def renamed(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """A table as it was read, with today's names for the columns of version 1 of the format.

    A corpus's own label column that had today's name then is called ``…_label``.
    """
    declared = tables()[name].columns if name in tables() else {}
    there = {column: place for place, column in enumerate(frame.columns)}
    names: dict[str, str] = {}
    for old, new in OLD_NAMES.items():
        # declared columns stand before those of a corpus, so one named like an old column stands behind today's
        if new in declared and there.get(old, len(there)) < there.get(new, len(there)):
            names |= {old: new, new: f"{new}_label"}
    return frame.rename(names, strict=False)


def conform(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Give a table that was read its columns and types: absent ones are null, further ones are kept.

    Example:
        >>> import polars as pl
        >>> conform(pl.DataFrame({"more": [1]}), "units").columns
        ['unit', 'stage', 'condition', 'scoring', 'items', 'more']
    """
    import polars as pl

    if not frame.columns:
        return empty(name)
    frame, types = renamed(frame, name), schema(name)
    lacking = [
        pl.lit(None, dtype=dtype).alias(column) for column, dtype in types.items() if column not in frame.columns
    ]
    known = [pl.col(column).cast(dtype) for column, dtype in types.items()]
    return frame.with_columns(lacking).select(*known, *(column for column in frame.columns if column not in types))


def documented() -> str:
    """All tables, and all columns, in Markdown, as ``docs/run-folder.md`` shows them."""
    lines = ["## Tables", ""]
    described: dict[tuple[str, str], Column] = {}
    for name, table in tables().items():
        lines.append(f"* **{name}** (`{table.file}`): {table.holds} Columns: {', '.join(table.columns)}.")
        for column, entry in table.columns.items():
            described.setdefault((column, entry.stored or entry.type), entry)
    lines += ["", "## Columns", "", "| column | type | unit | what it holds |", "|---|---|---|---|"]
    for name, kind in sorted(described):
        lines.append(f"| {name} | {kind} | {described[name, kind].unit} | {described[name, kind].holds} |")
    return "\n".join(lines) + "\n"
