"""Does the model lose evidence of an emotion, or only say it more or less often: sensitivity and bias."""

from __future__ import annotations

from typing import Any

import polars as pl

from emoscope.analysis.effects import FAMILY_TYPES

EVIDENCE: dict[str, Any] = FAMILY_TYPES | {
    "target": pl.String, "auc": pl.Float64, "sensitivity": pl.Float64, "sensitivity_low": pl.Float64,
    "sensitivity_high": pl.Float64, "bias": pl.Float64, "bias_low": pl.Float64, "bias_high": pl.Float64,
    "excess_sensitivity": pl.Float64, "excess_sensitivity_low": pl.Float64, "excess_sensitivity_high": pl.Float64,
    "excess_bias": pl.Float64, "excess_bias_low": pl.Float64, "excess_bias_high": pl.Float64, "n": pl.Int64,
    "draws": pl.Int64,
}  # fmt: skip
