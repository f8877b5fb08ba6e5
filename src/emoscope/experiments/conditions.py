"""The plan of a study: the sets that it wants, and the conditions under test, one row for every intervention.

Selection, conditions, dry run and projection read the same two lists: :func:`set_spec` and :func:`plan_conditions`.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import polars as pl

from emoscope.experiments.schema import Row, Study, StudyError
from emoscope.interventions.kinds import DERIVED
from emoscope.neurons.controls import CONTROLS
from emoscope.neurons.jobs import SetSpec, wanted_sets
from emoscope.schemas import as_table, schema
from emoscope.vocabulary import OUTCOME_CONTROLS, OUTCOMES, RESELECTED, SHUFFLED, role_of

Ranges = Mapping[str, tuple[int, int]]
"""Name -> first and last layer."""

POSITION_DRAWS, AGNOSTIC_DRAWS, FURTHER_DOSE_DRAWS, RANGE_DRAWS = 5, 3, 3, 3
"""Matched controls that are also deactivated at the headline's positions, steered without a label, steered at strengths
below 0 and above 1, and restricted to ranges of layers: the mean of a few is enough there."""

FAMILY = ("set", "selector", "budget", "scope", "control", "draw", "size")
"""What conditions say of the set on which they act."""

OF_SETS = tuple(field.name for field in dataclasses.fields(SetSpec))
"""What a specification of sets holds."""


def layer_ranges(asked: Sequence[str], layers: int) -> dict[str, tuple[int, int]]:
    """The ranges that a study asks for: name -> first and last layer; ``"thirds"`` stands for three of like length.

    Raises:
        StudyError: the model has no such layer.

    Example:
        >>> layer_ranges(["thirds"], 28)
        {'0-8': (0, 8), '9-18': (9, 18), '19-27': (19, 27)}
    """
    found = {}
    edges = [round(layers * part / 3) for part in range(4)]
    thirds = [f"{a}-{b - 1}" for a, b in itertools.pairwise(edges) if b > a]
    for name in [span for part in asked for span in (thirds if part == "thirds" else [part])]:
        first, last = map(int, name.split("-"))
        if not first <= last < layers:
            raise StudyError(f"interventions.layers {name!r}: the model has the layers 0 to {layers - 1}")
        found[name] = (first, last)
    return found


def set_spec(study: Study, emotions: Sequence[str], layers: int) -> SetSpec:
    """The sets that a study wants; :func:`~emoscope.neurons.jobs.wanted_sets` lists them.

    Args:
        layers: decoder layers of the model; sets within ranges of them are left out where it is 0.
    """
    identify, controls, work = study.identify, study.controls, study.interventions
    assert study.headline.budget is not None
    ranges = layer_ranges(work.layers, layers).values() if work.reselect_in_ranges and layers else ()
    # choices of [identify] of the same name
    same = {name: getattr(identify, name) for name in OF_SETS if hasattr(identify, name)}
    return SetSpec(
        **same,
        emotions=tuple(emotions),
        headline=(study.headline.selector, study.headline.budget),
        seed=study.seed,
        floor=identify.lape_floor,
        common_size=identify.compare_at_common_size,
        outcomes=controls.outcomes,
        ranges=tuple(ranges),
        controls={name: getattr(controls, name) for name in CONTROLS}
        | {SHUFFLED: max(controls.shuffled, controls.permuted)},
    )


def planned_sets(spec: SetSpec) -> pl.DataFrame:
    """The sets that a study will find at most, before anything was heard, with the columns that conditions read.

    Every emotion is taken to be identifiable, every size to be there, and some selector to run dry: the budget of the
    common size, which is not known yet, stands as 0.
    """
    types = schema("sets")
    known = [job if job.budget is not None else dataclasses.replace(job, budget=0.0) for job in wanted_sets(spec)]
    rows = [
        {"set": spec.name_of(job), "scope": spec.scope_name, "emotion": emotion}
        | {name: getattr(job, name) for name in ("selector", "budget", "control", "draw", "size", "layers")}
        for job in known
        for emotion in spec.emotions
    ]
    return pl.DataFrame(rows, schema={name: types[name] for name in (*FAMILY, "layers", "emotion")})


def plan_conditions(
    study: Study, sets: pl.DataFrame, layers: int, transferred: pl.DataFrame | None = None, steer: bool = True
) -> pl.DataFrame:
    """Build the table of conditions from the study and the sets that were found.

    Args:
        transferred: sets that other parts of the study found, with their ``source``; deactivated to zero, and steered at
            the headline's strength.
        steer: whether transferred sets are steered.

    Returns:
        one row a condition (see docs/run-folder.md); baseline and null come first. What is claimed is
        deactivation to zero; to the mean go the target sets, the headline's matched controls, and the reliance lines.
    """
    head = study.headline
    # sets of misses or false alarms may lack emotions that others have
    named = sets.group_by("set", maintain_order=True).agg(pl.col("emotion").unique(maintain_order=True))
    emotions: dict[str, list[str]] = dict(named.iter_rows())
    families = sets.select(*FAMILY, "layers").unique(maintain_order=True)
    everywhere = list(families.filter(pl.col("layers").is_null()).drop("layers").iter_rows(named=True))
    rows: list[Row] = [
        {"condition": "baseline", "kind": "baseline", "generated": study.interventions.generate},
        {"condition": "null", "kind": "null", "alpha": 0.0},
    ]
    for family in everywhere:
        rows += _named(family, emotions[family["set"]], _tests(study, family, layers))
    for family in families.filter(pl.col("layers").is_not_null()).iter_rows(named=True):
        # in a condition a set that was found within a range is a target or a matched set, in these layers alone
        control = "matched" if family["control"] == "reselected matched" else "target"
        within = {"layers": f"{family.pop('layers')} {RESELECTED}"}
        rows += _named(family | {"control": control}, emotions[family["set"]], _within(study, within))
    rows += _agnostic(study, everywhere)
    rows += _reliance(study, everywhere, layers)
    if transferred is not None:
        rows += _transferred(transferred, head.alpha if steer else None)
    declared = {"selector": head.selector, "budget": head.budget, "alpha": head.alpha}
    full = [{"positions": "all", "layers": "all", "generated": False, "headline": False, **row} for row in rows]
    return as_table("conditions", [{**row, "role": role_of(row, declared)} for row in full])


def _tests(study: Study, family: Row, layers: int) -> Iterator[Row]:
    """What is done with a set that was found in all layers, in the order of the table."""
    head, work, budget = study.headline, study.interventions, family["budget"]
    control, draw = family["control"], family["draw"]
    headline = family["selector"] == head.selector and budget == head.budget
    target, matched = control == "target", control == "matched" and headline
    other_budget = budget in study.identify.budgets and budget != head.budget
    if control in OUTCOMES.values() and draw > 0:
        return  # a second draw of hits: only its neurons are compared
    if work.sweep == "headline" and other_budget and family["selector"] != head.selector:
        return

    def claim(so: bool) -> Row:
        return {"headline": so, "generated": so and work.generate}

    claimed = target and headline
    for to in work.deactivate:
        if to != "mean" or target or matched:
            yield {"kind": "deactivate", "to": to, **claim(claimed and to == "zero")}
    kind = CONTROLS.get(control) if headline else None
    if control == SHUFFLED and draw >= study.controls.shuffled:
        kind = None  # it serves the permutation test of deactivation alone
    alphas = {head.alpha} if target or kind or control in ("fewer", *OUTCOME_CONTROLS) else set()
    if claimed or (matched and draw < FURTHER_DOSE_DRAWS):
        alphas |= set(work.alphas)
    elif kind and kind.dosed:
        alphas |= {alpha for alpha in work.alphas if 0 < alpha <= 1}
    for alpha in sorted(alphas):
        yield {"kind": "steer", "alpha": alpha, **claim(claimed and alpha == head.alpha)}
    if work.deactivate and (claimed or (matched and draw < POSITION_DRAWS)):
        yield from ({"kind": "deactivate", "to": "zero", "positions": positions} for positions in work.positions)
    if claimed or (matched and draw < RANGE_DRAWS):
        for part in layer_ranges(work.layers, layers):
            yield from _within(study, {"layers": part})
        for layer in range(layers) if work.profile and work.deactivate else ():
            yield {"kind": "deactivate", "to": "zero", "layers": str(layer)}


def _within(study: Study, where: Row) -> Iterator[Row]:
    """What is done in a range of layers."""
    if study.interventions.deactivate:
        yield {"kind": "deactivate", "to": "zero", **where}
    yield {"kind": "steer", "alpha": study.headline.alpha, **where}


def _named(family: Row, emotions: Iterable[str], tests: Iterable[Row]) -> Iterator[Row]:
    """The conditions of a set: what is done with it, to the neurons of each emotion."""
    for fields in tests:
        end = f"/alpha={fields['alpha']:g}" if fields["kind"] == "steer" else ""
        end += _to(fields.get("to"))
        if "positions" in fields:
            end += f"/at={fields['positions']}"
        # where it was found within a range, the set's name says so
        if "layers" in fields and not str(fields["layers"]).endswith(RESELECTED):
            end += f"/layers={fields['layers']}"
        for emotion in emotions:
            name = f"{fields['kind']}/{emotion}/{family['set']}{end}"
            yield {"condition": name, "target": emotion, **family, **fields}


def _agnostic(study: Study, families: Iterable[Row]) -> Iterator[Row]:
    """Steering without a label, by the headline's sets and some of their matched controls."""
    alpha = study.headline.alpha
    for family in _of_headline(study, families, AGNOSTIC_DRAWS):
        for way in dict.fromkeys(study.interventions.agnostic):
            yield {"condition": f"{way}/{family['set']}/alpha={alpha:g}", "kind": way, "alpha": alpha, **family}


