"""The tables of the causal oracle: what single neurons do, how well scores foretell it, and what sets of each size do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import permutations
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.estimate import Estimate
from emoscope.analysis.headline import independent_units
from emoscope.analysis.load import Run
from emoscope.analysis.oracle import Moved, area, foretold, losses
from emoscope.analysis.pairs import Clips
from emoscope.analysis.responses import Responses, build_responses
from emoscope.neurons.candidates import Candidates
from emoscope.neurons.variants import RANDOM, Act, Variant
from emoscope.schemas import as_table
from emoscope.vocabulary import DEACTIVATE, KEEP, PATCH

UNTOUCHED = "untouched"
"""The condition that changes nothing: asked in the same batches as the others, so that rounding is the same."""

UNTOUCHED_TESTED = "untouched/tested"
"""The same on the clips that test alone, which stand in batches of their own where sides are fixed."""

TO: Mapping[str, str] = {DEACTIVATE: "zero", PATCH: "partner"}
"""What is done to single neurons -> to what their products are set."""

ORACLE: Mapping[str, str] = {"zero": "oracle", "partner": "oracle-patched"}
"""To what single neurons' products were set -> their true effects as a selector."""

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Answers:
    """What was answered under changes of the model, arranged for arithmetic."""

    responses: Responses
    logp: np.ndarray  # log-probabilities among an item's options, dimensions (condition, item, option)
    clips: Clips
    codes: tuple[int, ...]  # the options that the candidates' emotions are
    inside: tuple[np.ndarray, ...]  # of each fold, which items are tested in it, bool (item,)
    outside: tuple[np.ndarray, ...]  # of each fold, which items may identify for it, bool (item,)

    @classmethod
    def of(cls, run: Run, asked: pl.DataFrame, known: Candidates) -> Answers:
        """Arrange the answers of a folder.

        Args:
            asked: the items, with their own sides and folds. Those that do not offer every option are left out.
        """
        responses = build_responses(run)
        with np.errstate(invalid="ignore"):  # NaN where an item does not offer an option
            logp = -np.logaddexp(0, -responses.log_odds)
        kept = np.isfinite(logp).all(axis=(0, 2))
        units, _ = independent_units(run, responses)
        speaker, unit = (np.unique(codes[kept], return_inverse=True)[1] for codes in (responses.speaker, units))
        clips = Clips(responses.truth[kept], speaker, unit, len(responses.labels))
        rows = asked.filter(pl.col("item").is_in(responses.items[kept].tolist())).sort("item")
        fold, tests = rows["fold"].to_numpy(), rows["side"].to_numpy() != "identify"
        inside = tuple((fold == name) & tests for name in known.folds)
        # of fixed sides, that which identifies, in all folds
        outside = tuple(~own if tests.all() else ~tests for own in inside)
        codes = tuple(responses.labels.index(name) for name in known.emotions)
        return cls(responses, logp[:, kept], clips, codes, inside, outside)

    def moved(self, conditions: Sequence[str]) -> Moved:
        """What conditions change of the untouched model's answers."""
        rows = self.responses.rows
        level = self.logp[rows[UNTOUCHED_TESTED if UNTOUCHED_TESTED in rows else UNTOUCHED]]
        return Moved(self.clips, level, self.logp[[rows[name] for name in conditions]] - level)


@dataclass(frozen=True, eq=False)
class Singles:
    """The true effects of single neurons under one kind of change."""

    to: str
    effect: np.ndarray  # own pairs minus others on all items that are tested, nat, (1 + unit, neuron, emotion)
    sizes: np.ndarray  # weight of each unit
    lost: np.ndarray  # on the clips inside each fold, nat, (1 + unit, fold, neuron, emotion)
    found: tuple[
        np.ndarray, ...
    ]  # of each fold, what is lost on clips that may identify: the oracle's scores, (emotion, neuron)


