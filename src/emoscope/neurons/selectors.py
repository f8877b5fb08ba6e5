"""The selectors by name: those of emoscope, those that a program registers, those of installed packages.

docs/add-a-selector.md shows how to add one.
"""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

import numpy as np

from emoscope.neurons import scores
from emoscope.neurons.scores import Statistics

GROUP = "emoscope.selectors"
"""The entry-point group in which a package names its selectors."""

STATISTICS = ("bar", "variance")
"""Statistics that are computed only for selectors that ask for them."""

Score = Callable[[Statistics], np.ndarray]


@dataclass(frozen=True)
class Selector:
    """A selector.

    Attributes:
        name: as written in study files and in the names of sets.
        family: what kind of statistic it is.
        score: from the :class:`~emoscope.neurons.scores.Statistics` of a layer to scores (emotion, neuron), larger =
            more specific, -inf = not eligible.
        needs: which of :data:`STATISTICS` it reads.
        one_list: the budget is one list for all emotions, the neurons of the highest score for any of them; each goes
            to every emotion for which it is eligible, so sets differ in size. Otherwise each emotion has its own list.
    """

    name: str
    family: str
    score: Score
    needs: tuple[str, ...] = ()
    one_list: bool = False

    def __call__(self, given: Statistics) -> np.ndarray:
        """Score a layer.

        Raises:
            ValueError: the scores are not one for each emotion and neuron, or not numbers.
        """
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
    one.name: one
    for one in (
        Selector("lap", "frequency", scores.lap),
        Selector("lape", "entropy", scores.lape, ("bar",)),
        Selector("lape-original", "entropy", scores.lape_original, ("bar",), one_list=True),
        Selector("mad", "mean deviation", scores.mad),
        Selector("mad-z", "mean deviation", scores.mad_z, ("variance",)),
        Selector("mad-active", "mean deviation", scores.mad_active),
        Selector("cas", "contrast", scores.cas),
    )
}
"""The selectors that are there without looking at installed packages."""

BUILT_IN = frozenset(SELECTORS)


def register(
    name: str, function: Score, family: str = "own", needs: tuple[str, ...] = (), one_list: bool = False
) -> Selector:
    """Make a function a selector of this program, by a name that studies and ``emoscope.select`` then know.

    A name that this program registered before now means the new function.

    Args:
        name: small letters, digits and hyphens.
        function: from :class:`~emoscope.neurons.scores.Statistics` to scores (emotion, neuron).
        family: what kind of statistic it is.
        needs: ``"bar"`` and ``"variance"``, where the function reads them.
        one_list: see :class:`Selector`.

    Raises:
        ValueError: the name is emoscope's own or not a name, or ``needs`` holds something else.

    Example:
        >>> ratio = register("ratio", lambda given: given.rate / (given.rate.sum(axis=0) + 0.01))
        >>> find_selector("ratio") is ratio
        True
    """
    if name in BUILT_IN:
        raise ValueError(f"selector {name!r} is emoscope's own: choose another name")
    SELECTORS[name] = _checked(Selector(name, family, function, tuple(needs), one_list))
    return SELECTORS[name]


def find_selector(name: str) -> Selector:
    """Look a selector up: emoscope's and registered ones, then those of installed packages.

    Raises:
        ValueError: there is none of that name, or what a package offers under it is no selector.

    Example:
        >>> find_selector("cas").family
        'contrast'
    """
    if name in SELECTORS:
        return SELECTORS[name]
    offered = _offered()
    if name not in offered:
        raise ValueError(f"selector {name!r} is not known: choose from {', '.join((*SELECTORS, *offered))}")
    found = offered[name].load()
    if not callable(found):
        raise ValueError(f"selector {name!r} of {offered[name].value} is {found!r}: expected a function or a Selector")
    selector = found if isinstance(found, Selector) else Selector(name, "own", found)
    if selector.name != name:
        raise ValueError(f"selector {name!r} of {offered[name].value} calls itself {selector.name!r}: give it one name")
    SELECTORS[name] = _checked(selector)
    return SELECTORS[name]


def known_selectors() -> tuple[str, ...]:
    """The names of all selectors, those of installed packages last."""
    return (*SELECTORS, *(name for name in _offered() if name not in SELECTORS))


def own_code(names: Iterable[str]) -> dict[str, str]:
    """Name -> hash of the function's text, for the selectors among ``names`` that are not emoscope's own.

    Functions that it calls are not looked at.
    """
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


def _offered() -> dict[str, EntryPoint]:
    return {one.name: one for one in sorted(entry_points(group=GROUP), key=lambda one: one.name)}


def _checked(selector: Selector) -> Selector:
    if not re.fullmatch(r"[a-z][a-z0-9-]*", selector.name):
        raise ValueError(f"selector {selector.name!r}: a name is made of small letters, digits and hyphens")
    if other := [need for need in selector.needs if need not in STATISTICS]:
        raise ValueError(f"selector {selector.name!r} needs {other[0]!r}: choose from {', '.join(STATISTICS)}")
    return selector
