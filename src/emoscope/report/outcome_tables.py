"""Sets found on misses and false alarms, in the report: what they do next to those of hits, in a table and a sentence."""

from __future__ import annotations

from typing import Any

import polars as pl

from emoscope.analysis.outcomes import DECIDES
from emoscope.report.content import Content, bracket, number

NAMES = {"misses": "misses", "false-alarms": "false alarms"}
DONE = {"deactivate": "switched off: gap", "steer": "amplified: pull gap"}
MINUS = {"deactivate": "off", "steer": "amplified"}
ACTS, STILL = ("acts as hits do", "acts less"), ("does not act", "acts the other way")

CAPTION = (
    "Neurons found on misses (the emotion is in the voice, not in the answer) and on false alarms (in the answer, not in the "
    "voice), next to those of as many hits of the same emotions. Points beyond matched neurons, with 95 % intervals over "
    "speakers; minus hits: the difference on the same clips. Exploration: not corrected for their number."
)
SETS_CAPTION = (
    "Neurons in both sets over neurons in either, in %, means over folds: with the set of as many hits of the same emotion, "
    "with those of other emotions, of two sets of hits that share no clip, and of two random sets; and the share of neurons "
    "that lie in the same layers as those of hits."
)


def outcomes(content: Content) -> pl.DataFrame | None:
    """What sets of misses, of false alarms and of as many hits do."""
    found = content.own(content.sized(content.tables.outcomes))
    rows = []
    for outcome, name in NAMES.items():
        mine = found.filter(pl.col("outcome") == outcome)
        if mine.is_empty():
            continue
        own, hits = {"found on": name}, {"found on": f"as many hits as {name}"}
        for row in (own, hits):
            clips = mine["clips"].drop_nulls().to_list()
            row |= {"clips × emotions": f"{clips[0] if clips else '–'} × {mine['targets'][0]}"}
        for kind, measure in DECIDES.items():
            beyond, less, said = DONE[kind], f"minus hits ({MINUS[kind]})", f"what they do ({MINUS[kind]})"
            own |= {beyond: _cell(mine, kind, measure, "outcome", "matched")}
            own |= {less: _cell(mine, kind, measure, "outcome", "hits"), said: _said(mine, kind)}
            hits |= {beyond: _cell(mine, kind, measure, "hits", "matched"), less: "–", said: "–"}
        rows += [own, hits]
    return _without_dashes(rows)


def outcome_sets(content: Content) -> pl.DataFrame | None:
    """How far sets of misses and of false alarms overlap with those of hits."""
    headings = {
        "jaccard": "shared with hits", "jaccard_others": "with hits of other emotions", "jaccard_hits": "hits with hits",
        "chance": "by chance", "layers_alike": "in the same layers",
    }  # fmt: skip
    found = content.own(content.sized(content.tables.outcome_sets))
    return _without_dashes([
        {"found on": NAMES[row["outcome"]], "emotion": row["emotion"], "clips": str(row["clips"])}
        | {heading: number(None if row[name] is None else 100 * row[name]) for name, heading in headings.items()}
        for row in found.sort("outcome", descending=True).iter_rows(named=True)
    ])  # fmt: skip


def percept(content: Content) -> list[str]:
    """Whether the neurons follow what is heard or what is answered, by rule, and why an emotion has no such sets."""
    table = content.own(content.sized(content.tables.outcomes)).filter(pl.col("kind") == "deactivate")
    found = {name: table.filter(pl.col("outcome") == name) for name in NAMES}
    sentences = []
    if len(table):
        verdicts = {name: _verdict(rows) for name, rows in found.items()}
        told = [_told(name, rows) for name, rows in found.items() if len(rows)]
        sentences.append(f"{_decide(verdicts)}: switched off beyond matched neurons, {'; '.join(told)}.")
    without = content.run.manifest.get("outcomes") or {}
    for name in NAMES:
        lost = [emotion for emotion, why in (without.get(name) or {}).items() if isinstance(why, str)]
        if lost:
            few = "none had enough clips" if not len(found[name]) else f"too few clips for {', '.join(lost)}"
            sentences.append(f"Sets found on {NAMES[name]}: {few}.")
    return sentences


def _decide(verdicts: dict[str, str | None]) -> str:
    misses, alarms = verdicts["misses"], verdicts["false-alarms"]
    if misses in ACTS and alarms in STILL:
        return "The neurons follow what is in the voice, whatever is answered"
    if misses in STILL and alarms in ACTS:
        return "The neurons follow what is answered, whatever is in the voice"
    if misses in ACTS and alarms in ACTS:
        return "Neurons that follow the voice and neurons that follow the answer both act"
    if misses in STILL and alarms in STILL:
        return "Only neurons found where voice and answer agree act"
    return "Whether the neurons follow what is heard or what is answered is undecided"


def _told(name: str, rows: pl.DataFrame) -> str:
    """The excess gap of one outcome's sets next to that of hits, and the verdict or why there is none."""
    measure = DECIDES["deactivate"]
    own, hits = (_cell(rows, "deactivate", measure, whose, "matched") for whose in ("outcome", "hits"))
    last = rows.filter((pl.col("against") == "hits") & (pl.col("measure") == measure)).row(0, named=True)
    said = last["verdict"] or f"no verdict, {last['reason']}"
    many = f"{NAMES[name]} of {last['targets']} emotions"
    return f"sets of {many} have a gap of {own} points, those of as many hits {hits} ({said})"


def _verdict(rows: pl.DataFrame) -> str | None:
    said = rows["verdict"].drop_nulls()
    return said[0] if len(said) else None


def _said(rows: pl.DataFrame, kind: str) -> str:
    mine = rows.filter(
        (pl.col("kind") == kind) & (pl.col("against") == "hits") & (pl.col("measure") == DECIDES[kind])
    ).to_dicts()
    if not mine:
        return "–"
    return (mine[0]["verdict"] or "no verdict") + (", hollow" if mine[0]["hollow"] else "")


def _cell(rows: pl.DataFrame, kind: str, measure: str, whose: str, against: str) -> str:
    found: list[dict[str, Any]] = rows.filter(
        (pl.col("kind") == kind) & (pl.col("measure") == measure) & (pl.col("sets") == whose) & (pl.col("against") == against)
    ).to_dicts()  # fmt: skip
    if not found:
        return "–"
    return f"{number(found[0]['estimate'], sign=True)} {bracket(found[0]['low'], found[0]['high'])}".strip()


def _without_dashes(rows: list[dict[str, str]]) -> pl.DataFrame | None:
    """The table without columns that hold nothing; ``None`` where nothing is left."""
    frame = pl.DataFrame(rows)
    return frame.select(name for name in frame.columns if set(frame[name]) != {"–"}) if rows else None
