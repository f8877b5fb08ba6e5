"""Looking a model up: without torch, and without its weights."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub.errors import EntryNotFoundError

from emoscope.models.checksums import weights_checksum
from emoscope.models.lookup import look_up
from tests.models.conftest import CARD

COMMIT = "c0ffee"


class Hub:
    """Hands out the files of one folder as the hub would, and remembers what was asked for."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder, self.snapshot = folder, cache / COMMIT
        self.asked: list[tuple[str, str | None]] = []

    def one(self, name, file, revision=None):
        self.asked.append((file, revision))
        if not (self.folder / file).is_file():
            raise EntryNotFoundError(f"{file} is not there")
        self.snapshot.mkdir(parents=True, exist_ok=True)
        return str(shutil.copy(self.folder / file, self.snapshot / file))

    def all(self, name, revision=None, allow_patterns=None, ignore_patterns=None):
        self.asked.append(("all", revision))
        return str(shutil.copytree(self.folder, self.snapshot, dirs_exist_ok=True))


@pytest.fixture
def hub(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = Hub(shutil.copytree(folder, tmp_path / "there"), tmp_path / "hub")
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", lambda url, timeout: None)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", made.one)
    monkeypatch.setattr("huggingface_hub.snapshot_download", made.all)
    return made


def test_looking_up_fetches_no_weights(hub):
    card = look_up("owner/name")
    assert (card.layers, card.recommended_budget) == (look_up(str(hub.folder)).layers, 0.05)
    assert list(card.trained_on) == CARD["trained_on"]
    assert hub.asked == [("config.json", None), ("emoscope.json", COMMIT)]


def test_the_checksum_fetches_the_weights_of_the_same_commit(hub):
    assert look_up("owner/name").checksum == weights_checksum(hub.folder)
    assert hub.asked[2:] == [("config.json", COMMIT), ("all", COMMIT)]


def test_a_model_on_the_hub_needs_no_card(hub):
    (hub.folder / "emoscope.json").unlink()
    card = look_up("owner/name")
    assert (card.recommended_budget, card.trained_on) == (0.005, ())


def test_mistakes_are_named(hub):
    (hub.folder / "config.json").write_text(json.dumps({"model_type": "whisper"}))
    with pytest.raises(ValueError, match="model_type 'whisper'"):
        look_up("owner/name")
    (hub.folder / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="could not be fetched from the hub"):
        look_up("owner/name")
    with pytest.raises(FileNotFoundError, match="is no folder here"):
        look_up("just-a-name")


def test_the_embedded_model_is_looked_up_without_torch():
    code = "import sys; from emoscope.models.lookup import look_up; look_up('tiny').checksum; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
