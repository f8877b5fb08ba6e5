from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from emoscope.corpora import load_audio, open_corpus

datasets = pytest.importorskip("datasets", reason="skipped: the package datasets is not installed")

WORDS = ["anger", "happy", "irony"]


def made(sound: Any, folder: Path, rows: list[dict[str, Any]]) -> Any:
    """A real dataset whose audio column is stored as the package stores it, made without torchcodec."""
    kinds = {
        "audio": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
        "label": datasets.ClassLabel(names=WORDS),
        "speaker_id": datasets.Value("string"),
        "age": datasets.Value("int32"),
        "scores": datasets.List(datasets.Value("float32")),
    }
    given = {name: [row.get(name) for row in rows] for name in kinds}
    frame = datasets.Dataset.from_dict(given, features=datasets.Features(kinds))
    return frame.cast_column("audio", datasets.Audio(sampling_rate=16000))


@pytest.fixture
def rows(tmp_path: Path, sound) -> list[dict[str, Any]]:
    contents = []
    for name in ("a.wav", "b.flac", "c.ogg", "d.mp3"):
        contents.append(sound(tmp_path / "sound" / name, seconds=0.5).read_bytes())
    return [
        {"audio": {"bytes": contents[0], "path": "a.wav"}, "label": 0, "speaker_id": "001", "age": 31, "scores": [1.0]},
        {"audio": {"bytes": contents[1], "path": None}, "label": 1, "speaker_id": "002", "age": None, "scores": []},
        {"audio": {"bytes": contents[2], "path": "c.ogg"}, "label": -1, "speaker_id": "002", "age": 1, "scores": []},
        {"audio": {"bytes": contents[3], "path": "d.mp3"}, "label": 0, "speaker_id": None, "age": 2, "scores": []},
        {"audio": {"bytes": contents[3], "path": "d.mp3"}, "label": 2, "speaker_id": "9", "age": 2, "scores": []},
        {"audio": None, "label": 1, "speaker_id": "9", "age": 2, "scores": []},
    ]


def test_a_dataset_saved_to_disk(tmp_path: Path, sound, rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made(sound, tmp_path, rows).save_to_disk(tmp_path / "mine")
    for corpus in (open_corpus("datasets", tmp_path / "mine"), open_corpus(tmp_path / "mine")):
        assert corpus.info.id == "datasets-mine"
        assert [(clip.id, clip.speaker, dict(clip.labels)) for clip in corpus] == [
            ("000000", "001", {"emotion": "anger", "age": "31"}),
            ("000001", "002", {"emotion": "happiness"}),
            ("000003", None, {"emotion": "anger", "age": "2"}),
        ]
        assert [(lost.id, lost.status, lost.why.split(":")[0]) for lost in corpus.lost] == [
            ("000002", "excluded", "no emotion is given"),
            ("000004", "excluded", "emotion 'irony' is not known"),
            ("000005", "excluded", "no recording is in this row"),
        ]
    assert "torchcodec" not in sys.modules
    kept = sorted(path.suffix for path in (tmp_path / "cache" / "emoscope" / "sounds").iterdir())
    assert kept == [".flac", ".mp3", ".ogg", ".wav"]
    heard = [len(load_audio(clip.path)) for clip in corpus]
    assert heard[:2] == [8000, 8000]
    original = soundfile.read(tmp_path / "sound" / "a.wav", dtype="float32")[0]
    assert np.abs(load_audio(corpus.clips[0].path, "as recorded") - original).max() < 1e-6


def test_splits_files_beside_the_dataset_and_own_columns(tmp_path: Path, sound, rows) -> None:
    whole = made(sound, tmp_path, rows)
    parts = {"train": whole.select([0, 1]).remove_columns("age"), "test": whole.select([5, 3])}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "two")
    corpus = open_corpus("datasets", tmp_path / "two", cache=tmp_path / "sounds")
    assert [(clip.id, clip.split, clip.labels.get("age")) for clip in corpus] == [
        ("train-000000", "train", None), ("train-000001", "train", None), ("test-000001", "test", "2")
    ]  # fmt: skip
    assert [(lost.id, lost.why) for lost in corpus.lost] == [("test-000000", "no recording is in this row")]
    paths = {"file": [str(tmp_path / "sound" / "a.wav"), "gone.wav"], "mood": ["ok", "sad"], "who": [1, 2]}
    datasets.Dataset.from_dict(paths).save_to_disk(tmp_path / "plain")
    plain = open_corpus(
        "datasets", tmp_path / "plain", columns={"emotion": "mood", "speaker": "who"}, labels={"ok": "calm"}
    )
    assert [(clip.speaker, clip.labels["emotion"]) for clip in plain] == [("1", "calm")]
    assert [(lost.status, lost.why) for lost in plain.lost] == [("quarantined", "file not found")]


def test_errors_say_what_to_give(tmp_path: Path, sound, rows, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="corpus 'datasets' needs its dataset"):
        open_corpus("datasets")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist: give a folder written by save_to_disk"):
        open_corpus("datasets", tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="folder cannot be read from disk"):
        open_corpus("datasets", tmp_path / "folder")
    made(sound, tmp_path, rows).save_to_disk(tmp_path / "mine")
    with pytest.raises(ValueError, match="mine has no column 'labl': did you mean 'label'"):
        open_corpus("datasets", tmp_path / "mine", columns={"emotion": "labl"})
    with pytest.raises(ValueError, match="column 'scores' of dataset mine holds lists"):
        open_corpus("datasets", tmp_path / "mine", columns={"emotion": "scores"})
    for file in (tmp_path / "mine").glob("*.arrow"):
        file.write_bytes(b"no arrow")
    with pytest.raises(ValueError, match="mine cannot be read from disk"):
        open_corpus("datasets", tmp_path / "mine")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ValueError, match=r"pip install 'emoscope\[datasets\]'"):
        open_corpus("datasets", tmp_path / "mine")
