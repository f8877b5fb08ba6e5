"""The attribution of clips that identify, where a selector asks for it: gradients once, kept beside the activity."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from emoscope.experiments.conditions import set_spec
from emoscope.experiments.heard import BLOCK, batches, load_inputs
from emoscope.experiments.items import options_of
from emoscope.experiments.listen import (
    LOOK_S,
    answer_key,
    asked_key,
    in_batches_that_fit,
    path_heard,
    positions_per_batch,
)
from emoscope.experiments.prompts import PRESENTATIONS, decode, requests
from emoscope.experiments.schema import Study, StudyError
from emoscope.neurons.activity import scope_parts
from emoscope.neurons.attributed import FOLDER, KINDS, save, unit_of
from emoscope.neurons.samples import on_side
from emoscope.neurons.selectors import needs_gradients
from emoscope.runs import Log, RunFolder, Shard, Unit
from emoscope.runs.ending import check_stop
from emoscope.runs.folder import digest, replacing
from emoscope.runs.shards import Unfinished, at_work, named
from emoscope.vocabulary import USED

if TYPE_CHECKING:
    from emoscope.experiments.schema import Row
    from emoscope.models.audio_lm import AudioLM, Prepared

BYTES = 256 << 20
"""Memory that what is written together may take."""


def attribute(run: RunFolder, study: Study, items: pl.DataFrame, model: AudioLM, log: Log, shard: Shard | None) -> None:
    """Attribute the items from which sets are found, or a share of them; nothing where no selector asks for it.

    Raises:
        StudyError: the study's scope or questions, or the model's layers, allow no attribution.
        Unfinished: other shards, none of them at work, have units to do.
    """
    if not needs_gradients(study.identify.selectors):
        if shard is None:  # it says nothing of what is heard now
            shutil.rmtree(run / FOLDER, ignore_errors=True)
        return
    options, spec = options_of(items), set_spec(study, options_of(items), model.info.layers)
    scope = "+".join(part for part in scope_parts(spec.scope) if part != "answer")
    refuse(study, items, options)
    rows = identifying(items, spec.outcomes).to_dicts()
    if "attribution-between" in study.identify.selectors:
        tell_partners(rows, log)
    size = len(options) * model.info.layers * model.info.width * 2 * 4  # two sums, in float32
    count = max(1, min(BLOCK, BYTES // size))
    blocks = [rows[start : start + count] for start in range(0, len(rows), count)]
    units = [unit(study, block, options, scope, model).id for block in blocks]
    places = [file_of(run, block) for block in blocks]
    (run / FOLDER).mkdir(exist_ok=True)
    own = (shard or Shard(1, 1)).deal(range(len(blocks)))
    with log.stage("attributing", sum(len(blocks[n]) for n in own), "items") as progress:
        for number in own:
            if unit_of(places[number]) != units[number]:
                began = time.monotonic()
                found = _attributed(run, study, blocks[number], options, scope, model, progress)
                with replacing(places[number]) as partial:
                    save(partial, [item["item"] for item in blocks[number]], options, units[number], scope, found)
                seconds = round(time.monotonic() - began, 4)
                log.event("unit", stage="attributing", answers=len(blocks[number]), seconds=seconds)
            progress.step(len(blocks[number]))
    _settle(run, places, units, shard)


def refuse_model(study: Study, model: AudioLM) -> None:
    """Say that a model's layers allow no attribution, before anything is asked."""
    if model.shares_keys and (names := by_gradients(study)):
        from emoscope.models.attribution import SHARED_KEYS

        raise StudyError(f"identify.selectors: {names} cannot be had of {model.info.id}: {SHARED_KEYS}")


def by_gradients(study: Study) -> str:
    """The names of a study's selectors that rest on gradients."""
    return ", ".join(name for name in study.identify.selectors if needs_gradients([name]))


def tell_partners(rows: Sequence[Row], log: Log) -> None:
    """Say how many items have no clip of another emotion by the same speaker, which attribution between clips needs."""
    heard = {(row["speaker"], row["truth"]) for row in rows if row["speaker"] is not None}
    speakers = Counter(speaker for speaker, _ in heard)
    alone = [row for row in rows if speakers.get(row["speaker"], 0) < 2]
    for emotion in sorted({row["truth"] for row in rows}):
        own = [row for row in rows if row["truth"] == emotion]
        if all(speakers.get(row["speaker"], 0) < 2 for row in own):
            raise StudyError(
                f"identify.selectors: attribution-between compares clips of a speaker, and no speaker of {emotion} has "
                "rightly answered clips of another emotion: choose attribution-contrast"
            )
    if alone:
        log.say(
            f"{len(alone)} of {len(rows)} items have no clip of another emotion by the same speaker: attribution-between "
            "leaves them out."
        )


