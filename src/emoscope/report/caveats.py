"""What limits a report: what must be known before any number, how well controls match, and what may not be concluded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from emoscope.analysis.parts import Part, StudyRuns
from emoscope.analysis.standing import at_chance, first_words
from emoscope.neurons.controls import WELL_MATCHED
from emoscope.report.wording import MATCHED_IN
from emoscope.vocabulary import LEAST_LETTER_MASS, MINIMUM_SPEAKERS
from emoscope.wording import listed, number

CLOSE = 0.5
"""Controls come close where their mean effect is at least this share of the selected neurons' effect."""

PRESENTED = {
    "noise": "No voice is heard: noise as long and as loud takes its place. What lies above chance comes from length, "
    "from level, or from a bias.",
    "transcript": "No voice is heard: what is said stands there as text. What lies above chance comes from the words, or from a bias.",
}
"""What is said first of a study in which something else takes the place of the voice."""


def standing(part: Part) -> list[str]:
    """What the reader must know before any number: no voice, chance, unknown or few or shared speakers, clips the model knows."""
    found = [told] if (told := PRESENTED.get(part.presentation or "audio")) else []
    found += first_words(part.uar("baseline"), part.without_speaker, part.speakers)
    shared = part.run.manifest.get("speakers_shared") or 0
    if shared:
        found.append(
            f"Speakers shared: {shared}. They are on both sides, identification and evaluation: the study allows it."
        )
    if part.allows("model", "allow_trained_on"):
        found.append("Clips on which the model was trained are evaluated: the study allows it.")
    if part.allows("evaluate", "allow_shared_speakers") and not shared:
        found.append("Speakers may be on both sides, identification and evaluation: the study allows it.")
    return found


def matching(part: Part, kind: str) -> str | None:
    """How well the headline's matched controls are matched, in words; ``None`` where no excess over them is shown."""
    excess = {"deactivate": "excess_gap", "steer": "excess_pull_overall"}[kind]
    if part.effect(kind, excess) is None:
        return None
    found, largest = _matching(part), _largest(part)
    if not largest:
        return "How well the matched controls are matched was not recorded."
    well = found["share_well_matched"].mean()
    together = (
        f"in {number(well, 0)} % of the control sets every standardised mean difference is within {WELL_MATCHED}, and the "  # type: ignore[arg-type]
        f"largest is {number(max(largest.values()), 2)}"
    )
    unmatched = _unmatched(largest)
    if not unmatched:
        return f"Matched controls: {together}."
    return (
        f"The controls are not well matched in {unmatched}: {together}. "
        "An excess over such controls may come from that difference and not from emotion."
    )


