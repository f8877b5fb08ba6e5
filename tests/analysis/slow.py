"""Every number of the result tables again, slowly and obviously, from a run folder's Parquet files.

Imports nothing of ``emoscope.analysis``. A statistic is a function of the items that count; the jackknife
calls it once for all items and once more without each speaker's items. The AUC compares every pair of items.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from emoscope.emotions import in_order
from emoscope.neurons.selection import load_set

FAMILY = ("kind", "selector", "budget", "scope", "to", "control", "draw", "alpha", "positions", "layers")
UNITS = {"sensitivity": "AUC points", "bias": "nat"}
HOLLOW = "too few answers are letters, or the written answers differ too often"
Row = dict[str, Any]
Statistic = Callable[[np.ndarray], float]


class Slow:
    """The items that count, what was answered, and the statistics of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = json.loads((folder / "manifest.json").read_text())
        items = pl.read_parquet(folder / "items.parquet")
        self.corpus = "+".join(sorted(set(items.filter(pl.col("fate") == "used")["corpus"])))
        items = items.filter((pl.col("fate") == "used") & pl.col("evaluated") & (pl.col("side") != "identify"))
        self.items = items.sort("item").to_dicts()
        self.labels = in_order({option for item in self.items for option in item["options"]})
        self.truth = np.array([item["truth"] for item in self.items])
        self.speaker = np.array([item["speaker"] or "recording " + item["clip"] for item in self.items])
        self.unknown = any(item["speaker"] is None for item in self.items)
        self.conditions = pl.read_parquet(folder / "conditions.parquet").to_dicts()
        self.said: dict[tuple[str, str], np.ndarray] = {}
        self.odds: dict[str, dict[str, np.ndarray]] = {}
        self.mass: dict[tuple[str, str], list[float]] = {}
        self._read()

    def _read(self) -> None:
        units = {path.stem for path in (self.folder / "units").glob("*.json")}
        if (self.folder / "units.parquet").is_file():
            units &= set(pl.read_parquet(self.folder / "units.parquet")["unit"])
        place = {item["item"]: n for n, item in enumerate(self.items)}
        for unit in sorted(units):
            if not (self.folder / "answers" / f"{unit}.parquet").is_file():
                continue
            for row in pl.read_parquet(self.folder / "answers" / f"{unit}.parquet").to_dicts():
                if row["item"] not in place:
                    continue
                n, key = place[row["item"]], (row["scoring"], row["condition"])
                self.said.setdefault(key, np.array(["not asked"] * len(self.items), dtype=object))[n] = row["answer"]
                if row["letter_mass"] is not None:
                    self.mass.setdefault(key, []).append(row["letter_mass"])
                if row["logp"] is None:
                    continue
                offered = in_order(self.items[n]["options"])
                odds = self.odds.setdefault(
                    row["condition"], {label: np.full(len(self.items), np.nan) for label in self.labels}
                )
                for i, label in enumerate(offered):
                    others = [math.exp(p - max(row["logp"])) for j, p in enumerate(row["logp"]) if j != i]
                    odds[label][n] = row["logp"][i] - max(row["logp"]) - math.log(sum(others))

    def asked(self, condition: str, scoring: str = "likelihood") -> np.ndarray:
        if (scoring, condition) not in self.said:
            return np.zeros(len(self.items), dtype=bool)
        return self.said[scoring, condition] != "not asked"

    def answered(self, condition: str, label: str, scoring: str = "likelihood") -> np.ndarray:
        return self.said[scoring, condition] == label

    def correct(self, condition: str, scoring: str = "likelihood") -> np.ndarray:
        return self.said[scoring, condition] == self.truth

    def recalls(self, hits: np.ndarray, kept: np.ndarray) -> list[float]:
        """The mean of hits for each label that occurs among all kept items, in %."""
        return [100 * share(hits, kept & (self.truth == label)) for label in self.labels if (self.truth == label).any()]

    def interval(self, statistic: Statistic, used: np.ndarray) -> Row:
        """Estimate, 95 % interval, df, p and the reason for a missing interval."""
        speakers = sorted(set(self.speaker[used]))
        row: Row = dict.fromkeys(("estimate", "low", "high", "df", "p", "reason"))
        row["speakers"] = len(speakers)
        row["estimate"] = estimate = statistic(used)
        if math.isnan(estimate):
            return row | {"estimate": None, "reason": "no items"}
        if len(speakers) < 5:
            plural = "s" if len(speakers) > 1 else ""
            return row | {"reason": f"only {len(speakers)} speaker{plural}: an interval needs at least 5"}
        without = [statistic(used & (self.speaker != speaker)) for speaker in speakers]
        if any(math.isnan(value) for value in without):
            return row | {"reason": "one speaker alone has all items of an emotion"}
        mean, count = sum(without) / len(without), len(without)
        error = math.sqrt((count - 1) / count * sum((value - mean) ** 2 for value in without))
        sizes = [int((self.speaker[used] == speaker).sum()) for speaker in speakers]
        df = sum(sizes) ** 2 / sum(n * n for n in sizes) - 1
        half = stats.t.ppf(0.975, df) * error
        p = 1.0 if abs(estimate) < 1e-12 else 0.0 if error < 1e-12 else 2 * stats.t.sf(abs(estimate) / error, df)
        return row | {"low": estimate - half, "high": estimate + half, "df": df, "p": p}

    def cells(self, condition: str, target: str, kept: np.ndarray) -> dict[str, tuple[float, float]]:
        """Change of accuracy and pull of every label that occurs, in points."""
        found = {}
        for label in self.labels:
            there = kept & (self.truth == label)
            moved = 100 * (share(self.correct(condition), there) - share(self.correct("baseline"), there))
            pulled = 100 * (
                share(self.answered(condition, target), there) - share(self.answered("baseline", target), there)
            )
            if (self.truth == label).any():
                found[label] = (moved, pulled)
        return found

    def auc(self, condition: str, target: str, kept: np.ndarray) -> float:
        """How often an item of the target has larger log-odds of it than another item, in AUC points."""
        odds = self.odds[condition][target]
        first, second = odds[kept & (self.truth == target)], odds[kept & (self.truth != target)]
        if not len(first) or not len(second):
            return math.nan
        wins = [np.sum(second < one) + 0.5 * np.sum(second == one) for one in first]
        return 100 * float(sum(wins)) / (len(first) * len(second))

    def ranked(self, condition: str, target: str, kept: np.ndarray) -> np.ndarray:
        there = ~np.isnan(self.odds["baseline"][target]) & ~np.isnan(self.odds[condition][target])
        return kept & there

    def evidence(self, condition: str, target: str, kept: np.ndarray) -> tuple[float, float]:
        """Sensitivity (AUC points) and bias (nat) of one condition."""
        kept = self.ranked(condition, target, kept)
        sensitivity = self.auc(condition, target, kept) - self.auc("baseline", target, kept)
        others = kept & (self.truth != target)
        lift = self.odds[condition][target] - self.odds["baseline"][target]
        return sensitivity, float(lift[others].mean()) if others.any() else math.nan


