"""The listening stage: every clip is heard once; answers, activity and decoder inputs are kept."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from emoscope import __version__
from emoscope.experiments.heard import (
    BLOCK,
    Heard,
    batches,
    differing_parts,
    inputs_path,
    kept,
    remember,
    save_inputs,
    settle,
    together,
)
from emoscope.experiments.prompts import (
    PRESENTATIONS,
    DecodeAhead,
    Decoded,
    answer_table,
    asked_text,
    decode,
    requests,
    writes,
)
from emoscope.experiments.schema import Study
from emoscope.neurons.activity import Activity
from emoscope.runs import Log, RunFolder, Shard, Unit
from emoscope.runs.ending import check_stop
from emoscope.runs.folder import digest
from emoscope.runs.shards import Unfinished, at_work, named

if TYPE_CHECKING:
    import polars as pl

    from emoscope.experiments.schema import Row
    from emoscope.models.audio_lm import AudioLM, ModelInfo, Observer, Prepared, Score

Asked = TypeVar("Asked")

CPU_BYTES = 6 << 20
"""Bytes of one float32 activation tensor (position, width) of a layer on a CPU."""

TRANSCRIPT_TOKENS = 128
"""Where a text that writes down what is said is cut: some 90 words of English, 40 s of speech."""

PADDED, LINE = "padded", "line"  # how the rows of a batch stand

FED_TOGETHER = 4
"""Answers are fed back for so many full batches in one pass, as it reads all weights for a position of each row."""

LOOK_S = 1.0
"""How often a shard that waits looks for the others' work, in seconds."""


def hear(
    run: RunFolder,
    study: Study,
    items: pl.DataFrame,
    model: AudioLM,
    log: Log,
    agree: Callable[[Heard], None],
    shard: Shard | None = None,
) -> tuple[pl.DataFrame, list[str]]:
    """Hear items in listening order until every quota is filled, and settle every clip's status.

    Args:
        agree: looks at what other machines have heard.
        shard: hear this share of the blocks only; the others' are waited for while they are at work.

    Returns:
        the items table with statuses (used, not needed, quarantined, excluded), durations, the columns
        ``correct`` (baseline answer by likelihood) and ``evaluated`` (asked under interventions); and the ids of the
        units that hold the baseline answers.

    Raises:
        ProofFailed: a check of the model's sites or batches failed.
        Unfinished: other shards, none of them at work, have blocks to hear.
    """
    asked = items.filter(items["status"].is_null()).to_dicts()
    store = open_store(run, study, asked, model, log, shared=shard is not None)
    blocks = [asked[start : start + BLOCK] for start in range(0, len(asked), BLOCK)]

    def done(number: int, block: Sequence[Row]) -> Unit | None:
        unit = listening_unit(study, block, number * BLOCK, model)
        # the store holds one hearing of a block: another may have left out other items
        return unit if unit.done(run) and kept(run, number * BLOCK) == unit.id else None

    heard = Heard(run, study, blocks, done)
    heard.look()
    agree(heard)  # before anything is asked, and below of what other shards have asked meanwhile
    own = (shard or Shard(1, 1)).deal(range(len(blocks)))
    decodes = PRESENTATIONS[study.question.presentation].of_clips
    total = sum(len(blocks[number]) for number in own)
    with log.stage("listening", total, "items") as progress, DecodeAhead(study.corpus.loudness) as ahead:
        for place, number in enumerate(own):
            if heard.look():
                break
            if heard.block(number) is None:
                wait_for_others(run, heard, shard or Shard(1, 1), log, until=number + 1)
            if heard.complete or (block := heard.block(number)) is None:
                break
            progress.step(len(blocks[number]) - len(block))
            if done(number, block):
                progress.step(len(block))
                continue
            sounds = ahead.take(block) if decodes else {}
            for following in own[place + 1 : place + 2] if decodes else ():
                # decoded while the model works on this block
                ahead.start(heard.block(following) or ())
            hear_block(run, study, block, number * BLOCK, model, store, progress, sounds)
    if not heard.look() and shard is not None:
        wait_for_others(run, heard, shard, log, until=len(blocks) + 1)
    agree(heard)
    run.pack([unit.id for unit in (map(heard.done, own) if shard else heard.units) if unit])
    return settle(items, study, asked, heard.outcomes), [unit.id for unit in heard.units]


