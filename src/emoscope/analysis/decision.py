"""What a rule says of a claim: a verdict, the number that it rests on, and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

SUPPORTED, UNSUPPORTED, UNTESTED = "supported by the published measure", "not supported", "not testable here"
"""What a claim is called. The published measure also counts moves of the answers that know nothing of the clip."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Decision:
    """What a rule says.

    Attributes:
        verdict: :data:`SUPPORTED`, :data:`UNSUPPORTED` or :data:`UNTESTED`.
        why: the reason, in words.
        number: the number it rests on and its interval, as text; empty where there is none.
        estimate, low, high: that number.
        unit: of the number.
    """

    verdict: str
    why: str
    number: str = ""
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str | None = None


def untested(why: str) -> Decision:
    """No verdict, for a reason.

    Example:
        >>> untested("a pilot supports no claim").verdict
        'not testable here'
    """
    return Decision(UNTESTED, why)


def amount(value: float | None, digits: int = 1) -> str:
    """A signed number with a real minus sign.

    Example:
        >>> amount(-3.14159), amount(0.04), amount(None)
        ('−3.1', '0.0', '–')
    """
    if value is None:
        return "–"
    rounded = round(value, digits) + 0.0
    return f"{rounded:{'+' if rounded else ''}.{digits}f}".replace("-", "−")


def shown(row: Row, verdict: str, why: str, what: str, unit: str = "points") -> Decision:
    """A decision with the number that it rests on."""
    number = f"{what} {amount(row['estimate'])}{' points' if unit == 'points' else ''} {ends(row)}".strip()
    return Decision(verdict, why, number, row["estimate"], row["low"], row["high"], unit)


def ends(row: Row) -> str:
    """The interval of a row, empty where there is none."""
    return "" if row["low"] is None else f"[{amount(row['low'])}, {amount(row['high'])}]"


def span(row: Row) -> str:
    """The estimate of a row with its interval."""
    return f"{amount(row['estimate'])} {ends(row)}".strip()


def p_text(p: float) -> str:
    """A p value after the letter p.

    Example:
        >>> p_text(0.00002), p_text(0.0312)
        ('< 0.001', '= 0.031')
    """
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
