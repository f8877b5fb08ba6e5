"""From the model's scores and texts to rows of the answers table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emoscope.emotions import in_order
from emoscope.questions import read_answer
from emoscope.schemas import schema

if TYPE_CHECKING:
    import polars as pl

    from emoscope.models.audio_lm import Score


def scored_answers(items: Sequence[Mapping[str, Any]], condition: str, scores: Sequence[Score]) -> pl.DataFrame:
    """Answers by likelihood: the option whose letter is most probable.

    Args:
        items: rows of the items table (item, options, truth).
        condition: id of the condition.
        scores: one score an item, its log-probabilities in the order of the item's letters.

    Returns:
        rows of the answers table; ``logp`` is in canonical order of the options.
    """
    import polars as pl

    rows = []
    for item, score in zip(items, scores, strict=True):
        shown = list(item["options"])
        logp = {option: float(value) for option, value in zip(shown, score.logp, strict=True)}
        answer = max(shown, key=logp.__getitem__)
        rows.append((item["item"], condition, "likelihood", answer, "letter", None, answer == item["truth"],
                     [logp[option] for option in in_order(shown)], float(score.letter_mass)))  # fmt: skip
    return pl.DataFrame(rows, schema=schema("answers", stored=True), orient="row")


def written_answers(items: Sequence[Mapping[str, Any]], condition: str, texts: Sequence[str]) -> pl.DataFrame:
    """Answers by generation: what the written text says; refusals and unreadable texts keep their form.

    Args:
        items: rows of the items table (item, options, truth).
        condition: id of the condition.
        texts: one generated text an item.
    """
    import polars as pl

    rows = []
    for item, text in zip(items, texts, strict=True):
        answer, form = read_answer(text, item["options"])
        rows.append((item["item"], condition, "generation", answer, form, text, answer == item["truth"], None, None))
    return pl.DataFrame(rows, schema=schema("answers", stored=True), orient="row")


def transcribed_answers(items: Sequence[Mapping[str, Any]], condition: str, texts: Sequence[str]) -> pl.DataFrame:
    """What the model wrote down of what is said; such a text chooses no option and is neither right nor wrong.

    Args:
        items: rows of the items table (item).
        condition: id of the condition.
        texts: one generated text an item.
    """
    import polars as pl

    rows = [
        (item["item"], condition, "transcription", None, "transcription", text, None, None, None)
        for item, text in zip(items, texts, strict=True)
    ]
    return pl.DataFrame(rows, schema=schema("answers", stored=True), orient="row")


WRITERS: Mapping[str, Callable[..., pl.DataFrame]] = {
    "likelihood": scored_answers,
    "generation": written_answers,
    "transcription": transcribed_answers,
}
"""How answers become rows of the table, by scoring."""


def option_shares(answers: Sequence[pl.DataFrame], items: pl.DataFrame) -> dict[int, dict[str, float]]:
    """Probabilities of the options of every item, adding up to 1: item -> option -> probability.

    Args:
        answers: tables of answers; those by likelihood count.
        items: the items table.
    """
    options = dict(items.select("item", "options").iter_rows())
    shares = {}
    for table in answers:
        for item, logp in table.filter(table["scoring"] == "likelihood").select("item", "logp").iter_rows():
            weights = [math.exp(value - max(logp)) for value in logp]
            shares[item] = {
                option: w / sum(weights) for option, w in zip(in_order(options[item]), weights, strict=True)
            }
    return shares
