"""What differs between families of audio-language models: what each declares and writes, and how it loads its parts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import nn

from emoscope.mistakes import first_line
from emoscope.models.checkpoint import ModelCard
from emoscope.models.complete import Source, locate, refuse_loaded, refuse_wrong
from emoscope.models.decoder import Decoder, Site, find_decoder, gated_site
from emoscope.models.values import Changes, ModelInfo, Request, Waveform, letter_forms


def unknown(source: str) -> dict[str, tuple[str, str]]:
    """The exposure of a model whose makers name no training corpora, with the place where they might."""
    return dict.fromkeys(("iemocap", "meld", "msp-podcast", "ravdess", "crema-d"), ("unknown", source))


@dataclass(frozen=True)
class Loading:
    """How a model is to be loaded."""

    name: str  # what the user asked for, for error messages
    dtype: torch.dtype
    device: torch.device
    attention: str = "sdpa"  # attention implementation of transformers
    # further arguments of ``from_pretrained`` that place or quantise the weights; the model is then not moved
    placement: Mapping[str, object] = field(default_factory=dict)
    side: Mapping[str, Path] = field(default_factory=dict)  # name of a side checkpoint -> its folder
    read: list[Source] = field(default_factory=list)  # grows with every part that is loaded: where its weights stand

    def pretrained(self, of: str | type, folder: Path, **further: Any) -> Any:
        """Load a class of transformers, or a subclass of one: safetensors only, no code beside them, no network.

        ``ValueError`` where a weight is missing, of another shape, or stored in a part of the model that has none.
        """
        with quiet():
            cls: Any = transformers_class(of) if isinstance(of, str) else of
            if "config" not in further and hasattr(cls, "config_class"):
                config, further = cls.config_class.from_pretrained(
                    folder, local_files_only=True, return_unused_kwargs=True, **further
                )
                further["config"] = config
            source, config = None, further.get("config")
            # how the names of quantised weights are stored is known to the library that packed them
            if config is not None and getattr(config, "quantization_config", None) is None:
                with torch.device("meta"):
                    source, wrong = locate(cls(deepcopy(config)), folder)
                refuse_wrong(folder, *wrong)
            safely = {"use_safetensors": True, "local_files_only": True, "output_loading_info": True}
            how = {"dtype": self.dtype, "attn_implementation": self.attention, **self.placement, **further}
            model, info = cls.from_pretrained(folder, **safely, ignore_mismatched_sizes=True, **how)
            refuse_loaded(folder, model, info)
        model = model if self.placement else model.to(self.device)
        self.read.append(replace(source, module=model) if source else locate(model, folder)[0])
        return model


def transformers_class(name: str) -> Any:
    """A class of the transformers library; ``ValueError`` where its version or packages do not fit."""
    import transformers

    try:
        return getattr(transformers, name)
    except (AttributeError, ImportError, RuntimeError) as error:
        raise ValueError(
            f"transformers {transformers.__version__} cannot give {name} ({first_line(error)}): install a version "
            "from 5.17 to 5.23, and torchvision and torchaudio only in builds that fit torch"
        ) from error


MOST_FILTERS = 4096


def from_folder(name: str, folder: Path, **further: str) -> Any:
    """What a class of transformers without weights, such as a tokenizer, reads from a folder, without the network.

    ``ValueError`` where a processor wants more mel filters than any model has: making them takes gigabytes.
    """
    for path in (folder / "processor_config.json", folder / "preprocessor_config.json"):
        try:
            found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        except ValueError:  # the class itself says what is wrong with the file
            found = {}
        found = found.get("feature_extractor", found) if isinstance(found, dict) else {}
        filters = found.get("feature_size") if isinstance(found, dict) else None
        if isinstance(filters, int | float) and filters > MOST_FILTERS:
            raise ValueError(f"{path}: feature_size {filters} is not a number of mel filters: fetch the file again")
    return transformers_class(name).from_pretrained(folder, local_files_only=True, **further)


def quantisation(model: nn.Module) -> str:
    """How the weights of a quantised model are packed, in a word or two.

    Example:
        >>> from types import SimpleNamespace as Some
        >>> quantisation(Some(config=Some(quantization_config={"quant_method": "bitsandbytes", "load_in_8bit": True})))
        'bitsandbytes 8bit'
    """
    how = getattr(model.config, "quantization_config", None)
    if how is None:
        return "packed"
    settings = how if isinstance(how, dict) else how.to_dict()
    method = settings.get("quant_method")
    bits = next((f" {bits}" for bits in ("8bit", "4bit") if settings.get(f"load_in_{bits}")), "")
    return f"{getattr(method, 'value', method)}{bits}"


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' own progress bar, which would break up the program's."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def processor_parts(folder: Path, extractor: str | None = "WhisperFeatureExtractor") -> SimpleNamespace:
    """A tokenizer and a feature extractor, if one is named, under the names of a processor's attributes."""
    tokenizer = from_folder("AutoTokenizer", folder)
    return SimpleNamespace(tokenizer=tokenizer, feature_extractor=from_folder(extractor, folder) if extractor else None)


