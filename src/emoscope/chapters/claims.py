"""Each claim of the paper's abstract: supported by the published measure, not supported, or not testable here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from emoscope.analysis.claim_rules import (
    AT_CHANCE,
    UNTESTED,
    Decision,
    both,
    carries_over,
    crowds,
    hurts,
    modest,
    pulls,
    rises,
    some_effect,
    spares,
    untested,
)
from emoscope.analysis.estimate import holm
from emoscope.analysis.sets import ALL
from emoscope.analysis.standing import at_chance, blind_part, count_options, untouched
from emoscope.neurons.controls import WELL_MATCHED
from emoscope.report.page import Table
from emoscope.report.views import Content
from emoscope.schemas import as_table, empty, read_table

if TYPE_CHECKING:
    from emoscope.report.views import Tables


UNLIKE = "the matched neurons are not well matched"

PAPER: dict[str, tuple[str, str, str]] = {
    "exist": ("Emotion-sensitive neurons exist in this model", "Which neurons", "tests"),
    "hurts": ("Switching off the neurons of an emotion hurts that emotion more than others", "Deactivation", "tests"),
    "spares": ("Switching them off largely spares the other emotions", "Deactivation", "effects"),
    "pulls": ("Amplifying them biases the answers towards the emotion", "Steering and dose", "effects"),
    "rises": ("The effect grows with the strength of the intervention", "Steering and dose", "trend"),
    "modest": ("Modest identification data are enough", "How little data", "efficiency"),
    "crowds": ("They cluster unevenly over the layers", "Where in the layers", "clustering"),
    "transfer": ("They transfer, in part, from one corpus to another", "Transfer and fusion", "transfer"),
    "handle": ("Targeted interventions on them are an actionable handle", "Steering and dose", "effects"),
}
"""Name to claim (in our words), the question that it answers, and the table in which its number stands."""


@dataclass(frozen=True)
class Basis:
    """What the claims about one corpus are decided on.

    Attributes:
        effects, tests, verdicts, trend, efficiency, clustering, uar: result tables.
        matching: how like the headline's sets their matched controls are, another result table.
        conditions, sets: tables of the run.
        options: how many options the question has.
        corpus: the corpus's id.
        blocked: why nothing at all can be concluded; ``None`` where something can.
        caution: what is to be said with every verdict; empty where there is nothing.
    """

    effects: pl.DataFrame
    tests: pl.DataFrame
    verdicts: pl.DataFrame
    trend: pl.DataFrame
    efficiency: pl.DataFrame
    clustering: pl.DataFrame
    uar: pl.DataFrame
    matching: pl.DataFrame
    conditions: pl.DataFrame
    sets: pl.DataFrame
    options: int
    corpus: str
    blocked: str | None
    caution: str

    def row(self, frame: pl.DataFrame, kind: str, **wanted: Any) -> dict[str, Any] | None:
        """The row of the headline's sets under one kind of intervention, in all layers at all positions."""
        declared = self.conditions.filter(pl.col("headline").fill_null(False) & (pl.col("kind") == kind))
        if declared.is_empty():
            return None
        one = declared.row(0, named=True)
        fixed = {name: one[name] for name in ("selector", "budget", "scope", "alpha")}
        fixed |= {"kind": kind, "control": "target", "positions": "all", "layers": "all"} | wanted
        for name, value in fixed.items():
            if name in frame.columns:
                frame = frame.filter(pl.col(name).eq_missing(pl.lit(value)))
        for name, usual in (("to", "zero"), ("size", None)):
            if name in frame.columns:
                frame = frame.filter(pl.col(name).is_null() | pl.col(name).eq_missing(pl.lit(usual)))
        if fixed["control"] != "target":
            frame = frame.filter(pl.col("draw").is_null())
        return frame.row(0, named=True) if len(frame) else None

    def effect(self, kind: str, measure: str, control: str = "target") -> dict[str, Any] | None:
        """An effect of the headline's sets, or the mean of their controls."""
        return self.row(self.effects, kind, measure=measure, control=control)


