"""Under which names the released weights of each family stand on the hub, and how long a sound each hears."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

STATUS = "verified on small random checkpoints; not run on the released weights"
"""Of every family."""


@dataclass(frozen=True)
class Released:
    """Released models of a family.

    Attributes:
        sizes: name on the hub -> decoder layers, neurons per layer.
        windows: how sound is cut and how long it may be.
        revision: where the layout of transformers is not on the main branch.
    """

    sizes: Mapping[str, tuple[int, int]]
    windows: str
    revision: str = ""

    @property
    def hub(self) -> tuple[str, ...]:
        """Names on the hub."""
        return tuple(self.sizes)


RELEASED = {
    "audioflamingo3": Released({"nvidia/audio-flamingo-3-hf": (28, 18944)}, "windows of 30 s, up to 10 min"),
    "musicflamingo": Released({"nvidia/music-flamingo-2601-hf": (28, 18944)}, "windows of 30 s, up to 20 min"),
    "qwen2_audio": Released({"Qwen/Qwen2-Audio-7B-Instruct": (32, 11008)}, "up to 30 s, encoded as 30 s"),
    "qwen2_5_omni": Released(
        {"Qwen/Qwen2.5-Omni-7B": (28, 18944), "Qwen/Qwen2.5-Omni-3B": (36, 11008)}, "blocks of 2 s, up to 5 min"
    ),
    "kimi_audio": Released(
        {"moonshotai/Kimi-Audio-7B-Instruct": (28, 18944), "moonshotai/Kimi-Audio-7B": (28, 18944)},
        "pieces of 30 s, filled with silence",
    ),
    "voxtral": Released(
        {"mistralai/Voxtral-Mini-3B-2507": (30, 8192), "mistralai/Voxtral-Small-24B-2507": (40, 32768)},
        "blocks of 30 s, filled with silence that the model hears too",
    ),
    "glmasr": Released({"zai-org/GLM-ASR-Nano-2512": (28, 6144)}, "windows of 30 s"),
    "granite_speech": Released(
        {"ibm-granite/granite-speech-3.3-8b": (40, 12800), "ibm-granite/granite-speech-3.3-2b": (40, 8192)}, "one piece"
    ),
    "phi4_multimodal": Released({"microsoft/Phi-4-multimodal-instruct": (32, 8192)}, "one piece", "refs/pr/70"),
    "gemma3n": Released(
        {"google/gemma-3n-E4B-it": (35, 16384), "google/gemma-3n-E2B-it": (30, 8192)}, "one piece of at most 30 s"
    ),
}
"""``model_type`` of a family's class -> what is released. Sizes as in each config.json, for planning without a network."""
