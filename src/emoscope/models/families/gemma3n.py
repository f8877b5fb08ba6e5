"""The family of Gemma 3n."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from emoscope.models.audio_lm import AudioLM
from emoscope.models.decoder import Decoder, Site, gated_site
from emoscope.models.family import Loading, Parts, unknown

BASE, DIGITS = 128, 3
"""A token id as digits: integers up to 256 are exact in every dtype, and 128 ** 3 is more than any vocabulary."""

LONGEST_S = 30.0  # the official feature extractor cuts longer clips

CARD = "the model card names no training corpora"


class Gemma3n(AudioLM):
    """Gemma 3n: audio tower and text decoder; the vision tower, which would need timm, is never built.

    The decoder adds to every layer an input that it looks up by token id, also for tokens that are fed back. Prepared rows
    hold embeddings only, so each embedding carries the id of its token in a few further columns, which are taken off before
    the decoder runs.

    The official processor needs torchvision, so the prompt is put together here.
    """

    model_type = "gemma3n"
    model_class = "Gemma3nForConditionalGeneration"
    processor_class = "Gemma3nProcessor"
    released: ClassVar = {"google/gemma-3n-E4B-it": (35, 16384), "google/gemma-3n-E2B-it": (30, 8192)}
    windows = "one piece of at most 30 s"
    exposure = unknown(CARD)

    def find_decoder(self) -> Decoder:
        """The text decoder, which takes the ids of its tokens from further columns."""
        found = super().find_decoder()
        return replace(found, backbone=_LayerInputs(found.backbone))

    @classmethod
    def load(cls, folder: Path, how: Loading) -> tuple[nn.Module, object]:
        """The model without its vision tower, and a tokenizer and feature extractor in place of a processor."""
        parts = Parts.from_folder(folder, "Gemma3nAudioFeatureExtractor")
        return how.pretrained(blind_class(), folder), parts

    @property
    def longest_s(self) -> float:
        """30 s, as in the official feature extractor."""
        return LONGEST_S

    @staticmethod
    def site(name: str, mlp: nn.Module) -> Site:
        """The neurons of one layer's MLP; in the first layers only the largest gates of a position pass."""
        plain, official = gated_site(name, mlp), cast(Any, mlp)
        if not official.activation_sparsity > 0:
            return plain
        return replace(plain, act=lambda gate: official.act_fn(official._gaussian_topk(gate)), fused=False)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings of token ids with the ids in further columns, (...,) to (..., hidden + 3)."""
        inner = self.model.model
        embeddings = self.model.get_input_embeddings()(ids)
        # the marks around pictures and sounds have embeddings of their own, from the first of their ids on
        for marks, end in ((inner.embed_vision, inner.embed_audio.vocab_offset), (inner.embed_audio, None)):
            place = ids >= marks.vocab_offset if end is None else (ids >= marks.vocab_offset) & (ids < end)
            if bool(place.any()):
                embeddings[place] = marks(input_ids=ids[place][None])[0].to(embeddings)
        return self._with_ids(embeddings, ids)

    def hear(self, clips: Sequence[npt.NDArray[np.float32]]) -> list[torch.Tensor]:
        """Encode clips one by one; each takes all places of its prompt, the rest are filled as officially."""
        inner, config = self.model.model, self.model.config
        filler = inner.embed_audio(input_ids=torch.tensor([[config.text_config.vocab_size - 1]], device=self.device))
        heard = []
        for clip in clips:
            sound = self._features(clip)
            output = inner.get_audio_features(sound["input_features"], ~sound["input_features_mask"], return_dict=True)
            filler = filler.to(output.pooler_output)  # a model may be spread over devices
            embeddings = torch.where(output.audio_mel_mask[..., None], filler, output.pooler_output)[0]
            rest = int(config.audio_soft_tokens_per_image) - len(embeddings)
            embeddings = torch.cat([embeddings, filler[0].expand(rest, -1)])
            ids = torch.full((len(embeddings),), self.audio_token, device=embeddings.device)
            heard.append(self._with_ids(embeddings, ids))
        return heard

    def tokens(self, text: str, audio_positions: int) -> list[int]:
        """Write the folder's chat template, with the marks and empty lines that the processor puts around a sound."""
        config = self.model.config
        names = self.tokenizer.convert_ids_to_tokens([config.boa_token_id, self.audio_token, config.eoa_token_id])
        begin, audio, end = names
        turn = [{"type": "audio"}] if audio_positions else []
        chat = [{"role": "user", "content": [*turn, {"type": "text", "text": text}]}]
        prompt = self.chat(chat)
        prompt = prompt.replace(audio, f"\n\n{begin}{audio * audio_positions}{end}\n\n")
        return list(self.tokenizer(prompt, add_special_tokens=False)["input_ids"])

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits, capped as in the official forward."""
        cap = self.model.config.text_config.final_logit_softcapping
        logits = super().logits(hidden)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def official_sound(self, clip: npt.NDArray[np.float32]) -> tuple[dict[str, torch.Tensor], int]:
        """Features and mask; every sound takes as many positions."""
        return self._features(clip), int(self.model.config.audio_soft_tokens_per_image)

    def _features(self, clip: npt.NDArray[np.float32]) -> dict[str, torch.Tensor]:
        sound = self.processor.feature_extractor([clip], return_tensors="pt")
        features = sound["input_features"].to(self.device, self.model.dtype)
        return {"input_features": features, "input_features_mask": sound["input_features_mask"].to(self.device)}

    def _with_ids(self, embeddings: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        digits = torch.stack([ids // BASE**place % BASE for place in range(DIGITS)], -1)
        return torch.cat([embeddings, digits.to(embeddings)], -1)


class _LayerInputs(nn.Module):
    """The decoder, given embeddings with ids in further columns."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder, self.norm = decoder, decoder.norm

    def forward(self, inputs_embeds: torch.Tensor, **further: object) -> object:
        embeddings, digits = inputs_embeds[..., :-DIGITS], inputs_embeds[..., -DIGITS:].long()
        ids = (digits * torch.tensor([BASE**place for place in range(DIGITS)], device=digits.device)).sum(-1)
        layer_inputs = self.decoder.get_per_layer_inputs(ids)
        return self.decoder(inputs_embeds=embeddings, per_layer_inputs=layer_inputs, **further)


def blind_class() -> type:
    """The official class without its vision tower; its forward is the official one."""
    from transformers import AutoModel
    from transformers.models.gemma3n import modeling_gemma3n as official

    class Blind(official.Gemma3nModel):
        def __init__(self, config: Any) -> None:
            official.Gemma3nPreTrainedModel.__init__(self, config)
            self.vocab_size = config.text_config.vocab_size
            self.language_model = AutoModel.from_config(config.text_config)
            self.vocab_size_per_layer_input = config.text_config.vocab_size_per_layer_input
            self.audio_tower = AutoModel.from_config(config.audio_config)
            self.embed_vision = official.Gemma3nMultimodalEmbedder(config.vision_config, config.text_config)
            self.embed_audio = official.Gemma3nMultimodalEmbedder(config.audio_config, config.text_config)
            self.post_init()

    class BlindGemma3n(official.Gemma3nForConditionalGeneration):
        _keys_to_ignore_on_load_unexpected = [r"vision_tower\."]  # noqa: RUF012

        def __init__(self, config: Any) -> None:
            official.Gemma3nPreTrainedModel.__init__(self, config)
            self.model = Blind(config)
            self.lm_head = nn.Linear(config.text_config.hidden_size, config.text_config.vocab_size, bias=False)
            self.post_init()

    return BlindGemma3n
