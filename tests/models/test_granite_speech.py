"""Granite Speech: what every family must show, its adapter, its features, its scaled logits."""

from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GraniteForCausalLM, GraniteSpeechConfig, GraniteSpeechForConditionalGeneration
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from emoscope.models.audio_lm import Request
from emoscope.models.decoder import merge_lora
from emoscope.models.registry import load_model
from tests.helpers.noise import close_logits
from tests.helpers.tiny import RANK
from tests.helpers.tiny_families import ALPHAS, write_granite_speech
from tests.models.family_checks import QUESTION, FamilyChecks, sound

ALPHA = ALPHAS["granite_speech"]

RELEASED = {
    "text_config": {"model_type": "granite", "vocab_size": 49160, "hidden_size": 2048, "intermediate_size": 8192,
                    "num_hidden_layers": 40, "num_attention_heads": 32, "num_key_value_heads": 8},
    "encoder_config": {"num_layers": 16, "hidden_dim": 1024, "num_heads": 8, "dim_head": 128, "output_dim": 256},
    "projector_config": {"model_type": "blip_2_qformer", "hidden_size": 1024, "num_hidden_layers": 2,
                         "num_attention_heads": 16, "intermediate_size": 4096, "encoder_hidden_size": 1024,
                         "cross_attention_frequency": 1},
}  # fmt: skip
"""Sizes of the released configuration."""


