"""Who works in a run folder: a second process that would get in the way is refused, with the name of the first."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from emoscope.runs.shards import Shard

HEARTBEAT_S = 30.0
"""A lock's file is touched this often, in seconds, so that other machines see that its process lives."""

DEAD_S = 300.0
"""A lock of another machine that was not touched for so long, in seconds, is stale."""


class InUse(Exception):
    """Another process works in the run folder; the same command can be given when it has ended."""


@contextmanager
def locked(folder: Path, shard: Shard | None = None) -> Iterator[None]:
    """Hold a run folder: for oneself, or beside the other shards.

    The lock is a file with the process and its machine. It is removed at the end; that of a process that was killed
    is recognised (the process is gone, or, on another machine, its file is no longer touched) and taken over.

    Args:
        folder: the run folder.
        shard: which share is done; ``None`` for a process that wants the folder to itself.

    Raises:
        InUse: another process works there on the same share, on the whole, or, for the whole, on any share.
    """
    mine = folder / _name(shard)
    with suppress(FileNotFoundError):
        if not _alive(mine):
            mine.unlink(missing_ok=True)
    try:
        with mine.open("x", encoding="utf-8") as file:
            json.dump(_card(), file)
    except FileExistsError:
        raise InUse(_said(folder, mine)) from None
    ended = threading.Event()
    try:
        # looked at after the own file is there: of two that begin at once, at least one sees the other
        for other in holders(folder):
            if other != mine and (shard is None or other == folder / _name(None)):
                raise InUse(_said(folder, other))
        threading.Thread(target=_touch, args=(mine, ended), daemon=True, name="lock").start()
        yield
    finally:
        ended.set()
        mine.unlink(missing_ok=True)


def holders(folder: Path) -> list[Path]:
    """The locks of living processes in a run folder."""
    return [path for path in sorted(folder.glob("lock*.json")) if _alive(path)]


def at_work(folder: Path, shard: Shard) -> bool:
    """Whether a living process works on a share."""
    return _alive(folder / _name(shard))


def refuse_in_use(folder: Path) -> None:
    """Refuse to touch a folder in which a process works.

    Raises:
        InUse: names the process.
    """
    for path in holders(folder):
        raise InUse(_said(folder, path))


def _name(shard: Shard | None) -> str:
    return "lock.json" if shard is None else f"lock-{shard.number}-of-{shard.of}.json"


def _card() -> dict[str, Any]:
    return {"process": os.getpid(), "machine": socket.gethostname(), "began": _began(os.getpid())}


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
    try:
        os.kill(card["process"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's process
    # numbers of processes come again
    return bool(card["began"] == _began(card["process"]))


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
