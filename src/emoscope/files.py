"""Files of any kind: what one really is by its first bytes, and what was read in large ones, remembered from run to run."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
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
        name: of the file in :func:`user_cache`; without a writable one every file is read anew each time.
        read: what is to be found in a file, as JSON can hold it.

    Example:
        >>> from emoscope.corpora import polish_folder
        >>> with Checksums("sounds.json") as checksums:
        ...     len(checksums.of(polish_folder() / "m1.a_nie_3.flac"))
        64
    """

    def __init__(self, name: str, read: Callable[[Path], Any] = sha256) -> None:
        self._measure = read
        self._file = user_cache() / name
        self._known = self._read()
        self._new: dict[str, list[Any]] = {}

    def __enter__(self) -> Checksums:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            if self._new:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                part = self._file.with_suffix(f".{os.getpid()}.part")
                # another process may have written meanwhile
                part.write_text(json.dumps({**self._read(), **self._new}))
                part.replace(self._file)

    def of(self, path: Path) -> Any:
        """What is found in a file, an OSError where it cannot be read; several threads may ask at once."""
        known = self.known(path)
        return self.anew(path) if known is None else known

    def anew(self, path: Path) -> Any:
        """The same, read again whatever is remembered."""
        path = path.absolute()
        stat = path.stat()
        found = self._measure(path)
        if max(stat.st_mtime, stat.st_ctime) < time.time() - FRESH_S:
            self._new[str(path)] = [found, *_mark(stat)]
        return found

    def known(self, path: Path) -> Any | None:
        """What is remembered of a file as it is now, without reading it; ``None`` where nothing is."""
        known = self._known.get(str(path.absolute()))
        with suppress(OSError):
            return known[0] if known and known[1:] == _mark(path.stat()) else None
        return None

    def _read(self) -> dict[str, list[Any]]:
        try:
            known = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) and all(isinstance(value, list) for value in known.values()) else {}


def _mark(stat: os.stat_result) -> list[int]:
    # the time of change of the inode, too: a file that was renamed keeps its time of writing
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]


ZIP, GZIP = b"PK\x03\x04", b"\x1f\x8b"

POINTER = b"version https://git-lfs.github.com/spec/"

MARKS: tuple[tuple[bytes, str], ...] = (
    (POINTER, "a Git LFS pointer, not the file itself: run 'git lfs pull' in its folder, or download it again"),
    (GZIP, "gzip-compressed: unpack it first, such as with 'gunzip'"),
    (b"\x28\xb5\x2f\xfd", "Zstandard-compressed: unpack it first, such as with 'unzstd'"),
    (b"\xfd7zXZ\x00", "xz-compressed: unpack it first, such as with 'unxz'"),
    (b"BZh", "bzip2-compressed: unpack it first, such as with 'bunzip2'"),
    (ZIP, "a ZIP archive: unpack it first"),
    (b"PK\x05\x06", "an empty ZIP archive: download it again"),
    (b"Rar!\x1a\x07", "a RAR archive: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it first"),
    (b"%PDF-", "a PDF document: download the file itself"),
)
"""First bytes of a file -> what it is and what to do."""

WEB = (b"<!doctype html", b"<html", b"<head", b"<?xml", b"<error>")
"""How web pages and the error messages of download servers begin, in lower case."""


def is_web_page(start: bytes) -> bool:
    """Whether the first bytes of a file are those of a web page, or of a download server's error message."""
    return start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(WEB)


def what_is(path: Path) -> str | None:
    """What a file is that is not what its name says, and what to do; ``None`` where its first bytes are not telling.

    The words follow "is" in a sentence.

    Raises:
        OSError: it cannot be read.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     page = Path(folder, "clip.wav")
        ...     _ = page.write_text("<!DOCTYPE html><title>Sign in</title>")
        ...     what_is(page)
        'a web page, not the file itself: download it again, and look whether it asks you to sign in'
    """
    with path.open("rb") as file:
        start = file.read(512)
    if not start:
        return "an empty file (0 bytes): copy or download it again"
    if not start.strip(b"\0"):
        return "filled with null bytes, as a download leaves it that was cut off: copy or download it again"
    if start.startswith(ZIP) and b"/data.pkl" in start:
        return "weights in the format of torch.save, which can run code when it is read: convert them to safetensors"
    web = "a web page, not the file itself: download it again, and look whether it asks you to sign in"
    known = next((words for mark, words in MARKS if start.startswith(mark)), None)
    return known or (web if is_web_page(start) else None)


CONTENTS = {
    b"#!AMR": "AMR",
    b"\x1aE\xdf\xa3": "Matroska or WebM",
    b"0&\xb2u": "WMA",
    b"FLV\1": "Flash video",
    b"\xff\xf1": "AAC",
    b"\xff\xf9": "AAC",
    b".RMF": "RealMedia",
    b"MAC ": "Monkey's Audio",
    b"wvpk": "WavPack",
    b"TTA1": "True Audio",
}
"""First bytes -> what only PyAV reads, whatever the file's name."""


def kind_of(path: Path) -> str | None:
    r"""What a file is by its first bytes, where only PyAV reads it; ``None`` where they say nothing of the kind.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "a.wav"
        >>> _ = file.write_bytes(b"#!AMR\n")
        >>> kind_of(file)
        'AMR'
    """
    with path.open("rb") as file:
        start = file.read(26)
    # behind a size, or an id and a size
    known = "MPEG-4 (m4a, mp4)" if start[4:8] == b"ftyp" else "AVI video" if start[8:12] == b"AVI " else None
    return known or next((kind for mark, kind in CONTENTS.items() if start.startswith(mark)), None)
