"""The checks of the model that every run makes: before the first answer, and after the last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from emoscope.corpora.audio import AudioError, load_audio
from emoscope.questions import Question

if TYPE_CHECKING:
    import polars as pl

    from emoscope.models.audio_lm import AudioLM
    from emoscope.runs import Log, RunFolder

CLIPS = 4
"""Clips on which the proofs are made."""


def prove_model(
    run: RunFolder, candidates: pl.DataFrame, loudness: str, model: AudioLM, log: Log
) -> list[dict[str, Any]]:
    """Run the proofs on the first clips; a proof that fails stops the run.

    Args:
        run: receives ``cache/proofs.json``.
        candidates: the candidate items.
        loudness: as in the study.
        model: the model that is checked.
        log: is told of every proof.

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
    proofs: list[dict[str, Any]] = [msgspec.to_builtins(proof) for proof in found]
    for proof in proofs:
        log.event("proof", **proof)
    run.write_json("cache/proofs.json", proofs)
    if failed := [proof for proof in proofs if proof["status"] == "failed"]:
        raise ProofFailed(f"{failed[0]['name']}: measured {failed[0]['measured']}, allowed {failed[0]['tolerance']}")
    return proofs


def prove_weights(before: str | None, model: AudioLM) -> dict[str, Any]:
    """Compare the weights on which gains act with what they were before the first intervention.

    Args:
        before: their hash then; ``None`` where none was taken.
        model: the model, after the last intervention.

    Raises:
        ProofFailed: they changed.
    """
    from emoscope.models.audio_lm import ProofFailed

    same = before is not None and before == model.decoder.fingerprint()
    if before is not None and not same:
        raise ProofFailed("the weights of down_proj changed during the run: interventions leave them as they are")
    return {"name": "weights unchanged by the run", "status": "passed" if same else "not run", "measured": None,
            "tolerance": None, "note": "hash of the bits of all down_proj weights before and after"}  # fmt: skip
