"""In which layers the selected neurons lie, next to sets found on shuffled labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.run_tables import Run, in_known_order
from emoscope.neurons.selection import load_set
from emoscope.schemas import as_table, empty


def layers(run: Run) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Count the neurons of each set per layer, for the sets fitted on all speakers.

    Args:
        run: the run folder's tables.

    Returns:
        the columns of table ``layers`` (share in % of the set) for target and shuffled sets, and notes on what
        could not be counted.
    """
    model: Any = run.manifest.get("model", {})
    count, width = model.get("layers"), model.get("width")
    sets = run.sets.filter((pl.col("fold") == "all") & pl.col("control").is_in(["target", "shuffled"]))
    if sets.is_empty():
        return empty("layers"), ()
    if not count or not width:
        return empty("layers"), ("layers: the manifest does not say how many layers the model has",)
    rows, notes = [], []
    by_set = sets.select("set", "selector", "budget", "scope", "control", "draw").unique().sort("set")
    for one in by_set.iter_rows(named=True):
        tensors = _stored(run.folder, one.pop("set"))
        if tensors is None:
            notes.append(f"layers: no neurons stored for a {one['control']} set of {one['selector']}")
            continue
        for emotion in in_known_order(tensors):
            counts = np.bincount(tensors[emotion] // width, minlength=count)
            total = max(int(counts.sum()), 1)
            rows += [
                one | {"emotion": emotion, "layer": layer, "neurons": int(n), "share": 100 * int(n) / total}
                for layer, n in enumerate(counts)
            ]
    by = ["selector", "budget", "scope", "control", "draw", "emotion", "layer"]
    return as_table("layers", rows).sort(by), tuple(sorted(set(notes)))


def _stored(folder: Path, set_id: str) -> dict[str, np.ndarray] | None:
    try:
        return load_set(folder / "sets", set_id)
    except FileNotFoundError:
        return None
