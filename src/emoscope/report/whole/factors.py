"""Factors over the corpora of a whole study: wrong answers, arousal, the same word; and published figures beside ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from emoscope.analysis.published import published_of_whole
from emoscope.report.whole.content import Whole
from emoscope.report.whole.outcomes import listed, outcome, tally
from emoscope.report.whole.tables import DONE, made, p_text, spread

OUTCOMES = {"misses": "missed clips", "false-alarms": "false alarms"}
"""Wrong answers on which neurons were found, in words."""


def outcomes(whole: Whole) -> pl.DataFrame | None:
    """Neurons found on wrong answers beside those found on as many right ones."""
    rows = []
    for part in whole.mains:
        for key, group in _by_outcome(part.table("outcomes")):
            by = {(row["sets"], row["against"]): row for row in group}
            own, hits = by.get(("outcome", "matched")), by.get(("hits", "matched"))
            less = by.get(("outcome", "hits"))
            rows.append({
                "corpus": part.name, "neurons": f"{OUTCOMES.get(key[0], key[0])}, {DONE.get(key[1], key[1])}",
                "clips per emotion": str(group[0]["clips"] or "–"), "found on them": spread(own), "found on as many right answers": spread(hits),
                "difference": spread(less), "verdict": (less and less["verdict"]) or "no verdict", "why": (less and less["reason"]) or "",
            })  # fmt: skip
    return made(rows)


def arousal(whole: Whole) -> pl.DataFrame | None:
    """Effects on other emotions of the same and of the other arousal."""
    rows = []
    for part in whole.mains:
        table = part.table("arousal")
        if table is None:
            continue
        for kind in ("deactivate", "steer"):
            mine = table.filter(pl.col("kind") == kind)
            found = {(row["control"], row["measure"]): row for row in mine.iter_rows(named=True)}
            cross = "cross" if kind == "deactivate" else "pull_cross"
            if found:
                rows.append({
                    "corpus": part.name, "neurons": DONE[kind], "same arousal": spread(found.get(("target", f"{cross}_same"))),
                    "other arousal": spread(found.get(("target", f"{cross}_other"))), "same minus other": spread(found.get(("target", f"{cross}_apart"))),
                    "beyond matched": spread(found.get(("target", f"excess_{cross}_apart"))),
                })  # fmt: skip
    return made(rows)


def within(whole: Whole) -> pl.DataFrame | None:
    """Gaps within each value of another column, such as the spoken word, as means over the values."""
    rows = []
    for part in whole.mains:
        table = part.table("within")
        if table is None:
            continue
        for (column, kind), group in table.filter(pl.col("value").is_null()).group_by(
            "column", "kind", maintain_order=True
        ):
            found = {(row["control"], row["measure"]): row for row in group.iter_rows(named=True)}
            gap = "gap" if kind == "deactivate" else "pull_gap"
            some = next(iter(found.values()))
            rows.append({
                "corpus": part.name, "column": str(column), "neurons": DONE.get(str(kind), str(kind)), "values": str(some["values"]),
                "gap": spread(found.get(("target", gap))), "matched": spread(found.get(("matched", gap))),
                "beyond matched": spread(found.get(("target", f"excess_{gap}"))), "p": p_text((found.get(("target", f"excess_{gap}")) or {}).get("p")),
            })  # fmt: skip
    return made(rows)


def published(whole: Whole) -> pl.DataFrame | None:
    """Published figures on the same model and corpus beside ours, and of fused sets in the same model."""
    frames = [table for part in whole.mains if (table := part.table("published")) is not None]
    model: Any = whole.manifest.get("model") or {}
    if (acted := whole.tables.get("transfer")) is not None:
        frames.append(published_of_whole(str(model.get("id", "")), acted))
    if not frames:
        return None
    rows = [
        {"what": row["measure"], "corpus": row["corpus"], "published": row["published"], "ours": row["ours"] or "–",
         "source": row["who"], "note": row["note"] or ""}
        for row in pl.concat(frames).iter_rows(named=True)
    ]  # fmt: skip
    return made(rows)


def say_outcomes(whole: Whole) -> list[str]:
    """What neurons found on wrong answers do when they are switched off, by the rule of verdicts."""
    said = []
    for name, words in OUTCOMES.items():
        groups: dict[str, list[str]] = {}
        for part in whole.mains:
            for key, group in _by_outcome(part.table("outcomes")):
                for row in group:
                    if key == (name, "deactivate") and (row["sets"], row["against"]) == ("outcome", "hits"):
                        groups.setdefault(row["verdict"] or "not decided", []).append(part.name)
        if groups:
            texts = [f"{verdict} on {listed(names)}" for verdict, names in groups.items()]
            said.append(f"Neurons found on {words}, next to those found on as many right answers: {'; '.join(texts)}.")
    return said


def say_within(whole: Whole) -> list[str]:
    """Whether effects hold among clips that share a word, or another label."""
    found = []
    for part in whole.mains:
        table = part.table("within")
        if table is not None:
            rows = table.filter(
                pl.col("value").is_null() & (pl.col("kind") == "deactivate") & (pl.col("control") == "target")
                & (pl.col("measure") == "excess_gap")
            )  # fmt: skip
            found += [
                outcome(f"{part.name}, within “{row['column']}”", row, part) for row in rows.iter_rows(named=True)
            ]
    return tally(
        found,
        "Among clips that share it, switching off still hurts the own emotion more, beyond matched neurons: {}.",
        "Among clips that share it, switching off hurts the own emotion less than matched neurons do: {}.",
        "Among clips that share it, whether switching off hurts the own emotion more is open: {}.",
    )


def _by_outcome(table: pl.DataFrame | None) -> list[tuple[tuple[str, str], list[dict[str, Any]]]]:
    """The rows of each outcome and kind in the measure that decides."""
    if table is None:
        return []
    decides = {"deactivate": "gap", "steer": "pull_gap"}
    wanted = table.filter(
        pl.col("measure") == pl.col("kind").replace_strict(decides, default=None, return_dtype=pl.String)
    )
    groups = wanted.group_by("outcome", "kind", maintain_order=True)
    return [((str(key[0]), str(key[1])), list(group.iter_rows(named=True))) for key, group in groups]


TABLES: Mapping[str, tuple[Callable[[Whole], pl.DataFrame | None], str]] = {
    "outcomes": (outcomes, "Neurons found on wrong answers, beyond matched neurons: gap where switched off, pull gap where amplified (points)."),
    "arousal": (arousal, "Effects on other emotions, by whether their arousal is that of the neurons’ emotion (points)."),
    "within": (within, "Gaps among clips that share a word, a statement or another label: means over its values (points)."),
    "published": (published, "Published figures on the same model and corpus beside ours: to look at, not to test against. Clips, wording and software differ."),
}  # fmt: skip
"""Name to how it is filled, and its caption."""