def _reliance(study: Study, families: Sequence[Row], layers: int) -> Iterator[Row]:
    """All MLPs off, each layer off, the union of the headline's sets off."""
    work = study.interventions
    parts: list[tuple[str, Row]] = [("all", {})]
    parts += [(f"layer={n}", {"layers": str(n)}) for n in range(layers)]
    parts += [("union", family) for family in _of_headline(study, families, 0)]
    for to in (("zero", "mean") if "mean" in work.deactivate else ("zero",)) if work.reliance else ():
        for part, fields in parts:
            yield {"condition": f"reliance/{part}{_to(to)}", "kind": "reliance", "to": to, **fields}


def _of_headline(study: Study, families: Iterable[Row], draws: int) -> Iterator[Row]:
    """The headline's target sets, and so many draws of their matched controls."""
    for family in families:
        control, draw = family["control"], family["draw"]
        wanted = control == "target" or (control == "matched" and draw < draws)
        if wanted and (family["selector"], family["budget"]) == (study.headline.selector, study.headline.budget):
            yield family


def _transferred(sets: pl.DataFrame, alpha: float | None) -> Iterator[Row]:
    """The conditions of sets that other parts found: each emotion (or other label) that the source has a set for."""
    tests: list[Row] = [{"kind": "deactivate", "to": "zero"}]
    tests += [{"kind": "steer", "alpha": alpha}] if alpha is not None else []
    for row in sets.select(*FAMILY, "source", "emotion").unique(maintain_order=True).iter_rows(named=True):
        yield from _named(row, [row.pop("emotion")], tests)


