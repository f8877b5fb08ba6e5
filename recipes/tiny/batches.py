"""What the model is asked in training: clips and text hints, answered with letters or with one word."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from emoscope.questions import Question, sentence

from .features import Features
from .tokenizer import (
    ADJECTIVES,
    EMOTIONS,
    LABELS,
    LETTERS,
    PARAPHRASES,
    POLISH_EMOTIONS,
    WORDS,
    Prompts,
    one_word_text,
    shuffled,
)


@dataclass(frozen=True)
class Mixture:
    """Shares and sizes of what one training step holds."""

    items: int = 64
    """Items per step."""
    word_steps: int = 250
    """First steps, in which only one-word answers are asked: the percept comes before the letters."""
    hints_first: int = 40
    """Text hints per step while the letters are first learned, for ``hint_steps`` steps."""
    hint_steps: int = 120
    hints_then: int = 20
    """Text hints per step after that; they fade to ``hints_last`` over ``hint_fade`` steps."""
    hint_fade: int = 150
    hints_last: int = 3
    one_word: int = 13
    """One-word questions per step once letters are asked."""
    polish_share: float = 0.18
    word_share: float = 0.14
    """Shares of POLISH emotions and of spoken POLISH words among items with sound; the rest is EmoGator."""
    all_options: float = 0.7
    """Share of questions that offer every label; the rest offers some (two at least)."""
    adjectives: float = 0.15
    """Share of emotion questions with options such as "angry"."""
    other_wordings: float = 0.25
    """Share of questions in another wording than the default one."""
    noise: float = 0.2
    """Noise on the encoder frames, relative to their spread."""

    def counts(self, step: int) -> tuple[int, int]:
        """(text hints, one-word questions) of this step; the rest are multiple-choice questions."""
        after = step - self.word_steps
        if after < 0:
            return 0, self.items
        if after < self.hint_steps:
            hints = self.hints_first
        else:
            faded = self.hints_then * (1 - (after - self.hint_steps) / self.hint_fade)
            hints = max(self.hints_last, int(faded))
        return hints, min(self.one_word, self.items - hints)


@dataclass(frozen=True)
class Item:
    """One question with its answer, ready for the model."""

    prompt: list[int]
    answer: int
    kind: str
    frames: npt.NDArray[np.float32] | None = None
    matches: tuple[tuple[int, bool], ...] = ()
    """(position, is it the true one) of every option's label in the prompt."""

    @property
    def tokens(self) -> list[int]:
        """Prompt and answer (one token)."""
        return [*self.prompt, self.answer]


@dataclass
class Pool:
    """Clips of one task, drawn without repetition until all have been drawn."""

    clips: Features
    labels: tuple[str, ...]
    column: str
    queue: list[int] = field(default_factory=list)

    def draw(self, rng: random.Random) -> int:
        """The place of the next clip."""
        if not self.queue:
            self.queue = rng.sample(range(len(self.labels)), len(self.labels))
        return self.queue.pop()


