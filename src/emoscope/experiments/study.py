"""The study file: read, checked, written; and studies to begin with."""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct

from emoscope.corpora.files import nearest
from emoscope.corpora.registry import check_corpus_id, list_corpora, resolve
from emoscope.experiments.schema import (
    AGNOSTIC as AGNOSTIC,
)
from emoscope.experiments.schema import (
    FUSIONS as FUSIONS,
)
from emoscope.experiments.schema import (
    GROUNDING as GROUNDING,
)
from emoscope.experiments.schema import (
    SELECTORS as SELECTORS,
)
from emoscope.experiments.schema import (
    SIDE_EFFECTS as SIDE_EFFECTS,
)
from emoscope.experiments.schema import (
    Controls as Controls,
)
from emoscope.experiments.schema import (
    CorpusChoice as CorpusChoice,
)
from emoscope.experiments.schema import (
    Evaluate as Evaluate,
)
from emoscope.experiments.schema import (
    Headline as Headline,
)
from emoscope.experiments.schema import (
    Identify as Identify,
)
from emoscope.experiments.schema import (
    Interventions as Interventions,
)
from emoscope.experiments.schema import (
    Model as Model,
)
from emoscope.experiments.schema import (
    Probes as Probes,
)
from emoscope.experiments.schema import (
    QuestionChoice as QuestionChoice,
)
from emoscope.experiments.schema import (
    Study as Study,
)
from emoscope.experiments.schema import (
    StudyError as StudyError,
)
from emoscope.experiments.schema import (
    Transfer as Transfer,
)
from emoscope.questions import WORDINGS


def read_study(path: str | Path) -> Study:
    """Read and check a study file.

    Raises:
        StudyError: an unknown or misspelt field (the nearest known one is named), a value out of range,
            or a combination that cannot be run.
        FileNotFoundError: the file is not there.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: `emoscope study new {path}` writes a commented one")
    from emoscope.corpora.text_tables import read_text

    text, told = read_text(path)
    if told:
        raise StudyError(f"{path} is not a text file in UTF-8: save it as UTF-8")
    return parse_study(text, str(path))


def parse_study(text: str, name: str = "study file") -> Study:
    r"""Parse a study from TOML text; errors are those of :func:`read_study`.

    Example:
        >>> parse_study('[headline]\nselctor = "mad"')
        Traceback (most recent call last):
        ...
        emoscope.experiments.schema.StudyError: study file: field `selctor` in [headline] is not known: did you mean `selector`?
    """
    if len(text) > LARGEST or MANY_PARTS.search(text):
        raise StudyError(f"{name} is no study file: it has more than {LARGEST:,} characters, or a name of 50 parts")
    try:
        study = msgspec.toml.decode(text, type=Study, strict=False)
    except msgspec.ValidationError as error:
        raise StudyError(f"{name}: {_explain(str(error))}") from None
    except msgspec.DecodeError as error:
        hint = ""
        where = re.search(r"at line (\d+)", str(error))
        wrong = text.split("\n")[int(where[1]) - 1] if where else text
        if backslash := re.search(r"^.*\"[^\"\n]*\\[^\n]*", wrong, re.MULTILINE):
            hint = f". {BACKSLASH}: {backslash[0].strip()[:80]}"
        raise StudyError(f"{name}: not valid TOML ({error}){hint}") from None
    except (RecursionError, ValueError) as error:
        # lists in lists in lists, or a number of thousands of digits
        raise StudyError(f"{name}: not valid TOML ({error})") from None
    for field, value in _paths(study):
        if re.search(r"[\x00-\x1f]", value):
            raise StudyError(f"{name}: {field} {value!r} holds a character of control. {BACKSLASH}")
    check_study(study, name, stored=True)
    return study


LARGEST = 1_000_000
"""Characters of a study file; a longer one is something else."""

MANY_PARTS = re.compile(r"(?<![\w\"'-])(?:[\w\"'-]++[ \t]*+\.[ \t]*+){50}")
"""A name such as a.a.a, which keeps the parser for minutes where it goes on and on."""

BACKSLASH = "In double quotes TOML takes a backslash for a code: write a path of Windows in single quotes, or with /"


def _paths(study: Study) -> list[tuple[str, str]]:
    """The fields of a study that name files or folders, with their texts."""
    found = [("model.id", study.model.id), *((f"model.side.{name}", path) for name, path in study.model.side.items())]
    for corpus in study.corpora:
        found += [(f"corpora.{name}", getattr(corpus, name)) for name in ("id", "root", "audio_root", "pattern")]
    return found


def to_toml(study: Study) -> str:
    """Write a study as TOML with a comment on every field; reading it back gives an equal study.

    Example:
        >>> study = Study(name="mine", seed=3)
        >>> parse_study(to_toml(study)) == study
        True
    """
    lines = ["# A study for emoscope. Every field has a default; delete what you do not need.", ""]
    lines += _fields(study, ("name", "seed"))
    sections = [("model", study.model), *(("[corpora]", corpus) for corpus in study.corpora)]
    sections += [
        (name, getattr(study, name)) for name in _names(Study) if name not in ("name", "seed", "model", "corpora")
    ]
    for name, section in sections:
        lines += [
            "",
            f"# {(type(section).__doc__ or '').strip()}",
            f"[{name}]",
            *_fields(section, _names(type(section))),
        ]
    return "\n".join(lines) + "\n"


def _fields(section: Struct, names: tuple[str, ...]) -> list[str]:
    hints = get_type_hints(type(section), include_extras=True)
    lines = []
    for name in names:
        value = getattr(section, name)
        about = next((m.description for m in get_args(hints[name]) if isinstance(m, Meta)), "")
        shown = f"{name} = {toml_value(value)}" if value is not None else f"# {name} ="
        lines.append(f"{shown:<50} # {about}")
    return lines


def toml_value(value: Any) -> str:
    """A value as a study file writes it.

    Example:
        >>> toml_value({"angyr": "anger", "so so": ""})
        '{ angyr = "anger", "so so" = "" }'
    """
    if isinstance(value, dict):
        inside = ", ".join(f"{_key(k)} = {toml_value(v)}" for k, v in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)


def _names(section: type) -> tuple[str, ...]:
    return tuple(field.name for field in msgspec.structs.fields(section))


def _explain(message: str) -> str:
    """Turn msgspec's message into one that names the place and the nearest known field."""
    place = re.search(r"at `\$\.?(.*)`", message)
    where = re.sub(r"\[\d*\.*\]", "", place[1]).strip(".") if place else ""
    unknown = re.search(r"unknown field `([^`]+)`", message)
    if unknown:
        section: type = Study
        if where:
            section = CorpusChoice if where == "corpora" else type(getattr(Study(), where, Study()))
        near = difflib.get_close_matches(unknown[1], _names(section), n=1, cutoff=0.4)
        place_text = f" in [{where}]" if where else ""
        hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(_names(section))}"
        return f"field `{unknown[1]}`{place_text} is not known: {hint}"
    return f"{where or 'study'}: {message.split(' - at')[0]}"


