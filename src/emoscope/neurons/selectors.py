"""The selectors: how specific each neuron of a layer is to each emotion, by formula and by name.

A formula takes the :class:`Statistics` of one layer and returns a score (emotion, neuron), larger = more specific,
-inf = not eligible. docs/method.md says where each formula comes from, docs/add-a-selector.md how to add one.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import entry_points

import numpy as np

ACTIVE = 0.1  # firing rate that mad-active asks for
FLOOR = 0.95  # share of all firing rates that lies at or below LAPE's bar (Tang et al. 2024).

SMALLEST_VARIANCE = 1e-6
"""What mad-z adds to a variance, so that a neuron that hardly moves does not win by its stillness."""


@dataclass(frozen=True)
class Statistics:
    """What the neurons of one layer did on the items of one selection (a fold, a draw of clips).

    The arrays are shared with other selectors and overwritten by the next layer: change none, keep none.
    """

    rate: np.ndarray  # P(e), the share of positions at which the neuron fires; float64 (emotion, neuron)
    mean: np.ndarray  # M(e), the mean activation over positions; float64 (emotion, neuron)
    positions: np.ndarray  # T(e), over how many positions; float64 (emotion,)
    emotions: tuple[str, ...] = ()  # names of the emotions, in the order of the arrays
    layer: int = 0  # number of the layer; 0 where all neurons are seen at once
    # the firing rate at or below which ``lape_floor`` of all rates of the model lie. Not a number unless the selector
    # asks for ``"bar"``, which costs a further pass over the store.
    bar: float = float("nan")
    # variance of the neuron's mean activation per item, pooled within emotions; float64 (neuron,). ``None`` unless the
    # selector asks for ``"variance"``.
    variance: np.ndarray | None = None
    # attribution, each float64 (emotion, neuron) and ``None`` unless the selector asks for it by that name: mean over an
    # emotion's clips of what its option's log-odds owe to the neuron; the same of its option on the clips of the other
    # emotions, mean over these; and what they owe to how the clips differ from others of their speakers.
    attributed: np.ndarray | None = None
    attributed_elsewhere: np.ndarray | None = None
    attributed_between: np.ndarray | None = None


def lap(given: Statistics) -> np.ndarray:
    """Frequency: the firing rate itself (as compared by Zhao, Schuller and Sisman 2026).

    Example:
        >>> lap(Statistics(np.array([[0.5, 0.1], [0.2, 0.3]]), np.zeros((2, 2)), np.array([10, 10])))
        array([[0.5, 0.1],
               [0.2, 0.3]])
    """
    return given.rate


def lape(given: Statistics) -> np.ndarray:
    """Entropy: minus the entropy of the rates over emotions, for the emotion that fires most (Tang et al. 2024).

    Only neurons whose largest rate exceeds the bar are eligible. Where two emotions share the largest rate,
    the one of the larger mean activation gets the neuron. Equal budgets per emotion are our choice; the
    authors take one list for all classes, see :func:`lape_original`.

    Example:
        >>> lape(Statistics(np.array([[0.5, 0.1], [0.0, 0.1]]), np.zeros((2, 2)), np.array([10, 10]), bar=0.2))
        array([[  0., -inf],
               [-inf, -inf]])
    """
    eligible, rates, score = _above_bar(given)
    largest = np.where(rates == rates.max(axis=0), given.mean[:, eligible], -np.inf).argmax(axis=0)
    score[largest, eligible] = _minus_entropy(rates)
    return score


def lape_original(given: Statistics) -> np.ndarray:
    """Entropy as its authors use it: for *every* emotion whose rate exceeds the bar (Tang et al. 2024).

    The neurons of the lowest entropies form one list for all emotions (see ``Selector.one_list``).

    Example:
        >>> lape_original(Statistics(np.array([[0.5, 0.4], [0.5, 0.1]]), np.zeros((2, 2)), np.ones(2), bar=0.2)).round(3)
        array([[-0.693, -0.5  ],
               [-0.693,   -inf]])
    """
    eligible, rates, score = _above_bar(given)
    score[:, eligible] = np.where(rates > given.bar, _minus_entropy(rates), -np.inf)
    return score


def mad(given: Statistics) -> np.ndarray:
    """Mean deviation: mean activation minus the mean of the other emotions' means, signed, not z-scored.

    The selector is named by Zhao, Schuller and Sisman (2026); sign and scale are our reading.

    Example:
        >>> mad(Statistics(np.zeros((3, 1)), np.array([[3.0], [1.0], [2.0]]), np.ones(3))).ravel()
        array([ 1.5, -1.5,  0. ])
    """
    mean = given.mean
    return mean - (mean.sum(axis=0) - mean) / (len(mean) - 1)


def mad_z(given: Statistics) -> np.ndarray:
    """Mean deviation in standard deviations of the items' means within emotions (our definition).

    Example:
        >>> mean = np.array([[3.0, 3.0], [1.0, 1.0]])
        >>> mad_z(Statistics(np.zeros((2, 2)), mean, np.ones(2), variance=np.array([4.0, 1.0])))[0].round(3)
        array([1., 2.])
    """
    assert given.variance is not None
    return mad(given) / np.sqrt(given.variance + SMALLEST_VARIANCE)


def mad_active(given: Statistics) -> np.ndarray:
    """Mean deviation among neurons that fire for the emotion at a tenth of the positions or more (our definition).

    Example:
        >>> rate = np.array([[0.1, 0.05], [0.0, 0.2]])
        >>> mad_active(Statistics(rate, np.array([[3.0, 3.0], [1.0, 1.0]]), np.ones(2)))
        array([[  2., -inf],
               [-inf,  -2.]])
    """
    return np.where(given.rate >= ACTIVE, mad(given), -np.inf)


def cas(given: Statistics) -> np.ndarray:
    """Contrast: largest minus second largest firing rate, credited to the emotion with the largest.

    The selector of Zhao, Schuller and Sisman (2026). A margin of 0 is not eligible, so the sets of different
    emotions share no neuron.

    Example:
        >>> cas(Statistics(np.array([[0.5, 0.1], [0.25, 0.1]]), np.zeros((2, 2)), np.ones(2)))
        array([[0.25, -inf],
               [-inf, -inf]])
    """
    rate = given.rate
    first, second = rate[0].copy(), np.full(rate.shape[1], -np.inf)
    for row in rate[1:]:
        np.maximum(second, np.minimum(first, row), out=second)
        np.maximum(first, row, out=first)
    margin = np.where(first > second, first - second, -np.inf)
    return np.where(rate == first, margin, -np.inf)


def attribution(given: Statistics) -> np.ndarray:
    """Attribution: what the log-odds of an emotion's option owe to the neuron on clips of the emotion (our definition).

    To first order it is what they lose when the neuron is switched off (gradient x activation at the gated product;
    Dhamdhere, Sundararajan and Yan 2019).

    Example:
        >>> attribution(Statistics(np.zeros((2, 1)), np.zeros((2, 1)), np.ones(2), attributed=np.array([[2.0], [1.0]])))
        array([[2.],
               [1.]])
    """
    assert given.attributed is not None
    return given.attributed


def attribution_contrast(given: Statistics) -> np.ndarray:
    """Attribution on clips of the emotion minus that of the same option on clips of the others (our definition).

    A neuron that pushes the option whatever is heard has 0.

    Example:
        >>> own, other = np.array([[2.0], [1.0]]), np.array([[2.0], [0.5]])
        >>> given = Statistics(own, own, np.ones(2), attributed=own, attributed_elsewhere=other)
        >>> attribution_contrast(given)
        array([[0. ],
               [0.5]])
    """
    assert given.attributed is not None
    assert given.attributed_elsewhere is not None
    return given.attributed - given.attributed_elsewhere


def attribution_between(given: Statistics) -> np.ndarray:
    """Attribution of how a clip differs from clips of other emotions by the same speaker (our definition).

    To first order it is what the option's log-odds lose when the neuron does what it does there (attribution patching,
    Nanda 2023, with means over positions).

    Example:
        >>> between = np.array([[0.5], [-0.5]])
        >>> attribution_between(Statistics(between, between, np.ones(2), attributed_between=between)).tolist()
        [[0.5], [-0.5]]
    """
    assert given.attributed_between is not None
    return given.attributed_between


def _above_bar(given: Statistics) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which neurons' largest rate exceeds the bar, their rates, and scores in which no neuron is eligible yet."""
    eligible = np.flatnonzero(given.rate.max(axis=0) > given.bar)
    return eligible, given.rate[:, eligible], np.full(given.rate.shape, -np.inf)


