"""Find a corpus's files: sound files in a folder, the one of several copies that is read, files that are spelt otherwise."""

from __future__ import annotations

import difflib
import filecmp
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TypeVar

from emoscope.corpora.clip import Clip, Lost
from emoscope.corpora.text_tables import plain
from emoscope.emotions import CORPORA

SOUND, VIDEO = (frozenset(f".{word}" for word in CORPORA["folder"][kind].split()) for kind in ("sound", "video"))
"""Endings of sound files that libsndfile reads, and of videos and sound files that only PyAV reads."""

CLIPS = SOUND | VIDEO

REMEDY = "pip install 'emoscope[video]', or convert the files to wav or flac"

Item = TypeVar("Item")
Key = TypeVar("Key")


def is_video(path: Path) -> bool:
    """Whether a file's ending says that PyAV must read it."""
    return path.suffix.lower() in VIDEO


def unread(path: Path, kind: str | None = None) -> str | None:
    """Why a file that PyAV must read, by its ending or by what it is, cannot be read here; else ``None``."""
    kind = path.suffix.lower().lstrip(".") if is_video(path) else kind
    if kind is None:
        return None
    try:
        import av  # noqa: F401
    except ImportError:
        return f"{kind} needs the extra video: {REMEDY}"
    return None


def existing_folder(root: str | Path | None, corpus: str) -> Path:
    """A corpus's folder; a ValueError, FileNotFoundError or NotADirectoryError where none is given or there."""
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
    """The sound files and videos under a folder, by path; ``lost`` are those whose name is no text, quarantined."""

    files: list[Path] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    # ._ files of macOS, folders that a link reaches a second time, endings of all further files
    strays: int = 0
    again: list[Path] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    def told(self, root: Path) -> tuple[str, ...]:
        """What is no clip, a sentence each."""
        notes = []
        if self.strays:
            named = "1 file is a ._ file" if self.strays == 1 else f"{self.strays} files are ._ files"
            notes.append(f"{named} that macOS left beside the recordings, not counted as clips")
        if self.again:
            such = f"such as {self.again[0].relative_to(root).as_posix()}: they are entered once"
            notes.append(f"{len(self.again)} linked folders lead to folders that are read already, {such}")
        return tuple(notes)


def sound_files(root: Path) -> Found:
    """List the sound files and videos under a folder, entering each real folder once; a ValueError where there is none."""
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
    real = Path(os.path.realpath(root))
    entered = {str(real), *map(str, real.parents)}
    level = [str(root)]
    while level:
        entries = [entry for folder in level for entry in _entries(folder)]
        for path in (Path(entry.path) for entry in entries if not entry.is_dir()):
            ending, name = path.suffix.lower(), readable_name(path)
            if ending not in CLIPS:
                found.others[readable_name(Path(ending))] += 1
            elif path.name.startswith("._"):
                found.strays += 1
            elif name != str(path):
                why = "its name or folder is not UTF-8: rename it"
                found.lost.append(Lost(Path(name).stem, Path(name), "quarantined", why))
            else:
                found.files.append(path)
        level = []
        # near folders first, and those that are no links
        for _, folder in sorted((entry.is_symlink(), entry.path) for entry in entries if entry.is_dir()):
            if (place := os.path.realpath(folder)) in entered:
                found.again.append(Path(readable_name(Path(folder))))
            else:
                entered.add(place)
                level.append(folder)
    found.files.sort()
    found.lost.sort(key=lambda lost: lost.path)
    return found


def _entries(folder: str) -> list[os.DirEntry[str]]:
    # as os.walk does: a folder that cannot be read holds nothing, nor does a name with a null byte
    with suppress(OSError, ValueError), os.scandir(folder or ".") as entries:
        return list(entries)
    return []


