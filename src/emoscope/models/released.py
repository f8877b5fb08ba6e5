"""Under which names the released weights of each family stand on the hub, and how long a sound each hears."""

from __future__ import annotations

from dataclasses import dataclass

STATUS = "verified on small random checkpoints; not run on the released weights"
"""Of every family."""


@dataclass(frozen=True)
class Released:
    """Released models of a family.

    Attributes:
        hub: names on the hub.
        windows: how sound is cut and how long it may be.
        revision: where the layout of transformers is not on the main branch.
    """

    hub: tuple[str, ...]
    windows: str
    revision: str = ""


RELEASED = {
    "audioflamingo3": Released(("nvidia/audio-flamingo-3-hf",), "windows of 30 s, up to 10 min"),
    "musicflamingo": Released(("nvidia/music-flamingo-2601-hf",), "windows of 30 s, up to 20 min"),
    "qwen2_audio": Released(("Qwen/Qwen2-Audio-7B-Instruct",), "up to 30 s, encoded as 30 s"),
    "qwen2_5_omni": Released(("Qwen/Qwen2.5-Omni-7B", "Qwen/Qwen2.5-Omni-3B"), "blocks of 2 s, up to 5 min"),
    "qwen3_omni_moe": Released(("Qwen/Qwen3-Omni-30B-A3B-Instruct",), "blocks"),
    "kimi_audio": Released(
        ("moonshotai/Kimi-Audio-7B-Instruct", "moonshotai/Kimi-Audio-7B"), "pieces of 30 s, filled with silence"
    ),
    "voxtral": Released(
        ("mistralai/Voxtral-Mini-3B-2507", "mistralai/Voxtral-Small-24B-2507"),
        "blocks of 30 s, filled with silence that the model hears too",
    ),
    "glmasr": Released(("zai-org/GLM-ASR-Nano-2512",), "windows of 30 s"),
    "granite_speech": Released(("ibm-granite/granite-speech-3.3-8b", "ibm-granite/granite-speech-3.3-2b"), "one piece"),
    "phi4_multimodal": Released(("microsoft/Phi-4-multimodal-instruct",), "one piece", "refs/pr/70"),
    "gemma3n": Released(("google/gemma-3n-E4B-it", "google/gemma-3n-E2B-it"), "one piece of at most 30 s"),
}
"""``model_type`` of a family's class -> what is released."""
