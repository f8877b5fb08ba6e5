"""A table of recordings: CSV, TSV, Parquet or JSON lines, one row per clip."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emoscope.corpora.clip import FIELDS, Clip, CorpusInfo, Lost
from emoscope.corpora.corpus import Corpus
from emoscope.corpora.files import Listing, nearest
from emoscope.corpora.labels import MISSING, Vocabulary

if TYPE_CHECKING:
    import polars

INFO = CorpusInfo("table", "A table of recordings: CSV, TSV, Parquet or JSON lines")

USUAL = {
    "path": ("path", "file", "filename", "file_name", "filepath", "file_path", "audio", "audio_path", "wav"),
    "emotion": ("emotion", "label", "emo", "emotion_label", "emoclass", "category"),
    "speaker": ("speaker", "speaker_id", "spk", "spkrid", "spk_id", "actor", "subject"),
    "session": ("session",),
    "split": ("split", "split_set", "partition", "subset"),
    "transcript": ("transcript", "transcription", "text"),
    "clip": ("clip", "clip_id", "id", "key", "utterance_id"),
}
"""For every field the column names (in any case) that are taken where the mapping does not name one."""

NEEDED = ("path", "emotion")


def open_table(
    root: str | Path | None,
    columns: Mapping[str, str] | None = None,
    audio_root: str | Path | None = None,
    labels: Mapping[str, str] | None = None,
    others: Sequence[str] | None = None,
) -> Corpus:
    r"""Open a table with one row per clip.

    A row without a known emotion, and a row that repeats a clip, is excluded; a row whose file does not exist
    is quarantined.

    Args:
        root: the table: ``.csv``, ``.tsv``, ``.parquet`` or ``.jsonl``.
        columns: field (path, emotion, speaker, session, split, transcript, clip) -> the table's column; fields
            that are not named are found by the usual names. Any other key becomes a label column of that name.
        audio_root: folder to which relative paths refer; the table's folder by default.
        labels: the table's words -> emotion, for words that emoscope does not know.
        others: which of the remaining columns become label columns; all of them by default.

    Raises:
        FileNotFoundError: the table or ``audio_root`` does not exist.
        ValueError: another format, a table that cannot be read or has no rows, a column that is not there, or no
            row with a known emotion.

    Example:
        >>> import tempfile
        >>> from emoscope.corpora import polish_folder
        >>> table = Path(tempfile.mkdtemp()) / "clips.csv"
        >>> _ = table.write_text("file,mood,who\nm1.a_nie_1.flac,angry,m1\nm2.n_nie_1.flac,neutral,m2\n")
        >>> columns = {"path": "file", "emotion": "mood", "speaker": "who"}
        >>> open_table(table, columns, audio_root=polish_folder())
        <Corpus table-clips: 2 clips used, 0 excluded, 0 quarantined; anger 1, neutral 1; 2 speakers>
    """
    if root is None:
        raise ValueError("corpus 'table' needs its table: give root='clips.csv'")
    table = Path(root).expanduser()
    frame = _read(table)
    base = Path(audio_root).expanduser() if audio_root is not None else table.parent
    if not base.is_dir():
        raise FileNotFoundError(f"audio_root {base} does not exist: give the folder to which the paths refer")
    source = _sources(table, frame.columns, columns or {}, others)
    values = {field: _texts(frame, column) for field, column in source.items()}
    return _build(table, base, values, frame.height, Vocabulary(labels))


def _build(table: Path, base: Path, values: dict[str, list[str | None]], height: int, vocabulary: Vocabulary) -> Corpus:
    clips: dict[str, Clip] = {}
    lost: list[Lost] = []
    listing = Listing()
    extra = [name for name in values if name not in (*NEEDED, *FIELDS, "transcript", "clip")]
    nobody: list[str | None] = [None] * height
    fields = {name: values.get(name, nobody) for name in (*FIELDS, "transcript", "clip")}
    prefix = str(base)
    for row, (name, word) in enumerate(zip(values["path"], values["emotion"], strict=True), start=1):
        if name is None:
            lost.append(Lost(f"row {row}", table, "excluded", "no path is given"))
            continue
        place = os.path.join(prefix, name.replace("\\", "/"))
        path = Path(place)
        key = fields["clip"][row - 1] or os.path.splitext(name)[0]
        emotion, why = vocabulary.read(word)
        found = {} if emotion is None else {"emotion": emotion}
        for column in extra:
            text = values[column][row - 1]
            if text is not None:
                found[column] = text
        clip = Clip(key, path, found, *(fields[field][row - 1] for field in (*FIELDS, "transcript")))
        if why is None and key in clips:
            why = f"row {row} repeats this clip"
        if why:
            lost.append(Lost(key, path, "excluded", why, clip))
        elif not listing.has(place):
            lost.append(Lost(key, path, "quarantined", "file not found", clip))
        else:
            clips[key] = clip
    if not clips:
        _explain(table, base, lost)
    return Corpus(CorpusInfo(f"table-{table.stem}", f"Table {table.name}"), tuple(clips.values()), tuple(lost))


def _explain(table: Path, base: Path, lost: list[Lost]) -> None:
    missing = [one for one in lost if one.fate == "quarantined"]
    if missing:
        raise FileNotFoundError(
            f"no file that {table.name} names is there, such as {missing[0].path}: paths refer to {base}; "
            f"give another folder with audio_root=..."
        )
    raise ValueError(f"no row of {table.name} can be used: {lost[0].why}")


def _read(table: Path) -> polars.DataFrame:
    import polars

    if not table.is_file():
        raise FileNotFoundError(f"table {table} does not exist")
    ending = table.suffix.lower()
    try:
        if ending in (".csv", ".tsv"):
            # every column as text: a speaker "001" stays "001"
            separator = "\t" if ending == ".tsv" else ","
            frame = polars.read_csv(table, separator=separator, infer_schema=False, encoding="utf8-lossy")
        elif ending == ".parquet":
            frame = polars.read_parquet(table)
        elif ending == ".jsonl":
            frame = polars.read_ndjson(table, infer_schema_length=None)
        else:
            raise ValueError(f"table {table.name} has the ending {ending!r}: .csv, .tsv, .parquet and .jsonl are read")
    except (polars.exceptions.PolarsError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"table {table} cannot be read as {ending[1:]}: {first}") from error
    if frame.height == 0:
        raise ValueError(f"table {table} has no rows")
    return frame


def _sources(
    table: Path, there: Sequence[str], columns: Mapping[str, str], others: Sequence[str] | None
) -> dict[str, str]:
    """Field or label column -> column of the table."""
    for column in (*columns.values(), *(others or ())):
        if column not in there:
            raise ValueError(f"table {table.name} has no column {column!r}: {nearest(column, there)}")
    source = dict(columns)
    lower = {column.strip().lower(): column for column in reversed(there)}
    for field, usual in USUAL.items():
        if field not in source:
            free = [lower[name] for name in usual if name in lower and lower[name] not in columns.values()]
            if free:
                source[field] = free[0]
            elif field in NEEDED:
                raise ValueError(
                    f"table {table.name} has no column for the {field}: name it with "
                    f"columns={{{field!r}: ...}}; it has {', '.join(there)}"
                )
    taken = set(source.values())
    for column in there if others is None else others:
        name = column.strip() or "unnamed"
        if column not in taken and name not in source:
            source[name] = column
    return source


def _texts(frame: polars.DataFrame, column: str) -> list[str | None]:
    import polars

    series = frame.get_column(column)
    if series.dtype.is_nested():
        raise ValueError(f"column {column!r} holds lists or records, not single values: leave it out with others=[...]")
    if series.dtype == polars.Float64 and (series.drop_nulls() == series.drop_nulls().round(0)).all():
        # whole numbers become floats where a row has none
        series = series.cast(polars.Int64, strict=False)
    text = series.cast(polars.String, strict=False).str.strip_chars()
    return text.set(text.str.to_lowercase().is_in(list(MISSING)), None).to_list()
