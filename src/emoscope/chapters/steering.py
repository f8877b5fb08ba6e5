"""What does amplification do, and does more of it do more? Page's trend test over the strengths, speakers as blocks."""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import permutations

import altair as alt
import numpy as np
import polars as pl

from emoscope.analysis.contrasts import FAMILY, Change, Compared, measures
from emoscope.analysis.estimate import Estimate, ratio
from emoscope.analysis.parts import Part, Row, StudyRuns, first
from emoscope.chapters.deactivation import by_measure, draw_matrices, say_verdicts, tabulate_effects
from emoscope.report.caveats import matching, rank
from emoscope.report.page import Figure, Note, Question, Table
from emoscope.report.plots import BEYOND, CURVE, HOLLOW, INTERVALS, SERIES_KEY, curve, stacked
from emoscope.report.theme import Chart, title
from emoscope.report.wording import CLEAR_HIGH, CONTROLS, OPEN, UNTESTED, made_of, of_corpus, outcome, strengths, tally
from emoscope.schemas import as_table
from emoscope.vocabulary import LEAST_LETTER_MASS, LEVEL, MINIMUM_SPEAKERS, acting
from emoscope.wording import listed, number, p_value, spread

MOST_ALPHA = 1.0
"""The rising part, fixed before any run: 0 < alpha <= 1. Beyond it answers may collapse."""

FEWEST = 3
"""Strengths that Page's test needs."""

SHARED = tuple(name for name in FAMILY if name != "alpha")

TESTED = ("pull", "pull_gap")
"""Measures that are tested, of the sets, of their controls, and of the sets beyond matched controls."""


def trend(compared: Sequence[Compared]) -> pl.DataFrame:
    """Whether pull and pull gap rise with alpha where 0 < alpha <= 1, for every selector steered at several strengths.

    Page's test (Page 1963) ranks each speaker's effects over the strengths, and asks whether the ranks rise in
    their order; one-sided. A speaker without a clip of some emotion is no block. ``slope`` is that of the least
    squares line through the effects of all speakers, in points per unit of alpha, with its jackknife interval.

    In table ``trend``, ``page_l`` is Page's L and ``blocks`` how many speakers it ranks. Measures that begin with
    excess_ are those beyond matched controls.
    """
    groups: dict[tuple[object, ...], list[Compared]] = {}
    for effect in compared:
        family = effect.family
        # the mean over draws stands for a control: as one treatment a speaker, like the set that it is a control of
        single = family["control"] == "target" or family["draw"] is None
        if family["kind"] == "steer" and single and 0 < family["alpha"] <= MOST_ALPHA:
            groups.setdefault(tuple(family[name] for name in SHARED), []).append(effect)
    rows: list[Row] = []
    for key, members in groups.items():
        members.sort(key=lambda member: float(member.family["alpha"]))
        about = dict(zip(SHARED, key, strict=True))
        if len(members) < 2:
            continue
        rows += _rows(about, members, [member.change for member in members], "")
        beyond = [member.excess.beyond for member in members if member.excess is not None]
        if len(beyond) == len(members):
            rows += _rows(about, members, beyond, "excess_")
    return as_table("trend", rows)


def _rows(about: Row, members: Sequence[Compared], changes: Sequence[Change], prefix: str) -> list[Row]:
    alphas = np.array([member.family["alpha"] for member in members], dtype=float)
    away = alphas - alphas.mean()
    sizes = np.min([change.items.sum(axis=1) for change in changes], axis=0)
    rows = []
    for measure in TESTED:
        over = np.stack([measures(change)[measure].values for change in changes])
        line = Estimate(away @ over / float(away @ away), sizes, any(change.unreliable for change in changes)).columns()
        blocks = np.stack([of_each_speaker(change)[measure] for change in changes], axis=1)
        found = page(blocks[~np.isnan(blocks).any(axis=1)])
        words = f"{prefix}{measure} rises with alpha".replace("_", " ")
        row = about | line | {"measure": prefix + measure, "tests": words, "slope": line["estimate"]} | found
        row |= {"alphas": ", ".join(f"{alpha:g}" for alpha in alphas), "unit": "points per unit of alpha"}
        rows.append(row | {"reason": found["reason"] or line["reason"]})
    return rows