def _minus_entropy(rates: np.ndarray) -> np.ndarray:
    """Sum of q log q over emotions, q the rates as shares of their sum; (neuron,)."""
    from scipy.special import xlogy  # imported late: a finished run is recognised without it

    share = rates / rates.sum(axis=0)
    return np.asarray(xlogy(share, share).sum(axis=0))


class RunningBar:
    """LAPE's bar of rates that are seen piece by piece: the ``round(floor * count)``-th smallest of ``count`` rates.

    Only the largest ones are kept, down to the bar.

    Example:
        >>> bar = RunningBar(4, floor=0.75)
        >>> bar.add(np.array([3.0, 1.0])); bar.add(np.array([2.0, 5.0]))
        >>> bar.value()
        3.0
    """

    def __init__(self, count: int, floor: float = FLOOR) -> None:
        self.size, self._cut = count - max(1, round(floor * count)) + 1, -np.inf
        self._pieces: list[np.ndarray] = []
        self._count = 0

    def add(self, rates: np.ndarray) -> None:
        """Consider the rates of an array of any shape."""
        piece = rates[rates > self._cut]
        self._pieces.append(piece)
        self._count += len(piece)
        if self._count > 2 * self.size:  # now and then, since each cut costs a pass over all that is kept
            self._shrink()

    def value(self) -> float:
        """The bar, when all rates were seen."""
        self._shrink()
        return float(self._pieces[0].min())

    def _shrink(self) -> None:
        together = np.concatenate(self._pieces)
        if len(together) > self.size:
            together = np.partition(together, len(together) - self.size)[len(together) - self.size :]
        if len(together) == self.size:
            self._cut = together.min()
        self._pieces, self._count = [together], len(together)


