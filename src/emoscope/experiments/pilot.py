"""A pilot: does the model hear the emotions, will there be enough items, and what does the full study cost."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

import msgspec
import numpy as np
import polars as pl

from emoscope.experiments.conditions import passes, plan_conditions, planned_sets, set_spec
from emoscope.experiments.heard import AHEAD, BLOCK
from emoscope.experiments.items import options_of
from emoscope.experiments.schema import Study
from emoscope.runs import RunFolder
from emoscope.runs.folder import digest
from emoscope.vocabulary import LEAST_AGREEMENT, LEAST_LETTER_MASS, LEVEL

if TYPE_CHECKING:
    from emoscope.models.audio_lm import ModelInfo
    from emoscope.neurons.samples import NotIdentifiable


class Hearing(TypedDict):
    """How one emotion was heard: clips, right answers, shares in percent, Fisher's p; correct clips to expect and needed."""

    emotion: str
    clips: int
    right: int
    recall: float | None
    named_on_others: float | None
    p: float
    expected: float
    minimum: int


class Pilot(TypedDict):
    """What the manifest keeps of a pilot; shares are in percent."""

    clips_per_second: float | None
    answers_per_second: float | None
    projected_hours: float | None
    projected_gb: float | None
    verdict: list[str]
    basis: str
    uar: float
    chance: float
    p: float
    letter_mass: float | None
    agreement: float | None
    generated_per_second: float | None
    emotions: list[Hearing]
    confusion: dict[str, dict[str, int]]
    planned: dict[str, int]
    full: str


SHUFFLES = 5_000
"""Permutations of the labels in the test of the UAR."""


def pilot_result(run: RunFolder, full: Study, items: pl.DataFrame, baseline: pl.DataFrame, model: ModelInfo) -> Pilot:
    """What a pilot says about the study ``full``; in its settled ``items``, clips beyond the pilot are "not needed"."""
    asked = items.filter(items["status"] == "used")
    names = options_of(asked)
    likely = baseline.filter(scoring="likelihood").join(asked.select("item", "clip", "truth", "order"), on="item")
    # one answer a clip: several letter orders of a clip are no independent evidence
    first = likely.filter(order=0)
    uar, p = _uar_test(first, names)
    plan = plan_full(full.with_budget(model.recommended_budget), items, names, model.layers)
    emotions = [_heard(first, name, round(plan.correct[name], 1), full.identify.minimum) for name in names]
    rates = read_rates(*sorted(run.path.glob("log*.jsonl")))
    mass = float(likely["letter_mass"].mean()) if likely.height else None  # type: ignore[arg-type]
    both = baseline.filter(scoring="likelihood").join(baseline.filter(scoring="generation"), on="item")
    alike = (both["answer"] == both["answer_right"]).fill_null(False)
    agreement = 100 * float(alike.mean()) if both.height else None  # type: ignore[arg-type]
    count = Counter(first.select("truth", "answer").iter_rows())
    chance = 100 / max(1, len(names))
    answers = [rate for rate in (rates.scored, rates.written) if rate]
    return {
        "clips_per_second": rates.heard, "answers_per_second": answers[0] if answers else None,
        "projected_hours": hours(rates, plan), "projected_gb": gigabytes(run, asked.height, plan),
        "verdict": _verdict(emotions, tells_apart(uar, chance, p), mass, agreement),
        "basis": _basis(plan, asked["clip"].n_unique()),
        "uar": uar, "chance": chance, "p": p, "letter_mass": mass, "agreement": agreement,
        "generated_per_second": rates.written, "emotions": emotions,
        "confusion": {truth: {name: count[truth, name] for name in names} for truth in names},
        "planned": {"heard": plan.heard, "evaluated": plan.evaluated, "scored": plan.scored, "written": plan.written},
        "full": digest(msgspec.to_builtins(full)),
    }  # fmt: skip


def _heard(answers: pl.DataFrame, emotion: str, expected: float, minimum: int) -> Hearing:
    """How often an emotion is named on its own clips and on the others', and how often chance alone does as well.

    The test is Fisher's exact test, one-sided: a model that names one emotion on every clip does not pass it.
    """
    own, named = answers["truth"] == emotion, answers["answer"] == emotion
    hits, clips = int((own & named).sum()), int(own.sum())
    alarms, others = int((~own & named).sum()), int((~own).sum())
    return {
        "emotion": emotion, "clips": clips, "right": hits, "recall": 100 * hits / clips if clips else None,
        "named_on_others": 100 * alarms / others if others else None, "p": fisher(hits, clips, alarms, others),
        "expected": expected, "minimum": minimum,
    }  # fmt: skip


