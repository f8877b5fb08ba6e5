"""The intervening stage: every condition on every block of evaluated items, in units that survive a kill."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl

from emoscope.experiments.conditions import Ranges
from emoscope.experiments.heard import batches, input_lengths, load_inputs
from emoscope.experiments.listen import (
    LINE,
    PADDED,
    TRANSCRIPT_TOKENS,
    answer_key,
    asked_key,
    in_batches_that_fit,
    path_heard,
    positions_per_batch,
)
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
    from emoscope.models.hooks import SparseGains
    from emoscope.models.passes import Starts
    from emoscope.models.values import Batch

Batches = Sequence[tuple[list[int], Callable[[], "Batch"]]]
"""Rows of a block, and what gives them to the model."""

LAST = "last position"
PATHS = {
    PADDED: "rows filled up to the longest of a batch: for answers in writing, or as a proof allows no other",
    LINE: "rows of a batch in one line, of the last layer no more than is read: as a proof shows the same answers",
    LAST: "last positions alone, on keys and values of an untouched pass: as gains act there alone, and a proof allows it",
}
"""The ways in which a unit is asked, the cheapest last, and what they are chosen for."""

AT_ONCE = 16
"""Units at last positions that share an untouched pass: they are done together, or, where a run is stopped, none is."""

BLOCK = 256  # evaluated items of one unit, at most; blocks are of equal size and depend on the items alone


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
    path: str  # one of ``PATHS``
    first: bool = False  # whether it is asked before others are, on all blocks: of the headline, its controls, the null


class Way(NamedTuple):
    """How rows stand in batches."""

    padded: bool  # or in one line
    otherwise: bool  # than those of most conditions: as they are numbered, half as many positions in each
    apart: bool  # whether rows of one clip are under gains of their own, and can have nothing in common


def plan_work(
    study: Study, items: pl.DataFrame, conditions: pl.DataFrame, sets: SetsByFold, model: AudioLM
) -> list[Work]:
    """List the units of the stage in their order: the headline, its controls and the null first, block by block."""
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
                path = path_of(condition, scoring, model)
                key = {"stage": "intervene", **shared, "scoring": scoring, "path": path, "neurons": neurons}
                key |= {name: condition[name] for name in ("condition", "alpha", "to", "positions")} | {"items": asked}
                key |= {"shares": shares} if KINDS[condition["kind"]].by_item else {}
                first = condition["role"] in ("reference", "headline")
                work.append(Work(Unit(key), condition, scoring, block, path, first))
    return sorted(work, key=lambda part: not part.first)


def path_of(condition: Row, scoring: str, model: AudioLM) -> str:
    """How a condition is asked: in the cheapest way that the model's proofs allow."""
    if scoring != "likelihood" or not model.packs:
        return PADDED
    return LAST if condition["positions"] == "decision" else LINE


def used_paths(work: Sequence[Work], heard: Mapping[str, int]) -> dict[str, dict[str, int | str]]:
    """In which ways units are asked: path -> how many, and why; ``heard``: path -> how many of the baseline."""
    counts = Counter(heard) + Counter(part.path for part in work)
    return {path: {"units": counts[path], "why": why} for path, why in PATHS.items() if counts[path]}


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
    size, padded = positions_per_batch(study, model.info), path_heard(study, model) == PADDED
    for block in evaluated_blocks(items):
        shortest = sorted(input_lengths(run, [item["item"] for item in block]))[:2]
        # where the two shortest rows do not fit one batch, no two rows do
        if len(shortest) == 2 and (2 * shortest[1] if padded else sum(shortest)) <= size:
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
    """Do the units that are not done yet."""
    with log.stage("intervening", sum(len(part.block) for part in work), "answers") as progress:
        ask_units(run, study, work, sets, model, progress)
    run.pack(part.unit.id for part in work)


def ask_units(run: RunFolder, study: Study, work: Sequence[Work], sets: SetsByFold, model: AudioLM, log: Log) -> None:
    """Do the units that are not done yet, within a stage that is under way."""
    positions = positions_per_batch(study, model.info)
    for _, of_block in itertools.groupby(work, key=lambda part: (part.first, id(part.block))):
        parts, left = list(of_block), list[Work]()
        for part in parts:
            if part.unit.done(run):
                log.step(len(part.block))
            else:
                left.append(part)
        prepared = load_inputs(run, [item["item"] for item in left[0].block]) if left else []
        for way, alike in itertools.groupby(sorted(left, key=way_of), key=way_of):
            _ask_alike(run, list(alike), way, prepared, positions, sets, model, log)
        if left:
            run.pack(part.unit.id for part in parts)


def _ask_alike(
    run: RunFolder,
    left: list[Work],
    way: Way,
    prepared: Sequence[Prepared],
    planned: int,
    sets: SetsByFold,
    model: AudioLM,
    log: Log,
) -> None:
    """Do units of one block whose rows stand alike in batches; where a device's memory is full, in smaller ones."""

    def ask(positions: int, how: Mapping[str, object]) -> None:
        undone = [part for part in left if not part.unit.done(run)]
        _ask_in(put(way, prepared, left[0].block, positions, model), run, undone, sets, model, log, how)

    in_batches_that_fit(model, planned, prepared, log, ask)


