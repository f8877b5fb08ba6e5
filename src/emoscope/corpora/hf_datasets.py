"""A corpus kept with the Hugging Face package datasets: saved to disk, or on the hub (needs emoscope[datasets])."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emoscope.corpora.clip import CorpusInfo
from emoscope.corpora.corpus import Corpus
from emoscope.corpora.kept_sounds import keep_bytes, user_cache
from emoscope.corpora.labels import MISSING, Vocabulary
from emoscope.corpora.rows import USUAL, build_corpus, find_columns

INFO = CorpusInfo("datasets", "A Hugging Face dataset, saved to disk or on the hub")


def open_datasets(
    root: str | Path | None,
    columns: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    others: Sequence[str] | None = None,
    cache: str | Path | None = None,
) -> Corpus:
    """Open a dataset of the package datasets.

    The sound is never decoded here, so torchcodec is not needed: recordings that lie inside the dataset are written
    once to ``cache``, named by their content, and read from there like any other file. Splits become ``split``;
    classes give their names; columns of lists are left out.

    Args:
        root: a folder written by ``save_to_disk``, or a name on the hub (``owner/name``, ``owner/name:configuration``).
        columns: field (path, emotion, speaker …) -> column, as for a table; ``path`` is the audio column.
        labels: the dataset's words -> emotion, for words that emoscope does not know.
        others: which of the remaining columns become label columns; all by default.
        cache: folder for recordings; by default ``emoscope/sounds`` in the user's cache.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: the package is not installed, the dataset cannot be read, or no row can be used.
    """
    if root is None:
        raise ValueError("corpus 'datasets' needs its dataset: give root=... (a saved folder or a name on the hub)")
    parts = _load(root)
    folder = Path(root).expanduser() if Path(root).expanduser().is_dir() else Path(".")
    into = Path(cache).expanduser() if cache is not None else user_cache()
    values: dict[str, list[str | None]] = {}
    faults: dict[int, str] = {}
    ids: list[str] = []
    for split, part in parts.items():
        source = _columns(part, Path(str(root)), columns or {}, others)
        start = len(ids)
        found = _texts(part, source, folder, into, faults, start)
        ids += [f"{split}-{row:06d}" if split else f"{row:06d}" for row in range(len(part))]
        if split and "split" not in source:
            found["split"] = [split] * len(part)
        for name in {*values, *found}:
            values.setdefault(name, [None] * start).extend(found.get(name) or [None] * len(part))
    if not ids:
        raise ValueError(f"dataset {root} has no rows")
    values["clip"] = [given or ids[row] for row, given in enumerate(values.get("clip") or [None] * len(ids))]
    name = Path(str(root)).name
    return build_corpus(
        CorpusInfo(f"datasets-{name}", f"Dataset {name}"), Path(str(root)), folder, values, Vocabulary(labels), faults
    )


def _load(root: str | Path) -> dict[str, Any]:
    """Split -> rows; a dataset without splits has the one named ""."""
    try:
        import datasets
    except ImportError:
        raise ValueError("corpus 'datasets' needs the package datasets: pip install 'emoscope[datasets]'") from None
    folder = Path(root).expanduser()
    named = not folder.exists() and str(root).count("/") == 1 and str(root)[0] not in "./~"
    if not named and not folder.exists():
        raise FileNotFoundError(f"dataset {folder} does not exist: give a folder written by save_to_disk or owner/name")
    try:
        if named:
            name, _, configuration = str(root).partition(":")
            found = datasets.load_dataset(name, configuration or None)
        else:
            found = datasets.load_from_disk(str(folder))
    except Exception as error:
        # the package raises errors of many libraries for one thing: it cannot be read
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        where = "from the hub, and there is no such folder" if named else "from disk"
        raise ValueError(f"dataset {root} cannot be read {where}: {why}") from error
    return dict(found) if isinstance(found, datasets.DatasetDict) else {"": found}


def _columns(part: Any, source: Path, columns: Mapping[str, str], others: Sequence[str] | None) -> dict[str, str]:
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
    return find_columns(source, there, mapping, others)


def _texts(
    part: Any, source: Mapping[str, str], folder: Path, into: Path, faults: dict[int, str], start: int
) -> dict[str, list[str | None]]:
    import datasets

    sound = source["path"]
    if isinstance(part.features[sound], datasets.Audio):
        part = part.cast_column(sound, datasets.Audio(decode=False))
    found: dict[str, list[str | None]] = {name: [] for name in source}
    for row, cells in enumerate(part.select_columns(sorted(set(source.values())))):
        for name, column in source.items():
            if name == "path":
                path, fault = _file(cells[column], folder, into)
                found[name].append(path)
                if fault:
                    faults[start + row] = fault
            else:
                found[name].append(_word(part.features[column], cells[column]))
    return found


def _word(kind: Any, value: Any) -> str | None:
    import datasets

    if value is None:
        return None
    if isinstance(kind, datasets.ClassLabel):
        # -1 is how the package writes that there is no label
        return str(kind.int2str(value)) if isinstance(value, int) and 0 <= value < kind.num_classes else None
    text = str(value).strip()
    return None if text.lower() in MISSING else text


def _file(cell: Any, folder: Path, into: Path) -> tuple[str | None, str | None]:
    """The path of a row's recording, or why there is none."""
    if isinstance(cell, str):
        return cell or None, None
    content, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (None, None)
    if content:
        return str(keep_bytes(content, into)), None
    if path:
        return str(Path(path) if Path(path).is_absolute() or Path(path).exists() else folder / path), None
    return None, "no recording is in this row"
