"""What is read in a weight file: its hash, and which tensors hold a value that is not finite."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
import torch
from safetensors.torch import save_file

from emoscope.models import checkpoint
from emoscope.models.checkpoint import read_weights, scan_weights

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2, torch.float8_e4m3fn]
WHOLE = [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool]


def largest(dtype):
    """Every finite number of a dtype of at most 16 bits; else large, small and negative ones."""
    if dtype.itemsize > 2:
        info = torch.finfo(dtype)
        return torch.tensor([0, -0.0, info.max, info.min, info.tiny, info.smallest_normal / 4, 1], dtype=dtype)
    bits = torch.arange(256**dtype.itemsize, dtype=torch.int32).to({1: torch.uint8, 2: torch.int16}[dtype.itemsize])
    every = bits.view(dtype)
    return every[torch.isfinite(every.float())]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_no_finite_number_is_taken_for_another(tmp_path, dtype):
    file = tmp_path / "w.safetensors"
    save_file({"a": largest(dtype), "empty": torch.zeros(0, dtype=dtype)}, file)
    assert read_weights(file) == (hashlib.sha256(file.read_bytes()).hexdigest(), [])


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_one_that_is_not_is_found_wherever_it_stands(tmp_path, monkeypatch, dtype, value):
    if dtype == torch.float8_e4m3fn and value != "nan":
        pytest.skip("this dtype has no infinity")
    monkeypatch.setattr(checkpoint, "AT_ONCE", 64)
    monkeypatch.setattr(checkpoint, "BLOCK", 32)
    file = tmp_path / "w.safetensors"
    for place in (0, 3, 4, 31, 32, 76):
        values = torch.ones(77).to(dtype)
        values[place] = float(value)
        tensors = {"a.weight": torch.ones(77).to(dtype), "b.weight": values, "c.bias": torch.ones(3)}
        save_file(tensors, file, metadata={"format": "pt"})
        assert read_weights(file) == (hashlib.sha256(file.read_bytes()).hexdigest(), ["b.weight"])


@pytest.mark.parametrize("dtype", WHOLE, ids=str)
def test_whole_numbers_are_not_looked_at(tmp_path, dtype):
    file = tmp_path / "w.safetensors"
    save_file({"a": torch.full((9,), -1).to(dtype)}, file)
    assert read_weights(file)[1] == []


@pytest.mark.parametrize(
    "content", [b"", b"abc", b"\xff" * 64, (5).to_bytes(8, "little") + b"{}   ", b"version https://git-lfs"]
)
def test_of_other_files_there_is_a_hash(tmp_path, content):
    file = tmp_path / "w.safetensors"
    file.write_bytes(content)
    assert read_weights(file) == (hashlib.sha256(content).hexdigest(), [])


def test_both_are_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    folder.mkdir()
    file = folder / "model.safetensors"
    save_file({"a": torch.tensor([1.0, float("nan")])}, file)
    os.utime(file, (1e9, 1e9))
    monkeypatch.setattr("emoscope.files.FRESH_S", -60.0)
    first = scan_weights(folder)
    assert first == (scan_weights(folder)[0], {file.resolve(): ["a"]})
    cache = tmp_path / "cache" / "emoscope" / "shards.json"
    ((found, *mark),) = json.loads(cache.read_text()).values()
    cache.write_text(json.dumps({str(file.resolve()): [[found[0], ["other"]], *mark]}))
    assert scan_weights(folder) == (first[0], {file.resolve(): ["other"]})