def limits(part: Part) -> list[str]:
    """What may not be concluded from this run."""
    found = [
        "That these neurons are the only ones that carry emotion, or that they carry nothing else: only what happens when "
        "they are changed was tested.",
        "That the model “no longer hears” an emotion because accuracy falls: an answer that is merely avoided gives the same "
        "matrix of accuracies. Only the verdict, which rests on evidence and leaning, tells the two apart.",
        "That amplification improves recognition when accuracy on the amplified emotion rises: answering it more often does "
        "that by itself. The pull on other emotions and UAR say what it costs.",
        "Anything about other speakers than the kind recorded here, other languages, or feelings as opposed to what "
        "listeners or actors call them.",
        "That a selector is better than another because its number is larger: only a paired difference that keeps clear of zero "
        "says so, and for these clips only. Only the headline was fixed beforehand; all else is exploration.",
        "That intervals cover how sets would vary if neurons were selected anew: they hold for the neurons found. The overlap of "
        "folds shows that variation apart.",
        "That a neuron does what the words it writes suggest: only its direct path to the output was read.",
    ]
    unmatched = unlike(part)
    if unmatched:
        found.append(f"That an excess over matched controls comes from emotion alone. {unmatched}")
    null = part.uar("null")
    if null and null["changed"] is not None:
        found.append(
            f"Effects near {number(null['changed'])} % of the answers: that share changes when nothing but the composition "
            "of batches does."
        )
    if part.allows("model", "allow_trained_on"):
        found.append(
            "That the model recognises emotion in recordings it has never met: clips on which the model was trained are "
            "evaluated (allow_trained_on), so the accuracies below say in part what it remembers."
        )
    shared = part.run.manifest.get("speakers_shared") or 0
    if shared or part.allows("evaluate", "allow_shared_speakers"):
        are = f"{shared} speaker{'s are' if shared > 1 else ' is'}" if shared else "speakers may be"
        found.append(
            f"That the neurons found serve other voices than those they were found on: {are} on both sides "
            "(the study allows it), and the intervals do not take account of that."
        )
    if part.without_speaker:
        found.append(
            "That the neurons found serve other voices than those they were found on: where the speaker is unknown, the "
            "same voice may be on both sides."
        )
    for corpus in _trained_on(part):
        found.append(f"That the model had never met this corpus: it was trained on a part of {corpus}.")
    hollow = part.table("uar").filter(part.table("uar")["hollow"])
    if len(hollow):
        found.append(
            f"Anything from {len(hollow)} condition(s) in which the letters’ probability is below {LEAST_LETTER_MASS:g} or the written answer "
            f"differs from the likeliest letter in more than a tenth of the items, such as {hollow['condition'][0]}."
        )
    return found


def unlike(part: Part) -> str | None:
    """A warning that follows a claim over matched controls; ``None`` where they are matched well."""
    unmatched = _unmatched(_largest(part))
    return f"The controls are not well matched in {unmatched}." if unmatched else None


def close(part: Part, kind: str, measure: str) -> str | None:
    """A warning where sets found on shuffled labels do nearly what the selected ones do.

    That is so where their mean effect reaches :data:`CLOSE` of the selected sets' effect, or a single draw all of it.
    """
    own, shuffled = part.effect(kind, measure), part.effect(kind, measure, "shuffled")
    if not own or not shuffled or not own["estimate"] or shuffled["estimate"] is None:
        return None
    way = 1 if own["estimate"] > 0 else -1
    ends = [shuffled[name] for name in ("draw_min", "draw_max") if shuffled[name] is not None]
    most = max((way * one for one in ends), default=way * shuffled["estimate"])
    share, reached = shuffled["estimate"] / own["estimate"], most >= abs(own["estimate"])
    if share < CLOSE and not reached:
        return None
    return (
        f"Neurons found on shuffled labels come close: {number(shuffled['estimate'], sign=True)} points on average and "
        f"{number(way * most, sign=True)} at most, against {number(own['estimate'], sign=True)} ({_NAMES[measure]})."
    )


_NAMES = {"gap": "gap", "pull_overall": "pull on all clips"}


def _matching(part: Part) -> pl.DataFrame:
    return part.own("matching")


def _largest(part: Part) -> dict[str, float]:
    """The largest absolute standardised mean difference of each covariate."""
    found = _matching(part)
    largest = {name: found.filter(pl.col("covariate") == name)["smd_largest"].max() for name in MATCHED_IN}
    return {name: float(value) for name, value in largest.items() if value is not None}  # type: ignore[arg-type]


def _unmatched(largest: Mapping[str, float]) -> str:
    """The covariates that differ, such as “firing rate, mean activity and output weight”."""
    words = [MATCHED_IN[name] for name, value in largest.items() if value > WELL_MATCHED]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _trained_on(part: Part) -> list[str]:
    model: Any = part.run.manifest.get("model") or {}
    used = set(part.run.items["corpus"].drop_nulls())
    heard = set(map(str, model.get("trained_speakers") or [])) & set(part.panel.speakers)
    found = []
    for one in model.get("trained_on") or []:
        if one.get("corpus") not in used:
            continue
        where = (one.get("where") or {}).items()
        which = "; ".join(
            f"{name} {value if isinstance(value, str) else ', '.join(map(str, value))}" for name, value in where
        )
        text = f"{one['corpus']} ({which})" if which else str(one["corpus"])
        again = part.allows("model", "allow_trained_on")
        if which:
            text += ", whose recordings may be evaluated here" if again else ", whose recordings are not evaluated here"
        if heard:
            where_heard = "" if again else " in other recordings"
            text += f", and {len(heard)} of the {part.speakers} speakers below were heard then{where_heard}"
        found.append(text)
    return found


