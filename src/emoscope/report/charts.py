"""The figures: one Altair definition each, used by the page, by notebooks and for pictures.

Every function takes the content of a report and returns a chart with a title that says what it shows and a
line on how to read it, or ``None`` where the run has nothing to show. Colours are those of the light theme.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import altair as alt
import polars as pl

from emoscope.report.content import CONTROLS, Content, name_selector, number
from emoscope.report.marks import dots, heat, panels, signed_matrix
from emoscope.report.theme import LIGHT, title

INTERVALS = "Dot: estimate; line: 95 % interval over speakers."
CELLS = (
    "Row: the emotion whose neurons were changed; column: the emotion of the clip. "
    "The diagonal (framed) is the emotion's own effect."
)


def recall(content: Content) -> Any | None:
    """Recall per emotion and UAR of the untouched model, next to chance."""
    confusion = content.tables.confusion.filter(
        (pl.col("condition") == "baseline") & (pl.col("truth") == pl.col("answer"))
    )
    uar = content.tables.uar.filter(pl.col("condition") == "baseline")
    if uar.is_empty():
        return None
    every = "all emotions (UAR)"
    rows = pl.concat([
        uar.select(pl.lit(every).alias("row"), pl.col("uar").alias("estimate"), "low", "high", "scoring"),
        confusion.select(pl.col("truth").alias("row"), pl.col("share").alias("estimate"), "low", "high", "scoring"),
    ]).with_columns(pl.col("scoring").replace({"likelihood": "likeliest letter", "generation": "written answer"}))  # fmt: skip
    return dots(
        rows, order=[every, *content.emotions], series="scoring", strong=["likeliest letter"], x="clips named correctly (%)",
        y="emotion of the clip", domain=(0, 100), rule=float(uar["chance"][0]), rule_name="guessing",
    ).properties(
        title=title(
            "How often the untouched model names the emotion correctly",
            f"{INTERVALS} Dashed line: what guessing would give. Filled: the likeliest letter; hollow: the written answer.",
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


def deactivation(content: Content) -> Any | None:
    """D of every selector next to the means of the headline's controls."""
    found = content.shown(content.tables.matrix, "deactivate")
    chosen = [(content.selector, control) for control in CONTROLS]
    chosen += [(selector, "target") for selector in content.selectors if selector != content.selector]
    return _matrices(
        content, found, "change", chosen, "change of accuracy (points)",
        title("What switching neurons off does to each emotion, next to control sets", f"{CELLS} Control panels are means over draws."),
    )  # fmt: skip


def steering(content: Content) -> Any | None:
    """The pull matrix of the headline selector next to its controls."""
    found = content.shown(content.tables.matrix, "steer")
    chosen = [(content.selector, control) for control in CONTROLS]
    return _matrices(
        content, found, "pull", chosen, "change of the share answered (points)",
        title(
            f"Which answers amplification pulls to the amplified emotion (alpha = {content.alpha:g})" if content.alpha else "Pull",
            "Row: the emotion whose neurons were amplified; cell: how many more of the column's clips are answered with "
            "the row's emotion. The diagonal is framed; off it, positive means wrong answers pulled to the row.",
        ),
    )  # fmt: skip


def main_figure(folder_or_content: Any) -> Any | None:
    """The headline's matrix of changes under deactivation, next to that of its matched controls.

    Args:
        folder_or_content: a run folder, or its content.

    Returns:
        an Altair chart; ``None`` where the run has no deactivation of the headline's sets.
    """
    from emoscope.report.content import open_content

    content = folder_or_content if isinstance(folder_or_content, Content) else open_content(folder_or_content)
    found = content.shown(content.tables.matrix, "deactivate")
    return _matrices(
        content, found, "change", [(content.selector, "target"), (content.selector, "matched")],
        "change of accuracy (points)",
        title("Switching off an emotion's neurons, next to matched neurons", CELLS),
    )  # fmt: skip


def gaps(content: Content) -> Any | None:
    """The gap under deactivation of every selector and control, and the excess gap."""
    return _by_set(
        content, "deactivate", "gap", "excess_gap", "gap: own effect minus effect on the others (points)",
        title(
            "How specific switching off is: selected sets and controls",
            f"{INTERVALS} Further left: hurts its own emotion more than the others; zero: no difference. "
            "Small ticks: single control draws.",
        ),
    )  # fmt: skip


