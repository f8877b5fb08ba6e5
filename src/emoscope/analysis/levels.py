"""How much is answered rightly under a condition, with all speakers and without each: UAR, or accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emoscope.analysis.jackknife import replicates
from emoscope.analysis.panel import Panel
from emoscope.analysis.run_tables import Run, in_known_order

UAR, ACCURACY = "UAR", "accuracy"


def presentation(run: Run) -> str:
    """What a run's items put to the model: "audio", or what stands in its place."""
    study: Any = run.manifest.get("study", {})
    return str(study.get("question", {}).get("presentation") or "audio")


def level_of(run: Run) -> str:
    """Which level a run's answers have: the accuracy for text questions, of which each has options of its own."""
    return ACCURACY if presentation(run) == "text" else UAR


def level(panel: Panel, condition: str, used: np.ndarray, which: str = UAR) -> np.ndarray:
    """UAR or accuracy under a condition in %, with all speakers and without each.

    Answers that cannot be read count as not correct.

    Args:
        panel: the stored answers.
        condition: the condition's id.
        used: which items to count, dimension (item).
        which: :data:`UAR` (the mean over the labels that occur of the share answered correctly) or :data:`ACCURACY`.

    Returns:
        dimension (1 + speaker); NaN where a speaker alone has all items of a label.
    """
    items = panel.per_speaker(used.astype(float))
    hits = panel.per_speaker(((panel.answer(condition) == panel.truth) & used).astype(float))
    if which == ACCURACY:
        items, hits = items.sum(axis=1, keepdims=True), hits.sum(axis=1, keepdims=True)
    heard = items.sum(axis=0) > 0
    asked, right = replicates(items[:, heard]), replicates(100 * hits[:, heard])
    shares = np.divide(right, asked, out=np.full(asked.shape, np.nan), where=asked > 0)
    return np.asarray(shares.mean(axis=1)) if heard.any() else np.full(len(items) + 1, np.nan)


def mean_level(panel: Panel, conditions: Sequence[str], used: np.ndarray, which: str = UAR) -> np.ndarray:
    """The mean of the levels under several conditions, dimension (1 + speaker)."""
    return np.asarray(np.mean([level(panel, condition, used, which) for condition in conditions], axis=0))


def answered(panel: Panel, draws: Sequence[Mapping[str, str]]) -> tuple[tuple[str, ...], np.ndarray]:
    """The targets that all draws have, options or not, and the items answered at baseline and under all conditions."""
    used = panel.asked("baseline")
    for draw in draws:
        for condition in draw.values():
            used = used & panel.asked(condition)
    return in_known_order(set.intersection(*(set(draw) for draw in draws))), used
