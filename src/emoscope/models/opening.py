"""What is wrong with a checkpoint folder, found in a moment and before a library opens it, or told in its place."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from emoscope.first_bytes import what_is
from emoscope.mistakes import MISTAKES, on_purpose

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
"""Where transformers looks for weights: one file, else the shards that the index names."""

BESIDE = (
    "config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json", "tokenizer.json",
    "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "tekken.json",
    "tokenizer.model", "tiktoken.model", "chat_template.json", "chat_template.jinja", "adapter_config.json", "emoscope.json",
)  # fmt: skip
"""Files beside the weights that are read, where they are there."""

PARTIAL = (".incomplete", ".part", ".partial", ".crdownload", ".download", ".aria2", ".tmp")
"""Endings of files whose download was not finished."""

LONGEST_HEADER = 25_000_000
"""Bytes; the header of a shard with thousands of tensors, or the index of all shards, has a few million."""

PARSED = 2_000_000
"""Bytes up to which a JSON file beside the weights is read whole here; of a larger one, both ends are looked at."""

TOKENIZERS = (
    "tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json", "tiktoken.model",
)  # fmt: skip
"""Files of which a model must hold one: what its tokenizer is made from."""

BITS = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I8": 8, "U8": 8, "BOOL": 8, "F4": 4,
}  # fmt: skip
"""Bits of an element of each dtype of safetensors."""

NEVER_EMPTY = ("preprocessor_config.json", "processor_config.json", "tokenizer.json")
"""Files that say nothing where they hold an empty object: a library would take its own defaults."""

SHOWN = 5
"""Names listed in an error; more are counted."""


def find_config(folder: Path) -> Path:
    """The config.json of a checkpoint folder.

    Raises:
        FileNotFoundError: there is none; says what the folder is and what to give instead, where that can be seen.
    """
    config = folder / "config.json"
    if config.is_file():
        return config
    if config.is_symlink():
        raise FileNotFoundError(f"{config} is a link to {config.readlink()}, which is not there: {_again(folder)}")
    if config.exists():
        raise FileNotFoundError(f"{config} is no file: {_again(folder)}")
    raise FileNotFoundError(f"{folder} {_without_config(folder)}")


def _without_config(folder: Path) -> str:
    """What a folder without config.json is, and what to give."""
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return "holds no config.json, nor anything else: give the folder of one model"
    if "adapter_config.json" in names:
        adapter = read_json(folder / "adapter_config.json")
        base = adapter.get("base_model_name_or_path")
        return (
            f"holds an adapter ({adapter.get('peft_type', 'of no named type')}) and not a model; its base model is "
            f"{base!r}: load both with the package peft, join them with merge_and_unload(), save model and processor "
            "with save_pretrained(), and give that folder"
        )
    if "snapshots" in names and (snapshots := _folders(folder / "snapshots")):
        return (
            "is a folder of the hub's cache, which holds a folder for each commit: give "
            f"{' or '.join(str(one) for one in snapshots[:SHOWN])}"
        )
    if cached := [name for name in names if name.startswith("models--")]:
        return (
            f"is the hub's cache: give owner/name of a model, such as {cached[0].split('--', 1)[1].replace('--', '/')}"
        )
    if packed := [name for name in names if name.endswith((".gguf", ".ggml", ".llamafile"))]:
        return f"holds packed weights ({packed[0]}), which cannot be changed: give the model as safetensors in the layout of transformers"
    if "params.json" in names:
        return "holds a model in its maker's own layout (params.json): give the one in the layout of transformers, with config.json"
    if partial := _partial(folder):
        return f"holds no config.json, and {partial[0]} is a download that was not finished: {_again(folder)}"
    if any(name.endswith(".safetensors") for name in names):
        return f"holds weights and no config.json, which says what they are: {_again(folder)}"
    if inside := [one for one in _folders(folder) if (one / "config.json").is_file()]:
        return f"holds no config.json, but folders inside it do: give {some(str(one) for one in inside)}"
    return "holds no config.json: give the folder of one model"


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileNotFoundError: it is not there, or no file.
        ValueError: not valid JSON, or not an object; says what else the file is, where its first bytes tell.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is {_no_file(path)}: {_again(path.parent)}")
    content = path.read_bytes()
    try:
        found = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        if content.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
            raise ValueError(f"{path} begins with a byte-order mark: save it as plain UTF-8") from error
        _refuse_other(path, f"is not valid JSON ({first_line(error)})", error)
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds {_kind(found)} where a JSON object belongs: {_again(path.parent)}")
    return found


def whole_number(config: Mapping[str, Any], key: str, path: Path) -> int:
    """A size that a config must name, a whole number of at least 1; of a list, its first.

    Raises:
        ValueError: missing, or something else.

    Example:
        >>> whole_number({"num_hidden_layers": 28}, "num_hidden_layers", Path("config.json"))
        28
    """
    if key not in config:
        raise ValueError(f"{path} names no {key} of the text decoder: {_again(path.parent)}")
    size = config[key][0] if isinstance(config[key], list) and config[key] else config[key]
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ValueError(f"{path}: {key} is {config[key]!r}, not a whole number of at least 1: {_again(path.parent)}")
    return size


def check_folder(folder: Path, needs_weights: bool = True, needs_tokenizer: bool = False) -> None:
    """Refuse a folder that cannot be loaded, from names, sizes, first bytes and headers: in a second for any size.

    Looked at are the index against the shards, each shard's header against its size and the index, and whether the
    files beside them are what their names say.

    Args:
        folder: a checkpoint, or a part of one.
        needs_weights: whether it must hold model.safetensors or an index; else what is there is looked at.
        needs_tokenizer: whether it must hold a tokenizer.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or is not what its name says.
    """
    for name in BESIDE:
        if not _absent(folder / name):
            _check_beside(folder / name)
    stored: dict[str, Path] = {}
    for shard, wanted in weight_files(folder, needs_weights).items():
        held = read_header(shard)
        if twice := sorted(stored.keys() & held.keys()):
            raise ValueError(
                f"{folder}: {some(twice)} stand in both {stored[twice[0]].name} and {shard.name}: {_again(folder)}"
            )
        if lacking := sorted(wanted - held.keys()):
            raise ValueError(
                f"{shard}: missing {some(lacking)}, which {INDEX} says are in it: index and shards are of different "
                f"versions; {_again(folder)}"
            )
        stored.update(dict.fromkeys(held, shard))
    if needs_tokenizer and all(_absent(folder / name) for name in TOKENIZERS):
        raise FileNotFoundError(f"{folder} holds no tokenizer (none of {', '.join(TOKENIZERS)}): {_again(folder)}")
    if (folder / "adapter_model.safetensors").exists():
        read_header(folder / "adapter_model.safetensors")
    if stored and (folder / "config.json").is_file():
        _refuse_more_layers(read_json(folder / "config.json"), len(stored), folder / "config.json")


def _refuse_more_layers(config: Mapping[str, Any], tensors: int, path: Path) -> None:
    """Refuse numbers of layers that no file of this size can hold, as building them would take hours."""
    for key, value in config.items():
        if isinstance(value, dict):
            _refuse_more_layers(value, tensors, path)
        elif key.endswith("layers") and not key.startswith("max_") and isinstance(value, int) and value > tensors:
            raise ValueError(
                f"{path}: {key} is {value:,}, but only {tensors:,} tensors are stored for all layers: {_again(path.parent)}"
            )


def _check_beside(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is {_no_file(path)}: {_again(path.parent)}")
    if path.suffix == ".json":
        if path.stat().st_size <= PARSED:
            if not read_json(path) and path.name in NEVER_EMPTY:
                raise ValueError(f"{path} holds an empty object: {_again(path.parent)}")
            return
        with path.open("rb") as file:
            begin = file.read(64).lstrip()
            file.seek(-64, 2)
            end = file.read().rstrip()
        if not (begin.startswith(b"{") and end.endswith(b"}")):
            _refuse_other(path, "does not begin and end as a JSON object does", None)
    elif found := what_is(path):
        raise ValueError(f"{path} is {found}")


def weight_files(folder: Path, needed: bool = True) -> dict[Path, set[str]]:
    """Each file of weights that is loaded -> the tensors that the index says are in it.

    One file ``model.safetensors``, or the shards that the index names; a folder that holds both is refused.

    Args:
        folder: a checkpoint.
        needed: whether it must hold weights; else a folder without gives none.

    Raises:
        FileNotFoundError: there are no weights, or not all shards.
        ValueError: only weights in other formats, weights twice, or an index that is none.
    """
    whole, index = folder / WHOLE, folder / INDEX
    if _absent(index):
        if not _absent(whole):
            return {whole: set()}
        if not needed:
            return {}
        _no_weights(folder)
    if index.is_file() and index.stat().st_size > LONGEST_HEADER:
        _refuse_other(index, f"has {index.stat().st_size:,} bytes, too many for a list of tensors", None)
    listed = read_json(index)
    table = listed.get("weight_map")
    if not isinstance(table, dict) or not table:
        raise ValueError(
            f"{index}: weight_map is {_kind(table)}, not a list of tensors with their files: {_again(folder)}"
        )
    if not isinstance(listed.get("metadata"), dict):
        raise ValueError(f'{index} has no metadata, which transformers asks for: add "metadata": {{}} to it')
    shards: dict[Path, set[str]] = {}
    for tensor, name in table.items():
        if not isinstance(name, str) or not name.endswith(".safetensors") or {"/", "\\"} & set(name):
            raise ValueError(
                f"{index} says that {tensor} is in {name!r}, which is not the name of a .safetensors file in this folder: "
                f"{_again(folder)}"
            )
        shards.setdefault(folder / name, set()).add(tensor)
    if whole.exists() and set(shards) != {whole}:
        raise ValueError(
            f"{folder} holds weights twice, as {WHOLE} and as {len(shards)} shards of {INDEX}: keep one of the two"
        )
    if not any(folder.glob("*.safetensors")) and not any(shard.is_symlink() for shard in shards):
        _no_weights(folder)
    lost = [shard for shard in sorted(shards) if not shard.is_file()]
    if lost:
        partial = _partial(folder)
        begun = f"; the download of {some(partial)} was not finished" if partial else ""
        what = some(shard.name if _absent(shard) else f"{shard.name} ({_no_file(shard)})" for shard in lost)
        count = "one" if len(lost) == 1 else len(lost)
        raise FileNotFoundError(f"{folder} lacks {what}, {count} of {len(shards)} shards{begun}: {_again(folder)}")
    return dict(sorted(shards.items()))


def _no_weights(folder: Path) -> NoReturn:
    there = sorted(path.name for path in folder.glob("*.safetensors"))
    if there:
        raise FileNotFoundError(
            f"{folder} holds {some(there)}, but neither {WHOLE} nor {INDEX}, which says what each of them holds: "
            f"{_again(folder)}"
        )
    if partial := _partial(folder):
        raise FileNotFoundError(
            f"{folder} holds no .safetensors weights; the download of {some(partial)} was not finished: {_again(folder)}"
        )
    other = sorted(
        path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".gguf", ".msgpack")
    )
    raise ValueError(
        f"{folder} holds no .safetensors weights{f', only {some(other)}' if other else ''}: other formats (.bin, .pt) can "
        "run code when read; convert them, or take another revision"
    )


def read_header(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the tensors in a safetensors file; its header is checked against the size of the file.

    Raises:
        FileNotFoundError: it is not there, or no file.
        ValueError: not a safetensors file, or one that is cut off or damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is {_no_file(path)}: {_again(path.parent)}")
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or not 2 <= length <= LONGEST_HEADER:
            _refuse_other(path, f"is no safetensors file (its header would be {length:,} bytes long)", None)
        begin = file.read(length)
    if not begin.lstrip().startswith(b"{"):
        _refuse_other(path, "is no safetensors file (its header is not JSON)", None)
    if len(begin) < length:
        _refuse_other(path, f"is cut off: it has {size:,} bytes, and its header alone {length + 8:,}", None)
    try:
        header = dict(json.loads(begin, object_pairs_hook=_once))
        shapes, end = _extents({name: entry for name, entry in header.items() if name != "__metadata__"})
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        _refuse_other(path, f"has a damaged header ({first_line(error)})", error)
    wanted = 8 + length + end
    if size != wanted:
        how = "is cut off" if size < wanted else "is too long"
        _refuse_other(path, f"{how}: it has {size:,} bytes, and its header says {wanted:,}", None)
    return shapes


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(found := dict(pairs)) < len(pairs):
        raise ValueError("a name stands in it twice")
    return found


def _extents(entries: Mapping[str, Any]) -> tuple[dict[str, tuple[int, ...]], int]:
    """Shapes of all tensors, and where the last one ends, in bytes after the header."""
    at = 0
    for name, entry in sorted(entries.items(), key=lambda pair: pair[1]["data_offsets"]):
        start, end = entry["data_offsets"]
        bits = BITS.get(entry["dtype"])
        sizes = (*entry["shape"], start, end)
        if any(not isinstance(one, int) or isinstance(one, bool) or one < 0 for one in sizes):
            raise ValueError(f"{name} has shape {entry['shape']} at {entry['data_offsets']}")
        if start != at or (bits is not None and math.prod(entry["shape"]) * bits != 8 * (end - start)):
            raise ValueError(f"{name} does not lie where it must")
        at = end
    return {name: tuple(entry["shape"]) for name, entry in entries.items()}, at


@contextmanager
def opening(what: str, remedy: str = "fetch the model again, and if that does not help, report it") -> Iterator[None]:
    """Say in one sentence why a library cannot open what the user named; what this package says keeps its words.

    Args:
        what: the beginning of the sentence: what cannot be done with what.
        remedy: what to do.

    Raises:
        FileNotFoundError, ValueError: in place of whatever a library raised.

    Example:
        >>> with opening("model x cannot be opened"):
        ...     {}["hidden_size"]
        Traceback (most recent call last):
        ...
        ValueError: model x cannot be opened (KeyError: 'hidden_size'): fetch the model again, and if that does not...
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, MISTAKES) and on_purpose(error):
            raise
        if isinstance(error, PermissionError) and error.filename is not None:
            raise
        if isinstance(error, ImportError):
            remedy = "install the package that it names, or load without what needs it"
        elif isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            remedy = "take a smaller dtype, quantise it, or use a machine with more memory"
        raise ValueError(f"{what} ({type(error).__name__}: {first_line(error)}): {remedy}") from error


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no reason given"]
    said = " ".join(" ".join(lines[: 2 if lines[0].endswith(":") else 1]).split())
    return said if len(said) <= 300 else f"{said[:300]} …"


