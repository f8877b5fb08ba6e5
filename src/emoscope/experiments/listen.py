"""The listening stage: every clip is heard once; answers, activity and decoder inputs are kept."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emoscope import __version__
from emoscope.corpora.audio import RATE, AudioError, Waveform
from emoscope.experiments.answers import scored_answers
from emoscope.experiments.decoding import DecodeAhead
from emoscope.experiments.inputs import inputs_path, save_inputs
from emoscope.experiments.listened import differing_parts, refuse_changes, remember
from emoscope.experiments.study import Study
from emoscope.questions import Question
from emoscope.runs import Log, RunFolder, Unit
from emoscope.runs.unit import digest

if TYPE_CHECKING:
    import polars as pl

    from emoscope.models.audio_lm import AudioLM, ModelInfo, Prepared
    from emoscope.neurons.activity import Activity

CPU_BYTES = 6 << 20
"""Bytes of one float32 activation tensor (position, width) of a layer on a CPU."""

BLOCK = 64
"""Items of one listening unit; a multiple of the 32 items of an activity chunk."""


def listen(
    run: RunFolder, study: Study, items: pl.DataFrame, model: AudioLM, log: Log
) -> tuple[pl.DataFrame, list[str]]:
    """Hear items in listening order until every quota is filled, and settle every clip's fate.

    Args:
        run: receives answers (condition ``baseline``), ``activity.zarr`` and the cached decoder inputs.
        study: the study.
        items: candidate items (:func:`candidate_items`).
        model: the model that is asked.
        log: progress.

    Returns:
        the items table with fates (used, not needed, quarantined, excluded), durations, the columns
        ``correct`` (baseline answer by likelihood) and ``evaluated`` (asked under interventions); and the ids of the
        units that hold the baseline answers.

    Raises:
        ProofFailed: a check of the model's sites or batches failed.
    """
    asked = items.filter(items["fate"].is_null()).to_dicts()
    store = open_store(run, study, asked, model, log)
    heard: dict[int, dict[str, Any]] = {}
    units = []
    with log.stage("listening", len(asked), "items") as progress, DecodeAhead(study.corpus.loudness) as ahead:
        for start in range(0, len(asked), BLOCK):
            block = asked[start : start + BLOCK]
            unit = listening_unit(study, block, start, model)
            if unit.done(run) and inputs_path(run, start).is_file():
                progress.step(len(block))
            else:
                waves = ahead.take(block)
                # decoded while the model works on this block
                ahead.start(asked[start + BLOCK : start + 2 * BLOCK])
                hear_block(run, study, block, start, model, store, unit, progress, waves)
            units.append(unit.id)
            heard |= block_outcome(run, unit, block)
            rest = asked[start + BLOCK :]
            # letter orders of one clip go together
            if rest and rest[0]["clip"] != block[-1]["clip"] and enough(study, asked, heard):
                break
    return settle(items, study, asked, heard), units


def hear_block(
    run: RunFolder,
    study: Study,
    block: Sequence[Mapping[str, Any]],
    start: int,
    model: AudioLM,
    store: Activity,
    unit: Unit,
    log: Log,
    waves: Mapping[str, Waveform | AudioError],
) -> None:
    """Ask one block of items and write its activity, inputs and answers; ``waves`` holds the sound of its clips."""
    from emoscope.models.audio_lm import Request
    from emoscope.models.statistics import ScopeStatistics

    began = time.monotonic()
    notes: dict[str, Any] = {"quarantined": {}, "duration_s": {}}
    usable, requests = [], []
    for item in block:
        wave = waves[item["clip"]]
        if isinstance(wave, AudioError):
            notes["quarantined"][str(item["item"])] = wave.reason
            continue
        if model.longest_s is not None and len(wave) / RATE > model.longest_s:
            notes["quarantined"][str(item["item"])] = f"longer than the {model.longest_s:g} s that the model takes"
            continue
        question = Question(item["label"], tuple(item["options"]), item["wording"])
        notes["duration_s"][str(item["item"])] = round(len(wave) / RATE, 4)
        usable.append(item)
        requests.append(Request(audio=wave, text=question.text, letters=question.letters))
    prepared = model.prepare(requests) if requests else []
    places = [item["item"] - start for item in usable]
    statistics = ScopeStatistics(model.info.layers, model.info.width, rows=len(block), site=study.identify.site)
    scores: list[Any] = [None] * len(prepared)
    for rows in batches(prepared, positions_per_batch(study, model.info)):
        observer = statistics.of([places[row] for row in rows])
        for row, score in zip(rows, model.score([prepared[row] for row in rows], observe=observer), strict=True):
            scores[row] = score
        log.step(len(rows))
    log.step(len(block) - len(prepared))
    store.write(start, statistics.block())
    # items that only identify are never asked again
    again = [row for row, item in enumerate(usable) if item["side"] != "identify"]
    save_inputs(run, start, [places[row] for row in again], [prepared[row] for row in again])
    unit.finish(run, scored_answers(usable, "baseline", scores), notes)
    log.event("unit", stage="listening", answers=len(usable), seconds=round(time.monotonic() - began, 4))


def open_store(run: RunFolder, study: Study, asked: Sequence[Mapping[str, Any]], model: AudioLM, log: Log) -> Activity:
    """Open the run's activity store, or make a new one when environment, clips, questions or scopes changed.

    Raises:
        ChangedInput: the run was begun with another model, or with other recordings of the same clips.
    """
    from emoscope.neurons.activity import Activity

    refuse_changes(run, model.info, asked)
    path = run / "activity.zarr"
    parts = {
        "environment, batch size or loudness": digest(_key(study, model)),
        "scopes": digest([list(study.identify.store), study.identify.site]),
        "clips or questions": digest(_asked(asked)),
    }
    differing = differing_parts(run, parts)
    if path.exists() and differing == []:
        for partial in path.rglob("*.partial"):
            partial.unlink()  # left where a write was cut off
        return Activity.open(path)
    if differing:
        log.say(f"This study differs from the last one in this folder in {' and '.join(differing)}: listening anew.")
    remember(run, model.info, asked, None)
    for card in (run / "units").glob("*.json"):
        if (run.read_json(f"units/{card.name}") or {}).get("key", {}).get("stage") == "listen":
            card.unlink()
    shutil.rmtree(path, ignore_errors=True)
    store = Activity.create(
        path, items=len(asked), layers=model.info.layers, width=model.info.width,
        down_norm=model.decoder.down_norms(), block_items=BLOCK, site=study.identify.site, store=study.identify.store,
    )  # fmt: skip
    remember(run, model.info, asked, parts)
    return store


def listening_unit(study: Study, block: Sequence[Mapping[str, Any]], start: int, model: AudioLM) -> Unit:
    """The unit that hears one block of items."""
    return Unit({
        "stage": "listen", **_key(study, model), "start": start, "store": list(study.identify.store),
        "site": study.identify.site, "items": digest(_asked(block)),
    })  # fmt: skip


def _key(study: Study, model: AudioLM) -> dict[str, Any]:
    """What determines every answer, whatever the items: model, environment, loudness, batch size."""
    from importlib.metadata import version

    import torch

    info = model.info
    device = info.device.split(":")[0]
    further = {"attention": info.attention, "quantised": info.quantised, "device_map": study.model.device_map}
    usual = {"attention": "sdpa", "quantised": None, "device_map": ""}
    return {
        "model": [
            info.checksum,
            info.dtype,
            device if device != "cpu" else f"cpu, {torch.get_num_threads()} threads",
            *([further] if further != usual else []),
        ],
        "versions": [version("torch"), version("transformers"), __version__],
        "loudness": study.corpus.loudness,
        "batch": positions_per_batch(study, info),
    }


def _asked(items: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """What determines the answers to items: recording, question, order; and to which side and fold they belong."""
    return [
        [i["item"], i["checksum"], i["side"], Question(i["label"], tuple(i["options"]), i["wording"]).text]
        for i in items
    ]


answer_key, asked_key = _key, _asked


def block_outcome(run: RunFolder, unit: Unit, block: Sequence[Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """What became of each item of a heard block: item -> fate, why, duration_s, correct."""
    notes = unit.notes(run)
    answers = run.read_table(f"answers/{unit.id}")
    answer = dict(zip(answers["item"].to_list(), answers["answer"].to_list(), strict=True))
    outcome: dict[int, dict[str, Any]] = {}
    for item in block:
        row, name = item["item"], str(item["item"])
        if name in notes["quarantined"]:
            outcome[row] = {
                "fate": "quarantined",
                "why": notes["quarantined"][name],
                "duration_s": None,
                "correct": None,
            }
        else:
            outcome[row] = {
                "fate": "used",
                "why": None,
                "duration_s": notes["duration_s"][name],
                "correct": answer[row] == item["truth"],
            }
    return outcome


def enough(study: Study, asked: Sequence[Mapping[str, Any]], heard: Mapping[int, Mapping[str, Any]]) -> bool:
    """Whether every fold's complement holds the wanted correct clips and the evaluation quota is filled."""
    labels = {item["truth"] for item in asked}
    used = [item for item in asked if heard.get(item["item"], {}).get("fate") == "used"]
    folds = {item["fold"] for item in used if item["side"] in ("both", "evaluate")}
    want = study.identify.items_per_emotion
    for label in labels:
        mine = [item for item in used if item["truth"] == label]
        evaluated = {item["clip"] for item in mine if item["side"] in ("both", "evaluate")}
        if len(evaluated) < study.evaluate.items_per_emotion:
            return False
        right = [(item["clip"], item["fold"]) for item in mine
                 if item["side"] in ("both", "identify") and heard[item["item"]]["correct"]]  # fmt: skip
        if any(len({clip for clip, fold in right if fold != out}) < want for out in folds):
            return False
    return bool(used)


