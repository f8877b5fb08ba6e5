"""Prove on the loaded model itself that what the package assumes of it is true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from emoscope.corpora.audio import RATE, load_audio, prepare_samples
from emoscope.models.audio_lm import AudioLM
from emoscope.models.proofs import FIRST_PROOFS, MORE_PROOFS, RUN_PROOFS, Case, Check, NotRun
from emoscope.models.values import Prepared, Request

__all__ = ["FIRST_PROOFS", "MORE_PROOFS", "RUN_PROOFS", "Proof", "check_model", "run_proofs"]

QUESTION = "Which emotion does the speaker express? (A) anger (B) neutral (C) sadness Answer with the letter only."
LETTERS = ("A", "B", "C")

SECONDS = (2.6, 1.0, 1.7)  # lengths of the stand-in signals: mixed, so that batches are padded


@dataclass(frozen=True)
class Proof:
    """One row of a check."""

    name: str  # what was to be shown
    status: str  # ``"passed"``, ``"failed"`` or ``"not run"``
    measured: float | None  # the largest difference found, ``None`` where there is nothing to measure
    tolerance: float | None  # the largest difference that passes
    note: str  # how it was measured, or why it failed or did not run


def check_model(model: AudioLM, clip: str | Path | npt.NDArray[np.float32] | None = None) -> list[Proof]:
    """Check everything that the package assumes of a model.

    Args:
        model: any loaded model.
        clip: a sound file, or 16 kHz samples (time,); parts of it give rows of mixed length. Without one a
            synthetic tone in noise is used, and the notes say so.

    Returns:
        one row per proof, in a fixed order. Nothing is raised for a proof that fails.
    """
    sounds, heard = _sounds(clip)
    requests = [Request(sound, QUESTION, LETTERS) for sound in sounds]
    return _prove({**FIRST_PROOFS, **RUN_PROOFS, **MORE_PROOFS}, Case(model, [], requests, heard, full=True))


def run_proofs(model: AudioLM, prepared: Sequence[Prepared]) -> list[Proof]:
    """The cheap proofs that every run makes, on the shortest and the longest of its own prepared rows.

    Example:
        >>> from emoscope.models.registry import load_model
        >>> model = load_model("tiny")
        >>> rows = model.prepare([Request(None, text, LETTERS) for text in ("Say A.", QUESTION)])
        >>> {proof.status for proof in run_proofs(model, rows)}
        {'passed'}
    """
    by_length = sorted(prepared, key=len)
    rows = by_length if len(by_length) <= 3 else [by_length[0], by_length[len(by_length) // 2], by_length[-1]]
    return _prove(RUN_PROOFS, Case(model, list(rows), [], "rows of this run"))


def _prove(proofs: Mapping[str, Check], case: Case) -> list[Proof]:
    found = []
    for name, proof in proofs.items():
        try:
            measured, tolerance, note = proof(case)
        except NotRun as reason:
            found.append(Proof(name, "not run", None, None, str(reason)))
        except Exception as error:  # a proof that breaks has failed; its row says why
            found.append(Proof(name, "failed", None, None, f"{type(error).__name__}: {error}"))
        else:
            # written so that NaN fails
            passed = measured is None or tolerance is None or measured <= tolerance
            found.append(Proof(name, "passed" if passed else "failed", measured, tolerance, note))
    return found


def _sounds(clip: str | Path | npt.NDArray[np.float32] | None) -> tuple[list[npt.NDArray[np.float32]], str]:
    if clip is None:
        noise = np.random.default_rng(0)
        sounds = []
        for i, seconds in enumerate(SECONDS):
            time_s = np.arange(int(seconds * RATE)) / RATE
            tone = np.sin(2 * np.pi * (140 + 60 * i) * time_s) * (1 + np.sin(2 * np.pi * 3 * time_s))
            sounds.append(prepare_samples(tone + 0.3 * noise.standard_normal(len(time_s))))
        return sounds, "a synthetic tone in noise, as no clip was given"
    samples = load_audio(clip) if isinstance(clip, str | Path) else prepare_samples(clip)
    parts = [samples[: max(RATE // 2, len(samples) * share // 3)] for share in (3, 1, 2)]
    return parts, f"the clip ({len(samples) / RATE:.1f} s) and its first two thirds and third"
