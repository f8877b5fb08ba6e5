"""Multiple-choice questions: wording, options, letter orders, and reading a written answer."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from emoscope.emotions import ALIASES

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
        options: the labels behind A, B, C …, in the order in which they are shown.
        wording: a key of :data:`WORDINGS`.
        ask: the question's sentence, where it is not the column's. With ``{options}`` (or ``{options_by_line}``) in
            it, it is the whole of what is asked, and the lettered options stand there.
        shown: the words shown for the options, where these are not their labels.

    Example:
        >>> q = Question("emotion", ("neutral", "anger", "fear"))
        >>> q.text
        'Which emotion does the speaker express? (A) neutral (B) anger (C) fear Answer with the letter only.'
        >>> q.letter("fear"), q.letters
        ('C', ('A', 'B', 'C'))
        >>> Question("emotion", ("yes", "no"), ask="{options}. Angry? One letter:").text
        '(A) yes (B) no. Angry? One letter:'

    Raises:
        ValueError: fewer than two options or more than letters, one twice, or a wording without a place for ``ask``.
    """

    column: str
    options: tuple[str, ...]
    wording: str = "lettered"
    ask: str = ""
    shown: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.options, str):
            raise ValueError(f'options {self.options!r} is one text: give several, such as ("anger", "fear")')
        object.__setattr__(self, "options", tuple(self.options))
        object.__setattr__(self, "shown", tuple(self.shown))
        if self.shown and len(self.shown) != len(self.options):
            raise ValueError(f"{len(self.shown)} words are shown for {len(self.options)} options: give one for each")
        if not 2 <= len(self.options) <= len(LETTERS):
            raise ValueError(f"{len(self.options)} options: a question needs between 2 and {len(LETTERS)}")
        if len(set(self.options)) != len(self.options):
            raise ValueError(f"options {self.options} hold one label twice")
        if self.wording not in WORDINGS:
            raise ValueError(f"wording {self.wording!r} is not known: choose one of {', '.join(map(repr, WORDINGS))}")
        if self.ask and not self._whole and "{ask}" not in WORDINGS[self.wording]:
            fault = "has no place for a question of one's own"
            raise ValueError(f"wording {self.wording!r} {fault}: choose another wording")

    @property
    def _whole(self) -> bool:
        return "{options}" in self.ask or "{options_by_line}" in self.ask

    @property
    def letters(self) -> tuple[str, ...]:
        """The letters of the options, in order."""
        return tuple(LETTERS[: len(self.options)])

    @property
    def text(self) -> str:
        """The user's turn, without the audio."""
        words = self.shown or self.options
        shown = [f"({letter}) {option}" for letter, option in zip(self.letters, words, strict=True)]
        places = {"{options}": " ".join(shown), "{options_by_line}": "\n".join(shown)}
        if not self._whole:
            places["{ask}"] = self.ask or sentence(self.column)
        # in one pass, so that braces in a question or an option stay as they are
        template = self.ask if self._whole else WORDINGS[self.wording]
        return re.sub(r"\{[a-z_]+\}", lambda place: places.get(place[0], place[0]), template)

    def letter(self, label: str) -> str:
        """The letter behind which a label stands; a ValueError where it is not among the options."""
        _require([label], self.options)
        return LETTERS[self.options.index(label)]


def _require(labels: Iterable[str], options: Sequence[str]) -> None:
    for label in labels:
        if label not in options:
            raise ValueError(f"label {label!r} is not among the options {', '.join(options)}")


def sentence(column: str) -> str:
    """The question sentence for a label column.

    Example:
        >>> sentence("accent")
        'Which accent fits the recording?'
    """
    return ASK.get(column, f"Which {column.replace('_', ' ')} fits the recording?")


def letter_orders(
    clips: Sequence[tuple[str, str, str]], options: Sequence[str], orders: int | str = 1, seed: int = 0
) -> list[list[tuple[str, ...]]]:
    """Choose in which order each clip's options are lettered, balanced within group and label.

    Every clip, given by its true label, group (speaker) and content hash, gets a permutation seeded by its content. It is
    then rotated so that, within one group and label, the true option stands behind each letter equally often (differing
    by one at most). ``orders`` rotations are asked per clip; ``"all"`` asks every rotation.

    Returns:
        for each clip the list of its orders; an order is the tuple of labels behind A, B, C ….

    Raises:
        ValueError: other ``orders``, or a label that is not among the options.

    Example:
        >>> orders = letter_orders([("b", "s", content) for content in "1234"], ["a", "b"])
        >>> sorted(order[0].index("b") for order in orders)
        [0, 0, 1, 1]
    """
    size = len(options)
    many = size if orders == "all" else orders
    if not isinstance(many, int) or not 1 <= many <= size:
        raise ValueError(f'letter_orders {orders!r}: give a number from 1 to {size} (the options) or "all"')
    _require([label for label, _, _ in clips], options)
    letters: dict[tuple[str, str], Iterator[int]] = {}
    result: dict[int, list[tuple[str, ...]]] = {}
    for clip, (label, group, content) in sorted(enumerate(clips), key=lambda pair: (pair[1][2], pair[0])):
        letter = letters.setdefault((group, label), count(_seeded(seed, group, label).randrange(size)))
        shuffled = list(options)
        _seeded(seed, content).shuffle(shuffled)
        turn = shuffled.index(label) - next(letter) % size
        cuts = [(turn + order) % size for order in range(many)]
        result[clip] = [tuple(shuffled[cut:] + shuffled[:cut]) for cut in cuts]
    return [result[clip] for clip in range(len(clips))]


