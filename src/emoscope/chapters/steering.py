"""What does amplification do, and does more of it do more? Page's trend test over the strengths, speakers as blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from emoscope.analysis.contrasts import FAMILY, Change, Compared, measures
from emoscope.analysis.estimate import Estimate
from emoscope.analysis.parts import Part, StudyRuns, first
from emoscope.chapters.deactivation import draw_matrices, say_verdicts, tabulate_effects
from emoscope.report.caveats import matching, rank
from emoscope.report.page import Figure, Note, Question, Table
from emoscope.report.plots import (
    CURVE,
    HOLLOW,
    INTERVALS,
    SERIES_KEY,
    WIDTH,
    curve,
    dots,
    hollow_note,
    line_columns,
    lines,
    names_of,
    side_by_side,
    three,
)
from emoscope.report.theme import title
from emoscope.report.wording import CLEAR_HIGH, CONTROLS, OPEN, UNTESTED, made, outcome, tally
from emoscope.schemas import as_table
from emoscope.vocabulary import LEAST_LETTER_MASS, LEVEL, MINIMUM_SPEAKERS, acting
from emoscope.wording import estimate_text, listed, number, p_value, spread

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

    Args:
        compared: the families and what they change.

    Returns:
        the columns of table ``trend``; ``page_l`` is Page's L, ``blocks`` how many speakers it ranks. Measures that
        begin with excess_ are those beyond matched controls.
    """
    groups: dict[tuple[Any, ...], list[Compared]] = {}
    for one in compared:
        family = one.family
        # the mean over draws stands for a control: as one treatment a speaker, like the set that it is a control of
        single = family["control"] == "target" or family["draw"] is None
        if family["kind"] == "steer" and single and 0 < family["alpha"] <= MOST_ALPHA:
            groups.setdefault(tuple(family[name] for name in SHARED), []).append(one)
    rows: list[dict[str, Any]] = []
    for key, members in groups.items():
        members.sort(key=lambda one: float(one.family["alpha"]))
        about = dict(zip(SHARED, key, strict=True))
        if len(members) < 2:
            continue
        rows += _rows(about, members, [one.change for one in members], "")
        beyond = [one.excess.beyond for one in members if one.excess is not None]
        if len(beyond) == len(members):
            rows += _rows(about, members, beyond, "excess_")
    return as_table("trend", rows)


def _rows(
    about: dict[str, Any], members: Sequence[Compared], changes: Sequence[Change], prefix: str
) -> list[dict[str, Any]]:
    alphas = np.array([one.family["alpha"] for one in members], dtype=float)
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
    items = change.items[:, np.newaxis, targets]
    said = 100 * change.said[:, :, targets]
    cells = np.divide(said, items, out=np.full(said.shape, np.nan), where=items > 0)
    own = np.einsum("gmm->gm", cells).mean(axis=1)
    size = len(targets)
    others = (cells.sum(axis=(1, 2)) - own * size) / (size * (size - 1)) if size > 1 else np.full_like(own, np.nan)
    return {"pull": own, "pull_gap": own - others}


def page(blocks: np.ndarray) -> dict[str, Any]:
    """Page's L, its one-sided p and the number of blocks, or the reason why there is none.

    Args:
        blocks: one row a speaker, one column a strength in rising order; (block, strength).

    Example:
        >>> page(np.array([[1.0, 2.0, 3.0]] * 5))["page_l"]  # 5 * (1*1 + 2*2 + 3*3)
        70.0
    """
    found: dict[str, Any] = {"page_l": None, "p": None, "blocks": len(blocks), "reason": None}
    if blocks.shape[1] < FEWEST:
        return found | {"reason": f"only {blocks.shape[1]} strengths up to {MOST_ALPHA:g}: the test needs {FEWEST}"}
    if len(blocks) < MINIMUM_SPEAKERS:
        return found | {"reason": f"only {len(blocks)} speakers with every emotion: {MINIMUM_SPEAKERS} are needed"}
    from scipy.stats import page_trend_test  # imported late: it takes longer than the analysis

    done = page_trend_test(blocks.round(9))  # sums that cancel are ties
    return found | {"page_l": float(done.statistic), "p": float(done.pvalue)}


