"""Corpora whose labels stand in the paths of their files: those that are known, and folders that a user describes.

A new one is an entry in ``data/corpora.toml``, whose head says what the keys mean, and its row in docs/corpora.md.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from emoscope.corpora.clip import FIELDS, Clip, CorpusInfo, Lost, as_label, vocabulary
from emoscope.corpora.corpus import Corpus
from emoscope.corpora.files import CLIPS, existing_folder, read_paths, sound_files
from emoscope.corpora.text_tables import TextTable, lines_of, read_text
from emoscope.emotions import CORPORA, spelt_out

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
OWN = (*FIELDS, "transcript")
"""What stands in the clip itself, beside its labels."""

NO_FOLDER = "not in the folder of an emotion"


@dataclass(frozen=True)
class Grammar:
    r"""How one corpus names its files; the head of ``data/corpora.toml`` says what further attributes mean.

    Attributes:
        pattern: regular expression over the end of the path without the file's ending; it begins at a folder's or
            the file's name. Groups named ``speaker``, ``session``, ``split`` and ``transcript`` fill those fields;
            ``folder`` is a folder whose word must mean the emotion that the name gives; others are label columns.
        values: group -> code -> label; a group without an entry keeps its text. A code that is missing from
            an entry makes the name one that does not follow the grammar.

    Example:
        >>> info = CorpusInfo("mine", "My recordings")
        >>> grammar = Grammar(info, "anna-joy-3", r"(?P<speaker>\w+)-(?P<emotion>\w+)-\d+", {"emotion": {"joy": "happiness"}})
        >>> grammar.read(Path("day1/anna-joy-3.wav")).speaker, grammar.read(Path("day1/anna-3.wav"))
        ('anna', None)
    """

    info: CorpusInfo
    example: str
    pattern: str
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    spoken: str | None = None
    of_speaker: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    block: str = ""
    clip_id: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, corpus: str) -> Grammar:
        """The grammar that ``data/corpora.toml`` gives a corpus."""
        entry = CORPORA[corpus]
        known = {
            name: entry[name] for name in ("example", "pattern", "spoken", "block", "clip_id", "notes") if name in entry
        }
        values, of_speaker = (
            {column: spelt_out(codes) for column, codes in entry.get(key, {}).items()}
            for key in ("codes", "of_speaker")
        )
        return cls(CorpusInfo.of(corpus), values=values, of_speaker=of_speaker, **known)

    def match(self, path: Path) -> dict[str, str | None]:
        """The texts of the pattern's groups in a file's path; none where it does not follow the grammar."""
        found = self._expression.fullmatch(path.as_posix().removesuffix(path.suffix))
        return found.groupdict() if found else {}

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        # as few folders as possible are skipped, so that optional folders of the pattern are seen
        return re.compile(rf"(?:.*?/)??(?:{self.pattern})", re.DOTALL)

    def read(self, path: Path) -> Clip | None:
        """The clip that a file's path describes, or ``None`` where it does not follow the grammar."""
        if not (groups := self.match(path)):
            return None
        found: dict[str, str] = {}
        for group, text in groups.items():
            codes = self.values.get(group)
            if text is None or group == "folder":
                continue
            if codes is not None and text not in codes:
                return None
            found[group] = codes[text] if codes is not None else text
        fields = {name: found.pop(name, None) for name in OWN}
        labels = {"emotion": found.pop("emotion"), **found}
        of_speaker = {column: known.get(fields["speaker"] or "") for column, known in self.of_speaker.items()}
        labels |= {column: label for column, label in of_speaker.items() if label}
        if self.spoken:
            fields["transcript"] = self.spoken.format(**labels) if "{" in self.spoken else labels[self.spoken]
        name = self.clip_id.format(**groups) if self.clip_id else path.stem
        return Clip(name, path, labels, **fields, block=self.block.format(**labels) or None)


GRAMMARS = {corpus: Grammar.of(corpus) for corpus, entry in CORPORA.items() if "pattern" in entry}
"""Corpus id -> how it names its files."""


def open_named(corpus: str | Grammar, root: str | Path | None = None) -> Corpus:
    """Open a corpus whose labels stand in its file names, found in any depth under ``root``.

    A name that does not follow the grammar, a second file of a clip and a clip whose folder or notes name another
    emotion are excluded; a clip that the notes list and that has no file is quarantined.

    Example:
        >>> from emoscope.corpora import polish_folder
        >>> open_named("polish", polish_folder()).clips[0].labels
        {'emotion': 'anger', 'word': 'nie', 'take': '1'}
    """
    grammar = GRAMMARS[corpus] if isinstance(corpus, str) else corpus
    name = grammar.info.id
    folder = existing_folder(root, name)
    found = sound_files(folder)
    notes, unread = _notes(grammar.notes, folder) if grammar.notes else ({}, ())
    clips, lost = read_paths(found, folder, partial(_read, grammar, notes))
    if not clips:
        known = next((unused.why for unused in lost if unused.clip), None)
        why = f"can be used: {known}" if known else f"is named as in {name} (such as {grammar.example})"
        raise ValueError(f"none of the {len(found.files)} sound files under {folder} {why}")
    missing = "the corpus lists it, but the file is not there"
    there = {clip.id for clip in (*clips, *(unused.clip for unused in lost if unused.clip))}
    lost += [Lost(clip, folder / clip, "quarantined", missing) for clip in notes if clip not in there]
    return Corpus(grammar.info, tuple(clips), tuple(lost), (*found.told(folder), *unread))


