"""What can be said of a model without loading its weights, or torch: folder, family, sizes, card, checksum."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from emoscope.mistakes import MISTAKES, on_purpose
from emoscope.models.opening import check_folder, find_config, first_line, read_json, whole_number
from emoscope.models.released import RELEASED

__all__ = ["read_json"]

FAMILIES = {
    "audioflamingo3": ("emoscope.models.audioflamingo3", "AudioFlamingo3"),
    "musicflamingo": ("emoscope.models.musicflamingo", "MusicFlamingo"),
    "qwen2_audio": ("emoscope.models.qwen2_audio", "Qwen2Audio"),
    "qwen2_5_omni": ("emoscope.models.qwen2_5_omni", "Qwen25Omni"),
    "qwen2_5_omni_thinker": ("emoscope.models.qwen2_5_omni", "Qwen25Omni"),
    "gemma3n": ("emoscope.models.gemma3n", "Gemma3n"),
    "glmasr": ("emoscope.models.glmasr", "GlmAsr"),
    "granite_speech": ("emoscope.models.granite_speech", "GraniteSpeech"),
    "phi4_multimodal": ("emoscope.models.phi4_multimodal", "Phi4Multimodal"),
    "voxtral": ("emoscope.models.voxtral", "Voxtral"),
    "kimi_audio": ("emoscope.models.kimi_audio", "KimiAudio"),
}
"""``model_type`` in config.json -> module and class of the family."""

ARCHITECTURES: dict[str, str] = {"MoonshotKimiaForCausalLM": "kimi_audio"}
"""Architecture in config.json -> key of :data:`FAMILIES`, for folders without a known ``model_type``."""

SIDES: dict[str, Mapping[str, str]] = {"kimi_audio": {"audio_tokenizer": "zai-org/glm-4-voice-tokenizer"}}
"""Key of :data:`FAMILIES` -> further checkpoints that the model consists of: name -> name on the hub."""

PARTS: dict[str, tuple[str, ...]] = {"kimi_audio": ("whisper-large-v3",), "phi4_multimodal": ("speech-lora",)}
"""Key of :data:`FAMILIES` -> folders inside the model's own that hold parts of it."""

LEFT_OUT = {"qwen2": {"num_hidden_layers": 32, "intermediate_size": 22016}}
"""Sizes that a released config.json may leave out, as they are the defaults of its text decoder's class."""

TINY = Path(__file__).parents[1] / "data" / "tiny"
"""Folder of the embedded model."""

CARD = "emoscope.json"
"""Optional file beside config.json: ``recommended_budget``, ``trained_on``, ``trained_speakers``."""

HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]
"""What is fetched from the hub: configuration, tokenizer, weights; no code, no pickles."""

WAIT_S = 10
"""How long the hub may take to answer the one question that is asked first, in seconds."""

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
"""Environment variables that keep the hub's library off the network."""

LEFT_ON_HUB = ["consolidated*.safetensors", "original/*"]
"""What is not fetched, though :data:`HUB_FILES` names it: the same weights in another format."""


@dataclass(frozen=True)
class Card:
    """A model as its folder describes it.

    Attributes:
        folder: where its files are; of a released model that is not on this machine, its name.
        layers, width: decoder layers and neurons per layer, from config.json.
        recommended_budget: share of neurons of a set.
        trained_on: corpora and filters on which it was trained.
        hub: name and commit (or what the user asked for), if it comes from the hub; then ``folder`` may hold no weights yet.
        family: key of :data:`FAMILIES`.
        side: what the user named as further checkpoints.
        note: where the sizes come from, if not from the model's own config.json.
    """

    folder: Path
    layers: int
    width: int
    recommended_budget: float
    trained_on: tuple[Mapping[str, Any], ...]
    hub: tuple[str, str | None] | None = None
    family: str = ""
    side: Mapping[str, str | Path] = field(default_factory=dict)
    note: str = ""

    @property
    def checksum(self) -> str:
        """sha256 over the files that decide the answers; of a model on the hub they are fetched first, if need be."""
        from emoscope.models.checksums import weights_checksum

        folder, name = (_fetch(*self.hub)[0], self.hub[0]) if self.hub else (self.folder, str(self.folder))
        beside = find_sides(SIDES.get(self.family, {}), folder, self.side, name)
        return weights_checksum(*model_folders(self.family, folder, beside))


