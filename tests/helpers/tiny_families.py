"""Tiny random checkpoints of the families: a decoder of 3 layers x 40 neurons, and what each family differs in.

Random weights lie so wide apart that every change shows in the logits.
"""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from safetensors.torch import save_file

from emoscope.models.families.gemma3n import blind_class
from tests.helpers.tiny import amend, build, extractor, save, save_adapter, save_as_qwen, tokenizer, write_tekken

LAYERS, WIDTH, HIDDEN = 3, 40, 32
"""Of the decoder of every family, where it says nothing else."""

TEXT = {
    "hidden_size": HIDDEN, "intermediate_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 2048, "initializer_range": 0.25,
}  # fmt: skip

ENDS = {"bos_token_id": None, "eos_token_id": 2, "pad_token_id": 0}
"""Of :func:`tokenizer`."""

WHISPER = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "num_mel_bins": 80, "initializer_range": 0.2,
}  # fmt: skip

CODER = {
    "d_model": 24, "encoder_layers": 2, "encoder_attention_heads": 3, "encoder_ffn_dim": 48, "num_mel_bins": 80,
    "initializer_range": 0.2,
}  # fmt: skip
"""An encoder, in the words of newer and of older configurations."""

LONGEST = {"musicflamingo": 5, "qwen2_5_omni": 4, "qwen2_audio": 3}
"""Of a clip, in seconds (1200, 300 and 30 in the released models)."""

BLOCK_S = 2
"""Length of Voxtral's blocks and GLM-ASR's windows in seconds (30 in the released models); they make 25 positions (375)."""

PLACES = 24
"""Positions of every sound of Gemma 3n (188 in the released models)."""

ALPHAS = {"granite_speech": 6, "phi4_multimodal": 8}
"""Of the adapters (32 and 640 in the released models)."""

TURNS = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nSYSTEM<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% for c in m['content'] %}{% if c['type'] == 'audio' %}<sound>{% endif %}{% endfor %}"
    "{% for c in m['content'] %}{% if c['type'] == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

MUSICAL = "You are Music Flamingo, a multimodal assistant for language and music."

OMNI = {
    "audio_token": "<|AUDIO|>", "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>",
    "vision_bos_token": "<|vision_bos|>", "vision_eos_token": "<|vision_eos|>", "image_token": "<|IMAGE|>",
    "video_token": "<|VIDEO|>",
}  # fmt: skip
"""The names under which the released tokenizer_config.json of Qwen2.5-Omni holds its special tokens."""


