"""The declared claims again, slowly and obviously: every replicate leaves a unit's clips out and starts anew.

Plain loops over clips, speakers and pairs of emotions. Imports nothing of ``emoscope``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from scipy import optimize, stats

Row = dict[str, Any]
Sets = Sequence[Sequence[Sequence[float]]]  # log-probabilities by target, clip and option
Named = Callable[[int, int, Any], float]  # of a set, the name of another and the unit left out
OFF = ("exists", "disproportionate", "selective")
ON = ("steers", "grows", "steers selectively")


@dataclass(eq=False)
class Asked:
    """Clips, and log-probabilities of their options without and under target sets and draws of control sets."""

    truth: Sequence[int]
    speaker: Sequence[Any]
    unit: Sequence[Any]
    options: int
    untouched: Sequence[Sequence[float]]
    targets: Sequence[int]
    off: tuple[Sets, Sequence[Sets]] | None = None
    amplified: Mapping[float, tuple[Sets, Sequence[Sets]]] = field(default_factory=dict)
    alpha: float | None = None
    known: dict[Any, float] = field(default_factory=dict)

    @cached_property
    def units(self) -> list[Any]:
        return sorted(set(self.unit))

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """Those of which at least five units hold clips by speakers who have both."""
        found = []
        for pair in combinations(range(self.options), 2):
            have: dict[Any, set[int]] = {}
            for who, what in zip(self.speaker, self.truth, strict=True):
                have.setdefault(who, set()).add(what)
            rows = zip(self.speaker, self.truth, self.unit, strict=True)
            units = {unit for who, what, unit in rows if what in pair and have[who] >= set(pair)}
            if len(units) >= 5 and all(math.isfinite(self.separation(self.untouched, *pair, gone)) for gone in units):
                found.append(pair)
        return found

    def kept(self, gone: Any) -> dict[Any, list[int]]:
        """The clips of each speaker, without those of a unit."""
        found: dict[Any, list[int]] = {}
        for clip, (who, unit) in enumerate(zip(self.speaker, self.unit, strict=True)):
            if gone is None or unit != gone:
                found.setdefault(who, []).append(clip)
        return found

    def _over_speakers(
        self, logp: Sequence[Sequence[float]], first: int, second: int, gone: Any, of: Callable[..., float]
    ) -> float:
        total = weight = 0.0
        for clips in self.kept(gone).values():
            apart = {
                emotion: [logp[clip][first] - logp[clip][second] for clip in clips if self.truth[clip] == emotion]
                for emotion in (first, second)
            }
            n, m = len(apart[first]), len(apart[second])
            if n and m:
                total += n * m / (n + m) * of(apart[first], apart[second])
                weight += n * m / (n + m)
        return total / weight if weight else math.nan

    def separation(self, logp: Sequence[Sequence[float]], first: int, second: int, gone: Any = None) -> float:
        key = (id(logp), first, second, gone)
        if key not in self.known:
            self.known[key] = self._over_speakers(
                logp, first, second, gone, lambda a, b: sum(a) / len(a) - sum(b) / len(b)
            )
        return self.known[key]

    def auc(self, logp: Sequence[Sequence[float]], first: int, second: int, gone: Any = None) -> float:
        def won(a: Sequence[float], b: Sequence[float]) -> float:
            return 100 * sum((x > y) + 0.5 * (x == y) for x in a for y in b) / (len(a) * len(b))

        return self._over_speakers(logp, first, second, gone, won)

    def weight(self, gone: Any) -> float:
        """What a unit adds to the weights of all pairs of emotions, each pair counted in both orders."""

        def every(gone: Any) -> float:
            total = 0.0
            for clips in self.kept(gone).values():
                for pair in combinations(range(self.options), 2):
                    n, m = (sum(self.truth[clip] == one for clip in clips) for one in pair)
                    total += 2 * n * m / (n + m) if n and m else 0.0
            return total

        return every(None) - every(gone)

    # what a family of sets changes, as functions of the unit that is left out

    def change(self, sets: Sets, m: int, pair: tuple[int, int], gone: Any) -> float:
        return self.separation(sets[m], *pair, gone) - self.separation(self.untouched, *pair, gone)

    def mean_change(self, sets: Sets, m: int, own: bool, gone: Any, name: int | None = None) -> float:
        """Of a set, over the pairs with or without its own emotion, or with or without that of another set."""
        emotion = self.targets[m if name is None else name]
        values = [self.change(sets, m, pair, gone) for pair in self.pairs if (emotion in pair) == own]
        return sum(values) / len(values)

    def share(self, sets: Sets, m: int, own: bool, gone: Any, name: int | None = None) -> float:
        emotion = self.targets[m if name is None else name]
        before = [self.separation(self.untouched, *pair, gone) for pair in self.pairs if (emotion in pair) == own]
        return 100 * self.mean_change(sets, m, own, gone, name) / (sum(before) / len(before))

    def by_name(self, sets: Sets, m: int, name: int, gone: Any) -> float:
        """What the estimand would be of a set that is named after another emotion."""
        return self.mean_change(sets, m, True, gone, name) - self.mean_change(sets, m, False, gone, name)

    def share_by_name(self, sets: Sets, m: int, name: int, gone: Any) -> float:
        return self.share(sets, m, True, gone, name) - self.share(sets, m, False, gone, name)

    def loss(self, sets: Sets, m: int, emotion: int, against: Sequence[int], gone: Any) -> float:
        """What an emotion's pairs with some others lose, in % of what they had."""
        pairs = [tuple(sorted((emotion, other))) for other in against]
        moved = sum(self.change(sets, m, pair, gone) for pair in pairs)
        return 100 * moved / sum(self.separation(self.untouched, *pair, gone) for pair in pairs)

    def apart(self, sets: Sets, gone: Any = None) -> float:
        own = [self.mean_change(sets, m, True, gone) for m in range(len(self.targets))]
        others = [self.mean_change(sets, m, False, gone) for m in range(len(self.targets))]
        return float(np.mean(own) - np.mean(others))

    def apart_share(self, sets: Sets, gone: Any = None) -> float:
        own = [self.share(sets, m, True, gone) for m in range(len(self.targets))]
        others = [self.share(sets, m, False, gone) for m in range(len(self.targets))]
        return float(np.mean(own) - np.mean(others))

    def left_over(self, sets: Sets, gone: Any = None) -> float:
        each = range(len(self.targets))
        return float(np.mean([self.share(sets, m, False, gone) - self.share(sets, m, True, gone) / 3 for m in each]))

    def thirds(self, m: int, emotion: int) -> list[int]:
        """Emotions that have testable pairs with both the set's own emotion and another."""
        own = self.targets[m]
        rest = set(range(self.options)) - {own, emotion}
        return [c for c in rest if {tuple(sorted((c, own))), tuple(sorted((c, emotion)))} <= set(self.pairs)]

    def nearest(self, sets: Sets, m: int, emotion: int, gone: Any = None) -> float:
        third = self.thirds(m, emotion)
        return self.loss(sets, m, self.targets[m], third, gone) - self.loss(sets, m, emotion, third, gone)

    def above_rank_one(self, sets: Sets, gone: Any = None) -> float:
        def matrix(gone: Any) -> np.ndarray:
            found = np.full((len(self.targets),) * 2, np.nan)
            for m, own in enumerate(self.targets):
                for place, emotion in enumerate(self.targets):
                    against = [c for c in range(self.options) if tuple(sorted((c, emotion))) in self.pairs]
                    against = [c for c in against if emotion == own or c != own]
                    if against:
                        found[m, place] = self.loss(sets, m, emotion, against, gone)
            return found

        losses = matrix(gone)
        sign = 1 if np.trace(matrix(None)) >= 0 else -1
        return float(np.mean(np.diag(losses) - sign * np.diag(nearest_product(sign * losses))))