class Family:
    """The part of a loaded model that families write or may replace; the part that all share builds on it."""

    model_type: ClassVar[str]  # ``model_type`` in config.json
    model_class: ClassVar[str]  # name of the model class in transformers
    processor_class: ClassVar[str]  # name of the processor class in transformers
    audio_first: ClassVar[bool] = True  # whether the audio stands before the question
    padding_side: ClassVar[str] = "left"  # the side on which batches are padded
    # corpus id -> whether the released model was trained on it ("yes", "no", "unknown"), and the source
    exposure: ClassVar[Mapping[str, tuple[str, str]]] = {}

    # About its checkpoints. emoscope's own families write these out, as they are read without importing the module.

    further_types: ClassVar[tuple[str, ...]] = ()  # other ``model_type`` values under which it is stored
    architectures: ClassVar[tuple[str, ...]] = ()  # those in config.json, for folders without a known ``model_type``
    side_checkpoints: ClassVar[Mapping[str, str]] = {}  # name of a further checkpoint that it needs -> name on the hub
    parts: ClassVar[tuple[str, ...]] = ()  # folders inside the model's own that hold parts of it
    released: ClassVar[Mapping[str, tuple[int, int]]] = {}  # name on the hub -> decoder layers and neurons per layer
    # that of these names, if the layout of transformers is not on the main branch
    released_revision: ClassVar[str] = ""
    windows: ClassVar[str] = ""  # how sound is cut and how long it may be, in words

    def __init__(
        self,
        model: nn.Module,
        processor: object,
        id: str,
        checksum: str,
        revision: str | None = None,
        card: ModelCard | None = None,
    ) -> None:
        self.model: Any = self.asked_part(model).eval()
        self.processor: Any = processor
        self.decoder = self.find_decoder()
        self.letters = letter_forms(self.tokenizer)
        self._changes: list[Changes] = []
        self.resumes = False  # whether passes may begin at a later layer: a proof has shown that this changes no bit
        self.most_positions: int | None = None  # of a batch, as the device's memory was full with more
        self.packs = False  # whether rows may be asked without padding: a proof has shown that answers are the same
        self.sources: tuple[Source, ...] = ()  # where its weights stand on disk; empty where that is not known
        self.info = ModelInfo(
            id=id,
            family=self.model_type,
            revision=revision,
            checksum=checksum,
            layers=self.decoder.layers,
            width=self.decoder.width,
            hidden=self.decoder.hidden,
            vocab=self.vocab,
            audio_first=self.audio_first,
            padding_side=self.padding_side,
            dtype=str(self.decoder.dtype).removeprefix("torch."),
            device=str(self.decoder.sites[0].down.weight.device),
            attention=str(getattr(self.model.config, "_attn_implementation", None) or "eager"),
            quantised=quantisation(self.model) if self.decoder.packed else None,
            **vars(card or ModelCard()),
        )

    # What a family writes.

    def hear(self, clips: Sequence[Waveform]) -> list[torch.Tensor]:
        """Embeddings (audio position, hidden) of each clip, as the decoder takes them."""
        raise NotImplementedError

    def tokens(self, text: str, audio_positions: int) -> list[int]:
        """Token ids of the whole prompt, with one audio token per audio position (none if 0)."""
        raise NotImplementedError

    @torch.inference_mode()
    def full_logits(self, requests: Sequence[Request]) -> torch.Tensor:
        """Logits (row, vocab) from the model's own forward on its own processor's inputs, for :mod:`check`."""
        return torch.cat([self._full_row(request) for request in requests])

    def _full_row(self, request: Request) -> torch.Tensor:
        """The same of one row (1, vocab), on what :meth:`official_sound` gives for its clip."""
        sound, positions = ({}, 0) if request.audio is None else self.official_sound(request.audio)
        ids = torch.tensor([self.tokens(request.text, positions)], device=self.device)
        return self.model(input_ids=ids, **sound, logits_to_keep=1).logits[:, -1].float()

    def official_sound(self, clip: Waveform) -> tuple[dict[str, torch.Tensor], int]:
        """What the model's own forward takes for a clip, and how many audio positions it makes."""
        raise NotImplementedError(f"{self.model_type} declares no official path to compare with")

    @property
    def audio_token(self) -> int:
        """Id of the token that holds the place of audio."""
        return int(self.model.config.audio_token_id)

    @property
    def audio_word(self) -> str:
        """How a text would say that token, which is refused; empty where text never becomes a special token."""
        return str(self.tokenizer.decode([self.audio_token]))

    # What a family may replace.

    @classmethod
    def load(cls, folder: Path, how: Loading) -> tuple[nn.Module, object]:
        """The model and its processor from a checkpoint folder."""
        processor = from_folder(cls.processor_class, folder)
        return how.pretrained(cls.model_class, folder), processor

    @property
    def longest_s(self) -> float | None:
        """The longest clip that the model takes, in seconds; ``None`` if there is no limit of its own."""
        return None

    @staticmethod
    def asked_part(model: nn.Module) -> nn.Module:
        """The part of a loaded model that is asked; all of it, unless it also holds what answers never pass."""
        return model

    def find_decoder(self) -> Decoder:
        """The text decoder, found by structure."""
        return find_decoder(self.model, self.site)

    @staticmethod
    def site(name: str, mlp: nn.Module) -> Site:
        """The neurons of one layer's MLP."""
        return gated_site(name, mlp)

    def embed_answer(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings of answer tokens that are fed back, (row, 1) to (row, 1, hidden)."""
        return self.embed(ids)

    @property
    def tokenizer(self) -> Any:
        """That of the processor."""
        return self.processor.tokenizer

    @property
    def head(self) -> Any:
        """The output head: hidden state to logits over the vocabulary."""
        return self.model.get_output_embeddings()

    @property
    def vocab(self) -> int:
        """Size of the vocabulary that text is written with."""
        return int(self.head.weight.shape[0])

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Embeddings of token ids, (...,) to (..., hidden)."""
        return self.model.get_input_embeddings()(ids)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits float32 over the vocabulary from the decoder's output, (row, hidden) to (row, vocab)."""
        return self.head(hidden.to(self.head.weight.device)).float()

    # What follows from the model itself.

    def chat(self, turns: Sequence[Mapping[str, object]]) -> str:
        """The prompt that the folder's own template makes of the turns of a chat."""
        return str(self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False))

    def _all_clips(self, requests: Sequence[Request]) -> list[Waveform]:
        """The clips of requests of which all have sound, or none."""
        clips = [request.audio for request in requests if request.audio is not None]
        if len(clips) not in (0, len(requests)):
            raise ValueError("either all requests have audio or none")
        return clips

    @property
    def device(self) -> torch.device:
        """Where the decoder's inputs go."""
        return self.model.get_input_embeddings().weight.device

    @cached_property
    def stop_tokens(self) -> torch.Tensor:
        """Ids of the tokens that end an answer."""
        stop = self.model.generation_config.eos_token_id
        ids = set(stop if isinstance(stop, list | tuple) else [stop]) | {self.tokenizer.eos_token_id}
        return torch.tensor(sorted(i for i in ids if i is not None), device=self.device)
