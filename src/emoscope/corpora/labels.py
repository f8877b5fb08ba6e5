"""Read the emotion words of a user's own corpus."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from emoscope.emotions import UnknownEmotion, canonical, folded

MISSING = frozenset({"", "nan", "none", "null", "na", "n/a"})


class Vocabulary:
    """The emoscope words, and before them the words that the user defines.

    Args:
        labels: the user's words -> emotion; an empty emotion leaves the word's clips out.
        corpus: id of a corpus whose codes are known, see :data:`emoscope.emotions.CODES`.
        given: words that the corpus itself explains -> emotion, tried after the user's.

    Example:
        >>> words = Vocabulary({"Ironic": "irony", "xxx": ""})
        >>> words.read("ironic"), words.read("Happy"), words.read("xxx")
        (('irony', None), ('happiness', None), (None, "label 'xxx' is left out by labels"))
        >>> print(words.read("angyr")[1])
        emotion 'angyr' is not known: did you mean 'angry'? In a study: labels = { angyr = "anger" }
        >>> print(words.read("0")[1])
        emotion '0' is a code that differs between corpora: write the word, such as 'anger'. In a study: labels = { 0 = "neutral" }, or whatever it means
    """

    def __init__(
        self,
        labels: Mapping[str, str] | None = None,
        corpus: str | None = None,
        given: Mapping[str, str] | None = None,
    ) -> None:
        both = [*(given or {}).items(), *(labels or {}).items()]
        self._own = {folded(str(word)): str(emotion).strip() for word, emotion in both}
        self._corpus = corpus
        self._seen: dict[str, tuple[str | None, str | None]] = {}

    def read(self, word: str | None) -> tuple[str | None, str | None]:
        """Give (emotion, None), or (None, the reason why the clip is excluded)."""
        word = (word or "").strip()
        if word not in self._seen:
            self._seen[word] = self._read(word)
        return self._seen[word]

    def _read(self, word: str) -> tuple[str | None, str | None]:
        own = self._own.get(folded(word))
        if own is not None:
            try:
                return (canonical(own), None) if own else (None, f"label {word!r} is left out by labels")
            except UnknownEmotion:
                return own, None
        if word.lower() in MISSING:
            return None, "no emotion is given"
        try:
            return canonical(word, self._corpus), None
        except UnknownEmotion as error:
            end = "" if str(error).endswith("?") else "."
            return None, f"{error}{end} In a study: {toml_line(error)}"


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
