"""Which neuron sets a study wants, declared before anything is ranked, and the names of the sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from emoscope.neurons.activity import scope_parts
from emoscope.neurons.controls import CONTROLS, Control
from emoscope.neurons.selectors import FLOOR, find_selector
from emoscope.vocabulary import (
    FEWER,
    MATCHED,
    ORTHOGONAL,
    OUTCOME_CONTROLS,
    OUTCOMES,
    RANDOM,
    RESELECTED,
    SHUFFLED,
    TARGET,
)

ALL = "all"  # the fold name of sets that are found on every identification item: to be baked, shared and browsed

FURTHER_DRAWS = 3
"""Matched controls at budgets other than the headline's and within ranges of layers, at most: the mean of a few is
enough there."""


@dataclass(frozen=True)
class SetSpec:
    """Which sets to find; a ``ValueError`` says what is not known, out of range, or claimed without being selected."""

    emotions: tuple[str, ...]
    selectors: tuple[str, ...] = ("lap", "lape", "mad", "cas")
    budgets: tuple[float, ...] = (0.005,)  # shares of all neurons that each emotion gets
    # the positions that count, such as ``"audio+answer"``, ``"all"`` or a list
    scope: str | tuple[str, ...] = "audio+answer"
    site: str = "gate"
    items_per_emotion: int = 100  # at most so many correct clips an emotion
    minimum: int = 30  # with fewer outside some fold, an emotion has no set
    # kind of control -> how many draws, for the headline selector and budget; of kinds that are everywhere there are up
    # to ``FURTHER_DRAWS`` at its other budgets
    controls: Mapping[str, int] = field(default_factory=lambda: {MATCHED: 10, RANDOM: 5, SHUFFLED: 5, ORTHOGONAL: 19})
    headline: tuple[str, float] = ("cas", 0.005)  # (selector, budget) that the study claims
    seed: int = 0
    label: str = "emotion"
    floor: float = FLOOR  # LAPE's bar lies at this share of all firing rates
    # all selectors are also cut to the most neurons that every one of them reaches for every emotion, where that is
    # fewer than a budget wants
    common_size: bool = False
    sizes: tuple[int, ...] = ()  # the headline is also found on so many of its clips per emotion
    size_draws: int = 3  # which are drawn so often
    # clips are chosen so that the right option stands behind each letter as equally often as can be
    balance_letters: bool = False
    outcomes: bool = False  # the headline is also found on misses and on false alarms
    # first and last layer of ranges within each of which the headline is also found: equally many neurons in each, the
    # best that the range has
    ranges: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        for selector in self.selectors:
            find_selector(selector)
        for budget in self.budgets:
            if not 0 < budget <= 0.5:
                usual = "give a number between 0 and 0.5, such as 0.005 for 0.5 %"
                raise ValueError(f"budget {budget} is not a fraction of neurons: {usual}")
        if self.headline[0] not in self.selectors or self.headline[1] not in self.budgets:
            there = f"the selectors {list(self.selectors)} and budgets {list(self.budgets)}"
            raise ValueError(
                f"the headline {self.headline} is not among {there}: add it there, or choose another headline"
            )
        if min((*self.sizes, self.size_draws), default=1) < 1:
            raise ValueError(f"sizes {list(self.sizes)} in {self.size_draws} draws: each must be at least 1")
        scope_parts(self.scope)

    @property
    def needs_covariates(self) -> bool:
        """Whether some control resembles the chosen neurons."""
        return any(draws and CONTROLS[name].alike for name, draws in self.controls.items())

    @property
    def scope_name(self) -> str:
        """The scope as it stands in tables and set ids."""
        return ALL if self.scope in (ALL, (ALL,)) else "+".join(scope_parts(self.scope))

    def neurons(self, budget: float, total: int) -> int:
        """How many neurons a share of all of them is: at least one."""
        return max(1, round(budget * total))

    def name_of(self, want: Wanted) -> str:
        """The name of a set that is wanted; a ``ValueError`` if its budget is not known yet.

        Example:
            >>> spec, cas = SetSpec(("anger", "fear")), Wanted("cas", 0.005)
            >>> spec.name_of(replace(cas, control="matched", draw=3))
            'cas@0.005:audio+answer~matched3'
            >>> spec.name_of(replace(cas, control="fewer", draw=1, size=20))
            'cas@0.005:audio+answer~fewer20~draw1'
            >>> spec.name_of(replace(cas, control="reselected matched", draw=2, within=(0, 8)))
            'cas@0.005:audio+answer~layers0-8~matched2'
        """
        if want.budget is None:
            raise ValueError(f"the common size of {want.selector} is known when it has ranked: name the set then")
        name, control = f"{want.selector}@{want.budget:g}:{self.scope_name}", want.control
        if want.layers is not None:
            name, control = f"{name}~layers{want.layers}", control.removeprefix(RESELECTED).strip() or TARGET
        if control == FEWER:
            return f"{name}~fewer{want.size}~draw{want.draw}"
        return name if control == TARGET else f"{name}~{control}{want.draw}"


@dataclass(frozen=True)
class Wanted:
    """One set that a study wants, in every fold: what its name and its rows in the table of sets say of it."""

    selector: str
    budget: float | None  # share of all neurons; ``None`` for the most that all selectors reach, which ranking tells
    control: str = TARGET  # what the set is: ``"target"``, a control, or found in another way, such as ``"fewer"``
    draw: int = 0
    size: int | None = None  # clips per emotion where the control is "fewer", else ``None``
    # first and last layer of the range within which it is found; ``None`` for all layers
    within: tuple[int, int] | None = None

    @property
    def kind(self) -> Control | None:
        """The kind of control that it is, if it is one."""
        return CONTROLS.get(self.control.removeprefix(RESELECTED).strip())

    @property
    def layers(self) -> str | None:
        """The range as it stands in tables and set ids."""
        return None if self.within is None else f"{self.within[0]}-{self.within[1]}"

    @property
    def like(self) -> Wanted:
        """The set after which a control is drawn."""
        return replace(self, control=TARGET if self.within is None else RESELECTED, draw=0)

    @property
    def drawn(self) -> bool:
        """Whether its neurons are drawn after those of another set; all others are ranked."""
        return self.kind is not None and self.kind.draw is not None

    @property
    def relabelled(self) -> bool:
        """Whether it is ranked on clips that got other names."""
        return self.kind is not None and self.kind.relabel is not None

    @property
    def clips(self) -> tuple[str, int, int | None]:
        """On which clips it is found: those of the target sets, or (control, draw, size)."""
        own = self.control == FEWER or self.control in OUTCOME_CONTROLS
        return (self.control, self.draw, self.size) if own else (TARGET, 0, None)

    @property
    def stage(self) -> object:
        """Sets of one stage stand together in each fold, in the table of sets."""
        if self.drawn or self.within is not None:
            return "drawn"
        return self.control if self.kind else (self.control, self.draw) if self.control == FEWER else self


def wanted_sets(spec: SetSpec) -> list[Wanted]:
    """All sets that a study wants, in the order of the table of sets.

    It is what there is at most: selection leaves out what the clips do not give (sizes that some fold does not have,
    outcomes with too few clips) and a common size that is no other than a budget's.

    Example:
        >>> controls = {"matched": 5, "random": 1}
        >>> spec = SetSpec(("anger", "fear"), ("cas",), (0.005, 0.01), controls=controls, sizes=(20,))
        >>> [spec.name_of(want).removeprefix("cas@") for want in wanted_sets(spec)][5:]  # doctest: +NORMALIZE_WHITESPACE
        ['0.005:audio+answer~matched3', '0.005:audio+answer~matched4', '0.01:audio+answer~matched0',
         '0.01:audio+answer~matched1', '0.01:audio+answer~matched2', '0.005:audio+answer~random0',
         '0.005:audio+answer~fewer20~draw0', '0.005:audio+answer~fewer20~draw1', '0.005:audio+answer~fewer20~draw2']
    """
    head, budgets = Wanted(*spec.headline), list(dict.fromkeys(spec.budgets))
    sets = [Wanted(name, budget) for name in spec.selectors for budget in budgets]
    # selectors that make one list are left out: their sets differ in size between emotions by rule
    equal = [name for name in spec.selectors if not find_selector(name).one_list]
    if spec.common_size and len(equal) > 1:
        sets += [Wanted(name, None) for name in equal]
    drawn = [kind for kind in CONTROLS.values() if kind.draw]
    everywhere = [kind for kind in drawn if kind.everywhere]
    for budget in budgets:
        sets += controls_of(replace(head, budget=budget), spec, everywhere)
    for within in dict.fromkeys(spec.ranges):
        found = replace(head, control=RESELECTED, within=within)
        sets += [found, *controls_of(found, spec, everywhere)]
    sets += controls_of(head, spec, [kind for kind in drawn if not kind.everywhere])
    sets += controls_of(head, spec, [kind for kind in CONTROLS.values() if kind.relabel])
    sizes = sorted({size for size in spec.sizes if size < spec.items_per_emotion})
    sets += [replace(head, control=FEWER, draw=draw, size=size) for draw in range(spec.size_draws) for size in sizes]
    for outcome, hits in OUTCOMES.items() if spec.outcomes else ():
        sets += [replace(head, control=control, draw=draw) for control, draw in ((outcome, 0), (hits, 0), (hits, 1))]
    return sets


def controls_of(want: Wanted, spec: SetSpec, kinds: Sequence[Control]) -> Iterator[Wanted]:
    """The controls of some kinds that a target or reselected set has."""
    for kind in kinds:
        draws = spec.controls.get(kind.name, 0)
        if want != Wanted(*spec.headline):
            draws = min(FURTHER_DRAWS, draws)
        name = kind.name if want.control == TARGET else f"{want.control} {kind.name}"
        yield from (replace(want, control=name, draw=draw) for draw in range(draws))


def in_table_order(sets: Sequence[Wanted], folds: Sequence[str]) -> Iterator[tuple[Wanted, str]]:
    """Every set in every fold, in the order of the table of sets."""
    for _, stage in groupby(sets, key=lambda want: want.stage):
        together = list(stage)
        yield from ((want, fold) for fold in folds for want in together)


def transferred_name(name: str, source: str) -> str:
    """The name of a set in a part that did not find it.

    Example:
        >>> transferred_name("cas@0.05:all~matched1", "polish")
        'cas@0.05:all~matched1~from=polish'
    """
    return f"{name}~from={source}"
