"""Do neurons follow what is heard, or what is said: sets found on misses and false alarms next to sets found on hits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

import numpy as np
import polars as pl

from emoscope.analysis.claim_rules import TOO_UNRELIABLE
from emoscope.analysis.contrasts import FAMILY, Change, Changes, Conditions, Family, families, mean, measures, shared
from emoscope.analysis.estimate import Interval, unit
from emoscope.analysis.load import Run
from emoscope.analysis.parts import Part, Row, StudyRuns
from emoscope.analysis.responses import Responses
from emoscope.chapters.sets import ALL, jaccard, layers_and_width, stored_sets
from emoscope.neurons.sources import expected_jaccard
from emoscope.report.page import Question, Table
from emoscope.report.wording import by_key, made, made_of, where
from emoscope.schemas import as_table, empty
from emoscope.vocabulary import GAPS, OUTCOMES
from emoscope.wording import DONE, estimate_text, number, spread

MEASURES = {"deactivate": ("gap", "self", "sensitivity", "bias"), "steer": ("pull_gap", "pull_overall", "bias")}

SET = ("selector", "budget", "scope")


def outcome_effects(
    responses: Responses, conditions: pl.DataFrame, sets: pl.DataFrame, unreliable: Set[str] = frozenset()
) -> pl.DataFrame:
    """What sets of misses and of false alarms do, beyond matched controls and next to sets of as many hits.

    In table ``outcomes``, ``sets`` says whose effect a row holds: that of the ``outcome``'s sets or that of the
    ``hits`` found on as many clips (``clips`` per emotion, of the fold with the fewest) of the same emotions;
    ``against`` is the baseline, the mean of the headline's matched draws, or hits. All rows of an outcome are on the
    same items and emotions. The ``verdict`` (:func:`verdict`) stands where the outcome is compared with hits, in the
    row of the measure that decides.
    """
    if "baseline" not in responses.rows:
        return empty("outcomes")
    rows: list[Row] = []
    changes = Changes(responses, unreliable)
    for family, every in _groups(responses, conditions):
        targets, used = shared(responses, every)
        if not targets or not used.any():
            continue
        about: Row = {name: family[name] for name in (*SET, "kind", "alpha")} | {"outcome": family["control"]}
        of_set = {name: family[name] for name in (*SET, "control")}
        about |= {"targets": len(targets), "clips": sets.filter(pl.col("fold") != ALL, **of_set)["n"].min()}
        rows += _rows(about, *(changes.count(members, targets, used) for members in every))
    return as_table("outcomes", rows)


def verdict(own: Interval, hits: Interval, difference: Interval, falls: bool) -> tuple[str | None, str | None]:
    """What sets of an outcome do, from 95 % intervals: beyond matched controls, of hits beyond them, and outcome minus hits.

    * "acts as hits do": the outcome's own effect is clear of zero in the direction of the intervention, and not
      clearly smaller than that of the hits;
    * "acts less": clear of zero, and clearly smaller;
    * "does not act": not clear of zero, and clearly smaller;
    * "acts the other way": clear of zero in the other direction, and clearly smaller;
    * "undecided": neither clear of zero nor clearly smaller.

    Where the hits' sets are not clear of zero themselves, there is nothing to compare with: no verdict, but the reason.
    With ``falls`` a stronger effect is a lower number.
    """
    ends = []  # lower and upper, of effects that are above zero where an intervention does what it should
    for interval in (own, hits, difference):
        if interval.low is None or interval.high is None:
            return None, interval.reason
        ends.append((-interval.high, -interval.low) if falls else (interval.low, interval.high))
    (low, high), (least_of_hits, _), (_, most) = ends
    if least_of_hits <= 0:
        return None, "sets of as many hits do not act beyond matched controls"
    if most >= 0:
        return ("acts as hits do" if low > 0 else "undecided"), None
    return ("acts less" if low > 0 else "acts the other way" if high < 0 else "does not act"), None


def outcome_sets(run: Run) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """How far the sets of misses and false alarms overlap with those of as many hits, and notes on sets not stored.

    Table ``outcome_sets`` holds ``jaccard``: with the hits' set of the same emotion and fold (mean, smallest and
    largest over folds); ``jaccard_others``: mean with the hits' sets of other emotions; ``jaccard_hits``: two sets of
    as many hits of the same emotion that share no clip, null where there are too few; ``chance``: of two random sets of
    the mean size; ``layers_alike``: the share of neurons that lie in the same layers, 1 minus half the summed absolute
    differences of the two shares per layer.
    """
    acting = run.sets.filter(pl.col("fold") != ALL)
    layers, width = layers_and_width(run)
    rows, notes = [], set()
    for outcome, like in OUTCOMES.items():
        of_outcome = acting.filter(pl.col("control") == outcome)
        for about, group in of_outcome.group_by(SET, maintain_order=True):
            key = dict(zip(SET, about, strict=True))
            hits = acting.filter(pl.col("control").is_in([like, "target"]), **key)
            # the target sets stand in where as many hits are these themselves
            hits = hits.sort(pl.col("control") != like, "draw")
            same = hits.filter(control=hits["control"][0])["set"].unique(maintain_order=True)
            names = [group["set"][0], *same]
            folds = [
                stored_sets(run.folder, [(name, fold) for name in names]) for fold in group["fold"].unique().sort()
            ]
            loaded = [fold for fold in folds if fold is not None]
            if len(loaded) < len(folds):
                notes.add(f"outcomes: no neurons stored for sets of {outcome}")
                continue
            key |= {"outcome": outcome, "clips": group["n"].min()}
            emotions = group["emotion"].unique(maintain_order=True).to_list()
            rows += [key | _overlap(loaded, emotion, emotions, layers, width) for emotion in emotions]
    return as_table("outcome_sets", rows), tuple(sorted(notes))


def _groups(responses: Responses, conditions: pl.DataFrame) -> list[tuple[Family, list[Conditions]]]:
    """Every outcome's family, and its sets, those of as many hits and the matched draws; only those with hits."""
    grouped = families(responses, conditions)
    found = []
    for family, own in grouped:
        if family["control"] not in OUTCOMES:
            continue
        like = OUTCOMES[family["control"]]
        # as many hits have sets of their own, unless they are the hits of the target sets themselves
        control = like if like in set(conditions["control"]) else "target"
        alike = [name for name in FAMILY if name not in ("control", "draw")]
        same = [(other, members) for other, members in grouped if all(other[name] == family[name] for name in alike)]
        hits, matched = (
            [members for other, members in same if other["control"] == name] for name in (control, "matched")
        )
        if hits:
            found.append((family, [own, hits[0], *matched]))
    return found


