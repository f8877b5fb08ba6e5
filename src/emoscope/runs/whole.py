"""The folder of a study in parts: which parts it has, and what can be done with one of them only."""

from __future__ import annotations

import json
from pathlib import Path


def part_folders(folder: str | Path) -> list[Path]:
    """The run folders of the parts of a finished study; empty where it is an ordinary run.

    Example:
        >>> part_folders("runs/nowhere")
        []
    """
    manifest = Path(folder) / "manifest.json"
    if not manifest.is_file():
        return []
    parts = json.loads(manifest.read_text(encoding="utf-8")).get("parts", [])
    return [Path(folder) / part["folder"] for part in parts]


def refuse_whole(folder: str | Path) -> None:
    """Refuse the folder of a study in parts where one run is wanted.

    Raises:
        ValueError: names the parts.
    """
    if parts := part_folders(folder):
        named = ", ".join(str(part) for part in parts)
        raise ValueError(f"{folder} is a study of {len(parts)} parts: give the folder of one of them ({named})")
