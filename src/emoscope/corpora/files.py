"""Find sound files in a folder."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from emoscope.corpora.clip import Lost

SOUND = frozenset({".wav", ".flac", ".mp3", ".ogg", ".opus", ".oga", ".aif", ".aiff", ".au", ".sph"})
"""Endings of files that count as clips (all are read by libsndfile); other files are not counted."""

STRAY = "._ file left by macOS, not a recording"

NOT_UTF8 = "its name or folder is not UTF-8: rename it"


def existing_folder(root: str | Path | None, corpus: str) -> Path:
    """Check that a corpus's folder is given and there.

    Raises:
        ValueError: no folder is given.
        FileNotFoundError: it does not exist.
        NotADirectoryError: it is a file.
    """
    if root is None:
        raise ValueError(f"corpus {corpus!r} is not part of the package: give its folder with root=...")
    path = Path(root).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise NotADirectoryError(f"{path} is a file: the root of corpus {corpus!r} must be a folder")
    there = next((parent for parent in path.parents if parent.is_dir()), Path("."))
    raise FileNotFoundError(f"folder {path} does not exist ({there} does): give the folder that holds {corpus!r}")


def sound_files(root: Path) -> tuple[list[Path], list[Lost]]:
    """List the sound files under a folder, sorted by path.

    Stray ``._`` files come back as excluded, names that are no text as quarantined.

    Raises:
        ValueError: there is no sound file.
    """
    found, strays = [], []
    for folder, _, names in os.walk(root, followlinks=True):
        for name in names:
            if os.path.splitext(name)[1].lower() in SOUND:
                path = Path(folder, name)
                if readable_name(path) != str(path):
                    path = Path(readable_name(path))
                    strays.append(Lost(path.stem, path, "quarantined", NOT_UTF8))
                elif name.startswith("._"):
                    strays.append(Lost(path.stem, path, "excluded", STRAY))
                else:
                    found.append(path)
    if not found:
        raise ValueError(f"no sound file under {root}: emoscope looks for {', '.join(sorted(SOUND))}")
    return sorted(found), sorted(strays, key=lambda lost: lost.path)


def readable_name(path: Path) -> str:
    r"""A path as text that every file format can hold: ``\ufffd`` stands for bytes that are no UTF-8.

    Example:
        >>> readable_name(Path(os.fsdecode(b"caf\xe9.wav"))) == "caf\ufffd.wav"
        True
    """
    return os.fsencode(path).decode("utf-8", "replace")


def within(path: Path, root: Path) -> str:
    """The path below a root, with forward slashes."""
    return path.relative_to(root).as_posix()


class Listing:
    """Answers whether files exist, reading each folder once (a table may name 100,000 files)."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}

    def has(self, path: str) -> bool:
        """Whether there is a file (or link) of this name."""
        folder, name = os.path.split(path)
        return name in self.inside(folder)

    def inside(self, folder: str) -> frozenset[str]:
        """Names of the files (and links) in a folder; none where it does not exist."""
        if folder not in self._names:
            self._names[folder] = frozenset(_names(folder))
        return self._names[folder]


def _names(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder or ".") as entries:
            for entry in entries:
                if not entry.is_dir():
                    yield entry.name
    except (OSError, ValueError):  # a name with a null byte names no folder
        return


def nearest(name: str, known: Iterable[str]) -> str:
    """The start of a remedy: the nearest known name, if any, and all that are known.

    Example:
        >>> nearest("ravdes", ["polish", "ravdess"])
        "did you mean 'ravdess'? known are polish, ravdess"
    """
    known = list(known)
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    return (f"did you mean {near[0]!r}? " if near else "") + f"known are {', '.join(known)}"
