"""The embedded model writes down what is said, and answers questions without sound, under sets of another part."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from emoscope.analysis.load import read_run
from emoscope.chapters.side_effects import transcription
from emoscope.experiments.items import candidate_items, study_corpus
from emoscope.experiments.listen import listening_unit
from emoscope.experiments.schema import CorpusChoice, Study
from emoscope.experiments.stages import Task, ask_conditions, listen, nothing_found
from emoscope.experiments.study import parse_study
from emoscope.models.registry import load_model
from emoscope.neurons.selection import COLUMNS, FoundSets
from emoscope.runs import Log, RunFolder

FIGURES = "defined"

SMALL = """
name = "small"
[model]
allow_trained_on = true
[[corpora]]
id = "polish"
where = { take = [1], word = ["nie"] }
[identify]
scope = "all"
selectors = ["mad"]
[headline]
selector = "mad"
[interventions]
alphas = []
positions = []
agnostic = []
reliance = false
generate = false
"""
replace = msgspec.structs.replace


def presented(study: Study, presentation: str) -> Study:
    study = replace(study, question=replace(study.question, presentation=presentation))
    if presentation != "text":
        return study
    few = replace(study.identify, label="answer", folds=2)
    return replace(study, corpora=(CorpusChoice(id="text-questions"),), identify=few)


@pytest.fixture(scope="module")
def model():
    return load_model("tiny")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, model) -> dict[str, Path]:
    """A part of each kind, under one set that does nothing and one that silences the whole model."""
    folder, found = tmp_path_factory.mktemp("parts"), {}
    for presentation in ("transcription", "text"):
        run = RunFolder(folder / presentation, create=True)
        study = presented(parse_study(SMALL), presentation)
        task = Task(study, run, Log("quiet"), selects=False, proved=(), steers_transferred=False)
        listened = listen(task, model)
        items = listened.items
        every = np.arange(model.info.layers * model.info.width, dtype="int64")
        rows, sets = [], {}
        for name, neurons in (("none", every[:0]), ("all", every)):
            for fold in items["fold"].unique().sort():
                sets[f"{name}~from=main", fold] = {"anger": neurons}
                rows.append({"set": f"{name}~from=main", "control": "target", "fold": fold, "emotion": "anger",
                             "source": "main", "selector": "mad", "budget": 0.05, "scope": "all"})  # fmt: skip
        frame = pl.DataFrame(rows, schema=COLUMNS)
        transferred = FoundSets(frame, sets, {}, model.info.layers, model.info.width, np.zeros(len(every), "float32"))
        ask_conditions(dataclasses.replace(nothing_found(listened), transferred=transferred))
        run.write_table("transferred_sets", frame)
        found[presentation] = run.path
    return found


def test_what_is_said_is_written_down_at_baseline_and_under_every_set(runs: dict[str, Path]) -> None:
    run = read_run(runs["transcription"])
    answers = pl.concat([run.answers, run.transferred["main"].answers])
    assert set(answers["scoring"]) == {"transcription"}
    assert answers.select(pl.col("answer", "correct", "logp").is_null().all()).row(0) == (True, True, True)
    units = pl.read_parquet(runs["transcription"] / "units.parquet")
    assert set(units["scoring"]) == {"transcription"}
    errors = transcription(run)
    rate = errors.group_by("condition").agg(100 * pl.col("errors").sum() / pl.col("words").sum())
    wer = dict(rate.iter_rows())
    assert set(wer) == {"baseline", "null", *(f"deactivate/anger/{name}~from=main" for name in ("none", "all"))}
    # the embedded model knows its six words, and not without its MLPs
    assert wer["baseline"] == wer["null"] == wer["deactivate/anger/none~from=main"] == 0
    assert wer["deactivate/anger/all~from=main"] > 50
    assert set(errors.filter(pl.col("condition") == "baseline")["written"]) == {"nie"}


def test_questions_without_sound_are_answered_by_letter(runs: dict[str, Path]) -> None:
    run = read_run(runs["text"])
    assert run.items["status"].to_list() == ["used"] * 40
    assert run.items["duration_s"].null_count() == 40
    assert run.answers.filter(pl.col("condition") == "baseline").height == 40
    assert set(run.answers["scoring"]) == {"likelihood"}
    changed = run.transferred["main"].answers.pivot("condition", index="item", values="answer")
    assert changed["deactivate/anger/none~from=main"].equals(changed["baseline"], null_equal=False)
    assert not changed["deactivate/anger/all~from=main"].equals(changed["baseline"], null_equal=False)


def test_what_is_heard_is_part_of_a_unit_s_name(model) -> None:
    names = set()
    for presentation in ("audio", "noise", "transcript", "transcription"):
        study = presented(parse_study(SMALL), presentation)
        items = candidate_items(study, study_corpus(study))
        block = items.filter(items["status"].is_null()).to_dicts()
        names.add(listening_unit(study, block, 0, model).id)
        if presentation == "transcript":
            other = [{**item, "transcript": "something else"} for item in block]
            names.add(listening_unit(study, other, 0, model).id)
    assert len(names) == 5
