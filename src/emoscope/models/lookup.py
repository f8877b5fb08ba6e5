"""Where a model is and what is known of it without torch: its folder, sizes and checksum, or its place on the hub."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import huggingface_hub

from emoscope.mistakes import MISTAKES, first_line, on_purpose
from emoscope.models import checkpoint
from emoscope.models.checkpoint import check_folder, fetch_again, read_card, read_json, scan_weights, some, unfinished
from emoscope.models.families import Declared, known, known_family, releasing, text_config, whole_number

TINY = Path(__file__).parents[1] / "data" / "tiny"  # folder of the embedded model
WAIT_S = 10  # how long the hub may take to answer the one question that is asked first, in seconds
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")  # environment variables that keep it off the network


@dataclass(frozen=True)
class Card:
    """A model as its folder describes it."""

    folder: Path  # where its files are; of a released model that is not on this machine, its name
    layers: int
    width: int  # neurons per layer
    recommended_budget: float  # share of neurons of a set
    trained_on: tuple[Mapping[str, Any], ...]  # corpora and filters on which it was trained
    family: Declared
    # name and commit (or what the user asked for), if it comes from the hub; then ``folder`` may hold no weights yet
    hub: tuple[str, str | None] | None = None
    side: Mapping[str, str | Path] = field(default_factory=dict)  # what the user named as further checkpoints
    note: str = ""  # where the sizes come from, if not from the model's own config.json

    @property
    def checksum(self) -> str:
        """sha256 over the files that decide the answers; of a model on the hub they are fetched first, if need be."""
        folder, name = (find_folder(*self.hub)[0], self.hub[0]) if self.hub else (self.folder, str(self.folder))
        beside = find_sides(self.family, folder, self.side, name)
        return scan_weights(*model_folders(self.family, folder, beside))[0]


def look_up(id_or_path: str, side: Mapping[str, str | Path] | None = None, revision: str | None = None) -> Card:
    """Read a model's config.json and emoscope.json; of a model on the hub nothing else is fetched.

    Of a released model that is not on this machine the sizes stand in this package, and no network is needed.
    ``FileNotFoundError`` where the model is not there, ``ValueError`` where its family is not known or a file is damaged.

    Example:
        >>> look_up("tiny").layers
        4
        >>> look_up("nvidia/audio-flamingo-3-hf").width
        18944
    """
    name, sides = str(id_or_path), side or {}
    local = _local(name)
    if local is None and (planned := _released(name, sides, revision)):
        return planned
    folder, commit = (local, None) if local else _fetch_description(name, revision)
    config_file = folder / "config.json"
    config = read_json(config_file)
    family = known_family(config, name)
    text, card = text_config(config), read_card(folder)
    return Card(
        folder,
        layers=whole_number(text, "num_hidden_layers", config_file),
        width=whole_number(text, "intermediate_size", config_file),
        recommended_budget=card.recommended_budget,
        trained_on=card.trained_on,
        family=family,
        hub=(name, commit) if commit else None,
        side=sides,
        note=_check_here(family, folder, sides) if local else "",
    )


def _released(name: str, side: Mapping[str, str | Path], revision: str | None) -> Card | None:
    """What this package knows of a released model that is not on this machine."""
    family = releasing(name)
    if family is None or _cached(name, revision):
        return None
    note = f"{name} is not on this machine: its sizes are those of the release, and nothing was fetched"
    return Card(Path(name), *family.released[name], 0.005, (), family, (name, _revision(name, revision)), side, note)


def _revision(name: str, revision: str | None) -> str | None:
    """What to fetch of a model on the hub; ``ValueError`` where the main branch is known to hold another layout."""
    family = None if revision else releasing(name)
    if family and (other := family.released_revision):
        raise ValueError(
            f"model {name!r} stands in the layout of transformers under another revision only: give revision {other!r}"
        )
    return revision


def _check_here(family: Declared, folder: Path, given: Mapping[str, str | Path]) -> str:
    """Check what is on this machine of a model, and say what is not."""
    wanted = family.side_checkpoints
    places = {side: _side_here(side, hub, folder, given) for side, hub in wanted.items()}
    check_folders(family, folder, {side: place for side, place in places.items() if place})
    lacking = [str(given.get(side) or wanted[side]) for side, place in places.items() if not place]
    return f"it also needs {', '.join(lacking)}, which is fetched from the hub when it is loaded" if lacking else ""


def check_folders(family: Declared, folder: Path, beside: Mapping[str, Path]) -> None:
    """Refuse a model that cannot be loaded, by a look at its folder, its parts and its side checkpoints."""
    for part in model_folders(family, folder, beside):
        if part == folder or part.is_dir():  # the family says which parts it cannot do without
            own = part == folder
            check_folder(part, needs_weights=own or part in beside.values(), needs_tokenizer=own)


def find_sides(family: Declared, folder: Path, given: Mapping[str, str | Path], name: str) -> dict[str, Path]:
    """The folders of the further checkpoints of a model: as the user named them, else inside or beside its own.

    ``ValueError`` for a name that this family does not have, ``FileNotFoundError`` where one is nowhere.
    """
    wanted = family.side_checkpoints
    for unknown in sorted(set(given) - set(wanted)):
        raise ValueError(f"side {unknown!r} is none of model {name!r}: it has {', '.join(wanted) or 'none'}")
    found = {}
    for side, hub in wanted.items():
        try:
            if (here := _side_here(side, hub, folder, given)) is None:
                source = str(given.get(side) or hub)
                with _reaching(source):
                    _ask_once(source, None)
                    here = _download(source, None)
            found[side] = here
        except FileNotFoundError as error:
            beside = folder.parent / hub.split("/")[1]
            raise FileNotFoundError(
                f"model {name!r} also needs {hub}, which could not be had ({first_line(error.__cause__ or error)}): "
                f"'emoscope model fetch' of the whole model brings it where there is a network; or put it beside the "
                f'model as {beside}, or give its folder as side = {{ {side} = "..." }}'
            ) from error
    return found


def _side_here(side: str, hub: str, folder: Path, given: Mapping[str, str | Path]) -> Path | None:
    """The folder of a side checkpoint on this machine; ``None`` where it is to be fetched."""
    places = [folder / hub.split("/")[1], folder.parent / hub.split("/")[1]]
    return _local(str(given.get(side) or next((place for place in places if place.is_dir()), hub)))


def model_folders(family: Declared, folder: Path, beside: Mapping[str, Path]) -> list[Path]:
    """All folders whose files decide a model's answers: its own, its parts inside, and its side checkpoints."""
    return [folder, *(folder / part for part in family.parts), *beside.values()]


