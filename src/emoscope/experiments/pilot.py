"""A pilot: does the model hear the emotions, will there be enough items, and what does the full study cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

import msgspec
import numpy as np
import polars as pl

from emoscope.emotions import in_order
from emoscope.experiments.estimate import Plan, Rates, gigabytes, hours, plan_full, read_rates
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
    """What a pilot says about the full study.

    Args:
        full: the study without ``--pilot``.
        items: the pilot's settled items table; clips beyond the pilot stand in it as "not needed".

    Returns:
        clips_per_second, answers_per_second, projected_hours and projected_gb (``None`` where not measured), the
        sentences ``verdict`` and ``basis``, and the numbers that they rest on (percent where not said otherwise).
    """
    asked = items.filter(items["fate"] == "used")
    names = in_order({option for shown in asked["options"].to_list() for option in shown})
    likely = baseline.filter(baseline["scoring"] == "likelihood").join(
        asked.select("item", "clip", "truth", "order"), on="item"
    )
    # one answer a clip: several letter orders of a clip are no independent evidence
    first = likely.filter(likely["order"] == 0)
    uar, p = _uar_test(first, names)
    plan = plan_full(full.with_budget(model.recommended_budget), items, names, model.layers)
    minimum = full.identify.minimum
    emotions = [_heard(first, name, round(plan.correct[name], 1), minimum) for name in names]
    rates = read_rates(*sorted(run.path.glob("log*.jsonl")))
    mass = float(likely["letter_mass"].mean()) if likely.height else None  # type: ignore[arg-type]
    agreement = _agreement(baseline)
    answers = [rate for rate in (rates.scored, rates.written) if rate]
    return {
        "clips_per_second": rates.heard, "answers_per_second": answers[0] if answers else None,
        "projected_hours": hours(rates, plan), "projected_gb": gigabytes(run, asked.height, plan),
        "verdict": _verdict(emotions, uar, 100 / max(1, len(names)), p, mass, agreement),
        "basis": _basis(plan, rates, asked["clip"].n_unique()),
        "uar": uar, "chance": 100 / max(1, len(names)), "p": p, "letter_mass": mass, "agreement": agreement,
        "generated_per_second": rates.written, "emotions": emotions, "confusion": _confusion(first, names),
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
    """How often chance gives at least this many of the namings to the emotion's own clips (Fisher's exact test).

    Args:
        hits: namings on the emotion's own clips.
        alarms: namings on other clips.

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
    uar = float(np.mean([right[mine].mean() for mine in own]))
    generator = np.random.default_rng(0)
    shuffled = generator.permuted(np.tile(answer, (SHUFFLES, 1)), axis=1) == truth
    chance = np.mean([shuffled[:, mine].mean(axis=1) for mine in own], axis=0)
    return 100 * uar, float((1 + (chance >= uar - 1e-12).sum()) / (1 + SHUFFLES))


def _agreement(baseline: pl.DataFrame) -> float | None:
    both = baseline.filter(pl.col("scoring") == "likelihood").join(
        baseline.filter(pl.col("scoring") == "generation"), on="item", suffix="_written"
    )
    if not both.height:
        return None
    return 100 * float((both["answer"] == both["answer_written"]).fill_null(False).mean())  # type: ignore[arg-type]


def _confusion(answers: pl.DataFrame, names: Sequence[str]) -> dict[str, dict[str, int]]:
    count = Counter(zip(answers["truth"].to_list(), answers["answer"].to_list(), strict=True))
    return {truth: {name: count[truth, name] for name in names} for truth in names}


def tells_apart(uar: float, chance: float, p: float, span: str = "") -> str:
    """Whether the model tells the emotions apart, in words.

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


def heard_level(items: pl.DataFrame, span: str = "") -> tuple[bool, str]:
    """Whether the baseline answers are clearly above chance, and the sentence that says so.

    Example:
        >>> import polars as pl
        >>> shown = {"options": [["a", "b"]] * 8, "order": [0] * 8, "fate": ["used"] * 8}
        >>> heard_level(pl.DataFrame({"truth": list("aaaabbbb"), "answered": list("aaaabbbb"), **shown}))[0]
        True
    """
    asked = items.filter((items["fate"] == "used") & (items["order"] == 0)).rename({"answered": "answer"})
    names = in_order({option for shown in asked["options"].to_list() for option in shown})
    uar, p = _uar_test(asked, names)
    return p < LEVEL, tells_apart(uar, 100 / max(1, len(names)), p, span)


def _verdict(
    emotions: Sequence[Hearing], uar: float, chance: float, p: float, mass: float | None, agreement: float | None
) -> list[str]:
    said = [tells_apart(uar, chance, p)]
    if mass is not None and mass < LEAST_LETTER_MASS:
        said.append(f"the model rarely answers with a letter (mass {mass:.1f}): try another wording")
    if agreement is not None and agreement < LEAST_AGREEMENT:
        said.append(
            f"what the model writes is its most probable letter on {agreement:.0f} % of the clips only: try another wording"
        )
    ready = []
    for row in emotions:
        if row["p"] >= LEVEL:
            said.append(_at_chance(row))
        elif row["expected"] < row["minimum"]:
            said.append(
                f"{row['emotion']} will have about {row['expected']:.0f} correct clips where {row['minimum']} are needed: "
                "add clips, or lower identify.minimum"
            )
        else:
            ready.append(row["emotion"])
    all_of_them = f"{len(ready)} of {len(emotions)} emotions"
    if len(ready) >= 2:
        said.append(f"ready: {all_of_them} will have enough items ({', '.join(ready)})")
    else:
        said.append(f"not ready: {all_of_them} will have enough items, and a study needs two")
    return said


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


def _basis(plan: Plan, rates: Rates, clips: int) -> str:
    return (
        f"projected for {plan.heard:,} items heard, {plan.scored:,} answers by likelihood and {plan.written:,} generated, "
        f"at the rates of this machine and this pilot's {clips} clips (larger batches are faster); every emotion is taken "
        "to be answered as rightly as in the pilot, and to be identifiable; the report is not counted"
    )


def told_without_sets(why: NotIdentifiable, items: pl.DataFrame, span: str = "") -> str:
    """What the model can do, why no neurons are looked for, and what helps: a lower minimum only where there is something."""
    above, level = heard_level(items, span)
    reached = sorted(why.counts.values())[-2] if len(why.counts) > 1 else 0
    if above:
        lower = f", or lower identify.minimum ({reached} would do for two emotions)" if reached > 1 else ""
        remedy = f"add clips{lower}"
    else:
        remedy = "try another wording, model or corpus: with fewer clips neurons would be found from lucky answers"
    return f"{level}; {why}; {remedy}"
