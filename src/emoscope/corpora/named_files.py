"""Read a corpus whose labels stand in its file names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from emoscope.corpora.clip import FIELDS, Clip, Lost
from emoscope.corpora.copies import choose_copy
from emoscope.corpora.corpus import Corpus
from emoscope.corpora.files import existing_folder, sound_files
from emoscope.corpora.filters import as_label
from emoscope.corpora.grammar import Grammar
from emoscope.corpora.grammars import GRAMMARS
from emoscope.corpora.video import unread

MISSING = "the corpus lists it, but the file is not there"


def open_named(corpus: str | Grammar, root: str | Path | None = None) -> Corpus:
    """Open a corpus whose labels stand in its file names, found in any depth under ``root``.

    A name that does not follow the grammar, a second copy of a clip (as in some copies of RAVDESS) and a clip whose
    folder or notes name another emotion are excluded with that reason; a clip that the notes list and that has no
    file is quarantined. Of several files of one clip, the one whose folder names the speaker is read, then the one
    of the higher sampling rate; the reason of the others says whether their content is the same.

    Args:
        corpus: a key of :data:`~emoscope.corpora.grammars.GRAMMARS`, or a grammar of your own.
        root: the corpus's folder.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: it holds no sound file, or none named as in this corpus.

    Example:
        >>> from emoscope.corpora import polish_folder
        >>> open_named("polish", polish_folder()).clips[0].labels
        {'emotion': 'anger', 'word': 'nie', 'take': '1'}
    """
    grammar = GRAMMARS[corpus] if isinstance(corpus, str) else corpus
    name = grammar.info.id
    folder = existing_folder(root, name)
    found = sound_files(folder)
    lost = list(found.lost)
    notes = grammar.notes(folder) if grammar.notes else {}
    same: dict[str, list[Clip]] = {}
    seen: set[str] = set()
    for path in found.files:
        clip = grammar.read(path)
        if clip is None:
            lost.append(Lost(path.stem, path, "excluded", f"name does not follow {grammar.example} ({name})"))
            continue
        seen.add(clip.id)
        clip, why = _noted(clip, notes.get(clip.id, {}))
        if why := grammar.contradiction(clip) or why:
            lost.append(Lost(clip.id, path, "excluded", why, clip))
        elif why := unread(path):
            lost.append(Lost(clip.id, path, "quarantined", why, clip))
        else:
            same.setdefault(clip.id, []).append(clip)
    speakers = {clip.speaker for several in same.values() for clip in several if clip.speaker}
    clips = []
    for several in same.values():
        kept, others = choose_copy([clip.path for clip in several], folder, several[0].speaker, speakers)
        clips += [clip for clip in several if clip.path == kept]
        lost += [Lost(c.id, c.path, "excluded", others[c.path], c) for c in several if c.path in others]
    if not clips:
        known = next((one.why for one in lost if one.clip), None)
        why = f"can be used: {known}" if known else f"is named as in {name} (such as {grammar.example})"
        raise ValueError(f"none of the {len(found.files)} sound files under {folder} {why}")
    lost += [Lost(clip, folder / clip, "quarantined", MISSING) for clip in notes if clip not in seen]
    told = (*found.told(folder), *getattr(notes, "told", ()))
    return Corpus(grammar.info, tuple(clips), tuple(lost), told)


def _noted(clip: Clip, notes: Mapping[str, str]) -> tuple[Clip, str | None]:
    """The clip with what the notes add, and why they contradict its name, if they do."""
    said = dict(notes)
    word = said.pop("emotion", None)
    fields = {field: said.pop(field) for field in (*FIELDS, "transcript") if field in said}
    clip = Clip(clip.id, clip.path, {**clip.labels, **said}, **(_fields(clip) | fields))
    if word is None or as_label("emotion", word) == clip.labels["emotion"]:
        return clip, None
    return clip, f"name says {clip.labels['emotion']}, the corpus's own list says {word}"


def _fields(clip: Clip) -> dict[str, str | None]:
    return {field: getattr(clip, field) for field in (*FIELDS, "transcript")}
