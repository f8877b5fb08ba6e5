from __future__ import annotations

import numpy as np
import pytest

import emoscope as es
from emoscope.corpora import load_audio, polish_folder
from emoscope.models.audio_lm import Request
from emoscope.models.statistics import ScopeStatistics
from emoscope.questions import Question

CLIP = polish_folder() / "m1.a_nie_3.flac"


def test_the_mean_over_seconds_is_what_listening_stores() -> None:
    model, neurons = es.load_model("tiny"), [7, 513, 2047]
    shown = es.activations(model, CLIP, neurons, options=("anger", "fear"))
    question = Question("emotion", ("anger", "fear"))
    statistics = ScopeStatistics(model.info.layers, model.info.width, rows=1)
    model.score(model.prepare([Request(load_audio(CLIP), question.text, question.letters)]), observe=statistics)
    stored = statistics.block().means["audio"].reshape(-1)[neurons]
    np.testing.assert_allclose(shown.mean("time"), stored, atol=2e-3)
    duration = len(load_audio(CLIP)) / 16_000
    assert 0 < shown.time[0] < shown.time[-1] < duration
    assert shown.layer.values.tolist() == [0, 1, 3]


def test_neurons_that_are_not_there_are_named() -> None:
    with pytest.raises(ValueError, match="2048"):
        es.activations(es.load_model("tiny"), CLIP, [2048])
