"""GLM-ASR: what every family must show, its windows and its prompt."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GlmAsrConfig, GlmAsrForConditionalGeneration

from emoscope.models.audio_lm import Request
from emoscope.models.registry import load_model
from tests.helpers.tiny_families import write_glmasr
from tests.models.family_checks import QUESTION, FamilyChecks, sound


class TestGlmAsr(FamilyChecks):
    """The encoder's window is 2 s in the tiny checkpoint: one clip needs two."""

    write = staticmethod(write_glmasr)
    keys = "glmasr.txt"

    def official_model(self):
        with torch.device("meta"):
            return GlmAsrForConditionalGeneration(GlmAsrConfig(text_config={}, audio_config={}))

    def computed(self, name):
        return name == "lm_head.weight"

    def official_inputs(self, model, requests):
        texts = []
        for request in requests:
            turn = [{"type": "audio"}] if request.audio is not None else []
            chat = [{"role": "user", "content": [*turn, {"type": "text", "text": request.text}]}]
            texts.append(model.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))
        clips = [request.audio for request in requests if request.audio is not None]
        return dict(model.processor(text=texts, audio=clips or None))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(write_glmasr(tmp_path_factory.mktemp("glmasr") / "tiny"))


def test_a_long_clip_becomes_several_windows(model):
    # 16 kHz, window 2 s, one mel frame a 10 ms, one position per eight frames
    for seconds, positions in ((1.0, 12), (2.0, 25), (3.0, 37), (4.04, 50)):
        (row,) = model.prepare([Request(sound(seconds), QUESTION, ("A",))])
        assert int((row.scopes == 0).sum()) == positions


def test_a_clip_that_would_be_cut_is_refused(model):
    assert model.longest_s == 654  # 327 windows of 2 s; the processor names 655 s
    inputs = model.processor(text=["<|pad|>"], audio=[sound(655)])
    assert inputs["input_features"].shape[0] == 327
    with pytest.raises(ValueError, match="longer than the 654 s"):
        model.prepare([Request(sound(655), QUESTION, ("A",))])


def test_the_sound_stands_between_its_marks(model):
    text = model.tokenizer.decode(model.tokens("Say A.", 3))
    assert text == ("<|user|>\n<|begin_of_audio|><|pad|><|pad|><|pad|><|end_of_audio|><|user|>\nSay A.<|assistant|>\n")


def test_an_output_head_of_its_own_is_kept(tmp_path):
    folder = write_glmasr(tmp_path / "tiny")
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    embedding, head = "language_model.model.embed_tokens.weight", "language_model.lm_head.weight"
    shard = folder / index["weight_map"][embedding]
    tensors = load_file(shard)
    save_file(tensors | {head: tensors[embedding] * 2 + 1}, shard, metadata={"format": "pt"})
    index["weight_map"][head] = shard.name
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert torch.equal(load_model(folder).head.weight, tensors[embedding] * 2 + 1)
