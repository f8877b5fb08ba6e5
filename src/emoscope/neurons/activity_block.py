"""One block of activity statistics, and the scopes that they are counted over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SCOPES = ("audio", "text", "decision", "answer")
"""The positions that statistics count; a token count column and an int8 code 0..3 stand in this order."""

SPANS = ("audio", "text")
"""Scopes that span many positions: stored as firing counts and means. The other scopes are one position."""


def scope_parts(scope: str | Sequence[str]) -> tuple[str, ...]:
    """Read a scope: its parts in the order of :data:`SCOPES`.

    Raises:
        ValueError: a part is not one of :data:`SCOPES`.

    Example:
        >>> scope_parts("answer+audio"), scope_parts(["text"]), scope_parts("all")
        (('audio', 'answer'), ('text',), ('audio', 'text', 'decision', 'answer'))
    """
    parts = scope.split("+") if isinstance(scope, str) else list(scope)
    if parts == ["all"]:
        return SCOPES
    unknown = [part for part in parts if part not in SCOPES]
    if unknown or not parts:
        raise ValueError(f'scope {scope!r} is not known: use "all" or a sum of {", ".join(SCOPES)}, as "audio+answer"')
    return tuple(part for part in SCOPES if part in parts)


@dataclass(frozen=True)
class ActivityBlock:
    """The statistics of one block of items, as a model's observer hands them over.

    Attributes:
        counts: for each scope of :data:`SPANS`, at how many positions a neuron fires; uint16 (item, layer, width).
        means: for the same scopes, the mean activation over positions; float16 (item, layer, width).
        values: for ``decision`` and ``answer`` the activation there; float16 (item, layer, width). Its sign is the
            firing, so the writer must not round a small positive value to zero.
        tokens: number of positions of each scope of :data:`SCOPES`; int32 (item, scope).
        abs_sum: sum of the absolute activation over all items and prompt positions; float32 (layer, width).
        product_sum: the same sum of the gated product that enters ``down_proj``; float32 (layer, width).
        positions: how many prompt positions these two sums run over.
    """

    counts: Mapping[str, np.ndarray]
    means: Mapping[str, np.ndarray]
    values: Mapping[str, np.ndarray]
    tokens: np.ndarray
    abs_sum: np.ndarray
    product_sum: np.ndarray
    positions: int

    def arrays(self, store: Iterable[str]) -> dict[str, np.ndarray]:
        """The per-item arrays under their names in the store, for the scopes that are kept."""
        named: dict[str, np.ndarray] = {}
        for scope in store:
            if scope in SPANS:
                named[f"{scope}_count"], named[f"{scope}_mean"] = self.counts[scope], self.means[scope]
            else:
                named[f"{scope}_value"] = self.values[scope]
        return named

    def __repr__(self) -> str:
        layers, width = self.abs_sum.shape
        return f"ActivityBlock({len(self.tokens)} items, {layers} layers x {width} neurons, {self.positions} positions)"
