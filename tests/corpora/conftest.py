from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import settings

# examples that read files take longer on a busy machine; their number bounds the time
settings.register_profile("files", deadline=None)
settings.load_profile("files")

Sound = Callable[..., Path]


@pytest.fixture
def sound() -> Sound:
    """Writes a short real sound file of noise; the same seed gives the same content."""

    def write(path: Path, seconds: float = 0.2, rate: int = 16_000, channels: int = 1, seed: int | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(sum(map(ord, path.name)) if seed is None else seed)
        soundfile.write(path, 0.1 * noise.standard_normal((round(seconds * rate), channels)), rate)
        return path

    return write


@pytest.fixture
def real_data() -> Path:
    folder = os.environ.get("EMOSCOPE_DATA")
    if not folder:
        pytest.skip("skipped: EMOSCOPE_DATA not set")
    return Path(folder)
