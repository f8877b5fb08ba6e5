"""What was read from large files, such as their sha256, remembered from run to run by path, size and time of change."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

FRESH_S = 2.0
"""A file changed so recently, in seconds, is not remembered: it may change again within one tick of its file system."""


def user_cache() -> Path:
    """The folder ``emoscope`` in the user's cache (``$XDG_CACHE_HOME``, by default ``~/.cache``)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emoscope"


def sha256(path: Path) -> str:
    """Sha256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Checksums:
    """Reads files and writes down on leaving what it has found in them.

    Args:
        name: of the file in :func:`user_cache`; without a writable one every
            file is read anew each time.
        read: what is to be found in a file, as JSON can hold it: its sha256 (hex), unless something else is given.

    Example:
        >>> from emoscope.corpora import polish_folder
        >>> with Checksums("sounds.json") as checksums:
        ...     found = checksums.of(polish_folder() / "m1.a_nie_3.flac")
        >>> len(found)
        64
    """

    def __init__(self, name: str, read: Callable[[Path], Any] = sha256) -> None:
        self._measure = read
        self._file = user_cache() / name
        self._known = self._read()
        self._new: dict[str, list[Any]] = {}

    def __enter__(self) -> Checksums:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._new:
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            part = self._file.with_suffix(f".{os.getpid()}.part")
            # another process may have written meanwhile
            part.write_text(json.dumps({**self._read(), **self._new}))
            part.replace(self._file)
        except OSError:
            pass

    def of(self, path: Path) -> Any:
        """What is found in a file; several threads may ask at once.

        Raises:
            OSError: the file cannot be read.
        """
        known = self._remembered(path)
        return known[0] if known else self.anew(path)

    def anew(self, path: Path) -> Any:
        """The same, read again whatever is remembered.

        Raises:
            OSError: the file cannot be read.
        """
        path = path.absolute()
        stat = path.stat()
        found = self._measure(path)
        if max(stat.st_mtime, stat.st_ctime) < time.time() - FRESH_S:
            self._new[str(path)] = [found, *_mark(stat)]
        return found

    def known(self, path: Path) -> Any | None:
        """What is remembered of a file as it is now, without reading it; ``None`` where nothing is."""
        try:
            known = self._remembered(path)
        except OSError:
            return None
        return known[0] if known else None

    def _remembered(self, path: Path) -> list[Any] | None:
        known = self._known.get(str(path.absolute()))
        return known if known and known[1:] == _mark(path.stat()) else None

    def _read(self) -> dict[str, list[Any]]:
        try:
            known = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) and all(isinstance(one, list) for one in known.values()) else {}


def _mark(stat: os.stat_result) -> list[int]:
    # the time of change of the inode, too: a file that was renamed keeps its time of writing
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