def look_up(id_or_path: str, side: Mapping[str, str | Path] | None = None, revision: str | None = None) -> Card:
    """Read a model's config.json and emoscope.json; of a model on the hub nothing else is fetched.

    Of a released model that is not on this machine the sizes stand in this package, and no network is needed.

    Args:
        id_or_path: as for :func:`emoscope.models.registry.load_model`.
        side: likewise.
        revision: likewise.

    Raises:
        FileNotFoundError: the model is not there.
        ValueError: its family is not known, or a file is damaged.

    Example:
        >>> look_up("tiny").layers
        4
        >>> look_up("nvidia/audio-flamingo-3-hf").width
        18944
    """
    name, sides = str(id_or_path), side or {}
    local = _local(name)
    if local is None and (known := _released(name, sides, revision)):
        return known
    folder, commit = (local, None) if local else _fetch_description(name, revision)
    config_file = folder / "config.json"
    config = read_json(config_file)
    family = known_type(config, name)
    text = text_config(config)
    card = read_card(folder)
    layers, width = (whole_number(text, key, config_file) for key in ("num_hidden_layers", "intermediate_size"))
    note = _check_here(family, folder, sides) if local else ""
    return Card(
        folder,
        layers,
        width,
        float(card.get("recommended_budget", 0.005)),
        tuple(card.get("trained_on", ())),
        (name, commit) if commit else None,
        family,
        sides,
        note,
    )


def _check_here(family: str, folder: Path, given: Mapping[str, str | Path]) -> str:
    """Check what is on this machine of a model, and say what is not."""
    wanted = SIDES.get(family, {})
    places = {side: _side_here(side, hub, folder, given) for side, hub in wanted.items()}
    check_folders(family, folder, {side: place for side, place in places.items() if place})
    lacking = [str(given.get(side) or wanted[side]) for side, place in places.items() if not place]
    return f"it also needs {', '.join(lacking)}, which is fetched from the hub when it is loaded" if lacking else ""


def check_folders(family: str, folder: Path, beside: Mapping[str, Path]) -> None:
    """Refuse a model that cannot be loaded, by a look at its folder, its parts and its side checkpoints.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is damaged, or is not what its name says.
    """
    for part in model_folders(family, folder, beside):
        if part == folder or part.is_dir():  # the family says which parts it cannot do without
            own = part == folder
            check_folder(part, needs_weights=own or part in beside.values(), needs_tokenizer=own)


def _released(name: str, side: Mapping[str, str | Path], revision: str | None) -> Card | None:
    """What this package knows of a released model that is not on this machine."""
    family = next((key for key, about in RELEASED.items() if name in about.sizes), None)
    if family is None or _cached(name, revision):
        return None
    layers, width = RELEASED[family].sizes[name]
    note = f"{name} is not on this machine: its sizes are those of the release, and nothing was fetched"
    return Card(Path(name), layers, width, 0.005, (), (name, _revision(name, revision)), family, side, note)


def _revision(name: str, revision: str | None) -> str | None:
    """What to fetch of a model on the hub.

    Raises:
        ValueError: none was asked for, and the main branch is known to hold another layout.
    """
    needed = next((about.revision for about in RELEASED.values() if name in about.hub), "")
    if needed and not revision:
        raise ValueError(
            f"model {name!r} stands in the layout of transformers under another revision only: give revision {needed!r}"
        )
    return revision


