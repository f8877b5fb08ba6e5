"""The families of Qwen2-Audio and Qwen2.5-Omni, which are asked in one form."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from emoscope.models.audio_lm import AudioLM
from emoscope.models.family import Loading, processor_parts, unknown
from emoscope.models.values import Prepared, Request, Waveform

REPORT = "arXiv:2407.10759 gives hours of training data and names no corpora"
HELD_OUT = f"{REPORT}; it evaluates on parts of this one and says that its evaluation data are not in training"
SILENCE = 1600  # samples after the longest clip: its last mel frame reaches past its end, where silence is officially


def _mel(extractor: Any, clips: Sequence[Waveform], **further: int) -> Any:
    """Log-mel features (clip, mel, frame) and their attention mask, all clips padded to one length."""
    how = {"padding": "max_length", "return_attention_mask": True, "return_tensors": "pt", **further}
    return extractor(list(clips), sampling_rate=extractor.sampling_rate, **how)


class _Qwen(AudioLM):
    """A family that is asked under the default system prompt; its processor cuts long clips without an error."""

    sound = "{}"  # how sound stands in the prompt

    @property
    def longest_s(self) -> float:
        """In the released files 30 s for Qwen2-Audio, 300 s for Qwen2.5-Omni."""
        return float(self.processor.feature_extractor.chunk_length)

    def tokens(self, text: str, audio_positions: int) -> list[int]:
        """Write the default system prompt, the sound between its two marks, and the question."""
        return list(self.tokenizer(self._prompt(text, audio_positions))["input_ids"])

    def _prompt(self, text: str, positions: int) -> str:
        audio = self.sound.format(f"<|audio_bos|>{self.audio_word * positions}<|audio_eos|>") if positions else ""
        system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        return f"{system}<|im_start|>user\n{audio}{text}<|im_end|>\n<|im_start|>assistant\n"


class Qwen2Audio(_Qwen):
    """Qwen2-Audio: Whisper encoder, one linear projector, Qwen decoder; clips of up to 30 s, each encoded as 30 s.

    The released folder has no template for sound, so the prompt is written here.
    """

    model_type = "qwen2_audio"
    model_class = "Qwen2AudioForConditionalGeneration"
    processor_class = "Qwen2AudioProcessor"
    released: ClassVar = {"Qwen/Qwen2-Audio-7B-Instruct": (32, 11008)}
    windows = "up to 30 s, encoded as 30 s"
    sound = "Audio 1: {}\n"
    exposure: ClassVar[Mapping[str, tuple[str, str]]] = {
        **unknown(REPORT),
        **dict.fromkeys(("iemocap", "meld"), ("unknown", HELD_OUT)),
    }

    def hear(self, clips: Sequence[Waveform]) -> list[torch.Tensor]:
        """Encode clips, filled with silence that is not heard, by the steps of the forward, as there is no method."""
        from transformers.masking_utils import create_bidirectional_mask

        extractor, inside = self.processor.feature_extractor, self.model.model
        encoder = inside.audio_tower
        sounds = _mel(extractor, clips)
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

    @torch.inference_mode()
    def full_logits(self, requests: Sequence[Request]) -> torch.Tensor:
        """Logits of the first answer token from the official processor and forward, (row, vocab)."""
        clips = self._all_clips(requests)
        texts = [self._prompt(request.text, min(1, len(clips))) for request in requests]
        writing = {"padding": True, "padding_side": "left"}
        inputs = self.processor(text=texts, audio=clips or None, text_kwargs=writing, return_tensors="pt")
        return self.model(**inputs.to(self.device, self.model.dtype)).logits[:, -1].float()


class Qwen25Omni(_Qwen):
    """Qwen2.5-Omni: the thinker (audio encoder and Qwen2 decoder) of a checkpoint that can also see and speak.

    The talker and the vocoder are never loaded, and the vision tower never runs. The official processor needs
    torchvision, so the prompt and the features are put together here. A folder may hold the thinker alone.
    """

    model_type = "qwen2_5_omni"
    model_class = "Qwen2_5OmniThinkerForConditionalGeneration"
    audio_word = "<|AUDIO|>"
    further_types = ("qwen2_5_omni_thinker",)
    released: ClassVar = {"Qwen/Qwen2.5-Omni-7B": (28, 18944), "Qwen/Qwen2.5-Omni-3B": (36, 11008)}
    windows = "blocks of 2 s, up to 5 min"
    exposure = unknown("no list of training corpora was found (arXiv:2503.20215 counts tokens)")

    @staticmethod
    def asked_part(model: nn.Module) -> nn.Module:
        """The thinker: a user may have loaded the whole model, of which it is a part."""
        return getattr(model, "thinker", model)

    @classmethod
    def load(cls, folder: Path, how: Loading) -> tuple[nn.Module, object]:
        """The thinker, and a tokenizer and feature extractor in place of a processor."""
        with _without_remarks_on_the_talker():
            return how.pretrained(cls.model_class, folder), processor_parts(folder)

    def hear(self, clips: Sequence[Waveform]) -> list[torch.Tensor]:
        """Encode clips, in blocks of 2 s that do not see each other."""
        features, mask = self._features(clips, max(len(clip) for clip in clips) + SILENCE)
        embeddings = self.model.get_audio_features(features, feature_attention_mask=mask, return_dict=True)
        return list(embeddings.last_hidden_state.split(_positions(mask)))

    @torch.inference_mode()
    def full_logits(self, requests: Sequence[Request]) -> torch.Tensor:
        """Logits of the first answer token from the official forward on features padded as officially, (row, vocab)."""
        clips = self._all_clips(requests)
        inputs: dict[str, torch.Tensor] = {}
        positions = [0] * len(requests)
        if clips:
            features, mask = self._features(clips, self.processor.feature_extractor.n_samples)
            inputs, positions = {"input_features": features, "feature_attention_mask": mask}, _positions(mask)
        ids = [self.tokens(request.text, n) for request, n in zip(requests, positions, strict=True)]
        text = self.tokenizer.pad({"input_ids": ids}, padding_side="left", return_tensors="pt").to(self.device)
        return self.model(**text, **inputs).logits[:, -1].float()

    def _prepare(self, request: Request, audio: torch.Tensor | None) -> Prepared:
        row = super()._prepare(request, audio)
        # time, height and width count alike where there are no pictures; given outright, as the model would
        # else shift them by what it remembers of the last prompt that it generated from
        return replace(row, position_ids=torch.arange(len(row)).expand(3, -1))

    def _features(self, clips: Sequence[Waveform], samples: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-mel features (clip, mel, frame) and their mask (clip, frame), all clips padded to ``samples``."""
        extractor = self.processor.feature_extractor
        sounds = _mel(extractor, clips, max_length=min(samples, extractor.n_samples))
        return sounds["input_features"].to(self.device), sounds["attention_mask"].to(self.device)


def _positions(mask: torch.Tensor) -> list[int]:
    """How many audio positions each clip gives: a convolution and a pooling halve its mel frames."""
    return list((((mask.sum(-1) - 1) // 2 + 1 - 2) // 2 + 1).tolist())


@contextmanager
def _without_remarks_on_the_talker() -> Iterator[None]:
    """Without a warning of token ids of the talker, which lie outside its own small vocabulary by design."""
    remarks = logging.getLogger("transformers.configuration_utils")
    level = remarks.level
    remarks.setLevel(logging.ERROR)
    try:
        yield
    finally:
        remarks.setLevel(level)
