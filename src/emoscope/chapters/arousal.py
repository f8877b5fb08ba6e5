"""Do sets hurt emotions of like arousal more: cross effects within and across arousal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import polars as pl

from emoscope.analysis.contrasts import Change, Compared, mean
from emoscope.analysis.estimate import Estimate
from emoscope.analysis.parts import Row, StudyRuns, first
from emoscope.emotions import arousal_of
from emoscope.report.page import Question, Table
from emoscope.report.wording import by_key, made_of, outcome, tally
from emoscope.schemas import as_table
from emoscope.wording import spread

CROSS = {"deactivate": "cross", "steer": "pull_cross"}
"""The measure that is split, for each kind of intervention."""


def arousal(compared: Sequence[Compared], labels: Sequence[str]) -> pl.DataFrame:
    """The headline's effects on other emotions, parted into emotions of the same and of the other arousal.

    In table ``arousal``, in points, ``…_same`` and ``…_other`` are means over the pairs (set, emotion of the clips) of
    the same and of the other arousal, ``…_apart`` is the former minus the latter, ``excess_…`` the target sets' beyond
    matched controls. ``pairs`` counts pairs. Labels whose arousal is not known do not enter; empty where either kind is
    missing.
    """
    level = [arousal_of(label) for label in labels]
    rows: list[Row] = []
    for effect in compared:
        if not effect.headline:
            continue
        kind, parts = effect.family["kind"], [("target", "", effect.change)]
        if effect.excess is not None:
            matched = replace(mean(effect.excess.matched), unreliable=effect.excess.beyond.unreliable)
            parts += [("matched", "", matched), ("target", "excess_", effect.excess.beyond)]
        for control, prefix, change in parts:
            for measure, (found, pairs) in _split(kind, change, level).items():
                row = {"kind": kind, "control": control, "measure": prefix + measure, "pairs": pairs}
                rows.append(row | found.columns())
    return as_table("arousal", rows)


def _split(kind: str, change: Change, level: Sequence[str | None]) -> dict[str, tuple[Estimate, int]]:
    """Cross effects over pairs of the same arousal, of the other one, and their difference, with how many pairs."""
    matrix = change.accuracy() if kind == "deactivate" else change.pull()  # (1 + speaker, target, label)
    known = [code for code in change.targets if level[code] is not None]
    place = {code: m for m, code in enumerate(change.targets)}
    pairs = [(m, e) for m in known for e in known if m != e]
    same = [(place[m], e) for m, e in pairs if level[m] == level[e]]
    other = [(place[m], e) for m, e in pairs if level[m] != level[e]]
    if not same or not other:
        return {}
    means = [np.mean([matrix[:, m, e] for m, e in part], axis=0) for part in (same, other)]
    sizes, name = change.items[:, known].sum(axis=1), CROSS[kind]
    values = {"same": means[0], "other": means[1], "apart": means[0] - means[1]}
    counts = {"same": len(same), "other": len(other), "apart": len(pairs)}
    return {f"{name}_{end}": (change.estimate(effect, sizes), counts[end]) for end, effect in values.items()}


ENDS = {"same": "emotions of the same arousal", "other": "emotions of the other arousal", "apart": "same minus other"}
ACTED = {"deactivate": "switched off: accuracy", "steer": "amplified: share answered so"}


def tabulate_arousal(study: StudyRuns) -> pl.DataFrame | None:
    """The headline's effects on emotions of the same and of the other arousal."""
    rows = []
    for part in study.mains:
        by = by_key(part.table("arousal"), "kind", "control", "measure")
        for (kind, done), (end, words) in product(ACTED.items(), ENDS.items()):
            measure = f"{CROSS[kind]}_{end}"
            if effect := by.get((kind, "target", measure)):
                row = {"corpus": part.name, "effect on": f"{words}, {done}", "pairs": str(effect["pairs"])}
                row |= {"selected": spread(effect), "matched": spread(by.get((kind, "matched", measure)))}
                beyond = spread(by.get((kind, "target", f"excess_{measure}")))
                rows.append(row | {"selected minus matched": beyond})
    return made_of(study, rows)


def say_arousal(study: StudyRuns) -> list[str]:
    """Whether the sets hold arousal."""
    found, emotions = [], set()
    for part in study.mains:
        row = first(part.table("arousal"), kind="deactivate", control="target", measure="excess_cross_apart")
        if row is not None:
            found.append(outcome(part.name, row, part))
            emotions |= set(part.emotions)
    if not found:
        return []
    sentences = tally(
        found,
        "Beyond matched neurons, switching off hurts emotions of the same arousal more than those of the other, so "
        "that the sets hold arousal, too: {}.",
        "Beyond matched neurons, switching off hurts emotions of the other arousal more than those of the same: {}.",
        "Whether switching off hurts emotions of the same arousal more than those of the other, beyond matched "
        "neurons, remains open: {}.",
    )
    high, low = (", ".join(sorted(e for e in emotions if arousal_of(e) == level)) for level in ("high", "low"))
    return [*sentences, f"Arousal by ratings of words (Warriner et al. 2013), high: {high}; low: {low}."]


QUESTIONS = (
    Question(
        "factors",
        30,
        (
            Table(
                "arousal",
                tabulate_arousal,
                "Effects on other emotions than the neurons’ own, by whether their arousal is the same, means "
                "over pairs of emotions in points with 95 % intervals over speakers. Neurons that hold arousal "
                "act more on emotions of the same arousal.",
                pages="both",
            ),
        ),
        says=say_arousal,
        says_on="both",
        tables={"arousal": lambda part: arousal(part.compared, part.responses.labels)},
    ),
)
