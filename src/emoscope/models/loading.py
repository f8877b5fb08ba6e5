"""How a model is to be loaded, and the classes of the transformers library by name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from emoscope.models.checkpoint import Place, places
from emoscope.models.complete import Source, locate, refuse_loaded, refuse_wrong


@dataclass(frozen=True)
class Loading:
    """How a model is to be loaded.

    Attributes:
        name: what the user asked for, for error messages.
        dtype: of the weights.
        device: where the model goes.
        attention: attention implementation of transformers.
        placement: further arguments of ``from_pretrained`` that place or quantise the weights (``device_map``,
            ``quantization_config``); the model is then not moved.
        side: name of a side checkpoint -> its folder, for families that consist of several.
        read: grows with every part that is loaded: where its weights stand.
    """

    name: str
    dtype: torch.dtype
    device: torch.device
    attention: str = "sdpa"
    placement: Mapping[str, Any] = field(default_factory=dict)
    side: Mapping[str, Path] = field(default_factory=dict)
    read: list[Source] = field(default_factory=list)

    def pretrained(self, of: str | type, folder: Path, **further: Any) -> Any:
        """Load a class of transformers, or a subclass of one: safetensors only, no code beside them, no network.

        Raises:
            FileNotFoundError: the folder holds no safetensors, or not all shards of its index.
            ValueError: a weight is missing, has another shape, or is stored in a part of the model that has no such weight.
        """
        with quiet():
            cls: Any = transformers_class(of) if isinstance(of, str) else of
            if "config" not in further and hasattr(cls, "config_class"):
                config, further = cls.config_class.from_pretrained(
                    folder, local_files_only=True, return_unused_kwargs=True, **further
                )
                further["config"] = config
            source = None
            # how the names of quantised weights are stored is known to the library that packed them
            config = further.get("config")
            if config is not None and getattr(config, "quantization_config", None) is None:
                with torch.device("meta"):
                    source, wrong = locate(cls(deepcopy(config)), folder)
                refuse_wrong(folder, wrong)
            model, info = cls.from_pretrained(
                folder, dtype=self.dtype, attn_implementation=self.attention, use_safetensors=True,
                local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True, **self.placement,
                **further,
            )  # fmt: skip
            refuse_loaded(folder, model, info)
        model = model if self.placement else model.to(self.device)
        self.read.append(replace(source, module=model) if source else locate(model, folder)[0])
        return model


def transformers_class(name: str) -> Any:
    """A class of the transformers library.

    Raises:
        ValueError: this version has no such class, or a package that it needs does not fit the others.
    """
    import transformers

    try:
        return getattr(transformers, name)
    except (AttributeError, ImportError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"transformers {transformers.__version__} cannot give {name} ({reason}): install a version from 5.17 to 5.23, "
            "and torchvision and torchaudio only in builds that fit torch"
        ) from error


def quantisation(model: Any) -> str:
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


@dataclass(frozen=True)
class Parts:
    """Has the attributes under which a processor holds the same two."""

    tokenizer: Any
    feature_extractor: Any

    @classmethod
    def from_folder(cls, folder: Path, extractor: str | None = "WhisperFeatureExtractor") -> Parts:
        """Load both from a checkpoint folder, without the network; no extractor where none is named."""
        found = [
            transformers_class(name).from_pretrained(folder, local_files_only=True) if name else None
            for name in ("AutoTokenizer", extractor)
        ]
        return cls(*found)


def fill(
    module: nn.Module, folder: Path, prefixes: tuple[str, ...], spare: re.Pattern[str], dtype: torch.dtype
) -> dict[str, Place]:
    """Fill a module on the meta device with the weights that a folder stores for it; returns where each stands.

    Args:
        module: is set to evaluation.
        folder: holds the safetensors.
        prefixes: what may stand before the module's own names; the first that fits is taken off each stored name.
        spare: names, without prefix, that are not used (matched in full).
        dtype: of the weights.

    Raises:
        ValueError: missing or unexpected names, or another shape.
    """
    from safetensors import safe_open

    stored = {}
    for place in places(folder).values():
        prefix = next((p for p in prefixes if place.name.startswith(p)), "")
        stored[place.name.removeprefix(prefix)] = place
    wanted = module.state_dict()
    refuse_wrong(
        folder,
        {
            "missing": set(wanted) - set(stored),
            "unexpected": [name for name in set(stored) - set(wanted) if not spare.fullmatch(name)],
            "of another shape": [
                f"{name} {list(stored[name].shape)}, where config.json says {list(tensor.shape)}"
                for name, tensor in wanted.items()
                if name in stored and stored[name].shape != tuple(tensor.shape)
            ],
        },
    )
    found = {name: stored[name] for name in wanted}
    tensors = {}
    for file in sorted({place.file for place in found.values()}):
        with safe_open(file, framework="pt") as opened:
            for name, place in found.items():
                if place.file == file:
                    tensors[name] = opened.get_tensor(place.name).to(dtype)
    module.load_state_dict(tensors, assign=True)
    module.eval().requires_grad_(False)
    return found
