"""The files of a checkpoint folder: what is in the small ones, whether all are whole, and their checksum; never torch."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from emoscope.files import Checksums, sha256, what_is
from emoscope.mistakes import first_line

# where transformers looks for weights: one file, else the shards that the index names
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
# names of the files of a folder and dtypes of safetensors; the file says what each list is for
TABLES = tomllib.loads((Path(__file__).parents[1] / "data" / "checkpoints.toml").read_text(encoding="utf-8"))
TOKENIZERS, HUB_FILES, LEFT_ON_HUB = (list(TABLES[name]) for name in ("tokenizers", "hub_files", "left_on_hub"))

LONGEST_HEADER = 25_000_000  # bytes; that of a shard with thousands of tensors, or the index of all, has a few million
PARSED = 2_000_000  # bytes of a JSON file beside the weights that is read whole; of a larger one, both ends are
AT_ONCE = 4 * 2**20  # bytes of a weight file that are looked at in one go
BLOCK = 256 * 2**10  # bytes whose bits are compared in one go: they stay in the processor's cache
READERS = 4  # files that are read side by side at most

SHOWN = 5  # names listed in an error; more are counted
CARD = "emoscope.json"  # optional file beside config.json: ``recommended_budget``, ``trained_on``, ``trained_speakers``


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; told of a file that holds none is what it really is, where its first bytes tell."""
    need_file(path)
    content = path.read_bytes()
    try:
        found = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        if content.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
            raise ValueError(f"{path} begins with a byte-order mark: save it as plain UTF-8") from error
        refuse_other(path, f"is not valid JSON ({first_line(error)})", error)
    if not isinstance(found, dict):
        raise damaged(path, f"holds {kind(found)} where a JSON object belongs")
    return found


@dataclass(frozen=True)
class ModelCard:
    """What a model's emoscope.json says of it."""

    recommended_budget: float = 0.005  # share of neurons of a set
    # corpora that it was trained on, each ``{"corpus": id, "where": {column: values}}``
    trained_on: tuple[Mapping[str, Any], ...] = ()
    trained_speakers: tuple[str, ...] = ()  # names of the speakers that it heard in training


def read_card(folder: Path) -> ModelCard:
    """The model's emoscope.json; ``ValueError`` where it is damaged, or holds a value of the wrong kind."""
    path = folder / CARD
    card = read_json(path) if path.is_file() else {}
    budget, trained_on = card.get("recommended_budget", 0.005), card.get("trained_on", [])
    speakers = card.get("trained_speakers", [])
    if not isinstance(budget, int | float) or not 0 < budget < 0.5:
        raise ValueError(
            f"{path}: recommended_budget {budget!r} is not a share of neurons: write a number such as 0.005"
        )
    if not isinstance(trained_on, list) or not all(isinstance(entry, dict) for entry in trained_on):
        raise ValueError(f'{path}: trained_on {trained_on!r} is not a list of corpora: write [{{"corpus": "…"}}]')
    if not isinstance(speakers, list) or not all(isinstance(speaker, str) for speaker in speakers):
        raise ValueError(f"{path}: trained_speakers {speakers!r} is not a list of names")
    return ModelCard(float(budget), tuple(trained_on), tuple(speakers))


def some(names: Iterable[str]) -> str:
    """The first few names, and how many more there are.

    Example:
        >>> some("abcdefg")
        'a, b, c, d, e and 2 more'
    """
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def refuse_other(path: Path, finding: str, error: BaseException | None) -> NoReturn:
    """Refuse a file; where its first bytes tell what it really is, this is said in place of the finding."""
    if found := what_is(path):
        raise ValueError(f"{path} is {found}") from error
    raise damaged(path, finding) from error


def damaged(path: Path, finding: str) -> ValueError:
    """The error about a file or folder that is not as it must be, with the way to a sound copy."""
    return ValueError(f"{path} {finding}: {fetch_again(path)}")


