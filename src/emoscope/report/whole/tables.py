"""The tables of a whole study's report as text in columns: one row a corpus, or a row of the whole's own tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from emoscope.analysis.blind import Blind, blind_part
from emoscope.report.content import bracket, name_selector, number
from emoscope.report.whole.content import SHARED, Whole
from emoscope.report.whole.probe_charts import (
    HEARD,
    LAST,
    ability,
    by_corpus,
    dissociated,
    heard_in_order,
    in_study_order,
)

DONE = {"deactivate": "switched off", "steer": "amplified", "baseline": "nothing changed"}
"""Kinds of intervention in words."""


def corpora(whole: Whole) -> pl.DataFrame | None:
    """The untouched model and the headline's neurons on each corpus."""
    rows = []
    for part in whole.mains:
        uar = part.uar()
        off, steered = part.verdict("deactivate"), part.verdict("steer")
        rows.append({
            "corpus": part.name, "speakers": "–" if uar is None else "unknown" if part.unknown_speakers else str(uar["speakers"]),
            "UAR (%)": spread(uar and {**uar, "estimate": uar["uar"]}, sign=False), "chance (%)": number(value(uar, "chance")),
            "off: excess gap": spread(part.effect("deactivate", "excess_gap")), "blind part of it": _blind(part.blind()),
            "off: evidence (AUC points)": spread(part.effect("deactivate", "excess_sensitivity")),
            "off: verdict": _verdict(whole, off), "amplified: excess pull": spread(part.effect("steer", "excess_pull_overall")),
            "amplified: verdict": _verdict(whole, steered),
        })  # fmt: skip
    return made(rows)


def selectors(whole: Whole) -> pl.DataFrame | None:
    """Paired differences of the gap between the headline's selector and the others, at every budget."""
    rows = []
    for part in whole.mains:
        table = part.table("differences")
        if table is None:
            continue
        found = table.filter(
            (pl.col("kind") == "deactivate") & (pl.col("measure") == "gap") & (pl.col("first") == part.selector)
        )
        for row in found.iter_rows(named=True):
            rows.append({
                "corpus": part.name, "difference between": f"{name_selector(row['first'])} minus {name_selector(row['second'])}",
                "budget (%)": number(100 * (row["budget"] or 0), 2), "gap (points)": spread(row), "p": p_text(row["p"]),
            })  # fmt: skip
    return made(rows)


def trend(whole: Whole) -> pl.DataFrame | None:
    """Whether pull on the emotion's own clips rises with alpha, next to matched neurons."""
    rows = []
    for part in whole.mains:
        table = part.table("trend")
        if table is None:
            continue
        for row in (
            part.own(part.sized(table))
            .filter((pl.col("layers") == "all") & (pl.col("positions") == "all"))
            .sort("control", "measure", descending=[True, True])
            .iter_rows(named=True)
        ):
            if row["measure"].removeprefix("excess_") == "pull":
                beyond = row["measure"].startswith("excess_")
                rows.append({
                    "corpus": part.name, "neurons": "selected minus matched" if beyond else "selected" if row["control"] == "target" else row["control"],
                    "alpha": row["alphas"], "points per unit of alpha": spread({**row, "estimate": row["slope"]}),
                    "Page’s L": number(row["page_l"]), "p": p_text(row["p"]), "why": row["reason"] or "",
                })  # fmt: skip
    return made(rows)


def efficiency(whole: Whole) -> pl.DataFrame | None:
    """Sets from fewer clips: overlap with the full set and the gap that they reach."""
    rows = []
    for part in whole.mains:
        table = part.table("efficiency")
        if table is None:
            continue
        for row in part.own(part.sized(table)).filter(pl.col("draw").is_null()).sort("size").iter_rows(named=True):
            shared = (
                "–" if row["full"] else f"{number(_percent(row['jaccard']))} (chance {number(_percent(row['chance']))})"
            )
            rows.append({
                "corpus": part.name, "clips per emotion": f"{row['size']}{', full set' if row['full'] else ''}",
                "shared with the full set (%)": shared,
                "gap (points)": spread({"estimate": row["gap"], "low": row["gap_low"], "high": row["gap_high"]}),
                "pull gap (points)": spread({"estimate": row["pull_gap"], "low": row["pull_gap_low"], "high": row["pull_gap_high"]}),
            })  # fmt: skip
    return made(rows)


