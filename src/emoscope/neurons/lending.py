"""Sets that are lent to another part of a study: the headline's and their matched controls, under the source's name."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from emoscope.neurons.found_sets import FoundSets
from emoscope.neurons.set_spec import ALL


def lent_name(name: str, source: str) -> str:
    """The name of a set in a part that did not find it.

    Example:
        >>> lent_name("cas@0.05:all~matched1", "polish")
        'cas@0.05:all~matched1~from=polish'
    """
    return f"{name}~from={source}"


def lend(
    found: FoundSets, source: str, folds: Sequence[str], headline: tuple[str, float], matched: int, same: bool = True
) -> FoundSets | None:
    """The headline's target sets and their first matched controls, for the folds of another part.

    Args:
        found: the sets of the part that found them.
        source: its name.
        folds: the folds of the other part. A fold that the source has too, since both deal the same speakers, gets
            the sets of that fold, which were found on other speakers; any other gets those found on all clips.
        headline: selector and budget.
        matched: draws of matched controls.
        same: whether both deal the same speakers; otherwise folds of equal names have nothing to do with each other.

    Returns:
        the sets under other names, or ``None`` where nothing was found.
    """
    mine = found.frame.filter(
        (pl.col("selector") == headline[0])
        & (pl.col("budget") == headline[1])
        & ((pl.col("control") == "target") | ((pl.col("control") == "matched") & (pl.col("draw") < matched)))
    )
    if mine.is_empty():
        return None
    sets = {}
    for name in mine["set"].unique(maintain_order=True):
        for fold in (*folds, ALL):
            own = (name, fold) if same and (name, fold) in found.sets else (name, ALL)
            sets[lent_name(name, source), fold] = found.sets[own]
    frame = mine.filter(pl.col("fold").is_in([*(folds if same else ()), ALL])).with_columns(
        (pl.col("set") + f"~from={source}").alias("set"), pl.lit(source).alias("source")
    )
    return FoundSets(frame, sets, found.identifiable, found.layers, found.width, found.mean_product)


def gather(parts: Sequence[FoundSets]) -> FoundSets | None:
    """Sets of several sources together; ``None`` where there are none."""
    if not parts:
        return None
    first = parts[0]
    frame = pl.concat([one.frame for one in parts])
    sets = {key: groups for one in parts for key, groups in one.sets.items()}
    return FoundSets(frame, sets, first.identifiable, first.layers, first.width, first.mean_product)