def pulls(content: Content) -> Any | None:
    """The pull towards the amplified emotion of every selector and control."""
    return _by_set(
        content, "steer", "pull_overall", "excess_pull_overall", "more clips answered with the amplified emotion (points)",
        title(
            f"How strongly amplification pulls answers (alpha = {content.alpha:g})" if content.alpha else "Pull",
            f"{INTERVALS} Further right: more clips are answered with the amplified emotion, whatever was spoken. "
            "Small ticks: single control draws.",
        ),
    )  # fmt: skip


def dose(content: Content) -> Any | None:
    """Pull and UAR over alpha for the headline selector and its matched controls."""
    wanted = {
        "pull": "clips of the emotion answered so (points)",
        "pull_cross": "clips of other emotions answered so (points)",
        "uar_change": "change of UAR (points)",
    }
    found = content.at_headline(content.tables.effects).filter(
        (pl.col("kind") == "steer") & (pl.col("positions") == "all") & (pl.col("selector").eq_missing(pl.lit(content.selector)))
        & ((pl.col("control") == "target") | pl.col("draw").is_null()) & pl.col("measure").is_in(list(wanted))
    ).with_columns(pl.col("control").replace(CONTROLS).alias("series"))  # fmt: skip
    if found.is_empty():
        return None
    colour = (
        alt.Color("series:N", title=None)
        .legend(symbolOpacity=1, symbolStrokeWidth=0)
        .scale(domain=["selected", "matched"], range=[LIGHT.accent, LIGHT.muted])
    )
    charts = []
    for measure, label in wanted.items():
        base = alt.Chart(
            found.filter(pl.col("measure") == measure).select("alpha", "estimate", "low", "high", "series")
        )
        x = (
            alt.X("alpha:Q", title="strength of amplification, alpha (gain − 1)")
            .scale(domainMin=0)
            .axis(grid=False, tickCount=5)
        )
        y = alt.Y("estimate:Q", title=label)
        charts.append(
            alt.layer(
                alt.Chart(pl.DataFrame({"zero": [0]})).mark_rule(color=LIGHT.muted, strokeDash=[3, 3]).encode(y=alt.Y("zero:Q", title=label)),
                base.mark_rule(strokeWidth=1.5, opacity=0.55).encode(x=x, y=alt.Y("low:Q", title=label), y2="high:Q", color=colour),
                base.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour),
                base.mark_point(filled=True, size=55, opacity=1).encode(x=x, y=y, color=colour),
            ).properties(width=225, height=220)
        )  # fmt: skip
    return alt.hconcat(*charts).resolve_scale(y="independent").properties(
        title=title(
            "What more amplification does",
            f"{INTERVALS} Left and middle: how many more clips are answered with the amplified emotion, where it was spoken and "
            "where another one was. Right: what that costs or gains over all emotions.",
        )
    )  # fmt: skip


def positions(content: Content) -> Any | None:
    """The gap by the positions at which neurons were switched off."""
    found = content.at_headline(content.tables.effects).filter(
        (pl.col("kind") == "deactivate") & (pl.col("measure") == "gap") & (pl.col("control") == "target")
        & (pl.col("selector").eq_missing(pl.lit(content.selector)))
    )  # fmt: skip
    there = found["positions"].to_list()
    if len(there) < 2:
        return None
    order = [name for name in ("all", "audio", "text", "decision", "answer") if name in there]
    order += sorted(set(there) - set(order))
    rows = found.select(pl.col("positions").alias("row"), "estimate", "low", "high", pl.lit("selected").alias("series"))
    return dots(
        rows, order=order, series="series", strong=["selected"], x="gap: own effect minus effect on the others (points)",
        y="positions switched off", rule=0.0,
    ).properties(
        title=title(
            "Where in the prompt switching off takes effect",
            f"{INTERVALS} The same neurons, switched off only at the named positions. Further left: more specific.",
        )
    )  # fmt: skip


