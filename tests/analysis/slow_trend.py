"""Page's trend test again, with the chances of L counted out over all orders of ranks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np

from tests.analysis.slow import FAMILY, Families, Row, Slow, mean


def slow_trend(slow: Slow, families: Families, hollow: Callable[[tuple[tuple, ...]], bool]) -> list[Row]:
    groups: dict[tuple, list[tuple[float, tuple[tuple, ...]]]] = {}
    names = [name for name in FAMILY if name != "alpha"]
    for key, draws in families.all():
        about = dict(zip(FAMILY, key, strict=True))
        single = about["control"] == "target" or about["draw"] is None
        if about["kind"] == "steer" and 0 < about["alpha"] <= 1 and single:
            groups.setdefault(tuple(about[name] for name in names), []).append((about["alpha"], draws))
    rows = []
    for group, members in groups.items():
        if len(members) < 2:
            continue
        members.sort()
        alphas = [alpha for alpha, _ in members]
        matched = [families.matched(draws[0]) if len(draws) == 1 else () for _, draws in members]
        for prefix in ("", "excess_") if all(matched) else ("",):
            both = [(*draws, *(like if prefix else ())) for (_, draws), like in zip(members, matched, strict=True)]
            targets, used = families.shared(tuple(key for keys in both for key in keys))
            for measure in ("pull", "pull_gap"):

                def values(kept, prefix=prefix, measure=measure, targets=targets, members=members, matched=matched):
                    return [
                        families.excess(measure, draws[0], like, targets)(kept)
                        if prefix
                        else families.value(measure, draws, targets)(kept)
                        for (_, draws), like in zip(members, matched, strict=True)
                    ]

                def slope(kept, values=values, alphas=alphas):
                    away = [alpha - mean(alphas) for alpha in alphas]
                    return sum(a * y for a, y in zip(away, values(kept), strict=True)) / sum(a * a for a in away)

                line = slow.interval(slope, used)
                each = [values(used & (slow.speaker == speaker)) for speaker in sorted(set(slow.speaker[used]))]
                blocks = [one for one in each if not any(math.isnan(value) for value in one)]
                row = dict(zip(names, group, strict=True)) | {"measure": prefix + measure, "blocks": len(blocks)}
                row |= {"tests": f"{prefix}{measure} rises with alpha".replace("_", " ")}
                row |= {"alphas": ", ".join(f"{alpha:g}" for alpha in alphas), "slope": line["estimate"]}
                row |= {name: line[name] for name in ("low", "high", "speakers", "df", "reason")}
                row |= {"unit": "points per unit of alpha", "page_l": None, "p": None}
                row["hollow"] = any(hollow(keys) for keys in both)
                if len(alphas) < 3:
                    row["reason"] = f"only {len(alphas)} strengths up to 1: the test needs 3"
                elif len(blocks) < 5:
                    row["reason"] = f"only {len(blocks)} speakers with every emotion: 5 are needed"
                else:
                    row["page_l"], row["p"] = page(np.round(blocks, 9).tolist())
                rows.append(row)
    return rows


def page(blocks: list[list[float]]) -> tuple[float, float]:
    """L, and the chance of an L at least as large (rounded down) where all orders are equally likely."""
    statistic = sum((place + 1) * rank_of(value, row) for row in blocks for place, value in enumerate(row))
    size = len(blocks[0])
    orders = [sum((i + 1) * rank for i, rank in enumerate(o)) for o in itertools.permutations(range(1, size + 1))]
    chances = {0: 1.0}
    for _ in blocks:
        after: dict[int, float] = {}
        for total, chance in chances.items():
            for one in orders:
                after[total + one] = after.get(total + one, 0) + chance / len(orders)
        chances = after
    return statistic, sum(chance for total, chance in chances.items() if total >= int(statistic))


def rank_of(value: float, row: list[float]) -> float:
    """1 for the smallest; ties share the mean of their ranks."""
    return sum(other < value for other in row) + (sum(other == value for other in row) + 1) / 2
