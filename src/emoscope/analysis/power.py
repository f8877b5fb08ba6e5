"""How many speakers and clips a declared claim needs to be supported, by simulation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from emoscope.analysis.answer_table import AnswerTable, answer_table, run_answers
from emoscope.analysis.beyond import Beyond, Names
from emoscope.analysis.declared import (
    FEWEST_DRAWS,
    FEWEST_EMOTIONS,
    apart_by_name,
    apart_share_by_name,
    beyond_names,
    gather,
)
from emoscope.analysis.judging import chosen_control
from emoscope.analysis.load import Run
from emoscope.analysis.pairs import Clips, PairChange
from emoscope.vocabulary import DEACTIVATE, LEVEL, MINIMUM_SPEAKERS, TARGET

STUDIES = 2000
"""Studies that are simulated for each number; their share is uncertain by 1.1 points (one standard error) at most."""

MOST_CLIPS = 1000  # clips per speaker and emotion beyond which no number is looked for

CLAIMS: Mapping[str, tuple[Callable[[PairChange], np.ndarray], str]] = {
    "exists": (apart_by_name, "nat"),
    "disproportionate": (apart_share_by_name, "%"),
}
"""Claims whose power can be asked -> what they test, and its unit."""


@dataclass(frozen=True)
class Spread:
    """How what a claim tests varies, in the claim's unit (nat, or % for *disproportionate*)."""

    between: float  # standard deviation of speakers' own values, beyond control sets
    within: float  # standard deviation that one clip per emotion adds to it; n clips add it over sqrt(n)
    sets: float  # standard deviation between sets that know no emotion, without what the clips alone explain
    emotions: int  # how many emotions have a set
    whole: float  # what the untouched model has: a loss of 100 %
    draws: int = 10  # of control sets
    alone: float = (
        0.9  # variance of one control set over speakers, as a share of that of the target sets beyond controls
    )
    sizes: tuple[float, ...] = (1.0,)  # how much speakers weigh, as multiples of their mean
    unit: str = "nat"
    source: str = "assumed"  # where it comes from, in words
    estimate: float | None = None  # what was found there; ``None`` where the spread is assumed
    # standard deviation between target sets, by how they act on emotions that they are not named after, without what the
    # clips alone explain; ``None``: as between control sets
    names: float | None = None
    names_alone: float = (
        1.0  # what the clips alone add to that variance, as a share of what they add to the tested value
    )

    def __post_init__(self) -> None:
        spreads = self.between, self.within, self.sets, self.alone, self.names or 0.0, self.names_alone
        if min(spreads) < 0 or self.emotions < 3 or self.whole <= 0:
            raise ValueError(
                f"between {self.between:g}, within {self.within:g}, sets {self.sets:g} {self.unit}, {self.emotions} emotions, "
                f"separation {self.whole:g}: give spreads of at least 0, three emotions or more, and a separation above 0"
            )
        if self.draws < FEWEST_DRAWS:
            raise ValueError(f"{self.draws} draws of control sets: claims need at least {FEWEST_DRAWS}")


@dataclass(frozen=True)
class Need:
    """What one number of speakers can show."""

    speakers: int
    # the fewest clips per speaker and emotion with the wanted power; ``None`` where no number is enough
    clips: int | None
    power: dict[int, float]  # clips per speaker and emotion -> share of studies in which the claim is supported, in %


def run_spread(run: Run, claim: str = "exists") -> Spread:
    """How what a claim tests varied in a run; see :func:`spread_of`."""
    return spread_of(answer_table(run_answers(run)[0]), claim, f"measured in {run.folder}")


