"""The answers of a run as one array, condition by item, from which all effects are computed, and how many are right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.load import Run, in_known_order

UNREADABLE, NOT_ASKED = -1, -2


@dataclass(frozen=True)
class Responses:
    """Who was asked what, and what was answered under each condition, for one way of scoring.

    Attributes:
        labels: the options in canonical order; codes below are places in this tuple.
        items: item numbers, dimension (item).
        truth: code of the true label, dimension (item).
        speaker: place in ``speakers``, dimension (item).
        speakers: names of the speakers; where a speaker is unknown, ``recording <clip>`` stands in.
        unknown_speakers: number of items whose speaker is unknown.
        chance: percentage correct of uniform guessing, in %.
        rows: condition id to row of ``answers``.
        answers: code of the answer, dimensions (condition, item); -1 unreadable, -2 not asked.
        log_odds: of each option against the item's other options, in nat, dimensions (condition, item, label);
            NaN where the item does not offer the label or no log-probabilities are stored.
    """

    labels: tuple[str, ...]
    items: np.ndarray
    truth: np.ndarray
    speaker: np.ndarray
    speakers: tuple[str, ...]
    unknown_speakers: int
    chance: float
    rows: Mapping[str, int]
    answers: np.ndarray
    log_odds: np.ndarray

    def per_speaker(self, hits: np.ndarray) -> np.ndarray:
        """Sums of ``hits`` (item) by speaker and true label, dimensions (speaker, label)."""
        size = len(self.speakers) * len(self.labels)
        return np.bincount(self._cells, weights=hits, minlength=size).reshape(len(self.speakers), len(self.labels))

    @cached_property
    def _cells(self) -> np.ndarray:
        """The place of each item's speaker and true label among all pairs, dimension (item)."""
        return np.asarray(self.speaker * len(self.labels) + self.truth)

    def asked(self, condition: str) -> np.ndarray:
        """Which items have an answer, readable or not, under a condition; dimension (item)."""
        if condition not in self.rows:
            return np.zeros(len(self.items), dtype=bool)
        return np.asarray(self.answers[self.rows[condition]] != NOT_ASKED)

    def answer(self, condition: str) -> np.ndarray:
        """The answers under a condition; dimension (item)."""
        return np.asarray(self.answers[self.rows[condition]])


def asked_label(run: Run) -> str:
    """The label column that the study asks about: the study file's, or the commonest among the items."""
    study: Any = run.manifest.get("study", {})
    named = study.get("identify", {}).get("label") if isinstance(study, dict) else None
    there = run.items["label"].drop_nulls()
    if named in set(there) or there.is_empty():
        return named or "emotion"
    return str(there.value_counts(sort=True).sort(["count", "label"], descending=[True, False])["label"][0])


def evaluated_items(run: Run) -> pl.DataFrame:
    """The items that effects are computed on: asked about the study's label and under interventions; sorted.

    Where the items say which of them were ``evaluated``, only those count, in the baseline too: items that
    only served to identify neurons would make the baseline another sample than the conditions.
    """
    return run.items.filter(
        (pl.col("status") == "used")
        & pl.col("evaluated").fill_null(True)
        & pl.col("side").fill_null("both").is_in(["both", "evaluate"])
        & (pl.col("label").fill_null("emotion") == asked_label(run))
        & pl.col("truth").is_not_null()
    ).sort("item")


