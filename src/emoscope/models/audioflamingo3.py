"""Audio Flamingo 3: Whisper encoder, projector, Qwen2 decoder; up to 10 minutes in windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from emoscope.models.audio_lm import AudioLM, Request


class AudioFlamingo3(AudioLM):
    """Declares the family; the sound goes through the official processor and encoder."""

    model_type = "audioflamingo3"
    model_class = "AudioFlamingo3ForConditionalGeneration"
    processor_class = "AudioFlamingo3Processor"
    audio_first = True
    padding_side = "left"

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
        embeddings = self.model.get_audio_features(features, mask, return_dict=True).pooler_output
        return list(embeddings.split(positions))

    def tokens(self, text: str, audio_positions: int) -> list[int]:
        """Write the chat template with the audio token repeated before the text is cut into tokens."""
        sound = self.processor.audio_token
        if sound in text:
            raise ValueError(f"the text {text[:60]!r} holds the audio token {sound}: leave it out")
        prompt = self._prompt(text, audio_positions > 0)
        return list(self.tokenizer(prompt.replace(sound, sound * audio_positions))["input_ids"])

    @torch.inference_mode()
    def full_logits(self, requests: Sequence[Request]) -> torch.Tensor:
        """Logits of the first answer token from the official processor and forward, (row, vocab)."""
        clips = [request.audio for request in requests if request.audio is not None]
        if len(clips) not in (0, len(requests)):
            raise ValueError("either all requests have audio or none")
        texts = [self._prompt(request.text, bool(clips)) for request in requests]
        inputs = self.processor(text=texts, audio=clips or None).to(self.device, self.model.dtype)
        return self.model(**inputs, logits_to_keep=1).logits[:, -1].float()

    def _prompt(self, text: str, with_audio: bool) -> str:
        turn = [{"type": "audio"}] if with_audio else []
        turn.append({"type": "text", "text": text})
        chat = [{"role": "user", "content": turn}]
        return str(self.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))