def share(hits: np.ndarray, kept: np.ndarray) -> float:
    return float(hits[kept].sum()) / int(kept.sum()) if kept.any() else math.nan


class Families:
    """One set per emotion under one intervention, with its draws and matched controls."""

    def __init__(self, slow: Slow) -> None:
        self.slow = slow
        self.single: dict[tuple, dict[str, str]] = {}
        self.declared: set[tuple] = set()
        for row in sorted(slow.conditions, key=lambda row: row["condition"]):
            if row["kind"] not in ("deactivate", "steer") or ("likelihood", row["condition"]) not in slow.said:
                continue
            key = tuple(row[name] for name in FAMILY)
            self.single.setdefault(key, {})[row["target"]] = row["condition"]
            if row["headline"]:
                self.declared.add(key)
        self.measures = cache(self._measures)

    def all(self) -> list[tuple[tuple, tuple[tuple, ...]]]:
        """Every family by itself, and all draws of each control together."""
        found = [(key, (key,)) for key in self.single]
        together: dict[tuple, list[tuple]] = {}
        for key in self.single:
            if key[5] != "target":
                together.setdefault((*key[:6], None, *key[7:]), []).append(key)
        return found + [(key, tuple(draws)) for key, draws in together.items()]

    def matched(self, key: tuple) -> tuple[tuple, ...]:
        same = (*key[:5], "matched", *key[7:])
        return tuple(one for one in self.single if (*one[:6], *one[7:]) == same) if key[5] == "target" else ()

    def shared(self, keys: tuple[tuple, ...]) -> tuple[tuple[str, ...], np.ndarray]:
        used = self.slow.asked("baseline")
        for key in keys:
            for condition in self.single[key].values():
                used = used & self.slow.asked(condition)
        targets = tuple(label for label in self.slow.labels if all(label in self.single[key] for key in keys))
        return targets, used

    def value(self, name: str, keys: tuple[tuple, ...], targets: tuple[str, ...]) -> Statistic:
        """A measure as a function of the kept items: the mean over draws."""
        return lambda kept: mean([self.measures(key, targets, kept.tobytes())[name] for key in keys])

    def excess(self, name: str, key: tuple, matched: tuple[tuple, ...], targets: tuple[str, ...]) -> Statistic:
        own, controls = self.value(name, (key,), targets), self.value(name, matched, targets)
        return lambda kept: own(kept) - controls(kept)

    def _measures(self, key: tuple, targets: tuple[str, ...], kept_bytes: bytes) -> dict[str, float]:
        kept, slow = np.frombuffer(kept_bytes, dtype=bool), self.slow
        cells = {target: slow.cells(self.single[key][target], target, kept) for target in targets}
        found: dict[str, float] = {}
        for which, names in ((0, ("self", "cross", "gap", "uar_change")), (1, ("pull", "pull_cross", "pull_gap", "pull_overall"))):  # fmt: skip
            own = mean([cells[m][m][which] for m in targets])
            others = mean([cells[m][e][which] for m in targets for e in targets if m != e])
            every = mean([cell[which] for row in cells.values() for cell in row.values()])
            found |= dict(zip(names, (own, others, own - others, every), strict=True))
        pairs = [slow.evidence(self.single[key][target], target, kept) for target in targets]
        return found | {"sensitivity": mean([a for a, _ in pairs]), "bias": mean([b for _, b in pairs])}


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def holm(p: list[float]) -> list[float]:
    """p times the number of hypotheses that are not yet rejected, never below that of a smaller p."""
    found = [0.0] * len(p)
    for i in range(len(p)):
        smaller = [j for j in range(len(p)) if (p[j], j) <= (p[i], i)]
        found[i] = max(min(1.0, p[j] * sum((p[k], k) >= (p[j], j) for k in range(len(p)))) for j in smaller)
    return found


