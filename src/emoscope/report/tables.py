"""The tables of a report, as HTML made by great-tables and styled by the page."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import polars as pl

from emoscope.report.content import CONTROLS, Content, bracket, name_selector, number

MEASURES = {
    "deactivate": {"self": "own emotion", "cross": "other emotions", "gap": "gap", "excess_gap": "excess gap", "uar_change": "UAR"},
    "steer": {
        "pull": "pull, own emotion", "pull_cross": "pull, other emotions", "pull_overall": "pull, all",
        "pull_gap": "pull gap", "excess_pull_gap": "excess pull gap", "uar_change": "UAR",
    },
}  # fmt: skip
"""The columns of the tables of effects, with their headings."""


def effects(content: Content, kind: str) -> str | None:
    """Every selector and control with its measures in points and their intervals."""
    found = content.shown(content.tables.effects, kind).filter(pl.col("measure").is_in(list(MEASURES[kind])))
    if found.is_empty():
        return None
    rows = []
    for selector in content.selectors:
        for control in CONTROLS:
            part = found.filter((pl.col("selector") == selector) & (pl.col("control") == control))
            if part.is_empty():
                continue
            by = {row["measure"]: row for row in part.iter_rows(named=True)}
            draws = max(row["draws"] for row in by.values() if not row["measure"].startswith("excess"))
            name = f"{name_selector(selector)}, {CONTROLS[control]}" + (
                f" (mean of {draws})" if control != "target" else ""
            )
            rows.append({"neurons": name} | {
                heading: _with_interval(by.get(measure)) for measure, heading in MEASURES[kind].items()
            })  # fmt: skip
    return html(pl.DataFrame(rows), f"effects_{kind}")


def baseline(content: Content) -> str | None:
    """UAR, accuracy, letter mass and agreement of the untouched model and of the numerical null."""
    return _answers(content.tables.uar.filter(pl.col("condition").is_in(["baseline", "null"])), "baseline")


def generated(content: Content) -> str | None:
    """The same for the other conditions whose answers were also written out."""
    written = content.tables.uar.filter((pl.col("scoring") == "generation") & (pl.col("condition") != "baseline"))
    found = content.tables.uar.filter(pl.col("condition").is_in(written["condition"].to_list()))
    return _answers(found.filter(pl.col("condition") != "null"), "generated")


def _answers(found: pl.DataFrame, name: str) -> str | None:
    if found.is_empty():
        return None
    rows = [
        {
            "condition": row["condition"], "scoring": row["scoring"], "items": str(row["n"]),
            "UAR (%)": f"{number(row['uar'])} {bracket(row['low'], row['high'])}".strip(),
            "accuracy (%)": number(row["accuracy"]), "chance (%)": number(row["chance"]),
            "changed answers (%)": number(row["changed"]), "letter mass": number(row["letter_mass"], 2),
            "agreement (%)": number(row["agreement"]), "unreadable (%)": number(row["unreadable"]),
        }
        for row in found.sort("kind", "condition", "scoring").iter_rows(named=True)
    ]  # fmt: skip
    return html(pl.DataFrame(rows), name)


def sets(content: Content) -> str | None:
    """Sizes wanted and reached, ties, negative means and how well controls match, over folds and emotions."""
    found = content.run.sets
    if found.is_empty():
        return None
    smd = pl.max_horizontal(pl.col(f"smd_{name}").abs() for name in ("frequency", "magnitude", "down_norm"))
    grouped = found.group_by("selector", "budget", "scope", "control").agg(
        pl.col("draw").n_unique().alias("draws"), pl.col("n").min(), pl.col("size_wanted").max(),
        pl.col("size_reached").min().alias("least"), pl.col("size_reached").max().alias("most"),
        pl.col("tied_at_cut").max(), (100 * pl.col("share_negative_mean").mean()).alias("negative"),
        smd.max().alias("smd"), (100 * pl.col("well_matched").mean()).alias("matched"),
    )  # fmt: skip
    order = list(CONTROLS)
    rows = [
        {
            "neurons": f"{name_selector(row['selector'])}, {CONTROLS.get(row['control'], row['control'])}",
            "budget (%)": number(100 * (row["budget"] or 0), 2), "scope": row["scope"], "draws": str(row["draws"]),
            "clips per emotion": str(row["n"] if row["n"] is not None else "–"), "size wanted": str(row["size_wanted"]),
            "size reached": _range(row["least"], row["most"]),
            "tied at the cut (most)": str(row["tied_at_cut"] if row["tied_at_cut"] is not None else "–"),
            "negative mean (%)": number(row["negative"]), "largest |SMD|": number(row["smd"], 2),
            "well matched (%)": number(row["matched"], 0),
        }
        for row in sorted(
            grouped.iter_rows(named=True),
            key=lambda r: (content.selectors.index(r["selector"]) if r["selector"] in content.selectors else 99,
                           r["budget"] or 0, r["scope"] or "", order.index(r["control"]) if r["control"] in order else 9),
        )
    ]  # fmt: skip
    return html(pl.DataFrame(rows), "sets")


def proofs(content: Content) -> str | None:
    """What the run proved about its own arithmetic; what did not run says so."""
    found = content.run.manifest.get("proofs") or []
    rows = [
        {
            "proof": str(one.get("name")), "status": str(one.get("status", "not run")),
            "measured": _small(one.get("measured")), "tolerance": _small(one.get("tolerance")), "note": str(one.get("note") or ""),
        }
        for one in found
    ]  # fmt: skip
    return html(pl.DataFrame(rows), "proofs") if rows else None


def facts(pairs: Sequence[tuple[str, Any]], name: str) -> str | None:
    """A table of names and values."""
    rows = [{"what": what, "value": str(value)} for what, value in pairs if value not in (None, "", [])]
    return html(pl.DataFrame(rows), name) if rows else None


def html(frame: pl.DataFrame, name: str) -> str:
    """A table as HTML without colours of its own: the page's style sheet gives them, in light and in dark."""
    from great_tables import GT

    made = GT(frame, id=f"table_{name}").cols_align("right").cols_align("left", columns=_words(frame)).as_raw_html()
    made = re.sub(r"<style>.*?</style>", "", made, flags=re.DOTALL)
    return re.sub(r' style="[^"]*"', "", made)


def _words(frame: pl.DataFrame) -> list[str]:
    words = {"neurons", "condition", "scoring", "scope", "proof", "status", "note", "what", "value"}
    return [name for name in frame.columns if name in words]


def _with_interval(row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    return f"{number(row['estimate'], sign=True)} {bracket(row['low'], row['high'])}".strip()


def _range(least: int | None, most: int | None) -> str:
    return "–" if least is None else (f"{least}" if least == most else f"{least} to {most}")


def _small(value: Any) -> str:
    return "–" if value is None else f"{value:.3g}" if isinstance(value, (int, float)) else str(value)
