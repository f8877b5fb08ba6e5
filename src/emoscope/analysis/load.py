"""Reading the tables of a run folder, in one known set of columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from emoscope.schemas import conform, empty, read_table, stored
from emoscope.vocabulary import with_roles


@dataclass(frozen=True)
class Run:
    """What a run folder holds, read into memory.

    Attributes:
        items, sets, conditions, answers: its tables, with all columns that are declared of the tables
            of these names; empty where the file does not exist.
        manifest: the content of ``manifest.json``; empty where it does not exist.
        missing: names of the files that were looked for and not found.
        transferred: where sets came from (``source``) -> the same run under these sets: its ``conditions`` are the
            baseline and those of that source, with their answers, its ``sets`` those of ``transferred_sets.parquet``.
            None of them are in this run's own tables.
    """

    folder: Path
    items: pl.DataFrame
    sets: pl.DataFrame
    conditions: pl.DataFrame
    answers: pl.DataFrame
    manifest: Mapping[str, Any]
    missing: tuple[str, ...] = ()
    transferred: Mapping[str, Run] = field(default_factory=dict)


def read_run(folder: str | Path) -> Run:
    """Read a run folder; what it lacks is listed in ``missing`` and left empty.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"run folder {folder} does not exist: give the folder that `emoscope run` wrote")
    wanted = ("manifest.json", "items.parquet", "sets.parquet", "conditions.parquet")
    missing = [name for name in wanted if not (folder / name).is_file()]
    manifest = {} if wanted[0] in missing else json.loads((folder / wanted[0]).read_text(encoding="utf-8"))
    items, sets, conditions = (read_table(folder, name) for name in ("items", "sets", "conditions"))
    answers = load_answers(folder)
    if answers.is_empty():
        missing.append("answers/")
    conditions = with_roles(conditions, declared_headline(manifest, conditions))
    own = conditions.filter(pl.col("source").is_null())
    run = Run(folder, items, sets, own, answers, manifest, tuple(missing))
    if own.height == conditions.height:
        return run
    place, transferred_sets, transferred = stored(folder, "transferred_sets.parquet"), empty("sets"), {}
    if place.is_file():
        transferred_sets = conform(pl.read_parquet(place), "sets")
    for source in conditions["source"].drop_nulls().unique(maintain_order=True):
        kept = conditions.filter((pl.col("source") == source) | (pl.col("kind") == "baseline"))
        theirs = answers.filter(pl.col("condition").is_in(kept["condition"].to_list()))
        transferred[source] = replace(run, conditions=kept, sets=transferred_sets.filter(source=source), answers=theirs)
    apart = conditions.filter(pl.col("source").is_not_null())["condition"].to_list()
    return replace(run, answers=answers.filter(~pl.col("condition").is_in(apart)), transferred=transferred)


def declared_headline(manifest: Mapping[str, Any], conditions: pl.DataFrame) -> dict[str, Any]:
    """Selector, budget, scope and alpha of a run's headline; ``None`` where nothing says what they are.

    Where the manifest does not say, the conditions that are marked do, else the first value of each.
    """
    named: Mapping[str, Any] = manifest.get("headline") or {}
    marked, found = conditions.filter(pl.col("headline").fill_null(False)), {}
    for column in ("selector", "budget", "scope", "alpha"):
        known = [*marked[column].drop_nulls(), *conditions[column].drop_nulls().sort()]
        found[column] = next((value for value in (named.get(column), *known) if value is not None), None)
    return found


def load_answers(folder: str | Path) -> pl.DataFrame:
    """Read the answers of all finished units, sorted by condition, scoring and item.

    A unit is finished when its ``units/<id>.json`` exists. Where the run has a ``units.parquet``, units that
    are not listed there belong to an earlier version of the study and are ignored like unfinished ones.

    Returns:
        one row per item, condition and scoring, with the columns of table ``answers``.
    """
    folder = Path(folder)
    if (folder / "answers.parquet").is_file():  # an exported run
        frame = conform(pl.read_parquet(folder / "answers.parquet"), "answers")
        return frame.sort("condition", "scoring", "item", maintain_order=True)
    finished = sorted((folder / "answers").glob("*.parquet"))
    finished = [path for path in finished if (folder / "units" / f"{path.stem}.json").is_file()]
    if (folder / "units.parquet").is_file():
        current = set(pl.read_parquet(folder / "units.parquet", columns=["unit"])["unit"])
        finished = [path for path in finished if path.stem in current]
    if not finished:
        return empty("answers")
    # relaxed: a column that is null throughout one unit has no type there
    frame = conform(pl.concat([pl.read_parquet(path) for path in finished], how="diagonal_relaxed"), "answers")
    return frame.sort("condition", "scoring", "item", maintain_order=True)


def in_known_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Put labels into the order in which every table and figure shows them (see ``emotions.in_order``)."""
    from emoscope.emotions import in_order

    return in_order(dict.fromkeys(labels))
