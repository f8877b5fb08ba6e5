"""Load a model by name or folder, or take one that is loaded, and try whether it can be asked."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch import nn

from emoscope.corpora.audio import RATE
from emoscope.mistakes import first_line, opening
from emoscope.models.audio_lm import AudioLM
from emoscope.models.checkpoint import read_card, read_json, scan_weights
from emoscope.models.complete import locate_given, refuse_not_finite, refuse_not_finite_files
from emoscope.models.decoder import stored
from emoscope.models.families import known_family, text_config
from emoscope.models.family import Loading, transformers_class
from emoscope.models.lookup import check_folders, find_folder, find_sides, look_up, model_folders
from emoscope.models.values import Request

NEEDING = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}  # attention -> its package
ATTENTION = ("sdpa", "eager", "flex_attention", *NEEDING)  # those of transformers; others would be fetched as code

TRIAL_S = 1.0  # length of the sound with which a loaded model is tried, in seconds
TEMPLATE_LINES = 300_000  # lines that a chat template may run for four short prompts; released ones run some hundred


def load_model(
    id_or_path: str | Path,
    dtype: str = "auto",
    device: str = "auto",
    revision: str | None = None,
    attention: str = "sdpa",
    side: Mapping[str, str | Path] | None = None,
    device_map: str | Mapping[str, str | int] | None = None,
    quantise: str | None = None,
) -> AudioLM:
    """Load an audio-language model in the ordinary Hugging Face layout: only safetensors, and no code beside them.

    Args:
        id_or_path: ``"tiny"`` (the embedded model), a folder, or a name on the hub: ``"nvidia/audio-flamingo-3-hf"``.
        dtype: ``"auto"`` (float32 on a CPU, else the checkpoint's) or the name of a torch dtype.
        device: ``"auto"`` (CUDA where there is one, else the CPU) or a torch device.
        revision: branch, tag or commit on the hub.
        side: folders or hub names of further checkpoints, such as ``{"audio_tokenizer": ...}`` for Kimi-Audio; by
            default they are looked for beside the model.
        device_map: ``"auto"`` spreads the layers over all devices (needs the package accelerate).
        quantise: ``"8bit"`` or ``"4bit"`` (needs the package bitsandbytes); weights cannot be edited then.

    ``FileNotFoundError`` for neither a folder nor a name that the hub gives; ``ValueError`` for an unknown family or
    dtype, a device that is not there, no safetensors, or weights that are missing, unexpected, of another shape or not
    finite.

    Example:
        >>> from emoscope.models.registry import load_model
        >>> load_model("no-such-folder")
        Traceback (most recent call last):
        ...
        FileNotFoundError: model 'no-such-folder' is no folder here, and names on the hub look like 'owner/name'...
    """
    name, where = str(id_or_path), _device(device)
    _refuse_attention(attention)
    placement = _placement(device_map, quantise, where)
    folder, commit = find_folder(name, revision)
    declared = look_up(str(folder), side).family  # what a look at the folder shows is said before anything is loaded
    family = declared.load()
    beside = find_sides(declared, folder, side or {}, name)
    check_folders(declared, folder, beside)
    how = Loading(name, _dtype(dtype, where, read_json(folder / "config.json")), where, attention, placement, beside)
    card = read_card(folder)
    with opening(f"model {name!r} cannot be opened"):
        model, processor = family.load(folder, how)
    if absent := [key for key, weight in model.named_parameters() if weight.device.type == "meta"]:
        # weights that were left on disk or on the host are on the device for a moment only, where none can read them
        raise ValueError(
            f"model {name!r} does not fit on the devices: {len(absent)} weights ({absent[0]} ...) were left elsewhere; "
            "take a smaller dtype, quantise it, or give more devices"
        )
    checksum, not_finite = scan_weights(*model_folders(declared, folder, beside))
    refuse_not_finite_files(how.read, not_finite)
    if how.dtype == torch.float16:
        refuse_not_finite(model, name)
    loaded = _askable(partial(family, model, processor, name, checksum, commit, card), name)
    loaded.sources = tuple(how.read)
    return loaded


def wrap(model: object, processor: object, id: str | None = None, family: type[AudioLM] | None = None) -> AudioLM:
    """Take a model that is already loaded, and put it into evaluation mode.

    ``id`` is a name for reports, by default the model's ``name_or_path``; ``family`` is by default found by the
    ``model_type``. ``ValueError`` for an unknown family, what is not a model and its processor, a weight that is not
    finite, or one that is in no file of the folder that the model was loaded from.
    """
    if wrong := _given_instead(model, processor):
        raise ValueError(wrong)
    given: Any = model
    folder = str(getattr(model, "name_or_path", ""))
    name = id or folder or type(model).__name__
    chosen = family or known_family(given.config.to_dict(), name).load()
    refuse_not_finite(given, name)
    loaded = _askable(partial(chosen, given, processor, name, module_checksum(given)), name)
    loaded.sources = locate_given(loaded.model, folder)
    return loaded


def module_checksum(model: nn.Module) -> str:
    """Sha256 (hex) over the tensors of a module that is already in memory, in the order of their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        # bytes of any dtype, bfloat16 too, which numpy does not know; packed tensors by their parts
        for part in stored(tensor.detach()):
            digest.update(part.contiguous().flatten().cpu().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _given_instead(model: object, processor: object) -> str:
    """What people give in place of a model and its processor, and what to give; empty where nothing is wrong."""
    kind = type(model).__name__
    if isinstance(model, str | Path):
        return f"wrap takes a model that is already loaded, not its name: load_model({str(model)!r}) loads it"
    if not isinstance(model, nn.Module):
        if isinstance(processor, nn.Module):
            return "model and processor are swapped: give wrap(model, processor)"
        return f"a {kind} is not a model: give wrap(model, processor), as transformers loaded them"
    if isinstance(processor, nn.Module):
        return "two models are given: give wrap(model, processor), with the processor of the model"
    unseen = "and what runs inside it cannot be seen or changed"
    if hasattr(model, "_orig_mod") or any(name.endswith("_orig_mod") for name, _ in model.named_modules()):
        remedy = "give the model as it was before (of a model that was compiled whole, model._orig_mod)"
        return f"the model was compiled by torch.compile, {unseen}: {remedy}"
    if any(module._compiled_call_impl is not None for module in model.modules()):
        remedy = "load it anew and give it before it is compiled"
        return f"the model was compiled in place by its method compile(), {unseen}: {remedy}"
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return f"the model is wrapped in {kind}: give the model inside it, model.module"
    if hasattr(model, "peft_config"):
        remedy = "join them with its weights first, model = model.merge_and_unload()"
        return f"the model holds adapters of the package peft: {remedy}"
    if not hasattr(getattr(model, "config", None), "to_dict"):
        return f"a {kind} has no configuration of transformers: give a model that it loaded"
    if not hasattr(processor, "tokenizer"):
        what = "a tokenizer" if hasattr(processor, "get_vocab") else f"a {type(processor).__name__}"
        return (
            f"{what} is given where the processor of the model belongs, which also turns sound into features: give "
            "wrap(model, processor), with processor = AutoProcessor.from_pretrained(...) or the class that the family "
            "names"
        )
    return ""


def _askable(make: Callable[[], AudioLM], name: str) -> AudioLM:
    """The family's model, after one prompt with sound and one without were written on trial; else ``ValueError``."""
    remedy = "tokenizer, processor and weights do not belong together; fetch the model again"
    with opening(f"model {name!r} cannot be used", remedy):
        made = make()
    cannot = f"model {name!r} cannot be asked"
    if lacking := [letter for letter in "AB" if letter not in made.letters]:
        raise ValueError(
            f"{cannot}: no token of its tokenizer says {' or '.join(lacking)}, so it is missing, or of another model: "
            "fetch the model again"
        )
    texts = ["Which one? (A) or (B)", "Say (A) or (B)."]
    sound = np.random.default_rng(0).normal(0, 0.05, int(TRIAL_S * RATE)).astype(np.float32)
    try:
        with _template_that_ends():
            rows = made.prepare([Request(audio, text, ("A", "B")) for text in texts for audio in (None, sound)])
        assert len(made.stop_tokens)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # whatever it is, the text and the sound are this module's own
        raise ValueError(
            f"{cannot} ({type(error).__name__}: {first_line(error)}): its tokenizer, chat template or "
            "feature extractor is missing, or of another model; fetch the model again"
        ) from error
    if torch.equal(rows[0].embeddings, rows[2].embeddings):
        raise ValueError(f"{cannot}: its chat template leaves the question out; fetch the model again")
    return made


@contextmanager
def _template_that_ends() -> Iterator[None]:
    """Stop a chat template that loops on and on: it cannot reach anything outside it, but nothing ends its loops."""
    left = TEMPLATE_LINES

    def line(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"its chat template runs for more than {TEMPLATE_LINES:,} lines")
        return line

    before = sys.gettrace()
    # Jinja names the code that it makes of a template so
    sys.settrace(lambda frame, event, argument: line if frame.f_code.co_filename == "<template>" else None)
    try:
        yield
    finally:
        sys.settrace(before)


def _refuse_attention(attention: str) -> None:
    if attention not in ATTENTION:
        raise ValueError(f"attention {attention!r} is not known: give {', '.join(ATTENTION)}")
    if (package := NEEDING.get(attention)) and find_spec(package) is None:
        raise ValueError(
            f"attention {attention!r} needs the package {package}, which is not installed: give sdpa or eager"
        )


def _refuse_without(packages: Sequence[str], what: str) -> None:
    for package in packages:
        if find_spec(package) is None:
            raise ValueError(f"{what} needs the package {package}: pip install {package}")


def _placement(
    device_map: str | Mapping[str, str | int] | None, quantise: str | None, device: torch.device
) -> dict[str, object]:
    placement: dict[str, object] = {}
    if device_map is not None:
        _refuse_without(["accelerate"], f"device_map {device_map!r}")
        placement["device_map"] = device_map
    if quantise is not None:
        if quantise not in ("8bit", "4bit"):
            raise ValueError(f'quantise {quantise!r} is not known: give "8bit" or "4bit"')
        _refuse_without(["bitsandbytes", "accelerate"], f'quantise "{quantise}"')
        config = transformers_class("BitsAndBytesConfig")
        placement["quantization_config"] = config(load_in_8bit=quantise == "8bit", load_in_4bit=quantise == "4bit")
        # a quantised model cannot be moved afterwards
        placement.setdefault("device_map", {"": str(device)})
    return placement


def _device(device: str) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        where = torch.device(device)
        torch.empty(1, device=where).tolist()  # a name may be known and the device not there
    except (RuntimeError, AssertionError) as error:  # the latter from builds without CUDA
        raise ValueError(f'device {device!r} cannot be used on this machine: give "auto", "cpu" or "cuda"') from error
    return where


def _dtype(dtype: str, device: torch.device, config: Mapping[str, object]) -> torch.dtype:
    if dtype == "auto":
        named = [part.get(key) for part in (config, text_config(config)) for key in ("dtype", "torch_dtype")]
        dtype = "float32" if device.type == "cpu" else next((str(name) for name in named if name), "float32")
    found = getattr(torch, dtype, None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise ValueError(f'dtype {dtype!r} is not known: give "auto", "float32", "bfloat16" or "float16"')
    return found