def nearest_product(matrix: np.ndarray) -> np.ndarray:
    """The product of two vectors, none below 0, nearest to a matrix off its diagonal, by turns of non-negative fits."""
    size = len(matrix)
    there = [(i, j) for i in range(size) for j in range(size) if i != j and math.isfinite(matrix[i, j])]
    fragile = np.array([max(0.0, sum(matrix[i, j] for i, j in there if j == one)) for one in range(size)])
    potent = np.zeros(size)
    for _ in range(20):
        for one in range(size):
            potent[one] = _factor([(matrix[i, j], fragile[j]) for i, j in there if i == one])
        for one in range(size):
            fragile[one] = _factor([(matrix[i, j], potent[i]) for i, j in there if j == one])
    return np.outer(potent, fragile)


def _factor(cells: list[tuple[float, float]]) -> float:
    if not any(weight for _, weight in cells):
        return 0.0
    return float(optimize.nnls(np.array([[weight] for _, weight in cells]), np.array([y for y, _ in cells]))[0][0])


def jackknife(values: Sequence[float]) -> float:
    """The variance from values without each unit."""
    middle = sum(values) / len(values)
    return (len(values) - 1) / len(values) * sum((value - middle) ** 2 for value in values)


def spread_of_names(units: Sequence[Any], size: int, named: Named) -> tuple[float, float]:
    """The variance of a mean over sets, from what each does to emotions of other names: without the clips' part, and whole."""
    if size < 3:
        return 0.0, 0.0
    table = {
        (m, name, gone): named(m, name, gone)
        for m in range(size) for name in range(size) if m != name for gone in (None, *units)
    }  # fmt: skip

    def differs(m: int, name: int, gone: Any) -> float:
        rest = [table[m, other, gone] for other in range(size) if other != m]
        return table[m, name, gone] - sum(rest) / len(rest)

    whole = noise = 0.0
    for m in range(size):
        squares = sum(differs(m, name, None) ** 2 for name in range(size) if name != m)
        clips = sum(jackknife([differs(m, name, unit) for unit in units]) for name in range(size) if name != m)
        # k numbers that add up to 0 differ less from the mean of k - 1 of them than numbers that are free would
        whole += squares / (size - 2) * (size - 1) / size
        noise += clips / (size - 2) * (size - 1) / size
    return max(0.0, (whole - noise) / size / size), whole / size / size  # one set's, averaged; a mean over sets


