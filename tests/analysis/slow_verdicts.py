"""The verdicts again, slowly: every comparison of two clips of one speaker, and everything once more without each unit."""

from __future__ import annotations

import itertools
import math

import numpy as np
from scipy import stats

from tests.analysis.slow import HOLLOW, Families, Row, Slow, mean

CHANCE = "the untouched model is not clearly above chance: an effect would be one of how it answers, not of emotion"
ONE = "one draw of matched neurons does not say how much sets differ"


def slow_verdict(slow: Slow, families: Families, key: tuple, level: Row, hollow: bool) -> Row:
    """Verdict, reason and the two intervals of one family; ``level`` is the untouched model's row of UAR."""
    every = (key, *families.matched(key))
    targets, used = families.shared(every)
    found: Row = dict.fromkeys(("excess_evidence", "excess_evidence_low", "excess_evidence_high"))
    found |= dict.fromkeys(("excess_bias", "excess_bias_low", "excess_bias_high", "speakers"))
    rests = _tests(slow, [[families.single[one][m] for m in targets] for one in every], targets, used)
    if not isinstance(rests, str):
        for name, (estimate, low, high) in zip(("excess_evidence", "excess_bias"), rests[:2], strict=True):
            found |= {name: estimate, f"{name}_low": low, f"{name}_high": high}
        found["speakers"] = rests[2]
    low = level["uar"] if level["low"] is None else level["low"]
    if hollow:
        said, reason = None, HOLLOW
    elif slow.unknown:
        said, reason = None, "speakers are unknown"
    elif isinstance(rests, str):
        said, reason = None, rests
    elif low <= level["chance"]:
        said, reason = None, CHANCE
    else:
        said, reason = _rule(*(one[1:] for one in rests[:2]))
    return found | {"verdict": said, "reason": reason}


def _rule(evidence: tuple[float, float], bias: tuple[float, float]) -> tuple[str, str | None]:
    moves = bias[0] > 0 or bias[1] < 0
    kept, still = evidence[0] >= -2 and evidence[1] <= 2, bias[0] >= -0.1 and bias[1] <= 0.1
    words = ["removes evidence"] if evidence[1] < 0 else ["adds evidence"] if evidence[0] > 0 else []
    if words or (moves and kept):
        return " and ".join([*words, "pulls the answer"] if moves else words), None
    if kept and still:
        return "neither", None
    why = [] if kept else ["the interval of evidence is not within ±2 AUC points"]
    return "undecided", "; ".join(why if still or moves else [*why, "the bias interval is not within ±0.1 nat"])


def _tests(slow: Slow, sets: list[list[str]], targets: tuple[str, ...], used: np.ndarray) -> tuple | str:
    wanted = {condition for conditions in sets for condition in conditions}
    kept = [
        n for n in np.flatnonzero(used)
        if all(set(slow.logp[condition, n]) == set(slow.labels) for condition in wanted)
    ]  # fmt: skip
    if not kept:
        return "no item was answered under all conditions with every option"
    where = _units(slow, kept)
    units = sorted(set(where.values()))
    if len(units) < 5:
        return f"only {len(units)} speaker{'s' if len(units) > 1 else ''}: an interval needs at least 5"
    if len(sets) < 3:
        return ONE
    pairs = {(m, c) for m in targets for c in slow.labels if m != c and len(_units_of(slow, kept, where, m, c)) >= 5}
    if not pairs:
        return "fewer than 5 speakers have clips of an emotion with a set and of another one"

    def evidence(conditions: list[str], items: list[int]) -> float:
        means = []
        for m, condition in zip(targets, conditions, strict=True):
            aucs = [_auc(slow, condition, m, c, items) for c in slow.labels if (m, c) in pairs]
            means += [mean(aucs)] if aucs else []
        return mean(means)

    def bias(conditions: list[str], items: list[int]) -> float:
        return mean(
            [mean([slow.odds[condition][m][n] for n in items if slow.truth[n] != m])
             for m, condition in zip(targets, conditions, strict=True)]
        )  # fmt: skip

    found = []
    for statistic in (evidence, bias):
        values = [
            [statistic(conditions, [n for n in kept if where[n] != gone]) for gone in [None, *units]]
            for conditions in sets
        ]
        found.append(_interval(np.array(values), [_size(slow, kept, where, unit) for unit in units]))
    return found[0], found[1], len(units)


