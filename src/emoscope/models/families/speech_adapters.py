"""Families whose decoder hears through a speech adapter, which is merged into its weights: Granite Speech, Phi-4-multimodal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from emoscope.models.audio_lm import AudioLM
from emoscope.models.decoder import merge_lora
from emoscope.models.family import Loading, Parts, unknown
from emoscope.models.opening import read_json
from emoscope.models.values import Request

SYSTEM = (
    "Knowledge Cutoff Date: April 2024.\nToday's Date: April 9, 2025.\n"
    "You are Granite, developed by IBM. You are a helpful AI assistant"
)
"""As in the official examples; without one the template writes the date of the day, and answers change overnight."""

FFT, WINDOW, HOP = 512, 400, 160  # samples of the spectrogram, as in the released preprocessor_config.json

MERGED = "speech_lora_merged"
"""Set in the configuration once the adapter is in the weights, so that a saved model is not changed again."""


class WithAdapter(AudioLM):
    """A conformer encoder and a decoder whose layers are plain ones once the adapter is in their weights.

    The adapter stays on for questions without sound too, where the official code of Granite switches it off. The official
    processors need torchaudio or torchvision, so prompt and features are put together here. Clips are encoded one by
    one: in an official batch a short clip is heard with the silence after it.
    """

    first_turns: ClassVar[tuple[Mapping[str, str], ...]] = ()  # turns of the chat before the user's

    def tokens(self, text: str, audio_positions: int) -> list[int]:
        """Write the folder's chat template with the audio token repeated before the text."""
        turn = {"role": "user", "content": self.audio_word * audio_positions + text}
        return list(self.tokenizer(self.chat([*self.first_turns, turn]))["input_ids"])


class GraniteSpeech(WithAdapter):
    """Granite Speech: conformer encoder, Q-former projector, Granite decoder."""

    model_type = "granite_speech"
    model_class = "GraniteSpeechForConditionalGeneration"
    processor_class = "GraniteSpeechProcessor"
    released: ClassVar = {
        "ibm-granite/granite-speech-3.3-8b": (40, 12800),
        "ibm-granite/granite-speech-3.3-2b": (40, 8192),
    }
    windows = "one piece"
    exposure = unknown("arXiv:2505.08699: public corpora for transcription and translation")
    first_turns = ({"role": "system", "content": SYSTEM},)

    @classmethod
    def load(cls, folder: Path, how: Loading) -> tuple[nn.Module, object]:
        """Load the decoder and add its adapter to the weights."""
        # where peft is installed, transformers would put the adapter's own layers into the decoder, and elsewhere warn
        # that the adapter is missing
        plain: Mapping[str, Any] = {"adapter_kwargs": {"subfolder": "none"}, "has_lora_adapter": False}
        model = how.pretrained(cls.model_class, folder, **plain)
        if read_json(folder / "config.json").get("has_lora_adapter", True):
            merge_lora(model, folder)
            how.read[-1].adapter = folder
        return model, Parts.from_folder(folder, None)

    def hear(self, clips: Sequence[npt.NDArray[np.float32]]) -> list[torch.Tensor]:
        """Encode clips one by one."""
        features = [self._features(clip) for clip in clips]
        return [self.model.get_audio_features(f, return_dict=True).pooler_output[0] for f in features]

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
        window = torch.hann_window(WINDOW)
        spectrum = torch.stft(torch.from_numpy(clip), FFT, HOP, WINDOW, window, return_complex=True).abs()
        logmel = (spectrum.square().T @ bank).clip(min=1e-10).log10()
        logmel = torch.maximum(logmel, logmel.max() - 8.0) / 4 + 1
        pairs = logmel[: len(logmel) // 2 * 2].reshape(1, -1, 2 * mels)
        return pairs.to(encoder.input_linear.weight)


class Phi4Multimodal(WithAdapter):
    """Phi-4-multimodal: conformer encoder and Phi-4-mini decoder; no pictures.

    For folders in the layout of transformers (``model_type`` phi4_multimodal, on the hub the revision refs/pr/70 of
    microsoft/Phi-4-multimodal-instruct); the main revision needs code of its own, which is never run.
    """

    model_type = "phi4_multimodal"
    model_class = "Phi4MultimodalForCausalLM"
    processor_class = "Phi4MultimodalProcessor"
    parts = ("speech-lora",)
    released: ClassVar = {"microsoft/Phi-4-multimodal-instruct": (32, 8192)}
    released_revision = "refs/pr/70"
    windows = "one piece"
    exposure = unknown("arXiv:2503.01743 describes its speech data without naming corpora")

    @classmethod
    def load(cls, folder: Path, how: Loading) -> tuple[nn.Module, object]:
        """Load the decoder and add its speech adapter to the weights."""
        model = how.pretrained(cls.model_class, folder)
        if not getattr(model.config, MERGED, False):
            merge_lora(model, folder / cls.parts[0])
            how.read[-1].adapter = folder / cls.parts[0]
            setattr(model.config, MERGED, True)
        return model, Parts.from_folder(folder, "Phi4MultimodalFeatureExtractor")

    @property
    def audio_token(self) -> int:
        """Id of the token that holds the place of audio."""
        return int(self.model.config.audio_config.audio_token_id)

    def hear(self, clips: Sequence[npt.NDArray[np.float32]]) -> list[torch.Tensor]:
        """Encode clips one by one; the official code puts each into an empty prompt of its length."""
        embed = self.model.model.embed_tokens_extend.audio_embed
        heard = []
        for clip in clips:
            sound, positions = self.official_sound(clip)
            ids = torch.full((1, positions), self.audio_token, device=self.device)
            heard.append(embed(ids, torch.zeros_like(self.embed(ids)), **sound)[0])
        return heard

    def official_sound(self, clip: npt.NDArray[np.float32]) -> tuple[dict[str, torch.Tensor], int]:
        """What the feature extractor gives, which counts the positions too."""
        extractor = self.processor.feature_extractor
        sound = dict(extractor([clip], sampling_rate=extractor.sampling_rate, return_tensors="pt").to(self.device))
        return sound, int(sound["audio_embed_sizes"][0])
