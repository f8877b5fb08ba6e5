"""Copy of a run that can be shared: what a report is built from, without sound, activity or paths of a machine."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from emoscope.runs.folder import RunFolder, check_unit, part_folders, replacing

TABLES = ("items", "sets", "foreign_sets", "conditions", "neurons", "set_activity", "units")
"""Tables that are copied, where the run has them."""


def export_run(run: str | Path, to: str | Path) -> RunFolder:
    """Copy the tables, sets and answers of a finished run, the answers in one file.

    ``emoscope report`` builds from the copy the same report as from the run. Left out are the sound's cached
    encodings, the activity store and the folders in which the clips lay.

    Args:
        run: a finished run folder.
        to: the folder to make; it must not exist, or be empty.

    Returns:
        the copy.

    Raises:
        FileNotFoundError: not a run folder, or a run that is not finished.
        ValueError: the folder holds something, or an answers file is not what its unit's card says.
    """
    import polars as pl

    source, place = RunFolder(run), Path(to)
    if folders := part_folders(source.path):
        return _export_parts(source, place, folders)
    if not (source / "manifest.json").is_file() or not (source / "units.parquet").is_file():
        raise FileNotFoundError(f"{run} is not a finished run: `emoscope run` finishes it")
    _refuse_used(place)
    units = source.read_table("units")["unit"].to_list()
    if wrong := [why for unit in units if (why := check_unit(source, unit))]:
        raise ValueError(f"{run} is not whole: {wrong[0]}; give the command of the run again")
    place.mkdir(parents=True, exist_ok=True)
    copy = RunFolder(place)
    for name in TABLES:
        if (source / f"{name}.parquet").is_file():
            table = source.read_table(name)
            if "path" in table.columns:
                # the name of the recording is kept, the folder of the machine is not
                table = table.with_columns(pl.col("path").str.split("/").list.last())
            copy.write_table(name, table)
    parts = [pl.read_parquet(source / "answers" / f"{unit}.parquet") for unit in units]
    answers = pl.concat(parts, how="vertical_relaxed").sort("condition", "scoring", "item", maintain_order=True)
    with replacing(copy / "answers.parquet") as partial:
        # one file for people to keep: slower and smaller than what a run writes
        answers.write_parquet(partial, compression="zstd", compression_level=15, statistics=False)
    for name in ("manifest.json", "study.toml"):
        shutil.copyfile(source / name, copy / name)
    shutil.copytree(source / "sets", copy / "sets")
    return copy


def _export_parts(source: RunFolder, place: Path, parts: Sequence[Path]) -> RunFolder:
    """Copy a study in parts: each part, and what belongs to the whole."""
    _refuse_used(place)
    for part in parts:
        export_run(part, place / part.relative_to(source.path))
    for name in ("agreement.parquet", "manifest.json", "study.toml"):
        if (source / name).is_file():
            shutil.copyfile(source / name, place / name)
    return RunFolder(place)


def _refuse_used(place: Path) -> None:
    if place.exists() and any(place.iterdir()):
        raise ValueError(f"{place} is not empty: give a new folder")
