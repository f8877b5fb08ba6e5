"""Does more amplification do more: Page's trend test over the strengths, speakers as blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.changes import Change
from emoscope.analysis.effects import measures
from emoscope.analysis.families import FAMILY, Compared
from emoscope.analysis.jackknife import interval
from emoscope.schemas import as_table
from emoscope.vocabulary import MINIMUM_SPEAKERS

MOST_ALPHA = 1.0
"""The rising part, fixed before any run: 0 < alpha <= 1. Beyond it answers may collapse."""

FEWEST = 3
"""Strengths that Page's test needs."""

SHARED = tuple(name for name in FAMILY if name != "alpha")


TESTED = ("pull", "pull_gap")
"""Measures that are tested, of the sets, of their controls, and of the sets beyond matched controls."""


def trend(compared: Sequence[Compared]) -> pl.DataFrame:
    """Whether pull and pull gap rise with alpha where 0 < alpha <= 1, for every selector steered at several strengths.

    Page's test (Page 1963) ranks each speaker's effects over the strengths, and asks whether the ranks rise in
    their order; one-sided. A speaker without a clip of some emotion is no block. ``slope`` is that of the least
    squares line through the effects of all speakers, in points per unit of alpha, with its jackknife interval.

    Args:
        compared: the families and what they change.

    Returns:
        the columns of table ``trend``; ``page_l`` is Page's L, ``blocks`` how many speakers it ranks. Measures that
        begin with excess_ are those beyond matched controls.
    """
    groups: dict[tuple[Any, ...], list[Compared]] = {}
    for one in compared:
        family = one.family
        # the mean over draws stands for a control: as one treatment a speaker, like the set that it is a control of
        single = family["control"] == "target" or family["draw"] is None
        if family["kind"] == "steer" and single and 0 < family["alpha"] <= MOST_ALPHA:
            groups.setdefault(tuple(family[name] for name in SHARED), []).append(one)
    rows: list[dict[str, Any]] = []
    for key, members in groups.items():
        members.sort(key=lambda one: float(one.family["alpha"]))
        about = dict(zip(SHARED, key, strict=True))
        if len(members) < 2:
            continue
        rows += _rows(about, members, [one.change for one in members], "", any(one.hollow for one in members))
        beyond = [one.excess for one in members if one.excess is not None]
        if len(beyond) == len(members):
            rows += _rows(about, members, [one.beyond for one in beyond], "excess_", any(one.hollow for one in beyond))
    return as_table("trend", rows)


def _rows(
    about: dict[str, Any], members: Sequence[Compared], changes: Sequence[Change], prefix: str, hollow: bool
) -> list[dict[str, Any]]:
    alphas = np.array([one.family["alpha"] for one in members], dtype=float)
    away = alphas - alphas.mean()
    sizes = np.min([change.items.sum(axis=1) for change in changes], axis=0)
    rows = []
    for measure in TESTED:
        over = np.stack([measures(change)[measure] for change in changes])
        line = interval(away @ over / float(away @ away), sizes)
        blocks = np.stack([of_each_speaker(change)[measure] for change in changes], axis=1)
        found = page(blocks[~np.isnan(blocks).any(axis=1)])
        words = f"{prefix}{measure} rises with alpha".replace("_", " ")
        rows.append(
            about
            | {
                "measure": prefix + measure,
                "tests": words,
                "alphas": ", ".join(f"{alpha:g}" for alpha in alphas),
                "slope": line.estimate,
            }
            | {"low": line.low, "high": line.high, "speakers": line.speakers, "df": line.df, "hollow": hollow}
            | {"unit": "points per unit of alpha"}
            | found
            | {"reason": found["reason"] or line.reason}
        )
    return rows


def of_each_speaker(change: Change) -> dict[str, np.ndarray]:
    """Pull and pull gap of every speaker alone, in points; NaN without a clip of each target. Dimension (speaker)."""
    targets = list(change.targets)
    items = change.items[:, np.newaxis, targets]
    said = 100 * change.said[:, :, targets]
    cells = np.divide(said, items, out=np.full(said.shape, np.nan), where=items > 0)
    own = np.einsum("gmm->gm", cells).mean(axis=1)
    size = len(targets)
    others = (cells.sum(axis=(1, 2)) - own * size) / (size * (size - 1)) if size > 1 else np.full_like(own, np.nan)
    return {"pull": own, "pull_gap": own - others}


def page(blocks: np.ndarray) -> dict[str, Any]:
    """Page's L, its one-sided p and the number of blocks, or the reason why there is none.

    Args:
        blocks: one row a speaker, one column a strength in rising order; (block, strength).

    Example:
        >>> page(np.array([[1.0, 2.0, 3.0]] * 5))["page_l"]  # 5 * (1*1 + 2*2 + 3*3)
        70.0
    """
    found: dict[str, Any] = {"page_l": None, "p": None, "blocks": len(blocks), "reason": None}
    if blocks.shape[1] < FEWEST:
        return found | {"reason": f"only {blocks.shape[1]} strengths up to {MOST_ALPHA:g}: the test needs {FEWEST}"}
    if len(blocks) < MINIMUM_SPEAKERS:
        return found | {"reason": f"only {len(blocks)} speakers with every emotion: {MINIMUM_SPEAKERS} are needed"}
    from scipy.stats import page_trend_test  # imported late: it takes longer than the analysis

    done = page_trend_test(blocks.round(9))  # sums that cancel are ties
    return found | {"page_l": float(done.statistic), "p": float(done.pvalue)}
