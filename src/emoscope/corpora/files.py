"""Find sound files and videos in a folder."""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from emoscope.corpora.clip import Lost
from emoscope.corpora.video import VIDEO

SOUND = frozenset(
    f".{ending}"
    for ending in [
        "8svx",
        "aif",
        "aifc",
        "aiff",
        "au",
        "avr",
        "bw64",
        "bwf",
        "caf",
        "flac",
        "iff",
        "ircam",
        "mp1",
        "mp2",
        "mp3",
        "mpga",
        "nist",
        "oga",
        "ogg",
        "opus",
        "paf",
        "pvf",
        "rf64",
        "sds",
        "sf",
        "snd",
        "sph",
        "svx",
        "voc",
        "w64",
        "wav",
        "wave",
        "wve",
        "xi",
    ]
)
"""Endings of sound files that libsndfile reads; with those of ``video.VIDEO``, all that count as clips."""

CLIPS = SOUND | VIDEO

NOT_UTF8 = "its name or folder is not UTF-8: rename it"


def existing_folder(root: str | Path | None, corpus: str) -> Path:
    """Check that a corpus's folder is given and there.

    Raises:
        ValueError: no folder is given.
        FileNotFoundError: it does not exist.
        NotADirectoryError: it is a file.
    """
    if root is None:
        raise ValueError(f"corpus {corpus!r} is not part of the package: give its folder with root=... (--root DIR)")
    path = Path(root).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise NotADirectoryError(f"{path} is a file: the root of corpus {corpus!r} must be a folder")
    there = next((parent for parent in path.parents if parent.is_dir()), Path("."))
    raise FileNotFoundError(f"folder {path} does not exist ({there} does): give the folder that holds {corpus!r}")


@dataclass
class Found:
    """The sound files and videos under a folder.

    Attributes:
        files: sorted by path.
        lost: those whose name is no text, quarantined.
        strays: how many ``._`` files of macOS stand beside them.
        again: folders that are reached a second time by a link, and are not entered again.
        others: endings of all further files, with how many there are.
    """

    files: list[Path] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    strays: int = 0
    again: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    def told(self, root: Path) -> tuple[str, ...]:
        """What is no clip, a sentence each."""
        told = []
        if self.strays:
            named = "1 file is a ._ file" if self.strays == 1 else f"{self.strays} files are ._ files"
            told.append(f"{named} that macOS left beside the recordings, not counted as clips")
        if self.again:
            told.append(
                f"{len(self.again)} linked folders lead to folders that are read already, such as "
                f"{within(self.again[0], root)}: they are entered once"
            )
        return tuple(told)


def sound_files(root: Path) -> Found:
    """List the sound files and videos under a folder; each real folder is entered once, however many links lead there.

    Raises:
        ValueError: there is none.
    """
    found = all_files(root)
    if not found.files:
        there = ", ".join(f"{count} {ending or 'without an ending'}" for ending, count in found.others.most_common(3))
        raise ValueError(
            f"no sound file or video under {root}{f' (its files: {there})' if there else ''}: wav, flac, mp3, ogg, m4a, "
            "mp4 and many more are read; unpack archives first"
        )
    return found


def all_files(root: Path) -> Found:
    """As :func:`sound_files`, also where there is none.

    Example:
        >>> from emoscope.corpora import polish_folder
        >>> len(all_files(polish_folder()).files)
        450
    """
    found = Found()
    # nor are folders above, which a link may lead back to
    entered = set(_above(root))
    level = [str(root)]
    while level:
        # near folders first, and those that are no links
        inside: list[tuple[bool, str]] = []
        for folder in level:
            entered.add(os.path.realpath(folder))
            for entry in _entries(folder):
                if entry.is_dir():
                    inside.append((entry.is_symlink(), entry.path))
                else:
                    _sort_in(Path(entry.path), found)
        level = []
        for _, path in sorted(inside):
            real = os.path.realpath(path)
            if real in entered:
                found.again.append(Path(readable_name(Path(path))))
            else:
                entered.add(real)
                level.append(path)
    found.files.sort()
    found.lost.sort(key=lambda lost: lost.path)
    return found


def _above(root: Path) -> Iterator[str]:
    real = Path(os.path.realpath(root))
    yield from map(str, (real, *real.parents))


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:  # as os.walk does: a folder that cannot be read holds nothing
        return []


def _sort_in(path: Path, found: Found) -> None:
    ending = path.suffix.lower()
    if ending not in CLIPS:
        found.others[readable_name(Path(ending))] += 1
    elif path.name.startswith("._"):
        found.strays += 1
    elif readable_name(path) != str(path):
        path = Path(readable_name(path))
        found.lost.append(Lost(path.stem, path, "quarantined", NOT_UTF8))
    else:
        found.files.append(path)


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
