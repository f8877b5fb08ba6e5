"""Audio Flamingo 3: what every family must show, and its windows."""

from __future__ import annotations

import pytest
import torch
from transformers import AudioFlamingo3Config, AudioFlamingo3ForConditionalGeneration

from emoscope.models.audio_lm import Request
from tests.helpers.tiny_families import write_af3
from tests.models.conftest import TEXT, sound
from tests.models.family_checks import FamilyChecks

RELEASED = {
    "audio_config": {"model_type": "audioflamingo3_encoder", "num_mel_bins": 128, "num_hidden_layers": 32,
                     "num_attention_heads": 20, "intermediate_size": 5120, "hidden_size": 1280,
                     "max_source_positions": 1500},
    "text_config": {"model_type": "qwen2", "vocab_size": 151672, "hidden_size": 3584, "intermediate_size": 18944,
                    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4},
}  # fmt: skip
"""Sizes of the released config.json."""


class TestAudioFlamingo3(FamilyChecks):
    """The encoder's window is 1 s in the tiny checkpoint: one clip needs three."""

    write = staticmethod(write_af3)
    keys = "audioflamingo3.txt"
    shortens = True

    def official_model(self):
        with torch.device("meta"):
            return AudioFlamingo3ForConditionalGeneration(AudioFlamingo3Config(**RELEASED))

    def official_inputs(self, model, requests):
        texts = []
        for request in requests:
            turn = [{"type": "audio"}] if request.audio is not None else []
            chat = [{"role": "user", "content": [*turn, {"type": "text", "text": request.text}]}]
            texts.append(model.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))
        clips = [request.audio for request in requests if request.audio is not None]
        return dict(model.processor(text=texts, audio=clips or None))


def test_a_long_clip_becomes_several_windows(model):
    # 16 kHz, window 1 s, one mel frame a 10 ms, one position per four frames
    for seconds, positions in ((1.0, 25), (1.5, 37), (2.0, 50), (2.04, 51)):
        (row,) = model.prepare([Request(sound(seconds, 0), TEXT, ("A",))])
        assert int((row.scopes == 0).sum()) == positions


def test_a_clip_that_is_too_long_is_refused(model, monkeypatch):
    assert model.longest_s == 600
    monkeypatch.setattr(model.processor, "max_audio_len", 3)
    (row,) = model.prepare([Request(sound(3.0, 0), TEXT, ("A",))])
    assert int((row.scopes == 0).sum()) == 75
    # the official processor would answer about the first 3 s
    with pytest.raises(ValueError, match=r"3\.1 s is longer than the 3 s"):
        model.prepare([Request(sound(0.5, 1), TEXT, ("A",)), Request(sound(3.1, 0), TEXT, ("A",))])


def test_audio_stands_before_the_question(model, prepared):
    scopes = prepared[1].scopes.tolist()
    assert model.info.audio_first
    assert scopes.index(0) < len(scopes) - 1 - scopes[::-1].index(0) < scopes.index(2) == len(scopes) - 1


def test_each_clip_is_encoded_once(model, requests_):
    again = [*requests_, Request(requests_[0].audio.copy(), "Another question (A) x", ("A",))]
    with_counter = []
    handle = model.model.model.audio_tower.conv1.register_forward_hook(lambda m, a, o: with_counter.append(len(o)))
    try:
        rows = model.prepare(again)
    finally:
        handle.remove()
    assert sum(with_counter) == 1 + 3 + 1 + 1
    audio = [row.embeddings[row.scopes == 0] for row in rows]
    assert torch.equal(audio[0], audio[-1])
