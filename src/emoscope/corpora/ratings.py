"""Thirds of ratings such as arousal, so that a study can ask about them as it asks about emotions."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace

from emoscope.corpora.clip import Clip
from emoscope.corpora.corpus import Corpus

RATINGS = ("valence", "activation", "dominance")


def with_thirds(corpus: Corpus, columns: Iterable[str] = RATINGS) -> Corpus:
    """Add to every rated clip a column such as ``activation_third``: low, mid or high.

    The bounds are ratings that part all rated clips of the corpus, also those not in use, as evenly as their ties
    permit; clips of one rating are in one third. A column with fewer than three different ratings gets no thirds.

    Args:
        corpus: the corpus.
        columns: label columns that hold numbers; a clip whose text is no number gets no third.

    Example:
        >>> from pathlib import Path
        >>> from emoscope.corpora import Clip, CorpusInfo
        >>> clips = [Clip(str(n), Path("x"), {"activation": f"{n / 2}"}) for n in range(6)]
        >>> with_thirds(Corpus(CorpusInfo("x", "x"), tuple(clips))).counts("activation_third")
        {'high': 2, 'low': 2, 'mid': 2}
    """
    rated = {lost.clip.id: lost.clip for lost in corpus.lost if lost.clip} | {clip.id: clip for clip in corpus}
    bounds = {}
    for column in columns:
        numbers = [number for clip in rated.values() if (number := _number(clip, column)) is not None]
        if len(set(numbers)) >= 3:
            bounds[column] = _bounds(sorted(numbers))

    def placed(clip: Clip) -> Clip:
        labels = dict(clip.labels)
        for column, (low, high) in bounds.items():
            number = _number(clip, column)
            if number is not None:
                labels[f"{column}_third"] = "low" if number <= low else "mid" if number <= high else "high"
        return replace(clip, labels=labels)

    lost = tuple(replace(one, clip=placed(one.clip)) if one.clip else one for one in corpus.lost)
    return replace(corpus, clips=tuple(map(placed, corpus.clips)), lost=lost)


def _bounds(ordered: Sequence[float]) -> tuple[float, float]:
    """The largest rating of the lower third, and of the middle one."""
    different = sorted(set(ordered))

    def off(bound: float, share: float) -> float:
        return abs(bisect_right(ordered, bound) / len(ordered) - share)

    low = min(different[:-2], key=lambda bound: off(bound, 1 / 3))
    return low, min((bound for bound in different[:-1] if bound > low), key=lambda bound: off(bound, 2 / 3))


def _number(clip: Clip, column: str) -> float | None:
    try:
        number = float(clip.labels.get(column, ""))
    except ValueError:
        return None
    # a text "nan" reads as a number that equals nothing
    return number if number == number else None
