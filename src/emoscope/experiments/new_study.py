"""Study files to begin with: the usual task of a corpus, and the studies of the paper."""

from __future__ import annotations

from pathlib import Path

from emoscope.corpora.files import nearest
from emoscope.corpora.registry import check_corpus_id, resolve
from emoscope.corpora.usual import USUAL_TASKS
from emoscope.experiments.study import CorpusChoice, Identify, Model, Study, StudyError, to_toml

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
    task = USUAL_TASKS.get(corpus.lower())
    choice, identify = CorpusChoice(id=corpus.lower(), root=root), Identify()
    if task:
        choice = CorpusChoice(id=corpus.lower(), root=root, emotions=task.emotions, merge=dict(task.merge))
        identify = Identify(folds=task.folds)
    study = Study(name=name, model=Model(id=model), corpora=(choice,), identify=identify)
    first, rest = to_toml(study).split("\n", 1)
    about = f"# The usual task of {corpus.lower()}: {task.about}.\n" if task else ""
    return f"{first}\n{about}{rest}"


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
