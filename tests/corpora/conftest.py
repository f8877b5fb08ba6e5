from __future__ import annotations

import itertools
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

Sound = Callable[..., Path]


@pytest.fixture
def sound() -> Sound:
    """Writes a short real sound file of noise; the same seed, or name, gives the same content."""

    def write(path: Path, seconds: float = 0.2, rate: int = 16_000, channels: int = 1, seed: int | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(zlib.crc32(path.name.encode()) if seed is None else seed)
        soundfile.write(path, 0.1 * noise.standard_normal((round(seconds * rate), channels)), rate)
        return path

    return write


@pytest.fixture
def real_data() -> Path:
    folder = os.environ.get("EMOSCOPE_DATA")
    if not folder:
        pytest.skip("skipped: EMOSCOPE_DATA not set")
    return Path(folder)


@pytest.fixture
def film() -> Sound:
    """Writes a short real mp4 file: 48 kHz AAC of a 440 Hz tone, and a few pictures."""
    av = pytest.importorskip("av", reason="skipped: PyAV (extra video) is not installed")
    numbers = itertools.count()

    def write(path: Path, seconds: float = 0.3, channels: int = 2, sound: bool = True, pitch: float = 440) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        layout = {1: "mono", 2: "stereo", 6: "5.1"}[channels]
        with av.open(str(path), "w", format="mp4") as container:
            pictures = container.add_stream("mpeg4", rate=25)
            pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
            track = container.add_stream("aac", rate=48_000, layout=layout) if sound else None
            for _ in range(max(1, round(25 * seconds))):
                frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                container.mux(pictures.encode(frame))
            container.mux(pictures.encode())
            if track is not None:
                level = 0.3 / (1 + next(numbers) / 10)  # no two films are the same recording
                tone = level * np.sin(2 * np.pi * pitch * np.arange(round(48_000 * seconds)) / 48_000)
                frame = av.AudioFrame.from_ndarray(
                    np.tile(tone.astype(np.float32), (channels, 1)), format="fltp", layout=layout
                )
                frame.rate = 48_000
                container.mux(track.encode(frame))
                container.mux(track.encode())
        return path

    return write
