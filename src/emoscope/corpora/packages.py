"""Corpora kept with another package: a Hugging Face dataset (needs emoscope[datasets]), a database in audformat (emoscope[audformat])."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from emoscope.corpora.clip import NOTHING, CorpusInfo, vocabulary
from emoscope.corpora.corpus import Corpus
from emoscope.corpora.files import nearest
from emoscope.corpora.rows import PART, USUAL, build_corpus, find_columns
from emoscope.corpora.table import keep_bytes, sound_folder, word_of
from emoscope.emotions import CORPORA
from emoscope.mistakes import first_line

if TYPE_CHECKING:
    from audformat import Database
    from datasets import Dataset
    from datasets.features.features import FeatureType
    from pandas import DataFrame


def open_datasets(
    root: str | Path | None,
    columns: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    others: Sequence[str] | None = None,
    cache: str | Path | None = None,
) -> Corpus:
    """Open a dataset of the package datasets.

    The sound is never decoded here, so torchcodec is not needed: recordings inside the dataset are written once to
    ``cache``. Splits become ``split``; classes give their names; columns of lists are left out.

    Args:
        root: a folder written by ``save_to_disk``, or a name on the hub (``owner/name``, ``owner/name:configuration``).
        columns: as for a table, like the others; ``path`` is the audio column.
    """
    if root is None:
        raise ValueError("corpus 'datasets' needs its dataset: give root=... (a saved folder or a name on the hub)")
    parts = _dataset(root)
    folder, given = Path(root).expanduser(), Path(str(root))
    folder = folder if folder.is_dir() else Path(".")
    rows: list[dict[str, str | None]] = []
    faults: dict[int, str] = {}
    for split, part in parts.items():
        source = _columns(part, given, columns or {}, others)
        for number, (found, fault) in enumerate(_rows_of(part, source, folder, sound_folder(cache))):
            if fault:
                faults[len(rows)] = fault
            own = found.get("clip") or (f"{split}-{number:06d}" if split else f"{number:06d}")
            rows.append({"split": split or None, **found, "clip": own})
    if not rows:
        raise ValueError(f"dataset {root} has no rows")
    names = dict.fromkeys(name for row in rows for name in row)
    values = {name: [row.get(name) for row in rows] for name in names}
    info = CorpusInfo(f"datasets-{given.name}", f"Dataset {given.name}")
    return build_corpus(info, given, folder, values, vocabulary(labels), faults)


def _dataset(root: str | Path) -> dict[str, Dataset]:
    """Split -> rows; a dataset without splits has the one named ""."""
    try:
        import datasets
    except ImportError:
        raise ValueError("corpus 'datasets' needs the package datasets: pip install 'emoscope[datasets]'") from None
    folder = Path(root).expanduser()
    on_disk = folder.exists()
    if not on_disk and (str(root).count("/") != 1 or str(root)[0] in "./~"):
        raise FileNotFoundError(f"dataset {folder} does not exist: give a folder written by save_to_disk or owner/name")
    name, _, configuration = str(root).partition(":")
    try:
        found = datasets.load_from_disk(str(folder)) if on_disk else datasets.load_dataset(name, configuration or None)
    except Exception as error:
        # the package raises errors of many libraries for one thing: it cannot be read
        where = "from disk" if on_disk else "from the hub, and there is no such folder"
        raise ValueError(f"dataset {root} cannot be read {where}: {first_line(error)}") from error
    return dict(found) if isinstance(found, datasets.DatasetDict) else {"": found}


def _columns(part: Dataset, source: Path, columns: Mapping[str, str], others: Sequence[str] | None) -> dict[str, str]:
    import datasets

    sounds = [name for name, kind in part.features.items() if isinstance(kind, datasets.Audio)]
    plain = [name for name, kind in part.features.items() if isinstance(kind, datasets.Value | datasets.ClassLabel)]
    mapping = dict(columns)
    if "path" not in mapping and sounds:
        # the first of the usual names, or the only one there is
        mapping["path"] = min(sounds, key=lambda name: (name.lower() not in USUAL["path"], sounds.index(name)))
    there = [name for name in part.column_names if name in plain or name == mapping.get("path")]
    for column in mapping.values():
        if column in part.column_names and column not in there:
            raise ValueError(f"column {column!r} of dataset {source.name} holds lists or records, not single values")
    return find_columns(f"table {source.name}", "column", there, mapping, others)


def _rows_of(
    part: Dataset, source: Mapping[str, str], folder: Path, into: Path
) -> Iterator[tuple[dict[str, str | None], str | None]]:
    """The texts of every row, and why there is no recording."""
    import datasets

    sound = source["path"]
    if isinstance(part.features[sound], datasets.Audio):
        part = part.cast_column(sound, datasets.Audio(decode=False))

    def word(kind: FeatureType, value: object) -> str | None:
        if isinstance(kind, datasets.ClassLabel):
            # -1 is how the package writes that there is no label
            return str(kind.int2str(value)) if isinstance(value, int) and 0 <= value < kind.num_classes else None
        text = str(value).strip()
        return None if text.lower() in NOTHING else text

    columns = {name: column for name, column in source.items() if name != "path"}
    for cells in part.select_columns(sorted(set(source.values()))):
        path, fault = _file(cells[sound], folder, into)
        yield {"path": path, **{name: word(part.features[each], cells[each]) for name, each in columns.items()}}, fault


def _file(cell: object, folder: Path, into: Path) -> tuple[str | None, str | None]:
    """The path of a row's recording, or why there is none."""
    if isinstance(cell, str):
        return cell or None, None
    content, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (None, None)
    if content:
        return str(keep_bytes(content, into)), None
    if path:
        return str(Path(path) if Path(path).is_absolute() or Path(path).exists() else folder / path), None
    return None, "no recording is in this row"


