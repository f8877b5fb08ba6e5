"""Whether all weights of a model come from its files: names and shapes before they are read, values afterwards."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from emoscope.models.checkpoint import Place, places, some
from emoscope.models.decoder import ADAPTER_WEIGHTS, low_rank_changes, stored

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROWS = 2  # rows of each tensor that are compared where not all are
VALUES = 64  # values of a tensor with one dimension that are compared where not all are
ROUNDING = 4  # units of rounding, relative to the largest weight, that a sum with an adapter may differ by


@dataclass
class Source:
    """Where the weights of a loaded module stand on disk."""

    module: nn.Module  # as it is in memory
    places: Mapping[str, Place]  # name in the module -> where it stands
    strays: Sequence[str] = ()  # stored names that are of no part of the module, and that nothing leaves out on purpose
    converted: Sequence[str] = ()  # names in the module that are put together from several; they are not compared
    adapter: Path | None = None  # folder of an adapter that was added to the weights
    given: bool = False  # whether the module came from the user, who may have changed it since it was loaded


@dataclass
class Comparison:
    """Weights in memory against those in the files."""

    tensors: int = 0  # how many were compared
    values: int = 0  # how many of their values
    parameters: int = 0  # how many values they have
    differ: list[str] = field(default_factory=list)  # names of those that differ, or that stand in no file
    left: dict[str, int] = field(default_factory=dict)  # why tensors were not compared -> how many


def locate(model: PreTrainedModel, folder: Path) -> tuple[Source, tuple[list[str], list[str], list[str]]]:
    """Where a transformers model, on ``meta`` too, finds its weights in a folder: by names and shapes in the headers.

    Also the names that are missing, unexpected (stored inside a part of the model that has no such weight), and of
    another shape.
    """
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightConverter, WeightRenaming, rename_source_key

    mapping = get_model_conversion_mapping(model)
    renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
    converters = [entry for entry in mapping if isinstance(entry, WeightConverter)]
    state, prefix = model.state_dict(), model.base_model_prefix
    found: dict[str, Place] = {}
    converted: set[str] = set()
    nowhere: set[str] = set()
    for place in places(folder).values():
        name, pattern = rename_source_key(place.name, renamings, converters, prefix, state)
        if name not in state and place.name in state:
            name, pattern = rename_source_key(place.name, [], [], prefix, state)
        if name not in state:
            nowhere.add(name)
        elif pattern is None:
            found[name] = place
        else:
            (used,) = (entry for entry in converters if pattern in entry.source_patterns)
            converted.update(name.replace(used.target_patterns[0], target) for target in used.target_patterns)
    # without what the class of the model leaves out on purpose, or makes itself
    names: Any = SimpleNamespace(missing_keys=set(state) - set(found) - converted, unexpected_keys=nowhere)
    model._adjust_missing_and_unexpected_keys(names)
    tied = {name: twin for pair in model.all_tied_weights_keys.items() for name, twin in (pair, pair[::-1])}
    missing = [name for name in names.missing_keys if tied.get(name) not in found]
    unexpected = _inside(model, names.unexpected_keys)
    plain = {name: place for name, place in found.items() if not _is_packed(state[name], place)}
    source = Source(model, found, sorted(names.unexpected_keys - set(unexpected)), sorted(converted))
    return source, (missing, unexpected, _other_shapes(plain, state))


def _other_shapes(found: Mapping[str, Place], state: Mapping[str, torch.Tensor]) -> list[str]:
    return [
        f"{name} {list(place.shape)}, where config.json says {list(state[name].shape)}"
        for name, place in found.items()
        if name in state and tuple(state[name].shape) != place.shape
    ]


def fill(module: nn.Module, folder: Path, spare: re.Pattern[str], dtype: torch.dtype) -> Source:
    """Fill an encoder on the meta device with the weights that a folder stores for it, and set it to evaluation.

    Names may stand below ``encoder.`` or ``model.encoder.``; those that ``spare`` matches without it are not used.
    """
    there = {re.sub(r"^(model\.)?encoder\.", "", name): place for name, place in places(folder).items()}
    wanted = module.state_dict()
    unexpected = [name for name in set(there) - set(wanted) if not spare.fullmatch(name)]
    refuse_wrong(folder, set(wanted) - set(there), unexpected, _other_shapes(there, wanted))
    tensors = {name: tensor.to(dtype) for name, _, tensor in _read(there, wanted, full=True)}
    module.load_state_dict(tensors, assign=True)
    module.eval().requires_grad_(False)
    return Source(module, {name: there[name] for name in wanted})


def refuse_wrong(
    folder: Path, missing: Iterable[str], unexpected: Iterable[str] = (), reshaped: Iterable[str] = ()
) -> None:
    """Raise ``ValueError`` with the first names of what is wrong with a folder's weights, if anything is.

    Example:
        >>> refuse_wrong(Path("model"), [], ["b.weight", "a.weight"])
        Traceback (most recent call last):
        ...
        ValueError: model does not hold the weights that its config.json asks for: unexpected a.weight, b.weight...
    """
    wrong = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    if found := [f"{what} {some(sorted(names))}" for what, names in wrong.items() if names]:
        raise ValueError(
            f"{folder} does not hold the weights that its config.json asks for: {'; '.join(found)}: fetch the model "
            "again, or take the config.json that belongs to these weights"
        )


def refuse_loaded(folder: Path, model: PreTrainedModel, info: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` where the loading info of ``from_pretrained`` tells that a model was not filled."""
    unexpected = _inside(model, info["unexpected_keys"])
    refuse_wrong(folder, info["missing_keys"], unexpected, [name for name, *_ in info["mismatched_keys"]])


