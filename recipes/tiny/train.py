"""Train one weight seed: loss, schedule, checkpoints that a killed run goes on from."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import cross_entropy

from .architecture import Architecture, Model, build_model
from .batches import Batches, Item, Mixture
from .encoder import State
from .features import Features
from .tokenizer import Prompts

HINTS_NEEDED = 0.5
"""A run has bound the letters if it answers this share of text hints rightly ..."""
HINTS_STEP = 1000
"""... at this step. Text hints hold no sound, so this looks at no held-out clip."""

CHUNKS = 4
"""A step's items are computed in so many parts, sorted by length: less padding, and the parts fit the cache."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """Everything that shapes a training run, bar the data."""

    seed: int = 0
    """Weight seed."""
    order_seed: int = 0
    """Seed of the order of clips, options and noise."""
    steps: int = 1500
    learning_rate: float = 1.5e-3
    warm_up: int = 80
    last_rate: float = 0.03
    """Learning rate at the end, as a share of the highest."""
    weight_decay: float = 0.05
    smoothing: float = 0.05
    """Label smoothing of the answer."""
    end_loss: float = 0.1
    """Weight of stopping right after the answer."""
    match_loss: float = 1.0
    """Weight, at first, of saying at each option's label whether it matches the sound."""
    match_loss_least: float = 0.1
    match_loss_fade: float = 0.7
    """The match loss falls to its least over this share of the steps."""
    match_loss_off_after: float = 1.0
    """Share of the steps after which the match loss is switched off."""
    shape: Architecture = field(default_factory=Architecture)
    mixture: Mixture = field(default_factory=Mixture)

    def rate(self, step: int) -> float:
        """The learning rate: a linear start, then half a cosine."""
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return (
            self.learning_rate * min(1.0, (step + 1) / self.warm_up) * (self.last_rate + (1 - self.last_rate) * cosine)
        )

    def match_weight(self, step: int) -> float:
        """The weight of the match loss."""
        if step >= self.match_loss_off_after * self.steps:
            return 0.0
        return max(self.match_loss_least, self.match_loss * (1 - step / (self.match_loss_fade * self.steps)))


