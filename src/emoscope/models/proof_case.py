"""What a proof is given, what it returns, and how large a difference counts as none."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from emoscope.models.audio_lm import AudioLM
from emoscope.models.values import Gains, Prepared, Request

SAME = {"float32": 2e-3, "float16": 5e-2, "bfloat16": 0.25}
"""Largest difference of logits that counts as the same answer, by dtype."""

PACKED = 0.25
"""The same where weights are quantised: activations may be rounded to 256 steps, and a bit of rounding crosses one."""

EDIT = {"float32": 1e-4, "float16": 5e-2, "bfloat16": 0.25}
"""Largest difference of logits between a gain by hook and the same gain in the weights, by dtype, where logits are small."""

EDIT_SHARE = {"float32": 1e-5}
"""The same as a share of the largest logit: sums of other order round otherwise, the more the larger they are."""

CLEAR = 4.0
"""A change must move logits by so many tolerances before its agreement with another change says something."""

GAINS = (9.0, 33.0, 129.0, 513.0, 2049.0)
"""Gains tried in turn on one neuron."""

Result = tuple[float | None, float | None, str]
"""Measured difference, tolerance, note."""


class NotRun(Exception):
    """A check that cannot be made here, with the reason."""


@dataclass
class Case:
    """The model and the rows on which it is checked.

    Attributes:
        model: that is checked.
        prepared: rows.
        requests: from which rows are made.
        heard: what the rows consist of, in words.
        full: whether a proof that can be made on a sample is made on everything.
    """

    model: AudioLM
    prepared: list[Prepared]
    requests: list[Request]
    heard: str
    full: bool = False

    @property
    def same(self) -> float:
        """Largest difference of logits that counts as the same answer."""
        return PACKED if self.model.info.quantised else SAME.get(self.model.info.dtype, 0.25)


def prepared_rows(case: Case, least: int = 1) -> list[Prepared]:
    """The rows of a case.

    Raises:
        NotRun: there are fewer than ``least``.
    """
    if len(case.prepared) < least:
        raise NotRun(f"needs {least} prepared rows, there are {len(case.prepared)}")
    return case.prepared


def mixed_gains(case: Case) -> tuple[list[Gains], Gains]:
    """Another strong change for each row, and all of them as one batch."""
    decoder, rows = case.model.decoder, len(case.prepared)
    values = {layer: torch.ones(rows, decoder.width) for layer in range(decoder.layers)}
    for row in range(rows):
        for value in values.values():
            value[row, row :: rows + 1] = (0.0, 2.0, -1.0)[row % 3]
    each = [Gains({layer: value[row : row + 1] for layer, value in values.items()}) for row in range(rows)]
    return each, Gains(values)
