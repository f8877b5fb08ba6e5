"""Reduce activations to what selectors need, layer by layer, while the model runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from emoscope.models.values import ANSWER, AUDIO, DECISION, PADDING, TEXT, ProofFailed

if TYPE_CHECKING:
    from emoscope.neurons.activity import ActivityBlock

SPANS = {"audio": AUDIO, "text": TEXT}  # scopes of many positions: counts and means are kept
SINGLES = {"decision": DECISION, "answer": ANSWER}  # scopes of one position: the value is kept
ELEMENTS = 1 << 24  # elements of a layer's activation that are widened to float32 at once (64 MB)


class ScopeStatistics:
    """An observer that keeps sums per row; it never holds more activations than those of the running layer.

    One object collects one block of items, in one batch or several::

        statistics = ScopeStatistics(info.layers, info.width, rows=len(prepared))
        model.score(prepared[:8], observe=statistics.of(range(8)))
        model.score(prepared[8:], observe=statistics.of(range(8, len(prepared))))
        statistics.block()

    Args:
        layers, width: size of the decoder.
        rows: items in the block.
        site: what is counted: ``"gate"``, the activated gate (the definition of a neuron's activation), or
            ``"product"``, the gated product.

    Raises:
        ValueError: an unknown site.
    """

    def __init__(self, layers: int, width: int, rows: int, site: str = "gate") -> None:
        if site not in ("gate", "product"):
            raise ValueError(f'site {site!r} is not known: give "gate" or "product"')
        self.site = site
        shape = rows, layers, width
        self.counts = {scope: np.zeros(shape, np.uint16) for scope in SPANS}
        self.means = {scope: np.zeros(shape, np.float16) for scope in SPANS}
        self.values = {scope: np.zeros(shape, np.float16) for scope in SINGLES}
        self.tokens = np.zeros((rows, 4), np.int32)
        self.abs_sum = np.zeros((layers, width), np.float32)
        self.product_sum = np.zeros((layers, width), np.float32)

    def of(self, rows: Sequence[int]) -> _Rows:
        """The observer for a batch whose rows are these items of the block."""
        return _Rows(self, np.asarray(rows, dtype=np.int64))

    def observe(self, layer: int, activation: torch.Tensor, product: torch.Tensor, scopes: torch.Tensor) -> None:
        """Observe a batch that holds the whole block, in order."""
        self.of(range(len(self.tokens))).observe(layer, activation, product, scopes)

    def block(self) -> ActivityBlock:
        """The statistics as the activity store takes them."""
        from emoscope.neurons.activity import ActivityBlock

        positions = int(self.tokens[:, [AUDIO, TEXT, DECISION]].sum())
        return ActivityBlock(
            self.counts, self.means, self.values, self.tokens, self.abs_sum, self.product_sum, positions
        )


class _Rows:
    """Writes one batch into its rows of a block."""

    def __init__(self, statistics: ScopeStatistics, rows: np.ndarray) -> None:
        self.statistics, self.rows = statistics, rows

    def observe(self, layer: int, activation: torch.Tensor, product: torch.Tensor, scopes: torch.Tensor) -> None:
        if len(activation) != len(self.rows):
            raise ProofFailed(f"a batch of {len(activation)} rows was observed as {len(self.rows)} items")
        step = max(1, ELEMENTS // max(1, activation[0].numel()))
        for start in range(0, len(self.rows), step):
            part = slice(start, start + step)
            self._part(layer, self.rows[part], activation[part], product[part], scopes[part])

    def _part(
        self, layer: int, rows: np.ndarray, activation: torch.Tensor, product: torch.Tensor, scopes: torch.Tensor
    ) -> None:
        kept = self.statistics
        product = product.float()
        activation = activation.float() if kept.site == "gate" else product
        for scope, code in SINGLES.items():
            place = scopes == code
            if bool(place.any()):
                # one position a row, so that indexing by the mask gives the rows in order
                kept.tokens[rows, code] = 1
                kept.values[scope][rows, layer] = half(activation[place])
        if bool((scopes == ANSWER).any()):
            return
        for scope, code in SPANS.items():
            place = (scopes == code).float()[:, None]
            tokens = place.sum(-1)
            kept.tokens[rows, code] = tokens[:, 0].cpu().numpy()
            fired = torch.bmm(place, (activation > 0).float())[:, 0]
            kept.counts[scope][rows, layer] = fired.cpu().numpy()
            kept.means[scope][rows, layer] = half(torch.bmm(place, activation)[:, 0] / tokens.clamp(min=1))
        prompt = (scopes != PADDING).float().flatten()
        kept.abs_sum[layer] += (prompt @ activation.abs().flatten(0, 1)).cpu().numpy()
        kept.product_sum[layer] += (prompt @ product.flatten(0, 1)).cpu().numpy()


def half(values: torch.Tensor) -> np.ndarray:
    """Round to float16 without losing the sign: a positive value stays positive, a large one stays finite.

    Example:
        >>> half(torch.tensor([1e-9, -1e-9, 0.0, 1e6])).tolist()
        [5.960464477539063e-08, -5.960464477539063e-08, 0.0, 65504.0]
    """
    limits = torch.finfo(torch.float16)
    smallest = limits.smallest_normal * limits.eps
    clamped = values.float().clamp(limits.min, limits.max)
    kept = torch.where((clamped != 0) & (clamped.abs() < smallest), torch.sign(clamped) * smallest, clamped)
    return kept.half().cpu().numpy()
