"""Each claim of the paper's abstract: supported by the published measure, not supported, or not testable here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

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
from emoscope.analysis.parts import Part, Row, StudyRuns, first
from emoscope.analysis.standing import at_chance
from emoscope.chapters.sets import ALL
from emoscope.neurons.controls import WELL_MATCHED
from emoscope.report.page import Table
from emoscope.schemas import as_table, empty

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


def claims(part: Part) -> pl.DataFrame:
    """Decide every claim on the result tables of one run.

    Returns:
        the columns of table ``claims``, a row a claim, in the order of :data:`PAPER`: ``verdict`` is one of those in
        :mod:`~emoscope.analysis.claim_rules`, ``number`` what it rests on, as text, ``why`` the reason. Empty where the
        folder holds no items.
    """
    if part.run.items.is_empty():
        return empty("claims")
    used = part.run.items.filter(pl.col("status") == "used")
    return decide(part, "+".join(sorted(set(used["corpus"].drop_nulls()))))


def claims_of_study(study: StudyRuns) -> pl.DataFrame:
    """Decide every claim for each corpus of a study in parts, and for each pair of corpora.

    The declared tests of all corpora are adjusted together after Holm, and so are the pairs of corpora.

    Returns:
        the columns of table ``claims``; ``source`` is the corpus in which the sets were found, where another's clips
        were answered.
    """
    p = [row for part in study.mains for row in part.table("tests")["p"]]
    adjusted, start, frames = holm(p), 0, [empty("claims")]
    for part in study.mains:
        tests = part.table("tests")
        again = tests.with_columns(pl.Series("p_holm", adjusted[start : start + len(tests)], dtype=pl.Float64))
        start += len(tests)
        frames.append(decide(part.changed(tests=again), part.name).filter(pl.col("name") != "transfer"))
    frames.append(_transfer(study))
    places = {name: place for place, name in enumerate(PAPER)}
    order = pl.col("name").replace_strict(places, return_dtype=pl.Int64)
    return pl.concat(frames).sort(order, maintain_order=True)


def decide(part: Part, corpus: str) -> pl.DataFrame:
    """Every claim about one corpus, as in :func:`claims`."""
    why = _blocked(part)
    found = dict.fromkeys(PAPER, untested(why)) if why else _decided(part)
    shared = part.run.manifest.get("speakers_shared") or 0
    if shared:
        caution = f"{shared} speaker{'s are' if shared > 1 else ' is'} on both sides"
        found = {
            name: one if one.verdict == UNTESTED else replace(one, why=_and(one.why, caution))
            for name, one in found.items()
        }
    return _table((name, corpus, None, one) for name, one in found.items())


def _decided(part: Part) -> dict[str, Decision]:
    tests = {row["kind"]: row for row in part.table("tests").iter_rows(named=True)}
    verdict = part.verdict("deactivate")
    own, others = part.effect("deactivate", "excess_self"), part.effect("deactivate", "excess_cross")
    hurt = hurts(tests.get("deactivate"), own, verdict["verdict"] if verdict else None)
    pull = pulls(part.effect("steer", "excess_pull_overall"), part.effect("steer", "excess_pull_gap"))
    unlike = max((row["smd_largest"] or 0 for row in _rows(part, "matching")), default=0) > WELL_MATCHED
    hurt, pull = (replace(one, why=_and(one.why, UNLIKE)) if unlike and one.number else one for one in (hurt, pull))
    sizes = [row for row in _rows(part, "efficiency") if row["draw"] is None]
    trend = first(
        part.own("trend"),
        (pl.col("measure") == "excess_pull")
        & (pl.col("control") == "target")
        & (pl.col("layers") == "all")
        & (pl.col("positions") == "all"),
    )
    found = {
        "exist": some_effect(list(tests.values())),
        "hurts": hurt,
        "spares": spares(hurt, own, others),
        "pulls": pull,
        "rises": rises(trend if _declared(part, "steer") else None),
        "modest": modest(
            hurt,
            tests.get("deactivate"),
            _clips(part),
            sorted((row for row in sizes if not row["full"]), key=lambda row: int(row["size"])),
            next((row for row in sizes if row["full"]), None),
            part.effect("deactivate", "gap", "matched"),
        ),
        "crowds": crowds(next(iter(_rows(part, "clustering")), None)),
        "transfer": untested("it needs a study of several corpora"),
        "handle": both(hurt, pull),
    }
    blind = part.blind()
    if blind is None:
        return found
    return {
        name: replace(one, number=f"{one.number}, {blind.brief()}") if one.number.startswith("excess gap") else one
        for name, one in found.items()
    }


def _transfer(study: StudyRuns) -> pl.DataFrame:
    rows = study.table("transfer").filter(
        (pl.col("kind") == "deactivate") & (pl.col("measure") == "excess_gap") & ~pl.col("fused")
    )
    own = {row["host"]: row for row in rows.filter("diagonal").iter_rows(named=True)}
    pairs = rows.filter(~pl.col("diagonal")).to_dicts()
    if not pairs:
        several = len(study.mains) > 1
        why = "sets were not exchanged between corpora" if several else "it needs a study of several corpora"
        return _table([("transfer", "", None, untested(why))])
    found = []
    for row, p in zip(pairs, holm([row["p"] for row in pairs]), strict=True):
        part = study.main(row["host"])
        one = carries_over(row, p, own.get(row["host"]))
        if part is not None and (blocked := _blocked(part)):
            one = untested(blocked)
        found.append(("transfer", row["host"], row["source"], one))
    return _table(found)


def _table(found: Iterable[tuple[str, str, str | None, Decision]]) -> pl.DataFrame:
    rows = []
    for name, corpus, source, one in found:
        claim, question, table = PAPER[name]
        rows.append(
            {"name": name, "claim": claim, "question": question, "corpus": corpus, "source": source, "table": table}
            | {key: getattr(one, key) for key in ("verdict", "number", "estimate", "low", "high", "unit", "why")}
        )
    return as_table("claims", rows)


def _declared(part: Part, *kinds: str) -> bool:
    """Whether conditions are marked as the headline's."""
    return not part.run.conditions.filter(pl.col("headline").fill_null(False) & pl.col("kind").is_in(kinds)).is_empty()