def _ask_in(
    batches: Batches,
    run: RunFolder,
    left: Sequence[Work],
    sets: SetsByFold,
    model: AudioLM,
    log: Log,
    how: Mapping[str, object],
) -> None:
    """Do units of one block in the same batches, those that act at last positions alone first.

    The others follow in the order of the first layers in which they act: where all neurons of a condition lie in later
    layers, its passes begin there.
    """
    from emoscope.models.passes import Starts, room

    first = {part.unit.id: first_layer(part, sets) for part in left}
    # what the device has left once the batches are there
    starts = Starts(model, room=room(model.device))
    at_last = [part for part in left if part.path == LAST]
    others = sorted((part for part in left if part.path != LAST), key=lambda part: first[part.unit.id] or 0)
    shared = [at_last[n : n + AT_ONCE] for n in range(0, len(at_last), AT_ONCE)]
    for parts in [*shared, *([part] for part in others)]:
        began = time.monotonic()
        for part, answers in _ask(parts, batches, sets, model, log, starts, first[parts[0].unit.id]):
            part.unit.finish(run, answers, how)
            seconds = round((time.monotonic() - began) / len(parts), 4)
            event = {"stage": "intervening", "scoring": part.scoring, "answers": len(part.block)}
            log.event("unit", **event, seconds=seconds)


def way_of(part: Work) -> Way:
    """How the rows of a unit stand in batches."""
    kind = KINDS[part.condition["kind"]]
    return Way(part.path == PADDED, kind.other_batches, kind.by_item and not kind.patches)


def put(way: Way, prepared: Sequence[Prepared], block: Sequence[Row], positions: int, model: AudioLM) -> Batches:
    """The batches of a block: kept for all conditions as far as the device has room, others made anew in each pass."""
    from emoscope.models.passes import pack, room

    size, by_length = (positions // 2, False) if way.otherwise else (positions, True)
    groups = batches(prepared, size, by_length, way.padded)
    made: list[tuple[list[int], Callable[[], Batch]]] = []
    left = room(model.device)
    for group in groups:
        rows = [prepared[row] for row in group]
        clips = () if way.apart else [block[row]["clip"] for row in group]
        make = partial(model.batch, rows) if way.padded else partial(pack, rows, model.device, clips)
        left -= len(rows) * max(row.embeddings.nbytes for row in rows)
        # a batch in hand is handed on
        made.append((group, partial(model.batch, make()) if model.info.device == "cpu" or left >= 0 else make))
    return made


def first_layer(work: Work, sets: SetsByFold) -> int | None:
    """The first layer in which a unit changes anything, in any fold: as many as there are layers where it does nowhere.

    ``None`` where passes run in full whatever is changed: for written answers, and for the null, whose batches are its
    own.
    """
    if work.scoring != "likelihood" or KINDS[work.condition["kind"]].other_batches:
        return None
    layers, width = sets.info.layers, sets.info.width
    touched = [sets.neurons(work.condition, fold) for fold in {item["fold"] for item in work.block}]
    return min((int(neurons.min()) // width for neurons in touched if len(neurons)), default=layers)


def _ask(
    parts: Sequence[Work],
    batches: Batches,
    sets: SetsByFold,
    model: AudioLM,
    log: Log,
    starts: Starts,
    layer: int | None,
) -> Iterator[tuple[Work, pl.DataFrame]]:
    """Ask one unit, or several at last positions, which share an untouched pass; their answers, unit by unit.

    These are read when all passes are on their way, so that a GPU never waits for the host.
    """
    gains = [row_gains(part, sets, model) for part in parts]
    asked: list[list[tuple[list[int], Sequence[Score | str]]]] = [[] for _ in parts]
    for number, (rows, make) in enumerate(batches):
        batch = None  # its keys and values are let go before the next are made
        batch = model.last_positions(make()) if parts[0].path == LAST else make()
        for part, own, found in zip(parts, gains, asked, strict=True):
            if part.scoring == "likelihood":
                start = None if layer is None or part.path == LAST else starts.at(number, batch, layer)
                found.append((rows, model.score(batch, own(rows), start=start)))
            else:
                limit = (TRANSCRIPT_TOKENS,) if part.scoring == "transcription" else ()
                found.append((rows, model.generate(batch, own(rows), *limit)))
            log.step(len(rows))
    for part, found in zip(parts, asked, strict=True):
        results = dict(pair for rows, answers in found for pair in zip(rows, answers, strict=True))
        ordered = [results[row] for row in range(len(results))]
        yield part, answer_table(part.scoring, part.block, part.condition["condition"], ordered)


def row_gains(part: Work, sets: SetsByFold, model: AudioLM) -> Callable[[Sequence[int]], SparseGains]:
    """The gains of some rows of a unit's block."""
    from emoscope.interventions.intervention import sparse_gains

    condition, block = part.condition, part.block
    if KINDS[condition["kind"]].by_item:
        # where each item is treated otherwise, gains of the whole block would take too much memory
        def acting(item: Row) -> Intervention:
            return sets.intervention(condition, item["fold"], item["item"])

        return lambda rows: sparse_gains(model.info, [acting(block[row]) for row in rows])
    by_fold = {fold: sets.intervention(condition, fold) for fold in {item["fold"] for item in block}}
    return sparse_gains(model.info, [by_fold[item["fold"]] for item in block]).of
