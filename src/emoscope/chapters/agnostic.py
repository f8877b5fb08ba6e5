"""Does amplification help without a label: two-pass, mixed and united injection, next to steering by the true label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import chain

import numpy as np
import polars as pl

from emoscope.analysis.estimate import Estimate, ratio, replicates
from emoscope.analysis.parts import Part, Row, StudyRuns
from emoscope.analysis.responses import Responses
from emoscope.report.page import Figure, Question, Table
from emoscope.report.plots import INTERVALS, SERIES_KEY, dots, hollow_note, marks_of, reach, series_of, stacked
from emoscope.report.theme import Chart, title
from emoscope.report.wording import OPEN, UNTESTED, by_key, made_of, outcome, strengths, tally, where
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


Key = tuple[str, str, int]
"""A way, whose set (target or matched), and the draw."""


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

    ``two-pass`` takes each item's answer under steering of the emotion that the baseline answered, ``mix-outputs`` the
    mean of the log-probabilities of all steered passes; both are read off the targeted conditions of the same set and
    alpha. In table ``agnostic``, ``against`` is baseline, matched (the set minus the mean of its matched draws) or
    targeted (minus steering by the true label). ``lost`` and ``gained`` are shares of items that turn wrong and right;
    as all measures they are means over the emotions of the items, so uar_change = gained - lost.
    """
    keys = ("selector", "budget", "scope", "alpha")
    rows: list[Row] = []
    asked = conditions.filter(pl.col("kind").is_in(list(WAYS))).sort("condition")
    for key, group in asked.group_by(keys, maintain_order=True):
        found = {}
        members = group.to_dicts()
        for row in [{**member, "kind": "targeted"} for member in members] + members:
            done = _answered(responses, conditions, row)
            if done is not None:
                found[row["kind"], row["control"] or "target", row["draw"] or 0] = done
        about = dict(zip(keys, key, strict=True))
        rows += [about | row for row in _group(responses, found, unreliable)]
    frame = as_table("agnostic", rows)
    order = pl.col("way").replace_strict({way: place for place, way in enumerate(WAYS)}, return_dtype=pl.Int64)
    return frame.sort(*keys, order, "control", "against", "measure", nulls_last=False)


def _group(responses: Responses, found: Mapping[Key, Answered], unreliable: Set[str]) -> Iterator[Row]:
    if not found:
        return
    used = np.logical_and.reduce([done.used for done in found.values()])
    if not used.any():
        return
    untouched = _true(responses, among_options(responses.log_odds[responses.rows["baseline"]]))
    before = Answered(responses.answer("baseline"), untouched, responses.asked("baseline"), frozenset({"baseline"}))
    known = used & np.isfinite(before.logp) & np.logical_and.reduce([np.isfinite(done.logp) for done in found.values()])
    values = {key: _measures(responses, before, done, used, known) for key, done in found.items()}
    for way in WAYS:
        own, matched, targeted = (
            [key for key in found if key[:2] == which]
            for which in ((way, "target"), (way, "matched"), ("targeted", "target"))
        )
        for control, against, parts, minus in (
            ("target", "baseline", own, []),
            ("matched", "baseline", matched, []),
            ("target", "matched", own, matched),
            ("target", "targeted", own, targeted if way != "targeted" else []),
        ):
            if not parts or (against != "baseline" and not minus):
                continue
            rests_on = frozenset({"baseline"}).union(*(found[key].conditions for key in (*parts, *minus)))
            for measure, unit in UNITS.items():
                moved = np.mean([values[key][measure] for key in parts], axis=0)
                if minus:
                    moved = moved - np.mean([values[key][measure] for key in minus], axis=0)
                sizes = responses.per_speaker((known if measure == "true_logp" else used).astype(float)).sum(axis=1)
                row: Row = {"way": way, "control": control, "against": against, "measure": measure, "unit": unit}
                row |= {"draws": len(minus or parts)}
                yield row | Estimate(moved, sizes, bool(rests_on & unreliable)).columns()


def _answered(responses: Responses, conditions: pl.DataFrame, row: Row) -> Answered | None:
    """What one condition answers, or is worked out to answer; ``None`` where it was not asked."""
    if "baseline" not in responses.rows:
        return None
    single = row["kind"] not in READ_OFF
    steered = {None: row["condition"]} if single else _steered(responses, conditions, row)
    if not steered or any(condition not in responses.rows for condition in steered.values()):
        return None
    asked = np.logical_and.reduce([responses.asked(condition) for condition in ("baseline", *steered.values())])
    passes, rests_on = [responses.rows[condition] for condition in steered.values()], frozenset(steered.values())
    if row["kind"] == "mix-outputs":
        logp = among_options(responses.log_odds[passes]).mean(axis=0)
        there = ~np.isnan(logp).all(axis=1)
        if not there.any():
            return None
        answers = np.where(there, np.where(np.isnan(logp), -np.inf, logp).argmax(axis=1), -1)
        logp = logp - np.log(np.nansum(np.exp(logp), axis=1, keepdims=True))
        return Answered(answers, _true(responses, logp), asked & there, rests_on)
    if single:
        which = np.full(len(responses.items), passes[0])
    else:
        # an emotion without a set is not steered: the answer stays the baseline's
        row_of = np.full(len(responses.labels) + 2, responses.rows["baseline"])
        for target, condition in steered.items():
            row_of[responses.labels.index(str(target))] = responses.rows[condition]
        which = row_of[responses.truth if row["kind"] == "targeted" else responses.answer("baseline")]
    items = np.arange(len(responses.items))
    logp = among_options(responses.log_odds[which, items])
    return Answered(responses.answers[which, items], _true(responses, logp), asked, rests_on)


