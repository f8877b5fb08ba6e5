"""What a whole study consisted of: its parts, what became of them, and what was checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from emoscope.report.content import number
from emoscope.report.whole.content import COLUMN, Part, Whole, first
from emoscope.report.whole.probe_charts import HEARD
from emoscope.report.whole.tables import made

ROLES = {
    "main": "the study on this corpus", "shared": "emotions that all corpora share", "column": "another column",
    "grounding": "without the voice", "side effect": "side effects",
}  # fmt: skip
"""The roles of parts in words."""


def subject(whole: Whole) -> list[str]:
    """Model, corpora and headline, in a few words each."""
    model: Any = whole.manifest.get("model") or {}
    head: Any = whole.manifest.get("headline") or {}
    titles = []
    for part in whole.mains:
        title = next((str(one.get("title") or one.get("id")) for one in part.manifest.get("corpora") or []), part.name)
        titles.append(title if title.lower() == part.name else f"{part.name} ({title})")
    headline = head.get("selector") and (
        f"headline: {str(head['selector']).upper()}, {100 * (head.get('budget') or 0):g} % of the neurons, scope {head.get('scope')}"
        + (f", alpha {head['alpha']:g}" if head.get("alpha") is not None else "")
    )
    shared = whole.manifest.get("shared_emotions") or []
    common = f"all corpora share {', '.join(shared)}" if shared else None
    return [str(one) for one in (model.get("id"), ", ".join(titles), common, headline) if one]


def parts(whole: Whole) -> pl.DataFrame | None:
    """Every part: what was asked of how many clips and speakers, its null and its proofs, and why it has no sets."""
    rows = []
    for part in whole.parts:
        uar, items = part.uar(), part.stored("items")
        voices = None if items is None or "speaker" not in items.columns else _evaluated(items)["speaker"]
        asked = part.stored("conditions")
        rows.append({
            "part": part.name, "what": _asked(part),
            "clips": "–" if items is None else str(_evaluated(items)["clip"].n_unique()),
            "speakers": "–" if voices is None else "unknown" if voices.null_count() else str(voices.n_unique()),
            "UAR (%)": number(None if uar is None else uar["uar"]), "chance (%)": number(None if uar is None else uar["chance"]),
            "conditions": "–" if asked is None else str(len(asked)), "null (%)": _null(part),
            "proofs": _proofs(part.manifest), "why": part.failed or "",
        })  # fmt: skip
    return made(rows)


def proofs(whole: Whole) -> pl.DataFrame | None:
    """What was checked when the model was loaded, once for all parts."""
    rows = [
        {
            "proof": str(one["name"]), "status": str(one["status"]), "measured": _small(one.get("measured")),
            "tolerance": _small(one.get("tolerance")), "note": str(one.get("note") or ""),
        }
        for one in whole.manifest.get("proofs") or []
    ]  # fmt: skip
    return pl.DataFrame(rows) if rows else None


def environment(whole: Whole) -> list[tuple[str, str]]:
    """Versions, times and the largest memory, as name and value."""
    found: list[tuple[str, str]] = [("emoscope", str(whole.manifest.get("emoscope") or "unknown"))]
    model: Any = whole.manifest.get("model") or {}
    found += [
        (f"model: {name}", str(model[name]))
        for name in ("id", "revision", "checksum", "dtype", "device")
        if model.get(name)
    ]
    found += [(name, str(value)) for name, value in (whole.manifest.get("environment") or {}).items()]
    timing: Any = whole.manifest.get("timing") or {}
    for name, value in timing.items():
        if isinstance(value, dict):
            found += [(f"seconds, {stage}", number(seconds)) for stage, seconds in value.items()]
        elif isinstance(value, (int, float)):
            found.append((name.replace("_s", " (s)").replace("_gb", " (GB)").replace("_", " "), number(value, 2)))
    return found


def _evaluated(items: pl.DataFrame) -> pl.DataFrame:
    kept = items.filter(pl.col("fate") == "used") if "fate" in items.columns else items
    return kept.filter(pl.col("evaluated").fill_null(False)) if "evaluated" in kept.columns else kept


def _asked(part: Part) -> str:
    told = ROLES.get(part.role, part.role)
    if part.role == COLUMN and part.column:
        return f"{told}: {part.column}"
    if part.presentation and part.presentation != "audio":
        return f"{told}: {HEARD.get(part.presentation, part.presentation)}"
    return told


def _null(part: Part) -> str:
    row = first(part.table("uar"), (pl.col("condition") == "null") & (pl.col("scoring") == "likelihood"))
    if row is not None and row["changed"] is not None:
        return number(row["changed"], 2)
    return "not run" if part.manifest.get("null") else "–"


def _proofs(manifest: Mapping[str, Any]) -> str:
    found = [str(one["status"]) for one in manifest.get("proofs") or []]
    return ", ".join(f"{found.count(status)} {status}" for status in dict.fromkeys(found)) or "–"


def _small(value: Any) -> str:
    return "–" if value is None else f"{value:.3g}" if isinstance(value, (int, float)) else str(value)
