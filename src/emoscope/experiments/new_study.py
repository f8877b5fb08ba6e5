"""Study files to begin with: the usual task of a corpus, and the studies of the paper."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emoscope.corpora.files import nearest
from emoscope.corpora.registry import check_corpus_id, list_corpora, resolve
from emoscope.experiments.study import CorpusChoice, Identify, Model, Study, StudyError, to_toml, toml_value

PAPER = Path(__file__).parents[1] / "data" / "paper"
"""The paper's studies; studies/paper/README.md says what is known of each choice."""


def usual_study(name: str, corpus: str, root: str = "", model: str = "tiny") -> str:
    """The text of a study that asks the usual task of a corpus, with a comment on every field.

    Args:
        name: of the study.
        corpus: id of a corpus, or a folder or table.
        root: folder or table of the corpus.
        model: as in a study file.

    Raises:
        UnknownCorpus: names the nearest known id.

    Example:
        >>> text = usual_study("mine", "iemocap", "$IEMOCAP")
        >>> [line.split("#")[0].strip() for line in text.splitlines() if line.startswith(("emotions", "merge", "folds"))]
        ['emotions = ["anger", "happiness", "neutral", "sadness"]', 'merge = { happiness = ["happiness", "excitement"] }', 'folds = "session"']
    """
    if not root:
        corpus, place = resolve(corpus, None)
        root = str(place or "")
    check_corpus_id(corpus)
    task = next((info.usual for info in list_corpora() if info.id == corpus.lower()), None)
    choice, identify = CorpusChoice(id=corpus.lower(), root=root), Identify()
    if task:
        choice = CorpusChoice(id=corpus.lower(), root=root, emotions=task.emotions, merge=dict(task.merge))
        identify = Identify(folds=task.folds)
    study = Study(name=name, model=Model(id=model), corpora=(choice,), identify=identify)
    first, rest = to_toml(study).split("\n", 1)
    about = f"# The usual task of {corpus.lower()}: {task.about}.\n" if task else ""
    return f"{first}\n{about}{rest}"


def next_step(corpus: str, root: Path | None, fields: Mapping[str, Any]) -> str:
    """The command that writes a study of a corpus that was checked, and what its file needs of the check's options.

    Args:
        corpus: as given: an id, a folder or a table.
        root: as given.
        fields: fields of [[corpora]] -> values; what is empty is left out.

    Example:
        >>> print(next_step("folder", Path("my clips"), {"pattern": "{speaker}/{emotion}/{}.wav", "labels": {"angyr": "anger"}}))
        Next: emoscope study new --corpus folder --root 'my clips'
        and in that file, under [[corpora]]:
        pattern = "{speaker}/{emotion}/{}.wav"
        labels = { angyr = "anger" }
    """
    command = ["emoscope", "study", "new", "--corpus", corpus, *(["--root", str(root)] if root else [])]
    lines = [f"{name} = {toml_value(value)}" for name, value in fields.items() if value]
    if lines:
        lines.insert(0, "and in that file, under [[corpora]]:")
    return "\n".join([f"Next: {shlex.join(command)}", *lines])


def paper_study(name: str) -> str:
    """The text of one of the paper's studies.

    Raises:
        StudyError: an unknown name; all names are listed.

    Example:
        >>> paper_study("qwen-iemocap").splitlines()[2]
        'name = "paper-qwen-iemocap"'
    """
    path = PAPER / f"{name.removesuffix('.toml')}.toml"
    known = sorted(one.stem for one in PAPER.glob("*.toml"))
    if path.stem not in known:
        raise StudyError(f"--paper {name!r} is not one of the paper's studies: {nearest(name, known)}")
    return path.read_text(encoding="utf-8")
