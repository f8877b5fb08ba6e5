"""Results as values: effects with controls and intervals, of one run and of a study in parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from emoscope.runs import RunFolder

if TYPE_CHECKING:
    from emoscope.analysis.standing import Blind
    from emoscope.experiments.schema import Row
    from emoscope.report.markup import Picture
    from emoscope.report.theme import Chart


@dataclass(frozen=True)
class Result:
    """Effects of interventions with their controls and intervals.

    Attributes:
        effects: one row a measure and family of sets (see docs/run-folder.md).
        figure: the effect matrix next to that of matched controls, an Altair chart.
        first: what must be known before any number, in sentences.
    """

    run: RunFolder
    effects: pl.DataFrame
    headline: Row
    figure: Chart | None
    first: tuple[str, ...] = ()
    options: int = 0

    @classmethod
    def of(cls, run: RunFolder) -> Result:
        """Read the result of a finished run."""
        from emoscope.analysis.load import read_run
        from emoscope.analysis.parts import Part
        from emoscope.analysis.standing import stored_words
        from emoscope.chapters.deactivation import main_figure

        part, headline = Part.alone(read_run(run.path)), run.read_json("manifest.json")["headline"]
        return cls(
            run, part.table("effects"), headline, main_figure(part),
            tuple(stored_words(part.table("uar"), part.run.items)), part.options,
        )  # fmt: skip

    @property
    def gap(self) -> dict[str, float | None]:
        """Deactivation: mean effect on the selected emotions minus mean effect on the others, in points."""
        return self.measure("gap")

    @property
    def excess_gap(self) -> dict[str, float | None]:
        """The gap beyond that of matched controls, in points; a part of it may be :attr:`blind`."""
        return self.measure("excess_gap")

    @property
    def blind(self) -> Blind | None:
        """What of the excess gap (of the gap, without controls) knows nothing of the clip; ``None`` without a gap."""
        from emoscope.analysis.standing import blind_part

        return blind_part(self._row, self.options)

    @property
    def pull(self) -> dict[str, float | None]:
        """Steering: change of the share of answers that name the amplified emotion, averaged over the clips' emotions."""
        return self.measure("pull_overall", "steer")

    def measure(self, name: str, kind: str = "deactivate", to: str = "zero") -> dict[str, float | None]:
        """One measure of the headline set: estimate, low, high (95 % over speakers) and speakers.

        Args:
            name: a measure, such as ``"excess_gap"``.
            to: what neurons were deactivated to, ``"zero"`` or ``"mean"``.

        Raises:
            ValueError: the run does not have it.
        """
        row = self._row(name, kind, to)
        if row is None:
            what = kind if kind == "steer" else f"{kind} to {to}"
            raise ValueError(
                f"measure {name!r} ({what}) is not in this run: it has {sorted(set(self.effects['measure']))}, "
                f"neurons deactivated to {' and '.join(sorted(set(self.effects['to'].drop_nulls())))}"
            )
        return {key: row[key] for key in ("estimate", "low", "high", "speakers")}

    def _row(self, name: str, kind: str = "deactivate", to: str = "zero") -> Row | None:
        if kind not in ("deactivate", "steer"):
            raise ValueError(f'kind {kind!r} is not known: give "deactivate" or "steer"')
        # steering sets neurons to no value, so that `to` says nothing there
        role = "headline" if kind == "steer" else {"zero": "headline", "mean": "to mean"}.get(to, "")
        rows = self.effects.filter(
            (pl.col("kind") == kind) & (pl.col("control") == "target") & (pl.col("measure") == name)
            & (pl.col("role") == role)
        )  # fmt: skip
        return rows.row(0, named=True) if len(rows) else None

    def to_frame(self) -> pl.DataFrame:
        """All effects: one row a measure and family of sets."""
        return self.effects

    def plot(self) -> Picture:
        """The effect matrix next to that of matched controls, drawn; ``.save("effect.svg")`` writes it.

        Raises:
            ValueError: the run has no such matrix, since nothing was deactivated.
        """
        from emoscope.report.markup import Picture

        if self.figure is None:
            raise ValueError("nothing was deactivated in this run, so there is no matrix to plot")
        return Picture(self.figure)

    def __repr__(self) -> str:
        blind, parts = self.blind, []
        for name, kind, what in (
            ("gap", "deactivate", "gap"), ("excess_gap", "deactivate", "excess gap"), ("pull_overall", "steer", "pull"),
        ):  # fmt: skip
            m = self._row(name, kind)
            if m is None or m["estimate"] is None:
                continue
            span = "no interval" if m["low"] is None else f"95 % {m['low']:+.1f} to {m['high']:+.1f}"
            beside = f", {blind.brief()}" if blind is not None and blind.measure == name else ""
            parts.append(f"{what} {m['estimate']:+.1f} points ({span}){beside}")
        return "\n".join([*self.first, f"Result({self.headline['selector']}: {'; '.join(parts)}; in {self.run.path})"])


@dataclass(frozen=True)
class WholeResult:
    """The result of a study in parts: that of each part that found sets, and the tables of the whole."""

    run: RunFolder
    parts: Mapping[str, Result]

    @classmethod
    def of(cls, run: RunFolder) -> WholeResult:
        """Read the result of a finished study in parts."""
        cards = run.read_json("manifest.json")["parts"]
        found = {card["name"]: RunFolder(run / card["folder"]) for card in cards}
        return cls(run, {name: Result.of(one) for name, one in found.items() if (one / "report.html").is_file()})

    def table(self, name: str) -> pl.DataFrame:
        """A table of the whole, such as ``"transfer"`` (see docs/run-folder.md)."""
        return self.run.read_table(f"tables/{name}")

    def __repr__(self) -> str:
        return "\n".join(
            [
                f"WholeResult({self.run.path})",
                *(f"  {name}: {one!r}".replace("\n", "\n    ") for name, one in self.parts.items()),
            ]
        )
