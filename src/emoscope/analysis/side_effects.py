"""What the sets for emotions cost other abilities: another question, writing down what is said, text alone."""

from __future__ import annotations

from typing import Any

import polars as pl

SIDE_EFFECTS: dict[str, Any] = {
    "corpus": pl.String, "part": pl.String, "ability": pl.String, "kind": pl.String, "alpha": pl.Float64,
    "measure": pl.String, "unit": pl.String, "n": pl.Int64, "speakers": pl.Int64, "chance": pl.Float64,
    "baseline": pl.Float64, "baseline_low": pl.Float64, "baseline_high": pl.Float64, "under": pl.Float64,
    "matched": pl.Float64, "change": pl.Float64, "change_low": pl.Float64, "change_high": pl.Float64,
    "excess": pl.Float64, "excess_low": pl.Float64, "excess_high": pl.Float64, "p": pl.Float64, "draws": pl.Int64,
    "reason": pl.String, "hollow": pl.Boolean,
}  # fmt: skip
"""One row per part and kind: a level in % with nothing changed, ``under`` the corpus's own sets and under ``matched``.

``ability``: "emotion" (the main part, to compare with; or whatever it asks), a column's name, "transcription" or "text".
``measure``: "UAR", "accuracy" or "WER" (word error rate: a rise is harm). ``change`` is under minus baseline, ``excess``
under minus matched, in points, with the p value of the excess.
"""