def transfer(whole: Whole) -> pl.DataFrame | None:
    """What the sets of every source do on every corpus, beside the corpus's own sets."""
    found = whole.tables.get("transfer")
    if found is None:
        return None
    rows = []
    mains = [part.name for part in whole.mains if part.name in set(found["host"])]
    for host, source in ((host, source) for host in mains for source in in_study_order(whole, found["source"])):
        group = found.filter((pl.col("host") == host) & (pl.col("source") == source))
        if group.is_empty():
            continue
        by = {(row["kind"], row["measure"]): row for row in group.iter_rows(named=True)}
        off = by.get(("deactivate", "excess_gap"))
        some = next(iter(by.values()))
        asked = next((part.options for part in whole.having(SHARED) if part.of == host), 0)
        blind = blind_part(lambda measure, by=by: by.get(("deactivate", measure)), asked)  # type: ignore[misc]
        less = off and {"estimate": off["less"], "low": off["less_low"], "high": off["less_high"]}
        rows.append({
            "clips of": host, "found on": source, "gap": spread(by.get(("deactivate", "gap"))), "excess gap": spread(off),
            "blind part of it": _blind(blind), "minus own sets’": "–" if some["diagonal"] else spread(less),
            "kept (%)": "–" if some["diagonal"] else number(value(off, "kept"), 0),
            "excess pull": spread(by.get(("steer", "excess_pull_overall"))),
            "UAR (%)": spread({"estimate": some["uar"], "low": some["uar_low"], "high": some["uar_high"]}, sign=False),
        })  # fmt: skip
    return made(rows)


def asymmetry(whole: Whole) -> pl.DataFrame | None:
    """The two directions between every two corpora and their difference."""
    found = whole.tables.get("asymmetry")
    names = {
        ("deactivate", "excess_gap"): "off: excess gap",
        ("steer", "excess_pull_overall"): "amplified: excess pull",
    }
    rows = []
    for row in (
        [] if found is None else by_corpus(whole, by_corpus(whole, found, "second"), "first").iter_rows(named=True)
    ):
        if (row["kind"], row["measure"]) in names:
            rows.append({
                "corpora": f"{row['first']} and {row['second']}", "what": names[row["kind"], row["measure"]],
                "first on second": spread({"estimate": row["forward"], "low": row["forward_low"], "high": row["forward_high"]}),
                "second on first": spread({"estimate": row["backward"], "low": row["backward_low"], "high": row["backward_high"]}),
                "difference": spread(row), "p": p_text(row["p"]), "why": row["reason"] or "",
            })  # fmt: skip
    return made(rows)


def dissociation(whole: Whole) -> pl.DataFrame | None:
    """Each question under its own neurons and under the other's."""
    found = whole.tables.get("dissociation")
    if found is None:
        return None
    rows = []
    keys = ["corpus", "column", "kind", "what", "question", "sets"]
    for _, group in by_corpus(whole, found.sort("column", "kind", LAST, maintain_order=True)).group_by(
        keys, maintain_order=True
    ):
        by = {row["measure"]: row for row in group.iter_rows(named=True)}
        row = next(iter(by.values()))
        beyond = by.get("excess_damage")
        rows.append({
            "corpus": row["corpus"], "column": row["column"], "what": f"{DONE.get(row['kind'], row['kind'])}: {dissociated(row)}",
            "UAR (points)": spread(by.get("damage")), "beyond matched": spread(beyond), "p": p_text(value(beyond, "p")),
        })  # fmt: skip
    return made(rows)


def side_effects(whole: Whole) -> pl.DataFrame | None:
    """Other abilities with nothing changed, under the headline's neurons and under matched ones."""
    found = whole.tables.get("side_effects")
    rows = []
    for row in [] if found is None else found.iter_rows(named=True):
        base = {"estimate": row["baseline"], "low": row["baseline_low"], "high": row["baseline_high"]}
        rows.append({
            "corpus": row["corpus"], "what": f"{ability(row['ability'])} ({row['measure']})", "neurons": DONE.get(row["kind"], row["kind"]), "items": number(row["n"], 0), "chance (%)": number(row["chance"]),
            "nothing changed (%)": spread(base, sign=False), "selected (%)": number(row["under"]), "matched (%)": number(row["matched"]),
            "beyond matched": spread({"estimate": row["excess"], "low": row["excess_low"], "high": row["excess_high"]}),
            "why": row["reason"] or "",
        })  # fmt: skip
    return made(rows)