def _read(grammar: Grammar, notes: Notes, path: Path) -> Clip | Lost:
    clip = grammar.read(path)
    if clip is None:
        return Lost(path.stem, path, "excluded", f"name does not follow {grammar.example} ({grammar.info.id})")
    noted, emotion = notes.get(clip.id, {}), clip.labels["emotion"]
    fields = {name: noted[name] for name in OWN if name in noted}
    more = {name: text for name, text in noted.items() if name not in (*OWN, "clip", "emotion")}
    clip = replace(clip, labels={**clip.labels, **more}, **fields)  # type: ignore[arg-type]
    words = {"folder": grammar.match(path).get("folder"), "the corpus's own list": noted.get("emotion")}
    for what, word in words.items():
        if word is not None and as_label("emotion", word) != emotion:
            return Lost(clip.id, path, "excluded", f"name says {emotion}, {what} says {word}", clip)
    return clip


Notes = dict[str, dict[str, str]]
"""Clip id -> what a file beside the recordings says of it: field or label column -> text."""


def _notes(entry: Mapping[str, Any], folder: Path) -> tuple[Notes, tuple[str, ...]]:
    """What the files beside the recordings say, where the copy holds them, and what of them cannot be read."""
    if not (files := sorted(folder.rglob(entry["files"]))):
        return {}, ()
    if "line" in entry:
        return _noted_lines(files, entry["line"], entry.get("chinese", False))
    table, ids, columns = files[0], entry["clip"], entry["columns"]
    text = TextTable(table, columns) if table.stat().st_size else None
    if text is None or ids not in text.columns:
        raise ValueError(f"{table} has no column {ids}: copy it again from the corpus, or take it out of the folder")
    rows = [row.cells for row in text if row.cells.get(ids)]
    return {
        row[ids].removesuffix(".wav"): {field: row[name] for name, field in columns.items() if row.get(name)}
        for row in rows
    }, text.told


def _noted_lines(files: list[Path], line: str, chinese: bool) -> tuple[Notes, tuple[str, ...]]:
    # lines of another form are passed over: they say nothing of a recording
    notes, faults = {}, []
    for file in files:
        expression = re.compile(line.replace("{stem}", re.escape(file.stem)))
        lines = [stripped for text in lines_of(read_text(file, chinese)[0]) if (stripped := text.strip())]
        matches = [expression.fullmatch(text) for text in lines]
        notes.update({match["clip"]: match.groupdict() for match in matches if match})
        if unread := [text for text, match in zip(lines, matches, strict=True) if not match]:
            such = f"such as {unread[0][:60]!r}"
            faults.append(f"{file.name}: {len(unread)} of its {len(lines)} lines cannot be read, {such}")
    return notes, tuple(faults)