def benjamini_hochberg(p: list[float | None]) -> list[float | None]:
    """The smallest level of false discoveries at which each would be rejected."""
    known = sorted(value for value in p if value is not None)
    return [
        None if one is None else min(v * len(known) / (sum(w <= v for w in known)) for v in known if v >= one)
        for one in p
    ]


def rank(own: list[float], controls: list[list[float]], falls: bool) -> tuple[int, int]:
    """By going through every combination; ``controls`` holds the draws of each emotion."""
    sums = np.zeros(1)
    for draws in controls:
        sums = (sums[:, None] + np.array(draws)).ravel()
    beyond = sums <= sum(own) + 1e-9 if falls else sums >= sum(own) - 1e-9
    return 1 + int(beyond.sum()), len(sums)


def verdict(found: dict[str, Row], hollow: bool, unknown: bool) -> tuple[str | None, str | None]:
    sensitivity, bias = found["sensitivity"], found["bias"]
    if hollow:
        return None, HOLLOW
    if unknown:
        return None, "speakers are unknown"
    if sensitivity["low"] is None or bias["low"] is None:
        return None, sensitivity["reason"] or bias["reason"]
    falls = sensitivity["high"] < 0
    moves = not bias["low"] <= 0 <= bias["high"]
    small = sensitivity["low"] >= -2 and sensitivity["high"] <= 2
    still = bias["low"] >= -0.1 and bias["high"] <= 0.1
    if falls and moves:
        return "both", None
    if falls:
        return "removes evidence", None
    if moves and small:
        return "pulls the answer", None
    if not moves and small and still:
        return "neither", None
    reasons = [] if small else ["the sensitivity interval is not within ±2 AUC points"]
    reasons += [] if still or moves else ["the bias interval is not within ±0.1 nat"]
    return "undecided", "; ".join(reasons)