def fisher(hits: int, clips: int, alarms: int, others: int) -> float:
    """How often chance gives at least so many namings (hits) to the emotion's own clips (Fisher's exact test).

    Example:
        >>> round(fisher(3, 4, 1, 4), 4)   # the lady tasting tea: 17 of 70 arrangements
        0.2429
    """
    from scipy.stats import hypergeom

    return float(hypergeom.sf(hits - 1, clips + others, clips, hits + alarms))


def _uar_test(answers: pl.DataFrame, names: Sequence[str]) -> tuple[float, float]:
    """UAR in percent, and the share of permutations of the labels that reach it."""
    truth, answer = answers["truth"].to_numpy(), answers["answer"].to_numpy()
    if not len(truth):
        return 0.0, 1.0
    right = truth == answer
    own = [truth == name for name in names if (truth == name).any()]
    uar = float(np.mean([right[of_emotion].mean() for of_emotion in own]))
    generator = np.random.default_rng(0)
    shuffled = generator.permuted(np.tile(answer, (SHUFFLES, 1)), axis=1) == truth
    chance = np.mean([shuffled[:, of_emotion].mean(axis=1) for of_emotion in own], axis=0)
    return 100 * uar, float((1 + (chance >= uar - 1e-12).sum()) / (1 + SHUFFLES))


def tells_apart(uar: float, chance: float, p: float, span: str = "") -> str:
    """Whether the model tells the emotions apart, in words; numbers are in percent, ``span`` is the UAR's interval.

    Example:
        >>> tells_apart(92, 33.3, 0.0002)
        'the model tells the emotions apart: UAR 92 % where chance gives 33 %'
    """
    if p < LEVEL:
        return f"the model tells the emotions apart: UAR {uar:.0f} %{span} where chance gives {chance:.0f} %"
    return (
        f"UAR {uar:.0f} %{span} is not clearly above chance ({chance:.0f} %; chance alone does as well in {100 * p:.0f} % "
        "of cases): what interventions change would mean little"
    )


def _verdict(emotions: Sequence[Hearing], level: str, mass: float | None, agreement: float | None) -> list[str]:
    sentences = [level]
    if mass is not None and mass < LEAST_LETTER_MASS:
        sentences.append(f"the model rarely answers with a letter (mass {mass:.1f}): try another wording")
    if agreement is not None and agreement < LEAST_AGREEMENT:
        sentences.append(
            f"what the model writes is its most probable letter on {agreement:.0f} % of the clips only: try another wording"
        )
    ready = []
    for row in emotions:
        if row["p"] >= LEVEL:
            sentences.append(_at_chance(row))
        elif row["expected"] < row["minimum"]:
            sentences.append(
                f"{row['emotion']} will have about {row['expected']:.0f} correct clips where {row['minimum']} are needed: "
                "add clips, or lower identify.minimum"
            )
        else:
            ready.append(row["emotion"])
    enough = f"{len(ready)} of {len(emotions)} emotions will have enough items"
    if len(ready) >= 2:
        return [*sentences, f"ready: {enough} ({', '.join(ready)})"]
    return [*sentences, f"not ready: {enough}, and a study needs two"]


def _at_chance(row: Hearing) -> str:
    """Say so only of what was seen: with few clips an emotion may be heard and not be shown to be."""
    name, counted = row["emotion"], f"named on {row['right']} of its {row['clips']} clips"
    if row["named_on_others"] is None or row["recall"] is None:
        return f"{name} was not heard: its clips cannot be used"
    others = f"and on {row['named_on_others']:.0f} % of the others"
    if row["recall"] <= row["named_on_others"]:
        return f"{name} is at chance ({counted} {others}): no neurons can be found for it"
    return (
        f"{name} is not clearly above chance ({counted} {others}; chance alone does as well in {100 * row['p']:.0f} % of "
        "cases): pilot more clips"
    )


def _basis(plan: Plan, clips: int) -> str:
    return (
        f"projected for {plan.heard:,} items heard, {plan.scored:,} answers by likelihood and {plan.written:,} generated, "
        f"at the rates of this machine and this pilot's {clips} clips (larger batches are faster); every emotion is taken "
        "to be answered as rightly as in the pilot, and to be identifiable; the report is not counted"
    )


def told_without_sets(why: NotIdentifiable, items: pl.DataFrame, span: str = "") -> str:
    """What the model can do, why no neurons are looked for, and what helps: a lower minimum only where there is something."""
    asked = items.filter(status="used", order=0).rename({"answered": "answer"})
    names = options_of(asked)
    uar, p = _uar_test(asked, names)
    level = tells_apart(uar, 100 / max(1, len(names)), p, span)
    reached = sorted(why.counts.values())[-2] if len(why.counts) > 1 else 0
    lower = f", or lower identify.minimum ({reached} would do for two emotions)" if reached > 1 else ""
    remedy = "try another wording, model or corpus: with fewer clips neurons would be found from lucky answers"
    return f"{level}; {why}; {f'add clips{lower}' if p < LEVEL else remedy}"


