"""Open a corpus by its id or its path."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from emoscope.corpora.clip import CorpusInfo
from emoscope.corpora.corpus import Corpus
from emoscope.corpora.files import nearest
from emoscope.corpora.grammars import GRAMMARS
from emoscope.corpora.table import TABLES

NAMED = tuple(GRAMMARS)
READERS = {
    "iemocap": ("emoscope.corpora.iemocap", "open_iemocap"),
    "meld": ("emoscope.corpora.meld", "open_meld"),
    "msp-podcast": ("emoscope.corpora.msp_podcast", "open_msp_podcast"),
    "folder": ("emoscope.corpora.folder", "open_folder"),
    "table": ("emoscope.corpora.table", "open_table"),
    "emobox": ("emoscope.corpora.emobox", "open_emobox"),
    "datasets": ("emoscope.corpora.hf_datasets", "open_datasets"),
    "audformat": ("emoscope.corpora.audformat", "open_audformat"),
}
"""Corpus id -> module and function of its reader, imported when it is used."""

WITHOUT_SOUND = {"text-questions": ("emoscope.corpora.text_questions", "open_text_questions")}
"""The same of what is in the package and no corpus of recordings; not listed."""

MARKS = {"dataset_dict.json": "datasets", "state.json": "datasets", "db.yaml": "audformat"}
"""Files by which a folder is known for what it holds."""


class UnknownCorpus(ValueError):
    """An id that is neither a known corpus nor a path."""


def polish_folder() -> Path:
    """Folder of the embedded voices (450 FLAC files, CC BY).

    Example:
        >>> len(list(polish_folder().glob("*.flac")))
        450
    """
    return Path(__file__).parents[1] / "data" / "polish"


def open_corpus(id_or_path: Any, root: Any = None, **options: Any) -> Corpus:
    """Open a corpus: read which clips there are and what they are labelled, without reading any sound.

    Args:
        id_or_path: ``"polish"`` (in the package, needs no root), another id from :func:`list_corpora`,
            the path of a folder (opened as ``"folder"``, or as what its files show it to be) or of a table (opened as
            ``"table"``); or the table itself: a polars or pandas frame, or a list of dictionaries.
        root: the corpus's folder; for ``"table"`` the table.
        **options: of the reader, such as ``columns={"path": "file"}`` for a table or
            ``pattern="{emotion}/{speaker}_{}.wav"`` for a folder.

    Raises:
        UnknownCorpus: an id that is not known.
        FileNotFoundError: the folder or table does not exist.
        ValueError: no root, an option that the reader does not have, or a folder that does not hold this corpus.

    Example:
        >>> open_corpus("polish")
        <Corpus polish: 450 clips used, 0 excluded, 0 quarantined; anger 150, fear 150, neutral 150; 5 speakers>
    """
    corpus, root = resolve(id_or_path, root)
    if corpus in NAMED:
        reader: Callable[..., Corpus] = import_module("emoscope.corpora.named_files").open_named
        given: dict[str, Any] = {"corpus": corpus, "root": polish_folder() if corpus == "polish" and not root else root}
    else:
        module, function = (READERS | WITHOUT_SOUND)[corpus]
        reader, given = getattr(import_module(module), function), {"root": root}
    known = [name for name in inspect.signature(reader).parameters if name not in ("corpus", "root")]
    for option in options:
        if option not in known:
            there = f"it takes {', '.join(known)}" if known else "it takes none"
            raise ValueError(f"corpus {corpus!r} has no option {option!r}: {there}")
    return reader(**given, **options)


def check_corpus_id(corpus: str) -> None:
    """Refuse an id under which no corpus can be opened.

    Raises:
        UnknownCorpus: names the nearest known id.

    Example:
        >>> check_corpus_id("iemocap")
    """
    known = (*NAMED, *READERS)
    if corpus.lower() not in known:
        raise UnknownCorpus(f"corpus {corpus!r} is not known: {nearest(corpus, known)}")


def list_corpora() -> tuple[CorpusInfo, ...]:
    """What is known of every corpus that can be opened by id.

    Example:
        >>> [info.id for info in list_corpora()][:5]
        ['polish', 'ravdess', 'emogator', 'crema-d', 'emodb']
    """
    return (
        *(grammar.info for grammar in GRAMMARS.values()),
        *(import_module(module).INFO for module, _ in READERS.values()),
    )


def resolve(id_or_path: Any, root: Any) -> tuple[str, Any]:
    """Tell an id from a path: the id of the corpus, and its root; an id wins over a folder of its name.

    Raises:
        UnknownCorpus, FileNotFoundError, ValueError: as in :func:`open_corpus`.

    Example:
        >>> resolve("RAVDESS", None), resolve(polish_folder(), None)[0]
        (('ravdess', None), 'folder')
    """
    known = (*NAMED, *READERS)
    if not isinstance(id_or_path, str | Path):
        if root is not None:
            raise ValueError(
                f"a table of type {type(id_or_path).__name__} takes no root: name the folder with audio_root=..."
            )
        return "table", id_or_path
    if str(id_or_path) in WITHOUT_SOUND:
        return str(id_or_path), root
    if str(id_or_path).lower() in known:
        return str(id_or_path).lower(), root
    path = Path(id_or_path).expanduser()
    looks_like_path = isinstance(id_or_path, Path) or os.sep in id_or_path or path.suffix.lower() in TABLES
    if root is None and path.is_dir():
        return next((corpus for name, corpus in MARKS.items() if (path / name).is_file()), "folder"), path
    if root is None and path.is_file():
        return "table", path
    if root is None and looks_like_path:
        raise FileNotFoundError(f"{path} does not exist: give a folder, a table ({', '.join(TABLES)}) or a corpus id")
    raise UnknownCorpus(f"corpus {str(id_or_path)!r} is not known: {nearest(str(id_or_path), known)}")
