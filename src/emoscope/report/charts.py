"""The figures: one Altair definition each, used by the page, by notebooks and for pictures.

Every function takes the content of a report and returns a chart with a title that says what it shows and a
line on how to read it, or ``None`` where the run has nothing to show. Colours are those of the light theme.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from emoscope.report.answer_charts import confusion, flows, recall, reliance
from emoscope.report.content import Content, open_content
from emoscope.report.effect_charts import (
    CELLS,
    agnostic,
    deactivation,
    evidence,
    gaps,
    positions,
    steering,
)
from emoscope.report.factors import factors
from emoscope.report.layer_charts import profile, ranges
from emoscope.report.set_charts import layers, layers_by_emotion, selectors, stability
from emoscope.report.sweep_charts import budgets, dose, efficiency
from emoscope.report.theme import title


def main_figure(folder_or_content: str | Path | Content) -> Any | None:
    """The headline's matrix of changes under deactivation, next to that of its matched controls.

    Args:
        folder_or_content: a run folder, or its content.

    Returns:
        an Altair chart; ``None`` where the run has no deactivation of the headline's sets.
    """
    content = folder_or_content if isinstance(folder_or_content, Content) else open_content(folder_or_content)
    chart = deactivation(content, ("target", "matched"))
    return chart and chart.properties(title=title("Switching off an emotion's neurons, next to matched neurons", CELLS))


FIGURES: Mapping[str, Callable[..., Any]] = {
    "recall": recall, "confusion": confusion, "deactivation": deactivation, "flows": flows, "evidence": evidence, "gaps": gaps, "budgets": budgets,
    "reliance": reliance, "steering": steering, "dose": dose, "agnostic": agnostic, "selectors": selectors, "stability": stability, "efficiency": efficiency, "factors": factors,
    "positions": positions, "ranges": ranges, "profile": profile, "layers": layers, "layers_by_emotion": layers_by_emotion, "main": main_figure,
}  # fmt: skip
"""Name to figure, in the order of the page."""
