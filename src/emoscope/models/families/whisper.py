"""Families that hear with an encoder in the build of Whisper's: those of Qwen and of Audio Flamingo, and Voxtral."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from emoscope.models.audio_lm import AudioLM
from emoscope.models.family import Loading, from_folder, processor_parts, transformers_class, unknown
from emoscope.models.values import Prepared, Request, Waveform

REPORT = "arXiv:2407.10759 gives hours of training data and names no corpora"
HELD_OUT = f"{REPORT}; it evaluates on parts of this one and says that its evaluation data are not in training"
SILENCE = 1600  # samples after the longest clip: its last mel frame reaches past its end, where silence is officially

MIXTURE = (
    "training mixture audio_speech_all in llava/data/registry/mixtures.yaml of NVIDIA/audio-flamingo, branch "
    "audio_flamingo_3"
)
CARD = f"training datasets of the model card; {MIXTURE}"
BACKBONE = "fine-tuned from Audio Flamingo 3 (arXiv:2511.10289), which was trained on it: "
LEAST_SAMPLES = 321  # a window needs three mel frames to give an audio position


def _mel(extractor: Any, clips: Sequence[Waveform], **further: int) -> Any:
    """Log-mel features (clip, mel, frame) and their attention mask, all clips padded to one length."""
    how = {"padding": "max_length", "return_attention_mask": True, "return_tensors": "pt", **further}
    return extractor(list(clips), sampling_rate=extractor.sampling_rate, **how)


@contextmanager
def _shortened(encoder: Any, heard: torch.Tensor) -> Iterator[int]:
    """Let an encoder take windows of fewer mel frames than officially: as many as the longest clip needs, and says.

    Right for encoders that leave out what fills a window, and for clips of one window each; of longer ones the longest
    window is whole. The convolutions read no further than two frames past a clip's end.

    Args:
        heard: 1 where a frame is heard, (window, frame).
    """
    whole, most = encoder.embed_positions.weight, encoder.config.max_source_positions
    positions = min(most, int(heard.sum(-1).max()) // 2 + 2)
    # the official code adds one to each position, and asks for as many
    encoder.embed_positions.weight = nn.Parameter(whole[:positions], requires_grad=False)
    encoder.config.max_source_positions = positions
    try:
        yield 2 * positions
    finally:
        encoder.embed_positions.weight, encoder.config.max_source_positions = whole, most


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
        extractor, encoder = self.processor.feature_extractor, self.model.model.audio_tower
        sounds = _mel(extractor, clips)
        with _shortened(encoder, sounds["attention_mask"]) as frames:
            return self._encoded(sounds["input_features"][..., :frames], sounds["attention_mask"].sum(-1))

    def _encoded(self, features: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
        from transformers.masking_utils import create_bidirectional_mask

        inside = self.model.model
        encoder = inside.audio_tower
        features = features.to(encoder.device, encoder.dtype)
        convolved, positions = encoder._get_feat_extract_output_lengths(lengths)
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


class AudioFlamingo3(AudioLM):
    """Audio Flamingo 3: Whisper encoder, projector, Qwen2 decoder; up to 10 minutes in windows of 30 s."""

    model_type = "audioflamingo3"
    model_class = "AudioFlamingo3ForConditionalGeneration"
    processor_class = "AudioFlamingo3Processor"
    released: ClassVar = {"nvidia/audio-flamingo-3-hf": (28, 18944)}
    windows = "windows of 30 s, up to 10 min"
    masks = True  # whether the encoder leaves out what fills a window
    timed = False  # whether marks stand around the sound, and the time of each window in its embeddings
    # IEMOCAP's test split also evaluates the model
    exposure: ClassVar[Mapping[str, tuple[str, str]]] = {
        **dict.fromkeys(("iemocap", "ravdess", "crema-d"), ("yes", MIXTURE)),
        **dict.fromkeys(("meld", "msp-podcast", "tess", "emov-db", "jl-corpus", "omg-emotion"), ("yes", CARD)),
    }

    @property
    def longest_s(self) -> float:
        """600 s in the released files; the official processor cuts longer clips without an error."""
        return float(self.processor.max_audio_len)

    def hear(self, clips: Sequence[Waveform]) -> list[torch.Tensor]:
        """Encode clips; a clip longer than the encoder's window becomes several windows."""
        # no padding=True: every window is filled, so that an encoder which hears that hears the same in every batch
        sounds = self.processor(text=[self.processor.audio_token] * len(clips), audio=list(clips))
        positions = (sounds["input_ids"] == self.audio_token).sum(1).tolist()
        encoder = self.model.model.audio_tower
        features, mask, ids = (sounds[name] for name in ("input_features", "input_features_mask", "input_ids"))
        with _shortened(encoder, mask) if self.masks else nullcontext(features.shape[-1]) as frames:
            given = [features[..., :frames].to(encoder.device, encoder.dtype), mask[:, :frames].to(encoder.device)]
            given += [ids.to(encoder.device)] if self.timed else []
            embeddings: torch.Tensor = self.model.get_audio_features(*given, return_dict=True).pooler_output
        return list(embeddings.split(positions))

    def tokens(self, text: str, audio_positions: int) -> list[int]:
        """Write the chat template with the audio token repeated before the text is cut into tokens."""
        prompt, inside = self._prompt(text, audio_positions > 0), self.processor
        sound = inside.audio_token * audio_positions
        if self.timed and audio_positions:
            sound = f"{inside.audio_bos_token}{sound}{inside.audio_eos_token}"
        return list(self.tokenizer(prompt.replace(inside.audio_token, sound))["input_ids"])

    @torch.inference_mode()
    def full_logits(self, requests: Sequence[Request]) -> torch.Tensor:
        """Logits of the first answer token from the official processor and forward, (row, vocab)."""
        clips = self._all_clips(requests)
        texts = [self._prompt(request.text, bool(clips)) for request in requests]
        inputs = self.processor(text=texts, audio=clips or None).to(self.device, self.model.dtype)
        return self.model(**inputs, logits_to_keep=1).logits[:, -1].float()

    def _prompt(self, text: str, with_audio: bool) -> str:
        turn = [{"type": "audio"}] if with_audio else []
        chat = [{"role": "user", "content": [*turn, {"type": "text", "text": text}]}]
        return str(self.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False))