def write_af3(
    folder: Path,
    seed: int = 0,
    card: dict[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    wide: bool = False,
) -> Path:
    """Audio Flamingo 3; ``card`` becomes emoscope.json; ``wide`` has sizes that fill blocks of 64 weights."""
    words = tokenizer(["<sound>"])
    processor = hf.AudioFlamingo3Processor(
        extractor(1), words, chat_template=TURNS.replace("SYSTEM", "You are a helpful assistant.")
    )
    processor.save_pretrained(folder)
    text = TEXT | ENDS | {"vocab_size": len(words), "tie_word_embeddings": False}
    audio = WHISPER | {"intermediate_size": 48, "max_source_positions": 50}
    if wide:
        text |= {"hidden_size": 64, "intermediate_size": 128}
        audio |= {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    config = hf.AudioFlamingo3Config(
        audio_config=audio, text_config=hf.Qwen2Config(**text), audio_token_id=processor.audio_token_id
    )
    if card is not None:
        (folder / "emoscope.json").write_text(json.dumps(card))
    kind = hf.AudioFlamingo3ForConditionalGeneration
    changes = {"architectures": [kind.__name__], "dtype": str(dtype).removeprefix("torch.")}
    model = build(kind, config, seed).to(dtype)
    return save(folder, model, {"eos_token_id": [2], "pad_token_id": 0}, changes)


def write_musicflamingo(folder: Path, seed: int = 0) -> Path:
    """Music Flamingo."""
    words = tokenizer(["<sound>", "<|sound_bos|>", "<|sound_eos|>"])
    processor = hf.MusicFlamingoProcessor(
        extractor(1), words, chat_template=TURNS.replace("SYSTEM", MUSICAL), max_audio_len=LONGEST["musicflamingo"]
    )
    processor.save_pretrained(folder)
    text = TEXT | ENDS | {"model_type": "qwen2", "vocab_size": len(words), "tie_word_embeddings": False}
    audio = WHISPER | {"model_type": "audioflamingo3_encoder", "intermediate_size": 48, "max_source_positions": 50}
    audio |= {"hidden_size": 40, "num_attention_heads": 4}
    rope = {"rope_parameters": {"rope_type": "default", "rope_theta": 1200}}
    marks = {
        f"{mark}_id": getattr(processor, f"{mark}_id") for mark in ("audio_token", "audio_bos_token", "audio_eos_token")
    }
    kind = hf.MusicFlamingoForConditionalGeneration
    model = build(kind, hf.MusicFlamingoConfig(audio_config=audio, text_config=text, **marks, **deepcopy(rope)), seed)
    # the released file has a fifth of the encoder's width as head_dim; newer versions compute it anew
    changes = rope | {"head_dim": 8, "architectures": [kind.__name__], "dtype": "float32"}
    return save(folder, model, {"eos_token_id": 2, "pad_token_id": 0}, changes)


def write_glmasr(folder: Path, seed: int = 0) -> Path:
    """GLM-ASR; in the released template <|user|> stands before the sound and again before the text."""
    template = (
        "{% for m in messages %}{% for c in m['content'] %}"
        "{% if c['type'] == 'audio' %}<|user|>\n<|begin_of_audio|><|pad|><|end_of_audio|>{% endif %}"
        "{% if c['type'] == 'text' %}<|user|>\n{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    )
    words = tokenizer(["<|user|>", "<|assistant|>", "<|pad|>", "<|begin_of_audio|>", "<|end_of_audio|>"])
    processor = hf.GlmAsrProcessor(extractor(BLOCK_S), words, chat_template=template)
    processor.save_pretrained(folder)
    ends = {"eos_token_id": [0, 3, 4], "pad_token_id": 0}
    text = TEXT | ENDS | ends | {"vocab_size": len(words)}
    audio = WHISPER | {"intermediate_size": 96, "max_position_embeddings": 50 * BLOCK_S}
    config = hf.GlmAsrConfig(audio_config=audio, text_config=text, audio_token_id=processor.audio_token_id)
    model = build(hf.GlmAsrForConditionalGeneration, config, seed)
    # the sound about as large as the embeddings of text, as rounding grows with it
    model.model.multi_modal_projector.linear_2.weight.data /= 8
    return save(folder, model, ends, tied="lm_head.weight")


def write_gemma3n(folder: Path, seed: int = 0) -> Path:
    """Gemma 3n, with tensors of a vision tower that is never built."""
    words = tokenizer(["<start_of_turn>", "<end_of_turn>", "<start_of_audio>"], template=(
        "{% for m in messages %}<start_of_turn>{{ m['role'] }}\n"
        "{% for c in m['content'] %}{% if c['type'] == 'audio' %}<audio_soft_token>{% endif %}"
        "{% if c['type'] == 'text' %}{{ c['text'] | trim }}{% endif %}{% endfor %}<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    ))  # fmt: skip
    first = len(words)
    # these have the last ids, beyond the table of inputs for each layer
    words.add_tokens(["<end_of_image>", "<image_soft_token>", "<end_of_audio>", "<audio_soft_token>"], True)
    words.save_pretrained(folder)
    hf.Gemma3nAudioFeatureExtractor().save_pretrained(folder)
    names = ["<start_of_audio>", "<end_of_audio>", "<audio_soft_token>", "<end_of_turn>"]
    begin, end, audio_token, turn = words.convert_tokens_to_ids(names)
    text = TEXT | ENDS | {
        "vocab_size": first + 6, "vocab_size_per_layer_input": first, "intermediate_size": [WIDTH] * 4,
        "num_hidden_layers": 4, "head_dim": 8, "hidden_size_per_layer_input": 8, "altup_num_inputs": 2,
        "laurel_rank": 4, "num_kv_shared_layers": 1, "activation_sparsity_pattern": [0.7, 0.0, 0.0, 0.0],
        "sliding_window": 32, "layer_types": ["sliding_attention", "full_attention"] * 2,
    }  # fmt: skip
    audio = {
        "vocab_size": 4, "vocab_offset": first + 2, "hidden_size": 24, "conf_num_attention_heads": 3,
        "conf_num_hidden_layers": 2, "sscp_conv_channel_size": [8, 4], "initializer_range": 0.2,
    }  # fmt: skip
    config = hf.Gemma3nConfig(
        text_config=text, audio_config=audio, vision_config={"hidden_size": 16, "vocab_size": 2, "vocab_offset": first},
        audio_soft_tokens_per_image=PLACES, boi_token_id=begin, eoi_token_id=first, image_token_id=first + 1,
        boa_token_id=begin, eoa_token_id=end, audio_token_id=audio_token,
    )  # fmt: skip
    model = build(blind_class(), config, seed)
    for layer in model.model.language_model.layers:  # set at zero, it would shut out the inputs of each layer
        layer.altup.correct_output_scale.data = 1 + torch.randn(HIDDEN) * 0.3
    eyes = {"model.vision_tower.timm_model.conv_stem.conv.weight": torch.ones(4, 3, 3, 3)}
    changes = {"architectures": ["Gemma3nForConditionalGeneration"]}
    ends = {"eos_token_id": [2, turn], "pad_token_id": 0}
    return save(folder, model, ends, changes, keep_names=True, tied="lm_head.weight", more=eyes)


def write_granite_speech(folder: Path, seed: int = 0) -> Path:
    """Granite Speech, with the speech adapter beside it."""
    words = tokenizer(["<|start_of_role|>", "<|end_of_role|>", "<|audio|>"], template=(
        "{% for m in messages %}<|start_of_role|>{{ m['role'] }}<|end_of_role|>{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}"
    ))  # fmt: skip
    words.save_pretrained(folder)
    text = TEXT | ENDS | {
        "model_type": "granite", "vocab_size": len(words), "embedding_multiplier": 3.0, "attention_multiplier": 0.3,
        "residual_multiplier": 0.6, "logits_scaling": 2.0, "tie_word_embeddings": True, "bos_token_id": 0,
    }  # fmt: skip
    encoder = {
        "input_dim": 160, "num_layers": 2, "hidden_dim": 24, "feedforward_mult": 2, "num_heads": 3, "output_dim": 10,
        "context_size": 20, "max_pos_emb": 32, "conv_kernel_size": 5, "initializer_range": 0.2,
    }  # fmt: skip
    projector = {
        "model_type": "blip_2_qformer", "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 3,
        "intermediate_size": 48, "encoder_hidden_size": 24, "cross_attention_frequency": 1, "initializer_range": 0.2,
    }  # fmt: skip
    config = hf.GraniteSpeechConfig(
        text_config=text, encoder_config=encoder, projector_config=projector,
        audio_token_index=words.convert_tokens_to_ids("<|audio|>"),
    )  # fmt: skip
    model = build(hf.GraniteSpeechForConditionalGeneration, config, seed)
    model.model.projector.linear.weight.data *= 4  # sound that is heard over the text
    targets = ["q_proj", "v_proj"]
    save_adapter(
        folder, model.model.language_model.layers, "base_model.model.language_model.model.layers",
        [f"self_attn.{name}" for name in targets], seed, 0.3, lora_alpha=ALPHAS["granite_speech"], lora_dropout=0.1,
        target_modules=targets, modules_to_save=None, base_model_name_or_path="ibm-granite/granite-speech-3.3-2b",
    )  # fmt: skip
    return save(folder, model, {"eos_token_id": 2, "pad_token_id": 0})


def write_phi4_multimodal(folder: Path, seed: int = 0) -> Path:
    """Phi-4-multimodal, with the folder of the speech adapter."""
    words = tokenizer(["<|user|>", "<|assistant|>", "<|end|>", "<|image|>", "<|audio|>"], template=(
        "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    ))  # fmt: skip
    words.save_pretrained(folder)
    hf.Phi4MultimodalFeatureExtractor().save_pretrained(folder)
    sound, picture, end = words.convert_tokens_to_ids(["<|audio|>", "<|image|>", "<|end|>"])
    audio = {
        "hidden_size": 24, "intermediate_size": 32, "num_blocks": 2, "num_attention_heads": 3,
        "ext_pw_out_channel": 24, "depthwise_separable_out_channel": 24, "nemo_conv_channels": 6,
        "initializer_range": 0.2, "audio_token_id": sound,
    }  # fmt: skip
    vision = {
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
        "image_size": 28, "crop_size": 28, "image_token_id": picture,
    }  # fmt: skip
    text = TEXT | ENDS | {"vocab_size": len(words), "original_max_position_embeddings": 2048, "bos_token_id": 0}
    config = hf.Phi4MultimodalConfig(**text, tie_word_embeddings=True, audio_config=audio, vision_config=vision)
    model = build(hf.Phi4MultimodalForCausalLM, config, seed)
    # these are set at zero, and sound would then be the same whatever it is
    scale = model.model.embed_tokens_extend.audio_embed.encoder.encoder_embedding
    scale.global_invstd.data.fill_(0.2)
    scale.global_mean.data.fill_(5.0)
    save_adapter(
        folder / "speech-lora", model.model.layers, "base_model.model.model.layers",
        ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"), seed, 0.2,
        lora_alpha=ALPHAS["phi4_multimodal"], lora_dropout=0.01, modules_to_save=[], base_model_name_or_path="",
        target_modules=r"model\.layers.*((self_attn\.(qkv|o)_proj)|(mlp\.(gate_up|down)_proj))",
    )  # fmt: skip
    return save(folder, model, {"eos_token_id": [end, 0], "pad_token_id": 0}, keep_names=True, tied="lm_head.weight")


def write_qwen2_audio(folder: Path, seed: int = 0) -> Path:
    """Qwen2-Audio: no template for sound, no processor_config.json."""
    words, seconds = tokenizer(["<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"]), LONGEST["qwen2_audio"]
    save_as_qwen(words, folder)
    extractor(seconds, return_attention_mask=True).save_pretrained(folder)
    amend(folder / "preprocessor_config.json", {"processor_class": "Qwen2AudioProcessor"})
    settings = {
        "audio_token_index": words.convert_tokens_to_ids("<|AUDIO|>"),
        "audio_config": CODER | {"model_type": "qwen2_audio_encoder", "max_source_positions": 50 * seconds},
        "text_config": TEXT | ENDS | {
            "model_type": "qwen2", "vocab_size": len(words), "num_key_value_heads": 4, "rope_theta": 10000,
            "rms_norm_eps": 1e-5, "bos_token_id": 0, "torch_dtype": "bfloat16", "use_mrope": False,
        },
    }  # fmt: skip
    model = build(hf.Qwen2AudioForConditionalGeneration, hf.Qwen2AudioConfig(**settings), seed)
    raw = {"architectures": ["Qwen2AudioForConditionalGeneration"], "model_type": "qwen2_audio"} | settings
    ends = {"eos_token_id": [2, 0], "pad_token_id": 0, "repetition_penalty": 1.1, "top_p": 0.5}
    return save(folder, model, ends, raw=raw, shards=5)


def write_qwen3_asr(folder: Path, seed: int = 0) -> Path:
    """Qwen3-ASR as transformers saves it, for the worked example of docs/add-a-model.md."""
    names = {"audio_token": "<|audio_pad|>", "audio_bos_token": "<|audio_start|>", "audio_eos_token": "<|audio_end|>"}
    words = tokenizer(list(names.values()), names)
    processor = hf.Qwen3ASRProcessor(hf.Qwen3ASRFeatureExtractor(feature_size=32), words)
    plain = {"tie_word_embeddings": False, "initializer_range": 0.25}
    text = TEXT | ENDS | plain | {
        "model_type": "qwen3", "vocab_size": len(words), "num_hidden_layers": 2, "head_dim": 8,
    }  # fmt: skip
    audio = CODER | {
        "num_mel_bins": 32, "encoder_attention_heads": 4, "d_model": 32, "output_dim": 32, "downsample_hidden_size": 8,
    }  # fmt: skip
    config = hf.Qwen3ASRConfig(
        audio_config=audio,
        text_config=text,
        audio_token_id=processor.audio_token_id,
        pad_token_id=0,
        eos_token_id=2,
        **plain,
    )
    build(hf.Qwen3ASRForConditionalGeneration, config, seed).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def write_qwen2_5_omni(folder: Path, seed: int = 0) -> Path:
    """The full repository of Qwen2.5-Omni: thinker, talker and vocoder in shards, a .pt file; under older names."""
    ids = _write_omni_parts(folder)
    rope = {"mrope_section": [2, 1, 1], "rope_type": "default", "type": "default"}
    text = {k: v for k, v in TEXT.items() if k != "max_position_embeddings"} | {
        "model_type": "qwen2_5_omni_text", "vocab_size": ids["size"], "max_position_embeddings": 4096, "rope_theta": 1e6,
        "rope_scaling": rope, "tie_word_embeddings": False,
    }  # fmt: skip
    audio = CODER | {
        "model_type": "qwen2_5_omni_audio_encoder", "output_dim": HIDDEN, "n_window": 25, "max_source_positions": 200,
    }  # fmt: skip
    vision = {
        "model_type": "qwen2_5_omni_vision_encoder", "depth": 2, "hidden_size": 32, "intermediate_size": 24,
        "num_heads": 2, "out_hidden_size": HIDDEN, "fullatt_block_indexes": [1], "window_size": 56,
    }  # fmt: skip
    marks = {
        "audio_token_index": ids["audio_token"], "audio_start_token_id": ids["audio_bos_token"],
        "audio_end_token_id": ids["audio_eos_token"], "image_token_index": ids["image_token"],
        "video_token_index": ids["video_token"], "vision_start_token_id": ids["vision_bos_token"],
        "vision_end_token_id": ids["vision_eos_token"], "eos_token_id": 2,
        "position_id_per_seconds": 25, "seconds_per_chunk": 2,
    }  # fmt: skip
    small = {"num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 8, "hidden_size": 16}
    mel = small | {
        "model_type": "qwen2_5_omni_dit", "emb_dim": 8, "enc_emb_dim": 4, "enc_dim": 4, "num_embeds": 33, "mel_dim": 8,
        "enc_channels": [8, 8, 8, 8, 24], "enc_attention_channels": 4, "enc_se_channels": 4, "enc_res2net_scale": 2,
        "look_ahead_layers": [1], "look_backward_layers": [0],
    }  # fmt: skip
    settings = {
        "enable_audio_output": True,
        "thinker_config": marks | {
            "model_type": "qwen2_5_omni_thinker", "text_config": text, "audio_config": audio, "vision_config": vision,
            "initializer_range": 0.2, "pad_token_id": 0,
        },
        "talker_config": marks | small | {
            "model_type": "qwen2_5_omni_talker", "vocab_size": 40, "embedding_size": HIDDEN, "intermediate_size": 24,
            "num_key_value_heads": 1, "rope_theta": 1e6, "rope_scaling": rope,
        },
        "token2wav_config": {
            "model_type": "qwen2_5_omni_token2wav", "dit_config": mel,
            "bigvgan_config": {"model_type": "qwen2_5_omni_bigvgan", "mel_dim": 8, "upsample_initial_channel": 64},
        },
    }  # fmt: skip
    model = build(hf.Qwen2_5OmniForConditionalGeneration, hf.Qwen2_5OmniConfig(**settings), seed)
    (folder / "spk_dict.pt").write_bytes(b"this file must never be opened")  # no pickle: whoever opens it fails
    raw = {"architectures": ["Qwen2_5OmniModel"], "model_type": "qwen2_5_omni", "torch_dtype": "bfloat16"} | settings
    return save(folder, model, {}, raw=raw, shards=5)


def write_thinker(folder: Path, full: Path) -> Path:
    """What ``save_pretrained`` makes of the thinker of a full folder of Qwen2.5-Omni."""
    thinker = hf.Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(full, dtype=torch.float32)
    thinker.save_pretrained(folder)
    _write_omni_parts(folder)
    return folder


def _write_omni_parts(folder: Path) -> dict[str, int]:
    """Tokenizer, feature extractor and template; returns the ids of special tokens and the size of the vocabulary."""
    words = tokenizer(["<|vision_pad|>", *OMNI.values()], named=OMNI)
    save_as_qwen(words, folder)
    extractor(LONGEST["qwen2_5_omni"], return_attention_mask=True).save_pretrained(folder)
    pictures = {"image_processor_type": "Qwen2VLImageProcessor", "patch_size": 14, "temporal_patch_size": 2,
                "merge_size": 2, "processor_class": "Qwen2_5OmniProcessor"}  # fmt: skip
    amend(folder / "preprocessor_config.json", pictures)
    template = (
        "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ m['role'] }}\n"
        "{% for c in m['content'] %}{% if c['type'] == 'audio' %}<|audio_bos|><|AUDIO|><|audio_eos|>"
        "{% elif 'text' in c %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    return {name: words.convert_tokens_to_ids(word) for name, word in OMNI.items()} | {"size": len(words)}


def write_voxtral(folder: Path, seed: int = 0) -> Path:
    """Voxtral: tekken.json, and the weights in another format beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = write_tekken(folder / "tekken.json", BLOCK_S)
    extractor(BLOCK_S).save_pretrained(folder)
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 11}
    text = TEXT | ends | {"vocab_size": vocabulary, "head_dim": 8}
    audio = WHISPER | {"intermediate_size": 96, "max_source_positions": 50 * BLOCK_S}
    config = hf.VoxtralConfig(audio_config=audio, text_config=text, audio_token_id=24)
    # here they are other ones
    save_file({"norm.weight": torch.zeros(1)}, folder / "consolidated.safetensors")
    (folder / "params.json").write_text("{}")
    return save(folder, build(hf.VoxtralForConditionalGeneration, config, seed), ends)