def _rows(about: Row, own: Change, hits: Change, *matched: Change) -> list[Row]:
    kind, unreliable = about["kind"], any(change.unreliable for change in (own, hits, *matched))
    pairs = {("outcome", "baseline"): own, ("hits", "baseline"): hits, ("outcome", "hits"): own.minus(hits)}
    if matched:
        control = mean(matched)
        pairs |= {("outcome", "matched"): own.minus(control), ("hits", "matched"): hits.minus(control)}
    found = {key: measures(change) for key, change in pairs.items()}
    judged: tuple[str | None, str | None] = None, TOO_UNRELIABLE if unreliable else "no matched controls"
    if matched and not unreliable:
        compared = (("outcome", "matched"), ("hits", "matched"), ("outcome", "hits"))
        own_excess, hits_excess, less = (found[key][GAPS[kind]].interval() for key in compared)
        judged = verdict(own_excess, hits_excess, less, falls=kind == "deactivate")
    rows = []
    for (whose, against), effects in found.items():
        for name in MEASURES[kind]:
            row = effects[name].columns() | about | {"sets": whose, "against": against, "measure": name}
            row |= {"unit": unit(name), "unreliable": unreliable, "draws": len(matched) if against == "matched" else 1}
            if (whose, against, name) == ("outcome", "hits", GAPS[kind]):
                row |= {"verdict": judged[0], "reason": row["reason"] or judged[1]}
            rows.append(row)
    return rows


