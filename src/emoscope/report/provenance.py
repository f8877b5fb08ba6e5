"""What was run: counts of clips, proofs, parts, model, environment and corpora, as the manifest tells them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from emoscope.analysis.parts import Part, StudyRuns, first
from emoscope.report.wording import HEARD, facts, made
from emoscope.schemas import read_table
from emoscope.vocabulary import COLUMN
from emoscope.wording import number

FATES = ("used", "not needed", "excluded", "quarantined")


def subject(part: Part) -> list[str]:
    """Model, corpora, clips, speakers and headline, in a few words each."""
    manifest, panel = part.run.manifest, part.panel
    model: Any = manifest.get("model") or {}
    corpora = [str(one.get("title") or one.get("id")) for one in manifest.get("corpora") or []]
    speakers = f"{part.speakers} speakers" if part.speakers else "speakers unknown"
    clips = part.run.items.filter(part.run.items["item"].is_in(panel.items.tolist()))["clip"].n_unique()
    headline = part.selector and (
        f"headline: {part.selector.upper()}, {100 * (part.budget or 0):g} % of the neurons, "
        f"scope {part.scope}" + (f", alpha {part.alpha:g}" if part.alpha is not None else "")
    )
    emotions = f"{len(part.emotions)} emotions"
    known = [model.get("id"), ", ".join(corpora), f"{clips} clips evaluated", speakers, emotions, headline]
    return [str(one) for one in known if one]


def null(part: Part) -> str:
    """How many answers change by rounding alone, in a sentence."""
    row = part.uar("null")
    if row is not None:
        return (
            f"To compare with every effect below: the numerical null changes {number(row['changed'])} % of the answers."
        )
    said = part.run.manifest.get("null")
    if said:
        return f"The numerical null was {said}, so no answer can change by the composition of batches."
    return "Not in this run: the numerical null, which says how many answers change by rounding alone."


def proofs(study: StudyRuns) -> pl.DataFrame | None:
    """What was proved about the model and its arithmetic; what did not run says so."""
    found = study.manifest.get("proofs") or []
    rows = [
        {
            "proof": str(one.get("name")), "status": str(one.get("status", "not run")),
            "measured": _small(one.get("measured")), "tolerance": _small(one.get("tolerance")), "note": str(one.get("note") or ""),
        }
        for one in found
    ]  # fmt: skip
    return pl.DataFrame(rows) if rows else None


def told(part: Part) -> list[str]:
    """What is told of the corpora: how they were read, and clips that are not heard as they are stored."""
    return [str(sentence) for one in part.run.manifest.get("corpora") or [] for sentence in one.get("told") or []]


def counts(part: Part) -> pl.DataFrame | None:
    """What became of every clip, and how many conditions were asked."""
    return facts(_counts(part))


def environment(study: StudyRuns) -> pl.DataFrame | None:
    """Model, software, time and corpora."""
    manifest = study.manifest
    model: Any = manifest.get("model") or {}
    wanted = (
        "id", "family", "revision", "checksum", "layers", "width", "site", "dtype", "device", "attention", "quantised",
    )  # fmt: skip
    pairs: list[tuple[str, Any]] = [(f"model {name}", model.get(name)) for name in wanted]
    first = model.get("audio_first")
    if first is not None:
        pairs.append(("audio stands before the question", "yes" if first else "no"))
    pairs += [(str(name), _flat(value)) for name, value in (manifest.get("environment") or {}).items()]
    names = {"total_s": "time (s)", "peak_memory_gb": "peak memory (GB)", "stages_s": "time by stage (s)"}
    pairs += [(names.get(name, str(name)), _flat(value)) for name, value in (manifest.get("timing") or {}).items()]
    for one in manifest.get("corpora") or []:
        about = "; ".join(str(one[key]) for key in ("title", "licence", "citation") if one.get(key))
        pairs.append((f"corpus {one.get('id')}", about))
    return facts(pairs)


def _counts(part: Part) -> list[tuple[str, Any]]:
    counts: dict[str, Any] = dict(part.run.manifest.get("counts") or {})
    if not counts and len(part.run.items):
        clips = part.run.items.unique("clip")
        counts = {"clips": len(clips)} | dict(sorted(clips["fate"].value_counts().iter_rows()))
    pairs: list[tuple[str, Any]] = []
    if "clips" in counts:
        parts = [int(counts.get(fate) or 0) for fate in FATES]
        adds = "=" if sum(parts) == int(counts["clips"]) else "≠"
        text = " + ".join(f"{n} {fate}" for n, fate in zip(parts, FATES, strict=True))
        pairs.append(("clips", f"{counts['clips']} {adds} {text}"))
    lost = part.run.items.filter(
        part.run.items["why"].is_not_null() & part.run.items["fate"].is_in(["excluded", "quarantined"])
    )
    for row in lost.group_by("fate", "why").len().sort("fate", "why").iter_rows(named=True):
        pairs.append((f"{row['fate']}: {row['why']}", row["len"]))
    asked = part.run.conditions
    if len(asked):
        pairs.append(("conditions", f"{len(asked)}, answered: {part.run.answers['condition'].n_unique()}"))
    return pairs


def _flat(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_flat(one)}" for name, one in value.items())
    return round(value, 2) if isinstance(value, float) else value


def _small(value: Any) -> str:
    return "–" if value is None else f"{value:.3g}" if isinstance(value, (int, float)) else str(value)


ROLES = {
    "main": "the study on this corpus", "shared": "emotions that all corpora share", "column": "another column",
    "grounding": "without the voice", "side effect": "side effects",
}  # fmt: skip
"""The roles of parts in words."""


def subject_of_parts(study: StudyRuns) -> list[str]:
    """Model, corpora and headline, in a few words each."""
    model: Any = study.manifest.get("model") or {}
    head: Any = study.manifest.get("headline") or {}
    titles = []
    for part in study.mains:
        title = next(
            (str(one.get("title") or one.get("id")) for one in part.run.manifest.get("corpora") or []), part.name
        )
        titles.append(title if title.lower() == part.name else f"{part.name} ({title})")
    headline = head.get("selector") and (
        f"headline: {str(head['selector']).upper()}, {100 * (head.get('budget') or 0):g} % of the neurons, scope {head.get('scope')}"
        + (f", alpha {head['alpha']:g}" if head.get("alpha") is not None else "")
    )
    shared = study.manifest.get("shared_emotions") or []
    common = f"all corpora share {', '.join(shared)}" if shared else None
    return [str(one) for one in (model.get("id"), ", ".join(titles), common, headline) if one]


def parts(study: StudyRuns) -> pl.DataFrame | None:
    """Every part: what was asked of how many clips and speakers, its null and its proofs, and why it has no sets."""
    rows = []
    for part in study.parts:
        uar, items, asked = part.uar(), _evaluated(part.run.items), read_table(part.run.folder, "conditions")
        voices, heard = items["speaker"], len(part.run.items) > 0
        rows.append({
            "part": part.name, "what": _asked(part),
            "clips": str(items["clip"].n_unique()) if heard else "–",
            "speakers": "–" if not heard else "unknown" if voices.null_count() else str(voices.n_unique()),
            "UAR (%)": number(None if uar is None else uar["uar"]), "chance (%)": number(None if uar is None else uar["chance"]),
            "conditions": str(len(asked)) if len(asked) else "–", "null (%)": _null(part),
            "proofs": _proofs(part.run.manifest), "why": part.failed or "",
        })  # fmt: skip
    return made(rows)


def _evaluated(items: pl.DataFrame) -> pl.DataFrame:
    return items.filter((pl.col("fate") == "used") & pl.col("evaluated").fill_null(False))


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
    return "not run" if part.run.manifest.get("null") else "–"


def _proofs(manifest: Mapping[str, Any]) -> str:
    found = [str(one["status"]) for one in manifest.get("proofs") or []]
    return ", ".join(f"{found.count(status)} {status}" for status in dict.fromkeys(found)) or "–"
