"""From rows that name a file and its labels to a corpus, whatever the rows were read from."""

from __future__ import annotations

import gc
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from emoscope.corpora.clip import FIELDS, LISTED, Clip, CorpusInfo, Lost, Vocabulary, seconds_of
from emoscope.corpora.corpus import Corpus
from emoscope.corpora.files import Places, nearest, split_ending
from emoscope.corpora.text_tables import lines_of, read_text

USUAL = {
    field: tuple(names.split())
    for field, names in {
        "path": "path file filename file_name filepath file_path audio audio_path wav datei dateiname pfad",
        "emotion": "emotion label emo emotion_label emoclass category gefühl",
        "speaker": "speaker speaker_id spk spkrid spk_id actor subject sprecher sprecherin",
        "session": "session sitzung",
        "split": "split split_set partition subset",
        "transcript": "transcript transcription text transkript",
        "clip": "clip clip_id id key utterance_id",
    }.items()
}
"""For every field the column names (in any case) that are taken where the mapping does not name one."""

NEEDED = ("path", "emotion")

LENGTHS = {"duration": 1.0, "duration_s": 1.0, "dur": 1.0, "length_s": 1.0, "duration_sec": 1.0, "duration_ms": 0.001}
"""Columns that say how long a clip is -> their unit, in seconds."""

STARTS = ("start", "start_time", "starttime", "start_s", "begin", "onset")
ENDS = ("end", "end_time", "endtime", "end_s", "stop", "offset")

PART = "a part of a longer recording: cut it into a file of its own"
OTHER_PARTS = "a part of a longer recording, as other rows are: cut it into a file of its own"

DECIMAL = re.compile(r"[+-]?\d+(,\d+)?")

ROOTED = re.compile(r"/|[A-Za-z]:/")
"""How a path begins that does not refer to a folder of the user's choice."""


def build_corpus(
    info: CorpusInfo,
    source: Path,
    base: Path,
    values: Mapping[str, Sequence[str | None]],
    vocabulary: Vocabulary,
    faults: Mapping[int, str] | None = None,
    told: Sequence[str] = (),
) -> Corpus:
    """Make a corpus of rows; a row that cannot be used is excluded or quarantined with its reason.

    Args:
        info: the corpus.
        source: the file or folder that the rows were read from, for messages.
        base: folder to which relative paths refer.
        values: field or label column -> the rows' texts; ``path`` and ``emotion`` are needed.
        vocabulary: the meaning of the rows' emotion words.
        faults: row (from 0) -> why it is excluded, found while reading.
        told: what the user should know of how the rows were read.

    Raises:
        FileNotFoundError: no file is there.
        ValueError: no row can be used for another reason.
    """
    # of 100,000 clips that all live on, none is garbage: looking for it costs a third of the time
    was_on = gc.isenabled()
    gc.disable()
    try:
        clips, lost, notes = _fates(source, base, values, vocabulary, faults or {})
    finally:
        if was_on:
            gc.enable()
    if not clips:
        _explain(source, base, lost)
    return Corpus(info, tuple(clips.values()), tuple(lost), (*told, *notes))


def _fates(
    source: Path,
    base: Path,
    values: Mapping[str, Sequence[str | None]],
    vocabulary: Vocabulary,
    faults: Mapping[int, str],
) -> tuple[dict[str, Clip], list[Lost], list[str]]:
    clips: dict[str, Clip] = {}
    lost: list[Lost] = []
    extra = [name for name in values if name not in (*NEEDED, *FIELDS, "transcript", "clip")]
    nobody: list[str | None] = [None] * len(values["path"])
    fields = {name: values.get(name, nobody) for name in (*FIELDS, "transcript", "clip")}
    own = list(zip(*(fields[name] for name in (*FIELDS, "transcript")), strict=True))
    names = [None if name is None else name.replace("\\", "/") for name in values["path"]]
    files, respelt = _files(base, names)
    stems = _stems(base, names)
    folders: dict[str, Path] = {}
    for row, (name, word) in enumerate(zip(names, values["emotion"], strict=True)):
        if name is None:
            fault = faults.get(row, "no path is given")
            lost.append(Lost(fields["clip"][row] or f"row {row + 1}", source, "excluded", fault))
            continue
        file, missing = files[row]
        folder, last = os.path.split(file)
        if folder not in folders:
            folders[folder] = Path(folder)
        path = folders[folder] / last
        key = fields["clip"][row] or stems[row]
        emotion, why = vocabulary.read(word)
        found = {} if emotion is None else {"emotion": emotion}
        for column in extra:
            text = values[column][row]
            if text is not None:
                found[column] = text
        clip = Clip(key, path, found, *own[row])
        why = faults.get(row) or why
        if why is None and key in clips:
            why = f"row {row + 1} repeats this clip"
        if why:
            lost.append(Lost(key, path, "excluded", why, clip))
        elif missing:
            lost.append(Lost(key, path, "quarantined", missing, clip))
        else:
            clips[key] = clip
    return clips, lost, respelt


