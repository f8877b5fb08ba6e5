"""What becomes of the clips that a label file names, and thirds of their ratings."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from emoscope.corpora.clip import Clip, Lost


@dataclass
class Fates:
    """What becomes of the clips that a label file names.

    Attributes:
        clips: id -> clip, of those that can be used.
        lost: those that cannot, with their reasons; readers add files and lines that make no sense.
        named: ids of all clips that were added.

    Example:
        >>> from pathlib import Path
        >>> fates = Fates()
        >>> for name, why, missing in (("a", None, ""), ("a", None, ""), ("b", "no majority", ""), ("c", None, "file not found")):
        ...     fates.add(Clip(name, Path("x.wav"), {}), why, missing)
        >>> list(fates.clips), [(one.id, one.fate, one.why) for one in fates.lost]
        (['a'], [('a', 'excluded', 'second label of this clip'), ('b', 'excluded', 'no majority'), ('c', 'quarantined', 'file not found')])
    """

    clips: dict[str, Clip] = field(default_factory=dict)
    lost: list[Lost] = field(default_factory=list)
    named: set[str] = field(default_factory=set)

    def add(self, clip: Clip, why: str | None, missing: str | None, again: str = "second label of this clip") -> None:
        """Add a clip.

        Args:
            clip: as its label file describes it.
            why: why it is excluded, if it is.
            missing: why there is no sound to be heard, if there is none; then it is quarantined.
            again: why it is excluded where a clip of its id was added already.
        """
        why = again if clip.id in self.named else why
        self.named.add(clip.id)
        if why or missing:
            self.lost.append(Lost(clip.id, clip.path, "excluded" if why else "quarantined", why or missing or "", clip))
        else:
            self.clips[clip.id] = clip

    def add_thirds(self, columns: Iterable[str]) -> None:
        """Add to every rated clip a column such as ``activation_third``: low, mid or high.

        So a study can ask about ratings as it asks about emotions. The bounds are ratings that part all rated clips,
        also those that are not in use, as evenly as their ties permit; clips of one rating are in one third. A column
        with fewer than three different ratings gets no thirds.

        Args:
            columns: label columns that hold numbers; a clip whose text is no number gets no third.

        Example:
            >>> fates = Fates({str(n): Clip(str(n), Path("x"), {"activation": f"{n / 2}"}) for n in range(6)})
            >>> fates.add_thirds(["activation"])
            >>> [clip.labels["activation_third"] for clip in fates.clips.values()]
            ['low', 'low', 'mid', 'mid', 'high', 'high']
        """
        rated = {lost.clip.id: lost.clip for lost in self.lost if lost.clip} | self.clips
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

        self.clips = {clip.id: placed(clip) for clip in self.clips.values()}
        self.lost = [replace(one, clip=placed(one.clip)) if one.clip else one for one in self.lost]


RATINGS = ("valence", "activation", "dominance")
"""Columns of ratings, in the order in which IEMOCAP lists them."""


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
