"""Published figures beside ours, where model and corpus are the same; to look at, never to test against.

What differs between two such figures is more than the method: clips, wording, software and, where a source is
silent, choices that we do not know.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from emoscope.analysis.parts import Part, Row, StudyRuns, first
from emoscope.report.page import Question, Table
from emoscope.report.wording import made_of
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
_QWEN = "Qwen2.5-Omni-7B"

FIGURES = (
    Figure(FACES, _QWEN, "msp-podcast", "uar", "36.9 %", 5, _FACES),
    Figure(FACES, _QWEN, "msp-podcast", "off", "−13.5 points", 5, _FACES),
    Figure(FACES, _QWEN, "msp-podcast", "steered", "+4.6 points", 5, _FACES),
    Figure(FACES, _QWEN, "msp-podcast", "random", "−0.3 to −1.1 points", 5, f"{_FACES}; range of its random sets"),
    Figure(OTHER, _QWEN, "iemocap", "accuracy", "69.3 %", 4, _UNTOUCHED),
    Figure(OTHER, _QWEN, "ravdess", "accuracy", "63.4 %", 8, _UNTOUCHED),
    Figure(OTHER, _QWEN, "meld", "accuracy", "50.1 %", 7, f"{_UNTOUCHED}; a part of the clips"),
    *(
        Figure(PAPER, model, corpus, "cells", "−13.5 to −36.8 points", 0, _CELLS)
        for model in (_QWEN, "Kimi-Audio-7B-Instruct", "audio-flamingo-3-hf")
        for corpus in ("iemocap", "meld", "msp-podcast")
    ),
)
"""Figures of one model on one corpus."""

FUSED = {
    "audio-flamingo-3-hf": ("−9.9 points", "+4.0 points"),
    "Kimi-Audio-7B-Instruct": ("−17.6 points", "+6.3 points"),
    "MiniCPM-o": ("−8.0 points", "+6.5 points"),
    _QWEN: ("−7.1 points", "+3.6 points"),
}
"""Model -> gap of sets fused over languages, switched off and steered (:data:`LANGUAGES`)."""

MEASURES = {
    "uar": "UAR, untouched",
    "accuracy": "accuracy, untouched",
    "off": "gap, switched off",
    "steered": "gap, steered",
    "random": "gap, random neurons off",
    "cells": "accuracy of an emotion, its own neurons off",
}


def published(part: Part) -> pl.DataFrame:
    """What was published on the model and the corpus of a run, beside what the run found.

    Returns:
        the columns of table ``published``; empty where nothing is known of this model on this corpus. Ours are of the
        headline; the note says where emotions, selector, budget or alpha are others.
    """
    run = part.run
    name = _last(str((run.manifest.get("model") or {}).get("id", "")))
    corpora = set(run.items.filter(status="used")["corpus"].drop_nulls())
    found = [one for one in FIGURES if one.model.lower() == name and {one.corpus} == corpora]
    if not found:
        return empty("published")
    ours, how = _ours(part), _how(run.conditions)
    heard = run.items.filter(pl.col("evaluated").fill_null(False))["truth"].n_unique()
    rows = []
    for one in found:
        notes = [one.note, f"ours: {how}" if one.measure not in ("uar", "accuracy") else ""]
        if one.labels and one.labels != heard:
            notes.append(f"ours with {heard} emotions, so not comparable")
        rows.append(
            {"who": one.who, "model": one.model, "corpus": one.corpus, "measure": MEASURES[one.measure]}
            | {"published": one.text, "ours": ours.get(one.measure, "–"), "note": "; ".join(filter(None, notes))}
        )
    return as_table("published", rows)


def published_of_study(model: str, transfer: pl.DataFrame) -> pl.DataFrame:
    """What was published of sets fused over languages in a model, beside our sets fused over corpora.

    Args:
        model: its name on the hub or its folder.
        transfer: the table of transfer of a study in parts (``transfer``).

    Returns:
        the columns of table ``published``: a row for each way to fuse, kind of intervention and corpus.
    """
    texts = next((texts for known, texts in FUSED.items() if known.lower() == _last(model)), None)
    rows = []
    for row in transfer.filter("fused", measure="gap").iter_rows(named=True):
        if texts is None or row["kind"] not in ("deactivate", "steer"):
            continue
        off = row["kind"] == "deactivate"
        rows.append(
            {"who": LANGUAGES, "model": model, "corpus": row["host"], "measure": MEASURES["off" if off else "steered"]}
            | {"published": texts[0 if off else 1], "ours": _points(row)}
            | {"note": f"theirs fused over languages, on other corpora; ours {row['source']}, over corpora"}
        )
    return as_table("published", rows)


def _last(model: str) -> str:
    return model.rstrip("/").rsplit("/", 1)[-1].lower()


def _ours(part: Part) -> dict[str, str]:
    found = {}
    if (row := part.uar()) is not None:
        found["uar"] = f"{row['uar']:.1f} %{_ends(row)}"
        found["accuracy"] = f"{row['accuracy']:.1f} %"
    conditions, effects = part.run.conditions, part.table("effects")
    for name, kind, control in (
        ("off", "deactivate", "target"),
        ("steered", "steer", "target"),
        ("random", "deactivate", "random"),
    ):
        one = _at_headline(conditions, effects, kind, control).filter(measure="gap")
        if len(one):
            found[name] = _points(one.row(0, named=True))
    cells = _at_headline(conditions, part.table("matrix"), "deactivate", "target")
    if changes := sorted(cells.filter(pl.col("target") == pl.col("emotion"))["change"]):
        found["cells"] = f"{changes[-1]:+.1f} to {changes[0]:+.1f} points".replace("-", "−")
    return found


def _at_headline(conditions: pl.DataFrame, frame: pl.DataFrame, kind: str, control: str) -> pl.DataFrame:
    """Rows of the headline's sets, or of the mean over draws of a control, in all layers at all positions."""
    return frame.clear() if _declared(conditions, kind) is None else acting(frame, kind).filter(control=control)


