"""The conditions of a study, one row for every intervention under test, and on which neurons each acts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from emoscope.experiments.study import Study, StudyError
from emoscope.neurons.controls import seeded_generator
from emoscope.schemas import as_table
from emoscope.vocabulary import OUTCOME_CONTROLS, OUTCOMES, role_of

if TYPE_CHECKING:
    import polars as pl

    from emoscope.interventions.intervention import Intervention
    from emoscope.models.audio_lm import ModelInfo

POSITION_DRAWS = 5
"""Matched controls that are also deactivated at the headline's positions: the mean of a few is enough there."""


AGNOSTIC_DRAWS = 3
"""Matched controls of steering without a label: the mean of a few is enough there too."""

DOSE_DRAWS = 3
"""Matched controls that are also steered at strengths other than the headline's."""

RANGE_DRAWS = 3
"""Matched controls that are also restricted to ranges of layers."""

DERIVED = ("two-pass", "mix-outputs")
"""Kinds that are read off the stored answers of targeted steering: the model is not asked again."""


def plan_conditions(
    study: Study, sets: pl.DataFrame, layers: int, foreign: pl.DataFrame | None = None, steer: bool = True
) -> pl.DataFrame:
    """Build the table of conditions from the study and the sets that were found.

    Args:
        study: with its budget filled in (:meth:`Study.with_budget`).
        sets: the table of sets (set, selector, budget, scope, control, draw, size, emotion …).
        layers: decoder layers of the model.
        foreign: sets that other parts of the study found, with their ``source``; deactivated to zero, and steered at
            the headline's strength.
        steer: whether foreign sets are steered.

    Returns:
        one row a condition (see docs/architecture.md); baseline and null come first. What is claimed is
        deactivation to zero; to the mean go the target sets, the headline's matched controls, and the reliance lines.
    """
    import polars as pl

    head, work = study.headline, study.interventions
    columns = ["set", "selector", "budget", "scope", "control", "draw", "size"]
    if "layers" not in sets.columns:
        sets = sets.with_columns(pl.lit(None, pl.String).alias("layers"))
    families = sets.filter(sets["layers"].is_null()).select(columns).unique(maintain_order=True)
    # sets of misses or false alarms may lack emotions that others have
    emotions: dict[str, dict[str, None]] = {}
    for name, emotion in sets.select("set", "emotion").iter_rows():
        emotions.setdefault(name, {})[emotion] = None
    rows: list[dict[str, Any]] = [
        {"condition": "baseline", "kind": "baseline", "generated": work.generate},
        {"condition": "null", "kind": "null", "alpha": 0.0},
    ]

    def add(kind: str, family: Mapping[str, Any], **fields: Any) -> None:
        for emotion in emotions[family["set"]]:
            name = f"{kind}/{emotion}/{family['set']}"
            if kind == "steer":
                name += f"/alpha={fields['alpha']:g}"
            name += _to(fields.get("to"))
            if fields.get("positions", "all") != "all":
                name += f"/at={fields['positions']}"
            if "layers" in fields and not fields["layers"].endswith(RESELECTED):  # there the set's name says it
                name += f"/layers={fields['layers']}"
            rows.append({"condition": name, "kind": kind, "target": emotion, **family, **fields})

    for family in families.iter_rows(named=True):
        if family["control"] in OUTCOMES.values() and family["draw"] > 0:
            continue  # a second draw of hits: only its neurons are compared
        other_budget = family["budget"] in study.identify.budgets and family["budget"] != head.budget
        if work.sweep == "headline" and other_budget and family["selector"] != head.selector:
            continue
        headline = family["selector"] == head.selector and family["budget"] == head.budget
        target, matched = family["control"] == "target", family["control"] == "matched"
        claimed = target and headline
        for to in work.deactivate:
            if to == "mean" and not target and not (matched and headline):
                continue
            claim = claimed and to == "zero"
            add("deactivate", family, to=to, headline=claim, generated=claim and work.generate)
        steered = target or (matched and headline) or family["control"] in ("fewer", *OUTCOME_CONTROLS)
        alphas = [head.alpha] if steered else []
        if headline and (target or (matched and family["draw"] < DOSE_DRAWS)):
            alphas = sorted({*work.alphas, head.alpha})
        for alpha in alphas:
            claim = claimed and alpha == head.alpha
            add("steer", family, alpha=alpha, headline=claim, generated=claim and work.generate)
        if work.deactivate and (claimed or (matched and headline and family["draw"] < POSITION_DRAWS)):
            for positions in work.positions:
                add("deactivate", family, to="zero", positions=positions)
        if headline and (target or (matched and family["draw"] < RANGE_DRAWS)):
            for part in layer_ranges(work.layers, layers):
                if work.deactivate:
                    add("deactivate", family, to="zero", layers=part)
                add("steer", family, alpha=head.alpha, layers=part)
            for layer in range(layers) if work.profile and work.deactivate else ():
                add("deactivate", family, to="zero", layers=str(layer))
    found_within = sets.filter(sets["layers"].is_not_null()).select(*columns, "layers").unique(maintain_order=True)
    for family in map(reselected, found_within.iter_rows(named=True)):
        part = family.pop("layers")
        if work.deactivate:
            add("deactivate", family, to="zero", layers=part)
        add("steer", family, alpha=head.alpha, layers=part)
    for family in families.iter_rows(named=True):
        mine_or_like = family["control"] == "target" or (
            family["control"] == "matched" and family["draw"] < AGNOSTIC_DRAWS
        )
        if mine_or_like and family["selector"] == head.selector and family["budget"] == head.budget:
            rows += [
                {"condition": f"{way}/{family['set']}/alpha={head.alpha:g}", "kind": way, "alpha": head.alpha, **family}
                for way in dict.fromkeys(work.agnostic)
            ]
    if work.reliance:
        mine = families.filter(
            (pl.col("selector") == head.selector) & (pl.col("budget") == head.budget) & (pl.col("control") == "target")
        )
        for to in ("zero", "mean") if "mean" in work.deactivate else ("zero",):
            parts: list[tuple[str, dict[str, Any]]] = [("all", {})]
            parts += [(f"layer={n}", {"layers": str(n)}) for n in range(layers)]
            parts += [("union", family) for family in mine.iter_rows(named=True)]
            rows += [
                {"condition": f"reliance/{part}{_to(to)}", "kind": "reliance", "to": to, **fields}
                for part, fields in parts
            ]
    if foreign is not None:
        rows += _foreign(foreign, head.alpha if steer else None)
    declared = {"selector": head.selector, "budget": head.budget, "alpha": head.alpha}
    defaults = {"positions": "all", "layers": "all", "generated": False, "headline": False}
    return as_table("conditions", [row | {"role": role_of(row, declared)} for row in (defaults | row for row in rows)])


