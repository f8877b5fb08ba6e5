"""Read the emotion words of a user's own corpus."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from emoscope.emotions import UnknownEmotion, canonical

MISSING = frozenset({"", "nan", "none", "null", "na", "n/a"})


class Vocabulary:
    """The emoscope words, and before them the words that the user defines.

    Example:
        >>> words = Vocabulary({"Ironic": "irony"})
        >>> words.read("ironic"), words.read("Happy")
        (('irony', None), ('happiness', None))
        >>> print(words.read("angyr")[1])
        emotion 'angyr' is not known: did you mean 'angry'? In a study: labels = { angyr = "anger" }
    """

    def __init__(self, labels: Mapping[str, str] | None = None) -> None:
        self._own = {str(word).strip().lower(): emotion for word, emotion in (labels or {}).items()}
        self._seen: dict[str, tuple[str | None, str | None]] = {}

    def read(self, word: str | None) -> tuple[str | None, str | None]:
        """Give (emotion, None), or (None, the reason why the clip is excluded)."""
        word = (word or "").strip()
        if word not in self._seen:
            self._seen[word] = self._read(word)
        return self._seen[word]

    def _read(self, word: str) -> tuple[str | None, str | None]:
        if word.lower() in self._own:
            own = self._own[word.lower()]
            try:
                return canonical(own), None
            except UnknownEmotion:
                return own, None
        if word.lower() in MISSING:
            return None, "no emotion is given"
        try:
            return canonical(word), None
        except UnknownEmotion as error:
            return None, f"{error} In a study: {toml_line(error)}"


def toml_line(error: UnknownEmotion) -> str:
    """The line under [[corpora]] in a study file that maps an unknown word to an emotion.

    Example:
        >>> toml_line(UnknownEmotion("so so", "", None))
        'labels = { "so so" = "neutral" }, or whatever it means'
    """
    key = error.name if re.fullmatch(r"[A-Za-z0-9_-]+", error.name) else json.dumps(error.name, ensure_ascii=False)
    if error.nearest:
        return f'labels = {{ {key} = "{canonical(error.nearest)}" }}'
    return f'labels = {{ {key} = "neutral" }}, or whatever it means'
