"""Write a tiny random Gemma 3n checkpoint in the official layout, with tensors of a vision tower that is never built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import Gemma3nAudioFeatureExtractor, Gemma3nConfig

from emoscope.models.families.gemma3n import blind_class
from tests.helpers.tiny_parts import SAMPLING, tiny_tokenizer, write_shards

PLACES = 24
"""Positions of every sound (188 in the released models)."""

TEMPLATE = (
    "{% for m in messages %}<start_of_turn>{{ m['role'] }}\n"
    "{% for c in m['content'] %}{% if c['type'] == 'audio' %}<audio_soft_token>{% endif %}"
    "{% if c['type'] == 'text' %}{{ c['text'] | trim }}{% endif %}{% endfor %}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def write_checkpoint(folder: Path, seed: int = 0) -> Path:
    """Write the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer(["<start_of_turn>", "<end_of_turn>", "<start_of_audio>"])
    text = len(tokenizer)
    # these have the last ids, beyond the table of inputs for each layer
    tokenizer.add_tokens(["<end_of_image>", "<image_soft_token>", "<end_of_audio>", "<audio_soft_token>"], True)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    Gemma3nAudioFeatureExtractor().save_pretrained(folder)
    ids = tokenizer.convert_tokens_to_ids(["<start_of_audio>", "<end_of_audio>", "<audio_soft_token>"])
    model = build_model(text, ids, seed)
    model.config.architectures = ["Gemma3nForConditionalGeneration"]
    model.config.save_pretrained(folder)
    ends = {"eos_token_id": [2, tokenizer.convert_tokens_to_ids("<end_of_turn>")], "pad_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(SAMPLING | ends, indent=1))
    tensors = {key: value for key, value in model.state_dict().items() if key != "lm_head.weight"}
    tensors["model.vision_tower.timm_model.conv_stem.conv.weight"] = torch.ones(4, 3, 3, 3)
    write_shards(folder, tensors)
    return folder


def build_model(text_vocab: int, ids: list[int], seed: int) -> Any:
    """The model in memory: random weights, wide enough apart that every change shows in the logits."""
    begin, end, audio_token = ids
    text = {
        "vocab_size": text_vocab + 6, "vocab_size_per_layer_input": text_vocab, "hidden_size": 32,
        "intermediate_size": [40] * 4, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 8, "hidden_size_per_layer_input": 8, "altup_num_inputs": 2, "laurel_rank": 4,
        "num_kv_shared_layers": 1, "activation_sparsity_pattern": [0.7, 0.0, 0.0, 0.0], "sliding_window": 32,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"],
        "max_position_embeddings": 2048, "initializer_range": 0.25,
        "bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0,
    }  # fmt: skip
    audio = {
        "vocab_size": 4, "vocab_offset": text_vocab + 2, "hidden_size": 24, "conf_num_attention_heads": 3,
        "conf_num_hidden_layers": 2, "sscp_conv_channel_size": [8, 4], "initializer_range": 0.2,
    }  # fmt: skip
    vision = {"hidden_size": 16, "vocab_size": 2, "vocab_offset": text_vocab}
    config = Gemma3nConfig(
        text_config=text, audio_config=audio, vision_config=vision, audio_soft_tokens_per_image=PLACES,
        boi_token_id=begin, eoi_token_id=text_vocab, image_token_id=text_vocab + 1,
        boa_token_id=begin, eoa_token_id=end, audio_token_id=audio_token,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = blind_class()(config).eval()
    for layer in model.model.language_model.layers:  # set at zero, it would shut out the inputs of each layer
        layer.altup.correct_output_scale.data = 1 + torch.randn(32) * 0.3
    return model