def of_each_speaker(change: Change) -> dict[str, np.ndarray]:
    """Pull and pull gap of every speaker alone, in points; NaN without a clip of each target. Dimension (speaker)."""
    targets = list(change.targets)
    cells = ratio(100 * change.said[:, :, targets], change.items[:, np.newaxis, targets])
    own = np.einsum("gmm->gm", cells).mean(axis=1)
    size = len(targets)
    others = (cells.sum(axis=(1, 2)) - own * size) / (size * (size - 1)) if size > 1 else np.full_like(own, np.nan)
    return {"pull": own, "pull_gap": own - others}


def page(blocks: np.ndarray) -> Row:
    """Page's L of ``blocks`` (speaker, strength in rising order), its one-sided p, or the reason why there is none.

    Example:
        >>> page(np.array([[1.0, 2.0, 3.0]] * 5))["page_l"]  # 5 * (1*1 + 2*2 + 3*3)
        70.0
    """
    found: Row = {"page_l": None, "p": None, "blocks": len(blocks), "reason": None}
    if blocks.shape[1] < FEWEST:
        return found | {"reason": f"only {blocks.shape[1]} strengths up to {MOST_ALPHA:g}: the test needs {FEWEST}"}
    if len(blocks) < MINIMUM_SPEAKERS:
        return found | {"reason": f"only {len(blocks)} speakers with every emotion: {MINIMUM_SPEAKERS} are needed"}
    values = blocks.round(9)  # sums that cancel are ties
    lower, upper = values[:, :, None] > values[:, None, :], values[:, :, None] >= values[:, None, :]
    ranks = (lower.sum(axis=2) + upper.sum(axis=2) + 1) / 2
    statistic = float((ranks.sum(axis=0) * np.arange(1, ranks.shape[1] + 1)).sum())
    return found | {"page_l": statistic, "p": _page_p(statistic, *ranks.shape)}


def _page_p(statistic: float, blocks: int, strengths: int) -> float:
    """The chance of Page's L or more: exact for few, from the normal distribution otherwise (Page 1963).

    What scipy.stats.page_trend_test gives, whose import takes longer than all tables of a run.
    """
    if strengths > 8 or (blocks > 12 and strengths > 3) or blocks > 20:
        from scipy.special import ndtr

        expected = blocks * strengths * (strengths + 1) ** 2 / 4
        variance = blocks * strengths**2 * (strengths + 1) * (strengths**2 - 1) / 144
        return float(ndtr(-(statistic - expected) / np.sqrt(variance)))
    ranks = range(1, strengths + 1)
    counts = Counter(sum(map(operator.mul, ranks, order)) for order in permutations(ranks))
    least, most = min(counts), max(counts)
    one = [counts[value] / math.factorial(strengths) for value in range(least, most + 1)]
    every = np.array(one)  # the chance of each sum over blocks, from the least on
    for _ in range(blocks - 1):
        before, every = every, np.zeros(len(every) + len(one) - 1)
        for place, chance in enumerate(one):
            every[place : place + len(before)] += before * chance
    return float(np.sum(every[max(0, int(statistic) - blocks * least) :]))


def draw_steering(part: Part) -> Chart | None:
    """The pull matrix of the headline selector next to its controls."""
    heading = title(
        f"Which answers amplification pulls to the amplified emotion (alpha = {part.alpha or 0:g})",
        "Row: the emotion whose neurons were amplified; cell: how many more of the column's clips are answered with "
        "the row's emotion. Framed: its own clips. Bold: clear of zero after correction for all cells of the matrix.",
    )
    return draw_matrices(part, "steer", "pull", tuple(CONTROLS), "change of the share answered (points)", heading)


DOSED = {
    "pull": "clips of the emotion answered so (points)",
    "pull_cross": "clips of other emotions answered so (points)",
    "uar_change": "change of UAR (points)",
}
"""The measures that are drawn over alpha."""