def draw_steering(part: Part) -> Any | None:
    """The pull matrix of the headline selector next to its controls."""
    return draw_matrices(
        part, "steer", "pull", tuple(CONTROLS), "change of the share answered (points)",
        title(
            f"Which answers amplification pulls to the amplified emotion (alpha = {part.alpha or 0:g})",
            "Row: the emotion whose neurons were amplified; cell: how many more of the column's clips are answered with the "
            "row's emotion. Framed: its own clips. Bold: clear of zero after correction for all cells of the matrix.",
        ),
    )  # fmt: skip


def draw_dose(part: Part) -> Any | None:
    """Pull and UAR over alpha for the headline selector and its matched controls, and the letter mass."""
    wanted = {
        "pull": "clips of the emotion answered so (points)",
        "pull_cross": "clips of other emotions answered so (points)",
        "uar_change": "change of UAR (points)",
    }
    found = acting(part.table("effects"), "steer", "headline", "dose").filter(
        pl.col("control").is_in(["target", "matched"]) & pl.col("measure").is_in(list(wanted))
    ).with_columns(pl.col("control").replace(CONTROLS).alias("series"), pl.col("unreliable").fill_null(False))  # fmt: skip
    if found.is_empty():
        return None
    x = alt.X("x:Q", title="strength, alpha (gain − 1)").axis(grid=False, tickCount=5)
    charts = [
        curve(found.filter(pl.col("measure") == measure).rename({"alpha": "x"}).select(CURVE), x, label, rule=0)
        for measure, label in wanted.items()
    ]
    mass = _letter_mass(part)
    if len(mass):
        charts.append(curve(mass, x, "probability on the letters (%)", rule=100 * LEAST_LETTER_MASS))
    last = (
        "Last: the probability on the letters, mean over the emotions’ sets, line from the least to the most; below the dashed "
        "line the model stops answering with a letter, and the other pictures say little. "
        if len(mass)
        else ""
    )
    return alt.hconcat(*charts, spacing=10).resolve_scale(y="independent").properties(
        title=title(
            "What more and less amplification does",
            f"{INTERVALS} First and second: how many more clips are answered with the amplified emotion, where it was spoken and where "
            f"another one was. Third: what that costs or gains over all emotions. {last}Below zero neurons are weakened.{hollow_note(found)}",
        )
    )  # fmt: skip


def _letter_mass(part: Part) -> pl.DataFrame:
    """The letter mass of the conditions behind a dose curve: mean, least and most over the emotions' sets, in %."""
    mass = part.table("uar").filter(pl.col("scoring") == "likelihood").select("condition", "letter_mass")
    steered = part.run.conditions.filter(
        pl.col("role").is_in(["headline", "dose"])
        & (pl.col("kind") == "steer")
        & pl.col("control").is_in(["target", "matched"])
    )
    share = 100 * pl.col("letter_mass")
    means = steered.join(mass, on="condition").drop_nulls("letter_mass").group_by("control", "alpha").agg(
        share.mean().alias("estimate"), share.min().alias("low"), share.max().alias("high"),
    )  # fmt: skip
    return means.sort("control", "alpha").select(
        pl.col("alpha").alias("x"), "estimate", "low", "high", pl.col("control").replace(CONTROLS).alias("series"),
        (pl.col("estimate") < 100 * LEAST_LETTER_MASS).alias("unreliable"),
    )  # fmt: skip


def tabulate_effects_steer(part: Part) -> pl.DataFrame | None:
    """The headline selector and its controls, amplified by the headline's alpha."""
    return tabulate_effects(part, "steer")


