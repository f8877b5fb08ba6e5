"""A file as libsndfile needs it, where its own header is wrong: other first bytes, then a part of the file."""

from __future__ import annotations

import io
import mmap
import os
from pathlib import Path

Bytes = bytes | mmap.mmap
"""Content of a file, in memory or mapped."""


class Spliced(io.RawIOBase):
    """Reads as if a file began with other bytes and ended sooner.

    Args:
        head: what stands in place of the file's first bytes.
        path: the file.
        start: offset from which its own bytes follow.
        end: offset at which they end.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "x"
        >>> _ = file.write_bytes(b"wrong sound rest")
        >>> with Spliced(b"right", file, 5, 11) as spliced:
        ...     spliced.read()
        b'right sound'
    """

    def __init__(self, head: bytes, path: Path, start: int, end: int) -> None:
        self._head, self._start, self._size = head, start, len(head) + end - start
        self._file = path.open("rb")
        self._at = 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be read from any place."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to an offset."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """The offset of the next byte."""
        return self._at

    def readinto(self, buffer: object) -> int:
        """Fill a buffer; returns how many bytes there were."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        wanted = max(0, min(len(view), self._size - self._at))
        part = self._head[self._at : self._at + wanted]
        if not part and wanted:
            self._file.seek(self._start + self._at - len(self._head))
            part = self._file.read(wanted)
        view[: len(part)] = part
        self._at += len(part)
        return len(part)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