def refuse(study: Study, items: pl.DataFrame, options: Sequence[str]) -> None:
    """Say which items allow no attribution."""
    names = by_gradients(study)
    fewer = items.filter(pl.col("status") == USED, pl.col("options").list.len() < len(options))
    if len(fewer):
        raise StudyError(
            f"identify.selectors: {names} need all options on every item; {len(fewer)} items, such as "
            f"{fewer['clip'][0]!r}, show fewer than {len(options)}"
        )


def identifying(items: pl.DataFrame, outcomes: bool) -> pl.DataFrame:
    """The items of which a set may be found: answered correctly, or all, if sets are also found on misses."""
    used = on_side(items.filter(pl.col("status") == USED), "identify")
    return used if outcomes else used.filter(pl.col("correct"))


def unit(study: Study, block: Sequence[Row], options: Sequence[str], scope: str, model: AudioLM) -> Unit:
    """The unit that attributes some items."""
    return Unit({
        "stage": "attribute", **answer_key(study, model), "scope": scope, "options": list(options),
        "path": path_heard(study, model), "items": digest([*asked_key(study, block, model), [i["item"] for i in block]]),
    })  # fmt: skip


def file_of(run: RunFolder, block: Sequence[Row]) -> Path:
    """Where the attribution of items is kept."""
    return run / FOLDER / f"{block[0]['item']:07d}.safetensors"


def _attributed(
    run: RunFolder, study: Study, block: Sequence[Row], options: Sequence[str], scope: str, model: AudioLM, log: Log
) -> Mapping[str, np.ndarray]:
    """Of each kind the values (option, item, layer, width)."""
    prepared = inputs_of(run, study, block, model)
    shape = len(options), len(block), model.info.layers, model.info.width
    values = {kind: np.zeros(shape[kind == "product" :], dtype="float32") for kind in KINDS}

    def ask(positions: int, _how: Mapping[str, object]) -> None:
        for rows in batches(prepared, positions, padded=not model.packs):
            check_stop()
            # the letters behind which each item shows the options
            letters = [[prepared[row].letters[block[row]["options"].index(name)] for name in options] for row in rows]
            found = model.attribute([prepared[row] for row in rows], letters, scope)
            for kind in KINDS:
                values[kind][..., rows, :, :] = getattr(found, kind)

    in_batches_that_fit(model, positions_per_batch(study, model.info), prepared, log, ask)
    return values


def inputs_of(run: RunFolder, study: Study, block: Sequence[Row], model: AudioLM) -> list[Prepared]:
    """The decoder inputs of items: those kept, or made anew of items that only identify."""
    kept = [item["item"] for item in block if item["side"] != "identify"]
    found = dict(zip(kept, load_inputs(run, kept), strict=True))
    again = [item for item in block if item["item"] not in found]
    decodes = PRESENTATIONS[study.question.presentation].of_clips
    sounds = {item["clip"]: decode(item["path"], study.corpus.loudness) for item in again} if decodes else {}
    usable, asked, _ = requests(study, again, sounds, model)
    found |= {item["item"]: row for item, row in zip(usable, model.prepare(asked) if asked else [], strict=True)}
    return [found[item["item"]] for item in block]


def _settle(run: RunFolder, places: Sequence[Path], units: Sequence[str], shard: Shard | None) -> None:
    """Wait for what other shards do, and remove what belongs to no unit."""
    while missing := [n for n, place in enumerate(places) if unit_of(place) != units[n]]:
        owners = {shard.owner(number) for number in missing} if shard else set()
        if not any(at_work(run.path, other) for other in owners):
            if all(unit_of(place) == name for place, name in zip(places, units, strict=True)):
                break
            raise Unfinished(
                f"attribution is not complete: {len(missing)} of {len(places)} units are missing, of {named(owners)}, and "
                "no such process is at work here: run the same command with these"
            )
        check_stop()
        time.sleep(LOOK_S)
    for path in (run / FOLDER).glob("*.safetensors"):
        if path not in places and shard is None:
            path.unlink()
