"""Research questions, a module each: what it contrasts, its tables, its charts over one or many parts, its sentences."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from emoscope.report.page import Question, Section
from emoscope.vocabulary import COLUMN, GROUNDING, MAIN, SHARED, SIDE_EFFECT

SECTIONS = (
    Section("model", "The untouched model", "Does the model know emotion at all?"),
    Section("which", "Which neurons", "Does it matter by which rule neurons are selected?"),
    Section("deactivation", "Deactivation", "What is lost when an emotion’s neurons are switched off?"),
    Section("steering", "Steering and dose", "What does amplification do, and does more of it do more?"),
    Section("data", "How little data", "From how few clips can the neurons be found?"),
    Section("layers", "Where in the layers", "In which layers do the neurons lie, and where do they act?"),
    Section("words", "Words they write", "Which words does a neuron write?"),
    Section(
        "transfer",
        "Transfer and fusion",
        "Do neurons found on one corpus act on another, and do fused sets do better?",
        (SHARED,),
    ),
    Section("agnostic", "Without a label", "Does amplification help where nobody tells it the emotion?"),
    Section(
        "controls", "Controls and double dissociation", "Is it the emotion, or would any neurons do?", (MAIN, COLUMN)
    ),
    Section("factors", "Letter, word, arousal", "Is it the letter, what is said, or arousal?"),
    Section("side-effects", "Side effects", "What else do the neurons cost?", (COLUMN, SIDE_EFFECT)),
    Section("grounding", "Voice or words", "Do the neurons respond to the voice, or to what is said?", (GROUNDING,)),
    Section("run", "What was run", "", ()),
)
"""In the order of the page; those of which nothing is shown are left out."""

_REGISTERED: list[Question] = []


def questions() -> tuple[Question, ...]:
    """Every question, in the order of the page: what modules of this package list as ``QUESTIONS``, and registered ones.

    A question's tables may rest on those of earlier questions.

    Example:
        >>> "letters" in {name for question in questions() for name in question.tables}
        True
    """
    order = [section.id for section in SECTIONS]
    return tuple(sorted((*_own(), *_REGISTERED), key=lambda question: (order.index(question.section), question.place)))


def register_question(question: Question) -> None:
    """Let tables and pages of this program answer one more question; one at the same place is replaced.

    Raises:
        ValueError: a section that pages do not have.
    """
    known = [section.id for section in SECTIONS]
    if question.section not in known:
        raise ValueError(f"section {question.section!r} is not on any page: choose from {', '.join(known)}")
    place = question.section, question.place
    _REGISTERED[:] = [*(old for old in _REGISTERED if (old.section, old.place) != place), question]


@cache
def _own() -> tuple[Question, ...]:
    modules = [import_module(f"{__name__}.{info.name}") for info in iter_modules(__path__)]
    return tuple(question for module in modules for question in getattr(module, "QUESTIONS", ()))
