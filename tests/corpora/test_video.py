from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from emoscope.corpora import AudioError, load_audio
from emoscope.corpora.clip import Clip, CorpusInfo
from emoscope.corpora.corpus import Corpus


def test_the_sound_of_a_video_is_heard(tmp_path: Path, film) -> None:
    path = film(tmp_path / "dia0_utt0.mp4", seconds=0.5, channels=2)
    samples = load_audio(path)
    assert samples.dtype == np.float32
    # AAC pads to whole frames of 1024 samples
    assert 0.5 <= len(samples) / 16_000 < 0.56
    assert abs(float((samples**2).mean()) ** 0.5 - 0.05) < 0.001
    spectrum = np.abs(np.fft.rfft(samples))
    assert abs(np.argmax(spectrum) / len(samples) * 16_000 - 440) < 10


def test_six_channels_are_one_voice(tmp_path: Path, film) -> None:
    path = film(tmp_path / "surround.mp4", seconds=0.5, channels=6)
    assert len(load_audio(path)) >= 8_000
    corpus = Corpus(CorpusInfo("x", "x"), (Clip("x", path, {"emotion": "anger"}),))
    facts = corpus.summary()
    assert (facts["used"], facts["sample_rates"], facts["channels"]) == (1, {"48000": 1}, {"6": 1})


def test_videos_that_cannot_be_heard_say_why(tmp_path: Path, film) -> None:
    whole = film(tmp_path / "whole.mp4", seconds=1.0)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(AudioError, match="not readable as mp4: the file is damaged"):
        load_audio(cut)
    silent = film(tmp_path / "silent.mp4", seconds=0.5, sound=False)
    with pytest.raises(AudioError, match="the video has no sound track"):
        load_audio(silent)
    short = film(tmp_path / "short.mp4", seconds=0.05)
    with pytest.raises(AudioError, match="too short"):
        load_audio(short)
    clips = [Clip(path.stem, path, {"emotion": "anger"}) for path in (whole, cut, silent, short)]
    facts = Corpus(CorpusInfo("x", "x"), tuple(clips)).summary()
    assert (facts["used"], facts["quarantined"]) == (1, 3)


def test_without_pyav_the_error_names_the_extra(tmp_path: Path, film, monkeypatch: pytest.MonkeyPatch) -> None:
    path = film(tmp_path / "a.mp4")
    # None is what Python itself puts there to say that a module cannot be imported
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=r"mp4 needs the extra video: pip install 'emoscope\[video\]', or convert"):
        load_audio(path)
    corpus = Corpus(CorpusInfo("x", "x"), (Clip("x", path, {"emotion": "anger"}),))
    assert "emoscope[video]" in corpus.summary()["unusable"][0][1]
