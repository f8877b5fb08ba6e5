"""Figures of what the headline's sets do to the answers, next to control sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import polars as pl

from emoscope.analysis.verdicts import NO_BIAS, NO_SENSITIVITY
from emoscope.report.answer_charts import HOLLOW, INTERVALS
from emoscope.report.content import CONTROLS, Content, name_selector
from emoscope.report.marks import PANEL_SPACE, across, dots, signed_matrix
from emoscope.report.theme import title
from emoscope.vocabulary import acting

CELLS = (
    "Row: the emotion whose neurons were changed; column: the emotion of the clip. "
    "The diagonal (framed) is the emotion's own effect. Bold: clear of zero after correction for all cells of the matrix."
)
GAP = "gap: own effect minus effect on the others (points)"
INJECTED = {
    "targeted": "the clip’s own emotion (told)", "two-pass": "the answered emotion (two-pass)",
    "mix": "all, in equal shares (mix)", "mix-own": "all, by the model’s answer (mix)",
    "mix-outputs": "each in turn, outputs mixed", "union": "all, in full (union)",
}  # fmt: skip
"""What is amplified without a label, in words."""

SELECTED, BEYOND = "selected", "selected minus matched"


def deactivation(content: Content, controls: Sequence[str] = tuple(CONTROLS)) -> Any | None:
    """D of the headline selector next to the means of its controls."""
    return _matrices(
        content, "deactivate", "change", controls, "change of accuracy (points)",
        title("What switching neurons off does to each emotion, next to control sets", f"{CELLS} Control panels are means over draws."),
    )  # fmt: skip


def steering(content: Content) -> Any | None:
    """The pull matrix of the headline selector next to its controls."""
    return _matrices(
        content, "steer", "pull", tuple(CONTROLS), "change of the share answered (points)",
        title(
            f"Which answers amplification pulls to the amplified emotion (alpha = {content.alpha or 0:g})",
            "Row: the emotion whose neurons were amplified; cell: how many more of the column's clips are answered with the "
            "row's emotion. Framed: its own clips. Bold: clear of zero after correction for all cells of the matrix.",
        ),
    )  # fmt: skip


def evidence(content: Content) -> Any | None:
    """Sensitivity and bias per emotion of selected and matched neurons, and their mean difference."""
    found = acting(content.tables.evidence, "deactivate")
    found = found.filter(pl.col("control").is_in(["target", "matched"]))
    if found.is_empty():
        return None
    order = [*(one for one in content.tables.panel.labels if one in set(found["target"])), "mean of emotions", BEYOND]
    charts: list[Any] = []
    for measure, x, limit in (
        ("sensitivity", "change of evidence (AUC points)", NO_SENSITIVITY), ("bias", "change of leaning (nat)", NO_BIAS),
    ):  # fmt: skip
        rows = [
            {"row": row["target"], "series": series_of(row["control"]), "hollow": False}
            | {"estimate": row[measure], "low": row[f"{measure}_low"], "high": row[f"{measure}_high"]}
            for row in found.iter_rows(named=True)
        ]
        means = [("mean of emotions", control, measure, series_of(control)) for control in ("target", "matched")]
        for name, control, which, series in [*means, (BEYOND, "target", f"excess_{measure}", "difference")]:
            one = content.effect("deactivate", which, control)
            if one is not None:
                rows.append({"row": name, "series": series} | marks_of(one))
        frame = pl.DataFrame(rows, infer_schema_length=None).filter(pl.col("estimate").is_not_null())
        if frame.is_empty():
            return None
        there = [name for name in order if name in set(frame["row"])]
        charts.append(
            dots(frame, there, x, "neurons switched off" if not charts else None, rule=0.0,
                 band=(-limit, limit), width=350)
        )  # fmt: skip
    return alt.hconcat(*charts, spacing=24).properties(
        title=title(
            "Does the model lose evidence for the emotion, or only lean away from answering it?",
            f"{INTERVALS} Circle: selected; diamond: matched; square: their difference, on which the verdict rests. "
            "Left of zero: evidence is lost (first panel), the answer is avoided (second). Grey band: small changes.",
        )
    )  # fmt: skip


def gaps(content: Content) -> Any | None:
    """The gap under deactivation of the headline's sets and of their controls, and the excess gap."""
    found = acting(content.tables.effects, "deactivate")
    rows = []
    for measure, control in (
        ("gap", "target"),
        ("excess_gap", "target"),
        *(("gap", c) for c in CONTROLS if c != "target"),
    ):
        for row in found.filter((pl.col("measure") == measure) & (pl.col("control") == control)).iter_rows(named=True):
            beyond = measure == "excess_gap"
            name = BEYOND if beyond else CONTROLS[control]
            rows.append({"row": name, "series": "difference" if beyond else series_of(control)} | marks_of(row))
    if not rows:
        return None
    draws = content.tables.effects.filter(
        (pl.col("role") == "headline") & (pl.col("kind") == "deactivate") & (pl.col("measure") == "gap")
        & pl.col("control").is_in([one for one in CONTROLS if one != "target"]) & pl.col("draw").is_not_null()
    )  # fmt: skip
    ticks = draws.select(pl.col("control").replace(CONTROLS).alias("row"), "estimate")
    return dots(
        pl.DataFrame(rows, infer_schema_length=None), order=[row["row"] for row in rows], x=GAP,
        y="neurons switched off", rule=0.0, ticks=ticks,
    ).properties(
        title=title(
            f"How specific switching off is: {name_selector(content.selector)} and its controls",
            f"{INTERVALS} Further left: hurts its own emotion more than the others; zero: no difference. "
            f"Small ticks: single control draws.{hollow_note(rows)}",
        )
    )  # fmt: skip


