"""Sets cut from ranked neurons, by which selectors are compared: of every size, of equal activity, a tenth less or more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from emoscope.neurons.controls import random_neurons, seeded_generator

Act = Literal["off", "equal activity", "keep", "keep others", "a tenth less", "a tenth more"]

RANDOM = "random"
"""The selector of random neurons, in place of a rule."""

DRAWS = 3
"""Draws of random neurons, the mean over which is taken."""

TENTHS = 10

ROOM = 4
"""So many times the wanted size may a random set grow until it writes as much as another set."""

Ranked = Mapping[str, Mapping[str, np.ndarray]]  # fold -> emotion -> neurons, the best first


@dataclass(frozen=True, eq=False)
class Variant:
    """A set for each fold and emotion, and what is done with it.

    Acts: the best so many neurons are switched ``off``; as many as write what the headline's set does (``equal
    activity``); of a set's layers all but the set go to their mean product (``keep``), or all but as many others
    (``keep others``); a set ``a tenth less``, by rank, or ``a tenth more``, of random others, is switched off.
    """

    selector: str
    act: Act
    size: int  # how many neurons the set from which it is cut wants
    part: int | None  # which tenth is left out, from 0 (the best) on, or which random draw it is
    sets: Ranked

    @property
    def name(self) -> str:
        """What conditions call it."""
        return f"{self.selector}:{self.act}:{self.size}" + ("" if self.part is None else f":{self.part}")


def sizes_of(size: int) -> list[int]:
    """The sizes at which selectors are compared: a sixteenth of the headline's, and its doubles up to it.

    Example:
        >>> sizes_of(102)
        [6, 13, 26, 51, 102]
    """
    return sorted({max(1, round(size / 2**halved)) for halved in range(5)})


@dataclass(frozen=True, eq=False)
class Cuts:
    """What is cut from ranked neurons.

    Attributes:
        size: neurons of the headline's sets.
        written: how much each neuron of the decoder writes: its mean absolute gated product times the norm of its column
            of down_proj; float64 (neuron,).
        width: neurons of a layer.
        equal: what the sets of equal activity write; fold -> emotion.
    """

    size: int
    written: np.ndarray
    width: int
    seed: int
    equal: Mapping[str, Mapping[str, float]]

    def whole(self, selector: str, ranked: Ranked, part: int | None = None) -> Iterator[Variant]:
        """Sets of every size, and that of equal activity."""
        for size in sizes_of(self.size):
            best = {fold: {e: its[:size] for e, its in lists.items()} for fold, lists in ranked.items()}
            yield Variant(selector, "off", size, part, best)
        equal = each(ranked, lambda fold, emotion, its: its[: nearest(self.written[its], self.equal[fold][emotion])])
        yield Variant(selector, "equal activity", self.size, part, equal)

    def parts(self, selector: str, ranked: Ranked, luck: list[Ranked]) -> Iterator[Variant]:
        """The set alone, without each tenth, and with a random tenth more."""
        whole = each(ranked, lambda _f, _e, its: its[: self.size])
        yield Variant(selector, "keep", self.size, None, whole)
        for draw, drawn in enumerate(luck):

            def others(fold: str, emotion: str, its: np.ndarray, draw: int = draw) -> np.ndarray:
                return same_layers(its, self.width, seeded_generator(self.seed, "keep others", fold, emotion, draw))

            def more(fold: str, emotion: str, its: np.ndarray, drawn: Ranked = drawn) -> np.ndarray:
                fresh = drawn[fold][emotion][~np.isin(drawn[fold][emotion], its)]
                return np.concatenate([its, fresh[: max(1, round(len(its) / TENTHS))]])

            yield Variant(selector, "keep others", self.size, draw, each(whole, others))
            yield Variant(selector, "a tenth more", self.size, draw, each(whole, more))
        for tenth in range(min(TENTHS, self.size)):

            def less(_fold: str, _emotion: str, its: np.ndarray, tenth: int = tenth) -> np.ndarray:
                return np.delete(its, np.array_split(np.arange(len(its)), TENTHS)[tenth])

            yield Variant(selector, "a tenth less", self.size, tenth, each(whole, less))


def variants(
    ranked: Mapping[str, Ranked], headline: str, size: int, written: np.ndarray, width: int, seed: int
) -> list[Variant]:
    """All sets by which selectors are compared, and random ones of the same sizes.

    Args:
        ranked: selector -> its neurons in order.
        headline: of whose set of ``size`` neurons equal activity is.
        written, width: as of :class:`Cuts`.
    """
    equal = {
        fold: {emotion: float(written[its[:size]].sum()) for emotion, its in lists.items()}
        for fold, lists in ranked[headline].items()
    }
    cuts = Cuts(size, written, width, seed, equal)
    luck = [random_ranks(ranked[headline], min(ROOM * size, len(written)), len(written), seed, n) for n in range(DRAWS)]
    found = [variant for draw, lists in enumerate(luck) for variant in cuts.whole(RANDOM, lists, draw)]
    for selector, lists in ranked.items():
        found += [*cuts.whole(selector, lists), *cuts.parts(selector, lists, luck)]
    return found


def each(ranked: Ranked, cut: Callable[[str, str, np.ndarray], np.ndarray]) -> Ranked:
    """What is cut from the neurons of each fold and emotion."""
    return {fold: {e: cut(fold, e, its) for e, its in lists.items()} for fold, lists in ranked.items()}


def random_ranks(like: Ranked, count: int, neurons: int, seed: int, draw: int) -> Ranked:
    """Random neurons in random order for each emotion, the same in every fold."""
    emotions = next(iter(like.values()))
    found = {}
    for emotion in emotions:
        luck = seeded_generator(seed, "variants", emotion, draw)
        found[emotion] = luck.permutation(random_neurons(count, neurons, luck))
    return dict.fromkeys(like, found)


def nearest(written: np.ndarray, wanted: float) -> int:
    """How many of ranked neurons, at least one, together write most nearly what is wanted.

    Example:
        >>> nearest(np.array([1.0, 1.0, 5.0]), 2.4), nearest(np.array([1.0, 1.0, 5.0]), 100.0)
        (2, 3)
    """
    return int(np.abs(np.cumsum(written) - wanted).argmin()) + 1 if len(written) else 0


def same_layers(neurons: np.ndarray, width: int, luck: np.random.Generator) -> np.ndarray:
    """As many other neurons of each layer, drawn at random; all others where the layer has no more.

    Example:
        >>> others = same_layers(np.array([0, 5, 6]), 4, seeded_generator("others", 0))
        >>> (others // 4).tolist(), bool(np.isin(others, [0, 5, 6]).any())
        ([0, 1, 1], False)
    """
    found = []
    for layer, count in zip(*np.unique(neurons // width, return_counts=True), strict=True):
        free = np.setdiff1d(layer * width + np.arange(width), neurons)
        found.append(luck.choice(free, min(int(count), len(free)), replace=False))
    return np.sort(np.concatenate(found)) if found else neurons
