"""Write a tiny random Kimi-Audio checkpoint in the official layout, with the speech tokenizer beside it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from emoscope.models.families.kimi_audio import KimiConfig, KimiDecoder
from emoscope.models.families.kimi_tokenizers import SPECIAL_TOKENS, VoiceEncoder
from tests.helpers.tiny import TINY, write_files
from tests.helpers.tiny_families import HIDDEN, LAYERS

MIMO = 2
WINDOW_S = 2
"""Length of both encoders' window in seconds (30 in the released model)."""

CODES = 24
"""Size of the codebook (16,384 in the released model)."""

SOUND_WIDTH = 16
"""Width of both encoders (1,280 in the released model)."""

KIMI = TINY["kimi"]

LAST_SHARD = ("model.embed_tokens.", "model.norm.", "lm_head.", "mimo_output.", "model.mimo_norm.")

TOKENIZER = "glm-4-voice-tokenizer"


def ranks() -> dict[bytes, int]:
    """Byte pairs: every byte, then the letters with a space or a bracket before them, and pieces of words."""
    merged = [f"{before}{letter}".encode() for letter in "ABCDEFG" for before in " ("]
    return {token: rank for rank, token in enumerate([bytes([i]) for i in range(256)] + merged + [b"er", b"th", b"oi"])}


TEXT_TOKENS = len(ranks()) + SPECIAL_TOKENS


def write_kimi(folder: Path, seed: int = 0, tokenizer: str | None = TOKENIZER) -> Path:
    """Write the folder and, beside it, the speech tokenizer under the name given (none if ``None``)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(raw_config(), indent=1))
    lines = [base64.b64encode(token) + f" {rank}".encode() for token, rank in ranks().items()]
    (folder / "tiktoken.model").write_bytes(b"\n".join(lines) + b"\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "TikTokenTokenizer"}))
    sampling = {"do_sample": True, "temperature": 1.5, "top_p": 0.95}
    (folder / "generation_config.json").write_text(json.dumps(sampling))
    _write_shards(folder, decoder_tensors(seed))
    _write_whisper(folder / "whisper-large-v3", seed)
    _write_what_must_not_be_read(folder)
    if tokenizer:
        write_tokenizer(folder.parent / tokenizer, seed)
    return folder


def raw_config() -> dict[str, Any]:
    """config.json as the released one."""
    first = {"kimia_media_begin": len(ranks()) + 18, "kimia_media_end": len(ranks()) + 20}
    first |= {
        "kimia_text_output_vocab": TEXT_TOKENS,
        "kimia_token_offset": TEXT_TOKENS,
        "pad_token_id": TEXT_TOKENS - 1,
    }
    return KIMI["raw"] | KIMI["decoder"] | KIMI["kimia"] | first | {"vocab_size": TEXT_TOKENS + CODES}


def decoder_tensors(seed: int) -> dict[str, torch.Tensor]:
    """Everything that the released shards hold: the text branch, the layers that write speech, and frequencies."""
    torch.manual_seed(seed)
    state = dict(KimiDecoder(KimiConfig.from_raw(raw_config(), "tiny")).state_dict())
    for layer in range(MIMO):
        part = f"model.layers.{layer}."
        alike = {name.removeprefix(part): tensor for name, tensor in state.items() if name.startswith(part)}
        state |= {f"model.mimo_layers.{layer}.{name}": torch.randn_like(tensor) for name, tensor in alike.items()}
    state |= {"model.mimo_norm.weight": torch.ones(HIDDEN)}
    state["mimo_output.weight"] = torch.randn(TEXT_TOKENS + CODES, HIDDEN)
    for kind, layers in (("layers", LAYERS), ("mimo_layers", MIMO)):
        for layer in range(layers):
            # other values than those that follow from the configuration: nobody may read them
            state[f"model.{kind}.{layer}.self_attn.rotary_emb.inv_freq"] = torch.full((4,), 7.0, dtype=torch.bfloat16)
    return state


def write_tokenizer(folder: Path, seed: int = 0, prefix: str = "") -> Path:
    """Write the speech tokenizer as on the hub: bare names, more layers in config.json than are stored."""
    folder.mkdir(parents=True, exist_ok=True)
    config = KIMI["sound"] | KIMI["voice"]
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    torch.manual_seed(seed + 100)
    encoder, mel = VoiceEncoder(config), WhisperFeatureExtractor(feature_size=20, chunk_length=WINDOW_S)
    with torch.no_grad():
        # codes lie where states of noise lie, so that what is heard, and not the place alone, decides the code
        encoder.embed_positions.weight *= 0.01
        noise = [0.05 * torch.randn(WINDOW_S * 16_000).numpy()]
        spectrum = mel(noise, sampling_rate=16_000, return_tensors="pt")["input_features"]
        encoder.codebook.weight[:] = encoder.states(spectrum, torch.tensor([spectrum.shape[-1]]))[0, :CODES]
    state = dict(encoder.state_dict())
    state |= {"embed_positions2.weight": torch.randn(25, SOUND_WIDTH), "ema_count": torch.ones(CODES)}
    state["ema_weight"] = torch.randn(CODES, SOUND_WIDTH)
    save_file({prefix + name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")
    mel.save_pretrained(folder)
    return folder


def _write_whisper(folder: Path, seed: int) -> None:
    config = WhisperConfig(**KIMI["sound"], **KIMI["whisper"])
    torch.manual_seed(seed + 200)
    WhisperForConditionalGeneration(config).half().save_pretrained(folder)


def _write_what_must_not_be_read(folder: Path) -> None:
    """Code and pickles, as they lie in the released folder; reading any of them breaks."""
    for name in ("modeling_moonshot_kimia.py", "configuration_moonshot_kimia.py", "tokenization_kimia.py"):
        (folder / name).write_text("raise RuntimeError('code of a checkpoint was run')\n")
    for part in ("audio_detokenizer", "vocoder"):
        (folder / part).mkdir(exist_ok=True)
        (folder / part / "model.pt").write_bytes(b"no pickle")
        (folder / part / "config.json").write_text("{}")


def _write_shards(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """A shard for each layer and for the adaptor, numbered without zeros, and a last one that counts differently."""
    groups = [f"model.layers.{i}." for i in range(LAYERS)] + [f"model.mimo_layers.{i}." for i in range(MIMO)]
    groups.append("model.vq_adaptor.")
    files = {f"model-{number}-of-{len(groups)}.safetensors": group for number, group in enumerate(groups, 1)}
    files[f"model-{len(groups) + 1}-of-{len(groups) + 1}.safetensors"] = LAST_SHARD
    shards = {
        file: {name: tensor for name, tensor in tensors.items() if name.startswith(begin)}
        for file, begin in files.items()
    }
    assert {name for part in shards.values() for name in part} == set(tensors)
    write_files(folder, shards)
