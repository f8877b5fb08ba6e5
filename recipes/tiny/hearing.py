"""Ask a trained folder about the development clips, with chosen neurons' activations scaled, and watch its neurons."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import AudioFlamingo3ForConditionalGeneration, AutoProcessor

from emoscope.questions import Question

from .batches import Item
from .features import Features
from .tokenizer import EMOTIONS, LETTERS, Prompts, one_word_text, shuffled
from .train import hidden_states

Model = AudioFlamingo3ForConditionalGeneration
BATCH = 60


def load(folder: str | Path) -> tuple[Model, Prompts]:
    """The model (float32) and its prompts, from a folder as this recipe writes it."""
    model = AudioFlamingo3ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    return model, Prompts(AutoProcessor.from_pretrained(folder))


@dataclass(frozen=True)
class Asked:
    """Questions with what is known about each; arrays are (item,)."""

    items: tuple[Item, ...]
    truth: npt.NDArray[np.int64]
    """Index of the true emotion."""
    speaker: npt.NDArray[np.str_]
    offered: npt.NDArray[np.int64]
    """(item, emotion): the answer token that stands for each emotion."""


def ask_letters(prompts: Prompts, clips: Features, seed: int, as_text: bool = False) -> Asked:
    """Ask each clip once with seven shuffled options; ``as_text`` puts the label in the place of the sound."""
    rng, items, offered = random.Random(f"letters {seed}"), [], []
    for clip, frames in zip(clips.clips, clips.frames, strict=True):
        options = shuffled(EMOTIONS, rng)
        tokens = [prompts.letter[LETTERS[options.index(emotion)]] for emotion in EMOTIONS]
        text = Question("emotion", options).text
        prompt = prompts.hint(text, clip.emotion, 3) if as_text else prompts.audio(text, len(frames))
        heard = None if as_text else frames.astype(np.float32)
        items.append(Item(prompt, tokens[EMOTIONS.index(clip.emotion)], "letter", heard))
        offered.append(tokens)
    return _asked(items, offered, clips)


def ask_one_word(prompts: Prompts, clips: Features) -> Asked:
    """Ask each clip for the label itself."""
    tokens = [prompts.label[emotion] for emotion in EMOTIONS]
    items = [
        Item(
            prompts.audio(one_word_text("emotion"), len(frames)),
            prompts.label[clip.emotion],
            "one word",
            frames.astype(np.float32),
        )
        for clip, frames in zip(clips.clips, clips.frames, strict=True)
    ]
    return _asked(items, [tokens] * len(items), clips)


def _asked(items: list[Item], offered: list[list[int]], clips: Features) -> Asked:
    return Asked(
        tuple(items),
        np.array([EMOTIONS.index(clip.emotion) for clip in clips.clips]),
        np.array([clip.speaker for clip in clips.clips]),
        np.array(offered),
    )


@dataclass(frozen=True)
class Answers:
    """What was answered, as emotion indices (item,)."""

    written: npt.NDArray[np.int64]
    """The likeliest token of the whole vocabulary; -1 where it stands for no emotion."""
    chosen: npt.NDArray[np.int64]
    """The likeliest of the options' tokens."""


@torch.no_grad()
def answer(model: Model, prompts: Prompts, asked: Asked, gains: Tensor | None = None, where: str = "all") -> Answers:
    """Answer every question.

    ``gains`` are factors on the activations (layer, neuron), at ``"all"`` positions or at the ``"audio"`` ones.
    """
    written, chosen = np.full(len(asked.items), -1), np.full(len(asked.items), -1)
    for rows in _by_length(asked.items):
        items = [asked.items[row] for row in rows]
        with _scaled(model, gains, _sound(prompts, items) if where == "audio" else None):
            hidden = hidden_states(model, prompts, items)
        last = torch.tensor([len(item.prompt) - 1 for item in items])
        logits = model.lm_head(hidden[torch.arange(len(items)), last])
        offered = torch.from_numpy(asked.offered[rows])
        chosen[rows] = logits.gather(1, offered).argmax(1).numpy()
        said = offered == logits.argmax(1, keepdim=True)
        written[rows] = torch.where(said.any(1), said.int().argmax(1), -1).numpy()
    return Answers(written, chosen)


@dataclass(frozen=True)
class Activity:
    """Sums over the prompt's positions; arrays are (item, layer * neuron), positions (item,)."""

    fired: npt.NDArray[np.float32]
    total: npt.NDArray[np.float32]
    positions: npt.NDArray[np.float32]


@torch.no_grad()
def listen(model: Model, prompts: Prompts, asked: Asked, where: str = "all") -> Activity:
    """How often each neuron fired and how much, over ``"all"`` positions of the prompt or the ``"audio"`` ones."""
    layers = model.model.language_model.layers
    size = len(layers) * model.config.text_config.intermediate_size
    fired, total = (np.zeros((len(asked.items), size), np.float32) for _ in range(2))
    positions = np.zeros(len(asked.items), np.float32)
    seen: list[Tensor] = []
    hooks = [layer.mlp.act_fn.register_forward_hook(lambda _, inputs, output: seen.append(output)) for layer in layers]
    for rows in _by_length(asked.items):
        items = [asked.items[row] for row in rows]
        seen.clear()
        hidden_states(model, prompts, items)
        if where == "audio":
            counted = _sound(prompts, items).float()
        else:
            ends = torch.tensor([[len(item.prompt)] for item in items])
            counted = (torch.arange(seen[0].shape[1]) < ends).float()
        positions[rows] = counted.sum(1).numpy()
        mask = counted[:, None]
        fired[rows] = torch.cat([(mask @ (one > 0).float())[:, 0] for one in seen], 1).numpy()
        total[rows] = torch.cat([(mask @ one)[:, 0] for one in seen], 1).numpy()
    for hook in hooks:
        hook.remove()
    return Activity(fired, total, positions)


def _by_length(items: Sequence[Item]) -> Iterator[npt.NDArray[np.int64]]:
    order = np.argsort([len(item.prompt) for item in items], kind="stable")
    for start in range(0, len(order), BATCH):
        yield order[start : start + BATCH]


def _sound(prompts: Prompts, items: Sequence[Item]) -> Tensor:
    """(item, token): where the sound stands."""
    longest = max(len(item.prompt) for item in items) + 1
    rows = [[token == prompts.sound for token in item.prompt] for item in items]
    return torch.tensor([row + [False] * (longest - len(row)) for row in rows])


@contextmanager
def _scaled(model: Model, gains: Tensor | None, only: Tensor | None) -> Iterator[None]:
    """Scale what enters the MLPs' output projections, everywhere or where ``only`` (item, token) is true."""
    hooks = []
    for layer, module in enumerate(model.model.language_model.layers):
        if gains is None or bool((gains[layer] == 1).all()):
            continue

        def scale(_: torch.nn.Module, inputs: tuple[Tensor], gain: Tensor = gains[layer]) -> tuple[Tensor]:
            scaled = inputs[0] * gain
            return (scaled if only is None else torch.where(only[..., None], scaled, inputs[0]),)

        hooks.append(module.mlp.down_proj.register_forward_pre_hook(scale))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