def need_file(path: Path) -> None:
    """Raise ``FileNotFoundError`` where something else stands in the place of a file, or nothing."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is {no_file(path)}: {fetch_again(path)}")


def no_file(path: Path) -> str:
    """What stands in the place of a file."""
    if path.is_symlink() and not path.exists():
        return f"a link to {path.readlink()}, which is not there"
    return "a folder, not a file" if path.is_dir() else "no file" if path.exists() else "not there"


def absent(path: Path) -> bool:
    """Whether a path is not there, not even as a link to nowhere."""
    return not path.exists() and not path.is_symlink()


def unfinished(folder: Path) -> list[str]:
    """Files of unfinished downloads, in a folder and where the hub's library keeps them below it."""
    places = (folder, folder / ".cache" / "huggingface" / "download")
    files = [path for place in places if place.is_dir() for path in place.iterdir()]
    return sorted(path.name for path in files if path.suffix in TABLES["partial"])


def fetch_again(path: Path) -> str:
    """How to get a sound copy of a folder, or of that of a file."""
    cached = next((above.name for above in (path, *path.parents) if above.name.startswith("models--")), None)
    if cached and cached.count("--") == 2:
        return f"run 'emoscope model fetch {cached.removeprefix('models--').replace('--', '/')}'"
    return "fetch the model again"


def kind(value: object) -> str:
    """What a value of JSON is, in words."""
    names = {list: "a list", dict: "an empty object", str: "a text", bool: "true or false"}
    return "missing or null" if value is None else names.get(type(value), "a number")


def check_folder(folder: Path, needs_weights: bool = True, needs_tokenizer: bool = False) -> None:
    """Refuse a folder that cannot be loaded, from names, sizes, first bytes and headers: in a second for any size.

    Looked at are the index against the shards, each shard's header against its size and the index, and whether the
    files beside them are what their names say. A part of a checkpoint may hold no weights or no tokenizer.
    """
    for name in TABLES["beside"]:
        if not absent(folder / name):
            _check_beside(folder / name)
    stored: dict[str, Path] = {}
    for shard, wanted in weight_files(folder, needs_weights).items():
        held = read_header(shard)
        if twice := sorted(stored.keys() & held.keys()):
            both = f"{stored[twice[0]].name} and {shard.name}"
            raise ValueError(f"{folder}: {some(twice)} stand in both {both}: {fetch_again(folder)}")
        if lacking := sorted(wanted - held.keys()):
            raise ValueError(
                f"{shard}: missing {some(lacking)}, which {INDEX} says are in it: index and shards are of different "
                f"versions; {fetch_again(folder)}"
            )
        stored.update(dict.fromkeys(held, shard))
    if needs_tokenizer and all(absent(folder / name) for name in TOKENIZERS):
        raise FileNotFoundError(f"{folder} holds no tokenizer (none of {', '.join(TOKENIZERS)}): {fetch_again(folder)}")
    if (adapter := folder / "adapter_model.safetensors").exists():
        read_header(adapter)
    if stored and (folder / "config.json").is_file():
        _refuse_more_layers(read_json(folder / "config.json"), len(stored), folder / "config.json")


def _refuse_more_layers(config: Mapping[str, object], tensors: int, path: Path) -> None:
    """Refuse numbers of layers that no file of this size can hold, as building them would take hours."""
    for key, value in config.items():
        if isinstance(value, dict):
            _refuse_more_layers(value, tensors, path)
        elif key.endswith("layers") and not key.startswith("max_") and isinstance(value, int) and value > tensors:
            found = f"{key} is {value:,}, but only {tensors:,} tensors are stored for all layers"
            raise ValueError(f"{path}: {found}: {fetch_again(path)}")


def _check_beside(path: Path) -> None:
    need_file(path)
    if path.suffix == ".json":
        if path.stat().st_size <= PARSED:
            if not read_json(path) and path.name in TABLES["never_empty"]:
                raise damaged(path, "holds an empty object")
            return
        with path.open("rb") as file:
            begin = file.read(64).lstrip()
            file.seek(-64, 2)
            end = file.read().rstrip()
        if not (begin.startswith(b"{") and end.endswith(b"}")):
            refuse_other(path, "does not begin and end as a JSON object does", None)
    elif found := what_is(path):
        raise ValueError(f"{path} is {found}")


