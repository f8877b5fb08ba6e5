"""Families with a conformer encoder, which hear clips one by one: Granite Speech, Phi-4-multimodal, Gemma 3n.

Their official processors need torchaudio or torchvision, so prompt and features are put together here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import nn

from emoscope.models.audio_lm import AudioLM
from emoscope.models.checkpoint import read_json
from emoscope.models.decoder import Decoder, Site, gated_site, merge_lora
from emoscope.models.family import Loading, processor_parts, unknown
from emoscope.models.values import Request, Waveform

# as in the official examples; without one the template writes the date of the day, and answers change overnight
SYSTEM = (
    "Knowledge Cutoff Date: April 2024.\nToday's Date: April 9, 2025.\n"
    "You are Granite, developed by IBM. You are a helpful AI assistant"
)
FFT, WINDOW, HOP = 512, 400, 160  # samples of the spectrogram, as in the released preprocessor_config.json

MERGED = "speech_lora_merged"  # set in the configuration once the adapter is in the weights, and stored with them
# a token id as digits: integers up to 256 are exact in every dtype, and 128 ** 3 is more than any vocabulary
BASE, DIGITS = 128, 3


class WithAdapter(AudioLM):
    """A conformer encoder and a decoder whose layers are plain ones once the adapter is in their weights.

    The adapter stays on for questions without sound too, where the official code of Granite switches it off. Clips
    are encoded one by one: in an official batch a short clip is heard with the silence after it.
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
        return model, processor_parts(folder, None)

    def hear(self, clips: Sequence[Waveform]) -> list[torch.Tensor]:
        """Encode clips one by one."""
        features = map(self._features, clips)
        return [self.model.get_audio_features(of_clip, return_dict=True).pooler_output[0] for of_clip in features]

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits, divided as Granite was trained; the speech class of transformers 5 leaves the division out."""
        return super().logits(hidden) / float(self.model.config.text_config.logits_scaling)

    def full_logits(self, requests: Sequence[Request]) -> torch.Tensor:
        """Logits of the first answer token from the official forward, row by row and then divided, (row, vocab)."""
        return super().full_logits(requests) / float(self.model.config.text_config.logits_scaling)

    def official_sound(self, clip: Waveform) -> tuple[dict[str, torch.Tensor], int]:
        """Log-mel frames; a window of them becomes a few positions."""
        features, window = self._features(clip), int(self.model.config.window_size)
        positions = -(-features.shape[1] // window) * (window // int(self.model.config.downsample_rate))
        return {"input_features": features}, positions

    def _features(self, clip: Waveform) -> torch.Tensor:
        """Log-mel frames of one clip, two joined to one, (1, frame, 2 x mel)."""
        from transformers.audio_utils import mel_filter_bank

        mels = int(self.model.config.encoder_config.input_dim) // 2
        bank = torch.tensor(mel_filter_bank(FFT // 2 + 1, mels, 0.0, 8000.0, 16_000, None, "htk"), dtype=torch.float32)
        window = torch.hann_window(WINDOW)
        spectrum = torch.stft(torch.from_numpy(clip), FFT, HOP, WINDOW, window, return_complex=True).abs()
        logmel = (spectrum.square().T @ bank).clip(min=1e-10).log10()
        logmel = torch.maximum(logmel, logmel.max() - 8.0) / 4 + 1
        pairs = logmel[: len(logmel) // 2 * 2].reshape(1, -1, 2 * mels)
        return pairs.to(self.model.model.encoder.input_linear.weight)


class Phi4Multimodal(WithAdapter):
    """Phi-4-multimodal: conformer encoder and Phi-4-mini decoder; no pictures.

    For folders in the layout of transformers (``model_type`` phi4_multimodal, on the hub the revision refs/pr/70 of
    microsoft/Phi-4-multimodal-instruct); the main revision needs code of its own, which is never run.
    """

    model_type = "phi4_multimodal"
    model_class = "Phi4MultimodalForCausalLM"
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
        return model, processor_parts(folder, "Phi4MultimodalFeatureExtractor")

    @property
    def audio_token(self) -> int:
        """Id of the token that holds the place of audio."""
        return int(self.model.config.audio_config.audio_token_id)

    def hear(self, clips: Sequence[Waveform]) -> list[torch.Tensor]:
        """Encode clips one by one; the official code puts each into an empty prompt of its length."""
        embed = self.model.model.embed_tokens_extend.audio_embed
        heard = []
        for clip in clips:
            sound, positions = self.official_sound(clip)
            ids = torch.full((1, positions), self.audio_token, device=self.device)
            heard.append(embed(ids, torch.zeros_like(self.embed(ids)), **sound)[0])
        return heard

    def official_sound(self, clip: Waveform) -> tuple[dict[str, torch.Tensor], int]:
        """What the feature extractor gives, which counts the positions too."""
        extractor = self.processor.feature_extractor
        sound = dict(extractor([clip], sampling_rate=extractor.sampling_rate, return_tensors="pt").to(self.device))
        return sound, int(sound["audio_embed_sizes"][0])


class Gemma3n(AudioLM):
    """Gemma 3n: audio tower and text decoder; the vision tower, which would need timm, is never built.

    The decoder adds to every layer an input that it looks up by token id, also for tokens that are fed back. Prepared
    rows hold embeddings only, so each carries the id of its token in a few further columns, which are taken off before
    the decoder runs.
    """

    model_type = "gemma3n"
    model_class = "Gemma3nForConditionalGeneration"
    released: ClassVar = {"google/gemma-3n-E4B-it": (35, 16384), "google/gemma-3n-E2B-it": (30, 8192)}
    windows = "one piece of at most 30 s"
    longest_s = 30.0  # the official feature extractor cuts longer clips
    exposure = unknown("the model card names no training corpora")

    def find_decoder(self) -> Decoder:
        """The text decoder, which takes the ids of its tokens from further columns."""
        found = super().find_decoder()
        return replace(found, backbone=_LayerInputs(found.backbone))

    @classmethod
    def load(cls, folder: Path, how: Loading) -> tuple[nn.Module, object]:
        """The model without its vision tower, and a tokenizer and feature extractor in place of a processor."""
        parts = processor_parts(folder, "Gemma3nAudioFeatureExtractor")
        return how.pretrained(blind_class(), folder), parts

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

    def hear(self, clips: Sequence[Waveform]) -> list[torch.Tensor]:
        """Encode clips one by one; each takes all places of its prompt, the rest are filled as officially."""
        inner, config = self.model.model, self.model.config
        filler = inner.embed_audio(input_ids=torch.tensor([[config.text_config.vocab_size - 1]], device=self.device))
        heard = []
        for clip in clips:
            sound, places = self.official_sound(clip)
            output = inner.get_audio_features(sound["input_features"], ~sound["input_features_mask"], return_dict=True)
            filler = filler.to(output.pooler_output)  # a model may be spread over devices
            embeddings = torch.where(output.audio_mel_mask[..., None], filler, output.pooler_output)[0]
            embeddings = torch.cat([embeddings, filler[0].expand(places - len(embeddings), -1)])
            ids = torch.full((len(embeddings),), self.audio_token, device=embeddings.device)
            heard.append(self._with_ids(embeddings, ids))
        return heard

    def tokens(self, text: str, audio_positions: int) -> list[int]:
        """Write the folder's chat template, with the marks and empty lines that the processor puts around a sound."""
        config = self.model.config
        marks = [config.boa_token_id, self.audio_token, config.eoa_token_id]
        begin, audio, end = self.tokenizer.convert_ids_to_tokens(marks)
        turn = [{"type": "audio"}] if audio_positions else []
        prompt = self.chat([{"role": "user", "content": [*turn, {"type": "text", "text": text}]}])
        prompt = prompt.replace(audio, f"\n\n{begin}{audio * audio_positions}{end}\n\n")
        return list(self.tokenizer(prompt, add_special_tokens=False)["input_ids"])

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits, capped as in the official forward."""
        cap = self.model.config.text_config.final_logit_softcapping
        logits = super().logits(hidden)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def official_sound(self, clip: Waveform) -> tuple[dict[str, torch.Tensor], int]:
        """Features and mask; every sound takes as many positions."""
        sound = self.processor.feature_extractor([clip], return_tensors="pt").to(self.device, self.model.dtype)
        return dict(sound), int(self.model.config.audio_soft_tokens_per_image)

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
