"""Write a tiny random Phi-4-multimodal checkpoint in the official layout: shards, and the folder of the speech adapter."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import Phi4MultimodalConfig, Phi4MultimodalFeatureExtractor, Phi4MultimodalForCausalLM

from tests.helpers.tiny_parts import SAMPLING, tiny_tokenizer, write_shards

TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

RANK, ALPHA = 4, 8
"""Of the adapter (320 and 640 in the released model)."""


def write_checkpoint(folder: Path, seed: int = 0) -> Path:
    """Write the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tiny_tokenizer(["<|user|>", "<|assistant|>", "<|end|>", "<|image|>", "<|audio|>"])
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    Phi4MultimodalFeatureExtractor().save_pretrained(folder)
    audio, image = tokenizer.convert_tokens_to_ids(["<|audio|>", "<|image|>"])
    model = build_model(len(tokenizer), audio, image, seed)
    model.config.save_pretrained(folder)
    ends = {"eos_token_id": [tokenizer.convert_tokens_to_ids("<|end|>"), 0], "pad_token_id": 0}
    (folder / "generation_config.json").write_text(json.dumps(SAMPLING | ends, indent=1))
    write_shards(folder, {key: value for key, value in model.state_dict().items() if key != "lm_head.weight"})
    _write_adapter(folder / "speech-lora", model, seed)
    return folder


def build_model(vocab: int, audio_token: int, image_token: int, seed: int) -> Phi4MultimodalForCausalLM:
    """The model in memory: random weights, wide enough apart that every change shows in the logits."""
    audio = {
        "hidden_size": 24, "intermediate_size": 32, "num_blocks": 2, "num_attention_heads": 3,
        "ext_pw_out_channel": 24, "depthwise_separable_out_channel": 24, "nemo_conv_channels": 6,
        "initializer_range": 0.2, "audio_token_id": audio_token,
    }  # fmt: skip
    vision = {
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": 28, "crop_size": 28, "image_token_id": image_token,
    }  # fmt: skip
    config = Phi4MultimodalConfig(
        vocab_size=vocab, hidden_size=32, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=2048, original_max_position_embeddings=2048,
        initializer_range=0.25, tie_word_embeddings=True, bos_token_id=0, eos_token_id=2, pad_token_id=0,
        audio_config=audio, vision_config=vision,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = Phi4MultimodalForCausalLM(config).eval()
    # these are set at zero, and sound would then be the same whatever it is
    embed = model.model.embed_tokens_extend.audio_embed
    embed.encoder.encoder_embedding.global_invstd.data.fill_(0.2)
    embed.encoder.encoder_embedding.global_mean.data.fill_(5.0)
    return model


def _write_adapter(folder: Path, model: Phi4MultimodalForCausalLM, seed: int) -> None:
    folder.mkdir(exist_ok=True)
    draw = torch.Generator().manual_seed(seed)
    factors = {}
    for number, layer in enumerate(model.model.layers):
        for name in ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"):
            stem = f"base_model.model.model.layers.{number}.{name}"
            rows, columns = layer.get_submodule(name).weight.shape
            factors[f"{stem}.lora_A.weight"] = torch.randn(RANK, columns, generator=draw) * 0.2
            factors[f"{stem}.lora_B.weight"] = torch.randn(rows, RANK, generator=draw) * 0.2
    save_file(factors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": ALPHA, "lora_dropout": 0.01,
        "target_modules": r"model\.layers.*((self_attn\.(qkv|o)_proj)|(mlp\.(gate_up|down)_proj))", "bias": "none",
        "use_rslora": False, "use_dora": False, "fan_in_fan_out": False, "modules_to_save": [], "rank_pattern": {},
        "alpha_pattern": {}, "base_model_name_or_path": "", "inference_mode": True,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1))