def _seeded(*parts: object) -> random.Random:
    # sha256 rather than hash(): Python salts hash() anew in every process
    return random.Random(hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest())


REFUSAL = re.compile(
    r"\bsorry\b|\bas an ai\b|\bno audio\b|\b(?:cannot|can't|can not|could not|couldn't|unable to|not able to)\s+"
    r"(?:\w+\s+)?(?:assist|determine|detect|access|answer|hear|help|identify|judge|listen|play|process|recogni[sz]e|say|tell)\b"
    r"|\bi (?:don't|do not) know\b"
)
"""Phrases of a model that does not answer."""

LETTER_AT_START = re.compile(
    r"(?:(?:i think |my |the )*(?:correct |best |right )*(?:answer|option|choice|letter)(?: is)?\s*[:=]?\s*)?"
    r"(?P<open>[(\[]?)\s*(?P<letter>[A-Za-z])(?![^\W_]|['’-]\w)(?P<after>.*)",
    re.IGNORECASE | re.DOTALL,
)
LETTER_WITHIN = re.compile(
    r"\b(?i:answer|option|choice|letter)(?i: is)?\s*[:=]?\s*([A-Z])\s*(?=[.,;:)\]\n]|$)|\(([A-Z])\)"
)
MARKED_LETTER = re.compile(r"(?<![^\W_])([A-Z])[).:\]]")
SECOND_LETTER = re.compile(r"[)\]]?\s*(?:,|/|&|\bor\b|\band\b)\s*(?:or\s+|and\s+)?[(\[]?([A-Z])(?![^\W_]|['’]\w)")
NEGATION = frozenset({"not", "no", "never", "nor", "neither", "without", "isn", "wasn", "doesn"})


def read_answer(text: str, options: Sequence[str]) -> tuple[str | None, str]:
    """Read a written answer to a multiple-choice question.

    A letter counts when it stands alone ("B", "(B)", "B. anger", "Answer: B", "the speaker is afraid (B)"), but
    not as a word ("A person sounds sad") and not beside a second one ("A or B"). Otherwise one single option named
    as a word counts; for emotions their other words count too ("angry"). The form of what was found is kept,
    so that refusals and unreadable answers are never counted as ordinary wrong ones.

    Returns:
        (label, form): label is ``None`` unless form is ``"letter"`` or ``"word"``; the other forms are
        ``"refusal"`` and ``"unparsable"``.

    Example:
        >>> read_answer("(B)", ("anger", "fear")), read_answer("A person in fear.", ("anger", "fear"))
        (('fear', 'letter'), ('fear', 'word'))
        >>> read_answer("I cannot hear any audio", ("anger", "fear"))
        (None, 'refusal')
    """
    plain = re.sub(r"[*`\"“”#]", "", text).replace("_", " ").strip()
    # a text that repeats the list of options has chosen none of them
    several = len(set(MARKED_LETTER.findall(plain))) > 1
    letter = None if several else _letter_at_start(plain, options) or _letter_within(plain, options)
    if letter:
        return options[LETTERS.index(letter)], "letter"
    lower = plain.lower().replace("’", "'")
    refusal = REFUSAL.search(lower)
    named = _named(lower[: refusal.start()] if refusal else lower, options)
    if len(named) == 1:
        return named.pop(), "word"
    return None, "refusal" if refusal else "unparsable"


def _letter_at_start(text: str, options: Sequence[str]) -> str | None:
    found = LETTER_AT_START.match(text)
    if found is None or found["letter"].upper() not in LETTERS[: len(options)]:
        return None
    letter, after = found["letter"], found["after"]
    if SECOND_LETTER.match(after):
        return None
    if not after.strip() or after.lstrip()[0] in ").]:,;-–—!" or after[0] == "\n":
        # "a, well" and "(a sad" are words; "a)", "a." and "a" alone are letters
        return letter.upper() if letter.isupper() or after.strip()[:1] in ("", ")", ".", "]", ":") else None
    label = options[LETTERS.index(letter.upper())]
    if _named(after.lower(), options, first_only=True) == {label}:
        return letter.upper()
    is_word = letter in "AI" and not after.startswith(" is ")
    return letter if letter.isupper() and not is_word and not found["open"] else None


def _letter_within(text: str, options: Sequence[str]) -> str | None:
    letters = {a or b for a, b in LETTER_WITHIN.findall(text)}
    return letters.pop() if len(letters) == 1 and letters <= set(LETTERS[: len(options)]) else None


def _named(text: str, options: Sequence[str], first_only: bool = False) -> set[str]:
    """The options named in a lower-case text; ``first_only``: only one with which the text begins."""
    words = _words(text)
    spellings = sorted(
        ((_words(spelling), option) for option in options for spelling in (option, *ALIASES.get(option, ()))),
        key=lambda pair: -len(pair[0]),
    )
    named: set[str] = set()
    for spelling, option in spellings:
        span = len(spelling)
        for start in range(1 if first_only else len(words) - span + 1):
            if span and words[start : start + span] == spelling:
                if not NEGATION.intersection(words[max(0, start - 2) : start]):
                    named.add(option)
                # a longer name ("negative surprise") must not be found again inside as a shorter one
                words[start : start + span] = [""] * span
    return named


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())
