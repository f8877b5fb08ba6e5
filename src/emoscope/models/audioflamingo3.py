"""Audio Flamingo 3: Whisper encoder, projector, Qwen2 decoder; up to 10 minutes in windows of 30 s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from emoscope.models.audio_lm import AudioLM, Request

MIXTURE = (
    "training mixture audio_speech_all in llava/data/registry/mixtures.yaml of NVIDIA/audio-flamingo, branch "
    "audio_flamingo_3"
)
CARD = f"training datasets of the model card; {MIXTURE}"


class AudioFlamingo3(AudioLM):
    """Declares the family; the sound goes through the official processor and encoder."""

    model_type = "audioflamingo3"
    model_class = "AudioFlamingo3ForConditionalGeneration"
    processor_class = "AudioFlamingo3Processor"
    audio_first = True
    padding_side = "left"
    # IEMOCAP's test split also evaluates the model
    exposure: ClassVar[Mapping[str, tuple[str, str]]] = {
        "iemocap": ("yes", MIXTURE),
        "meld": ("yes", CARD),
        "msp-podcast": ("yes", CARD),
        "ravdess": ("yes", MIXTURE),
        "crema-d": ("yes", MIXTURE),
        "tess": ("yes", CARD),
        "emov-db": ("yes", CARD),
        "jl-corpus": ("yes", CARD),
        "omg-emotion": ("yes", CARD),
    }

    @property
    def longest_s(self) -> float:
        """600 s in the released files; the official processor cuts longer clips without an error."""
        return float(self.processor.max_audio_len)

    def hear(self, clips: Sequence[npt.NDArray[np.float32]]) -> list[torch.Tensor]:
        """Encode clips; a clip longer than the encoder's window becomes several windows.

        No ``padding=True`` here: every window is filled to its full length, so that what a clip sounds like
        does not depend on the others in its batch.
        """
        sounds = self.processor(text=[self.processor.audio_token] * len(clips), audio=list(clips))
        positions = (sounds["input_ids"] == self.audio_token).sum(1).tolist()
        encoder = self.model.model.audio_tower
        features = sounds["input_features"].to(encoder.device, encoder.dtype)
        mask = sounds["input_features_mask"].to(encoder.device)
        return list(self._encode(features, mask, sounds["input_ids"].to(encoder.device)).split(positions))

    def tokens(self, text: str, audio_positions: int) -> list[int]:
        """Write the chat template with the audio token repeated before the text is cut into tokens."""
        sound = self.processor.audio_token
        if sound in text:
            raise ValueError(f"the text {text[:60]!r} holds the audio token {sound}: leave it out")
        prompt = self._prompt(text, audio_positions > 0)
        return list(self.tokenizer(prompt.replace(sound, self._placeholder(audio_positions)))["input_ids"])

    @torch.inference_mode()
    def full_logits(self, requests: Sequence[Request]) -> torch.Tensor:
        """Logits of the first answer token from the official processor and forward, (row, vocab)."""
        clips = [request.audio for request in requests if request.audio is not None]
        if len(clips) not in (0, len(requests)):
            raise ValueError("either all requests have audio or none")
        texts = [self._prompt(request.text, bool(clips)) for request in requests]
        inputs = self.processor(text=texts, audio=clips or None).to(self.device, self.model.dtype)
        return self.model(**inputs, logits_to_keep=1).logits[:, -1].float()

    def _encode(self, features: torch.Tensor, mask: torch.Tensor, _ids: torch.Tensor) -> torch.Tensor:
        """Embeddings (position, hidden) of all windows, one after another."""
        embeddings: torch.Tensor = self.model.get_audio_features(features, mask, return_dict=True).pooler_output
        return embeddings

    def _placeholder(self, positions: int) -> str:
        """What stands in the prompt for a clip of so many audio positions."""
        return str(self.processor.audio_token) * positions

    def _prompt(self, text: str, with_audio: bool) -> str:
        turn = [{"type": "audio"}] if with_audio else []
        turn.append({"type": "text", "text": text})
        chat = [{"role": "user", "content": turn}]
        return str(self.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))
