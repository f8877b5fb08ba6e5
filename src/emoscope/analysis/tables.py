"""The result tables of a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from emoscope.analysis import accuracy
from emoscope.analysis.comparisons import DIFFERENCES, TESTS
from emoscope.analysis.effects import EFFECTS, MATRIX, effects, matrix
from emoscope.analysis.evidence import EVIDENCE
from emoscope.analysis.layers import layers
from emoscope.analysis.panel import Panel, build_panel
from emoscope.analysis.run_tables import Run, read_run
from emoscope.analysis.sets import MATCHING, STABILITY
from emoscope.analysis.verdicts import VERDICTS
from emoscope.runs.folder import RunFolder, replacing

NAMES = (
    "uar", "confusion", "matrix", "effects", "evidence", "verdicts", "tests", "differences", "reliance", "layers",
    "stability", "matching",
)  # fmt: skip


@dataclass(frozen=True)
class Tables:
    """The results computed from a run, one table a subject.

    Attributes:
        uar: UAR, accuracy, letter mass and agreement per condition and scoring (``accuracy.UAR``).
        confusion: answers by true label (``accuracy.CONFUSION``).
        matrix: D and pull per set and emotion (``effects.MATRIX``).
        effects: the measures with intervals (``effects.EFFECTS``).
        evidence: sensitivity and bias per target emotion (``evidence.EVIDENCE``).
        verdicts: what may be said of each family with matched controls (``verdicts.VERDICTS``).
        tests: the declared headline tests (``comparisons.TESTS``).
        differences: between selectors (``comparisons.DIFFERENCES``).
        reliance: UAR with MLP layers off (``accuracy.RELIANCE``).
        layers: neurons per layer (``layers.LAYERS``).
        stability: agreement of the sets of different folds (``sets.STABILITY``).
        matching: how like their sets matched controls are (``sets.MATCHING``).
        run: the tables of the run folder that these were computed from.
        panel: its answers by likelihood arranged as (condition, item).
        notes: what could not be computed, and why.
    """

    uar: pl.DataFrame
    confusion: pl.DataFrame
    matrix: pl.DataFrame
    effects: pl.DataFrame
    evidence: pl.DataFrame
    verdicts: pl.DataFrame
    tests: pl.DataFrame
    differences: pl.DataFrame
    reliance: pl.DataFrame
    layers: pl.DataFrame
    stability: pl.DataFrame
    matching: pl.DataFrame
    run: Run
    panel: Panel
    notes: tuple[str, ...] = ()


def compute_tables(run: Run) -> Tables:
    """Compute every result table from the stored answers."""
    panels = {scoring: build_panel(run, scoring) for scoring in ("likelihood", "generation")}
    panel = panels["likelihood"]
    neurons, notes = layers(run)
    found = [*notes]
    if "baseline" not in panel.rows:
        found.append("effects: there are no baseline answers to compare with")
    compare = "baseline" in panel.rows
    return Tables(
        uar=accuracy.uar(run, panels),
        confusion=accuracy.confusion(panels, run.conditions),
        matrix=matrix(panel, run.conditions) if compare else pl.DataFrame(schema=MATRIX),
        effects=effects(panel, run.conditions) if compare else pl.DataFrame(schema=EFFECTS),
        evidence=pl.DataFrame(schema=EVIDENCE),
        verdicts=pl.DataFrame(schema=VERDICTS),
        tests=pl.DataFrame(schema=TESTS),
        differences=pl.DataFrame(schema=DIFFERENCES),
        stability=pl.DataFrame(schema=STABILITY),
        matching=pl.DataFrame(schema=MATCHING),
        reliance=accuracy.reliance(panel, run.conditions),
        layers=neurons,
        run=run,
        panel=panel,
        notes=tuple(found),
    )


def write_tables(folder: str | Path) -> Tables:
    """Compute a run's result tables and write them to ``tables/``, as Parquet and as CSV.

    The same answers give the same bytes: rows are sorted and sums are taken in one order.

    Args:
        folder: the run folder.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    found = compute_tables(read_run(folder))
    out = RunFolder(folder)
    for name in NAMES:
        frame: pl.DataFrame = getattr(found, name)
        out.write_table(f"tables/{name}", frame)
        with replacing(out / f"tables/{name}.csv") as partial:
            frame.write_csv(partial)
    return found