def prefixed(name: str, found: Row) -> Row:
    return {name: found["estimate"], f"{name}_low": found["low"], f"{name}_high": found["high"]}


def slow_tables(folder: Path) -> dict[str, list[Row]]:
    """All result tables of a run folder as lists of rows, in any order."""
    slow = Slow(folder)
    families = Families(slow)
    tables = _levels(slow)
    hollow = {row["condition"] for row in tables["uar"] if row["hollow"]}

    def any_hollow(keys: tuple[tuple, ...]) -> bool:
        return "baseline" in hollow or any(c in hollow for key in keys for c in families.single[key].values())

    for name in ("matrix", "effects", "evidence", "verdicts"):
        tables[name] = []
    for key, draws in families.all():
        targets, used = families.shared(draws)
        if not targets or not used.any():
            continue
        about = dict(zip(FAMILY, key, strict=True))
        matched = families.matched(key)
        both = (key, *matched) if matched else ()
        common = families.shared(both) if matched else ((), used)
        tables["matrix"] += _matrix(slow, families, about, draws, targets, used, any_hollow(draws))
        tables["effects"] += _effects(families, about, draws, targets, used, any_hollow(draws))
        if matched:
            placed = _ranks(families, about, key, matched, *common)
            for row in tables["effects"]:
                if row["family"] == key and row["measure"] in placed:
                    row["rank"], row["combinations"] = placed[row["measure"]]
            tables["effects"] += _effects(families, about, (key,), *common, any_hollow(both), matched)
        tables["evidence"] += _evidence(slow, families, about, draws, targets, used, matched, common)
        if matched and about["positions"] == "all":
            found = {
                name: slow.interval(families.excess(name, key, matched, common[0]), common[1])
                for name in ("sensitivity", "bias")
            }
            said, reason = verdict(found, any_hollow(both), slow.unknown)
            row = about | {"verdict": said, "reason": reason, "speakers": found["bias"]["speakers"]}
            row |= prefixed("excess_sensitivity", found["sensitivity"]) | prefixed("excess_bias", found["bias"])
            tables["verdicts"].append(row | {"hollow": any_hollow(both), "headline": key in families.declared})
    tables["tests"] = _tests(slow, tables, families)
    tables["differences"] = _differences(slow, families)
    tables |= _sets(slow)
    for rows in tables.values():
        for row in rows:
            row.pop("family", None)
    return tables