def spread_of(table: AnswerTable, claim: str = "exists", source: str = "measured") -> Spread:
    """How what a claim tests varied in a table of answers: between speakers, within, and between control sets.

    The tested value is a sum over emotions of the means of a number c of each clip (docs/method.md). The variance of c
    within speaker and emotion, summed over emotions, is ``within`` squared; the variance of the values of speakers (or
    sessions), less what the former adds to them, is ``between`` squared (0 where that is below 0). The variances between
    control sets and between target sets are those of the claim's own error, the latter without what the draws' mean adds
    to it (0 where that is below 0). A ``ValueError`` says what is lacking.
    """
    if claim not in CLAIMS:
        raise ValueError(f"claim {claim!r} cannot be planned: choose from {', '.join(CLAIMS)}")
    control = chosen_control(table)
    under = table.under.get((DEACTIVATE, None), {})
    draws = under.get(control or "", ())
    if TARGET not in under or len(draws) < FEWEST_DRAWS:
        raise ValueError(
            f"{source}: {len(draws)} draws of control sets are switched off, {FEWEST_DRAWS} are needed to measure a spread"
        )
    if len(table.targets) < FEWEST_EMOTIONS:
        raise ValueError(f"{source}: {len(table.targets)} emotions have a set, {FEWEST_EMOTIONS} are needed")
    clips, targets = table.coded(), [table.options.index(name) for name in table.targets]
    off = (under[TARGET][0], draws)
    evidence = gather(clips, table.untouched, off, {}, targets, None)
    assert evidence.off is not None
    statistic, unit = CLAIMS[claim]
    tested = beyond_names(evidence.off, evidence.sizes, statistic)
    c = _contributions(clips, off, evidence.off.own, share=claim == "disproportionate")
    between, within = _components(clips, c)
    before = np.nan_to_num(evidence.untouched[0])
    whole = 100.0 if unit == "%" else float(np.mean([before[m][evidence.testable[m]].mean() for m in targets]))
    each = [Beyond(draw, tested.draws[:0], tested.sizes) for draw in tested.draws - tested.draws.mean(axis=0)]
    of_one = float(np.mean([draw.set_variance[0] for draw in each])) * len(draws) / (len(draws) - 1)
    alone = of_one / float(tested.set_variance[0]) if tested.set_variance[0] > 0 else 0.0
    sizes = evidence.sizes[evidence.sizes > 0]
    between_sets, between_names = float(tested.between_sets[0]), float(tested.between_names[0][0])
    assert tested.names is not None  # there are three emotions
    return Spread(
        between, within, between_sets**0.5, len(targets), whole, len(draws), alone,
        tuple(np.sort(sizes / sizes.mean()).tolist()), unit,
        f"{source} ({claim}, {tested.units} speakers or sessions, {len(clips.truth)} clips)", float(tested.estimate[0]),
        max(0.0, between_names - between_sets / len(draws)) ** 0.5,
        float(tested.names.alone[0] / tested.set_variance[0]) if tested.set_variance[0] > 0 else 0.0,
    )  # fmt: skip


def _contributions(
    clips: Clips, off: tuple[np.ndarray, Sequence[np.ndarray]], own: PairChange, share: bool
) -> np.ndarray:
    """What each clip adds to the tested value beyond control sets, dimension (item)."""
    moved = off[0] - np.mean(off[1], axis=0)  # (target, item, option)
    found = np.zeros(len(clips.truth))
    level = np.nan_to_num(own.untouched[0])
    for place, target in enumerate(own.targets):
        named = np.arange(clips.options) == target
        pairs = (named[:, None] | named[None, :]) & own.testable
        others = ~(named[:, None] | named[None, :]) & own.testable
        weights = [each / ((each * level).sum() / 100 if share else each.sum()) for each in (pairs, others)]
        weight = (weights[0] - weights[1])[clips.truth]  # (item, other emotion)
        said = np.take_along_axis(moved[place], clips.truth[:, None], axis=1)
        # a pair stands twice in the matrix, once from either side
        found += 2 * (weight * (said - moved[place])).sum(axis=1) / len(own.targets)
    return found


def _components(clips: Clips, c: np.ndarray) -> tuple[float, float]:
    """Standard deviations between units and within speaker and emotion."""
    speakers, k = int(clips.speaker.max()) + 1, clips.options
    place = clips.speaker * k + clips.truth
    counts = np.bincount(place, minlength=speakers * k).reshape(speakers, k)
    sums, squares = (np.bincount(place, values, minlength=speakers * k).reshape(speakers, k) for values in (c, c**2))
    spoken = np.maximum(counts, 1)
    degrees = np.maximum(counts - 1, 0).sum(axis=0)
    apart_squares = np.maximum((squares - sums**2 / spoken).sum(axis=0), 0.0)
    inside = np.divide(apart_squares, degrees, out=np.zeros(k), where=degrees > 0)
    whole = (counts[:, counts.any(axis=0)] > 0).all(axis=1)
    if whole.sum() < 2:
        raise ValueError(f"{whole.sum()} speaker(s) have clips of all emotions: at least two are needed")
    value, added = (sums / spoken).sum(axis=1)[whole], (inside * (counts > 0) / spoken).sum(axis=1)[whole]
    unit_of = np.zeros(speakers, int)
    unit_of[clips.speaker] = clips.unit
    _, unit = np.unique(unit_of[whole], return_inverse=True)
    size = np.bincount(unit)
    own, adds = np.bincount(unit, value) / size, np.bincount(unit, added) / size**2
    between = max(0.0, float(own.var(ddof=1) - adds.mean())) if len(own) > 1 else 0.0
    return between**0.5, float(inside.sum()) ** 0.5