def open_audformat(
    root: str | Path | None,
    columns: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    others: Sequence[str] | None = None,
) -> Corpus:
    """Open a database in audformat.

    The clips are the rows of the tables that hold the emotion. What is known of a file in other tables, and what a
    scheme tells of its labels (the gender of a speaker), is joined to them. A row that is a part of a file is excluded.

    Args:
        root: the folder that holds ``db.yaml`` and the sound.
        columns: as for a table, with schemes for columns. ``{"emotion": "table/scheme"}`` takes the clips of one table.
        others: further schemes that become label columns; gender, sex, age and language by default.
    """
    if root is None:
        raise ValueError("corpus 'audformat' needs its database: give the folder of its db.yaml with root=...")
    folder = Path(root).expanduser()
    if not (folder / "db.yaml").is_file():
        raise FileNotFoundError(f"{folder} holds no db.yaml: give the folder of a database in audformat")
    with _without_pickles(folder) as tables:
        database = _database(folder, tables)
        words, faults = _words(database, folder, dict(columns or {}), others)
    name, licence = folder.resolve().name, str(database.license or "unknown")
    title, source, language = database.name or name, str(database.source or ""), ", ".join(database.languages or ())
    info = CorpusInfo(f"audformat-{name}", f"Database {title}", licence, source, language or "unknown")
    info = replace(info, may_embed_audio=licence in CORPORA["audformat"]["free"])
    return build_corpus(info, folder, folder, words, vocabulary(labels), faults)