GROUP = "emoscope.selectors"  # the entry-point group in which a package names its selectors
ATTRIBUTED = ("attributed", "attributed_elsewhere", "attributed_between")  # statistics that rest on gradients
STATISTICS = ("bar", "variance", *ATTRIBUTED)  # statistics that are computed only for selectors that ask for them

Score = Callable[[Statistics], np.ndarray]


@dataclass(frozen=True)
class Selector:
    """A formula, its name, and what it reads."""

    name: str  # as written in study files and in the names of sets
    family: str  # what kind of statistic it is
    score: Score  # from the ``Statistics`` of a layer to scores (emotion, neuron), -inf = not eligible
    needs: tuple[str, ...] = ()  # which of ``STATISTICS`` it reads
    # the budget is one list for all emotions, the neurons of the highest score for any of them; each goes to every
    # emotion for which it is eligible, so sets differ in size. Otherwise each emotion has its own list.
    one_list: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]*", self.name):
            raise ValueError(f"selector {self.name!r}: a name is made of small letters, digits and hyphens")
        if unknown := [need for need in self.needs if need not in STATISTICS]:
            raise ValueError(f"selector {self.name!r} needs {unknown[0]!r}: choose from {', '.join(STATISTICS)}")

    def __call__(self, given: Statistics) -> np.ndarray:
        """Score a layer; a ``ValueError`` says what is not one number for each emotion and neuron."""
        found = np.asarray(self.score(given))
        if found.shape != given.rate.shape:
            raise ValueError(
                f"selector {self.name!r} returned scores of the shape {found.shape}: one is needed for each emotion and "
                f"neuron, {given.rate.shape}"
            )
        if lost := int(np.isnan(found).sum()):
            raise ValueError(
                f"selector {self.name!r} returned {lost} scores that are not a number in layer {given.layer}: "
                "give -inf where a neuron is not eligible"
            )
        return found


