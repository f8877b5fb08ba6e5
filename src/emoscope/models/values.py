"""What goes into a model and comes out of it: plain values, known to every family."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

Waveform = npt.NDArray[np.float32]  # mono samples at 16 kHz, (time,)

AUDIO, TEXT, DECISION, ANSWER = range(4)  # scopes: sound, the rest of the prompt, its last position, fed-back tokens
PADDING = -1  # scope code of padding

# a letter alone, perhaps in brackets, quotes or emphasis, perhaps with a full stop: "A", " A", "(A", "(A)", "A."
FORM = re.compile(r"\s*[\(\[\"'*]*([A-Z])[\)\]\"'*.:,]*\s*")
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
    layers: int
    width: int  # neurons per layer
    hidden: int  # size of the hidden state
    vocab: int  # size of the output vocabulary
    audio_first: bool  # whether the audio stands before the question
    padding_side: str  # the side on which rows of a batch are padded
    dtype: str  # of the decoder's arithmetic, such as ``"float32"``
    device: str  # of the decoder's weights
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

    audio: Waveform | None  # ``None`` for a question without sound
    text: str  # the user's turn
    letters: tuple[str, ...]  # the letters that may be answered, in the order of the options


@dataclass(frozen=True)
class Prepared:
    """A request as the decoder takes it, without padding, on the CPU."""

    embeddings: torch.Tensor  # (position, hidden), in the model's dtype
    scopes: torch.Tensor  # int8 (position,): 0 audio, 1 text, 2 decision (the last position)
    letters: tuple[str, ...]
    # for families whose positions do not simply count up; (..., position) or ``None``
    position_ids: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.embeddings)


class Layout(Protocol):
    """How rows stand that are not padded; :mod:`~emoscope.models.passes` has those that there are."""

    def seen(self, positions: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The row int64 (position,) and scope int8 (position, 1) of each position on which a layer works."""

    def attend(
        self,
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float | None,
        window: int | None,
    ) -> torch.Tensor:
        """Attention within each row: (1, head, position, dimension) to (1, position, head, dimension)."""


@dataclass(frozen=True)
class Batch:
    """Prepared rows padded to one length, on the model's device; or, with a layout, in one line of positions.

    In a line there is one row of embeddings, mask and position ids, and scopes are (position, 1).
    """

    embeddings: torch.Tensor  # (row, position, hidden)
    mask: torch.Tensor  # int64 (row, position), 1 where a row has a position of its own
    position_ids: torch.Tensor  # int64 (row, position), or with leading dimensions where the family has them
    scopes: torch.Tensor  # int8 (row, position); -1 is padding
    lengths: torch.Tensor  # int64 (row,), positions of each row
    letters: tuple[tuple[str, ...], ...]
    layout: Layout | None = None

    def __len__(self) -> int:
        return len(self.letters)


Rows = Sequence[Prepared] | Batch  # rows in any order, or a batch made from them


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
        tensors = (layer for gains in self.parts for layer in (*gains.values.values(), *gains.offsets.values()))
        return next((len(layer) for layer in tensors), None)

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
        """Take act(gate_proj(x)) of one layer before any gain, and what enters down_proj, after gains.

        Both are (row, position, width), the scope codes int8 (row, position); the product is not to be kept or changed.
        """


class Tokenizer(Protocol):
    """What is used of a tokenizer to score letters, as those of the transformers library have it."""

    all_special_ids: list[int]

    def get_vocab(self) -> dict[str, int]:
        """Token as it is stored -> id."""

    def decode(self, ids: list[int]) -> str:
        """The text of token ids."""


class Changes(Protocol):
    """Anything that can say which gains it wants; an intervention is one."""

    def gains(self, info: ModelInfo, rows: int) -> Gains:
        """The gains for a batch of ``rows`` rows, all under this change."""


def pad(prepared: Sequence[Prepared], side: str, device: torch.device) -> Batch:
    """Pad rows to the length of the longest, on the left or the right side, and bring them to a device.

    Example:
        >>> scopes = [torch.tensor(codes, dtype=torch.int8) for codes in ([2], [1, 1, 2])]
        >>> rows = [Prepared(torch.ones(len(codes), 4), codes, ("A",)) for codes in scopes]
        >>> pad(rows, "left", torch.device("cpu")).scopes.tolist()
        [[-1, -1, 2], [1, 1, 2]]
    """
    if not prepared:
        raise ValueError("no rows: a batch needs at least one prepared request")

    def joined(rows: Sequence[torch.Tensor], value: int = 0) -> torch.Tensor:
        return pad_sequence(list(rows), batch_first=True, padding_value=value, padding_side=side)

    scopes = joined([row.scopes for row in prepared], PADDING)
    mask = (scopes != PADDING).long()
    position_ids = (mask.cumsum(1) - 1).clamp(min=0)
    if own := [row.position_ids.movedim(-1, 0) for row in prepared if row.position_ids is not None]:
        position_ids = joined(own).movedim((0, 1), (-2, -1))
    lengths = torch.tensor([len(row) for row in prepared])
    # rows are joined where they are needed: on the host this would copy them once more, beside the way to the device
    embeddings = prepared[0].embeddings.new_zeros((*scopes.shape, prepared[0].embeddings.shape[1]), device=device)
    for place, row in zip(embeddings, prepared, strict=True):
        (place[-len(row) :] if side == "left" else place[: len(row)]).copy_(sent(row.embeddings, device))
    mask, position_ids, scopes, lengths = (sent(tensor, device) for tensor in (mask, position_ids, scopes, lengths))
    return Batch(embeddings, mask, position_ids, scopes, lengths, tuple(row.letters for row in prepared))


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor on a device; on its way to a GPU it is copied from pinned memory, and nobody waits for the copy."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


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