@dataclass(frozen=True)
class Rates:
    """Answers per second on this machine, ``None`` of what was not asked, and seconds that any run spends."""

    heard: float | None  # items: decoding, encoder, forward pass, activity
    scored: float | None  # answers by likelihood under interventions
    written: float | None  # answers by generation under interventions
    fixed_s: float  # loading the model and selecting


@dataclass(frozen=True)
class Plan:
    """What the full study will take, if the model does as well as in the pilot."""

    heard: int  # items
    evaluated: int  # items that are asked under each condition
    scored: int  # answers by likelihood under conditions
    written: int  # answers by generation under conditions
    correct: Mapping[str, float]  # emotion -> correct clips in the fold that has fewest, at most as many as are wanted


def plan_full(full: Study, items: pl.DataFrame, names: Sequence[str], layers: int) -> Plan:
    """What the full study hears and asks, in expectation: emotions are answered as rightly as in the pilot."""
    rows = items.filter(items["status"].is_in(["used", "not needed", "quarantined"]) & items["options"].is_not_null())
    orders = (1 + int(rows["order"].max() or 0)) * rows["wording"].n_unique()  # type: ignore[arg-type]
    of_clip = rows.sort("item").group_by("clip", maintain_order=True)
    clips = of_clip.agg(pl.first("truth", "side", "fold", "status"), right=pl.col("correct").fill_null(False).any())
    used = clips.filter(pl.col("status") == "used")
    usable = used.height / max(1, used.height + clips.filter(pl.col("status") == "quarantined").height)
    counted = {name: used.filter(pl.col("truth") == name)["right"] for name in names}
    rate = {name: usable * int(right.sum()) / max(1, len(right)) for name, right in counted.items()}
    quota, most = full.evaluate.items_per_emotion, full.corpus.clips_per_emotion
    most_found = max(full.identify.items_per_emotion, full.identify.minimum)
    outs = set(clips.filter(pl.col("side") != "identify")["fold"])
    right: dict[str, defaultdict[str, float]] = {name: defaultdict(float) for name in names}
    evaluated: defaultdict[str, float] = defaultdict(float)
    heard, place, spares = 0.0, 0, not (full.controls.outcomes or full.identify.balance_letters)
    # the share of clips that is asked of each block to come: where n right ones are known, another clip comes before the
    # k-th of them in an order by hash with probability k / (n + 1)
    asking = [dict.fromkeys(names, 1.0)] * AHEAD

    def found(name: str) -> float:
        return min((sum(right[name].values()) - right[name][out] for out in outs), default=0.0)

    if most is not None:
        clips = clips.filter(pl.int_range(pl.len()).over("truth", "side") < most)
    for name, side, fold in clips.select("truth", "side", "fold").iter_rows():
        share, place = asking[0][name], place + orders
        heard += share * orders
        if side != "identify":
            evaluated[name] += usable * share
        if side != "evaluate":
            right[name][fold] += rate[name] * share
        if place % BLOCK < orders:
            if all(evaluated[n] >= quota and found(n) >= full.identify.items_per_emotion for n in names):
                break
            spared = [n for n in names if spares and evaluated[n] >= quota]
            asking = [*asking[1:], {n: min(1.0, most_found / (found(n) + 1)) if n in spared else 1.0 for n in names}]
    asked = orders * round(sum(min(count, quota) for count in evaluated.values()))
    likely, written = passes(plan_conditions(full, planned_sets(set_spec(full, names, layers)), layers))
    correct = {name: min(float(found(name)), float(full.identify.items_per_emotion)) for name in names}
    return Plan(round(heard), asked, (likely - 1) * asked, written * asked, correct)  # the baseline is heard


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
    # a like share of what is heard is attributed in the full study
    done["listening"][1] += done.pop("attributing", [0.0, 0.0])[1]
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
    answers = sum(_bytes(run / name) for name in ("answers", "units"))
    per_item = sum(_bytes(run / name) for name in ("activity.zarr", "attribution", "cache")) / max(1, heard)
    # a unit's card and table are nearly as large for few items as for many
    per_answer = answers / max(1, heard * len(run.units()))
    return (per_item * plan.heard + per_answer * (plan.scored + plan.written + plan.heard)) / 1e9 if heard else None


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
