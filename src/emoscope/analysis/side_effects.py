"""What the sets for emotions cost other abilities: another question, writing down what is said, text alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.jackknife import interval, replicates
from emoscope.analysis.levels import answered, mean_level
from emoscope.analysis.parts import COLUMN, MAIN, SIDE_EFFECT, Act, PartRun, StudyRuns, headline_acts
from emoscope.analysis.transcription import transcription
from emoscope.schemas import as_table

Level = Callable[[list[str]], np.ndarray]  # conditions -> the mean of their levels in %, (1 + speaker)


def side_effects(whole: StudyRuns) -> pl.DataFrame:
    """How well the model does other tasks under a corpus's own sets, and under their matched controls.

    Args:
        whole: the study.

    Returns:
        the columns of table ``side_effects``; for every corpus of which another task was asked, its own question first.
    """
    rows: list[dict[str, Any]] = []
    for main in whole.of_role(MAIN):
        others = [*whole.of_role(COLUMN, main.name), *whole.of_role(SIDE_EFFECT, main.name)]
        found = [row for part in others for row in (_written(part) if _writes(part) else _asked(part))]
        rows += [*_asked(main), *found] if found else []
    frame = as_table("side_effects", rows)
    order = list(dict.fromkeys(row["part"] for row in rows))
    place = pl.col("part").replace_strict(order, list(range(len(order))), return_dtype=pl.Int64)
    return frame.sort(place, "kind", "alpha", nulls_last=False) if rows else frame


def _writes(part: PartRun) -> bool:
    return part.presentation == "transcription"


def _asked(part: PartRun) -> list[dict[str, Any]]:
    """Levels of a question with options."""
    asked = part.asked
    if asked is None:
        return []
    ability = asked.question if part.role != SIDE_EFFECT else part.presentation
    rows = []
    for act in asked.acts.get(None if part.role == MAIN else part.of, {}).values():
        excess = bool(act.matched)
        _, used = answered(asked.panel, act.draws(excess))
        if not used.any():
            continue

        def level(conditions: list[str], used: np.ndarray = used) -> np.ndarray:
            return mean_level(asked.panel, conditions, used, asked.level)

        row: dict[str, Any] = {"corpus": part.of, "part": part.name, "ability": ability, "measure": asked.level}
        row |= {"unit": "points", "chance": asked.panel.chance, "hollow": asked.touched([act], excess)}
        rows.append(row | _row(act, level, asked.sizes(used)))
    return rows


def _row(act: Act, level: Level, sizes: np.ndarray) -> dict[str, Any]:
    before, under = level(["baseline"]), level(list(act.own.values()))
    first, change = interval(before, sizes), interval(under - before, sizes)
    row: dict[str, Any] = {
        "kind": act.family["kind"], "alpha": act.family["alpha"], "n": int(sizes.sum()), "speakers": change.speakers,
        "baseline": first.estimate, "baseline_low": first.low, "baseline_high": first.high,
        "under": float(under[0]), "draws": len(act.matched), "reason": change.reason,
        "change": change.estimate, "change_low": change.low, "change_high": change.high,
    }  # fmt: skip
    if act.matched:
        like = np.mean([level([draw[t] for t in act.own]) for draw in act.matched], axis=0)
        beyond = interval(under - like, sizes)
        row |= {"matched": float(like[0]), "excess": beyond.estimate, "p": beyond.p}
        row |= {"excess_low": beyond.low, "excess_high": beyond.high}
    return row


def _written(part: PartRun) -> list[dict[str, Any]]:
    """Word error rates: 100 times the wrong words of all items over the words that were said."""
    run = part.run
    if run is None or part.of not in run.foreign:
        return []
    counts = transcription(run).join(
        run.items.select("item", pl.coalesce("speaker", pl.lit("recording ") + pl.col("clip")).alias("who")), on="item"
    )
    conditions = set(counts["condition"])
    if "baseline" not in conditions:
        return []
    rows = []
    for act in headline_acts(
        run.foreign[part.of].conditions.filter(pl.col("condition").is_in(list(conditions)))
    ).values():
        wanted = {"baseline", *(c for draw in act.draws(True) for c in draw.values())}
        mine = counts.filter(pl.col("condition").is_in(list(wanted)))
        whole = mine.group_by("item").len().filter(pl.col("len") == len(wanted))["item"]
        mine = mine.filter(pl.col("item").is_in(whole.implode()))
        if mine.is_empty():
            continue
        errors, words, sizes = _by_speaker(mine)
        row = {"corpus": part.of, "part": part.name, "ability": part.presentation, "measure": "WER", "unit": "points"}
        rows.append(row | {"hollow": False} | _row(act, _rates(errors, words), sizes))
    return rows


def _by_speaker(counts: pl.DataFrame) -> tuple[Mapping[str, np.ndarray], np.ndarray, np.ndarray]:
    """Wrong words per condition, words that were said, and items; dimension (speaker)."""
    speakers = sorted(set(counts["who"]))
    order = pl.DataFrame({"who": speakers})
    summed = counts.group_by("condition", "who").agg(pl.col("errors").sum(), pl.col("words").sum(), pl.len())
    each = {
        condition: order.join(group, on="who", how="left", maintain_order="left").fill_null(0)
        for (condition,), group in summed.group_by("condition")
    }
    said = each["baseline"]
    errors = {str(condition): frame["errors"].to_numpy().astype(float) for condition, frame in each.items()}
    return errors, said["words"].to_numpy().astype(float), said["len"].to_numpy().astype(float)


def _rates(errors: Mapping[str, np.ndarray], words: np.ndarray) -> Level:
    said = replicates(words)

    def level(conditions: list[str]) -> np.ndarray:
        wrong = np.mean([replicates(errors[condition]) for condition in conditions], axis=0)
        return np.divide(100 * wrong, said, out=np.full(said.shape, np.nan), where=said > 0)

    return level
