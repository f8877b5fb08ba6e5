"""What was run: counts of clips, proofs, parts, model, environment and corpora, as the manifest tells them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from emoscope.report.views import Content, Part, Whole, first
from emoscope.report.wording import HEARD, facts, made
from emoscope.vocabulary import COLUMN
from emoscope.wording import number

FATES = ("used", "not needed", "excluded", "quarantined")


def study_name(content: Content) -> str:
    """The study's name, or the run folder's."""
    study: Any = content.run.manifest.get("study")
    return str(study.get("name") or content.run.folder.name) if isinstance(study, dict) else content.run.folder.name


def subject(content: Content) -> list[str]:
    """Model, corpora, clips, speakers and headline, in a few words each."""
    manifest, panel = content.run.manifest, content.tables.panel
    model: Any = manifest.get("model") or {}
    corpora = [str(one.get("title") or one.get("id")) for one in manifest.get("corpora") or []]
    speakers = f"{content.speakers} speakers" if content.speakers else "speakers unknown"
    clips = content.run.items.filter(content.run.items["item"].is_in(panel.items.tolist()))["clip"].n_unique()
    headline = content.selector and (
        f"headline: {content.selector.upper()}, {100 * (content.budget or 0):g} % of the neurons, "
        f"scope {content.scope}" + (f", alpha {content.alpha:g}" if content.alpha is not None else "")
    )
    emotions = f"{len(content.emotions)} emotions"
    known = [model.get("id"), ", ".join(corpora), f"{clips} clips evaluated", speakers, emotions, headline]
    return [str(one) for one in known if one]


def identifiable(content: Content) -> list[tuple[str, str]]:
    """Emotions for which no neurons could be selected, and why."""
    found: Any = content.run.manifest.get("identifiable") or {}
    return [(emotion, str(why)) for emotion, why in found.items() if not isinstance(why, (int, float))]


def null(content: Content) -> str:
    """How many answers change by rounding alone, in a sentence."""
    row = content.uar("null")
    if row is not None:
        return (
            f"To compare with every effect below: the numerical null changes {number(row['changed'])} % of the answers."
        )
    said = content.run.manifest.get("null")
    if said:
        return f"The numerical null was {said}, so no answer can change by the composition of batches."
    return "Not in this run: the numerical null, which says how many answers change by rounding alone."


def proofs(content: Content) -> pl.DataFrame | None:
    """What the run proved about its own arithmetic; what did not run says so."""
    found = content.run.manifest.get("proofs") or []
    rows = [
        {
            "proof": str(one.get("name")), "status": str(one.get("status", "not run")),
            "measured": _small(one.get("measured")), "tolerance": _small(one.get("tolerance")), "note": str(one.get("note") or ""),
        }
        for one in found
    ]  # fmt: skip
    return pl.DataFrame(rows) if rows else None


def told(content: Content) -> list[str]:
    """What is told of the corpora: how they were read, and clips that are not heard as they are stored."""
    return [str(sentence) for one in content.run.manifest.get("corpora") or [] for sentence in one.get("told") or []]


def counts(content: Content) -> pl.DataFrame | None:
    """What became of every clip, and how many conditions were asked."""
    return facts(_counts(content))


def environment(content: Content) -> pl.DataFrame | None:
    """Model, software, time and corpora."""
    manifest = content.run.manifest
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


def study(content: Content) -> str | None:
    """The study file, word by word."""
    path = content.run.folder / "study.toml"
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _counts(content: Content) -> list[tuple[str, Any]]:
    counts: dict[str, Any] = dict(content.run.manifest.get("counts") or {})
    if not counts and len(content.run.items):
        clips = content.run.items.unique("clip")
        counts = {"clips": len(clips)} | dict(sorted(clips["fate"].value_counts().iter_rows()))
    pairs: list[tuple[str, Any]] = []
    if "clips" in counts:
        parts = [int(counts.get(fate) or 0) for fate in FATES]
        adds = "=" if sum(parts) == int(counts["clips"]) else "≠"
        text = " + ".join(f"{n} {fate}" for n, fate in zip(parts, FATES, strict=True))
        pairs.append(("clips", f"{counts['clips']} {adds} {text}"))
    lost = content.run.items.filter(
        content.run.items["why"].is_not_null() & content.run.items["fate"].is_in(["excluded", "quarantined"])
    )
    for row in lost.group_by("fate", "why").len().sort("fate", "why").iter_rows(named=True):
        pairs.append((f"{row['fate']}: {row['why']}", row["len"]))
    asked = content.run.conditions
    if len(asked):
        pairs.append(("conditions", f"{len(asked)}, answered: {content.run.answers['condition'].n_unique()}"))
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


def subject_of_parts(whole: Whole) -> list[str]:
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


def proofs_of_parts(whole: Whole) -> pl.DataFrame | None:
    """What was checked when the model was loaded, once for all parts."""
    rows = [
        {
            "proof": str(one["name"]), "status": str(one["status"]), "measured": _small(one.get("measured")),
            "tolerance": _small(one.get("tolerance")), "note": str(one.get("note") or ""),
        }
        for one in whole.manifest.get("proofs") or []
    ]  # fmt: skip
    return pl.DataFrame(rows) if rows else None


def environment_of_parts(whole: Whole) -> list[tuple[str, str]]:
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
