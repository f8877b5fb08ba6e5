"""Read the label file of a benchmark: CSV with a header, in whatever encoding it is found."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

TYPOGRAPHY = str.maketrans({
    "\x85": "…", "\x91": "‘", "\x92": "’", "\x93": "“", "\x94": "”", "\x96": "–", "\x97": "—", "\xa0": " ",
})  # fmt: skip
"""Characters of Windows-1252 that stand in UTF-8 files as control characters (U+0092 for an apostrophe, say)."""

LARGEST_CELL = 1_000_000
"""Characters of a cell beyond which a quotation mark is surely missing."""


def read_rows(
    file: Path, columns: Sequence[str], aliases: Mapping[str, Sequence[str]] | None = None, optional: Sequence[str] = ()
) -> Iterator[dict[str, str] | None]:
    r"""Read columns of a CSV file, row by row, without its header and its empty lines.

    Args:
        file: the file; UTF-8, with or without a byte order mark, else Windows-1252.
        columns: columns that it must have; names are compared without case and outer spaces.
        aliases: column -> other names under which it is known.
        optional: columns that may be missing; their text is empty then.

    Returns:
        a dictionary a row (column in lower case -> text without outer spaces), or ``None`` for a row that has not
        as many cells as the header.

    Raises:
        ValueError: a column is missing, or the file is no CSV file.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "labels.csv"
        >>> _ = file.write_text("FileName,EmoClass\na.wav, N\nb.wav\n")
        >>> list(read_rows(file, ["FileName", "EmoClass"]))
        [{'filename': 'a.wav', 'emoclass': 'N'}, None]
    """
    csv.field_size_limit(LARGEST_CELL)
    rows = csv.reader(io.StringIO(_text(file), newline=""))
    try:
        first = next((row for row in rows if any(map(str.strip, row))), None)
        if first is None:
            raise ValueError(f"{file} is empty: copy it again as it was shipped")
        header = [name.strip().lower() for name in first]
        places = {}
        for name in (*columns, *optional):
            there = [other for other in (name, *(aliases or {}).get(name, ())) if other.lower() in header]
            if there:
                places[name.lower()] = header.index(there[0].lower())
            elif name in columns:
                raise ValueError(f"{file} has no column {name!r}: its columns are {', '.join(first)}")
        absent = {name.lower(): "" for name in optional if name.lower() not in places}
        for row in rows:
            if len(row) == len(header):
                yield {name: row[place].strip() for name, place in places.items()} | absent
            elif any(map(str.strip, row)):
                yield None
    except csv.Error as error:
        raise ValueError(f"{file} cannot be read as CSV ({error}): copy it again as it was shipped") from None


def _text(file: Path) -> str:
    data = file.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")
    return text.translate(TYPOGRAPHY)