def find_folder(name: str, revision: str | None) -> tuple[Path, str | None]:
    """The folder of a model, and its commit if it comes from the hub; ``FileNotFoundError`` where it is nowhere."""
    if local := _local(name):
        return local, None
    revision = _revision(name, revision)
    with _reaching(name):
        # first the configuration alone: an unknown family is found out before its weights are fetched
        known_family(read_json(_fetch_config(name, revision)), name)
        folder = _download(name, revision)
    return folder, folder.name


def _local(name: str) -> Path | None:
    """The folder of a model on this machine; ``None`` where the name can only be one on the hub."""
    try:
        folder = TINY if name == "tiny" else Path(name).expanduser()
        there, is_folder = folder.exists(), folder.is_dir()
    except PermissionError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, or of a user who is not there
        raise FileNotFoundError(
            f"model {name[:80]!r} is no folder here ({first_line(error)}): check the path"
        ) from error
    if is_folder:
        return _find_config(folder).parent
    if there:
        raise FileNotFoundError(f"model {name!r} is a file: give the folder in which config.json and the weights lie")
    if name == "tiny":
        raise FileNotFoundError(f"the embedded model is missing at {folder}: install the package again")
    if folder.is_absolute() or name.count("/") != 1 or name.startswith(("./", "../", "~")) or name.endswith("/"):
        raise FileNotFoundError(
            f"model {name!r} is no folder here, and names on the hub look like 'owner/name': "
            f"{_did_you_mean(name)}check the path"
        )
    return None


def _find_config(folder: Path) -> Path:
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
        commits = " or ".join(map(str, snapshots[: checkpoint.SHOWN]))
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
    if inside := [path for path in _folders(folder) if (path / "config.json").is_file()]:
        return f"holds no config.json, but folders inside it do: give {some(str(path) for path in inside)}"
    return "holds no config.json: give the folder of one model"


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _did_you_mean(name: str) -> str:
    """A known name that is near, as the start of a remedy; empty where there is none, or the name itself is known."""
    names = [hub for about in known().values() for hub in about.released]
    last = {hub.split("/")[1].lower(): hub for hub in names} | {hub.lower(): hub for hub in names} | {"tiny": "tiny"}
    near = [] if name in names else get_close_matches(name.lower(), last, n=1, cutoff=0.75)
    return f"did you mean {last[near[0]]!r}? Else " if near else ""


def _cached(name: str, revision: str | None) -> bool:
    return isinstance(huggingface_hub.try_to_load_from_cache(name, "config.json", revision=revision), str)


def _ask_once(name: str, revision: str | None) -> None:
    """Ask the hub for a model, once: its library would go on asking for minutes where there is no network."""
    if not _cached(name, revision):
        huggingface_hub.get_hf_file_metadata(
            huggingface_hub.hf_hub_url(name, "config.json", revision=revision), timeout=WAIT_S
        )


def _fetch_config(name: str, revision: str | None) -> Path:
    _ask_once(name, revision)
    return Path(huggingface_hub.hf_hub_download(name, "config.json", revision=revision))