def claims(tables: Tables) -> pl.DataFrame:
    """Decide every claim on the result tables of one run.

    Args:
        tables: the result tables; ``claims`` among them is not read.

    Returns:
        the columns of table ``claims``, a row a claim, in the order of :data:`PAPER`: ``verdict`` is one of those in
        :mod:`~emoscope.analysis.claim_rules`, ``number`` what it rests on, as text, ``why`` the reason. Empty where the
        folder holds no items.
    """
    run = tables.run
    if run.items.is_empty():
        return empty("claims")
    basis = Basis(
        tables.effects, tables.tests, tables.verdicts, tables.trend, tables.efficiency, tables.clustering, tables.uar,
        tables.matching,
        run.conditions, run.sets, count_options(run.items), *_standing(run.items, run.manifest),
    )  # fmt: skip
    return decide(basis)


def claims_of_whole(folder: str | Path, transfer: pl.DataFrame) -> pl.DataFrame:
    """Decide every claim for each corpus of a study in parts, with its stored tables, and for each pair of corpora.

    The declared tests of all corpora are adjusted together after Holm, and so are the pairs of corpora.

    Args:
        folder: the run folder of the whole.
        transfer: its table of transfer (``transfer``).

    Returns:
        the columns of table ``claims``; ``source`` is the corpus in which the sets were found, where another's clips
        were answered.
    """
    folder = Path(folder)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    main = [part for part in manifest.get("parts") or [] if part["role"] == "main"]
    bases = {part["name"]: _stored(folder / part["folder"], part.get("failed")) for part in main}
    p = [row for basis in bases.values() for row in basis.tests["p"]]
    adjusted, start, frames = holm(p), 0, [empty("claims")]
    for name, basis in bases.items():
        count = len(basis.tests)
        again = basis.tests.with_columns(pl.Series("p_holm", adjusted[start : start + count], dtype=pl.Float64))
        start += count
        found = decide(replace(basis, tests=again, corpus=name))
        frames.append(found.filter(pl.col("name") != "transfer"))
    frames.append(_transfer(transfer, bases))
    places = {name: place for place, name in enumerate(PAPER)}
    order = pl.col("name").replace_strict(places, return_dtype=pl.Int64)
    return pl.concat(frames).sort(order, maintain_order=True)


def decide(basis: Basis) -> pl.DataFrame:
    """Every claim about one corpus, as in :func:`claims`."""
    why = _blocked(basis)
    found = dict.fromkeys(PAPER, untested(why)) if why else _decided(basis)
    if basis.caution:
        found = {
            name: one if one.verdict == UNTESTED else replace(one, why=_and(one.why, basis.caution))
            for name, one in found.items()
        }
    return _table((name, basis.corpus, None, one) for name, one in found.items())


def _decided(basis: Basis) -> dict[str, Decision]:
    tests = {row["kind"]: row for row in basis.tests.iter_rows(named=True)}
    verdict = basis.row(basis.verdicts, "deactivate") or {}
    own, others = basis.effect("deactivate", "excess_self"), basis.effect("deactivate", "excess_cross")
    hurt = hurts(tests.get("deactivate"), own, verdict.get("verdict"))
    pull = pulls(basis.effect("steer", "excess_pull_overall"), basis.effect("steer", "excess_pull_gap"))
    unlike = max((row["smd_largest"] or 0 for row in _rows(basis, "matching")), default=0) > WELL_MATCHED
    hurt, pull = (replace(one, why=_and(one.why, UNLIKE)) if unlike and one.number else one for one in (hurt, pull))
    sizes = [row for row in _rows(basis, "efficiency") if row["draw"] is None]
    found = {
        "exist": some_effect(list(tests.values())),
        "hurts": hurt,
        "spares": spares(hurt, own, others),
        "pulls": pull,
        "rises": rises(basis.row(basis.trend, "steer", measure="excess_pull")),
        "modest": modest(
            hurt, tests.get("deactivate"), _clips(basis),
            sorted((row for row in sizes if not row["full"]), key=lambda row: int(row["size"])),
            next((row for row in sizes if row["full"]), None), basis.effect("deactivate", "gap", "matched"),
        ),
        "crowds": crowds(next(iter(_rows(basis, "clustering")), None)),
        "transfer": untested("it needs a study of several corpora"),
        "handle": both(hurt, pull),
    }  # fmt: skip
    blind = blind_part(lambda measure: basis.effect("deactivate", measure), basis.options)
    if blind is None:
        return found
    return {
        name: replace(one, number=f"{one.number}, {blind.brief()}") if one.number.startswith("excess gap") else one
        for name, one in found.items()
    }


