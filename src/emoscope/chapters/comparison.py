"""Finished runs side by side: their main numbers, which of them cannot be compared, and the page that shows them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from emoscope.analysis.estimate import named
from emoscope.analysis.load import Run, in_known_order, read_run
from emoscope.analysis.parts import Part, Row
from emoscope.chapters.results import compute_tables
from emoscope.report.markup import to_html
from emoscope.report.page import Figure, draw_those_there, render, write_text
from emoscope.report.plots import dots, with_chance
from emoscope.report.theme import Chart, title, titled
from emoscope.schemas import as_table
from emoscope.vocabulary import GAPS
from emoscope.wording import estimate_text, number

Manifest = Mapping[str, Any]
"""The content of a run's ``manifest.json``."""

UAR, GAP, PULL = "UAR", "excess gap", "excess pull gap"


@dataclass(frozen=True)
class Difference:
    """Something that was done otherwise in some runs.

    Attributes:
        what: such as ``"emotions"``.
        touches: the numbers that cannot be compared for it.
        values: run -> what it is there, in words.
    """

    what: str
    touches: tuple[str, ...]
    values: Mapping[str, str]

    def __str__(self) -> str:
        groups: dict[str, list[str]] = {}
        for run, value in self.values.items():
            groups.setdefault(value, []).append(run)
        text = "; ".join(f"{value} ({', '.join(runs)})" for value, runs in groups.items())
        return f"{', '.join(self.touches)}: {self.what} differ: {text}"


def _with_sets(manifest: Manifest) -> str:
    return ", ".join(in_known_order(e for e, found in manifest["identifiable"].items() if isinstance(found, int)))


def _headline(manifest: Manifest) -> str:
    head, study = manifest["headline"], manifest["study"]
    site = study["identify"].get("site", "gate")
    return f"{head['selector'].upper()}, {100 * head['budget']:g} % of the neurons, scope {head['scope']}, site {site}"


def _question(manifest: Manifest) -> str:
    asked = manifest["study"]["question"]
    wordings = asked["wording"] if isinstance(asked["wording"], str) else ", ".join(asked["wording"])
    return f"wording {wordings}, {asked['letter_orders']} letter orders"


COMPARED: tuple[tuple[str, tuple[str, ...], Callable[[Manifest], str]], ...] = (
    ("emotions that were offered", (UAR, GAP, PULL), lambda m: ", ".join(m["emotions"])),
    ("questions", (UAR, GAP, PULL), _question),
    ("labels that were asked about", (UAR, GAP, PULL), lambda m: str(m["study"]["identify"].get("label", "emotion"))),
    ("loudness", (UAR, GAP, PULL), lambda m: str(m["study"]["corpora"][0].get("loudness", "normalised"))),
    ("emotions that have a set", (GAP, PULL), _with_sets),
    ("headlines", (GAP, PULL), _headline),
    ("strengths of steering", (PULL,), lambda m: f"alpha {m['headline']['alpha']:g}"),
)
"""What must be equal, the numbers that rest on it, and where the manifest tells."""


def side_by_side(folders: Sequence[str | Path]) -> tuple[pl.DataFrame, list[Difference]]:
    """The main numbers of finished runs, and what makes some of them incomparable; no model is needed.

    Args:
        folders: run folders, or copies that ``emoscope export`` made.

    Returns:
        one row a run with the columns of table ``side_by_side``, and the differences.

    Raises:
        ValueError: a folder that is given twice.
        FileNotFoundError: no run folder, or one that is not finished.
    """
    found: dict[str, Run] = {}
    for folder in folders:
        place = Path(folder)
        if place.resolve() in {run.folder.resolve() for run in found.values()}:
            raise ValueError(f"{folder} is given twice: name each run once")
        if not (place / "manifest.json").is_file():
            raise FileNotFoundError(f"{folder} is not a finished run: `emoscope run` finishes it")
        found[str(folder)] = read_run(place)
    several = Counter(str(run.manifest["study"]["name"]) for run in found.values())
    runs = {}  # by the study's name, with the folder where several runs have the same
    for key, run in found.items():
        name = str(run.manifest["study"]["name"])
        runs[name if several[name] == 1 else f"{name} ({key})"] = run
    differences = []
    for what, touches, tell in COMPARED:
        values = {name: tell(run.manifest) for name, run in runs.items()}
        if len(set(values.values())) > 1:
            differences.append(Difference(what, touches, values))
    return as_table("side_by_side", [_row(name, run) for name, run in runs.items()]), differences


