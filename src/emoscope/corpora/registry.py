"""Open a corpus by its id or its path: those of emoscope, those that a program registers, those of installed packages."""

from __future__ import annotations

import inspect
import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from pkgutil import resolve_name

from emoscope.corpora.clip import Clip, CorpusInfo
from emoscope.corpora.corpus import Corpus
from emoscope.corpora.files import nearest
from emoscope.corpora.named import GRAMMARS, Grammar, open_named
from emoscope.corpora.table import TABLES
from emoscope.emotions import CORPORA

GROUP = "emoscope.corpora"
"""The entry-point group in which a package names the readers of its corpora."""

Reader = Callable[..., Corpus]
"""From a corpus's folder (``root``, ``None`` where none is given) and options by name to the corpus."""

READERS: dict[str, str] = {corpus: entry["reader"] for corpus, entry in CORPORA.items() if "reader" in entry}
"""Corpus id -> module and function of its reader, imported when it is used; file names tell the labels of the others."""

WITHOUT_SOUND = ("text-questions",)
"""What is in the package and no corpus of recordings; not listed."""

MARKS = {"dataset_dict.json": "datasets", "state.json": "datasets", "db.yaml": "audformat"}
"""Files by which a folder is known for what it holds."""

DATA = Path(__file__).parents[1] / "data"

CHOICES = ("choice 1", "choice 2", "choice 3", "choice 4")
"""Label columns that hold a question's choices; the label ``answer`` names the one that is right."""

_OWN: dict[str, Reader] = {}


class UnknownCorpus(ValueError):
    """An id that is neither a known corpus nor a path."""


def polish_folder() -> Path:
    """Folder of the embedded voices (450 FLAC files, CC BY).

    Example:
        >>> len(list(polish_folder().glob("*.flac")))
        450
    """
    return DATA / "polish"


def open_corpus(id_or_path: object, root: object = None, **options: object) -> Corpus:
    """Open a corpus: read which clips there are and what they are labelled, without reading any sound.

    Args:
        id_or_path: ``"polish"`` (in the package, needs no root), another id from :func:`list_corpora`, the path of a
            folder or table; or the table itself: a polars or pandas frame, or a list of dictionaries.
        root: the corpus's folder; for ``"table"`` the table.
        **options: of the reader, such as ``columns={"path": "file"}`` for a table.

    Raises:
        UnknownCorpus: an id that is not known.
        FileNotFoundError: a folder, table, label file or ``audio_root`` that does not exist.
        ValueError: no root, an option or package that is not there, or no clip that can be used.

    Example:
        >>> open_corpus("polish")
        <Corpus polish: 450 clips used, 0 excluded, 0 quarantined; anger 150, fear 150, neutral 150; 5 speakers>
    """
    corpus, root = resolve(id_or_path, root)
    if corpus == "polish" and not root:
        root = polish_folder()
    reader = _reader(corpus)
    known = [name for name in inspect.signature(reader).parameters if name != "root"]
    if unknown := [option for option in options if option not in known]:
        raise ValueError(f"corpus {corpus!r} has no option {unknown[0]!r}: it takes {', '.join(known) or 'none'}")
    return reader(root=root, **options)


def register(corpus: str, reader: Reader | Grammar) -> None:
    """Make a corpus of your own known to this program, by an id that studies and :func:`open_corpus` then know.

    The reader says how it names its files, or is a function that takes ``root`` and options by name, and returns the
    corpus. An id that this program registered before now means the new corpus; emoscope's own are a ValueError.

    Example:
        >>> def open_stops(root=None):
        ...     return open_corpus("polish", root).where({"word": "stop", "speaker": "m1"})
        >>> register("stops", open_stops)
        >>> len(open_corpus("stops"))
        15
    """
    if corpus in (*CORPORA, *WITHOUT_SOUND):
        raise ValueError(f"corpus {corpus!r} is emoscope's own: choose another id")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", corpus):
        raise ValueError(f"corpus {corpus!r}: an id is made of small letters, digits and hyphens")
    if not (callable(reader) or isinstance(reader, Grammar)):
        raise ValueError(f"corpus {corpus!r} is {reader!r}: expected a Grammar or a function")
    _OWN[corpus] = partial(open_named, reader) if isinstance(reader, Grammar) else reader


