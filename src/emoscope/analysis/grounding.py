"""Voice or words: the same question on the voice, on noise in its place and on the transcript."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.effects import columns, measures, unit
from emoscope.analysis.families import mean
from emoscope.analysis.joint import Replicated
from emoscope.analysis.levels import level, presentation
from emoscope.analysis.parts import GROUNDING as ROLE
from emoscope.analysis.parts import MAIN, Act, Asked, Key, PartRun, StudyRuns
from emoscope.schemas import as_table

NO_INTERVAL = "no interval of UAR: whether the model hears anything cannot be said"
AT_CHANCE = "UAR is not clear of chance"
NOTHING_TO_REMOVE = f"nothing to remove: {AT_CHANCE}"


def grounding(whole: StudyRuns) -> pl.DataFrame:
    """UAR and the effects of a corpus's own sets on the voice and on what stands in its place.

    Args:
        whole: the study.

    Returns:
        the columns of table ``grounding``; empty for a corpus that was asked on the voice alone.
    """
    rows: list[dict[str, Any]] = []
    for main in whole.of_role(MAIN):
        others = [part for part in whole.of_role(ROLE, main.name) if part.asked is not None]
        if main.asked is None or not others:
            continue
        rows += _rows(main, main.asked, main.asked.acts[None], None)
        for part in others:
            if part.asked is not None:
                rows += _rows(part, part.asked, part.asked.acts.get(main.name, {}), main.asked)
    return as_table("grounding", rows)


def _rows(part: PartRun, asked: Asked, acts: Mapping[Key, Act], voice: Asked | None) -> list[dict[str, Any]]:
    used = asked.panel.asked("baseline")
    chance = asked.panel.chance
    heard = _uar(asked, used)
    found = heard.interval()
    note, nothing = None, None
    above = Replicated(heard.values - chance, heard.speakers, heard.sizes).interval()
    if above.low is None:
        note = nothing = NO_INTERVAL
    elif above.low <= 0:
        note, nothing = AT_CHANCE, NOTHING_TO_REMOVE
    about = {"corpus": part.of, "presentation": presentation(asked.run), "part": part.name, "chance": chance}
    row = about | {"kind": "baseline", "measure": "uar", "unit": "%", "n": int(used.sum()), "draws": 1, "note": note}
    row |= {"hollow": "baseline" in asked.hollow} | columns(found)
    row["p"] = above.p
    if voice is not None:
        both = used & _same_clips(asked, voice), voice.panel.asked("baseline") & _same_clips(voice, asked)
        row |= _less(_uar(asked, both[0]), _uar(voice, both[1])) if all(one.any() for one in both) else {}
    rows = [row]
    for (kind, alpha), act in acts.items():
        same = None if voice is None else voice.acts[None].get((kind, alpha))
        for excess in (False, True) if act.matched else (False,):
            effects = _effects(asked, act, excess, None)
            before = {} if voice is None or same is None else _effects(voice, same, excess, asked)
            there = {} if voice is None else _effects(asked, act, excess, voice)
            for measure, one in effects.items():
                row = about | {
                    "kind": kind,
                    "alpha": alpha,
                    "measure": "excess_" * excess + measure,
                    "unit": unit(measure),
                }
                row |= {"n": int(one.sizes.sum()), "draws": len(act.matched) if excess else 1}
                row |= {"hollow": asked.touched([act], excess), "note": nothing if kind == "deactivate" else None}
                row |= columns(one.interval())
                compared = measure in before and measure in there
                rows.append(row | (_less(there[measure], before[measure]) if compared else {}))
    return rows


def _uar(asked: Asked, used: np.ndarray) -> Replicated:
    return Replicated(level(asked.panel, "baseline", used), asked.panel.speakers, asked.sizes(used))


def _effects(asked: Asked, act: Act, excess: bool, on: Asked | None) -> dict[str, Replicated]:
    """The measures of an act, on the clips of another presentation where one is named."""
    if excess and not act.matched:
        return {}
    targets, used = asked.shared([act], excess)
    used = used if on is None else used & _same_clips(asked, on)
    if not targets or not used.any():
        return {}
    found = measures(mean(asked.each(act, excess, targets, used)))
    return {name: Replicated(values, asked.panel.speakers, asked.sizes(used)) for name, values in found.items()}


def _same_clips(asked: Asked, other: Asked) -> np.ndarray:
    """Which of the items are about a clip that another part was asked about, dimension (item)."""
    clips = dict(asked.run.items.select("item", "clip").iter_rows())
    there = other.run.items.filter(pl.col("item").is_in(other.panel.items[other.panel.asked("baseline")].tolist()))
    known = set(there["clip"])
    return np.array([clips[item] in known for item in asked.panel.items.tolist()], dtype=bool)


def _less(one: Replicated, other: Replicated) -> dict[str, Any]:
    found = one.minus(other).interval()
    return {"less": found.estimate, "less_low": found.low, "less_high": found.high, "less_p": found.p}
