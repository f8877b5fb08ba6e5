"""Every number of the result tables again, slowly and obviously, from a run folder's Parquet files.

Imports nothing of ``emoscope.analysis``. A statistic is a function of the items that count; the jackknife
calls it once for all items and once more without each speaker's items. The AUC compares every pair of items.
"""

from __future__ import annotations

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

FAMILY = ("kind", "selector", "budget", "scope", "to", "control", "draw", "size", "alpha", "positions", "layers")
UNITS = {"sensitivity": "AUC points", "bias": "nat"}
HOLLOW = "too few answers are letters, or the written answers differ too often"
Row = dict[str, Any]
Statistic = Callable[[np.ndarray], float]


class Slow:
    """The items that count, what was answered, and the statistics of them."""

    def __init__(self, folder: Path, source: str | None = None) -> None:
        """``source``: where the sets come from that act; ``None``: the run's own sets."""
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
        every = pl.read_parquet(folder / "conditions.parquet").to_dicts()
        mine = [row for row in every if row.get("source") == source or (source and row["kind"] == "baseline")]
        self.others = {row["condition"] for row in every} - {row["condition"] for row in mine}
        self.conditions = mine
        self.said: dict[tuple[str, str], np.ndarray] = {}
        self.odds: dict[str, dict[str, np.ndarray]] = {}
        self.mass: dict[tuple[str, str], list[float]] = {}
        self.logp: dict[tuple[str, int], dict[str, float]] = {}  # (condition, place of the item) -> option -> logp
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
                if row["item"] not in place or row["condition"] in self.others:
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
                self.logp[row["condition"], n] = dict(zip(offered, row["logp"], strict=True))
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


def as_share(found: Row) -> Row:
    """An interval without what lies outside 0 and 100 %."""
    if found["low"] is None:
        return found
    return found | {"low": max(found["low"], 0), "high": min(found["high"], 100)}


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
            key = tuple(row.get(name) for name in FAMILY)
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


def prefixed(name: str, found: Row) -> Row:
    return {name: found["estimate"], f"{name}_low": found["low"], f"{name}_high": found["high"]}
