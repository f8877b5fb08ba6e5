"""A unit of work: one condition on one fixed block of items; done when its card exists."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from emoscope.runs.folder import RunFolder


@dataclass(frozen=True)
class Unit:
    """One piece of work, named by everything that determines its content.

    Args:
        key: plain values (strings, numbers, lists, mappings) that determine the answers, such as the model's
            checksum, the clips, the question, the intervention's neurons and gains, dtype, device and thread count.

    Example:
        >>> Unit({"condition": "baseline"}).id == Unit({"condition": "baseline"}).id
        True
        >>> Unit({"condition": "baseline"}).id == Unit({"condition": "null"}).id
        False
    """

    key: Mapping[str, Any]

    @property
    def id(self) -> str:
        """Name of the unit: the first 24 hexadecimal digits of the key's hash."""
        return digest(self.key)[:24]

    def done(self, folder: RunFolder) -> bool:
        """Whether the unit's card, written last, is there, and the answers are as they were when it was written."""
        return check_unit(folder, self.id) is None

    def finish(self, folder: RunFolder, answers: pl.DataFrame, notes: Mapping[str, Any] | None = None) -> None:
        """Write the unit's answers, then its card with their checksum and, where given, further notes."""
        path = folder.write_table(f"answers/{self.id}", answers)
        checksum = hashlib.sha256(path.read_bytes()).hexdigest()
        card = {"key": dict(self.key), "answers": checksum, "rows": answers.height, "notes": dict(notes or {})}
        folder.write_json(f"units/{self.id}.json", card)

    def notes(self, folder: RunFolder) -> Mapping[str, Any]:
        """The notes on the card of a finished unit."""
        return folder.read_json(f"units/{self.id}.json")["notes"]


def digest(content: Any) -> str:
    """Hash of plain values, equal on every machine and in every process.

    Example:
        >>> digest({"b": 1, "a": [2]}) == digest({"a": [2], "b": 1})
        True
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()


def check_unit(folder: RunFolder, unit_id: str) -> str | None:
    """Compare a unit's answers with the checksum on its card; return what is wrong, or ``None``."""
    card = folder.read_json(f"units/{unit_id}.json")
    path = folder / "answers" / f"{unit_id}.parquet"
    if card is None:
        return f"unit {unit_id} has no card"
    if not path.is_file():
        return f"{path} is missing"
    if hashlib.sha256(path.read_bytes()).hexdigest() != card["answers"]:
        return f"{path} was changed after it was written"
    return None
