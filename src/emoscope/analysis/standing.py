"""What must be said before any number of a run, and with every gap.

A model at chance, voices that are unknown or too few; and the part of a gap that knows nothing of the clip: switching
a set off may make its emotion's name rarer on every clip, whatever is heard. That lowers the accuracy on the emotion
and raises it on the others, so a part of the gap is there without any hearing (see docs/method.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from emoscope.vocabulary import MINIMUM_SPEAKERS
from emoscope.wording import number

Row = Mapping[str, Any]


def at_chance(level: Row | None) -> bool:
    """Whether the untouched model is not clearly above chance, as far as it was measured.

    ``level`` is its row of the table of UARs, by likelihood.

    Example:
        >>> at_chance({"uar": 40.0, "low": 30.0, "chance": 33.3}), at_chance({"uar": 40.0, "low": None, "chance": 33.3})
        (True, False)
    """
    if level is None or level["uar"] is None or level["chance"] is None:
        return False
    low = level["uar"] if level["low"] is None else level["low"]
    return bool(low <= level["chance"])


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
    sentences = []
    if at_chance(level):
        sentences.append(
            "The untouched model is not clearly above chance: what neurons change here is what it answers, not what it "
            "recognises."
        )
    if unknown:
        part = "" if unknown == 1 else f" for {100 * unknown:.0f} % of the items"
        sentences.append(
            f"Speakers unknown{part}: the same voice may be on both sides. Intervals are over recordings, and no "
            "conclusion is drawn."
        )
    elif 0 < speakers < MINIMUM_SPEAKERS:
        sentences.append(
            f"Only {speakers} speaker{'s' if speakers > 1 else ''}: with fewer than five no interval can be given, so the "
            "numbers below describe these speakers and no others."
        )
    return sentences


def stored_words(uar: pl.DataFrame, items: pl.DataFrame) -> list[str]:
    """:func:`first_words` of a run whose tables are stored."""
    used = items.filter((pl.col("status") == "used") & pl.col("evaluated").fill_null(True))
    who = (used if len(used) else items)["speaker"]
    level = next(uar.filter(condition="baseline", scoring="likelihood").iter_rows(named=True), None)
    return first_words(level, who.null_count() / max(len(who), 1), who.n_unique())


NAMES = {"excess_gap": "excess gap", "gap": "gap"}
"""The measures that hold a blind part, in words; the one that is claimed first."""

BLIND_PART = (
    "Blind part: what of the gap knows nothing of the clip, since answers that move alike on clips of all emotions give as "
    "much. No claim rests on these gaps."
)
"""The words, for where several gaps stand with their blind parts."""


@dataclass(frozen=True)
class Blind:
    """A gap and the part of it that knows nothing of the clip.

    Attributes:
        measure: ``"excess_gap"``, or ``"gap"`` where nothing was matched.
        gap, part: in points; what answers that move alike on clips of all emotions give of the gap; ``None`` where it cannot be told.
        targets, options: how many emotions have a set, and how many options the question has.
    """

    measure: str
    gap: float
    part: float | None
    targets: int
    options: int

    def brief(self) -> str:
        """Two or three words for beside the gap.

        Example:
            >>> Blind("excess_gap", -14.3, -10.0, 3, 3).brief()
            'blind part −10.0'
        """
        return "blind part unknown" if self.part is None else f"blind part {number(self.part, sign=True)}"

    def sentence(self) -> str:
        """What the gap consists of, for whoever reads nothing else.

        Example:
            >>> print(Blind("excess_gap", -14.3, -10.0, 3, 3).sentence())
            Of the excess gap of −14.3 points, −10.0 know nothing of the clip (the blind part): answers that move alike on clips of all emotions give as much. No claim rests on the gap.
        """
        lead = f"the {NAMES[self.measure]} of {number(self.gap, sign=True)} points"
        if self.part is None:
            return (
                f"How much of {lead} knows nothing of the clip cannot be told: {self.targets} of {self.options} options "
                "have a set."
            )
        return (
            f"Of {lead}, {number(self.part, sign=True)} know nothing of the clip (the blind part): answers that move alike on clips of "
            "all emotions give as much. No claim rests on the gap."
        )


def blind_part(effect: Callable[[str], Row | None], options: int) -> Blind | None:
    """The blind part of the gap that is claimed: k / (k - 1) * pull_overall, k being the number of options.

    Where every option has a set, the shares of all answers add up to one: what the name of an emotion loses on clips
    of all emotions alike, the k - 1 other names gain together, each a (k - 1)th on average. So ``self`` is
    pull_overall, ``cross`` is -pull_overall / (k - 1), and the gap their difference.

    Args:
        effect: finds a row of the table of effects by its measure, of one family of sets; ``None`` where there is none.
        options: how many options the question has.

    Returns:
        that of the excess gap, or of the gap where no matched controls were run; ``None`` where there is neither.

    Example:
        >>> rows = {"excess_gap": {"estimate": -15.0, "targets": 3}, "excess_pull_overall": {"estimate": -8.0}}
        >>> blind_part(rows.get, 3).part, blind_part(rows.get, 4).part
        (-12.0, None)
    """
    for measure in NAMES:
        row = effect(measure)
        if row is None or row["estimate"] is None:
            continue
        pull, targets = effect(measure.replace("gap", "pull_overall")), int(row["targets"])
        known = pull is not None and pull["estimate"] is not None and 1 < targets == options
        part = pull["estimate"] * options / (options - 1) if pull is not None and known else None
        return Blind(measure, float(row["estimate"]), part, targets, options)
    return None


def count_options(items: pl.DataFrame) -> int:
    """How many options the question has: those offered with any item that is used.

    Example:
        >>> count_options(pl.DataFrame({"status": ["used", "used"], "options": [["anger", "fear"], ["fear", "neutral"]]}))
        3
    """
    return items.filter(pl.col("status") == "used")["options"].explode().drop_nulls().n_unique()
