"""From rows that name a file and its labels to a corpus, whatever the rows were read from."""

from __future__ import annotations

import gc
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from emoscope.corpora.clip import FIELDS, LISTED, NOT_FOUND, Clip, CorpusInfo, Lost, Reading, seconds_of
from emoscope.corpora.corpus import Corpus
from emoscope.corpora.files import Places, nearest, split_ending
from emoscope.emotions import CORPORA

USUAL = {field: tuple(names.split()) for field, names in CORPORA["table"]["columns"].items()}
"""For every field the column names (in any case) that are taken where the mapping does not name one."""

NEEDED = ("path", "emotion")

Texts = Sequence[str | None]
"""What a column says of each row."""

PART = "a part of a longer recording: cut it into a file of its own"
OTHER_PARTS = "a part of a longer recording, as other rows are: cut it into a file of its own"

DECIMAL = re.compile(r"[+-]?\d+(,\d+)?")

ROOTED = re.compile(r"/|[A-Za-z]:/")
"""How a path begins that does not refer to a folder of the user's choice."""


@dataclass
class Statuses:
    """What becomes of the clips that a label file names; readers add files and lines that make no sense to ``lost``.

    Example:
        >>> statuses = Statuses()
        >>> for name, why, missing in (("a", None, ""), ("a", None, ""), ("b", "no majority", ""), ("c", None, "file not found")):
        ...     statuses.add(Clip(name, Path("x.wav"), {}), why, missing)
        >>> list(statuses.clips), [(lost.id, lost.status, lost.why) for lost in statuses.lost]
        (['a'], [('a', 'excluded', 'second label of this clip'), ('b', 'excluded', 'no majority'), ('c', 'quarantined', 'file not found')])
    """

    clips: dict[str, Clip] = field(default_factory=dict)
    lost: list[Lost] = field(default_factory=list)
    named: set[str] = field(default_factory=set)
    """Ids of all clips that were added."""

    def add(
        self, clip: Clip, why: str | None, missing: str | None, again: str | None = "second label of this clip"
    ) -> None:
        """Add a clip that is excluded (why), quarantined (why there is no sound), or used, and say why not another time."""
        why = again if again and clip.id in self.named else why
        self.named.add(clip.id)
        if why or missing:
            self.lost.append(Lost(clip.id, clip.path, "excluded" if why else "quarantined", why or missing or "", clip))
        else:
            self.clips[clip.id] = clip

    def require(self, what: str, otherwise: str) -> None:
        """Refuse, with the first reason, where nothing can be used."""
        if not self.clips:
            raise ValueError(f"no {what} can be used: {self.lost[0].why if self.lost else otherwise}")

    def corpus(self, info: CorpusInfo, notes: Sequence[str]) -> Corpus:
        """The corpus of these clips, and what is told of how they were read."""
        return Corpus(info, tuple(self.clips.values()), tuple(self.lost), tuple(notes))


def folder_of_paths(audio_root: str | Path | None) -> Path | None:
    """The folder that a user gives for relative paths to refer to, if any; a FileNotFoundError where it is not there."""
    base = Path(audio_root).expanduser() if audio_root is not None else None
    if base and not base.is_dir():
        raise FileNotFoundError(f"audio_root {base} does not exist: give the folder to which the paths refer")
    return base


