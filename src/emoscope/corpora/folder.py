"""A folder of recordings: a folder per emotion, or labels read from the path by a pattern."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path

from emoscope.corpora.clip import FIELDS, Clip, CorpusInfo, Lost
from emoscope.corpora.corpus import Corpus
from emoscope.corpora.files import CLIPS, existing_folder, read_paths, sound_files, within
from emoscope.corpora.labels import Vocabulary

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
COLUMN = re.compile(r"[a-z][a-z0-9_]*")
KNOWN = ("emotion", *FIELDS, "transcript")
NOT_FOLLOWED = "path does not follow the pattern"
NO_FOLDER = "not in the folder of an emotion"
EXAMPLE = "write for example '{emotion}/{speaker}_{}.wav'"


def open_folder(root: str | Path | None, pattern: str | None = None, labels: Mapping[str, str] | None = None) -> Corpus:
    """Open a folder of recordings.

    A clip's id is its path below ``root`` without the ending. Files whose emotion is not known are excluded.

    Args:
        root: the folder. Without a pattern its sub-folders are named after emotions and hold the
            recordings in any depth; speakers are then unknown.
        pattern: the path below ``root``, such as ``"{emotion}/{speaker}_{}.wav"``. ``{emotion}`` must be there;
            ``{speaker}``, ``{session}``, ``{split}`` and ``{transcript}`` fill those fields, other names become
            label columns, ``{}`` is skipped, ``**/`` stands for any folders or none. A placeholder stays within one
            folder or file name; where a path can be read in two ways, placeholders are as short as possible from
            the left. The ending may be in either case; without one every kind of sound file fits.
        labels: the folder's words -> emotion, for words that emoscope does not know; a name of your own
            (``{"ironic": "irony"}``) is allowed, an empty one leaves the word's clips out.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: the pattern has no ``{emotion}``, a misspelt or repeated placeholder or two side by side; or
            no file has a known emotion.

    Example:
        >>> from emoscope.corpora import polish_folder
        >>> corpus = open_folder(polish_folder(), "{speaker}.{emotion}_{word}_{take}.flac",
        ...                      labels={"a": "anger", "s": "fear", "n": "neutral"})
        >>> corpus.counts("emotion"), corpus.columns
        ({'anger': 150, 'fear': 150, 'neutral': 150}, ('emotion', 'word', 'take', 'speaker'))
    """
    folder = existing_folder(root, "folder")
    ending = Path(pattern).suffix if pattern and Path(pattern).suffix.lower() in CLIPS else ""
    grammar = _compiled(pattern, ending) if pattern else None
    vocabulary = Vocabulary(labels)
    found = sound_files(folder)

    def read(path: Path) -> Clip | Lost:
        name = within(path, folder).removesuffix(path.suffix)
        said = _read(name, grammar)
        if pattern and ending and path.suffix.lower() != ending.lower():
            said = NOT_FOLLOWED
        if isinstance(said, str):
            return Lost(name, path, "excluded", said)
        emotion, why = vocabulary.read(said.pop("emotion"))
        fields = {field: said.pop(field, None) for field in (*FIELDS, "transcript")}
        clip = Clip(name, path, {"emotion": emotion, **said} if emotion else said, **fields)
        return Lost(name, path, "excluded", why, clip) if why else clip

    clips, lost = read_paths(found, folder, read)
    if not clips:
        raise ValueError(_nothing(folder, len(found.files), lost, pattern))
    told = _one_speaker(pattern, ending, clips) if pattern else ()
    return Corpus(_info(folder), tuple(clips), tuple(lost), (*found.told(folder), *told))


def _one_speaker(pattern: str, ending: str, clips: list[Clip]) -> tuple[str, ...]:
    """What is told where a pattern reads the same speaker from all files, with the pattern that reads several."""
    speakers = {clip.speaker for clip in clips}
    speaker = next(iter(speakers))
    if len(speakers) > 1 or speaker is None or len(clips) < 2:
        return ()
    told = f"pattern {pattern!r} reads one speaker, {speaker!r}, from all {len(clips)} files, such as {clips[0].id}"
    follows = re.search(r"\{speaker\}([^{}/]+)\{\}", pattern)
    if follows:
        longer = pattern.replace("{speaker}" + follows[1], f"{speaker}{follows[1]}{{speaker}}{follows[1]}")
        matches = [_compiled(longer, ending).fullmatch(clip.id) for clip in clips]
        found = {match["speaker"] for match in matches if match}
        if all(matches) and len(found) > 1:
            told += f"; if the speaker stands behind that, write {longer!r}, which reads {len(found)} speakers"
    return (told,)


def _read(below: str, grammar: re.Pattern[str] | None) -> dict[str, str] | str:
    """The placeholders' texts, or the reason why the path does not fit."""
    if grammar is None:
        first, _, rest = below.partition("/")
        return {"emotion": first} if rest else NO_FOLDER
    match = grammar.fullmatch(below)
    return match.groupdict() if match else NOT_FOLLOWED


