"""Corpora: clips with labels, whatever their layout on disk."""

from __future__ import annotations

from pathlib import Path


def polish_folder() -> Path:
    """Folder of the embedded voices (450 FLAC files, CC BY).

    Example:
        >>> len(list(polish_folder().glob("*.flac")))
        450
    """
    return Path(__file__).parents[1] / "data" / "polish"
