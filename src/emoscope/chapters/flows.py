"""Where answers go: from what the untouched model answers to what it answers with the headline's sets changed."""

from __future__ import annotations

from collections.abc import Sequence

import altair as alt
import numpy as np
import polars as pl

from emoscope.analysis.contrasts import Compared, shared
from emoscope.analysis.estimate import Estimate
from emoscope.analysis.parts import Part, Row
from emoscope.analysis.responses import UNREADABLE, Responses
from emoscope.report.page import Figure, Question
from emoscope.report.plots import HOLLOW, PANEL_SPACE, signed_matrix
from emoscope.report.theme import Chart, title, titled
from emoscope.report.wording import CONTROLS, name_selector
from emoscope.schemas import as_table
from emoscope.vocabulary import acting


def flows(responses: Responses, compared: Sequence[Compared]) -> pl.DataFrame:
    """How many items of each true emotion were answered so before and otherwise after, under the headline's conditions.

    Summed over ``before`` it is the confusion matrix under a condition, over ``after`` that of the untouched model.
    Table ``flows`` has a row for each way that some item went, of the headline's sets and of the mean over their
    matched draws (an empty ``draw``). ``count`` is in items, ``share`` in % of the ``n`` items of that true emotion. An
    answer that cannot be read is null.
    """
    rows: list[Row] = []
    for effect in compared:
        if effect.headline:
            like = effect.family | {"control": "matched", "draw": None}
            for family in (effect, *(matched for matched in compared if matched.family == like)):
                rows += _rows(responses, family)
    return as_table("flows", rows)


def _rows(responses: Responses, effect: Compared) -> list[Row]:
    _, used = shared(responses, effect.conditions)
    items, before = responses.per_speaker(used.astype(float)), responses.answer("baseline")
    names: dict[int, str | None] = {UNREADABLE: None, **dict(enumerate(responses.labels))}
    rows = []
    for target in effect.targets:
        moved: dict[tuple[int, int], np.ndarray] = {}
        for draw in effect.conditions:
            after = responses.answer(draw[target])
            for way in sorted(set(zip(before[used].tolist(), after[used].tolist(), strict=True))):
                went = used & (before == way[0]) & (after == way[1])
                moved[way] = moved.get(way, 0) + responses.per_speaker(went.astype(float)) / len(effect.conditions)
        for (was, now), counts in moved.items():
            for e in np.flatnonzero(counts.sum(axis=0)):
                found = Estimate.share(counts[:, e], items[:, e], effect.change.unreliable).columns()
                row = effect.family | found | {"target": target, "truth": responses.labels[e]}
                row |= {"before": names[was], "after": names[now], "count": float(counts[:, e].sum())}
                rows.append(row | {"share": found["estimate"], "draws": len(effect.conditions)})
    return rows


def draw_flows(part: Part) -> Chart | None:
    """Where the answers to an emotion's own clips go when its neurons are switched off, next to matched neurons."""
    found = acting(part.table("flows"), "deactivate").filter(pl.col("truth") == pl.col("target"))
    if found.is_empty():
        return None
    found = found.with_columns(pl.col("before", "after").fill_null("unreadable"))
    gained = found.select("control", row="target", column="after", value="share")
    lost = found.select("control", row="target", column="before", value=-pl.col("share"))
    cells = pl.concat([gained, lost]).group_by("control", "row", "column").agg(pl.col("value").sum())
    rows = [label for label in part.responses.labels if label in set(cells["row"])]
    columns = [*part.responses.labels, *(["unreadable"] if "unreadable" in set(cells["column"]) else [])]
    every = pl.DataFrame({"row": rows}).join(pl.DataFrame({"column": columns}), how="cross")
    most = max(5.0, float(cells["value"].abs().max() or 0))  # type: ignore[arg-type]
    unreliable = bool(found["unreliable"].any())
    legend, axes = "change of the share answered so (points)", ("answer of the model", "clips and neurons of")
    drawn: list[Chart] = []
    for control in ("target", "matched"):
        panel = cells.filter(control=control).drop("control")
        if panel.is_empty():
            continue
        panel = every.join(panel, on=["row", "column"], how="left").sort("row", "column").fill_null(0.0)
        panel = panel.with_columns(q=pl.lit(None, pl.Float64), unreliable=pl.lit(unreliable))
        chart = signed_matrix(panel, rows, columns, most, legend, not drawn, *axes)
        name = f"{name_selector(part.selector)}, {CONTROLS[control]}"
        drawn.append(titled(chart, alt.TitleParams(name, fontSize=13)))
    return alt.hconcat(
        *drawn,
        spacing=PANEL_SPACE,
        title=title(
            "Where the answers go when an emotion’s neurons are switched off",
            "Row: clips of that emotion, with its own neurons switched off; cell: how many more of them are answered "
            f"with the column’s emotion. Each row adds up to zero.{' ' + HOLLOW if unreliable else ''}",
        ),
    )


QUESTIONS = (
    Question(
        "deactivation",
        20,
        (Figure("flows", draw_flows, "no set was switched off"),),
        tables={"flows": lambda part: flows(part.responses, part.compared)},
    ),
)