def _words(
    database: Database, folder: Path, given: dict[str, str], others: Sequence[str] | None
) -> tuple[dict[str, list[str | None]], dict[int, str]]:
    """Field or label column -> the rows' words, and why some rows are excluded; tables are read when they are asked."""
    table, _, scheme = (given.get("emotion") or "").rpartition("/")
    # schemes, and the properties that they give their labels
    labels = [scheme.labels for scheme in database.schemes.values() if isinstance(scheme.labels, dict)]
    about = [properties for each in labels for properties in each.values() if isinstance(properties, dict)]
    there = dict.fromkeys([*database.schemes, *chain(*about)])
    usual = [name for name in ("gender", "sex", "age", "language") if name in there]
    fields = [field for field in USUAL if field not in ("path", "clip")]
    columns = {**given, **({"emotion": scheme} if scheme else {})}
    further = usual if others is None else others
    source = find_columns(f"database {folder.name}", "scheme", there, columns, further, fields)
    rows = list(_rows(_get(database, folder, source.pop("emotion"), table)))
    files = [file for file, _, _ in rows]
    words: dict[str, list[str | None]] = {"path": [*files], "emotion": [word for _, word, _ in rows]}
    for field, name in source.items():
        known: dict[str, str] = {}
        for file, word, _ in _rows(_get(database, folder, name)):
            if word is not None:
                known.setdefault(file, word)
        words[field] = [known.get(file) for file in files]
    if "split" not in words:
        tables = [table for name in database.tables if (table := database[name]).split_id is not None]
        parts = {str(file): str(table.split_id) for table in tables for file in table.files}
        words["split"] = [parts.get(file) for file in files]
    return words, {row: PART for row, (_, _, is_part) in enumerate(rows) if is_part}


def _rows(frame: DataFrame) -> Iterator[tuple[str, str | None, bool]]:
    """File and word of every row, and whether it is a part of its file."""
    for index, value in zip(frame.index, frame.iloc[:, 0], strict=True):
        file, start, end = index if isinstance(index, tuple) else (index, None, None)
        word = str(value) if isinstance(value, bool) else word_of(value, whole=True)
        yield str(file), word, start is not None and (start.total_seconds() > 0 or end == end)


def _database(folder: Path, tables: Path) -> Database:
    try:
        import audformat
        import yaml
    except ImportError:
        raise ValueError("corpus 'audformat' needs the package audformat: pip install 'emoscope[audformat]'") from None
    try:
        # audformat itself would build Python objects of a header, whose tags can run any code
        header = yaml.safe_load((folder / "db.yaml").read_text(encoding="utf-8"))
        if not isinstance(header, dict):
            raise ValueError("db.yaml holds no database")
        for table in (*(header.get("tables") or ()), *(header.get("misc_tables") or ())):
            if not re.fullmatch(r"[\w.-]+", str(table)):
                raise ValueError(f"db.yaml names a table {table!r}, which is no plain name")
        return audformat.Database.load(str(tables), num_workers=1, verbose=False)
    except Exception as error:
        # the package raises errors of many libraries for one thing: it cannot be read
        raise ValueError(f"database {folder} cannot be read: {first_line(error)}") from error


@contextmanager
def _without_pickles(folder: Path) -> Iterator[Path]:
    """A folder with the database's tables but not their pickles, which audformat would prefer: they can run code."""
    pickles = sorted(folder.glob("db.*.pkl"))
    for pickle in pickles:
        if not any(pickle.with_suffix(ending).is_file() for ending in (".csv", ".parquet")):
            trusted = 'where you trust it, read it with audformat and save the database with storage_format="parquet"'
            fault = f"{pickle.name} is a pickle, which can run code when read"
            raise ValueError(f"database {folder} cannot be read: {fault}: {trusted}")
    if not pickles:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="emoscope-") as place:
        for file in folder.glob("db.*"):
            if file.suffix != ".pkl":
                (Path(place) / file.name).symlink_to(file.resolve())
        yield Path(place)


def _get(database: Database, folder: Path, scheme: str, table: str = "") -> DataFrame:
    if table and table not in database.tables:
        raise ValueError(f"database {folder.name} has no table {table!r}: {nearest(table, database.tables)}")
    try:
        return database.get(scheme, tables=[table] if table else None)
    except Exception as error:
        raise ValueError(
            f"scheme {scheme!r} of database {folder.name} cannot be read ({first_line(error)}): where tables contradict "
            f"each other, name one with columns={{'emotion': 'table/{scheme}'}}"
        ) from error