def _transfer(transfer: pl.DataFrame, bases: Mapping[str, Basis]) -> pl.DataFrame:
    rows = transfer.filter((pl.col("kind") == "deactivate") & (pl.col("measure") == "excess_gap") & ~pl.col("fused"))
    own = {row["host"]: row for row in rows.filter("diagonal").iter_rows(named=True)}
    pairs = rows.filter(~pl.col("diagonal")).to_dicts()
    if not pairs:
        why = "sets were not exchanged between corpora" if len(bases) > 1 else "it needs a study of several corpora"
        return _table([("transfer", "", None, untested(why))])
    found = []
    for row, p in zip(pairs, holm([row["p"] for row in pairs]), strict=True):
        basis = bases.get(row["host"])
        one = carries_over(row, p, own.get(row["host"]))
        if basis is not None and (blocked := _blocked(basis)):
            one = untested(blocked)
        found.append(("transfer", row["host"], row["source"], one))
    return _table(found)


def _table(found: Any) -> pl.DataFrame:
    rows = []
    for name, corpus, source, one in found:
        claim, question, table = PAPER[name]
        rows.append(
            {"name": name, "claim": claim, "question": question, "corpus": corpus, "source": source, "table": table}
            | {key: getattr(one, key) for key in ("verdict", "number", "estimate", "low", "high", "unit", "why")}
        )
    return as_table("claims", rows)


def _rows(basis: Basis, table: str) -> list[dict[str, Any]]:
    """The rows of a table of sets at the headline's selector, budget and scope."""
    frame: pl.DataFrame = getattr(basis, table)
    declared = basis.conditions.filter(pl.col("headline").fill_null(False))
    if declared.is_empty():
        return []
    one = declared.row(0, named=True)
    for name in ("selector", "budget", "scope"):
        frame = frame.filter(pl.col(name).eq_missing(pl.lit(one[name])))
    return frame.to_dicts()


