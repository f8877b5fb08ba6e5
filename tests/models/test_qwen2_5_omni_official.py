"""Parity with the official processor of Qwen2.5-Omni, which needs torchvision and pillow; skipped without them.

Where torchvision does not fit torch, run with ``-p tests.helpers.torchvision_operators``.
"""

from __future__ import annotations

import pytest
import torch

from emoscope.models.audio_lm import Request
from emoscope.models.families.whisper import SILENCE
from emoscope.models.registry import load_model, wrap
from tests.helpers.noise import close_logits
from tests.helpers.tiny_families import write_qwen2_5_omni
from tests.models.family_checks import QUESTION, FamilyChecks, sound

pytest.importorskip("torchvision")
pytest.importorskip("PIL")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_qwen2_5_omni(tmp_path_factory.mktemp("omni") / "tiny")


@pytest.fixture(scope="module")
def model(folder):
    return load_model(folder)


def test_ids_features_positions_and_logits_equal_the_official_ones(folder, model):
    from transformers import Qwen2_5OmniProcessor

    processor = Qwen2_5OmniProcessor.from_pretrained(folder)
    requests = [Request(sound(seconds, i), QUESTION, ("A",)) for i, seconds in enumerate(FamilyChecks.seconds)]
    chats = [
        [{"role": "user", "content": [{"type": "audio", "audio": "-"}, {"type": "text", "text": request.text}]}]
        for request in requests
    ]
    texts = [processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) for chat in chats]
    texts = [text[0] if isinstance(text, list) else text for text in texts]
    clips = [request.audio for request in requests]
    inputs = dict(processor(text=texts, audio=clips, padding=True, return_tensors="pt"))

    rows = model.prepare(requests)
    features, mask = model._features(clips, max(len(clip) for clip in clips) + SILENCE)
    for i, row in enumerate(rows):
        ids = model.tokens(requests[i].text, int((row.scopes == 0).sum()))
        own = inputs["input_ids"][i, inputs["attention_mask"][i].bool()]
        assert ids == own.tolist()
        frames = int(mask[i].sum())
        assert frames == int(inputs["feature_attention_mask"][i].sum())
        assert torch.equal(features[i, :, :frames], inputs["input_features"][i, :, :frames])
    with torch.inference_mode():
        official = model.model(**inputs).logits[:, -1]
    difference = float((model.next_logits(rows) - official).abs().max())
    print(f"official processor: largest difference of logits {difference:.2g}")
    assert difference < close_logits(model, requests)
    # a model that the user has loaded with its official processor
    wrapped = wrap(model.model, processor, id="mine")
    assert torch.equal(wrapped.next_logits(wrapped.prepare(requests)), model.next_logits(rows))
