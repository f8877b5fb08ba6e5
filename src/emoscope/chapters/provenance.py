"""What was run: counts of clips, proofs, parts, model, environment and corpora, as the manifest tells them."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from emoscope.analysis.parts import Part, StudyRuns
from emoscope.report.page import Note, Question, Table
from emoscope.report.wording import HEARD, made, name_selector
from emoscope.schemas import read_table
from emoscope.vocabulary import COLUMN
from emoscope.wording import number

STATUSES = ("used", "not needed", "excluded", "quarantined")
MODEL = ("id", "family", "revision", "checksum", "layers", "width", "site", "dtype", "device", "attention", "quantised")
"""What is told of a model, in this order."""

ROLES = {
    "main": "the study on this corpus",
    "shared": "emotions that all corpora share",
    "column": "another column",
    "grounding": "without the voice",
    "side effect": "side effects",
}
"""The roles of parts in words."""


def subject(study: StudyRuns) -> list[str]:
    """Model, corpora, headline and, of one corpus, clips, speakers and emotions, in a few words each."""
    facts = [(study.manifest.get("model") or {}).get("id"), ", ".join(_title(study, part) for part in study.mains)]
    if len(study.mains) == 1:
        part = study.mains[0]
        speakers = f"{part.speakers} speakers" if part.speakers else "speakers unknown"
        facts += [f"{part.clips} clips evaluated", speakers, f"{len(part.emotions)} emotions"]
    if shared := study.manifest.get("shared_emotions"):
        facts.append(f"all corpora share {', '.join(shared)}")
    for part in [part for part in study.mains if part.selector][:1]:
        strength = f", alpha {part.alpha:g}" if part.alpha is not None else ""
        size = f"{100 * (part.budget or 0):g} % of the neurons"
        facts.append(f"headline: {name_selector(part.selector)}, {size}, scope {part.scope}{strength}")
    return [str(fact) for fact in facts if fact]


def _title(study: StudyRuns, part: Part) -> str:
    """The titles of a part's corpora, behind its name where several could be meant."""
    corpora = part.run.manifest.get("corpora") or []
    titles = ", ".join(str(corpus.get("title") or corpus.get("id")) for corpus in corpora)
    named = len(study.mains) > 1 and titles.lower() != part.name
    return f"{part.name} ({titles})" if named and titles else titles or (part.name if named else "")


def null(part: Part) -> str:
    """How many answers change by rounding alone, in a sentence."""
    if (row := part.uar("null")) is not None:
        return (
            f"To compare with every effect below: the numerical null changes {number(row['changed'])} % of the answers."
        )
    if status := part.run.manifest.get("null"):
        return f"The numerical null was {status}, so no answer can change by the composition of batches."
    return "Not in this run: the numerical null, which says how many answers change by rounding alone."


def proofs(study: StudyRuns) -> pl.DataFrame | None:
    """What was proved about the model and its arithmetic; what did not run says so."""
    rows = [
        {
            "proof": str(proof.get("name")),
            "status": str(proof.get("status", "not run")),
            "measured": _small(proof.get("measured")),
            "tolerance": _small(proof.get("tolerance")),
            "note": str(proof.get("note") or ""),
        }
        for proof in study.manifest.get("proofs") or []
    ]
    return pl.DataFrame(rows) if rows else None


def _small(value: object) -> str:
    return "–" if value is None else f"{value:.3g}" if isinstance(value, (int, float)) else str(value)


def corpora_notes(part: Part) -> list[str]:
    """What is told of the corpora: how they were read, and clips that are not heard as they are stored."""
    return [str(sentence) for corpus in part.run.manifest.get("corpora") or [] for sentence in corpus.get("told") or []]


