"""Quantised weights: activations are read and gains act, weights are not edited, and every proof says so."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from emoscope.experiments.listen import answer_key
from emoscope.experiments.schema import Model, Study, StudyError
from emoscope.experiments.study import parse_study
from emoscope.interventions.intervention import edited
from emoscope.interventions.kinds import deactivate
from emoscope.models.check import check_model
from emoscope.models.registry import load_model, wrap
from emoscope.models.values import Gains
from emoscope.neurons.sets import NeuronSet
from tests.helpers.noise import close_logits
from tests.helpers.packed import pack, unpack
from tests.helpers.tiny_families import write_af3

REFUSED = "quantised weights.*use gains, or load the model unquantised"


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory):
    return write_af3(tmp_path_factory.mktemp("af3") / "tiny")


@pytest.fixture(scope="module")
def packed(own_folder):
    plain = load_model(own_folder)
    pack(plain.decoder.backbone.layers)
    return wrap(plain.model, plain.processor)


@pytest.fixture(scope="module")
def same(packed):
    """The model with the same weights, unpacked."""
    module = copy.deepcopy(packed.model)
    unpack(module.model.language_model.layers)
    return wrap(module, packed.processor)


@pytest.fixture(scope="module")
def rows(packed, requests_):
    return packed.prepare(requests_)


def test_the_model_says_that_it_is_packed(packed, same):
    assert (packed.info.dtype, packed.info.quantised, same.info.quantised) == ("float32", "packed", None)
    assert packed.decoder.sites[0].down.weight.dtype == torch.int8
    assert packed.decoder.packed
    assert not same.decoder.packed


def test_columns_are_what_the_module_makes_of_each_neuron(packed, same):
    some = torch.tensor([3, 0, 17])
    for layer in range(packed.info.layers):
        assert torch.allclose(packed.decoder.columns(layer, some), same.decoder.columns(layer, some), atol=1e-6)
    np.testing.assert_allclose(packed.decoder.down_norms(), same.decoder.down_norms(), rtol=1e-5)
    # never the bytes as they are stored, which are 127 at most
    assert packed.decoder.down_norms().max() < 50
    assert packed.decoder.sites[0].down.weight.float().norm(dim=0).max() > 50


@pytest.mark.parametrize("few", [True, False])
def test_gains_act_in_the_dtype_of_the_product(packed, same, rows, requests_, few):
    values = torch.ones(len(rows), packed.info.width)
    values[:, 3 : 4 if few else None] = 0.4
    gains = Gains({1: values}, offsets={2: torch.full_like(values, 0.3)})
    plain, changed = packed.next_logits(rows), packed.next_logits(rows, gains)
    assert (changed - same.next_logits(rows, gains)).abs().max() < close_logits(same, requests_)
    # cast to whole numbers, as the weights are, 0.4 and 0.3 would both be 0
    zero = Gains({1: (values == 1).float()})
    assert (changed - plain).abs().max() > 1e-2
    assert (changed - packed.next_logits(rows, zero)).abs().max() > 1e-2


def test_weights_are_not_edited(packed):
    before = packed.decoder.fingerprint()
    with pytest.raises(ValueError, match=REFUSED), packed.decoder.scaled({0: (torch.tensor([0]), 0.5)}):
        pass
    some = NeuronSet(neurons=np.array([3, 50]), layers=packed.info.layers, width=packed.info.width, emotion="anger")
    with pytest.raises(ValueError, match=REFUSED), edited(packed, deactivate(some)):
        pass
    assert packed.decoder.fingerprint() == before


def test_every_proof_passes_or_says_why_it_did_not_run(packed):
    proofs = {proof.name: proof for proof in check_model(packed)}
    for name in ("gain by hook equals column edit", "weights restored bit for bit"):
        proof = proofs.pop(name)
        assert (proof.status, proof.note) == ("not run", "quantised weights cannot be edited")
    came = proofs.pop("all weights came from the files")
    assert came.status == "not run"
    assert "not all could be compared: 42 quantised; 59 tensors compared" in came.note
    assert {proof.status for proof in proofs.values()} == {"passed"}, proofs


def test_the_fingerprint_sees_one_bit(packed):
    weight = packed.decoder.sites[2].down.weight
    before = packed.decoder.fingerprint()
    weight.data[0, 0] ^= 1
    changed = packed.decoder.fingerprint()
    weight.data[0, 0] ^= 1
    assert changed != before == packed.decoder.fingerprint()


def test_how_a_model_was_loaded_is_part_of_what_its_answers_are_known_by(packed, same, own_folder):
    study = Study()
    keys = [
        answer_key(study, packed)["model"][1:],
        answer_key(study, same)["model"][1:],
        answer_key(study, load_model(own_folder, attention="eager"))["model"][1:],
        answer_key(Study(model=Model(device_map="auto")), same)["model"][1:],
    ]
    assert len({str(key) for key in keys}) == 4


def test_a_study_says_how_its_model_is_loaded(own_folder, tmp_path):
    from emoscope.experiments.stages import load
    from emoscope.runs import Log

    study = parse_study(f'[model]\nid = "{own_folder}"\nattention = "eager"\ndtype = "bfloat16"\ndevice_map = "cpu"')
    info = load(study.model, Log("quiet", tmp_path / "log.jsonl")).info
    assert (info.attention, info.dtype, info.quantised) == ("eager", "bfloat16", None)
    with pytest.raises(StudyError, match=r"model\.quantise '3bit' is not known"):
        parse_study('[model]\nquantise = "3bit"')


@pytest.mark.parametrize(
    ("how", "message"),
    [({"quantise": "2bit"}, 'quantise \'2bit\' is not known: give "8bit" or "4bit"')],
)
def test_mistakes_are_named(own_folder, how, message):
    with pytest.raises(ValueError, match=message):
        load_model(own_folder, **how)


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
@pytest.mark.filterwarnings("ignore")
def test_bitsandbytes(tmp_path, bits):
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    loaded = load_model(write_af3(tmp_path / "wide", wide=True), quantise=bits)
    assert loaded.info.quantised == f"bitsandbytes {bits}"
    proofs = {proof.name: proof for proof in check_model(loaded)}
    for name in ("gain by hook equals column edit", "weights restored bit for bit"):
        assert proofs.pop(name).note == "quantised weights cannot be edited"
    assert "quantised" in proofs.pop("all weights came from the files").note
    assert {proof.status for proof in proofs.values()} == {"passed"}, proofs
    layer, width = loaded.model.model.language_model.layers[1].mlp.down_proj, loaded.info.width
    seen = layer(torch.eye(width)).T
    assert torch.allclose(loaded.decoder.columns(1, torch.arange(width)), seen, atol=1e-6)
    np.testing.assert_allclose(loaded.decoder.down_norms()[1], seen.norm(dim=0), rtol=1e-5)


def test_spread_over_devices(own_folder, rows, packed):
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    spread, plain = load_model(own_folder, device_map="auto"), load_model(own_folder)
    assert torch.equal(spread.next_logits(rows), plain.next_logits(rows))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("package", ["torchao", "optimum.quanto"])
def test_models_that_other_libraries_packed_are_wrapped(tmp_path, package):
    library = pytest.importorskip(package, reason=f"{package} is not installed")
    import transformers

    if package == "torchao":
        from torchao.quantization import Int8WeightOnlyConfig

        how = transformers.TorchAoConfig(Int8WeightOnlyConfig())
    else:
        how = transformers.QuantoConfig(weights="int8")
    folder = write_af3(tmp_path / "wide", wide=True)
    module = transformers.AudioFlamingo3ForConditionalGeneration.from_pretrained(folder, quantization_config=how)
    wrapped = wrap(module, transformers.AudioFlamingo3Processor.from_pretrained(folder))
    assert library.__name__.endswith(wrapped.info.quantised)
    statuses = {proof.name: proof.status for proof in check_model(wrapped)}
    editing = {"gain by hook equals column edit", "weights restored bit for bit", "all weights came from the files"}
    assert {name for name, status in statuses.items() if status != "passed"} == editing