def draw_dose(study: StudyRuns) -> Chart | None:
    """Pull and UAR over alpha for the headline's and matched neurons, and the letter mass, a line a corpus."""
    drawn: dict[str, list[Chart]] = {part.name: [] for part in study.mains}
    unreliable, letters = False, False
    for part in study.mains:
        found = acting(part.table("effects"), "steer", "headline", "dose").filter(
            pl.col("control").is_in(["target", "matched"]), pl.col("measure").is_in(list(DOSED))
        )
        if found.is_empty():
            continue
        found = found.with_columns(
            pl.col("unreliable").fill_null(False), x="alpha", series=pl.col("control").replace(CONTROLS)
        )
        x = alt.X("x:Q", title="strength, alpha (gain − 1)").axis(grid=False, tickCount=5)
        charts = drawn[part.name]
        charts += [curve(found.filter(measure=name).select(CURVE), x, label, rule=0) for name, label in DOSED.items()]
        mass = _letter_mass(part)
        if len(mass):
            charts.append(curve(mass, x, "probability on the letters (%)", rule=100 * LEAST_LETTER_MASS))
        unreliable, letters = unreliable or bool(found["unreliable"].any()), letters or len(mass) > 0
    last = (
        "Last: the probability on the letters, mean over the emotions’ sets, line from the least to the most; below "
        "the dashed line the model stops answering with a letter, and the other pictures say little. "
    )
    return stacked(
        drawn,
        title(
            "What more and less amplification does",
            f"{INTERVALS} First and second: how many more clips are answered with the amplified emotion, where it was "
            "spoken and where another one was. Third: what that costs or gains over all emotions. "
            f"{last if letters else ''}Below zero neurons are weakened.{' ' + HOLLOW if unreliable else ''}",
        ),
        spacing=10,
    )


def _letter_mass(part: Part) -> pl.DataFrame:
    """The letter mass of the conditions behind a dose curve: mean, least and most over the emotions' sets, in %."""
    mass = part.table("uar").filter(scoring="likelihood").select("condition", "letter_mass")
    steered = part.run.conditions.filter(
        pl.col("role").is_in(["headline", "dose"]), pl.col("control").is_in(["target", "matched"]), kind="steer"
    )
    share = 100 * pl.col("letter_mass")
    means = steered.join(mass, on="condition").drop_nulls("letter_mass").group_by("control", "alpha")
    found = means.agg(estimate=share.mean(), low=share.min(), high=share.max()).sort("control", "alpha")
    unreliable = pl.col("estimate") < 100 * LEAST_LETTER_MASS
    found = found.with_columns(x="alpha", series=pl.col("control").replace(CONTROLS), unreliable=unreliable)
    return found.select(CURVE)


def tabulate_trend(study: StudyRuns) -> pl.DataFrame | None:
    """Whether effects rise with alpha, next to matched neurons."""
    names = {"pull": "pull, own emotion", "pull_gap": "pull gap"}
    rows = []
    for part in study.mains:
        found = part.own("trend").filter(layers="all", positions="all").sort("control", descending=True)
        for row in found.iter_rows(named=True):
            name = row["measure"].removeprefix("excess_")
            rows.append(
                {
                    "corpus": part.name,
                    "does it rise?": names[name],
                    "neurons": CONTROLS[row["control"]] if row["measure"] == name else BEYOND,
                    "alpha": row["alphas"],
                    "points per unit of alpha": spread(row | {"estimate": row["slope"]}),
                    "Page’s L": number(row["page_l"]),
                    "speakers": str(row["blocks"]),
                    "p": p_value(row["p"]),
                    "why": row["reason"] or "",
                }
            )
    return made_of(study, rows)


def draw_steering_of_parts(study: StudyRuns) -> Chart | None:
    """How many more clips are answered with the amplified emotion, and UAR, a row a corpus."""
    return by_measure(
        study,
        "steer",
        (
            ("pull_overall", "all clips answered so (points)", None),
            ("pull_gap", "own minus other clips (points)", None),
            ("uar_change", "change of UAR (points)", None),
        ),
        title(
            f"What amplifying the headline’s neurons does (alpha = {strengths(study)})",
            f"{INTERVALS} {SERIES_KEY} First: how many more of all clips are answered with the amplified emotion. "
            "Second: the same on its "
            "own clips minus that on the others. Third: what that costs or gains over all emotions.",
        ),
    )


