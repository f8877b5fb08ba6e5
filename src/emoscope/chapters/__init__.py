"""Research questions, a module each: what it contrasts, its tables, its charts over one or many parts, its sentences."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emoscope.report.page import Question

_REGISTERED: list[Question] = []


def questions() -> tuple[Question, ...]:
    """Every question, in the order of the page: what modules of this package list as ``QUESTIONS``, and registered ones.

    A question's tables may rest on those of earlier questions.

    Example:
        >>> "letters" in {name for one in questions() for name in one.tables}
        True
    """
    from emoscope.report.page import SECTIONS

    order = [section.id for section in SECTIONS]
    return tuple(sorted((*_own(), *_REGISTERED), key=lambda one: (order.index(one.section), one.place)))


def register_question(question: Question) -> None:
    """Let tables and pages of this program answer one more question; one at the same place is replaced.

    Raises:
        ValueError: a section that pages do not have.
    """
    from emoscope.report.page import SECTIONS

    known = [section.id for section in SECTIONS]
    if question.section not in known:
        raise ValueError(f"section {question.section!r} is not on any page: choose from {', '.join(known)}")
    place = question.section, question.place
    _REGISTERED[:] = [*(one for one in _REGISTERED if (one.section, one.place) != place), question]


@cache
def _own() -> tuple[Question, ...]:
    modules = [import_module(f"{__name__}.{one.name}") for one in iter_modules(__path__)]
    return tuple(question for module in modules for question in getattr(module, "QUESTIONS", ()))
