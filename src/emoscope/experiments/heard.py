"""What a run has heard: when it has enough, every clip's status, with which model and recordings it began, decoder inputs."""

from __future__ import annotations

import json
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from emoscope.corpora.audio import SoundFacts
from emoscope.corpora.check import far_longer_clips, length_notices, remembered_facts, sound_notices
from emoscope.corpora.clip import LISTED
from emoscope.experiments.items import SETTLED
from emoscope.experiments.schema import Study
from emoscope.neurons.samples import place_in_draw
from emoscope.runs import RunFolder, Unit
from emoscope.runs.folder import replacing
from emoscope.schemas import schema
from emoscope.vocabulary import USED

if TYPE_CHECKING:
    import torch

    from emoscope.experiments.schema import Row
    from emoscope.models.audio_lm import ModelInfo, Prepared


BLOCK = 64
"""Items of one listening unit, which the activity store keeps in files of their own."""

AHEAD = 4
"""Which items of a block are asked is decided by the blocks that stand at least so many before it.

So many blocks can be heard at once, by whichever process, and all decide alike.
"""

UNUSABLE = "no set and no test could use it"
"""Why a clip within the blocks that were heard is not needed."""


class Outcome(NamedTuple):
    """What became of an item that could be heard, as its row in the items table says."""

    status: str = "not needed"
    why: str | None = "quotas were filled before"
    duration_s: float | None = None
    answered: str | None = None
    correct: bool | None = None


@dataclass
class Heard:
    """The blocks that are heard without a hole from the first one on, by whichever process.

    They decide when listening has enough, and which clips of later blocks are left out. Blocks that were heard beyond
    the end count for nothing, so a run in shards has the items of a run in one process.
    """

    run: RunFolder
    study: Study
    blocks: Sequence[Sequence[Row]]
    # number of a block, and its items that are asked -> the unit that has heard them
    unit: Callable[[int, Sequence[Row]], Unit | None]
    units: list[Unit] = field(default_factory=list)  # of the blocks that count
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    complete: bool = False  # whether these blocks are enough, or all there are
    left_out: set[str] = field(default_factory=set)  # clips that are not asked, of the blocks that are decided
    decided: int = field(init=False)  # blocks of which it is known which of their items are asked

    def __post_init__(self) -> None:
        """Count the blocks of which nothing can be left out, even if all answers are right."""
        self._quotas = Quotas(self.study, [item for block in self.blocks for item in block])
        trial, first = Quotas(self.study, self._quotas.asked), 0
        while first < len(self.blocks) and not trial.may_spare():
            trial.take((item, True) for item in self.blocks[first])
            first += 1
        self.decided = min(first + AHEAD - 1, len(self.blocks))

    def block(self, number: int) -> list[Row] | None:
        """The items of a block that are asked; ``None`` while blocks are missing that decide it."""
        if number >= self.decided:
            return None
        return [item for item in self.blocks[number] if item["clip"] not in self.left_out]

    def done(self, number: int) -> Unit | None:
        """The unit that has heard a block; ``None`` while there is none, or the block is not decided."""
        block = self.block(number)
        return None if block is None else self.unit(number, block)

    def look(self) -> bool:
        """Take in what was heard since the last look; whether listening is complete."""
        self.complete = self.complete or not self.blocks
        while not self.complete and (unit := self.done(number := len(self.units))):
            block, found = self.blocks[number], block_outcome(self.run, unit, self.block(number) or ())
            self.outcomes |= {i["item"]: Outcome(why=UNUSABLE) for i in block if i["clip"] in self.left_out} | found
            self._quotas.take((i, bool(found[i["item"]].correct)) for i in block if _used(found, i))
            self.units.append(unit)
            if len(self.units) == len(self.blocks):
                self.complete = True
            # letter orders of one clip go together
            elif self.blocks[len(self.units)][0]["clip"] != block[-1]["clip"]:
                self.complete = self._quotas.filled()
            if len(self.units) + AHEAD > self.decided:
                self._decide_next()
        return self.complete

    def _decide_next(self) -> None:
        """Find the clips of the next undecided block that cannot be used; of one that is begun the block before decides."""
        begun = self.blocks[self.decided - 1][-1]["clip"]
        for block in self.blocks[self.decided : self.decided + 1]:
            coming = {item["clip"]: item for item in block if item["clip"] != begun}
            self.left_out |= {clip for clip, item in coming.items() if not self._quotas.can_use(item)}
            self.decided += 1


