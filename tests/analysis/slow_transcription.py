"""Word errors, slowly and obviously: the classical table of edit distances between two lists of words."""

from __future__ import annotations

import string


def words_of(text: str) -> list[str]:
    """Lower-case words without punctuation at their ends."""
    return [word for word in (one.strip(string.punctuation + "“”…") for one in text.lower().split()) if word]


def edits(said: list[str], written: list[str]) -> int:
    """Fewest words to change, leave out or add."""
    table = [[row + column for column in range(len(written) + 1)] for row in range(len(said) + 1)]
    for row in range(1, len(said) + 1):
        for column in range(1, len(written) + 1):
            table[row][column] = min(
                table[row - 1][column] + 1,
                table[row][column - 1] + 1,
                table[row - 1][column - 1] + (said[row - 1] != written[column - 1]),
            )
    return table[-1][-1]
