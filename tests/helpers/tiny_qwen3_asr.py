"""Write a tiny random Qwen3-ASR checkpoint, for the worked example of docs/add-a-model.md."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import (
    Qwen3ASRConfig,
    Qwen3ASRFeatureExtractor,
    Qwen3ASRForConditionalGeneration,
    Qwen3ASRProcessor,
)

from tests.helpers.tiny_parts import tiny_tokenizer

LAYERS, WIDTH = 2, 40


def write_checkpoint(folder: Path, seed: int = 0) -> Path:
    """Write the folder as transformers saves it."""
    names = {"audio_token": "<|audio_pad|>", "audio_bos_token": "<|audio_start|>", "audio_eos_token": "<|audio_end|>"}
    tokenizer = tiny_tokenizer(list(names.values()), names)
    processor = Qwen3ASRProcessor(Qwen3ASRFeatureExtractor(feature_size=32), tokenizer)
    text = {
        "model_type": "qwen3", "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": WIDTH,
        "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
        "max_position_embeddings": 2048, "initializer_range": 0.25, "tie_word_embeddings": False,
        "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    audio = {
        "num_mel_bins": 32, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 48, "d_model": 32,
        "output_dim": 32, "downsample_hidden_size": 8, "initializer_range": 0.2,
    }  # fmt: skip
    config = Qwen3ASRConfig(
        audio_config=audio,
        text_config=text,
        audio_token_id=processor.audio_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
        initializer_range=0.25,
    )
    torch.manual_seed(seed)
    Qwen3ASRForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
