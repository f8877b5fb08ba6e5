"""How far each neuron's product moves the answer: gradients of log-odds of options, a layer at a time.

A pass without gradients leaves what each layer was given. From the last layer to the first, each is then run once more
with gradients, which are reduced to sums over positions before the layer below is run: memory holds the graph of one
layer, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from emoscope.models.passes import Start, only_blocks, pack, running
from emoscope.models.values import Batch, Gains, Prepared, pad
from emoscope.neurons.activity import SCOPES, scope_parts

if TYPE_CHECKING:
    from emoscope.models.audio_lm import AudioLM

PROMPT = tuple(scope for scope in SCOPES if scope != "answer")
"""An answer is decided before it is fed back: its position has no gradient."""

SHARED_KEYS = "layers share keys and values, so gradients cannot be taken a layer at a time"


@dataclass(frozen=True)
class Attribution:
    """Sums over the positions of a scope, of each neuron's gated product and of gradients at it; float32.

    With z(o) the log-odds of option o among the row's options, a(t) the gated product that enters ``down_proj`` at
    position t, and g(o, t) the derivative of z(o) by a(t): ``attributed`` is the sum over t of g(o, t) a(t), to first
    order what z(o) loses when the neuron is switched off there; ``gradient`` is the sum of g(o, t).
    """

    attributed: np.ndarray  # (option, row, layer, width)
    gradient: np.ndarray  # (option, row, layer, width)
    product: np.ndarray  # mean of a(t) over the positions, (row, layer, width)
    positions: np.ndarray  # how many positions, int64 (row,)


def attribute(
    model: AudioLM, prepared: Sequence[Prepared], options: Sequence[Sequence[str]], scope: str | Sequence[str] = PROMPT
) -> Attribution:
    """Attribute the log-odds of some letters of each row to the neurons: see :meth:`AudioLM.attribute`."""
    if model.shares_keys:
        raise ValueError(f"{model.info.id}: {SHARED_KEYS}; choose a selector without attribution")
    parts, asked = [part for part in scope_parts(scope) if part in PROMPT], {len(row) for row in options}
    if len(options) != len(prepared) or len(asked) != 1 or not min(asked):
        raise ValueError(
            f"letters for {len(options)} of {len(prepared)} rows, {sorted(asked)} each: as many for every row"
        )
    if not parts:
        raise ValueError(
            f"scope {scope!r}: an answer is decided before it is fed back; choose from {', '.join(PROMPT)}"
        )
    batch = pack(prepared, model.device, whole=True) if model.packs else pad(prepared, model.padding_side, model.device)
    inside = torch.zeros(len(SCOPES) + 1, dtype=torch.bool)  # the last is that of padding, -1
    inside[[SCOPES.index(part) for part in parts]] = True
    info = model.info
    products, counts = (
        np.zeros((len(batch), info.layers, info.width), dtype="float32"),
        np.zeros(len(batch), dtype="int64"),
    )
    given, last = _given(model, batch)
    gradients, mix = _at_last(model, batch, options, last)
    sums = np.zeros((2, len(gradients), len(batch), info.layers, info.width), dtype="float32")
    with running(model.decoder, batch.layout):
        for layer in range(info.layers - 1, -1, -1):
            with _product(model.decoder.sites[layer].down) as kept:
                args, kwargs = given.pop(layer)
                into = _leaf(args[0] if args else kwargs["hidden_states"])
                args, kwargs = ((into, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": into})
                with torch.enable_grad():
                    made = _hidden(model.decoder.blocks[layer](*args, **kwargs))
            product = kept[0]
            member = _members(batch, product, inside)
            flat, of_rows = product.detach().reshape(-1, info.width).float(), member.sum(1)
            for number, gradient in enumerate(gradients):
                gradients[number], at = _gradients(model, made, (into, product), gradient, number + 1 < len(gradients))
                at = at.reshape(-1, info.width).float()
                for kind, values in enumerate((at * flat, at)):
                    sums[kind, number, :, layer] = (member @ values).cpu().numpy()
            products[:, layer] = (member @ flat / of_rows.clamp(min=1)[:, None]).cpu().numpy()
            counts = of_rows.long().cpu().numpy()
    attributed, of_gradients = np.einsum("rog,sgrlw->sorlw", mix.numpy(), sums)
    return Attribution(attributed, of_gradients, products, counts)


Call = tuple[tuple[Any, ...], dict[str, Any]]


def _given(model: AudioLM, batch: Batch) -> tuple[dict[int, Call], torch.Tensor]:
    """What each layer is given in an untouched pass, and what the last one makes of it."""
    given, made = dict[int, Call](), list[object]()

    def keep(layer: int, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given[layer] = args, kwargs

    with ExitStack() as hooks, torch.no_grad():
        for layer, block in enumerate(model.decoder.blocks):
            hooks.enter_context(block.register_forward_pre_hook(partial(keep, layer), with_kwargs=True))
        hooks.enter_context(block.register_forward_hook(lambda _module, _args, output: made.append(output)))
        model.read_prompt(batch)
    return given, _hidden(made[0])


def _at_last(
    model: AudioLM, batch: Batch, options: Sequence[Sequence[str]], last: torch.Tensor
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Gradients at what the last layer made, and how they add up to those of each option: (row, option, gradient).

    Log-odds are functions of the differences of the letters' scores, of which there is one fewer than letters: where all
    options are asked, their gradients are sums of so many.
    """
    last = _leaf(last)
    with torch.enable_grad(), only_blocks(model.decoder, Start(model.decoder.layers, last, last.device)):
        logits = model.logits(model.read_prompt(batch)[0])
        scores = [letter_scores(model, row, letters) for row, letters in zip(logits, batch.letters, strict=True)]
        own = [[letters.index(letter) for letter in row] for letters, row in zip(batch.letters, options, strict=True)]
        wanted = torch.stack([log_odds(row)[places] for row, places in zip(scores, own, strict=True)])
        mix = torch.eye(wanted.shape[1]).expand(len(batch), -1, -1)
        if {len(row) for row in scores} == {wanted.shape[1]}:
            of_all = torch.stack(scores)
            wanted = of_all[:, :-1] - of_all[:, -1:]
            mix = torch.stack(
                [_slopes(row.detach())[places, :-1] for row, places in zip(scores, own, strict=True)]
            ).cpu()
    return [torch.autograd.grad(one.sum(), last, retain_graph=True)[0] for one in wanted.T], mix


