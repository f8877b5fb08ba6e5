"""What attribution found, item by item, in files of some items each: read layer by layer, as activity is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = "attribution"
"""Beside the activity store in a run folder."""

KINDS = ("attributed", "gradient", "product")
"""Sums of gradient x product and of gradients, for each option; and mean products."""


def packed(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float16 of equal largest value in each row of the last axis, and what to multiply it by: (...,) float32.

    Gradients of large models are too small for float16 as they are.

    Example:
        >>> small, scale = packed(np.array([[1e-9, -2e-9], [0, 0]]))
        >>> small.tolist(), scale.round(10).tolist()
        ([[0.5, -1.0], [0.0, 0.0]], [1.999999943436137e-09, 1.0])
    """
    largest = np.abs(values).max(axis=-1)
    scale = np.where(largest > 0, largest, 1).astype("float32")
    return (values / scale[..., None]).astype("float16"), scale


def bytes_of(options: int, neurons: int) -> int:
    """What an item takes on disk: two sums of each option, and a mean; without scales.

    Example:
        >>> bytes_of(7, 28 * 18_944)
        15912960
    """
    return neurons * (2 * 2 * options + 2)


def save(
    path: Path, items: Sequence[int], options: Sequence[str], unit: str, scope: str, values: Mapping[str, np.ndarray]
) -> None:
    """Write one file: of each of :data:`KINDS` its values (option, item, layer, width), of products without options."""
    from safetensors.numpy import save_file

    tensors: dict[str, np.ndarray] = {}
    for kind in KINDS:
        small, scale = packed(values[kind])
        # by layers first, as they are read
        tensors[kind] = np.ascontiguousarray(np.moveaxis(small, -2, 0))
        tensors[f"{kind}_scale"] = np.ascontiguousarray(np.moveaxis(scale, -1, 0))
    about = {"items": [int(item) for item in items], "options": list(options), "scope": scope, "unit": unit}
    save_file(tensors, path, metadata={"about": json.dumps(about)})  # one entry: several are written in any order


def unit_of(path: Path) -> str | None:
    """The unit that wrote a file; ``None`` where there is none, or half of one."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            found: str = json.loads(file.metadata()["about"])["unit"]
            return found
    except (FileNotFoundError, SafetensorError):
        return None


@dataclass(frozen=True)
class Attributed:
    """The attribution of a run's items.

    Attributes:
        options: what was attributed, in the order of the first axis.
        scope: the positions that sums run over.
        places: item -> its file, by number, and its row there.
    """

    files: tuple[Path, ...]
    options: tuple[str, ...]
    scope: str
    places: Mapping[int, tuple[int, int]]

    @classmethod
    def open(cls, folder: str | Path) -> Attributed | None:
        """What a folder holds; ``None`` where it holds nothing."""
        from safetensors import safe_open

        files, about = tuple(sorted(Path(folder).glob("*.safetensors"))), dict[str, Any]()
        places: dict[int, tuple[int, int]] = {}
        for number, path in enumerate(files):
            with safe_open(path, framework="numpy") as file:
                about = json.loads(file.metadata()["about"])
            places |= {item: (number, row) for row, item in enumerate(about["items"])}
        return cls(files, tuple(about["options"]), about["scope"], places) if files else None

    @cached_property
    def _opened(self) -> list[Any]:
        from safetensors import safe_open

        return [safe_open(path, framework="numpy").__enter__() for path in self.files]

    def read(self, kind: str, layer: int, items: np.ndarray, option: str | None = None) -> np.ndarray:
        """One of :data:`KINDS` of some items in a layer; float64 (item, width).

        ``ValueError`` for an item that was not attributed, or an option that was not asked.
        """
        lacking = [item for item in items.tolist() if item not in self.places]
        if lacking or (option is not None and option not in self.options):
            what = f"item {lacking[0]}" if lacking else f"option {option!r}"
            raise ValueError(
                f"{what} was not attributed: run the study again, which attributes what its selectors need"
            )
        found: np.ndarray | None = None
        where = [self.places[item] for item in items.tolist()]
        for number in sorted({number for number, _ in where}):
            file = self._opened[number]
            at: tuple[Any, ...] = (layer,) if option is None else (layer, self.options.index(option))
            small, scale = (file.get_slice(f"{kind}{end}")[at] for end in ("", "_scale"))
            mine = [place for place, (of, _) in enumerate(where) if of == number]
            rows = [where[place][1] for place in mine]
            if found is None:
                found = np.empty((len(items), small.shape[-1]))
            found[mine] = small[rows].astype("float64") * scale[rows].astype("float64")[:, None]
        assert found is not None
        return found

    def __repr__(self) -> str:
        return f"Attributed({len(self.places)} items, options {', '.join(self.options)}, scope {self.scope})"
