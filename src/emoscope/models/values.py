"""What goes into a model and comes out of it: plain values, known to every family."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

AUDIO, TEXT, DECISION, ANSWER = range(4)
"""Scope codes of positions: audio, other prompt positions, the last prompt position, fed-back answer tokens."""

PADDING = -1  # scope code of padding
SCOPE_CODES = {"audio": AUDIO, "text": TEXT, "decision": DECISION, "answer": ANSWER}  # scope name -> code

FORM = re.compile(r"\s*[\(\[\"'*]*([A-Z])[\)\]\"'*.:,]*\s*")
"""A letter alone, perhaps in brackets, quotes or emphasis, perhaps with a full stop: "A", " A", "(A", "(A)", "A."."""

LONGEST = 12  # vocabulary entries longer than this (raw, in characters) are no letter forms; keeps the search short


class ProofFailed(RuntimeError):
    """A check of the model's inner workings gave the wrong result: nothing that it computes can be trusted."""


@dataclass(frozen=True)
class ModelInfo:
    """What is known about a loaded model."""

    id: str  # the name or folder under which it was loaded
    family: str  # ``model_type`` of its config.json
    revision: str | None  # commit on the hub, where it came from there
    checksum: str  # sha256 over the files that decide the answers (over the tensors for a wrapped model)
    # layers, width, hidden, vocab: decoder layers, neurons per layer, hidden size, size of the output vocabulary
    layers: int
    width: int
    hidden: int
    vocab: int
    audio_first: bool  # whether the audio stands before the question
    padding_side: str  # the side on which rows of a batch are padded
    # dtype, device: of the decoder's arithmetic and weights, such as ``"float32"`` and ``"cpu"``
    dtype: str
    device: str
    # corpora that the model has seen, each ``{"corpus": id, "where": {column: values}}``
    trained_on: tuple[Mapping[str, Any], ...] = ()
    trained_speakers: tuple[str, ...] = field(default=(), repr=False)  # names of the speakers that it heard in training
    recommended_budget: float = 0.005  # fraction of all neurons that a set should hold
    site: str = "gate"  # where a neuron's activation is read: ``"gate"``, the activated gate of the MLP
    attention: str = "sdpa"  # attention implementation of transformers
    # how the decoder's weights are packed, such as ``"bitsandbytes 8bit"``; ``None`` if they are not
    quantised: str | None = None


@dataclass(frozen=True)
class Request:
    """One question about one clip."""

    # mono samples at 16 kHz, float32 (time,), or ``None`` for a question without sound
    audio: npt.NDArray[np.float32] | None
    text: str  # the user's turn
    letters: tuple[str, ...]  # the letters that may be answered, in the order of the options


@dataclass(frozen=True)
class Prepared:
    """A request as the decoder takes it, without padding, on the CPU."""

    embeddings: torch.Tensor  # (position, hidden), in the model's dtype
    scopes: torch.Tensor  # int8 (position,): 0 audio, 1 text, 2 decision (the last position)
    letters: tuple[str, ...]  # the letters that may be answered
    # for families whose positions do not simply count up; (..., position) or ``None``
    position_ids: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.embeddings)


@dataclass(frozen=True)
class Batch:
    """Prepared rows padded to one length, on the model's device."""

    embeddings: torch.Tensor  # (row, position, hidden)
    mask: torch.Tensor  # int64 (row, position), 1 where a row has a position of its own
    position_ids: torch.Tensor  # int64 (row, position), or with leading dimensions where the family has them
    scopes: torch.Tensor  # int8 (row, position); -1 is padding
    lengths: torch.Tensor  # int64 (row,), positions of each row
    letters: tuple[tuple[str, ...], ...]  # the letters of each row

    def __len__(self) -> int:
        return len(self.letters)


@dataclass(frozen=True)
class Score:
    """How a model answers one request."""

    # float64 (option,), natural log of the probability of each letter over the whole vocabulary
    logp: npt.NDArray[np.float64]
    letter_mass: float  # total probability on the request's letters, between 0 and 1
    top: str  # the most probable token, decoded
    letter: str  # the letter of the largest ``logp``


@dataclass(frozen=True)
class Gains:
    """Factors on neuron activations, each batch row with its own."""

    values: Mapping[int, torch.Tensor]  # layer -> float32 (row, width); a layer that is missing has gain 1
    # bool (row, 4): at which scopes (audio, text, decision, answer) a row's gains act; ``None`` means at all
    positions: torch.Tensor | None = None
    # layer -> (row, width), added to the gated product after the gain, at the same positions
    offsets: Mapping[int, torch.Tensor] = field(default_factory=dict)
    more: tuple[Gains, ...] = ()  # further gains that act on top, for rows that combine edits at different positions

    @property
    def rows(self) -> int | None:
        """How many rows the gains are for; ``None`` where no layer is touched."""
        for gains in self.parts:
            for tensor in (*gains.values.values(), *gains.offsets.values()):
                return len(tensor)
        return None

    @property
    def parts(self) -> tuple[Gains, ...]:
        """This value and all that act on top, in order."""
        return (self, *(part for further in self.more for part in further.parts))

    def then(self, further: Gains) -> Gains:
        """These gains with ``further`` acting on top."""
        return Gains(self.values, self.positions, self.offsets, (*self.more, further))