def beyond(
    asked: Asked,
    name: str,
    own: Callable[[Any], float],
    draws: Sequence[Callable[[Any], float]],
    named: Named | None = None,
) -> Row:
    """A statistic of the target sets beyond the mean over control draws, by units of the clips."""
    weights = {unit: asked.weight(unit) for unit in asked.units}
    counted = {unit: weight for unit, weight in weights.items() if weight > 1e-9}
    names = spread_of_names(list(counted), len(asked.targets), named) if named else (0.0, 0.0)
    return beyond_units(name, counted, own, draws, names, len(asked.targets))


def beyond_units(
    name: str,
    weights: Mapping[Any, float],
    own: Callable[[Any], float],
    draws: Sequence[Callable[[Any], float]],
    names: tuple[float, float] = (0.0, 0.0),
    size: int = 0,
) -> Row:
    """The same by any units, with both errors."""
    units = list(weights)
    worth = sum(weights.values()) ** 2 / sum(weight**2 for weight in weights.values()) - 1

    def over(gone: Any) -> float:
        return own(gone) - (sum(draw(gone) for draw in draws) / len(draws) if draws else 0.0)

    estimate, sampling, between = over(None), jackknife([over(unit) for unit in units]), 0.0
    whole = 0.0
    if len(draws) > 1:
        each = [draw(None) for draw in draws]
        alone = []
        for draw in draws:
            centred = [draw(unit) - sum(other(unit) for other in draws) / len(draws) for unit in units]
            alone.append(jackknife(centred))
        noise = sum(alone) / len(alone) * len(draws) / (len(draws) - 1)
        whole = float(np.var(each, ddof=1))
        between = max(0.0, whole - noise)
    twice = 1 + 1 / len(draws) if draws else 1.0
    choice, spread, free = between * twice, whole * twice, len(draws) - 1
    if names[0] > choice:
        choice, spread, free = *names, size * (size - 2)
    error, parts = math.sqrt(sampling + choice), sampling**2 / worth
    parts += spread**2 / free if choice else 0.0
    df = min(worth, max(1.0, (sampling + choice) ** 2 / parts)) if parts else worth
    half, narrow = stats.t.ppf(0.975, df) * error, stats.t.ppf(0.975, worth) * math.sqrt(sampling)
    p = 1.0 if abs(estimate) < 1e-12 else 0.0 if error < 1e-12 else 2 * stats.t.sf(abs(estimate) / error, df)
    row = {"name": name, "estimate": estimate, "low": estimate - half, "high": estimate + half, "df": df, "p": p}
    row |= {"set_low": estimate - narrow, "set_high": estimate + narrow, "units": len(units), "draws": len(draws)}
    return row | {"between": between, "sampling": sampling}


def slope(asked: Asked) -> Row:
    """The least-squares slope over strengths of the estimand, of target sets beyond that of draws."""
    doses = sorted(alpha for alpha, (_, draws) in asked.amplified.items() if 0 < alpha <= 1 and len(draws) >= 5)
    draws = min(len(asked.amplified[alpha][1]) for alpha in doses)

    def fitted(values: Sequence[float]) -> float:
        return float(stats.linregress(doses, values).slope)

    own = lambda gone: fitted([asked.apart(asked.amplified[alpha][0], gone) for alpha in doses])  # noqa: E731
    each = [
        lambda gone, n=n: fitted([asked.apart(asked.amplified[alpha][1][n], gone) for alpha in doses])
        for n in range(draws)
    ]

    def named(m: int, name: int, gone: Any) -> float:
        own, *controls = [
            fitted([asked.by_name([asked.amplified[alpha][0], *asked.amplified[alpha][1]][n], m, name, gone) for alpha in doses])
            for n in range(1 + draws)
        ]  # fmt: skip
        return own - sum(controls) / len(controls)

    return beyond(asked, "grows", own, each, named)


