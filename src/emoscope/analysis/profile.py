"""Layer by layer: what the headline's neurons of one layer do when they alone are switched off."""

from __future__ import annotations

from typing import Any

import polars as pl

from emoscope.analysis.multiplicity import benjamini_hochberg
from emoscope.schemas import as_table, schema

SET = ("selector", "budget", "scope")


def profile(effects: pl.DataFrame, layers: pl.DataFrame) -> pl.DataFrame:
    """The gap of each single layer's neurons, alone and beyond matched ones, beside how many neurons lie there.

    Args:
        effects: ``effects``; families whose ``layers`` is a single number are read.
        layers: ``layers``, for the neurons of the sets that are found on all speakers.

    Returns:
        the columns of table ``profile``, a row a set and layer; gaps in points, ``neurons`` as mean, fewest and most
        over emotions. q values are Benjamini and Hochberg's over the layers of a set. Empty where sets were not
        switched off layer by layer.
    """
    alone = effects.filter(
        (pl.col("kind") == "deactivate") & (pl.col("role") == "single layer")
    )  # fmt: skip
    wanted = {
        "gap": (alone["control"] == "target") & (alone["measure"] == "gap"),
        "matched_gap": (alone["control"] == "matched") & alone["draw"].is_null() & (alone["measure"] == "gap"),
        "excess_gap": (alone["control"] == "target") & (alone["measure"] == "excess_gap"),
    }
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for name, chosen in wanted.items():
        for row in alone.filter(chosen).iter_rows(named=True):
            key = tuple(row[column] for column in SET)
            one = rows.setdefault((*key, int(row["layers"])), dict.fromkeys(schema("profile")))
            one |= dict(zip((*SET, "layer"), (*key, int(row["layers"])), strict=True))
            one |= {name: row["estimate"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
            one["hollow"] = bool(one["hollow"]) or row["hollow"]
            if name == "excess_gap" or one["speakers"] is None:
                one |= {"speakers": row["speakers"], "reason": row["reason"]}
            if name == "excess_gap":
                one["excess_gap_p"] = row["p"]
    _add_counts(rows, layers)
    for key in {place[:-1] for place in rows}:
        mine = [one for place, one in rows.items() if place[:-1] == key]
        for one, q in zip(mine, benjamini_hochberg([one["excess_gap_p"] for one in mine]), strict=True):
            one["excess_gap_q"] = q
    return as_table("profile", list(rows.values()))


def _add_counts(rows: dict[tuple[Any, ...], dict[str, Any]], layers: pl.DataFrame) -> None:
    counts = layers.filter(pl.col("control") == "target").group_by(*SET, "layer").agg(
        pl.col("neurons").mean(), pl.col("neurons").min().alias("neurons_min"),
        pl.col("neurons").max().alias("neurons_max"),
    )  # fmt: skip
    for row in counts.iter_rows(named=True):
        one = rows.get(tuple(row[column] for column in (*SET, "layer")))
        if one is not None:
            one |= {name: row[name] for name in ("neurons", "neurons_min", "neurons_max")}
