"""What the chapters on transfer, controls, side effects and grounding say first; by rule, from the tables of the whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from emoscope.analysis.dissociation import DOUBLE, NONE, TOGETHER
from emoscope.report.content import number
from emoscope.report.whole.content import CLEAR_HIGH, CLEAR_LOW, OPEN, UNTESTED, Part, Whole
from emoscope.report.whole.factors import say_outcomes, say_within
from emoscope.report.whole.outcomes import Outcome, listed, outcome, tally
from emoscope.report.whole.probe_charts import HEARD, ability, in_study_order

DISSOCIATED = {
    DOUBLE: "Double dissociation: beyond matched neurons, each of the two questions suffers more under its own neurons than under the "
    "other’s; both together: {}.",
    TOGETHER: "The two differences together are clear of zero, but not each of them, so that one kind of neurons may hurt both questions "
    "more: {}.",
    NONE: "No double dissociation is shown; the two differences together: {}.",
    UNTESTED: "Not tested: {}.",
}  # fmt: skip
"""The verdicts on two questions, and their neurons, in words."""


def transfer(whole: Whole) -> list[str]:
    """On how many pairs of corpora sets of one act on the other, what is kept, which direction does more, and fusion."""
    found = whole.tables.get("transfer")
    if found is None:
        return []
    off = found.filter((pl.col("kind") == "deactivate") & (pl.col("measure") == "excess_gap"))
    one_way = [
        (row, _at(whole, f"{row['source']} on {row['host']}", row, row["host"]))
        for row in off.filter(~pl.col("diagonal") & ~pl.col("fused")).iter_rows(named=True)
    ]
    said = []
    if one_way:
        hurt = [(row, one) for row, one in one_way if one.found == CLEAR_LOW]
        said.append(
            f"Neurons found on one corpus and switched off on another hurt their own emotion more, beyond matched neurons, in {len(hurt)} "
            f"of {len(one_way)} directions{': ' + _kept(hurt) if hurt else ''}."
        )
        said += _counted([one for _, one in one_way], len(one_way))
    said += _own(whole, off)
    said += _fused(whole, off)
    return [*said, *_asymmetry(whole)]


def controls(whole: Whole) -> list[str]:
    """Whether random, shuffled and wrong answers' neurons do as much as the headline's; and the double dissociation."""
    said = []
    for control, name in (("shuffled", "neurons found on shuffled labels"), ("random", "random neurons")):
        texts = []
        for part in whole.mains:
            own, row = part.effect("deactivate", "gap"), part.effect("deactivate", "gap", control)
            if own and row and own["estimate"] and row["estimate"] is not None:
                share = number(100 * row["estimate"] / own["estimate"], 0)
                texts.append(
                    f"{share} % on {part.name} ({number(row['estimate'], sign=True)} of {number(own['estimate'], sign=True)} points)"
                )
        if texts:
            said.append(f"Of the headline’s gap, {name} reach {listed(texts)}.")
    return [*said, *say_outcomes(whole), *_reliance(whole), *dissociation(whole)]


def dissociation(whole: Whole) -> list[str]:
    """Whether each question suffers more under its own neurons than under the other question's."""
    found = whole.tables.get("dissociation")
    if found is None:
        return []
    rows = found.filter(
        (pl.col("kind") == "deactivate") & (pl.col("measure") == "excess_damage") & (pl.col("what") == "interaction")
    )
    groups: dict[str, list[str]] = {}
    for row in rows.iter_rows(named=True):
        one = _at(whole, f"{row['corpus']}, “{row['column']}”", row, row["corpus"])
        known = one.found != UNTESTED and row["verdict"] is not None
        text = one.text if known else f"({one.why or 'a difference has no interval'})"
        groups.setdefault(row["verdict"] if known else UNTESTED, []).append(f"{one.where} {text}")
    return [words.format(listed(groups[name])) for name, words in DISSOCIATED.items() if name in groups]


def side_effects(whole: Whole) -> list[str]:
    """Which other abilities the headline's neurons cost more than matched neurons do."""
    found = whole.tables.get("side_effects")
    if found is None:
        return []
    outcomes = []
    others = pl.col("part") != pl.col("corpus")  # the rows of a main part are about the study's own question
    for row in found.filter((pl.col("kind") == "deactivate") & others).iter_rows(named=True):
        excess = {"estimate": row["excess"], "low": row["excess_low"], "high": row["excess_high"]}
        excess |= {"hollow": row["hollow"], "reason": row["reason"]}
        one = outcome(f"{row['corpus']}, {ability(row['ability'])}", excess)
        if row["measure"] == "WER":  # more errors are harm
            turned = {CLEAR_LOW: CLEAR_HIGH, CLEAR_HIGH: CLEAR_LOW}
            one = Outcome(f"{one.where}, word errors", turned.get(one.found, one.found), one.text, one.why)
        outcomes.append(one)
    return tally(
        outcomes,
        "Switching the headline’s neurons off harms more than matched neurons do: {}.",
        "It harms less than matched neurons do: {}.",
        "No harm beyond matched neurons is clear of zero, which is no proof that there is none: {}.",
    )


