"""What the manifest says of a run: clips, corpus, machine, time, the checks of the model; and whether a run is finished."""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
import polars as pl

from emoscope.corpora.audio import AudioError, load_audio
from emoscope.emotions import in_order
from emoscope.experiments.items import candidate_items, study_corpus
from emoscope.experiments.pilot import pilot_result
from emoscope.experiments.schema import Study
from emoscope.experiments.splits import folds_dealt_before, shared_speakers
from emoscope.neurons.selectors import own_code
from emoscope.questions import Question
from emoscope.runs import Log, RunFolder
from emoscope.runs.folder import FORMAT, check_unit, digest

if TYPE_CHECKING:
    from emoscope.corpora import Corpus
    from emoscope.experiments.pilot import Pilot
    from emoscope.experiments.stages import Listened, Selected
    from emoscope.models.audio_lm import AudioLM
    from emoscope.runs import Log, RunFolder


Proof = Mapping[str, object]
"""A check of the model: name, status ("passed", "failed" or "not run"), measured, tolerance, note."""


def run_manifest(selected: Selected, no_null: str = "") -> dict[str, object]:
    """What was run, with what, and what every check measured; ``no_null`` says why the null was not asked."""
    from emoscope import __version__

    heard, found = selected.listened, selected.found
    study, items = heard.study, heard.items
    proofs = [*heard.proofs, prove_weights(heard.weights, heard.model)]
    heard.task.log.event("proof", **proofs[-1])
    return {
        "format": FORMAT,
        "emoscope": __version__,
        "model": {**msgspec.to_builtins(heard.model.info), "site": study.identify.site},
        "corpora": [corpus_card(heard.corpus)] if heard.corpus else [],
        "study": msgspec.to_builtins(study),
        "headline": {**msgspec.to_builtins(study.headline), "scope": study.identify.scope},
        "emotions": options_of(items),
        "identifiable": dict(found.identifiable),
        **({"outcomes": found.outcomes} if found.outcomes else {}),
        "counts": clip_counts(items),
        "speakers_shared": len(shared_speakers(items)),
        "asked": digest(msgspec.to_builtins(heard.task.study)),
        "own_selectors": own_code(study.identify.selectors),
        "candidates": heard.candidates,
        "proofs": proofs,
        **({"null": no_null} if no_null else {}),
        **({"pilot": pilot_of(heard)} if heard.task.full else {}),
        "environment": environment(),
    }


def pilot_of(heard: Listened) -> Pilot:
    """What a pilot says about its full study."""
    assert heard.task.full is not None
    run, units = heard.run, list(heard.units)
    if (run / "units.parquet").is_file():
        listed = run.read_table("units").filter(pl.col("condition") == "baseline")
        units += listed.filter(~pl.col("unit").is_in(units))["unit"].to_list()
    baseline = pl.concat([run.read_table(f"answers/{unit}") for unit in units])
    return pilot_result(run, heard.task.full, heard.items, baseline, heard.model.info)


def clip_counts(items: pl.DataFrame) -> dict[str, int]:
    """How many clips there are in all, and how many met each fate."""
    fates = Counter(items.unique("clip", keep="first", maintain_order=True)["fate"].to_list())
    return {
        "clips": sum(fates.values()),
        **{f: fates.get(f, 0) for f in ("used", "not needed", "excluded", "quarantined")},
    }