def _overlap(
    folds: Sequence[Sequence[Mapping[str, np.ndarray]]], emotion: str, emotions: Sequence[str], layers: int, width: int
) -> Row:
    """One emotion's overlap; ``folds`` holds for each fold the sets of the outcome, of hits, and of a second draw of hits."""
    same = [float(jaccard([own[emotion], hits[emotion]])[0]) for own, hits, *_ in folds]
    others = [float(jaccard([own[emotion], hits[e]])[0]) for own, hits, *_ in folds for e in emotions if e != emotion]
    again = [float(jaccard([sets[emotion] for sets in rest])[0]) for _, *rest in folds if len(rest) > 1]
    size = round(float(np.mean([len(sets[emotion]) for pair in folds for sets in pair[:2]])))
    alike = []
    for own, hits, *_ in folds:
        if width and len(own[emotion]) and len(hits[emotion]):
            held = [np.bincount(sets[emotion] // width, minlength=layers) / len(sets[emotion]) for sets in (own, hits)]
            alike.append(1 - float(np.abs(held[0] - held[1]).sum()) / 2)
    return {
        "emotion": emotion,
        "folds": len(folds),
        "jaccard": float(np.mean(same)),
        "jaccard_min": min(same),
        "jaccard_max": max(same),
        "jaccard_others": float(np.mean(others)) if others else None,
        "jaccard_hits": float(np.mean(again)) if again else None,
        "chance": expected_jaccard(size, size, layers * width) if layers * width else None,
        "layers_alike": float(np.mean(alike)) if alike else None,
    }


NAMES = {"misses": "misses", "false-alarms": "false alarms"}
"""Wrong answers on which neurons were found, in words."""

ACTS = {"acts as hits do": True, "acts less": True, "does not act": False, "acts the other way": False}
"""Whether sets act, by their verdict; not known where it is none of these."""

FOLLOWED: dict[tuple[bool | None, ...], str] = {
    (True, False): "The neurons follow what is in the voice, whatever is answered",
    (False, True): "The neurons follow what is answered, whatever is in the voice",
    (True, True): "Neurons that follow the voice and neurons that follow the answer both act",
    (False, False): "Only neurons found where voice and answer agree act",
}
UNDECIDED = "Whether the neurons follow what is heard or what is answered is undecided"
"""What neurons follow, by whether sets of misses and of false alarms act."""

CAPTION = (
    "Neurons found on misses (the emotion is in the voice, not in the answer) and on false alarms (in the answer, not in "
    "the voice), next to those of as many hits of the same emotions: excess gap where switched off, excess pull gap where "
    "amplified. Points beyond matched neurons, with 95 % intervals over speakers; difference: on the same clips. "
    "Exploration: not corrected for their number."
)

SETS_CAPTION = (
    "Neurons in both sets over neurons in either, in %, means over folds: with the set of as many hits of the same "
    "emotion, with those of other emotions, of two sets of hits that share no clip, and of two random sets; and the share "
    "of neurons that lie in the same layers as those of hits."
)


def decisive(part: Part) -> list[tuple[str, str, dict[tuple[str, ...], Row]]]:
    """Of each outcome and kind of intervention, rows in the measure that decides: whose sets and against what -> row."""
    measure = pl.col("kind").replace_strict(GAPS, default=None, return_dtype=pl.String)
    found = part.own("outcomes").filter(pl.col("measure") == measure)
    groups = {(outcome, kind): found.filter(outcome=outcome, kind=kind) for outcome in NAMES for kind in GAPS}
    return [(*key, by_key(rows, "sets", "against")) for key, rows in groups.items() if len(rows)]


def tabulate_outcomes(study: StudyRuns) -> pl.DataFrame | None:
    """Neurons found on wrong answers beside those found on as many right ones."""
    rows = []
    for part in study.mains:
        for outcome, kind, by in decisive(part):
            less = by["outcome", "hits"]
            rows.append(
                {
                    "corpus": part.name,
                    "neurons": f"{NAMES[outcome]}, {DONE[kind]}",
                    "clips × emotions": f"{less['clips'] or '–'} × {less['targets']}",
                    "found on them": spread(by.get(("outcome", "matched"))),
                    "found on as many hits": spread(by.get(("hits", "matched"))),
                    "difference": spread(less),
                    "what they do": less["verdict"] or "no verdict",
                    "why": less["reason"] or "",
                }
            )
    return made_of(study, rows)


def tabulate_outcome_sets(part: Part) -> pl.DataFrame | None:
    """How far sets of misses and of false alarms overlap with those of hits."""
    headings = {
        "jaccard": "shared with hits",
        "jaccard_others": "with hits of other emotions",
        "jaccard_hits": "hits with hits",
        "chance": "by chance",
        "layers_alike": "in the same layers",
    }
    found = part.own("outcome_sets").sort("outcome", descending=True).with_columns(pl.col(*headings) * 100)
    return made(
        [
            {"found on": NAMES[row["outcome"]], "emotion": row["emotion"], "clips": str(row["clips"])}
            | {heading: number(row[name]) for name, heading in headings.items()}
            for row in found.iter_rows(named=True)
        ]
    )


def say_outcomes(study: StudyRuns) -> list[str]:
    """Whether the neurons follow what is heard or what is answered, by rule, and why an emotion has no such sets."""
    texts = []
    for part in study.mains:
        off = {outcome: by for outcome, kind, by in decisive(part) if kind == "deactivate"}
        sentences = []
        if off:
            acts = [ACTS.get(off[name]["outcome", "hits"]["verdict"]) if name in off else None for name in NAMES]
            effects = "; ".join(_in_words(NAMES[name], by) for name, by in off.items())
            lead = FOLLOWED.get(tuple(acts), UNDECIDED)
            sentences.append(f"{lead}: switched off beyond matched neurons, {effects}.")
        for name, words in NAMES.items():
            without = (part.run.manifest.get("outcomes") or {}).get(name) or {}
            if lost := [emotion for emotion, why in without.items() if isinstance(why, str)]:
                few = f"too few clips for {', '.join(lost)}" if name in off else "none had enough clips"
                sentences.append(f"Sets found on {words}: {few}.")
        lead = where(study, part)
        texts += [f"{lead}: {sentence}" if lead else sentence for sentence in sentences]
    return texts


def _in_words(name: str, by: Mapping[tuple[str, ...], Row]) -> str:
    """The excess gap of one outcome's sets next to that of hits, and the verdict or why there is none."""
    own, hits = (estimate_text(by.get((whose, "matched"))) for whose in ("outcome", "hits"))
    last = by["outcome", "hits"]
    verdict = last["verdict"] or f"no verdict, {last['reason']}"
    return f"sets of {name} of {last['targets']} emotions have a gap of {own} points, those of as many hits {hits} ({verdict})"


QUESTIONS = (
    Question(
        "controls",
        20,
        (
            Table("outcomes", tabulate_outcomes, CAPTION, pages="both"),
            Table("outcome_sets", tabulate_outcome_sets, SETS_CAPTION),
        ),
        says=say_outcomes,
        says_on="both",
        tables={
            "outcomes": lambda part: outcome_effects(
                part.responses, part.run.conditions, part.run.sets, part.unreliable
            ),
            "outcome_sets": lambda part: outcome_sets(part.run),
        },
    ),
)
