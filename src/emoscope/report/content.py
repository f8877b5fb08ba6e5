"""What a report shows, looked up in a run's tables: the headline, its controls, and names for people."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from emoscope.analysis.blind import Blind, blind_part, count_options
from emoscope.analysis.run_tables import Run, declared_headline, read_run
from emoscope.analysis.tables import Tables, compute_tables
from emoscope.report.at_headline import AtHeadline
from emoscope.schemas import read_table
from emoscope.vocabulary import acting

CONTROLS = {"target": "selected", "matched": "matched", "random": "random", "shuffled": "shuffled labels"}
"""How controls are called in figures and tables."""

MATCHED_IN = {"frequency": "firing rate", "magnitude": "mean activity", "down_norm": "output weight"}
"""What matched controls share with the selected neurons, in words."""


@dataclass(frozen=True)
class Content(AtHeadline):
    """A run, its result tables and the headline that the study declared.

    Attributes:
        run: the run folder's tables.
        tables: the results computed from them.
        neurons: the tokens that each neuron of the headline's sets raises and lowers; empty where not stored.
        selector, budget, scope, alpha: the headline; ``None`` where nothing says what it is.
    """

    run: Run
    tables: Tables
    neurons: pl.DataFrame
    selector: str | None
    budget: float | None
    scope: str | None
    alpha: float | None

    @property
    def emotions(self) -> list[str]:
        """The labels that were evaluated, in order."""
        heard = set(self.tables.panel.truth.tolist())
        return [label for code, label in enumerate(self.tables.panel.labels) if code in heard]

    @property
    def speakers(self) -> int:
        """The number of known speakers among the evaluated items."""
        return 0 if self.tables.panel.unknown_speakers else len(self.tables.panel.speakers)

    @property
    def without_speaker(self) -> float:
        """The share of items whose speaker is unknown: of those evaluated, or of all where none were."""
        panel, items = self.tables.panel, self.run.items
        if len(panel.items):
            return panel.unknown_speakers / len(panel.items)
        return items["speaker"].null_count() / len(items) if len(items) else 0.0

    def allows(self, section: str, option: str) -> bool:
        """Whether the study set an option that is off by default."""
        study: Any = self.run.manifest.get("study")
        part = study.get(section) if isinstance(study, dict) else None
        return isinstance(part, dict) and bool(part.get(option))

    @property
    def presentation(self) -> str:
        """What the question is asked about: the voice ("audio"), or what takes its place."""
        study: Any = self.run.manifest.get("study")
        question = study.get("question") if isinstance(study, dict) else None
        return str(question.get("presentation") or "audio") if isinstance(question, dict) else "audio"

    @property
    def selectors(self) -> list[str]:
        """The selectors that conditions exist for, the headline's first."""
        there = self.run.conditions["selector"].drop_nulls().unique().sort().to_list()
        return sorted(there, key=lambda name: (name != self.selector, name))

    def effect(self, kind: str, measure: str, control: str = "target") -> dict[str, Any] | None:
        """One effect of the headline selector, or of its controls' mean; ``None`` where it was not run."""
        found = acting(self.tables.effects, kind).filter(
            (pl.col("measure") == measure) & (pl.col("control") == control)
        )
        return found.row(0, named=True) if len(found) else None

    def blind(self) -> Blind | None:
        """What of the headline's gap knows nothing of the clip; ``None`` where nothing was switched off."""
        return blind_part(lambda measure: self.effect("deactivate", measure), count_options(self.run.items))

    def verdict(self, kind: str, to: str = "zero") -> dict[str, Any] | None:
        """What the rule says about the headline's sets under one kind of intervention; ``None`` where it was not run."""
        found = acting(self.tables.verdicts, kind, "to mean" if to == "mean" else "headline")
        return found.row(0, named=True) if len(found) else None

    def test(self, kind: str) -> dict[str, Any] | None:
        """The declared test of the headline for one kind of intervention."""
        found = self.tables.tests.filter(pl.col("kind") == kind)
        return found.row(0, named=True) if len(found) else None

    @property
    def pilot(self) -> list[str] | None:
        """What a pilot run concludes, in sentences; ``None`` for a full run."""
        found: Any = self.run.manifest.get("pilot")
        return [str(one) for one in found.get("verdict") or []] if isinstance(found, dict) else None

    def uar(self, condition: str, scoring: str = "likelihood") -> dict[str, Any] | None:
        """The row of the table of UARs for a condition."""
        found = self.tables.uar.filter((pl.col("condition") == condition) & (pl.col("scoring") == scoring))
        return found.row(0, named=True) if len(found) else None


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


def name_selector(selector: str | None) -> str:
    """A selector's name as readers know it.

    Example:
        >>> name_selector("cas"), name_selector("mad-z")
        ('CAS', 'MAD-Z')
    """
    return (selector or "?").upper()


def number(value: float | None, digits: int = 1, sign: bool = False) -> str:
    """A number for people, with a real minus sign and a dash where there is none.

    Example:
        >>> number(-3.14159), number(2.0, sign=True), number(None)
        ('−3.1', '+2.0', '–')
    """
    if value is None:
        return "–"
    rounded = round(value, digits) + 0.0  # no "-0.0"
    return f"{rounded:{'+' if sign and rounded else ''}.{digits}f}".replace("-", "−")


def bracket(low: float | None, high: float | None, digits: int = 1) -> str:
    """An interval for people, empty where there is none.

    Example:
        >>> bracket(-3.0, 1.25)
        '[−3.0, 1.2]'
    """
    return "" if low is None or high is None else f"[{number(low, digits)}, {number(high, digits)}]"