def letter_scores(model: AudioLM, logits: torch.Tensor, letters: Sequence[str]) -> torch.Tensor:
    """Scores of a row's letters, (letter,), up to a constant: over the forms of each, from logits (vocab,)."""
    return torch.stack([logits[list(model.letters[letter])].logsumexp(0) for letter in letters])


def log_odds(scores: torch.Tensor) -> torch.Tensor:
    """Log-odds of each letter among all of a row, from their scores (letter,).

    Example:
        >>> log_odds(torch.log(torch.tensor([0.5, 0.3, 0.2]))).exp().numpy().round(3)
        array([1.   , 0.429, 0.25 ], dtype=float32)
    """
    others = scores.expand(len(scores), -1).masked_fill(
        torch.eye(len(scores), dtype=torch.bool, device=scores.device), -torch.inf
    )
    return scores - others.logsumexp(1)


def _slopes(scores: torch.Tensor) -> torch.Tensor:
    """Derivatives of the log-odds of each letter by each letter's score, (letter, letter): they sum to 0."""
    others = scores.expand(len(scores), -1).masked_fill(
        torch.eye(len(scores), dtype=torch.bool, device=scores.device), -torch.inf
    )
    return torch.eye(len(scores), device=scores.device) - others.softmax(1)


SMALL = {"float32": 0.01}
"""By what share gains are raised and lowered to see the slope, by dtype; elsewhere a tenth, as rounding is coarser."""
APART = {"float32": 0.02}
"""How far from what gradients say the change may be, as a share of the largest; elsewhere .45: logits are rounded there.

A layer that is left out is .5 and more apart, in any dtype."""


def small_gains(model: AudioLM, prepared: Sequence[Prepared], draws: int = 4) -> tuple[float, float]:
    """How far changes of log-odds under small gains are from what gradients say, and how far they may be.

    All neurons of all layers are raised or lowered at random, at all positions; both differences count, so that what is
    of second order cancels. As a share of the largest change.
    """
    layers, width, rows = model.info.layers, model.info.width, len(prepared)
    step, coin = SMALL.get(model.info.dtype, 0.1), torch.Generator().manual_seed(0)
    attributed = torch.from_numpy(model.attribute(prepared, [row.letters for row in prepared]).attributed)
    told, seen = list[torch.Tensor](), list[torch.Tensor]()
    for _ in range(draws):
        signs = torch.randint(2, (layers, width), generator=coin) * 2.0 - 1
        told.append((attributed * signs).sum((2, 3)))
        both = []
        for way in (step, -step):
            gains = Gains({layer: (1 + way * signs[layer]).expand(rows, -1) for layer in range(layers)})
            logits = model.next_logits(prepared, gains).double().cpu()
            scores = [letter_scores(model, row, own.letters) for row, own in zip(logits, prepared, strict=True)]
            both.append(torch.stack([log_odds(row) for row in scores], 1))
        seen.append((both[0] - both[1]) / (2 * step))
    wanted = torch.stack(seen)
    apart = (torch.stack(told) - wanted).abs().max() / wanted.abs().max()
    return float(apart), APART.get(model.info.dtype, 0.45)


def _gradients(
    model: AudioLM, made: torch.Tensor, at: tuple[torch.Tensor, torch.Tensor], given: torch.Tensor, again: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    try:
        into, product = torch.autograd.grad(made, at, given.to(made.device, made.dtype), retain_graph=again)
    except (RuntimeError, NotImplementedError) as error:
        if model.info.quantised is None:
            raise
        raise ValueError(
            f"weights quantised as {model.info.quantised} give no gradients ({error}): attribution needs {model.info.id} "
            "unquantised"
        ) from error
    return into, product


@contextmanager
def _product(down: nn.Module) -> Iterator[list[torch.Tensor]]:
    kept: list[torch.Tensor] = []
    hook = down.register_forward_pre_hook(lambda _module, args: kept.append(args[0]))
    try:
        yield kept
    finally:
        hook.remove()


def _members(batch: Batch, product: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
    """Which positions of a product count for which row: 1 where one does, else 0; (row, position)."""
    if batch.layout is not None:
        rows, scopes = batch.layout.seen(product.shape[1])
    else:
        rows, scopes = torch.arange(len(batch)).repeat_interleave(product.shape[1]), batch.scopes
    counted = inside.to(scopes.device)[scopes.flatten().long()].to(product.device)
    own = torch.arange(len(batch), device=product.device)[:, None] == rows.to(product.device)
    return (own & counted).float()


def _leaf(hidden: torch.Tensor) -> torch.Tensor:
    return hidden.detach().clone().requires_grad_()


def _hidden(made: object) -> torch.Tensor:
    found = made[0] if isinstance(made, tuple) else made
    assert isinstance(found, torch.Tensor)
    return found
