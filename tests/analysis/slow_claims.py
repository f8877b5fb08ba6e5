"""Clustering over layers and all claims again, slowly and obviously, from stored answers and the rows of other tables."""

from __future__ import annotations

import math
from typing import Any

import polars as pl
from scipy import stats

from emoscope.analysis.declared import RESERVED, SUPPORTED, UNSUPPORTED, UNTESTED
from emoscope.neurons.selection import load_set
from tests.analysis.slow import Families, Row, Slow, mean
from tests.analysis.slow_declared import OFF, ON, Asked, act, beyond, beyond_units, declared_tests, untested


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


def asked_of(slow: Slow, size: int | None = None) -> tuple[Asked, str | None, set[str], int] | None:
    """Answers under the headline's sets and their controls, which controls, the conditions, and how many items are left out.

    Sets from so many clips stand behind the draws of the controls, and come with switching off alone.
    """
    declared = [row for row in slow.conditions if row["headline"]]
    if not declared or ("likelihood", "baseline") not in slow.said:
        return None
    found: dict[tuple, dict[str, dict[Any, dict[str, str]]]] = {}
    for row in sorted(slow.conditions, key=lambda row: row["condition"]):
        same = all(row.get(name) == declared[0].get(name) for name in ("selector", "budget", "scope"))
        plain = row.get("size") in (None, size) and row["to"] != "mean" and row["kind"] in ("deactivate", "steer")
        whole = {row["positions"], row["layers"]} <= {"all", None} and row["target"] in slow.labels
        plain = plain and (size is None or row["kind"] == "deactivate")
        if plain and same and whole and ("likelihood", row["condition"]) in slow.said:
            draws = found.setdefault((row["kind"], row["alpha"]), {}).setdefault(row["control"] or "target", {})
            draws.setdefault(row["draw"], {})[row["target"]] = row["condition"]
    found = {key: controls for key, controls in found.items() if "target" in controls}
    if not found:
        return None
    there = [name for name in ("orthogonal", "matched") if any(one.get(name) for one in found.values())]
    plenty = [name for name in there if any(len(one.get(name, {})) >= 5 for one in found.values())]
    control = (plenty or there or [None])[0]
    acts = {
        key: [
            next(iter(one["target"].values())),
            *(draw for name in (control, "fewer") for _, draw in sorted(one.get(name, {}).items())),
        ]
        for key, one in found.items()
    }
    every = [draw for draws in acts.values() for draw in draws]
    targets = [label for label in slow.labels if all(label in draw for draw in every)]
    wanted = {"baseline", *(name for draw in every for name in draw.values())}
    kept = [
        n for n in range(len(slow.items))
        if all(slow.asked(name)[n] and set(slow.logp.get((name, n), {})) == set(slow.labels) for name in wanted)
    ]  # fmt: skip
    if not targets or not kept:
        return None

    def said(name: str) -> list[list[float]]:
        return [[slow.logp[name, n][label] for label in slow.labels] for n in kept]

    def under(draws: list[dict[str, str]]) -> tuple:
        own, *others = [[said(draw[target]) for target in targets] for draw in draws]
        return own, others

    speaker = [str(slow.speaker[n]) for n in kept]
    asked = Asked(
        [slow.labels.index(slow.truth[n]) for n in kept], speaker, _units(slow, kept, speaker), len(slow.labels),
        said("baseline"), [slow.labels.index(target) for target in targets],
        under(acts["deactivate", None]) if ("deactivate", None) in acts else None,
        {key[1]: under(draws) for key, draws in acts.items() if key[0] == "steer"},
        next((row["alpha"] for row in declared if row["kind"] == "steer"), None),
    )  # fmt: skip
    return asked, control, wanted, len(slow.items) - len(kept)


def _units(slow: Slow, kept: list[int], speaker: list[str]) -> list[str]:
    """Sessions where several speakers share each of them, else speakers."""
    sessions = [slow.items[n].get("session") for n in range(len(slow.items))]
    whose: dict[str, set] = {}
    for who, session in zip(slow.speaker, sessions, strict=True):
        whose.setdefault(str(who), set()).add(session)
    names = set(sessions)
    if None in names or any(len(one) > 1 for one in whose.values()) or not 1 < len(names) < len(whose):
        return speaker
    return [sessions[n] for n in kept]


def slow_claims(
    slow: Slow, families: Families, tables: dict[str, list[Row]], hollow: set[str]
) -> tuple[list[Row], list[Row]]:
    """The declared tests, and name, verdict and number of every claim; the words are not repeated."""
    found = asked_of(slow)
    level = next(
        (row for row in tables["uar"] if (row["condition"], row["scoring"]) == ("baseline", "likelihood")), None
    )
    at_chance = level is not None and (level["uar"] if level["low"] is None else level["low"]) <= level["chance"]
    barred = bool(slow.unknown or at_chance)
    if found is None or barred or hollow & found[2]:
        judged = {name: untested(name) for name in (*OFF, *ON)}
    else:
        judged = declared_tests(found[0])
        for row in judged.values():
            if row["verdict"] == SUPPORTED and found[1] == "matched":
                row["verdict"] = RESERVED
    tests = []
    units = ("nat", "% of the separation", "% of the separation", "nat", "nat per unit of alpha", "% of the separation")
    for (name, row), unit in zip(judged.items(), units, strict=True):
        about = {"kind": "deactivate" if name in OFF else "steer", "corpus": slow.corpus, "unit": unit}
        about |= {"control": found[1] if found else None, "n": len(found[0].truth) if found else None}
        kept = {key: value for key, value in row.items() if key not in ("between", "sampling")}
        tests.append(kept | about | {"left_out": found[3] if found else None})
    claims = {row["name"]: _said(row["name"], row["verdict"], row) for row in tests}
    for name in ("hurts", "spares", "pulls", "modest", "crowds", "transfer", "handle"):
        claims[name] = _said(name, UNTESTED)
    if not barred:
        _explore(slow, families, tables, judged, found, claims)
    return tests, list(claims.values())


