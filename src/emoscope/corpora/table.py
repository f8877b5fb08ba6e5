"""A table of recordings, one row per clip: a file (CSV, TSV, Parquet, JSON lines), a data frame, or a list of rows."""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from emoscope.corpora.clip import NOTHING, CorpusInfo, vocabulary
from emoscope.corpora.corpus import Corpus
from emoscope.corpora.files import Names
from emoscope.corpora.rows import USUAL, build_corpus, find_columns, folder_of_paths, with_lengths, with_points
from emoscope.corpora.text_tables import Row, TextTable, json_lines, plain
from emoscope.files import user_cache
from emoscope.mistakes import first_line

if TYPE_CHECKING:
    import polars

TEXT = (".csv", ".tsv", ".txt", ".tab")
TABLES = (*TEXT, ".parquet", ".jsonl")
"""Endings of tables; that of a text table does not say what separates its cells."""

ENDINGS = ((b"RIFF", ".wav"), (b"fLaC", ".flac"), (b"OggS", ".ogg"), (b"FORM", ".aiff"), (b".snd", ".au"))
"""How a sound file begins -> its ending; anything else is taken for mp3, which has no such mark."""

MOST_CHANNELS = 64
"""A second axis that is longer than this is no axis of channels."""

LARGEST = 100.0
"""A sample beyond this is no floating-point sample, whose full scale is 1."""

Cells: TypeAlias = "Sequence[Any] | polars.Series"
"""The cells of a column: a list, or a series of polars."""


@dataclass
class _Table:
    """Columns of any values, row (from 0) -> why it cannot be read, and what is told.

    Columns of frames stay what they are until they are read: many are left out, and some are no texts.
    """

    source: Path
    columns: Mapping[str, Cells]
    told: list[str] = field(default_factory=list)
    faults: dict[int, str] = field(default_factory=dict)
    decimal_commas: bool = False


def open_table(
    root: object,
    columns: Mapping[str, str] | None = None,
    audio_root: str | Path | None = None,
    labels: Mapping[str, str] | None = None,
    others: Sequence[str] | None = None,
    cache: str | Path | None = None,
) -> Corpus:
    r"""Open a table with one row per clip.

    A row without a known emotion, one that repeats a clip, and one that cannot be read is excluded; a row whose file
    does not exist is quarantined. A file that is spelt otherwise in one way alone (case, say, or ending) is taken.

    Args:
        root: the table: a file (``.csv``, ``.tsv``, ``.txt``, ``.parquet`` or ``.jsonl``), a polars or pandas frame, or
            a list of dictionaries. In frames and lists the path may also be ``(samples, rate)`` or
            ``{"array": samples, "sampling_rate": rate}``.
        columns: field (path, emotion, speaker, session, split, transcript, clip) -> the table's column; fields
            that are not named are found by the usual names. Any other key becomes a label column of that name.
        audio_root: folder to which relative paths refer; the table's folder by default, or the working folder.
        labels: the table's words -> emotion, for words that emoscope does not know.
        others: which of the remaining columns become label columns; all of them by default.
        cache: folder into which samples in memory are written once; by default that of :func:`sound_folder`.

    Example:
        >>> import tempfile
        >>> from emoscope.corpora import polish_folder
        >>> table = Path(tempfile.mkdtemp()) / "clips.csv"
        >>> _ = table.write_text("file;mood;who\nm1.a_nie_1.flac;angry;m1\nm2.n_nie_1.flac;neutral;m2\n")
        >>> columns = {"path": "file", "emotion": "mood", "speaker": "who"}
        >>> open_table(table, columns, audio_root=polish_folder())
        <Corpus table-clips: 2 clips used, 0 excluded, 0 quarantined; anger 1, neutral 1; 2 speakers>
        >>> open_table([{"path": "m1.a_nie_1.flac", "emotion": "angry"}], audio_root=polish_folder())
        <Corpus table-rows: 1 clips used, 0 excluded, 0 quarantined; anger 1; speakers unknown>
    """
    if root is None:
        raise ValueError("corpus 'table' needs its table: give root='clips.csv'")
    wanted = {name for names in USUAL.values() for name in names} | set((columns or {}).values())
    table = _file(Path(root).expanduser(), wanted) if isinstance(root, str | Path) else _in_memory(root)
    base = folder_of_paths(audio_root) or table.source.parent
    if not table.columns or not any(len(column) for column in table.columns.values()):
        raise ValueError(f"table {table.source} has no rows")
    source = find_columns(f"table {table.source.name}", "column", table.columns, columns or {}, others)
    values = _values(table, source, sound_folder(cache))
    faults = {**with_lengths(values, source), **table.faults}
    info = CorpusInfo(f"table-{table.source.stem}", f"Table {table.source.name}")
    return build_corpus(info, table.source, base, values, vocabulary(labels), faults, table.told)