def _files(base: Path, names: Sequence[str | None]) -> tuple[list[tuple[str, str | None]], list[str]]:
    """The file of every row with why it is not there, and what is told of files that are spelt otherwise."""
    places = Places(str(base))
    found = [("", []) if name is None else places.find(name) for name in names]
    listed = [None if name is None else os.path.basename(name) for name in names]
    named = {file for (file, there), name in zip(found, listed, strict=True) if there == [name]}
    files: list[tuple[str, str | None]] = []
    respelt: list[str] = []
    for (file, there), name in zip(found, listed, strict=True):
        if there == [name] or name is None:
            files.append((file, None))
        elif len(there) == 1 and file not in named:
            named.add(file)
            respelt.append(f"{there[0]} for {name}")
            files.append((file, None))
        else:
            file = os.path.join(os.path.dirname(file), name)
            other = f", but {' and '.join(there[:3])} {'is' if len(there) == 1 else 'are'}" if there else ""
            files.append((file, f"file not found{other and ': it is not there' + other}"))
    if not respelt:
        return files, []
    count = "1 file is" if len(respelt) == 1 else f"{len(respelt):,} files are"
    return files, [f"{count} spelt otherwise than in the list and taken all the same, such as {respelt[0]}"]


def _stems(base: Path, names: Sequence[str | None]) -> list[str]:
    """Ids of clips: their paths without the ending, below the base or, for others, below the folder that holds them all."""
    stems = ["" if name is None else split_ending(name)[0] for name in names]
    outside = [stem for stem in stems if ROOTED.match(stem)]
    if not outside:
        return stems
    above = [f"{os.path.abspath(base)}/".replace("\\", "/")]
    others = [os.path.dirname(stem) for stem in outside if not stem.startswith(above[0])]
    with suppress(ValueError):  # of two Windows drives
        above.append(f"{os.path.commonpath(others)}/" if others else above[0])
    return [next((stem[len(one) :] for one in above if stem.startswith(one)), stem) for stem in stems]


def _explain(source: Path, base: Path, lost: list[Lost]) -> None:
    missing = [one for one in lost if one.fate == "quarantined"]
    if missing:
        name = missing[0].path.as_posix()
        other = missing[0].why.removeprefix("file not found").removeprefix(": it is not there")
        windows = re.search(r"(?<![A-Za-z0-9])[A-Za-z]:/.*", name)
        name = windows[0] if windows else str(missing[0].path)
        if windows and not other:
            other = " (on a drive of Windows)"
        if below := _below(base, name):
            other += f"; {below} is, so give paths that begin there"
        raise FileNotFoundError(
            f"no file that {source.name} names is there, such as {name}{other}: paths refer to {base}; "
            f"give another folder with audio_root=..."
        )
    why = f"{'' if lost[0].clip else f'{lost[0].id}: '}{lost[0].why}" if lost else ""
    raise ValueError(f"no row of {source.name} can be used: {why or 'there is no row'}")


def _below(base: Path, name: str) -> str | None:
    """The end of a path that names a file below the base: the rest is of another machine, say."""
    parts = [part for part in name.removeprefix(base.as_posix()).split("/") if part]
    ends = ("/".join(parts[start:]) for start in range(1, len(parts)))
    return next((end for end in ends if ".." not in parts and os.path.isfile(os.path.join(base, end))), None)


def with_usual(
    columns: Mapping[str, str], there: Iterable[str], fields: Iterable[str] = tuple(USUAL)
) -> dict[str, str]:
    """Field -> column, with the columns of usual names for the fields that are not given."""
    source = dict(columns)
    lower = {column.strip().lower(): column for column in reversed(list(there))}
    for field in fields:
        free = [lower[name] for name in USUAL[field] if name in lower and lower[name] not in columns.values()]
        if field not in source and free:
            source[field] = free[0]
    return source


