from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emoscope.corpora.audio import RATE, AudioError, checksum, load_audio, prepare_samples


def test_any_rate_and_channel_count_becomes_mono_16k(tmp_path: Path) -> None:
    time = np.arange(44_100) / 44_100
    tone = 0.2 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(tmp_path / "tone.wav", np.stack([tone, tone], axis=1), 44_100)
    samples = load_audio(tmp_path / "tone.wav", loudness="as recorded")
    assert (samples.dtype, samples.shape) == (np.float32, (RATE,))
    spectrum = np.abs(np.fft.rfft(samples))
    assert abs(int(spectrum.argmax()) - 440) <= 1
    assert abs(float(np.abs(samples).max()) - 0.2) < 0.01


def test_loudness(tmp_path: Path, sound) -> None:
    path = sound(tmp_path / "a.wav")
    assert abs(float(np.sqrt(np.mean(load_audio(path) ** 2))) - 0.05) < 1e-5
    assert abs(float(np.sqrt(np.mean(load_audio(path, "as recorded") ** 2))) - 0.1) < 0.01
    with pytest.raises(ValueError, match="loudness 'normalized' is not known"):
        load_audio(path, "normalized")


def test_nothing_is_trimmed() -> None:
    quiet = np.zeros(RATE, dtype=np.float32)
    quiet[8000:8100] = 0.5
    assert len(prepare_samples(quiet)) == RATE


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(100), "too short"), (np.zeros(RATE), "silent"), (np.full(RATE, np.nan), "not numbers"),
        (np.full(RATE, np.inf), "not numbers"),
    ],
)  # fmt: skip
def test_unusable_samples(samples: np.ndarray, reason: str) -> None:
    with pytest.raises(AudioError, match=reason) as caught:
        prepare_samples(samples, "x.wav")
    assert caught.value.path == Path("x.wav")
    assert reason in caught.value.reason


def test_a_missing_file(tmp_path: Path) -> None:
    for read in (load_audio, checksum):
        with pytest.raises(AudioError, match="file not found"):
            read(tmp_path / "no.wav")


def test_checksum_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert checksum(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()