def sound_folder(cache: str | Path | None) -> Path:
    """The folder into which sound in memory is written: the one that is given, or one in the user's cache."""
    return Path(cache).expanduser() if cache is not None else user_cache() / "sounds"


def _values(table: _Table, source: Mapping[str, str], into: Path) -> dict[str, list[str | None]]:
    """Field or label column -> the rows' texts; sound in memory is written into a folder."""
    values: dict[str, list[str | None]] = {}
    for name, column in source.items():
        cells = table.columns[column]
        if name == "path":
            values[name] = _texts(_kept(cells, into, table.source), column, table.source)
            continue
        values[name] = [text and plain(text) for text in _texts(cells, column, table.source)]
        if table.decimal_commas and name not in USUAL and (pointed := with_points(values[name])):
            values[name] = pointed
            table.told.append(f"{table.source.name}: the decimal commas of column {column!r} are read as points")
    if "clip" not in source and any(map(is_samples, table.columns[source["path"]])):
        values["clip"] = [f"{row:06d}" for row in range(len(values["path"]))]
    return values


def _file(table: Path, wanted: Collection[str]) -> _Table:
    if not table.is_file():
        there = Names(os.listdir(table.parent)).alike(table.name) if table.parent.is_dir() else []
        hint = f", but {' and '.join(there)} does" if there else ""
        raise FileNotFoundError(f"table {table} does not exist{hint}")
    ending = table.suffix.lower()
    if ending not in TABLES:
        known = f"{', '.join(TABLES[:-1])} and {TABLES[-1]} are read"
        sheet = "; save a spreadsheet as CSV" if ending in (".xlsx", ".xls", ".ods") else ""
        raise ValueError(f"table {table.name} has the ending {ending!r}: {known}{sheet}")
    try:
        if ending in TEXT:
            text = TextTable(table, wanted)
            empty = dict.fromkeys(text.columns, "")
            rows = [replace(row, cells=empty) if row.fault else row for row in text]
            return _of_rows(table, rows, text.columns, text.told, decimal_commas=text.separator != ",")
        return _parquet(table) if ending == ".parquet" else _json_lines(table)
    except OSError as error:
        raise ValueError(f"table {table} cannot be read: {error.strerror}") from error


def _of_rows(
    file: Path, rows: Sequence[Row], names: Iterable[str], earlier: Iterable[str], decimal_commas: bool = False
) -> _Table:
    """The table of a file's rows, of which those that cannot be read have no cells."""
    columns = {name: [row.cells.get(name) for row in rows] for name in names}
    faults = {place: row.fault for place, row in enumerate(rows) if row.fault}
    notes = [*earlier]
    if first := next((row for row in rows if row.fault), None):
        many = f"{len(faults):,} rows cannot be read and are left out, such as"
        many = "1 row cannot be read and is left out:" if len(faults) == 1 else many
        notes.append(f"{file.name}: {many} row {first.number} (line {first.line}): {first.fault}")
    return _Table(file, columns, notes, faults, decimal_commas)


def _parquet(file: Path) -> _Table:
    import polars

    try:
        frame = polars.read_parquet(file)
    # a damaged Parquet file can make the library panic, which is no ordinary exception
    except (polars.exceptions.PolarsError, polars.exceptions.PanicException) as error:
        raise ValueError(f"table {file} cannot be read as parquet: {first_line(error)}") from error
    return _Table(file, {column.name: column for column in frame})


