"""How well the model answers: UAR, letter mass, agreement of likely and written answers."""

from __future__ import annotations

import numpy as np
import polars as pl

from emoscope.analysis.estimate import Estimate, finite, ratio, replicates
from emoscope.analysis.load import Run
from emoscope.analysis.responses import UNREADABLE, Panel
from emoscope.schemas import as_table
from emoscope.vocabulary import LEAST_AGREEMENT, LEAST_LETTER_MASS

FORMS = {"word": "share_word", "refusal": "share_refused", "unparsable": "share_unparsable"}
"""Forms of a written answer, other than a letter, and the columns that count them."""


def uar_estimate(panel: Panel, condition: str, used: np.ndarray | None = None, against: str | None = None) -> Estimate:
    """The unweighted average recall under a condition in %, or its change against another one in points.

    UAR is the mean, over the labels that occur, of the percentage of items answered correctly (Schuller, Steidl and
    Batliner 2009). Answers that cannot be read count as not correct. ``used`` says which items count, dimension (item):
    all that were asked by default, under ``against`` too.
    """
    used = panel.asked(condition) if used is None else used
    if against is not None:
        used = used & panel.asked(against)
    hits = ((panel.answer(condition) == panel.truth) & used).astype(float)
    if against is not None:
        hits -= (panel.answer(against) == panel.truth) & used
    items = panel.per_speaker(used.astype(float))
    heard = items.sum(axis=0) > 0
    counts = replicates(panel.per_speaker(hits)[:, heard])
    recall = ratio(100 * counts, replicates(items[:, heard]))
    values = recall.mean(axis=1) if heard.any() else np.full(len(items) + 1, np.nan)
    return Estimate(values, items.sum(axis=1), speakers=panel.speakers)


def uar(run: Run, panels: dict[str, Panel]) -> pl.DataFrame:
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
    for scoring, panel in panels.items():
        mass, forms = _letter_mass(run, panel, scoring), _forms(run, panel, scoring)
        for condition in panel.rows:
            used, answer = panel.asked(condition), panel.answer(condition)
            if not used.any():
                continue
            found = uar_estimate(panel, condition).columns()
            row = found | {
                "condition": condition, "kind": kinds.get(condition, condition), "scoring": scoring,
                "n": int(used.sum()), "uar": found["estimate"],
                "accuracy": _percent(answer == panel.truth, used), "chance": panel.chance,
                "letter_mass": mass.get(condition), "agreement": agreement(panels, condition),
                "changed": changed(panel, condition), "unreadable": _percent(answer == UNREADABLE, used),
                "uar_readable": _readable(panel, condition) if scoring == "generation" else None,
                **dict.fromkeys(FORMS.values()), **forms.get(condition, {}),
            }  # fmt: skip
            row["hollow"] = (row["letter_mass"] is not None and row["letter_mass"] < LEAST_LETTER_MASS) or (
                row["agreement"] is not None and row["agreement"] < LEAST_AGREEMENT
            )
            rows.append(row)
    return as_table("uar", rows)


def hollow_conditions(levels: pl.DataFrame) -> frozenset[str]:
    """The conditions of a UAR table that are hollow in either way of scoring."""
    return frozenset(levels.filter("hollow")["condition"])


def changed(panel: Panel, condition: str, against: str = "baseline") -> float | None:
    """The percentage of items whose answer under a condition differs from that under another one.

    For the condition ``null`` (nothing is changed, only the batch is composed differently) this is the
    flip rate of the arithmetic: effects of its size mean nothing.
    """
    both = panel.asked(condition) & panel.asked(against)
    if not both.any():
        return None
    return _percent(panel.answer(condition) != panel.answer(against), both)


def agreement(panels: dict[str, Panel], condition: str) -> float | None:
    """The percentage of items on which the likeliest letter is also the answer that the model writes."""
    if not {"likelihood", "generation"} <= set(panels):
        return None
    scored, written = panels["likelihood"], panels["generation"]
    both = scored.asked(condition) & written.asked(condition)
    return _percent(scored.answer(condition) == written.answer(condition), both) if both.any() else None


def _letter_mass(run: Run, panel: Panel, scoring: str) -> dict[str, float]:
    answers = run.answers.filter((pl.col("scoring") == scoring) & pl.col("item").is_in(panel.items.tolist()))
    means = answers.sort("item").group_by("condition", maintain_order=True).agg(pl.col("letter_mass").mean())
    return {condition: mass for condition, mass in means.iter_rows() if mass is not None}


def _forms(run: Run, panel: Panel, scoring: str) -> dict[str, dict[str, float]]:
    """The share of each form of written answers in %, by condition; nothing for answers by likelihood."""
    answers = run.answers.filter(
        (pl.col("scoring") == scoring) & pl.col("item").is_in(panel.items.tolist()) & pl.col("form").is_not_null()
    )
    if scoring != "generation" or answers.is_empty():
        return {}
    shares = [(100 * (pl.col("form") == form).mean()).alias(name) for form, name in FORMS.items()]
    found = answers.group_by("condition").agg(shares)
    return {row.pop("condition"): row for row in found.iter_rows(named=True)}


def _readable(panel: Panel, condition: str) -> float | None:
    asked = panel.asked(condition)
    read = asked & (panel.answer(condition) != UNREADABLE)
    if set(panel.truth[read].tolist()) != set(panel.truth[asked].tolist()):
        return None
    return finite(uar_estimate(panel, condition, read).values[0])


def _percent(hits: np.ndarray, used: np.ndarray) -> float:
    return 100 * float(hits[used].mean())