class Training:
    """A run held open: model, optimiser and the drawing of items."""

    def __init__(
        self,
        settings: Settings,
        prompts: Prompts,
        encoder_state: State,
        polish: Features,
        emogator: Features | None,
    ) -> None:
        self.settings, self.prompts = settings, prompts
        self.batches = Batches(prompts, settings.mixture, polish, emogator, settings.order_seed)
        known = (*(emogator.frames[::120] if emogator else ()), *polish.frames[::20])
        sample = torch.from_numpy(np.concatenate(known))
        self.model = build_model(settings.shape, prompts, encoder_state, sample, settings.seed)
        self.trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        matrices = [p for p in self.trained.values() if p.ndim > 1]
        vectors = [p for p in self.trained.values() if p.ndim < 2]
        self.optimiser = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
            lr=settings.learning_rate,
            betas=(0.9, 0.98),
        )
        self.done = 0
        self.recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=400))
        self.hints: dict[int, float] = {}
        """Text-hint accuracy by step."""

    def step(self) -> None:
        """One training step."""
        settings = self.settings
        items = sorted(self.batches.step(self.done), key=lambda item: len(item.prompt))
        weight = settings.match_weight(self.done)
        options = max(1, sum(len(item.matches) for item in items))
        for group in self.optimiser.param_groups:
            group["lr"] = settings.rate(self.done)
        for part in np.array_split(np.arange(len(items)), CHUNKS):
            chunk = [items[i] for i in part]
            answer_loss, match_loss = self._losses(chunk)
            (answer_loss / len(items) + weight * match_loss / options).backward()
        torch.nn.utils.clip_grad_norm_(list(self.trained.values()), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.done += 1

    def _losses(self, items: Sequence[Item]) -> tuple[Tensor, Tensor]:
        """Summed losses of (answer and end, option matches)."""
        settings = self.settings
        hidden = hidden_states(self.model, self.prompts, items)
        last = torch.tensor([len(item.prompt) - 1 for item in items])
        rows = torch.arange(len(items))
        answers = torch.tensor([item.answer for item in items])
        logits = self.model.lm_head(hidden[rows, last])
        ends = self.model.lm_head(hidden[rows, last + 1])
        loss = cross_entropy(logits, answers, label_smoothing=settings.smoothing, reduction="sum")
        loss = loss + settings.end_loss * cross_entropy(
            ends, torch.full_like(answers, self.prompts.end), reduction="sum"
        )
        for item, right in zip(items, (logits.argmax(-1) == answers).tolist(), strict=True):
            self.recent[item.kind].append(right)
        self.recent["loss"].append(float(loss.detach()) / len(items))
        options = [
            (row, place, item.answer if true else self.prompts.no)
            for row, item in enumerate(items)
            for place, true in item.matches
        ]
        if not options:
            return loss, loss.new_zeros(())
        row, place, wanted = (torch.tensor(column) for column in zip(*options, strict=True))
        said = self.model.lm_head(hidden[row, place])
        matched = wanted != self.prompts.no
        self.recent["match"].extend((said.argmax(-1) == wanted)[matched].tolist())
        return loss, cross_entropy(said, wanted, reduction="sum")

    @torch.no_grad()
    def hint_accuracy(self) -> float:
        """The share of fresh text hints answered rightly; does not disturb the training's random numbers."""
        rng, items = Random(f"hints {self.done}"), 6 * self.settings.mixture.items + 16  # 400 as a rule
        asked = sorted((self.batches.hint(rng) for _ in range(items)), key=lambda item: len(item.prompt))
        right = 0
        for start in range(0, items, 100):
            chunk = asked[start : start + 100]
            right += int((answers(self.model, self.prompts, chunk) == [item.answer for item in chunk]).sum())
        return right / items

    def save(self, folder: Path) -> None:
        """Write a checkpoint; an interrupted writing leaves the one before in place."""
        fresh = folder.with_name(folder.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        tensors = {f"weight.{name}": p.detach() for name, p in self.model.named_parameters()}
        for name, p in self.trained.items():
            kept = self.optimiser.state[p]
            tensors |= {f"first.{name}": kept["exp_avg"], f"second.{name}": kept["exp_avg_sq"]}
        save_file({name: value.contiguous() for name, value in tensors.items()}, fresh / "tensors.safetensors")
        state = {
            "settings": asdict(self.settings),
            "done": self.done,
            "batches": self.batches.state(),
            "recent": {name: list(values) for name, values in self.recent.items()},
            "hints": self.hints,
        }
        (fresh / "state.json").write_text(json.dumps(state))
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)

    def restore(self, folder: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: the checkpoint belongs to a run with other settings.
        """
        state = json.loads((folder / "state.json").read_text())
        ours = json.loads(json.dumps(asdict(self.settings)))
        other = sorted(name for name in ours if state["settings"].get(name) != ours[name])
        if other:
            raise ValueError(f"{folder} was written with other {', '.join(other)}: give another --out or delete it")
        tensors = load_file(folder / "tensors.safetensors")
        self.model.load_state_dict({n[7:]: value for n, value in tensors.items() if n.startswith("weight.")})
        self.done = state["done"]
        for name, p in self.trained.items():
            self.optimiser.state[p] = {
                "step": torch.tensor(float(self.done)),
                "exp_avg": tensors[f"first.{name}"],
                "exp_avg_sq": tensors[f"second.{name}"],
            }
        self.batches.restore(state["batches"])
        for name, values in state["recent"].items():
            self.recent[name].extend(values)
        self.hints = {int(step): value for step, value in state["hints"].items()}

    def line(self) -> str:
        """How training stands, in one line."""
        shown = {name: float(np.mean(values)) for name, values in sorted(self.recent.items()) if name != "loss"}
        return f"loss {np.mean(self.recent['loss']):.3f}  " + "  ".join(f"{n} {v:.2f}" for n, v in shown.items())


def hidden_states(model: Model, prompts: Prompts, items: Sequence[Item]) -> Tensor:
    """The decoder's last hidden states (item, token, width).

    Items are padded on the right: causal attention never sees that, so no mask is needed; rotary positions are
    relative, so the answers equal those with padding on the left.
    """
    longest = max(len(item.prompt) for item in items) + 1
    ids = torch.full((len(items), longest), prompts.pad)
    for row, item in enumerate(items):
        ids[row, : len(item.prompt) + 1] = torch.tensor(item.tokens)
    core = model.model
    embedded = core.language_model.embed_tokens(ids)
    heard = [torch.from_numpy(item.frames) for item in items if item.frames is not None]
    if heard:
        audio = core.multi_modal_projector(core.audio_tower.layer_norm(torch.cat(heard)))
        embedded = embedded.masked_scatter((ids == prompts.sound)[..., None].expand_as(embedded), audio)
    return core.language_model(inputs_embeds=embedded, use_cache=False).last_hidden_state


def answers(model: Model, prompts: Prompts, items: Sequence[Item]) -> np.ndarray:
    """The token answered to each item: the likeliest of the whole vocabulary."""
    hidden = hidden_states(model, prompts, items)
    last = torch.tensor([len(item.prompt) - 1 for item in items])
    return model.lm_head(hidden[torch.arange(len(items)), last]).argmax(-1).numpy()


def run(
    training: Training,
    folder: Path,
    report: Report = print,
    advance: Callable[[int], None] = lambda step: None,
    stop_unbound: bool = False,
    every: int = 200,
) -> Training:
    """Train to the end, or go on with an interrupted run.

    Args:
        training: a fresh run.
        folder: where its checkpoint is kept.
        report: gets a line now and then.
        advance: gets the number of steps done, after each.
        stop_unbound: stop at step 1,000 if the letters are not bound by then.
        every: steps between checkpoints.
    """
    checkpoint = folder / "checkpoint"
    if checkpoint.exists():
        training.restore(checkpoint)
        report(f"seed {training.settings.seed}: going on from step {training.done}")
    started, first = time.monotonic(), training.done
    while training.done < training.settings.steps:
        training.step()
        done = training.done
        advance(done)
        if done % 50 == 0:
            pace = (time.monotonic() - started) / (done - first)
            report(f"seed {training.settings.seed} step {done}: {training.line()}  ({pace:.2f} s a step)")
        last = done == training.settings.steps
        if done % every == 0 or last:
            training.hints[done] = training.hint_accuracy()
            report(f"seed {training.settings.seed} step {done}: text hints {training.hints[done]:.3f}")
            training.save(checkpoint)
        if stop_unbound and done >= HINTS_STEP and not bound(training):
            break
    return training


def bound(training: Training) -> bool:
    """Whether the run had bound the letters to the options by step 1,000 (or by its last step, if shorter)."""
    steps = [step for step in training.hints if step <= HINTS_STEP]
    return bool(steps) and training.hints[max(steps)] >= HINTS_NEEDED
