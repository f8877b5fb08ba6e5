"""Runs small enough to work out by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from emoscope.analysis.run_tables import Run
from emoscope.schemas import conform, empty


def small_run(
    items: Sequence[tuple[str | None, str]],
    answers: Mapping[str, Sequence[str | None]],
    conditions: Sequence[Mapping[str, Any]] = (),
    generated: Mapping[str, Sequence[str | None]] | None = None,
    options: Sequence[str] = ("anger", "fear"),
    manifest: Mapping[str, Any] | None = None,
    logp: Mapping[str, Sequence[Sequence[float]]] | None = None,
) -> Run:
    """A run in memory: ``items`` are (speaker, truth), ``answers`` one answer per item and condition ("-": not asked).

    ``logp`` holds, per condition and item, the log-probabilities of the options in canonical order.
    """
    rows = [
        {
            "item": n,
            "clip": f"c{n}",
            "speaker": speaker,
            "side": "both",
            "label": "emotion",
            "truth": truth,
            "fate": "used",
        }
        | {"options": list(options), "emotion": truth}
        for n, (speaker, truth) in enumerate(items)
    ]
    said = [
        {"item": n, "condition": condition, "scoring": scoring, "answer": answer, "letter_mass": 0.9}
        | {"logp": list(logp[condition][n]) if scoring == "likelihood" and condition in (logp or {}) else None}
        for scoring, table in (("likelihood", answers), ("generation", generated or {}))
        for condition, found in table.items()
        for n, answer in enumerate(found)
        if answer != "-"
    ]
    return Run(
        Path(),
        conform(pl.DataFrame(rows, infer_schema_length=None), "items"),
        empty("sets"),
        conform(pl.DataFrame(list(conditions), infer_schema_length=None), "conditions")
        if conditions
        else empty("conditions"),
        conform(pl.DataFrame(said, infer_schema_length=None), "answers"),
        manifest or {},
    )


def deactivations(
    control: str = "target", draw: int = 0, targets: Sequence[str] = ("anger", "fear")
) -> list[dict[str, Any]]:
    """The conditions that switch one set per emotion off; ids are "<target>" for targets, "<target>~<control><draw>" else."""
    end = "" if control == "target" else f"~{control}{draw}"
    return [
        {
            "condition": target + end,
            "kind": "deactivate",
            "target": target,
            "selector": "cas",
            "budget": 0.05,
            "scope": "audio",
        }
        | {"control": control, "draw": draw, "positions": "all", "layers": "all", "to": "zero"}
        for target in targets
    ]
