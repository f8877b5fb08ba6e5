"""Does amplification help without a label: two-pass, mixed and united injection, next to steering by the true label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import polars as pl

from emoscope.analysis.estimate import Estimate, ratio, replicates
from emoscope.analysis.parts import Part, StudyRuns
from emoscope.analysis.responses import Responses
from emoscope.report.page import Figure, Question, Table
from emoscope.report.plots import INTERVALS, SERIES_KEY, dots, hollow_note, marks_of, panels, series_of
from emoscope.report.theme import title
from emoscope.report.wording import CLEAR_HIGH, CLEAR_LOW, UNTESTED, made, outcome, tally
from emoscope.schemas import as_table
from emoscope.vocabulary import INJECTED
from emoscope.wording import estimate_text

WAYS = {"targeted": "the clip’s own emotion (told)", **INJECTED}
"""Ways to steer, and what each amplifies. ``targeted`` steers each clip's own emotion and so knows the label: what the
other ways are compared with."""

READ_OFF = ("targeted", "two-pass", "mix-outputs")
"""Ways that are worked out from the stored answers of targeted steering; under the others the model was asked."""

UNITS = {"uar_change": "points", "lost": "points", "gained": "points", "true_logp": "nat"}
"""The measures and their units."""


@dataclass(frozen=True)
class Answered:
    """What a way of steering answers.

    Attributes:
        answers: code of the answer, dimension (item).
        logp: log-probability of the true option among the item's options, nat, dimension (item).
        used: which items were asked, dimension (item).
        conditions: the conditions that it rests on.
    """

    answers: np.ndarray
    logp: np.ndarray
    used: np.ndarray
    conditions: frozenset[str]


def agnostic(responses: Responses, conditions: pl.DataFrame, unreliable: Set[str] = frozenset()) -> pl.DataFrame:
    """Change of UAR, of log p of the true option, and answers lost and gained, for every way to steer without a label.

    ``two-pass`` takes each item's answer under steering of the emotion that the baseline answered, ``mix-outputs``
    the mean of the log-probabilities of all steered passes; both are read off the targeted conditions of the same
    set and alpha.

    Args:
        responses: the stored answers by likelihood.
        conditions: the table of conditions.
        unreliable: conditions whose answers support no claim.

    Returns:
        the columns of table ``agnostic``. ``against`` is baseline, matched (the set minus the mean of its matched
        draws) or targeted (minus steering by the true label). ``lost`` and ``gained`` are shares of items that turn
        wrong and right; as all measures they are means over the emotions of the items, so uar_change = gained - lost.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in conditions.filter(pl.col("kind").is_in(list(WAYS))).sort("condition").iter_rows(named=True):
        groups.setdefault(tuple(row[name] for name in ("selector", "budget", "scope", "alpha")), []).append(row)
    rows: list[dict[str, Any]] = []
    for key, members in groups.items():
        about = dict(zip(("selector", "budget", "scope", "alpha"), key, strict=True))
        found = {}
        for row in [{**one, "kind": "targeted"} for one in members] + members:
            done = _answered(responses, conditions, row)
            if done is not None:
                found[row["kind"], row["control"] or "target", row["draw"] or 0] = done
        if found:
            rows += [about | row for row in _group(responses, found, unreliable)]
    frame = as_table("agnostic", rows)
    order = pl.col("way").replace_strict({way: place for place, way in enumerate(WAYS)}, return_dtype=pl.Int64)
    return frame.sort("selector", "budget", "scope", "alpha", order, "control", "against", "measure", nulls_last=False)


def _group(
    responses: Responses, found: Mapping[tuple[str, str, int], Answered], unreliable: Set[str]
) -> Iterator[dict[str, Any]]:
    used = np.logical_and.reduce([one.used for one in found.values()])
    before = _untouched(responses)
    known = used & np.isfinite(before.logp) & np.logical_and.reduce([np.isfinite(one.logp) for one in found.values()])
    values = {key: _measures(responses, before, one, used, known) for key, one in found.items()}

    def rows(way: str, control: str, against: str, parts: Sequence[Any], minus: Sequence[Any] = ()) -> Iterator[Any]:
        rests_on = frozenset({"baseline"}).union(*(found[key].conditions for key in (*parts, *minus)))
        for measure, unit in UNITS.items():
            moved = np.mean([values[key][measure] for key in parts], axis=0)
            if minus:
                moved = moved - np.mean([values[key][measure] for key in minus], axis=0)
            there = known if measure == "true_logp" else used
            sizes = responses.per_speaker(there.astype(float)).sum(axis=1)
            row: dict[str, Any] = {"way": way, "control": control, "against": against, "measure": measure, "unit": unit}
            row |= {"draws": len(minus or parts)}
            yield row | Estimate(moved, sizes, bool(rests_on & unreliable)).columns()

    if not used.any():
        return
    for way in WAYS:
        own = [key for key in found if key[:2] == (way, "target")]
        matched = [key for key in found if key[:2] == (way, "matched")]
        targeted = [key for key in found if key[:2] == ("targeted", "target")]
        if own:
            yield from rows(way, "target", "baseline", own)
        if matched:
            yield from rows(way, "matched", "baseline", matched)
        if own and matched:
            yield from rows(way, "target", "matched", own, matched)
        if own and targeted and way != "targeted":
            yield from rows(way, "target", "targeted", own, targeted)


