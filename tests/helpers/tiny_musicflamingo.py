"""Write a tiny random Music Flamingo checkpoint in the official layout."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import (
    MusicFlamingoConfig,
    MusicFlamingoForConditionalGeneration,
    MusicFlamingoProcessor,
    WhisperFeatureExtractor,
)

from tests.helpers.tiny_af3 import official_name
from tests.helpers.tiny_parts import SAMPLING, tiny_tokenizer, write_shards

LAYERS, WIDTH, HIDDEN = 3, 40, 32
WINDOW_S, LONGEST_S = 1, 5
"""Seconds of the encoder's window and of the longest clip (30 and 1200 in the released model)."""

SYSTEM = "You are Music Flamingo, a multimodal assistant for language and music."

TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\n" + SYSTEM + "<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% for c in m['content'] %}{% if c['type'] == 'audio' %}<sound>{% endif %}{% endfor %}"
    "{% for c in m['content'] %}{% if c['type'] == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_checkpoint(folder: Path, seed: int = 0) -> Path:
    """Write the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer(["<sound>", "<|sound_bos|>", "<|sound_eos|>"])
    extractor = WhisperFeatureExtractor(feature_size=80, chunk_length=WINDOW_S)
    processor = MusicFlamingoProcessor(extractor, tokenizer, chat_template=TEMPLATE, max_audio_len=LONGEST_S)
    processor.save_pretrained(folder)
    text = {
        "model_type": "qwen2", "vocab_size": len(tokenizer), "hidden_size": HIDDEN, "intermediate_size": WIDTH,
        "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.25,
        "max_position_embeddings": 2048, "tie_word_embeddings": False, "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    audio = {
        "model_type": "audioflamingo3_encoder", "hidden_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 48, "num_mel_bins": 80, "max_source_positions": 50 * WINDOW_S, "initializer_range": 0.2,
    }  # fmt: skip
    config = MusicFlamingoConfig(
        audio_config=audio,
        text_config=text,
        audio_token_id=processor.audio_token_id,
        audio_bos_token_id=processor.audio_bos_token_id,
        audio_eos_token_id=processor.audio_eos_token_id,
        rope_parameters={"rope_type": "default", "rope_theta": 1200},
    )
    torch.manual_seed(seed)
    model = MusicFlamingoForConditionalGeneration(config).eval()
    config.save_pretrained(folder)
    stored = json.loads((folder / "config.json").read_text())
    # the released file has a fifth of the encoder's width as head_dim; newer versions compute it anew
    stored["rope_parameters"] = {"rope_type": "default", "rope_theta": 1200}
    stored |= {"head_dim": config.audio_config.hidden_size // 5}
    stored |= {"architectures": ["MusicFlamingoForConditionalGeneration"], "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(stored, indent=1))
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    (folder / "generation_config.json").write_text(json.dumps(SAMPLING | ends, indent=1))
    write_shards(folder, {official_name(key): value for key, value in model.state_dict().items()})
    return folder
