"""The three sentences that a report begins with, and what may not be concluded; by rule, from the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from emoscope.neurons.controls import WELL_MATCHED
from emoscope.report.content import Content, number

NO_DEACTIVATION = "Switching the selected neurons off was not part of this run."
NO_STEERING = "Amplifying the selected neurons was not part of this run."
MATCHED_IN = {"frequency": "firing rate", "magnitude": "mean activity", "down_norm": "output weight"}
"""What matched controls share with the selected neurons, in words."""


def headline(content: Content) -> list[str]:
    """Three sentences without jargon: above chance? does switching off hurt? does amplifying pull?"""
    return [_knows(content), _hurts(content), _pulls(content)]


def standing(content: Content) -> list[str]:
    """What the reader must know before any number: few or unknown speakers, clips the model knows, shared speakers."""
    found = []
    if content.without_speaker:
        part = "" if content.without_speaker == 1 else f" for {number(100 * content.without_speaker, 0)} % of the items"
        found.append(
            f"Speakers unknown{part}: the same voice may be on both sides. Intervals are over recordings, and no "
            "conclusion is drawn."
        )
    elif 0 < content.speakers < 5:
        found.append(
            f"Only {content.speakers} speaker{'s' if content.speakers > 1 else ''}: with fewer than five no interval can be "
            "given, so the numbers below describe these speakers and no others."
        )
    if content.allows("model", "allow_trained_on"):
        found.append("Clips on which the model was trained are evaluated: the study allows it.")
    if content.allows("evaluate", "allow_shared_speakers"):
        found.append("Speakers may be on both sides, identification and evaluation: the study allows it.")
    return found


def matching(content: Content, kind: str) -> str | None:
    """How well the headline's matched controls are matched, in words; ``None`` where no excess over them is shown."""
    found = _matched_sets(content)
    excess = {"deactivate": "excess_gap", "steer": "excess_pull_overall"}[kind]
    if found.is_empty() or content.effect(kind, excess) is None:
        return None
    differences = _worst(found)
    if not differences:
        return "How well the matched controls are matched was not recorded."
    far = {name: [_is_far(value) for value in found[f"smd_{name}"]] for name in differences}
    all_close = [not any(one) for one in zip(*far.values(), strict=True)]
    together = (
        f"in {_percent(all_close)} of the {len(found)} control sets every standardised mean difference is within "
        f"{WELL_MATCHED}, and the largest is {number(max(differences.values()), 2)}"
    )
    apart = [
        f"{MATCHED_IN[name]} is further off in {_percent(far[name])} of the control sets, by up to "
        f"{number(differences[name], 2)} standard deviations (control minus selected, mean {number(found[f'smd_{name}'].mean(), 2, sign=True)})"  # type: ignore[arg-type]
        for name in _far(differences)
    ]
    if not apart:
        return f"Matched controls: {together}."
    return (
        f"The controls are not well matched in {_unmatched(differences)}: {together}; {'; '.join(apart)}. "
        "An excess over such controls may come from that difference and not from emotion."
    )


