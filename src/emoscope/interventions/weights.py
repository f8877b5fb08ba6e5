"""An intervention as a reversible change of weights: no hook, full speed, the same for all rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from emoscope.interventions.intervention import POSITIONS, Intervention
from emoscope.models.audio_lm import AudioLM, ProofFailed
from emoscope.models.decoder import is_packed


@contextmanager
def edited(model: AudioLM, intervention: Intervention) -> Iterator[AudioLM]:
    """Scale the neurons' columns of down_proj inside the block; afterwards every bit is as before.

    The same as gains by hook, for conditions that hold for a whole batch at all positions.

    Args:
        model: whose weights to change.
        intervention: with edits at all positions.

    Raises:
        ValueError: an edit limited to some positions or with means, or quantised weights.
        ProofFailed: the bits are not as before afterwards.
    """
    limited = [edit for edit in intervention.edits if edit.positions != POSITIONS]
    if limited:
        raise ValueError(f"{limited[0]!r}: weights act at every position; use gains for edits at some positions")
    if means := [edit for edit in intervention.edits if edit.means is not None]:
        raise ValueError(f"{means[0]!r}: a column of down_proj can be scaled, it cannot hold a mean; use gains")
    gains = intervention.gains(model.info, 1).values
    decoder = model.decoder
    weights = {layer: decoder.sites[layer].down.weight for layer in gains}
    for layer, weight in weights.items():
        if is_packed(weight):
            raise ValueError(
                f"layer {layer} holds quantised weights, and a column of them cannot be scaled exactly: "
                "use gains, or load the model unquantised"
            )
    before = decoder.fingerprint(list(gains))
    kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
    try:
        for layer, gain in gains.items():
            neurons = (gain[0] != 1).nonzero().flatten().to(weights[layer].device)
            old = decoder.columns(layer, neurons)
            kept[layer] = neurons, old
            decoder.write_columns(layer, neurons, old * gain[0].to(old.device, old.dtype)[neurons])
        yield model
    finally:
        for layer, (neurons, old) in kept.items():
            decoder.write_columns(layer, neurons, old)
    if decoder.fingerprint(list(gains)) != before:
        raise ProofFailed("down_proj was not restored bit for bit after a weight edit: load the model again")
