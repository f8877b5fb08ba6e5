"""The tables of a study in parts again, slowly and obviously, from the parts' Parquet files.

A statistic of one part is a function of the items that count. Over two parts of a corpus, the jackknife leaves a speaker
out of both at once.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from scipy import stats

from tests.analysis.slow import FAMILY, UNITS, Families, Row, Slow, as_share, mean
from tests.analysis.slow_sources import level
from tests.analysis.slow_tables import MEASURES, _levels

Value = Callable[[np.ndarray], float]


class Acts:
    """One part's question under the headline's sets of itself or of a source: (kind, alpha) -> own and matched keys."""

    def __init__(self, folder: Path, source: str | None) -> None:
        self.slow = Slow(folder, source)
        self.families = Families(self.slow)
        likely = ("likelihood", "baseline") in self.slow.said
        self.bad = {row["condition"] for row in _levels(self.slow)["uar"] if row["hollow"]} if likely else set()
        self.acts: dict[tuple, tuple[tuple, tuple[tuple, ...]]] = {}
        for key in self.families.single:
            about = dict(zip(FAMILY, key, strict=True))
            plain = (about["control"], about["positions"], about["layers"]) == ("target", "all", "all")
            declared = not self.families.declared or key in self.families.declared
            if plain and declared and about["to"] != "mean":
                self.acts[about["kind"], about["alpha"]] = (key, self.families.matched(key))

    def keys(self, act: tuple, excess: bool) -> tuple[tuple, ...]:
        own, matched = self.acts[act]
        return (own, *matched) if excess else (own,)

    def used(self, acts: list[tuple], excess: bool) -> np.ndarray:
        used = self.slow.asked("baseline")
        for key in [key for act in acts for key in self.keys(act, excess)]:
            for condition in self.families.single[key].values():
                used = used & self.slow.asked(condition)
        return used

    def hollow(self, act: tuple, excess: bool) -> bool:
        touched = {c for key in self.keys(act, excess) for c in self.families.single[key].values()}
        return bool(self.bad & {"baseline", *touched})

    def measure(self, name: str, act: tuple, excess: bool) -> Value:
        own, matched = self.acts[act]
        targets, _ = self.families.shared(self.keys(act, excess))
        if excess:
            return self.families.excess(name, own, matched, targets)
        return self.families.value(name, (own,), targets)

    def damage(self, act: tuple, excess: bool) -> Value:
        own, matched = self.acts[act]
        targets = sorted(self.families.single[own])

        def under(keys: tuple[tuple, ...], kept: np.ndarray) -> float:
            return mean([level(self.slow, self.families.single[key][t], kept) for key in keys for t in targets])

        if excess:
            return lambda kept: under((own,), kept) - under(matched, kept)
        return lambda kept: under((own,), kept) - level(self.slow, "baseline", kept)


def joint(terms: list[tuple[Slow, Value, np.ndarray, int]]) -> Row:
    """The interval of a sum of signed statistics of several parts, a speaker being left out of all of them."""
    row: Row = dict.fromkeys(("estimate", "low", "high", "df", "p", "reason"))
    sizes: dict[str, int] = {}
    for slow, _, used, _ in terms:
        for speaker in slow.speaker[used]:
            sizes[speaker] = sizes.get(speaker, 0) + 1
    row["estimate"] = estimate = sum(sign * value(used) for _, value, used, sign in terms)
    row["speakers"], row["n"] = len(sizes), sum(sizes.values())
    without = [sum(s * value(used & (slow.speaker != g)) for slow, value, used, s in terms) for g in sorted(sizes)]
    if len(sizes) < 5:
        return row | {"reason": f"only {len(sizes)} speakers: an interval needs at least 5"}
    if any(math.isnan(one) for one in without):
        return row | {"reason": "one speaker alone has all items of an emotion"}
    error = math.sqrt((len(without) - 1) / len(without) * sum((one - mean(without)) ** 2 for one in without))
    df = sum(sizes.values()) ** 2 / sum(n * n for n in sizes.values()) - 1
    return row | {"df": df} | ends(estimate, error, df)


def ends(estimate: float, error: float, df: float) -> Row:
    half = stats.t.ppf(0.975, df) * error
    p = 1.0 if abs(estimate) < 1e-12 else 0.0 if error < 1e-12 else 2 * stats.t.sf(abs(estimate) / error, df)
    return {"low": estimate - half, "high": estimate + half, "p": p}


def slow_whole(folder: Path) -> dict[str, list[Row]]:
    """The tables of a whole study as lists of rows, in any order; those of slow_probes.py excepted."""
    manifest = json.loads((folder / "manifest.json").read_text())
    cards = manifest["parts"]
    tables: dict[str, list[Row]] = {"transfer": [], "dissociation": [], "grounding": []}
    for card in cards:
        place = folder / card["folder"]
        if card["role"] == "shared":
            tables["transfer"] += _transfer(place, card["of"])
        if card["role"] == "column" and not card["failed"]:
            tables["dissociation"] += _dissociation(folder / "parts" / card["of"], place, card)
    for main in [card for card in cards if card["role"] == "main"]:
        mine = [card for card in cards if card["of"] == main["name"]]
        tables["grounding"] += _grounding(folder, main, [card for card in mine if card["role"] == "grounding"])
    tables["asymmetry"] = _asymmetry(tables["transfer"], [card["name"] for card in cards if card["role"] == "main"])
    tables["agreement"] = pl.read_parquet(folder / "agreement.parquet").to_dicts()
    return tables


def _transfer(place: Path, host: str) -> list[Row]:
    names = sorted({row["source"] for row in pl.read_parquet(place / "conditions.parquet").to_dicts() if row["source"]})
    every = {name: Acts(place, name) for name in names}
    rows = []
    for name, acts in every.items():
        slow = acts.slow
        uar = as_share(slow.interval(lambda kept, slow=slow: level(slow, "baseline", kept), slow.asked("baseline")))
        for act, excess in itertools.product(acts.acts, (False, True)):
            own, matched = acts.acts[act]
            about = dict(zip(FAMILY, own, strict=True))
            row = {key: about[key] for key in ("kind", "selector", "budget", "alpha")}
            row |= {"source": name, "host": host, "diagonal": name == host, "fused": name.startswith("fused")}
            row |= {"uar": uar["estimate"], "uar_low": uar["low"], "uar_high": uar["high"]}
            row["chance"] = mean([100 / len(item["options"]) for item in slow.items])
            row |= {"draws": len(matched) if excess else 1, "hollow": acts.hollow(act, excess)}
            used = acts.used([act], excess)
            both = used & every[host].used([act], excess)
            for measure in MEASURES:
                value, theirs = acts.measure(measure, act, excess), every[host].measure(measure, act, excess)
                found = slow.interval(value, used)
                diagonal = every[host].slow.interval(theirs, every[host].used([act], excess))
                clear = diagonal["low"] is not None and not diagonal["low"] <= 0 <= diagonal["high"]
                line = row | found | {"measure": ("excess_" if excess else "") + measure, "n": int(used.sum())}
                line |= {
                    "targets": len(acts.families.shared(acts.keys(act, excess))[0]),
                    "unit": UNITS.get(measure, "points"),
                }
                line["kept"] = 100 * found["estimate"] / diagonal["estimate"] if clear else None
                less: Row = dict.fromkeys(("estimate", "low", "high", "p"))
                if name != host:
                    less = slow.interval(lambda kept, value=value, theirs=theirs: value(kept) - theirs(kept), both)
                line |= {
                    "less": less["estimate"],
                    "less_low": less["low"],
                    "less_high": less["high"],
                    "less_p": less["p"],
                }
                rows.append(line)
    return rows


def _asymmetry(found: list[Row], mains: list[str]) -> list[Row]:
    rows = []
    for first, second in itertools.combinations(mains, 2):
        for there in [row for row in found if (row["source"], row["host"]) == (first, second)]:
            alike = ("kind", "selector", "budget", "alpha", "measure", "unit")
            (back,) = [
                row for row in found
                if (row["source"], row["host"]) == (second, first) and all(row[name] == there[name] for name in alike)
            ]  # fmt: skip
            row = {name: there[name] for name in alike} | {"first": first, "second": second}
            row |= {
                f"forward{end}": there[f"{name}"]
                for end, name in (("", "estimate"), ("_low", "low"), ("_high", "high"))
            }
            row |= {
                f"backward{end}": back[f"{name}"]
                for end, name in (("", "estimate"), ("_low", "low"), ("_high", "high"))
            }
            row |= {"hollow": there["hollow"] or back["hollow"], "estimate": there["estimate"] - back["estimate"]}
            row |= {"reason": there["reason"] or back["reason"], "low": None, "high": None, "df": None, "p": None}
            if row["reason"] is None:
                squares = [
                    ((one["high"] - one["estimate"]) / stats.t.ppf(0.975, one["df"])) ** 2 for one in (there, back)
                ]
                parts = squares[0] ** 2 / there["df"] + squares[1] ** 2 / back["df"]
                row["df"] = sum(squares) ** 2 / parts if parts else min(there["df"], back["df"])
                row |= ends(row["estimate"], math.sqrt(sum(squares)), row["df"])
            rows.append(row)
    return rows


def _dissociation(main: Path, column: Path, card: Row) -> list[Row]:
    named = ("emotion", card["column"])
    crossed = [(Acts(main, None), Acts(main, card["name"])), (Acts(column, None), Acts(column, card["of"]))]
    rows = []
    for act, excess in itertools.product(crossed[0][0].acts, (False, True)):
        about = {"corpus": card["of"], "column": card["column"], "kind": act[0], "alpha": act[1]}
        about |= {"measure": "excess_damage" if excess else "damage"}
        about["draws"] = len(crossed[0][0].acts[act][1]) if excess else 1
        terms, hollow, below = [], [], []
        for place, (own, other) in enumerate(crossed):
            used = own.used([act], excess) & other.used([act], excess)
            hollow.append(own.hollow(act, excess) or other.hollow(act, excess))
            first = (own.slow, own.damage(act, excess), used, 1)
            second = (other.slow, other.damage(act, excess), used, 1)
            line = about | {"question": named[place], "hollow": hollow[-1]}
            rows.append(line | {"what": "effect", "sets": named[place]} | joint([first]))
            rows.append(line | {"what": "effect", "sets": named[1 - place]} | joint([second]))
            pair = [first, (*second[:3], -1)]
            rows.append(line | {"what": "difference", "sets": None} | joint(pair) | {"n": int(used.sum())})
            below.append(rows[-1]["high"] < 0)
            terms += pair
        line = about | {"what": "interaction", "question": None, "sets": None, "hollow": any(hollow)} | joint(terms)
        together = "interaction alone" if line["high"] < 0 else "no dissociation"
        line["verdict"] = "double dissociation" if all(below) else together
        rows.append(line | {"n": sum(int(used.sum()) for _, _, used, _ in terms[::2])})
    return [{"verdict": None} | row for row in rows]


def _grounding(folder: Path, main: Row, others: list[Row]) -> list[Row]:
    if not others:
        return []
    rows = []
    voice = Acts(folder / main["folder"], None)
    for card in [main, *others]:
        acts = Acts(folder / card["folder"], None if card is main else main["name"])
        slow, asked = acts.slow, acts.slow.asked("baseline")
        heard = {item["clip"] for item in slow.items}
        same = np.array([item["clip"] in heard for item in voice.slow.items])
        chance = mean([100 / len(item["options"]) for item in slow.items])

        def uar(kept, slow=slow) -> float:
            return level(slow, "baseline", kept)

        def uar_of_voice(kept) -> float:
            return level(voice.slow, "baseline", kept)

        about = {"corpus": main["name"], "presentation": card["presentation"], "part": card["name"], "chance": chance}
        found = as_share(joint([(slow, uar, asked, 1)]))
        apart = joint([(slow, uar, asked, 1), (voice.slow, uar_of_voice, same, -1)])
        nothing = found["low"] is not None and found["low"] <= chance + 1e-9
        row = (
            about
            | {"kind": "baseline", "alpha": None, "measure": "uar", "unit": "%", "draws": 1, "hollow": False}
            | found
        )
        row["p"] = joint([(slow, lambda kept, uar=uar, chance=chance: uar(kept) - chance, asked, 1)])["p"]
        row["note"] = "UAR is not clear of chance" if nothing else None
        rows.append(row | _less(apart, card is not main))
        for act, excess, measure in itertools.product(acts.acts, (False, True), MEASURES):
            used, before = acts.used([act], excess), voice.used([act], excess) & same
            term = (slow, acts.measure(measure, act, excess), used, 1)
            apart = joint([term, (voice.slow, voice.measure(measure, act, excess), before, -1)])
            row = about | {"kind": act[0], "alpha": act[1], "measure": ("excess_" if excess else "") + measure}
            row |= {"draws": len(acts.acts[act][1]) if excess else 1, "hollow": acts.hollow(act, excess)} | joint(
                [term]
            )
            row["unit"] = UNITS.get(measure, "points")
            row["note"] = (
                "nothing to remove: UAR is not clear of chance" if nothing and act[0] == "deactivate" else None
            )
            rows.append(row | _less(apart, card is not main))
    return rows


def _less(apart: Row, there: bool) -> Row:
    names = (("less", "estimate"), ("less_low", "low"), ("less_high", "high"), ("less_p", "p"))
    return {name: apart[key] if there else None for name, key in names}