def _inside(model: PreTrainedModel, names: Iterable[str]) -> list[str]:
    """The names that stand inside a part of a model, such as its decoder, and not merely beside its parts."""
    modules = {path for path, _ in model.named_modules()}
    found = []
    for name in names:
        path = name.rpartition(".")[0]
        while path not in modules:
            path = path.rpartition(".")[0]
        if path not in ("", model.base_model_prefix):
            found.append(name)
    return found


def locate_given(model: nn.Module, name: str) -> tuple[Source, ...]:
    """Where a model that the user loaded found its weights, by its folder or hub name; nothing where none is known.

    ``ValueError`` where a weight of its class is in no file of that folder, so that it was filled with random numbers.
    """
    folder = _folder(name, getattr(model.config, "_commit_hash", None))
    if folder is None or not hasattr(model, "_adjust_missing_and_unexpected_keys"):
        return ()
    try:
        source, (missing, *_) = locate(cast("PreTrainedModel", model), folder)
    except FileNotFoundError:
        return ()
    source.given = True
    if missing:
        # what was added since (an adapter, packed weights) is not of the class
        with torch.device("meta"):
            own = set(type(model)(deepcopy(model.config)).state_dict())
        refuse_wrong(folder, [name for name in missing if name in own])
    return (source,)


def _folder(name: str, commit: str | None) -> Path | None:
    """The folder of a model on this machine, by its path or by its name and commit on the hub."""
    if name and Path(name).is_dir():
        return Path(name)
    if name.count("/") != 1 or commit is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json", revision=commit)
    return Path(found).parent if isinstance(found, str) else None


def refuse_not_finite(model: nn.Module, name: str) -> None:
    """Raise ``ValueError`` where a weight in memory is infinite or no number.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> refuse_not_finite(layer, "mine")
        >>> _ = nn.init.constant_(layer.bias, float("nan"))
        >>> refuse_not_finite(layer, "mine")
        Traceback (most recent call last):
        ...
        ValueError: model 'mine' holds weights that are not finite in memory: bias...
    """
    found = [
        key
        for key, tensor in model.state_dict().items()
        for part in stored(tensor.detach())
        if part.is_floating_point() and part.element_size() > 1 and not bool(torch.isfinite(part).all())
    ]
    if found:
        raise ValueError(
            f"model {name!r} holds weights that are not finite in memory: {some(sorted(found))}. Load it in float32 or "
            "bfloat16 (float16 holds no number above 65504), or from files that are whole"
        )


