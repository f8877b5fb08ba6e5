"""Letters, values of other columns, and arousal again: each effect from the items that it is about."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache

import numpy as np
import polars as pl

from emoscope.emotions import AROUSAL
from tests.analysis.slow import FAMILY, Families, Row, Slow, Statistic, as_share, mean, share

NAMES = {"deactivate": ("self", "cross", "gap"), "steer": ("pull", "pull_cross", "pull_gap")}
NO_LABEL = {
    "item", "clip", "corpus", "speaker", "session", "block", "split", "fold", "side", "label", "truth", "wording", "options",
    "order", "duration_s", "checksum", "fate", "why", "evaluated", "path", "correct", "answered", "transcript", "presentation",
}  # fmt: skip
Keys = tuple[tuple, ...]


class Headlines:
    """The declared family of each kind with its matched draws, and what they do to some items."""

    def __init__(self, slow: Slow, families: Families, any_hollow: Callable[[Keys], bool]) -> None:
        self.slow, self.families, self.any_hollow = slow, families, any_hollow
        self.keys = sorted(families.declared, key=str)
        self.cells = cache(lambda condition, target, kept: slow.cells(condition, target, np.frombuffer(kept, bool)))

    def effects(self, key: tuple, targets: tuple[str, ...]) -> list[tuple[str, str, Keys, Keys]]:
        """(control, prefix, families, families that are subtracted) of everything that a table shows of a kind."""
        matched = self.families.matched(key)
        shown: list[tuple[str, str, Keys, Keys]] = [("target", "", (key,), ())]
        return shown + ([("matched", "", matched, ()), ("target", "excess_", (key,), matched)] if matched else [])

    def targets(self, keys: Keys) -> tuple[str, ...]:
        single = self.families.single
        return tuple(label for label in self.slow.labels if all(label in single[key] for key in keys))

    def asked(self, keys: Keys, targets: tuple[str, ...]) -> np.ndarray:
        used = self.slow.asked("baseline")
        for key, target in itertools.product(keys, targets):
            used = used & self.slow.asked(self.families.single[key][target])
        return used

    def value(self, name: str, keys: Keys, minus: Keys, targets: tuple[str, ...]) -> Statistic:
        which = 1 if name.startswith("pull") else 0
        end = name.removeprefix("pull").removeprefix("_")

        def of_one(key: tuple, kept: np.ndarray) -> float:
            found = {m: self.cells(self.families.single[key][m], m, kept.tobytes()) for m in targets}
            own = mean([found[m][m][which] for m in targets])
            others = mean([found[m][e][which] for m in targets for e in targets if m != e])
            return {"self": own, "": own, "cross": others, "gap": own - others}[end]

        def of_all(kept: np.ndarray) -> float:
            found = mean([of_one(key, kept) for key in keys])
            return found - mean([of_one(key, kept) for key in minus]) if minus else found

        return of_all


def _row(slow: Slow, statistic: Statistic, used: np.ndarray) -> Row:
    return slow.interval(statistic, used) | {"n": int(used.sum())}


def slow_letters(slow: Slow, headlines: Headlines, hollow: set[str]) -> list[Row]:
    place = np.array([item["options"].index(item["truth"]) for item in slow.items])
    asked = slow.asked("baseline")
    letters = sorted(set(place[asked].tolist()))
    said = slow.said["likelihood", "baseline"]
    told = np.array([
        item["options"].index(answer) if answer in item["options"] else -1
        for item, answer in zip(slow.items, said, strict=True)
    ])  # fmt: skip
    rows = []

    def add(about: Row, statistics: dict[int, Statistic], used: dict[int, np.ndarray], is_hollow: bool) -> None:
        for letter in letters:
            others = [other for other in letters if other != letter]
            row = about | {"letter": "ABCDEFGH"[letter], "hollow": is_hollow}
            found = _row(slow, statistics[letter], used[letter])
            row |= as_share(found) if about["kind"] == "baseline" else found
            union = np.any(list(used.values()), axis=0)
            apart = slow.interval(
                lambda kept, letter=letter, others=others: (
                    statistics[letter](kept & used[letter]) - mean([statistics[o](kept & used[o]) for o in others])
                ),
                union,
            )
            row |= {"apart": apart["estimate"], "apart_p": apart["p"]}
            rows.append(row | {"apart_low": apart["low"], "apart_high": apart["high"]})

    here = {letter: asked & (place == letter) for letter in letters}
    base: Row = {"kind": "baseline", "control": "none"}
    hits = slow.correct("baseline")

    def level(letter: int) -> Statistic:
        there = [label for label in slow.labels if (here[letter] & (slow.truth == label)).any()]
        return lambda kept: mean([100 * share(hits, kept & (slow.truth == label)) for label in there])

    add(base | {"measure": "uar"}, {letter: level(letter) for letter in letters}, here, "baseline" in hollow)
    answered = {letter: (lambda kept, letter=letter: 100 * share(told == letter, kept)) for letter in letters}
    add(base | {"measure": "answered"}, answered, dict.fromkeys(letters, asked), "baseline" in hollow)
    for key in headlines.keys:
        kind = key[0]
        for control, prefix, keys, minus in headlines.effects(key, ()):
            targets = headlines.targets((*keys, *minus))
            used = headlines.asked((*keys, *minus), targets)
            for name in NAMES[kind]:
                value = headlines.value(name, keys, minus, targets)
                add(
                    {"kind": kind, "control": control, "measure": prefix + name}, dict.fromkeys(letters, value),
                    {letter: used & here[letter] for letter in letters}, headlines.any_hollow((*keys, *minus)),
                )  # fmt: skip
    return rows


def _mean_of(parts: dict[str, tuple[Statistic, np.ndarray]]) -> Statistic:
    return lambda kept: mean([statistic(kept & used) for statistic, used in parts.values()])


def slow_within(slow: Slow, headlines: Headlines) -> list[Row]:
    asked = {item["label"] for item in slow.items}
    names = [
        name for name, value in slow.items[0].items() if name not in NO_LABEL | asked and isinstance(value, str | None)
    ]
    rows = []
    for column in names:
        values: dict[str, tuple[tuple[str, ...], np.ndarray]] = {}
        for value in sorted({item[column] for item in slow.items} - {None}):
            here = np.array([item[column] == value for item in slow.items])
            labels = tuple(
                label for label in slow.labels
                if any(label in headlines.families.single[key] for key in headlines.keys)
                and len(set(slow.speaker[here & (slow.truth == label)])) > 1
            )  # fmt: skip
            if len(labels) > 1:
                values[value] = (labels, here & np.isin(slow.truth, labels))
        if len(values) < 2:
            continue
        covered = 100 * float(np.any([used for _, used in values.values()], axis=0).mean())
        for key in headlines.keys:
            for control, prefix, keys, minus in headlines.effects(key, ()):
                every = headlines.targets((*keys, *minus))
                used, parts = {}, {}
                for value, (labels, here) in values.items():
                    targets = tuple(label for label in every if label in labels)
                    used[value] = here & headlines.asked((*keys, *minus), targets)
                    parts[value] = {name: headlines.value(name, keys, minus, targets) for name in NAMES[key[0]]}
                for name in NAMES[key[0]]:
                    about = {"column": column, "kind": key[0], "control": control, "measure": prefix + name}
                    about |= {"covered": covered, "hollow": headlines.any_hollow((*keys, *minus))}
                    for value in values:
                        rows.append(about | {"value": value, "values": 1} | _row(slow, parts[value][name], used[value]))
                    over = np.any(list(used.values()), axis=0)
                    both = _row(slow, _mean_of({v: (parts[v][name], used[v]) for v in values}), over)
                    rows.append(about | {"value": None, "values": len(values)} | both)
    return rows


def slow_arousal(slow: Slow, headlines: Headlines) -> list[Row]:
    high = {label: AROUSAL[label] > 5 for label in slow.labels if label in AROUSAL}
    rows = []
    for key in headlines.keys:
        matched = headlines.families.matched(key)
        for control, prefix, keys, minus in headlines.effects(key, ()):
            shared = (key, *matched) if control == "matched" else (*keys, *minus)  # the excess' own items
            targets = tuple(label for label in headlines.targets(shared) if label in high)
            pairs = list(itertools.permutations(targets, 2))
            groups = {
                "same": [pair for pair in pairs if high[pair[0]] == high[pair[1]]],
                "other": [pair for pair in pairs if high[pair[0]] != high[pair[1]]],
            }
            if not all(groups.values()):
                continue
            used = headlines.asked(shared, headlines.targets(shared))

            def level(kept, group, keys=keys, minus=minus, kind=key[0]) -> float:
                def cell(one: tuple, m: str, e: str) -> float:
                    cells = headlines.cells(headlines.families.single[one][m], m, kept.tobytes())
                    return cells[e][0 if kind == "deactivate" else 1]

                own = mean([cell(one, m, e) for one in keys for m, e in group])
                return own - mean([cell(one, m, e) for one in minus for m, e in group]) if minus else own

            def apart(kept, level=level, groups=groups) -> float:
                return level(kept, groups["same"]) - level(kept, groups["other"])

            name = prefix + ("cross" if key[0] == "deactivate" else "pull_cross")
            shown = {end: (lambda k, level=level, g=group: level(k, g), len(group)) for end, group in groups.items()}
            shown["apart"] = (apart, len(pairs))
            for end, (statistic, count) in shown.items():
                row = {"kind": key[0], "control": control, "measure": f"{name}_{end}", "pairs": count}
                row |= {"hollow": headlines.any_hollow(shared)} | slow.interval(statistic, used)
                rows.append(row | {"n": int((used & np.isin(slow.truth, targets)).sum())})
    return rows


def slow_factors(
    slow: Slow, families: Families, hollow: set[str], any_hollow: Callable[[Keys], bool]
) -> dict[str, list[Row]]:  # fmt: skip
    """The tables letters, within and arousal."""
    headlines = Headlines(slow, families, any_hollow)
    assert all(len(key) == len(FAMILY) for key in headlines.keys)
    return {
        "letters": slow_letters(slow, headlines, hollow), "within": slow_within(slow, headlines),
        "arousal": slow_arousal(slow, headlines),
    }  # fmt: skip


def slow_forms(folder, slow: Slow, row: Row) -> Row:
    """The forms of written answers of one row of the table of UARs."""
    found: Row = dict.fromkeys(("share_word", "share_refused", "share_unparsable", "uar_readable"))
    if row["scoring"] != "generation":
        return found
    kept = {item["item"] for item in slow.items}
    units = [path for path in sorted((folder / "answers").glob("*.parquet")) if (folder / "units" / f"{path.stem}.json").is_file()]  # fmt: skip
    answers = pl.concat([pl.read_parquet(path) for path in units], how="diagonal_relaxed")
    forms = answers.filter(
        (pl.col("condition") == row["condition"]) & (pl.col("scoring") == "generation") & pl.col("item").is_in(kept)
    )["form"].to_list()
    names = {"share_word": "word", "share_refused": "refusal", "share_unparsable": "unparsable"}
    found |= {name: 100 * forms.count(form) / len(forms) for name, form in names.items()}
    said = slow.said["generation", row["condition"]]
    read = slow.asked(row["condition"], "generation") & np.array([one is not None for one in said])
    recalls = [share(said == slow.truth, read & (slow.truth == label)) for label in sorted(set(slow.truth))]
    return found | {"uar_readable": None if np.isnan(recalls).any() else 100 * mean(recalls)}
