"""Read what corpora say of their recordings in files beside them."""

from __future__ import annotations

import re
from pathlib import Path


def nemo_notes(folder: Path) -> dict[str, dict[str, str]]:
    """The table ``data.tsv`` of nEMO, where the copy holds it: transcripts, gender and age by clip id.

    Raises:
        ValueError: the table has no column ``file_id``.
    """
    table = next(iter(sorted(folder.rglob("data.tsv"))), None)
    if table is None:
        return {}
    names = {
        "emotion": "emotion", "raw_text": "transcript", "speaker_id": "speaker", "gender": "gender", "age": "age",
    }  # fmt: skip
    lines = text_of(table).splitlines()
    header = [name.strip() for name in lines[0].split("\t")] if lines else []
    if "file_id" not in header:
        raise ValueError(f"{table} has no column file_id: copy it again from the corpus, or take it out of the folder")
    notes = {}
    for line in lines[1:]:
        row = dict(zip(header, (cell.strip() for cell in line.split("\t")), strict=False))
        if row.get("file_id"):
            clip = row["file_id"].removesuffix(".wav")
            notes[clip] = {field: row[name] for name, field in names.items() if row.get(name)}
    return notes


def esd_notes(folder: Path) -> dict[str, dict[str, str]]:
    """The lists of ESD such as ``0011/0011.txt``, where the copy holds them: transcript and emotion by clip id.

    Lines of another form are passed over: they say nothing of a recording.
    """
    notes = {}
    for file in sorted(folder.rglob("[0-9][0-9][0-9][0-9].txt")):
        for line in text_of(file).splitlines():
            cells = [cell.strip() for cell in line.split("\t")]
            if len(cells) == 3 and re.fullmatch(rf"{file.stem}_\d{{6}}", cells[0]):
                notes[cells[0]] = {"transcript": cells[1], "emotion": cells[2]}
    return notes


def text_of(file: Path) -> str:
    """A text file of unknown encoding: UTF-8 or UTF-16 with their marks, else the Chinese GB 18030, else Latin-1."""
    data = file.read_bytes()
    marked = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    for encoding in ("utf-16",) if marked else ("utf-8-sig", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")
