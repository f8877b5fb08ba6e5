"""What Kimi-Audio cuts text and sound into: byte pairs of tiktoken.model, and the speech tokenizer of GLM-4-voice.

The latter is a Whisper encoder whose averaged states are named by the nearest code.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn import functional as F

from emoscope.corpora.audio import RATE
from emoscope.models.checkpoint import TABLES, read_json
from emoscope.models.complete import Source, fill
from emoscope.models.family import from_folder
from emoscope.models.values import Waveform

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How text is cut before byte pairs are merged, as in the released tokenizer."""

SPECIAL_TOKENS = 421  # special tokens that follow the byte pairs; no file of the checkpoint lists them


END_OF_TEXT = "<|im_kimia_text_eos|>"  # ends a written answer; ``[EOS]`` never occurs in one

SPARE = re.compile(r"layers\..*|layer_norm\..*|embed_positions2\..*|ema_.*|model\.decoder\..*|decoder\..*|proj_out\..*")
"""Stored beside what gives the codes: later layers, what stands above them, and what only training needs."""

# settings of the released tokenizer that :class:`VoiceEncoder` is written for
FIXED = {"pooling_type": "avg", "encoder_causal_convolution": True}
FIXED |= dict.fromkeys(("encoder_causal_attention", "quantize_causal_encoder"), False)

SEGMENTS = 16  # segments encoded together

Piece = TypeVar("Piece")


def cut(clip: Waveform, length: int) -> list[Waveform]:
    """The pieces of a clip, all but the last of one length in samples."""
    return [clip[start : start + length] for start in range(0, len(clip), length)]


def run_pieces(
    pieces: Sequence[tuple[int, Piece]], clips: int, run: Callable[[Sequence[Piece]], Iterable[torch.Tensor]]
) -> list[torch.Tensor]:
    """Run pieces of clips, each with the number of its clip, some at a time, and join what those of a clip gave."""
    found: list[list[torch.Tensor]] = [[] for _ in range(clips)]
    for start in range(0, len(pieces), SEGMENTS):
        owners, part = zip(*pieces[start : start + SEGMENTS], strict=True)
        for owner, own in zip(owners, run(part), strict=True):
            found[owner].append(own)
    return [torch.cat(own) for own in found]


class KimiTokenizer:
    """What is used of a tokenizer, on the package ``tiktoken``, from byte string -> token id, counted without gaps.

    Text never becomes a special token: a marker in it is read as ordinary characters.
    """

    def __init__(self, ranks: Mapping[bytes, int]) -> None:
        try:
            from tiktoken import Encoding
        except ImportError as error:
            raise ValueError("Kimi-Audio needs the package tiktoken: pip install 'emoscope[kimi]'") from error
        self._ranks = dict(ranks)
        self.special = special_tokens(len(ranks))  # name -> id
        self.all_special_ids = list(self.special.values())
        self.eos_token_id = self.special[END_OF_TEXT]
        self._encoding: Any = Encoding(
            "kimi_audio", pat_str=PATTERN, mergeable_ranks=self._ranks, special_tokens=self.special
        )

    @classmethod
    def from_folder(cls, folder: Path) -> KimiTokenizer:
        """Read ``tiktoken.model``: a line is a byte string in base64 and its id."""
        path = folder / "tiktoken.model"
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no tiktoken.model: the tokenizer of Kimi-Audio is missing")
        try:
            pairs = [line.split() for line in path.read_bytes().splitlines() if line]
            ranks = {base64.b64decode(token): int(rank) for token, rank in pairs}
        except ValueError as error:
            raise ValueError(f"{path} is no list of byte strings and ids ({error})") from error
        if sorted(ranks.values()) != list(range(len(pairs))):
            raise ValueError(f"{path} does not count its {len(pairs)} entries from 0 without gaps")
        return cls(ranks)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return list(self._encoding.encode(text, disallowed_special=()))

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        """The text of token ids; bytes that are no UTF-8 are replaced."""
        special = set(self.all_special_ids) if skip_special_tokens else set()
        return str(self._encoding.decode([token for token in map(int, ids) if token not in special]))

    def get_vocab(self) -> dict[str, int]:
        """Each token -> its id, a character for each byte, so that no two tokens share a name."""
        return {token.decode("latin-1"): rank for token, rank in self._ranks.items()} | self.special

    def __len__(self) -> int:
        return len(self._ranks) + len(self.special)


def special_tokens(first: int) -> dict[str, int]:
    """Name -> id of the special tokens when the first has id ``first``.

    Example:
        >>> names = special_tokens(151_643)
        >>> names["<|im_kimia_text_blank|>"], names["<|reserved_token_406|>"]
        (151666, 152063)
    """
    named, reserved = {place: name for name, place in TABLES["kimi_special_tokens"].items()}, count()
    names = [named.get(place) or f"<|reserved_token_{next(reserved)}|>" for place in range(SPECIAL_TOKENS)]
    return {name: first + place for place, name in enumerate(names)}


