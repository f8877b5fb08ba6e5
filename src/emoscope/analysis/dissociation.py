"""Do sets for the emotion hurt the emotion question, and sets for another column that column's: double dissociation."""

from __future__ import annotations

from typing import Any

import polars as pl

DISSOCIATION: dict[str, Any] = {
    "corpus": pl.String, "column": pl.String, "kind": pl.String, "alpha": pl.Float64, "measure": pl.String,
    "what": pl.String, "question": pl.String, "sets": pl.String, "estimate": pl.Float64, "low": pl.Float64,
    "high": pl.Float64, "speakers": pl.Int64, "df": pl.Float64, "n": pl.Int64, "draws": pl.Int64, "p": pl.Float64,
    "reason": pl.String, "hollow": pl.Boolean,
}  # fmt: skip
"""Seven rows per corpus, column, kind and measure (``damage``, ``excess_damage``: change of UAR in points).

``corpus`` is the name of its main part. ``what``: "effect" (of the sets of ``sets`` on the question of ``question``:
four rows; both are "emotion", or whatever the main part asks, or the column's name), "difference" (on one question, its
own sets minus the other's: two rows, ``sets`` null) or "interaction" (the sum of the two differences: ``question`` and
``sets`` null). Below zero: each question suffers more under its own sets.
"""
