"""Control sets: neurons as much like the chosen ones as can be, random ones, and labels without meaning.

A new kind is an entry of :data:`CONTROLS` with the function that draws neurons (or labels) and its words, and a field of
its name in the study's section ``controls`` that says how many there are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from emoscope.vocabulary import MATCHED, ORTHOGONAL, QUIET, RANDOM, SHUFFLED

if TYPE_CHECKING:
    import scipy.sparse
    from scipy.spatial import cKDTree

COVARIATES = ("frequency", "magnitude", "down_norm")
"""What a matched neuron shares: firing rate and mean absolute activation in the study's scope, over the items on which the
set was found, and the log norm of its column of down_proj."""

SMALLEST = np.finfo("float32").tiny  # a column of zeros has no logarithm
NEAREST = 10  # a matched neuron is drawn from this many nearest unused ones of its layer
WELL_MATCHED = 0.25  # largest absolute standardised mean difference, of any covariate, of a well matched control


def seeded_generator(*parts: object) -> np.random.Generator:
    """A random generator that depends on the text of its arguments alone.

    Example:
        >>> int(seeded_generator(0, "anger").integers(1000)) == int(seeded_generator(0, "anger").integers(1000))
        True
    """
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def covariates(frequency: np.ndarray, magnitude: np.ndarray, down_norm: np.ndarray) -> np.ndarray:
    """Standardise the :data:`COVARIATES` within each layer: z-scores, float64 (layer, width, covariate).

    Each is given as (layer, width), the norm before the logarithm. One that does not vary in a layer is 0 there.

    Example:
        >>> z = covariates(np.array([[0.1, 0.3]]), np.ones((1, 2)), np.array([[1.0, np.e]]))
        >>> z.round(6).tolist()
        [[[-1.0, 0.0, -1.0], [1.0, 0.0, 1.0]]]
    """
    return standardised(np.stack([frequency, magnitude, np.log(np.maximum(down_norm, SMALLEST))], axis=-1))


def standardised(raw: np.ndarray) -> np.ndarray:
    """Z-scores within each layer, float64 (layer, width, covariate), 0 where a covariate does not vary."""
    raw = raw.astype("float64")
    spread = raw.std(axis=1, keepdims=True)
    return (raw - raw.mean(axis=1, keepdims=True)) / np.where(spread > 1e-12, spread, np.inf)


@dataclass(frozen=True)
class Chosen:
    """Neurons of one emotion, chosen by a selector or drawn as a control."""

    neurons: np.ndarray  # flat numbers, ascending; int64 (neuron,)
    # what the table of sets says of them, such as ``tied_at_cut`` or ``well_matched``
    columns: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.neurons)


class Matcher:
    """Draws matched controls for the sets of one selector and fold.

    Each chosen neuron, visited in random order, is replaced by one of the ten nearest unused ones of its layer in the
    :func:`covariates`. Where a layer has no neuron left, the control is one smaller and not well matched. No control
    holds an excluded neuron: the union of all emotions' sets.

    Example:
        >>> z = np.linspace(-1, 1, 36).reshape(1, 12, 3)
        >>> matcher = Matcher(z, excluded=np.array([0, 11]))
        >>> control = matcher.draw(np.array([0]), seeded_generator("draw", 0))
        >>> bool(1 <= control.neurons[0] <= 10), control.columns["well_matched"]
        (True, False)
    """

    def __init__(self, standardised: np.ndarray, excluded: np.ndarray) -> None:
        layers, self.width, _ = standardised.shape
        self._points = standardised.reshape(layers * self.width, -1)
        free = np.ones(layers * self.width, bool)
        free[np.asarray(excluded, "int64")] = False
        self._free = [np.flatnonzero(row) + layer * self.width for layer, row in enumerate(free.reshape(layers, -1))]
        self._trees: dict[int, cKDTree] = {}
        self._near: dict[int, list[int]] = {}

    def draw(self, chosen: np.ndarray, generator: np.random.Generator) -> Chosen:
        """Draw one control for the chosen neurons (flat numbers)."""
        self._look_up([neuron for neuron in chosen.tolist() if neuron not in self._near], 3 * NEAREST)
        used: set[int] = set()
        order, luck = generator.permutation(chosen).tolist(), generator.random(len(chosen)).tolist()
        for neuron, chance in zip(order, luck, strict=True):
            if partners := self._partners(neuron, used):
                used.add(partners[int(chance * len(partners))])
        neurons = np.array(sorted(used), "int64")
        smd = standardised_differences(self._points[chosen], self._points[neurons])
        close = len(neurons) == len(chosen) and all(abs(value) <= WELL_MATCHED for value in smd.values())
        columns = {f"smd_{name}": None if np.isnan(value) else value for name, value in smd.items()}
        return Chosen(neurons, columns | {"well_matched": close})

    def _partners(self, neuron: int, used: set[int]) -> list[int]:
        while True:
            near = self._near[neuron]
            partners = list(islice((candidate for candidate in near if candidate not in used), NEAREST))
            if len(partners) == NEAREST or len(near) == len(self._free[neuron // self.width]):
                return partners
            self._look_up([neuron], 4 * len(near))

    def _look_up(self, neurons: Sequence[int], count: int) -> None:
        from scipy.spatial import cKDTree  # imported late: pages need the words of controls, and no tree

        for layer, group in groupby(sorted(neurons), key=lambda neuron: neuron // self.width):
            members, free = list(group), self._free[layer]
            if not len(free):
                self._near |= {neuron: [] for neuron in members}
                continue
            if layer not in self._trees:
                self._trees[layer] = cKDTree(self._points[free])
            _, places = self._trees[layer].query(self._points[members], k=np.arange(1, min(count, len(free)) + 1))
            self._near |= zip(members, free[places].tolist(), strict=True)


def standardised_differences(chosen: np.ndarray, control: np.ndarray) -> dict[str, float]:
    """Control minus chosen, each (neuron, covariate): means over the pooled standard deviation (Cohen 1988).

    Where neither group varies it is 0 for equal means, else infinite; not a number when a group is empty.

    Example:
        >>> standardised_differences(np.array([[0.0], [2.0]]), np.array([[1.0], [3.0]]))
        {'frequency': 1.0}
    """
    if not len(chosen) or not len(control):
        return dict.fromkeys(COVARIATES[: chosen.shape[1]], float("nan"))
    apart = control.mean(axis=0) - chosen.mean(axis=0)
    pooled = np.sqrt((control.var(axis=0) + chosen.var(axis=0)) / 2)
    flat, without_spread = pooled < 1e-12, np.where(np.abs(apart) < 1e-12, 0.0, np.copysign(np.inf, apart))
    smd = np.where(flat, without_spread, apart / np.where(flat, 1, pooled))
    return dict(zip(COVARIATES, smd.tolist(), strict=False))


def random_neurons(size: int, neurons: int, generator: np.random.Generator) -> np.ndarray:
    """As many different neurons from anywhere; flat numbers, ascending; int64 (neuron,).

    Example:
        >>> len(random_neurons(5, 100, seeded_generator("random", 0)))
        5
    """
    return np.sort(generator.choice(neurons, size, replace=False)).astype("int64")


Units = Sequence[tuple[str | None, str | None]]  # (speaker, block) of each clip; ``None`` where it is not known


def shuffled_labels(labels: np.ndarray, units: Units, generator: np.random.Generator) -> np.ndarray:
    """Permute the clips' labels uniformly within each block of a speaker.

    Clips of a speaker's blocks that hold one label alone, and clips without a block, are permuted among each other;
    unknown speakers (None) count as one. The labels as they were are one of the permutations.

    Example:
        >>> units = [("s", None), ("s", None), ("t", "b1"), ("t", "b1"), ("t", "b2")]
        >>> shuffled_labels(np.array([0, 0, 1, 0, 2]), units, seeded_generator("shuffled", 2))
        array([0, 0, 0, 1, 2])
    """
    result = labels.copy()
    for members in exchangeable(labels, units):
        result[members] = labels[generator.permutation(members)]
    return result


def exchangeable(labels: np.ndarray, units: Units) -> list[np.ndarray]:
    """Places of the clips within which labels may change places, as :func:`shuffled_labels` says."""
    found = []
    for of_speaker in _groups(speaker for speaker, _ in units):
        rest = []
        for of_block in _groups(units[place][1] for place in of_speaker):
            members, known = of_speaker[of_block], units[of_speaker[of_block[0]]][1] is not None
            if known and len(np.unique(labels[members])) > 1:
                found.append(members)
            else:
                rest.append(members)
        if rest:
            found.append(np.sort(np.concatenate(rest)))
    return found


def orthogonal_labels(labels: np.ndarray, units: Units, generator: np.random.Generator) -> np.ndarray:
    """Give every clip one of the labels so that each label is spread evenly over these names.

    A name gets the same number of clips, or one more, of every label, speaker, block, speaker's label, and overall; and
    of the first so many clips of a speaker and label, whatever their number. The names are dealt one after the other:
    with r names left, 1/r of every clip is an even share, and as what has to be even is two families of nested groups,
    there are such shares of whole clips, too (Edmonds 1970); a random one is taken.

    Example:
        >>> labels = np.repeat([0, 1], 6)
        >>> names = orthogonal_labels(labels, [("s", None)] * 12, seeded_generator("orthogonal", 0))
        >>> [np.bincount(names[labels == label]).tolist() for label in (0, 1)]
        [[3, 3], [3, 3]]
    """
    from scipy.optimize import linprog  # imported late, as it takes time
    from scipy.sparse import vstack

    names = np.unique(labels)
    groups = even_groups(labels, units, len(names))
    result, left = labels.copy(), np.ones(len(labels), bool)
    dealt = generator.permutation(names).tolist()
    for share, name in zip(range(len(names), 0, -1), dealt, strict=True):
        kept = np.flatnonzero(left)
        table = groups[:, kept]
        sizes = table.sum(axis=1) / share
        limits = np.concatenate([np.ceil(sizes), -np.floor(sizes)])  # at most, and at least
        luck = generator.random(len(kept))
        found = linprog(-luck, A_ub=vstack([table, -table]), b_ub=limits, bounds=(0, 1), method="highs-ds")
        taken = kept[found.x > 0.5]
        result[taken], left[taken] = name, False
    return result


def even_groups(labels: np.ndarray, units: Units, names: int) -> scipy.sparse.csr_array:
    """The groups of clips over which names are spread evenly: 1 where a clip is in a group, sparse (group, clip).

    They are two families, each nested: all clips, speakers, their blocks; and labels, speakers' clips of a label, and
    every next so many of these as there are names.
    """
    from scipy.sparse import csr_array

    who = [(label, *unit) for label, unit in zip(labels.tolist(), units, strict=True)]
    nested: list[Iterable[object]] = [
        [0] * len(who), [speaker for _, speaker, _ in who], [(speaker, block) for _, speaker, block in who],
        [label for label, _, _ in who], [(label, speaker) for label, speaker, _ in who],
    ]  # fmt: skip
    members = [group for keys in nested for group in _groups(keys)]
    for of_label in _groups((label, speaker) for label, speaker, _ in who):
        members += [of_label[start : start + names] for start in range(0, len(of_label), names)]
    members = [group for group in members if len(group) > 1]
    edges = np.cumsum([0, *map(len, members)])
    places = np.concatenate(members) if members else np.array([], "int64")
    return csr_array((np.ones(len(places)), places, edges), shape=(len(members), len(who)))


def _groups(keys: Iterable[object]) -> list[np.ndarray]:
    """Places of equal keys, in the order in which keys come first."""
    places: dict[object, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return [np.array(group) for group in places.values()]


@dataclass(frozen=True)
class Ground:
    """What a fold's controls are drawn from: so many neurons, and, if needed, what is known of them.

    ``spread`` is the variance of a neuron's mean activation between clips of one speaker, and ``told`` how much of it
    emotions explain: the variance of its mean activation over emotions, over ``spread``; both (layer, width).
    """

    neurons: int
    standardised: np.ndarray | None = None  # :func:`covariates`
    spread: np.ndarray | None = None
    told: np.ndarray | None = None


Draw = Callable[[str, np.random.Generator], Chosen]  # draws a control of one emotion's set


def draw_each(draw: Draw, emotions: Iterable[str], before: tuple[object, ...], *after: object) -> dict[str, Chosen]:
    """One control of each emotion's set, its chance seeded by ``before``, the emotion and ``after``."""
    return {emotion: draw(emotion, seeded_generator(*before, emotion, *after)) for emotion in emotions}


