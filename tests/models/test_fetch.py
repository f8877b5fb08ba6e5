"""Fetching from a server on this machine that answers like the hub, and loading without any network afterwards."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from emoscope.models.lookup import fetch_model
from tests.helpers.hub import commit, hub
from tests.helpers.tiny_families import write_af3

MODEL, SIDE, OTHER = "owner/two-parts", "maker/codes", "owner/whisper"

PROGRAM = """
from pathlib import Path
from emoscope.models.families.whisper import AudioFlamingo3
from emoscope.models.families import register

class TwoParts(AudioFlamingo3):
    side_checkpoints = {"codes": "maker/codes"}

    @classmethod
    def load(cls, folder, how):
        print("side", how.side["codes"])
        return super().load(folder, how)

register(TwoParts)
"""
"""A family that consists of two checkpoints."""

FETCH = PROGRAM + "from emoscope.cli import main\nmain()"


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """What lies on the hub: a model with much that is not to be fetched, its side checkpoint, and another family."""
    root = tmp_path_factory.mktemp("hub")
    model = write_af3(root / "model")
    for name in ("pytorch_model.bin", "spk_dict.pt", "modeling_two_parts.py", "consolidated.safetensors"):
        (model / name).write_bytes(b"not to be fetched")
    (model / "part").mkdir()
    (model / "part" / "config.json").write_text("{}")
    side = root / "side"
    side.mkdir()
    (side / "config.json").write_text("{}")
    (side / "model.safetensors").write_bytes(b"\2\0\0\0\0\0\0\0{}")  # without a tensor
    (side / "model.pt").write_bytes(b"not to be fetched")
    other = shutil.copytree(model, root / "other")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"model_type": "whisper"}))
    with hub({MODEL: model, SIDE: side, OTHER: other}) as (address, sent):
        yield address, sent


@pytest.fixture
def run(there, tmp_path):
    """Run a program as a process of its own, as the hub's address is read when the library is imported."""

    def run(program, *arguments, **environment):
        known = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
        own = {"HF_ENDPOINT": there[0], "HF_HOME": str(tmp_path / "cache"), "NO_PROXY": "127.0.0.1"}
        there[1].clear()
        return subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path,
            env={**known, **own, "XDG_CACHE_HOME": str(tmp_path / "xdg"), **environment},
        )  # fmt: skip

    return run


@pytest.mark.journey
@pytest.mark.parametrize("to", [None, pytest.param("models", marks=pytest.mark.long)])
def test_a_model_and_its_side_checkpoint_are_fetched_and_load_offline(run, there, tmp_path, to):
    where = ["--to", to] if to else []
    done = run(FETCH, "model", "fetch", MODEL, "--revision", "v1", *where)
    assert done.returncode == 0, done.stderr
    _, sent = there
    assert {name.rsplit(".", 1)[1] for name in sent} <= {"json", "safetensors", "jinja"}
    assert f"{SIDE}/model.safetensors" in sent
    assert f"{MODEL}/part/config.json" in sent
    assert not [name for name in sent if "consolidated" in name]
    assert len(sent) == len(set(sent)) or to  # with --to, config.json is read once more, to the cache
    for name in (MODEL, SIDE):
        assert f"commit {commit(name)}" in done.stdout
    study = done.stdout.split("In the study:")[1]
    if to:
        assert f'id = "{tmp_path / "models" / "two-parts"}"' in study
        assert "revision" not in study
        assert f'side = {{ codes = "{tmp_path / "models" / "codes"}" }}' in study
    else:
        assert f'id = "{MODEL}"\nrevision = "{commit(MODEL)}"' in study
    load = PROGRAM + (
        "import sys\nfrom emoscope.experiments.stages import load\nfrom emoscope.runs import Log\n"
        "from emoscope.experiments.study import parse_study\nstudy = parse_study(sys.argv[1])\n"
        "model = load(study.model, Log('quiet', Path('log.jsonl')))\n"
        "assert study.card().checksum == model.info.checksum\nprint(model, model.info.revision)"
    )
    # told to stay offline, or without a network and not told
    cut = {"HF_HUB_OFFLINE": "1"} if to else {"HF_ENDPOINT": "http://127.0.0.1:9"}
    offline = run(load, study, **cut)
    assert offline.returncode == 0, offline.stderr
    assert there[1] == []
    assert "Retry" not in offline.stderr  # nothing waits for the network
    assert "audioflamingo3, 3 layers x 40 neurons" in offline.stdout
    assert ("None" if to else commit(MODEL)) in offline.stdout


@pytest.mark.journey
def test_an_unknown_family_is_refused_before_its_weights_are_fetched(run, there):
    done = run(FETCH, "model", "fetch", OTHER)
    assert done.returncode == 2
    assert "model_type 'whisper', which is not known here" in done.stderr
    assert "docs/add-a-model.md" in done.stderr
    assert there[1] == [f"{OTHER}/config.json"]


@pytest.mark.journey
@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [("owner/nothing", "main", "owner/nothing"), (MODEL, "v9", "could not be fetched from the hub")],
)
def test_what_is_not_there_is_named(run, name, revision, message):
    done = run(FETCH, "model", "fetch", name, "--revision", revision)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["tiny", "a/b/c"])
def test_only_names_on_the_hub_can_be_fetched(name):
    with pytest.raises(ValueError, match="is no name on the hub: give one like 'owner/name'"):
        fetch_model(name)