def _and(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def _clips(basis: Basis) -> int | None:
    """On how many clips per emotion the headline's sets that act were found: the most of any fold."""
    rows = [row for row in _rows(basis, "sets") if row["control"] == "target" and row["n"] is not None]
    acting = [row for row in rows if row["fold"] != ALL] or rows
    return max((int(row["n"]) for row in acting), default=None)


def _blocked(basis: Basis) -> str | None:
    """Why nothing can be concluded: what the basis says, or a model that does not know this corpus's emotions.

    Where UAR is not clear of chance, sets are found on clips that a habit of answering got right, and switching them
    off breaks the habit: a large gap that says nothing about emotion.
    """
    return basis.blocked or (AT_CHANCE if at_chance(untouched(basis.uar)) else None)


def _standing(items: pl.DataFrame, manifest: Mapping[str, Any]) -> tuple[str, str | None, str]:
    """The corpus, why nothing can be concluded, and what is to be said with every verdict."""
    used = items.filter(pl.col("fate") == "used")
    corpus = "+".join(sorted(set(used["corpus"].drop_nulls())))
    evaluated = used.filter(pl.col("evaluated").fill_null(False))
    shared = manifest.get("speakers_shared") or 0
    caution = f"{shared} speaker{'s are' if shared > 1 else ' is'} on both sides" if shared else ""
    if isinstance(manifest.get("pilot"), dict):
        return corpus, "a pilot supports no claim", caution
    if evaluated.is_empty():
        return corpus, "no clip was evaluated", caution
    if evaluated["speaker"].null_count():
        return corpus, "speakers are unknown: recordings stand in for them", caution
    return corpus, None, caution


def _stored(folder: Path, failed: str | None) -> Basis:
    """The basis of a part, from its stored tables."""
    names = ("effects", "tests", "verdicts", "trend", "efficiency", "clustering", "uar", "matching")
    tables = {name: read_table(folder, name) for name in names}
    conditions = read_table(folder, "conditions").filter(pl.col("source").is_null())
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    items = read_table(folder, "items")
    corpus, blocked, caution = _standing(items, manifest)
    sets = read_table(folder, "sets")
    return Basis(
        **tables, conditions=conditions, sets=sets, options=count_options(items), corpus=corpus,
        blocked=failed or blocked, caution=caution,
    )  # fmt: skip


def tabulate_claims(content: Content) -> pl.DataFrame | None:
    """Each claim of the paper, with the verdict of a rule and the number that it rests on."""
    found = content.tables.claims
    if content.pilot is not None or found.is_empty():
        return None
    return found.select("claim", "verdict", pl.col("number").alias("what it rests on"), pl.col("why"))


@dataclass(frozen=True)
class Cell:
    """One claim on one corpus.

    Attributes:
        verdict: one of those in :mod:`~emoscope.analysis.claim_rules`.
        kind: the same as a class of the style sheet.
        source: the corpus that the neurons come from, where it is another one; else empty.
        number: what the verdict rests on.
        why: the reason.
    """

    verdict: str
    kind: str
    source: str
    number: str
    why: str


@dataclass(frozen=True)
class Row:
    """One claim.

    Attributes:
        claim: in words.
        question: the chapter that it belongs to.
        cells: those of each corpus, in the order of the columns; one list a corpus.
    """

    claim: str
    question: str
    cells: tuple[tuple[Cell, ...], ...]


def grid(found: pl.DataFrame, corpora: list[str]) -> list[Row]:
    """Claims as rows and corpora as columns.

    Args:
        found: columns ``claim``, ``question``, ``corpus``, ``source``, ``verdict``, ``number`` and ``why``; a row without
            a corpus holds for all of them.
        corpora: the columns.
    """
    rows = []
    for (claim, question), group in found.group_by("claim", "question", maintain_order=True):
        told = list(group.iter_rows(named=True))
        every = tuple(
            tuple(
                Cell(one["verdict"], one["verdict"].replace(" ", "-"), one["source"] or "", one["number"] or "", one["why"] or "")
                for one in told if one["corpus"] in (name, "", None)
            )
            for name in corpora
        )  # fmt: skip
        rows.append(Row(str(claim), str(question), every))
    return rows


def as_text(found: pl.DataFrame) -> pl.DataFrame | None:
    """Claims as a table of text, one row a claim and corpus."""
    if found.is_empty():
        return None
    source = pl.when(pl.col("source").is_null()).then(pl.lit("")).otherwise(pl.lit("from ") + pl.col("source"))
    return found.select(
        pl.col("claim").alias("claim tested"), pl.col("corpus").fill_null(""), source.alias("neurons"), "verdict",
        pl.col("number").fill_null("").alias("value"), pl.col("why").fill_null(""),
    )  # fmt: skip


TABLES = (
    Table(
        "claims",
        tabulate_claims,
        "Decided by rule on the tables of this run, at the headline; points are beyond matched neurons, with 95 % "
        "intervals over speakers. “Supported by the published measure”: that measure also counts moves of the "
        "answers that know nothing of the clip (the blind part). “Not supported” includes what stays open: it is no "
        "proof of the opposite.",
    ),
)
