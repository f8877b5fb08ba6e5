"""What may be said of a family of sets: it removes evidence, it pulls the answer, both, or neither."""

from __future__ import annotations

from typing import Any

import polars as pl

from emoscope.analysis.effects import FAMILY_TYPES

VERDICTS: dict[str, Any] = FAMILY_TYPES | {
    "verdict": pl.String, "reason": pl.String, "excess_sensitivity": pl.Float64,
    "excess_sensitivity_low": pl.Float64, "excess_sensitivity_high": pl.Float64, "excess_bias": pl.Float64,
    "excess_bias_low": pl.Float64, "excess_bias_high": pl.Float64, "speakers": pl.Int64, "hollow": pl.Boolean,
    "headline": pl.Boolean,
}  # fmt: skip
