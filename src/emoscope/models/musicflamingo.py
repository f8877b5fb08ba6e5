"""Music Flamingo: Audio Flamingo 3 with marks around the sound and the time of each window in its embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from emoscope.models.audioflamingo3 import AudioFlamingo3

BACKBONE = "fine-tuned from Audio Flamingo 3 (arXiv:2511.10289), which was trained on it: "

LEAST_SAMPLES = 321
"""A window needs three mel frames to give an audio position."""


class MusicFlamingo(AudioFlamingo3):
    """Declares the family; clips of up to 20 minutes, the folder's own chat template and system prompt."""

    model_type = "musicflamingo"
    model_class = "MusicFlamingoForConditionalGeneration"
    processor_class = "MusicFlamingoProcessor"
    exposure: ClassVar[Mapping[str, tuple[str, str]]] = {
        corpus: (seen, BACKBONE + source) for corpus, (seen, source) in AudioFlamingo3.exposure.items()
    }

    def hear(self, clips: Sequence[npt.NDArray[np.float32]]) -> list[torch.Tensor]:
        """Encode clips; an end too short to give an audio position is left out.

        The official code counts windows by their audio positions: one without any would shift the times of the
        next clip of the batch.
        """
        extractor = self.processor.feature_extractor
        window = int(extractor.chunk_length * extractor.sampling_rate)
        ends = [len(clip) % window if len(clip) > window else window for clip in clips]
        short = [end if end < LEAST_SAMPLES else 0 for end in ends]
        return super().hear([clip[: len(clip) - end] for clip, end in zip(clips, short, strict=True)])

    def _encode(self, features: torch.Tensor, mask: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        embeddings: torch.Tensor = self.model.get_audio_features(features, mask, ids, return_dict=True).pooler_output
        return embeddings

    def _placeholder(self, positions: int) -> str:
        marks = self.processor.audio_bos_token, self.processor.audio_eos_token
        return f"{marks[0]}{super()._placeholder(positions)}{marks[1]}" if positions else ""
