"""Steering without a label again, item by item, from the stored answers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.analysis.slow import Row, Slow, mean, share

WAYS = ("targeted", "two-pass", "mix", "mix-own", "mix-outputs", "union")
Key = tuple[str, str, int]


def options(slow: Slow, condition: str, n: int) -> dict[str, float] | None:
    """Log-probabilities among the options of one item."""
    stored = slow.logp.get((condition, n))
    if stored is None:
        return None
    total = math.log(sum(math.exp(value) for value in stored.values()))
    return {option: value - total for option, value in stored.items()}


def answered(slow: Slow, way: str, row: Row) -> list[tuple[Any, float]] | None:
    """For every item (answer, log p of the true option); the answer is "not asked" where it was not."""
    if way in ("mix", "mix-own", "union"):
        needed = {None: row["condition"]}
    else:
        needed = {
            one["target"]: one["condition"] for one in slow.conditions
            if one["kind"] == "steer" and one["set"] == row["set"] and one["alpha"] == row["alpha"] and one["positions"] == one["layers"] == "all"
        }  # fmt: skip
    if not needed or any(("likelihood", one) not in slow.said for one in needed.values()):
        return None
    found: list[tuple[Any, float]] = []
    for n, item in enumerate(slow.items):
        if not all(slow.asked(one)[n] for one in ("baseline", *needed.values())):
            found.append(("not asked", math.nan))
            continue
        if way == "mix-outputs":
            passes = [options(slow, one, n) for one in needed.values()]
            mixed = {option: mean([one[option] for one in passes]) for option in passes[0]}
            total = math.log(sum(math.exp(value) for value in mixed.values()))
            found.append((max(mixed, key=mixed.get), mixed[item["truth"]] - total))
            continue
        said = slow.said["likelihood", "baseline"][n]
        told = {"targeted": item["truth"], "two-pass": said}.get(way)
        condition = needed.get(told, "baseline")
        found.append((slow.said["likelihood", condition][n], options(slow, condition, n)[item["truth"]]))
    return found


def slow_agnostic(slow: Slow, hollow: set[str]) -> list[Row]:
    rows: list[Row] = []
    mine = [row for row in slow.conditions if row["kind"] in WAYS]
    for about in {tuple(row[name] for name in ("selector", "budget", "scope", "alpha")) for row in mine}:
        members = [
            row for row in mine if tuple(row[name] for name in ("selector", "budget", "scope", "alpha")) == about
        ]
        found: dict[Key, list[tuple[Any, float]]] = {}
        rests: dict[Key, set[str]] = {}
        for row in members:
            for way in ("targeted", row["kind"]):
                one = answered(slow, way, row)
                if one is None:
                    continue
                key = (way, row["control"], row["draw"])
                found[key] = one
                rests[key] = {row["condition"]} | {
                    steered["condition"] for steered in slow.conditions
                    if way not in ("mix", "mix-own", "union") and steered["kind"] == "steer" and steered["set"] == row["set"]
                    and steered["alpha"] == row["alpha"] and steered["positions"] == steered["layers"] == "all"
                }  # fmt: skip
        used = np.array([all(one[n][0] != "not asked" for one in found.values()) for n in range(len(slow.items))])
        if not found or not used.any():
            continue
        values = {key: measured(slow, one) for key, one in found.items()}
        for way in WAYS:
            own, matched = ([key for key in found if key[:2] == (way, control)] for control in ("target", "matched"))
            targeted = [] if way == "targeted" else [key for key in found if key[:2] == ("targeted", "target")]
            for control, against, parts, minus in (
                ("target", "baseline", own, None), ("matched", "baseline", matched, None),
                ("target", "matched", own, matched), ("target", "targeted", own, targeted),
            ):  # fmt: skip
                if not parts or (minus is not None and not minus):
                    continue
                for measure in ("uar_change", "lost", "gained", "true_logp"):

                    def value(kept, parts=parts, minus=minus or [], measure=measure, values=values) -> float:
                        less = mean([values[key](measure, kept) for key in minus]) if minus else 0
                        return mean([values[key](measure, kept) for key in parts]) - less

                    one = slow.interval(value, used)
                    row = dict(zip(("selector", "budget", "scope", "alpha"), about, strict=True))
                    row |= {"way": way, "control": control, "against": against, "measure": measure}
                    row |= {name: one[name] for name in ("estimate", "low", "high", "speakers", "df", "reason")}
                    row |= {"n": int(used.sum()), "draws": len(minus or parts)}
                    row["unit"] = "nat" if measure == "true_logp" else "points"
                    row["hollow"] = bool(hollow & {"baseline"}.union(*(rests[key] for key in (*parts, *(minus or [])))))
                    rows.append(row)
    return rows


def measured(slow: Slow, one: list[tuple[Any, float]]) -> Any:
    was, now = slow.correct("baseline"), np.array([said for said, _ in one]) == slow.truth
    before = [options(slow, "baseline", n) for n in range(len(one))]
    lift = np.array([
        after - start[item["truth"]] if start else math.nan
        for (_, after), start, item in zip(one, before, slow.items, strict=True)
    ])  # fmt: skip
    by_name = {"lost": 100.0 * (was & ~now), "gained": 100.0 * (now & ~was), "true_logp": lift}
    by_name["uar_change"] = by_name["gained"] - by_name["lost"]
    there = [label for label in slow.labels if (slow.truth == label).any()]
    return lambda measure, kept: mean([share(by_name[measure], kept & (slow.truth == label)) for label in there])
