"""The family of Phi-4-multimodal."""

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

MERGED = "speech_lora_merged"
"""Set in the configuration once the adapter is in the weights, so that a saved model is not changed again."""

REPORT = "arXiv:2503.01743 describes its speech data without naming corpora"


class Phi4Multimodal(AudioLM):
    """Phi-4-multimodal: conformer encoder and Phi-4-mini decoder with its speech adapter merged in; no pictures.

    For folders in the layout of transformers (``model_type`` phi4_multimodal, on the hub the revision refs/pr/70 of
    microsoft/Phi-4-multimodal-instruct); the main revision needs code of its own, which is never run.

    The adapter stays on for questions without sound too.

    The official processor needs torchvision, so the prompt and the features are put together here.
    """

    model_type = "phi4_multimodal"
    model_class = "Phi4MultimodalForCausalLM"
    processor_class = "Phi4MultimodalProcessor"
    parts = ("speech-lora",)
    released: ClassVar = {"microsoft/Phi-4-multimodal-instruct": (32, 8192)}
    released_revision = "refs/pr/70"
    windows = "one piece"
    exposure = unknown(REPORT)

    @classmethod
    def load(cls, folder: Path, how: Loading) -> tuple[Any, Any]:
        """Load the decoder and add its speech adapter to the weights, so that its layers are plain ones."""
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
        """Encode clips one by one: in an official batch the last frames of a short clip hear its padding.

        The official code puts each into an empty prompt of its length.
        """
        embed = self.model.model.embed_tokens_extend.audio_embed
        heard = []
        for clip in clips:
            sound = self._features(clip)
            ids = torch.full((1, int(sound["audio_embed_sizes"][0])), self.audio_token, device=self.device)
            heard.append(embed(ids, torch.zeros_like(self.embed(ids)), **sound)[0])
        return heard

    def tokens(self, text: str, audio_positions: int) -> list[int]:
        """Write the folder's chat template with the audio token repeated before the text."""
        chat = [{"role": "user", "content": self.audio_word * audio_positions + text}]
        return list(self.tokenizer(self.chat(chat))["input_ids"])

    def official_sound(self, clip: npt.NDArray[np.float32]) -> tuple[dict[str, torch.Tensor], int]:
        """What the feature extractor gives, which counts the positions too."""
        sound = self._features(clip)
        return sound, int(sound["audio_embed_sizes"][0])

    def _features(self, clip: npt.NDArray[np.float32]) -> dict[str, torch.Tensor]:
        extractor = self.processor.feature_extractor
        return dict(extractor([clip], sampling_rate=extractor.sampling_rate, return_tensors="pt").to(self.device))
