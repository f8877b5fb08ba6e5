"""The kinds of interventions: what each makes of neurons, and what a study may ask of it.

:data:`KINDS` lists them. A new one is an entry there, and the function that makes it an :class:`Intervention`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from emoscope.interventions.intervention import POSITIONS, Edit, Floats, Intervention, Numbers, told
from emoscope.vocabulary import BASELINE, DEACTIVATE, KEEP, NULL, PATCH, RELIANCE, STEER


class HasNeurons(Protocol):
    """A neuron set, or what has the numbers of neurons as one does."""

    @property
    def neurons(self) -> npt.NDArray[np.integer]:
        """Flat numbers, ``layer * width + index``."""


Neurons = HasNeurons | npt.ArrayLike | Collection[int]  # a neuron set, or a row of flat neuron numbers


def deactivate(
    neurons: Neurons,
    positions: Iterable[str] | str = POSITIONS,
    *,
    to: str = "zero",
    means: npt.ArrayLike | None = None,
) -> Intervention:
    """Set the activation of neurons to zero, or their gated product to its mean.

    With ``to="mean"`` act(gate_proj(x)) * up_proj(x) of each neuron is replaced by its mean over all prompt positions
    of the heard items (no label enters), so that what the neuron writes stays, but says nothing about the clip.

    Args:
        positions: scopes at which to act, names or ``"audio+text"``.
        means: for ``to="mean"``: one number per neuron, or those of all neurons, (layer, width), as
            ``Activity.mean_product`` returns; a set from ``select`` brings its own.

    Raises:
        ValueError: ``to="mean"`` and there are no means, or another word than the two.

    Example:
        >>> deactivate([1, 2], positions="audio")
        Intervention(2 neurons x 0 at audio)
        >>> deactivate([1, 2], to="mean", means=[0.25, -0.5])
        Intervention(2 neurons to their mean)
    """
    numbers = _numbers(neurons, 'deactivate(sets["anger"])')
    if to not in ("zero", "mean"):
        raise ValueError(f'to {to!r} is not known: give "zero" or "mean"')
    if to == "zero" and means is not None:
        raise ValueError('means are given, but the neurons are set to zero: give to="mean"')
    found = _means(neurons, numbers, means) if to == "mean" else None
    return Intervention((Edit(numbers, 0.0, _scopes(positions), found, _decoder(neurons)),))


def steer(neurons: Neurons, alpha: float, positions: Iterable[str] | str = POSITIONS) -> Intervention:
    """Multiply the activation of neurons by ``1 + alpha``: 0 changes nothing, 0.5 amplifies by half, -1 deactivates.

    Raises:
        TypeError: not neurons, or a strength that is no number.

    Example:
        >>> steer([1, 2], 0.5)
        Intervention(2 neurons x 1.5)
    """
    numbers = _numbers(neurons, 'steer(sets["anger"], 0.5)')
    if isinstance(alpha, bool) or not isinstance(alpha, int | float | np.number):
        raise TypeError(f"alpha {alpha!r} is not a number: give the strength as in steer(neurons, 0.5)")
    if not np.isfinite(alpha):
        raise ValueError(f"alpha {alpha} is not finite: give a number such as 0.5")
    return Intervention((Edit(numbers, 1.0 + alpha, _scopes(positions), decoder=_decoder(neurons)),))


def mix(
    sets: Mapping[str, Neurons], shares: Mapping[str, float], alpha: float, positions: Iterable[str] | str = POSITIONS
) -> Intervention:
    """Steer each emotion's neurons by its share of alpha: the gain is 1 + alpha * (sum of the shares of its emotions).

    Shares are weights, 0 or more, which are divided by their sum; an emotion without a set takes its share and steers
    nothing. Equal shares of sets without a common neuron are the union at alpha / (number of sets), bit for bit.

    Raises:
        ValueError: a weight is negative, or their sum is not above 0.

    Example:
        >>> mix({"anger": [3, 5], "fear": [5]}, {"anger": 1, "fear": 3}, 1.0)
        Intervention(1 neurons x 1.25, 1 neurons x 2)
    """
    total = sum(shares.values())
    if not total > 0 or min(shares.values()) < 0:
        raise ValueError(f"shares {dict(shares)} must not be negative and must sum to more than 0")
    used = {emotion: _together({emotion: members}) for emotion, members in sets.items() if shares.get(emotion)}
    neurons = _together(used)
    weight = np.zeros(len(neurons))
    for emotion, its in used.items():
        weight[np.searchsorted(neurons, its)] += shares[emotion]
    # neurons of equal weight make one edit: gains of several edits on a neuron would multiply
    done = Intervention()
    for level in np.unique(weight):
        done += steer(neurons[weight == level], alpha * float(level) / total, positions)
    return done


def union(sets: Mapping[str, Neurons], alpha: float, positions: Iterable[str] | str = POSITIONS) -> Intervention:
    """Steer all emotions' neurons alike: the gain is 1 + alpha on every neuron of any set.

    Example:
        >>> union({"anger": [3, 5], "fear": [5]}, 0.5)
        Intervention(2 neurons x 1.5)
    """
    return steer(_together(sets), alpha, positions)


def _row(neurons: Neurons) -> npt.ArrayLike:
    found: npt.ArrayLike | None = getattr(neurons, "neurons", None)
    return np.asarray(neurons) if found is None else found


def _together(sets: Mapping[str, Neurons]) -> Numbers:
    every = [np.asarray(_row(neurons), np.int64) for neurons in sets.values()]
    return np.unique(np.concatenate(every)) if every else np.empty(0, np.int64)


def _numbers(neurons: Neurons, example: str) -> Numbers:
    """Flat neuron numbers of a set or a row of numbers; anything else is refused with what to write instead."""
    if isinstance(neurons, Mapping):
        raise TypeError(f"the sets of {', '.join(map(str, neurons))} are given: say which emotion, as in {example}")
    if isinstance(neurons, Intervention):
        raise TypeError(f"{told(neurons)} is given in place of neurons: add interventions with +, as in a + b")
    if isinstance(neurons, set | frozenset):
        neurons = sorted(neurons)
    if not hasattr(neurons, "__len__"):
        raise TypeError(f"neurons {told(neurons)}: give a neuron set or a row of numbers, as in {example}")
    return whole_numbers(_row(neurons))


def whole_numbers(neurons: npt.ArrayLike) -> Numbers:
    """A row of neuron numbers; ``ValueError`` for what would be cut to whole numbers, or is no number.

    Example:
        >>> whole_numbers(range(3))
        array([0, 1, 2])
    """
    numbers = np.asarray(neurons)
    if numbers.size == 0:
        return np.empty(0, np.int64)
    if numbers.ndim == 2 and numbers.shape[1] == 2:
        raise ValueError(
            f"neurons {numbers[0].tolist()} ... are pairs: give a row of whole numbers, each layer * width + index "
            "(model.info.width)"
        )
    if numbers.ndim != 1 or not np.issubdtype(numbers.dtype, np.integer):
        raise ValueError(
            f"neurons of shape {numbers.shape} and type {numbers.dtype}: give a row of whole numbers, such as [3, 515]"
        )
    return numbers.astype(np.int64)


def _decoder(neurons: object) -> tuple[int, int] | None:
    size = getattr(neurons, "layers", None), getattr(neurons, "width", None)
    return size if all(isinstance(part, int) for part in size) else None  # type: ignore[return-value]


def _means(neurons: object, numbers: Numbers, means: npt.ArrayLike | None) -> Floats:
    """The mean of each neuron, from the caller or from the set."""
    found = means if means is not None else getattr(neurons, "mean_product", None)
    if found is None:
        raise ValueError(
            f'to="mean" needs the mean gated product of each of the {len(numbers)} neurons, and none came with them: '
            "take the set from select(heard, ...) or from the sets/ of a run (select again in one made by an earlier "
            "version), or give means=heard.activity.mean_product()"
        )
    found = np.asarray(found, dtype=np.float32)
    if found.ndim != 2:
        return found
    if numbers.size and not 0 <= numbers.min() <= numbers.max() < found.size:
        layers, width = found.shape
        raise ValueError(f"neuron {numbers.max()}: means are those of {layers} layers x {width} neurons")
    return found.ravel()[numbers]


def _scopes(positions: Iterable[str] | str) -> tuple[str, ...]:
    if isinstance(positions, str):
        return POSITIONS if positions == "all" else tuple(positions.split("+"))
    if not isinstance(positions, Iterable):
        raise TypeError(f'positions {positions!r}: give names, such as "audio" or ["audio", "text"]')
    return tuple(positions)


@dataclass(frozen=True)
class Acted:
    """What a condition acts on for the items of one fold, and how."""

    neurons: Numbers  # those of its set, or of all sets where it has no target; int64 (neuron,)
    positions: str = "all"  # scopes at which it acts, such as ``"audio+text"``, or ``"all"``
    alpha: float = 0.0  # the strength of steering
    to: str = "zero"  # what deactivated neurons are set to, ``"zero"`` or ``"mean"``
    means: Floats | None = None  # what that is; float32 (neuron,)
    sets: Mapping[str, Numbers] = field(default_factory=dict)  # emotion -> the neurons of its set, of all emotions
    # option -> the untouched model's probability of it on the item, where each is treated by it; else all count alike
    shares: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Kind:
    """What a kind of condition does to neurons, and how the model is asked under it."""

    act: Callable[[Acted], Intervention]
    # whether the model is asked; otherwise answers are read off the stored ones of targeted steering
    asked: bool = True
    by_item: bool = False  # each item is treated by the untouched model's own answer to it
    weighs: bool = False  # a neuron of several emotions' sets counts several times
    other_batches: bool = False  # its rows stand in batches composed otherwise than those of all others
    keeps: bool = False  # it acts on all neurons of the set's layers but for those of the set
    patches: bool = False  # each clip's products become those of its partners: the speaker's clips of other emotions

    @property
    def idle(self) -> bool:
        """Whether it leaves the model as it is."""
        return self.act is _nothing


def _nothing(acted: Acted) -> Intervention:
    return Intervention()  # every bit stays as it is, so the null differs from the baseline by its batches alone


def _steer(acted: Acted) -> Intervention:
    return steer(acted.neurons, acted.alpha, acted.positions)


def _union(acted: Acted) -> Intervention:
    return union(acted.sets, acted.alpha, acted.positions)


def _off(acted: Acted) -> Intervention:
    return deactivate(acted.neurons, acted.positions, to=acted.to, means=acted.means)


def _to_means(acted: Acted) -> Intervention:
    return deactivate(acted.neurons, acted.positions, to="mean", means=acted.means)


def _mixed(acted: Acted) -> Intervention:
    shares = acted.shares if acted.shares is not None else dict.fromkeys(acted.sets, 1.0)
    return mix(acted.sets, shares, acted.alpha, acted.positions)


KINDS: Mapping[str, Kind] = {
    BASELINE: Kind(_nothing),
    NULL: Kind(_nothing, other_batches=True),
    DEACTIVATE: Kind(_off),
    STEER: Kind(_steer),
    RELIANCE: Kind(_off),
    KEEP: Kind(_to_means, keeps=True),
    PATCH: Kind(_to_means, by_item=True, patches=True),
    "two-pass": Kind(_steer, asked=False),
    "mix": Kind(_mixed, weighs=True),
    "mix-own": Kind(_mixed, by_item=True, weighs=True),
    "mix-outputs": Kind(_steer, asked=False),
    "union": Kind(_union),
}
"""Every kind of condition by its name in the column ``kind``, in names of conditions and in studies."""

DERIVED = tuple(name for name, kind in KINDS.items() if not kind.asked)
"""Kinds that are read off the stored answers of targeted steering: the model is not asked again."""
