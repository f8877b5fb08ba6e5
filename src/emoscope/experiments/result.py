"""The result of a run, of a study in parts or of a pilot: as a value, and printed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypedDict

import polars as pl

from emoscope.neurons.controls import CONTROLS
from emoscope.runs import RunFolder
from emoscope.vocabulary import acting, with_roles
from emoscope.wording import bracket, number, value

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from emoscope.analysis.parts import StudyRuns
    from emoscope.analysis.standing import Blind
    from emoscope.experiments.schema import Row
    from emoscope.report.markup import Picture
    from emoscope.report.sentences import Conclusion
    from emoscope.report.theme import Chart


@dataclass(frozen=True)
class Result:
    """Effects of interventions with their controls and intervals."""

    run: RunFolder
    effects: pl.DataFrame  # one row a measure and family of sets (see docs/run-folder.md)
    headline: Row
    figure: Chart | None  # the effect matrix next to that of matched controls
    conclusion: Conclusion  # what may be concluded, which comes before any number
    options: int = 0
    voices: int = 0  # how many evaluated speakers are known

    @classmethod
    def of(cls, run: RunFolder) -> Result:
        """Read the result of a finished run."""
        from emoscope.chapters.deactivation import main_figure
        from emoscope.report.sentences import conclude

        study = _stored(run)
        part, headline = study.parts[0], run.read_json("manifest.json")["headline"]
        conclusion, voices = conclude(study), _voices(part.run.items)
        return cls(run, part.table("effects"), headline, main_figure(part), conclusion, part.options, voices)

    @property
    def gap(self) -> Measured:
        """Deactivation: mean effect on the selected emotions minus mean effect on the others, in points."""
        return self.measure("gap")

    @property
    def excess_gap(self) -> Measured:
        """The gap beyond that of matched controls, in points; a part of it may be :attr:`blind`."""
        return self.measure("excess_gap")

    @property
    def blind(self) -> Blind | None:
        """What of the excess gap (of the gap, without controls) knows nothing of the clip; ``None`` without a gap."""
        from emoscope.analysis.standing import blind_part

        return blind_part(self._row, self.options)

    @property
    def pull(self) -> Measured:
        """Steering: change of the share of answers that name the amplified emotion, averaged over the clips' emotions."""
        return self.measure("pull_overall", "steer")

    def measure(self, name: str, kind: str = "deactivate", to: str = "zero") -> Measured:
        """One measure of the headline set with its 95 % interval, and how many speakers it is over.

        Args:
            name: a measure, such as ``"excess_gap"``.
            to: what neurons were deactivated to, ``"zero"`` or ``"mean"``.

        Returns:
            ``estimate``, ``low``, ``high``, ``speakers``; ``recordings`` that stand in for speakers who are unknown, and
            ``caveats``, what must be known before the number.

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
        speakers = min(row["speakers"], self.voices)
        return {
            "estimate": row["estimate"], "low": row["low"], "high": row["high"], "speakers": speakers,
            "recordings": row["speakers"] - speakers, "caveats": self.conclusion.caveats,
        }  # fmt: skip

    def _row(self, name: str, kind: str = "deactivate", to: str = "zero") -> Row | None:
        if kind not in ("deactivate", "steer"):
            raise ValueError(f'kind {kind!r} is not known: give "deactivate" or "steer"')
        # steering sets neurons to no value, so that `to` says nothing there
        role = "headline" if kind == "steer" else {"zero": "headline", "mean": "to mean"}.get(to, "")
        rows = self.effects.filter(kind=kind, control="target", measure=name, role=role)
        return rows.row(0, named=True) if len(rows) else None

    def to_frame(self) -> pl.DataFrame:
        """All effects: one row a measure and family of sets."""
        return self.effects

    def plot(self) -> Picture:
        """The effect matrix next to that of matched controls, drawn; ``.save("effect.svg")`` writes it."""
        from emoscope.report.markup import Picture

        if self.figure is None:
            raise ValueError("nothing was deactivated in this run, so there is no matrix to plot")
        return Picture(self.figure)

    @property
    def numbers(self) -> str:
        """The headline's measures with their intervals, in a line."""
        blind, parts = self.blind, []
        for name, what in {"gap": "gap", "excess_gap": "excess gap", "pull_overall": "pull"}.items():
            m = self._row(name, "steer" if what == "pull" else "deactivate")
            if m is None or m["estimate"] is None:
                continue
            beside = f", {blind.brief()}" if blind is not None and blind.measure == name else ""
            without = " (no interval)" if m["low"] is None else ""
            parts.append(f"{what} {value(m['estimate'], m['low'], m['high'], 'points')}{without}{beside}")
        return f"Result({self.headline['selector']}: {'; '.join(parts)}; in {self.run.path})"

    def __repr__(self) -> str:
        return "\n".join([*self.conclusion.lines(), self.numbers])

    def _repr_html_(self) -> str:
        return _html(self.conclusion, [self.numbers])


