"""The speech tokenizer of GLM-4-voice: a Whisper encoder whose averaged states are named by the nearest code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional as F

from emoscope.models.complete import Source
from emoscope.models.loading import transformers_class
from emoscope.models.lookup import read_json
from emoscope.models.shards import fill

SPARE = re.compile(r"layers\..*|layer_norm\..*|embed_positions2\..*|ema_.*|model\.decoder\..*|decoder\..*|proj_out\..*")
"""Stored beside what gives the codes: later layers, what stands above them, and what only training needs."""

FIXED = {
    "pooling_type": "avg",
    "encoder_causal_convolution": True,
    "encoder_causal_attention": False,
    "quantize_causal_encoder": False,
}
"""Settings of the released tokenizer that :class:`VoiceEncoder` is written for."""

SEGMENTS = 16
"""Segments encoded together."""

RATE = 16_000
"""Samples in a second."""


class VoiceEncoder(nn.Module):
    """Sound to codes: causal convolutions, layers with block-causal attention, average pooling, nearest code.

    Args:
        config: of the checkpoint (its config.json).

    Raises:
        ValueError: settings that the released tokenizer does not have.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        for name, value in FIXED.items():
            if config.get(name, value) != value:
                raise ValueError(f"speech tokenizer with {name} = {config[name]!r}: only {value!r} is supported")
        depth = int(config["quantize_position"])
        if config["pooling_position"] != depth:
            raise ValueError(
                f"speech tokenizer that pools after layer {config['pooling_position']} and names codes after layer "
                f"{depth}: only equal layers are supported"
            )
        width = int(config["d_model"])
        self.pooled = int(config["pooling_kernel_size"])
        self.block = int(config["quantize_causal_block_size"])
        self.conv1 = nn.Conv1d(int(config["num_mel_bins"]), width, 3)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2)
        self.embed_positions = nn.Embedding(int(config["max_source_positions"]), width)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(depth))
        self.codebook = nn.Embedding(int(config["quantize_vocab_size"]), width)

    def forward(self, mel: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Codes (segment, code) of mel spectrograms; those of padding are to be left out.

        Args as for :meth:`states`.
        """
        hidden, book = self.states(mel, frames), self.codebook.weight
        flat = hidden.reshape(-1, hidden.shape[-1])
        # the order of these sums is the official one: another could round to the neighbour of a near tie
        lengths = (book**2).sum(1) + (flat**2).sum(1, keepdim=True)
        return torch.addmm(lengths, flat, book.T, alpha=-2.0).argmin(1).view(hidden.shape[:2])

    def states(self, mel: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Averaged states of the last layer, before the nearest code is looked up.

        Args:
            mel: (segment, mel, frame); the frames of a segment stand first.
            frames: (segment,), how many are its own.

        Returns:
            states (segment, code, width).
        """
        hidden = F.gelu(self.conv1(F.pad(mel, (2, 0))))
        hidden = F.gelu(self.conv2(F.pad(hidden, (2, 0)))).transpose(1, 2)
        hidden = hidden + self.embed_positions.weight[: hidden.shape[1]]
        place = torch.arange(hidden.shape[1], device=hidden.device)
        # each position sees those before it and its own block, but no padding
        seen = (place[None] <= place[:, None]) | (place[None] // self.block == place[:, None] // self.block)
        seen = seen & (2 * place < frames[:, None])[:, None]
        for layer in self.layers:
            hidden = layer(hidden, seen[:, None])
        return F.avg_pool1d(hidden.transpose(1, 2), self.pooled).transpose(1, 2)


class _Layer(nn.Module):
    """One layer of a Whisper encoder, with the names of its weights."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, inner = int(config["d_model"]), int(config["encoder_ffn_dim"])
        self.heads = int(config["encoder_attention_heads"])
        self.self_attn = nn.ModuleDict(
            {
                name: nn.Linear(width, width, bias=name != "k_proj")
                for name in ("q_proj", "k_proj", "v_proj", "out_proj")
            }
        )
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, hidden: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        normed = self.self_attn_layer_norm(hidden)
        q, k, v = (
            self.self_attn[name](normed).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for name in ("q_proj", "k_proj", "v_proj")
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).flatten(2)
        hidden = hidden + self.self_attn["out_proj"](mixed)
        return hidden + self.fc2(F.gelu(self.fc1(self.final_layer_norm(hidden))))


class VoiceTokenizer(nn.Module):
    """The encoder with its mel spectrogram: 16 kHz samples to codes, 12.5 a second.

    Attributes:
        encoder: the network.
        mel: the feature extractor of the transformers library.
        segment: samples that are encoded at once; a longer clip becomes several segments, whose codes are joined.
    """

    def __init__(self, encoder: VoiceEncoder, mel: Any) -> None:
        super().__init__()
        self.encoder, self.mel = encoder, mel
        self.segment = int(mel.n_samples)
        self.samples_per_code = 2 * encoder.pooled * int(mel.hop_length)

    @classmethod
    def from_folder(cls, folder: Path, device: torch.device, read: list[Source] | None = None) -> VoiceTokenizer:
        """Load the checkpoint, with names that start with ``model.encoder.`` or bare ones.

        Always in float32, as the official code does: in fewer bits other codes come out.

        Args:
            folder: of the checkpoint.
            device: where it goes.
            read: is told where the weights stand.

        Raises:
            FileNotFoundError: no preprocessor_config.json, or no safetensors.
            ValueError: settings or weights that do not fit.
        """
        config = read_json(folder / "config.json")
        if not (folder / "preprocessor_config.json").is_file():
            raise FileNotFoundError(f"{folder} holds no preprocessor_config.json: it is no speech tokenizer")
        mel = transformers_class("WhisperFeatureExtractor").from_pretrained(folder, local_files_only=True)
        try:
            with torch.device("meta"):
                encoder = VoiceEncoder(config)
        except ValueError as error:
            raise ValueError(f"{folder / 'config.json'}: {error}") from error
        places = fill(encoder, folder, ("model.encoder.", "encoder."), SPARE, torch.float32)
        if read is not None:
            read.append(Source(encoder, places))
        return cls(encoder, mel).to(device)

    @torch.inference_mode()
    def forward(self, clips: Sequence[npt.NDArray[np.float32]]) -> list[torch.Tensor]:
        """Codes (code,) of each clip (time,)."""
        mels: list[torch.Tensor] = []
        owners: list[int] = []
        lengths: list[int] = []
        for owner, clip in enumerate(clips):
            parts = [clip[start : start + self.segment] for start in range(0, len(clip), self.segment)]
            # a clip's own segments share one length, as in the official code; other clips' do not matter
            sound = self.mel(
                parts, sampling_rate=RATE, padding="longest", pad_to_multiple_of=self.samples_per_code, return_tensors="pt"
            )  # fmt: skip
            mels.extend(sound["input_features"])
            owners.extend([owner] * len(parts))
            lengths.extend(len(part) for part in parts)
        codes: list[list[torch.Tensor]] = [[] for _ in clips]
        for start in range(0, len(mels), SEGMENTS):
            part = slice(start, start + SEGMENTS)
            for owner, own in zip(owners[part], self._encode(mels[part], lengths[part]), strict=True):
                codes[owner].append(own)
        return [torch.cat(own) for own in codes]

    def _encode(self, mels: Sequence[torch.Tensor], lengths: Sequence[int]) -> list[torch.Tensor]:
        device = self.encoder.conv1.weight.device
        longest = max(mel.shape[1] for mel in mels)
        batch = torch.stack([F.pad(mel, (0, longest - mel.shape[1])) for mel in mels]).to(device)
        samples = torch.tensor(lengths, device=device)
        frames = -(-samples // int(self.mel.hop_length))
        counts = (-(-samples // self.samples_per_code)).tolist()
        return [row[:count] for row, count in zip(self.encoder(batch, frames), counts, strict=True)]