def json_lines(file: Path, chinese: bool = False) -> tuple[list[tuple[int, dict[str, Any], str]], str | None]:
    """The objects of a file of JSON lines, each with its line's number and what is wrong with it; and what is told."""
    text, note = read_text(file, chinese)
    found: list[tuple[int, dict[str, Any], str]] = []
    for number, line in enumerate(lines_of(text), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                found.append((number, {}, "is not JSON"))
                continue
            found.append((number, row, "") if isinstance(row, dict) else (number, {}, "is no JSON object"))
    return found, note


def find_columns(
    table: Path, there: Sequence[str], columns: Mapping[str, str], others: Sequence[str] | None
) -> dict[str, str]:
    """Field or label column -> column of the table."""
    for column in (*columns.values(), *(others or ())):
        if column not in there:
            raise ValueError(f"table {table.name} has no column {column!r}: {nearest(column, there)}")
    source = with_usual(columns, there)
    if field := next((field for field in NEEDED if field not in source), None):
        hint = ""
        if any(split_ending(column)[1] for column in there):
            hint = "; its first row names a file: put a row with the columns' names above it"
        raise ValueError(
            f"table {table.name} has no column for the {field}: name it with "
            f"columns={{{field!r}: ...}}; it has {', '.join(there)}{hint}"
        )
    taken = set(source.values())
    for column in there if others is None else others:
        name = column.strip() or "unnamed"
        if column not in taken and name not in source:
            source[name] = column
    return source


def with_lengths(values: dict[str, list[str | None]], source: Mapping[str, str]) -> dict[int, str]:
    """Add the column ``listed_s`` where a table says how long its clips are or where they begin and end.

    Args:
        values: field or label column -> the rows' texts; the column is added to it.
        source: field or label column -> column of the table.

    Returns:
        row (from 0) -> why it is excluded: several rows are parts of one file.

    Example:
        >>> values = {"path": ["a.wav", "a.wav", "b.wav"], "start": ["0", "2", "0"], "end": ["2", "3.5", "1"]}
        >>> faults = with_lengths(values, {name: name for name in values})
        >>> values["listed_s"], list(faults)
        (['2.000', '1.500', '1.000'], [0, 1])
        >>> values = {"path": ["a.wav", "a.wav", "b.wav"], "offset": ["0", "2", "0"], "duration": ["2", "1.5", "1"]}
        >>> list(with_lengths(values, {name: name for name in values}))
        [0, 1]
    """
    lower = {column.strip().lower(): name for name, column in reversed(list(source.items()))}
    length = next((lower[name] for name in LENGTHS if name in lower), None)
    start, end = (next((lower[name] for name in names if name in lower), None) for names in (STARTS, ENDS))
    if LISTED in values:
        return {}
    faults = {}
    if start and end:
        spans = list(zip(map(seconds_of, values[start]), map(seconds_of, values[end]), strict=True))
        listed = [b - a if a is not None and b is not None and b > a else None for a, b in spans]
        faults = dict.fromkeys(_parts(values["path"], spans), OTHER_PARTS)
    elif length:
        unit = LENGTHS[source[length].strip().lower()]
        listed = [None if (said := seconds_of(text)) is None else said * unit for text in values[length]]
        # lists of other programs give where a part begins, as offset, and how long it is
        if begin := start or lower.get("offset"):
            faults = dict.fromkeys(
                _parts(values["path"], [(seconds_of(text), None) for text in values[begin]]), OTHER_PARTS
            )
    else:
        return {}
    values[LISTED] = [None if said is None else f"{said:.3f}" for said in listed]
    return faults


def _parts(paths: Sequence[str | None], spans: Sequence[tuple[float | None, float | None]]) -> list[int]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, path in enumerate(paths):
        if path is not None:
            rows[path].append(row)
    return sorted(row for same in rows.values() if len({spans[one] for one in same}) > 1 for row in same)


def with_points(column: Iterable[str | None]) -> list[str | None] | None:
    """A column of numbers with decimal commas, with points in their place; ``None`` for any other column.

    Example:
        >>> with_points(["3,5", None, "4"]), with_points(["a,b"]), with_points(["3", "4"])
        (['3.5', None, '4'], None, None)
    """
    texts = list(column)
    commas = False
    for text in texts:
        if text is not None:
            if not DECIMAL.fullmatch(text):
                return None
            commas = commas or "," in text
    return [text.replace(",", ".") if text else text for text in texts] if commas else None
