"""Do effects depend on the letter behind which the right option stands?"""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import polars as pl

from emoscope.analysis.accuracy import level
from emoscope.analysis.effects import by_groups
from emoscope.analysis.estimate import Estimate, mean_over_parts
from emoscope.analysis.load import Run
from emoscope.analysis.parts import Part
from emoscope.analysis.responses import Panel, evaluated_items, level_of
from emoscope.questions import LETTERS as ALPHABET
from emoscope.report.page import Figure, Note, Question, Table
from emoscope.report.plots import BEYOND, HOLLOW, INTERVALS, dots
from emoscope.report.theme import title
from emoscope.report.wording import by_key, made
from emoscope.schemas import as_table, empty
from emoscope.vocabulary import GAPS
from emoscope.wording import DONE, bracket, estimate_text, number

NONE = "none"
"""The control of measures of the untouched model."""


def letters(part: Part) -> pl.DataFrame:
    """The untouched model's answers and the headline's effects, by the letter behind which the right option stands.

    A neuron that writes a letter rather than an emotion has effects that depend on the letter. ``apart`` is a letter's
    value minus the mean of the other letters', subtracted speaker by speaker.

    Returns:
        the columns of table ``letters``; effects in points. Of the untouched model (kind ``baseline``) ``uar``
        (``accuracy`` of text questions, which have options of their own) is over the items whose right option has the
        letter, and ``answered`` the share of all items that are answered with the letter, both in %. Empty where fewer
        than two letters occur.
    """
    panel, which, hollow = part.panel, level_of(part.run), "baseline" in part.hollow
    places = letter_places(part.run, panel)
    if "baseline" not in panel.rows or not len(panel.items):
        return empty("letters")
    asked = panel.asked("baseline")
    right = places[np.arange(len(panel.items)), panel.truth]
    groups = {letter: asked & (right == letter) for letter in sorted(set(right[asked & (right >= 0)].tolist()))}
    if len(groups) < 2:
        return empty("letters")
    effects, found = by_groups(part, groups), {}
    for letter, used in groups.items():
        found[letter] = {
            ("baseline", NONE, which.lower()): level(panel, ["baseline"], used, which, hollow=part.hollow),
            ("baseline", NONE, "answered"): _answered(panel, places, letter, hollow),
            **effects[letter],
        }
    rows = []
    for letter, values in found.items():
        others = [found[other] for other in groups if other != letter]
        for key, one in values.items():
            row = dict(zip(("kind", "control", "measure"), key, strict=True)) | {"letter": ALPHABET[letter]}
            rest = [other[key] for other in others if key in other]
            if len(rest) == len(others):
                like = mean_over_parts(rest)
                # all letters are answers to the same items, but each stands before the right option of items of its own
                row |= (one.beyond(like) if key[2] == "answered" else one.minus(like)).named("apart")
            rows.append(row | one.columns())
    return as_table("letters", rows)


def letter_places(run: Run, panel: Panel) -> np.ndarray:
    """At which place each item shows each label, 0 for the letter A; -1 where it does not; dimensions (item, label)."""
    places = np.full((len(panel.items), len(panel.labels)), -1)
    codes = {label: code for code, label in enumerate(panel.labels)}
    for item, options in enumerate(evaluated_items(run)["options"].to_list()):
        for place, option in enumerate(options or ()):
            places[item, codes[option]] = place
    return places


def _answered(panel: Panel, places: np.ndarray, letter: int, hollow: bool) -> Estimate:
    """The share of all items whose answer stands behind a letter, in %."""
    used, answer = panel.asked("baseline"), panel.answer("baseline")
    said = used & (answer >= 0) & (places[np.arange(len(answer)), np.maximum(answer, 0)] == letter)
    items, hits = (panel.per_speaker(one.astype(float)).sum(axis=1) for one in (used, said))
    return Estimate.share(hits, items, hollow)


