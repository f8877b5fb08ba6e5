"""What a file really is, where its first bytes say that it is not what its name promises."""

from __future__ import annotations

from pathlib import Path

READ = 512
"""Bytes read from the beginning of a file."""

ZIP, GZIP = b"PK\x03\x04", b"\x1f\x8b"

POINTER = b"version https://git-lfs.github.com/spec/"

MARKS: tuple[tuple[bytes, str], ...] = (
    (POINTER, "a Git LFS pointer, not the file itself: run 'git lfs pull' in its folder, or download it again"),
    (GZIP, "gzip-compressed: unpack it first, such as with 'gunzip'"),
    (b"\x28\xb5\x2f\xfd", "Zstandard-compressed: unpack it first, such as with 'unzstd'"),
    (b"\xfd7zXZ\x00", "xz-compressed: unpack it first, such as with 'unxz'"),
    (b"BZh", "bzip2-compressed: unpack it first, such as with 'bunzip2'"),
    (ZIP, "a ZIP archive: unpack it first"),
    (b"PK\x05\x06", "an empty ZIP archive: download it again"),
    (b"Rar!\x1a\x07", "a RAR archive: unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive: unpack it first"),
    (b"%PDF-", "a PDF document: download the file itself"),
)
"""First bytes of a file -> what it is and what to do."""

WEB = (b"<!doctype html", b"<html", b"<head", b"<?xml", b"<error>")
"""How web pages and the error messages of download servers begin, in lower case."""


def is_web_page(start: bytes) -> bool:
    """Whether the first bytes of a file are those of a web page, or of a download server's error message."""
    return start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(WEB)


def what_is(path: Path) -> str | None:
    """What a file is that is not what its name says, and what to do; ``None`` where its first bytes are not telling.

    Args:
        path: a file; at most :data:`READ` bytes of it are read.

    Returns:
        words that follow "is" in a sentence, such as "a Git LFS pointer, not the file itself: run 'git lfs pull' …".

    Raises:
        OSError: it cannot be read.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     page = Path(folder, "clip.wav")
        ...     _ = page.write_text("<!DOCTYPE html><title>Sign in</title>")
        ...     what_is(page)
        'a web page, not the file itself: download it again, and look whether it asks you to sign in'
    """
    with path.open("rb") as file:
        start = file.read(READ)
    if not start:
        return "an empty file (0 bytes): copy or download it again"
    if not start.strip(b"\0"):
        return "filled with null bytes, as a download leaves it that was cut off: copy or download it again"
    if start.startswith(ZIP) and b"/data.pkl" in start:
        return "weights in the format of torch.save, which can run code when it is read: convert them to safetensors"
    for mark, words in MARKS:
        if start.startswith(mark):
            return words
    if is_web_page(start):
        return "a web page, not the file itself: download it again, and look whether it asks you to sign in"
    return None
