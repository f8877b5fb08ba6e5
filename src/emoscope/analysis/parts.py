"""A run, alone or as a part of a study, with its result tables and its headline; and a study of several parts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import polars as pl

from emoscope.analysis.accuracy import unreliable_conditions
from emoscope.analysis.acts import Asked
from emoscope.analysis.contrasts import Compared, compare
from emoscope.analysis.headline import Declared, declared_evidence
from emoscope.analysis.load import Run, declared_headline, read_run
from emoscope.analysis.responses import Responses, build_responses, presentation
from emoscope.analysis.standing import Blind, blind_part, count_options
from emoscope.schemas import empty, read_table, tables
from emoscope.vocabulary import MAIN, acting, with_roles

Row = dict[str, Any]  # of a table: column -> value


@dataclass(frozen=True)
class Part:
    """A run, alone or as a part of a study, with its result tables and its headline.

    Attributes:
        name: of the part; also that of its corpus in figures if it is a main part.
        role: one of the part roles in :mod:`~emoscope.vocabulary`.
        corpus, of: the corpus's id, and the main part of the same corpus.
        column, presentation: the label column that is asked about, and what is heard; ``None`` where not told.
        run: the tables of its folder; all empty where the folder is not there.
        failed: why it has no sets of its own though it looks for them, or no folder; ``None`` where nothing failed.
            What other parts' sets do there may be known all the same.
        link: its report as seen from the study's, empty where there is none.
        computed: result tables by name; others are read from the folder.
        notes: what could not be computed, and why.
    """

    name: str
    role: str
    corpus: str
    of: str
    column: str | None
    presentation: str | None
    run: Run
    failed: str | None = None
    link: str = ""
    computed: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def alone(cls, run: Run) -> Self:
        """A run that is no part of a study, or is looked at by itself."""
        name = str(_within(run.manifest, "study", "name") or run.folder.name)
        return cls(name, MAIN, name, name, None, presentation(run), run)

    def changed(self, **frames: pl.DataFrame) -> Self:
        """The same with some result tables exchanged."""
        return replace(self, computed={**self.computed, **frames})

    def table(self, name: str) -> pl.DataFrame:
        """A result table, with the columns that are declared of it; without rows where it was not written."""
        if name in self.computed:
            return self.computed[name]
        if name not in self._read:
            found = read_table(self.run.folder, name)
            self._read[name] = with_roles(found, self.headline) if "role" in tables()[name].columns else found
        return self._read[name]

    @cached_property
    def _read(self) -> dict[str, pl.DataFrame]:
        return {}

    @property
    def there(self) -> bool:
        """Whether its folder is there."""
        return self.run.folder.is_dir()

    @cached_property
    def responses(self) -> Responses:
        """Its answers by likelihood."""
        return build_responses(self.run)

    @cached_property
    def by_scoring(self) -> dict[str, Responses]:
        """Its answers by each way of scoring."""
        return {"likelihood": self.responses, "generation": build_responses(self.run, "generation")}

    @cached_property
    def unreliable(self) -> frozenset[str]:
        """The conditions whose answers support no claim."""
        return unreliable_conditions(self.table("uar"))

    @cached_property
    def compared(self) -> list[Compared]:
        """What every family of conditions changes."""
        return compare(self.responses, self.run.conditions, self.unreliable)

    @cached_property
    def declared(self) -> Declared | None:
        """What the declared claims rest on; ``None`` where nothing was asked under the headline's sets."""
        return declared_evidence(self.run, self.responses, unreliable=self.unreliable) if self.there else None

    @cached_property
    def asked(self) -> Asked | None:
        """What was answered under the headline's sets; ``None`` without baseline answers by likelihood."""
        asked = Asked.of(self.run) if self.there else None
        return asked if asked is not None and "baseline" in asked.responses.rows else None

    @cached_property
    def headline(self) -> Mapping[str, Any]:
        """Selector, budget, scope and alpha that the study declared; ``None`` where nothing says what they are."""
        return declared_headline(self.run.manifest, self.run.conditions)

    @property
    def selector(self) -> str | None:
        """The headline's selector."""
        return self.headline["selector"]

    @property
    def budget(self) -> float | None:
        """The headline's share of all neurons."""
        return self.headline["budget"]

    @property
    def scope(self) -> str | None:
        """The headline's scope."""
        return self.headline["scope"]

    @property
    def alpha(self) -> float | None:
        """The headline's strength of steering."""
        return self.headline["alpha"]

    @property
    def emotions(self) -> list[str]:
        """The labels that were evaluated, in order."""
        heard = set(self.responses.truth.tolist())
        return [label for code, label in enumerate(self.responses.labels) if code in heard]

    @property
    def clips(self) -> int:
        """The number of evaluated clips."""
        return self.run.items.filter(pl.col("item").is_in(self.responses.items.tolist()))["clip"].n_unique()

    @property
    def speakers(self) -> int:
        """The number of evaluated speakers; 0 where some are unknown."""
        return 0 if self.responses.unknown_speakers else len(self.responses.speakers)

    @property
    def unknown_speakers(self) -> bool:
        """Whether some evaluated items have no speaker, so that intervals are over recordings."""
        return self.run.items.is_empty() or self.responses.unknown_speakers > 0

    @property
    def without_speaker(self) -> float:
        """The share of items whose speaker is unknown: of those evaluated, or of all where none were."""
        items = self.run.items
        if len(self.responses.items):
            return self.responses.unknown_speakers / len(self.responses.items)
        return items["speaker"].null_count() / len(items) if len(items) else 0.0

    @property
    def options(self) -> int:
        """How many options the question has."""
        return count_options(self.run.items)

    @property
    def selectors(self) -> list[str]:
        """The selectors that conditions exist for, the headline's first."""
        there = self.run.conditions["selector"].drop_nulls().unique().sort().to_list()
        return sorted(there, key=lambda name: (name != self.selector, name))

    @property
    def pilot(self) -> list[str] | None:
        """What a pilot run concludes, in sentences; ``None`` for a full run."""
        found = self.run.manifest.get("pilot")
        return [str(sentence) for sentence in found.get("verdict") or []] if isinstance(found, dict) else None

    def allows(self, section: str, option: str) -> bool:
        """Whether the study set an option that is off by default."""
        return bool(_within(self.run.manifest, "study", section, option))

    def sized(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Rows at the headline's budget and scope."""
        for column, value in (("budget", self.budget), ("scope", self.scope)):
            if value is not None:
                frame = frame.filter(pl.col(column) == value)
        return frame

    def own(self, table: str | pl.DataFrame) -> pl.DataFrame:
        """Rows of a table, such as a result table by its name, at the headline's selector, budget and scope."""
        frame = self.table(table) if isinstance(table, str) else table
        return self.sized(frame).filter(pl.col("selector").eq_missing(pl.lit(self.selector)))

    def of_selectors(self, kind: str) -> pl.DataFrame:
        """Effects of every selector's sets at the headline's budget and strength, and of the headline's mean controls."""
        frame = self.sized(acting(self.table("effects"), kind, "headline", "other selector"))
        # the role of another selector's sets says nothing of their strength
        return frame.filter(pl.col("alpha").eq_missing(pl.lit(self.alpha))) if kind == "steer" else frame

    def effect(self, kind: str, measure: str, control: str = "target") -> Row | None:
        """One effect of the headline's sets, or of their controls' mean; ``None`` where it was not run."""
        return first(acting(self.table("effects"), kind), measure=measure, control=control)

    def blind(self) -> Blind | None:
        """What of the headline's gap knows nothing of the clip; ``None`` where nothing was switched off."""
        return blind_part(lambda measure: self.effect("deactivate", measure), self.options)

    def verdict(self, kind: str) -> Row | None:
        """What the rule says about the headline's sets under one kind of intervention; ``None`` where it was not run."""
        return first(acting(self.table("verdicts"), kind), control="target")

    def test(self, name: str) -> Row | None:
        """The row of a declared claim, such as ``"exists"``."""
        return first(self.table("tests"), name=name)

    def uar(self, condition: str = "baseline", scoring: str = "likelihood") -> Row | None:
        """The row of the table of UARs for a condition; ``None`` where it is missing."""
        return first(self.table("uar"), condition=condition, scoring=scoring)


def first(frame: pl.DataFrame, *which: pl.Expr, **equal: str | float) -> Row | None:
    """The first row that expressions, and columns equal to values, choose; ``None`` where there is none."""
    found = frame.filter(*which, **equal)
    return None if found.is_empty() else found.row(0, named=True)


def _within(manifest: Mapping[str, Any], *names: str) -> Any:
    """What stands under names in each other; ``None`` where something else stands there, or nothing."""
    found: Any = manifest
    for name in names:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


@dataclass(frozen=True)
class StudyRuns:
    """A study of several parts.

    Attributes:
        parts: in the order in which they were run.
        computed: the tables over several parts by name.
        notes: what could not be computed, and why.
    """

    folder: Path
    manifest: Mapping[str, Any]
    parts: tuple[Part, ...]
    computed: Mapping[str, pl.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def table(self, name: str) -> pl.DataFrame:
        """A table over several parts; without rows where it was not computed."""
        return self.computed.get(name, empty(name))

    def of_role(self, role: str, main: str | None = None) -> tuple[Part, ...]:
        """The parts of a role, of one main part where it is named; those that failed included."""
        return tuple(part for part in self.parts if part.role == role and main in (None, part.of))

    @classmethod
    def alone(cls, part: Part) -> Self:
        """A run as a study of one part."""
        return cls(part.run.folder, part.run.manifest, (part,), part.computed, part.notes)

    @property
    def mains(self) -> tuple[Part, ...]:
        """One part a corpus: the study on its own emotions."""
        return self.of_role(MAIN)

    def main(self, name: str) -> Part | None:
        """The main part of a corpus; ``None`` where there is none."""
        return next((part for part in self.mains if part.name == name), None)

    @property
    def pilot(self) -> bool:
        """Whether it is a pilot, which supports no claim."""
        return isinstance(self.manifest.get("pilot"), dict)

    @property
    def name(self) -> str:
        """The study's name, or the run folder's."""
        return str(_within(self.manifest, "study", "name") or self.folder.name)

    def in_order(self, sources: Iterable[str]) -> list[str]:
        """Sources of sets: the corpora in the order of the study, then the fused sets."""
        there = set(sources)
        fused = _within(self.manifest, "study", "transfer", "fuse") or ("overlap", "joint", "consistency")
        known = [*(part.name for part in self.mains), *(f"fused: {name}" for name in fused)]
        return [*(name for name in known if name in there), *sorted(there - set(known))]

    def by_corpus(self, found: pl.DataFrame, column: str = "corpus") -> pl.DataFrame:
        """A table with its corpora in the order of the study."""
        order = self.in_order(found[column])
        places = pl.col(column).replace_strict(order, list(range(len(order))), return_dtype=pl.Int64)
        return found.sort(places, maintain_order=True) if order else found


def read_study(folder: str | Path) -> StudyRuns:
    """Read the folder of a study of several parts, with the tables of every part that is there.

    Raises:
        FileNotFoundError: there is no manifest, or it names no parts.
    """
    folder = Path(folder)
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not manifest.get("parts"):
        raise FileNotFoundError(f"{folder} is no study in parts: its manifest.json is missing or names none")
    return StudyRuns(folder, manifest, tuple(_part(folder, card) for card in manifest["parts"]))


def _part(folder: Path, card: Mapping[str, Any]) -> Part:
    place, failed = folder / card["folder"], card.get("failed")
    if place.is_dir():
        run = read_run(place)
    else:
        run = Run(place, empty("items"), empty("sets"), empty("conditions"), empty("answers"), {})
        failed = failed or "its folder is missing"
    link = f"{card['folder']}/report.html" if (place / "report.html").is_file() else ""
    names = ("name", "role", "corpus", "of", "column", "presentation")
    known: dict[str, Any] = {name: card.get(name) for name in names}
    return Part(**known, run=run, failed=failed, link=link)