def draw_factors(part: Part) -> Any | None:
    """The headline's excess gaps for each letter of the right option and within each further label column."""
    parts = (
        (part.table("letters"), "right option at {letter}"),
        (part.table("within").filter(pl.col("value").is_null()), "within the same {column}"),
    )
    charts: list[Any] = []
    hollow = False
    for kind, measure in GAPS.items():
        name, every = f"excess_{measure}", part.effect(kind, f"excess_{measure}")
        if every is None or every["estimate"] is None:
            continue
        rows = [{"row": "all clips"} | every]
        for frame, words in parts:
            found = frame.filter(
                (pl.col("kind") == kind) & (pl.col("measure") == name) & pl.col("estimate").is_not_null()
            )
            rows += [row | {"row": words.format(**row)} for row in found.iter_rows(named=True)]
        if len(rows) == 1:
            continue
        drawn = [{end: row[end] for end in ("row", "estimate", "low", "high")} | {"hollow": bool(row["hollow"])} for row in rows]  # fmt: skip
        marks = pl.DataFrame(drawn, infer_schema_length=None).with_columns(pl.lit("difference").alias("series"))
        x = f"{measure.replace('_', ' ')}, {DONE[kind]}: {BEYOND} (points)"
        order = [str(row["row"]) for row in drawn]
        charts.append(dots(marks, order, x, None if charts else "clips that count", rule=0.0, width=330))
        hollow = hollow or bool(marks["hollow"].any())
    if not charts:
        return None
    return alt.hconcat(*charts, spacing=24).properties(
        title=title(
            "Do the effects depend on the letter of the right option, or on what is said?",
            f"{INTERVALS} Fewer clips count in each row than in the first, so that lines are longer. Left of zero: hurts its own "
            f"emotion more than the others; right of zero (second picture): draws its own clips more.{' ' + HOLLOW if hollow else ''}",
        )
    )  # fmt: skip


def tabulate_letters(part: Part) -> pl.DataFrame | None:
    """The untouched model and the headline's effects by the letter of the right option."""
    by = by_key(part.table("letters"), "kind", "control", "measure", "letter")
    columns = [
        ("UAR (%)", ("baseline", "none", "uar"), "estimate"), ("accuracy (%)", ("baseline", "none", "accuracy"), "estimate"),
        ("answered so (%)", ("baseline", "none", "answered"), "estimate"),
        ("switched off: own emotion", ("deactivate", "target", "self"), "estimate"),
        ("other emotions", ("deactivate", "target", "cross"), "estimate"),
        ("excess gap", ("deactivate", "target", "excess_gap"), "estimate"),
        ("apart from other letters", ("deactivate", "target", "excess_gap"), "apart"),
        ("amplified: excess pull gap", ("steer", "target", "excess_pull_gap"), "estimate"),
    ]  # fmt: skip
    rows = []
    for letter in part.table("letters")["letter"].unique().sort():
        one = by.get(("baseline", "none", "uar", letter)) or by["baseline", "none", "accuracy", letter]
        row = {"right option at": letter, "clips": str(one["n"])}
        for heading, key, name in columns:
            row[heading] = estimate_text(by.get((*key, letter)), name, sign=key[0] != "baseline")
        rows.append(row)
    return made(rows)


def letters_note(part: Part) -> str | None:
    """Whether the excess gap depends on the letter, in a sentence; ``None`` where it was not measured."""
    if part.pilot is not None:  # it supports no claim
        return None
    found = part.table("letters").filter(
        (pl.col("kind") == "deactivate") & (pl.col("measure") == "excess_gap") & pl.col("apart_low").is_not_null()
    )
    if found.is_empty() or not part.speakers:
        return None
    clear = found.filter((pl.col("apart_low") > 0) | (pl.col("apart_high") < 0))
    if clear.is_empty():
        return f"Of {len(found)} letters, none has an excess gap that is clear of the mean of the others."
    told = [
        f"at {row['letter']} it is {number(abs(row['apart']))} points {'weaker' if row['apart'] > 0 else 'stronger'} "
        f"{bracket(row['apart_low'], row['apart_high'])}"
        for row in clear.iter_rows(named=True)
    ]
    chance = number(0.05 * len(found))
    return (
        f"The excess gap depends on the letter of the right option: {'; '.join(told)} than the mean of the other letters. "
        f"Not corrected for {len(found)} letters, of which {chance} would be told apart by chance."
    )


QUESTIONS = (
    Question(
        "factors",
        10,
        (
            Figure("factors", draw_factors, "nothing was switched off or amplified next to matched neurons"),
            Table(
                "letters",
                tabulate_letters,
                "By the letter behind which the right option stands, with 95 % intervals over speakers. Answered "
                "so: the share of all clips that the untouched model answers with the letter. Effects in points; "
                "excess: beyond matched neurons; apart: from the mean of the other letters. Exploration: not "
                "corrected for their number.",
            ),
            Note(letters_note),
        ),
        tables={"letters": letters},
    ),
)
