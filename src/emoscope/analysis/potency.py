"""How much sets move the answers, whatever their direction: the headline's, its controls', and its own under wrong names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from emoscope.analysis.contrasts import Changes, Compared, Conditions, measures, shared
from emoscope.analysis.responses import Responses
from emoscope.schemas import as_table
from emoscope.vocabulary import GAPS, TARGET

MISNAMED = "misnamed"
"""The control of the headline's own sets under the names of other emotions; it is arithmetic on stored answers."""


def misnamed(own: Conditions) -> list[Conditions]:
    """The same sets under wrong names: each emotion gets the set of the one that stands 1, 2, ... places on.

    Example:
        >>> misnamed({"anger": "a", "fear": "f", "joy": "j"})
        [{'anger': 'f', 'fear': 'j', 'joy': 'a'}, {'anger': 'j', 'fear': 'a', 'joy': 'f'}]
    """
    names, sets = list(own), list(own.values())
    shifts = range(1, len(names))
    return [dict(zip(names, sets[shift:] + sets[:shift], strict=True)) for shift in shifts]


def divergence(responses: Responses, conditions: Conditions) -> float | None:
    """Mean Kullback-Leibler divergence of the options' probabilities under sets from the untouched model's, in nat.

    With p the untouched model's probabilities and q those under a set, the sum over options of p (log p - log q), over
    all items and sets; ``None`` where no item has both.
    """
    before, found = _logp(responses, "baseline"), []
    for name in conditions.values():
        after = _logp(responses, name)
        # options that an item does not offer have no probability
        each = np.nansum(np.exp(before) * (before - after), axis=1)
        there = np.isfinite(before).any(axis=1) & (np.isfinite(before) == np.isfinite(after)).all(axis=1)
        found.append(each[there])
    every = np.concatenate(found)
    return float(every.mean()) if len(every) else None


def _logp(responses: Responses, condition: str) -> np.ndarray:
    """Natural logs of the probabilities of an item's options, which add up to 1; (item, option), NaN where not offered."""
    with np.errstate(invalid="ignore"):
        return np.asarray(-np.logaddexp(0, -responses.log_odds[responses.rows[condition]]))


def potency(responses: Responses, compared: Sequence[Compared]) -> pl.DataFrame:
    """The divergence of the answers and the gap under the headline's sets and every control of them: table ``potency``.

    One row for every kind, strength and control, with means over draws and the least and the most of one draw. The gap is
    that of the kind (:data:`~emoscope.vocabulary.GAPS`), on items asked under all draws.
    """
    changes, rows = Changes(responses), []
    for case in compared:
        family, kind = case.family, case.family["kind"]
        whole = family["control"] == TARGET or family["draw"] is None
        if family["role"] not in ("headline", "dose") or not whole:
            continue
        draws = {family["control"]: list(case.conditions)}
        if family["control"] == TARGET and len(case.targets) > 1:
            draws[MISNAMED] = misnamed({name: case.conditions[0][name] for name in case.targets})
        for control, each in draws.items():
            targets, used = shared(responses, each)
            moved = [divergence(responses, draw) for draw in each]
            gaps = [measures(changes.count(draw, targets, used))[GAPS[kind]].values[0] for draw in each]
            row = {"kind": kind, "alpha": family["alpha"], "control": control, "draws": len(each)}
            for name, values in (("kl", moved), ("gap", gaps)):
                known = [float(value) for value in values if value is not None and np.isfinite(value)]
                row |= {name: float(np.mean(known)) if known else None}
                row |= {f"{name}_min": min(known, default=None), f"{name}_max": max(known, default=None)}
            rows.append(row)
    return as_table("potency", rows)
