"""Look at every file of a corpus: which can be used, how long they are, and which hold the same content."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

from emoscope.checksums import Checksums
from emoscope.corpora.audio import AudioError, checksum
from emoscope.corpora.clip import Clip
from emoscope.corpora.copies import same_recordings
from emoscope.corpora.corpus import Corpus, Progress
from emoscope.corpora.folds import crossfit_fault, fold_column, with_known_speakers
from emoscope.corpora.lengths import LISTED
from emoscope.corpora.probe import SoundFacts, probe_audio, remembered_facts
from emoscope.corpora.sound_notices import far_longer_clips, length_notices, number_of_clips, sound_notices
from emoscope.corpora.usual import USUAL_TASKS, usual_counts
from emoscope.emotions import ALIASES, in_order


@dataclass(frozen=True)
class Inspection:
    """A corpus whose unusable clips are quarantined, and the facts of the files of all others.

    Attributes:
        corpus: the clips that can be used, each recording once, and those lost.
        facts: clip id -> length in seconds, sampling rate in Hz, channels of its file, and what is told of it.
        duplicates: ids of clips with the same content, a group each (:func:`~emoscope.corpora.copies.same_recordings`
            says which of them are used).
    """

    corpus: Corpus
    facts: dict[str, SoundFacts]
    duplicates: tuple[tuple[str, ...], ...]


def inspect_files(corpus: Corpus, progress: Progress | None = None) -> Inspection:
    """Decode the file of every clip in use, as a study does.

    Args:
        corpus: the corpus.
        progress: called with (files done, files in all).

    Example:
        >>> from emoscope.corpora import open_corpus
        >>> seen = inspect_files(open_corpus("polish").where({"word": "nie", "take": 3}))
        >>> seen.facts["m1.a_nie_3"].rate, len(seen.corpus), seen.duplicates
        (16000, 15, ())
    """
    facts: dict[str, SoundFacts] = {}
    sums: dict[str, str] = {}
    faults: dict[str, str] = {}
    # decoding and hashing run outside Python's lock
    with remembered_facts() as remembered, ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        read = pool.map(partial(_read, remembered), corpus.clips)
        try:
            for done, (clip, found) in enumerate(zip(corpus.clips, read, strict=True), start=1):
                if isinstance(found, str):
                    faults[clip.id] = found
                else:
                    facts[clip.id], sums[clip.id] = found
                if progress:
                    progress(done, len(corpus))
        except BaseException:
            # whoever stops a long check does not wait for the rest of the corpus
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    heard = corpus.lose("quarantined", faults)
    copies = same_recordings(corpus.info, heard.clips, sums)
    same: dict[str, list[str]] = defaultdict(list)
    for clip in heard.clips:
        same[sums[clip.id]].append(clip.id)
    duplicates = tuple(tuple(group) for group in same.values() if len(group) > 1)
    facts = {clip: found for clip, found in facts.items() if clip not in copies}
    return Inspection(heard.lose("excluded", copies), facts, duplicates)


def _read(remembered: Checksums, clip: Clip) -> tuple[SoundFacts, str] | str:
    try:
        # decoded again, whatever is remembered: that is for dry runs
        found = SoundFacts.of(remembered.anew(clip.path)) if clip.path.is_file() else probe_audio(clip.path)
        return found, checksum(clip.path)
    except AudioError as error:
        return error.reason


def summarise(corpus: Corpus, progress: Progress | None = None) -> dict[str, Any]:
    """Describe a corpus in plain values: counts, durations, sample rates, repeated content, reasons.

    ``clips`` is always the sum of ``used``, ``excluded_by_label``, ``excluded_otherwise`` and ``quarantined``.
    Durations are in seconds, sample rates in Hz. ``expected`` gives for everything that a complete copy holds both
    numbers, and ``differences`` those that differ (``[what, expected, found]``); clips that a filter excluded count as
    found. ``missing`` names the emotions of which no clip can be used, though the corpus should hold them.

    Args:
        corpus: the corpus.
        progress: called with (files done, files in all).

    Example:
        >>> from emoscope.corpora import open_corpus
        >>> facts = summarise(open_corpus("polish"))
        >>> facts["used"], facts["by_emotion"], facts["sample_rates"], facts["expected"]["speakers"]
        (450, {'anger': 150, 'fear': 150, 'neutral': 150}, {'16000': 450}, {'expected': 5, 'found': 5})
    """
    return look_at(corpus, progress)[1]


def look_at(corpus: Corpus, progress: Progress | None = None) -> tuple[Corpus, dict[str, Any]]:
    """The same, with the corpus in which every clip has its fate."""
    seen = inspect_files(with_known_speakers(corpus), progress)
    used, facts = seen.corpus, seen.facts.values()
    asked = [clip for clip in used.clips if "emotion" in clip.labels]
    lengths = ((clip.id, round(seen.facts[clip.id].duration_s, 3), clip.labels.get(LISTED)) for clip in used.clips)
    expected = _expected(used)
    excluded = [lost for lost in used.lost if lost.fate == "excluded"]
    by_label = sum(lost.by_label for lost in excluded)
    return used, {
        "corpus": used.info.id,
        "title": used.info.title,
        "licence": used.info.licence,
        "language": used.info.language,
        "clips": len(used) + len(used.lost),
        "used": len(used),
        "excluded": len(excluded),
        "excluded_by_label": by_label,
        "excluded_otherwise": len(excluded) - by_label,
        "quarantined": len(used.lost) - len(excluded),
        "by_emotion": used.counts("emotion"),
        **{
            f"by_{field}": used.counts(field) if field in used.columns else {}
            for field in ("speaker", "session", "split")
        },
        "by_language": used.counts("language") if "language" in used.columns else {used.info.language: len(used)},
        "reasons": {fate: _reasons(used, fate) for fate in ("excluded", "quarantined")},
        "columns": list(used.columns),
        "durations": _durations([fact.duration_s for fact in facts]),
        "sample_rates": _counted(str(fact.rate) for fact in facts),
        "channels": _counted(str(fact.channels) for fact in facts),
        "duplicates": [list(group) for group in seen.duplicates],
        "unusable": [[lost.id, lost.why] for lost in used.lost if lost.fate == "quarantined"],
        "told": [*used.told, *sound_notices({clip: found.told for clip, found in seen.facts.items()})],
        "expected": expected,
        "differences": [[name, *both.values()] for name, both in expected.items() if both["expected"] != both["found"]],
        "missing": _missing(used),
        "longer": [list(one) for one in far_longer_clips(lengths)],
        "usual": _usual(used),
        "cannot_cross_fit": crossfit_fault(asked, fold_column(asked, "speaker", used.info.folds)),
        "seconds": [round(fact.duration_s, 3) for fact in facts],
    }


SCRIPT_KEYS = (
    "clips", "used", "excluded_by_label", "excluded_otherwise", "quarantined", "by_emotion", "by_speaker", "by_split",
    "by_language", "reasons", "durations", "sample_rates", "duplicates", "expected",
    "unusable", "by_session", "usual", "told", "longer", "cannot_cross_fit",
)  # fmt: skip
"""What ``emoscope corpus check --json`` prints of a summary; scripts may rely on these."""


def unusable_because(summary: Mapping[str, Any]) -> str | None:
    """Why no study can be run on a corpus, or ``None`` where one can.

    Example:
        >>> unusable_because({"used": 3, "quarantined": 0, "by_emotion": {"anger": 3}})
        'only anger is left: a question needs at least two emotions'
    """
    emotions = [emotion for emotion, count in summary["by_emotion"].items() if count and emotion != "unknown"]
    if not summary["used"]:
        return f"no clip is left ({summary['excluded']} excluded, {summary['quarantined']} quarantined)"
    if len(emotions) < 2:
        return f"only {emotions[0] if emotions else 'clips without an emotion'} is left: a question needs at least two emotions"
    fault: str | None = summary.get("cannot_cross_fit")
    return fault


def warnings_of(summary: Mapping[str, Any]) -> list[str]:
    """What a user should know before running a study, a sentence each.

    Example:
        >>> from emoscope.corpora import open_corpus
        >>> warnings_of(summarise(open_corpus("polish").where({"word": "stop", "take": 1})))
        []
    """
    found = [*summary["told"], *length_notices(summary["longer"])]
    found += [
        f"a complete copy holds {expected} {name if name in ('clips', 'speakers') else f'clips of {name}'}, found {number}"
        for name, expected, number in summary["differences"]
    ]
    found += [f"no clip of {emotion} can be used" for emotion in summary["missing"]]
    if summary["quarantined"]:
        found.append(f"{number_of_clips(summary['quarantined'])} cannot be heard")
    copies = sum(len(group) - 1 for group in summary["duplicates"])
    out = summary["reasons"]["excluded"].get("same recording", 0) if copies else 0
    if out:
        found.append(f"{number_of_clips(out)} of the same content as another one: each recording is used once")
    if copies > out:
        found.append(
            f"{number_of_clips(copies - out)} of the same content as another take of the speaker, used as released"
        )
    return found


def _usual(corpus: Corpus) -> dict[str, Any]:
    """The counts of the corpus's usual task, as far as it has one."""
    counts = usual_counts(corpus)
    if counts is None:
        return {}
    task = USUAL_TASKS[corpus.info.id]
    return {"task": task.about, "by_emotion": counts, "clips": sum(counts.values()), "expected": task.clips}


