"""The study file: read, checked, written; and studies to begin with."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import json
import re
import shlex
import sys
import traceback
import types
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import get_args, get_type_hints

import msgspec
from msgspec import Struct

from emoscope.corpora.files import nearest
from emoscope.corpora.registry import check_corpus_id, list_corpora, resolve
from emoscope.experiments.prompts import GROUNDING, SIDE_EFFECTS
from emoscope.experiments.schema import FUSIONS, SCOPES, CorpusChoice, Identify, Model, Probes, Study, StudyError
from emoscope.questions import WORDINGS
from emoscope.vocabulary import AGNOSTIC


def read_study(path: str | Path, imports: bool = True) -> Study:
    """Read and check a study file.

    Args:
        imports: run the Python files that its ``import`` names; not for a study that a run stored, which is data.

    Raises:
        StudyError: an unknown or misspelt field (the nearest known one is named), a value out of range,
            or a combination that cannot be run.
        FileNotFoundError: the file is not there.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: `emoscope study new {path}` writes a commented one")
    from emoscope.corpora.text_tables import read_text

    text, notes = read_text(path)
    if notes:
        raise StudyError(f"{path} is not a text file in UTF-8: save it as UTF-8")
    return parse_study(text, str(path), path.parent if imports else None)


def parse_study(text: str, name: str = "study file", folder: Path | None = None) -> Study:
    r"""Parse a study from TOML text; errors are those of :func:`read_study`.

    Args:
        folder: from which its ``import`` is run; nothing is run where it is not given.

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
    if study.imports and folder is not None:
        paths = tuple(str((folder / Path(file).expanduser()).resolve()) for file in study.imports)
        for path in paths:
            _run_import(Path(path), name)
        study = msgspec.structs.replace(study, imports=paths)
    check_study(study, name, stored=True)
    return study


_IMPORTED: dict[Path, str] = {}  # what was run -> the checksum of its text


def _run_import(path: Path, name: str) -> None:
    """Run a Python file, once as long as it does not change."""
    if path.suffix != ".py" or not path.is_file():
        raise StudyError(f"{name}: import {str(path)!r} is no Python file: give its path from the study file's folder")
    code = path.read_bytes()
    checksum = hashlib.sha256(code).hexdigest()
    if _IMPORTED.get(path) == checksum:
        return
    module = types.ModuleType(f"emoscope_import_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # so that its classes know where they stand
    try:
        exec(compile(code, str(path), "exec"), module.__dict__)
    except Exception as error:
        line = next(
            (at.lineno for at in reversed(traceback.extract_tb(error.__traceback__)) if at.filename == str(path)), 0
        )
        raise StudyError(
            f"{name}: import {str(path)!r} ends with {type(error).__name__} at line {line}: {error}"
        ) from error
    _IMPORTED[path] = checksum


def imported_code(study: Study) -> dict[str, str]:
    """The Python files that a study imports -> the checksum of what was run of each; empty where it imports none."""
    return {path: _IMPORTED.get(Path(path), "not run") for path in study.imports or ()}


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
    if study.imports:
        lines.append(f"import = {toml_value(study.imports)}")
    for name in _names(Study)[3:]:
        for section in study.corpora if name == "corpora" else (getattr(study, name),):
            head = f"[[{name}]]" if name == "corpora" else f"[{name}]"
            about = f"# {(type(section).__doc__ or '').strip()}"
            lines += ["", about, head, *_fields(section, _names(type(section)))]
    return "\n".join(lines) + "\n"


def _fields(section: Struct, names: tuple[str, ...]) -> list[str]:
    hints = get_type_hints(type(section), include_extras=True)
    lines = []
    for name in names:
        value = getattr(section, name)
        about = next((text for text in get_args(hints[name]) if isinstance(text, str)), "")
        shown = f"{name} = {toml_value(value)}" if value is not None else f"# {name} ="
        lines.append(f"{shown:<50} # {about}")
    return lines


def toml_value(value: object) -> str:
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
        known = [field.encode_name for field in msgspec.structs.fields(section)]
        near = difflib.get_close_matches(unknown[1], known, n=1, cutoff=0.4)
        place_text = f" in [{where}]" if where else ""
        hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}"
        return f"field `{unknown[1]}`{place_text} is not known: {hint}"
    return f"{where or 'study'}: {message.split(' - at')[0]}"


def check_study(study: Study, name: str = "study", stored: bool = False) -> None:
    """Refuse a study that cannot be run.

    Args:
        name: of the study, or its file, in messages.
        stored: it may be a part's, whose side effects no study of its own asks.

    Raises:
        StudyError: names the field, its value and the remedy.
    """
    for mistake in itertools.chain(_in_words(study, stored), _in_selection(study), _in_interventions(study)):
        raise StudyError(f"{name}: {mistake}")


def _in_words(study: Study, stored: bool) -> Iterator[str]:
    """Words that are none of those that a field knows, or stand there twice."""
    identify, probes, asked = study.identify, study.probes, study.question
    # field -> its words, and what is said of others where it is not the list of these
    known: dict[str, tuple[Sequence[str], str]] = {
        "identify.scope": ((*SCOPES, "all"), f" is not known: choose from {', '.join(SCOPES)}"),
        "identify.store": (SCOPES, ""),
        "identify.site": (("gate", "product"), ' is not known: give "gate" or "product"'),
        "identify.split": (("", "official"), ': give "official", or leave it out to cross-fit'),
        "model.quantise": (("", "8bit", "4bit"), ' is not known: give "8bit", "4bit" or ""'),
        "model.equality": (("bytes", "tolerance"), ': give "bytes" or "tolerance"'),
        "question.wording": (tuple(WORDINGS), f": choose from {', '.join(WORDINGS)}"),
        "question.presentation": (("audio", *GROUNDING), ""),
        "interventions.positions": (SCOPES, ""),
        "interventions.deactivate": (("zero", "mean"), ' is not known: give "zero" and, if wanted, "mean"'),
        "interventions.sweep": (("all", "headline"), ': give "all" or "headline"'),
        "interventions.agnostic": (AGNOSTIC, f" is not known: choose from {', '.join(AGNOSTIC)}, or give []"),
        "loudness": (("normalised", "as recorded"), ': give "normalised" or "as recorded"'),
        "transfer.fuse": (FUSIONS, ""),
        "probes.grounding": (GROUNDING, ""),
        "probes.side_effects": (SIDE_EFFECTS, ""),
    }
    if stored and not study.transfer.ask and asked.presentation in SIDE_EFFECTS:
        del known["question.presentation"]
    several = {"identify.scope": identify.scope.split("+"), "loudness": [corpus.loudness for corpus in study.corpora]}
    for field, (words, special) in known.items():
        found = several[field] if field in several else attrgetter(field)(study)
        remedy = special or f" is not known: choose from {', '.join(words)}"
        yield from (
            f"{field} {word!r}{remedy}" for word in ([found] if isinstance(found, str) else found) if word not in words
        )
    for field in ("interventions.deactivate", "transfer.fuse", *(f"probes.{name}" for name in _names(Probes)[:3])):
        given = attrgetter(field)(study)
        if len(set(given)) < len(given):
            yield f"{field} {list(given)} names one twice: give each once"
    for column in probes.columns:
        if column == identify.label:
            yield f"probes.columns {column!r} is what the study asks anyway: give other columns"
        if column in ("shared", *GROUNDING, *SIDE_EFFECTS):
            yield f"probes.columns {column!r} is the name of another part: give that column another name"
    if len(set(asked.wordings)) < max(1, len(asked.wordings)):
        yield f"question.wording {list(asked.wordings)}: give one or several, each once"
    if isinstance(asked.letter_orders, str) and asked.letter_orders != "all":
        yield f'letter_orders {asked.letter_orders!r}: give a number or "all"'


def _in_selection(study: Study) -> Iterator[str]:
    from emoscope.neurons.selectors import find_selector, needs_gradients

    identify, head = study.identify, study.headline
    if not study.corpora:
        yield "no corpus is given: add [[corpora]] with an id"
    for where, budget in [("headline.budget", head.budget), *(("identify.budgets", b) for b in identify.budgets)]:
        if budget is not None and not 0 < budget <= 0.5:
            remedy = "give a number between 0 and 0.5, such as 0.005 for 0.5 %"
            yield f"{where} {budget} is not a fraction of neurons: {remedy}"
    for selector in (*identify.selectors, head.selector):
        try:
            find_selector(selector)
        except ValueError as error:
            yield str(error)
    if identify.scope == "answer" and needs_gradients(identify.selectors):
        yield 'identify.scope "answer": an answer is decided before it is fed back, so no gradient is there; choose "all"'
    if head.selector not in identify.selectors:
        known = list(identify.selectors)
        yield f"headline.selector {head.selector!r} is not among identify.selectors {known}: add it there"
    scope = SCOPES if identify.scope == "all" else identify.scope.split("+")
    if missing := [part for part in scope if part not in identify.store]:
        yield f"identify.scope needs {missing}, which identify.store does not keep: add it there"
    if identify.split and identify.where:
        yield "identify.split and identify.where both fix the sides: give one of them"
    if bool(identify.where) != bool(study.evaluate.where):
        yield "identify.where and evaluate.where go together: give both, or neither to cross-fit"


def _in_interventions(study: Study) -> Iterator[str]:
    from emoscope.neurons.selectors import find_selector

    work, selector = study.interventions, study.headline.selector
    if "answer" in work.positions:
        why = "an answer by likelihood has no such position, so the effect is zero by construction"
        yield f'interventions.positions "answer": {why}; choose from audio, text, decision'
    if work.deactivate and "zero" not in work.deactivate:
        given = list(work.deactivate)
        yield f'interventions.deactivate {given}: what is claimed is deactivation to zero; give ["zero", "mean"]'
    for alpha in work.alphas:
        if alpha <= -1 or alpha == 0:
            yield f"alpha {alpha} is not a strength: give a number above -1 other than 0"
    for part in work.layers:
        if part != "thirds" and not re.fullmatch(r"[0-9]+-[0-9]+", part):
            yield f'interventions.layers {part!r} is not a range: give ["thirds"], or first and last layer as in "0-3"'
    if work.reselect_in_ranges and not work.layers:
        yield 'interventions.reselect_in_ranges needs ranges: give interventions.layers, such as ["thirds"]'
    if work.reselect_in_ranges and find_selector(selector).one_list:
        yield (
            "interventions.reselect_in_ranges finds equally many neurons for every emotion, and the headline's selector "
            f"{selector} makes one list for all: choose another headline.selector"
        )


PAPER = Path(__file__).parents[1] / "data" / "paper"
"""The paper's studies; studies/paper/README.md says what is known of each choice."""


