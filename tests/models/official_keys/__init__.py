"""Names of the tensors in the released checkpoints, and where our loader puts them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


def official_names(file: str) -> dict[str, tuple[int, ...] | None]:
    """Names of a list, and their shapes where it tells them.

    A line is a name and perhaps a shape such as ``[3584,18944]``; ``{0-27}`` stands for each number from 0 to 27 and
    ``{weight,bias}`` for each of the words. The first line names the source.
    """
    source, *lines = (HERE / file).read_text().splitlines()
    assert source.startswith("# source: "), f"{file}: the first line names no source"
    names: dict[str, tuple[int, ...] | None] = {}
    for line in filter(None, (line.partition("#")[0].strip() for line in lines)):
        pattern, *shape = line.split()
        for name in expand(pattern):
            assert name not in names, f"{file}: {name} is listed twice"
            names[name] = tuple(int(size) for size in shape[0].strip("[]").split(",")) if shape else None
    return names


def expand(pattern: str) -> Iterator[str]:
    """All names that a pattern stands for."""
    found = re.search(r"\{([^}]*)\}", pattern)
    if found is None:
        yield pattern
        return
    numbers = re.fullmatch(r"(\d+)-(\d+)", found[1])
    choices = range(int(numbers[1]), int(numbers[2]) + 1) if numbers else found[1].split(",")
    for choice in choices:
        yield from expand(pattern[: found.start()] + str(choice) + pattern[found.end() :])


def without_numbers(names: Iterable[str]) -> set[str]:
    """Names with every layer number replaced, so that checkpoints of different depth compare."""
    return {re.sub(r"(?<=\.)\d+(?=\.|$)", "N", name) for name in names}


def names_in_memory(model: Any, names: Iterable[str]) -> dict[str, str]:
    """Where ``from_pretrained`` puts each tensor: name on disk -> name in the model."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    mapping = get_model_conversion_mapping(model)
    renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
    others = [entry for entry in mapping if not isinstance(entry, WeightRenaming)]
    state = dict(model.state_dict())
    return {name: rename_source_key(name, renamings, others, model.base_model_prefix, state)[0] for name in names}
