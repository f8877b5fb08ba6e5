"""Shards: which part of a stage's units one process of many does, by a rule that needs no talk between them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

Card = TypeVar("Card")


class Unfinished(Exception):
    """A stage needs what other shards have not done yet; the same command goes on when they have."""


@dataclass(frozen=True)
class Shard:
    """The share of one process: number ``number`` of ``of``.

    Units are dealt like cards, so shares differ by one unit at most, whatever was done before.

    Example:
        >>> Shard(2, 3).deal(["a", "b", "c", "d", "e"])
        ['b', 'e']
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``"3/16"``.

        Raises:
            ValueError: not of that form, or a number beyond the count.

        Example:
            >>> Shard.parse("3/16")
            Shard(number=3, of=16)
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
        if not found or not 1 <= int(found[1]) <= int(found[2]):
            raise ValueError(f"--shard {text!r} is no share: give its number and how many there are, such as 3/16")
        return cls(int(found[1]), int(found[2]))

    def deal(self, cards: Sequence[Card]) -> list[Card]:
        """Every ``of``-th of the cards, from this shard's number on."""
        return list(cards[self.number - 1 :: self.of])

    def owner(self, place: int) -> Shard:
        """The shard that is dealt the card at a place (from 0)."""
        return Shard(place % self.of + 1, self.of)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


def named(shards: Iterable[Shard]) -> str:
    """Shards in a sentence, as options of the command.

    Example:
        >>> named([Shard(7, 16), Shard(3, 16), Shard(3, 16)])
        '--shard 3/16, --shard 7/16'
    """
    return ", ".join(f"--shard {shard}" for shard in sorted(set(shards), key=lambda s: (s.of, s.number)))