def weight_files(folder: Path, needed: bool = True) -> dict[Path, set[str]]:
    """Each file of weights that is loaded -> the tensors that the index says are in it.

    One file ``model.safetensors``, or the shards that the index names; a folder that holds both is refused, as are
    weights in other formats alone, an index that is none, and a folder without weights or not all shards.
    """
    whole, index = folder / WHOLE, folder / INDEX
    if absent(index):
        if needed and absent(whole):
            _no_weights(folder)
        return {} if absent(whole) else {whole: set()}
    if index.is_file() and index.stat().st_size > LONGEST_HEADER:
        refuse_other(index, f"has {index.stat().st_size:,} bytes, too many for a list of tensors", None)
    listed = read_json(index)
    table = listed.get("weight_map")
    if not isinstance(table, dict) or not table:
        found = f"weight_map is {kind(table)}, not a list of tensors with their files"
        raise ValueError(f"{index}: {found}: {fetch_again(folder)}")
    if not isinstance(listed.get("metadata"), dict):
        raise ValueError(f'{index} has no metadata, which transformers asks for: add "metadata": {{}} to it')
    shards: dict[Path, set[str]] = {}
    for tensor, name in table.items():
        if not isinstance(name, str) or not name.endswith(".safetensors") or {"/", "\\"} & set(name):
            raise ValueError(
                f"{index} says that {tensor} is in {name!r}, which is not the name of a .safetensors file in this "
                f"folder: {fetch_again(folder)}"
            )
        shards.setdefault(folder / name, set()).add(tensor)
    if whole.exists() and set(shards) != {whole}:
        raise ValueError(
            f"{folder} holds weights twice, as {WHOLE} and as {len(shards)} shards of {INDEX}: keep one of the two"
        )
    if not any(folder.glob("*.safetensors")) and not any(shard.is_symlink() for shard in shards):
        _no_weights(folder)
    if lost := [shard for shard in sorted(shards) if not shard.is_file()]:
        partial = unfinished(folder)
        begun = f"; the download of {some(partial)} was not finished" if partial else ""
        what = some(shard.name if absent(shard) else f"{shard.name} ({no_file(shard)})" for shard in lost)
        count = "one" if len(lost) == 1 else len(lost)
        raise FileNotFoundError(f"{folder} lacks {what}, {count} of {len(shards)} shards{begun}: {fetch_again(folder)}")
    return dict(sorted(shards.items()))


def _no_weights(folder: Path) -> NoReturn:
    finding = ""
    if there := sorted(path.name for path in folder.glob("*.safetensors")):
        finding = f"{some(there)}, but neither {WHOLE} nor {INDEX}, which says what each of them holds"
    elif partial := unfinished(folder):
        finding = f"no .safetensors weights; the download of {some(partial)} was not finished"
    if finding:
        raise FileNotFoundError(f"{folder} holds {finding}: {fetch_again(folder)}")
    other = sorted(path.name for path in folder.iterdir() if path.suffix in TABLES["other_weights"])
    raise ValueError(
        f"{folder} holds no .safetensors weights{f', only {some(other)}' if other else ''}: other formats (.bin, .pt) "
        "can run code when read; convert them, or take another revision"
    )


class Place(NamedTuple):
    """Where a tensor stands: file, name in it, dtype as safetensors names it, shape, and its bytes in the file."""

    file: Path
    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def places(folder: Path) -> dict[str, Place]:
    """Name -> place of each tensor in a folder's safetensors, by their headers; raises as those do."""
    return {name: place for file in weight_files(folder) for name, place in read_header(file).items()}