def _reader(corpus: str) -> Reader:
    if corpus in GRAMMARS:
        return partial(open_named, corpus)
    if corpus in WITHOUT_SOUND:
        return open_text_questions
    if corpus in READERS:
        reader: Reader = resolve_name(f"emoscope.corpora.{READERS[corpus]}")
        return reader
    if corpus not in _OWN:
        register(corpus, _offered()[corpus].load())
    return _OWN[corpus]


def _offered() -> dict[str, EntryPoint]:
    found = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    return {point.name: point for point in found if point.name not in (*CORPORA, *WITHOUT_SOUND)}


def _known() -> tuple[str, ...]:
    return tuple(dict.fromkeys((*CORPORA, *_OWN, *_offered())))


def check_corpus_id(corpus: str) -> None:
    """Refuse an id under which no corpus can be opened, with an :class:`UnknownCorpus` that names the nearest one.

    Example:
        >>> check_corpus_id("iemocap")
    """
    known = _known()
    if corpus.lower() not in known:
        raise UnknownCorpus(f"corpus {corpus!r} is not known: {nearest(corpus, known)}")


def list_corpora() -> tuple[CorpusInfo, ...]:
    """What is known of every corpus that can be opened by id.

    Example:
        >>> [info.id for info in list_corpora()][:5]
        ['polish', 'ravdess', 'emogator', 'crema-d', 'emodb']
    """
    own = dict.fromkeys(_OWN, "a corpus of this program")
    offered = {name: f"a corpus of {point.value.partition(':')[0]}" for name, point in _offered().items()}
    return (*map(CorpusInfo.of, CORPORA), *(CorpusInfo(*pair) for pair in {**own, **offered}.items()))


def resolve(id_or_path: object, root: object) -> tuple[str, object]:
    """Tell an id from a path: the id of the corpus, and its root; an id wins over a folder of its name.

    Example:
        >>> resolve("RAVDESS", None), resolve(polish_folder(), None)[0]
        (('ravdess', None), 'folder')
    """
    known = _known()
    if not isinstance(id_or_path, str | Path):
        if root is not None:
            kind = type(id_or_path).__name__
            raise ValueError(f"a table of type {kind} takes no root: name the folder with audio_root=...")
        return "table", id_or_path
    name, path = str(id_or_path), Path(id_or_path).expanduser()
    if name in WITHOUT_SOUND:
        return name, root
    if name.lower() in known:
        return name.lower(), root
    looks_like_path = isinstance(id_or_path, Path) or os.sep in id_or_path or path.suffix.lower() in TABLES
    if root is None and path.is_dir():
        return next((corpus for name, corpus in MARKS.items() if (path / name).is_file()), "folder"), path
    if root is None and path.is_file():
        return "table", path
    if root is None and looks_like_path:
        raise FileNotFoundError(f"{path} does not exist: give a folder, a table ({', '.join(TABLES)}) or a corpus id")
    raise UnknownCorpus(f"corpus {name!r} is not known: {nearest(name, known)}")


def open_text_questions(root: str | Path | None = None) -> Corpus:
    """Open the questions of the package (``data/text_questions.toml``), or of another bank, as clips without sound.

    Every question has labels ``kind``, ``question``, ``choice 1`` to ``choice 4`` and ``answer``, the column of the
    right one, equally often each. A question that does not have four different choices is a ValueError.

    Example:
        >>> labels = open_text_questions().clips[1].labels
        >>> labels["question"], labels["answer"], labels["choice 2"]
        ('What is the capital of France?', 'choice 2', 'Paris')
    """
    path = DATA / "text_questions.toml" if root is None else Path(root)
    clips = []
    for number, entry in enumerate(tomllib.loads(path.read_text(encoding="utf-8"))["questions"]):
        choices = entry["choices"]
        if len(choices) != len(CHOICES) or len(set(choices)) != len(choices):
            raise ValueError(f"question {entry['question']!r}: {choices} are not {len(CHOICES)} different choices")
        turn = number % len(CHOICES)
        spread = choices[len(choices) - turn :] + choices[: len(choices) - turn]
        labels = {"answer": CHOICES[turn], "kind": entry["kind"], "question": entry["question"]}
        clips.append(Clip(f"q{number + 1:02d}", path, {**labels, **dict(zip(CHOICES, spread, strict=True))}))
    ours = CorpusInfo("text-questions", "Text-only questions", "Apache-2.0", "written for emoscope", "English")
    return Corpus(replace(ours, expected={"clips": 40}), tuple(clips))