def tabulate_trend(part: Part) -> pl.DataFrame | None:
    """Whether effects rise with alpha, next to matched neurons."""
    names = {"pull": "pull, own emotion", "pull_gap": "pull gap"}
    rows = []
    for row in (
        part.own("trend").filter(pl.col("layers") == "all").sort("control", descending=True).iter_rows(named=True)
    ):
        name, beyond = row["measure"].removeprefix("excess_"), row["measure"].startswith("excess_")
        who = "selected minus matched" if beyond else CONTROLS[row["control"]]
        rows.append({
            "does it rise?": names[name], "neurons": who + (", unreliable" if row["unreliable"] else ""),
            "alpha": row["alphas"], "points per unit of alpha": _slope(row),
            "Page’s L": number(row["page_l"], 1), "speakers": str(row["blocks"]), "p": p_value(row["p"]), "why": row["reason"] or "",
        })  # fmt: skip
    return made(rows)


def _slope(row: Mapping[str, Any]) -> str:
    return estimate_text({**row, "estimate": row["slope"]})


def draw_steering_of_parts(study: StudyRuns) -> Any | None:
    """How many more clips are answered with the amplified emotion, and UAR, a row a corpus."""
    charts: list[Any] = []
    for measure, x in (
        ("pull_overall", "all clips answered so (points)"), ("pull_gap", "own minus other clips (points)"),
        ("uar_change", "change of UAR (points)"),
    ):  # fmt: skip
        rows = three(study.mains, "steer", measure)
        if rows:
            charts.append(dots(rows, names_of(rows), x, "corpus", not charts, width=WIDTH))
    if not charts:
        return None
    strengths = sorted({f"{part.alpha:g}" for part in study.mains if part.alpha is not None})
    return alt.hconcat(*charts, spacing=20).properties(
        title=title(
            f"What amplifying the headline’s neurons does (alpha = {', '.join(strengths)})",
            f"{INTERVALS} {SERIES_KEY} First: how many more of all clips are answered with the amplified emotion. Second: the same on its "
            "own clips minus that on the others. Third: what that costs or gains over all emotions.",
        )
    )  # fmt: skip


def draw_dose_of_parts(study: StudyRuns) -> Any | None:
    """Pull on all clips over alpha, next to matched neurons, a panel a corpus."""
    drawn = []
    for part in study.mains:
        effects = part.table("effects")
        found = acting(effects, "steer", "headline", "dose").filter(
            (pl.col("measure") == "pull_overall") & pl.col("control").is_in(["target", "matched"])
        )  # fmt: skip
        if found["alpha"].n_unique() > 1:
            shown = found.select(pl.col("alpha").alias("x"), *line_columns())
            drawn.append((part.name, lines(shown, "strength, alpha (gain − 1)", "clips answered so (points)")))
    return side_by_side(drawn, title(
        "More and less amplification",
        f"{INTERVALS} How many more of all clips are answered with the amplified emotion; blue: selected, grey: matched neurons. "
        f"Below alpha 0 neurons are weakened. {HOLLOW}",
    ))  # fmt: skip


def say_steering(study: StudyRuns) -> list[str]:
    """Whether amplification draws answers, whether more amplification draws more, and where the letters give way."""
    found = [outcome(part.name, part.effect("steer", "excess_pull_overall"), part) for part in study.mains]
    said = tally(
        found,
        "Amplified, they draw fewer clips to their emotion than matched neurons do: {}.",
        "Amplified, they draw more clips to their emotion than matched neurons do: {}.",
        "Whether they draw more clips to their emotion than matched neurons do is open: {}.",
    )
    return [*said, *say_verdicts(study, "steer", "Amplified"), *_rises(study), *_collapse(study)]


