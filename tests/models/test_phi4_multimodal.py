"""Phi-4-multimodal: what every family must show, its fused gate, its adapter on the MLP, its audio token."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import Phi4MultimodalConfig, Phi4MultimodalFeatureExtractor, Phi4MultimodalForCausalLM

from emoscope.models.audio_lm import Request
from emoscope.models.lookup import look_up
from emoscope.models.registry import load_model
from tests.helpers.noise import close_logits
from tests.helpers.tiny import RANK
from tests.helpers.tiny_families import ALPHAS, write_phi4_multimodal
from tests.models.family_checks import QUESTION, FamilyChecks, sound

ALPHA = ALPHAS["phi4_multimodal"]


class TestPhi4Multimodal(FamilyChecks):
    """In an official batch the last frames of a short clip hear its padding, so official answers are asked for one by one."""

    write = staticmethod(write_phi4_multimodal)
    keys = "phi4_multimodal.txt"
    not_quantised = "an adapter cannot be added to quantised weights"

    def official_model(self):
        with torch.device("meta"):
            return Phi4MultimodalForCausalLM(Phi4MultimodalConfig(tie_word_embeddings=True))

    def computed(self, name):
        return name == "lm_head.weight"

    def loaded_as(self, folder, name, tensor):
        factors = load_file(folder / "speech-lora" / "adapter_model.safetensors")
        stem = "base_model.model." + name.removesuffix(".weight")
        if f"{stem}.lora_A.weight" not in factors:
            return tensor
        return tensor + ALPHA / RANK * (factors[f"{stem}.lora_B.weight"] @ factors[f"{stem}.lora_A.weight"])

    def official_inputs(self, model, requests):
        audio = {}
        clips = [request.audio for request in requests if request.audio is not None]
        if clips:
            audio = dict(Phi4MultimodalFeatureExtractor()(clips, sampling_rate=16_000, return_tensors="pt"))
        sizes = audio["audio_embed_sizes"].tolist() if audio else [0] * len(requests)
        texts = [
            f"<|user|>{'<|audio|>' * size}{r.text}<|end|><|assistant|>" for r, size in zip(requests, sizes, strict=True)
        ]
        return dict(model.tokenizer(texts, padding=True, padding_side="left", return_tensors="pt")) | audio

    def official_logits(self, model, requests):
        return torch.cat([super(TestPhi4Multimodal, self).official_logits(model, [request]) for request in requests])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_phi4_multimodal(tmp_path_factory.mktemp("phi4") / "tiny")


@pytest.fixture(scope="module")
def model(folder):
    return load_model(folder)


def test_the_merged_adapter_computes_what_the_adapter_beside_the_weights_does(folder, model):
    unmerged = Phi4MultimodalForCausalLM.from_pretrained(folder)
    request = Request(sound(1.3), QUESTION, ("A",))
    inputs = TestPhi4Multimodal().official_inputs(model, [request])
    ours = model.next_logits(model.prepare([request]))
    factors = load_file(folder / "speech-lora" / "adapter_model.safetensors")
    with torch.inference_mode():
        assert (unmerged(**inputs).logits[:, -1] - ours).abs().max() > 0.05  # the adapter matters
        for name, factor in factors.items():
            if name.endswith("lora_A.weight"):
                up = factors[name.replace("lora_A", "lora_B")]
                path = name.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
                unmerged.get_submodule(path).register_forward_hook(
                    lambda _m, args, out, down=factor, up=up: out + ALPHA / RANK * (args[0] @ down.T) @ up.T
                )
        assert (unmerged(**inputs).logits[:, -1] - ours).abs().max() < close_logits(model, [request])


def test_the_merged_adapter_equals_peft(folder, model):
    pytest.importorskip("peft")
    official = Phi4MultimodalForCausalLM.from_pretrained(folder).eval()
    official.load_adapter(str(folder), adapter_name="speech", adapter_kwargs={"subfolder": "speech-lora"})
    official.set_adapter("speech")
    request = Request(sound(1.3), QUESTION, ("A",))
    inputs = TestPhi4Multimodal().official_inputs(model, [request])
    with torch.inference_mode():
        logits = official(**inputs).logits[:, -1]
    assert (logits - model.next_logits(model.prepare([request]))).abs().max() < close_logits(model, [request])


def test_the_gate_is_the_first_half_of_the_fused_module(model):
    site = model.decoder.sites[0]
    assert site.fused
    assert site.gate is site.up
    both = torch.arange(2.0 * model.info.width)
    assert torch.equal(site.upward(both), both[model.info.width :])


def test_the_adapter_counts_in_the_checksum_and_must_be_there(folder, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    before = look_up(str(other)).checksum
    with (other / "speech-lora" / "adapter_config.json").open("a") as file:
        file.write("\n")
    assert look_up(str(other)).checksum != before
    shutil.rmtree(other / "speech-lora")
    with pytest.raises(FileNotFoundError, match=r"lacks adapter_config\.json"):
        load_model(other)