def _durations(lengths: Sequence[float]) -> dict[str, float]:
    if not lengths:
        return {}
    figures = {"total": sum(lengths), "shortest": min(lengths), "median": median(lengths), "longest": max(lengths)}
    return {name: round(value, 3) for name, value in figures.items()}


DETAIL = re.compile(r" \((?:of|as) .*\)$| \([^()]*\d (?:s|bytes)\b[^()]*\)|^its header promises [^:]*(?=: open)")
"""What a reason says of a single clip: of which file it is a copy, or numbers."""


def _reasons(corpus: Corpus, fate: str) -> dict[str, int]:
    return dict(Counter(DETAIL.sub("", lost.why) for lost in corpus.lost if lost.fate == fate).most_common())


def _counted(values: Iterator[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _expected(corpus: Corpus) -> dict[str, dict[str, int]]:
    """What a complete copy holds -> how many it holds, and how many were found."""
    labelled = {lost.clip.id: lost.clip for lost in corpus.lost if lost.clip} | {clip.id: clip for clip in corpus}

    def found(name: str) -> int:
        if name == "clips":
            return len(labelled)
        if name == "speakers":
            return len({clip.speaker for clip in labelled.values()} - {None})
        column, _, value = name.rpartition("=")
        return sum(clip.value(column or "emotion") == value for clip in labelled.values())

    return {name: {"expected": number, "found": found(name)} for name, number in corpus.info.expected.items()}


def _missing(corpus: Corpus) -> list[str]:
    """Emotions that no clip has, and those of which no clip can be heard; what a rule excluded is not missing."""
    kept = {clip.value("emotion") for clip in corpus}
    dropped = {lost.clip.value("emotion") for lost in corpus.lost if lost.clip and lost.fate == "excluded"}
    unheard = {lost.clip.value("emotion") for lost in corpus.lost if lost.clip and lost.fate == "quarantined"}
    should = {name for name in corpus.info.expected if name in ALIASES}
    return list(in_order(emotion for emotion in (unheard | should) - kept - dropped if emotion))
