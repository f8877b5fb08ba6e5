"""How the sets of one corpus act on another: by source and host, the two directions compared, and score agreement."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import polars as pl

from emoscope.analysis.accuracy import uar_interval
from emoscope.analysis.effects import columns, measures, unit
from emoscope.analysis.families import mean
from emoscope.analysis.jackknife import Interval, interval, t_quantile, two_sided
from emoscope.analysis.parts import SHARED, Act, Asked, StudyRuns
from emoscope.schemas import as_table, conform

FUSED = "fused: "
"""How the name of a source begins that is made of the sets of all corpora."""

SAME_SPEAKERS = "both corpora hold the same speakers: their errors are not independent"


def transfer(whole: StudyRuns) -> pl.DataFrame:
    """What the sets of every source do on every corpus, asked about the emotions that all share.

    Args:
        whole: the study.

    Returns:
        the columns of table ``transfer``; empty where there is one corpus.
    """
    rows: list[dict[str, Any]] = []
    for part in whole.of_role(SHARED):
        asked = part.asked
        if asked is None:
            continue
        level = uar_interval(asked.panel, "baseline")
        host = {"host": part.of, "uar": level.estimate, "uar_low": level.low, "uar_high": level.high}
        host["chance"] = asked.panel.chance
        mine = asked.acts.get(part.of, {})
        for source, acts in asked.acts.items():
            for key, act in acts.items() if source is not None else ():
                about = {name: act.family[name] for name in ("kind", "selector", "budget", "alpha")} | host
                about |= {"source": source, "diagonal": source == part.of, "fused": str(source).startswith(FUSED)}
                own = mine.get(key) if source != part.of else None
                for excess in (False, True) if act.matched else (False,):
                    rows += [about | row for row in _rows(asked, act, own, excess)]
    return as_table("transfer", _kept(rows))


def _rows(asked: Asked, act: Act, own: Act | None, excess: bool) -> list[dict[str, Any]]:
    """The measures of one act, and how far they differ from those of the host's own sets on the same clips."""
    targets, used = asked.shared([act], excess)
    if not targets or not used.any():
        return []
    each, sizes = asked.each(act, excess, targets, used), asked.sizes(used)
    found = measures(mean(each))
    less = _less(asked, act, own, excess)
    fixed = {"n": int(sizes.sum()), "targets": len(targets), "draws": len(each), "hollow": asked.touched([act], excess)}
    rows = []
    for name, values in found.items():
        row = fixed | columns(interval(values, sizes)) | {"measure": "excess_" * excess + name, "unit": unit(name)}
        if name in less:
            apart = less[name]
            row |= {"less": apart.estimate, "less_low": apart.low, "less_high": apart.high, "less_p": apart.p}
        rows.append(row)
    return rows


def _less(asked: Asked, act: Act, own: Act | None, excess: bool) -> dict[str, Interval]:
    if own is None or (excess and not own.matched):
        return {}
    targets, used = asked.shared([act, own], excess)
    if not targets or not used.any():
        return {}
    first, second = (measures(mean(asked.each(one, excess, targets, used))) for one in (act, own))
    return {name: interval(first[name] - second[name], asked.sizes(used)) for name in first}