def _levels(slow: Slow) -> dict[str, list[Row]]:
    """uar, confusion and reliance."""
    kinds = {row["condition"]: row for row in slow.conditions}
    tables: dict[str, list[Row]] = {"uar": [], "confusion": [], "reliance": []}
    for scoring, condition in slow.said:
        used, said = slow.asked(condition, scoring), slow.said[scoring, condition]
        hits = slow.correct(condition, scoring)
        found = slow.interval(lambda kept, hits=hits: mean(slow.recalls(hits, kept)), used)
        other = {"likelihood": "generation", "generation": "likelihood"}[scoring]
        both = used & slow.asked(condition, other)
        agreement = None
        if both.any():
            agreement = 100 * share(said == slow.said[other, condition], both)
        compared = used & slow.asked("baseline", scoring)
        mass = slow.mass.get((scoring, condition))
        row = {"condition": condition, "kind": kinds[condition]["kind"], "scoring": scoring, "n": int(used.sum())}
        row |= {"uar": found["estimate"], **{name: found[name] for name in ("low", "high", "speakers", "df", "reason")}}
        row |= {
            "accuracy": 100 * share(hits, used),
            "chance": mean([100 / len(item["options"]) for item in slow.items]),
        }
        row |= {"letter_mass": mean(mass) if mass else None, "agreement": agreement}
        row["changed"] = None
        if compared.any():
            row["changed"] = 100 * share(said != slow.said[scoring, "baseline"], compared)
        row["unreadable"] = 100 * share(np.array([answer is None for answer in said]), used)
        row["hollow"] = bool(mass and mean(mass) < 0.5) or (agreement is not None and agreement < 90)
        tables["uar"].append(row)
        if kinds[condition]["target"] is None:
            for label in slow.labels:
                there = used & (slow.truth == label)
                for answer in [*slow.labels, *([None] if any(a is None for a in said) else [])]:
                    gave = np.array([a == answer for a in said])
                    cell = slow.interval(lambda kept, gave=gave: 100 * share(gave, kept), there)
                    row = {"condition": condition, "scoring": scoring, "truth": label, "answer": answer}
                    row |= {"count": int(gave[there].sum()), "n": int(there.sum()), "share": cell["estimate"]}
                    tables["confusion"].append(row | {"low": cell["low"], "high": cell["high"]})
        if kinds[condition]["kind"] == "reliance" and scoring == "likelihood":
            tables["reliance"].append(_reliance(slow, condition, kinds[condition]["to"]))
    return tables


def _reliance(slow: Slow, condition: str, to: str | None) -> Row:
    used, hits, before = slow.asked(condition), slow.correct(condition), slow.correct("baseline")
    level = slow.interval(lambda kept: mean(slow.recalls(hits, kept)), used)
    both = used & slow.asked("baseline")
    moved = slow.interval(lambda kept: mean(slow.recalls(hits, kept)) - mean(slow.recalls(before, kept)), both)
    said = list(slow.said["likelihood", condition][used])
    commonest = max(slow.labels, key=said.count)
    row = {"condition": condition, "layers": condition.split("/")[1].replace("layer=", ""), "to": to or "zero"}
    row |= {"n": int(used.sum()), "commonest": commonest, "commonest_share": 100 * said.count(commonest) / len(said)}
    return row | prefixed("uar", level) | prefixed("change", moved) | {"reason": moved["reason"]}


def _matrix(slow, families, about, draws, targets, used, hollow) -> list[Row]:
    rows = []
    for target, label in itertools.product(targets, slow.labels):
        there = used & (slow.truth == label)
        if not there.any():
            continue
        conditions = [families.single[key][target] for key in draws]
        before = 100 * share(slow.correct("baseline"), there)
        row = about | {"target": target, "emotion": label, "n": int(there.sum()), "baseline": before}
        row |= {"draws": len(draws), "hollow": hollow}
        for which, name in enumerate(("change", "pull")):

            def cell(kept, which=which, conditions=conditions, target=target, label=label) -> float:
                return mean([slow.cells(condition, target, kept)[label][which] for condition in conditions])

            found = slow.interval(cell, there)
            row |= prefixed(name, found) | {f"{name}_p": found["p"]}
        rows.append(row | {"accuracy": before + row["change"]})
    for name in ("change", "pull"):
        for row, q in zip(rows, benjamini_hochberg([row[f"{name}_p"] for row in rows]), strict=True):
            row[f"{name}_q"] = q
    return rows


MEASURES = (
    "self", "cross", "gap", "uar_change", "pull", "pull_cross", "pull_gap", "pull_overall", "sensitivity", "bias",
)  # fmt: skip


