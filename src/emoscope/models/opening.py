"""The small files of a checkpoint folder, and the words that say what is wrong with one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from emoscope.files import what_is
from emoscope.mistakes import first_line

# endings of files whose download was not finished
PARTIAL = (".incomplete", ".part", ".partial", ".crdownload", ".download", ".aria2", ".tmp")
SHOWN = 5  # names listed in an error; more are counted
CARD = "emoscope.json"  # optional file beside config.json: ``recommended_budget``, ``trained_on``, ``trained_speakers``

# sizes that a released config.json may leave out, as they are the defaults of its text decoder's class
LEFT_OUT = {"qwen2": {"num_hidden_layers": 32, "intermediate_size": 22016}}


def find_config(folder: Path) -> Path:
    """The config.json of a checkpoint folder; ``FileNotFoundError`` says what a folder without one is."""
    config = folder / "config.json"
    if config.is_file():
        return config
    if config.is_symlink():
        raise FileNotFoundError(f"{config} is a link to {config.readlink()}, which is not there: {fetch_again(folder)}")
    if config.exists():
        raise FileNotFoundError(f"{config} is no file: {fetch_again(folder)}")
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
        commits = " or ".join(map(str, snapshots[:SHOWN]))
        return f"is a folder of the hub's cache, which holds a folder for each commit: give {commits}"
    if cached := [name.removeprefix("models--") for name in names if name.startswith("models--")]:
        return f"is the hub's cache: give owner/name of a model, such as {cached[0].replace('--', '/')}"
    if packed := [name for name in names if name.endswith((".gguf", ".ggml", ".llamafile"))]:
        remedy = "give the model as safetensors in the layout of transformers"
        return f"holds packed weights ({packed[0]}), which cannot be changed: {remedy}"
    if "params.json" in names:
        remedy = "give the one in the layout of transformers, with config.json"
        return f"holds a model in its maker's own layout (params.json): {remedy}"
    if partial := unfinished(folder):
        return f"holds no config.json, and {partial[0]} is a download that was not finished: {fetch_again(folder)}"
    if any(name.endswith(".safetensors") for name in names):
        return f"holds weights and no config.json, which says what they are: {fetch_again(folder)}"
    if inside := [one for one in _folders(folder) if (one / "config.json").is_file()]:
        return f"holds no config.json, but folders inside it do: give {some(str(one) for one in inside)}"
    return "holds no config.json: give the folder of one model"


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


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


def whole_number(config: Mapping[str, object], key: str, path: Path) -> int:
    """A size that a config must name, a whole number of at least 1; of a list, its first.

    Example:
        >>> whole_number({"num_hidden_layers": 28}, "num_hidden_layers", Path("config.json"))
        28
    """
    if key not in config:
        raise damaged(path, f"names no {key} of the text decoder")
    size = config[key]
    size = size[0] if isinstance(size, list) and size else size
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ValueError(
            f"{path}: {key} is {config[key]!r}, not a whole number of at least 1: {fetch_again(path.parent)}"
        )
    return size


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config.json that describes the text decoder.

    Example:
        >>> text_config({"thinker_config": {"text_config": {"num_hidden_layers": 28}}})
        {'num_hidden_layers': 28}
    """
    for part in ("thinker_config", "text_config"):
        config = config[part] if isinstance(config.get(part), dict) and config[part] else config
    return {**LEFT_OUT.get(str(config.get("model_type")), {}), **config}


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
    if not isinstance(trained_on, list) or not all(isinstance(one, dict) for one in trained_on):
        raise ValueError(f'{path}: trained_on {trained_on!r} is not a list of corpora: write [{{"corpus": "…"}}]')
    if not isinstance(speakers, list) or not all(isinstance(one, str) for one in speakers):
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
    return sorted(path.name for place in places if place.is_dir() for path in place.iterdir() if path.suffix in PARTIAL)


def fetch_again(path: Path) -> str:
    """How to get a sound copy of a folder, or of that of a file."""
    cached = next((one.name for one in (path, *path.parents) if one.name.startswith("models--")), None)
    if cached and cached.count("--") == 2:
        return f"run 'emoscope model fetch {cached.removeprefix('models--').replace('--', '/')}'"
    return "fetch the model again"


def kind(value: object) -> str:
    """What a value of JSON is, in words."""
    names = {list: "a list", dict: "an empty object", str: "a text", bool: "true or false"}
    return "missing or null" if value is None else names.get(type(value), "a number")
