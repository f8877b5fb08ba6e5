"""A table of recordings: CSV, TSV, Parquet or JSON lines, one row per clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emoscope.corpora.clip import CorpusInfo
from emoscope.corpora.corpus import Corpus
from emoscope.corpora.labels import MISSING, Vocabulary
from emoscope.corpora.rows import build_corpus, find_columns

if TYPE_CHECKING:
    import polars

INFO = CorpusInfo("table", "A table of recordings: CSV, TSV, Parquet or JSON lines")


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
    source = find_columns(table, frame.columns, columns or {}, others)
    values = {field: _texts(frame, column, table) for field, column in source.items()}
    info = CorpusInfo(f"table-{table.stem}", f"Table {table.name}")
    return build_corpus(info, table, base, values, Vocabulary(labels))


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
    # a damaged Parquet file can make the library panic, which is no ordinary exception
    except (polars.exceptions.PolarsError, polars.exceptions.PanicException, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"table {table} cannot be read as {ending[1:]}: {first}") from error
    if frame.height == 0:
        raise ValueError(f"table {table} has no rows")
    return frame


def _texts(frame: polars.DataFrame, column: str, table: Path) -> list[str | None]:
    import polars

    series = frame.get_column(column)
    if series.dtype.is_nested():
        raise ValueError(
            f"column {column!r} of {table.name} holds lists or records, not single values: leave it out with others=[...]"
        )
    if series.dtype == polars.Float64 and (series.drop_nulls() == series.drop_nulls().round(0)).all():
        # whole numbers become floats where a row has none
        series = series.cast(polars.Int64, strict=False)
    text = series.cast(polars.String, strict=False).str.strip_chars()
    return text.set(text.str.to_lowercase().is_in(list(MISSING)), None).to_list()
