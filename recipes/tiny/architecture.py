"""The small Audio Flamingo 3: native classes, what is frozen, and how it starts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import (
    AudioFlamingo3Config,
    AudioFlamingo3ForConditionalGeneration,
    GenerationConfig,
    Qwen2Config,
)

from . import encoder as whisper
from .tokenizer import Prompts

Model = AudioFlamingo3ForConditionalGeneration


@dataclass(frozen=True)
class Architecture:
    """Size and starting values of the decoder."""

    layers: int = 4
    hidden: int = 128
    neurons: int = 512
    """MLP neurons per layer."""
    heads: int = 2
    head_width: int = 16
    embedding_std: float = 0.3
    weight_std: float = 0.05
    output_std: float = 0.3
    """Scale of the frozen attention output projections, relative to one over the square root of their input."""
    previous_token: float = 7.0
    """How sharply the first head of the first layer starts out looking at the token before (0: not at all)."""
    audio_std: float = 0.5
    """Spread of the projected audio tokens."""


def build_model(
    shape: Architecture, prompts: Prompts, encoder_state: whisper.State, sample: Tensor, seed: int
) -> Model:
    """Make an untrained model.

    Args:
        shape: size and starting values.
        prompts: gives the vocabulary.
        encoder_state: the frozen audio encoder.
        sample: encoder frames (frame, width) before the final norm, to centre and scale the projector.
        seed: the weight seed; the frozen random projections depend on it too.

    Returns:
        the model, with ``requires_grad`` set on what is to be trained.
    """
    config = AudioFlamingo3Config(
        audio_config=whisper.CONFIG,
        text_config=Qwen2Config(
            vocab_size=len(prompts.tokenizer),
            hidden_size=shape.hidden,
            intermediate_size=shape.neurons,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads,
            head_dim=shape.head_width,
            max_position_embeddings=1024,
            initializer_range=shape.weight_std,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=prompts.end,
            pad_token_id=prompts.pad,
        ),
        audio_token_id=prompts.sound,
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = Model(config)
        nn.init.normal_(model.model.language_model.embed_tokens.weight, std=shape.embedding_std)
        _start_attention(model, shape)
        model.model.audio_tower.load_state_dict(encoder_state)
        _start_projector(model, sample, shape.audio_std)
    _freeze(model)
    model.generation_config = GenerationConfig(
        do_sample=False, max_new_tokens=8, eos_token_id=prompts.end, pad_token_id=prompts.pad
    )
    return model


def _start_attention(model: Model, shape: Architecture) -> None:
    layers = model.model.language_model.layers
    for layer in layers:
        attention = layer.self_attn
        nn.init.normal_(attention.v_proj.weight, std=shape.hidden**-0.5)
        nn.init.zeros_(attention.v_proj.bias)
        nn.init.normal_(attention.o_proj.weight, std=shape.output_std * (shape.heads * shape.head_width) ** -0.5)
    if shape.previous_token:
        _start_previous_token_head(layers[0].self_attn, shape)


def _start_previous_token_head(attention: nn.Module, shape: Architecture) -> None:
    """Let the first head look at the token before, through the biases of its query and key.

    With constant query and key the score depends on the rotary distance alone. Turning the query by one step
    makes that score largest at distance one. Query and key stay trainable.
    """
    width = shape.head_width
    half = width // 2
    angle = 10_000.0 ** (-torch.arange(half) / half)
    for projection in (attention.q_proj, attention.k_proj):
        projection.weight[:width] *= 0.1
        projection.bias[:width] = 0.0
    attention.k_proj.bias[:half] = shape.previous_token
    attention.q_proj.bias[:half] = shape.previous_token * torch.cos(angle)
    attention.q_proj.bias[half:width] = -shape.previous_token * torch.sin(angle)


def _start_projector(model: Model, sample: Tensor, spread: float) -> None:
    """A random projector whose output is centred and scaled on the training clips, since it is never trained."""
    projector = model.model.multi_modal_projector
    for linear in (projector.linear_1, projector.linear_2):
        nn.init.normal_(linear.weight, std=linear.out_features**-0.5)
        nn.init.zeros_(linear.bias)
    projected = projector(model.model.audio_tower.layer_norm(sample.float()))
    mean = projected.mean(0)
    scale = spread / (projected - mean).std()
    projector.linear_2.weight *= scale
    projector.linear_2.bias.copy_(-mean * scale)


def _freeze(model: Model) -> None:
    """Encoder, projector and the attention's value and output projections keep their starting values.

    Attention then only carries information from place to place. What is learned has to sit in the MLPs,
    where the method looks; which neuron comes to carry what is left to training.
    """
    frozen = [model.model.audio_tower, model.model.multi_modal_projector]
    for layer in model.model.language_model.layers:
        frozen += [layer.self_attn.v_proj, layer.self_attn.o_proj]
    for module in frozen:
        module.requires_grad_(False)
