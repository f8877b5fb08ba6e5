"""What the first bytes of a file tell of it."""

import bz2
import gzip
import io
import lzma
import wave
import zipfile
from pathlib import Path

import pytest

from emoscope.first_bytes import what_is


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
