"""From how few clips can the neurons be found: what their sets share with the full set, and the gap that they reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from emoscope.analysis.claim_rules import KEPT
from emoscope.analysis.contrasts import Compared, measures
from emoscope.analysis.estimate import estimate_of
from emoscope.analysis.load import Run
from emoscope.analysis.parts import Part, StudyRuns, first
from emoscope.chapters.sets import ALL, jaccard, stored_sets
from emoscope.neurons.sets import expected_jaccard
from emoscope.report.page import Figure, Question, Table
from emoscope.report.plots import INTERVALS, curve, lines, side_by_side
from emoscope.report.theme import title
from emoscope.report.wording import CLEAR_LOW, judge, made
from emoscope.schemas import as_table, empty
from emoscope.vocabulary import GAPS
from emoscope.wording import bracket, estimate_text, number

SET = ("selector", "budget", "scope")


def efficiency(run: Run, compared: Sequence[Compared]) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Overlap with the full set and gap, for each number of clips per emotion and each draw of them.

    Args:
        run: the run folder's tables; the neurons are read from ``sets/``.
        compared: the families and what they change.

    Returns:
        the columns of table ``efficiency``, and notes on sets that are not stored. ``size`` in clips per emotion;
        ``jaccard`` with the full set of the same fold, as mean, smallest and largest over folds, emotions and draws;
        gap (deactivation to zero) and pull_gap (steering at the headline's alpha) in points, null where such
        conditions were not run. A null draw means all draws; ``full`` marks the full set, whose size is that of the
        fold with the fewest clips. Empty where a study has no such sets.
    """
    fewer = run.sets.filter((pl.col("control") == "fewer") & (pl.col("fold") != ALL))
    if fewer.is_empty():
        return empty("efficiency"), ()
    model: Any = run.manifest.get("model", {})
    neurons = (model.get("layers") or 0) * (model.get("width") or 0)
    full = run.sets.filter(pl.col("control") == "target").join(fewer.select(SET).unique(), on=SET)
    acting = full.filter(pl.col("fold") != ALL)
    found: dict[tuple[Any, ...], list[float]] = {}
    reached: dict[tuple[Any, ...], list[int]] = {}
    notes = set()
    names = {tuple(row[name] for name in SET): row["set"] for row in full.iter_rows(named=True)}
    for row in fewer.sort("set", "fold", "emotion").iter_rows(named=True):
        about = tuple(row[name] for name in SET)
        stored = stored_sets(run.folder, [(name, row["fold"]) for name in (row["set"], names[about])])
        if stored is None:
            notes.add(f"efficiency: no neurons stored for sets of fewer clips of {row['selector']}")
            continue
        share = float(jaccard([one[row["emotion"]] for one in stored])[0])
        for draw in (row["draw"], None):
            found.setdefault((*about, row["size"], draw), []).append(share)
            reached.setdefault((*about, row["size"], draw), []).append(row["size_reached"])
    rows = []
    folds = acting["fold"].n_unique()
    for key, shares in found.items():
        row = dict(zip((*SET, "size", "draw"), key, strict=True)) | {"full": False, "folds": folds}
        row |= {"jaccard": float(np.mean(shares)), "jaccard_min": min(shares), "jaccard_max": max(shares)}
        size = round(float(np.mean(reached[key])))
        row["chance"] = expected_jaccard(size, size, neurons) if neurons else None
        rows.append(row | _gaps(compared, row, "fewer"))
    for about, group in acting.group_by(SET, maintain_order=True):
        row = dict(zip(SET, about, strict=True)) | {
            "size": group["n"].min(),
            "draw": None,
            "full": True,
            "folds": folds,
        }
        row |= {"jaccard": 1.0, "jaccard_min": 1.0, "jaccard_max": 1.0, "chance": None}
        rows.append(row | _gaps(compared, row, "target"))
    return as_table("efficiency", rows), tuple(sorted(notes))