def _json_lines(file: Path) -> _Table:
    read, note = json_lines(file)
    rows = [replace(row, fault="row is no JSON object") if row.fault else row for row in read]
    if rows and all(row.fault for row in rows):
        raise ValueError(f"table {file} cannot be read as jsonl: line {rows[0].line} is no JSON object")
    return _of_rows(file, rows, dict.fromkeys(name for row in rows for name in row.cells), [note] if note else [])


def _in_memory(given: Any) -> _Table:
    module = type(given).__module__.partition(".")[0]
    if module == "polars" and hasattr(given, "collect"):
        given = given.collect()
    if module == "polars" and hasattr(given, "get_column"):
        return _Table(Path("frame"), {column.name: column for column in given})
    if module == "pandas" and hasattr(given, "columns"):
        names = [str(name) for name in given.columns]
        if len(set(names)) < len(names):
            raise ValueError(f"the frame has a column twice ({', '.join(names)}): rename one")
        return _Table(Path("frame"), {name: given.iloc[:, place].tolist() for place, name in enumerate(names)})
    if isinstance(given, Sequence) and given and all(isinstance(row, Mapping) for row in given):
        keys = dict.fromkeys(str(key) for row in given for key in row)
        return _Table(Path("rows"), {key: [row.get(key) for row in given] for key in keys})
    what = "a list without rows" if isinstance(given, Sequence) and not given else f"of type {type(given).__name__}"
    raise ValueError(f"what is given is {what}: give a file, a polars or pandas frame, or a list of dictionaries")


def _kept(cells: Cells, into: Path, source: Path) -> Cells:
    """Paths, with a file in place of sound that is in memory."""
    if not (isinstance(cells, Sequence) or cells.dtype.is_nested() or cells.dtype.is_object()):
        return cells
    kept: list[object] = []
    for row, cell in enumerate(cells, start=1):
        if is_samples(cell):
            try:
                kept.append(str(keep_samples(cell, into)))
            except ValueError as error:
                raise ValueError(f"row {row} of {source}: {error}") from None
        elif isinstance(cell, Mapping):
            content = cell.get("bytes")
            kept.append(str(keep_bytes(content, into)) if isinstance(content, bytes) else cell.get("path"))
        else:
            kept.append(str(cell) if isinstance(cell, Path) else cell)
    return kept


def _texts(cells: Cells, column: str, table: Path) -> list[str | None]:
    """The texts of a column, ``None`` where a cell says that there is nothing."""
    several = list | tuple | dict
    if any(isinstance(cell, several) for cell in cells) if isinstance(cells, Sequence) else cells.dtype.is_nested():
        holds = "holds lists or records, not single values"
        raise ValueError(f"column {column!r} of {table.name} {holds}: leave it out with others=[...]")
    if not isinstance(cells, Sequence):
        return list(map(word_of, cells)) if cells.dtype.is_object() else _words(cells)
    # the cells of a text table are stripped already
    if all(isinstance(cell, str) for cell in cells):
        return [None if cell.lower() in NOTHING else cell.strip() for cell in cells]
    # whole numbers become floats where a row has none
    whole = all(cell.is_integer() for cell in cells if isinstance(cell, float) and not math.isnan(cell))
    return [word_of(cell, whole) for cell in cells]


def word_of(cell: object, whole: bool = False) -> str | None:
    """The text of a cell, ``None`` where it says that there is nothing; ``whole``: 3.0 is written as 3."""
    if cell is None:
        return None
    if isinstance(cell, bool):
        return str(cell).lower()
    text = str(int(cell)) if whole and isinstance(cell, float) and cell.is_integer() else str(cell).strip()
    # pandas has words of its own for what is missing
    return None if text.lower() in NOTHING or text in ("<NA>", "NaT") else text


