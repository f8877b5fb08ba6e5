"""The result tables of a run folder, and of a study that was run in parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from emoscope.analysis.accuracy import hollow_conditions, uar
from emoscope.analysis.contrasts import compare
from emoscope.analysis.effects import effects, evidence, matrix
from emoscope.analysis.load import Run, read_run
from emoscope.analysis.parts import Part, StudyRuns, read_study
from emoscope.analysis.responses import build_panel
from emoscope.analysis.verdicts import headline_tests, verdicts
from emoscope.chapters.agnostic import agnostic
from emoscope.chapters.answers import confusion, reliance
from emoscope.chapters.arousal import arousal
from emoscope.chapters.claims import claims
from emoscope.chapters.dissociation import dissociation
from emoscope.chapters.efficiency import efficiency
from emoscope.chapters.flows import flows
from emoscope.chapters.grounding import grounding
from emoscope.chapters.layer_effects import profile
from emoscope.chapters.layers import clustering, layers
from emoscope.chapters.letters import letters
from emoscope.chapters.outcomes import outcome_effects, outcome_sets
from emoscope.chapters.published import published
from emoscope.chapters.selectivity import selectivity
from emoscope.chapters.selectors import differences
from emoscope.chapters.sets import matching, stability
from emoscope.chapters.side_effects import side_effects, transcription
from emoscope.chapters.steering import trend
from emoscope.chapters.transfer import agreement, asymmetry, transfer
from emoscope.chapters.transferred import foreign
from emoscope.chapters.within import within
from emoscope.chapters.wordings import wordings
from emoscope.report.page import write_csv
from emoscope.runs.folder import RunFolder


def compute_tables(run: Run) -> Part:
    """Compute every result table of a run from its stored answers."""
    part = Part.alone(run)
    panel = part.panel
    panels = {"likelihood": panel, "generation": build_panel(run, "generation")}
    levels = uar(run, panels)
    hollow = hollow_conditions(levels)
    compared = compare(panel, run.conditions, hollow)
    neurons, notes = layers(run)
    agreement, more = stability(run)
    sized, lost = efficiency(run, compared)
    overlap, unseen = outcome_sets(run)
    crowded, unread = clustering(run)
    if "baseline" not in panel.rows:
        more = (*more, "effects: there are no baseline answers to compare with")
    answered, cells = effects(compared), matrix(compared, panel.labels)
    frames = {
        "uar": levels,
        "confusion": confusion(panels, run.conditions),
        "matrix": cells,
        "effects": answered,
        "evidence": evidence(compared),
        "verdicts": verdicts(compared, panel.unknown_speakers),
        "tests": headline_tests(compared, run),
        "differences": differences(panel, compared),
        "reliance": reliance(panel, run.conditions),
        "layers": neurons,
        "stability": agreement,
        "matching": matching(run),
        "efficiency": sized,
        "agnostic": agnostic(panel, run.conditions, hollow),
        "trend": trend(compared),
        "flows": flows(panel, compared),
        "wordings": wordings(run, hollow),
        "letters": letters(run, panel, hollow),
        "within": within(run, panel, hollow),
        "arousal": arousal(compared, panel.labels),
        "outcomes": outcome_effects(panel, run.conditions, run.sets, hollow),
        "outcome_sets": overlap,
        "profile": profile(answered, neurons),
        "transcription": transcription(run),
        "foreign": foreign(run),
        "clustering": crowded,
        "published": published(run, levels, answered, cells),
    }
    found = replace(part, computed=frames, notes=(*notes, *unseen, *more, *lost, *unread))
    return found.changed(claims=claims(found))


def write_tables(folder: str | Path) -> Part:
    """Compute a run's result tables and write them to ``tables/``, as Parquet and as CSV.

    The same answers give the same bytes: rows are sorted and sums are taken in one order.

    Args:
        folder: the run folder.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    found = compute_tables(read_run(folder))
    _write(found.computed, RunFolder(folder))
    return found


def _write(frames: Mapping[str, pl.DataFrame], out: RunFolder) -> None:
    for name, frame in frames.items():
        out.write_table(f"tables/{name}", frame)
        write_csv(frame, out / f"tables/{name}.csv")


STUDY_TABLES = ("transfer", "asymmetry", "agreement", "dissociation", "grounding", "selectivity", "side_effects")
"""Names of the tables of a study in parts, in ``<run>/tables/``."""


def compute_study_tables(folder: str | Path) -> StudyRuns:
    """Compute the tables of a study in parts from the stored answers of its parts.

    Raises:
        FileNotFoundError: the folder holds no study in parts.
    """
    study = read_study(folder)
    acted = transfer(study)
    frames = {
        "transfer": acted,
        "asymmetry": asymmetry(acted, study),
        "agreement": agreement(study),
        "dissociation": dissociation(study),
        "grounding": grounding(study),
        "selectivity": selectivity(study),
        "side_effects": side_effects(study),
    }
    return replace(study, computed=frames, notes=_study_notes(study))


def write_study_tables(folder: str | Path) -> StudyRuns:
    """Compute the tables of a study in parts and write them to its ``tables/``, as Parquet and as CSV.

    Raises:
        FileNotFoundError: the folder holds no study in parts.
    """
    found = compute_study_tables(folder)
    _write(found.computed, RunFolder(folder))
    return found


def _study_notes(study: StudyRuns) -> tuple[str, ...]:
    lost = (study.manifest.get("not_transferred") or {}).items()
    return (
        *(f"{part.name}: {part.failed}" for part in study.parts if part.failed),
        *(f"{name}: its sets are not transferred: {why}" for name, why in lost),
        *(
            f"{part.name}: no answers by likelihood to compare with"
            for part in study.parts
            if part.there and part.presentation != "transcription" and part.asked is None
        ),
    )