def read_singles(answers: Answers, known: Candidates, kinds: Sequence[str]) -> Iterator[Singles]:
    """What each neuron does by itself, by kind of change."""
    codes, tested = list(answers.codes), np.logical_or.reduce(answers.inside)
    inside = [kept[tested] for kept in answers.inside]
    for kind in kinds:
        moved = answers.moved([f"{kind}/{neuron}" for neuron in known.neurons.tolist()])
        found, part = tuple(-moved.within(kept)[:, codes].T for kept in answers.outside), moved.on(tested)
        lost = losses(part, inside)[..., codes]
        yield Singles(TO[kind], part.specific()[..., codes], part.clips.sizes, lost, found)


def oracle_table(known: Candidates, singles: Sequence[Singles], width: int) -> pl.DataFrame:
    """Table ``oracle``: a row for every neuron, emotion and kind of change."""
    rows, sampled = list[Row](), set(known.sampled.tolist())
    chosen: dict[tuple[int, str], dict[str, None]] = {}
    for (selector, _), lists in known.best.items():
        for emotion, neurons in zip(known.emotions, lists, strict=True):
            for neuron in neurons.tolist():
                chosen.setdefault((neuron, emotion), {})[selector] = None
    for one in singles:
        for place, neuron in enumerate(known.neurons.tolist()):
            layer, index = divmod(neuron, width)
            for code, emotion in enumerate(known.emotions):
                about = {"neuron": neuron, "layer": layer, "index": index, "emotion": emotion, "to": one.to}
                about |= {"sampled": neuron in sampled, "chosen_by": [*chosen.get((neuron, emotion), ())]}
                rows.append(about | Estimate(one.effect[:, place, code], one.sizes).named("effect"))
    return as_table("oracle", rows)


def rank_table(known: Candidates, singles: Sequence[Singles]) -> pl.DataFrame:
    """Table ``oracle_ranks``: how well every selector's scores, and the oracle's own, foretell what is lost."""
    rows = list[Row]()
    at_random = np.flatnonzero(np.isin(known.neurons, known.sampled))
    among = {"all asked": [known.pool(fold) for fold in known.folds], "random": [at_random] * len(known.folds)}
    scored = {name: [known.scores[name, fold] for fold in known.folds] for name in known.selectors}
    scored |= {ORACLE[one.to]: list(one.found) for one in singles}
    for one in singles:
        for which, places in among.items():
            for name, scores in scored.items():
                found = foretold(scores, one.lost, places)
                about: Row = {"selector": name, "to": one.to, "among": which}
                about |= {"neurons": float(np.mean([len(each) for each in places]))}
                for emotion, values in (*zip(known.emotions, found.T, strict=True), (None, found.mean(axis=1))):
                    ends = Estimate(values, one.sizes).named("spearman")
                    # no correlation lies beyond
                    ends = {end: None if value is None else min(1.0, max(-1.0, value)) for end, value in ends.items()}
                    rows.append(about | {"emotion": emotion} | ends)
    return as_table("oracle_ranks", rows)


def ranked_neurons(
    known: Candidates, singles: Sequence[Singles], one_list: Sequence[str]
) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    """Neurons in order: selector -> fold -> emotion, the oracle's from what it found outside the fold.

    Args:
        one_list: selectors that make one list for all emotions, which are left out: their sets differ in size by rule.
    """
    ranked: dict[str, dict[str, dict[str, np.ndarray]]] = {
        name: {fold: dict(zip(known.emotions, known.best[name, fold], strict=True)) for fold in known.folds}
        for name in known.selectors
        if name not in one_list
    }
    for one in singles:
        ranked[ORACLE[one.to]] = {}
        for fold, found in zip(known.folds, one.found, strict=True):
            pool = known.pool(fold)
            # stable: equal effects stay in the order of their numbers
            order = [pool[np.argsort(-lost[pool], kind="stable")] for lost in np.nan_to_num(found, nan=-np.inf)]
            by_emotion = zip(known.emotions, (known.neurons[places] for places in order), strict=True)
            ranked[ORACLE[one.to]][fold] = dict(by_emotion)
    return ranked