def some(names: Iterable[str]) -> str:
    """The first few names, and how many more there are.

    Example:
        >>> some("abcdefg")
        'a, b, c, d, e and 2 more'
    """
    names = list(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _refuse_other(path: Path, finding: str, error: BaseException | None) -> NoReturn:
    """Refuse a file; where its first bytes tell what it really is, this is said in place of the finding."""
    if found := what_is(path):
        raise ValueError(f"{path} is {found}") from error
    raise ValueError(f"{path} {finding}: {_again(path.parent)}") from error


def _no_file(path: Path) -> str:
    if path.is_symlink() and not path.exists():
        return f"a link to {path.readlink()}, which is not there"
    return "a folder, not a file" if path.is_dir() else "no file" if path.exists() else "not there"


def _absent(path: Path) -> bool:
    return not path.exists() and not path.is_symlink()


def _partial(folder: Path) -> list[str]:
    """Files of unfinished downloads, in a folder and where the hub's library keeps them below it."""
    places = (folder, folder / ".cache" / "huggingface" / "download")
    return sorted(path.name for place in places if place.is_dir() for path in place.iterdir() if path.suffix in PARTIAL)


def _again(folder: Path) -> str:
    """How to get a sound copy of a folder."""
    cached = next((one.name for one in (folder, *folder.parents) if one.name.startswith("models--")), None)
    if cached and cached.count("--") == 2:
        return f"run 'emoscope model fetch {cached.removeprefix('models--').replace('--', '/')}'"
    return "fetch the model again"


def _kind(value: object) -> str:
    names = {
        list: "a list",
        dict: "an empty object",
        str: "a text",
        type(None): "missing or null",
        bool: "true or false",
    }
    return names.get(type(value), "a number")
