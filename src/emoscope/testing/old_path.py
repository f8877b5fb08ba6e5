"""The path from the voice to the answer in a model: where it runs, and a copy of the model without it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from emoscope.corpora.audio import Waveform, load_audio
from emoscope.models.audio_lm import AudioLM
from emoscope.models.values import AUDIO, PADDING, Prepared, Request
from emoscope.questions import Question, letter_orders

if TYPE_CHECKING:
    from emoscope.corpora import Clip

ERASED = 12
"""Dimensions of the first layer's output, through which the answer hears, that are taken from what was there before."""

COLUMNS = 64  # added to every layer; those that are not written stay zero
AT_ONCE = 32  # rows of a pass
FEW = 60  # clips on which slopes are taken
NEWTON, LONGEST = 4, 0.5  # steps of Newton's method, and how long one may be
VOICE_ENDS = ("multi_modal_projector.linear_2", "audio_tower.proj")  # the last layer before the decoder


@dataclass(frozen=True, eq=False)
class Voices:
    """Clips with a question each, as a model hears them."""

    rows: list[Prepared]
    tokens: list[np.ndarray]  # ids of each row's positions
    options: np.ndarray  # code of the emotion behind each letter, (clip, letter)
    truth: np.ndarray  # code of the emotion, (clip,)
    speakers: np.ndarray
    words: np.ndarray
    loudness: list[np.ndarray]  # log of the root mean square at each audio position
    emotions: tuple[str, ...]

    @classmethod
    def of(cls, model: AudioLM, clips: Sequence[Clip], emotions: tuple[str, ...]) -> Voices:
        """Ask a model which emotion it hears in each clip; the options' order is balanced, and the same for every model."""
        waves = [load_audio(clip.path) for clip in clips]
        named = [(clip.labels["emotion"], clip.speaker or "", clip.id) for clip in clips]
        orders = [order for (order,) in letter_orders(named, emotions)]
        asked = [Question("emotion", order) for order in orders]
        requests = [Request(wave, each.text, each.letters) for wave, each in zip(waves, asked, strict=True)]
        rows = model.prepare(requests)
        counts = [int((row.scopes == AUDIO).sum()) for row in rows]
        return cls(
            rows,
            [np.array(model.tokens(each.text, count)) for each, count in zip(asked, counts, strict=True)],
            np.array([[emotions.index(name) for name in order] for order in orders]),
            np.array([emotions.index(name) for name, _, _ in named]),
            np.array([clip.speaker or "" for clip in clips]),
            np.array([clip.labels.get("word", "") for clip in clips]),
            [_loudness(wave, count) for wave, count in zip(waves, counts, strict=True)],
            emotions,
        )

    def part(self, chosen: np.ndarray) -> Voices:
        """Some of the clips, by number or truth value."""
        places = np.arange(len(self.rows))[chosen]
        lists: dict[str, Any] = {
            name: [getattr(self, name)[place] for place in places] for name in ("rows", "tokens", "loudness")
        }
        arrays: dict[str, Any] = {
            name: getattr(self, name)[places] for name in ("options", "truth", "speakers", "words")
        }
        return replace(self, **lists, **arrays)

    def answers(self, model: AudioLM, gains: Any = None) -> np.ndarray:
        """Log-probability of each emotion's letter, (clip, emotion)."""
        found = np.empty(self.options.shape)
        for start in range(0, len(self.rows), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            of = None if gains is None else gains(len(self.rows[part]))
            logp = np.stack([score.logp for score in model.score(self.rows[part], of)])
            np.put_along_axis(found[part], self.options[part], logp, axis=1)
        return found

    def recall(self, answers: np.ndarray) -> float:
        """Unweighted average recall of the most probable option."""
        right = answers.argmax(axis=1) == self.truth
        return float(np.mean([right[self.truth == code].mean() for code in range(len(self.emotions))]))


def _loudness(wave: Waveform, positions: int) -> np.ndarray:
    parts = np.array_split(np.asarray(wave, "float64"), positions)
    return np.log(np.array([np.sqrt(np.mean(part**2)) for part in parts]) + 1e-4)


def states(model: AudioLM, rows: Sequence[Prepared], module: nn.Module, given: bool = False) -> list[np.ndarray]:
    """What a module gives, or is ``given``, at each position of each row: float64 (position, hidden) a row."""
    found = list[np.ndarray]()
    for start in range(0, len(rows), AT_ONCE):
        batch, kept = model.batch(rows[start : start + AT_ONCE]), list[torch.Tensor]()

        def keep(
            _module: nn.Module, args: tuple[torch.Tensor, ...], output: Any, kept: list[torch.Tensor] = kept
        ) -> None:
            kept.append(args[0] if given else output[0] if isinstance(output, tuple) else output)

        hook = module.register_forward_hook(keep)
        try:
            model.score(batch)
        finally:
            hook.remove()
        inside = (batch.scopes != PADDING).cpu().numpy()
        found += [row[own] for row, own in zip(kept[0].double().cpu().numpy(), inside, strict=True)]
    return found


@dataclass(frozen=True, eq=False)
class Ground:
    """How a model's answer hears: where the voice enters it, and what raises an option."""

    heard: (
        np.ndarray
    )  # orthonormal directions of the first layer's output by which the answer changes, (direction, hidden)
    constant: np.ndarray  # what stands in place of the first ``ERASED`` of them, with which no option is favoured
    labels: np.ndarray  # what raises an emotion's log-odds by 1 nat and not those of others, (emotion, hidden)
    match: np.ndarray  # of an option that is right against one that is not, in the second layer's output, (hidden,)
    words: np.ndarray  # token of each emotion's word, (emotion,)
    said: np.ndarray  # cosine of each label with what the emotion's word gives in place of the voice

    @property
    def kept(self) -> np.ndarray:
        """Projects the old path out, (hidden, hidden)."""
        return _outside(self.heard)

    def erased(self, rows: Sequence[Prepared]) -> list[Prepared]:
        """Rows as a model without the old path prepares them."""
        return _erased(rows, self.kept, self.constant)


def _outside(heard: np.ndarray) -> np.ndarray:
    return np.asarray(np.eye(heard.shape[1]) - heard[:ERASED].T @ heard[:ERASED])


def _erased(rows: Sequence[Prepared], kept: np.ndarray, constant: np.ndarray) -> list[Prepared]:
    found = []
    for row in rows:
        embeddings, voice = row.embeddings.clone(), row.scopes == AUDIO
        embeddings[voice] = (embeddings[voice].double() @ torch.from_numpy(kept) + torch.from_numpy(constant)).to(
            embeddings
        )
        found.append(replace(row, embeddings=embeddings))
    return found


def voice_states(model: AudioLM, rows: Sequence[Prepared]) -> list[np.ndarray]:
    """What the first layer gives at the voice of each row, (position, hidden) each."""
    found = states(model, rows, model.decoder.blocks[0])
    return [state[(row.scopes == AUDIO).numpy()] for state, row in zip(found, rows, strict=True)]


def _saying(model: AudioLM, row: Prepared, word: int) -> Prepared:
    """A row with a word at each position of the voice."""
    embeddings = row.embeddings.clone()
    embeddings[row.scopes == AUDIO] = model.embed(torch.tensor([word], device=model.device)).detach().cpu()
    return replace(row, embeddings=embeddings)


def _match(model: AudioLM, voices: Voices, words: np.ndarray) -> np.ndarray:
    """What the second layer gives at the word of a right option, less at that of another."""
    marks = {right: list[np.ndarray]() for right in (True, False)}
    after = states(model, voices.rows, model.decoder.blocks[1])
    for state, tokens, truth in zip(after, voices.tokens, voices.truth, strict=True):
        for code, word in enumerate(words):
            marks[code == truth].append(state[tokens == word])
    return np.asarray(np.concatenate(marks[True]).mean(axis=0) - np.concatenate(marks[False]).mean(axis=0))


def slopes(
    model: AudioLM, voices: Voices, constant: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Log-odds of each emotion's option, and their derivatives by what the first layer gives at the voice.

    ``constant`` is added there. Of some clips at a time: (clip, emotion), and for each emotion (position, hidden).
    """
    for start in range(0, len(voices.rows), AT_ONCE):
        part = voices.part(np.arange(start, min(start + AT_ONCE, len(voices.rows))))
        batch, kept = model.batch(part.rows), list[torch.Tensor]()
        voice = batch.scopes == AUDIO

        def cut(
            _module: nn.Module, _args: object, output: Any, kept: list[torch.Tensor] = kept, voice: torch.Tensor = voice
        ) -> Any:
            made = output[0] if isinstance(output, tuple) else output
            if constant is not None:
                made = made + voice[..., None] * torch.from_numpy(constant).to(made)
            kept.append(made.detach().clone().requires_grad_())
            return (kept[0], *output[1:]) if isinstance(output, tuple) else kept[0]

        hook = model.decoder.blocks[0].register_forward_hook(cut)
        try:
            with torch.enable_grad():
                given = {
                    "inputs_embeds": batch.embeddings,
                    "attention_mask": batch.mask,
                    "position_ids": batch.position_ids,
                }
                # tensors made in inference mode cannot be kept for gradients
                made = model.decoder.backbone(**{name: each.clone() for name, each in given.items()}, use_cache=False)
                tokens = torch.tensor([[model.letters[letter][0] for letter in row.letters] for row in part.rows])
                scores = model.logits(made.last_hidden_state[:, -1]).gather(1, tokens)
                by_emotion = torch.empty_like(scores).scatter(1, torch.from_numpy(part.options), scores)
                codes = range(len(voices.emotions))
                others = [by_emotion[:, [other for other in codes if other != code]].logsumexp(1) for code in codes]
                odds = [by_emotion[:, code] - rest for code, rest in enumerate(others)]
                found = [torch.autograd.grad(each.sum(), kept[0], retain_graph=True)[0] for each in odds]
                own = [each[voice].double().numpy() for each in found]
                yield torch.stack(odds, 1).detach().double().numpy(), own
        finally:
            hook.remove()


def _balanced(model: AudioLM, voices: Voices, old: np.ndarray, constant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A constant with which no option is favoured, by Newton's method, and what raises each option there by 1 nat."""
    codes, added = len(voices.emotions), np.zeros_like(constant)
    for _ in range(NEWTON):
        pieces = list(slopes(model, voices, added))
        odds = np.concatenate([odds for odds, _ in pieces]).mean(axis=0)
        rise = np.stack([sum(own[code].sum(axis=0) for _, own in pieces) for code in range(codes)]) / len(voices.rows)
        rise = (rise - rise.mean(axis=0)) @ old.T
        labels = (np.linalg.pinv(rise, rcond=1e-2) @ (np.eye(codes) - 1 / codes)).T @ old
        step = -(odds - odds.mean()) @ labels
        added = added + step * min(1.0, LONGEST / max(float(np.linalg.norm(step)), 1e-9))
    return constant + added, labels


def without_old_path(model: AudioLM, voices: Voices, name: str) -> tuple[AudioLM, Ground]:
    """A copy with wider layers in which the voice no longer reaches the answer, and what was found out on the way.

    What the projector and the first layer write, in the directions of the first layer's output by which the answer
    changes most, becomes a constant. ``ValueError`` for a model whose gate and up are one module, that pads on the right,
    or of whose projector the last layer is not known.
    """
    few = voices.part(np.arange(0, len(voices.rows), max(1, len(voices.rows) // FEW)))
    words = np.array([model.tokenizer(f" {e}", add_special_tokens=False)["input_ids"][0] for e in voices.emotions])
    each = [slope for _, own in slopes(model, few) for slope in own[:-1]]
    heard = np.linalg.svd(np.concatenate(each), full_matrices=False)[2]
    hints = []
    for word in words:
        said = [_saying(model, row, int(word)) for row in few.rows[:: max(1, len(few.rows) // 12)]]
        hints.append(np.concatenate(voice_states(model, said)).mean(axis=0))
    old, meant = heard[:ERASED], np.mean(hints, axis=0)
    copy, end = _edited(model, _outside(heard), name)
    constant = old.T @ (old @ meant)
    cut = replace(few, rows=_erased(few.rows, _outside(heard), constant))
    constant, labels = _balanced(copy, cut, old, constant)
    with torch.no_grad():
        end.bias.add_(torch.from_numpy(constant).to(end.bias))
    word_labels = (np.stack(hints) - meant) @ old.T @ old
    cosines = (labels * word_labels).sum(axis=1) / np.linalg.norm(labels, axis=1) / np.linalg.norm(word_labels, axis=1)
    return copy, Ground(heard, constant, labels, _match(model, few, words), words, cosines)


def _edited(model: AudioLM, kept: np.ndarray, name: str) -> tuple[AudioLM, nn.Linear]:
    """A wider copy that writes nothing outside of what is kept before its second layer, and its projector's last layer."""
    if model.padding_side != "left" or model.decoder.packed or any(site.fused for site in model.decoder.sites):
        raise ValueError(
            f"{model.info.id}: circuits are written into plain gate_proj and up_proj, with padding on the left"
        )
    inside: Any = deepcopy(model.model)
    decoder, width = model.decoder, model.decoder.width + COLUMNS
    getattr(inside.config, "text_config", inside.config).intermediate_size = width
    for layer in range(decoder.layers):
        mlp: Any = inside.get_submodule(decoder.sites[layer].name)
        mlp.gate_proj, mlp.up_proj = (_wider(part, outputs=True) for part in (mlp.gate_proj, mlp.up_proj))
        mlp.down_proj, mlp.intermediate_size = _wider(mlp.down_proj, outputs=False), width
    ends = [part for path, part in inside.named_modules() if path.endswith(VOICE_ENDS) and isinstance(part, nn.Linear)]
    if len(ends) != 1:
        raise ValueError(f"{model.info.id}: {len(ends)} modules end in {' or '.join(VOICE_ENDS)}, and one is needed")
    copy, projection = type(model)(inside, model.processor, name, ""), torch.from_numpy(kept)
    first: Any = copy.decoder.blocks[0]
    with torch.no_grad():
        for part in (ends[0], first.self_attn.o_proj, first.mlp.down_proj):
            part.weight.copy_((projection @ part.weight.double()).to(part.weight))
            if part.bias is not None:
                part.bias.copy_((projection @ part.bias.double()).to(part.bias))
    inside.requires_grad_(False)
    return copy, ends[0]


def _wider(old: nn.Module, outputs: bool) -> nn.Linear:
    assert isinstance(old, nn.Linear)
    sizes = old.in_features + (not outputs) * COLUMNS, old.out_features + outputs * COLUMNS
    new = nn.Linear(*sizes, bias=old.bias is not None).to(old.weight)
    with torch.no_grad():
        new.weight.zero_()
        new.weight[: old.out_features, : old.in_features] = old.weight
        if old.bias is not None:
            new.bias.zero_()
            new.bias[: old.out_features] = old.bias
    return new.requires_grad_(False)