def _used(found: Mapping[int, Outcome], item: Row) -> bool:
    return item["item"] in found and found[item["item"]].status == USED


def block_outcome(run: RunFolder, unit: Unit, block: Sequence[Row]) -> dict[int, Outcome]:
    """What became of each item of a heard block: item -> outcome."""
    notes = unit.notes(run)
    answer = dict(run.answers([unit.id])[0].select("item", "answer").iter_rows())
    outcome = {int(row): Outcome("quarantined", why) for row, why in notes["quarantined"].items()}
    for row, truth in ((item["item"], item["truth"]) for item in block if item["item"] in answer):
        outcome[row] = Outcome("used", None, notes["duration_s"][str(row)], answer[row], answer[row] == truth)
    return outcome


class Quotas:
    """What sets and tests still want, by the answers to the items that were heard.

    Tested are the first clips of an emotion, up to the quota. A set is found on those of the right clips outside its fold
    that come first in an order by hash (:func:`~emoscope.neurons.samples.pools`).
    """

    def __init__(self, study: Study, asked: Sequence[Row]) -> None:
        self.asked = asked
        self._tests, self._finds = study.evaluate.items_per_emotion, study.identify.items_per_emotion
        # the minimum decides whether an emotion gets sets
        self._most, self._seed = max(self._finds, study.identify.minimum), study.seed
        # where sets are found on wrong answers, or are chosen by their letters, every clip may be used
        self._spares = not (study.controls.outcomes or study.identify.balance_letters)
        self._outs = {item["fold"] for item in asked if item["side"] != "identify"}
        self._acting: set[str] = set()  # folds that have a clip to test: sets are found for these
        self._tested: dict[str, set[str]] = {item["truth"]: set() for item in asked}
        self._right: dict[str, list[tuple[tuple[str, str], str]]] = {label: [] for label in self._tested}

    def take(self, answered: Iterable[tuple[Row, bool]]) -> None:
        """Count items that were heard, each with whether its answer was right."""
        for item, correct in answered:
            clips, right = self._tested[item["truth"]], self._right[item["truth"]]
            if item["side"] != "identify":
                self._acting.add(item["fold"])
                clips.add(item["clip"])
            found = place_in_draw(self._seed, item["clip"]), item["fold"]
            place = bisect(right, found)
            # a clip counts once, whatever its letter orders
            if correct and item["side"] != "evaluate" and found not in right[max(0, place - 1) : place]:
                right.insert(place, found)

    def filled(self) -> bool:
        """Whether every fold's complement holds the wanted right clips and the quota of tests is filled."""
        if any(len(clips) < self._tests for clips in self._tested.values()):
            return False
        folds = [(len(right), Counter(fold for _, fold in right)) for right in self._right.values()]
        return all(n - of[out] >= self._finds for n, of in folds for out in self._acting)

    def may_spare(self) -> bool:
        """Whether some clip could be left out: never while this is false."""
        tested = any(len(clips) >= self._tests for clips in self._tested.values())
        return self._spares and (tested or any(len(right) >= self._most for right in self._right.values()))

    def can_use(self, item: Row) -> bool:
        """Whether the clip of an item to come can be tested, or be in a set, whatever is still heard."""
        label, fold, side = item["truth"], item["fold"], item["side"]
        if not self._spares:
            return True
        if side != "identify" and (fold not in self._acting or len(self._tested[label]) < self._tests):
            return True
        right = self._right[label]
        before = right[: bisect(right, (place_in_draw(self._seed, item["clip"]), ""))]
        of_fold = Counter(other for _, other in before if other != fold and other in self._outs)
        return side != "evaluate" and len(before) - max(of_fold.values(), default=0) < self._most


def settle(items: pl.DataFrame, study: Study, asked: Sequence[Row], heard: Mapping[int, Outcome]) -> pl.DataFrame:
    """Write every candidate's status into the items table and mark the evaluated ones."""
    taken: dict[str, set[str]] = {}
    rows = []
    for item in asked:
        outcome = heard.get(item["item"], Outcome())
        clips = taken.setdefault(item["truth"], set())
        evaluated = outcome.status == "used" and item["side"] != "identify"
        if evaluated and len(clips) < study.evaluate.items_per_emotion:
            clips.add(item["clip"])
        rows.append((item["item"], *outcome, evaluated and item["clip"] in clips))
    types, both = schema("items"), ("status", "why", "duration_s")
    settled = pl.DataFrame(rows, schema={name: types[name] for name in ("item", *both, *SETTLED)}, orient="row")
    joined = items.join(settled, on="item", how="left", suffix="_heard")
    known = [pl.coalesce(name, f"{name}_heard").alias(name) for name in both]
    filled = joined.with_columns(*known, pl.col("evaluated").fill_null(False))
    return filled.drop(f"{name}_heard" for name in both)


