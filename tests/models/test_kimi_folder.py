"""The folder of Kimi-Audio: how it is recognised, its parts inside and beside it, what is wrong with it."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

pytest.importorskip("tiktoken", reason="skipped: the package tiktoken is not installed (the extra kimi)")

from emoscope.models.audio_lm import Request
from emoscope.models.lookup import look_up
from emoscope.models.registry import load_model
from tests.helpers.tiny_families import LAYERS
from tests.helpers.tiny_kimi import TEXT_TOKENS, TOKENIZER, write_kimi
from tests.models.family_checks import QUESTION, sound


@pytest.fixture
def copy(tmp_path):
    return write_kimi(tmp_path / "copy")


ONE = [Request(sound(0.5), QUESTION, ("A", "B"))]


def test_recognised_with_and_without_model_type(copy):
    config = json.loads((copy / "config.json").read_text())
    assert "model_type" not in config
    without = load_model(copy)
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "kimi_audio"}))
    assert load_model(copy).info.family == without.info.family == "kimi_audio"
    assert (look_up(str(copy)).layers, look_up(str(copy)).family.model_type) == (LAYERS, "kimi_audio")


def test_neither_code_nor_pickles_are_read(copy, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a pickle was opened")

    monkeypatch.setattr(torch, "load", refuse)
    assert any(copy.rglob("*.pt"))
    assert any(copy.glob("*.py"))
    load_model(copy).generate(load_model(copy).prepare(ONE), max_new_tokens=1)


@pytest.mark.parametrize("place", ["beside", "inside", "named"])
def test_the_speech_tokenizer_is_found(copy, tmp_path, place):
    expected = load_model(copy).prepare(ONE)[0].embeddings
    side = None
    if place == "inside":
        shutil.move(tmp_path / TOKENIZER, copy / TOKENIZER)
    elif place == "named":
        side = {"audio_tokenizer": shutil.move(tmp_path / TOKENIZER, tmp_path / "elsewhere")}
    assert torch.equal(load_model(copy, side=side).prepare(ONE)[0].embeddings, expected)
    assert look_up(str(copy), side).checksum == load_model(copy, side=side).info.checksum


def test_without_the_speech_tokenizer_the_error_says_how_to_give_it(copy, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    shutil.rmtree(tmp_path / TOKENIZER)
    with pytest.raises(FileNotFoundError, match=r"zai-org/glm-4-voice-tokenizer.*side = \{ audio_tokenizer = "):
        load_model(copy)
    with pytest.raises(ValueError, match="side 'tokenizer' is none of model"):
        load_model(copy, side={"tokenizer": tmp_path})


@pytest.mark.parametrize("part", [f"../{TOKENIZER}", "whisper-large-v3"])
def test_the_checksum_covers_all_parts(copy, part):
    before = load_model(copy).info.checksum
    assert look_up(str(copy)).checksum == before
    config = copy / part / "config.json"
    config.write_text(config.read_text() + " ")
    assert load_model(copy).info.checksum == look_up(str(copy)).checksum != before


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("whisper-large-v3/config.json", "lacks the folder whisper-large-v3"),
        ("tiktoken.model", r"holds no tokenizer \(none of .*tiktoken\.model"),
        ("model-2-of-6.safetensors", r"lacks model-2-of-6\.safetensors, one of 7 shards"),
        ("model.safetensors.index.json", r"neither model\.safetensors nor model\.safetensors\.index\.json"),
    ],
)
def test_missing_files_are_named(copy, name, error):
    (copy / name).unlink()
    with pytest.raises(FileNotFoundError, match=error):
        load_model(copy)


def test_weights_that_are_missing_or_unknown_are_named(copy):
    from safetensors.torch import load_file, save_file

    shard = copy / "model-6-of-6.safetensors"
    tensors = load_file(shard)
    save_file({**tensors, "model.vq_adaptor.layers.9.weight": torch.ones(1)}, shard)
    with pytest.raises(ValueError, match=r"unexpected model\.vq_adaptor\.layers\.9\.weight"):
        load_model(copy)
    save_file({name: tensor for name, tensor in tensors.items() if "layers.4" not in name}, shard)
    with pytest.raises(ValueError, match=r"missing model\.vq_adaptor\.layers\.4\.bias, model\.vq"):
        load_model(copy)


@pytest.mark.parametrize(
    ("entry", "value", "error"),
    [
        ("rope_theta", None, "has no rope_theta: it is no Kimi-Audio model"),
        ("kimia_token_offset", None, "has no kimia_token_offset"),
        ("use_whisper_feature", False, "takes no Whisper features"),
        ("kimia_adaptor_input_dim", 60, "Whisper gives 64 features, 60 are taken"),
        ("kimia_token_offset", TEXT_TOKENS + 1, "codes from .* on do not fit a vocabulary"),
        ("kimia_text_output_vocab", 300, "the text vocabulary 300"),
    ],
)
def test_a_config_that_does_not_fit(copy, entry, value, error):
    config = json.loads((copy / "config.json").read_text())
    config[entry] = value
    if value is None:
        del config[entry]
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=error):
        load_model(copy)