def needs(
    loss: float,
    spread: Spread,
    speakers: Sequence[int],
    clips: Sequence[int],
    wanted: float = 80.0,
    studies: int = STUDIES,
    seed: int = 0,
) -> list[Need]:
    """The power of each number of speakers and clips, and the fewest clips that reach the wanted one.

    Args:
        loss: the true relative loss of the own emotion beyond that of others, in %.
        speakers: numbers of speakers; where these answer each other, of sessions.
        clips: numbers of clips per speaker and emotion to look at.
        wanted: power, in %.
        seed: of the simulation; the same numbers are drawn for every count of clips.

    A ``ValueError`` says: fewer speakers than an interval needs, no loss, or a power that is no percentage below 100.
    """
    if min(speakers) < MINIMUM_SPEAKERS:
        raise ValueError(f"{min(speakers)} speakers: a claim needs at least {MINIMUM_SPEAKERS}")
    if not 0 < loss <= 100 or min(clips) < 1 or not 0 < wanted < 100:
        raise ValueError(
            f"loss {loss:g}, clips {min(clips)}, power {wanted:g}: give a loss in % up to 100, clips from 1 on, power below "
            "100"
        )
    found = []
    for count in speakers:
        reached = {n: power(loss, spread, count, n, studies, seed) for n in clips}
        found.append(Need(count, _fewest(loss, spread, count, wanted, studies, seed), reached))
    return found


def power(loss: float, spread: Spread, speakers: int, clips: float, studies: int = STUDIES, seed: int = 0) -> float:
    """Share of simulated studies in which the claim is supported, in %.

    Each speaker's value is normal around the true one, its variance between² + within² / (its clips per emotion); target
    sets are off by a common normal amount of variance names², every draw of control sets by one of variance sets². The
    error is that of the claim (:class:`~emoscope.analysis.beyond.Beyond`), to which target sets show on other names how
    much they differ; the level half of 5 %, as where amplification shows nothing
    (Holm 1979). Clips are per speaker and emotion, in the mean; weights of speakers follow the ``sizes`` of the spread.
    """
    own, draws, sizes, names = simulated(loss, spread, speakers, clips, studies, seed)
    return 100 * float(supported(Beyond(_replicates(own, sizes), _replicates(draws, sizes), sizes, names)).mean())


def simulated(
    loss: float, spread: Spread, speakers: int, clips: float, studies: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, Names]:
    """Values of speakers in simulated studies: under the target sets (speaker, study), under draws of control sets (draw,
    speaker, study); the weight of each speaker; and how target sets act on other names.
    """  # fmt: skip
    rng = np.random.default_rng([seed, speakers])
    count = spread.draws
    off, of_draws = rng.standard_normal(studies), rng.standard_normal((count, 1, studies))
    noise = rng.standard_normal((1 + count, speakers, studies), dtype=np.float32)
    sizes = np.quantile(spread.sizes, (np.arange(speakers) + 0.5) / speakers)
    variance = spread.between**2 + spread.within**2 / (clips * sizes)
    draws = spread.sets * of_draws + noise[1:] * np.sqrt(spread.alone * variance)[:, None]
    # what the mean of the draws adds to the difference is part of the measured spread
    left = max(0.0, 1 - spread.alone / count)
    own_sets = spread.sets if spread.names is None else spread.names
    own = spread.whole * loss / 100 + own_sets * off + noise[0] * np.sqrt(left * variance)[:, None]
    # effects on other names are independent of that on the own one: a set's mean over names does not count
    free = spread.emotions * (spread.emotions - 2)
    by_clips = spread.names_alone * float(sizes**2 @ variance) / sizes.sum() ** 2
    by_sets = own_sets**2 + spread.sets**2 / count
    found = (by_sets + by_clips) * rng.chisquare(free, studies) / free
    alone = by_clips * rng.chisquare(free * (speakers - 1), studies) / (free * (speakers - 1))
    return own, draws, sizes, Names(found, alone, free)


def supported(tested: Beyond) -> np.ndarray:
    """Whether each study's value lies above 0 with p below half the level; one study a statistic."""
    from scipy.special import stdtr  # scipy.stats would take longer to import than all this takes

    p = 2 * stdtr(tested.df, -np.abs(tested.estimate / tested.error))
    return np.asarray((tested.estimate > 0) & (p < LEVEL / 2))


def _replicates(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Means over speakers, with all and without each, from values (..., speaker, study)."""
    weighted = values * sizes[:, None]
    total = weighted.sum(axis=-2, keepdims=True)
    without = (total - weighted) / (sizes.sum() - sizes)[:, None]
    return np.concatenate([total / sizes.sum(), without], axis=-2)


def _fewest(loss: float, spread: Spread, speakers: int, wanted: float, studies: int, seed: int) -> int | None:
    if power(loss, spread, speakers, MOST_CLIPS, studies, seed) < wanted:
        return None
    low, high = 0, MOST_CLIPS
    while high - low > 1:
        middle = (low + high) // 2
        enough = power(loss, spread, speakers, middle, studies, seed) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return high
