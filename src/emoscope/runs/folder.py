"""A run folder: the files of one study, written so that a reader never sees half a file; its units and its parts.

A unit of work is one condition on one block of items, done when its card exists. Units are *packed*: answers into one
file, cards into another. Each part of a study has a run folder.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import socket
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emoscope.schemas import renamed, stored

if TYPE_CHECKING:
    import polars as pl

FORMAT = 2
"""Version of the tables' columns, stored in the manifest; 1 is read too (:data:`emoscope.schemas.OLD_NAMES`)."""

SHOWN = "cache/shown.json"
"""From what tables and report were last made: while that stays, drawing them again would change nothing."""


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
        self._packs: dict[Path, Pack] = {}
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
        for name in ("", "answers", "units", "units/packs", "sets", "cache", "attribution", "tables", "figures"):
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

    def write_json(self, name: str, content: object, synced: bool = False) -> Path:
        """Write ``name`` (with suffix) as indented JSON, through to the disk if ``synced``."""
        path = self.path / name
        with replacing(path, synced) as partial:
            partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return path

    def read_json(self, name: str) -> Any:
        """Read a JSON file, or ``None`` when it is not there."""
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None

    def units(self) -> set[str]:
        """Ids of the units that have card and answers, of this study or another, in files of their own or packed."""
        cards = {path.stem for path in (self.path / "units").glob("*.json")}
        own = cards & {path.stem for path in (self.path / "answers").glob("*.parquet")}
        # packs after them: a unit may be packed in between; where the cards have gone as well, it is in another pack
        return own.union(*(pack.cards for pack in self._look() if pack.path.is_file() or not pack.card.is_file()))

    def card(self, unit: str) -> Mapping[str, Any] | None:
        """What is noted of a unit that is done: its ``key``, ``rows`` and ``notes``; ``None`` where it has no card."""
        card = self.read_json(f"units/{unit}.json")
        pack = self.packed(unit) if card is None else None
        return pack.cards[unit] if pack else card

    def packed(self, unit: str) -> Pack | None:
        """The pack that holds a unit, a whole one if there is one."""
        return self._by_unit.get(unit) if self._look() else None

    def answers(self, units: Sequence[str]) -> list[pl.DataFrame]:
        """The answers of units that are done, in the order given, wherever they are.

        Raises:
            FileNotFoundError: a unit is not done.
            ValueError: a pack was changed after it was written.
        """
        found: dict[str, pl.DataFrame] = {}
        for _ in range(5):  # one look is enough unless a unit moves twice meanwhile
            for unit in units:
                # a unit that is packed in between has lost its own files, but is in a pack by then
                with contextlib.suppress(FileNotFoundError):
                    if unit not in found and (self.path / "units" / f"{unit}.json").is_file():
                        found[unit] = self.read_table(f"answers/{unit}")
            packs = {pack.card: pack for unit in units if unit not in found and (pack := self.packed(unit))}
            for pack in packs.values():
                with contextlib.suppress(FileNotFoundError):
                    found = {**pack.read(set(units)), **found}
            if all(unit in found for unit in units):
                return [found[unit] for unit in units]
        missing = next(unit for unit in units if unit not in found)
        raise FileNotFoundError(f"answers of unit {missing} are missing in {self.path}: this run has not come that far")

    def pack(self, units: Iterable[str]) -> Path | None:
        """Put the answers of units into one file and their cards into another, then remove the files they were in.

        Units that are not done, or were changed, stay as they are. A pack is named by its units and answers, so it is
        the same in whatever steps it was made; packs that hold nothing but these units are removed. Returns the file
        of the cards, ``None`` where there is nothing to pack.
        """
        cards = {unit: self.card(unit) or {} for unit in sorted(set(units)) if check_unit(self, unit) is None}
        packs = self._look()
        made = next((pack.card for pack in packs if pack.cards.keys() == cards.keys() and pack.whole), None)
        made = made or (self._write_pack(cards) if cards else None)
        for unit in cards:
            _remove(self.path / "units" / f"{unit}.json", self.path / "answers" / f"{unit}.parquet")
        for pack in packs:
            if pack.card != made and pack.cards.keys() <= cards.keys():
                _remove(pack.card, pack.path)
        return made

    def settle(self, *groups: Collection[str]) -> None:
        """At the end of a run: one pack for each group of its units, one for all others, and nothing beside them."""
        made = {self.pack(units) for units in (*groups, self.units().difference(*groups))}
        kept = {card.stem for card in (*made, *(self.path / "units").glob("*.json")) if card}
        # answers without a card count for nothing
        for path in (*(self.path / "units" / "packs").glob("*.json"), *(self.path / "answers").glob("*.parquet")):
            if path.stem not in kept:
                path.unlink(missing_ok=True)

    def drop(self, wrong: Callable[[Mapping[str, Any]], bool]) -> None:
        """Let units count as not done whose key is ``wrong``."""
        for path in (self.path / "units").glob("*.json"):
            if wrong((self.read_json(f"units/{path.name}") or {}).get("key", {})):
                path.unlink(missing_ok=True)
        for pack in self._look():
            kept = [unit for unit, card in pack.cards.items() if not wrong(card["key"])]
            if len(kept) < len(pack.cards):
                self.pack(kept)
                _remove(pack.card, pack.path)

    def _look(self) -> list[Pack]:
        """The packs that are there now; looked for each time, as other processes pack, too."""
        names = sorted((self.path / "units" / "packs").glob("*.json"))
        if names != list(self._packs):
            read = {name: self._packs.get(name) or _read_pack(self.path, name) for name in names}
            self._packs = {name: pack for name, pack in read.items() if pack}
            by = self._by_unit = dict[str, Pack]()
            for pack in self._packs.values():
                by |= {unit: pack for unit in pack.cards if unit not in by or not by[unit].whole}
        return list(self._packs.values())

    def _write_pack(self, cards: Mapping[str, Mapping[str, Any]]) -> Path:
        """Write the pack of some units, through to the disk: the files that they were in are removed next."""
        import polars as pl

        buffer = io.BytesIO()
        # relaxed: units of an earlier version may lack a column
        table = pl.concat(self.answers(list(cards)), how="diagonal_relaxed").rechunk()
        table.write_parquet(buffer, compression="zstd", statistics=False)
        checksum = hashlib.sha256(buffer.getvalue()).hexdigest()
        name = f"pack-{digest([checksum, list(cards)])[:24]}"
        with replacing(self.path / "answers" / f"{name}.parquet", synced=True) as partial:
            partial.write_bytes(buffer.getvalue())
        kept = {unit: {part: card.get(part, {}) for part in ("key", "rows", "notes")} for unit, card in cards.items()}
        path = self.write_json(f"units/packs/{name}.json", {"answers": checksum, "units": kept}, synced=True)
        self._packs.pop(path, None)  # one of that name may have been damaged
        return path


