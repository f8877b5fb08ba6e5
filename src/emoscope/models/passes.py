"""Passes that compute no more than answers need: rows without padding, last positions alone, later starts.

Projections, norms and MLPs treat each position by itself, so rows may stand in one line; attention alone takes them
apart. Rows that begin alike under the same gains have their beginning in common. In the last layer the MLP works on the
last position of each row alone, as nothing else is read; where gains act there alone, all layers do, on keys and values
that an untouched pass has left. Under gains that act in later layers alone, a pass may begin at the first of them.
Whether a decoder can be run so, proofs show (:mod:`~emoscope.models.check`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from torch.utils._pytree import tree_leaves, tree_map_only

from emoscope.models.decoder import Decoder
from emoscope.models.values import DECISION, Batch, Layout, Prepared, Rows, sent

if TYPE_CHECKING:
    from emoscope.models.audio_lm import AudioLM

ATTENTION = "emoscope_packed"
"""Name under which transformers finds :func:`_attend`."""

# memory of the host that the starts of one block of items may take, beside those that stay on the device
# (at 256 items of 800 positions a hidden state of 3584 numbers in bfloat16 takes 1.4 GB)
BYTES = 2 << 30
SHARE = 4  # one part in so many of a GPU's free memory may hold padded batches, and as much of the rest starts

KeysValues = tuple[torch.Tensor, torch.Tensor]  # of one layer, each (row, head, longest, dimension)


@dataclass(frozen=True, eq=False)
class Line:
    """Where the rows of a batch stand in one line of positions."""

    rows: torch.Tensor  # int64 (position,): the row of each position, the first of those that share it
    scopes: torch.Tensor  # int8 (position, 1)
    last: torch.Tensor  # int64 (row,): the last position of each row
    spread: (
        torch.Tensor
    )  # int64 (row, longest, or one more if ``whole``): the positions of each row, filled up with any
    places: torch.Tensor  # int64 (position,): where each position stands in ``spread``, flattened
    whole: bool = False  # whether the last layer's MLP works on all positions, and each row has room for an answer
    left: dict[nn.Module, KeysValues] | None = None  # takes keys and values of a pass by attention module, if wanted

    def seen(self, positions: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The row int64 (position,) and scope int8 (position, 1) of what a layer works on: the line, or the last ones."""
        if positions == len(self.rows):
            return self.rows, self.scopes
        return self.rows.index_select(0, self.last), self.scopes.index_select(0, self.last)

    def attend(
        self,
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float | None,
        window: int | None,
    ) -> torch.Tensor:
        """Causal attention within each row: (1, head, position, dimension) to (1, position, head, dimension)."""
        spread, places = self.spread.to(query.device), self.places.to(query.device)

        def apart(line: torch.Tensor) -> torch.Tensor:
            return line[0].index_select(1, spread.flatten()).unflatten(1, spread.shape).transpose(0, 1)

        query, key, value = apart(query), apart(key), apart(value)
        if self.left is not None:
            self.left[module] = key, value
        # what fills a row up stands at its end, where no position of the row looks
        made = _causal(query, key, value, scale, window)
        return made.transpose(1, 2).flatten(0, 1).index_select(0, places)[None]


