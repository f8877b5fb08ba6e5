"""Numbers, estimates and lists in words, the same in rules, tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DONE = {"deactivate": "switched off", "steer": "amplified", "baseline": "nothing changed"}
DOING = {"deactivate": "switching off", "steer": "amplifying"}
"""Kinds of intervention in words."""


def number(value: float | None, digits: int = 1, sign: bool = False) -> str:
    """A number for people, with a real minus sign and a dash where there is none.

    Example:
        >>> number(-3.14159), number(2.0, sign=True), number(0.04, sign=True), number(None)
        ('−3.1', '+2.0', '0.0', '–')
    """
    if value is None:
        return "–"
    rounded = round(value, digits) + 0.0  # no "-0.0"
    return f"{rounded:{'+' if sign and rounded else ''}.{digits}f}".replace("-", "−")


def bracket(low: float | None, high: float | None, digits: int = 1, sign: bool = False) -> str:
    """An interval for people, empty where there is none.

    Example:
        >>> bracket(-3.0, 1.25), bracket(-3.0, 1.25, sign=True)
        ('[−3.0, 1.2]', '[−3.0, +1.2]')
    """
    return "" if low is None or high is None else f"[{number(low, digits, sign)}, {number(high, digits, sign)}]"


def value(estimate: float, low: float | None, high: float | None, unit: str, digits: int = 1) -> str:
    """An effect with its unit and its interval.

    Example:
        >>> value(-17.5, -29.7, -5.3, "points"), value(0.25, None, None, "nat", 2)
        ('−17.5 points [−29.7, −5.3]', '+0.25 nat')
    """
    return f"{number(estimate, digits, sign=True)} {unit} {bracket(low, high, digits, sign=True)}".strip()


def span(low: float, high: float, digits: int = 1) -> str:
    """An interval in a sentence."""
    return f"95 % interval {number(low, digits)} to {number(high, digits)}"


def p_value(p: float | None) -> str:
    """A p value for people.

    Example:
        >>> p_value(0.0312), p_value(0.00002), p_value(None)
        ('0.031', '< 0.001', '–')
    """
    return "–" if p is None else "< 0.001" if p < 0.001 else number(p, 3)


def p_text(p: float) -> str:
    """A p value in a sentence.

    Example:
        >>> p_text(0.0312), p_text(0.00002)
        ('p = 0.031', 'p < 0.001')
    """
    text = p_value(p)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def estimate_text(row: Mapping[str, Any] | None, name: str = "estimate", digits: int = 1, sign: bool = True) -> str:
    """A number of a row with its interval, a dash where there is none.

    Args:
        row: has the columns ``name``, ``name_low`` and ``name_high``, or ``low`` and ``high`` for ``"estimate"``.

    Example:
        >>> estimate_text({"gap": -3.0, "gap_low": -4.0, "gap_high": -2.0}, "gap"), estimate_text(None)
        ('−3.0 [−4.0, −2.0]', '–')
    """
    if row is None or row[name] is None:
        return "–"
    ends = "" if name == "estimate" else f"{name}_"
    return f"{number(row[name], digits, sign)} {bracket(row[f'{ends}low'], row[f'{ends}high'], digits)}".strip()


def spread(row: Mapping[str, Any] | None, digits: int = 1, sign: bool = True) -> str:
    """An estimate with its interval, a dash where there is none; marked where its answers support no claim.

    Example:
        >>> spread({"estimate": -3.0, "low": -4.0, "high": -2.0}), spread(None)
        ('−3.0 [−4.0, −2.0]', '–')
    """
    text = estimate_text(row, digits=digits, sign=sign)
    return f"{text}, unreliable" if row and text != "–" and row.get("unreliable") else text


def listed(names: Sequence[str]) -> str:
    """Names as a list in words.

    Example:
        >>> listed(["a", "b", "c"])
        'a, b and c'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
