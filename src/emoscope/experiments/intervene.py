"""The intervening stage: every condition on every block of evaluated items, in units that survive a kill."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from emoscope.experiments.conditions import Ranges
from emoscope.experiments.heard import input_lengths, load_inputs
from emoscope.experiments.listen import TRANSCRIPT_TOKENS, answer_key, asked_key, batches, positions_per_batch
from emoscope.experiments.prompts import answer_table, writes
from emoscope.experiments.schema import Row, Study
from emoscope.interventions.intervention import Intervention
from emoscope.interventions.kinds import DERIVED, KINDS, Acted
from emoscope.neurons.controls import seeded_generator
from emoscope.runs import Log, RunFolder, Shard, Unit
from emoscope.runs.folder import digest
from emoscope.schemas import schema
from emoscope.vocabulary import RESELECTED

if TYPE_CHECKING:
    from emoscope.models.audio_lm import AudioLM, ModelInfo, Prepared, Score
    from emoscope.models.hooks import Starts
    from emoscope.models.values import Batch

Batches = Sequence[tuple[list[int], "Batch | list[Prepared]"]]
"""Rows of a block, and what the model is given for them."""

BLOCK = 256
"""Evaluated items of one unit, at most; blocks are of equal size and depend on the items alone."""


def restricted(neurons: np.ndarray, layers: str, ranges: Ranges, width: int, *seed: object) -> np.ndarray:
    """The neurons of a set on which a condition acts, by what its column ``layers`` says.

    Args:
        layers: ``"all"``; ``"3"``, a single layer; ``"0-8"``, a range, cut at random to the number of neurons that the
            range with fewest holds; ``"0-8 reselected"``, where the whole set was found in that range.

    Example:
        >>> restricted(np.array([0, 1, 2, 5]), "0", {}, 4)
        array([0, 1, 2])
        >>> restricted(np.array([0, 1, 2, 5]), "1-1", {"0-0": (0, 0), "1-1": (1, 1)}, 4)
        array([5])
    """
    neurons = np.asarray(neurons, np.int64)
    layer = neurons // width
    if layers == "all" or layers.endswith(RESELECTED):
        return neurons
    if layers.isdigit():
        return neurons[layer == int(layers)]
    inside = {which: neurons[(layer >= first) & (layer <= last)] for which, (first, last) in ranges.items()}
    size = min(map(len, inside.values()))
    return np.sort(seeded_generator("layers", layers, *seed).choice(inside[layers], size, replace=False))


@dataclass(frozen=True)
class SetsByFold:
    """The neurons of every set, fold and emotion, and which intervention a condition means for a row."""

    sets: Mapping[tuple[str, str], Mapping[str, np.ndarray]]  # (set, fold) -> emotion -> neurons (flat indices, sorted)
    info: ModelInfo
    mean_product: np.ndarray  # mean gated product of every neuron, for conditions to the mean; float32 (layer * width,)
    # item -> option -> probability at baseline, for conditions that mix by the model's own answer
    shares: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    ranges: Ranges = field(default_factory=dict)

    def neurons(self, condition: Row, fold: str) -> np.ndarray:
        """Neurons on which a condition acts for items of one fold: those of a set, of all sets, or whole layers."""
        width, layers, name, target = self.info.width, condition["layers"], condition["set"], condition["target"]
        if KINDS[condition["kind"]].idle:
            return np.arange(0, dtype=np.int64)
        if name is None:
            first, last = (0, self.info.layers) if layers == "all" else (int(layers), int(layers) + 1)
            return np.arange(first * width, last * width, dtype=np.int64)
        if target is None:
            return np.unique(np.concatenate(list(self.sets[name, fold].values())))
        return restricted(self.sets[name, fold][target], layers, self.ranges, width, name, fold, target)

    def means(self, condition: Row, fold: str) -> np.ndarray | None:
        """What those neurons are set to where that is their mean, otherwise ``None``; float32 (neuron,)."""
        return self.mean_product[self.neurons(condition, fold)] if condition["to"] == "mean" else None

    def intervention(self, condition: Row, fold: str, item: int | None = None) -> Intervention:
        """What a condition does to items of one fold; ``item`` is needed where each is treated otherwise."""
        kind, name = KINDS[condition["kind"]], condition["set"]
        neurons, means = self.neurons(condition, fold), self.means(condition, fold)
        sets = self.sets[name, fold] if name is not None else {}
        shares = self.shares[item] if kind.by_item and item is not None else None
        alpha, to = condition["alpha"] or 0.0, condition["to"] or "zero"
        return kind.act(Acted(neurons, condition["positions"], alpha, to, means, sets, shares))


@dataclass(frozen=True)
class Work:
    """One unit of the intervening stage: a condition, a scoring, and the rows of one block."""

    unit: Unit
    condition: Row
    scoring: str
    block: tuple[Row, ...]


def plan_work(
    study: Study, items: pl.DataFrame, conditions: pl.DataFrame, sets: SetsByFold, model: AudioLM
) -> list[Work]:
    """List the units of the stage, block by block."""
    marks: dict[tuple[str, ...], str] = {}
    shared = answer_key(study, model)
    work = []
    for block in evaluated_blocks(items):
        # as a hash: written out in the card of every unit, the items would take more room than the answers
        keys = zip(asked_key(study, block, model), block, strict=True)
        asked = digest([[*key, item["fold"], item["truth"]] for key, item in keys])
        # what mixes by the model's own answer depends on that answer
        shares = digest([sorted(sets.shares.get(item["item"], {}).items()) for item in block])
        for condition in conditions.filter(~conditions["kind"].is_in(DERIVED)).iter_rows(named=True):
            for scoring in scorings(study, condition):
                neurons = {fold: _mark(marks, condition, fold, sets) for fold in sorted({i["fold"] for i in block})}
                key = {"stage": "intervene", **shared, "scoring": scoring, "path": "hook", "neurons": neurons}
                key |= {name: condition[name] for name in ("condition", "alpha", "to", "positions")} | {"items": asked}
                key |= {"shares": shares} if KINDS[condition["kind"]].by_item else {}
                work.append(Work(Unit(key), condition, scoring, block))
    return work


def scorings(study: Study, condition: Row) -> list[str]:
    """How a condition is asked in this stage; the baseline was asked while listening.

    Example:
        >>> scorings(Study(), {"kind": "deactivate", "generated": True})
        ['likelihood', 'generation']
    """
    ways = ["transcription"] if writes(study) else ["likelihood", *(["generation"] if condition["generated"] else [])]
    return ways[1:] if condition["kind"] == "baseline" else ways


def owners(work: Sequence[Work], shard: Shard) -> dict[str, Shard]:
    """Which shard does each unit: unit id -> shard, of as many as ``shard`` says.

    Units are dealt in the order of their ids, likelihood and generation apart, as one costs more than the other.
    """
    places: dict[str, Iterator[int]] = defaultdict(itertools.count)
    dealt = sorted(work, key=lambda part: part.unit.id)
    return {part.unit.id: shard.owner(next(places[part.scoring])) for part in dealt}


def list_units(work: Sequence[Work], heard: Sequence[str]) -> pl.DataFrame:
    """The units that make up this run: readers ignore all others in the folder."""
    first = "transcription" if any(part.scoring == "transcription" for part in work) else "likelihood"
    rows: list[tuple[object, ...]] = [(unit, "listen", "baseline", first, None) for unit in heard]
    for part in work:
        rows.append((part.unit.id, "intervene", part.condition["condition"], part.scoring, len(part.block)))
    return pl.DataFrame(sorted(rows, key=lambda row: row[:4]), schema=schema("units"), orient="row")


def evaluated_blocks(items: pl.DataFrame) -> list[tuple[Row, ...]]:
    """Cut the evaluated items into blocks of equal size."""
    evaluated = items.filter(items["evaluated"]).to_dicts()
    count = -(-len(evaluated) // BLOCK)
    edges = [len(evaluated) * n // count for n in range(count + 1) if count]
    return [tuple(evaluated[a:b]) for a, b in itertools.pairwise(edges)]


def why_no_null(run: RunFolder, study: Study, items: pl.DataFrame, model: AudioLM) -> str:
    """Why the null would say nothing: its batches are those of the baseline, one row each. Empty if it says something."""
    size = positions_per_batch(study, model.info)
    for block in evaluated_blocks(items):
        shortest = sorted(input_lengths(run, [item["item"] for item in block]))[:2]
        # where the two shortest rows do not fit one batch, no two rows do
        if len(shortest) == 2 and 2 * shortest[1] <= size:
            return ""
    return "not run: every batch holds one row"


def _mark(marks: dict[tuple[str, ...], str], condition: Row, fold: str, sets: SetsByFold) -> str:
    """Hash of the neurons on which a condition acts in one fold, and of the means to which it sets them."""
    name, target, kind = condition["set"] or "", condition["target"] or "", condition["kind"]
    key = name, target, "" if target else kind, condition["to"] or "", condition["layers"], fold
    if key not in marks:
        content = hashlib.sha256(sets.neurons(condition, fold).tobytes())
        for emotion, neurons in sets.sets[name, fold].items() if KINDS[kind].weighs else ():
            content.update(emotion.encode() + neurons.tobytes())
        means = sets.means(condition, fold)
        if means is not None:
            content.update(means.tobytes())
        marks[key] = content.hexdigest()[:16]
    return marks[key]


def intervene(run: RunFolder, study: Study, work: Sequence[Work], sets: SetsByFold, model: AudioLM, log: Log) -> None:
    """Do the units that are not done yet, those of a block in the order of the first layers in which they act.

    Where all neurons of a condition lie in later layers, and the model has shown that this changes no bit, its passes
    begin there (:mod:`~emoscope.models.hooks`).
    """
    from emoscope.models.hooks import Starts, room

    total = sum(len(part.block) for part in work)
    size = positions_per_batch(study, model.info)
    with log.stage("intervening", total, "answers") as progress:
        for _, of_block in itertools.groupby(work, key=lambda part: id(part.block)):
            left: list[Work] = []
            for part in of_block:
                if part.unit.done(run):
                    progress.step(len(part.block))
                else:
                    left.append(part)
            prepared = load_inputs(run, [item["item"] for item in left[0].block]) if left else []
            groups: dict[bool, Batches] = {}
            starts: Starts | None = None
            first = [first_layer(part, sets) for part in left]
            for layer, part in sorted(zip(first, left, strict=True), key=lambda pair: pair[0]):
                other = KINDS[part.condition["kind"]].other_batches
                if other not in groups:
                    # batches composed otherwise: rows as they are numbered, half as many positions in each
                    rows = batches(prepared, size // 2, by_length=False) if other else batches(prepared, size)
                    groups[other] = padded(rows, prepared, model)
                # what the device has left once the batches are there
                starts = starts or Starts(model, room=room(model.device))
                began = time.monotonic()
                part.unit.finish(run, _ask(part, groups[other], sets, model, progress, starts, layer))
                seconds = round(time.monotonic() - began, 4)
                log.event("unit", stage="intervening", scoring=part.scoring, answers=len(part.block), seconds=seconds)


def padded(groups: Sequence[list[int]], prepared: Sequence[Prepared], model: AudioLM) -> Batches:
    """Batches that are padded once for all conditions, as far as the device has room; others in each pass anew."""
    from emoscope.models.hooks import room

    left, batches = room(model.device), list[tuple[list[int], "Batch | list[Prepared]"]]()
    for group in groups:
        rows = [prepared[row] for row in group]
        left -= len(rows) * max(row.embeddings.nbytes for row in rows)
        batches.append((group, model.batch(rows) if model.info.device == "cpu" or left >= 0 else rows))
    return batches


def first_layer(work: Work, sets: SetsByFold) -> int:
    """The first layer in which a unit changes anything, in any fold: as many as there are layers where it does nowhere.

    It is 0 where passes run in full whatever is changed: for written answers, and for the null, whose batches are
    its own.
    """
    if work.scoring != "likelihood" or KINDS[work.condition["kind"]].other_batches:
        return 0
    layers, width = sets.info.layers, sets.info.width
    touched = [sets.neurons(work.condition, fold) for fold in {item["fold"] for item in work.block}]
    return min((int(neurons.min()) // width for neurons in touched if len(neurons)), default=layers)


def _ask(
    part: Work, groups: Batches, sets: SetsByFold, model: AudioLM, log: Log, starts: Starts, layer: int
) -> pl.DataFrame:
    """Ask one unit; the answers are read when all its passes are on their way, so that a GPU never waits for the host."""
    from emoscope.interventions.intervention import sparse_gains

    each = KINDS[part.condition["kind"]].by_item
    by_fold = {} if each else {f: sets.intervention(part.condition, f) for f in {item["fold"] for item in part.block}}
    limit = (TRANSCRIPT_TOKENS,) if part.scoring == "transcription" else ()

    def acting(item: Row) -> Intervention:
        return sets.intervention(part.condition, item["fold"], item["item"]) if each else by_fold[item["fold"]]

    # where each item is treated otherwise, gains of the whole block would take too much memory
    gains = None if each else sparse_gains(model.info, [acting(item) for item in part.block])
    asked: list[tuple[list[int], Sequence[Score | str]]] = []
    for number, (rows, batch) in enumerate(groups):
        own = gains.of(rows) if gains else sparse_gains(model.info, [acting(part.block[row]) for row in rows])
        if part.scoring == "likelihood":
            asked.append((rows, model.score(batch, own, start=starts.at(number, batch, layer))))
        else:
            asked.append((rows, model.generate(batch, own, *limit)))
        log.step(len(rows))
    results = dict(pair for rows, answers in asked for pair in zip(rows, answers, strict=True))
    ordered = [results[row] for row in range(len(results))]
    return answer_table(part.scoring, part.block, part.condition["condition"], ordered)