@dataclass(frozen=True)
class Pack:
    """The answers of many units in one file, and their cards in another; rows stand in the order of the cards."""

    path: Path  # of the answers
    card: Path
    checksum: str  # of the answers
    cards: Mapping[str, Mapping[str, Any]]  # unit -> its card

    @property
    def whole(self) -> bool:
        """Whether the answers are as they were when the cards were written."""
        with contextlib.suppress(FileNotFoundError):
            stat = self.path.stat()
            return _checksum(self.path, stat.st_mtime_ns, stat.st_size) == self.checksum
        return False

    def read(self, units: Collection[str]) -> dict[str, pl.DataFrame]:
        """The answers of those of the units that are in the pack."""
        import polars as pl

        content, first, found = self.path.read_bytes(), 0, {}
        if hashlib.sha256(content).hexdigest() != self.checksum:
            raise ValueError(f"{self.path} was changed after it was written: give the command of the run again")
        table = pl.read_parquet(io.BytesIO(content))
        for unit, card in self.cards.items():
            if unit in units:
                found[unit] = table.slice(first, card["rows"])
            first += card["rows"]
        return found


@cache
def _checksum(path: Path, time_ns: int, size: int) -> str:
    """Hash of a file: once in a process, unless time or size tell that it was written again."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_pack(run: Path, card: Path) -> Pack | None:
    """A pack by its cards; ``None`` where they are gone, or cannot be read."""
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
        content = json.loads(card.read_text(encoding="utf-8"))
        return Pack(run / "answers" / f"{card.stem}.parquet", card, content["answers"], content["units"])
    return None


def _remove(card: Path, answers: Path) -> None:
    """Remove a card, then the answers: without a card they count for nothing."""
    for path in (card, answers):
        path.unlink(missing_ok=True)


def _in_hand(partial: Path) -> bool:
    """Whether a living process writes a file; on another machine, of which nothing is known, for a day at most."""
    process, _, machine = partial.suffix.removeprefix(".partial").partition("@")
    if machine and machine != _machine():
        with contextlib.suppress(FileNotFoundError):
            return time.time() - partial.stat().st_mtime < 24 * 3600
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
def replacing(path: Path, synced: bool = False) -> Iterator[Path]:
    """Yield an empty file beside ``path`` and rename it to ``path`` when the block succeeds, once on disk if ``synced``.

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
        if synced:
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
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
        card = folder.card(self.id)
        assert card is not None, f"unit {self.id} is not done"
        return card["notes"]


def digest(content: object) -> str:
    """Hash of plain values, equal on every machine and in every process.

    Example:
        >>> digest({"b": 1, "a": [2]}) == digest({"a": [2], "b": 1})
        True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def check_unit(folder: RunFolder, unit_id: str) -> str | None:
    """Compare a unit's answers with the checksum on its card, or on its pack's; return what is wrong, or ``None``."""
    card, path = folder.read_json(f"units/{unit_id}.json"), folder / "answers" / f"{unit_id}.parquet"
    if card is not None:
        with contextlib.suppress(FileNotFoundError):
            changed = hashlib.sha256(path.read_bytes()).hexdigest() != card["answers"]
            return f"{path} was changed after it was written" if changed else None
    # looked for after its own files, which are removed once it is packed; and again where its pack became part of another
    while pack := folder.packed(unit_id):
        if pack.whole:
            return None
        if pack.card.is_file():
            return f"{pack.path} was changed after it was written"
    return f"unit {unit_id} has no card" if card is None else f"{path} is missing"


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
