from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from emoscope.corpora.audio import RATE, AudioError, hear, load_audio

TONE = 0.2 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.aiff"])
def test_header_facts_of_a_sound_file(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / name, np.stack([TONE, TONE], axis=1), RATE)
    heard = hear(tmp_path / name)
    assert (heard.duration_s, heard.rate, heard.channels, heard.told) == (2.0, RATE, 2, ())


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.aiff"])
@pytest.mark.parametrize("part", [0.05, 0.3, 0.5, 0.8])
def test_a_file_that_is_cut_off_is_found_as_by_decoding_it(tmp_path: Path, name: str, part: float) -> None:
    soundfile.write(tmp_path / name, TONE, RATE)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(part * len(whole))])
    try:
        load_audio(tmp_path / name)
        reason = None
    except AudioError as error:
        reason = error.reason
    # aiff has no promise that emoscope reads; all others must be found
    assert reason or name == "a.aiff"
    if reason:
        with pytest.raises(AudioError) as caught:
            hear(tmp_path / name)
        assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("samples", "subtype", "said"),
    [
        (np.zeros(RATE), "PCM_16", "silent"), (np.full(RATE, 5e-5), "FLOAT", "silent"), (TONE[:160], "PCM_16", "too short"),
        (np.append(TONE, np.nan), "FLOAT", "not numbers"), (np.append(np.inf, TONE), "DOUBLE", "not numbers"),
    ],
)  # fmt: skip
def test_unusable_sound_is_found_without_decoding_all_files(
    tmp_path: Path, samples: np.ndarray, subtype: str, said: str
) -> None:
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype=subtype)
    with pytest.raises(AudioError, match=said):
        hear(tmp_path / "a.wav")


def test_sound_after_a_long_silence_is_sound(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.concatenate([np.zeros(3 * RATE), TONE]), RATE)
    assert hear(tmp_path / "a.flac").duration_s == 5.0


def test_what_is_no_sound_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"no sound at all" * 9)
    (tmp_path / "empty.wav").touch()
    for name, said in (("a.wav", "not readable as audio"), ("empty.wav", "file is empty"), ("no.wav", "not found")):
        with pytest.raises(AudioError, match=said):
            hear(tmp_path / name)