def settle(
    items: pl.DataFrame, study: Study, asked: Sequence[Mapping[str, Any]], heard: Mapping[int, Mapping[str, Any]]
) -> pl.DataFrame:
    """Write every candidate's fate into the items table and mark the evaluated ones."""
    import polars as pl

    clips_evaluated: dict[str, list[str]] = {}
    rows = []
    for item in asked:
        outcome = heard.get(item["item"], {"fate": "not needed", "why": "quotas were filled before", "duration_s": None,
                                           "correct": None})  # fmt: skip
        evaluated = False
        if outcome["fate"] == "used" and item["side"] in ("both", "evaluate"):
            clips = clips_evaluated.setdefault(item["truth"], [])
            if item["clip"] in clips or len(clips) < study.evaluate.items_per_emotion:
                evaluated = True
                if item["clip"] not in clips:
                    clips.append(item["clip"])
        rows.append({"item": item["item"], **outcome, "evaluated": evaluated})
    schema = {"item": pl.Int64, "fate": pl.String, "why": pl.String, "duration_s": pl.Float64, "correct": pl.Boolean,
              "evaluated": pl.Boolean}  # fmt: skip
    settled = pl.DataFrame(rows, schema=schema)
    joined = items.join(settled, on="item", how="left", suffix="_heard")
    return joined.with_columns(
        pl.coalesce("fate", "fate_heard").alias("fate"),
        pl.coalesce("why", "why_heard").alias("why"),
        pl.coalesce("duration_s", "duration_s_heard").alias("duration_s"),
        pl.col("evaluated").fill_null(False),
    ).drop("fate_heard", "why_heard", "duration_s_heard")


def positions_per_batch(study: Study, info: ModelInfo) -> int:
    """Rows x positions of one forward pass: what the study says, or what suits the machine.

    On a CPU one activation tensor of a layer (position, width) should stay within some 6 MB: beyond about 8 MB a
    pass took twice as long per row, as every tensor is then fetched anew from the system.
    """
    if study.model.positions_per_batch is not None:
        return study.model.positions_per_batch
    return 8192 if info.device.startswith("cuda") else max(512, CPU_BYTES // (4 * info.width))


def batches(prepared: Sequence[Prepared], positions: int) -> list[list[int]]:
    """Group rows of like length so that rows x longest stays within ``positions``.

    Returns:
        lists of row numbers; every row is in exactly one.
    """
    order = sorted(range(len(prepared)), key=lambda row: (len(prepared[row].scopes), row))
    groups: list[list[int]] = []
    for row in order:
        length = len(prepared[row].scopes)
        if groups and (len(groups[-1]) + 1) * length <= positions:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups
