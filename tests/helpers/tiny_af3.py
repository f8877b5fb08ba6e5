"""Write a tiny random Audio Flamingo 3 checkpoint in the official layout (key names, shards, processor, sampling)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AudioFlamingo3Config,
    AudioFlamingo3ForConditionalGeneration,
    AudioFlamingo3Processor,
    Qwen2Config,
    WhisperFeatureExtractor,
)

from tests.helpers.tiny_parts import SAMPLING, tiny_tokenizer, write_shards

LAYERS, WIDTH, HIDDEN = 3, 40, 32
WINDOW_S = 1
"""Length of the encoder's window in seconds (30 in the released model)."""

OFFICIAL = (
    ("model.language_model.", "language_model.model."),
    ("model.audio_tower.", "audio_tower."),
    ("model.multi_modal_projector.", "multi_modal_projector."),
    ("lm_head.", "language_model.lm_head."),
)
"""Prefix in memory (transformers 5) -> prefix in the released files."""

TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% for c in m['content'] %}{% if c['type'] == 'audio' %}<sound>{% endif %}{% endfor %}"
    "{% for c in m['content'] %}{% if c['type'] == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def write_checkpoint(
    folder: Path,
    seed: int = 0,
    card: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    wide: bool = False,
) -> Path:
    """Write the folder; ``card`` becomes emoscope.json; ``wide`` has sizes that fill blocks of 64 weights."""
    folder.mkdir(parents=True, exist_ok=True)
    processor = _processor()
    processor.save_pretrained(folder)
    model = build_model(processor, seed, wide).to(dtype)
    model.config.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["AudioFlamingo3ForConditionalGeneration"], "dtype": str(dtype).removeprefix("torch.")}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    stop = processor.tokenizer.eos_token_id
    ends = {"eos_token_id": [stop], "pad_token_id": processor.tokenizer.pad_token_id}
    (folder / "generation_config.json").write_text(json.dumps(SAMPLING | ends, indent=1))
    if card is not None:
        (folder / "emoscope.json").write_text(json.dumps(card))
    write_shards(folder, {official_name(key): value for key, value in model.state_dict().items()})
    return folder


def build_model(
    processor: AudioFlamingo3Processor, seed: int, wide: bool = False
) -> AudioFlamingo3ForConditionalGeneration:
    """The model in memory: random weights, wide enough apart that every change shows in the logits."""
    text = Qwen2Config(
        vocab_size=len(processor.tokenizer),
        hidden_size=64 if wide else HIDDEN,
        intermediate_size=128 if wide else WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.25,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=processor.tokenizer.eos_token_id,
        pad_token_id=processor.tokenizer.pad_token_id,
    )
    audio = {
        "hidden_size": 64 if wide else 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4 if wide else 3,
        "intermediate_size": 128 if wide else 48,
        "num_mel_bins": 80,
        "max_source_positions": 50 * WINDOW_S,
        "initializer_range": 0.2,
    }
    config = AudioFlamingo3Config(audio_config=audio, text_config=text, audio_token_id=processor.audio_token_id)
    torch.manual_seed(seed)
    return AudioFlamingo3ForConditionalGeneration(config).eval()


def official_name(key: str) -> str:
    """Key name in the released files of a parameter's name in memory."""
    for ours, theirs in OFFICIAL:
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    raise KeyError(key)


def _processor() -> AudioFlamingo3Processor:
    extractor = WhisperFeatureExtractor(feature_size=80, chunk_length=WINDOW_S)
    return AudioFlamingo3Processor(extractor, tiny_tokenizer(["<sound>"]), chat_template=TEMPLATE)
