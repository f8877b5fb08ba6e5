"""Write a tiny random GLM-ASR checkpoint in the official layout (key names, shards, processor, sampling)."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import GlmAsrConfig, GlmAsrForConditionalGeneration, GlmAsrProcessor, WhisperFeatureExtractor

from tests.helpers.tiny_af3 import official_name
from tests.helpers.tiny_parts import SAMPLING, tiny_tokenizer, write_shards

WINDOW_S = 2
"""Length of the encoder's window in seconds (30 in the released model); it makes 25 positions (375)."""

TEMPLATE = (
    "{% for m in messages %}{% for c in m['content'] %}"
    "{% if c['type'] == 'audio' %}<|user|>\n<|begin_of_audio|><|pad|><|end_of_audio|>{% endif %}"
    "{% if c['type'] == 'text' %}<|user|>\n{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
"""The prompt of the released template (<|user|> stands before the sound and again before the text)."""


def write_checkpoint(folder: Path, seed: int = 0) -> Path:
    """Write the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    processor = _processor()
    processor.save_pretrained(folder)
    model = build_model(processor, seed)
    model.config.save_pretrained(folder)
    ends = {"eos_token_id": [0, 3, 4], "pad_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(SAMPLING | ends, indent=1))
    tied = {"lm_head.weight"}
    write_shards(folder, {official_name(key): v for key, v in model.state_dict().items() if key not in tied})
    return folder


def build_model(processor: GlmAsrProcessor, seed: int) -> GlmAsrForConditionalGeneration:
    """The model in memory: random weights, wide enough apart that every change shows in the logits."""
    text = {
        "vocab_size": len(processor.tokenizer), "hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048, "initializer_range": 0.25,
        "bos_token_id": None, "eos_token_id": [0, 3, 4], "pad_token_id": 0,
    }  # fmt: skip
    audio = {
        "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96,
        "num_mel_bins": 80, "max_position_embeddings": 50 * WINDOW_S, "initializer_range": 0.2,
    }  # fmt: skip
    config = GlmAsrConfig(audio_config=audio, text_config=text, audio_token_id=processor.audio_token_id)
    torch.manual_seed(seed)
    model = GlmAsrForConditionalGeneration(config).eval()
    # the sound about as large as the embeddings of text, as rounding grows with it
    model.model.multi_modal_projector.linear_2.weight.data /= 8
    return model


def _processor() -> GlmAsrProcessor:
    special = ["<|user|>", "<|assistant|>", "<|pad|>", "<|begin_of_audio|>", "<|end_of_audio|>"]
    extractor = WhisperFeatureExtractor(feature_size=80, chunk_length=WINDOW_S)
    return GlmAsrProcessor(extractor, tiny_tokenizer(special), chat_template=TEMPLATE)
