"""From how few clips can the neurons be found, and how many neurons does it take: overlap with the full set, and gaps."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import polars as pl

from emoscope.analysis.claim_rules import holds
from emoscope.analysis.contrasts import SET, Compared, gaps_of
from emoscope.analysis.declared import UNTESTED
from emoscope.analysis.load import Run
from emoscope.analysis.parts import Part, Row, StudyRuns, first
from emoscope.analysis.standing import at_chance
from emoscope.chapters.sets import ALL, jaccard, stored_sets
from emoscope.neurons.sources import expected_jaccard
from emoscope.report.page import Figure, Question, Table
from emoscope.report.plots import BEYOND, CURVE, INTERVALS, NAMES, curve, hollow_note, stacked
from emoscope.report.theme import Chart, title
from emoscope.report.wording import CONTROLS, by_key, made_of, name_selector, of_corpus, value
from emoscope.schemas import as_table, empty
from emoscope.vocabulary import acting
from emoscope.wording import bracket, estimate_text, listed, number


def efficiency(run: Run, compared: Sequence[Compared]) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Overlap with the full set and gap, for each number of clips per emotion and draw of them; notes on what lacks.

    The neurons are read from the run's ``sets/``. Table ``efficiency`` has ``size`` in clips per emotion; ``jaccard``
    with the full set of the same fold, as mean, smallest and largest over folds, emotions and draws; gap (deactivation
    to zero) and pull_gap (steering at the headline's alpha) in points, null where such conditions were not run. A null
    draw means all draws; ``full`` marks the full set, whose size is that of the fold with the fewest clips.
    """
    fewer = run.sets.filter(pl.col("fold") != ALL, control="fewer")
    if fewer.is_empty():
        return empty("efficiency"), ()
    model: Row = run.manifest.get("model", {})
    neurons = (model.get("layers") or 0) * (model.get("width") or 0)
    full = run.sets.filter(control="target").join(fewer.select(SET).unique(), on=SET)
    acting = full.filter(pl.col("fold") != ALL)
    found: dict[tuple[object, ...], list[tuple[float, int]]] = {}
    notes = set()
    names = {tuple(row[name] for name in SET): row["set"] for row in full.iter_rows(named=True)}
    for row in fewer.sort("set", "fold", "emotion").iter_rows(named=True):
        about = tuple(row[name] for name in SET)
        stored = stored_sets(run.folder, [(name, row["fold"]) for name in (row["set"], names[about])])
        if stored is None:
            notes.add(f"efficiency: no neurons stored for sets of fewer clips of {row['selector']}")
            continue
        share = float(jaccard([by_emotion[row["emotion"]] for by_emotion in stored])[0])
        for draw in (row["draw"], None):
            found.setdefault((*about, row["size"], draw), []).append((share, row["size_reached"]))
    rows: list[Row] = []
    folds = acting["fold"].n_unique()
    for key, reached in found.items():
        shares, sizes = zip(*reached, strict=True)
        row = dict(zip((*SET, "size", "draw"), key, strict=True))
        row |= {"jaccard": float(np.mean(shares)), "jaccard_min": min(shares), "jaccard_max": max(shares)}
        size = round(float(np.mean(sizes)))
        row["chance"] = expected_jaccard(size, size, neurons) if neurons else None
        rows.append(row | gaps_of(compared, row, "fewer") | {"full": False, "folds": folds})
    for about, group in acting.group_by(SET, maintain_order=True):
        row = dict(zip(SET, about, strict=True)) | dict.fromkeys(("jaccard", "jaccard_min", "jaccard_max"), 1.0)
        row |= {"size": group["n"].min(), "full": True, "folds": folds}
        rows.append(row | gaps_of(compared, row, "target"))
    return as_table("efficiency", rows), tuple(sorted(notes))


GAP_OFF, GAP_ON = "gap, switched off (points)", "pull gap, amplified (points)"


def draw_efficiency(study: StudyRuns) -> Chart | None:
    """What sets from fewer clips share with the full set, and the gaps that they reach, over the number of clips."""
    drawn = {part.name: _curves(part, of_sizes(part)) for part in study.mains}
    return stacked(
        drawn,
        title(
            "How few clips it takes to find the neurons",
            "Mean over draws; the rightmost mark: the full set. First: line from the least to the most alike draw, "
            "fold and emotion; dashed: "
            "two random sets. The others: line: 95 % interval over speakers; dashed: matched neurons of the full set.",
        ),
    )


