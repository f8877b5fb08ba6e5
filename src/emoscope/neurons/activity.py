"""What the neurons did, item by item: an array store on disk with dimensions (item, neuron).

Every selector, budget, fold and control is computed from it, without the model.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import iadd
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from emoscope.neurons.attributed import FOLDER, Attributed

if TYPE_CHECKING:
    import xarray
    import zarr

SCOPES = ("audio", "text", "decision", "answer")
"""The positions that statistics count; a token count column and an int8 code 0..3 stand in this order."""

SPANS = ("audio", "text")
"""Scopes that span many positions: stored as firing counts and means. The other scopes are one position."""

SUMS = ("abs", "product")
"""Of what each neuron has sums over the positions of a block: absolute activation and gated product."""

# array of several parts -> its first dimension, which they make
FIRST = {"count": "span", "mean": "span", "value": "single", "sum": "kind"}

NOT_WRITTEN = -1  # token count of an item that was not listened to yet


def scope_parts(scope: str | Sequence[str]) -> tuple[str, ...]:
    """Read a scope: its parts in the order of :data:`SCOPES`; a ``ValueError`` names a part that is none of them.

    Example:
        >>> scope_parts("answer+audio"), scope_parts(["text"]), scope_parts("all")
        (('audio', 'answer'), ('text',), ('audio', 'text', 'decision', 'answer'))
    """
    parts = scope.split("+") if isinstance(scope, str) else list(scope)
    if parts == ["all"]:
        return SCOPES
    unknown = [part for part in parts if part not in SCOPES]
    if unknown or not parts:
        raise ValueError(f'scope {scope!r} is not known: use "all" or a sum of {", ".join(SCOPES)}, as "audio+answer"')
    return tuple(part for part in SCOPES if part in parts)


def arrays_of(store: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The arrays (part, row, neuron) of a store that keeps these scopes, each with its parts, in the order of its first axis.

    A part of an array, such as ``audio`` of ``count``, is called ``audio_count`` where it is read; in a store of version 1
    that is an array of its own.

    Example:
        >>> arrays_of(["audio", "text", "answer"])
        {'count': ('audio', 'text'), 'mean': ('audio', 'text'), 'value': ('answer',), 'sum': ('abs', 'product')}
    """
    spans = tuple(scope for scope in store if scope in SPANS)
    single = tuple(scope for scope in store if scope not in SPANS)
    found = {"count": spans, "mean": spans, "value": single, "sum": SUMS}
    return {name: parts for name, parts in found.items() if parts}


