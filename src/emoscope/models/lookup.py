"""What can be said of a model without loading its weights: sizes, card, checksum."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoscope.models import registry
from emoscope.models.checksums import weights_checksum


@dataclass(frozen=True)
class Card:
    """A model as its folder describes it.

    Attributes:
        folder: where its files are.
        layers, width: decoder layers and neurons per layer, from config.json.
        recommended_budget: share of neurons of a set.
        trained_on: corpora and filters on which it was trained.
    """

    folder: Path
    layers: int
    width: int
    recommended_budget: float
    trained_on: tuple[Mapping[str, Any], ...]

    @property
    def checksum(self) -> str:
        """sha256 over the weight files, remembered by path, size and time of change."""
        return weights_checksum(self.folder)


def look_up(id_or_path: str) -> Card:
    """Read a model's config.json and emoscope.json.

    Raises:
        FileNotFoundError: the model is not there.
        ValueError: its family is not known.

    Example:
        >>> look_up("tiny").layers
        4
    """
    folder, _ = registry._find(str(id_or_path), None)
    config = registry._read_json(folder / "config.json")
    registry._family(config, str(id_or_path))
    text = config.get("text_config") or config
    card = registry._read_json(folder / registry.CARD) if (folder / registry.CARD).is_file() else {}
    return Card(
        folder, int(text["num_hidden_layers"]), int(text["intermediate_size"]),
        float(card.get("recommended_budget", 0.005)), tuple(card.get("trained_on", ())),
    )  # fmt: skip
