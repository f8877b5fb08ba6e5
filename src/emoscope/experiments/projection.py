"""What a full study will take in time and on disk, from what its pilot measured."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emoscope.experiments.listen import BLOCK
from emoscope.experiments.study import Study
from emoscope.runs import RunFolder

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Rates:
    """What was measured on this machine: answers per second of each kind, and seconds that any run spends.

    Attributes:
        heard: items heard per second (decoding, encoder, forward pass, activity).
        scored: answers by likelihood per second under interventions; ``None`` where none was asked.
        written: generated answers per second; ``None`` where none was asked.
        fixed_s: loading the model and selecting, in seconds.
    """

    heard: float | None
    scored: float | None
    written: float | None
    fixed_s: float


@dataclass(frozen=True)
class Plan:
    """What the full study will take, if the model does as well as in the pilot.

    Attributes:
        heard: items that it hears.
        evaluated: items that it asks under each condition.
        scored, written: answers by likelihood and by generation under conditions.
        correct: emotion -> correct clips in the fold that has fewest, at most ``identify.items_per_emotion``.
    """

    heard: int
    evaluated: int
    scored: int
    written: int
    correct: Mapping[str, float]


def plan_full(full: Study, items: pl.DataFrame, names: Sequence[str], layers: int) -> Plan:
    """What the full study hears and asks, in expectation: emotions are answered as rightly as in the pilot."""
    from emoscope.experiments.conditions import DERIVED, plan_conditions
    from emoscope.experiments.dry_run import planned_sets

    rows = items.filter(items["fate"].is_in(["used", "not needed", "quarantined"]) & items["options"].is_not_null())
    orders = (1 + int(rows["order"].max() or 0)) * rows["wording"].n_unique()  # type: ignore[arg-type]
    seen: Counter[str] = Counter()
    good: Counter[str] = Counter()
    clips: dict[str, dict[str, Any]] = {}
    for row in rows.sort("item").iter_rows(named=True):
        clip = clips.setdefault(row["clip"], {**row, "right": False})
        clip["right"] = clip["right"] or bool(row["correct"])
    for clip in clips.values():
        if clip["fate"] == "used":
            seen[clip["truth"]] += 1
            good[clip["truth"]] += clip["right"]
    lost = sum(clip["fate"] == "quarantined" for clip in clips.values())
    usable = seen.total() / max(1, seen.total() + lost)
    rate = {name: usable * good[name] / max(1, seen[name]) for name in names}
    quota = full.evaluate.items_per_emotion
    outs = {clip["fold"] for clip in clips.values() if clip["side"] in ("both", "evaluate")}
    right: dict[str, Counter[str]] = {name: Counter() for name in names}
    evaluated: defaultdict[str, float] = defaultdict(float)
    taken: Counter[tuple[str, str]] = Counter()
    heard = 0

    def found(name: str) -> float:
        return min((right[name].total() - right[name][out] for out in outs), default=0.0)

    for clip in clips.values():
        name, side = clip["truth"], clip["side"]
        taken[name, side] += 1
        if full.corpus.clips_per_emotion is not None and taken[name, side] > full.corpus.clips_per_emotion:
            continue
        heard += orders
        if side in ("both", "evaluate"):
            evaluated[name] += usable
        if side in ("both", "identify"):
            right[name][clip["fold"]] += rate[name]
        if heard % BLOCK < orders and all(
            evaluated[n] >= quota and found(n) >= full.identify.items_per_emotion for n in names
        ):
            break
    asked = orders * round(sum(min(count, quota) for count in evaluated.values()))
    conditions = plan_conditions(full, planned_sets(full, tuple(names), layers), layers)
    likely = int((~conditions["kind"].is_in(["baseline", *DERIVED])).sum())
    correct = {name: min(float(found(name)), float(full.identify.items_per_emotion)) for name in names}
    return Plan(heard, asked, likely * asked, int(conditions["generated"].sum()) * asked, correct)


def read_rates(*logs: Path) -> Rates:
    """Answers per second from the logs of a run, over all sessions and shards that worked on it."""
    done: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    fixed: dict[str, float] = {}
    for line in (line for path in logs for line in path.read_text(encoding="utf-8").splitlines()):
        try:
            event = json.loads(line)
        except ValueError:
            continue  # a killed process may have left half a line
        if event["event"] == "unit":
            kind = event.get("scoring", event["stage"])
            done[kind][0] += event["answers"]
            done[kind][1] += event["seconds"]
        elif event["event"] == "stage done" and event["stage"] == "loading model":
            fixed["loading"] = event["seconds"]
        elif event["event"] == "selected":
            fixed["selecting"] = event["seconds"]
    rate = {kind: answers / seconds for kind, (answers, seconds) in done.items() if answers and seconds}
    return Rates(rate.get("listening"), rate.get("likelihood"), rate.get("generation"), sum(fixed.values()))


def hours(rates: Rates, plan: Plan) -> float | None:
    """Hours of the full study; ``None`` where a rate that it needs was not measured."""
    parts = ((plan.heard, rates.heard), (plan.scored, rates.scored), (plan.written, rates.written))
    if any(count and not rate for count, rate in parts):
        return None
    return (rates.fixed_s + sum(count / rate for count, rate in parts if rate)) / 3600


def gigabytes(run: RunFolder, heard: int, plan: Plan) -> float | None:
    """Gigabytes of the full study: bytes per item and per answer as the pilot left them."""
    answers = [path for name in ("answers", "units") for path in (run / name).iterdir()]
    per_item = sum(_bytes(run / name) for name in ("activity.zarr", "cache")) / max(1, heard)
    # a unit's card and table are nearly as large for few items as for many
    per_answer = sum(path.stat().st_size for path in answers) / max(1, heard * len(list((run / "units").iterdir())))
    return (per_item * plan.heard + per_answer * (plan.scored + plan.written + plan.heard)) / 1e9 if heard else None


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
