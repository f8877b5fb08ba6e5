"""Reading the tables of a run folder, in one known set of columns, and a copy of them to share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import polars as pl

from emoscope.runs import RunFolder
from emoscope.runs.folder import check_unit, part_folders, replacing
from emoscope.schemas import conform, empty, read_table, stored
from emoscope.vocabulary import with_roles

EXPORTED = (
    "items", "sets", "transferred_sets", "conditions", "neurons", "set_activity", "units", "untrained", "oracle", "oracle_ranks",
    "oracle_sets", "oracle_areas",
)  # fmt: skip
"""Tables that are copied, where the run has them."""


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

    A unit is finished when it has a card (:meth:`~emoscope.runs.RunFolder.units`). Where the run has a ``units.parquet``, units that
    are not listed there belong to an earlier version of the study and are ignored like unfinished ones.

    Returns:
        one row per item, condition and scoring, with the columns of table ``answers``.
    """
    folder = Path(folder)
    if (folder / "answers.parquet").is_file():  # an exported run
        frame = conform(pl.read_parquet(folder / "answers.parquet"), "answers")
        return frame.sort("condition", "scoring", "item", maintain_order=True)
    run = RunFolder(folder)
    finished = run.units()
    if (folder / "units.parquet").is_file():
        finished &= set(pl.read_parquet(folder / "units.parquet", columns=["unit"])["unit"])
    if not finished:
        return empty("answers")
    # relaxed: a column that is null throughout one unit has no type there
    frame = conform(pl.concat(run.answers(sorted(finished)), how="diagonal_relaxed"), "answers")
    return frame.sort("condition", "scoring", "item", maintain_order=True)


def in_known_order(labels: Iterable[str]) -> tuple[str, ...]:
    """Put labels into the order in which every table and figure shows them (see ``emotions.in_order``)."""
    from emoscope.emotions import in_order

    return in_order(dict.fromkeys(labels))


def export_run(run: str | Path, to: str | Path) -> RunFolder:
    """Copy what a report is built from: the tables, sets and answers of a finished run, the answers in one file.

    ``emoscope report`` builds from the copy the same report as from the run. Left out are the sound's cached
    encodings, the activity store and the folders in which the clips lay.

    Raises:
        FileNotFoundError: not a run folder, or a run that is not finished.
        ValueError: the folder holds something, or an answers file is not what its unit's card says.
    """
    source, place = RunFolder(run), Path(to)
    parts = part_folders(source.path)
    if not parts and not ((source / "manifest.json").is_file() and (source / "units.parquet").is_file()):
        raise FileNotFoundError(f"{run} is not a finished run: `emoscope run` finishes it")
    if place.exists() and any(place.iterdir()):
        raise ValueError(f"{place} is not empty: give a new folder")
    for part in parts:
        export_run(part, place / part.relative_to(source.path))
    if not parts:
        _export_one(source, place)
    for name in ("manifest.json", "study.toml", *(["agreement.parquet"] if parts else [])):
        if (source / name).is_file():
            shutil.copyfile(source / name, place / name)
    return RunFolder(place)


def _export_one(source: RunFolder, place: Path) -> None:
    """Copy the tables, sets and answers of one run."""
    units = source.read_table("units")["unit"].to_list()
    if wrong := [why for unit in units if (why := check_unit(source, unit))]:
        raise ValueError(f"{source.path} is not whole: {wrong[0]}; give the command of the run again")
    place.mkdir(parents=True, exist_ok=True)
    copy = RunFolder(place)
    for name in EXPORTED:
        if stored(source.path, f"{name}.parquet").is_file():
            table = source.read_table(name)
            if "path" in table.columns:
                # the name of the recording is kept, the folder of the machine is not
                table = table.with_columns(pl.col("path").str.split("/").list.last())
            copy.write_table(name, table)
    answers = pl.concat(source.answers(units), how="vertical_relaxed").sort(
        "condition", "scoring", "item", maintain_order=True
    )
    with replacing(copy / "answers.parquet") as partial:
        # one file for people to keep: slower and smaller than what a run writes
        answers.write_parquet(partial, compression="zstd", compression_level=15, statistics=False)
    shutil.copytree(source / "sets", copy / "sets")