def _matched(ground: Ground, chosen: Mapping[str, np.ndarray], excluded: np.ndarray) -> Draw:
    assert ground.standardised is not None
    matcher = Matcher(ground.standardised, excluded)
    return lambda emotion, generator: matcher.draw(chosen[emotion], generator)


def _quiet(ground: Ground, chosen: Mapping[str, np.ndarray], excluded: np.ndarray) -> Draw:
    assert ground.spread is not None
    assert ground.told is not None
    above = ground.told > np.median(ground.told, axis=1, keepdims=True)
    spread = standardised(np.log(np.maximum(ground.spread, SMALLEST))[..., None])
    matcher = Matcher(spread, np.union1d(excluded, np.flatnonzero(above)))
    return lambda emotion, generator: Chosen(matcher.draw(chosen[emotion], generator).neurons)


def _random(ground: Ground, chosen: Mapping[str, np.ndarray], excluded: np.ndarray) -> Draw:
    return lambda emotion, generator: Chosen(random_neurons(len(chosen[emotion]), ground.neurons, generator))


@dataclass(frozen=True)
class Control:
    """A kind of control sets: either neurons are drawn after chosen ones, or clips get other labels and are ranked anew."""

    name: str  # in the column ``control`` and in names of sets, and what seeds its draws
    # (ground, emotion -> chosen neurons, neurons that no control may hold) -> what draws controls of them
    draw: Callable[[Ground, Mapping[str, np.ndarray], np.ndarray], Draw] | None = None
    # (label of each clip, its speaker and block, source of chance) -> other labels
    relabel: Callable[[np.ndarray, Units, np.random.Generator], np.ndarray] | None = None
    everywhere: bool = False  # there are some at all budgets of the headline's selector and within ranges of layers
    alike: bool = False  # it reads the covariates of neurons (``standardised``)
    # those of the headline are amplified at every strength up to 1, others at the headline's alone; all are deactivated
    dosed: bool = False
    called: str = ""  # in figures and tables; where empty, by its name
    sets: str = ""  # what its draws are, in the paragraph on methods, behind their number


QUIETER = "sets of neurons that vary as much between clips of a speaker, and less than most with emotion (same layer)"
LIKE = "sets of matched neurons (same layer, similar firing rate, activity and output weight)"
RELABELLED = "sets selected on labels shuffled within speaker"
SPREAD = "sets selected on names over which the clips of every emotion are spread evenly"

CONTROLS = {
    MATCHED: Control(MATCHED, draw=_matched, everywhere=True, alike=True, dosed=True, sets=LIKE),
    QUIET: Control(QUIET, draw=_quiet, alike=True, called="as variable", sets=QUIETER),
    RANDOM: Control(RANDOM, draw=_random, sets="sets of random neurons"),
    SHUFFLED: Control(SHUFFLED, relabel=shuffled_labels, called="shuffled labels", sets=RELABELLED),
    ORTHOGONAL: Control(ORTHOGONAL, relabel=orthogonal_labels, dosed=True, called="label-orthogonal", sets=SPREAD),
}
"""The kinds of controls by name, in the order of the table of sets, of figures and of tables."""