def _words(series: polars.Series) -> list[str | None]:
    """The texts of a frame's column of single values."""
    import polars

    if series.dtype.is_float() and (series.drop_nulls() == series.drop_nulls().round(0)).all():
        series = series.cast(polars.Int64, strict=False)
    text = series.cast(polars.String, strict=False).str.strip_chars()
    return text.set(text.str.to_lowercase().is_in(list(NOTHING)), None).to_list()


def keep_bytes(content: bytes, into: Path) -> Path:
    """Write the bytes of a sound file into a folder, unless they are there, into a file named by its content."""
    ending = next((ending for mark, ending in ENDINGS if content.startswith(mark)), ".mp3")
    file = into / f"{hashlib.sha256(content).hexdigest()}{ending}"
    if not (file.is_file() and file.stat().st_size == len(content)):
        into.mkdir(parents=True, exist_ok=True)
        # renamed at the end, so that two runs at once never see half a file
        part = into / f".{file.name}.partial{os.getpid()}"
        part.write_bytes(content)
        part.replace(file)
    return file


def keep_samples(sound: object, into: Path) -> Path:
    """Write samples with their rate into a folder, as floating-point WAV; a ValueError where they are no sound.

    Samples are (time,), (time, channel) or (channel, time): floats of full scale 1 or whole numbers (int16, say).

    Example:
        >>> import tempfile
        >>> file = keep_samples((np.zeros((2, 8_000), dtype=np.int16), 8_000), Path(tempfile.mkdtemp()))
        >>> import soundfile
        >>> soundfile.info(file).duration, soundfile.info(file).channels
        (1.0, 2)
    """
    from scipy.io import wavfile

    samples, rate = samples_of(sound)
    content = io.BytesIO()
    # libsndfile would write the time of day into the file, and equal samples would give other bytes
    wavfile.write(content, rate, samples)
    return keep_bytes(content.getvalue(), into)


def is_samples(sound: object) -> bool:
    """Whether a value looks like samples with their rate."""
    return isinstance(sound, tuple) or (isinstance(sound, Mapping) and "array" in sound)


def samples_of(sound: object) -> tuple[npt.NDArray[np.float32], int]:
    """Samples (time, channel) of full scale 1, and their rate in Hz; arguments and errors as in :func:`keep_samples`."""
    if isinstance(sound, Mapping):
        sound = (sound.get("array"), sound.get("sampling_rate"))
    if not isinstance(sound, tuple) or len(sound) != 2:
        raise ValueError(f"a sound of type {type(sound).__name__} is not known: give a file, or (samples, rate)")
    samples, rate = sound
    if np.ndim(samples) == 0 and np.ndim(rate) > 0:
        raise ValueError(f"({samples!r}, samples) has the rate first: give (samples, rate)")
    number = isinstance(rate, int | float | np.integer | np.floating) and not isinstance(rate, bool)
    if not number or not 0 < rate < 2**31 or rate != int(rate):
        raise ValueError(f"rate {rate!r} is no sampling rate: give (samples, rate) with whole Hz, such as 16000")
    array = np.asarray(samples)
    if array.dtype.kind not in "iuf" or array.ndim not in (1, 2):
        shapes = "(time,), (time, channel) or (channel, time)"
        raise ValueError(
            f"samples of type {array.dtype} and shape {array.shape} are no sound: give numbers of shape {shapes}"
        )
    if array.ndim == 1:
        array = array[:, None]
    elif array.shape[0] < array.shape[1]:
        array = array.T
    if array.shape[1] > MOST_CHANNELS:
        raise ValueError(f"samples of shape {np.shape(samples)} have no axis of channels: give one clip at a time")
    if array.dtype.kind in "iu":
        half = 2.0 ** (8 * array.dtype.itemsize - 1)
        return np.asarray((array - (half if array.dtype.kind == "u" else 0.0)) / half, dtype=np.float32), int(rate)
    array = np.asarray(array, dtype=np.float32)
    if array.size and (largest := float(np.nanmax(np.abs(array), initial=0.0))) > LARGEST:
        scale = "floating-point samples have full scale 1; divide them, or give whole numbers (int16)"
        raise ValueError(f"samples reach {largest:g}: {scale}")
    return array, int(rate)