def reliance(content: Content) -> Any | None:
    """UAR with MLP layers switched off: reference lines for the effects of sets."""
    found, base = content.tables.reliance, content.uar("baseline")
    if found.is_empty() or base is None:
        return None
    names = {"all": "all MLP layers off", "union": "all selected neurons off"}
    labelled = [(names.get(name, f"layer {name} off"), name) for name in found["layers"]]
    rows = pl.DataFrame(
        [{"row": "nothing off", "estimate": base["uar"], "low": base["low"], "high": base["high"]}]
        + [
            {"row": label, "estimate": row["uar"], "low": row["uar_low"], "high": row["uar_high"]}
            for (label, _), row in zip(labelled, found.iter_rows(named=True), strict=True)
        ],
        schema={"row": pl.String, "estimate": pl.Float64, "low": pl.Float64, "high": pl.Float64},
    ).with_columns(pl.when(pl.col("row") == "nothing off").then(pl.lit("a")).otherwise(pl.lit("b")).alias("series"))
    return dots(
        rows, order=["nothing off", *(label for label, _ in labelled)], series="series", strong=["a", "b"], x="UAR (%)",
        y="what was switched off", domain=(0, 100), rule=base["chance"], rule_name="guessing",
    ).properties(
        title=title(
            "How much the answers rest on the MLP layers at all",
            f"{INTERVALS} Where UAR hardly falls with all layers off, small effects of sets say little.",
        )
    )  # fmt: skip


def layers(content: Content) -> Any | None:
    """The share of each selector's neurons per layer, next to sets from shuffled labels."""
    found = content.tables.layers
    for column, value in (("budget", content.budget), ("scope", content.scope)):
        found = found.filter(pl.col(column) == value) if value is not None else found
    if found.is_empty():
        return None
    means = (
        found.group_by("selector", "control", "layer").agg(pl.col("share").mean()).sort("selector", "control", "layer")
    )
    top = float(means["share"].max() or 1) * 1.05  # type: ignore[arg-type]
    charts = []
    for selector in [s for s in content.selectors if s in set(means["selector"])]:
        own = means.filter(pl.col("selector").eq_missing(pl.lit(selector)))
        x = alt.X("layer:O", title="layer (number from the input)").axis(labelAngle=0, labelOverlap=True)
        y = alt.Y("share:Q", title="share of the set (%)").scale(domain=[0, top])
        marks = [
            alt.Chart(own.filter(pl.col("control") == "target"))
            .mark_bar(color=LIGHT.accent, size=_bar(own))
            .encode(x=x, y=y)
        ]
        shuffled = own.filter(pl.col("control") == "shuffled")
        if len(shuffled):
            marks.append(
                alt.Chart(shuffled)
                .mark_tick(color=LIGHT.ink, thickness=2, size=_bar(own) + 4, orient="horizontal")
                .encode(x=x, y=y)
            )
        charts.append(
            alt.layer(*marks).properties(
                width=165, height=160, title=alt.TitleParams(name_selector(selector), fontSize=13)
            )
        )
    return alt.concat(*charts, columns=4, spacing=18).properties(
        title=title(
            "In which layers the selected neurons lie",
            "Bar: share of the set, mean over emotions; horizontal tick: the same for sets found on shuffled labels. "
            "Only a bar that leaves its tick says something about emotion.",
        )
    )


def layers_by_emotion(content: Content) -> Any | None:
    """The share of the headline selector's neurons per layer and emotion."""
    found = content.tables.layers.filter(
        (pl.col("control") == "target") & (pl.col("selector").eq_missing(pl.lit(content.selector)))
    )
    for column, value in (("budget", content.budget), ("scope", content.scope)):
        found = found.filter(pl.col(column) == value) if value is not None else found
    if found.is_empty():
        return None
    cells = found.select(
        pl.col("emotion").alias("row"), pl.col("layer").cast(pl.String).alias("column"), pl.col("share").alias("value")
    )
    emotions = [e for e in content.tables.panel.labels if e in set(found["emotion"])]
    return heat(
        cells, rows=emotions, columns=[str(layer) for layer in found["layer"].unique().sort()],
        x="layer (number from the input)", y="neurons selected for", legend="share of the set (%)",
    ).properties(
        title=title(
            f"In which layers each emotion's neurons lie ({name_selector(content.selector)})",
            "Each row adds up to 100 %: of the neurons selected for that emotion, the share in the column's layer.",
        )
    )  # fmt: skip


