"""Looking a model up: without torch, and without its weights."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from huggingface_hub.errors import EntryNotFoundError

from emoscope.experiments.parts import dry_run
from emoscope.experiments.schema import Model, Study
from emoscope.models.checkpoint import scan_weights
from emoscope.models.families import built_in
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

    def all(self, name, revision=None, local_dir=None, allow_patterns=None, ignore_patterns=None):
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
    assert look_up("owner/name").checksum == scan_weights(hub.folder)[0]
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


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network and an empty cache."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "none"))


def test_released_models_are_planned_without_a_network(offline, capsys):
    for about in built_in().values():
        for name, (layers, width) in about.released.items():
            card = look_up(name, revision=about.released_revision or None)
            assert (card.layers, card.width, card.family.model_type) == (layers, width, about.model_type)
            assert "nothing was fetched" in card.note
    dry_run(Study(model=Model(id="Qwen/Qwen2.5-Omni-7B")))
    told = " ".join(capsys.readouterr().out.split())
    assert "Qwen/Qwen2.5-Omni-7B is not on this machine: its sizes are those of the release, and nothing" in told
    assert "28 layers x 18944 neurons" in told


def test_a_revision_that_is_needed_is_named(offline):
    with pytest.raises(ValueError, match="under another revision only: give revision 'refs/pr/70'"):
        look_up("microsoft/Phi-4-multimodal-instruct")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("tinny", "did you mean 'tiny'?"),
        ("Tiny", "did you mean 'tiny'?"),
        ("nvidia/audio-flamingo3-hf", "did you mean 'nvidia/audio-flamingo-3-hf'?"),
        ("Qwen/Qwen2.5-Omni", "did you mean 'Qwen/Qwen2.5-Omni-7B'?"),
        ("Kimi-Audio-7B-Instruct", "did you mean 'moonshotai/Kimi-Audio-7B-Instruct'?"),
        ("somebody/something-else", "check the network"),
        ("x" * 5000, "is no folder here"),
        ("~nobody-of-this-name/x/y", "check the path"),
    ],
)
def test_a_name_that_is_not_there(offline, name, meant):
    with pytest.raises(FileNotFoundError, match="is no folder here") as caught:
        look_up(name)
    assert meant in str(caught.value)


def test_the_hub_is_asked_once_where_it_does_not_answer(tmp_path):
    calls: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def be_busy() -> None:
            while True:
                try:
                    caller, _ = server.accept()
                except OSError:
                    return
                with caller:
                    calls.append(caller.recv(4000).split(b"\r")[0])
                    caller.sendall(
                        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                    )

        threading.Thread(target=be_busy, daemon=True).start()
        code = "from emoscope.models.lookup import look_up; look_up('owner/name')"
        known = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False,
            env={**known, "HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1"},
        )  # fmt: skip
        server.close()
    assert len([call for call in calls if b"owner/name" in call]) == 1, calls
    last = done.stderr.splitlines()[-1]
    assert "it was tried once" in last
    assert "'emoscope model fetch owner/name'" in last
    assert "HF_HUB_OFFLINE=1" in last


def test_a_variable_that_keeps_the_hub_away_is_named(offline, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match="HF_HUB_OFFLINE is set, so only what was fetched before is used"):
        look_up("owner/name")