SELECTORS: dict[str, Selector] = {
    selector.name: selector
    for selector in (
        Selector("lap", "frequency", lap),
        Selector("lape", "entropy", lape, ("bar",)),
        Selector("lape-original", "entropy", lape_original, ("bar",), one_list=True),
        Selector("mad", "mean deviation", mad),
        Selector("mad-z", "mean deviation", mad_z, ("variance",)),
        Selector("mad-active", "mean deviation", mad_active),
        Selector("cas", "contrast", cas),
        Selector("attribution", "attribution", attribution, ("attributed",)),
        Selector("attribution-contrast", "attribution", attribution_contrast, ("attributed", "attributed_elsewhere")),
        Selector("attribution-between", "attribution", attribution_between, ("attributed_between",)),
    )
}

BUILT_IN = frozenset(SELECTORS)


def register(
    name: str, function: Score, family: str = "own", needs: tuple[str, ...] = (), one_list: bool = False
) -> Selector:
    """Make a function a selector of this program, by a name that studies and ``emoscope.select`` then know.

    The name is made of small letters, digits and hyphens; one that was registered before now means the new function.
    The rest is said of :class:`Selector`. A ``ValueError`` says that the name is emoscope's own or not a name, or that
    ``needs`` holds something else.

    Example:
        >>> ratio = register("ratio", lambda given: given.rate / (given.rate.sum(axis=0) + 0.01))
        >>> find_selector("ratio") is ratio
        True
    """
    if name in BUILT_IN:
        raise ValueError(f"selector {name!r} is emoscope's own: choose another name")
    SELECTORS[name] = Selector(name, family, function, tuple(needs), one_list)
    return SELECTORS[name]


def find_selector(name: str) -> Selector:
    """Look a selector up: emoscope's and registered ones, then those of installed packages; else ``ValueError``.

    Example:
        >>> find_selector("cas").family
        'contrast'
    """
    if name in SELECTORS:
        return SELECTORS[name]
    offered = {point.name: point for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}
    if name not in offered:
        raise ValueError(f"selector {name!r} is not known: choose from {', '.join((*SELECTORS, *offered))}")
    found = offered[name].load()
    if not callable(found):
        raise ValueError(f"selector {name!r} of {offered[name].value} is {found!r}: expected a function or a Selector")
    selector = found if isinstance(found, Selector) else Selector(name, "own", found)
    if selector.name != name:
        raise ValueError(f"selector {name!r} of {offered[name].value} calls itself {selector.name!r}: give it one name")
    return SELECTORS.setdefault(name, selector)


def needs_gradients(names: Iterable[str]) -> bool:
    """Whether some of these selectors read what rests on gradients.

    Example:
        >>> needs_gradients(["mad", "attribution"]), needs_gradients(["mad"])
        (True, False)
    """
    return any(not {*find_selector(name).needs}.isdisjoint(ATTRIBUTED) for name in names)


def own_code(names: Iterable[str]) -> dict[str, str]:
    """Name -> hash of the text of the function (not of what it calls), for the selectors that are not emoscope's own."""
    found = {}
    for name in sorted({*names} - BUILT_IN):
        selector = find_selector(name)
        try:
            text = inspect.getsource(selector.score)
        except (OSError, TypeError):  # typed into an interpreter, or no plain function
            code = getattr(selector.score, "__code__", None)
            text = repr((code.co_code, code.co_consts, code.co_names)) if code else repr(type(selector.score))
        found[name] = hashlib.sha256(repr((text, selector.needs, selector.one_list)).encode()).hexdigest()
    return found
