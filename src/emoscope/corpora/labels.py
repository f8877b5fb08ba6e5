"""Read the emotion words of a user's own corpus."""

from __future__ import annotations

from collections.abc import Mapping

from emoscope.emotions import UnknownEmotion, canonical

MISSING = frozenset({"", "nan", "none", "null", "na", "n/a"})


class Vocabulary:
    """The emoscope words, and before them the words that the user defines.

    Example:
        >>> words = Vocabulary({"Ironic": "irony"})
        >>> words.read("ironic"), words.read("Happy")
        (('irony', None), ('happiness', None))
        >>> words.read("angyr")
        (None, "emotion 'angyr' is not known: did you mean 'angry'?")
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
            return None, str(error)