def limits(content: Content) -> list[str]:
    """What may not be concluded from this run."""
    found = [
        "That these neurons are the only ones that carry emotion, or that they carry nothing else: only what happens when "
        "they are changed was tested.",
        "That the model “no longer hears” an emotion when accuracy falls: an answer that is merely avoided gives the same "
        "matrix of accuracies. Read the change of accuracy together with the pull of answers.",
        "That amplification improves recognition when accuracy on the amplified emotion rises: answering it more often does "
        "that by itself. The pull on other emotions and UAR say what it costs.",
        "Anything about other speakers than the kind recorded here, other languages, or feelings as opposed to what "
        "listeners or actors call them.",
        "That a selector is better than another because its number is larger: their intervals concern each alone, not the "
        "difference. Only the headline was fixed beforehand; all else is exploration.",
        "Anything about how sets would vary if neurons were selected anew: intervals hold for the neurons found.",
    ]
    null = content.uar("null")
    if null and null["changed"] is not None:
        found.append(
            f"Effects near {number(null['changed'])} % of the answers: that share changes when nothing but the composition "
            "of batches does."
        )
    if content.allows("model", "allow_trained_on"):
        found.append(
            "That the model recognises emotion in recordings it has never met: clips on which the model was trained are "
            "evaluated (allow_trained_on), so the accuracies below say in part what it remembers."
        )
    if content.allows("evaluate", "allow_shared_speakers"):
        found.append(
            "That the neurons found serve other voices than those they were found on: speakers may be on both sides "
            "(allow_shared_speakers), and the intervals do not take account of that."
        )
    if content.without_speaker:
        found.append(
            "That the neurons found serve other voices than those they were found on: where the speaker is unknown, the "
            "same voice may be on both sides."
        )
    for corpus in _trained_on(content):
        found.append(f"That the model had never met this corpus: it was trained on a part of {corpus}.")
    hollow = content.tables.uar.filter(content.tables.uar["hollow"])
    if len(hollow):
        found.append(
            f"Anything from {len(hollow)} condition(s) in which the letters’ probability is below 0.5 or the written answer "
            f"differs from the likeliest letter in more than a tenth of the items, such as {hollow['condition'][0]}."
        )
    return found


def _knows(content: Content) -> str:
    row = content.uar("baseline")
    if row is None or row["uar"] is None:
        return "The model’s answers without any change are missing, so nothing can be said about what it knows."
    text = (
        f"Left untouched, the model names the emotion of {number(row['uar'], 0)} % of the clips correctly, averaged over "
        f"{len(content.emotions)} emotions; guessing would give {number(row['chance'], 0)} %"
    )
    if row["low"] is None or not content.speakers:
        return f"{text}."
    inside = f"(95 % interval {number(row['low'], 0)} to {number(row['high'], 0)} %)"
    clear = "clearly above chance" if row["low"] > row["chance"] else "not clearly above chance"
    return f"{text}: {clear} {inside}."


def _hurts(content: Content) -> str:
    own, others = content.effect("deactivate", "self"), content.effect("deactivate", "cross")
    if own is None or own["estimate"] is None:
        return NO_DEACTIVATION
    text = f"Switching off the neurons selected for an emotion {_moves(own['estimate'], 'recognition of that emotion')}"
    if others is not None and others["estimate"] is not None:
        text += f", and {_moves(others['estimate'], 'recognition of the other emotions')}"
    excess, control = content.effect("deactivate", "excess_gap"), content.effect("deactivate", "self", "matched")
    if excess is None or control is None:
        return f"{text}; matched control neurons were not tested, so it remains open whether other neurons would do the same."
    text += (
        f"; similar neurons of the same layers change that emotion by {number(control['estimate'], sign=True)} points. "
    )
    claim = "Beyond those controls, an emotion’s own neurons hurt it more than the other emotions"
    return text + _verdict(content, excess, claim, negative=True) + _unlike(content)


def _pulls(content: Content) -> str:
    pull = content.effect("steer", "pull_overall")
    if pull is None or pull["estimate"] is None:
        return NO_STEERING
    more = "more" if pull["estimate"] >= 0 else "fewer"
    text = (
        f"Amplifying the same neurons (by {number(100 * (content.alpha or 0), 0)} %) makes the model answer with their emotion "
        f"for {number(abs(pull['estimate']))} percentage points {more} of the clips, averaged over their emotions"
    )
    excess, control = content.effect("steer", "excess_pull_overall"), content.effect("steer", "pull_overall", "matched")
    if excess is None or control is None:
        return f"{text}; matched control neurons were not amplified."
    text += f"; amplifying the controls changes that by {number(control['estimate'], sign=True)} points. "
    claim = "Beyond the controls, amplification pulls answers towards its emotion"
    return text + _verdict(content, excess, claim, negative=False) + _own_clips(content) + _unlike(content)


