"""Read text that people and their programs wrote: whatever encoding, whatever separator, row by row."""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from emoscope.files import GZIP, POINTER, ZIP, is_web_page

MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32-le"),
    (b"\x00\x00\xfe\xff", "utf-32-be"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
)
"""Byte-order marks; the one of UTF-16 begins like that of UTF-32, which is looked for first."""

SEPARATORS = (",", ";", "\t", "|")

HEAD, HEAD_SIZE = 64, 1 << 18
"""Rows, and characters, that are looked at to find the separator."""

LARGEST_CELL = 1_000_000
"""Characters of a cell beyond which a quotation mark is surely missing."""

MOST_LINES = 200
"""Lines of a quoted cell beyond which its closing quotation mark is surely missing."""

WRITTEN_BY = (
    (ZIP, "is a spreadsheet or another zip archive: save it as CSV"),
    (b"\xd0\xcf\x11\xe0", "is an old Excel file: save it as CSV"),
    (b"PAR1", "is a Parquet file: give it the ending .parquet"),
    (GZIP, "is compressed with gzip: unpack it"),
    (POINTER, "is a Git LFS pointer in place of the file: fetch it with `git lfs pull`"),
)
"""How files begin that are no text tables, whatever their names say."""


def read_text(file: Path, chinese: bool = False) -> tuple[str, str | None]:
    r"""Read a text file in whatever encoding it is.

    A byte-order mark decides, else null bytes at every second place show UTF-16, else it is UTF-8. Lines that are no
    UTF-8 are read as Windows-1252 (if ``chinese``, all is as GB 18030, where it can be). All lines end with LF. What a
    user should know of how it was read comes with the text. What is no text but, say, a spreadsheet is a ValueError.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "names.txt"
        >>> _ = file.write_bytes("Müller\n".encode("cp1252"))
        >>> read_text(file)
        ('Müller\n', "names.txt is not in UTF-8: 1 line was read as Windows-1252, such as 'Müller'; if that is wrong, save the file as UTF-8")
    """
    data = file.read_bytes()
    web = "is a web page in place of the file: download it again" if is_web_page(data[:64]) else None
    if what := web or next((what for mark, what in WRITTEN_BY if data.startswith(mark)), None):
        raise ValueError(f"{file} {what}")
    mark, encoding = next((pair for pair in MARKS if data.startswith(pair[0])), (b"", _unmarked(data)))
    text, wrong = _decoded(data[len(mark) :], encoding, chinese)
    note = None
    if wrong:
        count = "1 line was" if len(wrong) == 1 else f"{len(wrong):,} lines were"
        such = f"such as {wrong[0][:60]!r}; if that is wrong, save the file as UTF-8"
        note = f"{file.name} is not in UTF-8: {count} read as Windows-1252, {such}"
    return (text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text), note


def _decoded(data: bytes, encoding: str, chinese: bool) -> tuple[str, list[str]]:
    """The text, and its lines that are no UTF-8 though the others are."""
    if encoding != "utf-8":
        return data.decode(encoding, errors="replace"), []
    try:
        return data.decode("utf-8"), []
    except UnicodeDecodeError as error:
        if error.start >= len(data) - 3 and error.reason == "unexpected end of data":
            # cut off within its last letter
            return data[: error.start].decode("utf-8"), []
    if chinese:
        with suppress(UnicodeDecodeError):
            return data.decode("gb18030"), []
    texts: list[str] = []
    wrong: list[str] = []
    for line in data.splitlines(keepends=True):
        try:
            texts.append(line.decode("utf-8"))
        except UnicodeDecodeError:
            # five bytes have no meaning in Windows-1252; as Latin-1 they stay apart
            texts.append("".join(bytes([byte]).decode("cp1252", errors="ignore") or chr(byte) for byte in line))
            wrong.append(texts[-1].strip())
    return "".join(texts), wrong


def _unmarked(data: bytes) -> str:
    """UTF-8, or UTF-16 without a mark: there every second byte of its spaces, digits and Latin letters is null."""
    half = len(data[:4096]) // 2
    even, odd = data[:4096:2].count(0), data[1:4096:2].count(0)
    if half <= 1 or max(even, odd) <= 0.3 * half or min(even, odd) >= 0.1 * max(even, odd):
        return "utf-8"
    return "utf-16-le" if odd > even else "utf-16-be"


def lines_of(text: str) -> Iterator[str]:
    r"""The lines of a text from :func:`read_text`, each with its end (``str.splitlines`` splits at more than that).

    Example:
        >>> list(lines_of("a\nb\u2028c"))
        ['a\n', 'b\u2028c']
    """
    return (line[0] for line in re.finditer(r"[^\n]*\n|[^\n]+", text))


