"""Figures of what the model answers: untouched, and with whole MLP layers switched off."""

from __future__ import annotations

from typing import Any

import altair as alt
import polars as pl

from emoscope.report.content import CONTROLS, Content, name_selector
from emoscope.report.marks import PANEL_SPACE, dots, heat, signed_matrix
from emoscope.report.theme import title
from emoscope.vocabulary import acting

INTERVALS = "Mark: estimate; line: 95 % interval over speakers."
HOLLOW = "Hollow marks rest on answers that support no claim."
"""Said below a figure that has some."""


def recall(content: Content) -> Any | None:
    """Recall per emotion and UAR of the untouched model, next to chance."""
    confusion = content.tables.confusion.filter(
        (pl.col("condition") == "baseline") & (pl.col("truth") == pl.col("answer"))
    )
    uar = content.tables.uar.filter(pl.col("condition") == "baseline")
    if uar.is_empty():
        return None
    every, likeliest = "all emotions (UAR)", pl.col("scoring") == "likelihood"
    rows = pl.concat([
        uar.select(pl.lit(every).alias("row"), pl.col("uar").alias("estimate"), "low", "high", "scoring"),
        confusion.select(pl.col("truth").alias("row"), pl.col("share").alias("estimate"), "low", "high", "scoring"),
    ]).with_columns(
        pl.when(likeliest).then(pl.lit("selected")).otherwise(pl.lit("control")).alias("series"),
        pl.lit(bool(uar["hollow"].any())).alias("hollow"),
    )  # fmt: skip
    written = " Circle: the likeliest letter; diamond: the written answer." if len(uar) > 1 else ""
    return dots(
        rows, order=[every, *content.emotions], x="clips named correctly (%)", y="emotion of the clip", domain=(0, 100),
        rule=float(uar["chance"][0]), rule_name="guessing",
    ).properties(
        title=title(
            "How often the untouched model names the emotion correctly",
            f"{INTERVALS} Dashed line: what guessing would give.{written}{' ' + HOLLOW if uar['hollow'].any() else ''}",
        )
    )  # fmt: skip


def confusion(content: Content) -> Any | None:
    """Which emotion the untouched model answers for which."""
    found = content.tables.confusion.filter((pl.col("condition") == "baseline") & (pl.col("scoring") == "likelihood"))
    if found.is_empty():
        return None
    cells = found.select(
        pl.col("truth").alias("row"),
        pl.col("answer").fill_null("unreadable").alias("column"),
        pl.col("share").alias("value"),
    )
    columns = [*content.tables.panel.labels, *(["unreadable"] if found["answer"].null_count() else [])]
    return heat(
        cells, rows=content.emotions, columns=columns, x="answer of the model", y="emotion of the clip",
        legend="share of the row (%)",
    ).properties(
        title=title(
            "What the untouched model answers for each emotion",
            "Each row adds up to 100 %: of the clips of that emotion, the share answered with the column's emotion.",
        )
    )  # fmt: skip


def flows(content: Content) -> Any | None:
    """Where the answers to an emotion's own clips go when its neurons are switched off, next to matched neurons."""
    found = acting(content.tables.flows, "deactivate").filter(pl.col("truth") == pl.col("target"))
    if found.is_empty():
        return None
    found = found.with_columns(pl.col("before", "after").fill_null("unreadable"))
    gained = found.select("control", "target", pl.col("after").alias("column"), pl.col("share").alias("value"))
    lost = found.select("control", "target", pl.col("before").alias("column"), -pl.col("share").alias("value"))
    cells = pl.concat([gained, lost]).group_by("control", "target", "column").agg(pl.col("value").sum())
    rows = [label for label in content.tables.panel.labels if label in set(cells["target"])]
    columns = [*content.tables.panel.labels, *(["unreadable"] if "unreadable" in set(cells["column"]) else [])]
    every = pl.DataFrame({"target": rows}).join(pl.DataFrame({"column": columns}), how="cross")
    most = max(5.0, float(cells["value"].abs().max() or 0))  # type: ignore[arg-type]
    hollow = bool(found["hollow"].any())
    drawn: list[Any] = []
    for control in ("target", "matched"):
        part = every.join(cells.filter(control=control), on=["target", "column"], how="left").sort("target", "column")
        if part["value"].null_count() == len(part):
            continue
        part = part.select(
            pl.col("target").alias("row"), "column", pl.col("value").fill_null(0.0), pl.lit(None, pl.Float64).alias("q"),
            pl.lit(hollow).alias("hollow"),
        )  # fmt: skip
        name = f"{name_selector(content.selector)}, {CONTROLS[control]}"
        drawn.append(
            signed_matrix(
                part, rows, columns, most, "change of the share answered so (points)", not drawn, "answer of the model",
                "clips and neurons of",
            ).properties(title=alt.TitleParams(name, fontSize=13))
        )  # fmt: skip
    return alt.hconcat(*drawn, spacing=PANEL_SPACE).properties(
        title=title(
            "Where the answers go when an emotion’s neurons are switched off",
            "Row: clips of that emotion, with its own neurons switched off; cell: how many more of them are answered with the "
            f"column’s emotion. Each row adds up to zero.{' ' + HOLLOW if hollow else ''}",
        )
    )  # fmt: skip


def reliance(content: Content) -> Any | None:
    """UAR with MLP layers switched off: reference lines for the effects of sets."""
    found, base = content.tables.reliance, content.uar("baseline")
    if found.is_empty() or base is None:
        return None
    names = {"all": "all MLP layers off", "union": "all selected neurons off"}
    labelled = [names.get(name, f"layer {name} off") for name in found["layers"]]
    rows = pl.DataFrame(
        [{"row": "nothing off", "estimate": base["uar"], "low": base["low"], "high": base["high"], "series": "selected"}]
        + [
            {"row": label, "estimate": row["uar"], "low": row["uar_low"], "high": row["uar_high"]}
            | {"series": "control" if row["to"] == "mean" else "selected"}
            for label, row in zip(labelled, found.iter_rows(named=True), strict=True)
        ],
        schema={"row": pl.String, "estimate": pl.Float64, "low": pl.Float64, "high": pl.Float64, "series": pl.String},
    )  # fmt: skip
    means = " Circle: set to zero; diamond: to their mean." if "control" in set(rows["series"]) else ""
    return dots(
        rows, order=["nothing off", *dict.fromkeys(labelled)], x="UAR (%)", y="what was switched off", domain=(0, 100),
        rule=base["chance"], rule_name="guessing",
    ).properties(
        title=title(
            "How much the answers rest on the MLP layers at all",
            f"{INTERVALS}{means} Where UAR hardly falls with all layers off, small effects of sets say little.",
        )
    )  # fmt: skip
