"""The emotions emoscope knows: canonical names, their order, and the words and codes corpora use for them."""

from __future__ import annotations

import difflib
import re
import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

CANONICAL = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
"""The seven emotions shown first, in the order of every table and figure; others follow alphabetically."""


def _data(name: str) -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / "data" / name).read_text(encoding="utf-8"))


def spelt_out(codes: Mapping[str, str]) -> dict[str, str]:
    """The codes of an entry of ``data/corpora.toml`` one by one, where it takes several together.

    Example:
        >>> spelt_out({"01, 03": "male", "f1..f2": "{place}"})
        {'01': 'male', '03': 'male', 'f1': '1', 'f2': '2'}
    """
    found = {}
    for code, label in ((code, label) for several, label in codes.items() for code in several.split(", ")):
        if span := re.fullmatch(r"(\D*)(\d+)\.\.\1(\d+)", code):
            for place, number in enumerate(range(int(span[2]), int(span[3]) + 1), start=1):
                found[f"{span[1]}{number:0{len(span[2])}}"] = label.replace("{place}", str(place))
        else:
            found[code] = label
    return found


CORPORA: Mapping[str, dict[str, Any]] = _data("corpora.toml")
"""Corpus id -> its entry in ``data/corpora.toml``, whose head says what the keys mean."""

CODES: dict[str, dict[str, str]] = {
    corpus: spelt_out(entry["codes"]["emotion"]) for corpus, entry in CORPORA.items() if "codes" in entry
}
"""Codes whose meaning depends on the corpus: ``A`` is fear in EmoDB and anger in MSP-Podcast."""

_WORDS = _data("emotions.toml")

ALIASES: dict[str, tuple[str, ...]] = {emotion: tuple(words) for emotion, words in _WORDS["words"].items()}
"""For every emotion the other words and codes that mean it in any corpus, in English, German, Polish, Italian, French,
Spanish, Turkish, Bengali (in Latin letters) and Chinese, some also without their accents. One-letter codes stand in :data:`CODES`."""

AROUSAL: dict[str, float] = _WORDS["arousal"]
"""How aroused readers felt at the English words for an emotion, from 1 (calm) to 9 (excited): the mean of the ratings
of its noun and its adjective ("fear", "fearful"; "love" for romantic love), or of the one that was rated. From Warriner,
Kuperman and Brysbaert 2013, Norms of valence, arousal, and dominance for 13,915 English lemmas, Behavior Research
Methods 45. These are ratings of words; how aroused a voice is differs between speakers and corpora."""

MIDDLE_AROUSAL = 5.0
"""The middle of the scale of :data:`AROUSAL`: above it an emotion counts as one of high arousal, below it of low."""

_EMOTION_OF = {alias: emotion for emotion, aliases in ALIASES.items() for alias in (emotion, *aliases)}


class UnknownEmotion(ValueError):
    """A word that means no known emotion; ``name`` is the word and ``nearest`` the closest known one, if any."""

    def __init__(self, name: str, message: str, nearest: str | None) -> None:
        self.name, self.nearest = name, nearest
        super().__init__(message)


def canonical(name: str, corpus: str | None = None) -> str:
    """Give the canonical name of an emotion, in any case, with spaces, hyphens or underscores between its parts.

    The codes of a corpus in :data:`CODES` are tried first (exact case).

    Raises:
        UnknownEmotion: the word means no known emotion; the message names the nearest one.

    Example:
        >>> canonical("Happy"), canonical("joy"), canonical("exc"), canonical("A", corpus="emodb")
        ('happiness', 'happiness', 'excitement', 'fear')
        >>> canonical("hapiness")
        Traceback (most recent call last):
        ...
        emoscope.emotions.UnknownEmotion: emotion 'hapiness' is not known: did you mean 'happiness'?
    """
    word = folded(name)
    if known := CODES.get(corpus or "", {}).get(name.strip()) or _EMOTION_OF.get(word):
        return known
    if len(word) == 1 and corpus is None:
        message = f"emotion {name!r} is a code that differs between corpora: write the word, such as 'anger'"
        raise UnknownEmotion(name, message, None)
    # slips of the pen only: at 0.6, angewidert and laughter are near anger, and sachlich is near fröhlich
    near = difflib.get_close_matches(word, _EMOTION_OF, n=1, cutoff=0.75)
    remedy = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(in_order(ALIASES))}"
    raise UnknownEmotion(name, f"emotion {name!r} is not known: {remedy}", near[0] if near else None)


def arousal_of(emotion: str) -> str | None:
    """Whether an emotion is one of "high" or of "low" arousal, by :data:`AROUSAL`; ``None`` where that is not known.

    Example:
        >>> arousal_of("anger"), arousal_of("sadness"), arousal_of("other")
        ('high', 'low', None)
    """
    rating = AROUSAL.get(emotion)
    return None if rating is None else "high" if rating > MIDDLE_AROUSAL else "low"


def folded(word: str) -> str:
    """A word as words are compared: in lower case, its parts separated by single spaces.

    Example:
        >>> folded(" Surprise_Positive")
        'surprise positive'
    """
    # names of folders made on a Mac hold their accents as separate characters
    composed = unicodedata.normalize("NFC", word)
    return " ".join(composed.lower().replace("_", " ").replace("-", " ").split())


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Put labels into the order of tables and figures, each once: the seven of :data:`CANONICAL`, then alphabetically.

    Example:
        >>> in_order(["neutral", "calm", "anger", "neutral", "boredom"])
        ('anger', 'neutral', 'boredom', 'calm')
    """
    rank = {name: place for place, name in enumerate(CANONICAL)}
    return tuple(sorted(set(names), key=lambda name: (rank.get(name, len(rank)), name)))