def _rises(study: StudyRuns) -> list[str]:
    found = []
    for part in study.mains:
        rows = part.own("trend").filter((pl.col("layers") == "all") & (pl.col("positions") == "all"))
        row = first(rows, pl.col("measure") == "excess_pull")
        one = outcome(part.name, row and {**row, "estimate": row["slope"]}, part, "points per unit of alpha")
        if row is not None and one.found == CLEAR_HIGH:  # Page's test must hold, too
            sure = row["p"] is not None and row["p"] < LEVEL
            one = replace(
                one, found=CLEAR_HIGH if sure else OPEN if row["p"] is not None else UNTESTED, why=row["reason"] or ""
            )
        found.append(one)
    return tally(
        found,
        "Beyond matched neurons, fewer of their own clips are answered so as alpha grows to 1: {}.",
        "More amplification does more: up to alpha 1 the answers gained on their own clips rise beyond matched neurons: {}.",
        "Whether more amplification draws more of their own clips than it does with matched neurons is open: {}.",
    )


def _collapse(study: StudyRuns) -> list[str]:
    """Strengths at which the model hardly answers with a letter any more."""
    said = []
    for part in study.mains:
        levels = part.table("uar")
        asked = acting(part.run.conditions, "steer", "headline", "dose").filter(pl.col("control") == "target")
        means = asked.join(levels.filter(pl.col("scoring") == "likelihood"), on="condition").group_by("alpha")
        low = means.agg(pl.col("letter_mass").mean()).filter(pl.col("letter_mass") < LEAST_LETTER_MASS).sort("alpha")
        if len(low):
            alphas = listed([f"{alpha:g}".replace("-", "−") for alpha in low["alpha"]])
            said.append(
                f"On {part.name}, at alpha {alphas} the letters’ probability is below {LEAST_LETTER_MASS:g}: these answers support no claim."
            )
    return said


def tabulate_trend_of_parts(study: StudyRuns) -> pl.DataFrame | None:
    """Whether pull on the emotion's own clips rises with alpha, next to matched neurons."""
    rows = []
    for part in study.mains:
        for row in (
            part.own("trend")
            .filter((pl.col("layers") == "all") & (pl.col("positions") == "all"))
            .sort("control", "measure", descending=[True, True])
            .iter_rows(named=True)
        ):
            if row["measure"].removeprefix("excess_") == "pull":
                beyond = row["measure"].startswith("excess_")
                rows.append({
                    "corpus": part.name, "neurons": "selected minus matched" if beyond else "selected" if row["control"] == "target" else row["control"],
                    "alpha": row["alphas"], "points per unit of alpha": spread({**row, "estimate": row["slope"]}),
                    "Page’s L": number(row["page_l"]), "p": p_value(row["p"]), "why": row["reason"] or "",
                })  # fmt: skip
    return made(rows)


QUESTIONS = (
    Question(
        "steering",
        10,
        (
            Figure("steering", draw_steering, "no set was amplified"),
            Figure("dose", draw_dose, "no set was amplified"),
            Table(
                "trend",
                tabulate_trend,
                "Whether more amplification does more, where 0 < alpha ≤ 1: Page’s trend test over the strengths,"
                " speakers as blocks, one-sided, and the slope of the line through them with its 95 % interval "
                "over speakers. Exploration: not corrected for their number.",
            ),
            Note(lambda part: rank(part, "steer")),
            Note(lambda part: None if part.effect("deactivate", "excess_gap") else matching(part, "steer")),
            Table(
                "effects_steer",
                tabulate_effects_steer,
                "Effects of amplification at the headline’s alpha, in points of the share of clips answered with "
                "the amplified emotion (UAR: change of the unweighted average recall), with 95 % intervals over "
                "speakers.",
            ),
            Figure("steering", draw_steering_of_parts, "no set was amplified", pages="study"),
            Figure("dose", draw_dose_of_parts, "neurons were amplified at fewer than two strengths", pages="study"),
            Table(
                "trend",
                tabulate_trend_of_parts,
                "Does pull on the emotion’s own clips rise with alpha, up to alpha 1? Page’s test, speakers as blocks.",
                pages="study",
            ),
        ),
        says=say_steering,
        tables={"trend": lambda part: trend(part.compared)},
    ),
)