def _declared(conditions: pl.DataFrame, kind: str) -> Row | None:
    return first(conditions, pl.col("headline").fill_null(False) & (pl.col("kind") == kind))


def _how(conditions: pl.DataFrame) -> str:
    off, steered = (_declared(conditions, kind) for kind in ("deactivate", "steer"))
    if (one := off or steered) is None:
        return ""
    alpha = f", alpha {steered['alpha']:g}" if steered else ""
    return f"{str(one['selector']).upper()}, {100 * one['budget']:g} % of the neurons{alpha}"


def _points(row: Row) -> str:
    return "–" if row["estimate"] is None else f"{row['estimate']:+.1f} points{_ends(row)}".replace("-", "−")


def _ends(row: Row) -> str:
    return "" if row["low"] is None else f" [{row['low']:.1f}, {row['high']:.1f}]".replace("-", "−")


def tabulate_published(study: StudyRuns) -> pl.DataFrame | None:
    """Published figures on the same model and corpus beside ours, and of fused sets in the same model."""
    model = str((study.manifest.get("model") or {}).get("id", ""))
    found = [part.table("published") for part in study.mains] + [published_of_study(model, study.table("transfer"))]
    return made_of(
        study,
        [
            {"what": row["measure"], "corpus": row["corpus"], "published": row["published"], "ours": row["ours"] or "–"}
            | {"source": row["who"], "note": row["note"] or ""}
            for row in pl.concat(found).iter_rows(named=True)
        ],
    )


QUESTIONS = (
    Question(
        "model",
        30,
        (
            Table(
                "published",
                tabulate_published,
                "Published figures on the same model and corpus beside ours: to look at, not to test against. "
                "Clips, wording and software differ.",
                pages="both",
            ),
        ),
        tables={"published": published},
    ),
)