def hear_block(
    run: RunFolder,
    study: Study,
    block: Sequence[Row],
    start: int,
    model: AudioLM,
    store: Activity,
    log: Log,
    sounds: Mapping[str, Decoded],
) -> None:
    """Ask the items of one block that are needed, and write its activity, inputs and answers.

    Args:
        start: number of the block's first item, asked or not.
        sounds: clip -> the clip as it is heard.
    """
    from emoscope.models.statistics import ScopeStatistics

    began, unit = time.monotonic(), listening_unit(study, block, start, model)
    usable, asked, notes = requests(study, block, sounds, model)
    prepared = model.prepare(asked) if asked else []
    places = [item["item"] - start for item in usable]
    rows_kept, size = min(BLOCK, store.items - start), (model.info.layers, model.info.width)

    def ask(
        positions: int, how: Mapping[str, object]
    ) -> tuple[ScopeStatistics | None, pl.DataFrame, Mapping[str, object]]:
        # statistics anew where memory was full: a pass that was cut off has left sums
        statistics = None if writes(study) else ScopeStatistics(*size, rows=rows_kept, site=study.identify.site)

        def observe(rows: Sequence[int], lengths: Sequence[int]) -> ScopeStatistics:
            assert statistics is not None
            return statistics.of([places[row] for row in rows], lengths)

        watching = None if statistics is None else observe
        return statistics, ask_rows(study, usable, prepared, positions, model, log.step, watching), how

    planned = positions_per_batch(study, model.info)
    statistics, answers, how = in_batches_that_fit(model, planned, prepared, log, ask)
    log.step(len(block) - len(prepared))
    # removed before the store is written, as they say whose activity it holds
    inputs_path(run, start).unlink(missing_ok=True)
    if statistics is not None:
        store.write(start, statistics.block())
    # items that only identify are never asked again
    again = [row for row, item in enumerate(usable) if item["side"] != "identify"]
    save_inputs(run, start, [places[row] for row in again], [prepared[row] for row in again], unit.id)
    unit.finish(run, answers, {**notes, **how})
    log.event("unit", stage="listening", answers=len(usable), seconds=round(time.monotonic() - began, 4))


def in_batches_that_fit(
    model: AudioLM,
    planned: int,
    prepared: Sequence[Prepared],
    log: Log,
    ask: Callable[[int, Mapping[str, object]], Asked],
) -> Asked:
    """Ask with at most so many positions a batch, and with half as many from where a device's memory is full.

    Args:
        ask: takes how many, and what cards note of it: the machine, and that number where fewer were planned.

    Where every row is asked by itself already, the error stays.
    """
    import torch

    while True:
        positions = min(planned, model.most_positions or planned)
        try:
            fewer = {"positions": positions} if positions < planned else {}
            return ask(positions, {"machine": machine_of(model.info), **fewer})
        except torch.OutOfMemoryError:
            if positions * FED_TOGETHER < 2 * min(map(len, prepared)):
                raise
        # what the error held of a pass is free only now
        if model.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(model.device)
        model.most_positions = positions // 2
        log.say(f"The memory of {model.info.device} is full: from here on {positions // 2} positions at a time.")


