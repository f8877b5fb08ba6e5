"""Sort labelled clips into used, excluded and quarantined."""

from __future__ import annotations

from dataclasses import dataclass, field

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
        >>> for why, found in ((None, True), (None, True), ("no majority", True)):
        ...     fates.add(Clip("a" if why is None else "b", Path("x.wav"), {}), why, found)
        >>> fates.add(Clip("c", Path("y.wav"), {}), None, False)
        >>> list(fates.clips), [(one.id, one.fate, one.why) for one in fates.lost]
        (['a'], [('a', 'excluded', 'second label of this clip'), ('b', 'excluded', 'no majority'), ('c', 'quarantined', 'file not found')])
    """

    clips: dict[str, Clip] = field(default_factory=dict)
    lost: list[Lost] = field(default_factory=list)
    named: set[str] = field(default_factory=set)

    def add(self, clip: Clip, why: str | None, found: bool) -> None:
        """Add a clip.

        Args:
            clip: as its label file describes it.
            why: why it is excluded, if it is.
            found: whether its sound file is there; a clip without one is quarantined.
        """
        fate = "excluded"
        if clip.id in self.named:
            why = "second label of this clip"
        elif not why and not found:
            fate, why = "quarantined", "file not found"
        self.named.add(clip.id)
        if why:
            self.lost.append(Lost(clip.id, clip.path, fate, why, clip))
        else:
            self.clips[clip.id] = clip
