"""What a caller of the Python interface gave: mistaken arguments are refused in the caller's own words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import msgspec

from emoscope.corpora.clip import as_label
from emoscope.emotions import folded
from emoscope.interventions.intervention import Intervention, told

if TYPE_CHECKING:
    from emoscope.experiments.schema import Study


T = TypeVar("T")


def refuse_other_than_model(model: object, example: str, other: object = None) -> None:
    """Refuse what is no model.

    Args:
        model: what stands in its place.
        example: the call as it is written, such as ``"ask(model, clip)"``.
        other: the argument that follows, to tell swapped arguments.

    Raises:
        TypeError: it is no model.
    """
    from emoscope.models.audio_lm import AudioLM

    if isinstance(model, AudioLM):
        return
    if isinstance(other, AudioLM):
        raise TypeError(f"the arguments are in another order: write {example}")
    remedy = f'load_model("{model}")' if isinstance(model, str) else "a model from load_model or wrap"
    raise TypeError(f"{told(model)} stands where the model is expected: give {remedy}, as in {example}")


def several(name: str, given: Iterable[T], example: str) -> tuple[T, ...]:
    """Several values as a tuple; one text is not taken for its letters.

    Args:
        name: of the argument.
        given: what the caller gave.
        example: what to write instead.

    Raises:
        TypeError: one text, one number, or a mapping.

    Example:
        >>> several("alphas", [0.5, 1.0], "alphas=[0.5]")
        (0.5, 1.0)
    """
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise TypeError(f"{name} {told(given)} is not a list: write for example {example}")
    return tuple(given)


def checked_options(options: Iterable[str], label: str, question: str = "") -> tuple[str, ...]:
    """Options as a tuple of different words.

    Args:
        options: what the caller gave.
        label: the column that is asked; where it is ``"emotion"``, two words for one emotion are refused.
        question: a question of the caller's own, in whose words nothing is looked up.

    Raises:
        TypeError: one text, a set (which has no order), or something else than words.
        ValueError: an empty word, or two that mean the same.

    Example:
        >>> checked_options(["angry", "afraid"], "emotion")
        ('angry', 'afraid')
    """
    if isinstance(options, set | frozenset):
        raise TypeError(f"options {told(options)} is a set, which has no order: give a list")
    names = several("options", options, 'options=["anger", "fear"]')
    seen: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f'options {list(names)}: {name!r} is not a word: give texts, such as "anger"')
        if not name.strip():
            raise ValueError(f"options {list(names)}: one is empty")
        meant = folded(name if question else as_label(label, name))
        if meant in seen:
            raise ValueError(f"options {seen[meant]!r} and {name!r} are one {label}: give one of them")
        seen[meant] = name
    return names


def checked_intervention(under: object) -> Intervention | None:
    """An intervention, or nothing.

    Raises:
        TypeError: neurons, of which it is not said what is done to them, or something else.
    """
    if under is None or isinstance(under, Intervention):
        return under
    if isinstance(under, Mapping):
        raise TypeError('under: these are sets of several emotions: write under=deactivate(sets["anger"])')
    raise TypeError(
        f'under {told(under)} is no intervention: say what is done to the neurons, as in under=deactivate(sets["anger"]) '
        'or under=steer(sets["anger"], 0.5)'
    )


FIELDS = re.compile(r"\b(?:corpora|question|identify|evaluate|headline|interventions|controls)\.(?=[a-z])")
"""The section before a field of a study file: arguments have the field's name alone."""


@contextmanager
def in_words_of_a_call(folder: str = "run") -> Iterator[None]:
    """Let errors name arguments, where they would name fields of a study file or options of the command line.

    Args:
        folder: the argument that names the run folder; ``"folder"`` where there is a study file, whose fields stay.

    Example:
        >>> with in_words_of_a_call():
        ...     raise ValueError("study: headline.budget 3 is too much; choose another folder with --out")
        Traceback (most recent call last):
        ...
        ValueError: budget 3 is too much; choose another folder with run=
    """
    try:
        yield
    except Exception as error:
        if len(error.args) == 1 and isinstance(error.args[0], str):
            said = (
                error.args[0]
                .replace("or delete this run with --fresh", "or delete that one")
                .replace("--out", f"{folder}=")
            )
            if folder == "run":
                said = said.removeprefix("study: ").replace("interventions.deactivate", "to")
                said = FIELDS.sub("", said).replace("[identify] ", "")
            error.args = (said,)
        raise


def checked_values(study: Study) -> Study:
    """A study whose fields have the types and ranges that a study file must have.

    Raises:
        StudyError: names the field, its value and what is expected.
    """
    from emoscope.experiments.schema import Study, StudyError

    plain = msgspec.to_builtins(study)
    try:
        return msgspec.convert(plain, Study)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at `$")
        place = re.findall(r"[^.\[\]`]+", path)
        value: object = plain
        for part in place:
            if isinstance(value, dict):
                value = value.get(part)
            elif isinstance(value, list | tuple) and part.isdecimal():
                value = value[int(part)]
        field = ".".join(part for part in place if not part.isdecimal() and part != "...")
        raise StudyError(f"{field} {value!r}: {what[0].lower()}{what[1:]}") from None
