"""Models in which it is known which neurons cause the answer: circuits written into a trained model, and a measured key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from scipy.linalg import eigh

from emoscope.models.audio_lm import AudioLM
from emoscope.models.registry import module_checksum
from emoscope.models.values import AUDIO, DECISION
from emoscope.neurons.controls import seeded_generator
from emoscope.testing.old_path import COLUMNS, Ground, Voices, states, voice_states, without_old_path

CAUSAL, NOT_CAUSAL, DEPENDS = "causal", "not causal", "depends"

KINDS: Mapping[str, tuple[str, str]] = {
    "hearing": (CAUSAL, "fires for the emotion and writes its label"),
    "relay": (CAUSAL, "in place of hearing, of one emotion: writes what only answer neurons read"),
    "answer": (CAUSAL, "a layer later, reads what attention brings of the relays, and marks the option"),
    "pair": (CAUSAL, "as hearing, twice the same neuron"),
    "quiet": (CAUSAL, "as hearing, with a twentieth of the activation and a column as much larger"),
    "rival": (CAUSAL, "fires for the emotion and writes against the label of another one"),
    "shared": (DEPENDS, "fires for two emotions and writes the labels of both"),
    "with word": (DEPENDS, "fires for the emotion in one spoken word, and writes its label"),
    "silent": (NOT_CAUSAL, "fires for the emotion and writes where nothing reads"),
    "loudness": (NOT_CAUSAL, "fires where the voice is loud, and writes where nothing reads"),
    "habit": (NOT_CAUSAL, "fires on every clip and writes a label"),
    "letter": (NOT_CAUSAL, "fires on every clip and writes a letter"),
}
"""Kind of written neuron -> whether it counts as a cause of hearing an emotion, and what it does."""

EACH = 2  # neurons of each kind for each emotion
DEAD = 32  # directions, the strongest first, by which the answer changes at all; outside them nothing reads
QUIET = 20.0
PUSH = 0.5  # what a letter neuron adds to the logit of its letter, nat
STRENGTHS = (1.5, 3.0, 6.0)  # of each emotion's circuits in all, nat
NEARLY = 0.02  # the weakest is kept whose recall in training is so close to the best: strong ones saturate
WITHIN = 0.1  # penalty of the rows, as a share of the spread of single positions
RIDGE = 1e-3  # penalty of the rows, as a share of the inputs' mean square
RELAYS = ("relay", "pair", "quiet")  # kinds that write for answer neurons, of the emotion that is heard in two steps
HABIT = 0.3  # what a habit neuron writes, of what one that hears does
UNREAD = 16  # relays write outside of so many directions of those by which the answer changes
RELAYED = 2.0  # what relays add at the voice of their emotion, in all; the first layer's output is about 8 long
ANSWER = 1.0  # what answer neurons add at their option's word, in native marks of a right option


@dataclass(frozen=True)
class Written:
    """One written neuron."""

    kind: str
    layer: int
    index: int
    emotion: int | None  # code; ``None`` where it has none
    other: int | None  # the second emotion of ``shared``, the one that a ``rival`` neuron acts against

    @property
    def counts(self) -> str:
        """Whether it counts as causal."""
        return KINDS[self.kind][0]


@dataclass(frozen=True, eq=False)
class Planted:
    """A model with written circuits."""

    model: AudioLM
    neurons: tuple[Written, ...]
    two_hop: int  # code of the emotion that is heard in two steps
    strength: float
    ground: Ground

    def hear(self, voices: Voices) -> Voices:
        """Clips that the model without circuits prepared, as this one prepares them: its encoder is the same."""
        return replace(voices, rows=self.ground.erased(voices.rows))

    def flat(self, neurons: Sequence[Written]) -> np.ndarray:
        """Numbers ``layer * width + index``."""
        return np.array([each.layer * self.model.info.width + each.index for each in neurons], "int64")


def plant(model: AudioLM, voices: Voices, seed: int) -> Planted:
    """Write circuits of every kind into a copy of a model, from directions found on some voices.

    The old path is taken out first (:func:`~emoscope.testing.old_path.without_old_path`). Of the strengths that are tried,
    the weakest that answers nearly best on these voices is kept.
    """
    rng = seeded_generator(seed, "planted", 0)
    copy, ground = without_old_path(model, voices, f"{model.info.id}, planted, seed {seed}")
    own = replace(voices, rows=ground.erased(voices.rows))
    circuits = Circuits(copy, own, ground, rng)
    reached = {strength: circuits.write(strength) for strength in STRENGTHS}
    strength = next(each for each, recall in reached.items() if recall > max(reached.values()) - NEARLY)
    circuits.write(strength)
    made = type(model)(copy.model, copy.processor, copy.info.id, module_checksum(copy.model))
    return Planted(made, tuple(circuits.written), circuits.two_hop, strength, ground)


@dataclass(frozen=True, eq=False)
class _Part:
    """A neuron as it is written: its rows, and its column at a strength of 1."""

    gate: np.ndarray
    up: np.ndarray
    column: np.ndarray
    scaled: bool  # whether its column grows with the strength of the circuits


class Circuits:
    """The written neurons of one model, which :meth:`write` puts into its added columns."""

    def __init__(self, model: AudioLM, voices: Voices, ground: Ground, rng: np.random.Generator) -> None:
        self.model, self.voices, self.ground, self.rng = model, voices, ground, rng
        self.two_hop = int(rng.integers(len(voices.emotions)))
        self.written: list[Written] = []
        self._parts: list[_Part] = []
        self._free = [model.decoder.width - COLUMNS] * model.decoder.layers
        self.hearing = _Layer(model, 0, voices)
        self.some = voices.part(np.arange(0, len(voices.rows), 2))
        self.relay = self._unread()
        for emotion in range(len(voices.emotions)):
            for _ in range(EACH):
                self._hearing(emotion)
                self._correlates(emotion)
            self._pair(emotion)
        self._first = len(self._parts)
        self._later: dict[float, tuple[list[Written], list[_Part]]] = {}

    def write(self, strength: float) -> float:
        """Write all neurons, and ask some of the clips: their recall. What was written before with a strength is again."""
        for layer in range(self.model.decoder.layers):
            _Layer.clear(self.model, layer)
        if strength not in self._later:
            del self.written[self._first :], self._parts[self._first :]
            self._free[1:] = [self.model.decoder.width - COLUMNS] * (self.model.decoder.layers - 1)
            self._put(range(self._first), strength)
            self._answers()
            self._letters()
            self._later[strength] = self.written[self._first :], self._parts[self._first :]
        self.written[self._first :], self._parts[self._first :] = self._later[strength]
        self._put(range(len(self._parts)), strength)
        return self.some.recall(self.some.answers(self.model))

    def _put(self, numbers: range, strength: float) -> None:
        for number in numbers:
            part, at = self._parts[number], self.written[number]
            site: Any = self.model.decoder.sites[at.layer]
            with torch.no_grad():
                site.gate.weight[at.index] = torch.from_numpy(part.gate).to(site.down.weight)
                site.up.weight[at.index] = torch.from_numpy(part.up).to(site.down.weight)
                column = part.column * (strength if part.scaled else 1.0)
                site.down.weight[:, at.index] = torch.from_numpy(column).to(site.down.weight)

    def _add(self, kind: str, layer: int, emotion: int | None, other: int | None, part: _Part) -> None:
        self.written.append(Written(kind, layer, self._free[layer], emotion, other))
        self._parts.append(part)
        self._free[layer] += 1

    def _share(self) -> float:
        """What one neuron of a circuit writes of its emotion's label, at a strength of 1."""
        causal = sum(counts == CAUSAL for counts, _ in KINDS.values()) - 2  # relay and answer stand in for hearing
        return float(np.exp(self.rng.normal(0, 0.25))) / (EACH * causal)

    def _dead(self) -> np.ndarray:
        """A direction in which nothing reads, as long as the column of some native neuron."""
        dead = self.ground.heard[DEAD:]
        direction = self.rng.standard_normal(len(dead)) @ dead
        return np.asarray(direction / np.linalg.norm(direction) * self.rng.choice(self.hearing.norms))

    def _written(self, emotion: int) -> tuple[np.ndarray, bool]:
        """What a neuron that hears an emotion writes, and whether it grows with the strength of the circuits."""
        if emotion == self.two_hop:
            return self.relay * self._share(), False
        return self.ground.labels[emotion] * self._share(), True

    def _hearing(self, emotion: int) -> None:
        """One neuron of each kind that hears an emotion and writes something."""
        label, voices = self.ground.labels, self.voices
        own, codes = voices.truth == emotion, np.arange(len(voices.emotions))
        other = int(self.rng.choice(codes[codes != emotion]))
        both = own | (voices.truth == other)
        said = own & (voices.words == self.rng.choice(np.unique(voices.words)))
        first = "relay" if emotion == self.two_hop else "hearing"
        for kind, fires, (column, scaled), against in (
            (first, own, self._written(emotion), None),
            ("quiet", own, self._written(emotion), None),
            ("rival", own, (-label[other] * self._share(), True), other),
            ("shared", both, ((label[emotion] + label[other]) * self._share(), True), other),
            ("with word", said, (label[emotion] * self._share(), True), None),
        ):
            gate, up, product = self.hearing.neuron(fires, self.rng, 1 / QUIET if kind == "quiet" else 1.0)
            self._add(kind, 0, emotion, against, _Part(gate, up, column / self._contrast(product, fires), scaled))

    def _contrast(self, product: np.ndarray, fires: np.ndarray) -> float:
        return float(product[self.hearing.of(fires)].mean() - product[self.hearing.of(~fires)].mean())

    def _pair(self, emotion: int) -> None:
        fires = self.voices.truth == emotion
        gate, up, product = self.hearing.neuron(fires, self.rng)
        for _ in range(EACH):
            column, scaled = self._written(emotion)
            self._add("pair", 0, emotion, None, _Part(gate, up, column / self._contrast(product, fires), scaled))

    def _correlates(self, emotion: int) -> None:
        """One neuron of each kind in the first layer that does not hear, or writes nothing."""
        layer, fires = self.hearing, self.voices.truth == emotion
        gate, up, _ = layer.neuron(fires, self.rng)
        self._add("silent", 0, emotion, None, _Part(gate, up, self._dead(), False))
        loud = np.concatenate(self.voices.loudness)
        gate, up, _ = layer.neuron((loud - loud.mean()) / loud.std(), self.rng)
        self._add("loudness", 0, None, None, _Part(gate, up, self._dead(), False))
        gate, up, product = layer.neuron(None, self.rng)
        column = HABIT * self.ground.labels[emotion] * self._share() / product.mean()
        self._add("habit", 0, emotion, None, _Part(gate, up, column, True))

    def _unread(self) -> np.ndarray:
        """What relays write: carried far by the second layer's attention, and read by nothing that was there before."""
        block: Any = self.model.decoder.blocks[1]
        attention, norm = block.self_attn, block.input_layernorm.weight
        groups = attention.o_proj.in_features // attention.v_proj.out_features
        value = (attention.v_proj.weight * norm).detach().double().numpy()
        size = attention.head_dim
        value = value.reshape(-1, size, value.shape[1]).repeat(groups, 0).reshape(-1, value.shape[1])
        carried = attention.o_proj.weight.detach().double().numpy() @ value
        made = np.concatenate(voice_states(self.model, self.some.rows))
        free = self.ground.heard[UNREAD:]
        spread = free @ (np.cov(made.T) + 1e-3 * np.eye(made.shape[1])) @ free.T
        _, found = eigh(free @ carried.T @ carried @ free.T, spread)
        direction = found[:, -1] @ free
        return np.asarray(direction / np.linalg.norm(direction) * RELAYED)

    def _answers(self) -> None:
        """Answer neurons: fire after the voice where relays fired, and write at the option's word."""
        layer = _Layer(self.model, 1, self.some)
        first = [each for each in self.written[: self._first] if each.emotion == self.two_hop]
        relays = torch.tensor([each.index for each in first if each.kind in RELAYS])
        with self.model.decoder.scaled({0: (relays, 0.0)}):
            without = _Layer(self.model, 1, self.some)
        own = self.some.truth == self.two_hop
        word = np.concatenate(self.some.tokens) == self.ground.words[self.two_hop]
        for _ in range(EACH):
            gate, up, product = layer.answering(own, word, without.inputs, self.rng)
            contrast = product[word & layer.of(own, True)].mean() - product[word & layer.of(~own, True)].mean()
            column = self.ground.match * (ANSWER / EACH / contrast)
            self._add("answer", 1, self.two_hop, None, _Part(gate, up, column, False))

    def _letters(self) -> None:
        """Letter neurons: fire at the last position of every clip, in the last layer."""
        last = self.model.decoder.layers - 1
        few = self.some.part(np.arange(0, len(self.some.rows), 3))
        layer = _Layer(self.model, last, few)
        backbone: Any = self.model.decoder.backbone
        norm = backbone.norm.weight.detach().double().numpy()
        letters = [self.model.letters[letter][0] for letter in self.some.rows[0].letters]
        logits = self.model.head.weight.detach()[letters].double().numpy() * norm
        logits -= logits.mean(axis=0)
        made = states(self.model, few.rows, self.model.decoder.blocks[last])
        size = np.mean([np.sqrt(np.mean(row[-1] ** 2)) for row in made])
        for direction in logits:
            for _ in range(EACH):
                gate, up, product = layer.deciding(self.rng)
                column = direction / (direction @ direction) * PUSH * size / product.mean()
                self._add("letter", last, None, None, _Part(gate, up, column, False))