def _rows(part: Part, table: str) -> list[Row]:
    """The rows of a table of sets at the headline's selector, budget and scope, where one is declared."""
    return part.own(table).to_dicts() if _declared(part, "deactivate", "steer") else []


def _and(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def _clips(part: Part) -> int | None:
    """On how many clips per emotion the headline's sets that act were found: the most of any fold."""
    rows = [row for row in _rows(part, "sets") if row["control"] == "target" and row["n"] is not None]
    acting = [row for row in rows if row["fold"] != ALL] or rows
    return max((int(row["n"]) for row in acting), default=None)


def _blocked(part: Part) -> str | None:
    """Why nothing can be concluded: what the run says, or a model that does not know this corpus's emotions.

    Where UAR is not clear of chance, sets are found on clips that a habit of answering got right, and switching them
    off breaks the habit: a large gap that says nothing about emotion.
    """
    evaluated = part.run.items.filter((pl.col("status") == "used") & pl.col("evaluated").fill_null(False))
    if part.failed:
        return part.failed
    if part.pilot is not None:
        return "a pilot supports no claim"
    if evaluated.is_empty():
        return "no clip was evaluated"
    if evaluated["speaker"].null_count():
        return "speakers are unknown: recordings stand in for them"
    return AT_CHANCE if at_chance(part.uar()) else None


def tabulate_claims(part: Part) -> pl.DataFrame | None:
    """Each claim of the paper, with the verdict of a rule and the number that it rests on."""
    found = part.table("claims")
    if part.pilot is not None or found.is_empty():
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
class Claim:
    """One claim.

    Attributes:
        claim: in words.
        question: the chapter that it belongs to.
        cells: those of each corpus, in the order of the columns; one list a corpus.
    """

    claim: str
    question: str
    cells: tuple[tuple[Cell, ...], ...]


def grid(found: pl.DataFrame, corpora: list[str]) -> list[Claim]:
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
        rows.append(Claim(str(claim), str(question), every))
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
