"""The claims: the declared ones in their order, then what else the paper claims, which is exploration."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace

import polars as pl

from emoscope.analysis import claim_rules as rules
from emoscope.analysis import declared
from emoscope.analysis.claim_rules import Decision, FewClips, stated, untested
from emoscope.analysis.declared import CLAIMS, RESERVED, SUPPORTED, UNTESTED, Test
from emoscope.analysis.estimate import holm
from emoscope.analysis.headline import Declared, carried, declared_evidence, few_clips, pull
from emoscope.analysis.parts import Part, Row, StudyRuns
from emoscope.analysis.responses import build_responses
from emoscope.analysis.standing import at_chance
from emoscope.neurons.controls import WELL_MATCHED
from emoscope.report.sentences import kind_of, sign
from emoscope.schemas import as_table, empty
from emoscope.vocabulary import DEACTIVATE, FEWER, MATCHED, ORTHOGONAL

UNLIKE = "the matched neurons are not well matched"
PLACES = {DEACTIVATE: "Deactivation", "steer": "Steering and dose"}

EXPLORED: dict[str, tuple[str, str, str]] = {
    "hurts": (
        "Switching off the neurons of an emotion hurts the recognition of that emotion",
        "Deactivation",
        "effects",
    ),
    "spares": ("Switching them off spares the other emotions", "Deactivation", "tests"),
    "pulls": ("Amplifying them biases the answers towards the emotion", "Steering and dose", "effects"),
    "modest": ("Modest identification data are enough", "How little data", "efficiency"),
    "crowds": ("They cluster unevenly over the layers", "Where in the layers", "clustering"),
    "transfer": ("They transfer, in part, from one corpus to another", "Transfer and fusion", "transfer"),
    "handle": ("Targeted interventions on them are an actionable handle", "Steering and dose", "tests"),
}
"""What else the paper claims: name to claim (in our words), the question that it answers, the table of its number."""


def declared_tests(part: Part) -> pl.DataFrame:
    """Decide the declared claims of one run: table ``tests``, a row a claim in the order in which they are tested."""
    if part.run.items.is_empty():
        return empty("tests")
    found = part.declared
    why = blocked(part) or (None if found else "nothing was asked under the headline’s sets")
    if found and not why and not part.unreliable.isdisjoint(found.conditions):
        why = rules.TOO_UNRELIABLE
    if why or found is None:
        return _tests([Test(claim.name, UNTESTED, why or "") for claim in CLAIMS], part, found)
    judged = declared.judge(found.evidence)
    doubts = reservations(part, found)
    return _tests([_reserved(_named(test, found.labels), doubts) for test in judged.values()], part, found)


def _named(test: Test, labels: Sequence[str]) -> Test:
    """Emotions by name where the rule names them by code."""
    return replace(test, why=re.sub(r"\{(\d+)\}", lambda code: labels[int(code[1])], test.why))


def _reserved(test: Test, doubts: Sequence[str]) -> Test:
    if test.verdict != SUPPORTED or not doubts:
        return test
    return replace(test, verdict=RESERVED, why=_and(test.why, *doubts))


def reservations(part: Part, found: Declared) -> list[str]:
    """What a reader must know beside a claim that holds."""
    shared = part.run.manifest.get("speakers_shared") or 0
    unlike = max((row["smd_largest"] or 0 for row in _rows(part, "matching")), default=0) > WELL_MATCHED
    doubts = [
        f"{shared} speaker{'s are' if shared > 1 else ' is'} on both sides" if shared else None,
        UNLIKE if unlike and found.control == MATCHED else None,
        f"beyond matched neurons alone, as there are no {ORTHOGONAL} sets" if found.control == MATCHED else None,
        f"{found.unreliable_draws} permuted draws are left out, as their answers are unreliable"
        if found.unreliable_draws
        else None,
    ]
    return [doubt for doubt in doubts if doubt]


def _tests(found: Sequence[Test], part: Part, evidence: Declared | None) -> pl.DataFrame:
    corpus = "+".join(sorted(set(part.run.items.filter(pl.col("status") == "used")["corpus"].drop_nulls())))
    about: Row = {"corpus": corpus, "rule": declared.RULE, "control": evidence.control if evidence else None}
    about |= {"n": evidence.clips if evidence else None, "left_out": evidence.left_out if evidence else None}
    kinds = {claim.name: {"kind": claim.kind, "unit": claim.unit} for claim in CLAIMS}
    return as_table("tests", [vars(test) | kinds[test.name] | about for test in found])


def stored_tests(table: pl.DataFrame) -> dict[str, Test]:
    """The tests of a stored table by name."""
    known = [field.name for field in fields(Test)]
    return {row["name"]: Test(**{name: row[name] for name in known}) for row in table.iter_rows(named=True)}


def claims(part: Part) -> pl.DataFrame:
    """Decide every claim on the result tables of one run.

    Returns:
        the columns of table ``claims``, a row a claim, the declared ones first: ``verdict`` is one of those in
        :mod:`~emoscope.analysis.declared`, ``number`` what it rests on, as text, ``why`` the reason. Empty where the
        folder holds no items.
    """
    if part.run.items.is_empty():
        return empty("claims")
    used = part.run.items.filter(pl.col("status") == "used")
    return decide(part, "+".join(sorted(set(used["corpus"].drop_nulls()))))


def claims_of_study(study: StudyRuns) -> pl.DataFrame:
    """Decide every claim for each corpus of a study in parts, and for each pair of corpora.

    The first declared claims of all corpora are corrected together after Holm, and so are the pairs of corpora.

    Returns:
        the columns of table ``claims``; ``source`` is the corpus in which the sets were found, where another's clips
        were answered.
    """
    mains = [part for part in study.mains if len(part.table("tests"))]
    together = declared.corrected([stored_tests(part.table("tests")) for part in mains])
    frames = [empty("claims")]
    for part in study.mains:
        if part in mains:
            doubts = dict(part.table("tests").select("name", "why").iter_rows())
            reserved = set(part.table("tests").filter(verdict=RESERVED)["name"])
            tests = [
                replace(test, verdict=RESERVED, why=doubts[name])
                if test.verdict == SUPPORTED and name in reserved
                else test
                for name, test in together[mains.index(part)].items()
            ]
            part = part.changed(tests=as_table("tests", [vars(test) for test in tests]))
        frames.append(decide(part, part.name).filter(pl.col("name") != "transfer"))
    frames.append(_transfer(study))
    places = {name: place for place, name in enumerate([*(claim.name for claim in CLAIMS), *EXPLORED])}
    order = pl.col("name").replace_strict(places, return_dtype=pl.Int64)
    return pl.concat(frames).sort(order, maintain_order=True)


def decide(part: Part, corpus: str) -> pl.DataFrame:
    """Every claim about one corpus, as in :func:`claims`."""
    tests = stored_tests(part.table("tests"))
    found = {
        claim.name: stated(tests[claim.name], claim.measure, claim.unit) for claim in CLAIMS if claim.name in tests
    }
    why = blocked(part)
    found |= dict.fromkeys(EXPLORED, untested(why)) if why else _explored(part, tests)
    return _table([(name, corpus, None, decision) for name, decision in found.items()])


def _explored(part: Part, tests: Mapping[str, Test]) -> dict[str, Decision]:
    verdict, own = part.verdict(DEACTIVATE), part.effect(DEACTIVATE, "excess_self")
    verdicts = {name: test.verdict for name, test in tests.items()}
    hurt = rules.hurts(verdicts.get("disproportionate"), own, verdict["verdict"] if verdict else None)
    full = next((row["size"] for row in _rows(part, "efficiency") if row["full"]), None)
    return {
        "hurts": hurt,
        "spares": rules.spares(verdicts.get("disproportionate"), _spared(part)),
        "pulls": rules.pulls(pull(part.compared), part.effect("steer", "excess_pull_gap")),
        "modest": rules.modest(hurt, full, _few(part)),
        "crowds": rules.crowds(next(iter(_rows(part, "clustering")), None)),
        "transfer": untested("it needs a study of several corpora"),
        "handle": rules.handle(hurt, verdicts.get("steers")),
    }


def _few(part: Part) -> list[FewClips]:
    """What sets from each number of clips do."""
    asked = part.run.conditions.filter(pl.col("size").is_not_null(), kind=DEACTIVATE, control=FEWER)
    found = (few_clips(part.run, part.responses, size, part.unreliable) for size in asked["size"].unique().sort())
    return [each for each in found if each is not None]


def _spared(part: Part) -> Test | None:
    found = part.declared
    if found is None or found.evidence.off is None or not found.evidence.off.draws or declared.blocked(found.evidence):
        return None
    statistic = declared.left_over(declared.SPARED)
    return declared.beyond(found.evidence.off, found.evidence.sizes, statistic).test("spares")


def _transfer(study: StudyRuns) -> pl.DataFrame:
    rows = study.table("transfer").filter(~pl.col("fused"), ~pl.col("diagonal"), kind=DEACTIVATE, measure="excess_gap")
    pairs = [(row, study.main(row["host"]), _carried(study, row)) for row in rows.to_dicts()]
    if not pairs:
        several = len(study.mains) > 1
        why = "sets were not exchanged between corpora" if several else "it needs a study of several corpora"
        return _table([("transfer", "", None, untested(why))])
    found: list[tuple[str, str, str | None, Decision]] = []
    for (row, part, test), p in zip(pairs, holm([test.p for _, _, test in pairs]), strict=True):
        barred = blocked(part) if part else None
        own = stored_tests(part.table("tests")).get("exists") if part else None
        known = row["uar_low"] is not None and row["chance"] is not None and row["uar_low"] > row["chance"]
        carried = rules.carries_over(test, p, own.verdict if own else None, row["kept"], known)
        found.append(("transfer", str(row["host"]), str(row["source"]), untested(barred) if barred else carried))
    return _table(found)


def _carried(study: StudyRuns, row: Row) -> Test:
    """The declared estimand of one corpus's sets on another's clips, beyond their matched draws."""
    lacking = Test("transfer", UNTESTED, "the sets did not act there")
    for part in study.parts:
        source = part.run.transferred.get(row["source"]) if part.of == row["host"] and part.there else None
        found = declared_evidence(source, build_responses(source), ("transferred",)) if source else None
        if found and found.evidence.off and found.evidence.off.draws and part.role in ("shared", "main"):
            return replace(lacking, why=rules.TOO_UNRELIABLE) if row["unreliable"] else carried(found.evidence)
    return lacking


def _table(found: Iterable[tuple[str, str, str | None, Decision]]) -> pl.DataFrame:
    texts = {claim.name: (claim.says, PLACES[claim.kind], "tests") for claim in CLAIMS} | EXPLORED
    rows = [
        dict(zip(("claim", "question", "table"), texts[name], strict=True))
        | {"name": name, "corpus": corpus, "source": source, "declared": name not in EXPLORED}
        | vars(decision)
        for name, corpus, source, decision in found
    ]
    return as_table("claims", rows)


def _rows(part: Part, table: str) -> list[Row]:
    """The rows of a table of sets at the headline's selector, budget and scope, where one is declared."""
    conditions = part.run.conditions
    marked = (conditions["headline"].fill_null(False) & conditions["kind"].is_in([DEACTIVATE, "steer"])).any()
    return part.own(table).to_dicts() if marked else []


