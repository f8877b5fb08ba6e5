"""With which model and recordings a run folder was begun: others are refused there, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emoscope.runs import RunFolder

if TYPE_CHECKING:
    from emoscope.models.audio_lm import ModelInfo

FILE = "listened.json"
"""Kept in the run folder: model (id, checksum), clips (clip -> checksum), parts (what else the activity depends on)."""

REMEDY = "choose another folder with --out, or delete this run with --fresh"


class ChangedInput(ValueError):
    """A run folder was begun with another model or other recordings."""


def refuse_changes(run: RunFolder, model: ModelInfo, asked: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a model or a recording that is not the one with which the run was begun; nothing is written.

    Args:
        run: the run folder.
        model: the model that is to be asked.
        asked: candidate items (clip, path, checksum).

    Raises:
        ChangedInput: names the model, or the first such clip and its file.
    """
    before = run.read_json(FILE)
    if not before:
        return
    old = before["model"]
    if old["checksum"] != model.checksum:
        what = (
            f"model {model.id!r} has other files than when the run in {run.path} was begun"
            if old["id"] == model.id
            else f"model {model.id!r} is not {old['id']!r}, with which the run in {run.path} was begun"
        )
        raise ChangedInput(f"{what} (checksum {model.checksum[:12]}, then {old['checksum'][:12]}): {REMEDY}")
    changed = {i["clip"]: i["path"] for i in asked if before["clips"].get(i["clip"], i["checksum"]) != i["checksum"]}
    if changed:
        clip, path = next(iter(changed.items()))
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise ChangedInput(
            f"clip {clip!r}{more} has other content than when the run in {run.path} was begun: {path}; put the old "
            f"recording back, or {REMEDY}"
        )


def remember(
    run: RunFolder, model: ModelInfo, asked: Sequence[Mapping[str, Any]], parts: Mapping[str, str] | None
) -> None:
    """Write down with what the run listens; clips that an earlier version of the study asked are kept in the list.

    Args:
        run: the run folder.
        model: the model that is asked.
        asked: candidate items.
        parts: name -> hash of what else decides the activity; ``None`` while there is no store that fits.
    """
    clips = (run.read_json(FILE) or {}).get("clips", {})
    clips |= {item["clip"]: item["checksum"] for item in asked}
    run.write_json(
        FILE,
        {"model": {"id": model.id, "checksum": model.checksum}, "clips": dict(sorted(clips.items())), "parts": parts},
    )


def differing_parts(run: RunFolder, parts: Mapping[str, str]) -> list[str] | None:
    """Which parts differ from those with which the run listened; ``None`` where it has not listened."""
    before = (run.read_json(FILE) or {}).get("parts")
    return None if before is None else [name for name, value in parts.items() if before.get(name) != value]