def _gaps(compared: Sequence[Compared], row: dict[str, Any], control: str) -> dict[str, Any]:
    """The measures of :data:`~emoscope.vocabulary.GAPS` of the families of one row, each with its interval."""
    alphas = {one.family["alpha"] for one in compared if one.headline and one.family["kind"] == "steer"}
    columns: dict[str, Any] = {"reason": None}
    for kind, measure in GAPS.items():
        wanted = {name: row[name] for name in SET} | {
            "kind": kind,
            "control": control,
            "positions": "all",
            "layers": "all",
        }
        if control == "fewer":
            wanted |= {"size": row["size"], "draw": row["draw"]}
        able = [
            one for one in compared
            if all(one.family[name] == value for name, value in wanted.items()) and one.family["to"] != "mean"
            and (kind == "deactivate" or one.family["alpha"] in alphas)
        ]  # fmt: skip
        if able:
            got = measures(able[0].change)[measure]
            columns |= got.named(measure) | {"reason": columns["reason"] or got.interval().reason}
        else:
            columns |= dict.fromkeys((measure, f"{measure}_low", f"{measure}_high"))
    return columns


GAP_OFF, GAP_ON = "gap, switched off (points)", "pull gap, amplified (points)"


def draw_efficiency(part: Part) -> Any | None:
    """What sets from fewer clips share with the full set, and the gaps that they reach, over the number of clips."""
    found = part.own("efficiency").filter(pl.col("draw").is_null())
    if len(found) < 2:
        return None
    shown = sorted(found["size"].unique().to_list())
    x = (
        alt.X("x:Q", title="clips per emotion (number of clips)")
        .scale(type="log", domain=[shown[0] / 1.25, shown[-1] * 1.25])
        .axis(grid=False, values=shown, format="d")
    )
    none = pl.lit(False).alias("unreliable")
    overlap = found.filter(~pl.col("full")).select(
        pl.col("size").cast(pl.Float64).alias("x"), (100 * pl.col("jaccard")).alias("estimate"),
        (100 * pl.col("jaccard_min")).alias("low"), (100 * pl.col("jaccard_max")).alias("high"),
        pl.lit("selected").alias("series"), none,
    )  # fmt: skip
    chance = found["chance"].mean()
    rule = 100 * float(chance) if isinstance(chance, float) else None
    panels = [curve(overlap, x, "neurons shared with the full set (%)", rule, width=250, legend=False)]
    for measure, kind, label in (("gap", "deactivate", GAP_OFF), ("pull_gap", "steer", GAP_ON)):
        reached = found.filter(pl.col(measure).is_not_null()).select(
            pl.col("size").cast(pl.Float64).alias("x"), pl.col(measure).alias("estimate"),
            pl.col(f"{measure}_low").alias("low"), pl.col(f"{measure}_high").alias("high"),
            pl.lit("selected").alias("series"), none,
        )  # fmt: skip
        if reached.is_empty():
            continue
        control = part.effect(kind, measure, "matched")
        at = None if control is None else control["estimate"]
        panels.append(curve(reached, x, label, at, width=250, legend=False))
    return alt.hconcat(*panels, spacing=24).properties(
        title=title(
            "How few clips it takes to find the neurons",
            "Mean over draws; the rightmost mark: the full set. First: line from the least to the most alike draw, fold and emotion; dashed: "
            "two random sets. The others: line: 95 % interval over speakers; dashed: matched neurons of the full set.",
        )
    )  # fmt: skip


def tabulate_efficiency(part: Part) -> pl.DataFrame | None:
    """Sets from fewer clips: what they share with the full set, and the gaps that they reach."""
    found = part.own("efficiency").filter(pl.col("draw").is_null())
    if len(found) < 2:
        return None
    shown = {"gap": "switched off: gap", "pull_gap": "amplified: pull gap"}
    shown = {name: heading for name, heading in shown.items() if found[name].null_count() < len(found)}
    rows = []
    for row in found.sort("full", "size").iter_rows(named=True):
        ends = bracket(100 * row["jaccard_min"], 100 * row["jaccard_max"])
        one = {"clips per emotion": f"{row['size']}{', the full set' if row['full'] else ''}"}
        one["shared with the full set (%)"] = "–" if row["full"] else f"{number(100 * row['jaccard'])} {ends}"
        one["two random sets (%)"] = "–" if row["chance"] is None else number(100 * row["chance"])
        rows.append(one | {heading: estimate_text(row, name) for name, heading in shown.items()})
    return pl.DataFrame(rows)