class Measured(TypedDict):
    """A measure of the headline set; see :meth:`Result.measure`."""

    estimate: float | None
    low: float | None
    high: float | None
    speakers: int
    recordings: int
    caveats: tuple[str, ...]


@dataclass(frozen=True)
class StudyResult:
    """The result of a study in parts: that of each part that found sets, and the tables of the whole."""

    run: RunFolder
    parts: Mapping[str, Result]
    conclusion: Conclusion  # of the whole

    @classmethod
    def of(cls, run: RunFolder) -> StudyResult:
        """Read the result of a finished study in parts."""
        from emoscope.report.sentences import conclude

        cards = run.read_json("manifest.json")["parts"]
        found = {card["name"]: RunFolder(run / card["folder"]) for card in cards}
        parts = {name: Result.of(part) for name, part in found.items() if (part / "report.html").is_file()}
        return cls(run, parts, conclude(_stored(run)))

    def table(self, name: str) -> pl.DataFrame:
        """A table of the whole, such as ``"transfer"`` (see docs/run-folder.md)."""
        return self.run.read_table(f"tables/{name}")

    @property
    def numbers(self) -> list[str]:
        """The headline's measures of every part."""
        return [f"  {name}: {part.numbers}" for name, part in self.parts.items()]

    def __repr__(self) -> str:
        return "\n".join([*self.conclusion.lines(), f"StudyResult({self.run.path})", *self.numbers])

    def _repr_html_(self) -> str:
        return _html(self.conclusion, self.numbers)


def _html(conclusion: Conclusion, numbers: Iterable[str]) -> str:
    from emoscope.report.page import render

    return render("conclusion.html", alone=True, conclusion=conclusion, numbers=list(numbers))


def _stored(run: RunFolder) -> StudyRuns:
    """A run or a study of several parts, with the claims that are stored of it."""
    from emoscope.analysis.load import read_run
    from emoscope.analysis.parts import Part, StudyRuns, read_study
    from emoscope.schemas import read_table

    parts = "parts" in run.read_json("manifest.json")
    study = read_study(run.path) if parts else StudyRuns.alone(Part.alone(read_run(run.path)))
    return replace(study, computed={"claims": read_table(run.path, "claims")})


def _voices(items: pl.DataFrame) -> int:
    """How many speakers of evaluated items are known."""
    return (
        items.filter(pl.col("status") == "used", pl.col("evaluated").fill_null(True))["speaker"].drop_nulls().n_unique()
    )


def print_result(run: RunFolder) -> None:
    """Print whether the model hears emotion, what its neurons do, and where the report is."""
    from rich.console import Console

    console = Console()
    manifest = run.read_json("manifest.json")
    if "parts" in manifest:
        _print_parts(run, manifest, console)
    else:
        _print_run(run, manifest, console)
    _print_conclusion(run, console)
    if timing := manifest.get("timing", {}):
        console.print(f"{timing['total_s']:.0f} s, {timing['peak_memory_gb']:.2f} GB.")
    console.print(f"Report: {(run / 'report.html').resolve()}", highlight=False, soft_wrap=True)


def _print_conclusion(run: RunFolder, console: Console) -> None:
    from emoscope.report.sentences import conclude

    found = conclude(_stored(run))
    styles = dict.fromkeys(found.caveats, "yellow") | dict.fromkeys(found.beside, "dim")
    console.print()
    for line in found.lines():
        console.print(line, style=styles.get(line), highlight=False, markup=False)


