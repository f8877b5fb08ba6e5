"""How well the model answers: UAR, letter mass, agreement of likely and written answers."""

from __future__ import annotations

from collections.abc import Sequence, Set

import numpy as np
import polars as pl

from emoscope.analysis.estimate import Estimate, finite, ratio, replicates
from emoscope.analysis.load import Run
from emoscope.analysis.responses import ACCURACY, UAR, UNREADABLE, Responses
from emoscope.schemas import as_table
from emoscope.vocabulary import LEAST_AGREEMENT, LEAST_LETTER_MASS

FORMS = {"word": "share_word", "refusal": "share_refused", "unparsable": "share_unparsable"}
"""Forms of a written answer, other than a letter, and the columns that count them."""


def level(
    responses: Responses,
    conditions: Sequence[str],
    used: np.ndarray | None = None,
    which: str = UAR,
    against: str | None = None,
    unreliable: Set[str] = frozenset(),
) -> Estimate:
    """UAR or accuracy in %, the mean under several conditions; or its change against another one, in points.

    UAR is the mean, over the labels that occur, of the percentage of items answered correctly (Schuller, Steidl and
    Batliner 2009). Answers that cannot be read count as not correct.

    Args:
        used: which items to count, dimension (item); by default all that were asked under all these conditions.
        unreliable: conditions whose answers support no claim.
    """
    every = [*conditions, *([] if against is None else [against])]
    used = np.logical_and.reduce([responses.asked(name) for name in every]) if used is None else used
    items = responses.per_speaker(used.astype(float))
    sizes, values = items.sum(axis=1), []
    if which == ACCURACY:
        items = items.sum(axis=1, keepdims=True)
    heard = items.sum(axis=0) > 0
    for condition in conditions:
        right = ((responses.answer(condition) == responses.truth) & used).astype(float)
        if against is not None:
            right -= (responses.answer(against) == responses.truth) & used
        hits = responses.per_speaker(right)
        hits = hits.sum(axis=1, keepdims=True) if which == ACCURACY else hits
        shares = ratio(replicates(100 * hits[:, heard]), replicates(items[:, heard]))
        values.append(shares.mean(axis=1) if heard.any() else np.full(len(items) + 1, np.nan))
    doubtful = bool(unreliable & {"baseline", *every})
    return Estimate(np.mean(values, axis=0), sizes, doubtful, responses.speakers, bounded=against is None)


def uar(run: Run, by_scoring: dict[str, Responses]) -> pl.DataFrame:
    """UAR, accuracy, letter mass, agreement and changed answers of every condition and way of scoring.

    Returns:
        the columns of table ``uar``. In %: uar, low, high, accuracy, chance, agreement (items on which likelihood
        and generation give the same answer), changed (items whose answer differs from the baseline's; for
        the condition ``null`` this is the flip rate) and unreadable. letter_mass is a mean probability. Of written
        answers also, in % of the items: share_word (an option's name in place of its letter), share_refused and
        share_unparsable, which add up to unreadable. These count as not correct in uar; uar_readable is UAR over the
        answers that could be read, null where all of an emotion's could not.
    """
    kinds = dict(run.conditions.select("condition", "kind").iter_rows())
    rows = []
    for scoring, responses in by_scoring.items():
        by_condition = _by_condition(run, responses, scoring)
        for condition in responses.rows:
            used, answer = responses.asked(condition), responses.answer(condition)
            if not used.any():
                continue
            found = level(responses, [condition]).columns()
            row = found | {
                "condition": condition, "kind": kinds.get(condition, condition), "scoring": scoring,
                "n": int(used.sum()), "uar": found["estimate"],
                "accuracy": _percent(answer == responses.truth, used), "chance": responses.chance,
                "agreement": agreement(by_scoring, condition), **by_condition[condition],
                "changed": changed(responses, condition), "unreadable": _percent(answer == UNREADABLE, used),
                "uar_readable": _readable(responses, condition) if scoring == "generation" else None,
            }  # fmt: skip
            row["unreliable"] = (row["letter_mass"] is not None and row["letter_mass"] < LEAST_LETTER_MASS) or (
                row["agreement"] is not None and row["agreement"] < LEAST_AGREEMENT
            )
            rows.append(row)
    return as_table("uar", rows)


def unreliable_conditions(levels: pl.DataFrame) -> frozenset[str]:
    """The conditions of a UAR table that are unreliable in either way of scoring."""
    return frozenset(levels.filter("unreliable")["condition"])


def unreliable_scores(run: Run, responses: Responses) -> frozenset[str]:
    """The conditions that are unreliable by their scored answers alone, such as those that were not written out."""
    return unreliable_conditions(uar(run, {"likelihood": responses}))


def changed(responses: Responses, condition: str) -> float | None:
    """The percentage of items whose answer under a condition differs from the baseline's.

    For the condition ``null`` (nothing is changed, only the batch is composed differently) this is the
    flip rate of the arithmetic: effects of its size mean nothing.
    """
    both = responses.asked(condition) & responses.asked("baseline")
    return _percent(responses.answer(condition) != responses.answer("baseline"), both) if both.any() else None


def agreement(by_scoring: dict[str, Responses], condition: str) -> float | None:
    """The percentage of items on which the likeliest letter is also the answer that the model writes."""
    if not {"likelihood", "generation"} <= set(by_scoring):
        return None
    scored, written = by_scoring["likelihood"], by_scoring["generation"]
    both = scored.asked(condition) & written.asked(condition)
    return _percent(scored.answer(condition) == written.answer(condition), both) if both.any() else None


def _by_condition(run: Run, responses: Responses, scoring: str) -> dict[str, dict[str, float | None]]:
    """The mean letter mass and, of written answers, the share of each form in %, by condition."""
    answers = run.answers.select(
        "condition", "scoring", "item", "letter_mass", "form"
    )  # long texts are not sorted along
    answers = answers.filter(pl.col("item").is_in(responses.items.tolist()), scoring=scoring).sort("item")
    shares = {name: 100 * (pl.col("form") == form).mean() for form, name in FORMS.items()}
    means = answers.group_by("condition", maintain_order=True).agg(
        pl.col("letter_mass").mean(), **(shares if scoring == "generation" else {})
    )
    return {row.pop("condition"): row for row in means.iter_rows(named=True)}


def _readable(responses: Responses, condition: str) -> float | None:
    asked = responses.asked(condition)
    read = asked & (responses.answer(condition) != UNREADABLE)
    if set(responses.truth[read].tolist()) != set(responses.truth[asked].tolist()):
        return None
    return finite(level(responses, [condition], read).values[0])


def _percent(hits: np.ndarray, used: np.ndarray) -> float:
    return 100 * float(hits[used].mean())
