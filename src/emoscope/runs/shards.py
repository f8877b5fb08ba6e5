"""Shards: which part of a stage's units one process of many does, by a rule that needs no talk; and who works in a folder.

A second process that would get in the way is refused, with the name of the first.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from emoscope.runs.folder import process_lives

Card = TypeVar("Card")

HEARTBEAT_S = 30.0
"""A lock's file is touched this often, in seconds, so that other machines see that its process lives."""

DEAD_S = 300.0
"""A lock of another machine that was not touched for so long, in seconds, is stale."""


class Unfinished(Exception):
    """A stage needs what other shards have not done yet; the same command goes on when they have."""


class InUse(Exception):
    """Another process works in the run folder; the same command can be given when it has ended."""


@dataclass(frozen=True)
class Shard:
    """The share of one process: number ``number`` of ``of``.

    Units are dealt like cards, so shares differ by one unit at most, whatever was done before.

    Example:
        >>> Shard(2, 3).deal(["a", "b", "c", "d", "e"])
        ['b', 'e']
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``"3/16"``.

        Example:
            >>> Shard.parse("3/16")
            Shard(number=3, of=16)
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise ValueError(f"--shard {text!r} is no share: give its number and how many there are, such as 3/16")
        return cls(int(found[1]), int(found[2]))

    def deal(self, cards: Sequence[Card]) -> list[Card]:
        """Every ``of``-th of the cards, from this shard's number on."""
        return list(cards[self.number - 1 :: self.of])

    def owner(self, place: int) -> Shard:
        """The shard that is dealt the card at a place (from 0)."""
        return Shard(place % self.of + 1, self.of)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def named(shards: Iterable[Shard]) -> str:
    """Shards in a sentence, as options of the command.

    Example:
        >>> named([Shard(7, 16), Shard(3, 16), Shard(3, 16)])
        '--shard 3/16, --shard 7/16'
    """
    return ", ".join(f"--shard {shard}" for shard in sorted(set(shards), key=lambda s: (s.of, s.number)))


@contextmanager
def locked(folder: Path, shard: Shard | None = None) -> Iterator[None]:
    """Hold a run folder: for oneself, or beside the other shards.

    The lock is a file with the process and its machine. It is removed at the end; that of a process that was killed
    is recognised (the process is gone, or, on another machine, its file is no longer touched) and taken over.

    Raises:
        InUse: another process works there on the same share, on the whole, or, for the whole, on any share.
    """
    own = _lock(folder, shard)
    with suppress(FileNotFoundError):
        if not _alive(own):
            own.unlink(missing_ok=True)
    try:
        with own.open("x", encoding="utf-8") as file:
            card = {"process": os.getpid(), "machine": socket.gethostname(), "began": _began(os.getpid())}
            json.dump(card, file)
    except FileExistsError:
        raise InUse(_said(folder, own)) from None
    ended = threading.Event()
    try:
        # looked at after the own file is there: of two that begin at once, at least one sees the other
        for holder in holders(folder):
            if holder != own and (shard is None or holder == _lock(folder, None)):
                raise InUse(_said(folder, holder))
        threading.Thread(target=_touch, args=(own, ended), daemon=True, name="lock").start()
        yield
    finally:
        ended.set()
        own.unlink(missing_ok=True)


def holders(folder: Path) -> list[Path]:
    """The locks of living processes in a run folder."""
    return [path for path in sorted(folder.glob("lock*.json")) if _alive(path)]


def at_work(folder: Path, shard: Shard) -> bool:
    """Whether a living process works on a share."""
    return _alive(_lock(folder, shard))


def refuse_in_use(folder: Path) -> None:
    """Refuse to touch a folder in which a process works."""
    for path in holders(folder):
        raise InUse(_said(folder, path))


def _lock(folder: Path, shard: Shard | None) -> Path:
    return folder / ("lock.json" if shard is None else f"lock-{shard.number}-of-{shard.of}.json")


def _alive(path: Path) -> bool:
    try:
        text, age = path.read_text(encoding="utf-8"), time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False
    try:
        card = json.loads(text)
    except ValueError:
        return age < DEAD_S  # just being written, or by a process that was killed while it wrote
    if card["machine"] != socket.gethostname():
        return age < DEAD_S
    # numbers of processes come again
    return process_lives(card["process"]) and bool(card["began"] == _began(card["process"]))


def _began(process: int) -> str | None:
    """When a process began, in the system's own count; ``None`` where the system does not tell."""
    with suppress(OSError, IndexError):
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[19]
    return None


def _said(folder: Path, lock: Path) -> str:
    who = "another process"
    with suppress(OSError, ValueError, KeyError):
        card = json.loads(lock.read_text(encoding="utf-8"))
        who = f"process {card['process']} on {card['machine']}"
    share = lock.stem.removeprefix("lock").strip("-").replace("-of-", "/")
    doing = f" on --shard {share}" if share else ""
    return (
        f"{who} works in {folder}{doing}: wait until it has ended, or choose another folder with --out (if it does not "
        f"run any more, delete {lock})"
    )


def _touch(path: Path, ended: threading.Event) -> None:
    while not ended.wait(HEARTBEAT_S):
        with suppress(OSError):
            os.utime(path)
