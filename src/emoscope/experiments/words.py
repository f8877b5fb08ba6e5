"""Which output tokens a neuron writes: the direct effect of its down_proj column on the logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from emoscope.schemas import schema

if TYPE_CHECKING:
    import polars as pl

    from emoscope.models.audio_lm import AudioLM
    from emoscope.neurons.selection import FoundSets
    from emoscope.runs import Log

TOKENS = 5
"""Tokens listed per neuron and direction."""

AT_ONCE = 64
"""Neurons whose effect on the whole vocabulary is worked out together."""


def neuron_words(model: AudioLM, found: FoundSets, selector: str, budget: float | None, log: Log) -> pl.DataFrame:
    """List the tokens that each neuron of the headline sets raises and lowers most.

    The column of down_proj is passed through the scale of the decoder's last norm and the output head; what
    later layers do to it is left out (the direct path only; Geva et al. 2022).

    Returns:
        columns neuron, layer, index, emotion, raises (tokens), lowers (tokens).
    """
    import polars as pl
    import torch

    width = model.info.width
    chosen = found.frame.filter(
        (found.frame["control"] == "target") & (found.frame["selector"] == selector) & (found.frame["budget"] == budget)
    )
    rows = []
    norm = getattr(model.decoder.backbone, "norm", None)
    with torch.inference_mode():
        head = model.head.weight
        scale = 1.0 if norm is None else norm.weight.to(head.device)[:, None]
        for name in chosen["set"].unique(maintain_order=True):
            for emotion, neurons in found.sets[name, "all"].items():
                for part in np.array_split(neurons, -(-len(neurons) // AT_ONCE) or 1):
                    columns = [
                        model.decoder.columns(n // width, torch.tensor([n % width]))[:, 0].to(head.device)
                        for n in part.tolist()
                    ]
                    effects = (head @ (torch.stack(columns, 1).to(head.dtype) * scale)).T if columns else []
                    for neuron, effect in zip(part.tolist(), effects, strict=True):
                        top, low = effect.topk(TOKENS).indices.tolist(), (-effect).topk(TOKENS).indices.tolist()
                        words = [[model.tokenizer.decode([token]) for token in ids] for ids in (top, low)]
                        rows.append((neuron, *divmod(neuron, width), emotion, *words))
                    log.step(len(part))
    return pl.DataFrame(rows, schema=schema("neurons"), orient="row")