def conditions_of(variant: Variant, emotions: Sequence[str]) -> list[str]:
    """The conditions in which a set of each emotion is asked."""
    kind = KEEP if variant.act.startswith("keep") else DEACTIVATE
    return [f"{kind}/{emotion}/{variant.name}" for emotion in emotions]


@dataclass(frozen=True, eq=False)
class Measured:
    """What a set does, or the mean over its random draws."""

    neurons: float
    activity: float  # in % of what the decoder writes
    effect: np.ndarray  # the declared estimand, nat, (1 + unit)
    own_share: np.ndarray  # the change of own pairs in % of what the untouched model has, (1 + unit)
    others_share: np.ndarray  # that of other pairs


Cut = tuple[str, Act, int, int | None]  # selector, act, size, which tenth


def measure_sets(
    answers: Answers, known: Candidates, cuts: Sequence[Variant], written: np.ndarray
) -> dict[Cut, Measured]:
    """What every set does; random draws are averaged, tenths are kept apart.

    Args:
        written: how much each neuron of the decoder writes, float64 (neuron,).
    """
    gathered: dict[Cut, list[Measured]] = {}
    for cut in cuts:
        pairs = answers.moved(conditions_of(cut, known.emotions)).targeted(answers.codes)
        members = [its for lists in cut.sets.values() for its in lists.values()]
        shares = [100 * written[its].sum() / written.sum() for its in members]
        means = [values.mean(axis=1) for values in (pairs.own - pairs.others, pairs.own_share, pairs.others_share)]
        one = Measured(float(np.mean([len(its) for its in members])), float(np.mean(shares)), *means)
        tenth = cut.part if cut.act == "a tenth less" else None
        gathered.setdefault((cut.selector, cut.act, cut.size, tenth), []).append(one)
    names = [field.name for field in fields(Measured)]
    return {
        key: Measured(*(np.mean([getattr(one, name) for one in draws], axis=0) for name in names))
        for key, draws in gathered.items()
    }


def _control(key: Cut) -> tuple[Cut, str] | None:
    """With what a set is compared, and what that is called."""
    selector, act, size, _ = key
    if act in ("off", "equal activity"):
        return None if selector == RANDOM else ((RANDOM, act, size, None), "random neurons")
    if act == "keep":
        return (selector, "keep others", size, None), "others of the same layers"
    return None if act == "keep others" else ((selector, "off", size, None), "the whole set")


def set_table(measured: Mapping[Cut, Measured], sizes: np.ndarray) -> pl.DataFrame:
    """Table ``oracle_sets``: what sets of every size and make do, and beyond what they are compared with.

    Args:
        sizes: weight of each independent unit.
    """
    rows = list[Row]()
    for key, one in measured.items():
        selector, act, size, tenth = key
        row: Row = {
            "selector": selector,
            "act": act,
            "size_wanted": size,
            "tenth": None if tenth is None else tenth + 1,
        }
        row |= {"neurons": one.neurons, "activity": one.activity}
        for name in ("effect", "own_share", "others_share"):
            row |= Estimate(getattr(one, name), sizes).named(name)
        if control := _control(key):
            beyond = Estimate(one.effect - measured[control[0]].effect, sizes)
            row |= {"against": control[1]} | beyond.named("excess")
        rows.append(row)
    return as_table("oracle_sets", rows)


def area_table(measured: Mapping[Cut, Measured], sizes: np.ndarray) -> pl.DataFrame:
    """Table ``oracle_areas``: the effect over all sizes together, of every selector and beyond every other one."""
    by_selector: dict[str, dict[int, np.ndarray]] = {}
    for (selector, act, size, _), one in measured.items():
        if act == "off":
            by_selector.setdefault(selector, {})[size] = one.effect
    areas = {
        selector: area(np.array([of[size] for size in sorted(of)]), sorted(of)) for selector, of in by_selector.items()
    }
    rows: list[Row] = [{"selector": name} | Estimate(values, sizes).named("area") for name, values in areas.items()]
    for first, second in permutations(areas, 2):
        beyond = Estimate(areas[first] - areas[second], sizes).named("area")
        rows.append({"selector": first, "against": second} | beyond)
    return as_table("oracle_areas", rows)
