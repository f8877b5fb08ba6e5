"""The worked example of docs/add-a-model.md is a whole family: it loads, and passes every proof."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from emoscope.commands import model_list
from emoscope.models import families as known_families
from emoscope.models.audio_lm import Request
from emoscope.models.check import check_model
from emoscope.models.families import built_in, known_family, list_models, of_class
from emoscope.models.lookup import look_up, model_folders
from emoscope.models.registry import load_model, wrap
from tests.helpers.noise import close_logits
from tests.helpers.tiny_families import WIDTH, write_qwen3_asr

LAYERS = 2

PAGE = Path(__file__).parents[2] / "docs" / "add-a-model.md"

REQUESTS = [
    Request(np.random.default_rng(n).normal(0, 0.05, n * 16_000).astype(np.float32), "Say A or B.", ("A", "B"))
    for n in (1, 2)
]


def example() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return block


@pytest.fixture
def families(monkeypatch):
    """Registered in this test only."""
    monkeypatch.setattr(known_families, "REGISTERED", {})


@pytest.fixture
def family(families):
    names: dict = {"__name__": "qwen3_asr_example"}
    exec(compile(example(), str(PAGE), "exec"), names)
    return names["Qwen3ASR"]


def test_the_example_is_short():
    assert len(example().splitlines()) < 80


def test_the_example_passes_every_proof(family, tmp_path):
    folder = write_qwen3_asr(tmp_path / "tiny")
    model = load_model(folder)
    assert type(model) is family
    assert (model.info.layers, model.info.width) == (LAYERS, WIDTH)
    proofs, close = check_model(model), close_logits(model, REQUESTS)
    assert {proof.status for proof in proofs} == {"passed"}, [p for p in proofs if p.status != "passed"]
    for proof in proofs:
        if "logits" in proof.note and proof.measured is not None:
            assert proof.measured < close, proof
    wrapped = wrap(model.model, model.processor, family=family)
    assert {proof.status for proof in check_model(wrapped)} == {"passed"}


def test_padding_clips_to_the_longest_of_a_batch_is_found(family, tmp_path):
    """What the example avoids, and why: the proof that compares with the official path fails."""
    import torch

    class Careless(family):
        def hear(self, clips):
            sound = self.processor.feature_extractor(
                list(clips), sampling_rate=16_000, padding=True, return_attention_mask=True
            )
            lengths = self.processor._get_audio_token_length(sound["attention_mask"].sum(-1))
            heard = self.model.get_audio_features(sound["input_features"], sound["attention_mask"]).pooler_output
            return list(torch.split(heard, [int(length) for length in lengths]))

    model = load_model(write_qwen3_asr(tmp_path / "tiny"))
    careless = Careless(model.model, model.processor, "careless", "")
    proofs = {proof.name: proof for proof in check_model(careless)}
    assert proofs["cached audio equals the full forward"].measured > 10 * close_logits(model, REQUESTS)


def test_an_unknown_family_is_told_of_the_page(families, tmp_path):
    folder = write_qwen3_asr(tmp_path / "tiny")
    with pytest.raises(ValueError, match=r"model_type 'qwen3_asr'.*known are .*audioflamingo3.*docs/add-a-model\.md"):
        load_model(folder)
    assert PAGE.is_file()


@pytest.fixture
def package(families, tmp_path, monkeypatch):
    """An installed package, as an installer leaves it: the example as a module, and the metadata that names it."""
    (tmp_path / "voices_models.py").write_text(example().replace("@register\n", "") + "\nnumber = 3\n")
    info = tmp_path / "voices_models-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: voices-models\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[emoscope.models]\nqwen3_asr = voices_models:Qwen3ASR\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield info / "entry_points.txt"
    sys.modules.pop("voices_models", None)


def test_a_family_of_an_installed_package_is_found_without_an_edit(package, tmp_path, capsys):
    folder = write_qwen3_asr(tmp_path / "tiny")
    assert "voices_models" not in sys.modules
    model = load_model(folder)
    assert type(model).__module__ == "voices_models"
    assert (model.info.family, model.info.layers) == ("qwen3_asr", LAYERS)
    assert look_up(str(folder)).checksum == model.info.checksum
    assert "qwen3_asr" in list_models()
    assert model_list() == 0
    assert "qwen3_asr" in capsys.readouterr().out


def test_what_an_installed_package_declares_is_used_as_of_emoscopes_own(package, tmp_path, monkeypatch):
    module = tmp_path / "voices_models.py"
    declared = """released = {"owner/voices-1b": (2, 40)}
    released_revision = "v2"
    architectures = ("VoicesForAsr",)
    side_checkpoints = {"codes": "owner/codes"}
    parts = ("adapter",)
    exposure = """
    module.write_text(module.read_text().replace("exposure = ", declared, 1))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="give revision 'v2'"):
        look_up("owner/voices-1b")
    card = look_up("owner/voices-1b", revision="v2")
    assert (card.layers, card.width, card.family.model_type) == (2, 40, "qwen3_asr")
    with pytest.raises(FileNotFoundError, match="did you mean 'owner/voices-1b'"):
        look_up("owner/voice-1b")
    found = known_family({"architectures": ["VoicesForAsr"]}, "voices")
    assert found.model_type == "qwen3_asr"
    assert model_folders(found, tmp_path, {}) == [tmp_path, tmp_path / "adapter"]
    with pytest.raises(FileNotFoundError, match="also needs owner/codes"):
        load_model(write_qwen3_asr(tmp_path / "tiny"))


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("voices_models:number", "family 'qwen3_asr' of voices_models:number is 3: expected a subclass of AudioLM"),
        ("voices_models:Qwen", "cannot be imported (AttributeError"),
        ("nowhere_to_be_found:Qwen", "cannot be imported (ModuleNotFoundError"),
        ("emoscope.models.families.whisper:Voxtral", "calls itself 'voxtral': give it one name"),
    ],
)
def test_an_entry_that_is_no_family_is_named(package, tmp_path, entry, told):
    package.write_text(f"[emoscope.models]\nqwen3_asr = {entry}\n")
    with pytest.raises(ValueError, match=re.escape(told)):
        load_model(write_qwen3_asr(tmp_path / "tiny"))


def test_what_is_read_from_the_text_of_a_module_is_what_its_class_declares():
    assert {name: of_class(one.load()) for name, one in built_in().items()} == built_in()