def build_corpus(
    info: CorpusInfo,
    source: Path,
    base: Path,
    values: Mapping[str, Texts],
    read: Reading,
    faults: Mapping[int, str] | None = None,
    notes: Sequence[str] = (),
) -> Corpus:
    """Make a corpus of rows; a row that cannot be used is excluded or quarantined with its reason.

    Where none can, this is a FileNotFoundError (no file is there) or a ValueError.

    Args:
        source: the file or folder that the rows were read from, for messages.
        base: folder to which relative paths refer.
        values: field or label column -> the rows' texts; ``path`` and ``emotion`` are needed.
        faults: row (from 0) -> why it is excluded, found while reading.
    """
    faults = faults or {}
    statuses = Statuses()
    with _without_collection():
        names = [None if name is None else name.replace("\\", "/") for name in values["path"]]
        files, respelt = _files(base, names)
        stems = _stems(base, names)
        extra = [name for name in values if name not in (*NEEDED, *FIELDS, "transcript", "clip")]
        nobody: Texts = [None] * len(names)
        own = list(zip(*(values.get(name, nobody) for name in (*FIELDS, "transcript")), strict=True))
        ids = values.get("clip", nobody)
        # one object for each folder: there may be 100,000 files in it
        folder_of = cache(Path)
        for row, (name, word) in enumerate(zip(names, values["emotion"], strict=True)):
            if name is None:
                fault = faults.get(row, "no path is given")
                statuses.lost.append(Lost(ids[row] or f"row {row + 1}", source, "excluded", fault))
                continue
            file, missing = files[row]
            folder, last = os.path.split(file)
            emotion, why = read(word)
            found = {} if emotion is None else {"emotion": emotion}
            found |= {column: text for column in extra if (text := values[column][row]) is not None}
            clip = Clip(ids[row] or stems[row], folder_of(folder) / last, found, *own[row])
            why = faults.get(row) or why
            repeats = why is None and clip.id in statuses.clips
            statuses.add(clip, why, missing, f"row {row + 1} repeats this clip" if repeats else None)
    if not statuses.clips:
        _explain(source, base, statuses.lost)
    return statuses.corpus(info, (*notes, *respelt))


@contextmanager
def _without_collection() -> Iterator[None]:
    # of 100,000 clips that all live on, none is garbage: looking for it costs a third of the time
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _files(base: Path, names: Texts) -> tuple[list[tuple[str, str | None]], list[str]]:
    """The file of every row with why it is not there, and what is told of files that are spelt otherwise."""
    places = Places(str(base))
    found = [("", [""]) if name is None else places.find(name) for name in names]
    listed = [os.path.basename(name or "") for name in names]
    named = {file for (file, there), name in zip(found, listed, strict=True) if there == [name]}
    files: list[tuple[str, str | None]] = []
    respelt: list[str] = []
    for (file, there), name in zip(found, listed, strict=True):
        missing = None
        if there != [name] and len(there) == 1 and file not in named:
            named.add(file)
            respelt.append(f"{there[0]} for {name}")
        elif there != [name]:
            file = os.path.join(os.path.dirname(file), name)
            others = f"{' and '.join(there[:3])} {'is' if len(there) == 1 else 'are'}"
            missing = f"{NOT_FOUND}: it is not there, but {others}" if there else NOT_FOUND
        files.append((file, missing))
    count = "1 file is" if len(respelt) == 1 else f"{len(respelt):,} files are"
    note = f"{count} spelt otherwise than in the list and taken all the same, such as {respelt[0]}" if respelt else None
    return files, [note] if note else []


def _stems(base: Path, names: Texts) -> list[str]:
    """Ids of clips: their paths without the ending, below the base or, for others, below the folder that holds them all."""
    stems = ["" if name is None else split_ending(name)[0] for name in names]
    outside = [stem for stem in stems if ROOTED.match(stem)]
    if not outside:
        return stems
    above = [f"{os.path.abspath(base)}/".replace("\\", "/")]
    others = [os.path.dirname(stem) for stem in outside if not stem.startswith(above[0])]
    with suppress(ValueError):  # of two Windows drives
        above.append(f"{os.path.commonpath(others)}/" if others else above[0])
    return [next((stem[len(start) :] for start in above if stem.startswith(start)), stem) for stem in stems]


def _explain(source: Path, base: Path, lost: list[Lost]) -> None:
    missing = next((unused for unused in lost if unused.status == "quarantined"), None)
    if missing is None:
        why = f"{'' if lost[0].clip else f'{lost[0].id}: '}{lost[0].why}" if lost else ""
        raise ValueError(f"no row of {source.name} can be used: {why or 'there is no row'}")
    detail = missing.why.removeprefix("file not found").removeprefix(": it is not there")
    windows = re.search(r"(?<![A-Za-z0-9])[A-Za-z]:/.*", missing.path.as_posix())
    name = windows[0] if windows else str(missing.path)
    if windows and not detail:
        detail = " (on a drive of Windows)"
    parts = [part for part in name.removeprefix(base.as_posix()).split("/") if part]
    # the beginning of a path may be of another machine
    ends = ["/".join(parts[start:]) for start in range(1, len(parts)) if ".." not in parts]
    if below := next((end for end in ends if os.path.isfile(os.path.join(base, end))), None):
        detail += f"; {below} is, so give paths that begin there"
    there = f"paths refer to {base}; give another folder with audio_root=..."
    raise FileNotFoundError(f"no file that {source.name} names is there, such as {name}{detail}: {there}")