def ask_rows(
    study: Study,
    items: Sequence[Row],
    prepared: Sequence[Prepared],
    positions: int,
    model: AudioLM,
    step: Callable[[int], object],
    observe: Callable[[Sequence[int], Sequence[int]], Observer] | None = None,
) -> pl.DataFrame:
    """Ask items without intervention, in batches of like length.

    Args:
        observe: gives what watches rows, by their numbers, and by their lengths where they stand in one line.
    """
    from emoscope.models.passes import pack

    answers: dict[int, Score | str] = {}
    in_lines = observe is not None and path_heard(study, model) == LINE
    groups = batches(prepared, positions, padded=not in_lines)
    for lines in together(groups, prepared, FED_TOGETHER * positions if in_lines else 0):
        rows = [row for line in lines for row in line]
        part = [prepared[row] for row in rows]
        given: Sequence[Score | str]
        if writes(study):
            given = model.generate(part, max_new_tokens=TRANSCRIPT_TOKENS)
        elif observe and in_lines:
            made = [pack([prepared[row] for row in line], model.device, whole=True) for line in lines]
            watching = [observe(line, [len(prepared[row]) for row in line]) for line in lines]
            given = model.score_lines(made, watching, observe(rows, ()))
        else:
            given = model.score(part, observe=observe(rows, ()) if observe else None)
        answers |= zip(rows, given, strict=True)
        step(len(rows))
    scoring = "transcription" if writes(study) else "likelihood"
    return answer_table(scoring, items, "baseline", [answers[row] for row in range(len(answers))])


def ask_again(study: Study, items: Sequence[Row], model: AudioLM) -> pl.DataFrame:
    """The answers to items, from their recordings on; nothing is kept."""
    decodes = PRESENTATIONS[study.question.presentation].of_clips
    sounds = {item["clip"]: decode(item["path"], study.corpus.loudness) for item in items} if decodes else {}
    usable, asked, _ = requests(study, items, sounds, model)
    prepared = model.prepare(asked) if asked else []
    return ask_rows(study, usable, prepared, positions_per_batch(study, model.info), model, lambda _: None)


def wait_for_others(run: RunFolder, heard: Heard, shard: Shard, log: Log, until: int) -> None:
    """Wait until listening is complete or ``until`` blocks are decided, while the shards that hear what is missing work.

    Raises:
        Unfinished: none of them is at work.
    """
    told = False
    while True:
        missing = [n for n in range(len(heard.units), heard.decided) if heard.done(n) is None]
        others = {shard.owner(number) for number in missing}
        working = any(at_work(run.path, other) for other in others)
        # looked at again after that: a shard may have ended in between, its work done
        if heard.look() or heard.decided >= until:
            return
        if not working:
            raise Unfinished(
                f"listening is not complete: {len(missing)} of {len(heard.blocks)} blocks are missing, of "
                f"{named(others)}, and no such process is at work here: run the same command with these"
            )
        if not told:
            log.say(f"This share is heard so far; waiting for {named(others)}.")
            told = True
        check_stop()
        time.sleep(LOOK_S)


def open_store(
    run: RunFolder, study: Study, asked: Sequence[Row], model: AudioLM, log: Log, shared: bool = False
) -> Activity:
    """Open the run's activity store, or make a new one when environment, clips, questions or scopes changed.

    Args:
        shared: other processes may be writing to the store: it is made where there is none, and refused where it would
            have to be made anew.
    """
    path = run / "activity.zarr"
    parts = {
        "environment, batch size or loudness": digest([answer_key(study, model), path_heard(study, model)]),
        "scopes": digest([list(study.identify.store), study.identify.site]),
        "clips or questions": digest(asked_key(study, asked, model)),
    }
    differing = differing_parts(run, parts)
    if path.exists() and differing == []:
        for partial in path.rglob("*.partial") if not shared else ():
            partial.unlink()  # left where a write was cut off
        return Activity.open(path)
    if differing and shared:
        raise ValueError(
            f"this process differs from those that listened in {run.path} in {' and '.join(differing)}: let all shards "
            "run on like machines with the same number of threads, or choose another folder with --out"
        )
    if differing:
        log.say(f"This study differs from the last one in this folder in {' and '.join(differing)}: listening anew.")
    # cards before the store: a store that is missing beside them was lost, and they say nothing about a new one
    lost = not (shared and path.exists())
    if not shared:
        remember(run, model.info, asked, None)
    if lost:
        run.drop(lambda key: key.get("stage") == "listen")
    for left in (path, *path.parent.glob(f"{path.name}.new*")) if not shared else ():
        shutil.rmtree(left, ignore_errors=True)
    info, norms, identify = model.info, model.decoder.down_norms(), study.identify
    size = len(asked), info.layers, info.width
    store = Activity.create(path, *size, norms, BLOCK, site=identify.site, store=identify.store)
    remember(run, model.info, asked, parts)
    return store