@dataclass(frozen=True, eq=False)
class LastPositions:
    """One position of each row, the last or that of its answer, beside what passes have left of those before it.

    Rows may be those of several batches, one after the other.
    """

    lengths: tuple[torch.Tensor, ...]  # of each batch, int64 (row,): positions of each row, with this one
    left: tuple[dict[nn.Module, KeysValues], ...]  # of each batch
    scope: int = DECISION

    def seen(self, positions: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The row and scope of each position, as of a :class:`Line`."""
        rows = torch.arange(positions, device=self.lengths[0].device)
        return rows, torch.full((positions, 1), self.scope, dtype=torch.int8, device=rows.device)

    def attend(
        self,
        module: nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        scale: float | None,
        window: int | None,
    ) -> torch.Tensor:
        """Attention of each row's position to all of the row: (1, head, row, dimension) to (1, row, head, dimension)."""
        sizes, made = [len(lengths) for lengths in self.lengths], []
        parts = zip(*(line[0].transpose(0, 1).split(sizes) for line in (query, key, value)), strict=True)
        for lengths, left, (asking, own_key, own_value) in zip(self.lengths, self.left, parts, strict=True):
            lengths, (keys, values) = lengths.to(query.device), left[module]
            rows, place = (torch.arange(size, device=query.device) for size in (len(lengths), keys.shape[2]))
            # each pass writes its own position over that of the one before
            keys[rows, :, lengths - 1], values[rows, :, lengths - 1] = own_key, own_value
            inside = place < lengths[:, None]
            if window:
                inside &= place >= lengths[:, None] - window
            attention, grouped = nn.functional.scaled_dot_product_attention, query.shape[1] != keys.shape[1]
            mask = inside[:, None, None]
            made.append(attention(asking[:, :, None], keys, values, mask, scale=scale, enable_gqa=grouped)[:, :, 0])
        return torch.cat(made)[None]


_running: ContextVar[Layout] = ContextVar("layout")  # of the pass that is running


def _causal(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None, window: int | None
) -> torch.Tensor:
    """Attention of each position to those before it, (row, head, position, dimension); ``window``: to so many at most."""
    positions, grouped = query.shape[2], query.shape[1] != key.shape[1]
    mask = None
    if window and positions > window:
        place = torch.arange(positions, device=query.device)
        back = place[:, None] - place
        mask = (back >= 0) & (back < window)
    attention = nn.functional.scaled_dot_product_attention
    return attention(query, key, value, mask, is_causal=mask is None, scale=scale, enable_gqa=grouped)


def _attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    _mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_further: object,
) -> tuple[torch.Tensor, None]:
    """What transformers calls in place of its own attention."""
    if softcap is not None:
        raise ValueError("capped attention is not known to passes without padding")
    return _running.get().attend(module, query, key, value, scaling, sliding_window), None


