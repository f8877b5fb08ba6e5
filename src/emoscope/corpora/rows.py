"""From rows that name a file and its labels to a corpus, whatever the rows were read from."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from emoscope.corpora.clip import FIELDS, Clip, CorpusInfo, Lost
from emoscope.corpora.corpus import Corpus
from emoscope.corpora.files import Listing, nearest
from emoscope.corpora.labels import Vocabulary

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


def build_corpus(
    info: CorpusInfo,
    source: Path,
    base: Path,
    values: Mapping[str, Sequence[str | None]],
    vocabulary: Vocabulary,
    faults: Mapping[int, str] | None = None,
) -> Corpus:
    """Make a corpus of rows; a row that cannot be used is excluded or quarantined with its reason.

    Args:
        info: the corpus.
        source: the file or folder that the rows were read from, for messages.
        base: folder to which relative paths refer.
        values: field or label column -> the rows' texts; ``path`` and ``emotion`` are needed.
        vocabulary: the meaning of the rows' emotion words.
        faults: row (from 0) -> why it is excluded, found while reading.

    Raises:
        FileNotFoundError: no file is there.
        ValueError: no row can be used for another reason.
    """
    with _collector_paused():
        clips, lost = _fates(source, base, values, vocabulary, faults or {})
    if not clips:
        _explain(source, base, lost)
    return Corpus(info, tuple(clips.values()), tuple(lost))


def _fates(
    source: Path,
    base: Path,
    values: Mapping[str, Sequence[str | None]],
    vocabulary: Vocabulary,
    faults: Mapping[int, str],
) -> tuple[dict[str, Clip], list[Lost]]:
    clips: dict[str, Clip] = {}
    lost: list[Lost] = []
    places = _Places(base)
    extra = [name for name in values if name not in (*NEEDED, *FIELDS, "transcript", "clip")]
    nobody: list[str | None] = [None] * len(values["path"])
    fields = {name: values.get(name, nobody) for name in (*FIELDS, "transcript", "clip")}
    own = list(zip(*(fields[name] for name in (*FIELDS, "transcript")), strict=True))
    for row, (name, word) in enumerate(zip(values["path"], values["emotion"], strict=True)):
        if name is None:
            fault = faults.get(row, "no path is given")
            lost.append(Lost(fields["clip"][row] or f"row {row + 1}", source, "excluded", fault))
            continue
        path, stem, exists = places.find(name)
        key = fields["clip"][row] or stem
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
        elif not exists:
            lost.append(Lost(key, path, "quarantined", "file not found", clip))
        else:
            clips[key] = clip
    return clips, lost


@contextmanager
def _collector_paused() -> Iterator[None]:
    # of 100,000 clips that all live on, none is garbage: looking for it costs a third of the time
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Places:
    """Finds the files of many rows, with each folder's path made and read once."""

    def __init__(self, base: Path) -> None:
        self._base, self._listing = str(base), Listing()
        self._folders: dict[str, tuple[Path, frozenset[str]]] = {}

    def find(self, name: str) -> tuple[Path, str, bool]:
        """The path of a file, its name without the ending, and whether it is there."""
        folder, last = os.path.split(name.replace("\\", "/"))
        if folder not in self._folders:
            place = os.path.join(self._base, folder)
            self._folders[folder] = Path(place), self._listing.inside(place)
        path, inside = self._folders[folder]
        return path / last, os.path.splitext(name)[0], last in inside


def _explain(source: Path, base: Path, lost: list[Lost]) -> None:
    missing = [one for one in lost if one.fate == "quarantined"]
    if missing:
        raise FileNotFoundError(
            f"no file that {source.name} names is there, such as {missing[0].path}: paths refer to {base}; "
            f"give another folder with audio_root=..."
        )
    why = lost[0].why if lost else "there is no row"
    raise ValueError(f"no row of {source.name} can be used: {why}")


def find_columns(
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
