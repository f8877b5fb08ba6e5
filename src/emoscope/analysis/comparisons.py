"""The declared tests of a study, and differences between selectors."""

from __future__ import annotations

from typing import Any

import polars as pl

TESTS: dict[str, Any] = {
    "kind": pl.String, "measure": pl.String, "corpus": pl.String, "estimate": pl.Float64, "low": pl.Float64,
    "high": pl.Float64, "df": pl.Float64, "p": pl.Float64, "p_holm": pl.Float64, "reason": pl.String,
}  # fmt: skip
DIFFERENCES: dict[str, Any] = {
    "kind": pl.String, "alpha": pl.Float64, "measure": pl.String, "first": pl.String, "second": pl.String,
    "estimate": pl.Float64, "low": pl.Float64, "high": pl.Float64, "df": pl.Float64, "p": pl.Float64,
    "unit": pl.String, "reason": pl.String,
}  # fmt: skip