def say_steering(study: StudyRuns) -> list[str]:
    """Whether amplification draws answers to the emotion."""
    sentences = tally(
        [outcome(part.name, part.effect("steer", "excess_pull_overall"), part) for part in study.mains],
        "Amplified, they draw fewer clips to their emotion than matched neurons do: {}.",
        "Amplified, they draw more clips to their emotion than matched neurons do: {}.",
        "Whether they draw more clips to their emotion than matched neurons do is open: {}.",
    )
    return [*sentences, *say_verdicts(study, "steer", "Amplified")]


def say_dose(study: StudyRuns) -> list[str]:
    """Whether more amplification draws more answers, and where the letters give way."""
    if all(part.table("trend").is_empty() for part in study.mains):
        return _collapse(study)
    found = []
    for part in study.mains:
        row = first(part.own("trend"), layers="all", positions="all", measure="excess_pull")
        finding = outcome(part.name, row and row | {"estimate": row["slope"]}, part, "points per unit of alpha")
        if row is not None and finding.found == CLEAR_HIGH:  # Page's test must hold, too
            judged = UNTESTED if row["p"] is None else CLEAR_HIGH if row["p"] < LEVEL else OPEN
            finding = replace(finding, found=judged, why=row["reason"] or "")
        found.append(finding)
    sentences = tally(
        found,
        "Beyond matched neurons, fewer of their own clips are answered so as alpha grows to 1: {}.",
        "More amplification does more: up to alpha 1 the answers gained on their own clips rise beyond matched "
        "neurons: {}.",
        "Whether more amplification draws more of their own clips than it does with matched neurons is open: {}.",
    )
    return [*sentences, *_collapse(study)]


def _collapse(study: StudyRuns) -> list[str]:
    """Strengths at which the model hardly answers with a letter any more."""
    sentences = []
    for part in study.mains:
        asked = acting(part.run.conditions, "steer", "headline", "dose").filter(control="target")
        levels = asked.join(part.table("uar").filter(scoring="likelihood"), on="condition")
        means = levels.group_by("alpha").agg(pl.col("letter_mass").mean()).sort("alpha")
        low = means.filter(pl.col("letter_mass") < LEAST_LETTER_MASS)["alpha"]
        if len(low):
            alphas = listed([f"{alpha:g}".replace("-", "−") for alpha in low])
            low_mass = f"at alpha {alphas} the letters’ probability is below {LEAST_LETTER_MASS:g}"
            sentences.append(of_corpus(study, part, f"{low_mass}: these answers support no claim."))
    return sentences


QUESTIONS = (
    Question(
        "steering",
        10,
        (
            Figure("steering", draw_steering, "no set was amplified"),
            Figure("steering", draw_steering_of_parts, "no set was amplified", pages="study"),
        ),
        says=say_steering,
    ),
    Question(
        "steering",
        20,
        (
            Figure("dose", draw_dose, "no set was amplified", pages="both"),
            Table(
                "trend",
                tabulate_trend,
                "Whether more amplification does more, where 0 < alpha ≤ 1: Page’s trend test over the strengths, "
                "speakers as blocks, one-sided, and the slope of the line through them with its 95 % interval "
                "over speakers. Exploration: not corrected for their number.",
                pages="both",
            ),
            Note(lambda part: rank(part, "steer")),
            Note(lambda part: None if part.effect("deactivate", "excess_gap") else matching(part, "steer")),
            Table(
                "effects_steer",
                partial(tabulate_effects, kind="steer"),
                "Effects of amplification at the headline’s alpha, in points of the share of clips answered with the "
                "amplified emotion (UAR: change of the unweighted average recall), with 95 % intervals over speakers.",
            ),
        ),
        says=say_dose,
        says_on="both",
        tables={"trend": lambda part: trend(part.compared)},
    ),
)
