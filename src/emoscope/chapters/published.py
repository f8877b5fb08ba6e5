"""Published figures beside ours, where model and corpus are the same; to look at, never to test against.

What differs between two such figures is more than the method: clips, wording, software and, where a source is
silent, choices that we do not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from emoscope.analysis.load import Run
from emoscope.analysis.parts import Part, StudyRuns
from emoscope.analysis.standing import untouched
from emoscope.report.page import Question, Table
from emoscope.report.wording import made
from emoscope.schemas import as_table, empty
from emoscope.vocabulary import acting

FACES = "Emotion Across Speech and Faces (2026), arXiv 2608.17102"

PAPER = "Zhao, Schuller and Sisman (2026)"

OTHER = "another project’s own figure, unpublished"

LANGUAGES = "Multilingual Emotion Neurons (2026), arXiv 2608.08772"


@dataclass(frozen=True)
class Figure:
    """One published figure.

    Attributes:
        who: where it stands.
        model: the last part of the model's name on the hub; empty: one of several that the source does not name.
        corpus: the corpus's id; empty: one of several that the source does not name.
        measure: a key of :data:`MEASURES`.
        text: the figure as published, with its unit.
        labels: with how many emotions it was measured; 0 where that is not known.
        note: what is known of how it was measured.
    """

    who: str
    model: str
    corpus: str
    measure: str
    text: str
    labels: int = 0
    note: str = ""


_FACES = "CAS, 0.5 % of the neurons, alpha 0.5, 5 emotions"

_CELLS = "single cells of its matrices, from a reader’s notes; which model and corpus they belong to is not known to us"

_UNTOUCHED = "its own wording and parser"

FIGURES = (
    Figure(FACES, "Qwen2.5-Omni-7B", "msp-podcast", "uar", "36.9 %", 5, _FACES),
    Figure(FACES, "Qwen2.5-Omni-7B", "msp-podcast", "off", "−13.5 points", 5, _FACES),
    Figure(FACES, "Qwen2.5-Omni-7B", "msp-podcast", "steered", "+4.6 points", 5, _FACES),
    Figure(FACES, "Qwen2.5-Omni-7B", "msp-podcast", "random", "−0.3 to −1.1 points", 5, f"{_FACES}; range of its random sets"),
    Figure(OTHER, "Qwen2.5-Omni-7B", "iemocap", "accuracy", "69.3 %", 4, _UNTOUCHED),
    Figure(OTHER, "Qwen2.5-Omni-7B", "ravdess", "accuracy", "63.4 %", 8, _UNTOUCHED),
    Figure(OTHER, "Qwen2.5-Omni-7B", "meld", "accuracy", "50.1 %", 7, f"{_UNTOUCHED}; a part of the clips"),
    *(
        Figure(PAPER, model, corpus, "cells", "−13.5 to −36.8 points", 0, _CELLS)
        for model in ("Qwen2.5-Omni-7B", "Kimi-Audio-7B-Instruct", "audio-flamingo-3-hf")
        for corpus in ("iemocap", "meld", "msp-podcast")
    ),
)  # fmt: skip
"""Figures of one model on one corpus."""

FUSED = {
    "audio-flamingo-3-hf": ("−9.9 points", "+4.0 points"), "Kimi-Audio-7B-Instruct": ("−17.6 points", "+6.3 points"),
    "MiniCPM-o": ("−8.0 points", "+6.5 points"), "Qwen2.5-Omni-7B": ("−7.1 points", "+3.6 points"),
}  # fmt: skip
"""Model -> gap of sets fused over languages, switched off and steered (:data:`LANGUAGES`)."""

MEASURES = {
    "uar": "UAR, untouched", "accuracy": "accuracy, untouched", "off": "gap, switched off", "steered": "gap, steered",
    "random": "gap, random neurons off", "cells": "accuracy of an emotion, its own neurons off",
}  # fmt: skip


def published(run: Run, uar: pl.DataFrame, effects: pl.DataFrame, matrix: pl.DataFrame) -> pl.DataFrame:
    """What was published on the model and the corpus of a run, beside what the run found.

    Args:
        run: the run folder's tables.
        uar: its table of UARs.
        effects: its table of effects.
        matrix: its table of cells.

    Returns:
        the columns of table ``published``; empty where nothing is known of this model on this corpus. Ours are of the
        headline; the note says where emotions, selector, budget or alpha are others.
    """
    model: Any = run.manifest.get("model") or {}
    name = str(model.get("id", "")).rstrip("/").rsplit("/", 1)[-1].lower()
    corpora = set(run.items.filter(pl.col("fate") == "used")["corpus"].drop_nulls())
    found = [one for one in FIGURES if one.model.lower() == name and {one.corpus} == corpora]
    if not found:
        return empty("published")
    ours = _ours(run, uar, effects, matrix)
    heard = run.items.filter(pl.col("evaluated").fill_null(False))["truth"].n_unique()
    rows = []
    for one in found:
        notes = [one.note, f"ours: {_how(run)}" if one.measure not in ("uar", "accuracy") else ""]
        if one.labels and one.labels != heard:
            notes.append(f"ours with {heard} emotions, so not comparable")
        rows.append(
            {"who": one.who, "model": one.model, "corpus": one.corpus, "measure": MEASURES[one.measure]}
            | {"published": one.text, "ours": ours.get(one.measure, "–"), "note": "; ".join(filter(None, notes))}
        )
    return as_table("published", rows)


def published_of_whole(model: str, transfer: pl.DataFrame) -> pl.DataFrame:
    """What was published of sets fused over languages in a model, beside our sets fused over corpora.

    Args:
        model: its name on the hub or its folder.
        transfer: the table of transfer of a study in parts (``transfer``).

    Returns:
        the columns of table ``published``: a row for each way to fuse, kind of intervention and corpus.
    """
    name = model.rstrip("/").rsplit("/", 1)[-1].lower()
    texts = next((texts for known, texts in FUSED.items() if known.lower() == name), None)
    rows = []
    for row in transfer.filter(pl.col("fused") & (pl.col("measure") == "gap")).iter_rows(named=True):
        if texts is None or row["kind"] not in ("deactivate", "steer"):
            continue
        off = row["kind"] == "deactivate"
        rows.append(
            {"who": LANGUAGES, "model": model, "corpus": row["host"], "measure": MEASURES["off" if off else "steered"]}
            | {"published": texts[0 if off else 1], "ours": _points(row)}
            | {"note": f"theirs fused over languages, on other corpora; ours {row['source']}, over corpora"}
        )
    return as_table("published", rows)


def _ours(run: Run, uar: pl.DataFrame, effects: pl.DataFrame, matrix: pl.DataFrame) -> dict[str, str]:
    found = {}
    if (row := untouched(uar)) is not None:
        found["uar"] = f"{row['uar']:.1f} %{_ends(row)}"
        found["accuracy"] = f"{row['accuracy']:.1f} %"
    gaps = effects.filter(pl.col("measure") == "gap")
    for name, kind, control in (
        ("off", "deactivate", "target"), ("steered", "steer", "target"), ("random", "deactivate", "random")
    ):  # fmt: skip
        one = _at_headline(run, gaps, kind, control)
        if len(one):
            found[name] = _points(one.row(0, named=True))
    cells = _at_headline(run, matrix, "deactivate", "target").filter(pl.col("target") == pl.col("emotion"))
    if len(cells):
        changes = sorted(cells["change"].to_list())
        found["cells"] = f"{changes[-1]:+.1f} to {changes[0]:+.1f} points".replace("-", "−")
    return found


def _at_headline(run: Run, frame: pl.DataFrame, kind: str, control: str) -> pl.DataFrame:
    """Rows of the headline's sets, or of the mean over draws of a control, in all layers at all positions."""
    return frame.clear() if _declared(run, kind) is None else acting(frame, kind).filter(pl.col("control") == control)