def _own_clips(content: Content) -> str:
    """Whether steering pulls the emotion's own clips more than the others: the excess pull gap."""
    gap = content.effect("steer", "excess_pull_gap")
    if gap is None or gap["estimate"] is None or gap["low"] is None:
        return ""
    clear = gap["low"] > 0 or gap["high"] < 0
    what = (
        "pulls clips of its own emotion more than others"
        if gap["estimate"] > 0
        else "pulls clips of other emotions more"
    )
    span = f"(excess pull gap {number(gap['estimate'], sign=True)}, 95 % interval {number(gap['low'])} to {number(gap['high'])})"
    return (
        f" It {what} {span}."
        if clear
        else f" Whether it pulls its own emotion’s clips more than others is open {span}."
    )


def _matched_sets(content: Content) -> pl.DataFrame:
    """One row per fold, emotion and draw of the headline's matched controls."""
    found = content.run.sets.filter(pl.col("control") == "matched")
    for column in ("selector", "budget", "scope"):
        value = getattr(content, column)
        if value is not None:
            found = found.filter(pl.col(column) == value)
    return found


def _worst(found: pl.DataFrame) -> dict[str, float]:
    """The largest absolute standardised mean difference of each covariate."""
    largest = {name: found[f"smd_{name}"].abs().max() for name in MATCHED_IN}
    return {name: float(value) for name, value in largest.items() if value is not None}  # type: ignore[arg-type]


def _is_far(difference: float | None) -> bool:
    return difference is None or abs(difference) > WELL_MATCHED


def _far(differences: Mapping[str, float]) -> list[str]:
    return [name for name, value in differences.items() if _is_far(value)]


def _unmatched(differences: Mapping[str, float]) -> str:
    """The covariates that differ, such as “firing rate, mean activity and output weight”."""
    words = [MATCHED_IN[name] for name in _far(differences)]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _percent(flags: Sequence[bool]) -> str:
    return f"{number(100 * sum(flags) / len(flags), 0)} %"


def _unlike(content: Content) -> str:
    """A warning that follows a verdict over matched controls; empty where they are matched well."""
    unmatched = _unmatched(_worst(_matched_sets(content)))
    return f" The controls are not well matched in {unmatched}." if unmatched else ""


def _moves(points: float, what: str) -> str:
    if abs(points) < 0.05:
        return f"leaves {what} as it was"
    return f"{'lowers' if points < 0 else 'raises'} {what} by {number(abs(points))} percentage points"


def _verdict(content: Content, excess: dict[str, Any], claim: str, negative: bool) -> str:
    value, low, high = excess["estimate"], excess["low"], excess["high"]
    if low is None or not content.speakers:
        reason = "speakers are unknown" if not content.speakers else "there are too few speakers for an interval"
        return f"The difference is {number(value, sign=True)} points; no conclusion is drawn, since {reason}."
    inside = f"(difference {number(value, sign=True)} points, 95 % interval {number(low)} to {number(high)})"
    if (high < 0) if negative else (low > 0):
        return f"{claim} {inside}."
    if low <= 0 <= high:
        return f"Whether the selected neurons differ from the controls in this remains open {inside}."
    return f"The difference goes the other way than expected {inside}."


def _trained_on(content: Content) -> list[str]:
    model: Any = content.run.manifest.get("model") or {}
    used = set(content.run.items["corpus"].drop_nulls())
    heard = set(map(str, model.get("trained_speakers") or [])) & set(content.tables.panel.speakers)
    found = []
    for one in model.get("trained_on") or []:
        if one.get("corpus") not in used:
            continue
        where = (one.get("where") or {}).items()
        which = "; ".join(
            f"{name} {value if isinstance(value, str) else ', '.join(map(str, value))}" for name, value in where
        )
        text = f"{one['corpus']} ({which})" if which else str(one["corpus"])
        again = content.allows("model", "allow_trained_on")
        if which:
            text += ", whose recordings may be evaluated here" if again else ", whose recordings are not evaluated here"
        if heard:
            where_heard = "" if again else " in other recordings"
            text += f", and {len(heard)} of the {content.speakers} speakers below were heard then{where_heard}"
        found.append(text)
    return found
