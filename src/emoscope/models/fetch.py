"""Bring a model from the hub onto this machine: a pinned commit, with the further checkpoints that it consists of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from emoscope.models.lookup import HUB_FILES, LEFT_ON_HUB, SIDES, WAIT_S, known_type, look_up, reaching, read_json


@dataclass(frozen=True)
class Fetched:
    """A checkpoint that is now on this machine.

    Attributes:
        name: on the hub.
        folder: where its files are.
        commit: on the hub.
        bytes: size of its files.
        pinned: whether it lies in the cache of the hub, where the name and the commit find it.
        side: further checkpoints that it needs.
    """

    name: str
    folder: Path
    commit: str
    bytes: int
    pinned: bool
    side: Mapping[str, Fetched] = field(default_factory=dict)

    def study(self) -> str:
        """The section of a study file that takes this model, without a network."""
        lines = ["[model]", f"id = {json.dumps(self.name if self.pinned else str(self.folder))}"]
        if self.pinned:
            lines.append(f"revision = {json.dumps(self.commit)}")
        if self.side:
            named = ", ".join(f"{name} = {json.dumps(str(one.folder))}" for name, one in self.side.items())
            lines.append(f"side = {{ {named} }}")
        return "\n".join(lines)


def fetch_model(name: str, revision: str | None = None, to: Path | None = None) -> Fetched:
    """Fetch all that a model needs: configuration, tokenizer and safetensors; no code and no pickles.

    Args:
        name: on the hub, such as ``"nvidia/audio-flamingo-3-hf"``.
        revision: branch, tag or commit; the main branch as it is now if ``None``.
        to: folder in which each checkpoint gets a folder of its own; the cache of the hub if ``None``.

    Raises:
        ValueError: not a name on the hub, or a family that is not known: then no weights are fetched.
        FileNotFoundError: not on the hub, or no network.
    """
    if name.count("/") != 1 or Path(name).expanduser().is_dir():
        raise ValueError(f"{name!r} is no name on the hub: give one like 'owner/name'")
    with reaching(name):
        from huggingface_hub import HfApi, hf_hub_download

        commit = str(HfApi().model_info(name, revision=revision, timeout=WAIT_S).sha)
        config = read_json(Path(hf_hub_download(name, "config.json", revision=commit)))
        model_type = known_type(config, name)
    found = _fetch(name, commit, to)
    if to is None:
        look_up(name, revision=commit)  # the cache remembers that there is no emoscope.json, where there is none
    side = {key: _fetch(hub, None, to) for key, hub in SIDES.get(model_type, {}).items()}
    return Fetched(name, found.folder, commit, found.bytes, to is None, side)


def _fetch(name: str, commit: str | None, to: Path | None) -> Fetched:
    with reaching(name):
        from huggingface_hub import HfApi, snapshot_download

        commit = commit or str(HfApi().model_info(name, timeout=WAIT_S).sha)
        place = None if to is None else to.expanduser().resolve() / name.split("/")[1]
        folder = Path(
            snapshot_download(
                name, revision=commit, local_dir=place, allow_patterns=HUB_FILES, ignore_patterns=LEFT_ON_HUB
            )
        )
    files = [path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.relative_to(folder).parts]
    return Fetched(name, folder, commit, sum(path.stat().st_size for path in files), to is None)
