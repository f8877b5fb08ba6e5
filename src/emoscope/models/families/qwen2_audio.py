"""The family of Qwen2-Audio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch

from emoscope.models.audio_lm import AudioLM
from emoscope.models.family import unknown
from emoscope.models.values import Request

REPORT = "arXiv:2407.10759 gives hours of training data and names no corpora"
HELD_OUT = f"{REPORT}; it evaluates on parts of this one and says that its evaluation data are not in training"


class Qwen2Audio(AudioLM):
    """Qwen2-Audio: Whisper encoder, one linear projector, Qwen decoder; clips of up to 30 s, each encoded as 30 s.

    The released folder has no template for sound, so the prompt is written here.
    """

    model_type = "qwen2_audio"
    model_class = "Qwen2AudioForConditionalGeneration"
    processor_class = "Qwen2AudioProcessor"
    released: ClassVar = {"Qwen/Qwen2-Audio-7B-Instruct": (32, 11008)}
    windows = "up to 30 s, encoded as 30 s"
    exposure: ClassVar[Mapping[str, tuple[str, str]]] = {
        **unknown(REPORT),
        **dict.fromkeys(("iemocap", "meld"), ("unknown", HELD_OUT)),
    }

    @property
    def longest_s(self) -> float:
        """30 s in the released files; the official processor cuts longer clips without an error."""
        return float(self.processor.feature_extractor.chunk_length)

    def hear(self, clips: Sequence[npt.NDArray[np.float32]]) -> list[torch.Tensor]:
        """Encode clips; this model has no method for it, so the steps are those of its forward.

        Every clip is filled up with silence that the encoder is kept from hearing.
        """
        from transformers.masking_utils import create_bidirectional_mask

        extractor, inside = self.processor.feature_extractor, self.model.model
        encoder = inside.audio_tower
        sounds = extractor(
            list(clips),
            sampling_rate=extractor.sampling_rate,
            padding="max_length",
            return_attention_mask=True,
            return_tensors="pt",
        )
        features = sounds["input_features"].to(encoder.device, encoder.dtype)
        convolved, positions = encoder._get_feat_extract_output_lengths(sounds["attention_mask"].sum(-1))
        places = torch.arange((features.shape[-1] - 2) // 2 + 1)
        heard = (places < convolved[:, None]).long().to(encoder.device)
        mask = create_bidirectional_mask(
            config=encoder.config,
            inputs_embeds=torch.zeros(*heard.shape, 1, dtype=features.dtype, device=encoder.device),
            attention_mask=heard,
        )
        encoded = inside.multi_modal_projector(encoder(features, attention_mask=mask).last_hidden_state)
        return [row[:count] for row, count in zip(encoded, positions.tolist(), strict=True)]

    def tokens(self, text: str, audio_positions: int) -> list[int]:
        """Write the default system prompt, the sound as "Audio 1", and the question on a line of its own."""
        return list(self.tokenizer(self._prompt(text, audio_positions))["input_ids"])

    @torch.inference_mode()
    def full_logits(self, requests: Sequence[Request]) -> torch.Tensor:
        """Logits of the first answer token from the official processor and forward, (row, vocab)."""
        clips = self._all_clips(requests)
        texts = [self._prompt(request.text, min(1, len(clips))) for request in requests]
        writing = {"padding": True, "padding_side": "left"}
        inputs = self.processor(text=texts, audio=clips or None, text_kwargs=writing, return_tensors="pt")
        return self.model(**inputs.to(self.device, self.model.dtype)).logits[:, -1].float()

    def _prompt(self, text: str, positions: int) -> str:
        audio = f"Audio 1: <|audio_bos|>{self.processor.audio_token * positions}<|audio_eos|>\n" if positions else ""
        return (
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
            f"<|im_start|>user\n{audio}{text}<|im_end|>\n<|im_start|>assistant\n"
        )
