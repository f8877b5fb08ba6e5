"""A run folder: the files of one study, written so that a reader never sees half a file; its units, its parts, and a copy to share.

A unit of work is one condition on one fixed block of items; it is done when its card exists. A study in parts has a run
folder for each.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emoscope.schemas import renamed, stored

if TYPE_CHECKING:
    import polars as pl

FORMAT = 2
"""Version of the tables' columns, stored in the manifest; 1 is read too (:data:`emoscope.schemas.OLD_NAMES`)."""

EXPORTED = ("items", "sets", "transferred_sets", "conditions", "neurons", "set_activity", "units")
"""Tables that are copied, where the run has them."""

SHOWN = "cache/shown.json"
"""From what tables and report were last made: while that stays, drawing them again would change nothing."""

DAY_S = 24 * 3600


class RunFolder:
    """The folder in which one study lives.

    Every file is written beside its final name and then renamed, so a killed run leaves complete files only; what it
    left beside them is removed when the folder is next opened with ``create``.

    Raises:
        FileNotFoundError: the folder is not there and ``create`` is false.
        PermissionError: the folder cannot be written.
    """

    def __init__(self, path: str | Path, create: bool = False) -> None:
        self.path = Path(path)
        if create:
            try:
                for name in ("", "answers", "units", "sets", "cache"):
                    (self.path / name).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    raise
                raise PermissionError(
                    f"the run folder {self.path} cannot be written ({error.strerror}): choose another with --out"
                ) from error
            self._remove_partials()
        elif not self.path.is_dir():
            raise FileNotFoundError(f"{self.path} is not a run folder: give the folder that `emoscope run` printed")

    def _remove_partials(self) -> None:
        """Remove what killed processes left beside the final names."""
        for name in ("", "answers", "units", "sets", "cache", "tables", "figures"):
            # sets lie in a folder each
            for partial in (self.path / name).glob("**/.*.partial*" if name == "sets" else ".*.partial*"):
                if not _in_hand(partial):
                    partial.unlink(missing_ok=True)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def write_table(self, name: str, table: pl.DataFrame) -> Path:
        """Write a table as Parquet (zstd); ``name`` carries no suffix, such as ``"items"``."""
        path = self.path / f"{name}.parquet"
        with replacing(path) as partial:
            # statistics off: they add nothing to small files and keep the bytes free of library details
            table.write_parquet(partial, compression="zstd", statistics=False)
        return path

    def read_table(self, name: str) -> pl.DataFrame:
        """Read a table that :meth:`write_table` wrote, now or in an earlier version of the format."""
        import polars as pl

        path = stored(self.path, f"{name}.parquet")
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: this run has not come that far")
        return renamed(pl.read_parquet(path), name.removeprefix("tables/"))

    def write_json(self, name: str, content: object) -> Path:
        """Write ``name`` (with suffix) as indented JSON."""
        path = self.path / name
        with replacing(path) as partial:
            partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return path

    def read_json(self, name: str) -> Any:
        """Read a JSON file, or ``None`` when it is not there."""
        path = self.path / name
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _in_hand(partial: Path) -> bool:
    """Whether a living process writes a file; on another machine, of which nothing is known, for a day at most."""
    process, _, machine = partial.suffix.removeprefix(".partial").partition("@")
    if machine and machine != _machine():
        with contextlib.suppress(FileNotFoundError):
            return time.time() - partial.stat().st_mtime < DAY_S
        return False
    return process.isdecimal() and process_lives(int(process))


def _machine() -> str:
    # as a hash: the names of machines hold dots and may be long
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def process_lives(process: int) -> bool:
    """Whether a process of this machine runs, or may run."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # not ours to ask
        pass
    return True


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield an empty file beside ``path`` and rename it to ``path`` when the block succeeds.

    It has the rights that the umask gives, whatever writes to it: libraries that make a file of their own beside it
    and rename that one (safetensors) leave it to its owner alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial{os.getpid()}@{_machine()}")
    try:
        partial.touch()
        rights = partial.stat().st_mode
        yield partial
        if partial.stat().st_mode != rights:
            partial.chmod(rights)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@dataclass(frozen=True)
class Unit:
    """One piece of work, named by everything that determines its content.

    Args:
        key: plain values (strings, numbers, lists, mappings) that determine the answers, such as the model's
            checksum, the clips, the question, the intervention's neurons and gains, dtype, device and thread count.

    Example:
        >>> Unit({"condition": "baseline"}).id == Unit({"condition": "baseline"}).id
        True
        >>> Unit({"condition": "baseline"}).id == Unit({"condition": "null"}).id
        False
    """

    key: Mapping[str, object]

    @property
    def id(self) -> str:
        """Name of the unit: the first 24 hexadecimal digits of the key's hash."""
        return digest(self.key)[:24]

    def done(self, folder: RunFolder) -> bool:
        """Whether the unit's card, written last, is there, and the answers are as they were when it was written."""
        return check_unit(folder, self.id) is None

    def finish(self, folder: RunFolder, answers: pl.DataFrame, notes: Mapping[str, object] | None = None) -> None:
        """Write the unit's answers, then its card with their checksum and, where given, further notes."""
        path = folder.write_table(f"answers/{self.id}", answers)
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()
        card = {"key": dict(self.key), "answers": checksum, "rows": answers.height, "notes": dict(notes or {})}
        folder.write_json(f"units/{self.id}.json", card)

    def notes(self, folder: RunFolder) -> Mapping[str, Any]:
        """The notes on the card of a finished unit."""
        return folder.read_json(f"units/{self.id}.json")["notes"]


def digest(content: object) -> str:
    """Hash of plain values, equal on every machine and in every process.

    Example:
        >>> digest({"b": 1, "a": [2]}) == digest({"a": [2], "b": 1})
        True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def check_unit(folder: RunFolder, unit_id: str) -> str | None:
    """Compare a unit's answers with the checksum on its card; return what is wrong, or ``None``."""
    card = folder.read_json(f"units/{unit_id}.json")
    path = folder / "answers" / f"{unit_id}.parquet"
    if card is None:
        return f"unit {unit_id} has no card"
    if not path.is_file():
        return f"{path} is missing"
    if hashlib.sha256(path.read_bytes()).hexdigest() != card["answers"]:
        return f"{path} was changed after it was written"
    return None


def part_folders(folder: str | Path) -> list[Path]:
    """The run folders of the parts of a finished study; empty where it is an ordinary run.

    Example:
        >>> part_folders("runs/nowhere")
        []
    """
    manifest = Path(folder) / "manifest.json"
    if not manifest.is_file():
        return []
    parts = json.loads(manifest.read_text(encoding="utf-8")).get("parts", [])
    return [Path(folder) / part["folder"] for part in parts]


def refuse_study(folder: str | Path) -> None:
    """Refuse the folder of a study in parts where one run is wanted, and name its parts."""
    if parts := part_folders(folder):
        named = ", ".join(str(part) for part in parts)
        raise ValueError(f"{folder} is a study of {len(parts)} parts: give the folder of one of them ({named})")


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
    import polars as pl

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
    parts = [pl.read_parquet(source / "answers" / f"{unit}.parquet") for unit in units]
    answers = pl.concat(parts, how="vertical_relaxed").sort("condition", "scoring", "item", maintain_order=True)
    with replacing(copy / "answers.parquet") as partial:
        # one file for people to keep: slower and smaller than what a run writes
        answers.write_parquet(partial, compression="zstd", compression_level=15, statistics=False)
    shutil.copytree(source / "sets", copy / "sets")