TAKEN = ("shared", *GROUNDING, *SIDE_EFFECTS)
"""Names of parts that are no columns."""


def check_study(study: Study, name: str = "study", stored: bool = False) -> None:
    """Refuse a study that cannot be run.

    Args:
        study: the study.
        name: of the study, or its file, in messages.
        stored: it may be a part's, whose side effects no study of its own asks.

    Raises:
        StudyError: names the field, its value and the remedy.
    """
    from emoscope.neurons.selectors import find_selector

    if not study.corpora:
        raise StudyError(f"{name}: no corpus is given: add [[corpora]] with an id")
    for where, budget in [
        ("headline.budget", study.headline.budget),
        *(("identify.budgets", b) for b in study.identify.budgets),
    ]:
        if budget is not None and not 0 < budget <= 0.5:
            raise StudyError(
                f"{name}: {where} {budget} is not a fraction of neurons: "
                "give a number between 0 and 0.5, such as 0.005 for 0.5 %"
            )
    for selector in (*study.identify.selectors, study.headline.selector):
        try:
            find_selector(selector)
        except ValueError as error:
            raise StudyError(f"{name}: {error}") from None
    if study.headline.selector not in study.identify.selectors:
        raise StudyError(
            f"{name}: headline.selector {study.headline.selector!r} is not among identify.selectors "
            f"{list(study.identify.selectors)}: add it there"
        )
    scopes = ("audio", "text", "decision", "answer")
    for where, parts in (
        ("identify.scope", study.identify.scope.split("+")),
        ("identify.store", study.identify.store),
        ("interventions.positions", study.interventions.positions),
    ):
        for part in parts:
            if part not in scopes and not (where == "identify.scope" and part == "all"):
                raise StudyError(f"{name}: {where} {part!r} is not known: choose from {', '.join(scopes)}")
    wanted = scopes if study.identify.scope == "all" else study.identify.scope.split("+")
    if missing := [part for part in wanted if part not in study.identify.store]:
        raise StudyError(f"{name}: identify.scope needs {missing}, which identify.store does not keep: add it there")
    if study.identify.site not in ("gate", "product"):
        raise StudyError(f'{name}: identify.site {study.identify.site!r} is not known: give "gate" or "product"')
    if study.model.quantise not in ("", "8bit", "4bit"):
        raise StudyError(f'{name}: model.quantise {study.model.quantise!r} is not known: give "8bit", "4bit" or ""')
    if "answer" in study.interventions.positions:
        raise StudyError(
            f'{name}: interventions.positions "answer": an answer by likelihood has no such position, so the effect is '
            "zero by construction; choose from audio, text, decision"
        )
    for wording in study.question.wordings:
        if wording not in WORDINGS:
            raise StudyError(f"{name}: question.wording {wording!r}: choose from {', '.join(WORDINGS)}")
    if len(set(study.question.wordings)) < max(1, len(study.question.wordings)):
        raise StudyError(f"{name}: question.wording {list(study.question.wordings)}: give one or several, each once")
    deactivate = study.interventions.deactivate
    for to in deactivate:
        if to not in ("zero", "mean"):
            raise StudyError(
                f'{name}: interventions.deactivate {to!r} is not known: give "zero" and, if wanted, "mean"'
            )
    if deactivate and "zero" not in deactivate:
        raise StudyError(
            f'{name}: interventions.deactivate {list(deactivate)}: what is claimed is deactivation to zero; give ["zero", "mean"]'
        )
    if len(set(deactivate)) < len(deactivate):
        raise StudyError(f"{name}: interventions.deactivate {list(deactivate)} names one twice: give each once")
    for alpha in study.interventions.alphas:
        if alpha <= -1 or alpha == 0:
            raise StudyError(f"{name}: alpha {alpha} is not a strength: give a number above -1 other than 0")
    for part in study.interventions.layers:
        if part != "thirds" and not re.fullmatch(r"[0-9]+-[0-9]+", part):
            raise StudyError(
                f'{name}: interventions.layers {part!r} is not a range: give ["thirds"], or first and last layer as in "0-3"'
            )
    if study.interventions.sweep not in ("all", "headline"):
        raise StudyError(f'{name}: interventions.sweep {study.interventions.sweep!r}: give "all" or "headline"')
    if study.interventions.reselect_in_ranges and not study.interventions.layers:
        raise StudyError(
            f'{name}: interventions.reselect_in_ranges needs ranges: give interventions.layers, such as ["thirds"]'
        )
    if study.interventions.reselect_in_ranges and find_selector(study.headline.selector).one_list:
        raise StudyError(
            f"{name}: interventions.reselect_in_ranges finds equally many neurons for every emotion, and the headline's "
            f"selector {study.headline.selector} makes one list for all: choose another headline.selector"
        )
    for way in study.interventions.agnostic:
        if way not in AGNOSTIC:
            raise StudyError(
                f"{name}: interventions.agnostic {way!r} is not known: choose from {', '.join(AGNOSTIC)}, or give []"
            )
    for corpus in study.corpora:
        if corpus.loudness not in ("normalised", "as recorded"):
            raise StudyError(f'{name}: loudness {corpus.loudness!r}: give "normalised" or "as recorded"')
    of_part = stored and not study.transfer.ask and study.question.presentation in SIDE_EFFECTS
    presentations = () if of_part else (study.question.presentation,)
    for field, given, known in (
        ("transfer.fuse", study.transfer.fuse, FUSIONS),
        ("probes.grounding", study.probes.grounding, GROUNDING),
        ("probes.side_effects", study.probes.side_effects, SIDE_EFFECTS),
        ("question.presentation", presentations, ("audio", *GROUNDING)),
        ("probes.columns", study.probes.columns, study.probes.columns),
    ):
        if len(set(given)) < len(given):
            raise StudyError(f"{name}: {field} {list(given)} names one twice: give each once")
        for one in given:
            if one not in known:
                raise StudyError(f"{name}: {field} {one!r} is not known: choose from {', '.join(known)}")
    for column in study.probes.columns:
        if column == study.identify.label:
            raise StudyError(f"{name}: probes.columns {column!r} is what the study asks anyway: give other columns")
        if column in TAKEN:
            raise StudyError(
                f"{name}: probes.columns {column!r} is the name of another part: give that column another name"
            )
    if study.identify.split not in ("", "official"):
        raise StudyError(
            f'{name}: identify.split {study.identify.split!r}: give "official", or leave it out to cross-fit'
        )
    if study.identify.split and study.identify.where:
        raise StudyError(f"{name}: identify.split and identify.where both fix the sides: give one of them")
    if bool(study.identify.where) != bool(study.evaluate.where):
        raise StudyError(f"{name}: identify.where and evaluate.where go together: give both, or neither to cross-fit")
    orders = study.question.letter_orders
    if isinstance(orders, str) and orders != "all":
        raise StudyError(f'{name}: letter_orders {orders!r}: give a number or "all"')


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