def _effects(families, about, draws, targets, used, hollow, matched=()) -> list[Row]:
    """The rows of a family, or of its excess over matched controls."""
    rows = []
    for name in MEASURES:
        if matched:
            value = families.excess(name, draws[0], matched, targets)
            each = [families.excess(name, draws[0], (one,), targets)(used) for one in matched]
        else:
            value = families.value(name, draws, targets)
            each = [families.value(name, (one,), targets)(used) for one in draws]
        row = about | {"family": tuple(about.values()), "measure": ("excess_" if matched else "") + name}
        row |= {"n": int(used.sum()), "targets": len(targets), "draws": len(each), "hollow": hollow}
        row |= {"draw_min": min(each), "draw_max": max(each)} if len(each) > 1 else {"draw_min": None, "draw_max": None}
        row |= {"unit": UNITS.get(name, "points"), "rank": None, "combinations": None}
        rows.append(row | families.slow.interval(value, used))
    return rows


def _ranks(families, about, key, matched, targets, used) -> dict[str, tuple[int, int]]:
    """A gap is a mean over the sets of emotions; each set's part is what a family of that set alone would give."""
    names = {"deactivate": ["gap"], "steer": ["pull_gap", "pull_overall"]}[about["kind"]]

    def part(one: tuple, m: str, name: str) -> float:
        which = 0 if name == "gap" else 1
        cells = families.slow.cells(families.single[one][m], m, used)
        if name == "pull_overall":
            return mean([cell[1] for cell in cells.values()]) / len(targets)
        return (cells[m][which] - mean([cells[e][which] for e in targets if e != m])) / len(targets)

    return {
        name: rank(
            [part(key, m, name) for m in targets],
            [[part(one, m, name) for one in matched] for m in targets],
            about["kind"] == "deactivate",
        )
        for name in names
    }


def _evidence(slow, families, about, draws, targets, used, matched, common) -> list[Row]:
    rows = []
    for target in targets:
        own = [families.single[key][target] for key in draws]
        controls = [families.single[key][target] for key in matched] if target in common[0] else []
        kept = slow.ranked(own[0], target, used)
        row = about | {"target": target, "n": int(kept.sum()), "draws": len(draws)}
        row["auc"] = slow.auc("baseline", target, kept)
        for which, name in enumerate(("sensitivity", "bias")):

            def level(kept, which=which, own=own, target=target) -> float:
                return mean([slow.evidence(condition, target, kept)[which] for condition in own])

            def control(kept, which=which, controls=controls, target=target) -> float:
                return mean([slow.evidence(condition, target, kept)[which] for condition in controls])

            row |= prefixed(name, slow.interval(level, kept))
            row |= dict.fromkeys((f"excess_{name}", f"excess_{name}_low", f"excess_{name}_high"))
            if controls:
                both = slow.ranked(own[0], target, common[1])
                found = slow.interval(lambda k, level=level, control=control: level(k) - control(k), both)
                row |= prefixed(f"excess_{name}", found)
        rows.append(row)
    return rows


def _tests(slow: Slow, tables: dict[str, list[Row]], families: Families) -> list[Row]:
    rows = []
    for kind, measure in (("deactivate", "excess_gap"), ("steer", "excess_pull_gap")):
        for row in tables["effects"]:
            if row["kind"] == kind and row["measure"] == measure and row["family"] in families.declared:
                kept = ("kind", "measure", "estimate", "low", "high", "df", "p", "reason")
                rows.append({name: row[name] for name in kept} | {"corpus": slow.corpus})
                if row["hollow"]:
                    rows[-1] |= {"p": None, "reason": HOLLOW}
    for row, p in zip(rows, holm([1.0 if row["p"] is None else row["p"] for row in rows]), strict=True):
        row["p_holm"] = None if row["p"] is None else p
    return rows


