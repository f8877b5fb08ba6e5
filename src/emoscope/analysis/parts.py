"""The parts of a study, read from its folder, and what was asked in them under the headline's sets of every source."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.accuracy import hollow_conditions, uar
from emoscope.analysis.contrasts import (
    Change,
    Changes,
    Conditions,
    Family,
    draws_by_family,
    group,
    same_but_draw,
    shared,
)
from emoscope.analysis.load import Run, read_run
from emoscope.analysis.responses import Panel, asked_label, build_panel, level_of

Key = tuple[str, float | None]  # kind and alpha of an intervention


@dataclass(frozen=True)
class Act:
    """One intervention of the headline: its target sets and each draw of their matched controls.

    Attributes:
        family: the values of ``families.FAMILY`` of the target sets.
        own: target -> condition.
        matched: the same of every matched draw.
    """

    family: Family
    own: Conditions
    matched: tuple[Conditions, ...]

    def draws(self, excess: bool) -> list[Conditions]:
        """The conditions that an effect rests on, without or with the controls."""
        return [self.own, *self.matched] if excess else [self.own]


def headline_acts(conditions: pl.DataFrame) -> dict[Key, Act]:
    """The interventions that a study declares as its headline: to zero, at all positions and layers.

    Where no condition is marked as the headline's, as for sets of other parts, all count.
    """
    marked = conditions.filter(pl.col("headline").fill_null(False))
    grouped = group(conditions)
    by_key = draws_by_family(grouped)
    found: dict[Key, Act] = {}
    for family, own in grouped:
        plain = (family["control"], family["positions"], family["layers"]) == ("target", "all", "all")
        declared = marked.is_empty() or any(one in set(marked["condition"]) for one in own.values())
        if plain and family["to"] != "mean" and declared:
            matched = by_key.get(same_but_draw(family | {"control": "matched"}), [])
            found.setdefault((family["kind"], family["alpha"]), Act(family, own, tuple(matched)))
    return found


@dataclass(frozen=True)
class PartRun:
    """A part of a study.

    Attributes:
        name, role, corpus, of, column, presentation, failed: as the manifest of the whole tells them; ``failed`` says
            why no sets were found, though its answers may be there.
        folder: its run folder.
        run: its tables; ``None`` where the folder is not there.
    """

    name: str
    role: str
    corpus: str
    of: str
    column: str | None
    presentation: str
    failed: str | None
    folder: Path
    run: Run | None

    @cached_property
    def asked(self) -> Asked | None:
        """What was answered under the headline's sets; ``None`` without baseline answers by likelihood."""
        if self.run is None:
            return None
        asked = Asked.of(self.run)
        return asked if "baseline" in asked.panel.rows else None


@dataclass(frozen=True)
class Asked:
    """One part's question, answered under the headline's sets of the part itself and of every source.

    Attributes:
        run: the part's tables.
        panel: these answers by likelihood.
        acts: source (``None``: the part itself) -> kind and alpha -> the intervention.
        hollow: conditions whose answers support no claim.
    """

    run: Run
    panel: Panel
    acts: Mapping[str | None, Mapping[Key, Act]]
    hollow: frozenset[str]

    @classmethod
    def of(cls, run: Run) -> Asked:
        """Arrange a part's answers."""
        every: dict[str | None, Run] = {None: run}
        every.update(run.foreign.items())
        found = {source: headline_acts(_answered(one)) for source, one in every.items()}
        wanted = {
            c for acts in found.values() for act in acts.values() for draw in act.draws(True) for c in draw.values()
        }
        answers = pl.concat(
            [run.answers, *(one.answers.filter(pl.col("condition") != "baseline") for one in run.foreign.values())]
        )
        conditions = pl.concat(
            [run.conditions, *(one.conditions.filter(pl.col("kind") != "baseline") for one in run.foreign.values())]
        )
        together = replace(
            run, answers=answers.filter(pl.col("condition").is_in(["baseline", *sorted(wanted)])), conditions=conditions
        )
        panels = {scoring: build_panel(together, scoring) for scoring in ("likelihood", "generation")}
        hollow = hollow_conditions(uar(together, panels))
        return cls(run, panels["likelihood"], found, hollow)

    @cached_property
    def changes(self) -> Changes:
        """What each condition changes, counted once."""
        return Changes(self.panel)

    @property
    def question(self) -> str:
        """The label column that is asked about."""
        return asked_label(self.run)

    @property
    def level(self) -> str:
        """Whether answers are judged by UAR or by accuracy."""
        return level_of(self.run)

    def shared(self, acts: Sequence[Act], excess: bool) -> tuple[tuple[str, ...], np.ndarray]:
        """The targets that are options of all acts (and their controls), and the items answered under all of them."""
        return shared(self.panel, [draw for act in acts for draw in act.draws(excess)])

    def each(self, act: Act, excess: bool, targets: Sequence[str], used: np.ndarray) -> list[Change]:
        """What an act changes; for an excess what it changes beyond each matched draw."""
        own = self.changes.count(act.own, targets, used)
        return [own.minus(self.changes.count(draw, targets, used)) for draw in act.matched] if excess else [own]

    def touched(self, acts: Sequence[Act], excess: bool) -> bool:
        """Whether a condition that an effect rests on is hollow."""
        used = {c for act in acts for draw in act.draws(excess) for c in draw.values()}
        return bool(self.hollow & {"baseline", *used})

    def sizes(self, used: np.ndarray) -> np.ndarray:
        """Items per speaker, dimension (speaker)."""
        return np.asarray(self.panel.per_speaker(used.astype(float)).sum(axis=1))


@dataclass(frozen=True)
class StudyRuns:
    """A study in parts.

    Attributes:
        folder: its folder.
        manifest: the content of its ``manifest.json``.
        parts: in the order of the manifest.
    """

    folder: Path
    manifest: Mapping[str, Any]
    parts: tuple[PartRun, ...]

    def of_role(self, role: str, main: str | None = None) -> list[PartRun]:
        """The parts of a role, of one main part where it is named."""
        return [part for part in self.parts if part.role == role and main in (None, part.of)]


def read_runs(folder: str | Path) -> StudyRuns:
    """Read the folder of a study in parts, with the tables of every part that is there.

    Raises:
        FileNotFoundError: there is no manifest, or it names no parts.
    """
    folder = Path(folder)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not manifest.get("parts"):
        raise FileNotFoundError(f"{folder} is no study in parts: its manifest.json is missing or names none")
    parts = []
    for card in manifest["parts"]:
        place = folder / card["folder"]
        known = {name: card.get(name) for name in ("name", "role", "corpus", "of", "column", "presentation", "failed")}
        run = read_run(place) if place.is_dir() else None
        parts.append(PartRun(**known, folder=place, run=run))
    return StudyRuns(folder, manifest, tuple(parts))


def _answered(run: Run) -> pl.DataFrame:
    """The conditions with answers by likelihood."""
    there = run.answers.filter(pl.col("scoring") == "likelihood")["condition"].unique()
    return run.conditions.filter(pl.col("condition").is_in(there.implode()))
