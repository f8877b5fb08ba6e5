"""What a report shows, looked up in the tables of a run or of the parts of a study: the headline and its controls."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import polars as pl

from emoscope.analysis.load import Run
from emoscope.analysis.responses import Panel
from emoscope.analysis.standing import Blind, blind_part, count_options, untouched
from emoscope.schemas import tables
from emoscope.vocabulary import MAIN, acting, with_roles


@dataclass(frozen=True)
class Frames:
    """Tables by name, which are also attributes: ``found.effects`` is ``found.frames["effects"]``.

    ``data/tables.toml`` says what each holds.

    Attributes:
        frames: name to table; those without anything to show have no row.
    """

    frames: Mapping[str, pl.DataFrame]

    def __getattr__(self, name: str) -> pl.DataFrame:
        if name == "frames" or name not in self.frames:
            raise AttributeError(f"there is no table {name!r}")
        return self.frames[name]

    def changed(self, **frames: pl.DataFrame) -> Self:
        """The same with some tables exchanged."""
        return replace(self, frames={**self.frames, **frames})


@dataclass(frozen=True)
class Tables(Frames):
    """The results computed from a run, one table a subject.

    Attributes:
        run: the tables of the run folder that these were computed from.
        panel: its answers by likelihood arranged as (condition, item).
        notes: what could not be computed, and why.
    """

    run: Run
    panel: Panel
    notes: tuple[str, ...] = ()


class AtHeadline:
    """What holds a headline and picks its rows from tables.

    Attributes:
        selector, budget, scope, alpha: the headline; ``None`` where nothing says what it is.
    """

    selector: str | None
    budget: float | None
    scope: str | None
    alpha: float | None

    def sized(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Rows at the headline's budget and scope."""
        for column, value in (("budget", self.budget), ("scope", self.scope)):
            if value is not None:
                frame = frame.filter(pl.col(column) == value)
        return frame

    def own(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Rows of the headline's selector."""
        return frame.filter(pl.col("selector").eq_missing(pl.lit(self.selector)))

    def of_selectors(self, frame: pl.DataFrame, kind: str) -> pl.DataFrame:
        """Sets of every selector at the headline's budget and strength, and the means of the headline's controls."""
        frame = self.sized(acting(frame, kind, "headline", "other selector"))
        # the role of another selector's sets says nothing of their strength
        return frame.filter(pl.col("alpha").eq_missing(pl.lit(self.alpha))) if kind == "steer" else frame


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
        return None if (found := self.table("uar")) is None else untouched(found)

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
        **_headline_of_part(folder / place, manifest),
    )  # fmt: skip


def _headline_of_part(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
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


def by_corpus(whole: Whole, found: pl.DataFrame, column: str = "corpus") -> pl.DataFrame:
    """A table with its corpora in the order of the study."""
    order = in_study_order(whole, found[column])
    places = pl.col(column).replace_strict(order, list(range(len(order))), return_dtype=pl.Int64)
    return found.sort(places, maintain_order=True) if order else found


def in_study_order(whole: Whole, sources: Iterable[str]) -> list[str]:
    """Sources of sets: the corpora in the order of the study, then the fused sets."""
    there = set(sources)
    study: Any = whole.manifest.get("study") or {}
    fused = [
        f"fused: {name}" for name in (study.get("transfer") or {}).get("fuse") or ("overlap", "joint", "consistency")
    ]
    known = [*(part.name for part in whole.mains), *fused]
    return [*(name for name in known if name in there), *sorted(there - set(known))]