def grounding(whole: Whole) -> pl.DataFrame | None:
    """The same question on the voice, on the transcript and on noise."""
    found = whole.tables.get("grounding")
    if found is None:
        return None
    rows = []
    for corpus, heard in heard_in_order(whole, found):
        group = found.filter((pl.col("corpus") == corpus) & (pl.col("presentation") == heard))
        by = {(row["kind"], row["measure"]): row for row in group.iter_rows(named=True)}
        uar, beyond = by.get(("baseline", "uar")), by.get(("deactivate", "excess_gap"))
        less = beyond and {"estimate": beyond["less"], "low": beyond["less_low"], "high": beyond["less_high"]}
        rows.append({
            "corpus": corpus, "what is heard": HEARD.get(heard, heard), "UAR (%)": spread(uar, sign=False),
            "chance (%)": number(value(uar, "chance")), "off: excess gap": spread(beyond),
            "minus the voice’s": spread(less), "amplified: excess pull": spread(by.get(("steer", "excess_pull_overall"))),
            "note": next((row["note"] for row in by.values() if row["note"]), ""),
        })  # fmt: skip
    return made(rows)


def spread(row: Mapping[str, Any] | None, digits: int = 1, sign: bool = True) -> str:
    """An estimate with its interval, a dash where there is none; marked where its answers support no claim.

    Example:
        >>> spread({"estimate": -3.0, "low": -4.0, "high": -2.0}), spread(None)
        ('−3.0 [−4.0, −2.0]', '–')
    """
    if row is None or row["estimate"] is None:
        return "–"
    told = f"{number(row['estimate'], digits, sign=sign)} {bracket(row['low'], row['high'], digits)}".strip()
    return f"{told}, hollow" if row.get("hollow") else told


def value(row: Mapping[str, Any] | None, name: str) -> float | None:
    """A number of a row that may be missing."""
    return None if row is None else row[name]


def made(rows: Sequence[Mapping[str, str]]) -> pl.DataFrame | None:
    """Rows as a table without columns that hold nothing; ``None`` where nothing is left."""
    if not rows:
        return None
    frame = pl.DataFrame([dict(row) for row in rows], infer_schema_length=None)
    kept = [name for name in frame.columns if not set(frame[name]) <= {"–", ""}]
    return frame.select(kept) if len(kept) > 1 else None


def _verdict(whole: Whole, row: Mapping[str, Any] | None) -> str:
    """A verdict, which a pilot does not give."""
    return "–" if row is None or whole.pilot else row["verdict"] or "–"


def _blind(blind: Blind | None) -> str:
    """What of an excess gap knows nothing of the clip."""
    return "–" if blind is None or blind.measure != "excess_gap" else number(blind.part, sign=True)


def p_text(value: float | None) -> str:
    """A p value for people."""
    return "–" if value is None else "< 0.001" if value < 0.001 else number(value, 3)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


TABLES: Mapping[str, tuple[Callable[[Whole], pl.DataFrame | None], str]] = {
    "corpora": (corpora, "The untouched model and the headline’s neurons on each corpus, beyond matched neurons; 95 % intervals over speakers. "
                "Blind part: answers that move alike on clips of all emotions give as much of the excess gap."),
    "selectors": (selectors, "Paired differences of the gap between selectors, on the same clips. Below zero: the first is more specific."),
    "trend": (trend, "Does pull on the emotion’s own clips rise with alpha, up to alpha 1? Page’s test, speakers as blocks."),
    "efficiency": (efficiency, "Sets from fewer clips per emotion: overlap with the full set (Jaccard), and the effects that they reach."),
    "transfer": (transfer, "Neurons found on one corpus, acting on another, about the emotions that all share (points). “Kept”: in % of the corpus’s own "
                 "excess gap, where that is clear of zero."),
    "asymmetry": (asymmetry, "The two directions of every pair of corpora (points). The difference is between two groups of speakers, so its interval is wide."),
    "dissociation": (dissociation, "Each question under its own neurons and under the other question’s: change of UAR in points."),
    "side_effects": (side_effects, "Other abilities with nothing changed, under the headline’s neurons and under matched ones, and their difference (points). WER is the word error rate: a rise is harm."),
    "grounding": (grounding, "The same question on the voice, on the transcript in its place, and on noise of equal length and loudness (points)."),
}  # fmt: skip
"""Name to how it is filled, and its caption."""
