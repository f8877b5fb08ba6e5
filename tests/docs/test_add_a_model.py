"""The worked example of docs/add-a-model.md is a whole family: it loads, and passes every proof."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from emoscope.models import families as known_families
from emoscope.models.audio_lm import Request
from emoscope.models.check import check_model
from emoscope.models.registry import load_model, wrap
from tests.helpers.noise import close_logits
from tests.helpers.tiny_qwen3_asr import LAYERS, WIDTH, write_checkpoint

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
    folder = write_checkpoint(tmp_path / "tiny")
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

    model = load_model(write_checkpoint(tmp_path / "tiny"))
    careless = Careless(model.model, model.processor, "careless", "")
    proofs = {proof.name: proof for proof in check_model(careless)}
    assert proofs["cached audio equals the full forward"].measured > 10 * close_logits(model, REQUESTS)


def test_an_unknown_family_is_told_of_the_page(families, tmp_path):
    folder = write_checkpoint(tmp_path / "tiny")
    with pytest.raises(ValueError, match=r"model_type 'qwen3_asr'.*known are .*audioflamingo3.*docs/add-a-model\.md"):
        load_model(folder)
    assert PAGE.is_file()
