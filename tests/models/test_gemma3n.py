"""Gemma 3n: what every family must show, inputs for each layer, the sparse gate, the tensors that stay on disk."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Gemma3nConfig

from emoscope.models.audio_lm import Request
from emoscope.models.families.conformers import blind_class
from emoscope.models.lookup import look_up
from emoscope.models.registry import load_model
from tests.helpers.noise import close_logits
from tests.helpers.tiny_families import PLACES, write_gemma3n
from tests.models.family_checks import QUESTION, FamilyChecks, sound

SHARING = re.compile(r"layers\.(2\d|3[0-4])\.self_attn\.(k_proj|v_proj|k_norm)\.")
"""The last 15 layers take keys and values of earlier ones; what the files hold for them is not used."""


class TestGemma3n(FamilyChecks):
    """An official batch lets short clips hear their padding, so official answers are asked for one by one."""

    write = staticmethod(write_gemma3n)
    keys = "gemma3n.txt"
    packs = False  # its layers take inputs of their own beside the embeddings, and are run by a wrapper
    resumes = False  # its last layers read keys and values that an earlier one has made

    def official_model(self):
        with torch.device("meta"):
            return blind_class()(Gemma3nConfig())

    def computed(self, name):
        return name == "lm_head.weight"

    def left_out(self, name):
        return name.startswith("model.vision_tower.") or bool(SHARING.search(name))

    def official_inputs(self, model, requests):
        clips = [request.audio for request in requests if request.audio is not None]
        audio = f"\n\n<start_of_audio>{'<audio_soft_token>' * PLACES}<end_of_audio>\n\n" if clips else ""
        texts = [f"<start_of_turn>user\n{audio}{r.text}<end_of_turn>\n<start_of_turn>model\n" for r in requests]
        inputs = dict(model.tokenizer(texts, padding=True, padding_side="left", return_tensors="pt"))
        inputs.pop("token_type_ids", None)
        if clips:
            inputs |= dict(model.processor.feature_extractor(clips, return_tensors="pt"))
        return inputs

    def official_logits(self, model, requests):
        return torch.cat([super(TestGemma3n, self).official_logits(model, [request]) for request in requests])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_gemma3n(tmp_path_factory.mktemp("gemma3n") / "tiny")


@pytest.fixture(scope="module")
def model(folder):
    return load_model(folder)


def test_inputs_of_each_layer_follow_the_token_ids(model):
    ids = torch.tensor([[3, 4, 5, 300]])
    seen = []
    language = model.model.model.language_model
    handle = language.layers[1].register_forward_pre_hook(lambda _m, args: seen.append(args[2].clone()))
    try:
        with torch.inference_mode():
            model.model(input_ids=ids)
            model.decoder.backbone(inputs_embeds=model.embed(ids))
            language(inputs_embeds=model.embed(ids)[..., : model.info.hidden])
    finally:
        handle.remove()
    assert torch.equal(seen[0], seen[1])
    assert not torch.allclose(seen[0], seen[2])


def test_ids_are_exact_in_half_precision(model):
    ids = torch.tensor([0, 127, 128, 262_143, 262_399])
    carried = model._with_ids(torch.zeros(5, 2, dtype=torch.bfloat16), ids)[:, 2:].long()
    assert torch.equal(carried @ torch.tensor([1, 128, 128**2]), ids)


def test_the_sparse_gate_lets_few_neurons_pass(model):
    gate = torch.randn(50, model.info.width, generator=torch.Generator().manual_seed(0))
    sparse, plain = (model.decoder.sites[layer].activation(gate) for layer in (0, 1))
    assert 0.2 < (sparse != 0).float().mean() < 0.4  # 0.3 of a normal distribution
    assert (plain != 0).float().mean() > 0.9


def test_a_sound_takes_all_its_places(model):
    for seconds in (0.5, 2.4):
        (row,) = model.prepare([Request(sound(seconds), QUESTION, ("A",))])
        assert int((row.scopes == 0).sum()) == PLACES
    assert model.longest_s == 30


def test_keys_and_values_of_sharing_layers_stay_on_disk(folder, model, tmp_path):
    other = shutil.copytree(folder, tmp_path / "other")
    index = json.loads((other / "model.safetensors.index.json").read_text())
    shard = other / "model-00001-of-00003.safetensors"
    name = "model.language_model.layers.3.self_attn.k_proj.weight"
    save_file(load_file(shard) | {name: torch.ones(16, 32)}, shard, metadata={"format": "pt"})
    index["weight_map"][name] = shard.name
    (other / "model.safetensors.index.json").write_text(json.dumps(index))
    request = Request(sound(0.5), QUESTION, ("A",))
    rows = model.prepare([request])
    difference = load_model(other).next_logits(rows) - model.next_logits(rows)
    assert difference.abs().max() < close_logits(model, [request])


def test_the_width_is_read_from_a_list_of_layers(folder, model):
    assert (look_up(str(folder)).layers, look_up(str(folder)).width) == (model.info.layers, model.info.width)
