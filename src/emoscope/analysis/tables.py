"""The result tables of a run folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from emoscope.analysis import accuracy
from emoscope.analysis.agnostic import agnostic
from emoscope.analysis.arousal import arousal
from emoscope.analysis.claims import claims
from emoscope.analysis.clustering import clustering
from emoscope.analysis.comparisons import differences, headline_tests
from emoscope.analysis.effects import effects, matrix
from emoscope.analysis.efficiency import efficiency
from emoscope.analysis.evidence import evidence
from emoscope.analysis.families import compare
from emoscope.analysis.flows import flows
from emoscope.analysis.layers import layers
from emoscope.analysis.letters import letters
from emoscope.analysis.outcomes import outcome_effects, outcome_sets
from emoscope.analysis.panel import Panel, build_panel
from emoscope.analysis.profile import profile
from emoscope.analysis.published import published
from emoscope.analysis.run_tables import Run, read_run
from emoscope.analysis.sets import matching, stability
from emoscope.analysis.sources import foreign
from emoscope.analysis.transcription import transcription
from emoscope.analysis.trend import trend
from emoscope.analysis.verdicts import verdicts
from emoscope.analysis.within import within
from emoscope.analysis.wordings import wordings
from emoscope.runs.folder import RunFolder, replacing
from emoscope.schemas import empty

NAMES = (
    "uar", "confusion", "matrix", "effects", "evidence", "verdicts", "tests", "differences", "reliance", "layers",
    "stability", "matching", "efficiency", "agnostic", "trend", "flows", "wordings",
    "outcomes", "outcome_sets",
    "profile", "foreign", "letters", "within", "arousal", "transcription",
    "clustering", "claims", "published",
)  # fmt: skip


@dataclass(frozen=True)
class Tables:
    """The results computed from a run, one table a subject.

    Attributes:
        uar: UAR, accuracy, letter mass and agreement per condition and scoring (``uar``).
        confusion: answers by true label (``confusion``).
        matrix: D and pull per set and emotion (``matrix``).
        effects: the measures with intervals (``effects``).
        evidence: sensitivity and bias per target emotion (``evidence``).
        verdicts: what may be said of each family with matched controls (``verdicts``).
        tests: the declared headline tests (``tests``).
        differences: between selectors (``differences``).
        reliance: UAR with MLP layers off (``reliance``).
        layers: neurons per layer (``layers``).
        stability: agreement of the sets of different folds (``stability``).
        matching: how like their sets matched controls are (``matching``).
        efficiency: sets from fewer clips (``efficiency``).
        agnostic: steering without a label (``agnostic``).
        trend: whether effects rise with alpha (``trend``).
        flows: from which answer to which, under the headline's conditions (``flows``).
        wordings: UAR and the headline's effects on each wording alone (``wordings``); empty where there is one.
        outcomes: what sets found on misses and false alarms do (``outcomes``); empty where there are none.
        outcome_sets: how far these overlap with sets found on hits (``outcome_sets``).
        profile: what single layers of the headline's sets do (``profile``); empty where that was not asked.
        transcription: word errors of what was written down (``transcription``); empty where nothing was.
        foreign: what sets that other parts of a study found do here (``foreign``); empty where none act.
        letters: effects by the letter of the right option (``letters``).
        within: effects within each value of other label columns (``within``); empty where there is none.
        arousal: effects on emotions of the same and of the other arousal (``arousal``).
        clustering: how unevenly sets lie over the layers (``clustering``).
        claims: each claim of the paper, decided on the other tables (``claims``).
        published: published figures of this model on this corpus (``published``); often empty.
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
    efficiency: pl.DataFrame
    agnostic: pl.DataFrame
    trend: pl.DataFrame
    flows: pl.DataFrame
    wordings: pl.DataFrame
    letters: pl.DataFrame
    within: pl.DataFrame
    arousal: pl.DataFrame
    outcomes: pl.DataFrame
    outcome_sets: pl.DataFrame
    profile: pl.DataFrame
    transcription: pl.DataFrame
    foreign: pl.DataFrame
    clustering: pl.DataFrame
    claims: pl.DataFrame
    published: pl.DataFrame
    run: Run
    panel: Panel
    notes: tuple[str, ...] = ()


def compute_tables(run: Run) -> Tables:
    """Compute every result table from the stored answers."""
    panels = {scoring: build_panel(run, scoring) for scoring in ("likelihood", "generation")}
    panel = panels["likelihood"]
    levels = accuracy.uar(run, panels)
    hollow = accuracy.hollow_conditions(levels)
    compared = compare(panel, run.conditions, hollow)
    neurons, notes = layers(run)
    agreement, more = stability(run)
    sized, lost = efficiency(run, compared)
    overlap, unseen = outcome_sets(run)
    crowded, unread = clustering(run)
    if "baseline" not in panel.rows:
        more = (*more, "effects: there are no baseline answers to compare with")
    answered, cells = effects(compared), matrix(compared, panel.labels)
    found = Tables(
        uar=levels,
        confusion=accuracy.confusion(panels, run.conditions),
        matrix=cells,
        effects=answered,
        evidence=evidence(compared),
        verdicts=verdicts(compared, panel.unknown_speakers),
        tests=headline_tests(compared, run),
        differences=differences(panel, compared),
        reliance=accuracy.reliance(panel, run.conditions),
        layers=neurons,
        stability=agreement,
        matching=matching(run),
        efficiency=sized,
        agnostic=agnostic(panel, run.conditions, hollow),
        trend=trend(compared),
        flows=flows(panel, compared),
        wordings=wordings(run, hollow),
        letters=letters(run, panel, hollow),
        within=within(run, panel, hollow),
        arousal=arousal(compared, panel.labels),
        outcomes=outcome_effects(panel, run.conditions, run.sets, hollow),
        outcome_sets=overlap,
        profile=profile(answered, neurons),
        transcription=transcription(run),
        foreign=foreign(run),
        clustering=crowded,
        claims=empty("claims"),
        published=published(run, levels, answered, cells),
        run=run,
        panel=panel,
        notes=(*notes, *unseen, *more, *lost, *unread),
    )
    return replace(found, claims=claims(found))


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
