"""Figures over something that a study sweeps: the strength of steering, the budget, the number of clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from emoscope.report.answer_charts import HOLLOW, INTERVALS
from emoscope.report.content import CONTROLS, Content, name_selector
from emoscope.report.theme import LIGHT, title
from emoscope.vocabulary import LEAST_LETTER_MASS, acting

CURVE = ("x", "estimate", "low", "high", "series", "hollow")
"""The columns of what :func:`curve` draws."""

NAMES = {"selected": LIGHT.accent, "matched": LIGHT.muted, "selected minus matched": LIGHT.ink}
"""What a curve stands for, and its colour."""

GAP_OFF, GAP_ON = "gap, switched off (points)", "pull gap, amplified (points)"


def dose(content: Content) -> Any | None:
    """Pull and UAR over alpha for the headline selector and its matched controls, and the letter mass."""
    wanted = {
        "pull": "clips of the emotion answered so (points)",
        "pull_cross": "clips of other emotions answered so (points)",
        "uar_change": "change of UAR (points)",
    }
    found = acting(content.tables.effects, "steer", "headline", "dose").filter(
        pl.col("control").is_in(["target", "matched"]) & pl.col("measure").is_in(list(wanted))
    ).with_columns(pl.col("control").replace(CONTROLS).alias("series"), pl.col("hollow").fill_null(False))  # fmt: skip
    if found.is_empty():
        return None
    x = alt.X("x:Q", title="strength, alpha (gain − 1)").axis(grid=False, tickCount=5)
    charts = [
        curve(found.filter(pl.col("measure") == measure).rename({"alpha": "x"}).select(CURVE), x, label, rule=0)
        for measure, label in wanted.items()
    ]
    mass = _letter_mass(content)
    if len(mass):
        charts.append(curve(mass, x, "probability on the letters (%)", rule=100 * LEAST_LETTER_MASS))
    last = (
        "Last: the probability on the letters, mean over the emotions’ sets, line from the least to the most; below the dashed "
        "line the model stops answering with a letter, and the other pictures say little. "
        if len(mass)
        else ""
    )
    return alt.hconcat(*charts, spacing=10).resolve_scale(y="independent").properties(
        title=title(
            "What more and less amplification does",
            f"{INTERVALS} First and second: how many more clips are answered with the amplified emotion, where it was spoken and where "
            f"another one was. Third: what that costs or gains over all emotions. {last}Below zero neurons are weakened.{_hollow(found)}",
        )
    )  # fmt: skip


def budgets(content: Content) -> Any | None:
    """The gap under deactivation over the number of neurons, next to matched controls, and the excess gap."""
    found = gaps_by_budget(content)
    if found["budget"].n_unique() < 2:
        return None
    found = found.with_columns(
        pl.when(pl.col("measure") == "excess_gap").then(pl.lit("selected minus matched"))
        .otherwise(pl.col("control").replace(CONTROLS)).alias("series"), (100 * pl.col("budget")).alias("x"),
    )  # fmt: skip
    shown = sorted(found["x"].unique().to_list())
    x = (
        alt.X("x:Q", title="neurons per emotion, of all (%)")
        .scale(type="log", domain=[shown[0] / 1.25, shown[-1] * 1.25])
        .axis(grid=False, values=shown, format="~g")
    )
    mark = 100 * content.budget if content.budget is not None else None
    panels = [
        curve(found.filter(pl.col("measure") == measure).select(CURVE), x, label, 0, mark, 330, tuple(NAMES))
        for measure, label in (("gap", GAP_OFF), ("excess_gap", "gap beyond matched neurons (points)"))
    ]
    return alt.hconcat(*panels, spacing=24).properties(
        title=title(
            f"How many neurons it takes: {name_selector(content.selector)} over budgets",
            f"{INTERVALS} Lower: switching off hurts the emotion more than the others. Upright line: the headline’s budget, fixed "
            f"beforehand; the others are exploration.{_hollow(found)}",
        )
    )  # fmt: skip


def efficiency(content: Content) -> Any | None:
    """What sets from fewer clips share with the full set, and the gaps that they reach, over the number of clips."""
    found = content.own(content.sized(content.tables.efficiency)).filter(pl.col("draw").is_null())
    if len(found) < 2:
        return None
    shown = sorted(found["size"].unique().to_list())
    x = (
        alt.X("x:Q", title="clips per emotion (number of clips)")
        .scale(type="log", domain=[shown[0] / 1.25, shown[-1] * 1.25])
        .axis(grid=False, values=shown, format="d")
    )
    none = pl.lit(False).alias("hollow")
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
        control = content.effect(kind, measure, "matched")
        at = None if control is None else control["estimate"]
        panels.append(curve(reached, x, label, at, width=250, legend=False))
    return alt.hconcat(*panels, spacing=24).properties(
        title=title(
            "How few clips it takes to find the neurons",
            "Mean over draws; the rightmost mark: the full set. First: line from the least to the most alike draw, fold and emotion; dashed: "
            "two random sets. The others: line: 95 % interval over speakers; dashed: matched neurons of the full set.",
        )
    )  # fmt: skip


def gaps_by_budget(content: Content) -> pl.DataFrame:
    """The gap of selected and of matched neurons, and the excess gap, at each budget that has matched controls."""
    found = acting(content.tables.effects, "deactivate", "headline", "budget").filter(
        pl.col("control").is_in(["target", "matched"]) & pl.col("measure").is_in(["gap", "excess_gap"])
        & pl.col("estimate").is_not_null()
    )  # fmt: skip
    controlled = found.filter(pl.col("measure") == "excess_gap")["budget"].to_list()
    return (
        found.filter(pl.col("budget").is_in(controlled)).with_columns(pl.col("hollow").fill_null(False)).sort("budget")
    )


def curve(
    found: pl.DataFrame, x: alt.X, label: str, rule: float | None = None, mark: float | None = None,
    width: int = 178, names: Sequence[str] = ("selected", "matched"), legend: bool = True,
) -> Any:  # fmt: skip
    """Estimates with intervals over a quantity, a line for each series.

    Args:
        found: the columns of :data:`CURVE`, ``series`` being one of :data:`NAMES`.
        x: the encoding of the column ``x``, with its title.
        label: what the vertical axis shows, with its unit.
        rule: where to draw a dashed line across.
        mark: where to draw an upright line.
        width: of the frame, in pixels.
        names: the series that pictures side by side have among them, so that they share their colours.
        legend: name the series above the frame.
    """
    colour = alt.Color("series:N", title=None).scale(domain=list(names), range=[NAMES[name] for name in names])
    colour = colour.legend(
        alt.Legend(symbolOpacity=1, symbolStrokeWidth=0, orient="top", direction="horizontal") if legend else None
    )
    y = alt.Y("estimate:Q", title=label)
    drawn: list[Any] = []
    if rule is not None:
        line = alt.Chart(pl.DataFrame({"at": [float(rule)]})).mark_rule(color=LIGHT.muted, strokeDash=[3, 3])
        drawn.append(line.encode(y=alt.Y("at:Q", title=label)))
    if mark is not None:
        upright = alt.Chart(pl.DataFrame({"x": [float(mark)]})).mark_rule(color=LIGHT.line, strokeWidth=2)
        drawn.append(upright.encode(x=x))
    base = alt.Chart(found.sort("series", "x"))
    fill = alt.condition("datum.hollow", alt.value(LIGHT.page), colour)
    span = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1.5, opacity=0.55)
    drawn += [
        span.encode(x=x, y=alt.Y("low:Q", title=label), y2="high:Q", color=colour),
        base.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour),
        base.mark_point(size=55, opacity=1).encode(x=x, y=y, color=colour, fill=fill),
    ]
    return alt.layer(*drawn).properties(width=width, height=220)


def _letter_mass(content: Content) -> pl.DataFrame:
    """The letter mass of the conditions behind a dose curve: mean, least and most over the emotions' sets, in %."""
    mass = content.tables.uar.filter(pl.col("scoring") == "likelihood").select("condition", "letter_mass")
    steered = content.run.conditions.filter(
        pl.col("role").is_in(["headline", "dose"])
        & (pl.col("kind") == "steer")
        & pl.col("control").is_in(["target", "matched"])
    )
    share = 100 * pl.col("letter_mass")
    means = steered.join(mass, on="condition").drop_nulls("letter_mass").group_by("control", "alpha").agg(
        share.mean().alias("estimate"), share.min().alias("low"), share.max().alias("high"),
    )  # fmt: skip
    return means.sort("control", "alpha").select(
        pl.col("alpha").alias("x"), "estimate", "low", "high", pl.col("control").replace(CONTROLS).alias("series"),
        (pl.col("estimate") < 100 * LEAST_LETTER_MASS).alias("hollow"),
    )  # fmt: skip


def _hollow(found: pl.DataFrame) -> str:
    return f" {HOLLOW}" if found["hollow"].any() else ""