class Batches:
    """Draws the items of each step. Everything random comes from ``rng`` and ``noise_rng``."""

    def __init__(
        self, prompts: Prompts, mixture: Mixture, polish: Features, emogator: Features | None, seed: int
    ) -> None:
        self.prompts, self.mixture = prompts, mixture
        self.rng, self.noise_rng = random.Random(seed), np.random.default_rng(seed)
        self.pools = {
            "polish": Pool(polish, tuple(clip.emotion for clip in polish.clips), "emotion"),
            "word": Pool(polish, tuple(str(clip.word) for clip in polish.clips), "word"),
        }
        if emogator is not None:
            self.pools["emogator"] = Pool(emogator, tuple(clip.emotion for clip in emogator.clips), "emotion")
        known = (emogator or polish).frames
        self.spread = float(np.concatenate(known[:: max(1, len(known) // 300)]).astype(np.float32).std())

    def step(self, step: int) -> list[Item]:
        """The items of one training step."""
        hints, one_word = self.mixture.counts(step)
        choices = self.mixture.items - hints - one_word
        return [
            *(self.hint() for _ in range(hints)),
            *(self.one_word() for _ in range(one_word)),
            *(self.choice() for _ in range(choices)),
        ]

    def hint(self, rng: random.Random | None = None) -> Item:
        """A question about any label, with the label itself in the place of the sound."""
        rng = rng or self.rng
        label = rng.choice(LABELS)
        column = "word" if label in WORDS and rng.random() < 0.9 else "emotion"
        others = rng.sample([other for other in LABELS if other != label], rng.randint(1, 6))
        options = shuffled([label, *others], rng)
        text = self._text(column, options, rng)
        return self._item(self.prompts.hint(text, label, rng.randint(2, 6)), "hint", label, options)

    def one_word(self) -> Item:
        """A clip, answered with its label."""
        name, pool, place = self._draw()
        frames = self._disturbed(pool.clips.frames[place], name == "word")
        text = one_word_text(pool.column)
        if self.rng.random() < self.mixture.other_wordings:
            text = text.replace(sentence(pool.column), self.rng.choice(PARAPHRASES[pool.column]))
        prompt = self.prompts.audio(text, len(frames))
        return Item(prompt, self.prompts.label[pool.labels[place]], f"one word, {name}", frames)

    def choice(self) -> Item:
        """A clip, answered with a letter."""
        name, pool, place = self._draw()
        frames = self._disturbed(pool.clips.frames[place], name == "word")
        label = pool.labels[place]
        options = self._options(name, label)
        if pool.column == "emotion" and self.rng.random() < self.mixture.adjectives:
            label, options = ADJECTIVES[label], tuple(ADJECTIVES[option] for option in options)
        prompt = self.prompts.audio(self._text(pool.column, options, self.rng), len(frames))
        return self._item(prompt, f"letter, {name}", label, options, frames)

    def _draw(self) -> tuple[str, Pool, int]:
        share, name = self.rng.random(), "emogator"
        if share < self.mixture.polish_share:
            name = "polish"
        elif share < self.mixture.polish_share + self.mixture.word_share or "emogator" not in self.pools:
            name = "word"
        pool = self.pools[name]
        return name, pool, pool.draw(self.rng)

    def _options(self, name: str, label: str) -> tuple[str, ...]:
        rng, every = self.rng, task_labels(name)
        if rng.random() < self.mixture.all_options:
            return shuffled(every, rng)
        if name == "polish" and rng.random() < 0.7:  # three options, and some of the other four
            added = rng.sample([one for one in EMOTIONS if one not in every], rng.randint(1, 4))
            return shuffled([*every, *added], rng)
        others = [one for one in every if one != label]
        return shuffled([label, *rng.sample(others, rng.randint(1, len(others) - 1))], rng)

    def _text(self, column: str, options: tuple[str, ...], rng: random.Random) -> str:
        if rng.random() >= self.mixture.other_wordings:
            return Question(column, options).text
        way = rng.choice(("listed", "listen first", "paraphrased"))
        if way != "paraphrased":
            return Question(column, options, way).text
        return Question(column, options).text.replace(sentence(column), rng.choice(PARAPHRASES[column]))

    def _item(
        self,
        prompt: list[int],
        kind: str,
        label: str,
        options: Sequence[str],
        frames: npt.NDArray[np.float32] | None = None,
    ) -> Item:
        places = self.prompts.option_positions(prompt)
        matches = tuple((place, option == label) for place, option in zip(places, options, strict=True))
        answer = self.prompts.letter[LETTERS[list(options).index(label)]]
        return Item(prompt, answer, kind, frames, matches)

    def _disturbed(self, frames: npt.NDArray[np.float16], is_word: bool) -> npt.NDArray[np.float32]:
        """Encoder frames (audio token, width) with their ends cut, one stretch blanked, and noise.

        A spoken word bears less of the first two than an emotion does.
        """
        rng, size = self.noise_rng, len(frames)
        kept = frames.astype(np.float32)
        if rng.random() < 0.5 and size > 8:
            most = size // (10 if is_word else 5)
            kept = kept[rng.integers(0, most + 1) : size - rng.integers(0, most + 1)].copy()
            size = len(kept)
        if rng.random() < 0.5 and size > 8:
            stretch = rng.integers(1, size // (20 if is_word else 4) + 2)
            start = rng.integers(0, size - stretch + 1)
            kept[start : start + stretch] = 0.0
        return kept + rng.standard_normal(kept.shape, dtype=np.float32) * (self.mixture.noise * self.spread)

    def state(self) -> dict[str, object]:
        """Where the drawing stands, for a checkpoint (JSON)."""
        return {
            "rng": self.rng.getstate(),
            "noise_rng": self.noise_rng.bit_generator.state,
            "queues": {name: pool.queue for name, pool in self.pools.items()},
        }

    def restore(self, state: dict) -> None:
        """Go on from a checkpoint."""
        version, numbers, gauss = state["rng"]
        self.rng.setstate((version, tuple(numbers), gauss))
        self.noise_rng.bit_generator.state = state["noise_rng"]
        for name, queue in state["queues"].items():
            self.pools[name].queue = list(queue)


def task_labels(name: str) -> tuple[str, ...]:
    """Every label of a task."""
    return {"polish": POLISH_EMOTIONS, "word": WORDS, "emogator": EMOTIONS}[name]
