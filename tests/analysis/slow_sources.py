"""What sets of other parts do, again: effects as for a part's own sets, and the UAR or accuracy that they cost."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import polars as pl

from tests.analysis.slow import FAMILY, Families, Row, Slow, mean, share
from tests.analysis.slow_tables import _effects, _levels, _ranks


def sources(folder: Path) -> list[str]:
    frame = pl.read_parquet(folder / "conditions.parquet")
    return sorted({row["source"] for row in frame.to_dicts() if row.get("source")})


def level(slow: Slow, condition: str, kept: np.ndarray) -> float:
    """UAR in %, or the accuracy where every text question has options of its own."""
    study = json.loads((slow.folder / "manifest.json").read_text())["study"]
    if study.get("question", {}).get("presentation") == "text":
        return 100 * share(slow.correct(condition), kept)
    return mean(slow.recalls(slow.correct(condition), kept))


def slow_foreign(folder: Path) -> list[Row]:
    rows = []
    for source in sources(folder):
        slow = Slow(folder, source)
        if ("likelihood", "baseline") not in slow.said:
            continue
        families = Families(slow)
        hollow = {row["condition"] for row in _levels(slow)["uar"] if row["hollow"]}
        for key, draws in families.all():
            matched = families.matched(key)
            for row in _of_options(families, key, draws, matched, hollow):
                rows.append(row | {"source": source, "target": None})
            for row in _damage(slow, families, key, draws, (), hollow):
                rows.append(row | {"source": source})
            for row in _damage(slow, families, key, draws, matched, hollow) if matched else []:
                rows.append(row | {"source": source})
    for row in rows:
        row.pop("family", None)
    return rows


def _touched(families: Families, keys: tuple[tuple, ...], hollow: set[str]) -> bool:
    return "baseline" in hollow or any(c in hollow for key in keys for c in families.single[key].values())


def _of_options(families, key, draws, matched, hollow) -> list[Row]:
    targets, used = families.shared(draws)
    if not targets or not used.any():
        return []
    about = dict(zip(FAMILY, key, strict=True))
    rows = _effects(families, about, draws, targets, used, _touched(families, draws, hollow))
    if matched:
        both = (key, *matched)
        common = families.shared(both)
        for name, (place, count) in _ranks(families, about, key, matched, *common).items():
            for row in rows:
                if row["measure"] == name:
                    row["rank"], row["combinations"] = place, count
        rows += _effects(families, about, (key,), *common, _touched(families, both, hollow), matched)
    return rows


def _damage(slow, families, key, draws, matched, hollow) -> list[Row]:
    both = (*draws, *matched)
    targets = set.intersection(*(set(families.single[one]) for one in both))
    used = slow.asked("baseline")
    for one in both:
        for condition in families.single[one].values():
            used = used & slow.asked(condition)
    if not targets or not used.any():
        return []
    about = dict(zip(FAMILY, key, strict=True))
    named = [None, *targets] if about["control"] == "target" or about["draw"] is None else [None]
    rows = []
    for target in named:
        these = sorted(targets) if target is None else [target]

        def cost(one, kept, these=these) -> float:
            return mean([level(slow, families.single[one][t], kept) - level(slow, "baseline", kept) for t in these])

        def value(kept, cost=cost) -> float:
            if matched:
                return cost(key, kept) - mean([cost(one, kept) for one in matched])
            return mean([cost(one, kept) for one in draws])

        each = [cost(key, used) - cost(one, used) for one in matched] or [cost(one, used) for one in draws]
        row = about | {"measure": "excess_damage" if matched else "damage", "target": target, "unit": "points"}
        row |= {"n": int(used.sum()), "targets": len(these), "draws": len(each), "rank": None, "combinations": None}
        row |= (
            {"draw_min": min(each), "draw_max": max(each)} if len(each) > 1 else dict.fromkeys(("draw_min", "draw_max"))
        )
        row["hollow"] = _touched(families, both, hollow)
        found = slow.interval(value, used)
        rows.append(row | found)
        assert found["estimate"] is None or not math.isnan(found["estimate"])
    return rows
