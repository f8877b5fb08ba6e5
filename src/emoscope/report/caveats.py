"""What limits a report: what must be known before any number, how well controls match, and what may not be concluded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import polars as pl

from emoscope.analysis.parts import Part, StudyRuns
from emoscope.analysis.standing import stored_words
from emoscope.neurons.controls import WELL_MATCHED
from emoscope.report.wording import MATCHED_IN
from emoscope.vocabulary import LEAST_LETTER_MASS, PRESENTED
from emoscope.wording import listed, number

CLOSE = 0.5
"""Controls come close where their mean effect is at least this share of the selected neurons' effect."""

LIMITS = (
    "That these neurons are the only ones that carry emotion, or that they carry nothing else: only what happens when "
    "they are changed was tested.",
    "That the model “no longer hears” an emotion because accuracy falls: an answer that is merely avoided gives the same "
    "matrix of accuracies. Only the verdict, which rests on evidence and leaning, tells the two apart.",
    "That amplification improves recognition when accuracy on the amplified emotion rises: answering it more often does "
    "that by itself. The pull on other emotions and UAR say what it costs.",
    "Anything about other speakers than the kind recorded here, other languages, or feelings as opposed to what "
    "listeners or actors call them.",
    "That a selector is better than another because its number is larger: only a paired difference that keeps clear of "
    "zero says so, and for these clips only. Only the headline was fixed beforehand; all else is exploration.",
    "That intervals cover how sets would vary if neurons were selected anew: they hold for the neurons found. The "
    "overlap of folds shows that variation apart.",
    "That a neuron does what the words it writes suggest: only its direct path to the output was read.",
)
SEVERAL = (
    "That corpora differ because their numbers do: each has other speakers, other clips and, outside the chapter on "
    "transfer, other emotions. Only a difference with an interval clear of zero says so.",
    "That every cell in bold is a finding: intervals are not corrected for the number of corpora, sources and questions "
    "on this page. The claims above are corrected where it says so.",
)
OF_TABLES = {
    "transfer": "That neurons that act on two corpora are the same neurons, or that those that do not have no part in "
    "common: overlap and effect are shown apart. Sets for transfer are found on fewer clips than those of each corpus "
    "alone, so that all sources give equally many.",
    "side_effects": "That an ability is spared because no harm is clear of zero: the interval says how large a harm may "
    "still be.",
    "grounding": "That the model hears emotion in the voice because its neurons do nothing on the transcript: where the "
    "untouched model is at chance there, nothing can be taken away.",
}
"""What may not be concluded: from any study, from one of several corpora, and from one with these tables."""


def standing(study: StudyRuns) -> list[str]:
    """What the reader must know before any number: no voice, chance, unknown or few or shared speakers, clips the model knows."""
    return _by_corpus(study, _before_numbers)


def limits(study: StudyRuns) -> list[str]:
    """What may not be concluded."""
    several = SEVERAL if len(study.mains) > 1 else ()
    of_tables = [text for name, text in OF_TABLES.items() if len(study.table(name))]
    return [*LIMITS, *several, *of_tables, *_by_corpus(study, _unfounded)]


def pilot(study: StudyRuns) -> list[str] | None:
    """What a pilot concludes, on each corpus, in sentences; ``None`` for a full study."""
    findings = study.manifest.get("pilot")
    if not isinstance(findings, dict):
        return None
    alone = study.parts[0].run.manifest is study.manifest
    found = [("", findings)] if alone else [(f"{name}: ", of_corpus or {}) for name, of_corpus in findings.items()]
    return [f"{name}{sentence}" for name, of_corpus in found for sentence in of_corpus.get("verdict") or []]


def _by_corpus(study: StudyRuns, say: Callable[[Part], Iterable[str]]) -> list[str]:
    """What is said of each corpus, each sentence once; with the corpora's names where there are several."""
    sentences: dict[str, list[str]] = {}
    for part in study.mains:
        for sentence in say(part):
            sentences.setdefault(sentence, []).append(part.name)
    several = len(study.mains) > 1
    return [f"On {listed(names)}: {sentence}" if several else sentence for sentence, names in sentences.items()]


def _before_numbers(part: Part) -> Iterable[str]:
    asked = PRESENTED.get(part.presentation or "audio")
    if asked and asked.caveat:
        yield asked.caveat
    yield from stored_words(part.table("uar"), part.run.items)
    shared = part.run.manifest.get("speakers_shared") or 0
    if shared:
        yield f"Speakers shared: {shared}. They are on both sides, identification and evaluation: the study allows it."
    elif part.allows("evaluate", "allow_shared_speakers"):
        yield "Speakers may be on both sides, identification and evaluation: the study allows it."
    if part.allows("model", "allow_trained_on"):
        yield "Clips on which the model was trained are evaluated: the study allows it."


