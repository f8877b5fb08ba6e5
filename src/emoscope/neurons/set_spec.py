"""Which neuron sets a study wants, and the names of the sets."""

from __future__ import annotations

from dataclasses import dataclass

from emoscope.neurons.activity_block import scope_parts
from emoscope.neurons.choosing import FLOOR
from emoscope.neurons.selectors import find_selector

ALL = "all"
"""The fold name of sets that are found on every identification item: to be baked, shared and browsed."""

BUDGET_DRAWS = 3
"""Matched controls of the headline's selector at budgets other than the headline's, at most."""

OUTCOMES = {"misses": "hits-as-misses", "false-alarms": "hits-as-false-alarms"}
"""The control found on each outcome -> the one found on as many hits of the same emotions, to compare it with."""

OUTCOME_CONTROLS = (*OUTCOMES, *OUTCOMES.values())


@dataclass(frozen=True)
class SetSpec:
    """Which sets to find.

    Attributes:
        emotions: the labels, in the order of the tables.
        selectors: names that :func:`~emoscope.neurons.selectors.find_selector` knows.
        budgets: shares of all neurons that each emotion gets.
        scope: the positions that count, such as ``"audio+answer"``, ``"all"`` or a list.
        site: where activations were read.
        items_per_emotion: at most so many correct clips per emotion.
        minimum: an emotion with fewer correct clips outside some fold gets no set.
        matched, random, shuffled: draws of each control, for the headline selector and budget; at its other budgets
            there are up to :data:`BUDGET_DRAWS` matched ones.
        headline: (selector, budget) that the study claims.
        seed: decides between ties and draws clips and controls.
        label: the label column that was asked.
        floor: LAPE's bar lies at this share of all firing rates.
        common_size: all selectors are also cut to the most neurons that every one of them reaches for every emotion,
            where that is fewer than a budget wants.
        sizes: the headline is also found on so many correct clips per emotion, of those that it is found on.
        size_draws: how often such clips are drawn.
        balance_letters: clips are chosen so that the right option stands behind each letter as equally often as can be.
        ranges: first and last layer of ranges within each of which the headline is also found
            (:mod:`~emoscope.neurons.in_ranges`).
        outcomes: the headline is also found on misses and on false alarms (:mod:`~emoscope.neurons.outcomes`).

    Raises:
        ValueError: an unknown selector or scope, a budget outside (0, 0.5], a headline that is not selected, no clip.
    """

    emotions: tuple[str, ...]
    selectors: tuple[str, ...] = ("lap", "lape", "mad", "cas")
    budgets: tuple[float, ...] = (0.005,)
    scope: str | tuple[str, ...] = "audio+answer"
    site: str = "gate"
    items_per_emotion: int = 100
    minimum: int = 30
    matched: int = 10
    random: int = 5
    shuffled: int = 5
    headline: tuple[str, float] = ("cas", 0.005)
    seed: int = 0
    label: str = "emotion"
    floor: float = FLOOR
    common_size: bool = False
    sizes: tuple[int, ...] = ()
    size_draws: int = 3
    balance_letters: bool = False
    outcomes: bool = False
    ranges: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        for selector in self.selectors:
            find_selector(selector)
        for budget in self.budgets:
            if not 0 < budget <= 0.5:
                raise ValueError(
                    f"budget {budget} is not a fraction of neurons: give a number between 0 and 0.5, "
                    "such as 0.005 for 0.5 %"
                )
        if self.headline[0] not in self.selectors or self.headline[1] not in self.budgets:
            raise ValueError(
                f"the headline {self.headline} is not among the selectors {list(self.selectors)} and budgets "
                f"{list(self.budgets)}: add it there, or choose another headline"
            )
        if min((*self.sizes, self.size_draws), default=1) < 1:
            raise ValueError(f"sizes {list(self.sizes)} in {self.size_draws} draws: each must be at least 1")
        scope_parts(self.scope)

    @property
    def scope_name(self) -> str:
        """The scope as it stands in tables and set ids."""
        return ALL if self.scope in (ALL, (ALL,)) else "+".join(scope_parts(self.scope))

    def matched_draws(self, budget: float) -> int:
        """How many matched controls the headline's selector has at a budget.

        Example:
            >>> spec = SetSpec(("anger", "fear"), budgets=(0.005, 0.01))
            >>> spec.matched_draws(0.005), spec.matched_draws(0.01)
            (10, 3)
        """
        return self.matched if budget == self.headline[1] else min(BUDGET_DRAWS, self.matched)

    def set_id(
        self, selector: str, budget: float, control: str = "target", draw: int = 0, size: int | None = None,
        layers: str | None = None,
    ) -> str:  # fmt: skip
        """The name of a set; ``size`` is the number of clips where the control is "fewer", ``layers`` a range.

        Example:
            >>> SetSpec(("anger", "fear")).set_id("cas", 0.005, "matched", 3)
            'cas@0.005:audio+answer~matched3'
            >>> SetSpec(("anger", "fear")).set_id("cas", 0.005, "fewer", 1, size=20)
            'cas@0.005:audio+answer~fewer20~draw1'
            >>> SetSpec(("anger", "fear")).set_id("cas", 0.005, "reselected matched", 2, layers="0-8")
            'cas@0.005:audio+answer~layers0-8~matched2'
        """
        name = f"{selector}@{budget:g}:{self.scope_name}"
        if layers is not None:
            name, control = f"{name}~layers{layers}", "matched" if control == "reselected matched" else "target"
        if control == "fewer":
            return f"{name}~fewer{size}~draw{draw}"
        return name if control == "target" else f"{name}~{control}{draw}"
