"""Random weights are those of the class, by seed, and nothing that was trained is left where they are."""

import pytest
import torch

from emoscope.models.audio_lm import AudioLM
from emoscope.models.registry import load_model, module_checksum
from emoscope.models.untrained import untrain


@pytest.fixture
def loaded(folder) -> AudioLM:
    return load_model(folder)


def bits(model: AudioLM) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in model.model.state_dict().items()}


def test_a_random_decoder_leaves_the_encoder_and_the_projector_as_they_are(loaded, requests_):
    heard = loaded.hear([request.audio for request in requests_[:2]])
    with torch.no_grad():
        for weight in loaded.model.parameters():  # norms and biases of a trained model are not those of the class
            weight.add_(0.25)
    before = bits(loaded)
    model = untrain(loaded, "decoder", 0)
    changed = {name for name, weight in bits(model).items() if not torch.equal(weight, before[name])}
    assert changed == {name for name in before if "language_model" in name or "lm_head" in name}
    norms = [weight for name, weight in bits(model).items() if "language_model" in name and "norm" in name]
    assert norms
    assert all(torch.equal(weight, torch.ones_like(weight)) for weight in norms)
    again = model.hear([request.audio for request in requests_[:2]])
    assert [one.shape for one in heard] == [one.shape for one in again]


def test_the_spread_is_that_of_the_class_and_each_seed_has_its_own_weights(loaded):
    first = untrain(loaded, "all", 0)
    sums, kept = first.info.checksum, bits(first)
    gate = first.decoder.sites[0].gate.weight
    assert float(gate.detach().std()) == pytest.approx(loaded.model.config.text_config.initializer_range, rel=0.1)
    assert untrain(loaded, "all", 1).info.checksum != sums
    again = untrain(loaded, "all", 0)
    assert again.info.checksum == sums == module_checksum(again.model)
    assert all(torch.equal(weight, kept[name]) for name, weight in bits(again).items())
    assert again.info.trained_on == ()
    assert "random, seed 0" in again.info.id


def test_a_class_that_leaves_a_weight_out_is_refused(loaded, monkeypatch):
    monkeypatch.setattr(type(loaded.model), "_init_weights", lambda self, module: None)
    with pytest.raises(ValueError, match="does not initialise"):
        untrain(loaded, "all", 0)
