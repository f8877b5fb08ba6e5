"""The result tables of a run folder, and of a study that was run in parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emoscope.analysis.accuracy import hollow_conditions, uar
from emoscope.analysis.contrasts import compare
from emoscope.analysis.effects import effects, evidence, matrix
from emoscope.analysis.load import Run, declared_headline, read_run
from emoscope.analysis.parts import StudyRuns, read_runs
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
from emoscope.report.views import Content, Frames, Tables
from emoscope.runs.folder import RunFolder
from emoscope.schemas import empty, read_table


def compute_tables(run: Run) -> Tables:
    """Compute every result table from the stored answers."""
    panels = {scoring: build_panel(run, scoring) for scoring in ("likelihood", "generation")}
    panel = panels["likelihood"]
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
        "claims": empty("claims"),
        "published": published(run, levels, answered, cells),
    }
    found = Tables(frames, run, panel, (*notes, *unseen, *more, *lost, *unread))
    return found.changed(claims=claims(found))


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
    for name, frame in found.frames.items():
        out.write_table(f"tables/{name}", frame)
        write_csv(frame, out / f"tables/{name}.csv")
    return found


STUDY_TABLES = ("transfer", "asymmetry", "agreement", "dissociation", "grounding", "selectivity", "side_effects")
"""Names of the tables of a study in parts, in ``<run>/tables/``."""


@dataclass(frozen=True)
class WholeTables(Frames):
    """The results that rest on several parts of a study, one table a subject: those of :data:`STUDY_TABLES`.

    Attributes:
        whole: the study and its parts, with the tables that these were computed from.
        notes: what could not be computed, and why.
    """

    whole: StudyRuns
    notes: tuple[str, ...] = ()


def whole_tables(folder: str | Path) -> WholeTables:
    """Compute the tables of a study in parts from the stored answers of its parts.

    Args:
        folder: the study's folder.

    Raises:
        FileNotFoundError: the folder holds no study in parts.
    """
    whole = read_runs(folder)
    acted = transfer(whole)
    frames = {
        "transfer": acted,
        "asymmetry": asymmetry(acted, whole),
        "agreement": agreement(whole),
        "dissociation": dissociation(whole),
        "grounding": grounding(whole),
        "selectivity": selectivity(whole),
        "side_effects": side_effects(whole),
    }
    return WholeTables(frames, whole, _study_notes(whole))


def write_whole_tables(folder: str | Path) -> WholeTables:
    """Compute the tables of a study in parts and write them to its ``tables/``, as Parquet and as CSV.

    Raises:
        FileNotFoundError: the folder holds no study in parts.
    """
    found = whole_tables(folder)
    out = RunFolder(folder)
    for name, frame in found.frames.items():
        out.write_table(f"tables/{name}", frame)
        write_csv(frame, out / f"tables/{name}.csv")
    return found


def _study_notes(whole: StudyRuns) -> tuple[str, ...]:
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


def open_content(folder: str | Path, tables: Tables | None = None) -> Content:
    """Read a run folder and compute what its report shows.

    Args:
        folder: the run folder.
        tables: its result tables, if they were computed already.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    tables = tables or compute_tables(read_run(folder))
    run = tables.run
    return Content(run, tables, read_table(run.folder, "neurons"), **declared_headline(run.manifest, run.conditions))