def act(
    asked: Asked,
    name: str,
    under: tuple[Sets, Sequence[Sets]],
    of: Callable[..., float],
    *more: Any,
    by_name: Callable[[Sets, int, int, Any], float] | None = None,
) -> Row:
    own, draws = under
    functions = [lambda gone, sets=sets: of(sets, *more, gone) for sets in (own, *draws)]
    if by_name is None:
        return beyond(asked, name, functions[0], functions[1:])

    def named(m: int, name: int, gone: Any) -> float:
        controls = [by_name(sets, m, name, gone) for sets in draws]
        return by_name(own, m, name, gone) - (sum(controls) / len(controls) if controls else 0.0)

    return beyond(asked, name, functions[0], functions[1:], named)


def selective(asked: Asked, name: str, under: tuple[Sets, Sequence[Sets]], sign: int) -> Row:
    """The weakest of all that must hold: own above each other emotion, and above potency times fragility."""
    parts = []
    for m, own in enumerate(asked.targets):
        for emotion in range(asked.options):
            if emotion != own and asked.thirds(m, emotion):
                parts.append(act(asked, name, under, asked.nearest, m, emotion))
    if len(asked.targets) >= 4:
        parts.append(act(asked, name, under, asked.above_rank_one))
    return max(parts, key=lambda row: row["p"] / 2 if sign * row["estimate"] > 0 else 1 - row["p"] / 2)


def declared_tests(asked: Asked) -> dict[str, Row]:
    """All six claims, each with its verdict; both first claims after Holm (1979)."""
    found: dict[str, Row] = {}
    level = beyond(asked, "untouched", lambda gone: _level(asked, gone), []) if asked.pairs else None
    heard = len({emotion for pair in asked.pairs for emotion in pair})
    blocked = heard < 3 or level is None or level["low"] <= 0
    for names, under in ((OFF, asked.off), (ON, asked.amplified.get(asked.alpha))):
        if blocked or under is None or len(asked.targets) < 3 or len(under[1]) < 5:
            found |= {name: untested(name) for name in names}
            continue
        sign = -1 if names is OFF else 1
        found[names[0]] = act(asked, names[0], under, asked.apart, by_name=asked.by_name)
        if names is OFF:
            found[names[1]] = act(asked, names[1], under, asked.apart_share, by_name=asked.share_by_name)
        elif sum(0 < alpha <= 1 and len(draws) >= 5 for alpha, (_, draws) in asked.amplified.items()) >= 3:
            found[names[1]] = slope(asked)
        else:
            found[names[1]] = untested(names[1])
        found[names[2]] = selective(asked, names[2], under, sign)
    return decide(found)


def untested(name: str) -> Row:
    empty = ("estimate", "low", "high", "set_low", "set_high", "p", "p_holm", "df")
    return {"name": name, "verdict": "not testable", "units": 0, "draws": 0} | dict.fromkeys(empty)


def _level(asked: Asked, gone: Any) -> float:
    return float(np.mean([asked.separation(asked.untouched, *pair, gone) for pair in asked.pairs]))


def decide(found: dict[str, Row]) -> dict[str, Row]:
    """Verdicts in both sequences: a claim stands if its own test and all before it hold."""
    heads = {name: found[name]["p"] for name in ("exists", "steers")}
    small = min((p for p in heads.values() if p is not None), default=None)
    for row in found.values():
        row["p_holm"] = None
    for name, p in heads.items():  # the smaller of two p values counts twice, and no p value passes another
        found[name]["p_holm"] = None if p is None else min(1.0, max(2 * small, p))
    for names, sign in ((OFF, -1), (ON, 1)):
        said = "supported"
        for name in names:
            row = found[name]
            if row["estimate"] is None:
                said = "not testable" if said == "supported" else said
                continue
            p = row["p"] if row["p_holm"] is None else row["p_holm"]
            if said == "supported" and not (sign * row["estimate"] > 0 and p < 0.05):
                said = "not supported"
            row["verdict"] = said
    return found
