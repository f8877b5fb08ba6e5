"""Find files that a list names in another spelling: Unicode form, case, or ending."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable

from emoscope.corpora.files import SOUND, Listing
from emoscope.corpora.text_tables import plain
from emoscope.corpora.video import VIDEO

LONGEST_PATH = 4_096
"""Characters of a path; no system opens a longer one."""


def split_ending(name: str) -> tuple[str, str]:
    """A file's name without the ending of a sound or video file, and that ending; other dots belong to the name.

    Example:
        >>> split_ending("m1.a_nie_2"), split_ending("m1.a_nie_2.WAV")
        (('m1.a_nie_2', ''), ('m1.a_nie_2', '.WAV'))
    """
    stem, ending = os.path.splitext(name)
    return (stem, ending) if ending.lower() in SOUND | VIDEO else (name, "")


def alike(name: str, there: Iterable[str]) -> list[str]:
    """The names that differ from a name in Unicode form or case alone; where there is none, those with another ending.

    Example:
        >>> alike("Anger1.wav", ["anger1.WAV", "anger1.flac"]), alike("anger1", ["anger1.flac", "anger10.wav"])
        (['anger1.WAV'], ['anger1.flac'])
    """
    return _Folder(there).alike(name)


class _Folder:
    def __init__(self, names: Iterable[str]) -> None:
        self._same: dict[str, list[str]] = defaultdict(list)
        self._stem: dict[str, list[str]] = defaultdict(list)
        for name in names:
            key = plain(name).casefold()
            self._same[key].append(name)
            stem, ending = split_ending(key)
            if ending:
                self._stem[stem].append(name)

    def alike(self, name: str) -> list[str]:
        key = plain(name).casefold()
        return sorted(self._same.get(key) or self._stem.get(split_ending(key)[0]) or [])


class Places:
    """Finds the files of many rows, with each folder read once.

    Args:
        base: the folder to which relative paths refer.
    """

    def __init__(self, base: str) -> None:
        self._base, self._listing = base, Listing()
        self._folders: dict[str, str] = {}
        self._alike: dict[str, _Folder] = {}

    def find(self, name: str) -> tuple[str, list[str]]:
        """The path of a file, and the names that are in its folder: the very one, or those that are spelt alike.

        The path is the listed one where there is not exactly one such name.
        """
        folder, last = os.path.split(name)
        if folder not in self._folders:
            self._folders[folder] = self._existing(os.path.join(self._base, folder))
        place = self._folders[folder]
        inside = self._listing.inside(place)
        if last in inside:
            return os.path.join(place, last), [last]
        if not inside or not last:
            return os.path.join(place, last), []
        if place not in self._alike:
            self._alike[place] = _Folder(inside)
        there = self._alike[place].alike(last)
        return os.path.join(place, there[0] if len(there) == 1 else last), there

    def _existing(self, folder: str) -> str:
        """A folder, or the only one that is spelt alike, from above downwards."""
        if len(folder) > LONGEST_PATH:
            return folder
        missing: list[str] = []
        place = folder
        while not os.path.isdir(place):
            above, last = os.path.split(place)
            if above == place:
                break
            missing += [last] if last else []
            place = above
        for last in reversed(missing):
            there = alike(last, _folders(place))
            place = os.path.join(place, there[0] if len(there) == 1 else last)
        return place


def _folders(place: str) -> list[str]:
    try:
        with os.scandir(place or ".") as entries:
            return [entry.name for entry in entries if entry.is_dir()]
    except (OSError, ValueError):  # a name with a null byte names no folder
        return []