def _differences(slow: Slow, families: Families) -> list[Row]:
    if not families.declared:
        return []
    about = [dict(zip(FAMILY, key, strict=True)) | {"key": key} for key in families.single]
    headline = next(one for one in about if one["key"] in families.declared)
    able = [
        one for one in about
        if (one["budget"], one["scope"]) == (headline["budget"], headline["scope"]) and one["control"] == "target"
        and (one["positions"], one["layers"]) == ("all", "all") and one["to"] != "mean"
    ]  # fmt: skip
    rows = []
    for first, second in itertools.permutations(able, 2):
        if (first["kind"], first["alpha"]) != (second["kind"], second["alpha"]):
            continue
        leads = first["selector"] == headline["selector"]
        if not leads and (second["selector"] == headline["selector"] or first["selector"] > second["selector"]):
            continue
        targets, used = families.shared((first["key"], second["key"]))
        own = ("gap",) if first["kind"] == "deactivate" else ("pull_gap", "pull_overall")
        for name in (*own, "sensitivity", "bias"):
            a, b = (families.value(name, (one["key"],), targets) for one in (first, second))
            found = slow.interval(lambda kept, a=a, b=b: a(kept) - b(kept), used)
            row = {"kind": first["kind"], "alpha": first["alpha"], "measure": name, "unit": UNITS.get(name, "points")}
            row |= {"first": first["selector"], "second": second["selector"]}
            rows.append(row | {k: found[k] for k in ("estimate", "low", "high", "df", "p", "reason")})
    return rows


def _sets(slow: Slow) -> dict[str, list[Row]]:
    """layers, stability and matching."""
    tables: dict[str, list[Row]] = {"layers": [], "stability": [], "matching": []}
    if not (slow.folder / "sets.parquet").is_file():
        return tables
    sets = pl.read_parquet(slow.folder / "sets.parquet").to_dicts()
    count, width = slow.manifest["model"]["layers"], slow.manifest["model"]["width"]
    groups: dict[tuple, dict[tuple, dict[str, set[int]]]] = {}
    clips = {}
    for row in sets:
        if row["control"] not in ("target", "shuffled"):
            continue
        neurons = load_set(slow.folder / "sets", row["set"], row["fold"])[row["emotion"]].tolist()
        about = {name: row[name] for name in ("selector", "budget", "scope", "control", "emotion")}
        if row["fold"] == "all":
            for layer in range(count):
                inside = sum(layer * width <= n < (layer + 1) * width for n in neurons)
                tables["layers"].append(
                    about
                    | {"draw": row["draw"], "layer": layer, "neurons": inside, "share": 100 * inside / len(neurons)}
                )
        else:
            key = tuple(about.values())
            groups.setdefault(key, {}).setdefault(row["draw"], {})[row["fold"]] = set(neurons)
            clips[key] = row["n"]
    for key, draws in groups.items():
        folds = next(iter(draws.values()))
        if len(folds) < 2:
            continue
        found = [
            len(a & b) / len(a | b) for sets_ in draws.values() for a, b in itertools.combinations(sets_.values(), 2)
        ]
        row = dict(zip(("selector", "budget", "scope", "control", "emotion"), key, strict=True))
        last = list(draws.values())[-1].values()
        size = round(mean([len(one) for one in last]))
        shared = stats.hypergeom(count * width, size, size)
        row |= {"folds": len(folds), "jaccard": mean(found), "jaccard_min": min(found), "jaccard_max": max(found)}
        row["chance"] = sum(shared.pmf(i) * i / (2 * size - i) for i in range(size + 1))
        tables["stability"].append(row | {"n": clips[key]})
    tables["matching"] = _matching([row for row in sets if row["control"] == "matched"])
    return tables


def _matching(sets: list[Row]) -> list[Row]:
    if any(row["fold"] != "all" for row in sets):
        sets = [row for row in sets if row["fold"] != "all"]
    rows = []
    keys = {(row["selector"], row["budget"], row["scope"], row["emotion"]) for row in sets}
    for key, covariate in itertools.product(keys, ("frequency", "magnitude", "down_norm")):
        same = [row for row in sets if (row["selector"], row["budget"], row["scope"], row["emotion"]) == key]
        apart = [abs(row[f"smd_{covariate}"]) for row in same]
        row = dict(zip(("selector", "budget", "scope", "emotion"), key, strict=True)) | {"covariate": covariate}
        row |= {"smd_mean": mean(apart), "smd_largest": max(apart)}
        rows.append(row | {"share_well_matched": 100 * mean([float(row["well_matched"]) for row in same])})
    return rows