def _to(to: object) -> str:
    """What a condition's name says of the value to which neurons are set; zero goes without saying."""
    return "" if to in (None, "zero") else f"/to={to}"


def passes(conditions: pl.DataFrame) -> tuple[int, int]:
    """How often each item is asked under these conditions: by likelihood (the baseline too), and in writing."""
    return int((~conditions["kind"].is_in(DERIVED)).sum()), int(conditions["generated"].sum())


def describe(conditions: pl.DataFrame, items: int) -> list[tuple[str, int, int]]:
    """Group conditions for a dry run: (what, how many conditions, forward passes over an item)."""
    single = pl.when(pl.col("layers").str.contains("^[0-9]+$")).then(pl.lit("each alone")).otherwise(pl.col("layers"))
    ranged = pl.when(pl.col("kind") == "reliance").then(pl.lit("all")).otherwise(single)
    named = conditions.with_columns(pl.col("selector", "control").fill_null(""), layers=ranged)
    keys = "kind", "selector", "control", "to", "positions", "layers"
    sets = {"": "", "target": "", "fewer": "sets of fewer clips"}
    sets |= {control: f"sets of {control.replace('-', ' ')}" for control in OUTCOME_CONTROLS}
    rows = []
    for (kind, selector, control, to, positions, layers), group in named.group_by(*keys, maintain_order=True):
        parts = [kind, selector, sets.get(str(control), f"{control} control"), f"to {to}" if to else ""]
        parts += ["" if positions == "all" else f"at {positions} positions"]
        parts += ["" if layers == "all" else f"in layers {layers}"]
        rows.append((" ".join(str(part) for part in parts if part), group.height, sum(passes(group)) * items))
    return rows