def refuse_not_finite_files(sources: Iterable[Source], found: Mapping[Path, Iterable[str]]) -> None:
    """Raise ``ValueError`` where a weight that was loaded is among those that are not finite in the files."""
    read = {(place.file.resolve(), place.name) for source in sources for place in source.places.values()}
    adapters = {(source.adapter / ADAPTER_WEIGHTS).resolve() for source in sources if source.adapter}
    for file, names in found.items():
        if bad := sorted(name for name in names if file in adapters or (file, name) in read):
            raise ValueError(
                f"{file} holds weights that are not finite (infinite, or no number): {some(bad)}: fetch the model "
                "again, or train it anew"
            )


def compare(sources: Iterable[Source], full: bool) -> Comparison:
    """Compare weights in memory with the files, one tensor at a time: every value, or rows drawn by its name."""
    found = Comparison()
    for source in sources:
        state = source.module.state_dict()
        found.differ += [name for name in source.places if name not in state]
        packed = {name for name, place in source.places.items() if name in state and _is_packed(state[name], place)}
        located = {state[name].data_ptr() for name in source.places if name in state}
        # what is tied to another is compared with it
        others = [name for name in state if name not in source.places and name not in source.converted]
        rest = [name for name in others if state[name].data_ptr() not in located]
        if packed:  # scales of packed weights are made when they are packed
            found.left["quantised"] = found.left.get("quantised", 0) + len(packed) + len(rest)
        else:
            found.differ += rest
        if source.converted:
            found.left["put together from several"] = len(source.converted)
        changes = {} if source.adapter is None else low_rank_changes(source.module, source.adapter)
        for name, rows, wanted in _read(source.places, set(state) - packed, full):
            tensor = state[name].detach()
            seen = torch.cat([tensor[row] for row in rows]).cpu() if rows else tensor.cpu()
            wanted = wanted.to(tensor.dtype)
            if name in changes:  # a sum up to the rounding of its dtype
                summed = wanted.float() + changes[name](rows)
                most = ROUNDING * torch.finfo(seen.dtype).eps * float(summed.abs().max())
                same = float((seen.float() - summed).abs().max()) <= most
            else:
                same = torch.equal(*(x.view(torch.uint8) if x.element_size() == 1 else x for x in (seen, wanted)))
            found.tensors += 1
            found.values += seen.numel()
            found.parameters += tensor.numel()
            if not same:
                found.differ.append(name)
    return found


def _read(
    places: Mapping[str, Place], names: Iterable[str], full: bool
) -> Iterator[tuple[str, list[slice], torch.Tensor]]:
    """Name, rows (none: the whole) and stored values of each tensor, file by file."""
    from safetensors import safe_open

    by_file: dict[Path, list[str]] = {}
    for name in sorted(set(names) & set(places)):
        by_file.setdefault(places[name].file, []).append(name)
    for file, inside in by_file.items():
        with safe_open(file, framework="pt") as opened:
            for name in inside:
                place = places[name]
                rows = [] if full else _some_rows(name, place.shape)
                if rows:
                    part = opened.get_slice(place.name)
                    yield name, rows, torch.cat([part[row] for row in rows])
                else:
                    yield name, rows, opened.get_tensor(place.name)


def _some_rows(name: str, shape: Sequence[int]) -> list[slice]:
    """A few rows, or a few values of a tensor of one dimension; none where the whole is no more."""
    at_once = VALUES if len(shape) == 1 else 1
    if not shape or shape[0] <= ROWS * at_once:
        return []
    drawn = zlib.crc32(name.encode())
    starts = {drawn % (shape[0] - at_once + 1), drawn // shape[0] % (shape[0] - at_once + 1)}
    return [slice(start, start + at_once) for start in sorted(starts)]


def _is_packed(tensor: torch.Tensor, place: Place) -> bool:
    """Whether a weight is quantised in memory and not, or otherwise, in its file."""
    plain = type(tensor) in (torch.Tensor, nn.Parameter)
    return not plain or tensor.is_floating_point() is not ("F" in place.dtype)
