"""What a run has heard: when it has enough, the fate of every clip, and with which model and recordings it was begun."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from emoscope.experiments.items import SETTLED
from emoscope.experiments.schema import Study
from emoscope.runs import RunFolder, Unit
from emoscope.schemas import schema

if TYPE_CHECKING:
    import polars as pl

    from emoscope.experiments.schema import Row
    from emoscope.models.audio_lm import ModelInfo


@dataclass
class Heard:
    """The blocks that are heard without a hole from the first one on, by whichever process.

    They decide when listening has enough: blocks that some process heard beyond that point count for nothing, so a
    run in shards, which may hear a few more, has the items of a run in one process.

    Args:
        run: the run folder.
        study: the study.
        blocks: all candidate items, in blocks.
        unit: number of a block -> the unit that hears it, where it is done; ``None`` where it is not.
        units: the units of the blocks that count.
        outcomes: item -> what became of it (:func:`block_outcome`), in these blocks.
        complete: whether they are enough, or all there are.
    """

    run: RunFolder
    study: Study
    blocks: Sequence[Sequence[Row]]
    unit: Callable[[int], Unit | None]
    units: list[Unit] = field(default_factory=list)
    outcomes: dict[int, dict[str, Any]] = field(default_factory=dict)
    complete: bool = False

    def look(self) -> bool:
        """Take in what was heard since the last look; whether listening is complete."""
        asked = [item for block in self.blocks for item in block]
        self.complete = self.complete or not asked
        while not self.complete and (unit := self.unit(len(self.units))):
            block = self.blocks[len(self.units)]
            self.outcomes |= block_outcome(self.run, unit, block)
            self.units.append(unit)
            if len(self.units) == len(self.blocks):
                self.complete = True
            # letter orders of one clip go together
            elif self.blocks[len(self.units)][0]["clip"] != block[-1]["clip"]:
                self.complete = enough(self.study, asked, self.outcomes)
        return self.complete


def block_outcome(run: RunFolder, unit: Unit, block: Sequence[Row]) -> dict[int, dict[str, Any]]:
    """What became of each item of a heard block: item -> fate, why, duration_s, answered, correct."""
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
                "answered": None,
                "correct": None,
            }
        else:
            outcome[row] = {
                "fate": "used",
                "why": None,
                "duration_s": notes["duration_s"][name],
                "answered": answer[row],
                "correct": answer[row] == item["truth"],
            }
    return outcome


def enough(study: Study, asked: Sequence[Row], heard: Mapping[int, Row]) -> bool:
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


def settle(items: pl.DataFrame, study: Study, asked: Sequence[Row], heard: Mapping[int, Row]) -> pl.DataFrame:
    """Write every candidate's fate into the items table and mark the evaluated ones."""
    import polars as pl

    clips_evaluated: dict[str, list[str]] = {}
    rows = []
    for item in asked:
        outcome = heard.get(item["item"], {"fate": "not needed", "why": "quotas were filled before", "duration_s": None,
                                           "answered": None, "correct": None})  # fmt: skip
        evaluated = False
        if outcome["fate"] == "used" and item["side"] in ("both", "evaluate"):
            clips = clips_evaluated.setdefault(item["truth"], [])
            if item["clip"] in clips or len(clips) < study.evaluate.items_per_emotion:
                evaluated = True
                if item["clip"] not in clips:
                    clips.append(item["clip"])
        rows.append({"item": item["item"], **outcome, "evaluated": evaluated})
    types = schema("items")
    found = ("item", "fate", "why", "duration_s", *SETTLED)
    settled = pl.DataFrame(rows, schema={name: types[name] for name in found})
    joined = items.join(settled, on="item", how="left", suffix="_heard")
    return joined.with_columns(
        pl.coalesce("fate", "fate_heard").alias("fate"),
        pl.coalesce("why", "why_heard").alias("why"),
        pl.coalesce("duration_s", "duration_s_heard").alias("duration_s"),
        pl.col("evaluated").fill_null(False),
    ).drop("fate_heard", "why_heard", "duration_s_heard")


FILE = "listened.json"
"""Kept in the run folder: model (id, checksum), clips (clip -> checksum), parts (what else the activity depends on)."""

REMEDY = "choose another folder with --out, or delete this run with --fresh"


class ChangedInput(ValueError):
    """A run folder was begun with another model or other recordings."""


def refuse_changes(run: RunFolder, model: ModelInfo, asked: Sequence[Row]) -> None:
    """Refuse a model or a recording that is not the one with which the run was begun; nothing is written.

    Args:
        run: the run folder.
        model: the model that is to be asked.
        asked: candidate items (clip, path, checksum).

    Raises:
        ChangedInput: names the model, or the first such clip and its file.
    """
    before = run.read_json(FILE)
    if not before:
        return
    old = before["model"]
    if old["checksum"] != model.checksum:
        what = (
            f"model {model.id!r} has other files than when the run in {run.path} was begun"
            if old["id"] == model.id
            else f"model {model.id!r} is not {old['id']!r}, with which the run in {run.path} was begun"
        )
        raise ChangedInput(f"{what} (checksum {model.checksum[:12]}, then {old['checksum'][:12]}): {REMEDY}")
    changed = {i["clip"]: i["path"] for i in asked if before["clips"].get(i["clip"], i["checksum"]) != i["checksum"]}
    if changed:
        clip, path = next(iter(changed.items()))
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise ChangedInput(
            f"clip {clip!r}{more} has other content than when the run in {run.path} was begun: {path}; put the old "
            f"recording back, or {REMEDY}"
        )


def remember(run: RunFolder, model: ModelInfo, asked: Sequence[Row], parts: Mapping[str, str] | None) -> None:
    """Write down with what the run listens; clips that an earlier version of the study asked are kept in the list.

    Args:
        run: the run folder.
        model: the model that is asked.
        asked: candidate items.
        parts: name -> hash of what else decides the activity; ``None`` while there is no store that fits.
    """
    clips = (run.read_json(FILE) or {}).get("clips", {})
    clips |= {item["clip"]: item["checksum"] for item in asked}
    run.write_json(
        FILE,
        {"model": {"id": model.id, "checksum": model.checksum}, "clips": dict(sorted(clips.items())), "parts": parts},
    )


def differing_parts(run: RunFolder, parts: Mapping[str, str]) -> list[str] | None:
    """Which parts differ from those with which the run listened; ``None`` where it has not listened."""
    before = (run.read_json(FILE) or {}).get("parts")
    return None if before is None else [name for name, value in parts.items() if before.get(name) != value]
