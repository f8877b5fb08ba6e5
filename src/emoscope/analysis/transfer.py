"""How the sets of one corpus act on another: by source and host, the two directions compared, and score agreement."""

from __future__ import annotations

from typing import Any

import polars as pl

TRANSFER: dict[str, Any] = {
    "source": pl.String, "host": pl.String, "diagonal": pl.Boolean, "fused": pl.Boolean, "kind": pl.String,
    "selector": pl.String, "budget": pl.Float64, "alpha": pl.Float64, "measure": pl.String, "unit": pl.String,
    "estimate": pl.Float64, "low": pl.Float64, "high": pl.Float64, "speakers": pl.Int64, "df": pl.Float64,
    "n": pl.Int64, "targets": pl.Int64, "draws": pl.Int64, "p": pl.Float64, "reason": pl.String,
    "hollow": pl.Boolean, "less": pl.Float64, "less_low": pl.Float64, "less_high": pl.Float64, "less_p": pl.Float64,
    "kept": pl.Float64, "uar": pl.Float64, "uar_low": pl.Float64, "uar_high": pl.Float64, "chance": pl.Float64,
}  # fmt: skip
"""One row per source, host, kind and measure (those of the table of effects, each also as excess_…).

``source`` and ``host`` are names of main parts; a source may also be "fused: …". ``less`` is the estimate minus that
of the host's own, cross-fitted sets on the same clips, ``kept`` the estimate in % of theirs where theirs is clear of
zero; ``uar`` is the host's on the shared emotions, with nothing changed, in %.
"""
ASYMMETRY: dict[str, Any] = {
    "first": pl.String, "second": pl.String, "kind": pl.String, "selector": pl.String, "budget": pl.Float64,
    "alpha": pl.Float64, "measure": pl.String, "unit": pl.String, "forward": pl.Float64, "forward_low": pl.Float64,
    "forward_high": pl.Float64, "backward": pl.Float64, "backward_low": pl.Float64, "backward_high": pl.Float64,
    "estimate": pl.Float64, "low": pl.Float64, "high": pl.Float64, "df": pl.Float64, "p": pl.Float64,
    "reason": pl.String, "hollow": pl.Boolean,
}  # fmt: skip
"""``forward``: the first's sets on the second's clips; ``backward`` the reverse; ``estimate`` is forward minus backward."""

AGREEMENT: dict[str, Any] = {
    "source": pl.String, "target": pl.String, "selector": pl.String, "emotion": pl.String, "n": pl.Int64,
    "jaccard": pl.Float64, "chance": pl.Float64, "spearman": pl.Float64,
}  # fmt: skip
"""How alike two corpora score neurons: overlap of the sets, its expectation for random sets, rank correlation."""
