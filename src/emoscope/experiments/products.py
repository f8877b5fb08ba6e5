"""Gated products of the untouched model: what neurons write that is switched off, and what patching puts in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from emoscope.experiments.heard import BLOCK, kept, load_inputs, save_inputs
from emoscope.experiments.heard import batches as grouped
from emoscope.experiments.intervene import SetsByFold
from emoscope.experiments.listen import answer_key, asked_key, in_batches_that_fit, positions_per_batch
from emoscope.experiments.prompts import PRESENTATIONS, decode, requests
from emoscope.experiments.schema import Row, Study
from emoscope.interventions.intervention import POSITIONS, Floats, Intervention, Numbers
from emoscope.interventions.kinds import KINDS, Acted
from emoscope.neurons.activity import scope_parts
from emoscope.runs import Log, RunFolder
from emoscope.runs.folder import digest, replacing

if TYPE_CHECKING:
    import torch

    from emoscope.models.audio_lm import AudioLM

PROMPT = tuple(part for part in POSITIONS if part != "answer")


def prepare_inputs(run: RunFolder, study: Study, items: Sequence[Row], model: AudioLM, log: Log) -> None:
    """Keep the decoder inputs of items in a folder, from their recordings on; what is there is not made again.

    Raises:
        ValueError: a recording cannot be heard any more.
    """
    decodes, blocks = PRESENTATIONS[study.question.presentation].of_clips, dict[int, list[Row]]()
    for item in items:
        blocks.setdefault(item["item"] // BLOCK * BLOCK, []).append(item)
    with log.stage("preparing", len(items), "items") as progress:
        for start, block in blocks.items():
            key = digest([answer_key(study, model), asked_key(study, block, model)])
            if kept(run, start) != key:
                loudness = study.corpus.loudness
                sounds = {item["clip"]: decode(item["path"], loudness) for item in block} if decodes else {}
                usable, asked, notes = requests(study, block, sounds, model)
                if notes["quarantined"]:
                    number, why = next(iter(notes["quarantined"].items()))
                    raise ValueError(f"item {number} was heard in the run and cannot be heard now: {why}")
                save_inputs(run, start, [item["item"] - start for item in usable], model.prepare(asked), key)
            progress.step(len(block))


@dataclass(frozen=True, eq=False)
class Products:
    """Mean gated products of the untouched model, act(gate_proj(x)) * up_proj(x), over prompt positions."""

    # mean absolute product over all prompt positions of all items; float64 (layer * width,)
    magnitude: np.ndarray
    neurons: Numbers  # those of which each item's mean is known; int64 (neuron,), ascending
    items: tuple[int, ...]
    means: Floats  # mean product over the item's positions of the scope; float32 (item, neuron)

    @cached_property
    def place(self) -> dict[int, int]:
        """Item -> its place among the items."""
        return {item: place for place, item in enumerate(self.items)}

    def partners(self, table: pl.DataFrame) -> tuple[Floats, int]:
        """What each item's products are patched with: the mean over the speaker's items of other emotions.

        Every item counts alike. An item whose speaker is unknown, or has no other emotion, gets the mean over all items of
        other emotions.

        Args:
            table: speaker and truth of the items, in their order.

        Returns:
            float32 (item, neuron); and how many items have a speaker of their own to take it from.
        """
        who, truth = table["speaker"].to_list(), np.array(table["truth"].to_list())
        known = np.array(["" if name is None else name for name in who])
        found, own = np.empty_like(self.means), 0
        for speaker, emotion in sorted({*zip(known.tolist(), truth.tolist(), strict=True)}):
            here = (known == speaker) & (truth == emotion)
            others = (known == speaker) & (truth != emotion)
            if speaker and others.any():
                own += int(here.sum())
            else:
                others = truth != emotion
            found[here] = self.means[others].mean(axis=0, dtype=np.float64)
        return found, own


def measure_products(
    run: RunFolder, study: Study, items: Sequence[Row], neurons: Numbers, positions: str, model: AudioLM, log: Log
) -> Products:
    """One untouched pass over items whose inputs are kept; its result is kept in the folder, too.

    Args:
        neurons: of which each item's mean is wanted, flat numbers, ascending.
        positions: scopes of the prompt over which that mean is taken, such as ``"audio"``, or ``"all"``.
    """
    from safetensors import safe_open
    from safetensors.numpy import save_file

    numbers, path = tuple(item["item"] for item in items), run / "cache" / "products.safetensors"
    asked = [answer_key(study, model), asked_key(study, items, model), neurons.tolist(), positions]
    key = digest(asked)
    if path.is_file():
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("key") == key:
                return Products(file.get_tensor("magnitude"), neurons, numbers, file.get_tensor("means"))
    prepared = load_inputs(run, numbers)

    def ask(most: int, _how: Mapping[str, object]) -> Products:
        seen = _Observed(model, neurons, len(items), positions)
        with log.stage("measuring products", len(items), "items") as progress:
            for rows in grouped(prepared, most):
                model.score([prepared[row] for row in rows], observe=seen.of(rows))
                progress.step(len(rows))
        return Products(seen.total.ravel() / seen.positions, neurons, numbers, seen.means)

    found = in_batches_that_fit(model, positions_per_batch(study, model.info), prepared, log, ask)
    with replacing(path) as partial:
        save_file({"magnitude": found.magnitude, "means": found.means}, partial, metadata={"key": key})
    return found


class _Observed:
    """Sums products layer by layer, as an observer of each batch."""

    def __init__(self, model: AudioLM, neurons: Numbers, items: int, positions: str) -> None:
        layers, self.width = model.info.layers, model.info.width
        self.total, self.positions, self.rows = np.zeros((layers, self.width)), 0, list[int]()
        self.means = np.zeros((items, len(neurons)), np.float32)
        edges = np.searchsorted(neurons, np.arange(layers + 1) * self.width)
        self._places = [slice(a, b) for a, b in pairwise(edges)]
        self._columns = [neurons[place] - layer * self.width for layer, place in enumerate(self._places)]
        self._codes = [POSITIONS.index(part) for part in scope_parts(positions) if part in PROMPT]

    def of(self, rows: Sequence[int]) -> _Observed:
        """Watch the rows of the next batch."""
        self.rows = list(rows)
        return self

    def observe(self, layer: int, _activation: torch.Tensor, product: torch.Tensor, scopes: torch.Tensor) -> None:
        """Take one layer of one pass; the pass over the answer is left out."""
        prompt = (scopes >= 0) & (scopes < len(PROMPT))
        if not bool(prompt.any()):
            return
        self.total[layer] += product[prompt].abs().sum(0).double().cpu().numpy()
        self.positions += int(prompt.sum()) if layer == 0 else 0
        wanted = sum((scopes == code for code in self._codes), scopes != scopes)
        # rows without a position of the scope, such as of a transcript without sound, count all of the prompt
        wanted = wanted | (prompt & ~wanted.any(1, keepdim=True))
        chosen = product[..., self._columns[layer]].float() * wanted[..., None]
        self.means[self.rows, self._places[layer]] = (chosen.sum(1) / wanted.sum(1, keepdim=True)).cpu().numpy()


@dataclass(frozen=True)
class MeasuredSets(SetsByFold):
    """Sets with what their clips' partners do, for conditions that patch, and for those that keep a set alone."""

    products: Products | None = None
    partners: Floats | None = None  # float32 (item, neuron), of the products' items and neurons

    def neurons(self, condition: Row, fold: str) -> Numbers:
        """Those on which a condition acts: of one that keeps a set, the rest of the layers in which the set lies."""
        found = super().neurons(condition, fold)
        return rest_of_layers(found, self.info.width) if KINDS[condition["kind"]].keeps else found

    def means(self, condition: Row, fold: str) -> Floats | None:
        """What neurons are set to; of a condition that patches, for every item, (item, neuron)."""
        neurons = self.neurons(condition, fold)
        if KINDS[condition["kind"]].patches:
            assert self.products is not None
            assert self.partners is not None
            return self.partners[:, np.searchsorted(self.products.neurons, neurons)]
        return super().means(condition, fold)

    def intervention(self, condition: Row, fold: str, item: int | None = None) -> Intervention:
        """What a condition does to items of one fold, or to one item where it patches."""
        kind = KINDS[condition["kind"]]
        if not kind.patches:
            return super().intervention(condition, fold, item)
        means = self.means(condition, fold)
        assert self.products is not None
        assert means is not None
        assert item is not None
        own = means[self.products.place[item]]
        return kind.act(Acted(self.neurons(condition, fold), condition["positions"], to="mean", means=own))


def rest_of_layers(neurons: Numbers, width: int) -> Numbers:
    """The neurons of the layers in which a set lies that are not in the set.

    Example:
        >>> rest_of_layers(np.array([1, 9]), 4)
        array([ 0,  2,  3,  8, 10, 11])
    """
    layers = np.unique(neurons // width)
    every = (layers[:, None] * width + np.arange(width)).ravel()
    return np.setdiff1d(every, neurons, assume_unique=True)
