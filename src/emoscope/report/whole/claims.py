"""The claims of the paper for each corpus of a whole study: as a table of verdicts, and as text."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Cell:
    """One claim on one corpus.

    Attributes:
        verdict: one of those in :mod:`~emoscope.analysis.decision`.
        kind: the same as a class of the style sheet.
        source: the corpus that the neurons come from, where it is another one; else empty.
        number: what the verdict rests on.
        why: the reason.
    """

    verdict: str
    kind: str
    source: str
    number: str
    why: str


@dataclass(frozen=True)
class Row:
    """One claim.

    Attributes:
        claim: in words.
        question: the chapter that it belongs to.
        cells: those of each corpus, in the order of the columns; one list a corpus.
    """

    claim: str
    question: str
    cells: tuple[tuple[Cell, ...], ...]


def grid(found: pl.DataFrame, corpora: list[str]) -> list[Row]:
    """Claims as rows and corpora as columns.

    Args:
        found: columns ``claim``, ``question``, ``corpus``, ``source``, ``verdict``, ``number`` and ``why``; a row without
            a corpus holds for all of them.
        corpora: the columns.
    """
    rows = []
    for (claim, question), group in found.group_by("claim", "question", maintain_order=True):
        told = list(group.iter_rows(named=True))
        every = tuple(
            tuple(
                Cell(one["verdict"], one["verdict"].replace(" ", "-"), one["source"] or "", one["number"] or "", one["why"] or "")
                for one in told if one["corpus"] in (name, "", None)
            )
            for name in corpora
        )  # fmt: skip
        rows.append(Row(str(claim), str(question), every))
    return rows


def as_text(found: pl.DataFrame) -> pl.DataFrame | None:
    """Claims as a table of text, one row a claim and corpus."""
    if found.is_empty():
        return None
    source = pl.when(pl.col("source").is_null()).then(pl.lit("")).otherwise(pl.lit("from ") + pl.col("source"))
    return found.select(
        pl.col("claim").alias("claim tested"), pl.col("corpus").fill_null(""), source.alias("neurons"), "verdict",
        pl.col("number").fill_null("").alias("value"), pl.col("why").fill_null(""),
    )  # fmt: skip
