"""A tiny random Audio Flamingo 3 checkpoint, loaded once, and clips of mixed length."""

from __future__ import annotations

import numpy as np
import pytest

from emoscope.models.audio_lm import AudioLM, Prepared, Request
from emoscope.models.registry import load_model
from tests.helpers.noise import close_logits
from tests.helpers.threads import one_thread
from tests.helpers.tiny_families import write_af3

__all__ = ["one_thread"]

TEXT = "Which emotion does the speaker express? (A) anger (B) fear (C) neutral"
SECONDS = (0.5, 2.4, 1.0, 0.8)
"""The encoder's window is 1 s: one clip needs three windows."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return write_af3(tmp_path_factory.mktemp("af3") / "tiny", card=CARD)


CARD = {
    "recommended_budget": 0.05,
    "trained_on": [{"corpus": "polish", "where": {"take": [1, 2]}}],
    "trained_speakers": ["m1", "m2"],
}


@pytest.fixture(scope="session")
def model(folder) -> AudioLM:
    return load_model(folder)


@pytest.fixture(scope="session")
def valueless(folder) -> AudioLM:
    """The same model on the meta device, whose tensors have shapes and no values: whatever reads one there fails.

    With eager attention, as the masks of the other kind look at a value in each pass.
    """
    loaded = load_model(folder, attention="eager")
    return type(loaded)(loaded.model.to("meta"), loaded.processor, "valueless", "")


def sound(seconds: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.05, int(seconds * 16_000)).astype(np.float32)


@pytest.fixture(scope="session")
def requests_() -> list[Request]:
    texts = [TEXT, TEXT + " Listen well.", TEXT, "Say A or B."]
    return [
        Request(sound(seconds, i), text, ("A", "B", "C"))
        for i, (seconds, text) in enumerate(zip(SECONDS, texts, strict=True))
    ]


@pytest.fixture(scope="session")
def prepared(model, requests_) -> list[Prepared]:
    return model.prepare(requests_)


@pytest.fixture(scope="session")
def close(model, requests_) -> float:
    """Largest difference of logits that counts as rounding."""
    return close_logits(model, requests_)


@pytest.fixture(autouse=True)
def weights_stay(model):
    """No test may leave the shared model changed or hooked."""
    before = model.decoder.fingerprint()
    yield
    assert model.decoder.fingerprint() == before
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.model.modules())
