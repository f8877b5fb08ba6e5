"""A table as LaTeX: nothing in a cell is a command, and every row has all its cells."""

import re

import polars as pl
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


def test_words_stand_to_the_left_in_both():
    frame = pl.DataFrame({"neurons": ["MAD"], "gap": ["−3"]})
    assert r"\begin{tabular}{lr}" in to_latex(frame, "t", "")
    cells = re.findall(r'class="gt_row gt_(left|right)"', to_html(frame, "t"))
    assert cells == ["left", "right"]
    assert "style" not in to_html(frame, "t")