def _said(name: str, verdict: str, row: Row | None = None) -> Row:
    return Row(name=name, verdict=verdict) | {key: row[key] if row else None for key in ("estimate", "low", "high")}


def _explore(slow: Slow, families: Families, tables, judged, found, claims: dict[str, Row]) -> None:
    declared = {row["kind"]: row for row in slow.conditions if row["headline"]}
    good = (SUPPORTED, RESERVED)

    def effect(kind: str, measure: str, control: str = "target") -> Row | None:
        for row in tables["effects"]:
            same = kind in declared and all(
                row[key] == declared[kind][key] for key in ("selector", "budget", "scope", "alpha")
            )
            plain = (row["positions"], row["layers"], row["size"]) == ("all", "all", None) and row["to"] != "mean"
            mine = (row["kind"], row["measure"], row["control"]) == (kind, measure, control)
            if same and plain and mine and (control == "target" or row["draw"] is None):
                return row if row["low"] is not None and not row["hollow"] else None
        return None

    share, own = judged["disproportionate"]["verdict"], effect("deactivate", "excess_self")
    if share != UNTESTED and own is not None:
        claims["hurts"] = _said("hurts", share if share in good and own["high"] < 0 else UNSUPPORTED, own)
    if share in good:
        row = act(found[0], "spares", found[0].off, found[0].left_over)
        claims["spares"] = _said("spares", share if row["low"] > 0 else UNSUPPORTED, row)
    if (row := _pull(slow, families)) is not None:
        claims["pulls"] = _said("pulls", SUPPORTED if row["low"] > 0 else UNSUPPORTED, row)
    if claims["hurts"]["verdict"] in good:
        _modest(slow, tables, claims)
    for row in tables["clustering"]:
        one = declared.get("deactivate") or declared["steer"]
        if row["selector"] == one["selector"] and row["draws"] >= 19 and row["low"] is not None:
            claims["crowds"] = _said("crowds", SUPPORTED if row["low"] > row["shuffled_max"] else UNSUPPORTED, row)
    both = {claims["hurts"]["verdict"], judged["steers"]["verdict"]}
    worst_first = (UNSUPPORTED, UNTESTED, RESERVED, SUPPORTED)
    claims["handle"]["verdict"] = next(verdict for verdict in worst_first if verdict in both)


def _pull(slow: Slow, families: Families) -> Row | None:
    """How much more is answered with the emotion's name over all clips, beyond matched draws, by speakers."""
    for key in families.single:
        matched = families.matched(key)
        if key not in families.declared or key[0] != "steer" or not matched:
            continue
        targets, used = families.shared((key, *matched))
        speakers = sorted(set(slow.speaker[used]))
        if len(speakers) < 5:
            return None
        weights = {who: int((used & (slow.speaker == who)).sum()) for who in speakers}

        def value(one, gone, targets=targets, used=used):
            return families.value("pull_overall", (one,), targets)(used & (slow.speaker != gone))

        draws = [lambda gone, one=one, value=value: value(one, gone) for one in matched]
        return beyond_units("pulls", weights, lambda gone, key=key, value=value: value(key, gone), draws)
    return None


def from_few(asked: Asked, few: int) -> tuple[Row, Row, float]:
    """What sets from few clips, the last draws, take beyond controls, the same less 80 % of the full set's, and the share."""
    full, every = asked.off or ([], [])
    controls, sets = every[:-few], every[-few:]

    def tested(less: float) -> Row:
        def own(gone):
            return mean([asked.apart(one, gone) for one in sets]) - less * asked.apart(full, gone)

        def named(m, name, gone):
            held = mean([asked.by_name(one, m, name, gone) for one in sets]) - less * asked.by_name(full, m, name, gone)
            return held - (1 - less) * mean([asked.by_name(one, m, name, gone) for one in controls])

        draws = [lambda gone, one=one: (1 - less) * asked.apart(one, gone) for one in controls]
        return beyond(asked, "modest", own, draws, named)

    rows = tested(0.0), tested(0.8)
    return *rows, 100 * rows[0]["estimate"] / act(asked, "full", (full, controls), asked.apart)["estimate"]


def _modest(slow: Slow, tables: dict[str, list[Row]], claims: dict[str, Row]) -> None:
    clips = [row["size"] for row in tables["efficiency"] if row["full"]]
    most = min([50, *(size // 2 for size in clips)])
    fewer = [row for row in slow.conditions if row["control"] == "fewer" and row["kind"] == "deactivate"]
    good, last = None, None
    for size in sorted({row["size"] for row in fewer if row["size"] <= most}, reverse=True):
        found = asked_of(slow, size)
        if found is None:
            continue
        taken, above, _ = from_few(found[0], len({row["draw"] for row in fewer if row["size"] == size}))
        last = last or taken
        if taken["high"] >= 0 or above["high"] >= 0:
            break
        good = taken
    if last is not None:
        claims["modest"] = _said("modest", SUPPORTED if good else UNSUPPORTED, good or last)