FILE = "listened.json"
"""Kept in the run folder: model (id, checksum), clips (clip -> checksum), parts (what else the activity depends on)."""

REMEDY = "choose another folder with --out, or delete this run with --fresh"


class ChangedInput(ValueError):
    """A run folder was begun with another model or other recordings."""


def refuse_changes(run: RunFolder, model: ModelInfo, asked: Sequence[Row]) -> None:
    """Refuse a model or a recording that is not the one with which the run was begun; nothing is written."""
    before = run.read_json(FILE)
    if not before:
        return
    old, begun = before["model"], f"the run in {run.path} was begun"
    if old["checksum"] != model.checksum:
        same = old["id"] == model.id
        what = f"has other files than when {begun}" if same else f"is not {old['id']!r}, with which {begun}"
        sums = f"(checksum {model.checksum[:12]}, then {old['checksum'][:12]})"
        raise ChangedInput(f"model {model.id!r} {what} {sums}: {REMEDY}")
    changed = {i["clip"]: i["path"] for i in asked if before["clips"].get(i["clip"], i["checksum"]) != i["checksum"]}
    if changed:
        clip, path = next(iter(changed.items()))
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        what = f"clip {clip!r}{more} has other content than when {begun}: {path}"
        raise ChangedInput(f"{what}; put the old recording back, or {REMEDY}")


def remember(run: RunFolder, model: ModelInfo, asked: Sequence[Row], parts: Mapping[str, str] | None) -> None:
    """Write down with what the run listens; clips that an earlier version of the study asked are kept in the list.

    Args:
        parts: name -> hash of what else decides the activity; ``None`` while there is no store that fits.
    """
    clips = (run.read_json(FILE) or {}).get("clips", {})
    clips |= {item["clip"]: item["checksum"] for item in asked}
    card = {"id": model.id, "checksum": model.checksum}
    run.write_json(FILE, {"model": card, "clips": dict(sorted(clips.items())), "parts": parts})


def differing_parts(run: RunFolder, parts: Mapping[str, str]) -> list[str] | None:
    """Which parts differ from those with which the run listened; ``None`` where it has not listened."""
    before = (run.read_json(FILE) or {}).get("parts")
    return None if before is None else [name for name, value in parts.items() if before.get(name) != value]


def save_inputs(run: RunFolder, start: int, places: Sequence[int], prepared: Sequence[Prepared], unit: str) -> None:
    """Keep the inputs of one listening block, heard in ``unit``; ``places`` is where each prepared item stands in it."""
    import torch
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {"places": torch.tensor(list(places), dtype=torch.int64)}
    for place, item in zip(places, prepared, strict=True):
        tensors[f"embeddings.{place}"] = item.embeddings.contiguous()
        tensors[f"scopes.{place}"] = item.scopes.contiguous()
        if item.position_ids is not None:
            tensors[f"position_ids.{place}"] = item.position_ids.contiguous()
    letters = json.dumps({str(p): list(item.letters) for p, item in zip(places, prepared, strict=True)})
    with replacing(inputs_path(run, start)) as partial:
        save_file(tensors, partial, metadata={"letters": letters, "unit": unit})


def kept(run: RunFolder, start: int) -> str | None:
    """The unit whose inputs and activity are kept of a block; ``None`` where none are."""
    from safetensors import safe_open

    if not (path := inputs_path(run, start)).is_file():
        return None
    with safe_open(path, framework="numpy") as file:
        return (file.metadata() or {}).get("unit")


def load_inputs(run: RunFolder, items: Sequence[int]) -> list[Prepared]:
    """Read the inputs of some items."""
    from emoscope.models.audio_lm import Prepared

    found: dict[int, Prepared] = {}
    for file, places in _stored(run, items):
        letters, names = json.loads(file.metadata()["letters"]), set(file.keys())
        for item, place in places.items():
            embeddings, scopes = (file.get_tensor(f"{name}.{place}") for name in ("embeddings", "scopes"))
            positions = file.get_tensor(name) if (name := f"position_ids.{place}") in names else None
            found[item] = Prepared(embeddings, scopes, tuple(letters[str(place)]), positions)
    return [found[item] for item in items]


