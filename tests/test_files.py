"""What the first bytes of a file tell of it, and what is remembered of large files."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import wave
import zipfile
from pathlib import Path

import pytest

from emoscope.files import Checksums, what_is


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "emoscope" / "sounds.json"


def remembered(path: Path, cache: Path) -> None:
    """Put another hash in place of a file's own, to see whether it is taken from there."""
    stat = path.stat()
    cache.parent.mkdir(parents=True, exist_ok=True)
    cache.write_text(json.dumps({str(path): ["known", stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]}))


def test_a_file_that_did_not_change_is_not_read_again(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    remembered(path, cache)
    with Checksums("sounds.json") as checksums:
        assert checksums.of(path) == "known"


def test_other_content_of_the_same_size_and_time_of_writing_is_read(tmp_path: Path, cache: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"abc")
    os.utime(path, (1e9, 1e9))
    remembered(path, cache)
    other.write_bytes(b"xyz")
    os.utime(other, (1e9, 1e9))
    other.replace(path)
    with Checksums("sounds.json") as checksums:
        assert checksums.of(path) == hashlib.sha256(b"xyz").hexdigest()


def test_only_files_that_have_settled_are_written_down(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "new").write_bytes(b"abc")
    with Checksums("sounds.json") as checksums:
        assert checksums.of(tmp_path / "new") == hashlib.sha256(b"abc").hexdigest()
    assert not cache.exists()
    # as if the file had been there for a minute
    monkeypatch.setattr("emoscope.files.FRESH_S", -60.0)
    with Checksums("sounds.json") as checksums:
        checksums.of(tmp_path / "new")
    with Checksums("sounds.json") as checksums:
        checksums.of(Path(__file__))
    assert set(json.loads(cache.read_text())) == {str(tmp_path / "new"), str(Path(__file__))}


def test_what_is_remembered_can_be_asked_for_and_read_anew(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emoscope.files.FRESH_S", -60.0)
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert Checksums("sounds.json").known(path) is None
    remembered(path, cache)
    assert Checksums("sounds.json").known(path) == "known"
    with Checksums("sounds.json") as checksums:
        assert checksums.anew(path) == hashlib.sha256(b"abc").hexdigest()
    assert Checksums("sounds.json").known(path) == hashlib.sha256(b"abc").hexdigest()
    path.write_bytes(b"abcd")
    assert Checksums("sounds.json").known(path) is None
    assert Checksums("sounds.json").known(tmp_path / "nowhere") is None


@pytest.mark.parametrize("content", ["", "[1]", '{"a": 1}', "\x00"])
def test_a_damaged_cache_is_as_good_as_none(tmp_path: Path, cache: Path, content: str) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text(content)
    (tmp_path / "a").write_bytes(b"abc")
    with Checksums("sounds.json") as checksums:
        assert checksums.of(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def zipped(content: bytes, name: str = "a.wav") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(name, content)
    return made.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", ("Git LFS pointer", "git lfs pull")),
        (b"<!DOCTYPE HTML><title>Sign in</title>", ("web page", "sign in")),
        (b"\xef\xbb\xbf\n  <html lang='en'>", ("web page",)),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', ("web page",)),
        (gzip.compress(b"x" * 99, mtime=0), ("gzip", "gunzip")),
        (bz2.compress(b"x" * 99), ("bzip2",)),
        (lzma.compress(b"x" * 99), ("xz",)),
        (zipped(b"x"), ("ZIP archive", "unpack")),
        (zipped(b"x", "archive/data.pkl"), ("torch.save", "safetensors")),
        (b"", ("empty file", "download it again")),
        (bytes(4096), ("null bytes",)),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",  # packed bytes hold the time of day
)
def test_a_file_is_named_as_what_it_is(tmp_path: Path, content: bytes, words: tuple[str, ...]) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(content)
    assert all(word in str(what_is(file)) for word in words)


def test_sound_tables_json_and_weights_are_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "file"
    with wave.open(str(file), "wb") as sound:
        sound.setparams((1, 2, 16000, 0, "NONE", ""))
        sound.writeframes(bytes(3200))
    assert what_is(file) is None
    for content in (
        b'{"a": 1}',
        b"path,emotion\n",
        b"\x08\0\0\0\0\0\0\0{}      ",
        b"version,speaker\n",
        b"<speaker>\n",
    ):
        file.write_bytes(content)
        assert what_is(file) is None
