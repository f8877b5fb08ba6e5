"""The result tables of a run folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from emoscope.analysis import accuracy
from emoscope.analysis.agnostic import agnostic
from emoscope.analysis.arousal import arousal
from emoscope.analysis.claims import CLAIMS, claims
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
        efficiency: sets from fewer clips (``efficiency.EFFICIENCY``).
        agnostic: steering without a label (``agnostic.AGNOSTIC``).
        trend: whether effects rise with alpha (``trend.TREND``).
        flows: from which answer to which, under the headline's conditions (``flows.FLOWS``).
        wordings: UAR and the headline's effects on each wording alone (``wordings.WORDINGS``); empty where there is one.
        outcomes: what sets found on misses and false alarms do (``outcomes.OUTCOME_EFFECTS``); empty where there are none.
        outcome_sets: how far these overlap with sets found on hits (``outcomes.OUTCOME_SETS``).
        profile: what single layers of the headline's sets do (``profile.PROFILE``); empty where that was not asked.
        transcription: word errors of what was written down (``transcription.TRANSCRIPTION``); empty where nothing was.
        foreign: what sets that other parts of a study found do here (``sources.FOREIGN``); empty where none act.
        letters: effects by the letter of the right option (``letters.LETTERS``).
        within: effects within each value of other label columns (``within.WITHIN``); empty where there is none.
        arousal: effects on emotions of the same and of the other arousal (``arousal.AROUSAL``).
        clustering: how unevenly sets lie over the layers (``clustering.CLUSTERING``).
        claims: each claim of the paper, decided on the other tables (``claims.CLAIMS``).
        published: published figures of this model on this corpus (``published.PUBLISHED``); often empty.
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
    hollow = accuracy.hollow(levels)
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
        claims=pl.DataFrame(schema=CLAIMS),
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
