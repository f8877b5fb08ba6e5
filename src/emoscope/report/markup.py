"""Tables and pictures of a report as HTML, tables as LaTeX, charts as files: what a page shows and what lies beside it."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import Any

import polars as pl

from emoscope.report.theme import Chart, title_of, to_pdf, to_png, to_spec, to_svg
from emoscope.runs.folder import replacing

WORDS = frozenset({
    "neurons", "condition", "scoring", "scope", "proof", "status", "note", "what", "value", "what was done", "verdict",
    "why", "claim tested", "corpus", "difference between", "emotion", "covariate", "raises", "lowers", "raised most often",
    "lowered most often", "wording", "run", "model", "off: verdict", "steered: verdict", "found on", "column", "what is heard",
    "amplified: verdict", "measure", "claim", "what it rests on", "who",
})  # fmt: skip
"""Columns of words, which stand to the left; numbers stand to the right."""

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}", "<": r"\textless{}", ">": r"\textgreater{}",
    '"': r"\textquotedbl{}", "−": "$-$", "±": r"$\pm$", "–": "--", "…": r"\ldots{}", "’": "'", "“": "``", "”": "''",
    "·": r"$\cdot$", "␣": r"\textvisiblespace{}", "�": "?", "∅": r"$\emptyset$",
}  # fmt: skip

LONG = 30
"""Texts of more letters than this break lines in LaTeX."""


def to_html(frame: pl.DataFrame, name: str) -> str:
    """A table of texts as HTML, its id ``table_<name>``; the page's style sheet gives its colours, in light and in dark.

    Every cell names the heading of its column, so that it can be read aloud.
    """
    words, ids = _words(frame), list[str]()
    for column in frame.columns:
        plain = re.sub(r"[^\w.:-]+", "-", column).strip("-") or "column"
        known = (plain, *(f"{plain}-{n}" for n in range(2, len(frame.columns) + 1)))
        ids.append(next(f"table_{name}-{made}" for made in known if f"table_{name}-{made}" not in ids))
    sides = ["left" if column in words else "right" for column in frame.columns]
    heads = [f'id="{id}">{html.escape(column)}' for id, column in zip(ids, frame.columns, strict=True)]
    begun = [f'    <td headers="{id}" class="gt_row gt_{side}">' for id, side in zip(ids, sides, strict=True)]
    rows = [
        "\n".join(
            ["  <tr>", *(f"{td}{html.escape(str(cell))}</td>" for td, cell in zip(begun, row, strict=True)), "  </tr>"]
        )
        for row in frame.rows()
    ]
    heading = 'class="gt_col_heading gt_columns_bottom_border gt_{}" rowspan="1" colspan="1" scope="col"'
    return "\n".join([
        f'<div id="table_{name}">', "",
        '<table class="gt_table" data-quarto-disable-processing="false" data-quarto-bootstrap="false">',
        "<thead>", "", '<tr class="gt_col_headings">',
        *(f"  <th {heading.format(side)} {head}</th>" for side, head in zip(sides, heads, strict=True)),
        "</tr>", "</thead>", '<tbody class="gt_table_body">', "\n".join(rows), "</tbody>", "", "</table>", "", "</div>", "",
    ])  # fmt: skip


def _words(frame: pl.DataFrame) -> list[str]:
    """The columns of words; the first one says what a row is about."""
    return [column for column in frame.columns if column in WORDS or column == frame.columns[0]]


def lean(svg: str, title: str) -> str:
    """Drop the label of every single mark, which would triple a page, and label the picture as a whole."""
    svg = re.sub(r' (?:aria-[a-z]+|role)="[^"]*"', "", svg)
    svg = re.sub(r' xmlns(?::xlink)?="[^"]*"', "", svg)
    label = title.replace("&", "&amp;").replace('"', "&quot;")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def to_latex(frame: pl.DataFrame, name: str, caption: str) -> str:
    r"""A table as LaTeX with the rules of the package booktabs, to be read by ``\input``.

    Columns with long texts get a width of their own and break lines; numbers stay on one. The label is ``tab:<name>``.

    Example:
        >>> print(to_latex(pl.DataFrame({"neurons": ["MAD"], "gap (%)": ["−3"]}), "gaps", "R&D"))
        % needs \usepackage{array,booktabs} and \usepackage[T1]{fontenc}
        \begin{table}
        \caption{R\&D}
        \label{tab:gaps}
        \footnotesize\setlength{\tabcolsep}{4pt}
        \begin{tabular}{lr}
        \toprule
        neurons & gap (\%) \\
        \midrule
        MAD & $-$3 \\
        \bottomrule
        \end{tabular}
        \end{table}
        <BLANKLINE>
    """
    words = _words(frame)
    long = [column for column in words if max((len(str(cell)) for cell in frame[column]), default=0) > LONG]
    width = rf">{{\raggedright\arraybackslash}}p{{{min(0.3, 0.8 / max(len(long), 1)):.2f}\linewidth}}"
    columns = "".join(width if column in long else "l" if column in words else "r" for column in frame.columns)
    return "\n".join([
        r"% needs \usepackage{array,booktabs} and \usepackage[T1]{fontenc}", r"\begin{table}", rf"\caption{{{escape(caption)}}}", rf"\label{{tab:{name}}}",
        r"\footnotesize\setlength{\tabcolsep}{4pt}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule",
        " & ".join(escape(column) if column in words else _stacked(column) for column in frame.columns) + r" \\", r"\midrule",
        *map(_line, frame.rows()),
        r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
    ])  # fmt: skip


def escape(text: str) -> str:
    r"""Text in which LaTeX finds no command, and no letter that pdfLaTeX cannot set: such a one is named by its number.

    Example:
        >>> escape("50 % of a_b"), escape("[−1, 2]"), escape("słowo 你")
        ('50 \\% of a\\_b', '[$-$1, 2]', 'słowo U+4F60')
    """
    return "".join(
        LATEX[letter] if letter in LATEX else letter if _set(letter) else f"U+{ord(letter):04X}" for letter in text
    )


def _set(letter: str) -> bool:
    """Whether pdfLaTeX sets a letter with T1 fonts: ASCII, and the Latin letters of Europe."""
    return " " <= letter <= "~" or (letter.isalpha() and "À" <= letter <= "ž" and letter not in "ĦħĸĿŀŉŦŧ")


def _stacked(heading: str) -> str:
    r"""A heading over a column of numbers, in several lines where it is wider than they are.

    Example:
        >>> _stacked("gap (%)"), _stacked("evidence (AUC points)")
        ('gap (\\%)', '\\shortstack[r]{evidence\\\\(AUC points)}')
    """
    lines = [escape(line) for line in wrap(heading, 12, break_long_words=False)]
    together = r"\\".join(lines)
    return rf"\shortstack[r]{{{together}}}" if len(lines) > 1 else together


def _line(cells: Sequence[str]) -> str:
    # a bracket that begins a line would be read as an option of the line break before it
    texts = [f"{{{text}}}" if text.startswith("[") else text for text in (escape(str(cell)) for cell in cells)]
    return " & ".join(texts) + r" \\"


@dataclass(frozen=True)
class Picture:
    """A chart as a notebook shows it: a drawn PNG, so that nothing is loaded and no script runs."""

    chart: Chart

    def save(self, path: str | Path) -> Path:
        """Write the picture; the ending decides between ``.svg``, ``.pdf`` and ``.png``.

        Raises:
            ValueError: another ending.
        """
        path = Path(path)
        ending = path.suffix.lower()
        if ending not in (".svg", ".pdf", ".png"):
            raise ValueError(f"{path}: a picture is written as .svg, .pdf, .png; give one of these endings")
        svg = "" if ending == ".png" else to_svg(to_spec(self.chart))
        part = {".svg": svg.encode, ".pdf": lambda: to_pdf(svg), ".png": lambda: to_png(self.chart)}[ending]()
        with replacing(path) as partial:
            partial.write_bytes(part)
        return path

    def to_dict(self) -> dict[str, Any]:
        """The chart's Vega-Lite specification."""
        spec: dict[str, Any] = self.chart.to_dict()
        return spec

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        png = to_png(self.chart, scale=SCALE)
        # bytes 16 to 24 of a PNG are its width and height
        width, height = (int.from_bytes(png[start : start + 4], "big") for start in (16, 20))
        return png, {"width": round(width / SCALE), "height": round(height / SCALE)}

    def __repr__(self) -> str:
        return f"Picture({title_of(self.chart)[0]!r}; .save(path) writes it, .chart is the Altair chart)"


SCALE = 2
"""Pixels of a PNG per unit of its size on the screen."""
