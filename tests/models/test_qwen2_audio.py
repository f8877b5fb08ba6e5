"""Qwen2-Audio: what every family must show, its template and its fixed length."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import Qwen2AudioConfig, Qwen2AudioForConditionalGeneration

from emoscope.models.audio_lm import Request
from emoscope.models.families import text_config
from tests.helpers.tiny_families import LONGEST, write_qwen2_audio
from tests.models.family_checks import QUESTION, FamilyChecks, sound

WINDOW_S = LONGEST["qwen2_audio"]

RELEASED = {
    "audio_config": {"model_type": "qwen2_audio_encoder", "num_mel_bins": 128, "encoder_layers": 32,
                     "encoder_attention_heads": 20, "encoder_ffn_dim": 5120, "d_model": 1280,
                     "max_source_positions": 1500},
    "text_config": {"model_type": "qwen2", "bos_token_id": 151643, "eos_token_id": 151645, "intermediate_size": 11008,
                    "max_position_embeddings": 8192, "rope_theta": 10000, "rms_norm_eps": 1e-5,
                    "torch_dtype": "bfloat16", "vocab_size": 156032},
    "audio_token_index": 151646,
}  # fmt: skip
"""The released config.json, which says neither the number of layers nor the hidden size."""


class TestQwen2Audio(FamilyChecks):
    """Every clip is filled up to 3 s in the tiny checkpoint."""

    write = staticmethod(write_qwen2_audio)
    keys = "qwen2_audio.txt"
    shortens = True

    def official_model(self):
        with torch.device("meta"):
            return Qwen2AudioForConditionalGeneration(Qwen2AudioConfig(**RELEASED))

    def official_inputs(self, model, requests):
        """The processor with the template that is built into its class."""
        texts = []
        for request in requests:
            turn = [{"type": "audio", "audio": "-"}] if request.audio is not None else []
            chat = [{"role": "user", "content": [*turn, {"type": "text", "text": request.text}]}]
            texts.append(model.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))
        clips = [request.audio for request in requests if request.audio is not None]
        kwargs = {"text_kwargs": {"padding": True, "padding_side": "left"}, "return_tensors": "pt"}
        return dict(model.processor(text=texts, audio=clips or None, **kwargs))

    def test_the_prompt_is_the_official_one(self, model, requests_, prepared):
        for request, row in zip(requests_, prepared, strict=True):
            inputs = self.official_inputs(model, [request])
            assert model.tokens(request.text, int((row.scopes == 0).sum())) == inputs["input_ids"][0].tolist()
        text = model.tokenizer.decode(model.tokens(QUESTION, 1))
        assert f"user\nAudio 1: <|audio_bos|><|AUDIO|><|audio_eos|>\n{QUESTION}<|im_end|>" in text
        assert "Audio 1" not in model.tokenizer.decode(model.tokens(QUESTION, 0))

    def test_the_folder_has_no_template(self, folder, model):
        assert type(model.tokenizer).__name__.startswith("Qwen2Tokenizer")
        assert not any((folder / name).exists() for name in ("chat_template.jinja", "processor_config.json"))
        assert "chat_template" not in json.loads((folder / "tokenizer_config.json").read_text())

    def test_silence_after_a_clip_is_not_heard(self, model):
        clip = sound(1.0, 5)
        (heard,) = model.hear([clip])
        assert len(heard) == 25
        inside = model.model.model
        features = self.official_inputs(model, [Request(clip, QUESTION, ("A",))])["input_features"]
        with torch.inference_mode():
            # an encoder that attends to the silence too gives something else
            unmasked = inside.multi_modal_projector(inside.audio_tower(features).last_hidden_state)[0, :25]
        assert (unmasked - heard).abs().max() > 1e-3

    def test_a_clip_that_is_too_long_is_refused(self, model):
        (row,) = model.prepare([Request(sound(WINDOW_S), QUESTION, ("A",))])
        assert int((row.scopes == 0).sum()) == 25 * WINDOW_S
        with pytest.raises(ValueError, match=rf"3\.5 s is longer than the {WINDOW_S} s"):
            model.prepare([Request(sound(WINDOW_S + 0.5), QUESTION, ("A",))])

    def test_the_released_configuration_leaves_out_what_is_usual(self):
        text = text_config(RELEASED)
        assert (text["num_hidden_layers"], text["intermediate_size"]) == (32, 11008)