def of_sizes(part: Part) -> pl.DataFrame:
    """The headline's sets from so many clips, means over draws, and the full set last; none where that stands alone."""
    found = part.own("efficiency").filter(pl.col("draw").is_null()).sort("full", "size")
    return found if len(found) > 1 else found.clear()


def _curves(part: Part, found: pl.DataFrame) -> list[Chart]:
    if found.is_empty():
        return []
    shown = found["size"].unique().sort().to_list()
    x = _logarithmic("clips per emotion (number of clips)", shown, "d")
    fixed = {"x": pl.col("size").cast(pl.Float64), "series": pl.lit("selected"), "unreliable": pl.lit(False)}
    ends = {"estimate": "jaccard", "low": "jaccard_min", "high": "jaccard_max"}
    overlap = found.filter(~pl.col("full")).select(**fixed, **{end: 100 * pl.col(name) for end, name in ends.items()})
    chance = found["chance"].mean()
    rule = 100 * float(chance) if isinstance(chance, float) else None
    charts = [curve(overlap.select(CURVE), x, "neurons shared with the full set (%)", rule, width=250, legend=False)]
    for measure, kind, label in (("gap", "deactivate", GAP_OFF), ("pull_gap", "steer", GAP_ON)):
        reached = found.filter(pl.col(measure).is_not_null())
        if len(reached):
            matched = part.effect(kind, measure, "matched")
            reached = reached.select(**fixed, estimate=measure, low=f"{measure}_low", high=f"{measure}_high")
            charts.append(curve(reached.select(CURVE), x, label, value(matched, "estimate"), width=250, legend=False))
    return charts


def _logarithmic(heading: str, values: Sequence[float], form: str) -> alt.X:
    axis = alt.X("x:Q", title=heading).scale(type="log", domain=[values[0] / 1.25, values[-1] * 1.25])
    return axis.axis(grid=False, values=values, format=form)


def tabulate_efficiency(study: StudyRuns) -> pl.DataFrame | None:
    """Sets from fewer clips: what they share with the full set, and the gaps that they reach."""
    rows = []
    for part in study.mains:
        for row in of_sizes(part).iter_rows(named=True):
            shared = f"{number(100 * row['jaccard'])} {bracket(100 * row['jaccard_min'], 100 * row['jaccard_max'])}"
            rows.append(
                {
                    "corpus": part.name,
                    "clips per emotion": f"{row['size']}{', the full set' if row['full'] else ''}",
                    "shared with the full set (%)": "–" if row["full"] else shared,
                    "two random sets (%)": "–" if row["chance"] is None else number(100 * row["chance"]),
                    "switched off: gap": estimate_text(row, "gap"),
                    "amplified: pull gap": estimate_text(row, "pull_gap"),
                }
            )
    return made_of(study, rows)


def say_efficiency(study: StudyRuns) -> list[str]:
    """What the claim that few clips are enough rests on, as it was decided; then the gaps as published."""
    sentences, told = [], False
    for part in study.mains:
        found = of_sizes(part)
        if found.is_empty():
            continue
        decided = study.table("claims").filter(name="modest")
        decision = first(decided if len(study.mains) == 1 else decided.filter(corpus=part.name))
        sentences.append(of_corpus(study, part, _decided(decision)))
        gaps = [
            f"{estimate_text(row, 'gap')} from {row['size']} clips per emotion{', the full set' if row['full'] else ''}"
            for row in found.filter(pl.col("gap").is_not_null()).iter_rows(named=True)
        ]
        if gaps and not at_chance(part.uar()):
            told = True
            sentences.append(
                of_corpus(study, part, f"as published, the gap when switched off: {listed(gaps)} (points).")
            )
    if told:
        sentences.append(
            "No claim rests on these gaps, and they are not compared with matched neurons of their own; those of the full "
            "set stand beside them."
        )
    return sentences


