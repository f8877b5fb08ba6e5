"""Loading, and the errors of loading."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch

from emoscope.models.checkpoint import scan_weights
from emoscope.models.families import built_in, list_models
from emoscope.models.registry import load_model, module_checksum, wrap
from tests.helpers.tiny_families import HIDDEN, LAYERS, WIDTH, write_af3
from tests.models.conftest import CARD


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_info_tells_what_was_loaded(folder, model):
    info = model.info
    assert (info.family, info.layers, info.width, info.hidden) == ("audioflamingo3", LAYERS, WIDTH, HIDDEN)
    assert info.vocab == len(model.tokenizer)
    assert (info.dtype, info.device, info.padding_side, info.site) == ("float32", "cpu", "left", "gate")
    assert info.id == str(folder)
    assert info.recommended_budget == 0.05
    assert list(info.trained_on) == CARD["trained_on"]
    assert list(info.trained_speakers) == CARD["trained_speakers"]


def test_dtype(folder, tmp_path, model):
    assert load_model(folder, dtype="bfloat16").info.dtype == "bfloat16"
    stored = write_af3(tmp_path / "half", dtype=torch.bfloat16)
    assert load_model(stored).info.dtype == "float32"
    with pytest.raises(ValueError, match="dtype 'int8' is not known"):
        load_model(folder, dtype="int8")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", "cuda"])
def test_a_device_that_is_not_there(folder, device):
    if device == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(ValueError, match=f'device \'{device}\' cannot be used.*give "auto", "cpu" or "cuda"'):
        load_model(folder, device=device)


def test_wrap_takes_a_loaded_model(model, prepared):
    wrapped = wrap(model.model, model.processor, id="mine")
    assert wrapped.info.id == "mine"
    assert wrapped.info.recommended_budget == 0.005
    assert len(wrapped.info.checksum) == 64
    assert torch.equal(wrapped.next_logits(prepared), model.next_logits(prepared))


def test_wrap_says_what_to_give_in_place_of_what_is_no_model_and_processor(model):
    good, processor = model.model, model.processor
    adapted = torch.nn.Linear(2, 2)
    adapted.peft_config = {}  # as peft and transformers mark a model with adapters
    for given, words in (
        ((good, processor.tokenizer), "a tokenizer is given where the processor of the model belongs"),
        ((good, processor.feature_extractor), "a WhisperFeatureExtractor is given where the processor"),
        ((good, None), "where the processor of the model belongs"),
        ((processor, good), "model and processor are swapped"),
        ((good, good), "two models are given"),
        (("name", processor), r"load_model\('name'\) loads it"),
        ((torch.nn.DataParallel(good), processor), r"DataParallel: give the model inside it, model\.module"),
        ((adapted, processor), r"merge_and_unload"),
        ((torch.nn.Linear(2, 2), processor), "a Linear has no configuration of transformers"),
        ((good, SimpleNamespace(tokenizer=processor.tokenizer, feature_extractor=None)), "cannot be asked"),
    ):
        with pytest.raises(ValueError, match=words):
            wrap(*given)


@pytest.mark.long
def test_wrap_refuses_a_compiled_model(model):
    with pytest.raises(ValueError, match=r"compiled by torch\.compile.*model\._orig_mod"):
        wrap(torch.compile(model.model), model.processor)
    in_place = torch.nn.Linear(2, 2)
    in_place.compile()
    with pytest.raises(ValueError, match="compiled in place"):
        wrap(in_place, model.processor)


@pytest.mark.parametrize("attention", ["flash_attention_2", "nothing", "owner/kernels"])
def test_an_attention_that_is_not_there(folder, attention):
    if attention == "flash_attention_2" and find_spec("flash_attn"):
        pytest.skip("this machine has it")
    with pytest.raises(ValueError, match=f"attention '{attention}'.*give sdpa"):
        load_model(folder, attention=attention)


def test_an_unknown_family_names_the_known_ones(copy, model):
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "whisper"}))
    with pytest.raises(ValueError, match=r"model_type 'whisper'.*known are audioflamingo3"):
        load_model(copy)
    assert "audioflamingo3" in list_models()
    assert list(list_models()) == sorted(built_in())


def test_pickled_weights_are_never_read(copy):
    for file in copy.glob("*.safetensors"):
        file.unlink()
    torch.save({}, copy / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"holds no \.safetensors weights"):
        load_model(copy)


def test_missing_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no folder here"):
        load_model(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="is no folder here"):
        load_model("just-a-name")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no config\.json"):
        load_model(tmp_path / "empty")


def test_a_hub_name_out_of_reach_says_so(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="could not be fetched from the hub"):
        load_model("nobody/no-such-model")


def test_broken_config(copy):
    (copy / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not valid JSON"):
        load_model(copy)


def test_checksum_is_of_the_content_and_remembered(copy, monkeypatch, tmp_path):
    first = scan_weights(copy)[0]
    digest = hashlib.sha256()
    about = ("emoscope.json", "training.json", "README.md")
    for file in sorted(file for file in copy.iterdir() if file.name not in about):
        digest.update(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    assert first == digest.hexdigest()
    # remembered: a planted value is believed as long as path, size and times are the same
    cache = tmp_path / "cache" / "emoscope" / "shards.json"
    cache.parent.mkdir(parents=True, exist_ok=True)
    files = [(file.resolve(), file.stat()) for file in copy.glob("*.safetensors")]
    planted = {str(f): [["0" * 64, []], stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for f, stat in files}
    cache.write_text(json.dumps(planted))
    assert scan_weights(copy)[0] != first
    for file in copy.glob("*.safetensors"):
        os.utime(file, ns=(1, 1))
    assert scan_weights(copy)[0] == first
    cache.write_text("broken")
    assert scan_weights(copy)[0] == first
    data = bytearray(next(iter(copy.glob("*.safetensors"))).read_bytes())
    data[-1] ^= 1
    next(iter(copy.glob("*.safetensors"))).write_bytes(bytes(data))
    assert scan_weights(copy)[0] != first


@pytest.mark.parametrize(
    "name",
    ["chat_template.jinja", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
     "processor_config.json", "preprocessor_config.json", "merges.txt", "spiece.model"],
)  # fmt: skip
def test_checksum_covers_what_changes_the_answers(copy, name):
    before = scan_weights(copy)[0]
    path = copy / name
    path.write_bytes((path.read_bytes() if path.exists() else b"") + b" ")
    assert scan_weights(copy)[0] != before


@pytest.mark.parametrize("name", ["emoscope.json", "training.json", "README.md", "README.txt", "code.py"])
def test_checksum_leaves_out_what_changes_no_answer(copy, name):
    before = scan_weights(copy)[0]
    (copy / name).write_text("{} ")
    assert scan_weights(copy)[0] == before


def test_checksum_without_a_writable_cache(copy, monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert len(scan_weights(copy)[0]) == 64


def test_wrapped_checksum_sees_one_bit(model):
    before = module_checksum(model.model)
    weight = model.decoder.sites[0].down.weight
    old = weight[0, 0].item()
    with torch.no_grad():
        weight[0, 0] = torch.nextafter(torch.tensor(old), torch.tensor(100.0))
    changed = module_checksum(model.model)
    with torch.no_grad():
        weight[0, 0] = old
    assert changed != before == module_checksum(model.model)