def known_type(config: Mapping[str, Any], name: str) -> str:
    """The ``model_type`` of a config, or the one that its architecture tells where it has none that is known.

    Raises:
        ValueError: it is not known here.
    """
    model_type = config.get("model_type")
    if isinstance(model_type, str) and model_type in FAMILIES:
        return model_type
    architectures = config.get("architectures")
    for architecture in architectures if isinstance(architectures, list) else ():
        if isinstance(architecture, str) and architecture in ARCHITECTURES:
            return ARCHITECTURES[architecture]
    near = get_close_matches(str(model_type).lower(), FAMILIES, n=1, cutoff=0.7)
    raise ValueError(
        f"model {name!r} has model_type {model_type!r}, which is not known here"
        + (f" (did you mean {near[0]!r}?)" if near else "")
        + f": known are {', '.join(sorted(FAMILIES))}; "
        + ("the code that lies beside it is never run; " if config.get("auto_map") else "")
        + "docs/add-a-model.md shows how to add a family"
    )


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config.json that describes the text decoder.

    Example:
        >>> text_config({"thinker_config": {"text_config": {"num_hidden_layers": 28}}})
        {'num_hidden_layers': 28}
    """
    for part in ("thinker_config", "text_config"):
        config = config[part] if isinstance(config.get(part), dict) and config[part] else config
    text = config
    return {**LEFT_OUT.get(str(text.get("model_type")), {}), **text}


def find_sides(wanted: Mapping[str, str], folder: Path, given: Mapping[str, str | Path], name: str) -> dict[str, Path]:
    """The folders of the further checkpoints that a model consists of.

    Args:
        wanted: name of each side checkpoint -> its name on the hub.
        folder: of the model; a side checkpoint is looked for in it and beside it, under the last part of its hub name.
        given: what the user named, folders or hub names.
        name: of the model, for messages.

    Raises:
        ValueError: a name that this family does not have.
        FileNotFoundError: one is nowhere.
    """
    for unknown in sorted(set(given) - set(wanted)):
        raise ValueError(f"side {unknown!r} is none of model {name!r}: it has {', '.join(wanted) or 'none'}")
    found = {}
    for side, hub in wanted.items():
        try:
            found[side] = _side_here(side, hub, folder, given) or Path(_snapshot(str(given.get(side) or hub)))
        except FileNotFoundError as error:
            beside = folder.parent / hub.split("/")[1]
            raise FileNotFoundError(
                f"model {name!r} also needs {hub}, which could not be had ({first_line(error.__cause__ or error)}): "
                f"'emoscope model fetch' of the whole model brings it where there is a network; or put it beside the model as "
                f'{beside}, or give its folder as side = {{ {side} = "..." }}'
            ) from error
    return found


def _side_here(side: str, hub: str, folder: Path, given: Mapping[str, str | Path]) -> Path | None:
    """The folder of a side checkpoint on this machine; ``None`` where it is to be fetched."""
    places = [folder / hub.split("/")[1], folder.parent / hub.split("/")[1]]
    return _local(str(given.get(side) or next((place for place in places if place.is_dir()), hub)))


def model_folders(family: str, folder: Path, beside: Mapping[str, Path]) -> list[Path]:
    """All folders whose files decide a model's answers: its own, its parts inside, and its side checkpoints.

    Args:
        family: key of :data:`FAMILIES`.
        folder: of the model.
        beside: from :func:`find_sides`.
    """
    return [folder, *(folder / part for part in PARTS.get(family, ())), *beside.values()]


def find_folder(name: str, revision: str | None) -> tuple[Path, str | None]:
    """The folder of a model, and its commit if it comes from the hub.

    Raises:
        FileNotFoundError: neither a folder nor reachable on the hub.
    """
    local = _local(name)
    return (local, None) if local else _fetch(name, revision)


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
        return find_config(folder).parent
    if there:
        raise FileNotFoundError(f"model {name!r} is a file: give the folder in which config.json and the weights lie")
    if name == "tiny":
        raise FileNotFoundError(f"the embedded model is missing at {folder}: install the package again")
    if folder.is_absolute() or name.count("/") != 1 or name.startswith(("./", "../", "~")) or name.endswith("/"):
        raise FileNotFoundError(
            f"model {name!r} is no folder here, and names on the hub look like 'owner/name': {_did_you_mean(name)}check the path"
        )
    return None


def _did_you_mean(name: str) -> str:
    """A known name that is near, as the start of a remedy; empty where there is none, or the name itself is known."""
    known = [known for about in RELEASED.values() for known in about.hub]
    last = {one.split("/")[1].lower(): one for one in known} | {one.lower(): one for one in known} | {"tiny": "tiny"}
    near = [] if name in known else get_close_matches(name.lower(), last, n=1, cutoff=0.75)
    return f"did you mean {last[near[0]]!r}? Else " if near else ""


def _cached(name: str, revision: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str)


def ask_once(name: str, revision: str | None) -> None:
    """Ask the hub for a model, once: its library would go on asking for minutes where there is no network."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    if not _cached(name, revision):
        get_hf_file_metadata(hf_hub_url(name, "config.json", revision=revision), timeout=WAIT_S)


