"""Do sets hurt emotions of like arousal more: cross effects within and across arousal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.contrasts import Change, Compared, mean
from emoscope.analysis.estimate import Estimate
from emoscope.analysis.parts import Part, StudyRuns
from emoscope.emotions import arousal_of
from emoscope.report.page import Note, Question, Table
from emoscope.report.wording import by_key, made
from emoscope.schemas import as_table
from emoscope.wording import DONE, bracket, estimate_text, number, spread

CROSS = {"deactivate": "cross", "steer": "pull_cross"}
"""The measure that is split, for each kind of intervention."""


def arousal(compared: Sequence[Compared], labels: Sequence[str]) -> pl.DataFrame:
    """The headline's effects on other emotions, parted into emotions of the same and of the other arousal.

    Args:
        compared: the families and what they change.
        labels: the responses' labels; those whose arousal is not known do not enter.

    Returns:
        the columns of table ``arousal``, in points: ``…_same`` and ``…_other`` are means over the pairs (set, emotion
        of the clips) of the same and of the other arousal, ``…_apart`` is the former minus the latter, ``excess_…``
        the target sets' beyond matched controls. ``pairs`` counts pairs. Empty where either kind of pair is missing.
    """
    level = [arousal_of(label) for label in labels]
    rows: list[dict[str, Any]] = []
    for one in compared:
        if not one.headline:
            continue
        kind, parts = one.family["kind"], [("target", "", one.change)]
        if one.excess is not None:
            matched = replace(mean(one.excess.matched), unreliable=one.excess.beyond.unreliable)
            parts += [("matched", "", matched), ("target", "excess_", one.excess.beyond)]
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
    return {f"{name}_{end}": (change.estimate(one, sizes), counts[end]) for end, one in values.items()}


def tabulate_arousal(part: Part) -> pl.DataFrame | None:
    """The headline's effects on emotions of the same and of the other arousal."""
    by = by_key(part.table("arousal"), "kind", "control", "measure")
    rows = []
    for kind, cross, done in (
        ("deactivate", "cross", "switched off: accuracy"),
        ("steer", "pull_cross", "amplified: share answered so"),
    ):
        for end, words in (
            ("same", "emotions of the same arousal"),
            ("other", "emotions of the other arousal"),
            ("apart", "same minus other"),
        ):
            one = by.get((kind, "target", f"{cross}_{end}"))
            if one is not None:
                rows.append({
                    "effect on": f"{words}, {done}", "pairs": str(one["pairs"]), "selected": estimate_text(one),
                    "matched": estimate_text(by.get((kind, "matched", f"{cross}_{end}"))),
                    "selected minus matched": estimate_text(by.get((kind, "target", f"excess_{cross}_{end}"))),
                })  # fmt: skip
    return made(rows)


def arousal_note(part: Part) -> str | None:
    """Whether the sets hold arousal, in a sentence; ``None`` where it was not measured."""
    if part.pilot is not None:  # it supports no claim
        return None
    by = by_key(part.table("arousal"), "kind", "control", "measure")
    row = by.get(("deactivate", "target", "excess_cross_apart"))
    if row is None:
        return None
    groups = {level: [e for e in part.emotions if arousal_of(e) == level] for level in ("high", "low")}
    named = "; ".join(f"{level}: {', '.join(group)}" for level, group in groups.items())
    told = f"{number(row['estimate'], sign=True)} points {bracket(row['low'], row['high'])}".strip()
    if row["low"] is None or not part.speakers or row["unreliable"]:
        claim = f"Same minus other arousal, beyond matched neurons: {told}; no conclusion is drawn."
    elif row["high"] < 0:
        claim = f"Beyond matched neurons, switching off hurts emotions of the same arousal more than those of the other ({told}): the sets hold arousal, too."
    elif row["low"] > 0:
        claim = f"Beyond matched neurons, switching off hurts emotions of the other arousal more than those of the same ({told})."
    else:
        claim = f"Whether switching off hurts emotions of the same arousal more than those of the other remains open (beyond matched neurons {told})."
    return f"{claim} Arousal by ratings of words (Warriner et al. 2013), {named}."


def tabulate_arousal_of_parts(study: StudyRuns) -> pl.DataFrame | None:
    """Effects on other emotions of the same and of the other arousal."""
    rows = []
    for part in study.mains:
        table = part.table("arousal")
        for kind in ("deactivate", "steer"):
            mine = table.filter(pl.col("kind") == kind)
            found = {(row["control"], row["measure"]): row for row in mine.iter_rows(named=True)}
            cross = "cross" if kind == "deactivate" else "pull_cross"
            if found:
                rows.append({
                    "corpus": part.name, "neurons": DONE[kind], "same arousal": spread(found.get(("target", f"{cross}_same"))),
                    "other arousal": spread(found.get(("target", f"{cross}_other"))), "same minus other": spread(found.get(("target", f"{cross}_apart"))),
                    "beyond matched": spread(found.get(("target", f"excess_{cross}_apart"))),
                })  # fmt: skip
    return made(rows)


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
            ),
            Note(arousal_note),
            Table(
                "arousal",
                tabulate_arousal_of_parts,
                "Effects on other emotions, by whether their arousal is that of the neurons’ emotion (points).",
                pages="study",
            ),
        ),
        tables={"arousal": lambda part: arousal(part.compared, part.responses.labels)},
    ),
)
