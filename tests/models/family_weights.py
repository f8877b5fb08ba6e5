"""That no family takes a checkpoint of which a weight is missing, misnamed, of another size or not a number."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from emoscope.models.registry import load_model


class WeightChecks:
    """The tests, a part of :class:`tests.models.family_checks.FamilyChecks`."""

    # What a family may replace.

    def weights(self, folder: Path) -> list[tuple[str, str]]:
        """File and name of every tensor that must be there."""
        found = []
        for file in sorted([*folder.glob("model*.safetensors"), *folder.rglob("adapter_model.safetensors")]):
            with safe_open(file, "pt") as opened:
                names = [name for name in opened.keys() if not self.left_out(name)]  # noqa: SIM118
            found += [(str(file.relative_to(folder)), name) for name in names]
        return found

    def left_out(self, name: str) -> bool:
        raise NotImplementedError

    # The tests.

    @pytest.mark.parametrize("how", ["deleted", "renamed"])
    def test_a_weight_that_is_not_there_is_refused(self, folder, how):
        self.refuse(folder, how, 0)

    @pytest.mark.long
    @pytest.mark.parametrize("seed", range(1, 51))
    def test_whichever_weight_is_not_there_it_is_refused(self, folder, seed):
        self.refuse(folder, random.Random(seed).choice(["deleted", "renamed"]), seed)

    def refuse(self, folder: Path, how: str, seed: int) -> None:
        draw = random.Random(seed)
        file, name = draw.choice(self.weights(folder))
        with damaged(folder, file) as (copy, tensors):
            tensor = tensors.pop(name)
            if how == "renamed":
                tensors[misspelt(name, draw)] = tensor
        with pytest.raises(ValueError, match=r"missing|lacks the factors|no pairs of factors|is no layer") as error:
            load_model(copy)
        assert str(copy) in str(error.value), (file, name)

    @pytest.mark.parametrize("more", [pytest.param(1, marks=pytest.mark.long), -1])
    def test_layers_too_many_or_too_few_are_refused(self, folder, more):
        with damaged(folder) as (copy, _):
            config = json.loads((copy / "config.json").read_text())
            whole = config.get("thinker_config") or config
            text = whole.get("text_config") or whole
            layers = text["num_hidden_layers"]
            for key, value in text.items():  # one entry a layer
                if isinstance(value, list) and len(value) == layers:
                    text[key] = [*value, value[-1]] if more > 0 else value[:-1]
            text["num_hidden_layers"] = layers + more
            (copy / "config.json").unlink()
            (copy / "config.json").write_text(json.dumps(config))
        with pytest.raises(ValueError, match=f"{'missing' if more > 0 else 'unexpected'} .*layers"):
            load_model(copy)

    @pytest.mark.long
    def test_another_prefix_is_refused(self, folder):
        with damaged(folder, *(file.name for file in folder.glob("model*.safetensors"))) as (copy, tensors):
            for name in list(tensors):
                tensors[f"backbone.{name}"] = tensors.pop(name)
        with pytest.raises(ValueError, match="missing"):
            load_model(copy)

    @pytest.mark.long
    @pytest.mark.parametrize("seed", range(5))
    def test_a_weight_of_another_shape_or_not_a_number_is_refused(self, folder, seed):
        draw = random.Random(seed)
        file, name = draw.choice([(file, name) for file, name in self.weights(folder) if "adapter" not in file])
        with damaged(folder, file) as (copy, tensors):
            tensors[name] = torch.cat([tensors[name].reshape(-1), tensors[name].reshape(-1)])
        with pytest.raises(ValueError, match=r"of another shape .*, where config\.json says"):
            load_model(copy)
        with damaged(folder, file) as (copy, tensors):
            if not tensors[name].is_floating_point():
                return
            tensors[name].view(-1)[draw.randrange(tensors[name].numel())] = draw.choice([float("nan"), float("-inf")])
        with pytest.raises(ValueError, match="holds weights that are not finite") as error:
            load_model(copy)
        assert name in str(error.value)
        assert file in str(error.value)


@contextmanager
def damaged(folder: Path, *files: str) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A copy of a checkpoint beside it, and the tensors of some of its files, which are written back afterwards.

    What is not written anew is linked, so the tensors of the original stay as they are.
    """
    copy = folder.parent / "damaged"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy, copy_function=os.link)
    where = {name: file for file in files for name in load_file(folder / file)}
    tensors = {name: tensor for file in files for name, tensor in load_file(folder / file).items()}
    yield copy, tensors
    index = copy / "model.safetensors.index.json"
    moved: dict[str, str] = {}
    for file in files:
        # a name that is new goes where the first of the names went
        inside = {name: tensor for name, tensor in tensors.items() if where.get(name, files[0]) == file}
        (copy / file).unlink()
        save_file(inside, copy / file, metadata={"format": "pt"})
        moved |= dict.fromkeys(inside, file)
    if files and index.is_file() and files[0].startswith("model"):
        content = json.loads(index.read_text())
        kept = {name: file for name, file in content["weight_map"].items() if file not in files}
        index.unlink()
        index.write_text(json.dumps(content | {"weight_map": kept | moved}))


def misspelt(name: str, draw: random.Random) -> str:
    """A name with one of its parts in another spelling, or another number."""
    parts = name.split(".")
    place = draw.randrange(len(parts))
    part = parts[place]
    parts[place] = str(int(part) + 90) if part.isdigit() else draw.choice([f"{part}s", f"_{part}", part[::-1] + "x"])
    return ".".join(parts)
