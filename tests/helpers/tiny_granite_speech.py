"""Write a tiny random Granite Speech checkpoint in the official layout: shards, and the speech adapter beside them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import GraniteSpeechConfig, GraniteSpeechForConditionalGeneration

from tests.helpers.tiny_parts import SAMPLING, tiny_tokenizer, write_shards

TEMPLATE = (
    "{% for m in messages %}<|start_of_role|>{{ m['role'] }}<|end_of_role|>{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}"
)

RANK, ALPHA = 4, 6
"""Of the adapter (64 and 32 in the released models)."""

OFFICIAL = (
    ("model.language_model.", "language_model.model."),
    ("model.encoder.", "encoder."),
    ("model.projector.", "projector."),
    ("lm_head.", "language_model.lm_head."),
)
"""Prefix in memory (transformers 5) -> prefix in the released files."""


def write_checkpoint(folder: Path, seed: int = 0) -> Path:
    """Write the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer(["<|start_of_role|>", "<|end_of_role|>", "<|audio|>"])
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    model = build_model(len(tokenizer), tokenizer.convert_tokens_to_ids("<|audio|>"), seed)
    model.config.save_pretrained(folder)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    (folder / "generation_config.json").write_text(json.dumps(SAMPLING | ends, indent=1))
    write_shards(folder, {official_name(key): value.clone() for key, value in model.state_dict().items()})
    _write_adapter(folder, model, seed)
    return folder


def build_model(vocab: int, audio_token: int, seed: int) -> GraniteSpeechForConditionalGeneration:
    """The model in memory: random weights, wide enough apart that every change shows in the logits."""
    text = {
        "model_type": "granite", "vocab_size": vocab, "hidden_size": 32, "intermediate_size": 40,
        "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 2048,
        "initializer_range": 0.25, "embedding_multiplier": 3.0, "attention_multiplier": 0.3,
        "residual_multiplier": 0.6, "logits_scaling": 2.0, "tie_word_embeddings": True,
        "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0,
    }  # fmt: skip
    encoder = {
        "input_dim": 160, "num_layers": 2, "hidden_dim": 24, "feedforward_mult": 2, "num_heads": 3, "output_dim": 10,
        "context_size": 20, "max_pos_emb": 32, "conv_kernel_size": 5, "initializer_range": 0.2,
    }  # fmt: skip
    projector = {
        "model_type": "blip_2_qformer", "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3,
        "intermediate_size": 48, "encoder_hidden_size": 24, "cross_attention_frequency": 1, "initializer_range": 0.2,
    }  # fmt: skip
    config = GraniteSpeechConfig(
        text_config=text, encoder_config=encoder, projector_config=projector, audio_token_index=audio_token
    )
    torch.manual_seed(seed)
    model = GraniteSpeechForConditionalGeneration(config).eval()
    model.model.projector.linear.weight.data *= 4  # sound that is heard over the text
    return model


def official_name(key: str) -> str:
    """Key name in the released files of a parameter's name in memory."""
    for ours, theirs in OFFICIAL:
        if key.startswith(ours):
            return theirs + key.removeprefix(ours)
    raise KeyError(key)


def _write_adapter(folder: Path, model: GraniteSpeechForConditionalGeneration, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    factors = {}
    for number, layer in enumerate(model.model.language_model.layers):
        for name in ("q_proj", "v_proj"):
            stem = f"base_model.model.language_model.model.layers.{number}.self_attn.{name}"
            rows, columns = getattr(layer.self_attn, name).weight.shape
            factors[f"{stem}.lora_A.weight"] = torch.randn(RANK, columns, generator=draw) * 0.3
            factors[f"{stem}.lora_B.weight"] = torch.randn(rows, RANK, generator=draw) * 0.3
    save_file(factors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": ALPHA, "lora_dropout": 0.1,
        "target_modules": ["q_proj", "v_proj"], "bias": "none", "use_rslora": False, "use_dora": False,
        "fan_in_fan_out": False, "modules_to_save": None, "rank_pattern": {}, "alpha_pattern": {},
        "base_model_name_or_path": "ibm-granite/granite-speech-3.3-2b", "inference_mode": True,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1))
