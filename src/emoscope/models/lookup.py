"""What can be said of a model without loading its weights, or torch: folder, family, sizes, card, checksum."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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

LEFT_ON_HUB = ["consolidated*.safetensors", "original/*"]
"""What is not fetched, though :data:`HUB_FILES` names it: the same weights in another format."""


@dataclass(frozen=True)
class Card:
    """A model as its folder describes it.

    Attributes:
        folder: where its files are.
        layers, width: decoder layers and neurons per layer, from config.json.
        recommended_budget: share of neurons of a set.
        trained_on: corpora and filters on which it was trained.
        hub: name and commit, if it comes from the hub; then ``folder`` may hold no weights yet.
        family: key of :data:`FAMILIES`.
        side: what the user named as further checkpoints.
    """

    folder: Path
    layers: int
    width: int
    recommended_budget: float
    trained_on: tuple[Mapping[str, Any], ...]
    hub: tuple[str, str] | None = None
    family: str = ""
    side: Mapping[str, str | Path] = field(default_factory=dict)

    @property
    def checksum(self) -> str:
        """sha256 over the files that decide the answers; of a model on the hub they are fetched first, if need be."""
        from emoscope.models.checksums import weights_checksum

        folder, name = (_fetch(*self.hub)[0], self.hub[0]) if self.hub else (self.folder, str(self.folder))
        beside = find_sides(SIDES.get(self.family, {}), folder, self.side, name)
        return weights_checksum(*model_folders(self.family, folder, beside))


def look_up(id_or_path: str, side: Mapping[str, str | Path] | None = None, revision: str | None = None) -> Card:
    """Read a model's config.json and emoscope.json; of a model on the hub nothing else is fetched.

    Args:
        id_or_path: as for :func:`emoscope.models.registry.load_model`.
        side: likewise.
        revision: likewise.

    Raises:
        FileNotFoundError: the model is not there.
        ValueError: its family is not known.

    Example:
        >>> look_up("tiny").layers
        4
    """
    name = str(id_or_path)
    local = _local(name)
    folder, commit = (local, None) if local else _fetch_description(name, revision)
    config = read_json(folder / "config.json")
    family = known_type(config, name)
    text = text_config(config)
    card = read_card(folder)
    return Card(
        folder,
        int(text["num_hidden_layers"]),
        _width(text["intermediate_size"]),
        float(card.get("recommended_budget", 0.005)),
        tuple(card.get("trained_on", ())),
        (name, commit) if commit else None,
        family,
        side or {},
    )


def _width(size: int | list[int]) -> int:
    return int(size[0] if isinstance(size, list) else size)  # some decoders list one for each layer


def known_type(config: Mapping[str, Any], name: str) -> str:
    """The ``model_type`` of a config, or the one that its architecture tells where it has none that is known.

    Raises:
        ValueError: it is not known here.
    """
    model_type = config.get("model_type")
    if model_type in FAMILIES:
        return str(model_type)
    for architecture in config.get("architectures") or ():
        if architecture in ARCHITECTURES:
            return ARCHITECTURES[architecture]
    raise ValueError(
        f"model {name!r} has model_type {model_type!r}, which is not known here: known are "
        f"{', '.join(sorted(FAMILIES))}; docs/add-a-model.md shows how to add a family"
    )


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a config.json that describes the text decoder.

    Example:
        >>> text_config({"thinker_config": {"text_config": {"num_hidden_layers": 28}}})
        {'num_hidden_layers': 28}
    """
    config = config.get("thinker_config") or config
    text = config.get("text_config") or config
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
        places = [folder / hub.split("/")[1], folder.parent / hub.split("/")[1]]
        choice = str(given.get(side) or next((place for place in places if place.is_dir()), hub))
        try:
            found[side] = _local(choice) or Path(_snapshot(choice))
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"model {name!r} also needs {hub} from the hub ({error}): give its folder as side = "
                f'{{ {side} = "..." }}, or put it beside the model as {places[1]}'
            ) from error
    return found


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
    folder = TINY if name == "tiny" else Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(f"{folder} holds no config.json: give the folder of one model")
        return folder
    if name == "tiny":
        raise FileNotFoundError(f"the embedded model is missing at {folder}: install the package again")
    if folder.is_absolute() or name.count("/") != 1:
        raise FileNotFoundError(
            f"model {name!r} is no folder here, and names on the hub look like 'owner/name': check the path"
        )
    return None


def _fetch(name: str, revision: str | None) -> tuple[Path, str]:
    """The folder with all files of a model on the hub, and its commit."""
    with reaching(name):
        from huggingface_hub import hf_hub_download, snapshot_download

        # first the configuration alone: an unknown family is found out before its weights are fetched
        config = Path(hf_hub_download(name, "config.json", revision=revision))
        known_type(read_json(config), name)
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=HUB_FILES, ignore_patterns=LEFT_ON_HUB))
    return folder, folder.name


def _snapshot(name: str, revision: str | None = None) -> str:
    with reaching(name):
        from huggingface_hub import snapshot_download

        return str(snapshot_download(name, revision=revision, allow_patterns=HUB_FILES, ignore_patterns=LEFT_ON_HUB))


def _fetch_description(name: str, revision: str | None) -> tuple[Path, str]:
    """The folder with at least config.json and, if there is one, emoscope.json; and its commit."""
    with reaching(name):
        from huggingface_hub import hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import EntryNotFoundError

        folder = Path(hf_hub_download(name, "config.json", revision=revision)).parent
        # where it is known to be absent, asking again would wait for the network
        if try_to_load_from_cache(name, CARD, revision=folder.name) is None:
            with suppress(EntryNotFoundError):
                hf_hub_download(name, CARD, revision=folder.name)
    return folder, folder.name


@contextmanager
def reaching(name: str) -> Iterator[None]:
    """Say in one sentence that a model could not be had from the hub; an unknown family keeps its own error."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ValueError) and "model_type" in str(error):
            raise
        raise _unreachable(name, error) from error


def _unreachable(name: str, error: Exception) -> FileNotFoundError:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return FileNotFoundError(
        f"model {name!r} is no folder here and could not be fetched from the hub ({reason}): "
        "check the name and the network, or give a folder that holds the model"
    )


def read_card(folder: Path) -> dict[str, Any]:
    """The model's emoscope.json; empty where there is none."""
    return read_json(folder / CARD) if (folder / CARD).is_file() else {}


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: not valid JSON, or not an object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} must hold a JSON object")
    return content