def _and(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def blocked(part: Part) -> str | None:
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
    """Claims as rows and corpora as columns, the declared ones first.

    Args:
        found: the table of claims; a row without a corpus holds for all of them.
        corpora: the columns.

    Returns:
        for each claim ``claim``, ``question``, ``declared`` and ``cells``: a list of rows a corpus, with ``kind``, the
        verdict as a class of the style sheet, its ``sign``, and ``marks``: which of :func:`notes` hold for it, from 1.
        What these say is left out of ``why``.
    """
    shared = notes(found)
    rows: dict[str, Row] = {}
    for row in found.sort("declared", descending=True, maintain_order=True).to_dicts():
        whys = _whys(row)
        marks = [shared.index(why) + 1 for why in whys if why in shared]
        cell = row | {"kind": kind_of(row["verdict"]), "sign": sign(row["verdict"]), "marks": marks}
        cell["why"] = "; ".join(why for why in whys if why not in shared)
        about = {name: row[name] for name in ("claim", "question", "declared")}
        cells = rows.setdefault(row["name"], about | {"cells": [[] for _ in corpora]})["cells"]
        for place, corpus in enumerate(corpora):
            if row["corpus"] in (corpus, "", None):
                cells[place].append(cell)
    return list(rows.values())


def notes(found: pl.DataFrame) -> list[str]:
    """Reservations and reasons of what is not testable that several claims share, so that a page says them once."""
    doubtful = found.filter(pl.col("verdict").is_in([RESERVED, UNTESTED]))
    counts = Counter(why for row in doubtful.iter_rows(named=True) for why in _whys(row))
    return [why for why, count in counts.items() if count > 1]


def _whys(row: Row) -> list[str]:
    return [why for why in (row["why"] or "").split("; ") if why]


def as_text(found: pl.DataFrame) -> pl.DataFrame | None:
    """Claims as a table of text, one row a claim and corpus."""
    if found.is_empty():
        return None
    texts = found.with_columns(pl.col("corpus", "number", "why").fill_null(""))
    source = (pl.lit("from ") + pl.col("source")).fill_null("")
    test = pl.when("declared").then(pl.lit("declared")).otherwise(pl.lit("exploration"))
    return texts.select(
        pl.col("claim").alias("claim tested"),
        "corpus",
        source.alias("neurons"),
        test.alias("test"),
        "verdict",
        pl.col("number").alias("value"),
        "why",
    )