def input_lengths(run: RunFolder, items: Sequence[int]) -> list[int]:
    """How many positions the inputs of some items have, without reading them."""
    found: dict[int, int] = {}
    for file, places in _stored(run, items):
        found |= {item: file.get_slice(f"scopes.{place}").get_shape()[0] for item, place in places.items()}
    return [found[item] for item in items]


def _stored(run: RunFolder, items: Sequence[int]) -> Iterator[tuple[Any, dict[int, int]]]:
    """The open files of the listening blocks of some items, each with its items and their places in it."""
    from safetensors import safe_open

    for start in sorted({item // BLOCK * BLOCK for item in items}):
        with safe_open(inputs_path(run, start), framework="pt") as file:
            yield file, {item: item - start for item in items if 0 <= item - start < BLOCK}


def inputs_path(run: RunFolder, start: int) -> Path:
    """Where the inputs of the block that begins at item ``start`` are kept."""
    return run / "cache" / f"inputs-{start:07d}.safetensors"


def batches(
    prepared: Sequence[Prepared], positions: int, by_length: bool = True, padded: bool = True
) -> list[list[int]]:
    """Group row numbers into batches of at most so many positions: rows of like length, or as they come.

    Args:
        padded: whether a batch has rows x longest positions, or only those of its rows.
    """
    lengths, longest, taken = [len(item.scopes) for item in prepared], 0, 0
    groups: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: (lengths[row], row)) if by_length else range(len(lengths)):
        longest, taken = max(longest, lengths[row]), taken + lengths[row]
        if groups and ((len(groups[-1]) + 1) * longest if padded else taken) <= positions:
            groups[-1].append(row)
        else:
            groups.append([row])
            longest = taken = lengths[row]
    return groups


def together(groups: Sequence[list[int]], prepared: Sequence[Prepared], positions: int) -> Iterator[list[list[int]]]:
    """Neighbouring batches that have at most so many positions of their own together; others by themselves."""
    waiting, taken = list[list[int]](), 0
    for rows in groups:
        own = sum(len(prepared[row]) for row in rows)
        if waiting and taken + own > positions:
            yield waiting
            waiting, taken = [], 0
        waiting.append(rows)
        taken += own
    if waiting:
        yield waiting


def told_as_heard(run: RunFolder, items: pl.DataFrame, units: Sequence[str]) -> list[str]:
    """What listening found, of the clips in use."""
    used = items.filter(items["status"] == "used").unique("clip", keep="first", maintain_order=True)
    noted: dict[str, list[str]] = {}
    for unit in units:
        # units of an earlier version noted nothing
        noted |= (run.card(unit) or {})["notes"].get("told", {})
    told = {clip: noted.get(str(item), []) for clip, item in used.select("clip", "item").iter_rows()}
    return _told(used, told, dict(used.select("clip", "duration_s").iter_rows()))


def told_as_remembered(items: pl.DataFrame, loudness: str) -> list[str]:
    """What an earlier check of the corpus found, of the clips that may be asked; nothing is decoded.

    Args:
        loudness: of the study. A check hears clips with their level normalised; of others the lengths are known alone.
    """
    asked = items.filter(items["status"].is_null()).unique("clip", keep="first", maintain_order=True)
    remembered = remembered_facts()
    found = {clip: remembered.known(Path(path)) for clip, path in asked.select("clip", "path").iter_rows()}
    facts = {clip: SoundFacts(*known) for clip, known in found.items() if known is not None}
    told = {clip: fact.told for clip, fact in facts.items()} if loudness == "normalised" else {}
    return _told(asked, told, {clip: fact.duration_s for clip, fact in facts.items()})


def _told(items: pl.DataFrame, told: Mapping[str, Sequence[str]], seconds: Mapping[str, float | None]) -> list[str]:
    listed = dict(items.select("clip", LISTED).iter_rows()) if LISTED in items.columns else {}
    longer = far_longer_clips((clip, seconds.get(clip), said) for clip, said in listed.items())
    return [*sound_notices(told), *length_notices(longer)]
