"""The rows of every result table from the slow statistics of :mod:`tests.analysis.slow`."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import polars as pl
from scipy import stats

from emoscope.neurons.selection import load_set
from tests.analysis.slow import (
    FAMILY,
    UNITS,
    Families,
    Row,
    Slow,
    as_share,
    benjamini_hochberg,
    mean,
    prefixed,
    rank,
    share,
)
from tests.analysis.slow_agnostic import slow_agnostic
from tests.analysis.slow_claims import slow_claims, slow_clustering
from tests.analysis.slow_factors import slow_factors, slow_forms
from tests.analysis.slow_flows import slow_flows
from tests.analysis.slow_outcomes import slow_outcome_effects, slow_outcome_sets
from tests.analysis.slow_profile import slow_profile
from tests.analysis.slow_trend import slow_trend
from tests.analysis.slow_verdicts import slow_verdict


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
            level = next(
                row for row in tables["uar"] if (row["condition"], row["scoring"]) == ("baseline", "likelihood")
            )
            row = about | slow_verdict(slow, families, key, level, any_hollow(both))
            tables["verdicts"].append(row | {"hollow": any_hollow(both), "headline": key in families.declared})
    tables["differences"] = _differences(slow, families)
    tables |= _sets(slow)
    tables["efficiency"] = _efficiency(slow, tables["effects"])
    tables["outcomes"], tables["outcome_sets"] = slow_outcome_effects(slow, families, hollow), slow_outcome_sets(slow)
    tables["agnostic"] = slow_agnostic(slow, hollow)
    tables["flows"] = slow_flows(slow, families, any_hollow)
    tables["trend"] = slow_trend(slow, families, any_hollow)
    tables |= slow_factors(slow, families, hollow, any_hollow)
    for row in tables["uar"]:
        row |= slow_forms(folder, slow, row)
    tables["profile"] = slow_profile(tables["effects"], tables["layers"])
    tables["clustering"] = slow_clustering(slow)
    tables["tests"], tables["claims"] = slow_claims(slow, families, tables, hollow)
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
        found = as_share(slow.interval(lambda kept, hits=hits: mean(slow.recalls(hits, kept)), used))
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
                    cell = as_share(slow.interval(lambda kept, gave=gave: 100 * share(gave, kept), there))
                    row = {"condition": condition, "scoring": scoring, "truth": label, "answer": answer}
                    row |= {"count": int(gave[there].sum()), "n": int(there.sum()), "share": cell["estimate"]}
                    tables["confusion"].append(row | {"low": cell["low"], "high": cell["high"]})
        if kinds[condition]["kind"] == "reliance" and scoring == "likelihood":
            tables["reliance"].append(_reliance(slow, condition, kinds[condition]["to"]))
    return tables


def _reliance(slow: Slow, condition: str, to: str | None) -> Row:
    used, hits, before = slow.asked(condition), slow.correct(condition), slow.correct("baseline")
    level = as_share(slow.interval(lambda kept: mean(slow.recalls(hits, kept)), used))
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


def _differences(slow: Slow, families: Families) -> list[Row]:
    if not families.declared:
        return []
    about = [dict(zip(FAMILY, key, strict=True)) | {"key": key} for key in families.single]
    headline = next(one for one in about if one["key"] in families.declared)
    able = [
        one for one in about
        if one["scope"] == headline["scope"] and one["control"] == "target"
        and (one["positions"], one["layers"]) == ("all", "all") and one["to"] != "mean"
    ]  # fmt: skip
    rows = []
    for first, second in itertools.permutations(able, 2):
        if any(first[name] != second[name] for name in ("kind", "alpha", "budget")):
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
            row |= {"first": first["selector"], "second": second["selector"], "budget": first["budget"]}
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
            clips[key] = min(row["n"], clips.get(key, row["n"]))
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


def _efficiency(slow: Slow, effects: list[Row]) -> list[Row]:
    """Overlap by sets of numbers, gaps as they stand in the table of effects."""
    if not (slow.folder / "sets.parquet").is_file():
        return []
    sets = [row for row in pl.read_parquet(slow.folder / "sets.parquet").to_dicts() if row["fold"] != "all"]
    fewer = [row for row in sets if row["control"] == "fewer"]
    if not fewer:
        return []
    first = fewer[0]
    full = [row for row in sets if row["control"] == "target" and (row["selector"], row["budget"]) == (first["selector"], first["budget"])]  # fmt: skip
    about = {name: first[name] for name in ("selector", "budget", "scope")}
    neurons = slow.manifest["model"]["layers"] * slow.manifest["model"]["width"]
    whole = {(row["fold"], row["emotion"]): set(load_set(slow.folder / "sets", row["set"], row["fold"])[row["emotion"]].tolist()) for row in full}  # fmt: skip
    folds = len({row["fold"] for row in full})
    rows = []
    for size in {row["size"] for row in fewer}:
        for draw in (*{row["draw"] for row in fewer}, None):
            mine = [row for row in fewer if row["size"] == size and draw in (row["draw"], None)]
            shares = []
            for row in mine:
                one = set(load_set(slow.folder / "sets", row["set"], row["fold"])[row["emotion"]].tolist())
                other = whole[row["fold"], row["emotion"]]
                shares.append(len(one & other) / len(one | other))
            k = round(mean([row["size_reached"] for row in mine]))
            shared = stats.hypergeom(neurons, k, k)
            row = about | {"size": size, "draw": draw, "full": False, "folds": folds}
            row |= {"jaccard": mean(shares), "jaccard_min": min(shares), "jaccard_max": max(shares)}
            row["chance"] = sum(shared.pmf(i) * i / (2 * k - i) for i in range(k + 1))
            rows.append(row | _reached(slow, effects, about, "fewer", size, draw))
    row = about | {"size": min(row["n"] for row in full), "draw": None, "full": True, "folds": folds, "chance": None}
    row |= dict.fromkeys(("jaccard", "jaccard_min", "jaccard_max"), 1.0)
    return [*rows, row | _reached(slow, effects, about, "target", None, 0)]


def _reached(slow: Slow, effects: list[Row], about: Row, control: str, size: int | None, draw: int | None) -> Row:
    found: Row = {"reason": None}
    alpha = slow.manifest["headline"]["alpha"]
    for kind, measure, strength in (("deactivate", "gap", None), ("steer", "pull_gap", alpha)):
        wanted = about | {"kind": kind, "measure": measure, "alpha": strength, "control": control, "size": size}
        wanted |= {"draw": draw, "positions": "all", "layers": "all", "to": "zero" if kind == "deactivate" else None}
        (one,) = [row for row in effects if all(row[name] == value for name, value in wanted.items())]
        found |= {measure: one["estimate"], f"{measure}_low": one["low"], f"{measure}_high": one["high"]}
        found["reason"] = found["reason"] or one["reason"]
    return found


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
