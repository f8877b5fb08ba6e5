"""Which output tokens a neuron writes: the direct effect of its down_proj column on the logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from emoscope.models.audio_lm import AudioLM
    from emoscope.neurons.selection import FoundSets

TOKENS = 5
"""Tokens listed per neuron and direction."""


def neuron_words(model: AudioLM, found: FoundSets, selector: str, budget: float | None) -> pl.DataFrame:
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
        scale = 1.0 if norm is None else norm.weight.to(head.device)
        for name in chosen["set"].unique(maintain_order=True):
            for emotion, neurons in found.sets[name, "all"].items():
                for neuron in neurons.tolist():
                    layer, index = divmod(neuron, width)
                    column = model.decoder.sites[layer].down.weight[:, index].to(head.device, head.dtype)
                    effect = head @ (column * scale)
                    top, low = effect.topk(TOKENS).indices.tolist(), (-effect).topk(TOKENS).indices.tolist()
                    words = [[model.tokenizer.decode([token]) for token in ids] for ids in (top, low)]
                    rows.append((neuron, layer, index, emotion, *words))
    schema: dict[str, Any] = {"neuron": pl.Int64, "layer": pl.Int64, "index": pl.Int64, "emotion": pl.String,
              "raises": pl.List(pl.String), "lowers": pl.List(pl.String)}  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")
