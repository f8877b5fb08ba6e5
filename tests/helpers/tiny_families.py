"""Tiny random checkpoints of the families, from what tiny.toml declares and what each does in its own way.

Random weights lie so wide apart that every change shows in the logits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from safetensors.torch import save_file

from emoscope.models.families.conformers import blind_class
from tests.helpers.tiny import (
    TINY,
    amend,
    build,
    extractor,
    save,
    save_adapter,
    save_as_qwen,
    settings,
    tokenizer,
    write_tekken,
)  # fmt: skip

LAYERS, WIDTH, HIDDEN = (TINY["text"][name] for name in ("num_hidden_layers", "intermediate_size", "hidden_size"))

LONGEST = {"musicflamingo": 5, "qwen2_5_omni": 4, "qwen2_audio": 3}
"""Of a clip, in seconds (1200, 300 and 30 in the released models)."""

BLOCK_S = 2
"""Length of Voxtral's blocks and GLM-ASR's windows in seconds (30 in the released models); they make 25 positions (375)."""

PLACES = TINY["gemma3n"]["config"]["audio_soft_tokens_per_image"]
"""Positions of every sound of Gemma 3n (188 in the released models)."""

ALPHAS = {family: TINY[family]["adapter"]["lora_alpha"] for family in ("granite_speech", "phi4_multimodal")}
"""Of the adapters (32 and 640 in the released models)."""

MUSICAL = "You are Music Flamingo, a multimodal assistant for language and music."


def write_af3(
    folder: Path, seed: int = 0, card: dict[str, Any] | None = None, dtype: Any = torch.float32, wide: bool = False
) -> Path:
    """Audio Flamingo 3; ``card`` becomes emoscope.json; ``wide`` has sizes that fill blocks of 64 weights."""
    words, turns = tokenizer("af3"), TINY["turns"].replace("SYSTEM", "You are a helpful assistant.")
    processor = hf.AudioFlamingo3Processor(extractor(1), words, chat_template=turns)
    processor.save_pretrained(folder)
    given = settings("af3", words, audio_token_id=processor.audio_token_id)
    if wide:
        given["text_config"] |= {"hidden_size": 64, "intermediate_size": 128}
        given["audio_config"] |= {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    if card is not None:
        (folder / "emoscope.json").write_text(json.dumps(card))
    kind = hf.AudioFlamingo3ForConditionalGeneration
    model = build(kind, hf.AudioFlamingo3Config(**given), seed).to(dtype)
    changes = {"architectures": [kind.__name__], "dtype": str(dtype).removeprefix("torch.")}
    return save(folder, model, TINY["af3"]["ends"], changes)


def write_musicflamingo(folder: Path, seed: int = 0) -> Path:
    """Music Flamingo."""
    words, turns = tokenizer("musicflamingo"), TINY["turns"].replace("SYSTEM", MUSICAL)
    longest = LONGEST["musicflamingo"]
    processor = hf.MusicFlamingoProcessor(extractor(1), words, chat_template=turns, max_audio_len=longest)
    processor.save_pretrained(folder)
    marks = ("audio_token_id", "audio_bos_token_id", "audio_eos_token_id")
    given = settings("musicflamingo", words, **{mark: getattr(processor, mark) for mark in marks})
    kind = hf.MusicFlamingoForConditionalGeneration
    model = build(kind, hf.MusicFlamingoConfig(**given), seed)
    # the released file has a fifth of the encoder's width as head_dim; newer versions compute it anew
    changes = {"head_dim": 8, "rope_parameters": TINY["musicflamingo"]["config"]["rope_parameters"]}
    changes |= {"architectures": [kind.__name__], "dtype": "float32"}
    return save(folder, model, TINY["musicflamingo"]["ends"], changes)


def write_glmasr(folder: Path, seed: int = 0) -> Path:
    """GLM-ASR."""
    words, about = tokenizer("glmasr"), TINY["glmasr"]
    processor = hf.GlmAsrProcessor(extractor(BLOCK_S), words, chat_template=about["template"])
    processor.save_pretrained(folder)
    config = hf.GlmAsrConfig(**settings("glmasr", words, audio_token_id=processor.audio_token_id))
    model = build(hf.GlmAsrForConditionalGeneration, config, seed)
    # the sound about as large as the embeddings of text, as rounding grows with it
    model.model.multi_modal_projector.linear_2.weight.data /= 8
    return save(folder, model, about["ends"], tied="lm_head.weight")


def write_gemma3n(folder: Path, seed: int = 0) -> Path:
    """Gemma 3n, with tensors of a vision tower that is never built."""
    words = tokenizer("gemma3n")
    first = len(words)
    # these have the last ids, beyond the table of inputs for each layer
    words.add_tokens(["<end_of_image>", "<image_soft_token>", "<end_of_audio>", "<audio_soft_token>"], True)
    words.save_pretrained(folder)
    hf.Gemma3nAudioFeatureExtractor().save_pretrained(folder)
    names = ["<start_of_audio>", "<end_of_audio>", "<audio_soft_token>", "<end_of_turn>"]
    begin, end, sound, turn = words.convert_tokens_to_ids(names)
    ids = {"boi_token_id": begin, "eoi_token_id": first, "image_token_id": first + 1}
    ids |= {"boa_token_id": begin, "eoa_token_id": end, "audio_token_id": sound}
    given = settings("gemma3n", words, **ids)
    given["text_config"] |= {"vocab_size": first + 6, "vocab_size_per_layer_input": first}
    given["audio_config"]["vocab_offset"] = first + 2
    given["vision_config"]["vocab_offset"] = first
    model = build(blind_class(), hf.Gemma3nConfig(**given), seed)
    for layer in model.model.language_model.layers:  # set at zero, it would shut out the inputs of each layer
        layer.altup.correct_output_scale.data = 1 + torch.randn(HIDDEN) * 0.3
    eyes = {"model.vision_tower.timm_model.conv_stem.conv.weight": torch.ones(4, 3, 3, 3)}
    changes, ends = (
        {"architectures": ["Gemma3nForConditionalGeneration"]},
        {"eos_token_id": [2, turn], "pad_token_id": 0},
    )
    return save(folder, model, ends, changes, keep_names=True, tied="lm_head.weight", more=eyes)


def write_granite_speech(folder: Path, seed: int = 0) -> Path:
    """Granite Speech, with the speech adapter beside it."""
    words, about = tokenizer("granite_speech"), TINY["granite_speech"]
    words.save_pretrained(folder)
    given = settings("granite_speech", words, audio_token_index=words.convert_tokens_to_ids("<|audio|>"))
    model = build(hf.GraniteSpeechForConditionalGeneration, hf.GraniteSpeechConfig(**given), seed)
    model.model.projector.linear.weight.data *= 4  # sound that is heard over the text
    targets = [f"self_attn.{name}" for name in about["adapter"]["target_modules"]]
    stem, layers = "base_model.model.language_model.model.layers", model.model.language_model.layers
    save_adapter(folder, layers, stem, targets, seed, 0.3, about["adapter"] | {"modules_to_save": None})
    return save(folder, model, about["ends"])


def write_phi4_multimodal(folder: Path, seed: int = 0) -> Path:
    """Phi-4-multimodal, with the folder of the speech adapter."""
    words = tokenizer("phi4_multimodal")
    words.save_pretrained(folder)
    hf.Phi4MultimodalFeatureExtractor().save_pretrained(folder)
    sound, picture, end = words.convert_tokens_to_ids(["<|audio|>", "<|image|>", "<|end|>"])
    given = settings("phi4_multimodal", words)
    given["audio_config"]["audio_token_id"], given["vision_config"]["image_token_id"] = sound, picture
    model = build(hf.Phi4MultimodalForCausalLM, hf.Phi4MultimodalConfig(**given.pop("text_config"), **given), seed)
    # these are set at zero, and sound would then be the same whatever it is
    scale = model.model.embed_tokens_extend.audio_embed.encoder.encoder_embedding
    scale.global_invstd.data.fill_(0.2)
    scale.global_mean.data.fill_(5.0)
    targets = ("self_attn.qkv_proj", "self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj")
    stem, adapter = "base_model.model.model.layers", TINY["phi4_multimodal"]["adapter"]
    save_adapter(folder / "speech-lora", model.model.layers, stem, targets, seed, 0.2, adapter)
    return save(folder, model, {"eos_token_id": [end, 0], "pad_token_id": 0}, keep_names=True, tied="lm_head.weight")


def write_qwen2_audio(folder: Path, seed: int = 0) -> Path:
    """Qwen2-Audio: no template for sound, no processor_config.json."""
    words = tokenizer("qwen2_audio")
    save_as_qwen(words, folder)
    extractor(LONGEST["qwen2_audio"], return_attention_mask=True).save_pretrained(folder)
    amend(folder / "preprocessor_config.json", {"processor_class": "Qwen2AudioProcessor"})
    given = settings("qwen2_audio", words, audio_token_index=words.convert_tokens_to_ids("<|AUDIO|>"))
    raw = {"architectures": ["Qwen2AudioForConditionalGeneration"], "model_type": "qwen2_audio"} | given
    model = build(hf.Qwen2AudioForConditionalGeneration, hf.Qwen2AudioConfig(**given), seed)
    return save(folder, model, TINY["qwen2_audio"]["ends"], raw=raw, shards=5)


def write_qwen3_asr(folder: Path, seed: int = 0) -> Path:
    """Qwen3-ASR as transformers saves it."""
    words = tokenizer("qwen3_asr")
    processor = hf.Qwen3ASRProcessor(hf.Qwen3ASRFeatureExtractor(feature_size=32), words)
    ids = {"audio_token_id": processor.audio_token_id, "pad_token_id": 0, "eos_token_id": 2}
    config = hf.Qwen3ASRConfig(**settings("qwen3_asr", words, **ids))
    build(hf.Qwen3ASRForConditionalGeneration, config, seed).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def write_qwen2_5_omni(folder: Path, seed: int = 0) -> Path:
    """The full repository of Qwen2.5-Omni: thinker, talker and vocoder in shards, a .pt file."""
    words, about = _write_omni_parts(folder), TINY["qwen2_5_omni"]
    named, rope = about["tokenizer"]["named"], {"rope_scaling": about["rope"]}
    marks = {key: words.convert_tokens_to_ids(named[name]) for key, name in about["marks"].items()} | about["seconds"]
    parts = {f"{part}_config": about[part] for part in ("audio", "vision")}
    parts["text_config"] = about["text"] | rope | {"vocab_size": len(words)}
    raw = about["raw"] | {
        "thinker_config": about["thinker"] | marks | parts,
        "talker_config": about["talker"] | marks | rope,
        "token2wav_config": about["vocoder"],
    }
    given = {key: value for key, value in raw.items() if key.endswith("_config") or key == "enable_audio_output"}
    config = hf.Qwen2_5OmniConfig(**json.loads(json.dumps(given)))
    (folder / "spk_dict.pt").write_bytes(b"this file must never be opened")  # no pickle: whoever opens it fails
    return save(folder, build(hf.Qwen2_5OmniForConditionalGeneration, config, seed), {}, raw=raw, shards=5)


def write_thinker(folder: Path, full: Path) -> Path:
    """What ``save_pretrained`` makes of the thinker of a full folder of Qwen2.5-Omni."""
    thinker = hf.Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(full, dtype=torch.float32)
    thinker.save_pretrained(folder)
    _write_omni_parts(folder)
    return folder


def _write_omni_parts(folder: Path) -> Any:
    words, about = tokenizer("qwen2_5_omni"), TINY["qwen2_5_omni"]
    save_as_qwen(words, folder)
    extractor(LONGEST["qwen2_5_omni"], return_attention_mask=True).save_pretrained(folder)
    amend(folder / "preprocessor_config.json", about["pictures"])
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": about["template"]}))
    return words


def write_voxtral(folder: Path, seed: int = 0) -> Path:
    """Voxtral: tekken.json, and the weights in another format beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    words = write_tekken(folder / "tekken.json", BLOCK_S)
    extractor(BLOCK_S).save_pretrained(folder)
    config = hf.VoxtralConfig(**settings("voxtral", words, audio_token_id=24))
    # here they are other ones
    save_file({"norm.weight": torch.zeros(1)}, folder / "consolidated.safetensors")
    (folder / "params.json").write_text("{}")
    return save(folder, build(hf.VoxtralForConditionalGeneration, config, seed), TINY["voxtral"]["ends"])