def agnostic(content: Content) -> Any | None:
    """UAR and log p of the true option under steering that needs no label, next to matched controls."""
    found = content.own(content.sized(content.tables.agnostic)).filter(pl.col("against") != "targeted")
    if found.is_empty():
        return None
    order = [INJECTED[way] for way in INJECTED if way in set(found["way"])]
    charts: list[Any] = []
    for measure, x in (
        ("uar_change", "change of UAR (points)"),
        ("true_logp", "change of log p of the right answer (nat)"),
    ):
        rows = [
            {"row": INJECTED[row["way"]]} | marks_of(row)
            | {"series": "difference" if row["against"] == "matched" else series_of(row["control"])}
            for row in found.filter((pl.col("measure") == measure) & pl.col("estimate").is_not_null()).iter_rows(named=True)
        ]  # fmt: skip
        if rows:
            frame = pl.DataFrame(rows, infer_schema_length=None)
            charts.append(dots(frame, order, x, None if charts else "what was amplified", rule=0.0, width=330))
    return alt.hconcat(*charts, spacing=24).properties(
        title=title(
            f"Does amplification help where nobody tells it the emotion? (alpha = {content.alpha or 0:g})",
            f"{INTERVALS} Right of zero: better. Circle: selected; diamond: matched; square: their difference. The first row "
            f"knows the right answer and is only a mark to compare with.{hollow_note(found.to_dicts())}",
        )
    )  # fmt: skip


def positions(content: Content) -> Any | None:
    """The gap by the positions at which neurons were switched off, next to matched controls."""
    found = acting(content.tables.effects, "deactivate", "headline", "position").filter(
        pl.col("control").is_in(["target", "matched"]) & pl.col("measure").is_in(["gap", "excess_gap"])
    )
    there = list(dict.fromkeys(found["positions"].to_list()))
    if len(there) < 2:
        return None
    order = [name for name in ("all", "audio", "text", "decision", "answer") if name in there]
    order += sorted(set(there) - set(order))
    rows = [
        {
            "row": row["positions"],
            "series": "difference" if row["measure"] == "excess_gap" else series_of(row["control"]),
        }
        | marks_of(row)
        for row in found.iter_rows(named=True)
    ]
    return dots(
        pl.DataFrame(rows, infer_schema_length=None), order=order, x=GAP, y="positions switched off", rule=0.0
    ).properties(
        title=title(
            "Where in the prompt switching off takes effect",
            f"{INTERVALS} The same neurons, switched off only at the named positions; further left: more specific. "
            f"Circle: selected; diamond: matched; square: their difference.{hollow_note(rows)}",
        )
    )  # fmt: skip


def series_of(control: str) -> str:
    """The series of :data:`~emoscope.report.marks.SERIES` of a set or its control."""
    return "selected" if control == "target" else "control"


def marks_of(row: dict[str, Any]) -> dict[str, Any]:
    """What a dot needs of a row of effects."""
    return {name: row[name] for name in ("estimate", "low", "high")} | {"hollow": bool(row["hollow"])}


def hollow_note(rows: Sequence[dict[str, Any]]) -> str:
    """What hollow marks say, where there are any."""
    return f" {HOLLOW}" if any(row["hollow"] for row in rows) else ""


def _matrices(
    content: Content, kind: str, value: str, controls: Sequence[str], legend: str, heading: alt.TitleParams
) -> Any | None:
    found = acting(content.tables.matrix, kind).filter(pl.col(value).is_not_null())
    parts = []
    for control in controls:
        part = found.filter(pl.col("control") == control)
        if len(part):
            draws = "" if control == "target" else f" (mean of {part['draws'][0]})"
            cells = part.select(
                pl.col("target").alias("row"), pl.col("emotion").alias("column"), pl.col(value).alias("value"),
                pl.col(f"{value}_q").alias("q"), pl.col("hollow").fill_null(False),
            )  # fmt: skip
            parts.append((f"{name_selector(content.selector)}, {CONTROLS[control]}{draws}", cells))
    if not parts:
        return None
    most = max(5.0, max(float(cells["value"].abs().max() or 0) for _, cells in parts))  # type: ignore[arg-type]
    rows = [e for e in content.tables.panel.labels if any(e in set(cells["row"]) for _, cells in parts)]
    line = across(len(parts), content.emotions)
    drawn = [
        signed_matrix(cells, rows, content.emotions, most, legend, named=place % line == 0).properties(
            title=alt.TitleParams(name, fontSize=13)
        )
        for place, (name, cells) in enumerate(parts)
    ]
    return alt.concat(*drawn, columns=line, spacing=PANEL_SPACE).properties(title=heading)
