"""Read the label file of a benchmark: CSV with a header, in whatever encoding it is found."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

TYPOGRAPHY = str.maketrans({
    "\x85": "…", "\x91": "‘", "\x92": "’", "\x93": "“", "\x94": "”", "\x96": "–", "\x97": "—", "\xa0": " ",
})  # fmt: skip
"""Characters of Windows-1252 that stand in UTF-8 files as control characters (U+0092 for an apostrophe, say)."""

LARGEST_CELL = 1_000_000
"""Characters of a cell beyond which a quotation mark is surely missing."""


def read_rows(
    file: Path, needed: Iterable[str], aliases: Mapping[str, Sequence[str]] | None = None
) -> list[dict[str, str] | None]:
    r"""Read the rows of a CSV file, without its header and its empty lines.

    Args:
        file: the file; UTF-8, with or without a byte order mark, else Windows-1252.
        needed: columns that it must have; names are compared without case and outer spaces.
        aliases: needed column -> other names under which it is known.

    Returns:
        a dictionary a row (column in lower case -> text without outer spaces), or ``None`` for a row that has not
        as many cells as the header.

    Raises:
        ValueError: a column is missing, or the file is no CSV file.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "labels.csv"
        >>> _ = file.write_text("FileName,EmoClass\na.wav, N\nb.wav\n")
        >>> read_rows(file, ["FileName", "EmoClass"])
        [{'filename': 'a.wav', 'emoclass': 'N'}, None]
    """
    csv.field_size_limit(LARGEST_CELL)
    try:
        rows = [row for row in csv.reader(_text(file).splitlines(keepends=True)) if any(map(str.strip, row))]
    except csv.Error as error:
        raise ValueError(f"{file} cannot be read as CSV ({error}): copy it again as it was shipped") from None
    if not rows:
        raise ValueError(f"{file} is empty: copy it again as it was shipped")
    header = [name.strip().lower() for name in rows[0]]
    for name in needed:
        there = [other for other in (name, *(aliases or {}).get(name, ())) if other.lower() in header]
        if not there:
            raise ValueError(f"{file} has no column {name!r}: its columns are {', '.join(rows[0])}")
        header[header.index(there[0].lower())] = name.lower()
    width = len(header)
    return [
        {name: cell.strip() for name, cell in zip(header, row, strict=True)} if len(row) == width else None
        for row in rows[1:]
    ]


def _text(file: Path) -> str:
    data = file.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    return text.translate(TYPOGRAPHY)