def read_header(path: Path) -> dict[str, Place]:
    """Name -> place of the tensors in a safetensors file, in order; its header is checked against its size."""
    need_file(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or not 2 <= length <= LONGEST_HEADER:
            refuse_other(path, f"is no safetensors file (its header would be {length:,} bytes long)", None)
        begin = file.read(length)
    if not begin.lstrip().startswith(b"{"):
        refuse_other(path, "is no safetensors file (its header is not JSON)", None)
    if len(begin) < length:
        refuse_other(path, f"is cut off: it has {size:,} bytes, and its header alone {length + 8:,}", None)
    try:
        header = dict(json.loads(begin, object_pairs_hook=_once))
        header.pop("__metadata__", None)
        found = _extents(path, header, 8 + length)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        refuse_other(path, f"has a damaged header ({first_line(error)})", error)
    wanted = max((place.end for place in found.values()), default=8 + length)
    if size != wanted:
        how = "is cut off" if size < wanted else "is too long"
        refuse_other(path, f"{how}: it has {size:,} bytes, and its header says {wanted:,}", None)
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a name stands in it twice")
    return found


def _extents(path: Path, entries: Mapping[str, Any], at: int) -> dict[str, Place]:
    """The places of all tensors, which must lie one behind the other from a byte of the file on."""
    found, first = {}, at
    for name, entry in sorted(entries.items(), key=lambda pair: pair[1]["data_offsets"]):
        start, end = entry["data_offsets"]
        bits = TABLES["bits"].get(entry["dtype"])
        sizes = (*entry["shape"], start, end)
        if any(not isinstance(size, int) or isinstance(size, bool) or size < 0 for size in sizes):
            raise ValueError(f"{name} has shape {entry['shape']} at {entry['data_offsets']}")
        if first + start != at or (bits is not None and math.prod(entry["shape"]) * bits != 8 * (end - start)):
            raise ValueError(f"{name} does not lie where it must")
        found[name] = Place(path, name, str(entry["dtype"]), tuple(entry["shape"]), at, at := first + end)
    return found


def scan_weights(*folders: Path) -> tuple[str, dict[Path, list[str]]]:
    """Sha256 (hex) over all files of a model's folders that decide its answers, and which weights are not finite.

    The files are the weights (``.safetensors``), configuration, tokenizer, processor and chat template, in the order of
    their names. Left out are emoscope.json, training.json, any README and the same weights in another format, which are
    not loaded. What was read in each weight file is remembered by path, size and time of change, as a 7B model takes
    many seconds. The second is file -> names of the tensors that hold a value that is infinite or no number.
    """
    files = [
        path
        for folder in folders
        for path in sorted({path for pattern in HUB_FILES for path in folder.glob(pattern) if path.is_file()})
        if not any(path.match(pattern) for pattern in (*TABLES["about"], *LEFT_ON_HUB))
    ]
    large = [path.resolve() for path in files if path.suffix == ".safetensors"]
    with (
        Checksums("shards.json", read_weights) as remembered,
        ThreadPoolExecutor(max(1, min(READERS, os.cpu_count() or 1))) as readers,
    ):
        found = dict(zip(large, readers.map(remembered.of, large), strict=True))
    digest = hashlib.sha256()
    for path in files:
        checksum = found[path.resolve()][0] if path.resolve() in found else sha256(path)
        digest.update(f"{path.name} {checksum}\n".encode())
    return digest.hexdigest(), {path: names for path, (_, names) in found.items() if names}


def read_weights(path: Path) -> tuple[str, list[str]]:
    """Sha256 (hex) of a safetensors file, and the names of its tensors that hold a value that is not finite."""
    digest, found = hashlib.sha256(), []
    kept = memoryview(bytearray(AT_ONCE))
    with path.open("rb") as file:
        for name, dtype, size in _pieces(path):
            finite = True
            while size and (count := file.readinto(kept[: min(size, AT_ONCE)])):
                digest.update(kept[:count])
                finite = finite and _finite(kept[:count], dtype)
                size -= count
            if not finite:
                found.append(name)
        while count := file.readinto(kept):
            digest.update(kept[:count])
    return digest.hexdigest(), found


def _pieces(path: Path) -> Iterator[tuple[str, str, int]]:
    """Name, dtype and bytes of all that stands in a safetensors file, in order; what is no tensor has no dtype."""
    try:
        found = [*read_header(path).values()]
    except ValueError:  # whoever loads it finds that out
        return
    yield "", "", found[0].start if found else 0
    for place in found:
        yield place.name, place.dtype, place.end - place.start


def _finite(values: memoryview, dtype: str) -> bool:
    """Whether no value is infinite or no number, by its bits: nothing is converted."""
    kind, bits = TABLES["not_finite"].get(dtype, ("", 0))
    if not kind:
        return True
    whole = np.frombuffer(values, kind)
    masked = np.empty(BLOCK // whole.itemsize, kind)
    for start in range(0, len(whole), len(masked)):
        block = whole[start : start + len(masked)]
        # the largest that is left is cheaper than a comparison of each
        if np.bitwise_and(block, whole.dtype.type(bits), out=masked[: len(block)]).max() == bits:
            return False
    return True