def counts(part: Part) -> pl.DataFrame | None:
    """What became of every clip, and how many conditions were asked."""
    items, asked = part.run.items, part.run.conditions
    counted = dict(part.run.manifest.get("counts") or {})
    if not counted and len(items):
        clips = items.unique("clip")
        counted = {"clips": len(clips), **dict(clips["status"].value_counts().iter_rows())}
    pairs: list[tuple[str, object]] = []
    if "clips" in counted:
        parts = [int(counted.get(status) or 0) for status in STATUSES]
        adds = "=" if sum(parts) == int(counted["clips"]) else "≠"
        statuses = " + ".join(f"{n} {status}" for n, status in zip(parts, STATUSES, strict=True))
        pairs.append(("clips", f"{counted['clips']} {adds} {statuses}"))
    lost = items.filter(pl.col("why").is_not_null() & pl.col("status").is_in(["excluded", "quarantined"]))
    for status, why, n in lost.group_by("status", "why").len().sort("status", "why").iter_rows():
        pairs.append((f"{status}: {why}", n))
    if len(asked):
        pairs.append(("conditions", f"{len(asked)}, answered: {part.run.answers['condition'].n_unique()}"))
    return _facts(pairs)


def environment(study: StudyRuns) -> pl.DataFrame | None:
    """Model, software, time and corpora."""
    manifest = study.manifest
    model = manifest.get("model") or {}
    pairs = [(f"model {name}", model.get(name)) for name in MODEL]
    if (first := model.get("audio_first")) is not None:
        pairs.append(("audio stands before the question", "yes" if first else "no"))
    pairs += [(str(name), _flat(value)) for name, value in (manifest.get("environment") or {}).items()]
    names = {"total_s": "time (s)", "peak_memory_gb": "peak memory (GB)", "stages_s": "time by stage (s)"}
    pairs += [(names.get(name, str(name)), _flat(value)) for name, value in (manifest.get("timing") or {}).items()]
    for corpus in manifest.get("corpora") or []:
        about = "; ".join(str(corpus[key]) for key in ("title", "licence", "citation") if corpus.get(key))
        pairs.append((f"corpus {corpus.get('id')}", about))
    return _facts(pairs)


def _facts(pairs: Iterable[tuple[str, object]]) -> pl.DataFrame | None:
    """A table of names and values, without those that are not known."""
    rows = [{"what": what, "value": str(value)} for what, value in pairs if value not in (None, "", [])]
    return pl.DataFrame(rows) if rows else None


def _flat(value: object) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_flat(item)}" for name, item in value.items())
    return round(value, 2) if isinstance(value, float) else value


def parts(study: StudyRuns) -> pl.DataFrame | None:
    """Every part: what was asked of how many clips and speakers, its null and its proofs, and why it has no sets."""
    return made([_part(part) for part in study.parts])


def _part(part: Part) -> dict[str, str]:
    uar, asked = part.uar() or {}, read_table(part.run.folder, "conditions")
    items = part.run.items.filter((pl.col("status") == "used") & pl.col("evaluated").fill_null(False))
    voices, heard = items["speaker"], len(part.run.items) > 0
    proved = [str(proof["status"]) for proof in part.run.manifest.get("proofs") or []]
    null = part.uar("null") or {}
    unasked = "not run" if part.run.manifest.get("null") else "–"
    return {
        "part": part.name,
        "what": _asked(part),
        "clips": str(items["clip"].n_unique()) if heard else "–",
        "speakers": "–" if not heard else "unknown" if voices.null_count() else str(voices.n_unique()),
        "UAR (%)": number(uar.get("uar")),
        "chance (%)": number(uar.get("chance")),
        "conditions": str(len(asked)) if len(asked) else "–",
        "null (%)": unasked if null.get("changed") is None else number(null["changed"], 2),
        "proofs": ", ".join(f"{proved.count(status)} {status}" for status in dict.fromkeys(proved)) or "–",
        "why": part.failed or "",
    }


def _asked(part: Part) -> str:
    role = ROLES.get(part.role, part.role)
    if part.role == COLUMN and part.column:
        return f"{role}: {part.column}"
    if part.presentation and part.presentation != "audio":
        return f"{role}: {HEARD.get(part.presentation, part.presentation)}"
    return role


FOLDED = "Model, environment, time and corpora"
QUESTIONS = (
    Question(
        "run",
        0,
        (
            Table("counts", counts, "What became of every clip, and how many conditions were asked."),
            Note(corpora_notes),
            Table("parts", parts, "Every part of the study: an ordinary run in a folder of its own.", pages="study"),
            Table(
                "proofs",
                proofs,
                "What was checked when the model was loaded. “Not run” is not “passed”.",
                "both",
                "proofs",
            ),
            Table("environment", environment, f"{FOLDED}.", "both", folded=FOLDED, files=False),
        ),
    ),
)
