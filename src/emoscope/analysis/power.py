"""How many speakers and clips a gap needs for an interval clear of zero, by simulation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from emoscope.analysis.contrasts import families, shared
from emoscope.analysis.load import Run
from emoscope.analysis.responses import build_responses
from emoscope.vocabulary import MINIMUM_SPEAKERS

STUDIES = 4000
"""Studies that are simulated for each number; their share is uncertain by 0.8 points (one standard error) at most."""

MOST_CLIPS = 1000  # clips per speaker and emotion beyond which no number is looked for

MEASURES = {"excess_gap": "deactivate", "excess_pull_gap": "steer"}


@dataclass(frozen=True)
class Spread:
    """How gaps vary, in points."""

    between: float  # standard deviation of speakers' own gaps
    within: float  # standard deviation that one clip per emotion adds to a speaker's gap; n clips add it over sqrt(n)
    emotions: int  # how many emotions have a set
    sizes: tuple[float, ...] = (1.0,)  # how many clips speakers have, as multiples of their mean
    source: str = "assumed"  # where it comes from, in words
    estimate: float | None = None  # the gap that the run found; ``None`` where the spread is assumed

    def __post_init__(self) -> None:
        if self.between < 0 or self.within < 0 or self.emotions < 2:
            raise ValueError(
                f"between {self.between:g}, within {self.within:g} points, {self.emotions} emotions: give spreads of at "
                "least 0 and two emotions or more"
            )


@dataclass(frozen=True)
class Need:
    """What one number of speakers can show."""

    speakers: int
    # the fewest clips per speaker and emotion with the wanted power; ``None`` where no number is enough
    clips: int | None
    power: dict[int, float]  # clips per speaker and emotion -> share of studies whose interval is clear of zero, in %


def run_spread(run: Run, measure: str = "excess_gap") -> Spread:
    """How the headline's gap varied in a run, between speakers and within.

    A clip of emotion e with the changes d(m) beyond matched controls under the set of m adds
    c = d(e) / k - (sum of the other d(m)) / (k (k - 1)) to the gap, which is the sum over emotions of the mean c.
    The variance of c within speaker and emotion, summed over emotions, is ``within`` squared; the variance of the
    speakers' own gaps, less what it adds to them, is ``between`` squared (0 where that is below 0). The measure is one
    of :data:`MEASURES`; a ``ValueError`` says what a run lacks.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure {measure!r} is not known: choose from {', '.join(MEASURES)}")
    found = _contributions(run, measure)
    cells = found.group_by("speaker", "emotion").agg(pl.col("c").mean(), pl.col("c").var().alias("var"), n=pl.len())
    emotions = cells["emotion"].n_unique()
    own = cells.group_by("speaker").agg(
        pl.len().alias("emotions"), pl.col("c").sum().alias("gap"), pl.col("n").sum(), pl.col("n").alias("each")
    ).sort("speaker")  # fmt: skip
    whole = own.filter(pl.col("emotions") == emotions)
    if whole.height < 2:
        raise ValueError(
            f"{run.folder} has {whole.height} speaker(s) with clips of all emotions: at least two are needed"
        )
    spread = (
        cells.filter(pl.col("n") > 1)
        .group_by("emotion")
        .agg((pl.col("var") * (pl.col("n") - 1)).sum() / (pl.col("n") - 1).sum())
    )
    by_emotion = dict(zip(spread["emotion"], spread["var"], strict=True))
    inside = cells.join(whole.select("speaker"), on="speaker").with_columns(
        (pl.col("emotion").replace_strict(by_emotion, default=0.0, return_dtype=pl.Float64) / pl.col("n")).alias("adds")
    )
    added = float(inside.group_by("speaker").agg(pl.col("adds").sum())["adds"].mean())  # type: ignore[arg-type]
    between = max(0.0, float(whole["gap"].var()) - added)  # type: ignore[arg-type]
    clips = own["n"].to_numpy()
    estimate = float(found.group_by("emotion").agg(pl.col("c").mean())["c"].sum())
    return Spread(
        between**0.5, sum(by_emotion.values()) ** 0.5, emotions, tuple(np.sort(clips / clips.mean()).tolist()),
        f"measured in {run.folder} ({measure}, {own.height} speakers, {found.height} clips)", estimate,
    )  # fmt: skip


