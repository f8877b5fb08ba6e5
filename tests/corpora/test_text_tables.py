from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoscope.corpora.text_tables import TextTable, read_text

HEADER = ["file", "emotion", "speaker", "text"]
ROWS = [["a/1.wav", "anger", "Jörg", "one, two; three"], ["a/2.wav", "fear", "Jürg", 'say "no"\nor not'], ["a/3.wav", "joy", "", ""]]  # fmt: skip


def write(folder: Path, content: str | bytes, encoding: str = "utf-8", name: str = "clips.csv") -> Path:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return file


def text(rows: list[list[str]], separator: str = ",", end: str = "\n") -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator=end).writerows(rows)
    return out.getvalue()


def read(file: Path) -> tuple[list[list[str]], list[str]]:
    table = TextTable(file)
    rows = list(table)
    return [list(table.columns), *(list(row.cells.values()) for row in rows if not row.fault)], [
        f"{row.number}, line {row.line}: {row.fault}" for row in rows if row.fault
    ]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_separator_encoding_and_line_ends_are_found(tmp_path: Path, separator: str, encoding: str, end: str) -> None:
    file = write(tmp_path, text([HEADER, *ROWS], separator, end), encoding)
    assert read(file) == ([HEADER, *ROWS], [])
    told = " ".join(TextTable(file).told)
    assert ("2 lines were read as Windows-1252" in told and "Jörg" in told) if encoding == "cp1252" else not told


@pytest.mark.parametrize("separator", [",", ";", "|"])
@pytest.mark.parametrize("bad", ["a/9.wav{0}anger{0}s9{0}one{0}two", "a/9.wav{0}anger", 'a/9.wav{0}anger{0}s9{0}"5 inches', 'a/9.wav{0}"an"ger{0}s9{0}x'])  # fmt: skip
def test_a_bad_row_costs_no_other_row(tmp_path: Path, separator: str, bad: str) -> None:
    lines = text([HEADER, ROWS[0], ROWS[2]], separator).splitlines()
    for place in (1, 2, 3):
        file = write(tmp_path, "\n".join([*lines[:place], bad.format(separator), *lines[place:]]) + "\n")
        rows, faults = read(file)
        assert rows == [HEADER, ROWS[0], ROWS[2]]
        assert len(faults) == 1
        assert faults[0].startswith(f"{place}, line {place + 1}: row has ")


def test_stray_quotation_marks_do_not_swallow_the_rows_between_them(tmp_path: Path) -> None:
    rows = ['a,anger,s1,"tall', "b,fear,s2,x", 'c,joy,s3,short"', "d,joy,s3,y"]
    good, faults = read(write(tmp_path, "\n".join([",".join(HEADER), *rows])))
    assert [row[0] for row in good[1:]] == ["b", "c", "d"]
    assert faults == ["1, line 2: row has a quotation mark that does not enclose a cell"]


def test_quotation_marks_are_plain_text_where_tabs_separate(tmp_path: Path) -> None:
    rows = ['a\tanger\ts1\t"Przestań.', "b\tfear\ts2\tx", 'c\tjoy\ts3\tdość"', 'd\tjoy\ts3\t"whole"']
    good, faults = read(write(tmp_path, "\n".join(["\t".join(HEADER), *rows])))
    assert [row[3] for row in good[1:]] == ['"Przestań.', "x", 'dość"', "whole"]
    assert not faults


@pytest.mark.parametrize(
    ("content", "columns", "rows"),
    [
        ("sep=;\nfile;emotion\n1;2,5\n", ("file", "emotion"), [["1", "2,5"]]),
        ('file,text\n1,"a;b;c"\n2,"d;e;f"\n', ("file", "text"), [["1", "a;b;c"], ["2", "d;e;f"]]),
        ("file;valence (0,5)\na;3,5\nb;1,0\n", ("file", "valence (0,5)"), [["a", "3,5"], ["b", "1,0"]]),
        ("file;emotion;;\n1;joy;;\n;;;\n", ("file", "emotion"), [["1", "joy"]]),
        (",file,emotion\n0,1,joy\n", ("unnamed", "file", "emotion"), [["0", "1", "joy"]]),
        ("file\n1.wav\n\n2.wav\n", ("file",), [["1.wav"], ["2.wav"]]),
        ("file,emotion\n", ("file", "emotion"), []),
        ("\n\nfile,emotion\r\n1,joy\r2,joy\n\n", ("file", "emotion"), [["1", "joy"], ["2", "joy"]]),
        ('"file" , emotion\n"1" , joy\n', ("file", "emotion"), [["1", "joy"]]),
    ],
)
def test_what_spreadsheets_write(tmp_path: Path, content: str, columns: tuple, rows: list) -> None:
    table = TextTable(write(tmp_path, content), ["file", "emotion"])
    assert (table.columns, [list(row.cells.values()) for row in table]) == (columns, rows)


def test_a_name_that_stands_twice_in_the_header_is_told(tmp_path: Path) -> None:
    table = TextTable(write(tmp_path, "file,label,label\n1,joy,fear\n"))
    assert table.columns == ("file", "label", "label (2)")
    assert table.told == ("clips.csv has the column 'label' more than once: the first is read, another is 'label (2)'",)


def test_a_few_lines_in_another_encoding_change_no_other_line(tmp_path: Path) -> None:
    file = write(tmp_path, "file,who\n1,Jörg\n".encode() + b"2,J\xf6rg\n3,J\xf8rg\n4,\x81\n5,\x8d\n")
    assert [row[1] for row in read(file)[0][1:]] == ["Jörg", "Jörg", "Jørg", "\x81", "\x8d"]
    assert "4 lines were read as Windows-1252, such as '2,Jörg'" in TextTable(file).told[0]


def test_null_bytes_are_a_fault_of_their_row(tmp_path: Path) -> None:
    good, faults = read(write(tmp_path, "file,emotion\n1,joy\n2\0\0,joy\n3,joy\n"))
    assert [row[0] for row in good] == ["file", "1", "3"]
    assert faults == ["2, line 3: row holds null bytes: the file is damaged there"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\n,,\n", "is empty"),
        (b"\0\0\0\0", "null bytes"),
        (b"PK\3\4xl", "spreadsheet .*: save it as CSV"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b"\x1f\x8b\x08", "gzip"),
    ],
)
def test_what_is_no_table_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=rf"clips\.csv .*{said}"):
        TextTable(write(tmp_path, content))


def test_a_text_that_is_cut_off_within_a_letter_is_still_utf_8(tmp_path: Path) -> None:
    assert read_text(write(tmp_path, "Jörg, Łódź".encode()[:-1])) == ("Jörg, Łód", None)


cell = st.text(alphabet="ab ,;|\t\"'\n0é€", max_size=5).map(str.strip)


@settings(max_examples=30)
@given(
    st.lists(st.tuples(cell, cell, cell).map(list), max_size=4),
    st.sampled_from([",", ";", "|"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_is_quoted_as_it_should_is_read_back(tmp_path_factory, rows: list, separator: str, encoding: str) -> None:
    rows = [row for row in rows if any(row)]
    file = write(tmp_path_factory.mktemp("t"), text([["path", "emotion", "text"], *rows], separator), encoding)
    table = TextTable(file, ["path", "emotion"])
    assert [list(row.cells.values()) for row in table if not row.fault] == rows or any(
        all(line.count(separator) == 2 for line in text([row], separator).splitlines()) and "\n" in "".join(row)
        for row in rows
    )