def readable_name(path: Path) -> str:
    r"""A path as text that every file format can hold: ``\ufffd`` stands for bytes that are no UTF-8.

    Example:
        >>> readable_name(Path(os.fsdecode(b"caf\xe9.wav"))) == "caf\ufffd.wav"
        True
    """
    return os.fsencode(path).decode("utf-8", "replace")


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Things by what they have in common, in their order.

    Example:
        >>> grouped(["a.wav", "b.wav", "a.mp3"], lambda name: name[0])
        {'a': ['a.wav', 'a.mp3'], 'b': ['b.wav']}
    """
    found: dict[Key, list[Item]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    return found


def choose_copy(
    paths: Sequence[Path], root: Path, speaker: str | None = None, speakers: Collection[str] = ()
) -> tuple[Path, dict[Path, str]]:
    """Choose among files of one clip: the folder that names its speaker, sound before video, the higher rate.

    What comes back is the file that is read, and for every other one why it is not. Given all speakers, a folder
    "actors_01-24" is not taken for that of speaker 01.

    Example:
        >>> choose_copy([Path("/x/all/a.wav")], Path("/x"))
        (PosixPath('/x/all/a.wav'), {})
    """
    if len(paths) == 1:
        return paths[0], {}
    alike = all(_same(paths[0], path) for path in paths[1:])
    rates = {path: 0 if alike else _rate(path) for path in paths}

    def rank(path: Path) -> tuple[bool, bool, int, Path]:
        words = set(re.split(r"[^0-9A-Za-z]+", path.parent.name)) & set(speakers) if path.parent != root else set()
        return words != {speaker}, is_video(path), -rates[path], path

    kept = min(paths, key=rank)
    read = kept.relative_to(root).as_posix()

    def why(path: Path) -> str:
        if alike or _same(kept, path):
            return f"second copy (of {read})"
        numbers = f"; {rates[path]} Hz, there {rates[kept]} Hz" if rates[path] != rates[kept] else ""
        return f"another file of a clip, with other content (of {read}{numbers})"

    return kept, {path: why(path) for path in paths if path != kept}


def _same(path: Path, copy: Path) -> bool:
    try:
        return filecmp.cmp(path, copy, shallow=False)
    except OSError:  # what cannot be read is found again, and quarantined, when it is listened to
        return False


def _rate(path: Path) -> int:
    import soundfile

    try:
        return int(soundfile.info(path).samplerate)
    except (soundfile.SoundFileError, OSError):
        return 0


def read_paths(found: Found, root: Path, read: Callable[[Path], Clip | Lost]) -> tuple[list[Clip], list[Lost]]:
    """The clips that files' paths describe, each once, and what is lost: of several files of a clip one is chosen."""
    lost = list(found.lost)
    readable: list[Clip] = []
    for path in found.files:
        clip = read(path)
        if isinstance(clip, Lost):
            lost.append(clip)
        elif why := unread(path):
            lost.append(Lost(clip.id, path, "quarantined", why, clip))
        else:
            readable.append(clip)
    speakers = {clip.speaker for clip in readable if clip.speaker}
    clips: list[Clip] = []
    for several in grouped(readable, lambda clip: clip.id).values():
        kept, others = choose_copy([clip.path for clip in several], root, several[0].speaker, speakers)
        clips += [clip for clip in several if clip.path == kept]
        lost += [Lost(c.id, c.path, "excluded", others[c.path], c) for c in several if c.path in others]
    return clips, lost


def split_ending(name: str) -> tuple[str, str]:
    """A file's name without the ending of a sound or video file, and that ending; other dots belong to the name.

    Example:
        >>> split_ending("m1.a_nie_2"), split_ending("m1.a_nie_2.WAV")
        (('m1.a_nie_2', ''), ('m1.a_nie_2', '.WAV'))
    """
    stem, ending = os.path.splitext(name)
    return (stem, ending) if ending.lower() in CLIPS else (name, "")


class Names:
    """The names in a folder, and how else they may be spelt.

    Example:
        >>> Names(["anger1.WAV", "anger1.flac"]).alike("Anger1.wav"), Names(["anger1.flac", "b.wav"]).alike("anger1")
        (['anger1.WAV'], ['anger1.flac'])
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)

    @cached_property
    def _spelt(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        keys = {name: plain(name).casefold() for name in self.names}
        with_ending = (name for name in keys if split_ending(keys[name])[1])
        return grouped(keys, keys.__getitem__), grouped(with_ending, lambda name: split_ending(keys[name])[0])

    def alike(self, name: str) -> list[str]:
        """Those that differ from a name in Unicode form or case alone; else those with another ending."""
        key = plain(name).casefold()
        same, stems = self._spelt
        return sorted(same.get(key) or stems.get(split_ending(key)[0]) or [])


class Places:
    """Finds the files of many rows, with each folder read once; relative paths refer to ``base``."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._existing, self._inside = cache(_existing), cache(partial(_inside, folders=False))

    def find(self, name: str) -> tuple[str, list[str]]:
        """The path of a file, and the names that are in its folder: the very one, or those that are spelt alike.

        The path is the listed one where there is not exactly one such name.
        """
        folder, last = os.path.split(name)
        place = self._existing(os.path.join(self._base, folder))
        inside = self._inside(place)
        there = [last] if last in inside.names else inside.alike(last) if last else []
        return os.path.join(place, there[0] if len(there) == 1 else last), there


def _inside(place: str, folders: bool) -> Names:
    return Names(entry.name for entry in _entries(place) if entry.is_dir() == folders)


def _existing(folder: str) -> str:
    """A folder, or the only one that is spelt alike, from above downwards."""
    missing: list[str] = []
    place = folder
    # no system opens a longer path
    while len(folder) <= 4_096 and not os.path.isdir(place) and (above := os.path.dirname(place)) != place:
        missing.append(os.path.basename(place))
        place = above
    for last in filter(None, reversed(missing)):
        there = _inside(place, folders=True).alike(last)
        place = os.path.join(place, there[0] if len(there) == 1 else last)
    return place


def nearest(name: str, known: Iterable[str]) -> str:
    """The start of a remedy: the nearest known name, if any, and all that are known.

    Example:
        >>> nearest("ravdes", ["polish", "ravdess"])
        "did you mean 'ravdess'? known are polish, ravdess"
    """
    known = list(known)
    near = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    return (f"did you mean {near[0]!r}? " if near else "") + f"known are {', '.join(known)}"
