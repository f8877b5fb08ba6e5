"""Steering without a label: what two-pass, mixed and united injection change, next to steering by the true label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.jackknife import interval, replicates
from emoscope.analysis.panel import Panel
from emoscope.schemas import as_table

WAYS = ("targeted", "two-pass", "mix", "mix-own", "mix-outputs", "union")
"""``targeted`` steers each clip's own emotion and so knows the label: what the other ways are compared with."""

UNITS = {"uar_change": "points", "lost": "points", "gained": "points", "true_logp": "nat"}
"""The measures and their units."""


@dataclass(frozen=True)
class Answered:
    """What a way of steering answers.

    Attributes:
        answers: code of the answer, dimension (item).
        logp: log-probability of the true option among the item's options, nat, dimension (item).
        used: which items were asked, dimension (item).
        conditions: the conditions that it rests on.
    """

    answers: np.ndarray
    logp: np.ndarray
    used: np.ndarray
    conditions: frozenset[str]


def agnostic(panel: Panel, conditions: pl.DataFrame, hollow: Set[str] = frozenset()) -> pl.DataFrame:
    """Change of UAR, of log p of the true option, and answers lost and gained, for every way to steer without a label.

    ``two-pass`` takes each item's answer under steering of the emotion that the baseline answered, ``mix-outputs``
    the mean of the log-probabilities of all steered passes; both are read off the targeted conditions of the same
    set and alpha.

    Args:
        panel: the stored answers by likelihood.
        conditions: the table of conditions.
        hollow: conditions whose answers support no claim.

    Returns:
        the columns of table ``agnostic``. ``against`` is baseline, matched (the set minus the mean of its matched
        draws) or targeted (minus steering by the true label). ``lost`` and ``gained`` are shares of items that turn
        wrong and right; as all measures they are means over the emotions of the items, so uar_change = gained - lost.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in conditions.filter(pl.col("kind").is_in(WAYS)).sort("condition").iter_rows(named=True):
        groups.setdefault(tuple(row[name] for name in ("selector", "budget", "scope", "alpha")), []).append(row)
    rows: list[dict[str, Any]] = []
    for key, members in groups.items():
        about = dict(zip(("selector", "budget", "scope", "alpha"), key, strict=True))
        found = {}
        for row in [{**one, "kind": "targeted"} for one in members] + members:
            done = _answered(panel, conditions, row)
            if done is not None:
                found[row["kind"], row["control"] or "target", row["draw"] or 0] = done
        if found:
            rows += [about | row for row in _group(panel, found, hollow)]
    frame = as_table("agnostic", rows)
    order = pl.col("way").replace_strict({way: place for place, way in enumerate(WAYS)}, return_dtype=pl.Int64)
    return frame.sort("selector", "budget", "scope", "alpha", order, "control", "against", "measure", nulls_last=False)


def _group(panel: Panel, found: Mapping[tuple[str, str, int], Answered], hollow: Set[str]) -> Iterator[dict[str, Any]]:
    used = np.logical_and.reduce([one.used for one in found.values()])
    before = _untouched(panel)
    known = used & np.isfinite(before.logp) & np.logical_and.reduce([np.isfinite(one.logp) for one in found.values()])
    values = {key: _measures(panel, before, one, used, known) for key, one in found.items()}

    def rows(way: str, control: str, against: str, parts: Sequence[Any], minus: Sequence[Any] = ()) -> Iterator[Any]:
        rests_on = frozenset({"baseline"}).union(*(found[key].conditions for key in (*parts, *minus)))
        for measure, unit in UNITS.items():
            moved = np.mean([values[key][measure] for key in parts], axis=0)
            if minus:
                moved = moved - np.mean([values[key][measure] for key in minus], axis=0)
            there = known if measure == "true_logp" else used
            one = interval(moved, panel.per_speaker(there.astype(float)).sum(axis=1))
            yield {
                "way": way, "control": control, "against": against, "measure": measure, "unit": unit,
                "estimate": one.estimate, "low": one.low, "high": one.high, "speakers": one.speakers, "df": one.df,
                "n": int(there.sum()), "draws": len(minus or parts), "reason": one.reason,
                "hollow": bool(rests_on & hollow),
            }  # fmt: skip

    if not used.any():
        return
    for way in WAYS:
        own = [key for key in found if key[:2] == (way, "target")]
        matched = [key for key in found if key[:2] == (way, "matched")]
        targeted = [key for key in found if key[:2] == ("targeted", "target")]
        if own:
            yield from rows(way, "target", "baseline", own)
        if matched:
            yield from rows(way, "matched", "baseline", matched)
        if own and matched:
            yield from rows(way, "target", "matched", own, matched)
        if own and targeted and way != "targeted":
            yield from rows(way, "target", "targeted", own, targeted)


def _untouched(panel: Panel) -> Answered:
    return Answered(
        panel.answer("baseline"), _true(panel, among_options(panel.log_odds[panel.rows["baseline"]])),
        panel.asked("baseline"), frozenset({"baseline"}),
    )  # fmt: skip


def _answered(panel: Panel, conditions: pl.DataFrame, row: Mapping[str, Any]) -> Answered | None:
    """What one condition answers, or is worked out to answer; ``None`` where it was not asked."""
    if "baseline" not in panel.rows:
        return None
    if row["kind"] in ("mix", "mix-own", "union"):
        if row["condition"] not in panel.rows:
            return None
        steered = {None: row["condition"]}
    else:
        alike = conditions.filter(
            (pl.col("kind") == "steer") & (pl.col("set") == row["set"]) & (pl.col("alpha") == row["alpha"])
            & (pl.col("positions").fill_null("all") == "all") & (pl.col("layers").fill_null("all") == "all") & pl.col("target").is_in(list(panel.labels))
        )  # fmt: skip
        steered = dict(alike.select("target", "condition").iter_rows())
        if not steered or any(condition not in panel.rows for condition in steered.values()):
            return None
    asked = np.logical_and.reduce([panel.asked(condition) for condition in ("baseline", *steered.values())])
    passes = [panel.rows[condition] for condition in steered.values()]
    if row["kind"] == "mix-outputs":
        logp = among_options(panel.log_odds[passes]).mean(axis=0)
        there = ~np.isnan(logp).all(axis=1)
        if not there.any():
            return None
        answers = np.where(there, np.where(np.isnan(logp), -np.inf, logp).argmax(axis=1), -1)
        logp = logp - np.log(np.nansum(np.exp(logp), axis=1, keepdims=True))
        return Answered(answers, _true(panel, logp), asked & there, frozenset(steered.values()))
    if len(passes) == 1 and None in steered:
        which = np.full(len(panel.items), passes[0])
    else:
        # an emotion without a set is not steered: the answer stays the baseline's
        row_of = np.full(len(panel.labels) + 2, panel.rows["baseline"])
        for target, condition in steered.items():
            row_of[panel.labels.index(str(target))] = panel.rows[condition]
        which = row_of[panel.truth if row["kind"] == "targeted" else panel.answer("baseline")]
    items = np.arange(len(panel.items))
    logp = among_options(panel.log_odds[which, items])
    return Answered(panel.answers[which, items], _true(panel, logp), asked, frozenset(steered.values()))


def among_options(odds: np.ndarray) -> np.ndarray:
    """Log-probabilities among the options, from the log-odds of each against the others.

    Example:
        >>> among_options(np.log([3.0, 1 / 3])).round(3).tolist()  # ln(0.75), ln(0.25)
        [-0.288, -1.386]
    """
    return -np.logaddexp(0.0, -odds, out=np.full(odds.shape, np.nan), where=~np.isnan(odds))


def _true(panel: Panel, logp: np.ndarray) -> np.ndarray:
    return np.asarray(logp[np.arange(len(panel.truth)), panel.truth])


def _measures(
    panel: Panel, before: Answered, after: Answered, used: np.ndarray, known: np.ndarray
) -> dict[str, np.ndarray]:
    """The measures, dimension (1 + speaker): all speakers, then without each."""
    was, now = before.answers == panel.truth, after.answers == panel.truth
    gained = _mean_of_labels(panel, 100.0 * (now & ~was), used)
    lost = _mean_of_labels(panel, 100.0 * (was & ~now), used)
    moved = np.where(known, after.logp - before.logp, 0.0)
    return {
        "uar_change": gained - lost, "lost": lost, "gained": gained, "true_logp": _mean_of_labels(panel, moved, known),
    }  # fmt: skip


def _mean_of_labels(panel: Panel, values: np.ndarray, used: np.ndarray) -> np.ndarray:
    items = panel.per_speaker(used.astype(float))
    heard = items.sum(axis=0) > 0
    if not heard.any():
        return np.full(len(items) + 1, np.nan)
    asked, sums = replicates(items[:, heard]), replicates(panel.per_speaker(np.where(used, values, 0.0))[:, heard])
    return np.asarray(np.divide(sums, asked, out=np.full(asked.shape, np.nan), where=asked > 0).mean(axis=1))