def slow_features(clip: np.ndarray) -> torch.Tensor:
    """The features of one clip by the library's own numpy spectrogram, (1, frame, 160)."""
    mel = spectrogram(
        clip, window_function(400, "hann"), 400, 160, 512, power=2.0,
        mel_filters=mel_filter_bank(257, 80, 0.0, 8000.0, 16_000, None, "htk"), mel_floor=1e-10,
    ).T  # fmt: skip
    logmel = np.log10(mel)
    logmel = np.maximum(logmel, logmel.max() - 8) / 4 + 1
    frames = torch.from_numpy(logmel[: len(logmel) // 2 * 2]).float()
    return frames.reshape(1, -1, 160)


class TestGraniteSpeech(FamilyChecks):
    """An official batch lets short clips hear the silence after them, so official answers are asked for one by one."""

    write = staticmethod(write_granite_speech)
    keys = "granite_speech.txt"
    not_quantised = "an adapter cannot be added to quantised weights"

    def official_model(self):
        with torch.device("meta"):
            return GraniteSpeechForConditionalGeneration(GraniteSpeechConfig(**RELEASED))

    def loaded_as(self, folder, name, tensor):
        factors = load_file(folder / "adapter_model.safetensors")
        stem = "base_model.model." + name.removesuffix(".weight")
        if f"{stem}.lora_A.weight" not in factors:
            return tensor
        return tensor + ALPHA / RANK * (factors[f"{stem}.lora_B.weight"] @ factors[f"{stem}.lora_A.weight"])

    def official_inputs(self, model, requests):
        ids, features = [], []
        for request in requests:
            positions = 0
            if request.audio is not None:
                features.append(slow_features(request.audio))
                # as the official feature extractor counts them
                positions = -(-((len(request.audio) // 160 + 1) // 2) // 15) * 3
            ids.append(model.tokens(request.text, positions))
        inputs = dict(model.tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt"))
        if len(features) == 1:
            inputs["input_features"] = features[0]
        return inputs

    def official_logits(self, model, requests):
        with torch.inference_mode():
            rows = [model.model(**self.official_inputs(model, [r])).logits[:, -1].float() for r in requests]
        return torch.cat(rows) / model.model.config.text_config.logits_scaling


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_granite_speech(tmp_path_factory.mktemp("granite") / "tiny")


@pytest.fixture(scope="module")
def model(folder):
    return load_model(folder)


def test_the_merged_adapter_computes_what_the_adapter_beside_the_weights_does(folder, model):
    unmerged = GraniteSpeechForConditionalGeneration.from_pretrained(folder, adapter_kwargs={"subfolder": "none"})
    request = Request(sound(1.3), QUESTION, ("A",))
    inputs = TestGraniteSpeech().official_inputs(model, [request])
    ours = model.next_logits(model.prepare([request]))
    scaling = model.model.config.text_config.logits_scaling
    with torch.inference_mode():
        assert (unmerged(**inputs).logits[:, -1] / scaling - ours).abs().max() > 0.05  # the adapter matters
        for name, factor in load_file(folder / "adapter_model.safetensors").items():
            if name.endswith("lora_A.weight"):
                up = load_file(folder / "adapter_model.safetensors")[name.replace("lora_A", "lora_B")]
                layer = unmerged.get_submodule(
                    "model.language_model.layers." + name.partition(".layers.")[2].removesuffix(".lora_A.weight")
                )
                layer.register_forward_hook(
                    lambda _m, args, out, down=factor, up=up: out + ALPHA / RANK * (args[0] @ down.T) @ up.T
                )
        assert (unmerged(**inputs).logits[:, -1] / scaling - ours).abs().max() < close_logits(model, [request])


def test_the_merged_adapter_equals_peft(folder, model):
    pytest.importorskip("peft")
    official = GraniteSpeechForConditionalGeneration.from_pretrained(folder).eval()
    request = Request(sound(1.3), QUESTION, ("A",))
    inputs = TestGraniteSpeech().official_inputs(model, [request])
    with torch.inference_mode():
        logits = official(**inputs).logits[:, -1] / model.model.config.text_config.logits_scaling
    assert (logits - model.next_logits(model.prepare([request]))).abs().max() < close_logits(model, [request])


def test_no_warning_tells_of_a_missing_adapter(folder, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    loaded = load_model(folder)
    assert "lora" not in caplog.text
    assert not loaded.model.config.has_lora_adapter  # else it would be added again to a saved model


def test_logits_are_divided_as_in_the_text_model(folder, model):
    text = GraniteForCausalLM(model.model.config.text_config).eval()
    text.model.load_state_dict(model.model.model.language_model.state_dict())
    text.tie_weights()
    request = Request(None, QUESTION, ("A",))
    with torch.inference_mode():
        logits = text(torch.tensor([model.tokens(QUESTION, 0)])).logits[:, -1]
    assert (model.next_logits(model.prepare([request])) - logits).abs().max() < close_logits(model, [request])


def test_features_equal_those_of_torchaudio(model):
    torchaudio = pytest.importorskip("torchaudio")
    mel = torchaudio.transforms.MelSpectrogram(sample_rate=16_000, n_fft=512, win_length=400, hop_length=160, n_mels=80)
    for seconds in (0.5, 1.003):
        logmel = mel(torch.from_numpy(sound(seconds))).T.clip(min=1e-10).log10()
        logmel = torch.maximum(logmel, logmel.max() - 8) / 4 + 1
        expected = logmel[: len(logmel) // 2 * 2].reshape(1, -1, 160)
        assert (model._features(sound(seconds)) - expected).abs().max() < 1e-4


def test_a_missing_or_unfit_adapter_is_named(folder, model, tmp_path):
    broken = shutil.copytree(folder, tmp_path / "broken")
    config = json.loads((folder / "adapter_config.json").read_text())
    (broken / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True}))
    with pytest.raises(ValueError, match="use_dora"):
        merge_lora(model.model, broken)
    factors = load_file(folder / "adapter_model.safetensors")
    (broken / "adapter_config.json").write_text(json.dumps(config))
    for wrong, message in (
        (
            {name.replace("self_attn.q_proj", "attn.to_q"): value for name, value in factors.items()},
            "is no layer of the",
        ),
        ({name: value for name, value in factors.items() if "lora_A" in name}, "no pairs of factors"),
        ({name: value[:, :-1].contiguous() for name, value in factors.items()}, "changes a weight"),
    ):
        save_file(wrong, broken / "adapter_model.safetensors")
        with pytest.raises(ValueError, match=message):
            merge_lora(model.model, broken)
    (broken / "adapter_model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks adapter_model\.safetensors"):
        load_model(broken)


def test_the_prompt_does_not_change_with_the_day(model):
    text = model.tokenizer.decode(model.tokens("Say A.", 2))
    assert text.startswith("<|start_of_role|>system<|end_of_role|>Knowledge Cutoff Date: April 2024.")
    assert "user<|end_of_role|><|audio|><|audio|>Say A." in text
