"""Clustering over layers and the claims of the paper again, slowly and obviously, from the rows of the other tables."""

from __future__ import annotations

import math

import polars as pl
from scipy import stats

from emoscope.analysis.claim_rules import SUPPORTED
from emoscope.neurons.selection import load_set
from tests.analysis.slow import Row, Slow, mean


def slow_clustering(slow: Slow) -> list[Row]:
    if not (slow.folder / "sets.parquet").is_file():
        return []
    sets = [row for row in pl.read_parquet(slow.folder / "sets.parquet").to_dicts() if row["control"] in ("target", "shuffled")]  # fmt: skip
    layers, width = slow.manifest["model"]["layers"], slow.manifest["model"]["width"]
    items = pl.read_parquet(slow.folder / "items.parquet").filter(pl.col("fate") == "used").to_dicts()

    def uneven(name: str, fold: str) -> float:
        moved = []
        for neurons in load_set(slow.folder / "sets", name, fold).values():
            here = [sum(n // width == layer for n in neurons.tolist()) / len(neurons) for layer in range(layers)]
            moved.append(100 * sum(max(share - 1 / layers, 0) for share in here))
        return mean(moved)

    rows = []
    for key in sorted({(row["selector"], row["budget"], row["scope"]) for row in sets if row["control"] == "shuffled"}):
        same = [row for row in sets if (row["selector"], row["budget"], row["scope"]) == key]
        (name,) = {row["set"] for row in same if row["control"] == "target"}
        folds = sorted({row["fold"] for row in same if row["control"] == "target"} - {"all"})
        shuffled = [uneven(one, "all") for one in {row["set"] for row in same if row["control"] == "shuffled"}]
        row = dict(zip(("selector", "budget", "scope"), key, strict=True)) | {"estimate": uneven(name, "all")}
        row |= {"folds": len(folds), "low": None, "high": None, "df": None, "draws": len(shuffled), "reason": None}
        row |= {"shuffled": mean(shuffled), "shuffled_min": min(shuffled), "shuffled_max": max(shuffled)}
        if len(folds) < 2:
            row["reason"] = "the sets were found once and not on folds of speakers, so that nothing says how they vary"
        elif len(folds) < 5:
            row["reason"] = f"only {len(folds)} folds of speakers: an interval needs at least 5"
        else:
            without = [uneven(name, fold) for fold in folds]
            sizes = [sum(item["fold"] == fold for item in items) for fold in folds]
            row["df"] = sum(sizes) ** 2 / sum(n * n for n in sizes) - 1
            squares = sum((one - mean(without)) ** 2 for one in without)
            half = stats.t.ppf(0.975, row["df"]) * math.sqrt((len(folds) - 1) / len(folds) * squares)
            row |= {"low": row["estimate"] - half, "high": row["estimate"] + half}
        rows.append(row)
    return rows


def slow_claims(slow: Slow, tables: dict[str, list[Row]]) -> list[Row]:
    """Name, verdict and number of every claim; the words are not repeated."""
    names = ("exist", "hurts", "spares", "pulls", "rises", "modest", "crowds", "transfer", "handle")
    claims = {name: Row(name=name, verdict="not testable here", estimate=None, low=None, high=None) for name in names}

    def say(name: str, row: Row, holds: bool, testable: bool = True) -> None:
        verdict = SUPPORTED if holds else "not supported" if testable else "not testable here"
        claims[name] |= {"verdict": verdict, **{key: row[key] for key in ("estimate", "low", "high")}}

    declared = {row["kind"]: row for row in slow.conditions if row["headline"]}
    if slow.unknown or not declared:
        return list(claims.values())

    def effect(kind: str, measure: str, control: str = "target") -> Row | None:
        for row in tables["effects"]:
            same = all(row[name] == declared[kind][name] for name in ("selector", "budget", "scope", "alpha"))
            plain = (row["positions"], row["layers"], row["size"]) == ("all", "all", None) and row["to"] != "mean"
            mine = (row["kind"], row["measure"], row["control"]) == (kind, measure, control)
            if same and plain and mine and (control == "target" or row["draw"] is None):
                return row if row["low"] is not None and not row["hollow"] else None
        return None

    base = next(row for row in tables["uar"] if (row["condition"], row["scoring"]) == ("baseline", "likelihood"))
    if base["low"] is not None and base["low"] <= base["chance"]:
        return list(claims.values())

    tests = {row["kind"]: row for row in tables["tests"] if row["p_holm"] is not None}
    right = [row for kind, row in tests.items() if (row["estimate"] < 0) == (kind == "deactivate")]
    if tests:
        best = min(right or tests.values(), key=lambda row: row["p_holm"])
        say("exist", best, bool(right) and best["p_holm"] < 0.05)
    if "deactivate" in tests:
        test, own, cross = (
            tests["deactivate"],
            effect("deactivate", "excess_self"),
            effect("deactivate", "excess_cross"),
        )
        if own is not None:
            hurt = test["p_holm"] < 0.05 and test["estimate"] < 0 and own["high"] < 0
            say("hurts", test, hurt)
            if hurt and cross is not None:
                say("spares", cross, cross["low"] > own["estimate"] / 2)
            if hurt:
                _modest(slow, tables, say, test, effect("deactivate", "gap", "matched"))
    if "steer" in declared and (pull := effect("steer", "excess_pull_overall")) is not None:
        say("pulls", pull, pull["low"] > 0)
    for row in tables["trend"]:
        if row["measure"] == "excess_pull" and row["low"] is not None and row["p"] is not None and not row["hollow"]:
            say("rises", row | {"estimate": row["slope"]}, row["p"] < 0.05 and row["low"] > 0)
    for row in tables["clustering"]:
        one = declared.get("deactivate") or declared["steer"]
        if row["selector"] == one["selector"] and row["draws"] >= 5 and row["low"] is not None:
            say("crowds", row, row["low"] > row["shuffled_max"])
    said = [claims["hurts"]["verdict"], claims["pulls"]["verdict"]]
    for verdict in ("not testable here", "not supported"):
        claims["handle"]["verdict"] = verdict if verdict in said else claims["handle"]["verdict"]
    if said == [SUPPORTED, SUPPORTED]:
        claims["handle"]["verdict"] = SUPPORTED
    return list(claims.values())


def _modest(slow: Slow, tables: dict[str, list[Row]], say, test: Row, matched: Row | None) -> None:
    one = next(row for row in slow.conditions if row["headline"])
    path = slow.folder / "sets.parquet"
    sets = pl.read_parquet(path).to_dicts() if path.is_file() else []
    mine = [row for row in sets if row["control"] == "target" and all(row[k] == one[k] for k in ("selector", "budget", "scope"))]  # fmt: skip
    mine = [row for row in mine if row["fold"] != "all"] or mine
    if mine and max(row["n"] for row in mine) <= 50:
        say("modest", test, True)
        return
    rows = [row for row in tables["efficiency"] if row["draw"] is None and row["gap"] is not None]
    few = sorted((row for row in rows if not row["full"] and row["size"] <= 50), key=lambda row: row["size"])
    if not few or matched is None or all(row["gap_high"] is None for row in few):
        return
    (full,) = [row for row in rows if row["full"]]
    good = [row for row in few if row["gap_high"] < matched["low"] and row["gap"] / full["gap"] >= 0.8]
    row = good[0] if good else few[-1]
    say("modest", {"estimate": row["gap"], "low": row["gap_low"], "high": row["gap_high"]}, bool(good))