def open_folder(root: str | Path | None, pattern: str | None = None, labels: Mapping[str, str] | None = None) -> Corpus:
    """Open a folder of recordings.

    A clip's id is its path below ``root`` without the ending. Files whose emotion is not known are excluded.

    Args:
        root: the folder. Without a pattern its sub-folders are named after emotions and hold the
            recordings in any depth; speakers are then unknown.
        pattern: the path below ``root``, such as ``"{emotion}/{speaker}_{}.wav"``. ``{emotion}`` must be there;
            ``{speaker}``, ``{session}``, ``{split}`` and ``{transcript}`` fill those fields, other names become
            label columns, ``{}`` is skipped, ``**/`` stands for any folders or none. Placeholders stay within one
            folder or file name, as short as possible from the left. Without an ending every kind of sound file fits.
        labels: the folder's words -> emotion, known or of your own; an empty one leaves the word's clips out.

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
    read_word = vocabulary(labels)
    found = sound_files(folder)

    def read(path: Path) -> Clip | Lost:
        name = path.relative_to(folder).as_posix().removesuffix(path.suffix)
        first, _, rest = name.partition("/")
        if grammar is None:
            parts: dict[str, str] | None = {"emotion": first} if rest else None
        else:
            match = grammar.fullmatch(name) if path.suffix.lower() == (ending or path.suffix).lower() else None
            parts = match and match.groupdict()
        if parts is None:
            return Lost(name, path, "excluded", "path does not follow the pattern" if grammar else NO_FOLDER)
        emotion, why = read_word(parts.pop("emotion"))
        fields = {field: parts.pop(field, None) for field in OWN}
        clip = Clip(name, path, {"emotion": emotion, **parts} if emotion else parts, **fields)
        return Lost(name, path, "excluded", why, clip) if why else clip

    clips, lost = read_paths(found, folder, read)
    if not clips:
        raise ValueError(_nothing(folder, len(found.files), lost, pattern))
    notes = (*found.told(folder), *(_one_speaker(pattern, ending, clips) if pattern else ()))
    name = folder.resolve().name
    return Corpus(CorpusInfo(f"folder-{name}", f"Folder {name}"), tuple(clips), tuple(lost), notes)


def _one_speaker(pattern: str, ending: str, clips: list[Clip]) -> tuple[str, ...]:
    """What is told where a pattern reads the same speaker from all files, with the pattern that reads several."""
    speaker, *others = {clip.speaker for clip in clips}
    if others or speaker is None or len(clips) < 2:
        return ()
    note = f"pattern {pattern!r} reads one speaker, {speaker!r}, from all {len(clips)} files, such as {clips[0].id}"
    if follows := re.search(r"\{speaker\}([^{}/]+)\{\}", pattern):
        longer = pattern.replace("{speaker}" + follows[1], f"{speaker}{follows[1]}{{speaker}}{follows[1]}")
        matches = [_compiled(longer, ending).fullmatch(clip.id) for clip in clips]
        found = {match["speaker"] for match in matches if match}
        if all(matches) and len(found) > 1:
            note += f"; if the speaker stands behind that, write {longer!r}, which reads {len(found)} speakers"
    return (note,)


def _compiled(given: str, ending: str) -> re.Pattern[str]:
    pattern = given.replace("\\", "/").removeprefix("./").removesuffix(ending)
    if fault := _fault(pattern):
        raise ValueError(f"pattern {given!r} {fault}: write for example '{{emotion}}/{{speaker}}_{{}}.wav'")
    # what stands between placeholders, and their names, in turn
    parts = PLACEHOLDER.split(pattern)
    parts[::2] = [re.escape(text).replace(re.escape("**/"), "(?:.+/)?") for text in parts[::2]]
    parts[1::2] = [f"(?P<{name}>[^/]+?)" if name else "[^/]+?" for name in parts[1::2]]
    return re.compile("".join(parts))


def _fault(pattern: str) -> str | None:
    """What is wrong with a pattern, in words that follow it."""
    names = PLACEHOLDER.findall(pattern)
    rest = PLACEHOLDER.sub("\0", pattern)
    for name in filter(None, names):
        near = difflib.get_close_matches(name.lower(), ("emotion", *OWN), n=1, cutoff=0.85)
        if near and name not in ("emotion", *OWN):
            return f"has a placeholder {{{name}}}, which is nearly {{{near[0]}}}; labels of your own need another name"
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
            return f"has a placeholder {{{name}}}: names are lower-case letters, digits and _, such as {{word}}"
        if names.count(name) > 1:
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


def _nothing(folder: Path, files: int, lost: list[Lost], pattern: str | None) -> str:
    none = f"none of the {files} sound files under {folder}"
    if cannot := [unused.why for unused in lost if unused.clip and unused.status == "quarantined"]:
        return f"{none} can be read: {cannot[0]}"
    why = lost[0].why
    if pattern:
        return f"{none} can be used with pattern {pattern!r}: {why}"
    nowhere = f"{none} stands in the folder of a known emotion"
    if deeper := _deeper(lost):
        return f"{nowhere}, but {deeper[0]!r} further in is one: name the layout with pattern = {deeper[1]!r}"
    layout = "{speaker}/{emotion}/{}.wav"
    if all(unused.why == NO_FOLDER for unused in lost):
        why, layout = "they lie in no folder below it", "{speaker}_{emotion}_{}.wav"
    return f'{nowhere}: {why}. Name the layout with pattern = "{layout}", or the words with labels = {{ word = "emotion" }}'


def _deeper(lost: list[Lost]) -> tuple[str, str] | None:
    """A folder named like an emotion that is not right below root, and the pattern that reads it."""
    read = vocabulary()
    for unused in lost:
        folders = unused.id.split("/")[:-1]
        for depth, name in enumerate(folders[1:], start=1):
            if read(name)[0]:
                between = ["{}"] * (depth - 1), ["{}"] * (len(folders) - depth)
                return name, "/".join(["{speaker}", *between[0], "{emotion}", *between[1]]) + unused.path.suffix
    return None