class VoiceEncoder(nn.Module):
    """Sound to codes: causal convolutions, layers with block-causal attention, average pooling, nearest code.

    Made from config.json; ``ValueError`` for settings that the released tokenizer does not have.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
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
        """Codes (segment, code) of what :meth:`states` takes; those of padding are to be left out."""
        hidden, book = self.states(mel, frames), self.codebook.weight
        flat = hidden.reshape(-1, hidden.shape[-1])
        # the order of these sums is the official one: another could round to the neighbour of a near tie
        lengths = (book**2).sum(1) + (flat**2).sum(1, keepdim=True)
        return torch.addmm(lengths, flat, book.T, alpha=-2.0).argmin(1).view(hidden.shape[:2])

    def states(self, mel: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
        """Averaged states (segment, code, width) of the last layer, before the nearest code is looked up.

        Of mel spectrograms (segment, mel, frame); ``frames`` says how many of each are its own, which stand first.
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

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        width, inner = int(config["d_model"]), int(config["encoder_ffn_dim"])
        self.heads = int(config["encoder_attention_heads"])
        names = ("q_proj", "k_proj", "v_proj", "out_proj")
        self.self_attn = nn.ModuleDict({name: nn.Linear(width, width, bias=name != "k_proj") for name in names})
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, inner)
        self.fc2 = nn.Linear(inner, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(self, hidden: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        normed = self.self_attn_layer_norm(hidden)
        mapped = (self.self_attn[name](normed) for name in ("q_proj", "k_proj", "v_proj"))
        q, k, v = (projected.unflatten(-1, (self.heads, -1)).transpose(1, 2) for projected in mapped)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2).flatten(2)
        hidden = hidden + self.self_attn["out_proj"](mixed)
        return hidden + self.fc2(F.gelu(self.fc1(self.final_layer_norm(hidden))))


class VoiceTokenizer(nn.Module):
    """The encoder with its mel spectrogram: 16 kHz samples to codes, 12.5 a second.

    A clip longer than ``segment`` samples becomes several segments, whose codes are joined.
    """

    def __init__(self, encoder: VoiceEncoder, mel: Any) -> None:
        super().__init__()
        self.encoder, self.mel = encoder, mel
        self.segment = int(mel.n_samples)
        self.samples_per_code = 2 * encoder.pooled * int(mel.hop_length)

    @classmethod
    def from_folder(cls, folder: Path, device: torch.device, read: list[Source] | None = None) -> VoiceTokenizer:
        """Load the checkpoint; ``read`` is told where its weights stand.

        Always in float32, as the official code does: in fewer bits other codes come out.
        """
        config = read_json(folder / "config.json")
        if not (folder / "preprocessor_config.json").is_file():
            raise FileNotFoundError(f"{folder} holds no preprocessor_config.json: it is no speech tokenizer")
        mel = from_folder("WhisperFeatureExtractor", folder)
        try:
            with torch.device("meta"):
                encoder = VoiceEncoder(config)
        except ValueError as error:
            raise ValueError(f"{folder / 'config.json'}: {error}") from error
        source = fill(encoder, folder, SPARE, torch.float32)
        if read is not None:
            read.append(source)
        return cls(encoder, mel).to(device)

    @torch.inference_mode()
    def forward(self, clips: Sequence[Waveform]) -> list[torch.Tensor]:
        """Codes (code,) of each clip."""
        pieces: list[tuple[int, tuple[torch.Tensor, int]]] = []  # mel spectrograms, and how many samples each has
        for owner, clip in enumerate(clips):
            parts = cut(clip, self.segment)
            # a clip's own segments share one length, as in the official code; other clips' do not matter
            filled = {"padding": "longest", "pad_to_multiple_of": self.samples_per_code}
            sound = self.mel(parts, sampling_rate=RATE, return_tensors="pt", **filled)
            pieces += [(owner, (mel, len(part))) for mel, part in zip(sound["input_features"], parts, strict=True)]
        return run_pieces(pieces, len(clips), self._encode)

    def _encode(self, pieces: Sequence[tuple[torch.Tensor, int]]) -> list[torch.Tensor]:
        mels, lengths = zip(*pieces, strict=True)
        device = self.encoder.conv1.weight.device
        longest = max(mel.shape[1] for mel in mels)
        batch = torch.stack([F.pad(mel, (0, longest - mel.shape[1])) for mel in mels]).to(device)
        samples = torch.tensor(lengths, device=device)
        frames = -(-samples // int(self.mel.hop_length))
        counts = (-(-samples // self.samples_per_code)).tolist()
        return [row[:count] for row, count in zip(self.encoder(batch, frames), counts, strict=True)]