def _foreign(sets: pl.DataFrame, alpha: float | None) -> list[dict[str, Any]]:
    """The conditions of sets that other parts found: each emotion (or other label) that the source has a set for."""
    columns = ("set", "selector", "budget", "scope", "control", "draw", "size", "source", "emotion")
    rows = []
    for row in sets.select(columns).unique(maintain_order=True).iter_rows(named=True):
        emotion = row.pop("emotion")
        name = f"{emotion}/{row['set']}"
        rows.append({"condition": f"deactivate/{name}", "kind": "deactivate", "target": emotion, "to": "zero", **row})
        if alpha is not None:
            rows.append({
                "condition": f"steer/{name}/alpha={alpha:g}", "kind": "steer", "target": emotion, "alpha": alpha, **row,
            })  # fmt: skip
    return rows


def _role(control: str) -> str:
    """What a set is in a condition, in the words of a dry run."""
    if control == "fewer":
        return "sets of fewer clips"
    if control in OUTCOME_CONTROLS:
        return f"sets of {control.replace('-', ' ')}"
    return "" if control in ("", "target") else f"{control} control"


def _to(to: str | None) -> str:
    """What a condition's name says of the value to which neurons are set; zero goes without saying."""
    return "" if to in (None, "zero") else f"/to={to}"