def _row(name: str, run: Run) -> Row:
    manifest = run.manifest
    stored = all((run.folder / "tables" / f"{table}.parquet").is_file() for table in ("uar", "effects", "verdicts"))
    part = Part.alone(run) if stored else compute_tables(run)  # a copy without tables
    uar = part.uar() or {}
    row: Row = {"run": name, "model": manifest["model"]["id"], "emotions": len(manifest["emotions"])}
    row |= {"corpus": ", ".join(corpus["id"] for corpus in manifest["corpora"]), "pilot": part.pilot is not None}
    row |= {"items": uar.get("n"), "uar_low": uar.get("low"), "uar_high": uar.get("high")}
    row |= {column: uar.get(column) for column in ("speakers", "chance", "uar")}
    if (blind := part.blind()) is not None and blind.measure == "excess_gap":
        row["excess_gap_blind"] = blind.part
    for kind, column in (("deactivate", "verdict"), ("steer", "steer_verdict")):
        measure = f"excess_{GAPS[kind]}"
        if (found := part.effect(kind, measure)) is not None:
            row |= named(measure, found)
        verdict = None if row["pilot"] else part.verdict(kind)  # a pilot supports no claim
        row[column] = verdict and verdict["verdict"]
    return row


FIGURES = {
    "uar": (
        "UAR without intervention",
        "UAR (%)",
        "How well each model hears emotion, with its 95 % interval over speakers.",
    ),
    "excess_gap": (
        "Deactivation: excess gap",
        "excess gap (points)",
        "What switching the headline’s neurons off takes from their own emotion more than from others, beyond matched "
        "controls. Below 0: specific.",
    ),
    "excess_pull_gap": (
        "Steering: excess pull gap",
        "excess pull gap (points)",
        "What amplifying the headline’s neurons adds to answers naming their emotion on its own clips more than on "
        "others, beyond matched controls.",
    ),
}
"""Title, axis title and how to read it of the figure of each measure."""


def shown(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of :func:`side_by_side` as ready text."""
    return pl.DataFrame(
        [
            {
                "run": row["run"] + (" (pilot)" if row["pilot"] else ""),
                "model": row["model"],
                "corpus": row["corpus"],
                "emotions": str(row["emotions"]),
                "items": "–" if row["items"] is None else f"{row['items']:,}",
                "speakers": "–" if row["speakers"] is None else f"{row['speakers']:,}",
                "UAR (%)": estimate_text(row, "uar", sign=False),
                "chance (%)": number(row["chance"]),
                "excess gap": estimate_text(row, "excess_gap", sign=False),
                "blind part of it": number(row["excess_gap_blind"]),
                "excess pull gap": estimate_text(row, "excess_pull_gap", sign=False),
                "off: verdict": row["verdict"] or "–",
                "steered: verdict": row["steer_verdict"] or "–",
            }
            for row in rows.iter_rows(named=True)
        ]
    )


def write_compare_page(rows: pl.DataFrame, differences: Sequence[Difference], path: Path, version: str = "") -> None:
    """Write the page of what :func:`side_by_side` found; ``version``: of emoscope, for the page's last line."""
    html = render(
        "compare.html",
        runs=rows.height,
        differences=[str(difference) for difference in differences],
        figures=draw_those_there([Figure(name, partial(figure, measure=name)) for name in FIGURES], rows),
        table=to_html(shown(rows), "runs"),
        pilots=rows.filter("pilot")["run"].to_list(),
        version=version,
    )
    write_text(html, path)


def figure(rows: pl.DataFrame, measure: str) -> Chart | None:
    """One measure of every run with its interval; ``None`` where no run has it."""
    heading, x, how = FIGURES[measure]
    measured = rows.filter(pl.col(measure).is_not_null()).select(
        row="run", estimate=measure, low=f"{measure}_low", high=f"{measure}_high", series=pl.lit("selected")
    )
    if measured.is_empty():
        return None
    names = rows["run"].to_list()
    chart = dots(measured, names, x, "run", rule=None if measure == "uar" else 0.0, width=460)
    if measure == "uar":
        chart, how = with_chance(chart, rows.rename({"run": "row"}), names, x), f"{how} Grey ticks: chance."
    return titled(chart, title(heading, how))