def build_responses(run: Run, scoring: str = "likelihood") -> Responses:
    """Arrange the answers of one way of scoring, ``"likelihood"`` or ``"generation"``, as (condition, item)."""
    items = evaluated_items(run)
    labels = in_known_order([*items["options"].explode().drop_nulls().to_list(), *items["truth"].to_list()])
    codes = {label: code for code, label in enumerate(labels)}
    who = items.select(pl.coalesce("speaker", pl.lit("recording ") + pl.col("clip")).alias("who"))["who"].to_list()
    speakers = tuple(sorted(set(who)))
    places = {name: place for place, name in enumerate(speakers)}
    answers = run.answers.select("scoring", "condition", "item", "answer", "logp").filter(scoring=scoring)
    rows = {condition: row for row, condition in enumerate(answers["condition"].unique().sort())}
    offered = [sorted(codes[label] for label in options or ()) for options in items["options"].to_list()]
    where = items.select("item", pl.Series("labels", offered, pl.List(pl.Int64)), place=pl.int_range(pl.len()))
    found = answers.join(where, on="item").select(
        "place", "labels", "logp", row=_coded("condition", rows), code=_coded("answer", codes)
    )
    array = np.full((len(rows), len(items)), NOT_ASKED, dtype=np.int16)
    array[found["row"].to_numpy(), found["place"].to_numpy()] = found["code"].fill_null(UNREADABLE).to_numpy()
    logp = np.full((*array.shape, len(labels)), np.nan)
    # one number for each offered option, in canonical order
    fits = pl.col("logp").list.len() == pl.col("labels").list.len()
    stored = found.filter(fits, pl.col("logp").list.len() > 0).explode("labels", "logp")
    logp[tuple(stored[name].to_numpy() for name in ("row", "place", "labels"))] = stored["logp"].to_numpy()
    options = items["options"].list.len().drop_nulls()
    return Responses(
        labels=labels,
        items=items["item"].to_numpy(),
        truth=items.select(_coded("truth", codes))["truth"].to_numpy(),
        speaker=np.array([places[name] for name in who], dtype=np.int64),
        speakers=speakers,
        unknown_speakers=int(items["speaker"].null_count()),
        chance=float(np.mean(100 / options.to_numpy())) if len(options) else float("nan"),
        rows=rows,
        answers=array,
        log_odds=log_odds(logp),
    )


def _coded(column: str, codes: Mapping[str, int]) -> pl.Expr:
    return pl.col(column).replace_strict(codes, default=None, return_dtype=pl.Int64)


def log_odds(logp: np.ndarray) -> np.ndarray:
    """The log-odds of each option against the others: its logp minus the logsumexp of the others' logp.

    Adding a constant to all of an item's log-probabilities changes nothing, so it makes no difference that
    they are normalised over the full vocabulary.

    Args:
        logp: natural logs of probabilities, dimensions (..., option); NaN for options that are not offered.

    Returns:
        nat, the same dimensions; NaN for options that are not offered.

    Example:
        >>> log_odds(np.log([0.5, 0.25, 0.125])).round(3).tolist()  # ln(0.5/0.375), ln(0.25/0.625), ln(0.125/0.75)
        [0.288, -0.916, -1.792]
    """
    there = ~np.isnan(logp)
    top = np.max(logp, axis=-1, keepdims=True, where=there, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0.0)
    weight = np.where(there, np.exp(logp - top), 0.0)
    others = weight @ (1 - np.eye(logp.shape[-1]))  # a sum without the option itself: no cancellation
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(there, logp - top - np.log(others), np.nan))


UAR, ACCURACY = "UAR", "accuracy"


def presentation(run: Run) -> str:
    """What a run's items put to the model: "audio", or what stands in its place."""
    return str(run.manifest.get("study", {}).get("question", {}).get("presentation") or "audio")


def level_of(run: Run) -> str:
    """Which level a run's answers have: the accuracy for text questions, of which each has options of its own."""
    return ACCURACY if presentation(run) == "text" else UAR


def answered(responses: Responses, draws: Sequence[Mapping[str, str]]) -> tuple[tuple[str, ...], np.ndarray]:
    """The targets that all draws have, options or not, and the items answered at baseline and under all conditions."""
    used = responses.asked("baseline")
    for draw in draws:
        for condition in draw.values():
            used = used & responses.asked(condition)
    return in_known_order(set.intersection(*(set(draw) for draw in draws))), used