@dataclass(frozen=True)
class SetsByFold:
    """The neurons of every set, fold and emotion, and which intervention a condition means for a row.

    Attributes:
        sets: (set, fold) -> emotion -> neurons (flat indices, sorted).
        info: the model's sizes.
        mean_product: mean gated product of every neuron, for conditions to the mean; float32 (layer * width,).
        ranges: the ranges of layers that the study compares.
        shares: item -> option -> probability at baseline, for conditions that mix by the model's own answer.
    """

    sets: Mapping[tuple[str, str], Mapping[str, np.ndarray]]
    info: ModelInfo
    mean_product: np.ndarray
    shares: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    ranges: Ranges = field(default_factory=dict)

    def neurons(self, condition: Mapping[str, Any], fold: str) -> np.ndarray:
        """Neurons on which a condition acts for items of one fold."""
        width, layers = self.info.width, self.info.layers
        if condition["kind"] in ("baseline", "null"):
            return np.arange(0, dtype=np.int64)
        if condition["target"] is None and condition["set"] is not None:
            found = self.sets[condition["set"], fold].values()
            return np.unique(np.concatenate(list(found)))
        if condition["kind"] == "reliance":
            if condition["layers"] == "all":
                return np.arange(layers * width, dtype=np.int64)
            start = int(condition["layers"]) * width
            return np.arange(start, start + width, dtype=np.int64)
        drawn = condition["set"], fold, condition["target"]
        neurons = self.sets[condition["set"], fold][condition["target"]]
        return restricted(neurons, condition["layers"], self.ranges, width, *drawn)

    def means(self, condition: Mapping[str, Any], fold: str) -> np.ndarray | None:
        """What those neurons are set to where that is their mean, otherwise ``None``; float32 (neuron,)."""
        return self.mean_product[self.neurons(condition, fold)] if condition["to"] == "mean" else None

    def intervention(self, condition: Mapping[str, Any], fold: str, item: int | None = None) -> Intervention:
        """What a condition does to items of one fold; ``item`` is needed where each is treated otherwise."""
        from emoscope.interventions.intervention import deactivate, mix, nothing, steer, union

        if condition["kind"] in ("baseline", "null"):
            # a gain of 1 leaves every bit as it is, so the null differs from the baseline by its batches alone
            return nothing()
        if condition["kind"] in ("union", "mix", "mix-own"):
            sets, alpha = self.sets[condition["set"], fold], condition["alpha"]
            if condition["kind"] == "union":
                return union(sets, alpha, condition["positions"])
            shares: Mapping[str, float] = dict.fromkeys(sets, 1.0)
            if condition["kind"] == "mix-own" and item is not None:
                shares = self.shares[item]
            return mix(sets, shares, alpha, condition["positions"])
        neurons, positions = self.neurons(condition, fold), condition["positions"]
        if condition["kind"] == "steer":
            return steer(neurons, condition["alpha"], positions)
        return deactivate(neurons, positions, to=condition["to"], means=self.means(condition, fold))


def describe(conditions: pl.DataFrame, items: int) -> list[tuple[str, int, int]]:
    """Group conditions for a dry run: (what, how many conditions, forward passes over an item).

    Returns:
        rows of (description, conditions, items asked).
    """
    import polars as pl

    single = pl.when(pl.col("layers").str.contains("^[0-9]+$")).then(pl.lit("each alone")).otherwise(pl.col("layers"))
    ranged = pl.when(pl.col("kind") == "reliance").then(pl.lit("all")).otherwise(single)
    named = conditions.with_columns(
        pl.col("selector").fill_null(""), pl.col("control").fill_null(""), ranged.alias("layers")
    )
    rows = []
    for (kind, selector, control, to, positions, layers), group in named.group_by(
        "kind", "selector", "control", "to", "positions", "layers", maintain_order=True
    ):
        parts = [str(kind), str(selector), _role(str(control)),
                 f"to {to}" if to else "", "" if positions == "all" else f"at {positions} positions",
                 "" if layers == "all" else f"in layers {layers}"]  # fmt: skip
        asked = (0 if kind in DERIVED else group.height) + int(group["generated"].sum())
        rows.append((" ".join(part for part in parts if part), group.height, asked * items))
    return rows


