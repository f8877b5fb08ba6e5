"""A study from its file to its report: the stages in order, and what is already done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emoscope.experiments.finished import candidates_digest, finished
from emoscope.experiments.items import study_corpus
from emoscope.experiments.parts import has_parts
from emoscope.experiments.stages import Pipeline
from emoscope.experiments.study import Study
from emoscope.experiments.study_checks import check_study
from emoscope.experiments.whole_study import run_whole
from emoscope.runs import Log, RunFolder, Shard
from emoscope.runs.shards import locked

if TYPE_CHECKING:
    from emoscope.corpora import Corpus
    from emoscope.models.audio_lm import AudioLM


__all__ = ["Pipeline", "candidates_digest", "finished", "run_study"]


def run_study(
    study: Study,
    folder: str | Path,
    log: Log | None = None,
    model: AudioLM | None = None,
    corpus: Corpus | None = None,
    full: Study | None = None,
    shard: Shard | None = None,
) -> RunFolder:
    """Run a study, or what is left of it, and write tables and report.

    A finished run of the same study is not run again: the model is not even loaded.

    Args:
        study: the study.
        folder: the run folder.
        log: progress; quiet where it is not given.
        model: a loaded model, otherwise the study's is loaded.
        corpus: an opened corpus, otherwise the study's is opened.
        full: the study of which ``study`` is a pilot; the manifest then says what the pilot means for it.
        shard: do this share of the units only; a later call without it merges and writes tables and report.

    Returns:
        the run folder.

    Raises:
        StudyError: the study cannot be run.
        NotIdentifiable: fewer than two emotions have enough correct answers.
        ProofFailed: a check of the model failed.
        InUse: another process works in the folder, on the same share or on the whole.
        Unfinished: a shard needs what others, none of which is at work, have not heard yet.
    """
    check_study(study)
    run = RunFolder(folder, create=True)
    log = log or Log("quiet")
    with locked(run.path, shard):
        if has_parts(study):
            if corpus is not None:
                raise ValueError("a study with several parts opens its corpora itself: give it without a corpus")
            run_whole(study, run, log, model, full, shard)
        else:
            _run(study, run, log, model, corpus, full, shard)
    return run


def _run(
    study: Study,
    run: RunFolder,
    log: Log,
    model: AudioLM | None,
    corpus: Corpus | None,
    full: Study | None,
    shard: Shard | None,
) -> None:
    from emoscope.analysis.tables import write_tables
    from emoscope.neurons.selection import NotIdentifiable
    from emoscope.report.page import build_report

    if corpus is not None:
        corpus = study_corpus(study, model.info.trained_on if model else study.card().trained_on, corpus)
    if finished(run, study, model, corpus, full):
        log.say(f"{run.path} holds this study, finished: nothing to run")
        if not ((run / "report.html").is_file() and (run / "tables" / "effects.parquet").is_file()):
            build_report(run.path, write_tables(run.path))
        return
    pipeline = Pipeline(study, run, log, model, corpus, full=full)
    pipeline.listen(shard)
    try:
        found = pipeline.select()
    except NotIdentifiable as why:
        if full:
            for sentence in pipeline.pilot()["verdict"]:
                log.say(sentence)
        if shard is None:
            pipeline.end_without_sets(why)
        raise
    if shard is None:
        pipeline.test(found)
    else:
        pipeline.intervene_share(found, shard)