@contextmanager
def running(decoder: Decoder, layout: Layout | None) -> Iterator[None]:
    """Let the decoder's passes inside the block run on rows that stand so; as ever where they are padded."""
    if layout is None:
        yield
        return
    from transformers import AttentionInterface

    config: Any = decoder.backbone.config
    if (usual := config._attn_implementation) != "sdpa":
        raise ValueError(f"attention is {usual!r}, and in a line it is torch's own")
    # a name without a mask of its own: none is made
    AttentionInterface.register(ATTENTION, _attend)
    token, config._attn_implementation = _running.set(layout), ATTENTION
    mlp = decoder.mlp(decoder.layers - 1)
    hooks = []
    if isinstance(layout, Line) and not layout.whole:
        hooks.append(
            mlp.register_forward_pre_hook(
                lambda _, given: (given[0].index_select(1, layout.last.to(given[0].device)), *given[1:])
            )
        )
        hooks.append(mlp.register_forward_hook(lambda _, given, made: _back(made, layout)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        config._attn_implementation = usual
        _running.reset(token)


def _back(made: torch.Tensor, layout: Line) -> torch.Tensor:
    """What a layer made of the last positions (1, row, hidden), in its place in the line; elsewhere nothing is read."""
    line = made.new_zeros(1, len(layout.rows), made.shape[-1])
    return line.index_copy_(1, layout.last.to(made.device), made)


def pack(
    prepared: Sequence[Prepared], device: torch.device, alike: Sequence[object] = (), whole: bool = False
) -> Batch:
    """Put rows into one line, on a device.

    Args:
        alike: of each row, what it has in common with rows that are always under the same gains, such as its clip; where
            neighbours agree in it, they share the positions in which they begin alike.
        whole: for rows that are observed and answered: the last layer works on all positions.

    Example:
        >>> scopes = torch.tensor([1, 1, 2], dtype=torch.int8)
        >>> rows = [Prepared(torch.tensor([[1.0], [2.0], [last]]), scopes, ("A",)) for last in (3.0, 4.0)]
        >>> [pack(rows, torch.device("cpu"), alike).embeddings.flatten().tolist() for alike in ((), ("a", "a"))]
        [[1.0, 2.0, 3.0, 1.0, 2.0, 4.0], [1.0, 2.0, 3.0, 4.0]]
    """
    if not prepared:
        raise ValueError("no rows: a batch needs at least one prepared request")
    own, places, taken = list[slice](), list[torch.Tensor](), 0  # of each row: its part of the line, all its positions
    for row, item in enumerate(prepared):
        same = bool(alike) and row > 0 and alike[row] == alike[row - 1]
        begun = shared(prepared[row - 1], item) if same else 0
        new = torch.arange(taken, taken + len(item) - begun)
        places.append(torch.cat([places[-1][:begun], new]) if begun else new)
        own.append(slice(begun, len(item)))
        taken += len(new)
    line = list(zip(prepared, own, strict=True))
    rows = torch.cat([torch.full((part.stop - part.start,), row) for row, part in enumerate(own)])
    columns = torch.cat([torch.arange(part.start, part.stop) for part in own])
    spread = nn.functional.pad(pad_sequence(places, batch_first=True), (0, int(whole)))
    scopes = torch.cat([row.scopes[part] for row, part in line])[:, None]
    last = torch.stack([place[-1] for place in places])
    position_ids = [row.position_ids[..., part] for row, part in line if row.position_ids is not None]
    found = (rows, scopes, last, spread, rows * spread.shape[1] + columns)
    rows, scopes, last, spread, columns_of = (sent(tensor, device) for tensor in found)
    return Batch(
        # joined where they are needed: on the host this would copy them once more
        embeddings=torch.cat([sent(row.embeddings[part], device) for row, part in line])[None],
        mask=torch.ones(1, taken, dtype=torch.int64, device=device),
        position_ids=sent((torch.cat(position_ids, -1) if position_ids else columns)[..., None, :], device),
        scopes=scopes,
        lengths=sent(torch.tensor([len(row) for row in prepared]), device),
        letters=tuple(row.letters for row in prepared),
        layout=Line(rows, scopes, last, spread, columns_of, whole),
    )


def shared(one: Prepared, other: Prepared) -> int:
    """In how many positions two rows begin alike; the last of each is always its own."""
    most = min(len(one), len(other)) - 1
    same = (one.embeddings[:most] == other.embeddings[:most]).all(-1) & (one.scopes[:most] == other.scopes[:most])
    if one.position_ids is not None and other.position_ids is not None:
        same &= (one.position_ids[..., :most] == other.position_ids[..., :most]).reshape(-1, most).all(0)
    return int(same.long().cumprod(0).sum())


@dataclass(frozen=True)
class Start:
    """The state of a batch at one layer, with no gain acting: before it, or in it, where its product is known."""

    layer: int  # the first layer that is still to be run
    output: object  # what the layer before it returned: a tensor, or a tuple of tensors; ``None`` of the first layer
    device: torch.device  # where passes need it; it may be kept on the host
    attended: object = None  # what attention returned in this layer
    product: torch.Tensor | None = None  # its gated product, on which gains act; ``None``: the layer is run as a whole

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return sum(tensor.nbytes for tensor in self._tensors)

    @property
    def on_host(self) -> bool:
        """Whether it is kept on the host, from which it is copied for each pass."""
        return all(tensor.device.type == "cpu" for tensor in self._tensors)

    def to_host(self) -> Start:
        """The same before the layer, kept on the host: its product would take longer to copy than to compute."""
        return replace(self, output=_moved(self.output, torch.device("cpu")), attended=None, product=None)

    @property
    def _tensors(self) -> list[torch.Tensor]:
        return [leaf for leaf in tree_leaves([self.output, self.attended, self.product]) if torch.is_tensor(leaf)]


def run_to(decoder: Decoder, layer: int, earlier: Start | None, run: Callable[[], object], into: bool = True) -> Start:
    """The state that is reached when ``run`` makes a pass in which only the layers up to ``layer`` work.

    With ``into`` what that layer does before its gated product is kept as well, where its attention is found.
    """
    first = 0 if earlier is None else earlier.layer
    if not first <= layer <= decoder.layers:
        raise ValueError(f"a pass cannot begin at layer {layer}: give one of {first} to {decoder.layers}")
    into = into and layer < decoder.layers and hasattr(decoder.blocks[layer], "self_attn")
    if layer == 0 and not into:
        return Start(0, None, torch.device("cpu"))  # nothing that could be kept
    found: dict[str, object] = {"output": earlier.output if earlier and earlier.layer == layer else None}

    def keep(name: str, _module: nn.Module, given: tuple[object, ...], output: object = None) -> None:
        found[name] = given[0] if name == "product" else output

    with ExitStack() as hooks:
        hooks.enter_context(only_blocks(decoder, earlier, layer + into))
        if layer > first:
            hooks.enter_context(decoder.blocks[layer - 1].register_forward_hook(partial(keep, "output")))
        if into:
            attention, down = cast(nn.Module, decoder.blocks[layer].self_attn), decoder.sites[layer].down
            hooks.enter_context(attention.register_forward_hook(partial(keep, "attended")))
            hooks.enter_context(down.register_forward_pre_hook(partial(keep, "product")))
        run()
    product = cast("torch.Tensor | None", found.get("product"))
    where = next(leaf for leaf in tree_leaves([found["output"], product]) if torch.is_tensor(leaf))
    return Start(layer, found["output"], where.device, found.get("attended"), product)


@contextmanager
def only_blocks(decoder: Decoder, start: Start | None, last: int | None = None) -> Iterator[None]:
    """Let only the layers from a start to ``last - 1`` work inside the block; all others hand on what came before them.

    What stands around the layers (masks, rotary positions, the last norm) runs as ever, and so does what stands around
    attention and product of the first one, where the start holds these. All layers work where neither is given.
    """
    blocks, first, last = decoder.blocks, 0 if start is None else start.layer, decoder.layers if last is None else last
    kept = [None if start is None else _moved(start.output, start.device)]

    def keep(_module: nn.Module, _args: object, output: object) -> None:
        kept[0] = output

    given: dict[nn.Module, Callable[..., object]] = {
        block: lambda *_, **__: kept[0] for place, block in enumerate(blocks) if not first <= place < last
    }
    if start is not None and start.product is not None:
        product, down = start.product, decoder.sites[first].down
        given[cast(nn.Module, blocks[first].self_attn)] = lambda *_, **__: start.attended
        # a copy, as gains act in place
        given[decoder.mlp(first)] = lambda *_, **__: down(product.clone())
    own = {module: module.__dict__.get("forward") for module in given}
    hook = blocks[last - 1].register_forward_hook(keep) if last > first else nullcontext()
    for module, put in given.items():
        module.forward = put
    try:
        with hook:
            yield
    finally:
        for module, forward in own.items():
            del module.forward
            if forward is not None:  # such as that of a library which spreads layers over devices
                module.forward = forward


def room(device: torch.device) -> int:
    """Bytes of a GPU that may be kept for later passes: a part of what no pass has needed so far; none elsewhere."""
    if device.type != "cuda":
        return 0
    # what torch holds and does not use is free as well; as much as passes took at most must stay so
    used, held = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    free = torch.cuda.mem_get_info(device)[0] + held - used
    return max(0, free - (torch.cuda.max_memory_allocated(device) - used)) // SHARE


class Starts:
    """The starts of the batches of one block, each kept at one layer: that of the latest condition.

    Conditions are best asked in the order of their layers: the state then moves on, and one full pass a batch serves
    them all. There are none where the model has not shown that passes may begin later. They stay on the device up to
    ``room`` bytes of it, and on the host up to ``limit`` bytes; batches beyond that run in full.
    """

    def __init__(self, model: AudioLM, limit: int = BYTES, room: int = 0) -> None:
        self.model, self.limit, self.room = model, limit, room
        self._kept: dict[int, Start] = {}

    def at(self, number: int, batch: Rows, layer: int) -> Start | None:
        """The start of a block's batch at the first layer in which gains act; ``None`` if its pass runs in full."""
        kept = self._kept.get(number)
        if not self.model.resumes or (kept is not None and kept.layer == layer):
            return kept
        # as large as the inputs, or a few times that: no pass is made for what would not be kept
        rows, info = [batch] if isinstance(batch, Batch) else batch, self.model.info
        need = len(rows) * max(row.embeddings.nbytes for row in rows)
        # what a layer does before its product is kept where that need not be copied for each pass
        fits = self._left(number, need * (2 + info.width // info.hidden + 1))
        into = fits[0] or (fits[1] and self.model.device.type == "cpu")
        if (layer < 1 and not into) or (kept is None and not into and not any(self._left(number, need))):
            return None
        start = self.model.begin(batch, layer, kept if kept is not None and kept.layer < layer else None, into)
        if layer < 1 and start.product is None:
            return None
        on_device, on_host = self._left(number, start.bytes)
        if on_device or on_host:
            self._kept[number] = start if on_device or self.model.device.type == "cpu" else start.to_host()
        return start

    def _left(self, number: int, need: int) -> tuple[bool, bool]:
        """Whether so many bytes more, in place of what this batch has, may be kept on the device, and on the host."""
        others = [(start.on_host, start.bytes) for place, start in self._kept.items() if place != number]
        taken = {where: sum(size for on_host, size in others if on_host is where) for where in (False, True)}
        return taken[False] + need <= self.room, taken[True] + need <= self.limit


def _moved(output: object, device: torch.device) -> object:
    return tree_map_only(torch.Tensor, lambda tensor: sent(tensor, device), output)
