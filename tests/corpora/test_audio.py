from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from emoscope.corpora.audio import (
    CLICKS,
    INTEGERS,
    RATE,
    RUMBLE,
    AudioError,
    checksum,
    hear,
    load_audio,
    prepare_samples,
    settle,
)
from emoscope.corpora.sources import BLOCK


def test_any_rate_and_channel_count_becomes_mono_16k(tmp_path: Path) -> None:
    time = np.arange(44_100) / 44_100
    tone = 0.2 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(tmp_path / "tone.wav", np.stack([tone, tone], axis=1), 44_100)
    samples = load_audio(tmp_path / "tone.wav", loudness="as recorded")
    assert (samples.dtype, samples.shape) == (np.float32, (RATE,))
    spectrum = np.abs(np.fft.rfft(samples))
    assert abs(int(spectrum.argmax()) - 440) <= 1
    assert abs(float(np.abs(samples).max()) - 0.2) < 0.01


KINDS = [
    ("a.wav", "PCM_U8", 0.02), ("a.wav", "PCM_16", 1e-3), ("a.wav", "PCM_24", 1e-3), ("a.wav", "PCM_32", 1e-3),
    ("a.wav", "FLOAT", 1e-3), ("a.wav", "DOUBLE", 1e-3), ("a.flac", "PCM_S8", 0.02), ("a.flac", "PCM_16", 1e-3),
    ("a.flac", "PCM_24", 1e-3), ("a.ogg", "VORBIS", 0.03), ("a.mp3", "MPEG_LAYER_III", 0.03), ("a.aiff", "PCM_16", 1e-3),
]  # fmt: skip


@pytest.mark.parametrize(("name", "subtype", "tolerance"), KINDS)
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_rate_depth_and_channel_count_gives_the_same_signal(
    tmp_path: Path, name: str, subtype: str, tolerance: float, rate: int, channels: int
) -> None:
    def signal(rate: int) -> np.ndarray:
        # a chord below 1 kHz that swells and fades, so that neither edges nor the 8 kHz band matter
        time = np.arange(rate) / rate
        chord = sum(np.sin(2 * np.pi * pitch * time) for pitch in (220.0, 330.0, 707.0))
        return 0.15 * chord * np.sin(np.pi * time) ** 2

    soundfile.write(tmp_path / name, np.tile(signal(rate)[:, None], channels), rate, subtype=subtype)
    heard, wanted = load_audio(tmp_path / name, "as recorded"), signal(RATE)
    assert abs(len(heard) - RATE) <= 2
    shortest = min(len(heard), RATE)
    difference = np.abs(heard[:shortest] - wanted[:shortest])
    assert difference.max() < tolerance


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
@pytest.mark.parametrize("part", [0.5, 0.8])
def test_a_file_that_is_cut_off_is_not_taken_for_a_short_one(tmp_path: Path, name: str, part: float) -> None:
    time = np.arange(2 * RATE) / RATE
    soundfile.write(tmp_path / name, 0.2 * np.sin(2 * np.pi * 440 * time), RATE)
    whole = (tmp_path / name).read_bytes()
    assert len(load_audio(tmp_path / name)) == 2 * RATE
    (tmp_path / name).write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(AudioError, match=r"cut off|damaged"):
        load_audio(tmp_path / name)


def test_a_wav_written_to_a_pipe_has_no_length_and_is_read_whole(tmp_path: Path, sound) -> None:
    content = bytearray(sound(tmp_path / "a.wav", seconds=0.5).read_bytes())
    for size in (0xFFFFFFFF, 0x7FFFFFFF + 0x800):
        content[content.index(b"data") + 4 : content.index(b"data") + 8] = size.to_bytes(4, "little")
        (tmp_path / "a.wav").write_bytes(bytes(content))
        assert len(load_audio(tmp_path / "a.wav")) == RATE // 2


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
        prepare_samples(samples)
    assert reason in caught.value.reason


def test_a_missing_file(tmp_path: Path) -> None:
    for read in (load_audio, checksum):
        with pytest.raises(AudioError, match="file not found"):
            read(tmp_path / "no.wav")


def test_checksum_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert checksum(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()


def test_a_long_clip_is_in_memory_once(tmp_path: Path) -> None:
    with soundfile.SoundFile(tmp_path / "long.wav", "w", 8_000, 2) as file:
        minute = np.random.default_rng(0).normal(0, 0.1, (8_000 * 60, 2))
        for _ in range(10):
            file.write(minute)
    tracemalloc.start()
    samples = load_audio(tmp_path / "long.wav")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(samples) == 600 * RATE
    # the result itself, and less than half as much again for the blocks
    assert peak < 1.5 * samples.nbytes


@pytest.mark.parametrize("rate", [RATE, 44_100])
def test_blocks_join_without_a_seam(tmp_path: Path, rate: int) -> None:
    # long enough for several blocks; soxr resamples it at once here
    sound = np.random.default_rng(0).normal(0, 0.1, 2 * BLOCK + 12_345).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", sound, rate, subtype="FLOAT")
    whole = sound if rate == RATE else soxr.resample(sound, rate, RATE, quality="HQ")
    assert np.array_equal(load_audio(tmp_path / "a.wav", "as recorded"), np.clip(whole, -1, 1))


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