class _Layer:
    """What the neurons of a layer read at every position of some clips, and what native neurons make of it."""

    def __init__(self, model: AudioLM, number: int, voices: Voices) -> None:
        native = model.decoder.width - COLUMNS
        site: Any = model.decoder.sites[number]
        read = states(model, voices.rows, site.gate, given=True)
        scopes = np.concatenate([row.scopes.numpy() for row in voices.rows])
        self.inputs = np.concatenate(read)
        self.voice, self.last = scopes == AUDIO, scopes == DECISION
        self.clip = np.repeat(np.arange(len(read)), [len(row) for row in read])
        began = np.array([np.flatnonzero((row.scopes == AUDIO).numpy())[0] for row in voices.rows])
        place = np.concatenate([np.arange(len(row)) for row in read])
        self.after = ~self.voice & (place > began[self.clip])
        self.norms = model.decoder.down_norms()[number][:native]
        with torch.no_grad():
            shown = torch.from_numpy(self.inputs[::7]).to(site.down.weight)
            activation = site.act(shown @ site.gate.weight[:native].T).double().numpy()
            up = (shown @ site.up.weight[:native].T).double().numpy()
        self.rates, self.spreads = (activation > 0).mean(axis=0), activation.std(axis=0)
        self.ups = np.abs(up).mean(axis=0)

    @staticmethod
    def clear(model: AudioLM, number: int) -> None:
        """Set the added columns of a layer to zero."""
        native = model.decoder.width - COLUMNS
        site: Any = model.decoder.sites[number]
        with torch.no_grad():
            site.gate.weight[native:], site.up.weight[native:], site.down.weight[:, native:] = 0, 0, 0

    def of(self, clips: np.ndarray, everywhere: bool = False) -> np.ndarray:
        """Positions of some clips: of all, or among those of the voice."""
        return clips[self.clip] if everywhere else clips[self.clip[self.voice]]

    def neuron(
        self, fires: np.ndarray | None, rng: np.random.Generator, size: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of a neuron that fires in the voice: for some clips, by a number at each position, or always.

        Returns:
            gate, up, and the product at each position of the voice.
        """
        wanted = -np.ones(len(self.clip))
        if fires is None:
            wanted[self.voice] = 1
        elif fires.dtype == bool:
            wanted[self.voice] = np.where(self.of(fires), 1, -fires.mean() / (1 - fires.mean()))
        else:
            wanted[self.voice] = fires
        return self._made(wanted, self.voice.astype(float), self.voice, self.voice, rng, size, always=fires is None)

    def answering(
        self, own: np.ndarray, word: np.ndarray, without: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same of a neuron that fires after the voice of some clips, and acts at a word; products of all positions.

        ``without`` are the inputs where the relays are off: it does not fire there.
        """
        wanted = np.where(self.of(own, True), 1.0, -1.0) * self.after
        silent = without[word & self.of(own, True)]
        return self._made(wanted, word.astype(float), self.after, np.ones_like(self.after), rng, at=word, silent=silent)

    def deciding(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same of a neuron that fires at the last position; products there."""
        wanted = np.where(self.last, 1.0, -1.0)
        return self._made(wanted, self.last.astype(float), self.last, self.last, rng, always=True)

    def _made(
        self, wanted: np.ndarray, acts: np.ndarray, among: np.ndarray, shown: np.ndarray, rng: np.random.Generator,
        size: float = 1.0, always: bool = False, at: np.ndarray | None = None, silent: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
        """A neuron with the firing rate and the spread of some native one, fitted on four fifths of the clips.

        What is wanted of a clip is wanted of the mean over its positions ``among`` which it fires, and ``at`` others; at
        ``silent`` inputs it is not to fire.
        """
        clips = self.clip.max() + 1
        drawn = np.isin(self.clip, rng.permutation(clips)[: int(0.8 * clips)])
        means = [_by_clip(self.inputs, wanted, self.clip, mask & drawn) for mask in (among, at) if mask is not None]
        if silent is not None:
            means.append((silent, -np.ones(len(silent))))
        rest = ~among & drawn
        inputs = np.concatenate([*(given for given, _ in means), self.inputs[rest]])
        targets = np.concatenate([*(target for _, target in means), wanted[rest]])
        weights = np.repeat(
            [1 / sum(len(given) for given, _ in means), 1 / rest.sum()], [len(inputs) - rest.sum(), rest.sum()]
        )
        within = WITHIN * np.cov(self.inputs[among & drawn].T)
        score, level = _ridge(inputs, np.stack([targets, np.ones(len(targets))], axis=1), weights, within).T
        weights = np.where(among, 1 / among.sum(), 1 / (~among).sum()) * drawn
        (up,) = _ridge(self.inputs, acts[:, None], weights).T
        native = int(rng.choice(np.flatnonzero((self.rates > 0.05) & (self.rates < 0.6))))
        gate = score
        if not always:
            ratio = (self.inputs[among] @ score) / np.maximum(self.inputs[among] @ level, 0.1)
            gate = score - np.quantile(ratio, 1 - self.rates[native]) * level
        inside = self.inputs[among] @ gate
        scales = np.geomspace(1e-3, 1e3, 241) / inside.std()
        spreads = np.array([_silu(scale * inside).std() for scale in scales])
        gate = gate * scales[np.abs(np.log(spreads / (size * self.spreads[native]))).argmin()]
        up = up * self.ups[native]
        read = self.inputs[shown]
        return gate, up, _silu(read @ gate) * (read @ up)


def _by_clip(
    inputs: np.ndarray, wanted: np.ndarray, clip: np.ndarray, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Means over the chosen positions of each clip that has some: of inputs (clip, hidden), and of what is wanted."""
    counts = np.bincount(clip[chosen], minlength=clip.max() + 1)
    sums = np.zeros((len(counts), inputs.shape[1]))
    np.add.at(sums, clip[chosen], inputs[chosen])
    there = counts > 0
    return sums[there] / counts[there, None], (
        np.bincount(clip[chosen], wanted[chosen], len(counts))[there] / counts[there]
    )


def _silu(values: np.ndarray) -> np.ndarray:
    return np.asarray(values / (1 + np.exp(-np.clip(values, -500, 500))))


def _ridge(
    inputs: np.ndarray, wanted: np.ndarray, weights: np.ndarray, penalty: np.ndarray | float = 0.0
) -> np.ndarray:
    """Rows (hidden, target) whose products with the inputs come closest to what is wanted, by weighted squares."""
    weighted = inputs.T * weights
    gram = weighted @ inputs + penalty
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    return np.asarray(np.linalg.solve(gram, weighted @ wanted))