def _print_run(run: RunFolder, manifest: Row, console: Console) -> None:
    head, items = manifest["headline"], run.read_table("items")
    effects = with_roles(run.read_table("tables/effects"), head)
    base = _first_words(run, items, console)
    if base.height:
        console.print(f"\nUAR {base['uar'][0]:.1f} % without intervention (chance {base['chance'][0]:.1f} %).")
    measures = ("self", "cross", "gap", "excess_gap")
    heads = ("set", "self", "cross", "gap [95 %]", "excess gap [95 %]")
    table = _table("Deactivated, in points of accuracy", *heads)
    rows = acting(effects, "deactivate", "headline", "other selector").filter(budget=head["budget"])
    for selector in rows["selector"].unique().sort():
        for control in ("target", *CONTROLS):
            group = rows.filter(selector=selector, control=control)
            name = selector if control == "target" else f"  {control}"
            if group.height:
                star = " *" if (selector, control) == (head["selector"], "target") else ""
                table.add_row(f"{name}{star}", *(_shown(group, measure) for measure in measures))
    console.print(table)
    blind = _blind(acting(effects, "deactivate").filter(control="target"), items)
    if blind is not None:
        console.print(blind.sentence(), highlight=False)
    steer = acting(effects, "steer", "headline", "dose").filter(control="target")
    if steer.height:
        title = f"Steered ({head['selector']}): change of the share of answers naming the emotion, in points"
        table = _table(title, "alpha", "pull [95 %]", "beyond matched [95 %]", "UAR")
        for alpha in steer["alpha"].unique().sort():
            at_alpha = steer.filter(alpha=alpha)
            shown = (_shown(at_alpha, m) for m in ("pull_overall", "excess_pull_overall", "uar_change"))
            called = f"{alpha:g}".replace("-", "−")
            table.add_row(f"{called}{' *' if alpha == head['alpha'] else ''}", *shown)
        console.print(table)
    console.print("* the headline, fixed before. Indented: controls of the headline set, mean over draws.", style="dim")
    if items.filter(pl.col("evaluated"))["speaker"].null_count():
        remedy = 'Name the speakers, for a folder with pattern = "{emotion}/{speaker}_{}.wav" in the study.'
        console.print(remedy, style="yellow", highlight=False)


def _print_parts(run: RunFolder, manifest: Row, console: Console) -> None:
    """Print what each corpus shows, and what the sets of each do on the others."""
    from emoscope.analysis.standing import BLIND_PART

    heads = ("part", "UAR", "excess gap [95 %]", "excess pull [95 %]")
    table = _table("Headline sets on their own corpus, in points", *heads)
    parted = False
    for part in manifest["parts"]:
        folder = RunFolder(run / part["folder"])
        head, items = folder.read_json("manifest.json")["headline"], folder.read_table("items")
        uar = _first_words(folder, items, console, part["name"])
        effects = with_roles(folder.read_table("tables/effects"), head).filter(control="target")
        off, up = acting(effects, "deactivate"), acting(effects, "steer")
        level = f"{uar['uar'][0]:.1f} % (chance {uar['chance'][0]:.1f})" if uar.height else ""
        gap, blind = _shown(off, "excess_gap"), _blind(off, items)
        if gap and blind is not None:
            gap, parted = f"{gap}, {blind.brief()}", True
        table.add_row(part["name"], level, gap, _shown(up, "excess_pull_overall"))
        if part["failed"]:
            console.print(f"{part['name']}: {part['failed']}", style="yellow", highlight=False)
    console.print(table)
    if parted:
        console.print(BLIND_PART, highlight=False)


def _table(title: str, *heads: str) -> Table:
    from rich import box
    from rich.table import Table

    return Table(*heads, title=title, title_justify="left", box=box.SIMPLE_HEAD)


def _first_words(run: RunFolder, items: pl.DataFrame, console: Console, part: str = "") -> pl.DataFrame:
    """Say what comes before any number, of a run or of a part of one; returns the UAR of the untouched model."""
    from emoscope.analysis.standing import stored_words

    uar = run.read_table("tables/uar")
    for sentence in stored_words(uar, items):
        console.print(f"{part}: {sentence}" if part else sentence, style="yellow", highlight=False)
    return uar.filter(condition="baseline", scoring="likelihood")