def draw_efficiency_of_parts(study: StudyRuns) -> Any | None:
    """The gap of sets from fewer clips over their number, with that of matched neurons of the full set as a line."""
    drawn = []
    for part in study.mains:
        found = part.own("efficiency").filter(pl.col("draw").is_null() & pl.col("gap").is_not_null())
        if found["size"].n_unique() < 2:
            continue
        shown = found.select(
            pl.col("size").cast(pl.Float64).alias("x"), pl.col("gap").alias("estimate"), pl.col("gap_low").alias("low"),
            pl.col("gap_high").alias("high"), pl.lit("selected").alias("series"), pl.lit(False).alias("unreliable"),
        ).unique("x", keep="last", maintain_order=True).sort("x")  # fmt: skip
        matched = part.effect("deactivate", "gap", "matched")
        level = None if matched is None else matched["estimate"]
        ticks = sorted(set(shown["x"].to_list()))
        drawn.append((part.name, lines(shown, "clips per emotion", "gap (points)", level, ticks)))
    return side_by_side(drawn, title(
        "How few clips suffice to find the neurons",
        f"{INTERVALS} Gap when neurons found from so many clips per emotion are switched off (mean over draws of clips); the last mark "
        "is the full set. Grey dashes: matched neurons of the full set.",
    ))  # fmt: skip


ENOUGH = 100 * KEPT
"""Of the full set's gap, in %: the fewest clips that reach it are named."""


def say_efficiency(study: StudyRuns) -> list[str]:
    """The fewest clips per emotion whose sets reach most of the full set's gap."""
    said = []
    for part in study.mains:
        found = part.own("efficiency").filter(pl.col("draw").is_null() & pl.col("gap").is_not_null()).sort("size")
        full = first(found, pl.col("full"))
        if full is None:
            continue
        row = estimate_of(full, "gap") | {"reason": full["reason"]}
        judged, why = judge(row, part)
        if judged != CLEAR_LOW:
            because = f" ({why})" if why else f" ({number(full['gap'], sign=True)} points)"
            said.append(
                f"On {part.name} the full set has no gap clear of zero{because}, of which a share could be named."
            )
            continue
        enough = first(found, 100 * pl.col("gap") / full["gap"] >= ENOUGH)
        if enough is not None and not enough["full"]:
            said.append(
                f"On {part.name}, neurons found from {enough['size']} clips per emotion reach {number(enough['gap'], sign=True)} points "
                f"{bracket(enough['gap_low'], enough['gap_high'])}, {number(100 * enough['gap'] / full['gap'], 0)} % of the "
                f"full set’s gap ({number(full['gap'], sign=True)}, from {full['size']})."
            )
        else:
            said.append(
                f"On {part.name}, no smaller number of clips reaches {ENOUGH:g} % of the full set’s gap "
                f"({number(full['gap'], sign=True)} points, from {full['size']} clips per emotion)."
            )
    if said:
        said.append(
            "These gaps are not compared with matched neurons of their own; those of the full set stand beside them."
        )
    return said


def tabulate_efficiency_of_parts(study: StudyRuns) -> pl.DataFrame | None:
    """Sets from fewer clips: overlap with the full set and the gap that they reach."""
    rows = []
    for part in study.mains:
        for row in part.own("efficiency").filter(pl.col("draw").is_null()).sort("size").iter_rows(named=True):
            shared = (
                "–" if row["full"] else f"{number(_percent(row['jaccard']))} (chance {number(_percent(row['chance']))})"
            )
            rows.append({
                "corpus": part.name, "clips per emotion": f"{row['size']}{', full set' if row['full'] else ''}",
                "shared with the full set (%)": shared,
                "gap (points)": estimate_text(row, "gap"),
                "pull gap (points)": estimate_text(row, "pull_gap"),
            })  # fmt: skip
    return made(rows)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


QUESTIONS = (
    Question(
        "data",
        10,
        (
            Figure("efficiency", draw_efficiency, "neurons were not found from fewer clips"),
            Table(
                "efficiency",
                tabulate_efficiency,
                "Neurons found from fewer clips, mean over draws. Shared: Jaccard index, in brackets the least "
                "and the most alike draw, fold and emotion; gaps in points with 95 % intervals over speakers.",
            ),
            Figure(
                "efficiency",
                draw_efficiency_of_parts,
                "neurons were not found from smaller numbers of clips and switched off",
                pages="study",
            ),
            Table(
                "efficiency",
                tabulate_efficiency_of_parts,
                "Sets from fewer clips per emotion: overlap with the full set (Jaccard), and the effects that "
                "they reach.",
                pages="study",
            ),
        ),
        says=say_efficiency,
        tables={"efficiency": lambda part: efficiency(part.run, part.compared)},
    ),
)
