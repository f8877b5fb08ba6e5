"""The text branch of Kimi-Audio: a Qwen2 decoder that reads an audio stream and a text stream at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM

NEEDED = ("kimia_token_offset", "kimia_text_output_vocab", "kimia_adaptor_input_dim")
"""Entries of config.json without which the text branch cannot be built."""

NOT_OURS = (
    "auto_map", "model_type", "architectures", "rope_theta", "rope_scaling", "rope_parameters", "torch_dtype", "dtype",
)  # fmt: skip
"""Entries of config.json that are given anew, or that name code and types."""

SPARE = re.compile(r"(model\.)?mimo_.*|model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")
"""Stored beside the text branch: the layers that write speech, and frequencies that follow from the configuration."""


class KimiConfig(Qwen2Config):
    """The configuration of a Qwen2 decoder with the ``kimia_`` entries of the checkpoint."""

    model_type = "kimi_audio"

    @classmethod
    def from_raw(cls, raw: Mapping[str, Any], name: str) -> KimiConfig:
        """Take over a config.json as the released checkpoints have it.

        Args:
            raw: content of config.json.
            name: of the model, for messages.

        Raises:
            ValueError: an entry is missing, or the model takes no Whisper features.
        """
        rope = raw.get("rope_parameters") or {}  # so it stands in folders that transformers 5 has written
        missing = [entry for entry in NEEDED if entry not in raw]
        if missing or "rope_theta" not in {**raw, **rope}:
            raise ValueError(
                f"config.json of model {name!r} has no {', '.join(missing or ['rope_theta'])}: it is no Kimi-Audio model"
            )
        if not raw.get("use_whisper_feature", True):
            raise ValueError(f"model {name!r} takes no Whisper features: only Kimi-Audio models that do are supported")
        if not rope:
            rope = {"rope_type": "default", **(raw.get("rope_scaling") or {}), "rope_theta": float(raw["rope_theta"])}
        kept = {entry: value for entry, value in raw.items() if entry not in NOT_OURS}
        return cls(**kept, rope_parameters=rope, architectures=["MoonshotKimiaForCausalLM"])


class Adaptor(nn.Module):
    """Whisper features (..., 4 x encoder width) to the decoder's width; named as in the checkpoint."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(config.kimia_adaptor_input_dim, config.hidden_size),
            nn.SiLU(),
            nn.Identity(),  # a dropout in training: keeps the number of what follows
            nn.Linear(config.hidden_size, config.hidden_size),
            nn.LayerNorm(config.hidden_size, eps=config.rms_norm_eps),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Embeddings (..., hidden)."""
        embedded: torch.Tensor = self.layers(features)
        return embedded


class KimiDecoder(Qwen2ForCausalLM):
    """Qwen2 with the adaptor; its layers, norm and head are the model's whole path to text."""

    config_class = KimiConfig
    _keys_to_ignore_on_load_unexpected = [SPARE.pattern]  # noqa: RUF012 (so declared in transformers)

    def __init__(self, config: KimiConfig) -> None:
        super().__init__(config)
        self.model.vq_adaptor = Adaptor(config)

    def heard(self, codes: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """What a clip adds at its positions to the text stream.

        Args:
            codes: ids (position,) in the vocabulary.
            features: Whisper features (position, 4 x encoder width).

        Returns:
            embeddings (position, hidden).
        """
        table: Any = self.get_input_embeddings()
        code = table(codes.to(table.weight.device))
        adapted = self.model.vq_adaptor(features.to(code))
        # the root in the model's own precision, as in the official code
        return (code + adapted.to(code)) * torch.tensor(2.0, dtype=code.dtype, device=code.device).sqrt()

    def merge(
        self, audio: torch.Tensor, text: torch.Tensor, masked: torch.Tensor, features: torch.Tensor | None
    ) -> torch.Tensor:
        """Embeddings (position, hidden) of one prompt from both of its streams, at full length as officially written.

        The package itself never runs this: it embeds a clip once and puts it in its place. It is the slow way
        that :meth:`heard` is checked against.

        Args:
            audio: ids (position,) of the audio stream.
            text: ids (position,) of the text stream.
            masked: bool (position,), the positions that hear the clip.
            features: Whisper features (frame, 4 x encoder width), as many as masked positions or more; ``None``
                without sound.
        """
        table: Any = self.get_input_embeddings()
        embedded = table(audio)
        if features is not None:
            spread = features.new_zeros(len(audio), features.shape[1]).to(embedded)
            spread[masked] = features[: int(masked.sum())].to(embedded)
            adapted = self.model.vq_adaptor(spread) * masked[:, None]
            both = (embedded + adapted) * torch.sqrt(torch.tensor(2.0, dtype=embedded.dtype, device=embedded.device))
            embedded = embedded * ~masked[:, None] + both * masked[:, None]
        return embedded + table(text)