def _download(name: str, revision: str | None, to: Path | None = None) -> Path:
    """The folder with all files that are loaded of a checkpoint on the hub; ``to`` in place of the hub's cache."""
    files: dict[str, Any] = {"allow_patterns": checkpoint.HUB_FILES, "ignore_patterns": checkpoint.LEFT_ON_HUB}
    return Path(huggingface_hub.snapshot_download(name, revision=revision, local_dir=to, **files))


def _fetch_description(name: str, revision: str | None) -> tuple[Path, str]:
    """The folder with at least config.json and, if there is one, emoscope.json; and its commit."""
    with _reaching(name):
        from huggingface_hub.errors import EntryNotFoundError

        folder = _fetch_config(name, revision).parent
        # where it is known to be absent, asking again would wait for the network
        if huggingface_hub.try_to_load_from_cache(name, checkpoint.CARD, revision=folder.name) is None:
            with suppress(EntryNotFoundError):
                huggingface_hub.hf_hub_download(name, checkpoint.CARD, revision=folder.name)
    return folder, folder.name


@contextmanager
def _reaching(name: str) -> Iterator[None]:
    """Say in one sentence that a model could not be had from the hub; what this package says keeps its own words."""
    try:
        yield
    except Exception as error:
        if isinstance(error, MISTAKES) and on_purpose(error):
            raise
        raise FileNotFoundError(f"model {name!r} {_unreachable(name, error)}") from error


def _unreachable(name: str, error: Exception) -> str:
    from huggingface_hub import errors

    near = _did_you_mean(name)
    fetched = f"'emoscope model fetch {name}'" if not near else "'emoscope model fetch' with its right name"
    reason = f"could not be fetched from the hub ({first_line(error)})"
    if isinstance(error, errors.GatedRepoError):
        return f"{reason}: accept its terms on its page, then log in with 'hf auth login'"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"is no folder here and {reason}: {near}check the name, or log in if it is private"
    if isinstance(error, errors.RevisionNotFoundError | errors.RemoteEntryNotFoundError):
        return f"{reason}: check the revision and the name"
    before = "only what was fetched before is used"
    if offline := [variable for variable in OFFLINE if os.environ.get(variable)]:
        remedy = f"run {fetched} once without it, or give a folder that holds the model"
        return f"is not on this machine and {reason}: {offline[0]} is set, so {before}; {remedy}"
    remedy = f"{near}check the network, or run {fetched} where there is one and give the folder"
    return f"is no folder here and {reason}; it was tried once: {remedy}; with {OFFLINE[0]}=1 nothing is tried and {before}"


@dataclass(frozen=True)
class Fetched:
    """A checkpoint that is now on this machine, with those that it needs beside it (``side``)."""

    name: str
    folder: Path
    commit: str
    bytes: int  # size of its files
    pinned: bool  # whether it lies in the cache of the hub, where the name and the commit find it
    side: Mapping[str, Fetched] = field(default_factory=dict)

    def study(self) -> str:
        """The section of a study file that takes this model, without a network."""
        lines = ["[model]", f"id = {json.dumps(self.name if self.pinned else str(self.folder))}"]
        if self.pinned:
            lines.append(f"revision = {json.dumps(self.commit)}")
        if self.side:
            named = ", ".join(f"{name} = {json.dumps(str(side.folder))}" for name, side in self.side.items())
            lines.append(f"side = {{ {named} }}")
        return "\n".join(lines)


def fetch_model(name: str, revision: str | None = None, to: Path | None = None) -> Fetched:
    """Fetch all that a model needs: configuration, tokenizer and safetensors; no code and no pickles.

    In ``to`` each checkpoint gets a folder of its own; if ``None`` they go to the cache of the hub. ``ValueError`` for no
    name on the hub, or a family that is not known (then no weights are fetched); ``FileNotFoundError`` where it is not
    on the hub, or there is no network.
    """
    if name.count("/") != 1 or Path(name).expanduser().is_dir():
        raise ValueError(f"{name!r} is no name on the hub: give one like 'owner/name'")
    with _reaching(name):
        commit = _commit(name, revision)
        config = read_json(Path(huggingface_hub.hf_hub_download(name, "config.json", revision=commit)))
        family = known_family(config, name)
    found = _fetch_one(name, commit, to)
    if to is None:
        look_up(name, revision=commit)  # the cache remembers that there is no emoscope.json, where there is none
    return replace(found, side={key: _fetch_one(hub, None, to) for key, hub in family.side_checkpoints.items()})


def _fetch_one(name: str, commit: str | None, to: Path | None) -> Fetched:
    with _reaching(name):
        commit = commit or _commit(name, None)
        folder = _download(name, commit, to and to.expanduser().resolve() / name.split("/")[1])
    files = [path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.relative_to(folder).parts]
    return Fetched(name, folder, commit, sum(path.stat().st_size for path in files), to is None)


def _commit(name: str, revision: str | None) -> str:
    """The commit of a revision on the hub, of the main branch if ``None``."""
    return str(huggingface_hub.HfApi().model_info(name, revision=revision, timeout=WAIT_S).sha)