def timing(log: Log) -> dict[str, object]:
    """Seconds in all and by stage, and the largest memory held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_gb = peak / (1024**3 if sys.platform == "darwin" else 1024**2)
    total = time.monotonic() - log.start
    return {"total_s": round(total, 2), "peak_memory_gb": round(peak_gb, 3), "stages_s": dict(log.seconds)}


def environment() -> dict[str, object]:
    """Versions and machine on which a run was made."""
    import os
    from importlib.metadata import version

    import torch

    packages = {name: version(name) for name in ("torch", "transformers", "numpy", "polars", "zarr")}
    return {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine(),
            "cores": os.cpu_count(), "threads": torch.get_num_threads(), **packages}  # fmt: skip


def corpus_card(corpus: Corpus) -> dict[str, object]:
    """Who made a corpus, under which licence, and what is told of it."""
    info = corpus.info
    return {"id": info.id, "title": info.title, "licence": info.licence, "citation": info.citation,
            "told": list(corpus.told)}  # fmt: skip


def options_of(items: pl.DataFrame) -> list[str]:
    """The labels that were offered, in canonical order."""
    return list(in_order({option for shown in items["options"].drop_nulls().to_list() for option in shown}))


CLIPS = 4
"""Clips on which the proofs are made."""


def prove_model(run: RunFolder, candidates: pl.DataFrame, loudness: str, model: AudioLM, log: Log) -> tuple[Proof, ...]:
    """Run the proofs on the first clips; a proof that fails stops the run.

    Raises:
        ProofFailed: a check of the model's sites, gains or batches failed.
    """
    from emoscope.models.audio_lm import ProofFailed, Request
    from emoscope.models.check import run_proofs

    requests = []
    for item in candidates.filter(candidates["fate"].is_null()).iter_rows(named=True):
        try:
            wave = load_audio(item["path"], loudness)
        except AudioError:
            continue
        question = Question(item["label"], tuple(item["options"]), item["wording"])
        requests.append(Request(wave, question.text, question.letters))
        if len(requests) == CLIPS:
            break
    found = run_proofs(model, model.prepare(requests)) if requests else []
    proofs: tuple[Proof, ...] = tuple(msgspec.to_builtins(proof) for proof in found)
    for proof in proofs:
        log.event("proof", **proof)
    run.write_json("cache/proofs.json", list(proofs))
    if failed := [proof for proof in proofs if proof["status"] == "failed"]:
        raise ProofFailed(f"{failed[0]['name']}: measured {failed[0]['measured']}, allowed {failed[0]['tolerance']}")
    return proofs


def prove_weights(before: str | None, model: AudioLM) -> Proof:
    """Compare the weights on which gains act with what they were before the first intervention.

    Args:
        before: their hash then; ``None`` where none was taken.

    Raises:
        ProofFailed: they changed.
    """
    from emoscope.models.audio_lm import ProofFailed

    same = before is not None and before == model.decoder.fingerprint()
    if before is not None and not same:
        raise ProofFailed("the weights of down_proj changed during the run: interventions leave them as they are")
    return {"name": "weights unchanged by the run", "status": "passed" if same else "not run", "measured": None,
            "tolerance": None, "note": "hash of the bits of all down_proj weights before and after"}  # fmt: skip


def finished(
    run: RunFolder, study: Study, model: AudioLM | None = None, corpus: Corpus | None = None, full: Study | None = None
) -> bool:
    """Whether the folder holds this very study, every unit whole, on the same model and the same recordings.

    ``corpus`` holds the clips that are asked about; it is opened from the study where it is not given.
    """
    from emoscope import __version__

    manifest = run.read_json("manifest.json")
    if (
        not manifest
        or "ended" in manifest
        or manifest["emoscope"] != __version__
        or not (run / "units.parquet").is_file()
    ):
        return False
    if manifest["asked"] != digest(msgspec.to_builtins(study)):
        return False
    if manifest.get("own_selectors", {}) != own_code(study.identify.selectors):
        return False
    if full and manifest.get("pilot", {}).get("full") != digest(msgspec.to_builtins(full)):
        return False
    card = None if model else study.card()
    trained_on = model.info.trained_on if model else card.trained_on if card else ()
    checksum = model.info.checksum if model else card.checksum if card else ""
    if checksum != manifest["model"]["checksum"]:
        return False
    candidates = candidate_items(study, corpus or study_corpus(study, trained_on), dealt=folds_dealt_before(run, study))
    if candidates_digest(candidates) != manifest["candidates"]:
        return False
    return all(check_unit(run, unit) is None for unit in run.read_table("units")["unit"])


def candidates_digest(candidates: pl.DataFrame) -> str:
    """Hash of the clips, recordings, labels, questions and folds of a study's candidates."""
    columns = ("clip", "checksum", "truth", "fold", "side", "speaker", "options", "wording", "fate")
    return digest(candidates.select(columns).rows())