def listening_unit(study: Study, block: Sequence[Row], start: int, model: AudioLM) -> Unit:
    """The unit that hears one block of items."""
    return Unit({
        "stage": "listen", **answer_key(study, model), "start": start, "store": list(study.identify.store),
        "path": path_heard(study, model), "site": study.identify.site, "items": digest(asked_key(study, block, model)),
    })  # fmt: skip


def path_heard(study: Study, model: AudioLM) -> str:
    """How rows stand while they are heard: in one line where the model's proofs allow it and nothing is written."""
    return LINE if model.packs and not writes(study) else PADDED


def machine_of(info: ModelInfo) -> str:
    """What, with the same versions, decides the last bits of an answer: threads and vector instructions, or the GPU."""
    import torch

    device = info.device.split(":")[0]
    if device == "cpu":
        return f"cpu, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    return f"{device}, {torch.cuda.get_device_name(info.device)}" if device == "cuda" else device


def answer_key(study: Study, model: AudioLM) -> dict[str, object]:
    """What determines every answer, whatever the items: model, machine, versions, loudness, batch size.

    The machine is left out where the study takes answers of others that are shown to agree.
    """
    from importlib.metadata import version

    info = model.info
    machine = machine_of(info) if study.model.equality == "bytes" else "any machine"
    further = {"attention": info.attention, "quantised": info.quantised, "device_map": study.model.device_map}
    usual = {"attention": "sdpa", "quantised": None, "device_map": ""}
    return {
        "model": [info.checksum, info.dtype, machine, *([further] if further != usual else [])],
        "versions": [version("torch"), version("transformers"), __version__],
        "loudness": study.corpus.loudness,
        "batch": positions_per_batch(study, info),
        **({"presentation": study.question.presentation} if study.question.presentation != "audio" else {}),
    }


def asked_key(study: Study, items: Sequence[Row], model: AudioLM) -> list[list[object]]:
    """What determines the answers to items: recording, question, order; and to which side and fold they belong."""
    how = study.question.presentation, model.info.audio_first
    return [[i["item"], i["checksum"], i["side"], asked_text(i, *how)[0]] for i in items]


def positions_per_batch(study: Study, info: ModelInfo) -> int:
    """Rows x positions of one forward pass: what the study says, or what suits the machine.

    On a GPU as many as a quarter of its memory takes of one layer's work, and at most 8192, which keep it busy; as a power
    of two, and by the memory that it has, not by what is free, so that units keep their names. On a CPU one activation
    tensor of a layer (position, width) should stay within some 6 MB: beyond about 8 MB a pass took twice as long per row,
    as every tensor is then fetched anew from the system.
    """
    if study.model.positions_per_batch is not None:
        return study.model.positions_per_batch
    if info.device.startswith("cuda"):
        import torch

        return positions_on(torch.cuda.get_device_properties(info.device).total_memory, info)
    return max(512, CPU_BYTES // (4 * info.width))


def positions_on(memory: int, info: ModelInfo) -> int:
    """Positions of a pass that a GPU of so many bytes takes, some of whose layer's numbers are of two bytes, or of four.

    Example:
        >>> from emoscope.models.registry import load_model
        >>> positions_on(80 << 30, load_model("tiny").info), positions_on(48 << 20, load_model("tiny").info)
        (8192, 1024)
    """
    # gate, up, activation and product; queries, keys, values, and hidden states around them
    bytes_each = (4 * info.width + 8 * info.hidden) * (4 if info.dtype == "float32" else 2)
    return min(8192, 1 << max(9, (memory // 4 // bytes_each).bit_length() - 1))
