from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from emoscope.corpora import AudioError
from emoscope.corpora.audio import CLICKS, INTEGERS, RUMBLE, hear, prepare_samples, settle

RATE = 16_000
TIME = np.arange(2 * RATE) / RATE
VOICE = (0.1 * np.sin(2 * np.pi * 180 * TIME) * np.sin(np.pi * TIME / 2) ** 2).astype(np.float32)


def decibels(heard: np.ndarray, what: np.ndarray) -> float:
    """How far the level of a known sound within a clip is from 0.05."""
    size = float(heard.astype(float) @ what) / float(what.astype(float) @ what)
    return 20 * np.log10(abs(size) * float(np.sqrt(np.mean(what.astype(float) ** 2))) / 0.05)


@pytest.mark.parametrize("below", [0.5 + 0 * TIME, 0.3 * np.sin(2 * np.pi * 9 * TIME), 0.2 * TIME, -0.01 + 0 * TIME])
@pytest.mark.parametrize("loud", [1.0, 0.05])
def test_what_is_no_sound_does_not_count_as_level(below: np.ndarray, loud: float) -> None:
    clip = (loud * VOICE + below).astype(np.float32)
    told = settle(clip, "normalised")
    assert abs(decibels(clip, VOICE)) < 0.5
    assert told in ([], [RUMBLE])


def test_an_offset_alone_is_silence() -> None:
    with pytest.raises(AudioError, match="silent"):
        prepare_samples(np.full(RATE, 0.3))


def test_an_ordinary_clip_gets_one_gain_and_nothing_else() -> None:
    slight = VOICE + np.float32(0.005)
    gain = 0.05 / np.sqrt(np.sum(np.square(slight, dtype=np.float64)) / len(slight))
    assert np.array_equal(prepare_samples(slight), np.multiply(slight, gain).astype(np.float32))


def test_a_click_does_not_stand_for_the_level(tmp_path: Path) -> None:
    click = 0.02 * VOICE
    click[100] = 1.0
    soundfile.write(tmp_path / "a.wav", click, RATE, subtype="FLOAT")
    heard = hear(tmp_path / "a.wav")
    assert heard.told == (CLICKS,)
    assert abs(decibels(heard.samples, VOICE)) < 0.5
    nothing = np.zeros(2 * RATE, dtype=np.float32)
    nothing[[100, 5000]] = 1.0
    with pytest.raises(AudioError, match="silent but for clicks"):
        prepare_samples(nothing + 1e-6)


def test_what_resampling_takes_away_does_not_count(tmp_path: Path) -> None:
    time = np.arange(96_000) / 96_000
    whistle = 0.5 * np.sin(2 * np.pi * 20_000 * time)
    soundfile.write(tmp_path / "a.wav", whistle + 0.01 * np.sin(2 * np.pi * 300 * time), 96_000, subtype="PCM_24")
    assert abs(float(np.std(hear(tmp_path / "a.wav").samples)) - 0.05) < 0.003
    soundfile.write(tmp_path / "b.wav", whistle, 96_000, subtype="PCM_24")
    # 10 ms where the whistle begins and ends are a click
    with pytest.raises(AudioError, match="silent"):
        hear(tmp_path / "b.wav")


def test_integers_in_a_file_of_floats_have_their_own_full_scale(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", 32768 * VOICE, RATE, subtype="FLOAT")
    heard = hear(tmp_path / "a.wav", "as recorded")
    assert heard.told == (INTEGERS,)
    assert np.abs(heard.samples - VOICE).max() < 1e-6
    assert hear(tmp_path / "a.wav").told == ()


@pytest.mark.parametrize(("second", "alone"), [(-1.0, True), (-0.98, True), (-0.3, True), (-0.05, False), (0.5, False)])
def test_channels_that_cancel_are_not_mixed(tmp_path: Path, second: float, alone: bool) -> None:
    for channels in ([VOICE, second * VOICE], [second * VOICE, VOICE], [VOICE, second * VOICE, 0 * VOICE]):
        soundfile.write(tmp_path / "a.wav", np.stack(channels, axis=1), RATE)
        heard = hear(tmp_path / "a.wav")
        assert abs(decibels(heard.samples, VOICE)) < 0.5
        louder = 1 + int(np.argmax([np.abs(one).max() for one in channels]))
        said = f"its channels cancel each other: channel {louder}, the louder one, is heard alone"
        assert heard.told == ((said,) if alone else ())


def test_channels_of_noise_are_mixed(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, (RATE, 6)), RATE)
    assert hear(tmp_path / "a.wav").told == ()


@settings(max_examples=25)
@given(
    seed=st.integers(0, 99), offset=st.sampled_from([0, 0.01, 0.4]), hum=st.sampled_from([0, 0.01, 0.5]),
    clicks=st.integers(0, 3), quiet=st.sampled_from([1, 0.01, 0.001]),
)  # fmt: skip
def test_every_accepted_clip_has_the_level(seed: int, offset: float, hum: float, clicks: int, quiet: float) -> None:
    rng = np.random.default_rng(seed)
    clip = quiet * rng.normal(0, 0.1, RATE) + offset + hum * np.sin(2 * np.pi * 12 * TIME[:RATE])
    clip[rng.integers(0, RATE, clicks)] = 1.0
    heard = prepare_samples(clip).astype(float)
    assert abs(20 * np.log10(np.sqrt(np.mean(heard**2)) / 0.05)) < 0.5
    assert np.abs(heard).max() <= 1
