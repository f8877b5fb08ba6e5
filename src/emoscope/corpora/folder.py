"""A folder of recordings: a folder per emotion, or labels read from the path by a pattern."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from emoscope.corpora.clip import FIELDS, Clip, CorpusInfo, Lost
from emoscope.corpora.corpus import Corpus
from emoscope.corpora.files import SOUND, existing_folder, sound_files, within
from emoscope.corpora.labels import Vocabulary

INFO = CorpusInfo("folder", "A folder of recordings, one folder per emotion or a pattern")

PLACEHOLDER = re.compile(r"\{([a-z_]*)\}")


def open_folder(root: str | Path | None, pattern: str | None = None, labels: Mapping[str, str] | None = None) -> Corpus:
    """Open a folder of recordings.

    A clip's id is its path below ``root`` without the ending. Files whose emotion is not known are excluded.

    Args:
        root: the folder. Without a pattern its sub-folders are named after emotions and hold the
            recordings in any depth; speakers are then unknown.
        pattern: the path below ``root``, such as ``"{emotion}/{speaker}_{}.wav"``. ``{emotion}`` must be there;
            ``{speaker}``, ``{session}``, ``{split}`` and ``{transcript}`` fill those fields, other names become
            label columns, ``{}`` is skipped. A placeholder stays within one folder or file name and is as short
            as possible. Without an ending every kind of sound file fits.
        labels: the folder's words -> emotion, for words that emoscope does not know; a name of your own
            (``{"ironic": "irony"}``) is allowed.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: the pattern has no ``{emotion}``, or no file has a known emotion.

    Example:
        >>> from emoscope.corpora import polish_folder
        >>> corpus = open_folder(polish_folder(), "{speaker}.{emotion}_{word}_{take}.flac",
        ...                      labels={"a": "anger", "s": "fear", "n": "neutral"})
        >>> corpus.counts("emotion"), corpus.columns
        ({'anger': 150, 'fear': 150, 'neutral': 150}, ('emotion', 'word', 'take', 'speaker'))
    """
    folder = existing_folder(root, "folder")
    grammar = _compiled(pattern) if pattern else None
    with_ending = pattern is None or Path(pattern).suffix.lower() in SOUND
    vocabulary = Vocabulary(labels)
    files, lost = sound_files(folder)
    clips: dict[str, Clip] = {}
    for path in files:
        below = within(path, folder)
        name = below.removesuffix(path.suffix)
        found = _read(below if with_ending else name, grammar)
        if isinstance(found, str):
            lost.append(Lost(name, path, "excluded", found))
            continue
        emotion, why = vocabulary.read(found.pop("emotion"))
        fields = {field: found.pop(field, None) for field in (*FIELDS, "transcript")}
        clip = Clip(name, path, {"emotion": emotion, **found} if emotion else dict(found), **fields)
        if name in clips:
            why = f"second copy of {within(clips[name].path, folder)}"
        if why:
            lost.append(Lost(name, path, "excluded", why, clip))
        else:
            clips[name] = clip
    if not clips:
        raise ValueError(_nothing(folder, len(files), lost, pattern))
    return Corpus(_info(folder), tuple(clips.values()), tuple(lost))


def _read(below: str, grammar: re.Pattern[str] | None) -> dict[str, str] | str:
    """The placeholders' texts, or the reason why the path does not fit."""
    if grammar is None:
        first, _, rest = below.partition("/")
        return {"emotion": first} if rest else "not in the folder of an emotion"
    match = grammar.fullmatch(below)
    return match.groupdict() if match else "path does not follow the pattern"


def _compiled(pattern: str) -> re.Pattern[str]:
    names = PLACEHOLDER.findall(pattern)
    twice = {name for name in names if name and names.count(name) > 1}
    if "emotion" not in names or twice:
        fault = f"holds {{{min(twice)}}} twice" if twice else "has no {emotion}"
        raise ValueError(f"pattern {pattern!r} {fault}: write for example '{{emotion}}/{{speaker}}_{{}}.wav'")
    parts, end = [], 0
    for place in PLACEHOLDER.finditer(pattern):
        parts.append(re.escape(pattern[end : place.start()]))
        parts.append(f"(?P<{place[1]}>[^/]+?)" if place[1] else "[^/]+?")
        end = place.end()
    return re.compile("".join(parts) + re.escape(pattern[end:]))


def _info(folder: Path) -> CorpusInfo:
    return CorpusInfo(f"folder-{folder.resolve().name}", f"Folder {folder.resolve().name}")


def _nothing(folder: Path, files: int, lost: list[Lost], pattern: str | None) -> str:
    why = next((one.why for one in lost if not one.path.name.startswith("._")), lost[0].why)
    if pattern:
        return f"none of the {files} sound files under {folder} can be used with pattern {pattern!r}: {why}"
    return (
        f"none of the {files} sound files under {folder} stands in the folder of a known emotion: {why}. Name the "
        f'layout with pattern = "{{speaker}}/{{emotion}}/{{}}.wav", or the words with labels = {{ word = "emotion" }}'
    )