def _unfounded(part: Part) -> Iterable[str]:
    if unmatched := unlike(part):
        yield f"That an excess over matched controls comes from emotion alone. {unmatched}"
    null = part.uar("null")
    if null and null["changed"] is not None:
        yield (
            f"Effects near {number(null['changed'])} % of the answers: that share changes when nothing but the composition "
            "of batches does."
        )
    if part.allows("model", "allow_trained_on"):
        yield (
            "That the model recognises emotion in recordings it has never met: clips on which the model was trained are "
            "evaluated (allow_trained_on), so the accuracies below say in part what it remembers."
        )
    voices = "That the neurons found serve other voices than those they were found on:"
    shared = part.run.manifest.get("speakers_shared") or 0
    if shared or part.allows("evaluate", "allow_shared_speakers"):
        are = f"{shared} speaker{'s are' if shared > 1 else ' is'}" if shared else "speakers may be"
        yield f"{voices} {are} on both sides (the study allows it), and the intervals do not take account of that."
    if part.without_speaker:
        yield f"{voices} where the speaker is unknown, the same voice may be on both sides."
    for corpus in _trained_on(part):
        yield f"That the model had never met this corpus: it was trained on a part of {corpus}."
    unreliable = part.table("uar").filter("unreliable")["condition"]
    if len(unreliable):
        yield (
            f"Anything from {len(unreliable)} condition(s) in which the letters’ probability is below {LEAST_LETTER_MASS:g} or "
            f"the written answer differs from the likeliest letter in more than a tenth of the items, such as {unreliable[0]}."
        )


def _trained_on(part: Part) -> Iterable[str]:
    """The corpora among those asked that the model was trained on, with which of their recordings."""
    model = part.run.manifest.get("model") or {}
    used = set(part.run.items["corpus"].drop_nulls())
    heard = set(map(str, model.get("trained_speakers") or [])) & set(part.responses.speakers)
    again = part.allows("model", "allow_trained_on")
    for trained in model.get("trained_on") or []:
        if trained.get("corpus") not in used:
            continue
        where = (trained.get("where") or {}).items()
        which = "; ".join(
            f"{name} {value if isinstance(value, str) else ', '.join(map(str, value))}" for name, value in where
        )
        text = f"{trained['corpus']} ({which})" if which else str(trained["corpus"])
        if which:
            text += ", whose recordings may be evaluated here" if again else ", whose recordings are not evaluated here"
        if heard:
            elsewhere = "" if again else " in other recordings"
            text += f", and {len(heard)} of the {part.speakers} speakers below were heard then{elsewhere}"
        yield text


MEASURES = {"deactivate": "gap", "steer": "pull_overall"}
NAMES = {"gap": "gap", "pull_overall": "pull on all clips"}
"""The measure of each kind of intervention that is compared with controls, and its name."""


def matching(part: Part, kind: str) -> str | None:
    """How well the headline's matched controls are matched, in words; ``None`` where no excess over them is shown."""
    if part.effect(kind, f"excess_{MEASURES[kind]}") is None:
        return None
    largest = _largest(part)
    if not largest:
        return "How well the matched controls are matched was not recorded."
    well = part.own("matching")["share_well_matched"].mean()
    together = (
        f"in {number(well, 0)} % of the control sets every standardised mean difference is within {WELL_MATCHED}, and the "  # type: ignore[arg-type]
        f"largest is {number(max(largest.values()), 2)}"
    )
    if unmatched := unlike(part):
        return (
            f"{unmatched.rstrip('.')}: {together}. An excess over such controls may come from that difference and not from "
            "emotion."
        )
    return f"Matched controls: {together}."


def unlike(part: Part) -> str | None:
    """A warning that follows a claim over matched controls; ``None`` where they are matched well."""
    words = [MATCHED_IN[name] for name, value in _largest(part).items() if value > WELL_MATCHED]
    return f"The controls are not well matched in {listed(words)}." if words else None


def _largest(part: Part) -> Mapping[str, float]:
    """The largest absolute standardised mean difference of each covariate."""
    most = part.own("matching").group_by("covariate").agg(pl.col("smd_largest").max()).drop_nulls()
    found = dict(most.iter_rows())
    return {name: found[name] for name in MATCHED_IN if name in found}


def close(part: Part, kind: str, measure: str) -> str | None:
    """A warning where sets found on shuffled labels do nearly what the selected ones do.

    That is so where their mean effect reaches :data:`CLOSE` of the selected sets' effect, or a single draw all of it.
    """
    own, shuffled = part.effect(kind, measure), part.effect(kind, measure, "shuffled")
    if not own or not shuffled or not own["estimate"] or shuffled["estimate"] is None:
        return None
    way = 1 if own["estimate"] > 0 else -1
    ends = [shuffled[name] for name in ("draw_min", "draw_max") if shuffled[name] is not None]
    most = max((way * end for end in ends), default=way * shuffled["estimate"])
    share, reached = shuffled["estimate"] / own["estimate"], most >= abs(own["estimate"])
    if share < CLOSE and not reached:
        return None
    return (
        f"Neurons found on shuffled labels come close: {number(shuffled['estimate'], sign=True)} points on average and "
        f"{number(way * most, sign=True)} at most, against {number(own['estimate'], sign=True)} ({NAMES[measure]})."
    )


def rank(part: Part, kind: str) -> str | None:
    """The place of the selected sets among all combinations of matched draws, in a sentence."""
    measure = MEASURES[kind]
    row = part.effect(kind, measure)
    if row is None or row["rank"] is None:
        return None
    return (
        f"Rank among matched sets ({NAMES[measure]}): {row['rank']:,} of {row['combinations'] + 1:,}, counting every combination of "
        "one matched draw per emotion; 1 is the most extreme."
    )
