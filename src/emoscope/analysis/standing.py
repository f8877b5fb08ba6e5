"""What must be said before any number of a run: a model at chance, voices that are unknown or too few."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

Row = Mapping[str, Any]


def at_chance(level: Row | None) -> bool:
    """Whether the untouched model is not clearly above chance, as far as it was measured.

    Args:
        level: its row of the table of UARs, by likelihood.

    Example:
        >>> at_chance({"uar": 40.0, "low": 30.0, "chance": 33.3}), at_chance({"uar": 40.0, "low": None, "chance": 33.3})
        (True, False)
    """
    if level is None or level["uar"] is None or level["chance"] is None:
        return False
    low = level["uar"] if level["low"] is None else level["low"]
    return bool(low <= level["chance"])


def untouched(uar: pl.DataFrame) -> dict[str, Any] | None:
    """The row of the table of UARs of the untouched model, by likelihood; ``None`` where it is missing."""
    found = uar.filter((pl.col("condition") == "baseline") & (pl.col("scoring") == "likelihood"))
    return None if found.is_empty() else found.row(0, named=True)


def first_words(level: Row | None, unknown: float, speakers: int) -> list[str]:
    """Sentences that come before any number, on the page, in a terminal and where a result is printed.

    Args:
        level: the untouched model's row of the table of UARs, by likelihood.
        unknown: the share of evaluated items whose speaker is unknown.
        speakers: how many speakers there are, if all are known.

    Example:
        >>> print(*first_words({"uar": 40.0, "low": 30.0, "chance": 33.3}, 0.0, 3), sep=chr(10))
        The untouched model is not clearly above chance: what neurons change here is what it answers, not what it recognises.
        Only 3 speakers: with fewer than five no interval can be given, so the numbers below describe these speakers and no others.
    """
    said = []
    if at_chance(level):
        said.append(
            "The untouched model is not clearly above chance: what neurons change here is what it answers, not what it "
            "recognises."
        )
    if unknown:
        part = "" if unknown == 1 else f" for {100 * unknown:.0f} % of the items"
        said.append(
            f"Speakers unknown{part}: the same voice may be on both sides. Intervals are over recordings, and no "
            "conclusion is drawn."
        )
    elif 0 < speakers < 5:
        said.append(
            f"Only {speakers} speaker{'s' if speakers > 1 else ''}: with fewer than five no interval can be given, so the "
            "numbers below describe these speakers and no others."
        )
    return said


def stored_words(uar: pl.DataFrame, items: pl.DataFrame) -> list[str]:
    """:func:`first_words` of a run whose tables are stored.

    Args:
        uar: its table of UARs.
        items: its table of items.
    """
    used = items.filter((pl.col("fate") == "used") & pl.col("evaluated").fill_null(True))
    who = (used if len(used) else items)["speaker"]
    return first_words(untouched(uar), who.null_count() / max(len(who), 1), who.n_unique())