class Observer(Protocol):
    """Takes what the neurons of one layer did in one forward pass."""

    def observe(self, layer: int, activation: torch.Tensor, product: torch.Tensor, scopes: torch.Tensor) -> None:
        """Take one layer's activations.

        Args:
            layer: counted from 0.
            activation: act(gate_proj(x)) before any gain, (row, position, width).
            product: what enters down_proj, after gains, (row, position, width); not to be kept or changed.
            scopes: int8 (row, position), the scope codes; -1 is padding.
        """


class Tokenizer(Protocol):
    """What is used of a tokenizer to score letters, as those of the transformers library have it."""

    all_special_ids: list[int]

    def get_vocab(self) -> dict[str, int]:
        """Token, as it is stored, -> id."""

    def decode(self, ids: list[int]) -> str:
        """The text of token ids."""


class Changes(Protocol):
    """Anything that can say which gains it wants; an intervention is one."""

    def gains(self, info: ModelInfo, rows: int) -> Gains:
        """The gains for a batch of ``rows`` rows, all under this change."""


def pad(prepared: Sequence[Prepared], side: str, device: torch.device) -> Batch:
    """Pad one or more rows to the length of the longest, on the left or the right side, and bring them to a device.

    Raises:
        ValueError: no rows.

    Example:
        >>> rows = [Prepared(torch.ones(n, 4), torch.tensor([1] * (n - 1) + [2], dtype=torch.int8), ("A",)) for n in (1, 3)]
        >>> pad(rows, "left", torch.device("cpu")).scopes.tolist()
        [[-1, -1, 2], [1, 1, 2]]
    """
    if not prepared:
        raise ValueError("no rows: a batch needs at least one prepared request")
    lengths = torch.tensor([len(row) for row in prepared])
    shape = len(prepared), int(lengths.max())
    embeddings = torch.zeros(*shape, prepared[0].embeddings.shape[1], dtype=prepared[0].embeddings.dtype)
    scopes = torch.full(shape, PADDING, dtype=torch.int8)
    for i, row in enumerate(prepared):
        place = slice(shape[1] - len(row), None) if side == "left" else slice(len(row))
        embeddings[i, place], scopes[i, place] = row.embeddings, row.scopes
    mask = (scopes != PADDING).long()
    position_ids = (mask.cumsum(1) - 1).clamp(min=0)
    if prepared[0].position_ids is not None:
        position_ids = torch.zeros(*prepared[0].position_ids.shape[:-1], *shape, dtype=torch.long)
        for i, row in enumerate(prepared):
            assert row.position_ids is not None
            position_ids[..., i, mask[i].bool()] = row.position_ids
    return Batch(
        embeddings.to(device),
        mask.to(device),
        position_ids.to(device),
        scopes.to(device),
        lengths.to(device),
        tuple(row.letters for row in prepared),
    )


def letter_forms(tokenizer: Tokenizer) -> dict[str, tuple[int, ...]]:
    """Letter -> ids of all single tokens of a vocabulary that say this one capital letter and nothing else."""
    special = set(tokenizer.all_special_ids)
    forms: dict[str, list[int]] = {}
    for raw, token in tokenizer.get_vocab().items():
        # decoding a whole vocabulary takes seconds: entries with other than one capital are skipped beforehand
        if len(raw) > LONGEST or token in special or sum("A" <= c <= "Z" for c in raw) != 1:
            continue
        if found := FORM.fullmatch(tokenizer.decode([token])):
            forms.setdefault(found[1], []).append(token)
    return {letter: tuple(sorted(forms[letter])) for letter in sorted(forms)}


def score_letters(
    logits: torch.Tensor, asked: Sequence[tuple[str, ...]], forms: Mapping[str, tuple[int, ...]], tokenizer: Tokenizer
) -> tuple[list[Score], torch.Tensor]:
    """Score the letters that each row may answer; a letter's probability is the sum over its token forms.

    Args:
        logits: (row, vocab).
        asked: the letters of each row.
        forms: letter -> token ids.
        tokenizer: decodes the likeliest token.

    Returns:
        one score per row, and for each row the token id of the likeliest form of its best letter, (row,).

    Raises:
        ValueError: a row without letters.
    """
    if not all(asked):
        raise ValueError(
            f"row {[bool(row) for row in asked].index(False)} has no letters to score: generate its answer"
        )
    logp = torch.log_softmax(logits.double(), -1)
    letters = sorted({letter for row in asked for letter in row})
    by_form = {letter: logp[:, list(forms[letter])].cpu() for letter in letters}
    by_letter = {letter: values.logsumexp(-1).numpy() for letter, values in by_form.items()}
    favourite = {letter: values.argmax(-1).tolist() for letter, values in by_form.items()}
    top = logp.argmax(-1).tolist()
    words = {token: tokenizer.decode([token]) for token in set(top)}
    scores, best = [], []
    for row, options in enumerate(asked):
        values = np.array([by_letter[letter][row] for letter in options])
        letter = options[int(values.argmax())]
        scores.append(Score(values, float(np.exp(values).sum()), words[top[row]], letter))
        best.append(forms[letter][favourite[letter][row]])
    return scores, torch.tensor(best)
