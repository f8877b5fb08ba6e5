"""Models of a known architecture whose weights are random: what they do was not learned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import nn

from emoscope.models.audio_lm import AudioLM
from emoscope.models.checkpoint import ModelCard
from emoscope.models.registry import module_checksum

Weights = Literal["all", "decoder"]
"""Which weights are random: those of the whole model, or of the text decoder with its embeddings and output head."""


def untrain(model: AudioLM, weights: Weights, seed: int) -> AudioLM:
    """Give weights of a loaded model, in place, the random values with which its class begins, and wrap it anew.

    With ``"decoder"`` the audio encoder and what brings its output to the decoder stay as they are. Embeddings, norms and
    biases become what the class makes of them (norms that change nothing, biases of 0). The same seed gives the same
    values on the same kind of device, whatever the weights were before.

    Returns:
        the model with its checksum in memory, told to be trained on nothing.

    Raises:
        ValueError: the class initialises no weights, or leaves out some; or weights are quantised.
    """
    inside: Any = model.model
    if model.decoder.packed:
        raise ValueError(f"model {model.info.id!r} is quantised: load it unquantised to give it random weights")
    if not hasattr(inside, "initialize_weights"):
        raise ValueError(f"model {model.info.id!r} is of a class that initialises no weights of its own")
    parts = [inside] if weights == "all" else [model.decoder.backbone, model.head, inside.get_input_embeddings()]
    targets = {id(module) for part in parts for module in part.modules()}
    # what was loaded from files is marked as initialised, module by module and weight by weight
    for module in inside.modules():
        module._is_hf_initialized = id(module) not in targets
    with torch.no_grad(), torch.random.fork_rng(_devices(inside)):
        for _, weight in _weights(parts):
            weight._is_hf_initialized = False
            weight.fill_(torch.nan)
        torch.manual_seed(seed)
        inside.initialize_weights()
    if left := [name for name, weight in _weights(parts) if bool(weight.isnan().any())]:
        raise ValueError(
            f"the class of model {model.info.id!r} does not initialise {len(left)} weights, such as {left[0]}"
        )
    name = f"{model.info.id}, {'all weights' if weights == 'all' else 'decoder'} random, seed {seed}"
    card = ModelCard(recommended_budget=model.info.recommended_budget)
    return type(model)(inside, model.processor, name, module_checksum(inside), model.info.revision, card)


def _weights(parts: list[nn.Module]) -> Iterator[tuple[str, Any]]:
    for part in parts:
        yield from part.named_parameters()


def _devices(module: nn.Module) -> list[torch.device]:
    return sorted({weight.device for weight in module.parameters() if weight.device.type == "cuda"}, key=str)
