"""Whether a run folder holds a study that is done, so that nothing has to be run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from emoscope.experiments.study import Study
from emoscope.runs import RunFolder
from emoscope.runs.folder import check_unit, digest

if TYPE_CHECKING:
    import polars as pl

    from emoscope.corpora import Corpus
    from emoscope.models.audio_lm import AudioLM


def finished(
    run: RunFolder,
    study: Study,
    model: AudioLM | None = None,
    corpus: Corpus | None = None,
    full: Study | None = None,
) -> bool:
    """Whether the folder holds this very study, every unit whole, on the same model and the same recordings.

    ``corpus`` holds the clips that are asked about; it is opened from the study where it is not given.
    """
    from emoscope import __version__
    from emoscope.experiments.items import candidate_items, study_corpus
    from emoscope.experiments.sides import folds_dealt_before
    from emoscope.neurons.selectors import own_code

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