class MusicFlamingo(AudioFlamingo3):
    """Music Flamingo: Audio Flamingo 3 with marks around the sound and the time of each window in its embeddings.

    Clips of up to 20 minutes, the folder's own chat template and system prompt.
    """

    model_type = "musicflamingo"
    model_class = "MusicFlamingoForConditionalGeneration"
    processor_class = "MusicFlamingoProcessor"
    released: ClassVar = {"nvidia/music-flamingo-2601-hf": (28, 18944)}
    windows = "windows of 30 s, up to 20 min"
    timed = True
    exposure: ClassVar[Mapping[str, tuple[str, str]]] = {
        corpus: (seen, BACKBONE + source) for corpus, (seen, source) in AudioFlamingo3.exposure.items()
    }

    def hear(self, clips: Sequence[Waveform]) -> list[torch.Tensor]:
        """Encode clips without ends too short to give an audio position.

        The official code counts windows by their audio positions: one without any would shift the next clip's times.
        """
        extractor = self.processor.feature_extractor
        window = int(extractor.chunk_length * extractor.sampling_rate)
        ends = [len(clip) % window if len(clip) > window else window for clip in clips]
        short = [end if end < LEAST_SAMPLES else 0 for end in ends]
        return super().hear([clip[: len(clip) - end] for clip, end in zip(clips, short, strict=True)])


class GlmAsr(AudioFlamingo3):
    """GLM-ASR: Audio Flamingo 3's way of hearing, with an encoder of its own and a Llama decoder."""

    model_type = "glmasr"
    model_class = "GlmAsrForConditionalGeneration"
    processor_class = "GlmAsrProcessor"
    released: ClassVar = {"zai-org/GLM-ASR-Nano-2512": (28, 6144)}
    windows = "windows of 30 s"
    masks = False
    exposure = unknown("the model card and github.com/zai-org/GLM-ASR name no training corpora")

    @property
    def longest_s(self) -> float:
        """630 s in the released files: of the 655 s that they name, the processor takes the whole windows."""
        window = float(self.processor.feature_extractor.chunk_length)
        return self.processor.max_audio_len // window * window


class Voxtral(AudioLM):
    """Voxtral: Whisper encoder on blocks of 30 s, projector, Llama decoder; prompts made from tekken.json.

    A clip is filled up with silence to whole blocks, which the model hears too.
    """

    model_type = "voxtral"
    model_class = "VoxtralForConditionalGeneration"
    processor_class = "VoxtralProcessor"
    released: ClassVar = {"mistralai/Voxtral-Mini-3B-2507": (30, 8192), "mistralai/Voxtral-Small-24B-2507": (40, 32768)}
    windows = "blocks of 30 s, filled with silence that the model hears too"
    exposure = unknown("arXiv:2507.13264 names no training corpora")

    @classmethod
    def load(cls, folder: Path, how: Loading) -> tuple[nn.Module, object]:
        """Load the model, and its tokenizer from tekken.json: the folder holds no tokenizer.json and no template."""
        extractor = from_folder("WhisperFeatureExtractor", folder)
        processor = transformers_class(cls.processor_class)(extractor, read_tekken(folder / "tekken.json"))
        return how.pretrained(cls.model_class, folder), processor

    def hear(self, clips: Sequence[Waveform]) -> list[torch.Tensor]:
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

    def official_sound(self, clip: Waveform) -> tuple[dict[str, torch.Tensor], int]:
        """The blocks: two mel frames become a position of the encoder, four of these one of the decoder."""
        blocks = self._blocks(clip)
        return {"input_features": blocks.to(self.device, self.model.dtype)}, len(blocks) * blocks.shape[-1] // 8

    def _blocks(self, clip: Waveform) -> torch.Tensor:
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