def grounding(whole: Whole) -> list[str]:
    """Whether the effect needs the voice: the same sets on the transcript and on noise."""
    found = whole.tables.get("grounding")
    if found is None:
        return say_within(whole)
    off = found.filter((pl.col("kind") == "deactivate") & (pl.col("measure") == "excess_gap"))
    noted = {
        (row["corpus"], row["presentation"]): row["note"]
        for row in found.iter_rows(named=True) if row["note"]
    }  # fmt: skip
    outcomes = []
    for row in off.iter_rows(named=True):
        where, note = (
            f"{row['corpus']}, {HEARD.get(row['presentation'], row['presentation'])}",
            noted.get((row["corpus"], row["presentation"])),
        )
        outcomes.append(Outcome(where, UNTESTED, "", note) if note else _at(whole, where, row, row["corpus"]))
    said = tally(
        outcomes,
        "Switched off, the neurons found on the voice hurt their own emotion more, beyond matched neurons, where this is heard: {}.",
        "They hurt it less than matched neurons where this is heard: {}.",
        "Whether they hurt it more than matched neurons is open where this is heard: {}.",
    )
    return [*said, *say_within(whole)]


def _at(whole: Whole, where: str, row: Mapping[str, Any], corpus: str) -> Outcome:
    """An outcome on the clips of a corpus, whose speakers may be unknown."""
    return outcome(where, row, _part(whole, corpus))


def _part(whole: Whole, name: str) -> Part | None:
    return next((part for part in whole.mains if part.name == name), None)


def _kept(hurt: Iterable[tuple[Mapping[str, Any], Outcome]]) -> str:
    texts = []
    for row, one in hurt:
        kept = "" if row["kept"] is None else f" ({number(row['kept'], 0)} % of what {row['host']}’s own do)"
        texts.append(f"{one.where} {one.text}{kept}")
    return listed(texts)


def _counted(outcomes: list[Outcome], of: int) -> list[str]:
    counts = {name: sum(one.found == name for one in outcomes) for name in (OPEN, CLEAR_HIGH, UNTESTED)}
    words = {OPEN: "open in {}", CLEAR_HIGH: "the other way round in {}", UNTESTED: "not tested in {}"}
    parts = [words[name].format(count) for name, count in counts.items() if count]
    return [f"Of the {of} directions it is {listed(parts)}."] if parts else []


def _own(whole: Whole, off: pl.DataFrame) -> list[str]:
    rows = off.filter("diagonal").iter_rows(named=True)
    return tally(
        [_at(whole, row["host"], row, row["host"]) for row in rows],
        "For comparison, neurons found on other speakers of the same corpus, about the shared emotions: {}.",
        "On the same corpus, about the shared emotions, they hurt their own emotion less than matched neurons: {}.",
        "On the same corpus, about the shared emotions, it is open: {}.",
    )


def _fused(whole: Whole, off: pl.DataFrame) -> list[str]:
    fused = off.filter("fused")
    texts = []
    for name in in_study_order(whole, fused["source"]):
        outcomes = [
            _at(whole, row["host"], row, row["host"])
            for row in fused.filter(pl.col("source") == name).iter_rows(named=True)
        ]
        hurt = [one.where for one in outcomes if one.found == CLEAR_LOW]
        which = f" ({listed(hurt)})" if hurt else ""
        texts.append(f"{name.removeprefix('fused: ')} on {len(hurt)} of {len(outcomes)} corpora{which}")
    return (
        [f"Sets fused over all corpora hurt their own emotion more, beyond matched neurons: {listed(texts)}."]
        if texts
        else []
    )


def _asymmetry(whole: Whole) -> list[str]:
    found = whole.tables.get("asymmetry")
    if found is None:
        return []
    rows = list(
        found.filter((pl.col("kind") == "deactivate") & (pl.col("measure") == "excess_gap")).iter_rows(named=True)
    )
    outcomes = [outcome(f"{row['first']} to {row['second']} minus back", row) for row in rows]
    clear = [one for one in outcomes if one.found in (CLEAR_LOW, CLEAR_HIGH)]
    if not outcomes:
        return []
    if not clear:
        return ["In no pair of corpora are the two directions told apart."]
    return [f"The two directions differ: {listed([f'{one.where} {one.text}' for one in clear])}."]


def _reliance(whole: Whole) -> list[str]:
    texts = []
    for part in whole.mains:
        table, base = part.table("reliance"), part.uar()
        found = None if table is None else table.filter((pl.col("layers") == "all") & (pl.col("to") == "zero"))
        if found is not None and len(found) and base is not None:
            texts.append(f"from {number(base['uar'], 0)} to {number(found['uar'][0], 0)} % on {part.name}")
    return (
        [f"With every MLP layer off, UAR goes {listed(texts)}: a mark to compare with, no upper bound."]
        if texts
        else []
    )