def _declared(run: Run, kind: str) -> Mapping[str, Any] | None:
    rows = run.conditions.filter(pl.col("headline").fill_null(False) & (pl.col("kind") == kind))
    return rows.row(0, named=True) if len(rows) else None


def _how(run: Run) -> str:
    parts = []
    if (one := _declared(run, "deactivate") or _declared(run, "steer")) is not None:
        parts = [str(one["selector"]).upper(), f"{100 * one['budget']:g} % of the neurons"]
    if (one := _declared(run, "steer")) is not None:
        parts.append(f"alpha {one['alpha']:g}")
    return ", ".join(parts)


def _points(row: Mapping[str, Any]) -> str:
    return "–" if row["estimate"] is None else f"{row['estimate']:+.1f} points{_ends(row)}".replace("-", "−")


def _ends(row: Mapping[str, Any]) -> str:
    return "" if row["low"] is None else f" [{row['low']:.1f}, {row['high']:.1f}]".replace("-", "−")


def tabulate_published(part: Part) -> pl.DataFrame | None:
    """What was published on this model and this corpus, beside what this run found."""
    found = part.table("published")
    return None if found.is_empty() else found.select("who", "measure", "published", "ours", "note")


def tabulate_published_of_parts(study: StudyRuns) -> pl.DataFrame | None:
    """Published figures on the same model and corpus beside ours, and of fused sets in the same model."""
    frames = [table for part in study.mains if (table := part.table("published")) is not None]
    model: Any = study.manifest.get("model") or {}
    if (acted := study.table("transfer")) is not None:
        frames.append(published_of_whole(str(model.get("id", "")), acted))
    if not frames:
        return None
    rows = [
        {"what": row["measure"], "corpus": row["corpus"], "published": row["published"], "ours": row["ours"] or "–",
         "source": row["who"], "note": row["note"] or ""}
        for row in pl.concat(frames).iter_rows(named=True)
    ]  # fmt: skip
    return made(rows)


QUESTIONS = (
    Question(
        "model",
        30,
        (
            Table(
                "published",
                tabulate_published,
                "Published figures of this model on this corpus, to look at: clips, wording and software are others.",
            ),
            Table(
                "published",
                tabulate_published_of_parts,
                "Published figures on the same model and corpus beside ours: to look at, not to test against. "
                "Clips, wording and software differ.",
                pages="study",
            ),
        ),
        tables={
            "published": lambda part: published(
                part.run, part.table("uar"), part.table("effects"), part.table("matrix")
            )
        },
    ),
)
