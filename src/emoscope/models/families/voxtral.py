"""The family of Voxtral."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from emoscope.models.audio_lm import AudioLM
from emoscope.models.family import Loading, transformers_class, unknown

REPORT = "arXiv:2507.13264 names no training corpora"


class Voxtral(AudioLM):
    """Voxtral: Whisper encoder on blocks of 30 s, projector, Llama decoder; prompts made from tekken.json.

    A clip is filled up with silence to whole blocks, which the model hears too.
    """

    model_type = "voxtral"
    model_class = "VoxtralForConditionalGeneration"
    processor_class = "VoxtralProcessor"
    released: ClassVar = {"mistralai/Voxtral-Mini-3B-2507": (30, 8192), "mistralai/Voxtral-Small-24B-2507": (40, 32768)}
    windows = "blocks of 30 s, filled with silence that the model hears too"
    exposure = unknown(REPORT)

    @classmethod
    def load(cls, folder: Path, how: Loading) -> tuple[nn.Module, object]:
        """Load the model, and its tokenizer from tekken.json: the folder holds no tokenizer.json and no template."""
        extractor = transformers_class("WhisperFeatureExtractor").from_pretrained(folder, local_files_only=True)
        processor = transformers_class(cls.processor_class)(extractor, read_tekken(folder / "tekken.json"))
        return how.pretrained(cls.model_class, folder), processor

    def hear(self, clips: Sequence[npt.NDArray[np.float32]]) -> list[torch.Tensor]:
        """Encode clips, each in blocks of the encoder's length."""
        encoder = self.model.model.audio_tower
        blocks = [self._blocks(clip) for clip in clips]
        features = torch.cat(blocks).to(encoder.device, encoder.dtype)
        embeddings = self.model.get_audio_features(features, return_dict=True).pooler_output
        each = len(embeddings) // len(features)
        return list(embeddings.split([each * len(block) for block in blocks]))

    def tokens(self, text: str, audio_positions: int) -> list[int]:
        """Write ``<s>[INST][BEGIN_AUDIO][AUDIO]...text[/INST]``; a marker inside the text stays ordinary text."""
        sound = [self._special("[BEGIN_AUDIO]"), *[self.audio_token] * audio_positions] if audio_positions else []
        written = self.tokenizer.encode(text, add_special_tokens=False)
        return [self._special("<s>"), self._special("[INST]"), *sound, *written, self._special("[/INST]")]

    def official_sound(self, clip: npt.NDArray[np.float32]) -> tuple[dict[str, torch.Tensor], int]:
        """The blocks: four of the encoder's positions become one of the decoder's, two mel frames one of the encoder's."""
        blocks = self._blocks(clip)
        return {"input_features": blocks.to(self.device, self.model.dtype)}, len(blocks) * blocks.shape[-1] // 8

    def _blocks(self, clip: npt.NDArray[np.float32]) -> torch.Tensor:
        """Log-mel frames (block, mel, frame) of a clip, filled up with silence to whole blocks."""
        extractor = self.processor.feature_extractor
        filled = {"padding": True, "truncation": False, "pad_to_multiple_of": extractor.n_samples}
        features = extractor(clip, sampling_rate=extractor.sampling_rate, return_tensors="pt", **filled)
        mel = features["input_features"][0]
        return mel.reshape(len(mel), -1, extractor.nb_max_frames).transpose(0, 1)

    def _special(self, name: str) -> int:
        return int(self.tokenizer.convert_tokens_to_ids(name))


def read_tekken(path: Path) -> Any:
    """The tokenizer of a tekken.json, as one of the transformers library; text never becomes a special token."""
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} holds no tekken.json: the tokenizer of Voxtral is missing")
    from transformers.integrations.mistral.tokenizer import convert_tekken_tokenizer

    tokenizer = convert_tekken_tokenizer(str(path), chat_template="")
    tokenizer.split_special_tokens = True
    return tokenizer
