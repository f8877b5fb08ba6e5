"""A table as LaTeX: nothing in a cell is a command, and every row has all its cells."""

import re
import shutil
import subprocess

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoscope.report.markup import LATEX, escape, to_html, to_latex

HARD = "50 % of a_b & c’s #1 {x} $y$ ~ ^ \\ |SMD| < > “q” − ± – ␣No"


def test_special_characters_are_escaped():
    text = escape(HARD)
    for letter in "%_&#":
        assert not re.search(rf"(?<!\\){letter}", text)
    assert r"\{x\} \$y\$ \textasciitilde{} \textasciicircum{} \textbackslash{} \textbar{}SMD" in text
    assert "$-$ $\\pm$ --" in text
    assert "’" not in text


@given(st.text(st.sampled_from([*LATEX, "a", "[", " "])))
def test_every_row_has_its_cells(text):
    made = to_latex(pl.DataFrame({"neurons": [text], "gap": [text]}), "t", text)
    row = made.split("\\midrule\n")[1].split("\n\\bottomrule")[0]
    assert len(re.findall(r"(?<!\\)&", row)) == 1
    assert row.endswith(r" \\")
    assert not row.startswith("[")  # LaTeX would read it as an option of the line break before


MACROS = {
    "textbackslash", "textasciitilde", "textasciicircum", "textbar", "textless", "textgreater", "textquotedbl", "pm", "ldots",
    "cdot", "textvisiblespace", "emptyset", "caption", "label", "toprule", "midrule", "bottomrule", "raggedright",
    "arraybackslash", "linewidth", "footnotesize", "setlength", "tabcolsep", "shortstack",
}  # fmt: skip


def read_latex(text):
    """The cells of a table, heading first; fails on all that LaTeX would not read as it stands."""
    lines = text.splitlines()
    assert lines[0].startswith("% needs ")
    body = "\n".join(lines[1:])
    begun = []
    for what, name in re.findall(r"\\(begin|end)\{(\w+)\}", body):
        if what == "begin":
            begun.append(name)
        else:
            assert begun.pop() == name
    assert begun == []
    (columns,) = re.findall(
        r"\\begin\{tabular\}\{((?:[lr]|>\{\\raggedright\\arraybackslash\}p\{0\.\d\d\\linewidth\})+)\}\n", body
    )
    count = len(re.sub(r">\{[^}]*\}p\{[^}]*\}", "l", columns))
    rest = re.sub(r"\\(?:begin|end)\{\w+\}", "", body.replace(f"{{{columns}}}", ""))
    rest = re.sub(r"\\shortstack\[r\]\{(.*?)\}(?= &| \\)", lambda found: found[1].replace(r"\\", " "), rest)
    assert set(re.findall(r"\\([a-zA-Z]+)", rest)) <= MACROS
    plain = re.sub(r"\\[%&$#_{}]", "", re.sub(r"\\[a-zA-Z]+|\\\\$", "", rest, flags=re.MULTILINE))
    assert not re.search(r"[\\%#_~^\x00-\x09\x0b-\x1f\x7f-\xbf]", plain), plain
    assert plain.count("$") % 2 == 0
    depth = 0
    for letter in plain:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0
        assert letter in "\n" or " " <= letter <= "~" or "À" <= letter <= "ž", letter
    assert depth == 0
    rows = re.split(r"\\toprule\n|\\midrule\n|\\bottomrule\n", body)[1:3]
    cells = [re.split(r"(?<!\\)&", line.removesuffix(r" \\")) for part in rows for line in part.splitlines()]
    assert all(len(row) == count for row in cells)
    return cells


EVERY = "".join(map(chr, [*range(0x20, 0x250), 0x4F60, 0x1F600, 0xFFFD, 0x0E, 0x09, 0x0A])) + "".join(LATEX)


@given(st.text(st.sampled_from(EVERY)), st.text(st.sampled_from(EVERY)))
def test_latex_can_be_read_whatever_a_cell_holds(first, second):
    cells = read_latex(to_latex(pl.DataFrame({"neurons": [first, "x"], "gap": [second, "[1, 2]"]}), "t", second))
    assert len(cells) == 3
    heading = re.sub(r"[&\\{}]", "", first)  # a heading over numbers breaks lines
    read_latex(to_latex(pl.DataFrame({"neurons": [""], f"evidence (AUC points) {heading}": ["1"]}), "t", ""))


def test_every_letter_can_be_read_and_long_texts_break():
    made = to_latex(pl.DataFrame({"why": [EVERY], "gap": ["−3"]}), "t", EVERY)
    read_latex(made)
    assert r"\begin{tabular}{>{\raggedright\arraybackslash}p{0.30\linewidth}r}" in made


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdfLaTeX is not installed")
def test_pdflatex_compiles_every_letter(tmp_path):
    (tmp_path / "table.tex").write_text(
        to_latex(pl.DataFrame({"why": list(EVERY), "gap": ["−3"] * len(EVERY)}), "t", EVERY)
    )
    heads = r"\documentclass{article}\usepackage[T1]{fontenc}\usepackage{array,booktabs}"
    (tmp_path / "main.tex").write_text(rf"{heads}\begin{{document}}\input{{table.tex}}\end{{document}}")
    done = subprocess.run(
        ["pdflatex", "-draftmode", "-interaction=nonstopmode", "-halt-on-error", "main.tex"],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-800:]


def test_words_stand_to_the_left_in_both():
    frame = pl.DataFrame({"neurons": ["MAD"], "gap": ["−3"]})
    assert r"\begin{tabular}{lr}" in to_latex(frame, "t", "")
    cells = re.findall(r'class="gt_row gt_(left|right)"', to_html(frame, "t"))
    assert cells == ["left", "right"]
    assert "style" not in to_html(frame, "t")


def test_a_table_as_html_names_the_heading_of_every_cell():
    frame = pl.DataFrame({"why": ["a < b", None], "gap (%)": ["−3", "“x”"], "gap %": ["1", "2"], "%": ["", "&"]})
    html = to_html(frame, "t")
    assert re.findall(r'<th [^>]*id="([^"]*)">([^<]*)</th>', html) == [
        ("table_t-why", "why"), ("table_t-gap", "gap (%)"), ("table_t-gap-2", "gap %"), ("table_t-column", "%")
    ]  # fmt: skip
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    cells = [re.findall(r'<td headers="([^"]*)"[^>]*>([^<]*)</td>', row) for row in rows]
    heads = ["table_t-why", "table_t-gap", "table_t-gap-2", "table_t-column"]
    assert cells == [
        list(zip(heads, row, strict=True)) for row in (["a &lt; b", "−3", "1", ""], ["None", "“x”", "2", "&amp;"])
    ]
