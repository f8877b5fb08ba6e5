"""Load a model by name or folder, and say which families are known."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from emoscope.models.audio_lm import AudioLM
from emoscope.models.checksums import module_checksum, weights_checksum
from emoscope.models.lookup import FAMILIES, find_folder, known_type, read_card, read_json


def load_model(
    id_or_path: str | Path,
    dtype: str = "auto",
    device: str = "auto",
    revision: str | None = None,
    attention: str = "sdpa",
) -> AudioLM:
    """Load an audio-language model in the ordinary Hugging Face layout.

    Only safetensors are read, and no code that lies beside them is run.

    Args:
        id_or_path: ``"tiny"`` (the embedded model), a folder, or a name on the hub such as
            ``"nvidia/audio-flamingo-3-hf"``.
        dtype: ``"auto"`` (float32 on a CPU, else the checkpoint's) or the name of a torch dtype.
        device: ``"auto"`` (CUDA where there is one, else the CPU) or a torch device.
        revision: branch, tag or commit on the hub.
        attention: attention implementation of transformers.

    Raises:
        FileNotFoundError: neither a folder nor reachable on the hub.
        ValueError: an unknown family, no safetensors, an unknown dtype, or a device that is not there.

    Example:
        >>> from emoscope.models.registry import load_model
        >>> load_model("no-such-folder")
        Traceback (most recent call last):
        ...
        FileNotFoundError: model 'no-such-folder' is no folder here, and names on the hub look like 'owner/name'...
    """
    name, where = str(id_or_path), _device(device)
    folder, commit = find_folder(name, revision)
    config = read_json(folder / "config.json")
    family = _family(config, name)
    if not any(folder.glob("*.safetensors")):
        raise ValueError(
            f"{folder} holds no .safetensors weights: other formats (.bin, .pt) can run code when read; "
            "convert them, or take another revision"
        )
    with _quiet():
        model = _class(family.model_class).from_pretrained(
            folder,
            dtype=_dtype(dtype, where, config),
            attn_implementation=attention,
            use_safetensors=True,
            local_files_only=True,
        )
    processor = _class(family.processor_class).from_pretrained(folder, local_files_only=True)
    card = read_card(folder)
    return family(model.to(where), processor, name, weights_checksum(folder), commit, card)


def wrap(model: Any, processor: Any, id: str | None = None) -> AudioLM:
    """Take a model that is already loaded.

    Args:
        model: a model of a known family, as transformers loaded it; it is put into evaluation mode.
        processor: its processor.
        id: a name for reports; its ``name_or_path`` if ``None``.

    Raises:
        ValueError: an unknown family.
    """
    config = model.config.to_dict()
    name = id or getattr(model, "name_or_path", "") or type(model).__name__
    return _family(config, name)(model, processor, name, module_checksum(model))


def list_models() -> tuple[str, ...]:
    """The ``model_type`` of each known family."""
    return tuple(sorted(FAMILIES))


def _family(config: Mapping[str, Any], name: str) -> type[AudioLM]:
    from importlib import import_module

    module, family = FAMILIES[known_type(config, name)]
    found: type[AudioLM] = getattr(import_module(module), family)
    return found


def _device(device: str) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        where = torch.device(device)
        torch.empty(1, device=where).tolist()  # a name may be known and the device not there
    except (RuntimeError, AssertionError) as error:  # the latter from builds without CUDA
        raise ValueError(f'device {device!r} cannot be used on this machine: give "auto", "cpu" or "cuda"') from error
    return where


def _dtype(dtype: str, device: torch.device, config: Mapping[str, Any]) -> torch.dtype:
    if dtype == "auto":
        text = config.get("text_config") or {}
        stored = [config.get("dtype"), config.get("torch_dtype"), text.get("dtype"), text.get("torch_dtype"), "float32"]
        dtype = "float32" if device.type == "cpu" else next(str(s) for s in stored if s)
    found = getattr(torch, dtype, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f'dtype {dtype!r} is not known: give "auto", "float32", "bfloat16" or "float16"')
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own progress bar, which would break up the program's."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _class(name: str) -> Any:
    import transformers

    return getattr(transformers, name)
