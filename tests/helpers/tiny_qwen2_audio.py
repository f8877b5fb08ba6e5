"""Write a tiny random Qwen2-Audio checkpoint in the official layout: no template for sound, no processor_config.json."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration, WhisperFeatureExtractor

from tests.helpers.tiny_af3 import official_name
from tests.helpers.tiny_parts import SAMPLING, save_as_qwen, tiny_tokenizer, write_shards

LAYERS, WIDTH, HIDDEN = 3, 40, 32
WINDOW_S = 3
"""Seconds that every clip is filled up to (30 in the released model)."""


def write_checkpoint(folder: Path, seed: int = 0) -> Path:
    """Write the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer(["<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"])
    save_as_qwen(tokenizer, folder)
    WhisperFeatureExtractor(feature_size=80, chunk_length=WINDOW_S, return_attention_mask=True).save_pretrained(folder)
    extractor = json.loads((folder / "preprocessor_config.json").read_text())
    extractor["processor_class"] = "Qwen2AudioProcessor"
    (folder / "preprocessor_config.json").write_text(json.dumps(extractor, indent=1))
    settings = {
        "audio_token_index": tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
        "audio_config": {
            "model_type": "qwen2_audio_encoder", "d_model": 24, "encoder_layers": 2, "encoder_attention_heads": 3,
            "encoder_ffn_dim": 48, "num_mel_bins": 80, "max_source_positions": 50 * WINDOW_S, "initializer_range": 0.2,
        },
        "text_config": {
            "model_type": "qwen2", "vocab_size": len(tokenizer), "hidden_size": HIDDEN, "intermediate_size": WIDTH,
            "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 4, "rope_theta": 10000,
            "rms_norm_eps": 1e-5, "max_position_embeddings": 2048, "initializer_range": 0.25,
            "bos_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id, "torch_dtype": "bfloat16", "use_mrope": False,
        },
    }  # fmt: skip
    torch.manual_seed(seed)
    model = Qwen2AudioForConditionalGeneration(Qwen2AudioConfig(**settings)).eval()
    released = {"architectures": ["Qwen2AudioForConditionalGeneration"], "model_type": "qwen2_audio"}
    (folder / "config.json").write_text(json.dumps(released | settings, indent=1))
    ends = {"eos_token_id": [tokenizer.eos_token_id, tokenizer.pad_token_id], "pad_token_id": tokenizer.pad_token_id}
    sampling = SAMPLING | {"repetition_penalty": 1.1, "top_p": 0.5}
    (folder / "generation_config.json").write_text(json.dumps(sampling | ends, indent=1))
    write_shards(folder, {official_name(key): value for key, value in model.state_dict().items()}, shards=5)
    return folder
