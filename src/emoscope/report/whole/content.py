"""What the report of a study with several parts shows, looked up in the stored tables of its parts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from emoscope.analysis.blind import Blind, blind_part, count_options
from emoscope.report.at_headline import AtHeadline
from emoscope.schemas import tables
from emoscope.vocabulary import acting, with_roles

MAIN, SHARED, COLUMN, GROUNDING, SIDE_EFFECT = "main", "shared", "column", "grounding", "side effect"
"""The roles of parts, as the manifest of the whole names them."""

CLEAR_LOW, CLEAR_HIGH, OPEN, UNTESTED = "low", "high", "open", "untested"
"""What an estimate with its interval says: below zero, above zero, neither, or nothing."""


@dataclass(frozen=True)
class Part(AtHeadline):
    """One part of a study and its stored result tables.

    Attributes:
        name: the part's name, also that of its corpus in figures if it is a main part.
        role: one of :data:`MAIN`, :data:`SHARED`, :data:`COLUMN`, :data:`GROUNDING` and :data:`SIDE_EFFECT`.
        of: the main part of the same corpus.
        column, presentation: the label column that is asked about, and what is heard; ``None`` where not told.
        folder: where the part lies.
        link: its report as seen from the whole's, empty where there is none.
        failed: why it has no sets of its own though it looks for them, or no folder; ``None`` where nothing failed.
            What other parts' sets do there may be known all the same.
        manifest: the part's manifest; empty where there is none.
        selector, budget, scope, alpha: its headline.
    """

    name: str
    role: str
    of: str
    column: str | None
    presentation: str | None
    folder: Path
    link: str
    failed: str | None
    manifest: Mapping[str, Any]
    selector: str | None
    budget: float | None
    scope: str | None
    alpha: float | None

    def table(self, name: str) -> pl.DataFrame | None:
        """A result table of the part; ``None`` where it was not written or has no row."""
        return self._read(f"tables/{name}.parquet")

    def stored(self, name: str) -> pl.DataFrame | None:
        """A table that the part's run wrote, such as ``"conditions"``; ``None`` where it is missing or empty."""
        return self._read(f"{name}.parquet")

    @cached_property
    def _cache(self) -> dict[str, pl.DataFrame | None]:
        return {}

    def _read(self, path: str) -> pl.DataFrame | None:
        if path not in self._cache:
            frame = pl.read_parquet(self.folder / path) if (self.folder / path).is_file() else None
            declared = tables().get(Path(path).stem)
            if frame is not None and declared is not None and "role" in declared.columns:
                head = {"selector": self.selector, "budget": self.budget, "alpha": self.alpha}
                frame = with_roles(frame, head)
            self._cache[path] = None if frame is None or frame.is_empty() else frame
        return self._cache[path]

    @cached_property
    def unknown_speakers(self) -> bool:
        """Whether some evaluated items have no speaker, so that intervals are over recordings."""
        items = self.stored("items")
        if items is None or "speaker" not in items.columns:
            return True
        used = items.filter(pl.col("evaluated").fill_null(False)) if "evaluated" in items.columns else items
        return used["speaker"].null_count() > 0

    @property
    def selectors(self) -> list[str]:
        """The selectors that were switched off or amplified, the headline's first."""
        effects = self.table("effects")
        there = [] if effects is None else effects["selector"].drop_nulls().unique().sort().to_list()
        return sorted(there, key=lambda name: (name != self.selector, name))

    def effect(self, kind: str, measure: str, control: str = "target") -> dict[str, Any] | None:
        """One effect of the headline selector, or of its controls' mean; ``None`` where it was not run."""
        return self._one("effects", kind, (pl.col("measure") == measure) & (pl.col("control") == control))

    def blind(self) -> Blind | None:
        """What of the headline's gap knows nothing of the clip; ``None`` where nothing was switched off."""
        return blind_part(lambda measure: self.effect("deactivate", measure), self.options)

    @cached_property
    def options(self) -> int:
        """How many options the question has; 0 where no items are stored."""
        items = self.stored("items")
        return 0 if items is None or not {"fate", "options"} <= set(items.columns) else count_options(items)

    def verdict(self, kind: str) -> dict[str, Any] | None:
        """What the rule says about the headline's sets under one kind of intervention; ``None`` where it was not run."""
        return self._one("verdicts", kind, pl.col("control") == "target")

    def uar(self) -> dict[str, Any] | None:
        """UAR of the untouched model by likelihood; ``None`` where it is missing."""
        return first(self.table("uar"), (pl.col("condition") == "baseline") & (pl.col("scoring") == "likelihood"))

    def _one(self, table: str, kind: str, which: pl.Expr) -> dict[str, Any] | None:
        frame = self.table(table)
        return None if frame is None else first(acting(frame, kind), which)


