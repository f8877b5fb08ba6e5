"""Audio Flamingo 3: Whisper encoder, projector, Qwen2 decoder; up to 10 minutes in windows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from emoscope.models.audio_lm import AudioLM


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
        turn = [{"type": "audio"}] if audio_positions else []
        turn.append({"type": "text", "text": text})
        chat = [{"role": "user", "content": turn}]
        prompt = self.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        return list(self.tokenizer(prompt.replace(sound, sound * audio_positions))["input_ids"])