def _untouched(responses: Responses) -> Answered:
    return Answered(
        responses.answer("baseline"), _true(responses, among_options(responses.log_odds[responses.rows["baseline"]])),
        responses.asked("baseline"), frozenset({"baseline"}),
    )  # fmt: skip


def _answered(responses: Responses, conditions: pl.DataFrame, row: Mapping[str, Any]) -> Answered | None:
    """What one condition answers, or is worked out to answer; ``None`` where it was not asked."""
    if "baseline" not in responses.rows:
        return None
    if row["kind"] not in READ_OFF:
        if row["condition"] not in responses.rows:
            return None
        steered = {None: row["condition"]}
    else:
        alike = conditions.filter(
            (pl.col("kind") == "steer") & (pl.col("set") == row["set"]) & (pl.col("alpha") == row["alpha"])
            & (pl.col("positions").fill_null("all") == "all") & (pl.col("layers").fill_null("all") == "all") & pl.col("target").is_in(list(responses.labels))
        )  # fmt: skip
        steered = dict(alike.select("target", "condition").iter_rows())
        if not steered or any(condition not in responses.rows for condition in steered.values()):
            return None
    asked = np.logical_and.reduce([responses.asked(condition) for condition in ("baseline", *steered.values())])
    passes = [responses.rows[condition] for condition in steered.values()]
    if row["kind"] == "mix-outputs":
        logp = among_options(responses.log_odds[passes]).mean(axis=0)
        there = ~np.isnan(logp).all(axis=1)
        if not there.any():
            return None
        answers = np.where(there, np.where(np.isnan(logp), -np.inf, logp).argmax(axis=1), -1)
        logp = logp - np.log(np.nansum(np.exp(logp), axis=1, keepdims=True))
        return Answered(answers, _true(responses, logp), asked & there, frozenset(steered.values()))
    if len(passes) == 1 and None in steered:
        which = np.full(len(responses.items), passes[0])
    else:
        # an emotion without a set is not steered: the answer stays the baseline's
        row_of = np.full(len(responses.labels) + 2, responses.rows["baseline"])
        for target, condition in steered.items():
            row_of[responses.labels.index(str(target))] = responses.rows[condition]
        which = row_of[responses.truth if row["kind"] == "targeted" else responses.answer("baseline")]
    items = np.arange(len(responses.items))
    logp = among_options(responses.log_odds[which, items])
    return Answered(responses.answers[which, items], _true(responses, logp), asked, frozenset(steered.values()))


def among_options(odds: np.ndarray) -> np.ndarray:
    """Log-probabilities among the options, from the log-odds of each against the others.

    Example:
        >>> among_options(np.log([3.0, 1 / 3])).round(3).tolist()  # ln(0.75), ln(0.25)
        [-0.288, -1.386]
    """
    return -np.logaddexp(0.0, -odds, out=np.full(odds.shape, np.nan), where=~np.isnan(odds))


def _true(responses: Responses, logp: np.ndarray) -> np.ndarray:
    return np.asarray(logp[np.arange(len(responses.truth)), responses.truth])


def _measures(
    responses: Responses, before: Answered, after: Answered, used: np.ndarray, known: np.ndarray
) -> dict[str, np.ndarray]:
    """The measures, dimension (1 + speaker): all speakers, then without each."""
    was, now = before.answers == responses.truth, after.answers == responses.truth
    gained = _mean_of_labels(responses, 100.0 * (now & ~was), used)
    lost = _mean_of_labels(responses, 100.0 * (was & ~now), used)
    moved = np.where(known, after.logp - before.logp, 0.0)
    return {
        "uar_change": gained - lost, "lost": lost, "gained": gained, "true_logp": _mean_of_labels(responses, moved, known),
    }  # fmt: skip


def _mean_of_labels(responses: Responses, values: np.ndarray, used: np.ndarray) -> np.ndarray:
    items = responses.per_speaker(used.astype(float))
    heard = items.sum(axis=0) > 0
    if not heard.any():
        return np.full(len(items) + 1, np.nan)
    sums = responses.per_speaker(np.where(used, values, 0.0))[:, heard]
    return np.asarray(ratio(replicates(sums), replicates(items[:, heard])).mean(axis=1))


