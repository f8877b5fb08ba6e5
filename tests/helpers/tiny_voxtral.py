"""Write a tiny random Voxtral checkpoint in the official layout: tekken.json, shards, the other format beside them."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import VoxtralConfig, VoxtralForConditionalGeneration, WhisperFeatureExtractor

from tests.helpers.tiny_parts import SAMPLING, write_shards

BLOCK_S = 2
"""Length of a block in seconds (30 in the released model); it makes 25 positions (375)."""

SPECIAL = {0: "<unk>", 1: "<s>", 2: "</s>", 3: "[INST]", 4: "[/INST]", 11: "<pad>", 24: "[AUDIO]", 25: "[BEGIN_AUDIO]",
           17: "[SYSTEM_PROMPT]", 18: "[/SYSTEM_PROMPT]", 19: "[TOOL_CONTENT]", 34: "[TRANSCRIBE]",
           5: "[AVAILABLE_TOOLS]", 6: "[/AVAILABLE_TOOLS]", 7: "[TOOL_RESULTS]", 8: "[/TOOL_RESULTS]",
           9: "[TOOL_CALLS]", 10: "[IMG]", 12: "[IMG_BREAK]", 13: "[IMG_END]", 14: "[PREFIX]", 15: "[MIDDLE]",
           16: "[SUFFIX]"}  # fmt: skip
"""Rank -> name of special tokens; the others are fillers."""

SPECIALS = 40

PATTERN = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"

OFFICIAL = (
    ("model.language_model.", "language_model.model."),
    ("model.audio_tower.", "audio_tower."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("lm_head.", "language_model.lm_head."),
)
"""Prefix in memory (transformers 5) -> prefix in the released files."""


def write_checkpoint(folder: Path, seed: int = 0) -> Path:
    """Write the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tekken = write_tekken(folder / "tekken.json")
    WhisperFeatureExtractor(feature_size=80, chunk_length=BLOCK_S).save_pretrained(folder)
    model = build_model(tekken["config"]["default_vocab_size"], seed)
    model.config.save_pretrained(folder)
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 11}
    (folder / "generation_config.json").write_text(json.dumps(SAMPLING | ends, indent=1))
    write_shards(folder, {official_name(key): value for key, value in model.state_dict().items()})
    # the same weights in another format lie beside them in the released folder; here they are other ones
    save_file({"norm.weight": torch.zeros(1)}, folder / "consolidated.safetensors")
    (folder / "params.json").write_text("{}")
    return folder


def write_tekken(path: Path, chunk_s: float = BLOCK_S) -> dict[str, Any]:
    """Write a tokenizer with 256 bytes and a few merges in which letters such as "(A" are single tokens."""
    merges = [f"({c}" for c in "ABCDEFG"] + [f" {c}" for c in "ABCDEFG"] + ["em", "ot", "io", "emot", "ion", "th", "er"]
    tokens = [bytes([i]) for i in range(256)] + [merge.encode() for merge in merges]
    vocab = [{"rank": i, "token_bytes": base64.b64encode(t).decode(), "token_str": None} for i, t in enumerate(tokens)]
    special = [{"rank": i, "token_str": SPECIAL.get(i, f"<SPECIAL_{i}>"), "is_control": True} for i in range(SPECIALS)]
    content = {
        "config": {"pattern": PATTERN, "num_vocab_tokens": len(vocab), "default_vocab_size": len(vocab) + SPECIALS,
                   "default_num_special_tokens": SPECIALS, "version": "v7"},
        "vocab": vocab,
        "special_tokens": special,
        "audio": {"sampling_rate": 16_000, "frame_rate": 12.5, "chunk_length_s": float(chunk_s),
                  "audio_encoding_config": {"num_mel_bins": 80, "hop_length": 160, "window_size": 400}},
    }  # fmt: skip
    path.write_text(json.dumps(content))
    return content


def build_model(vocab: int, seed: int) -> VoxtralForConditionalGeneration:
    """The model in memory: random weights, wide enough apart that every change shows in the logits."""
    text = {
        "vocab_size": vocab, "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3, "head_dim": 8,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048, "initializer_range": 0.25,
        "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 11,
    }  # fmt: skip
    audio = {
        "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96,
        "num_mel_bins": 80, "max_source_positions": 50 * BLOCK_S, "initializer_range": 0.2,
    }  # fmt: skip
    torch.manual_seed(seed)
    return VoxtralForConditionalGeneration(
        VoxtralConfig(audio_config=audio, text_config=text, audio_token_id=24)
    ).eval()


def official_name(key: str) -> str:
    """Key name in the released files of a parameter's name in memory."""
    for ours, theirs in OFFICIAL:
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    raise KeyError(key)