@dataclass(frozen=True)
class Whole:
    """A study with several parts and the tables over them.

    Attributes:
        folder: the run folder of the whole.
        manifest: its manifest.
        parts: all parts, in the order in which they were run.
        tables: the tables of the whole by name; those without a row are left out.
        notes: what could not be computed, and why.
    """

    folder: Path
    manifest: Mapping[str, Any]
    parts: tuple[Part, ...]
    tables: Mapping[str, pl.DataFrame]
    notes: tuple[str, ...] = ()

    def having(self, role: str) -> tuple[Part, ...]:
        """The parts of a role, those that failed included."""
        return tuple(part for part in self.parts if part.role == role)

    @property
    def mains(self) -> tuple[Part, ...]:
        """One part a corpus: the study on its own emotions."""
        return self.having(MAIN)

    @property
    def pilot(self) -> bool:
        """Whether it is a pilot, which supports no claim."""
        return isinstance(self.manifest.get("pilot"), dict)

    @property
    def name(self) -> str:
        """The study's name, or the run folder's."""
        study: Any = self.manifest.get("study")
        return str((study.get("name") if isinstance(study, dict) else None) or self.folder.name)


def whole_sets(frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of full sets: sets from fewer clips have a size."""
    return frame.filter(pl.col("size").is_null()) if "size" in frame.columns else frame


def first(frame: pl.DataFrame | None, which: pl.Expr) -> dict[str, Any] | None:
    """The first row that an expression chooses; ``None`` where there is none."""
    found = None if frame is None else frame.filter(which)
    return None if found is None or found.is_empty() else found.row(0, named=True)


def read_whole(folder: str | Path, tables: Mapping[str, pl.DataFrame], notes: Sequence[str] = ()) -> Whole:
    """Read the manifest of a whole and those of its parts; tables of parts are read when they are shown.

    Args:
        folder: the run folder of the whole.
        tables: the tables of the whole by name.
        notes: what could not be computed, and why.

    Raises:
        FileNotFoundError: the folder has no ``manifest.json``.
        ValueError: its manifest names no parts.
    """
    folder = Path(folder)
    path = folder / "manifest.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: give the folder of a finished run")
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if not manifest.get("parts"):
        raise ValueError(f"{path} names no parts: a run with one corpus and no probes has a report of its own kind")
    parts = tuple(_part(folder, one) for one in manifest["parts"])
    there = {name: frame for name, frame in tables.items() if not frame.is_empty()}
    return Whole(folder, manifest, parts, there, tuple(notes))


def _part(folder: Path, told: Mapping[str, Any]) -> Part:
    place = str(told.get("folder") or f"parts/{told['name']}")
    path = folder / place / "manifest.json"
    manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    failed = told.get("failed")
    if failed is None and not (folder / place).is_dir():
        failed = "its folder is missing"
    return Part(
        name=str(told["name"]), role=str(told["role"]), of=str(told.get("of") or told["name"]), column=told.get("column"),
        presentation=told.get("presentation"), folder=folder / place,
        link=f"{place}/report.html" if (folder / place / "report.html").is_file() else "", failed=failed, manifest=manifest,
        **_headline(folder / place, manifest),
    )  # fmt: skip


def _headline(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The headline that the manifest names, or that of the conditions marked as such."""
    named: Mapping[str, Any] = manifest.get("headline") or {}
    found = {name: named.get(name) for name in ("selector", "budget", "scope", "alpha")}
    path = folder / "conditions.parquet"
    if all(value is not None for value in found.values()) or not path.is_file():
        return found
    conditions = pl.read_parquet(path)
    marked = conditions.filter(pl.col("headline").fill_null(False)) if "headline" in conditions.columns else conditions
    for name, value in found.items():
        values = marked[name].drop_nulls() if value is None and name in marked.columns else pl.Series([])
        found[name] = values[0] if len(values) else value
    return found


def judge(row: Mapping[str, Any] | None, part: Part | None = None) -> tuple[str, str]:
    """What an estimate with its interval says, and why it says nothing.

    An interval clear of zero counts only where speakers are known and the answers support a claim.

    Args:
        row: columns ``estimate``, ``low``, ``high`` and, where there are any, ``hollow`` and ``reason``.
        part: the part that it comes from, for whether its speakers are known.

    Example:
        >>> judge({"estimate": -4.0, "low": -6.0, "high": -2.0}), judge(None)
        (('low', ''), ('untested', 'not part of this run'))
        >>> judge({"estimate": -4.0, "low": None, "high": None, "reason": "only 3 speakers"})
        ('untested', 'only 3 speakers')
    """
    if row is None or row["estimate"] is None:
        failed = part.failed if part is not None else None
        return UNTESTED, str((row or {}).get("reason") or failed or "not part of this run").rstrip(".")
    if row.get("hollow"):
        return UNTESTED, "the answers support no claim"
    if part is not None and part.unknown_speakers:
        return UNTESTED, "speakers are unknown"
    if row["low"] is None or row["high"] is None:
        return UNTESTED, str(row.get("reason") or "no interval")
    return (CLEAR_HIGH if row["low"] > 0 else CLEAR_LOW if row["high"] < 0 else OPEN), ""
