"""Sets of misses and false alarms again: effects from the slow families, overlaps by sets of numbers."""

from __future__ import annotations

import polars as pl
from scipy import stats

from emoscope.neurons.selection import load_set
from tests.analysis.slow import FAMILY, HOLLOW, UNITS, Families, Row, Slow, mean

HITS = {"misses": "hits-as-misses", "false-alarms": "hits-as-false-alarms"}


def slow_outcome_effects(slow: Slow, families: Families, hollow: set[str]) -> list[Row]:
    rows: list[Row] = []
    sets = [] if not (slow.folder / "sets.parquet").is_file() else pl.read_parquet(slow.folder / "sets.parquet").to_dicts()  # fmt: skip
    controls = {row["control"] for row in slow.conditions}
    for key in families.single:
        about = dict(zip(FAMILY, key, strict=True))
        outcome = about["control"]
        if outcome not in HITS:
            continue

        def alike(control: str, key=key) -> tuple[tuple, ...]:
            same = (*key[:5], control, *key[7:])
            return tuple(one for one in families.single if (*one[:6], *one[7:]) == same)

        hits = alike(HITS[outcome] if HITS[outcome] in controls else "target")
        matched = alike("matched")
        targets, used = families.shared((key, *hits, *matched))
        everything = {c for one in (key, *hits, *matched) for c in families.single[one].values()}
        row = {name: about[name] for name in ("selector", "budget", "scope", "kind", "alpha")} | {"outcome": outcome}
        row |= {"n": int(used.sum()), "targets": len(targets), "hollow": bool(hollow & {"baseline", *everything})}
        mine = [one["n"] for one in sets if one["control"] == outcome and one["fold"] != "all"]
        row["clips"] = min(mine) if mine else None
        falls = about["kind"] == "deactivate"
        names = ("gap", "self", "sensitivity", "bias") if falls else ("pull_gap", "pull_overall", "bias")
        found = {}
        for name in names:
            own, like, control = (families.value(name, keys, targets) for keys in ((key,), hits, matched))
            wanted = {
                ("outcome", "baseline"): own, ("hits", "baseline"): like,
                ("outcome", "hits"): lambda kept, own=own, like=like: own(kept) - like(kept),
                ("outcome", "matched"): lambda kept, own=own, control=control: own(kept) - control(kept),
                ("hits", "matched"): lambda kept, like=like, control=control: like(kept) - control(kept),
            }  # fmt: skip
            for (whose, against), value in wanted.items():
                if against == "matched" and not matched:
                    continue
                got = slow.interval(value, used)
                found[whose, against, name] = got
                draws = len(matched) if against == "matched" else 1
                rows.append(row | {"sets": whose, "against": against, "measure": name, "draws": draws} | got)
                rows[-1] |= {"unit": UNITS.get(name, "points"), "verdict": None}
        first = names[0]
        last = next(one for one in reversed(rows) if (one["sets"], one["against"], one["measure"]) == ("outcome", "hits", first))  # fmt: skip
        three = [found.get(way) for way in (("outcome", "matched", first), ("hits", "matched", first), ("outcome", "hits", first))]  # fmt: skip
        last["verdict"], why = _verdict(three, falls, row["hollow"])
        last["reason"] = last["reason"] or why
    return rows


def _verdict(three: list[Row | None], falls: bool, hollow: bool) -> tuple[str | None, str | None]:
    if hollow:
        return None, HOLLOW
    if None in three:
        return None, "no matched controls"
    if any(one["low"] is None for one in three):
        return None, next(one["reason"] for one in three if one["low"] is None)
    own, hits, less = ((-one["high"], -one["low"]) if falls else (one["low"], one["high"]) for one in three)
    if not hits[0] > 0:
        return None, "sets of as many hits do not act beyond matched controls"
    if own[0] > 0:
        return ("acts less" if less[1] < 0 else "acts as hits do"), None
    if less[1] < 0:
        return ("acts the other way" if own[1] < 0 else "does not act"), None
    return "undecided", None


def slow_outcome_sets(slow: Slow) -> list[Row]:
    rows: list[Row] = []
    if not (slow.folder / "sets.parquet").is_file():
        return rows
    every = [row for row in pl.read_parquet(slow.folder / "sets.parquet").to_dicts() if row["fold"] != "all"]
    count, width = slow.manifest["model"]["layers"], slow.manifest["model"]["width"]
    for outcome, like in HITS.items():
        mine = [row for row in every if row["control"] == outcome]
        if not mine:
            continue
        about = {name: mine[0][name] for name in ("selector", "budget", "scope")}
        there = {row["control"] for row in every}
        control = like if like in there else "target"
        name = next(row["set"] for row in every if row["control"] == control and about.items() <= row.items())
        second = next((row["set"] for row in every if row["control"] == like and row["draw"] == 1), None)
        folds, emotions = sorted({row["fold"] for row in mine}), sorted({row["emotion"] for row in mine})

        def read(name: str, fold: str, emotion: str) -> set[int]:
            return set(load_set(slow.folder / "sets", name, fold)[emotion].tolist())

        for emotion in emotions:
            pairs = [(read(mine[0]["set"], fold, emotion), read(name, fold, emotion)) for fold in folds]
            same = [len(a & b) / len(a | b) for a, b in pairs]
            others = [
                len(read(mine[0]["set"], fold, emotion) & (b := read(name, fold, e))) / len(read(mine[0]["set"], fold, emotion) | b)
                for fold in folds for e in emotions if e != emotion
            ]  # fmt: skip
            alike = []
            for pair in pairs:
                shares = [[sum(n // width == layer for n in one) / len(one) for layer in range(count)] for one in pair]
                alike.append(1 - sum(abs(a - b) for a, b in zip(*shares, strict=True)) / 2)
            twice = [(read(name, fold, emotion), read(second, fold, emotion)) for fold in folds if second]
            size = round(mean([len(one) for pair in pairs for one in pair]))
            shared = stats.hypergeom(count * width, size, size)
            row = about | {"outcome": outcome, "emotion": emotion, "folds": len(folds), "jaccard": mean(same)}
            row |= {"jaccard_min": min(same), "jaccard_max": max(same), "jaccard_others": mean(others)}
            row["jaccard_hits"] = mean([len(a & b) / len(a | b) for a, b in twice]) if twice else None
            row |= {"layers_alike": mean(alike), "clips": min(one["n"] for one in mine)}
            rows.append(row | {"chance": sum(shared.pmf(i) * i / (2 * size - i) for i in range(size + 1))})
    return rows