def _kept(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fill in the share of the diagonal that is kept, where the diagonal is clear of zero."""
    alike = ("host", "kind", "alpha", "measure")
    clear = {
        tuple(row[name] for name in alike): row["estimate"]
        for row in rows
        if row["diagonal"] and row["low"] is not None and (row["low"] > 0 or row["high"] < 0)
    }
    shares = [clear.get(tuple(row[name] for name in alike)) for row in rows]
    return [
        row | {"kept": None if whole is None or row["estimate"] is None else 100 * row["estimate"] / whole}
        for row, whole in zip(rows, shares, strict=True)
    ]


def asymmetry(found: pl.DataFrame, whole: StudyRuns) -> pl.DataFrame:
    """Whether the sets of one corpus do more on another one than the other way round.

    The two effects are of different clips and speakers, so the interval of their difference is Welch's (1947): with
    the jackknife errors s1 and s2 and their degrees of freedom f1 and f2, error^2 = s1^2 + s2^2 and
    df = error^4 / (s1^4 / f1 + s2^4 / f2). It is conditional on the selected sets, as all intervals are.

    Args:
        found: the table of transfer.
        whole: the study.

    Returns:
        the columns of table ``asymmetry``; without an interval where both corpora hold the same speakers.
    """
    people = {
        part.of: {(part.corpus, speaker) for speaker in part.asked.panel.speakers}
        for part in whole.of_role(SHARED)
        if part.asked is not None
    }
    alike = ("kind", "selector", "budget", "alpha", "measure")
    by_place: dict[tuple[str, str], dict[tuple[Any, ...], dict[str, Any]]] = {}
    for row in found.iter_rows(named=True):
        by_place.setdefault((row["source"], row["host"]), {})[tuple(row[name] for name in alike)] = row
    rows = []
    for first, second in combinations(people, 2):
        forward, backward = by_place.get((first, second), {}), by_place.get((second, first), {})
        for key in [key for key in forward if key in backward]:
            there, back = forward[key], backward[key]
            row = dict(zip(alike, key, strict=True)) | {"first": first, "second": second, "unit": there["unit"]}
            row |= {"hollow": there["hollow"] or back["hollow"]}
            for name, one in (("forward", there), ("backward", back)):
                row |= {name: one["estimate"], f"{name}_low": one["low"], f"{name}_high": one["high"]}
            why_not = SAME_SPEAKERS if people[first] & people[second] else None
            rows.append(row | welch(there, back, why_not))
    return as_table("asymmetry", rows)


def welch(first: Mapping[str, Any], second: Mapping[str, Any], why_not: str | None = None) -> dict[str, Any]:
    """The difference of two independent estimates with Welch's interval (Welch 1947).

    Args:
        first: ``estimate``, ``low``, ``high``, ``df`` and ``reason``.
        second: the same of the other one.
        why_not: why there can be no interval.

    Returns:
        estimate, low, high, df, p and reason.

    Example:
        >>> one = {"estimate": 3.0, "low": 3.0 - 2.776445, "high": 3.0 + 2.776445, "df": 4.0, "reason": None}
        >>> found = welch(one, one | {"estimate": 1.0})  # errors of 1 each: error sqrt(2), df 2^2 / (1/4 + 1/4) = 8
        >>> {name: round(found[name], 3) for name in ("estimate", "low", "high", "df", "p")}
        {'estimate': 2.0, 'low': -1.261, 'high': 5.261, 'df': 8.0, 'p': 0.195}
    """
    known = [one["estimate"] for one in (first, second)]
    found: dict[str, Any] = dict.fromkeys(("low", "high", "df", "p"))
    found |= {"estimate": None if None in known else known[0] - known[1]}
    found |= {"reason": why_not or first["reason"] or second["reason"]}
    if found["reason"] or found["estimate"] is None:
        return found
    ends = [(one["high"] - one["low"], one["df"]) for one in (first, second)]
    squares = [(wide / 2 / t_quantile(df, 0.975)) ** 2 for wide, df in ends]
    parts = sum(square**2 / df for square, (_, df) in zip(squares, ends, strict=True))
    df = sum(squares) ** 2 / parts if parts > 0 else min(df for _, df in ends)
    error = math.sqrt(sum(squares))
    half = t_quantile(df, 0.975) * error
    low, high = found["estimate"] - half, found["estimate"] + half
    return found | {"low": low, "high": high, "df": df, "p": two_sided(found["estimate"], error, df)}


def agreement(whole: StudyRuns) -> pl.DataFrame:
    """How alike the corpora score neurons, as the run wrote it; empty where it did not.

    Returns:
        the columns of table ``agreement``.
    """
    path = whole.folder / "agreement.parquet"
    frame = pl.read_parquet(path) if path.is_file() else pl.DataFrame()
    return conform(frame, "agreement").sort("source", "target", "selector", "emotion")