def _units(slow: Slow, kept: list[int]) -> dict[int, str]:
    """The session of each item where each speaker is in one and some hold several, else the speaker."""
    session = [item.get("session") for item in slow.items]
    of: dict[str, set] = {}
    for speaker, name in zip(slow.speaker, session, strict=True):
        of.setdefault(speaker, set()).add(name)
    names = set(session)
    if None in names or any(len(one) > 1 for one in of.values()) or not 1 < len(names) < len(of):
        return {n: str(slow.speaker[n]) for n in kept}
    return {n: str(session[n]) for n in kept}


def _units_of(slow: Slow, kept: list[int], where: dict[int, str], m: str, c: str) -> set[str]:
    """Units with a clip of one of the two by a speaker who has both."""
    both = {s for s in slow.speaker if {m, c} <= {slow.truth[n] for n in kept if slow.speaker[n] == s}}
    return {where[n] for n in kept if slow.speaker[n] in both and slow.truth[n] in (m, c)}


def _auc(slow: Slow, condition: str, m: str, c: str, items: list[int]) -> float:
    won = total = 0.0
    for speaker in sorted(set(slow.speaker)):
        first, second = (
            [slow.logp[condition, n][m] - slow.logp[condition, n][c] for n in items if (slow.speaker[n], slow.truth[n]) == (speaker, label)]
            for label in (m, c)
        )  # fmt: skip
        if first and second:
            weight = len(first) * len(second) / (len(first) + len(second))
            # equal but for the last bits of sums
            shares = [0.5 if abs(a - b) < 1e-12 else float(a > b) for a, b in itertools.product(first, second)]
            won, total = won + weight * mean(shares), total + weight
    return 100 * won / total if total else math.nan


def _size(slow: Slow, kept: list[int], where: dict[int, str], unit: str) -> float:
    total = 0.0
    for speaker in sorted(set(slow.speaker)):
        count = {
            e: sum((where[n], slow.speaker[n], slow.truth[n]) == (unit, speaker, e) for n in kept) for e in slow.labels
        }
        for a, b in itertools.permutations(slow.labels, 2):
            total += count[a] * count[b] / (count[a] + count[b]) if count[a] and count[b] else 0.0
    return total


def _interval(values: np.ndarray, sizes: list[float]) -> tuple[float, float, float]:
    """Of the first set beyond the others, dimensions (set, 1 + unit)."""

    def variance(each: np.ndarray) -> float:
        kept = [value for value, size in zip(each[1:], sizes, strict=True) if size > 0]
        return (len(kept) - 1) / len(kept) * sum((value - mean(kept)) ** 2 for value in kept)

    own, draws = values[0], values[1:]
    count, middle = len(draws), draws.mean(axis=0)
    alone = mean([variance(draw - middle) for draw in draws]) * count / (count - 1)
    whole = float(np.var(draws[:, 0], ddof=1))
    spread = max(0.0, whole - alone) * (1 + 1 / count)
    set_variance = variance(own - middle)
    units = sum(sizes) ** 2 / sum(size**2 for size in sizes) - 1
    # what is left after subtracting the clips' part is as uncertain as the whole
    each = set_variance**2 / units + ((whole * (1 + 1 / count)) ** 2 / (count - 1) if spread else 0.0)
    df = min(units, max(1.0, (set_variance + spread) ** 2 / each)) if each > 0 else units
    half = stats.t.ppf(0.975, df) * math.sqrt(set_variance + spread)
    estimate = float(own[0] - middle[0])
    return estimate, estimate - half, estimate + half
