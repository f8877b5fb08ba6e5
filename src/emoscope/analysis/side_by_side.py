"""Finished runs side by side: their main numbers, and which of them cannot be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from emoscope.analysis.blind import blind_part, count_options
from emoscope.analysis.run_tables import Run, in_known_order, read_run
from emoscope.analysis.tables import compute_tables
from emoscope.schemas import as_table
from emoscope.vocabulary import acting, with_roles

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
        told = "; ".join(f"{value} ({', '.join(runs)})" for value, runs in groups.items())
        return f"{', '.join(self.touches)}: {self.what} differ: {told}"


def _emotions(manifest: Mapping[str, Any]) -> str:
    return ", ".join(manifest["emotions"])


def _with_sets(manifest: Mapping[str, Any]) -> str:
    return ", ".join(in_known_order(e for e, found in manifest["identifiable"].items() if isinstance(found, int)))


def _headline(manifest: Mapping[str, Any]) -> str:
    head, study = manifest["headline"], manifest["study"]
    site = study["identify"].get("site", "gate")
    return f"{head['selector'].upper()}, {100 * head['budget']:g} % of the neurons, scope {head['scope']}, site {site}"


def _question(manifest: Mapping[str, Any]) -> str:
    asked = manifest["study"]["question"]
    wordings = asked["wording"] if isinstance(asked["wording"], str) else ", ".join(asked["wording"])
    return f"wording {wordings}, {asked['letter_orders']} letter orders"


COMPARED: tuple[tuple[str, tuple[str, ...], Callable[[Mapping[str, Any]], str]], ...] = (
    ("emotions that were offered", (UAR, GAP, PULL), _emotions),
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
    found: dict[str, tuple[Path, Run]] = {}
    for folder in folders:
        place = Path(folder)
        if place.resolve() in {path.resolve() for path, _ in found.values()}:
            raise ValueError(f"{folder} is given twice: name each run once")
        if not (place / "manifest.json").is_file():
            raise FileNotFoundError(f"{folder} is not a finished run: `emoscope run` finishes it")
        found[str(folder)] = (place, read_run(place))
    names = _names({key: (path, run.manifest) for key, (path, run) in found.items()})
    rows = [_row(names[key], path, run) for key, (path, run) in found.items()]
    differences = []
    for what, touches, tell in COMPARED:
        values = {names[key]: tell(run.manifest) for key, (_, run) in found.items()}
        if len(set(values.values())) > 1:
            differences.append(Difference(what, touches, values))
    return as_table("side_by_side", rows), differences


def _names(found: Mapping[str, tuple[Path, Mapping[str, Any]]]) -> dict[str, str]:
    """The study's name, with the folder where several runs have the same."""
    names = {key: str(manifest["study"]["name"]) for key, (_, manifest) in found.items()}
    several = Counter(names.values())
    return {key: name if several[name] == 1 else f"{name} ({key})" for key, name in names.items()}


def _row(name: str, path: Path, run: Run) -> dict[str, Any]:
    manifest = run.manifest
    tables = _tables(path, run)
    head = manifest["headline"]
    base = tables["uar"].filter((pl.col("condition") == "baseline") & (pl.col("scoring") == "likelihood")).to_dicts()
    uar = base[0] if base else {}
    row: dict[str, Any] = {
        "run": name, "model": manifest["model"]["id"], "corpus": ", ".join(c["id"] for c in manifest["corpora"]),
        "emotions": len(manifest["emotions"]), "items": uar.get("n"), "speakers": uar.get("speakers"),
        "chance": uar.get("chance"), "uar": uar.get("uar"), "uar_low": uar.get("low"), "uar_high": uar.get("high"),
        "pilot": "pilot" in manifest,
    }  # fmt: skip
    families = {
        name: with_roles(tables[name], head).filter(pl.col("control") == "target") for name in ("effects", "verdicts")
    }
    ways = {"excess_gap": "deactivate", "excess_pull_gap": "steer"}
    effects = {measure: acting(families["effects"], kind) for measure, kind in ways.items()}
    off = {one["measure"]: one for one in effects["excess_gap"].iter_rows(named=True)}
    if (blind := blind_part(off.get, count_options(run.items))) is not None and blind.measure == "excess_gap":
        row["excess_gap_blind"] = blind.part
    for (measure, kind), verdict in zip(ways.items(), ("verdict", "steer_verdict"), strict=True):
        for found in effects[measure].filter(pl.col("measure") == measure).to_dicts()[:1]:
            row |= {measure: found["estimate"], f"{measure}_low": found["low"], f"{measure}_high": found["high"]}
        # a pilot supports no claim
        said = [] if row["pilot"] else acting(families["verdicts"], kind)["verdict"].to_list()
        row[verdict] = said[0] if said else None
    return row


def _tables(path: Path, run: Run) -> dict[str, pl.DataFrame]:
    """The tables as the run wrote them, or computed anew for a copy without them."""
    names = ("uar", "effects", "verdicts")
    stored = [path / "tables" / f"{name}.parquet" for name in names]
    if all(file.is_file() for file in stored):
        return dict(zip(names, map(pl.read_parquet, stored), strict=True))
    computed = compute_tables(run)
    return {name: getattr(computed, name) for name in names}