def draw_agnostic(part: Part) -> Any | None:
    """UAR and log p of the true option under steering that needs no label, next to matched controls."""
    found = part.own("agnostic").filter(pl.col("against") != "targeted")
    if found.is_empty():
        return None
    order = [WAYS[way] for way in WAYS if way in set(found["way"])]
    charts: list[Any] = []
    for measure, x in (
        ("uar_change", "change of UAR (points)"),
        ("true_logp", "change of log p of the right answer (nat)"),
    ):
        rows = [
            {"row": WAYS[row["way"]]} | marks_of(row)
            | {"series": "difference" if row["against"] == "matched" else series_of(row["control"])}
            for row in found.filter((pl.col("measure") == measure) & pl.col("estimate").is_not_null()).iter_rows(named=True)
        ]  # fmt: skip
        if rows:
            frame = pl.DataFrame(rows, infer_schema_length=None)
            charts.append(dots(frame, order, x, None if charts else "what was amplified", rule=0.0, width=330))
    return alt.hconcat(*charts, spacing=24).properties(
        title=title(
            f"Does amplification help where nobody tells it the emotion? (alpha = {part.alpha or 0:g})",
            f"{INTERVALS} Right of zero: better. Circle: selected; diamond: matched; square: their difference. The first row "
            f"knows the right answer and is only a mark to compare with.{hollow_note(found.to_dicts())}",
        )
    )  # fmt: skip


def tabulate_agnostic(part: Part) -> pl.DataFrame | None:
    """Steering without a label: what it changes, and how that differs from matched neurons and from knowing the label."""
    found = part.own("agnostic").filter(pl.col("control") == "target")
    by = {(row["way"], row["against"], row["measure"]): row for row in found.iter_rows(named=True)}
    columns = [
        ("UAR (points)", "baseline", "uar_change", 1), ("log p, right answer (nat)", "baseline", "true_logp", 2),
        ("turned wrong (points)", "baseline", "lost", 1), ("turned right (points)", "baseline", "gained", 1),
        ("UAR beyond matched", "matched", "uar_change", 1), ("UAR beyond told", "targeted", "uar_change", 1),
    ]  # fmt: skip
    rows = []
    for way, name in WAYS.items():
        if (way, "baseline", "uar_change") in by:
            row = {
                "what was amplified": name + (", unreliable" if by[way, "baseline", "uar_change"]["unreliable"] else "")
            }
            for heading, against, measure, digits in columns:
                one = by.get((way, against, measure))
                row[heading] = "–" if one is None else estimate_text(one, "estimate", digits)
            rows.append(row)
    return made(rows)


def draw_agnostic_of_parts(study: StudyRuns) -> Any | None:
    """Change of UAR under steering that needs no label, next to matched neurons, a panel a corpus."""
    frames: dict[str, list[dict[str, Any]]] = {}
    for part in study.mains:
        found = part.own("agnostic").filter(
            (pl.col("against") != "targeted") & (pl.col("measure") == "uar_change") & pl.col("estimate").is_not_null()
        )
        frames[part.name] = [
            {"row": WAYS[row["way"]], "series": "difference" if row["against"] == "matched" else series_of(row["control"])}
            | marks_of(row)
            for row in found.iter_rows(named=True)
        ]  # fmt: skip
    there = {row["row"] for rows in frames.values() for row in rows}
    return panels(
        frames, [name for name in WAYS.values() if name in there], "change of UAR (points)", "what was amplified",
        title(
            "Does amplification help where nobody tells it the emotion?",
            f"{INTERVALS} {SERIES_KEY} Right of zero: better. The first row knows the right answer and is only a mark to compare with.",
        ),
    )  # fmt: skip


def say_agnostic(study: StudyRuns) -> list[str]:
    """Which ways to steer without a label change UAR beyond matched neurons."""
    found = []
    for part in study.mains:
        own = part.own("agnostic").filter(
            (pl.col("against") == "matched") & (pl.col("measure") == "uar_change") & (pl.col("way") != "targeted")
        )
        found += [outcome(f"{part.name}, {WAYS[row['way']]}", row, part) for row in own.iter_rows(named=True)]
    if not found:
        return []
    clear = [one for one in found if one.found in (CLEAR_LOW, CLEAR_HIGH)]
    said = tally(
        clear,
        "UAR falls more than under matched neurons: {}.",
        "Without being told the emotion, UAR rises beyond matched neurons: {}.",
        "",
    )
    tested = [one for one in found if one.found != UNTESTED]
    if not tested:
        return [f"Not tested: {found[0].why}."]
    rest = len(tested) - len(clear)
    if rest:
        said.append(
            f"In {rest} of {len(tested)} cases (corpora and ways) whether UAR rises or falls beyond matched neurons is open."
        )
    return said


QUESTIONS = (
    Question(
        "agnostic",
        10,
        (
            Figure("agnostic", draw_agnostic, "nothing was amplified without a label"),
            Table(
                "agnostic",
                tabulate_agnostic,
                "Amplification that needs no label, in points of UAR and of the share of clips that turned wrong "
                "or right (means over emotions), with 95 % intervals over speakers. Told: each clip’s own emotion"
                " amplified.",
            ),
            Figure("agnostic", draw_agnostic_of_parts, "nothing was amplified without a label", pages="study"),
        ),
        says=say_agnostic,
        tables={"agnostic": lambda part: agnostic(part.responses, part.run.conditions, part.unreliable)},
    ),
)
