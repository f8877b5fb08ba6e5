"""Read what corpora say of their recordings in files beside them."""

from __future__ import annotations

import re
from pathlib import Path

from emoscope.corpora.text_tables import TextTable, lines_of, read_text

ESD_LINE = re.compile(r"(\d{4}_\d{6})\s+(.*?)\s+(\S+)\s*")
"""A line of ESD's lists: clip, what is said, emotion; tabs stand between them, in some copies spaces."""


class Notes(dict[str, dict[str, str]]):
    """Clip id -> what a file beside the recordings says of it; ``told`` says what could not be read."""

    told: tuple[str, ...] = ()


def nemo_notes(folder: Path) -> Notes:
    """The table ``data.tsv`` of nEMO, where the copy holds it: transcripts, gender and age by clip id.

    Raises:
        ValueError: the table has no column ``file_id``.
    """
    table = next(iter(sorted(folder.rglob("data.tsv"))), None)
    notes = Notes()
    if table is None:
        return notes
    names = {
        "emotion": "emotion", "raw_text": "transcript", "speaker_id": "speaker", "gender": "gender", "age": "age",
    }  # fmt: skip
    missing = f"{table} has no column file_id: copy it again from the corpus, or take it out of the folder"
    if not table.stat().st_size:
        raise ValueError(missing)
    text = TextTable(table, names)
    if "file_id" not in text.columns:
        raise ValueError(missing)
    for cells in text:
        row = dict(zip(text.columns, cells.cells, strict=False))
        if row.get("file_id"):
            clip = row["file_id"].removesuffix(".wav")
            notes[clip] = {field: row[name] for name, field in names.items() if row.get(name)}
    notes.told = text.told
    return notes


def esd_notes(folder: Path) -> Notes:
    """The lists of ESD such as ``0011/0011.txt``, where the copy holds them: transcript and emotion by clip id.

    Lines of another form are passed over: they say nothing of a recording. How many there are is told.
    """
    notes, told = Notes(), []
    for file in sorted(folder.rglob("[0-9][0-9][0-9][0-9].txt")):
        text, _ = read_text(file, chinese=True)
        lines = [line.strip() for line in lines_of(text) if line.strip()]
        unread = []
        for line in lines:
            match = ESD_LINE.fullmatch(line)
            if match and match[1].startswith(f"{file.stem}_"):
                notes[match[1]] = {"transcript": match[2], "emotion": match[3]}
            else:
                unread.append(line)
        if unread:
            told.append(
                f"{file.name}: {len(unread)} of its {len(lines)} lines cannot be read, such as {unread[0][:60]!r}"
            )
    notes.told = tuple(told)
    return notes
