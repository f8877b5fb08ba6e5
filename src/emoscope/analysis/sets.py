"""How far the sets of different folds agree, and how like their sets matched controls are."""

from __future__ import annotations

from typing import Any

import polars as pl

STABILITY: dict[str, Any] = {
    "selector": pl.String, "budget": pl.Float64, "scope": pl.String, "control": pl.String, "emotion": pl.String,
    "folds": pl.Int64, "jaccard": pl.Float64, "jaccard_min": pl.Float64, "jaccard_max": pl.Float64,
    "chance": pl.Float64, "n": pl.Int64,
}  # fmt: skip
MATCHING: dict[str, Any] = {
    "selector": pl.String, "budget": pl.Float64, "scope": pl.String, "emotion": pl.String, "covariate": pl.String,
    "smd_mean": pl.Float64, "smd_largest": pl.Float64, "share_well_matched": pl.Float64,
}  # fmt: skip
