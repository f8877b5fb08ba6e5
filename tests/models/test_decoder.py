"""Finding the decoder by structure."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from emoscope.models.decoder import find_decoder


def text_model(**changes):
    sizes = {"vocab_size": 8, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2}
    return Qwen2ForCausalLM(Qwen2Config(**(sizes | heads | changes)))


def test_the_decoder_is_found_and_the_encoder_is_not(model):
    decoder = model.decoder
    assert decoder.backbone is model.model.model.language_model
    assert [site.name for site in decoder.sites] == [
        f"model.language_model.layers.{i}.mlp" for i in range(decoder.layers)
    ]
    assert (decoder.layers, decoder.width, decoder.hidden) == (3, 40, 32)


def test_a_tower_of_another_length_is_no_decoder():
    model = text_model()
    model.tower = nn.Module()
    model.tower.layers = nn.ModuleList([model.model.layers[0]])
    assert find_decoder(model).name == "model"


def test_two_candidates_are_refused_by_name():
    model = text_model()
    model.twin = nn.Module()
    model.twin.layers = model.model.layers
    with pytest.raises(ValueError, match="modules model, twin all fit"):
        find_decoder(model)


def test_no_candidate_says_what_is_looked_for():
    model = text_model()
    model.config.num_hidden_layers = 5
    with pytest.raises(ValueError, match="no module fits; a text decoder is a list named layers, of length 5"):
        find_decoder(model)


def test_an_mlp_without_a_gate_is_refused():
    model = text_model()
    del model.model.layers[1].mlp.gate_proj
    with pytest.raises(ValueError, match=r"model\.layers\.1\.mlp is no gated MLP"):
        find_decoder(model)


def test_down_norms(model):
    norms = model.decoder.down_norms()
    assert norms.shape == (3, 40)
    assert norms.dtype == np.float32
    column = model.decoder.sites[1].down.weight[:, 7].detach()
    assert norms[1, 7] == pytest.approx(float(torch.sqrt((column.double() ** 2).sum())), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_fingerprint_sees_one_bit_in_any_layer(dtype):
    decoder = find_decoder(text_model().to(dtype))
    before = decoder.fingerprint()
    for layer in range(2):
        weight = decoder.sites[layer].down.weight
        old = weight.detach().clone()
        bits = weight.detach().view(torch.int16 if dtype == torch.bfloat16 else torch.int32)
        bits[3, 5] ^= 1
        assert decoder.fingerprint() != before
        assert (decoder.fingerprint([1 - layer])) == decoder.fingerprint([1 - layer])
        with torch.no_grad():
            weight.copy_(old)
        assert decoder.fingerprint() == before
