"""What is told of the sound of clips, counted: what is not heard as it is stored, and what its row does not describe."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from emoscope.corpora.lengths import far_longer


def number_of_clips(count: int) -> str:
    """A number of clips in words.

    Example:
        >>> number_of_clips(1), number_of_clips(2)
        ('1 clip', '2 clips')
    """
    return "1 clip" if count == 1 else f"{count} clips"


def sound_notices(told: Mapping[str, Sequence[str]]) -> list[str]:
    """What is told of single clips, each sentence once with how many clips it is about.

    Args:
        told: clip id -> what was done to its sound, a sentence each (:class:`~emoscope.corpora.audio.Heard`).

    Example:
        >>> sound_notices({"b": ["it clicks"], "a": ["it clicks"], "c": []})
        ['2 clips (such as a): it clicks']
    """
    clips: dict[str, list[str]] = defaultdict(list)
    for clip, sentences in told.items():
        for sentence in sentences:
            clips[re.sub(r"channel \d+, (.*?),", r"\1", sentence)].append(clip)
    return [
        f"{number_of_clips(len(found))} (such as {min(found)}): {sentence}" for sentence, found in sorted(clips.items())
    ]


def far_longer_clips(lengths: Iterable[tuple[str, float | None, str | None]]) -> list[tuple[str, float, str]]:
    """The clips whose file is far longer than their row says, of (id, seconds, listed seconds).

    Example:
        >>> far_longer_clips([("a", 300.0, "4.1"), ("b", 4.4, "4.1"), ("c", 300.0, None), ("d", None, "4.1")])
        [('a', 300.0, '4.1')]
    """
    return [
        (clip, seconds, listed)
        for clip, seconds, listed in lengths
        if seconds is not None and listed is not None and far_longer(seconds, listed)
    ]


def length_notices(longer: Sequence[tuple[str, float, str]]) -> list[str]:
    """What is told of the clips that :func:`far_longer_clips` found: one sentence, or none.

    Example:
        >>> length_notices([("a", 300.0, "4.1")])
        ['1 clip of far more sound than their rows say, such as a: 300.0 s, listed 4.1 s; all of it is heard']
    """
    if not longer:
        return []
    clip, seconds, listed = min(longer)
    return [
        f"{number_of_clips(len(longer))} of far more sound than their rows say, such as {clip}: {seconds:.1f} s, "
        f"listed {listed} s; all of it is heard"
    ]