def _compiled(given: str, ending: str) -> re.Pattern[str]:
    pattern = given.replace("\\", "/").removeprefix("./").removesuffix(ending)
    fault = _fault(pattern)
    if fault:
        raise ValueError(f"pattern {given!r} {fault}: {EXAMPLE}")
    parts, end = [], 0
    for place in PLACEHOLDER.finditer(pattern):
        parts.append(_literal(pattern[end : place.start()]))
        parts.append(f"(?P<{place[1]}>[^/]+?)" if place[1] else "[^/]+?")
        end = place.end()
    return re.compile("".join(parts) + _literal(pattern[end:]))


def _literal(text: str) -> str:
    return re.escape(text).replace(re.escape("**/"), "(?:.+/)?")


def _fault(pattern: str) -> str | None:
    """What is wrong with a pattern, in words that follow it."""
    names = PLACEHOLDER.findall(pattern)
    rest = PLACEHOLDER.sub("\0", pattern)
    named = [name for name in names if name]
    for name in named:
        near = difflib.get_close_matches(name.lower(), KNOWN, n=1, cutoff=0.85)
        if name not in KNOWN and near:
            return f"has a placeholder {{{name}}}, which is nearly {{{near[0]}}}; labels of your own need another name"
        if not COLUMN.fullmatch(name):
            return f"has a placeholder {{{name}}}: names are lower-case letters, digits and _, such as {{word}}"
        if named.count(name) > 1:
            return f"holds {{{name}}} twice"
    if "emotion" not in names:
        return "has no {emotion}"
    if "{" in rest or "}" in rest:
        return "has a brace without its partner"
    if "\0\0" in rest:
        return "has two placeholders side by side, so that it is open where one ends; put a separator between them"
    if "*" in rest.replace("**/", ""):
        return "has a star: {} stands for any text, **/ for any folders"
    if rest.startswith("/") or ".." in rest.split("/"):
        return "is no path below the folder"
    return None


def _info(folder: Path) -> CorpusInfo:
    return CorpusInfo(f"folder-{folder.resolve().name}", f"Folder {folder.resolve().name}")


def _nothing(folder: Path, files: int, lost: list[Lost], pattern: str | None) -> str:
    if cannot := [one.why for one in lost if one.clip and one.fate == "quarantined"]:
        return f"none of the {files} sound files under {folder} can be read: {cannot[0]}"
    why = lost[0].why
    if pattern:
        return f"none of the {files} sound files under {folder} can be used with pattern {pattern!r}: {why}"
    nowhere = f"none of the {files} sound files under {folder} stands in the folder of a known emotion"
    if deeper := _deeper(lost):
        return f"{nowhere}, but {deeper[0]!r} further in is one: name the layout with pattern = {deeper[1]!r}"
    layout = "{speaker}/{emotion}/{}.wav"
    if all(one.why == NO_FOLDER for one in lost):
        why, layout = "they lie in no folder below it", "{speaker}_{emotion}_{}.wav"
    return f'{nowhere}: {why}. Name the layout with pattern = "{layout}", or the words with labels = {{ word = "emotion" }}'


def _deeper(lost: list[Lost]) -> tuple[str, str] | None:
    """A folder named like an emotion that is not right below root, and the pattern that reads it."""
    vocabulary = Vocabulary()
    for one in lost:
        folders = one.id.split("/")[:-1]
        for depth, name in enumerate(folders[1:], start=1):
            if vocabulary.read(name)[0]:
                between = ["{}"] * (depth - 1), ["{}"] * (len(folders) - depth)
                return name, "/".join(["{speaker}", *between[0], "{emotion}", *between[1]]) + one.path.suffix
    return None
