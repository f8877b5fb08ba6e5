"""Each claim of the paper's abstract: supported by the published measure, not supported, or not testable here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

import polars as pl

from emoscope.analysis import claim_rules as rules
from emoscope.analysis.claim_rules import UNTESTED, Decision, untested
from emoscope.analysis.estimate import holm
from emoscope.analysis.parts import Part, Row, StudyRuns, first
from emoscope.analysis.standing import at_chance
from emoscope.chapters.sets import ALL
from emoscope.neurons.controls import WELL_MATCHED
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
    adjusted = iter(holm([p for part in study.mains for p in part.table("tests")["p"]]))
    frames = [empty("claims")]
    for part in study.mains:
        tests = part.table("tests")
        again = tests.with_columns(pl.Series("p_holm", list(islice(adjusted, len(tests))), dtype=pl.Float64))
        frames.append(decide(part.changed(tests=again), part.name).filter(pl.col("name") != "transfer"))
    frames.append(_transfer(study))
    places = {name: place for place, name in enumerate(PAPER)}
    order = pl.col("name").replace_strict(places, return_dtype=pl.Int64)
    return pl.concat(frames).sort(order, maintain_order=True)


def decide(part: Part, corpus: str) -> pl.DataFrame:
    """Every claim about one corpus, as in :func:`claims`."""
    why = _blocked(part)
    found = dict.fromkeys(PAPER, untested(why)) if why else _decided(part)
    shared, blind = part.run.manifest.get("speakers_shared") or 0, part.blind()
    caution = f"{shared} speaker{'s are' if shared > 1 else ' is'} on both sides"
    rows = []
    for name, decision in found.items():
        if blind is not None and decision.number.startswith("excess gap"):
            decision = replace(decision, number=f"{decision.number}, {blind.brief()}")
        if shared and decision.verdict != UNTESTED:
            decision = replace(decision, why=_and(decision.why, caution))
        rows.append((name, corpus, None, decision))
    return _table(rows)


def _decided(part: Part) -> dict[str, Decision]:
    off, verdict = part.test("deactivate"), part.verdict("deactivate")
    own, others = part.effect("deactivate", "excess_self"), part.effect("deactivate", "excess_cross")
    hurt = rules.hurts(off, own, verdict["verdict"] if verdict else None)
    pull = rules.pulls(part.effect("steer", "excess_pull_overall"), part.effect("steer", "excess_pull_gap"))
    unlike = max((row["smd_largest"] or 0 for row in _rows(part, "matching")), default=0) > WELL_MATCHED
    hurt, pull = (
        replace(decision, why=_and(decision.why, UNLIKE)) if unlike and decision.number else decision
        for decision in (hurt, pull)
    )
    sizes = [row for row in _rows(part, "efficiency") if row["draw"] is None]
    trend = first(part.own("trend"), layers="all", positions="all", measure="excess_pull", control="target")
    return {
        "exist": rules.some_effect(part.table("tests").to_dicts()),
        "hurts": hurt,
        "spares": rules.spares(hurt, own, others),
        "pulls": pull,
        "rises": rules.rises(trend if _declared(part, "steer") else None),
        "modest": rules.modest(
            hurt,
            off,
            _clips(part),
            sorted((row for row in sizes if not row["full"]), key=lambda row: int(row["size"])),
            next((row for row in sizes if row["full"]), None),
            part.effect("deactivate", "gap", "matched"),
        ),
        "crowds": rules.crowds(next(iter(_rows(part, "clustering")), None)),
        "transfer": untested("it needs a study of several corpora"),
        "handle": rules.both(hurt, pull),
    }


def _transfer(study: StudyRuns) -> pl.DataFrame:
    rows = study.table("transfer").filter(~pl.col("fused"), kind="deactivate", measure="excess_gap")
    own = {row["host"]: row for row in rows.filter("diagonal").iter_rows(named=True)}
    pairs = rows.filter(~pl.col("diagonal")).to_dicts()
    if not pairs:
        several = len(study.mains) > 1
        why = "sets were not exchanged between corpora" if several else "it needs a study of several corpora"
        return _table([("transfer", "", None, untested(why))])
    found = []
    for row, p in zip(pairs, holm([row["p"] for row in pairs]), strict=True):
        part = study.main(row["host"])
        blocked = _blocked(part) if part else None
        decision = untested(blocked) if blocked else rules.carries_over(row, p, own.get(row["host"]))
        found.append(("transfer", row["host"], row["source"], decision))
    return _table(found)


def _table(found: Iterable[tuple[str, str, str | None, Decision]]) -> pl.DataFrame:
    rows = [
        dict(zip(("claim", "question", "table"), PAPER[name], strict=True))
        | {"name": name, "corpus": corpus, "source": source}
        | vars(decision)
        for name, corpus, source, decision in found
    ]
    return as_table("claims", rows)


def _declared(part: Part, *kinds: str) -> bool:
    """Whether conditions are marked as the headline's."""
    return bool((part.run.conditions["headline"].fill_null(False) & part.run.conditions["kind"].is_in(kinds)).any())


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
    return rules.AT_CHANCE if at_chance(part.uar()) else None


def grid(found: pl.DataFrame, corpora: list[str]) -> list[Row]:
    """Claims as rows and corpora as columns.

    Args:
        found: the table of claims; a row without a corpus holds for all of them.
        corpora: the columns.

    Returns:
        for each claim ``claim``, ``question`` and ``cells``: a list of rows a corpus, with ``kind``, the verdict as a
        class of the style sheet.
    """
    kind = pl.col("verdict").str.replace_all(" ", "-")
    return [
        {"claim": claim, "question": question}
        | {"cells": [[row for row in group.to_dicts() if row["corpus"] in (name, "", None)] for name in corpora]}
        for (claim, question), group in found.with_columns(kind=kind).group_by("claim", "question", maintain_order=True)
    ]


def as_text(found: pl.DataFrame) -> pl.DataFrame | None:
    """Claims as a table of text, one row a claim and corpus."""
    if found.is_empty():
        return None
    texts = found.with_columns(pl.col("corpus", "number", "why").fill_null(""))
    source = (pl.lit("from ") + pl.col("source")).fill_null("")
    return texts.select(
        pl.col("claim").alias("claim tested"),
        "corpus",
        source.alias("neurons"),
        "verdict",
        pl.col("number").alias("value"),
        "why",
    )
