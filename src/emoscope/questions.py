"""Multiple-choice questions: wording, options, letter orders, and reading a written answer."""

from __future__ import annotations

import hashlib
import random
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

ASK = {
    "emotion": "Which emotion does the speaker express?",
    "word": "Which word does the speaker say?",
    "statement": "Which sentence does the speaker say?",
    "gender": "What is the gender of the speaker?",
    "speaker": "Who is speaking?",
}
"""The question sentence for a label column; other columns are asked with :func:`sentence`."""

TAIL = "Answer with the letter only."

WORDINGS = {
    "lettered": "{ask} {options} " + TAIL,
    "listed": "{ask}\n{options_by_line}\n" + TAIL,
    "listen first": "Listen to the audio and choose the option that describes it best. {options} " + TAIL,
}
"""Question templates. ``lettered`` is the default: lettered options, the letter as the whole answer."""


@dataclass(frozen=True)
class Question:
    """One multiple-choice question about a clip.

    Attributes:
        column: the label column that is asked, such as ``"emotion"``.
        options: the labels behind A, B, C …, in the order in which they are shown.
        wording: a key of :data:`WORDINGS`.

    Example:
        >>> q = Question("emotion", ("neutral", "anger", "fear"))
        >>> q.text
        'Which emotion does the speaker express? (A) neutral (B) anger (C) fear Answer with the letter only.'
        >>> q.letter("fear"), q.letters
        ('C', ('A', 'B', 'C'))
    """

    column: str
    options: tuple[str, ...]
    wording: str = "lettered"

    def __post_init__(self) -> None:
        if not 2 <= len(self.options) <= len(LETTERS):
            raise ValueError(f"{len(self.options)} options: a question needs between 2 and {len(LETTERS)}")
        if len(set(self.options)) != len(self.options):
            raise ValueError(f"options {self.options} hold one label twice")
        if self.wording not in WORDINGS:
            raise ValueError(f"wording {self.wording!r} is not known: choose one of {', '.join(map(repr, WORDINGS))}")

    @property
    def letters(self) -> tuple[str, ...]:
        """The letters of the options, in order."""
        return tuple(LETTERS[: len(self.options)])

    @property
    def text(self) -> str:
        """The user's turn, without the audio."""
        shown = [f"({letter}) {option}" for letter, option in zip(self.letters, self.options, strict=True)]
        return WORDINGS[self.wording].format(
            ask=sentence(self.column), options=" ".join(shown), options_by_line="\n".join(shown)
        )

    def letter(self, label: str) -> str:
        """The letter behind which ``label`` stands."""
        return LETTERS[self.options.index(label)]


def sentence(column: str) -> str:
    """The question sentence for a label column.

    Example:
        >>> sentence("accent")
        'Which accent fits the recording?'
    """
    return ASK.get(column, f"Which {column.replace('_', ' ')} fits the recording?")


def letter_orders(
    labels: Sequence[str],
    groups: Sequence[str],
    checksums: Sequence[str],
    options: Sequence[str],
    orders: int | str = 1,
    seed: int = 0,
) -> list[list[tuple[str, ...]]]:
    """Choose in which order each clip's options are lettered, balanced within group and label.

    Every clip gets a permutation seeded by its content. It is then rotated so that, within one group
    (speaker) and label, the true option stands behind each letter equally often (differing by one at
    most). ``orders`` rotations are asked per clip; ``"all"`` asks every rotation.

    Args:
        labels: the true label of each clip.
        groups: the group (speaker) of each clip, in which letters are balanced.
        checksums: content hash of each clip.
        options: the labels to choose from.
        orders: how many letter orders to ask per clip, or ``"all"``.
        seed: the study's seed.

    Returns:
        for each clip the list of its orders; an order is the tuple of labels behind A, B, C ….

    Raises:
        ValueError: ``orders`` is not between 1 and the number of options, nor ``"all"``.

    Example:
        >>> orders = letter_orders(["b"] * 4, ["s"] * 4, ["1", "2", "3", "4"], ["a", "b"])
        >>> sorted(order[0].index("b") for order in orders)
        [0, 0, 1, 1]
    """
    size = len(options)
    count = size if orders == "all" else orders
    if not isinstance(count, int) or not 1 <= count <= size:
        raise ValueError(f'letter_orders {orders!r}: give a number from 1 to {size} (the options) or "all"')
    members: dict[tuple[str, str], list[int]] = defaultdict(list)
    for clip, (group, label) in enumerate(zip(groups, labels, strict=True)):
        members[group, label].append(clip)
    result: list[list[tuple[str, ...]]] = [[] for _ in labels]
    for (group, label), clips in sorted(members.items()):
        start = _seeded(seed, group, label).randrange(size)
        for place, clip in enumerate(sorted(clips, key=lambda c: (checksums[c], c))):
            shuffled = list(options)
            _seeded(seed, checksums[clip]).shuffle(shuffled)
            turn = shuffled.index(label) - (start + place) % size
            for order in range(count):
                cut = (turn + order) % size
                result[clip].append(tuple(shuffled[cut:] + shuffled[:cut]))
    return result


def _seeded(*parts: object) -> random.Random:
    # sha256 rather than hash(): Python salts hash() anew in every process
    return random.Random(hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest())


REFUSALS = ("cannot", "can't", "unable", "sorry", "not able", "don't know", "do not know", "no audio")


def read_answer(text: str, options: Sequence[str]) -> tuple[str | None, str]:
    """Read a written answer to a multiple-choice question.

    A letter counts when it stands alone at the start ("B", "(B)", "B. anger", "Answer: B"); otherwise one
    single option named as a word counts. The form of what was found is kept, so that refusals and
    unreadable answers are never counted as ordinary wrong ones.

    Args:
        text: what the model wrote.
        options: the labels behind A, B, C ….

    Returns:
        (label, form): label is ``None`` unless form is ``"letter"`` or ``"word"``; the other forms are
        ``"refusal"`` and ``"unparsable"``.

    Example:
        >>> read_answer("(B)", ("anger", "fear")), read_answer("It is fear.", ("anger", "fear"))
        (('fear', 'letter'), ('fear', 'word'))
        >>> read_answer("I cannot hear any audio", ("anger", "fear"))
        (None, 'refusal')
    """
    stripped = text.strip()
    last = LETTERS[len(options) - 1]
    letter = re.match(
        rf"(?:the\s+)?(?:correct\s+)?(?:(?:answer|option)\s*(?:is)?\s*:?\s*)?[\(\[\*\"']*([A-{last}])(?![A-Za-z'])", stripped, re.IGNORECASE
    )
    if letter and (letter[1].isupper() or len(stripped) <= 3):
        return options[LETTERS.index(letter[1].upper())], "letter"
    words = re.findall(r"[a-z]+", stripped.lower())
    named = [option for option in options if _has(words, option.lower().split())]
    if len(named) == 1:
        return named[0], "word"
    if any(refusal in stripped.lower() for refusal in REFUSALS):
        return None, "refusal"
    return None, "unparsable"


def _has(words: list[str], wanted: list[str]) -> bool:
    span = len(wanted)
    return any(words[i : i + span] == wanted for i in range(len(words) - span + 1))
