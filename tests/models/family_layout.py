"""That every family reads the released layout: names, shapes, shards, and a round trip without a network."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors import safe_open

from emoscope.models.audio_lm import AudioLM, Prepared, Request
from emoscope.models.registry import load_model
from tests.helpers.noise import close_logits
from tests.models.official_keys import names_in_memory, official_names, without_numbers

QUESTION = "Which emotion does the speaker express? (A) anger (B) fear (C) neutral"

NOT_WEIGHTS = ("config.json", "generation_config.json", "model.safetensors.index.json")
"""Written with the weights; every other small file is copied when a model is saved again."""


def sound(seconds: float, seed: int = 0) -> np.ndarray:
    """Noise at 16 kHz."""
    return np.random.default_rng(seed).normal(0, 0.05, int(seconds * 16_000)).astype(np.float32)


class LayoutChecks:
    """The tests of the layout, the fixtures of all tests, and what a family declares for them.

    Attributes:
        write: writes a tiny random checkpoint in the official layout into a folder, ``write(folder, seed=0)``.
        keys: file in official_keys with the names of the released checkpoint.
        never_loaded: beginnings of names on disk that are no part of what is loaded.
        seconds: lengths of the clips.
    """

    write: ClassVar[Callable[..., Path]]
    keys: ClassVar[str]
    never_loaded: ClassVar[tuple[str, ...]] = ()
    seconds: ClassVar[Sequence[float]] = (0.5, 2.4, 1.0, 0.8)

    # What a family writes.

    def official_model(self) -> Any:
        """The real class in the released size, on the meta device."""
        raise NotImplementedError

    # What a family may replace.

    def names_in_memory(self, model: Any, names: Sequence[str]) -> dict[str, str]:
        """Name on disk -> name in the torch model, as the loader maps them."""
        return names_in_memory(model, names)

    def left_out(self, name: str) -> bool:
        """Whether a tensor of the released files is not loaded."""
        return name.startswith(self.never_loaded) if self.never_loaded else False

    def computed(self, name: str) -> bool:
        """Whether a tensor of the model stands in no file, as it is computed or tied to another."""
        return False

    def loaded_as(self, folder: Path, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """What a stored tensor is in the loaded model, where that is something else."""
        return tensor

    # Fixtures; conftest.py has the same names for Audio Flamingo 3.

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return cls.write(tmp_path_factory.mktemp("family") / "tiny")

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls, folder: Path) -> AudioLM:
        return load_model(folder)

    @pytest.fixture(scope="class")
    @classmethod
    def requests_(cls) -> list[Request]:
        texts = [QUESTION, QUESTION + " Listen well.", QUESTION, "Say A or B."]
        return [Request(sound(seconds, i), texts[i % 4], ("A", "B", "C")) for i, seconds in enumerate(cls.seconds)]

    @pytest.fixture(scope="class")
    @classmethod
    def prepared(cls, model: AudioLM, requests_: list[Request]) -> list[Prepared]:
        return model.prepare(requests_)

    @pytest.fixture(scope="class")
    @classmethod
    def close(cls, model: AudioLM, requests_: list[Request]) -> float:
        """Largest difference of logits that counts as rounding."""
        return close_logits(model, requests_)

    # The layout.

    def test_the_tiny_folder_is_laid_out_like_the_released_one(self, folder):
        shards = sorted(folder.glob("model*.safetensors"))
        index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
        assert len(shards) > 1
        assert set(index.values()) == {shard.name for shard in shards}
        stored = [name for name in index if not self.left_out(name)]
        assert without_numbers(stored) == without_numbers(official_names(self.keys))

    def test_the_released_names_are_those_that_the_loader_expects(self):
        model = self.official_model()
        released = {n: shape for n, shape in official_names(self.keys).items() if not self.left_out(n)}
        inside = self.names_in_memory(model, list(released))
        state = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if not self.computed(name)}
        assert sorted(inside.values()) == sorted(state)
        wrong = {n: (shape, state[inside[n]]) for n, shape in released.items() if shape and shape != state[inside[n]]}
        assert wrong == {}

    def test_every_weight_on_disk_is_in_the_loaded_model(self, folder, model):
        state, seen = model.model.state_dict(), set()
        for shard in folder.glob("model*.safetensors"):
            with safe_open(shard, "pt") as file:
                names = [name for name in file.keys() if not self.left_out(name)]  # noqa: SIM118
                for name, inside in self.names_in_memory(model.model, names).items():
                    assert torch.equal(state[inside], self.loaded_as(folder, name, file.get_tensor(name))), name
                    seen.add(inside)
        assert {name for name in state if not self.computed(name)} <= seen

    def test_it_loads_and_saves_and_loads_without_a_network(self, folder, model, prepared, tmp_path, monkeypatch):
        def refuse(*_: Any) -> None:
            raise AssertionError("the network was touched")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        expected = model.next_logits(prepared)
        assert torch.equal(load_model(folder).next_logits(prepared), expected)
        self.save(model, folder, tmp_path / "again")
        again = load_model(tmp_path / "again")
        assert torch.equal(
            again.next_logits(again.prepare(self.first(model))), model.next_logits(model.prepare(self.first(model)))
        )

    def first(self, model: AudioLM) -> list[Request]:
        """Two requests of different length."""
        return [Request(sound(self.seconds[i], i), QUESTION, ("A", "B")) for i in (0, 1)]

    def save(self, model: AudioLM, folder: Path, target: Path) -> None:
        """Save the loaded model as a user of transformers does, and its tokenizer and processor files beside it."""
        model.model.save_pretrained(target)
        for file in folder.iterdir():
            if file.is_file() and file.suffix in (".json", ".jinja", ".txt", ".model") and file.name not in NOT_WEIGHTS:
                (target / file.name).write_bytes(file.read_bytes())
