"""The tables of a study that was run in parts: transfer, dissociation, grounding and side effects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from emoscope.analysis.dissociation import dissociation
from emoscope.analysis.grounding import grounding
from emoscope.analysis.parts import PartRun, StudyRuns, read_runs
from emoscope.analysis.selectivity import selectivity
from emoscope.analysis.side_effects import side_effects
from emoscope.analysis.transfer import agreement, asymmetry, transfer
from emoscope.runs.folder import RunFolder, replacing

NAMES = ("transfer", "asymmetry", "agreement", "dissociation", "grounding", "selectivity", "side_effects")
"""Names of the tables in ``<run>/tables/``."""


@dataclass(frozen=True)
class WholeTables:
    """The results that rest on several parts of a study.

    Attributes:
        transfer: what sets of one corpus do on another (``transfer``).
        asymmetry: the two directions compared (``asymmetry``).
        agreement: how alike corpora score neurons (``agreement``).
        dissociation: each question under its own sets and the other's (``dissociation``).
        grounding: voice, noise and transcript (``grounding``).
        selectivity: activity of the sets on them (``selectivity``).
        side_effects: other tasks under the sets (``side_effects``).
        whole: the study and its parts, with the tables that these were computed from.
        notes: what could not be computed, and why.
    """

    transfer: pl.DataFrame
    asymmetry: pl.DataFrame
    agreement: pl.DataFrame
    dissociation: pl.DataFrame
    grounding: pl.DataFrame
    selectivity: pl.DataFrame
    side_effects: pl.DataFrame
    whole: StudyRuns
    notes: tuple[str, ...] = ()

    @property
    def parts(self) -> tuple[PartRun, ...]:
        """The parts of the study, in order."""
        return self.whole.parts

    @property
    def manifest(self) -> Mapping[str, Any]:
        """The manifest of the whole."""
        return self.whole.manifest


def whole_tables(folder: str | Path) -> WholeTables:
    """Compute the tables of a study in parts from the stored answers of its parts.

    Args:
        folder: the study's folder.

    Raises:
        FileNotFoundError: the folder holds no study in parts.
    """
    whole = read_runs(folder)
    acted = transfer(whole)
    return WholeTables(
        transfer=acted,
        asymmetry=asymmetry(acted, whole),
        agreement=agreement(whole),
        dissociation=dissociation(whole),
        grounding=grounding(whole),
        selectivity=selectivity(whole),
        side_effects=side_effects(whole),
        whole=whole,
        notes=_notes(whole),
    )


def write_whole_tables(folder: str | Path) -> WholeTables:
    """Compute the tables of a study in parts and write them to its ``tables/``, as Parquet and as CSV.

    Raises:
        FileNotFoundError: the folder holds no study in parts.
    """
    found = whole_tables(folder)
    out = RunFolder(folder)
    for name in NAMES:
        frame: pl.DataFrame = getattr(found, name)
        out.write_table(f"tables/{name}", frame)
        with replacing(out / f"tables/{name}.csv") as partial:
            frame.write_csv(partial)
    return found


def _notes(whole: StudyRuns) -> tuple[str, ...]:
    notes = [f"{part.name}: {part.failed}" for part in whole.parts if part.failed]
    notes += [
        f"{name}: its sets are not transferred: {why}"
        for name, why in (whole.manifest.get("not_transferred") or {}).items()
    ]
    notes += [f"{part.name}: its folder is not there" for part in whole.parts if part.run is None]
    notes += [
        f"{part.name}: no answers by likelihood to compare with"
        for part in whole.parts
        if part.run is not None and part.presentation != "transcription" and part.asked is None
    ]
    return tuple(notes)