@dataclass(frozen=True)
class Row:
    """A row: its number (the first is 1), its line in the file, column -> cell, and what is wrong with it."""

    number: int
    line: int
    cells: Mapping[str, Any]
    fault: str = ""


def json_lines(file: Path, chinese: bool = False) -> tuple[list[Row], str | None]:
    """The objects of a file of JSON lines, and what is told."""
    text, note = read_text(file, chinese)
    found: list[Row] = []
    for number, line in enumerate(lines_of(text), start=1):
        if line.strip():
            try:
                row, fault = json.loads(line), "is no JSON object"
            except (ValueError, RecursionError):
                row, fault = None, "is not JSON"
            whole = isinstance(row, dict)
            found.append(Row(len(found) + 1, number, row if whole else {}, "" if whole else fault))
    return found, note


class TextTable:
    r"""A text table with a header: rows are read one after the other when it is iterated.

    Separator (comma, semicolon, tab or bar), encoding and line ends are those of the content, whatever the file's
    ending says; ``expected`` are column names that speak for a separator under which the header holds them. Cells in
    quotation marks may hold separators and line ends. A row of another number of cells than the header, or with a stray
    quotation mark, comes back with its fault, and costs no other row. A file that is empty or no text is a ValueError.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "clips.csv"
        >>> _ = file.write_bytes("file;who\n1.wav;J\xf6rg\n2.wav;Ann;x\n\"3.wav\";Ann\n".encode("cp1252"))
        >>> table = TextTable(file)
        >>> table.columns, [row.fault[:18] or row.cells["who"] for row in table]
        (('file', 'who'), ['Jörg', 'row has 3 cells wh', 'Ann'])
    """

    def __init__(self, file: Path, expected: Collection[str] = ()) -> None:
        self.file = file
        text, note = read_text(file)
        notes = [note] if note else []
        self._lines = list(lines_of(text))
        skipped, given = 0, None
        for line in self._lines:
            found = re.fullmatch(r'"?sep=(.)"?\s*', line, re.IGNORECASE)
            if found and found[1] in SEPARATORS and given is None:
                # Excel writes this line and hides it again
                given = found[1]
            elif line.strip().strip(',;|"'):
                break
            skipped += 1
        else:
            raise ValueError(f"{file} is empty: copy it again, or save it anew")
        if "\0" in line:
            raise ValueError(f"{file} holds null bytes in its header: it is damaged; copy it again")
        self.separator = given or _separator(list(lines_of(text[:HEAD_SIZE])), skipped, expected)
        header, _, self._first = _record(self._lines, skipped, self.separator)
        if not header:
            # a stray quotation mark: as it stands
            header = [name.strip().strip('"') for name in line.split(self.separator)]
        self.columns, doubled = _named(header, file)
        self.told = (*notes, *doubled)

    def __iter__(self) -> Iterator[Row]:
        number, width = 0, len(self.columns)
        for line, cells, fault in _records(self._lines, self._first, self.separator, width):
            if not (fault or any(cells)):
                continue
            if not any(cells[width:]):
                # separators at the end of a line
                cells = cells[:width]
            if not fault and len(cells) != width:
                many = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
                fault = f"row has {many} where the header has {width}"
                if len(cells) > width and self.separator in ",;":
                    fault += f" (a cell that holds {self.separator} needs quotation marks)"
            number += 1
            yield Row(number, line, dict(zip(self.columns, cells, strict=False)), fault)

    def rows(
        self, columns: Sequence[str], aliases: Mapping[str, Sequence[str]] | None = None, optional: Sequence[str] = ()
    ) -> Iterator[tuple[int, dict[str, str], str]]:
        r"""The rows of the label file of a benchmark: number, column in lower case -> text, and what is wrong with it.

        Names of columns are compared without case, and ``aliases`` are other ones. The text of an optional column that is
        missing is empty; another missing one is a ValueError. Characters of Windows-1252 that stand there as control
        characters are mended.
        """
        own = {name.lower(): name for name in reversed(self.columns)}
        source = {}
        for name in (*columns, *optional):
            names = (name, *(aliases or {}).get(name, ()))
            found = next((own[alias.lower()] for alias in names if alias.lower() in own), None)
            if found is None and name in columns:
                raise ValueError(f"{self.file} has no column {name!r}: its columns are {', '.join(self.columns)}")
            source[name.lower()] = found
        for row in self:
            taken = {} if row.fault else source
            texts = {name: row.cells[column].translate(TYPOGRAPHY) if column else "" for name, column in taken.items()}
            yield row.number, texts, row.fault


