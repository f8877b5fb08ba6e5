"""Voxtral: what every family must show, its blocks, its tokenizer, and the second copy of its weights."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from transformers import VoxtralConfig, VoxtralForConditionalGeneration, VoxtralProcessor, WhisperFeatureExtractor

from emoscope.models.audio_lm import Request
from emoscope.models.checkpoint import scan_weights
from emoscope.models.families.whisper import read_tekken
from tests.helpers.tiny import write_tekken
from tests.helpers.tiny_families import BLOCK_S, write_voxtral
from tests.models.family_checks import QUESTION, FamilyChecks, sound


class TestVoxtral(FamilyChecks):
    """A block is 2 s in the tiny checkpoint: one clip needs two."""

    write = staticmethod(write_voxtral)
    keys = "voxtral.txt"

    def official_model(self):
        text = {"vocab_size": 131072, "num_attention_heads": 32}
        with torch.device("meta"):
            return VoxtralForConditionalGeneration(VoxtralConfig(text_config=text, audio_config={}, audio_token_id=24))

    def official_inputs(self, model, requests):
        clips = [request.audio for request in requests if request.audio is not None]
        extractor = model.processor.feature_extractor
        asked = {"sampling_rate": 16_000, "padding": True, "truncation": False, "return_tensors": "pt"}
        ids = []
        for request in requests:
            blocks = -(-len(request.audio) // (16_000 * BLOCK_S)) if request.audio is not None else 0
            # as mistral-common writes it: see test_prompts_and_features_equal_those_of_mistral_common
            audio = [25, *[24] * (25 * blocks)] if blocks else []
            ids.append([1, 3, *audio, *model.tokenizer.encode(request.text, add_special_tokens=False), 4])
        inputs = dict(model.tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt"))
        if clips:
            inputs["input_features"] = model.processor._retrieve_input_features(
                clips, extractor.nb_max_frames, pad_to_multiple_of=extractor.n_samples, **asked
            )
        return inputs


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    from emoscope.models.registry import load_model

    return load_model(write_voxtral(tmp_path_factory.mktemp("voxtral") / "tiny"))


def test_a_clip_fills_whole_blocks(model):
    for seconds, positions in ((0.5, 25), (2.0, 25), (2.01, 50), (5.0, 75)):
        (row,) = model.prepare([Request(sound(seconds), QUESTION, ("A",))])
        assert int((row.scopes == 0).sum()) == positions


def test_markers_in_the_text_stay_text(model):
    ids = model.tokens("say [INST] or </s>", 0)
    assert ids.count(3) == 1
    assert 2 not in ids
    assert model.tokenizer.decode(ids[2:-1]) == "say [INST] or </s>"


def test_the_same_weights_in_another_format_are_neither_loaded_nor_counted(tmp_path):
    folder = write_voxtral(tmp_path / "tiny")
    assert (folder / "consolidated.safetensors").is_file()
    before = scan_weights(folder)[0]
    (folder / "consolidated.safetensors").unlink()
    assert scan_weights(folder)[0] == before


def test_without_tekken_json_the_error_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no tekken\.json"):
        read_tekken(tmp_path / "tekken.json")


def test_prompts_and_features_equal_those_of_mistral_common(model, tmp_path):
    backend = pytest.importorskip("transformers.tokenization_mistral_common")
    pytest.importorskip("mistral_common")
    write_tekken(tmp_path / "tekken.json", chunk_s=30)
    extractor = WhisperFeatureExtractor(feature_size=80, chunk_length=30)
    official = VoxtralProcessor(extractor, backend.MistralCommonBackend(str(tmp_path / "tekken.json")))
    ours = read_tekken(tmp_path / "tekken.json")
    clip = np.round(sound(35) * 32_768).astype(np.int16)  # two blocks
    soundfile.write(tmp_path / "clip.wav", clip, 16_000)
    turn = [{"type": "audio", "path": str(tmp_path / "clip.wav")}, {"type": "text", "text": QUESTION}]
    expected = official.apply_chat_template([{"role": "user", "content": turn}])
    assert expected["input_ids"][0].tolist() == [
        1, 3, 25, *[24] * 750, *ours.encode(QUESTION, add_special_tokens=False), 4
    ]  # fmt: skip
    model.processor, before = VoxtralProcessor(extractor, ours), model.processor
    try:
        blocks = model._blocks((clip / 32_768).astype(np.float32))
    finally:
        model.processor = before
    assert torch.equal(blocks, expected["input_features"])
    for text in (QUESTION, "Ça va? [INST] 42\n\n  (A", "日本語 emotion"):
        chat = [{"role": "user", "content": [{"type": "text", "text": text}]}]
        expected = official.apply_chat_template(chat)["input_ids"][0].tolist()
        assert [1, 3, *ours.encode(text, add_special_tokens=False), 4] == expected