def usual_study(name: str, corpus: str, root: str = "", model: str = "tiny") -> str:
    """The text of a study that asks the usual task of a corpus, with a comment on every field.

    Example:
        >>> text = usual_study("mine", "iemocap", "$IEMOCAP")
        >>> [line.split("#")[0].strip() for line in text.splitlines() if line.startswith(("emotions", "merge", "folds"))]
        ['emotions = ["anger", "happiness", "neutral", "sadness"]', 'merge = { happiness = ["happiness", "excitement"] }', 'folds = "session"']
    """
    if not root:
        corpus, place = resolve(corpus, None)
        root = str(place or "")
    check_corpus_id(corpus)
    corpus = corpus.lower()
    task = next((info.usual for info in list_corpora() if info.id == corpus), None)
    usual = {"emotions": task.emotions, "merge": dict(task.merge)} if task else {}
    choice = msgspec.structs.replace(CorpusChoice(id=corpus, root=root), **usual)
    identify = Identify(folds=task.folds) if task else Identify()
    first, rest = to_toml(Study(name=name, model=Model(id=model), corpora=(choice,), identify=identify)).split("\n", 1)
    about = f"# The usual task of {corpus}: {task.about}.\n" if task else ""
    return f"{first}\n{about}{rest}"


def next_step(corpus: str, root: Path | None, fields: Mapping[str, object]) -> str:
    """The command that writes a study of a corpus that was checked, and what its file needs of the check's options.

    Args:
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

    Example:
        >>> paper_study("qwen-iemocap").splitlines()[2]
        'name = "paper-qwen-iemocap"'
    """
    path = PAPER / f"{name.removesuffix('.toml')}.toml"
    known = sorted(file.stem for file in PAPER.glob("*.toml"))
    if path.stem not in known:
        raise StudyError(f"--paper {name!r} is not one of the paper's studies: {nearest(name, known)}")
    return path.read_text(encoding="utf-8")
