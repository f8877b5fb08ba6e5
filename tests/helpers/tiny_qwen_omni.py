"""Write a tiny random Qwen2.5-Omni repository in the official layout: thinker, talker and vocoder in shards, a .pt file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    Qwen2_5OmniConfig,
    Qwen2_5OmniForConditionalGeneration,
    Qwen2_5OmniThinkerForConditionalGeneration,
    WhisperFeatureExtractor,
)

from tests.helpers.tiny_parts import SAMPLING, save_as_qwen, tiny_tokenizer, write_shards

LAYERS, WIDTH, HIDDEN = 3, 40, 32
LONGEST_S = 4
"""What the feature extractor takes, in seconds (300 in the released files)."""

SPECIAL = {
    "audio_token": "<|AUDIO|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "image_token": "<|IMAGE|>",
    "video_token": "<|VIDEO|>",
}
"""The names under which the released tokenizer_config.json holds its special tokens."""

TEMPLATE = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ m['role'] }}\n"
    "{% for c in m['content'] %}{% if c['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>"
    "{% elif 'text' in c %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""What the released chat_template.json writes for messages of sound and text."""

OFFICIAL = (
    ("thinker.model.language_model.", "thinker.model."),
    ("thinker.model.audio_tower.", "thinker.audio_tower."),
    ("thinker.model.visual.", "thinker.visual."),
    ("", ""),
)
"""Prefix in memory -> prefix in the released files; older versions of transformers name all as the files do."""


def write_checkpoint(folder: Path, seed: int = 0) -> Path:
    """Write the full repository folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _write_parts(folder)
    settings = _settings(tokenizer)
    torch.manual_seed(seed)
    model = Qwen2_5OmniForConditionalGeneration(Qwen2_5OmniConfig(**settings)).eval()
    released = {"architectures": ["Qwen2_5OmniModel"], "model_type": "qwen2_5_omni", "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(released | settings, indent=1))
    (folder / "generation_config.json").write_text(json.dumps(SAMPLING, indent=1))
    # no pickle at all: whoever opens it fails
    (folder / "spk_dict.pt").write_bytes(b"this file must never be opened")
    write_shards(folder, {official_name(key): value for key, value in model.state_dict().items()}, shards=5)
    return folder


def write_thinker(folder: Path, full: Path) -> Path:
    """Write what ``save_pretrained`` makes of the thinker of a full folder."""
    thinker = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(full, dtype=torch.float32)
    thinker.save_pretrained(folder)
    _write_parts(folder)
    return folder


def official_name(key: str) -> str:
    """Key name in the released files of a parameter's name in memory."""
    for ours, theirs in OFFICIAL:
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    raise KeyError(key)


def _write_parts(folder: Path) -> Any:
    tokenizer = tiny_tokenizer(["<|vision_pad|>", *SPECIAL.values()], named=SPECIAL)
    save_as_qwen(tokenizer, folder)
    WhisperFeatureExtractor(feature_size=80, chunk_length=LONGEST_S, return_attention_mask=True).save_pretrained(folder)
    extractor = json.loads((folder / "preprocessor_config.json").read_text())
    pictures = {"image_processor_type": "Qwen2VLImageProcessor", "patch_size": 14, "temporal_patch_size": 2,
                "merge_size": 2, "processor_class": "Qwen2_5OmniProcessor"}  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(extractor | pictures, indent=1))
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return tokenizer


def _settings(tokenizer: Any) -> dict[str, Any]:
    """The released configuration with small sizes, under its own, older names."""
    ids = {name: tokenizer.convert_tokens_to_ids(word) for name, word in SPECIAL.items()}
    rope = {"mrope_section": [2, 1, 1], "rope_type": "default", "type": "default"}
    text = {
        "model_type": "qwen2_5_omni_text", "vocab_size": len(tokenizer), "hidden_size": HIDDEN,
        "intermediate_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 4096, "rope_theta": 1e6, "rope_scaling": rope, "initializer_range": 0.25,
        "tie_word_embeddings": False,
    }  # fmt: skip
    audio = {
        "model_type": "qwen2_5_omni_audio_encoder", "d_model": 24, "encoder_layers": 2, "encoder_attention_heads": 3,
        "encoder_ffn_dim": 48, "num_mel_bins": 80, "output_dim": HIDDEN, "n_window": 25, "max_source_positions": 200,
        "initializer_range": 0.2,
    }  # fmt: skip
    vision = {
        "model_type": "qwen2_5_omni_vision_encoder", "depth": 2, "hidden_size": 32, "intermediate_size": 24,
        "num_heads": 2, "out_hidden_size": HIDDEN, "fullatt_block_indexes": [1], "window_size": 56,
    }  # fmt: skip
    marks = {
        "audio_token_index": ids["audio_token"], "audio_start_token_id": ids["audio_bos_token"],
        "audio_end_token_id": ids["audio_eos_token"], "image_token_index": ids["image_token"],
        "video_token_index": ids["video_token"], "vision_start_token_id": ids["vision_bos_token"],
        "vision_end_token_id": ids["vision_eos_token"], "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id, "position_id_per_seconds": 25, "seconds_per_chunk": 2,
    }  # fmt: skip
    thinker = {"model_type": "qwen2_5_omni_thinker", "text_config": text, "audio_config": audio,
               "vision_config": vision, "initializer_range": 0.2, **marks}  # fmt: skip
    talker = {
        "model_type": "qwen2_5_omni_talker", "vocab_size": 40, "embedding_size": HIDDEN, "hidden_size": 16,
        "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": 8, "rope_theta": 1e6, "rope_scaling": rope, **{k: v for k, v in marks.items() if "pad" not in k},
    }  # fmt: skip
    mel = {"model_type": "qwen2_5_omni_dit", "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
           "head_dim": 8, "emb_dim": 8, "enc_emb_dim": 4, "enc_dim": 4, "num_embeds": 33, "mel_dim": 8,
           "enc_channels": [8, 8, 8, 8, 24], "enc_attention_channels": 4, "enc_se_channels": 4,
           "enc_res2net_scale": 2, "look_ahead_layers": [1], "look_backward_layers": [0]}  # fmt: skip
    wave = {"model_type": "qwen2_5_omni_bigvgan", "mel_dim": 8, "upsample_initial_channel": 64}
    token2wav = {"model_type": "qwen2_5_omni_token2wav", "dit_config": mel, "bigvgan_config": wave}
    return {"enable_audio_output": True, "thinker_config": thinker, "talker_config": talker,
            "token2wav_config": token2wav}  # fmt: skip