def _decided(decision: Row | None) -> str:
    if decision is None or decision["verdict"] == UNTESTED:
        why = f": {decision['why']}" if decision and decision["why"] else ""
        return f"whether few clips are enough to find the neurons is not tested{why}."
    word = "few clips are enough" if holds(decision["verdict"]) else "that few clips are enough is not shown"
    return f"{word} to find the neurons: {', '.join(filter(None, (decision['number'], decision['why'])))}."


def draw_budgets(part: Part) -> Chart | None:
    """The gap under deactivation over the number of neurons, next to matched controls, and the excess gap."""
    found = gaps_by_budget(part)
    if found["budget"].n_unique() < 2:
        return None
    beyond = pl.when(pl.col("measure") == "excess_gap").then(pl.lit(BEYOND))
    series = beyond.otherwise(pl.col("control").replace(CONTROLS))
    found = found.with_columns(series=series, x=100 * pl.col("budget"))
    shown = found["x"].unique().sort().to_list()
    x = _logarithmic("neurons per emotion, of all (%)", shown, "~g")
    mark = 100 * part.budget if part.budget is not None else None
    panels = [
        curve(found.filter(measure=measure).select(CURVE), x, label, 0, mark, 330, tuple(NAMES))
        for measure, label in (("gap", GAP_OFF), ("excess_gap", "gap beyond matched neurons (points)"))
    ]
    return alt.hconcat(
        *panels,
        spacing=24,
        title=title(
            f"How many neurons it takes: {name_selector(part.selector)} over budgets",
            f"{INTERVALS} Lower: switching off hurts the emotion more than the others. Upright line: the headline’s "
            f"budget, fixed beforehand; the others are exploration.{hollow_note(found)}",
        ),
    )


def gaps_by_budget(part: Part) -> pl.DataFrame:
    """The gap of selected and of matched neurons, and the excess gap, at each budget that has matched controls."""
    found = acting(part.table("effects"), "deactivate", "headline", "budget").filter(
        pl.col("control").is_in(["target", "matched"]),
        pl.col("measure").is_in(["gap", "excess_gap"]),
        pl.col("estimate").is_not_null(),
    )
    controlled = found.filter(measure="excess_gap")["budget"].to_list()
    unreliable = pl.col("unreliable").fill_null(False)
    return found.filter(pl.col("budget").is_in(controlled)).with_columns(unreliable).sort("budget")


def tabulate_budgets(part: Part) -> pl.DataFrame | None:
    """The headline selector's gap at each budget that has matched controls."""
    found = gaps_by_budget(part)
    budgets = found["budget"].unique().sort()
    if len(budgets) < 2:
        return None
    wanted = dict(part.run.sets.filter(selector=part.selector).select("budget", "size_wanted").iter_rows())
    rows = []
    for budget in budgets:
        by = by_key(found.filter(budget=budget), "control", "measure")
        matched = by.get(("matched", "gap"))
        rows.append(
            {
                "neurons per emotion": f"{number(100 * budget, 2)} %" + (" *" if budget == part.budget else ""),
                "number": str(wanted.get(budget) or "–"),
                "gap": estimate_text(by.get(("target", "gap"))),
                "matched": estimate_text(matched) + (f" (mean of {matched['draws']})" if matched else ""),
                "excess gap": estimate_text(by.get(("target", "excess_gap"))),
            }
        )
    return pl.DataFrame(rows)


QUESTIONS = (
    Question(
        "data",
        10,
        (
            Figure("efficiency", draw_efficiency, "neurons were not found from fewer clips", pages="both"),
            Table(
                "efficiency",
                tabulate_efficiency,
                "Neurons found from fewer clips, mean over draws. Shared: Jaccard index, in brackets the least "
                "and the most alike draw, fold and emotion; gaps in points with 95 % intervals over speakers.",
                pages="both",
            ),
        ),
        says=say_efficiency,
        says_on="both",
        tables={"efficiency": lambda part: efficiency(part.run, part.compared)},
    ),
    Question(
        "deactivation",
        30,
        (
            Figure("budgets", draw_budgets, "the headline’s selector was switched off at one budget alone"),
            Table(
                "budgets",
                tabulate_budgets,
                "Switching off as many neurons of the headline’s selector as each budget gives, in points, with 95 % "
                "intervals over speakers. *: the headline’s budget, fixed beforehand; the others are exploration.",
            ),
        ),
    ),
)