FIGURES: Mapping[str, Callable[..., Any]] = {
    "recall": recall, "confusion": confusion, "deactivation": deactivation, "gaps": gaps, "steering": steering,
    "pulls": pulls, "dose": dose, "positions": positions, "reliance": reliance, "layers": layers,
    "layers_by_emotion": layers_by_emotion, "main": main_figure,
}  # fmt: skip
"""Name to figure, in the order of the page."""


def _bar(own: pl.DataFrame) -> float:
    return max(2.0, min(26.0, 150 / max(own["layer"].n_unique(), 1)))


def _matrices(
    content: Content, found: pl.DataFrame, value: str, chosen: Sequence[tuple[str | None, str]], legend: str,
    heading: alt.TitleParams,
) -> Any | None:  # fmt: skip
    parts = []
    for selector, control in chosen:
        part = found.filter(
            (pl.col("selector").eq_missing(pl.lit(selector)))
            & (pl.col("control") == control)
            & pl.col(value).is_not_null()
        )
        if len(part):
            draws = "" if control == "target" else f" (mean of {part['draws'][0]})"
            cells = part.select(
                pl.col("target").alias("row"), pl.col("emotion").alias("column"), pl.col(value).alias("value")
            )
            parts.append((f"{name_selector(selector)}, {CONTROLS[control]}{draws}", cells))
    if not parts:
        return None
    most = max(5.0, max(float(cells["value"].abs().max() or 0) for _, cells in parts))  # type: ignore[arg-type]
    rows = [e for e in content.tables.panel.labels if any(e in set(cells["row"]) for _, cells in parts)]
    drawn = [
        signed_matrix(cells, rows, content.emotions, most, legend).properties(title=alt.TitleParams(name, fontSize=13))
        for name, cells in parts
    ]
    return panels(drawn, width=content.emotions).properties(title=heading)


def _by_set(content: Content, kind: str, measure: str, excess: str, x: str, heading: alt.TitleParams) -> Any | None:
    found = content.shown(content.tables.effects, kind).filter(pl.col("measure").is_in([measure, excess]))
    draws = content.at_headline(content.tables.effects).filter(
        (pl.col("kind") == kind) & (pl.col("measure") == measure) & (pl.col("control") != "target") & pl.col("draw").is_not_null()
        & (pl.col("positions") == "all")
    )  # fmt: skip
    if kind == "steer":
        draws = draws.filter(pl.col("alpha").eq_missing(pl.lit(content.alpha)))
    rows = []
    for selector in content.selectors:
        for control in CONTROLS:
            for row in found.filter(
                (pl.col("selector").eq_missing(pl.lit(selector))) & (pl.col("control") == control)
            ).iter_rows(named=True):
                more = row["measure"] == excess
                label = f"{name_selector(selector)}, " + ("selected minus matched" if more else CONTROLS[control])
                rows.append({"row": label, "order": (content.selectors.index(selector), more, list(CONTROLS).index(control))} | {
                    "estimate": row["estimate"], "low": row["low"], "high": row["high"],
                    "series": "selected" if control == "target" else "control",
                })  # fmt: skip
    if not rows:
        return None
    rows.sort(key=lambda row: row["order"])
    frame = pl.DataFrame([{k: v for k, v in row.items() if k != "order"} for row in rows], infer_schema_length=None)
    ticks = pl.DataFrame(
        [
            {"row": f"{name_selector(row['selector'])}, {CONTROLS[row['control']]}", "estimate": row["estimate"]}
            for row in draws.iter_rows(named=True)
        ],
        schema={"row": pl.String, "estimate": pl.Float64},
    )
    return dots(
        frame, order=[row["row"] for row in rows], series="series", strong=["selected"], x=x, y="neurons", rule=0.0,
        ticks=ticks, text=[number(row["estimate"]) for row in rows],
    ).properties(title=heading)  # fmt: skip