TYPOGRAPHY = str.maketrans("\x85\x91\x92\x93\x94\x96\x97\xa0", "…‘’“”–— ")
"""Characters of Windows-1252 that stand in UTF-8 files as control characters (U+0092 for an apostrophe, say)."""


def _reader(lines: Iterable[str], separator: str) -> Iterator[list[str]]:
    csv.field_size_limit(LARGEST_CELL)
    return csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)


def _records(
    lines: Sequence[str], at: int, separator: str, width: int | None = None
) -> Iterator[tuple[int, list[str], str]]:
    """The records from a line on: each one's line (the first is 1), cells and what is wrong with it."""
    while at < len(lines):
        cells, fault, after = _record(lines, at, separator, width)
        yield at + 1, cells, fault
        at = after


def _record(lines: Sequence[str], at: int, separator: str, width: int | None = None) -> tuple[list[str], str, int]:
    """The cells of one record, what is wrong, and the line behind it; one that cannot be read is its first line alone.

    ``width`` is the number of cells that the header has, once it is known.
    """
    if '"' not in lines[at] and "\0" not in lines[at]:
        # most rows: a reader for each would take three times as long
        return [cell.strip() for cell in lines[at].split(separator)], "", at + 1
    taken: list[str] = []

    def feed() -> Iterator[str]:
        for line in islice(range(at, len(lines)), MOST_LINES):
            taken.append(lines[line])
            yield lines[line]

    try:
        cells = [cell.strip() for cell in next(_reader(feed(), separator))]
    except csv.Error:
        return *_stray(lines[at], separator), at + 1
    several = len(taken) > 1
    if "\0" in lines[at] or (several and any("\0" in cell for cell in cells)):
        return [], "row holds null bytes: the file is damaged there", at + 1
    if width and several:
        rows = width > 2 and all(line.count(separator) == width - 1 for line in taken)
        if rows or len(cells) != width:
            # a quotation mark that opens in one row and closes in another
            return *_stray(lines[at], separator), at + 1
    return cells, "", at + len(taken)


def _stray(line: str, separator: str) -> tuple[list[str], str]:
    """The cells of a line with a stray quotation mark, or why it has none."""
    closed = re.sub(rf'"[ ]+(?={re.escape(separator)}|$)', '"', line)
    if closed != line:
        # spaces between a quotation mark and the separator
        with suppress(csv.Error):
            return [cell.strip() for cell in next(_reader([closed], separator))], ""
    if separator == "\t":
        # quotation marks mean nothing in many such files, and tabs stand in no cell
        return [cell.strip() for cell in line.split("\t")], ""
    return [], "row has a quotation mark that does not enclose a cell"


def _separator(lines: Sequence[str], skip: int, expected: Collection[str]) -> str:
    """The separator under which the header has most known names and the first rows have as many cells as it."""
    known = {name.lower() for name in expected}

    def fits(separator: str) -> tuple[int, float, int]:
        (_, header, _), *rows = islice(_records(lines, skip, separator), HEAD)
        if len(header) < 2:
            return 0, 0.0, 0
        alike = sum(len(cells) == len(header) for _, cells, _ in rows)
        return len({name.lower() for name in header} & known), alike / max(1, len(rows)), len(header)

    return max(SEPARATORS, key=fits)


def _named(header: Sequence[str], file: Path) -> tuple[tuple[str, ...], list[str]]:
    """The header with a name for every column, each once, and what is told of that."""
    header = [unicodedata.normalize("NFC", name) for name in header]
    while len(header) > 1 and not header[-1]:
        header = header[:-1]
    seen: Counter[str] = Counter()
    names, notes = [], []
    for name in header:
        own = unique = name or "unnamed"
        seen[own] += 1
        if seen[own] > 1:
            unique = f"{own} ({seen[own]})"
            while unique in header:
                unique += "'"
            if own != "unnamed":
                both = f"the first is read, another is {unique!r}"
                notes.append(f"{file.name} has the column {own!r} more than once: {both}")
        names.append(unique)
    return tuple(names), notes


def plain(text: str) -> str:
    r"""A text as it is compared: the same accented letter is the same, however a system stores it.

    Example:
        >>> plain("Zoe\u0308") == "Zo\xeb"
        True
    """
    return text if text.isascii() else unicodedata.normalize("NFC", text)
