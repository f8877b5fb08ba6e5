"""Voice or words: the same question on the voice, on noise in its place and on the transcript."""

from __future__ import annotations

from typing import Any

import polars as pl

GROUNDING: dict[str, Any] = {
    "corpus": pl.String, "presentation": pl.String, "part": pl.String, "kind": pl.String, "alpha": pl.Float64,
    "measure": pl.String, "unit": pl.String, "estimate": pl.Float64, "low": pl.Float64, "high": pl.Float64,
    "speakers": pl.Int64, "df": pl.Float64, "n": pl.Int64, "draws": pl.Int64, "p": pl.Float64, "reason": pl.String,
    "hollow": pl.Boolean, "less": pl.Float64, "less_low": pl.Float64, "less_high": pl.Float64, "less_p": pl.Float64,
    "chance": pl.Float64, "note": pl.String,
}  # fmt: skip
"""One row per corpus, presentation ("audio", "noise", "transcript"), kind and measure.

Kind "baseline" has the measure ``uar`` (%); the others have those of the table of effects, each also as excess_….
``less`` is the estimate minus that of the voice, over the same speakers. ``note`` says where nothing can be removed
since UAR is not above ``chance``.
"""
SELECTIVITY: dict[str, Any] = {
    "corpus": pl.String, "presentation": pl.String, "emotion": pl.String, "measure": pl.String, "own": pl.Float64,
    "others": pl.Float64, "estimate": pl.Float64, "low": pl.Float64, "high": pl.Float64, "items": pl.Int64,
    "speakers": pl.Int64, "reason": pl.String,
}  # fmt: skip
"""Activity of an emotion's set on clips of that emotion (``own``) and of the others; ``estimate`` is the difference.

``measure``: "firing" (% of positions) or "mean_activation"; a null ``emotion`` is the mean over emotions.
"""