def needs(
    gap: float,
    spread: Spread,
    speakers: Sequence[int],
    clips: Sequence[int],
    wanted: float = 80.0,
    studies: int = STUDIES,
    seed: int = 0,
) -> list[Need]:
    """The power of each number of speakers and clips, and the fewest clips that reach the wanted one.

    Args:
        gap: the true gap, in points; its sign does not matter.
        clips: numbers of clips per speaker and emotion to look at.
        wanted: power, in %.
        seed: of the simulation; the same numbers are drawn for every count of clips.

    A ``ValueError`` says: fewer speakers than an interval needs, no gap, or a power that is no percentage below 100.
    """
    if min(speakers) < MINIMUM_SPEAKERS:
        raise ValueError(f"{min(speakers)} speakers: an interval needs at least {MINIMUM_SPEAKERS}")
    if not gap or min(clips) < 1 or not 0 < wanted < 100:
        raise ValueError(
            f"gap {gap:g}, clips {min(clips)}, power {wanted:g}: give a gap, clips from 1 on, power below 100"
        )
    found = []
    for count in speakers:
        reached = {n: power(gap, spread, count, n, studies, seed) for n in clips}
        found.append(Need(count, _fewest(gap, spread, count, wanted, studies, seed), reached))
    return found


def power(gap: float, spread: Spread, speakers: int, clips: float, studies: int = STUDIES, seed: int = 0) -> float:
    """Share of simulated studies whose 95 % interval is clear of zero on the side of the gap, in %.

    Each speaker's gap is normal around the true one, its variance between² + within² / (its clips per emotion); the
    interval is the delete-one-speaker jackknife's with t and the effective number of speakers, as in a run's tables.
    Clips are per speaker and emotion, in the mean; speakers' own numbers are drawn from the ``sizes`` of the spread.
    """
    rng = np.random.default_rng([seed, speakers])
    noise = rng.standard_normal((studies, speakers))
    sizes = clips * rng.choice(np.asarray(spread.sizes), (studies, speakers))
    gaps = abs(gap) + noise * np.sqrt(spread.between**2 + spread.within**2 / sizes)
    return 100 * float(clear_of_zero(gaps, sizes).mean())


def clear_of_zero(gaps: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Whether the interval of each study lies above 0, from gaps and items of every speaker, (study, speaker)."""
    from scipy.special import stdtrit  # scipy.stats would take longer to import than all this takes

    speakers, total = gaps.shape[1], sizes.sum(1, keepdims=True)
    summed = (gaps * sizes).sum(1, keepdims=True)
    without = (summed - gaps * sizes) / (total - sizes)
    error = np.sqrt((speakers - 1) / speakers * ((without - without.mean(1, keepdims=True)) ** 2).sum(1))
    df = total[:, 0] ** 2 / (sizes**2).sum(1) - 1
    return np.asarray((summed / total)[:, 0] - stdtrit(df, 0.975) * error > 0)


def _fewest(gap: float, spread: Spread, speakers: int, wanted: float, studies: int, seed: int) -> int | None:
    if power(gap, spread, speakers, MOST_CLIPS, studies, seed) < wanted:
        return None
    low, high = 0, MOST_CLIPS
    while high - low > 1:
        middle = (low + high) // 2
        enough = power(gap, spread, speakers, middle, studies, seed) >= wanted
        low, high = (low, middle) if enough else (middle, high)
    return high


def _contributions(run: Run, measure: str) -> pl.DataFrame:
    """What each clip adds to the gap: speaker, emotion, c; letter orders and wordings of a clip are averaged."""
    kind = MEASURES[measure]
    responses = build_responses(run)
    headline = [
        (family, members) for family, members in families(responses, run.conditions)
        if (family["kind"], family["role"]) == (kind, "headline")
    ]  # fmt: skip
    own, matched = ([draw for family, draw in headline if family["control"] == name] for name in ("target", "matched"))
    if not own or not matched:
        raise ValueError(f"{run.folder} has no {measure} of its headline: it lacks the sets or their matched controls")
    targets, used = shared(responses, [own[0], *matched])
    codes = [responses.labels.index(target) for target in targets]
    used = used & np.isin(responses.truth, codes)

    def hits(condition: str, code: int) -> np.ndarray:
        answer = responses.answer(condition)
        return np.asarray(100.0 * (answer == (responses.truth if kind == "deactivate" else code)))

    count, added = len(targets), np.zeros(len(responses.items))
    for target, code in zip(targets, codes, strict=True):
        beyond = hits(own[0][target], code) - np.mean([hits(draw[target], code) for draw in matched], axis=0)
        added += np.where(responses.truth == code, beyond / count, -beyond / (count * (count - 1)))
    frame = pl.DataFrame({
        "item": responses.items[used], "c": added[used], "emotion": [responses.labels[code] for code in responses.truth[used]],
        "speaker": [responses.speakers[place] for place in responses.speaker[used]],
    })  # fmt: skip
    return (
        frame.join(run.items.select("item", "clip"), on="item")
        .group_by("clip", "emotion", "speaker", maintain_order=True)
        .agg(pl.col("c").mean())
    )