@dataclass(frozen=True)
class ActivityBlock:
    """The statistics of one block of items, as a model's observer hands them over."""

    # for each scope of ``SPANS``, at how many positions a neuron fires; uint16 (item, layer, width)
    counts: Mapping[str, np.ndarray]
    # for the same scopes, the mean activation over positions; float16 (item, layer, width)
    means: Mapping[str, np.ndarray]
    # for ``decision`` and ``answer`` the activation there; float16 (item, layer, width). Its sign is the firing, so the
    # writer must not round a small positive value to zero.
    values: Mapping[str, np.ndarray]
    tokens: np.ndarray  # number of positions of each scope of ``SCOPES``; int32 (item, scope)
    abs_sum: np.ndarray  # sum of the absolute activation over all items and prompt positions; float32 (layer, width)
    product_sum: np.ndarray  # the same sum of the gated product that enters ``down_proj``; float32 (layer, width)
    positions: int  # how many prompt positions these two sums run over

    def arrays(self, store: Iterable[str]) -> dict[str, dict[str, np.ndarray]]:
        """The parts of each array of :func:`arrays_of`, for the scopes that are kept; sums have one row."""
        sums = {"abs": self.abs_sum[None], "product": self.product_sum[None]}
        given = {"count": self.counts, "mean": self.means, "value": self.values, "sum": sums}
        return {name: {part: given[name][part] for part in parts} for name, parts in arrays_of(store).items()}

    def apart(self, other: ActivityBlock) -> float:
        """The largest difference from another block of the same items, of each kind as a share of its largest value.

        Infinite where positions differ, or more firings than rounding can turn (:meth:`turned`).
        """
        alike = np.array_equal(self.tokens, other.tokens) and self.positions == other.positions
        if not alike or np.greater(*self.turned(other)):
            return float("inf")
        pairs = [(self.abs_sum, other.abs_sum), (self.product_sum, other.product_sum)]
        pairs += [(self.means[scope], other.means[scope]) for scope in self.means]
        pairs += [(self.values[scope], other.values[scope]) for scope in self.values]
        wide = [(one.astype(np.float32), two.astype(np.float32)) for one, two in pairs]
        # what is not a number anywhere stays so
        return float(np.max([np.abs(one - two).max() / np.maximum(np.abs(two).max(), 1e-30) for one, two in wide]))

    def turned(self, other: ActivityBlock) -> tuple[float, float]:
        """Of all firings (item, neuron, position) the share by which counts differ, and the largest that rounding explains.

        A firing turns where activations differ by more than the positive one of both. With r the root mean square of the
        difference, at most 1 / k^2 differ by more than k r (Chebyshev); elsewhere the positive one lies below k r, as it
        does for some of the values, and for three more (95 % of none found). The bound is the smallest over k.
        """
        places = self.tokens[:, [SCOPES.index(scope) for scope in self.counts]].sum() * self.abs_sum.size
        apart = sum(int(np.abs(self.counts[scope].astype(int) - other.counts[scope]).sum()) for scope in self.counts)
        values = np.array([[b.values[s] for s in self.values] for b in (self, other)], "float32").reshape(2, -1)
        ratios, least = 2.0 ** np.arange(1, 12), np.finfo(np.float16).smallest_subnormal
        spread = np.maximum(np.sqrt(np.mean((values[0] - values[1]) ** 2)), least)
        below = np.searchsorted(np.sort(values[values > 0]), ratios * spread, side="right") + 3
        return apart / max(1, int(places)), float(np.min(below / values.shape[1] + ratios**-2))

    def __repr__(self) -> str:
        layers, width = self.abs_sum.shape
        return f"ActivityBlock({len(self.tokens)} items, {layers} layers x {width} neurons, {self.positions} positions)"