def _steered(responses: Responses, conditions: pl.DataFrame, row: Row) -> dict[str | None, str]:
    """The conditions that steer towards each emotion with the same set and alpha, at all positions and layers."""
    everywhere = [pl.col(name).fill_null("all") == "all" for name in ("positions", "layers")]
    alike = conditions.filter(*everywhere, kind="steer", set=row["set"], alpha=row["alpha"])
    alike = alike.filter(pl.col("target").is_in(list(responses.labels)))
    return dict(alike.select("target", "condition").iter_rows())


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
    logp = _mean_of_labels(responses, moved, known)
    return {"uar_change": gained - lost, "lost": lost, "gained": gained, "true_logp": logp}


def _mean_of_labels(responses: Responses, values: np.ndarray, used: np.ndarray) -> np.ndarray:
    items = responses.per_speaker(used.astype(float))
    heard = items.sum(axis=0) > 0
    if not heard.any():
        return np.full(len(items) + 1, np.nan)
    sums = responses.per_speaker(np.where(used, values, 0.0))[:, heard]
    return np.asarray(ratio(replicates(sums), replicates(items[:, heard])).mean(axis=1))


MOVES = {"uar_change": "change of UAR (points)", "true_logp": "change of log p of the right answer (nat)"}
"""The measures that are drawn."""


def draw_agnostic(study: StudyRuns) -> Chart | None:
    """UAR and log p of the true option under steering that needs no label, next to matched neurons, a line a corpus."""
    marks = {measure: {part.name: _marks(part, measure) for part in study.mains} for measure in MOVES}
    every = {measure: list(chain(*rows.values())) for measure, rows in marks.items()}
    drawn: dict[str, list[Chart]] = {part.name: [] for part in study.mains}
    for name, charts in drawn.items():
        there = {row["row"] for rows in marks.values() for row in rows[name]}
        order = [words for words in WAYS.values() if words in there]
        for measure, x in MOVES.items():
            if of_part := marks[measure][name]:
                ends, named = reach(every[measure]), not charts
                charts.append(dots(of_part, order, x, "what was amplified", named, width=330, domain=ends))
    return stacked(
        drawn,
        title(
            f"Does amplification help where nobody tells it the emotion? (alpha = {strengths(study)})",
            f"{INTERVALS} {SERIES_KEY} Right of zero: better. The first row knows the right answer and is only a mark "
            f"to compare with.{hollow_note(list(chain(*every.values())))}",
        ),
    )


def _marks(part: Part, measure: str) -> list[Row]:
    found = part.own("agnostic").filter(pl.col("against") != "targeted", pl.col("estimate").is_not_null())
    series = {"matched": "difference"}
    return [
        {"row": WAYS[row["way"]], "series": series.get(row["against"], series_of(row["control"]))} | marks_of(row)
        for row in found.filter(measure=measure).iter_rows(named=True)
    ]


COLUMNS = (
    ("UAR (points)", "baseline", "uar_change", 1),
    ("log p, right answer (nat)", "baseline", "true_logp", 2),
    ("turned wrong (points)", "baseline", "lost", 1),
    ("turned right (points)", "baseline", "gained", 1),
    ("UAR beyond matched", "matched", "uar_change", 1),
    ("UAR beyond told", "targeted", "uar_change", 1),
)
"""Heading, what is subtracted, measure and digits of each column of the table."""


def tabulate_agnostic(study: StudyRuns) -> pl.DataFrame | None:
    """Steering without a label: what it changes, also beyond matched neurons and beyond knowing the label."""
    rows = []
    for part in study.mains:
        by = by_key(part.own("agnostic").filter(control="target"), "way", "against", "measure")
        for way, name in WAYS.items():
            changed = by.get((way, "baseline", "uar_change"))
            if changed is not None:
                amplified = name + (", unreliable" if changed["unreliable"] else "")
                cells = {
                    heading: estimate_text(by.get((way, against, measure)), digits=digits)
                    for heading, against, measure, digits in COLUMNS
                }
                rows.append({"corpus": part.name, "what was amplified": amplified} | cells)
    return made_of(study, rows)


def say_agnostic(study: StudyRuns) -> list[str]:
    """Which ways to steer without a label change UAR beyond matched neurons."""
    found = []
    for part in study.mains:
        own = part.own("agnostic").filter(pl.col("way") != "targeted", against="matched", measure="uar_change")
        found += [outcome(where(study, part, WAYS[row["way"]]), row, part) for row in own.iter_rows(named=True)]
    if not found:
        return []
    tested = [finding for finding in found if finding.found != UNTESTED]
    if not tested:
        return [f"Not tested: {found[0].why}."]
    clear = [finding for finding in tested if finding.found != OPEN]
    texts = tally(
        clear,
        "UAR falls more than under matched neurons: {}.",
        "Without being told the emotion, UAR rises beyond matched neurons: {}.",
        "",
    )
    cases = "cases (corpora and ways)" if len(study.mains) > 1 else "ways"
    if rest := len(tested) - len(clear):
        texts.append(f"In {rest} of {len(tested)} {cases} whether UAR rises or falls beyond matched neurons is open.")
    return texts


QUESTIONS = (
    Question(
        "agnostic",
        10,
        (
            Figure("agnostic", draw_agnostic, "nothing was amplified without a label", pages="both"),
            Table(
                "agnostic",
                tabulate_agnostic,
                "Amplification that needs no label, in points of UAR and of the share of clips that turned wrong "
                "or right (means over emotions), with 95 % intervals over speakers. Told: each clip’s own emotion"
                " amplified.",
                pages="both",
            ),
        ),
        says=say_agnostic,
        says_on="both",
        tables={"agnostic": lambda part: agnostic(part.responses, part.run.conditions, part.unreliable)},
    ),
)