def _fetch(name: str, revision: str | None) -> tuple[Path, str]:
    """The folder with all files of a model on the hub, and its commit."""
    revision = _revision(name, revision)
    with reaching(name):
        from huggingface_hub import hf_hub_download, snapshot_download

        ask_once(name, revision)
        # first the configuration alone: an unknown family is found out before its weights are fetched
        config = Path(hf_hub_download(name, "config.json", revision=revision))
        known_type(read_json(config), name)
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=HUB_FILES, ignore_patterns=LEFT_ON_HUB))
    return folder, folder.name


def _snapshot(name: str, revision: str | None = None) -> str:
    with reaching(name):
        from huggingface_hub import snapshot_download

        ask_once(name, revision)
        return str(snapshot_download(name, revision=revision, allow_patterns=HUB_FILES, ignore_patterns=LEFT_ON_HUB))


def _fetch_description(name: str, revision: str | None) -> tuple[Path, str]:
    """The folder with at least config.json and, if there is one, emoscope.json; and its commit."""
    with reaching(name):
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import EntryNotFoundError

        ask_once(name, revision)
        folder = Path(hf_hub_download(name, "config.json", revision=revision)).parent
        # where it is known to be absent, asking again would wait for the network
        if try_to_load_from_cache(name, CARD, revision=folder.name) is None:
            with suppress(EntryNotFoundError):
                hf_hub_download(name, CARD, revision=folder.name)
    return folder, folder.name


@contextmanager
def reaching(name: str) -> Iterator[None]:
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
    if offline := [variable for variable in OFFLINE if os.environ.get(variable)]:
        return (
            f"is not on this machine and {reason}: {offline[0]} is set, so only what was fetched before is used; run "
            f"{fetched} once without it, or give a folder that holds the model"
        )
    return (
        f"is no folder here and {reason}; it was tried once: {near}check the network, or run {fetched} where "
        f"there is one and give the folder; with {OFFLINE[0]}=1 nothing is tried and only what was fetched before is used"
    )


def read_card(folder: Path) -> dict[str, Any]:
    """The model's emoscope.json; empty where there is none.

    Raises:
        ValueError: not valid JSON, or a value of the wrong kind.
    """
    path = folder / CARD
    if not path.is_file():
        return {}
    card = read_json(path)
    budget, trained_on = card.get("recommended_budget", 0.005), card.get("trained_on", [])
    if not isinstance(budget, int | float) or not 0 < budget < 0.5:
        raise ValueError(
            f"{path}: recommended_budget {budget!r} is not a share of neurons: write a number such as 0.005"
        )
    if not isinstance(trained_on, list) or not all(isinstance(one, dict) for one in trained_on):
        raise ValueError(f'{path}: trained_on {trained_on!r} is not a list of corpora: write [{{"corpus": "…"}}]')
    speakers = card.get("trained_speakers", [])
    if not isinstance(speakers, list) or not all(isinstance(one, str) for one in speakers):
        raise ValueError(f"{path}: trained_speakers {speakers!r} is not a list of names")
    return card