Ranges = Mapping[str, tuple[int, int]]
"""Name -> first and last layer."""

RESELECTED = " reselected"
"""Ends what the column ``layers`` of a condition says where its neurons were found within the range."""


def layer_ranges(asked: Sequence[str], layers: int) -> dict[str, tuple[int, int]]:
    """The ranges that a study asks for: name -> first and last layer.

    Args:
        asked: names such as ``"0-3"``; ``"thirds"`` stands for three ranges of like length.
        layers: decoder layers of the model.

    Raises:
        StudyError: the model has no such layer.

    Example:
        >>> layer_ranges(["thirds"], 28)
        {'0-8': (0, 8), '9-18': (9, 18), '19-27': (19, 27)}
    """
    found = {}
    edges = [round(layers * part / 3) for part in range(4)]
    thirds = [f"{a}-{b - 1}" for a, b in itertools.pairwise(edges) if b > a]
    for name in [one for part in asked for one in (thirds if part == "thirds" else [part])]:
        first, last = map(int, name.split("-"))
        if not first <= last < layers:
            raise StudyError(f"interventions.layers {name!r}: the model has the layers 0 to {layers - 1}")
        found[name] = (first, last)
    return found


def ranges_to_reselect(study: Study, layers: int) -> tuple[tuple[int, int], ...]:
    """The ranges within which a study finds the headline's neurons anew."""
    work = study.interventions
    return tuple(layer_ranges(work.layers, layers).values()) if work.reselect_in_ranges else ()


def restricted(neurons: np.ndarray, layers: str, ranges: Ranges, width: int, *seed: object) -> np.ndarray:
    """The neurons of a set on which a condition acts, by what its column ``layers`` says.

    Args:
        neurons: the set, flat numbers; int64 (neuron,).
        layers: ``"all"``; ``"3"``, a single layer; ``"0-8"``, a range, cut as in :func:`within`; ``"0-8 reselected"``,
            where the whole set was found in that range.
        ranges: all ranges that are compared.
        width: neurons of a layer.
        seed: what the draw of :func:`within` depends on.

    Example:
        >>> restricted(np.array([0, 1, 2, 5]), "0", {}, 4)
        array([0, 1, 2])
    """
    neurons = np.asarray(neurons, np.int64)
    if layers == "all" or layers.endswith(RESELECTED):
        return neurons
    if layers.isdigit():
        return neurons[neurons // width == int(layers)]
    return within(neurons, ranges, layers, width, *seed)


def reselected(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a set found within a range is in a condition: a target or a matched set, in these layers alone.

    Args:
        row: of the table of sets; its column ``layers`` names the range.
    """
    control = "matched" if row["control"] == "reselected matched" else "target"
    return {**row, "control": control, "layers": f"{row['layers']}{RESELECTED}"}


def within(neurons: np.ndarray, ranges: Ranges, name: str, width: int, *seed: object) -> np.ndarray:
    """The neurons of one range, cut at random to the number that the range with fewest holds.

    Args:
        neurons: a set, flat numbers; int64 (neuron,).
        ranges: all ranges that are compared.
        name: the range.
        width: neurons of a layer.
        seed: what the draw depends on.

    Example:
        >>> within(np.array([0, 1, 2, 5]), {"0-0": (0, 0), "1-1": (1, 1)}, "1-1", 4)
        array([5])
    """
    layer = np.asarray(neurons, np.int64) // width
    inside = {one: neurons[(layer >= first) & (layer <= last)] for one, (first, last) in ranges.items()}
    size = min(map(len, inside.values()))
    drawn = seeded_generator("layers", name, *seed).choice(inside[name], size, replace=False)
    return np.sort(drawn).astype(np.int64)