class Activity:
    """The activity store of one run, in the folder ``path``, of so many ``items``, ``layers`` and neurons a layer (``width``).

    A neuron is the flat number ``layer * width + index``. ``block_items`` are written together; ``site`` is where in the
    gated MLP the activation is read, ``"gate"`` or ``"product"``; ``store`` are the scopes that are kept.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> folder = tempfile.mkdtemp()
        >>> Activity.create(f"{folder}/activity.zarr", 3, 2, 4, np.ones((2, 4)), 3, store=("audio",))
        Activity(0 of 3 items written, 2 layers x 4 neurons, site gate, scopes audio)
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not (self.path / "zarr.json").is_file():
            raise FileNotFoundError(f"{self.path} holds no activity store: listen first, or check the path")
        self._group = _open(self.path, mode="r+")
        self._arrays: dict[str, zarr.Array[Any]] = {}
        shape: Any = self._group.attrs.asdict()
        self.items, self.layers, self.width = (int(shape[name]) for name in ("items", "layers", "width"))
        self.block_items, self.site, self.store = int(shape["block_items"]), str(shape["site"]), tuple(shape["store"])
        self.neurons = self.layers * self.width
        # in version 1 each part is an array of its own
        self._parts = arrays_of(self.store) if shape["version"] > 1 else {}

    @classmethod
    def open(cls, path: str | Path) -> Activity:
        """Open a store that exists; a ``FileNotFoundError`` says that there is none."""
        return cls(path)

    @classmethod
    def create(
        cls,
        path: str | Path,
        items: int,
        layers: int,
        width: int,
        down_norm: np.ndarray,
        block_items: int,
        site: str = "gate",
        store: Sequence[str] = SCOPES,
    ) -> Activity:
        """Make an empty store, or open the one that a killed run left; a ``ValueError`` if it has another shape.

        ``down_norm`` is the norm of each neuron's column of ``down_proj``, (layer, width). Each array keeps the
        ``block_items`` that are written together in one file, with a chunk for each layer of each scope, which can be read
        by itself.
        """
        path, kept = Path(path), scope_parts(store)
        if min(items, layers, width, block_items) < 1:
            size = f"{items} items in blocks of {block_items} x {layers} layers x {width} neurons"
            raise ValueError(f"{size}: each must be at least 1")
        if np.shape(down_norm) != (layers, width):
            raise ValueError(f"down_norm has the shape {np.shape(down_norm)}: expected {(layers, width)}")
        block_items = min(block_items, items)
        attributes: dict[str, Any] = {"version": 2, "items": items, "layers": layers, "width": width}
        attributes |= {"block_items": block_items, "site": site, "store": list(kept), "scopes": list(SCOPES)}
        if (path / "zarr.json").is_file():
            old = _open(path, mode="r").attrs.asdict()
            if old not in (attributes, {**attributes, "version": 1}):
                other = {key: (old.get(key), value) for key, value in attributes.items() if old.get(key) != value}
                raise ValueError(f"{path} holds another activity store (there, wanted): {other}; choose another folder")
            return cls(path)
        # made aside and moved in one step, so that a killed run leaves either no store or a whole one
        aside = path.with_name(f"{path.name}.new{os.getpid()}")
        shutil.rmtree(aside, ignore_errors=True)
        empty = _open(aside, mode="w", attributes=attributes)
        _make_arrays(empty, kept, np.asarray(down_norm), items, block_items)
        try:
            os.replace(aside, path)
        except OSError:  # another process made it in the meantime
            if not (path / "zarr.json").is_file():
                raise
            shutil.rmtree(aside, ignore_errors=True)
            return cls.create(path, items, layers, width, down_norm, block_items, site, store)
        return cls(path)

    def write(self, start_item: int, block: ActivityBlock) -> None:
        """Write one block; writing it again replaces it. A ``ValueError`` says what does not fit the store.

        Blocks share no file, so they may be written in any order and by several processes. The token counts are
        written last: an item counts as written only when all the rest is there.
        """
        count = min(self.block_items, self.items - start_item)
        if start_item < 0 or start_item % self.block_items or count < 1:
            usual = f"blocks start at multiples of {self.block_items} below {self.items}"
            raise ValueError(f"block at item {start_item}: {usual}")
        arrays, size = block.arrays(self.store), (self.layers, self.width)
        wanted = {f"{part}_{name}": values for name, parts in arrays.items() for part, values in parts.items()}
        for name, values in {**wanted, "tokens": block.tokens}.items():
            shape = (1 if name.endswith("_sum") else count, *size) if name != "tokens" else (count, len(SCOPES))
            if values.shape != shape:
                raise ValueError(
                    f"{name} of the block at item {start_item} has the shape {values.shape}: expected {shape}"
                )
        number, rows = start_item // self.block_items, slice(start_item, start_item + count)
        for name, parts in arrays.items():
            at = slice(number, number + 1) if name == "sum" else rows
            for place, (part, values) in enumerate(parts.items()):
                flat = values.reshape(-1, self.neurons)
                if name in self._parts:
                    self._array(name)[place, at] = flat
                else:
                    self._array(f"{part}_{name}")[at] = flat
        self._array("positions")[number] = block.positions
        self._array("tokens")[rows] = np.asarray(block.tokens, "int32")

    @cached_property
    def attributed(self) -> Attributed | None:
        """What attribution found of the same run; ``None`` where nothing was attributed."""
        return Attributed.open(self.path.parent / FOLDER)

    @property
    def written(self) -> np.ndarray:
        """Which items are there; bool (item,)."""
        return np.asarray(self._array("tokens")[:, 0]) != NOT_WRITTEN

    @property
    def down_norm(self) -> np.ndarray:
        """Norm of each neuron's column of ``down_proj``; float32 (layer, width)."""
        return np.asarray(self._array("down_norm")[:]).reshape(self.layers, self.width)

    def tokens(self, scope: str | Sequence[str], items: np.ndarray | None = None) -> np.ndarray:
        """Number of positions in a scope; int64 (item,). A ``ValueError`` says that an item was not written."""
        columns = [SCOPES.index(part) for part in self._stored(scope)]
        tokens = np.asarray(self._array("tokens")[:])
        rows = np.arange(self.items) if items is None else np.asarray(items, "int64")
        missing = rows[tokens[rows, 0] == NOT_WRITTEN]
        if len(missing):
            raise ValueError(
                f"{len(missing)} of the items are not in {self.path} yet (first: item {missing[0]}): listen to them first"
            )
        return tokens[rows][:, columns].sum(axis=1, dtype="int64")

    def read_counts(
        self, layer: int, scope: str | Sequence[str], items: np.ndarray | None = None, dtype: str = "float64"
    ) -> np.ndarray:
        """At how many positions of the scope each neuron of a layer fires; (item, width).

        ``items`` are row numbers, in the order wanted, all by default.
        """

        def fired(part: str) -> np.ndarray:
            if part in SPANS:
                return self._read(f"{part}_count", layer, items).astype(dtype)
            # as whole numbers, halves keep their sign, and comparing them is far faster
            above = self._read(f"{part}_value", layer, items).view("int16") > 0
            return above * self.tokens(part, items)[:, None].astype(dtype)

        return reduce(iadd, map(fired, self._stored(scope)))

    def read_sums(self, layer: int, scope: str | Sequence[str], items: np.ndarray | None = None) -> np.ndarray:
        """Sum of each neuron's activation over the positions of the scope; float64 (item, width).

        It is the stored mean (float16) times the number of positions, so every entry is a multiple of 2**-24:
        float64 adds up to 5e8 of them without rounding, in any order.
        """
        return reduce(iadd, self._summed(layer, scope, items))

    def read_magnitudes(self, layer: int, scope: str | Sequence[str], items: np.ndarray | None = None) -> np.ndarray:
        """The absolute values of the sums of :meth:`read_sums` in each part of the scope, added; float64 (item, width).

        At the last position and at the answer that is the absolute activation; of the audio and the text, of which means
        are stored, that of an item's mean, times its positions.
        """
        return reduce(iadd, (np.abs(values, out=values) for values in self._summed(layer, scope, items)))

    def _summed(self, layer: int, scope: str | Sequence[str], items: np.ndarray | None) -> Iterator[np.ndarray]:
        for part in self._stored(scope):
            values = self._read(f"{part}_mean" if part in SPANS else f"{part}_value", layer, items).astype("float64")
            yield np.multiply(values, self.tokens(part, items)[:, None], out=values)

    def mean_product(self, items: np.ndarray | None = None) -> np.ndarray:
        """Mean gated product of every neuron over the prompt positions of all blocks that hold any of the items.

        The other items of those blocks are part of it; emotion, answer and fold play no part. By default every block
        that was written counts, else ``ValueError``. Sums of blocks (float32) are added and divided in float64. The
        result is float64 (layer, width).
        """
        return self._mean("product_sum", items)

    def to_xarray(self) -> xarray.Dataset:
        """A labelled view (item, neuron, scope, block), read only where it is looked at."""
        import xarray

        data = xarray.open_zarr(self.path, consolidated=False, chunks=None, mask_and_scale=False)
        for name, parts in self._parts.items():
            first = data[name].dims[0]
            data = data.assign({f"{part}_{name}": data[name].isel({first: place}) for place, part in enumerate(parts)})
        data = data.drop_vars(list(self._parts))
        return data.set_coords(["layer", "index", "down_norm"]).assign_coords(scope=list(SCOPES))

    def _mean(self, name: str, items: np.ndarray | None) -> np.ndarray:
        positions = np.asarray(self._array("positions")[:])
        if items is not None:
            wanted = np.isin(np.arange(len(positions)), np.asarray(items, "int64") // self.block_items)
            positions = np.where(wanted, positions, 0)
        if not positions.any():
            raise ValueError(f"{self.path} holds no written block of these items yet: listen first")
        total = np.zeros(self.neurons)
        for block in np.flatnonzero(positions):
            total += self._part(name, int(block))
        return (total / positions.sum()).reshape(self.layers, self.width)

    def _stored(self, scope: str | Sequence[str]) -> tuple[str, ...]:
        parts = scope_parts(scope)
        if missing := [part for part in parts if part not in self.store]:
            raise ValueError(
                f"scope {missing[0]!r} is not in {self.path}, which keeps {', '.join(self.store)}: listen with it in `store`"
            )
        return parts

    def _array(self, name: str) -> zarr.Array[Any]:
        if name not in self._arrays:  # opened once: its shape does not change
            self._arrays[name] = cast("zarr.Array[Any]", self._group[name])
        return self._arrays[name]

    def _part(self, name: str, rows: int | slice, columns: slice = slice(None)) -> np.ndarray:
        """Some of what is called such as ``audio_count``: of an array that holds several parts, or of one of that name."""
        part, _, array = name.partition("_")
        if array in self._parts:
            return np.asarray(self._array(array)[self._parts[array].index(part), rows, columns])
        return np.asarray(self._array(name)[rows, columns])

    def _read(self, name: str, layer: int, items: np.ndarray | None) -> np.ndarray:
        columns = slice(layer * self.width, (layer + 1) * self.width)
        if items is None or not len(items):
            return self._part(name, slice(None if items is None else 0), columns)
        low, high = int(np.min(items)), int(np.max(items)) + 1
        return self._part(name, slice(low, high), columns)[np.asarray(items) - low]

    def __repr__(self) -> str:
        done = int(self.written.sum())
        size = f"{done} of {self.items} items written, {self.layers} layers x {self.width} neurons"
        return f"Activity({size}, site {self.site}, scopes {', '.join(self.store)})"

    def _repr_html_(self) -> str:
        rows = {"items": f"{int(self.written.sum())} of {self.items} written"}
        rows |= {"neurons": f"{self.layers} layers x {self.width}", "site": self.site}
        rows |= {"scopes": ", ".join(self.store), "folder": str(self.path)}
        return "<table>" + "".join(f"<tr><th>{k}</th><td>{v}</td></tr>" for k, v in rows.items()) + "</table>"


def _open(path: Path, mode: Literal["r", "r+", "w"], attributes: dict[str, Any] | None = None) -> zarr.Group:
    """A store's group of arrays."""
    import zarr  # imported late: a finished run is recognised without it

    return zarr.open_group(path, mode=mode, attributes=attributes)


def _make_arrays(group: zarr.Group, store: Sequence[str], down_norm: np.ndarray, items: int, block_items: int) -> None:
    """The empty arrays of a store, and what is known of its neurons before anything is heard."""
    from zarr.codecs import BloscCodec, BloscShuffle

    neurons, width = down_norm.size, down_norm.shape[1]
    parts = arrays_of(store)
    sizes = {"item": items, "neuron": neurons, "scope": len(SCOPES), "block": -(-items // block_items)}
    sizes |= {FIRST[name]: len(of) for name, of in parts.items()}
    # fast and, unlike gzip, free of time stamps; shuffling groups the bytes of equal weight
    packed = BloscCodec(cname="zstd", clevel=1, shuffle=BloscShuffle.shuffle)

    def make(name: str, dims: str, chunks: tuple[int, ...], dtype: str, fill: int = 0) -> zarr.Array[Any]:
        named, shape = dims.split(), tuple(sizes[dim] for dim in dims.split())
        how: dict[str, Any] = {"dtype": dtype, "fill_value": fill, "compressors": packed}
        # one file for the chunks that are written together, from which those of a layer are read by themselves
        how |= {"shards": (shape[0], chunks[1], neurons)} if name in parts else {}
        return group.create_array(name, shape=shape, chunks=chunks, dimension_names=named, **how)

    for name, dtype in (("count", "uint16"), ("mean", "float16"), ("value", "float16"), ("sum", "float32")):
        if name in parts:
            row, rows = ("block", 1) if name == "sum" else ("item", block_items)
            make(name, f"{FIRST[name]} {row} neuron", (1, rows, width), dtype)
    make("tokens", "item scope", (block_items, len(SCOPES)), "int32", NOT_WRITTEN)
    make("positions", "block", (1,), "int64")
    layer, index = (place.astype("int32") for place in np.divmod(np.arange(neurons), width))
    for name, values in (("layer", layer), ("index", index), ("down_norm", down_norm.ravel().astype("float32"))):
        make(name, "neuron", (neurons,), str(values.dtype))[:] = values