def _blind(rows: pl.DataFrame, items: pl.DataFrame) -> Blind | None:
    """What of a gap knows nothing of the clip, from the effects of one family of sets."""
    from emoscope.analysis.standing import blind_part, count_options

    by = {row["measure"]: row for row in rows.iter_rows(named=True)}
    return blind_part(by.get, count_options(items))


def _shown(rows: pl.DataFrame, measure: str) -> str:
    of_measure = rows.filter(measure=measure)
    if of_measure.is_empty() or of_measure["estimate"][0] is None:
        return ""
    row = of_measure.row(0, named=True)
    bare = row.get("low") is None or measure in ("self", "cross", "uar_change")
    text = number(row["estimate"], sign=True)
    return text if bare else f"{text} {bracket(row['low'], row['high'], sign=True)}"


def print_pilot(run: RunFolder) -> None:
    """Print what a pilot found, what the full study will take, and the verdict in words."""
    from rich.console import Console

    console = Console(highlight=False)
    manifest = run.read_json("manifest.json")
    _print_conclusion(run, console)
    if "parts" not in manifest:
        _print_pilot(run, manifest, console)
        return
    for part in manifest["parts"]:
        if part["role"] == "main" and not part["failed"]:
            folder = RunFolder(run / part["folder"])
            console.print(f"\nPilot of {part['name']}", style="bold")
            _print_pilot(folder, folder.read_json("manifest.json"), console)


def _print_pilot(run: RunFolder, manifest: Row, console: Console) -> None:
    found: Row = manifest["pilot"]
    chance = "under 0.1 %" if found["p"] < 0.001 else f"{100 * found['p']:.1f} %"
    console.print(
        f"\nUAR {found['uar']:.1f} %: the mean share of clips answered rightly, where chance gives {found['chance']:.1f} % "
        f"(chance alone does as well in {chance} of cases)."
    )
    if found["letter_mass"] is not None:
        alike = found["agreement"]
        agree = "" if alike is None else f" Text and most probable letter agree on {alike:.0f} %."
        console.print(f"Probability on the letters of the options: {found['letter_mass']:.2f} of 1.{agree}")
    names = list(found["confusion"])
    heads = ("clips of", *(name[:5] for name in names), "right", "others", "p", "items", "needed")
    table = _table("Answers: rows are the clips' emotions", *heads)
    for row in found["emotions"]:
        counts = found["confusion"][row["emotion"]]
        shares = ["" if row[name] is None else f"{row[name]:.0f} %" for name in ("recall", "named_on_others")]
        chance = "<0.001" if row["p"] < 0.001 else f"{row['p']:.3f}"
        named = (str(counts[name]) for name in names)
        table.add_row(row["emotion"], *named, *shares, chance, f"{row['expected']:.0f}", str(row["minimum"]))
    console.print(table)
    console.print(
        "others: how often the emotion is named on other clips. p: how often namings spread at random favour its own clips "
        "so much (Fisher's exact test). items: correct ones to be expected in the full study, in the fold that has fewest.",
        style="dim",
    )
    kinds = ("clips", "clips heard"), ("answers", "answers"), ("generated", "generated answers")
    rates = [f"{rate:.1f} {what}" for name, what in kinds if (rate := found[f"{name}_per_second"])]
    console.print(f"Per second: {', '.join(rates)}." if rates else "No rate was measured.")
    if found["projected_hours"] is not None and found["projected_gb"] is not None:
        hours = found["projected_hours"]
        time = f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"
        console.print(f"The full study: {time}, {found['projected_gb']:.2f} GB; {found['basis']}.")
    console.print("\nVerdict:")
    for sentence in found["verdict"]:
        console.print(f"* {sentence}")
    if any(sentence.startswith("ready") for sentence in found["verdict"]):
        console.print("Next: the same command without --pilot runs the full study.")
    console.print(f"Report: {(run / 'report.html').resolve()}", soft_wrap=True)