def find_columns(
    whole: str,
    part: str,
    there: Collection[str],
    columns: Mapping[str, str],
    others: Sequence[str] | None,
    fields: Collection[str] = USUAL.keys(),
) -> dict[str, str]:
    """Field or label column -> column of a table, or scheme of a database: the given ones, and those of usual names.

    ``whole`` and ``part`` are the words of messages, such as "table x.csv" and "column".
    """
    for column in (*columns.values(), *(others or ())):
        if column not in there:
            raise ValueError(f"{whole} has no {part} {column!r}: {nearest(column, there)}")
    source = dict(columns)
    lower = {column.strip().lower(): column for column in reversed(list(there))}
    for name in fields:
        free = [lower[usual] for usual in USUAL[name] if usual in lower and lower[usual] not in columns.values()]
        if name not in source and free:
            source[name] = free[0]
    if field := next((field for field in NEEDED if field in fields and field not in source), None):
        named = any(split_ending(column)[1] for column in there)
        hint = "; its first row names a file: put a row with the columns' names above it" if named else ""
        remedy = f"name it with columns={{{field!r}: ...}}; it has {', '.join(there) or 'none'}{hint}"
        raise ValueError(f"{whole} has no {part} for the {field}: {remedy}")
    taken = set(source.values())
    for column in there if others is None else others:
        name = column.strip() or "unnamed"
        if column not in taken and name not in source:
            source[name] = column
    return source


def with_lengths(values: dict[str, list[str | None]], source: Mapping[str, str]) -> dict[int, str]:
    """Add the column ``listed_s`` to ``values`` where a table says how long its clips are or where they begin and end.

    ``source`` is field or label column -> column of the table. What comes back is row (from 0) -> why it is excluded:
    several rows are parts of one file.

    Example:
        >>> values = {"path": ["a.wav", "a.wav", "b.wav"], "start": ["0", "2", "0"], "end": ["2", "3.5", "1"]}
        >>> faults = with_lengths(values, {name: name for name in values})
        >>> values["listed_s"], list(faults)
        (['2.000', '1.500', '1.000'], [0, 1])
    """
    if LISTED in values:
        return {}
    lower = {column.strip().lower(): name for name, column in reversed(list(source.items()))}
    known = CORPORA["table"]
    usual = (known["lengths"], known["starts"], known["ends"])
    length, start, end = (next((lower[column] for column in each if column in lower), None) for each in usual)
    # where a part of a file begins, and where it ends if that is known: rows of one file that differ are parts of it
    spans: list[tuple[float | None, float | None]] = []
    if start and end:
        spans = list(zip(map(seconds_of, values[start]), map(seconds_of, values[end]), strict=True))
        listed = [b - a if a is not None and b is not None and b > a else None for a, b in spans]
    elif length:
        unit: float = known["lengths"][source[length].strip().lower()]
        listed = [None if (number := seconds_of(text)) is None else number * unit for text in values[length]]
        # lists of other programs give where a part begins, as offset, and how long it is
        if begin := start or lower.get("offset"):
            spans = [(seconds_of(text), None) for text in values[begin]]
    else:
        return {}
    values[LISTED] = [None if seconds is None else f"{seconds:.3f}" for seconds in listed]
    paths = values["path"] if spans else []
    each = {(path, span) for path, span in zip(paths, spans, strict=True) if path is not None}
    several = Counter(path for path, _ in each)
    return {row: OTHER_PARTS for row, path in enumerate(paths) if path is not None and several[path] > 1}


def with_points(column: Iterable[str | None]) -> list[str | None] | None:
    """A column of numbers with decimal commas, with points in their place; ``None`` for any other column.

    Example:
        >>> with_points(["3,5", None, "4"]), with_points(["a,b"]), with_points(["3", "4"])
        (['3.5', None, '4'], None, None)
    """
    texts = list(column)
    numbers = all(text is None or DECIMAL.fullmatch(text) for text in texts)
    commas = any("," in text for text in texts if text)
    return [text and text.replace(",", ".") for text in texts] if numbers and commas else None