def rank(part: Part, kind: str) -> str | None:
    """The place of the selected sets among all combinations of matched draws, in a sentence."""
    measure = {"deactivate": "gap", "steer": "pull_overall"}[kind]
    row = part.effect(kind, measure)
    if row is None or row["rank"] is None:
        return None
    return (
        f"Rank among matched sets ({_NAMES[measure]}): {row['rank']:,} of {row['combinations'] + 1:,}, counting every combination of "
        "one matched draw per emotion; 1 is the most extreme."
    )


def standing_of_parts(study: StudyRuns) -> list[str]:
    """What the reader must know before any number: parts without results, unknown, shared or few speakers."""
    found = []
    lost = [part.name for part in study.mains if at_chance(part.uar())]
    if lost:
        found.append(
            f"On {listed(lost)} the untouched model is not clearly above chance: what neurons change there is what it answers, not what it "
            "recognises."
        )
    unknown = [part.name for part in study.mains if len(part.run.items) and part.unknown_speakers]
    if unknown:
        found.append(
            f"Speakers unknown on {listed(unknown)}: the same voice may be on both sides. Intervals there are over recordings, and no "
            "conclusion is drawn."
        )
    few = []
    for part in study.mains:
        row = part.uar()
        if row is not None and not part.unknown_speakers and 0 < row["speakers"] < MINIMUM_SPEAKERS:
            few.append(f"{part.name} ({row['speakers']})")
    if few:
        found.append(f"Fewer than five speakers on {listed(few)}: no interval can be given there.")
    shared = [
        f"{part.run.manifest['speakers_shared']} on {part.name}"
        for part in study.mains
        if part.run.manifest.get("speakers_shared")
    ]
    if shared:
        found.append(f"Speakers on both sides, identification and evaluation: {listed(shared)}. The study allows it.")
    model = (study.manifest.get("study") or {}).get("model")
    if isinstance(model, dict) and model.get("allow_trained_on"):
        found.append("Clips on which the model was trained are evaluated: the study allows it.")
    return found


def limits_of_parts(study: StudyRuns) -> list[str]:
    """What may not be concluded from the comparison of corpora and questions."""
    found = [
        "That corpora differ because their numbers do: each has other speakers, other clips and, outside the chapter on transfer, other "
        "emotions. Only a difference with an interval clear of zero says so.",
        "That every cell in bold is a finding: intervals are not corrected for the number of corpora, sources and questions on this page. "
        "The claims above are corrected where it says so.",
    ]
    if len(study.table("transfer")):
        found.append(
            "That neurons that act on two corpora are the same neurons, or that those that do not have no part in common: overlap and effect "
            "are shown apart. Sets for transfer are found on fewer clips than those of each corpus alone, so that all sources give equally many."
        )
    if len(study.table("side_effects")):
        found.append(
            "That an ability is spared because no harm is clear of zero: the interval says how large a harm may still be."
        )
    if len(study.table("grounding")):
        found.append(
            "That the model hears emotion in the voice because its neurons do nothing on the transcript: where the untouched model is at "
            "chance there, nothing can be taken away."
        )
    found.append("What the reports of the single corpora warn of holds here, too.")
    return found


def pilot_of_parts(study: StudyRuns) -> list[str] | None:
    """What a pilot concludes on each corpus, in sentences; ``None`` for a full study."""
    told = study.manifest.get("pilot")
    if not isinstance(told, dict):
        return None
    return [f"{name}: {one}" for name, found in told.items() for one in (found or {}).get("verdict") or []]
