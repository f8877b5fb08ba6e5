"""The family of Granite Speech."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch

from emoscope.models.audio_lm import AudioLM
from emoscope.models.decoder import merge_lora
from emoscope.models.family import unknown
from emoscope.models.loading import Loading, Parts
from emoscope.models.opening import read_json
from emoscope.models.values import Request

SYSTEM = (
    "Knowledge Cutoff Date: April 2024.\nToday's Date: April 9, 2025.\n"
    "You are Granite, developed by IBM. You are a helpful AI assistant"
)
"""As in the official examples; without one the template writes the date of the day, and answers change overnight."""

FFT, WINDOW, HOP = 512, 400, 160
"""Samples of the spectrogram, as in the released preprocessor_config.json."""

REPORT = "arXiv:2505.08699: public corpora for transcription and translation"


class GraniteSpeech(AudioLM):
    """Granite Speech: conformer encoder, Q-former projector, Granite decoder with its speech adapter merged in.

    The adapter stays on for questions without sound, where the official code switches it off.

    The official feature extractor needs torchaudio, so the features are put together here.
    """

    model_type = "granite_speech"
    model_class = "GraniteSpeechForConditionalGeneration"
    processor_class = "GraniteSpeechProcessor"
    released: ClassVar = {
        "ibm-granite/granite-speech-3.3-8b": (40, 12800),
        "ibm-granite/granite-speech-3.3-2b": (40, 8192),
    }
    windows = "one piece"
    exposure = unknown(REPORT)

    @classmethod
    def load(cls, folder: Path, how: Loading) -> tuple[Any, Any]:
        """Load the decoder and add its adapter to the weights, so that its layers are plain ones."""
        # where peft is installed, transformers would put the adapter's own layers into the decoder, and elsewhere warn
        # that the adapter is missing
        plain = {"adapter_kwargs": {"subfolder": "none"}, "has_lora_adapter": False}
        model = how.pretrained(cls.model_class, folder, **plain)
        if read_json(folder / "config.json").get("has_lora_adapter", True):
            merge_lora(model, folder)
            how.read[-1].adapter = folder
        return model, Parts.from_folder(folder, None)

    def hear(self, clips: Sequence[npt.NDArray[np.float32]]) -> list[torch.Tensor]:
        """Encode clips one by one: in an official batch the silence after a short clip is heard too."""
        features = [self._features(clip) for clip in clips]
        return [self.model.get_audio_features(f, return_dict=True).pooler_output[0] for f in features]

    def tokens(self, text: str, audio_positions: int) -> list[int]:
        """Write the folder's chat template with a fixed system prompt."""
        audio = self.audio_word
        chat = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": audio * audio_positions + text}]
        return list(self.tokenizer(self.chat(chat))["input_ids"])

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits, divided as Granite was trained; the speech class of transformers 5 leaves the division out."""
        return super().logits(hidden) / float(self.model.config.text_config.logits_scaling)

    def full_logits(self, requests: Sequence[Request]) -> torch.Tensor:
        """Logits of the first answer token from the official forward, row by row and then divided, (row, vocab)."""
        return super().full_logits(requests) / float(self.model.config.text_config.logits_scaling)

    def official_sound(self, clip: npt.NDArray[np.float32]) -> tuple[dict[str, torch.Tensor], int]:
        """Log-mel frames; a window of them becomes a few positions."""
        features, window = self._features(clip), int(self.model.config.window_size)
        positions = -(-features.shape[1] // window) * (window // int(self.model.config.downsample_rate))
        return {"input_features": features}, positions

    def _features(self, clip: npt.NDArray[np.float32]) -> torch.Tensor:
        """Log-mel frames of one clip, two joined to one, (1, frame, 2 x mel)."""
        from transformers.audio_utils import mel_filter_bank

        encoder = self.model.model.encoder
        mels = int(self.model.config.encoder_config.input_dim) // 2
        bank = torch.tensor(mel_filter_bank(FFT // 2 + 1, mels, 0.0, 8000.0, 16_000, None, "htk"), dtype=torch.float32)
        spectrum = torch.stft(
            torch.from_numpy(clip), FFT, HOP, WINDOW, torch.hann_window(WINDOW), return_complex=True
        ).abs()  # fmt: skip
        logmel = (spectrum.square().T @ bank).clip(min=1e-10).log10()
        logmel = torch.maximum(logmel, logmel.max() - 8.0) / 4 + 1
        pairs = logmel[: len(logmel) // 2 * 2].reshape(1, -1, 2 * mels)
        return pairs.to(encoder.input_linear.weight)
