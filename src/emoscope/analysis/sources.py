"""What sets that another part of a study found do in this one: effects, and what they cost the answers in all."""

from __future__ import annotations

from typing import Any

import polars as pl

from emoscope.analysis.effects import EFFECTS

FOREIGN: dict[str, Any] = {"source": pl.String, "target": pl.String} | EFFECTS
"""One row per source, family, measure and, for damage, target; a null target is the mean over the source's sets.

Measures are those of the table of effects, where the sets' targets are options of this part's question, and always
``damage`` and ``excess_damage``.
"""
