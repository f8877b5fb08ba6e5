"""The family of Kimi-Audio."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from emoscope.corpora.audio import RATE
from emoscope.models.audio_lm import AudioLM
from emoscope.models.checkpoint import read_json
from emoscope.models.complete import fill
from emoscope.models.families.kimi_tokenizers import KimiTokenizer, VoiceTokenizer, cut, run_pieces
from emoscope.models.family import Loading, from_folder, transformers_class
from emoscope.models.values import Request, Waveform

REPORT = "Kimi-Audio Technical Report, table 1: datasets of supervised fine-tuning"
NOT_ENCODER = re.compile(r"(model\.)?decoder\..*|proj_out\..*")  # the half of Whisper that is stored but not used
FRAMES = 4  # Whisper frames (20 ms) that one position hears
ANSWER_IN_TEXT = "<|im_kimia_speech_ct_id|>"  # stands after the last sound of a turn that is to be answered in text

# entries of config.json that the text branch needs, and those that are given anew, or that name code and types
NEEDED = ("kimia_token_offset", "kimia_text_output_vocab", "kimia_adaptor_input_dim")
NOT_OURS = re.compile("auto_map|model_type|architectures|rope_(theta|scaling|parameters)|(torch_)?dtype")
# stored beside the text branch: the layers that write speech, and frequencies that follow from the configuration
SPARE = re.compile(r"(model\.)?mimo_.*|model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")


class KimiConfig(Qwen2Config):
    """The configuration of a Qwen2 decoder with the ``kimia_`` entries of the checkpoint."""

    model_type = "kimi_audio"

    @classmethod
    def from_raw(cls, raw: Mapping[str, Any], name: str) -> KimiConfig:
        """Take over a config.json as the released checkpoints have it; ``ValueError`` where an entry is missing."""
        rope = raw.get("rope_parameters") or {}  # so it stands in folders that transformers 5 has written
        missing = [entry for entry in NEEDED if entry not in raw]
        if missing or "rope_theta" not in {**raw, **rope}:
            raise ValueError(
                f"config.json of model {name!r} has no {', '.join(missing or ['rope_theta'])}: "
                "it is no Kimi-Audio model"
            )
        if not raw.get("use_whisper_feature", True):
            raise ValueError(f"model {name!r} takes no Whisper features: only Kimi-Audio models that do are supported")
        if not rope:
            rope = {"rope_type": "default", **(raw.get("rope_scaling") or {}), "rope_theta": float(raw["rope_theta"])}
        kept = {entry: value for entry, value in raw.items() if not NOT_OURS.fullmatch(entry)}
        return cls(**kept, rope_parameters=rope, architectures=["MoonshotKimiaForCausalLM"])


class Adaptor(nn.Module):
    """Whisper features (..., 4 x encoder width) to the decoder's width; named as in the checkpoint."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(config.kimia_adaptor_input_dim, config.hidden_size),
            nn.SiLU(),
            nn.Identity(),  # a dropout in training: keeps the number of what follows
            nn.Linear(config.hidden_size, config.hidden_size),
            nn.LayerNorm(config.hidden_size, eps=config.rms_norm_eps),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Embeddings (..., hidden)."""
        return cast(torch.Tensor, self.layers(features))


class KimiDecoder(Qwen2ForCausalLM):
    """Qwen2 with the adaptor; its layers, norm and head are the model's whole path to text."""

    config_class = KimiConfig
    _keys_to_ignore_on_load_unexpected = [SPARE.pattern]  # noqa: RUF012 (so declared in transformers)

    def __init__(self, config: KimiConfig) -> None:
        super().__init__(config)
        self.model.vq_adaptor = Adaptor(config)

    def heard(self, codes: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """What a clip adds at its positions to the text stream, (position, hidden).

        From ids (position,) of codes in the vocabulary, and Whisper features (position, 4 x encoder width).
        """
        table: Any = self.get_input_embeddings()
        code = table(codes.to(table.weight.device))
        adapted = self.model.vq_adaptor(features.to(code))
        # the root in the model's own precision, as in the official code
        return (code + adapted.to(code)) * torch.tensor(2.0, dtype=code.dtype, device=code.device).sqrt()

    def merge(
        self, audio: torch.Tensor, text: torch.Tensor, masked: torch.Tensor, features: torch.Tensor | None
    ) -> torch.Tensor:
        """Embeddings (position, hidden) of one prompt from both of its streams, at full length as officially written.

        The slow way that :meth:`heard` is checked against. ``masked`` are the positions that hear the clip; Whisper
        features (frame, 4 x encoder width) are as many or more, ``None`` without sound.
        """
        table: Any = self.get_input_embeddings()
        embedded = table(audio)
        if features is not None:
            spread = features.new_zeros(len(audio), features.shape[1]).to(embedded)
            spread[masked] = features[: int(masked.sum())].to(embedded)
            adapted = self.model.vq_adaptor(spread) * masked[:, None]
            both = (embedded + adapted) * torch.tensor(2.0, dtype=embedded.dtype, device=embedded.device).sqrt()
            embedded = embedded * ~masked[:, None] + both * masked[:, None]
        return embedded + table(text)


@dataclass(frozen=True)
class KimiProcessor:
    """What turns text and sound into decoder inputs: tokenizer, speech codes, Whisper's encoder and its mel."""

    tokenizer: KimiTokenizer
    codes: VoiceTokenizer
    whisper: Any
    mel: Any

    @torch.inference_mode()
    def features(self, clips: Sequence[Waveform]) -> list[torch.Tensor]:
        """Whisper features (position, 4 x encoder width) of each clip.

        A clip is cut into pieces of the encoder's window (30 s), each filled with silence on its own, so that clips of
        one batch do not matter to each other.
        """
        pieces = [(i, piece) for i, clip in enumerate(clips) for piece in cut(clip, int(self.mel.n_samples))]
        return run_pieces(pieces, len(clips), self._encode)

    def _encode(self, pieces: Sequence[Waveform]) -> list[torch.Tensor]:
        weight = self.whisper.conv1.weight
        mel = self.mel(list(pieces), sampling_rate=RATE, return_tensors="pt")["input_features"]
        states = self.whisper(mel.to(weight.device, weight.dtype)).last_hidden_state
        positions = [-(-len(piece) // self.codes.samples_per_code) for piece in pieces]
        return [state[: FRAMES * own].reshape(own, -1) for state, own in zip(states, positions, strict=True)]


class KimiAudio(AudioLM):
    """Kimi-Audio (7B and 7B-Instruct): Whisper features and speech codes in an audio stream, beside a text stream.

    At every position but those of the sound one of the two streams is blank, and a position's embedding is the sum
    over both streams: so a prompt is one row of tokens, each embedded together with the blank.
    """

    model_type = "kimi_audio"
    model_class = "MoonshotKimiaForCausalLM"
    audio_first = False
    architectures = ("MoonshotKimiaForCausalLM",)
    side_checkpoints: ClassVar = {"audio_tokenizer": "zai-org/glm-4-voice-tokenizer"}
    parts = ("whisper-large-v3",)
    released: ClassVar = {"moonshotai/Kimi-Audio-7B-Instruct": (28, 18944), "moonshotai/Kimi-Audio-7B": (28, 18944)}
    windows = "pieces of 30 s, filled with silence"
    audio_word = ""
    exposure: ClassVar[Mapping[str, tuple[str, str]]] = {
        **dict.fromkeys(("ravdess", "iemocap", "meld", "savee", "esd"), ("yes", REPORT)),
        **dict.fromkeys(("crema-d", "msp-podcast"), ("unknown", f"not in {REPORT}; pre-training data are not named")),
    }

    @classmethod
    def load(cls, folder: Path, how: Loading) -> tuple[nn.Module, object]:
        """The text branch, and what hears: both encoders and the tokenizer. No code of the folder is run."""
        tokenizer = KimiTokenizer.from_folder(folder)
        codes = VoiceTokenizer.from_folder(how.side["audio_tokenizer"], how.device, how.read)
        whisper, mel = _whisper(folder / cls.parts[0], how)
        config = KimiConfig.from_raw(read_json(folder / "config.json"), how.name)
        _fit(config, tokenizer, codes, whisper, how.name)
        model = how.pretrained(KimiDecoder, folder, config=config)
        return model, KimiProcessor(tokenizer, codes, whisper, mel)

    @property
    def audio_token(self) -> int:
        """The blank: where both streams are blank, the sound goes."""
        return self.processor.tokenizer.special["<|im_kimia_text_blank|>"]

    @cached_property
    def stop_tokens(self) -> torch.Tensor:
        """The end of text alone: other ends are of the audio stream."""
        return torch.tensor([self.tokenizer.eos_token_id], device=self.device)

    @property
    def vocab(self) -> int:
        """Size of the vocabulary that text is written with; what follows are speech codes."""
        return int(self.model.config.kimia_text_output_vocab)

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings of tokens of which each stands in one stream while the other is blank."""
        table = self.model.get_input_embeddings()
        return table(ids) + table(torch.full_like(ids, self.audio_token))

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits over the text vocabulary."""
        return super().logits(hidden)[..., : self.vocab]

    @torch.inference_mode()
    def hear(self, clips: Sequence[Waveform]) -> list[torch.Tensor]:
        """Code and Whisper features of each position, joined, with the text stream blank."""
        table = self.model.get_input_embeddings()
        blank = table(torch.tensor(self.audio_token, device=self.device))
        heard = zip(self.processor.codes(clips), self.processor.features(clips), strict=True)
        return [self.model.heard(codes + self._first_code, features) + blank for codes, features in heard]

    def tokens(self, text: str, audio_positions: int) -> list[int]:
        """The question first, then the sound, as in the official examples; the blank stands for each audio position."""
        special = self.tokenizer.special
        question = self.tokenizer.encode(text)
        sound = []
        if audio_positions:
            blanks = [self.audio_token] * audio_positions
            sound = [special["<|im_media_begin|>"], *blanks, special["<|im_media_end|>"], special[ANSWER_IN_TEXT]]
        start, end = special["<|im_kimia_user_msg_start|>"], special["<|im_msg_end|>"]
        return [start, *question, *sound, end, special["<|im_kimia_assistant_msg_start|>"]]

    def _full_row(self, request: Request) -> torch.Tensor:
        """Logits (1, text vocabulary) the slow way: both streams written out message by message, no padding or cache."""
        blank, features = self.audio_token, None

        def mark(name: str) -> tuple[int, int, bool]:
            return self.tokenizer.special[name], blank, False

        question = [(blank, token, False) for token in self.tokenizer.encode(request.text)]
        streams = [mark("<|im_kimia_user_msg_start|>"), *question]
        if request.audio is not None:
            (codes,), (features,) = self.processor.codes([request.audio]), self.processor.features([request.audio])
            sound = [(code + self._first_code, blank, True) for code in codes.tolist()]
            streams += [mark("<|im_media_begin|>"), *sound, mark("<|im_media_end|>"), mark(ANSWER_IN_TEXT)]
        streams += [mark("<|im_msg_end|>"), mark("<|im_kimia_assistant_msg_start|>")]
        audio, text, masked = (torch.tensor(stream, device=self.device) for stream in zip(*streams, strict=True))
        merged = self.model.merge(audio, text, masked, features)
        return self.model(inputs_embeds=merged[None], use_cache=False).logits[:, -1, : self.vocab].float()

    @property
    def _first_code(self) -> int:
        return int(self.model.config.kimia_token_offset)


def _whisper(folder: Path, how: Loading) -> tuple[Any, Any]:
    """The encoder half of the Whisper model in a folder, and its feature extractor."""
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    if not (folder / "config.json").is_file():
        lacking = f"the folder {folder.name} with Whisper"
        raise FileNotFoundError(f"model {how.name!r} lacks {lacking}: fetch the model again")
    config = from_folder("WhisperConfig", folder, attn_implementation=how.attention)
    with torch.device("meta"):
        encoder: Any = WhisperEncoder(config)
    how.read.append(fill(encoder, folder, NOT_ENCODER, how.dtype))
    # two mel frames of 160 samples make a position of the encoder: 30 s in the released model
    window_s = config.max_source_positions * 2 * 160 // RATE
    mel = transformers_class("WhisperFeatureExtractor")(feature_size=config.num_mel_bins, chunk_length=window_s)
    return encoder.to(how.device), mel


def _fit(config: KimiConfig, tokenizer: KimiTokenizer, codes: VoiceTokenizer, whisper: Any, name: str) -> None:
    """Raise ``ValueError`` where the parts of the model do not belong together."""
    book, width = codes.encoder.codebook.num_embeddings, FRAMES * whisper.config.d_model
    offset, vocabulary = int(config.kimia_token_offset), int(config.vocab_size)
    tokens, text = len(tokenizer), int(config.kimia_text_output_vocab)
    if offset + book > vocabulary:
        reason = f"{book} codes from {offset} on do not fit a vocabulary of {vocabulary}: take the speech tokenizer "
        reason += KimiAudio.side_checkpoints["audio_tokenizer"]
    elif width != config.kimia_adaptor_input_dim:
        reason = f"Whisper gives {width} features, {config.kimia_adaptor_input_dim} are taken"
    elif tokens > text:
        reason = f"the tokenizer has {tokens} tokens, the text vocabulary {text}"
    else:
        return
    raise ValueError(f"the parts of model {name!r} do not belong together: {reason}")
