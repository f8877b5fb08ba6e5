"""Look at every file of a corpus, describe what it holds, and print that."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from emoscope.checksums import Checksums
from emoscope.corpora.audio import (
    LISTED,
    AudioError,
    SoundFacts,
    checksum,
    far_longer_clips,
    length_notices,
    number_of_clips,
    probe_audio,
    remembered_facts,
    sound_notices,
)
from emoscope.corpora.clip import Clip, CorpusInfo, Lost
from emoscope.corpora.folds import crossfit_fault, fold_column, same_recordings
from emoscope.corpora.labels import columns_of, count_values
from emoscope.emotions import ALIASES, in_order

if TYPE_CHECKING:
    from rich.console import Console

Progress = Callable[[int, int], None]
"""Called with (files done, files in all) during long work."""

MOST_ROWS = 30
"""Longer tables (of speakers, say) are cut after so many rows when printed."""


@dataclass(frozen=True)
class Inspection:
    """What the files of clips hold.

    Attributes:
        facts: clip id -> length in seconds, sampling rate in Hz, channels of its file, and what is told of it; of the
            clips that can be used, each recording once.
        faults: clip id -> why its sound cannot be used.
        copies: clip id -> why it is left out (:func:`~emoscope.corpora.folds.same_recordings`).
        duplicates: ids of clips with the same content, a group each, whether they are used or not.
    """

    facts: dict[str, SoundFacts]
    faults: dict[str, str]
    copies: dict[str, str]
    duplicates: tuple[tuple[str, ...], ...]


def inspect_files(info: CorpusInfo, clips: Sequence[Clip], progress: Progress | None = None) -> Inspection:
    """Decode the file of every clip, as a study does.

    Args:
        info: the corpus.
        clips: its clips in use.
        progress: called with (files done, files in all).

    Example:
        >>> from emoscope.corpora import open_corpus
        >>> corpus = open_corpus("polish").where({"word": "nie", "take": 3})
        >>> seen = inspect_files(corpus.info, corpus.clips)
        >>> seen.facts["m1.a_nie_3"].rate, len(seen.facts), seen.faults, seen.duplicates
        (16000, 15, {}, ())
    """
    facts: dict[str, SoundFacts] = {}
    sums: dict[str, str] = {}
    faults: dict[str, str] = {}
    # decoding and hashing run outside Python's lock
    with remembered_facts() as remembered, ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        read = pool.map(partial(_read, remembered), clips)
        try:
            for done, (clip, found) in enumerate(zip(clips, read, strict=True), start=1):
                if isinstance(found, str):
                    faults[clip.id] = found
                else:
                    facts[clip.id], sums[clip.id] = found
                if progress:
                    progress(done, len(clips))
        except BaseException:
            # whoever stops a long check does not wait for the rest of the corpus
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    copies = same_recordings(info, clips, sums)
    same: dict[str, list[str]] = defaultdict(list)
    for clip_id, content in sums.items():
        same[content].append(clip_id)
    duplicates = tuple(tuple(group) for group in same.values() if len(group) > 1)
    facts = {clip_id: found for clip_id, found in facts.items() if clip_id not in copies}
    return Inspection(facts, faults, copies, duplicates)


def _read(remembered: Checksums, clip: Clip) -> tuple[SoundFacts, str] | str:
    try:
        # decoded again, whatever is remembered: that is for dry runs
        found = SoundFacts.of(remembered.anew(clip.path)) if clip.path.is_file() else probe_audio(clip.path)
        return found, checksum(clip.path)
    except AudioError as error:
        return error.reason


def describe(
    info: CorpusInfo, clips: Sequence[Clip], lost: Sequence[Lost], told: Sequence[str], seen: Inspection
) -> dict[str, Any]:
    """Describe a corpus whose files were looked at in plain values, as :meth:`~emoscope.corpora.Corpus.summary` does."""
    columns = columns_of([*clips, *(one.clip for one in lost if one.clip is not None)])
    facts = seen.facts.values()
    asked = [clip for clip in clips if "emotion" in clip.labels]
    lengths = ((clip.id, round(seen.facts[clip.id].duration_s, 3), clip.labels.get(LISTED)) for clip in clips)
    expected = _expected(info, clips, lost)
    excluded = [one for one in lost if one.fate == "excluded"]
    by_label = sum(one.by_label for one in excluded)
    return {
        "corpus": info.id,
        "title": info.title,
        "licence": info.licence,
        "language": info.language,
        "clips": len(clips) + len(lost),
        "used": len(clips),
        "excluded": len(excluded),
        "excluded_by_label": by_label,
        "excluded_otherwise": len(excluded) - by_label,
        "quarantined": len(lost) - len(excluded),
        "by_emotion": count_values(clips, "emotion"),
        **{
            f"by_{field}": count_values(clips, field) if field in columns else {}
            for field in ("speaker", "session", "split")
        },
        "by_language": count_values(clips, "language") if "language" in columns else {info.language: len(clips)},
        "reasons": {fate: _reasons(lost, fate) for fate in ("excluded", "quarantined")},
        "columns": list(columns),
        "durations": _durations([fact.duration_s for fact in facts]),
        "sample_rates": _counted(str(fact.rate) for fact in facts),
        "channels": _counted(str(fact.channels) for fact in facts),
        "duplicates": [list(group) for group in seen.duplicates],
        "unusable": [[one.id, one.why] for one in lost if one.fate == "quarantined"],
        "told": [*told, *sound_notices({clip: found.told for clip, found in seen.facts.items()})],
        "expected": expected,
        "differences": [[name, *both.values()] for name, both in expected.items() if both["expected"] != both["found"]],
        "missing": _missing(info, clips, lost),
        "longer": [list(one) for one in far_longer_clips(lengths)],
        "usual": _usual(info, clips),
        "cannot_cross_fit": crossfit_fault(asked, fold_column(asked, "speaker", info.folds)),
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
        >>> warnings_of(open_corpus("polish").where({"word": "stop", "take": 1}).summary())
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


def _usual(info: CorpusInfo, clips: Iterable[Clip]) -> dict[str, Any]:
    """The counts of the corpus's usual task, as far as it has one."""
    task = info.usual
    if task is None:
        return {}
    new = {old: name for name, olds in task.merge.items() for old in olds}
    counted = Counter(new.get(label, label) for clip in clips if (label := clip.labels.get("emotion")))
    counts = {label: counted[label] for label in in_order(task.emotions)}
    return {"task": task.about, "by_emotion": counts, "clips": sum(counts.values()), "expected": task.clips}


def _durations(lengths: Sequence[float]) -> dict[str, float]:
    if not lengths:
        return {}
    figures = {"total": sum(lengths), "shortest": min(lengths), "median": median(lengths), "longest": max(lengths)}
    return {name: round(value, 3) for name, value in figures.items()}


DETAIL = re.compile(r" \((?:of|as) .*\)$| \([^()]*\d (?:s|bytes)\b[^()]*\)|^its header promises [^:]*(?=: open)")
"""What a reason says of a single clip: of which file it is a copy, or numbers."""


def _reasons(lost: Iterable[Lost], fate: str) -> dict[str, int]:
    return _counted(DETAIL.sub("", one.why) for one in lost if one.fate == fate)


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _expected(info: CorpusInfo, clips: Iterable[Clip], lost: Iterable[Lost]) -> dict[str, dict[str, int]]:
    """What a complete copy holds -> how many it holds, and how many were found."""
    labelled = {one.clip.id: one.clip for one in lost if one.clip} | {clip.id: clip for clip in clips}

    def found(name: str) -> int:
        if name == "clips":
            return len(labelled)
        if name == "speakers":
            return len({clip.speaker for clip in labelled.values()} - {None})
        column, _, value = name.rpartition("=")
        return sum(clip.value(column or "emotion") == value for clip in labelled.values())

    return {name: {"expected": number, "found": found(name)} for name, number in info.expected.items()}


def _missing(info: CorpusInfo, clips: Iterable[Clip], lost: Sequence[Lost]) -> list[str]:
    """Emotions that no clip has, and those of which no clip can be heard; what a rule excluded is not missing."""
    kept = {clip.value("emotion") for clip in clips}
    dropped = {one.clip.value("emotion") for one in lost if one.clip and one.fate == "excluded"}
    unheard = {one.clip.value("emotion") for one in lost if one.clip and one.fate == "quarantined"}
    should = {name for name in info.expected if name in ALIASES}
    return list(in_order(emotion for emotion in (unheard | should) - kept - dropped if emotion))


def print_summary(summary: dict[str, Any], console: Console | None = None) -> None:
    """Print a summary from :meth:`~emoscope.corpora.Corpus.summary` as tables.

    Args:
        summary: the summary.
        console: where to print; the terminal by default.
    """
    from rich.console import Console
    from rich.markup import escape

    console = console or Console()
    licence = "licence unknown" if summary["licence"] == "unknown" else summary["licence"]
    console.print(f"[bold]{escape(summary['title'])}[/bold] ({escape(summary['corpus'])}), {escape(licence)}")
    console.print(
        f"{summary['clips']} clips: {summary['used']} used, {summary['excluded']} excluded "
        f"({summary['excluded_by_label']} by label), {summary['quarantined']} quarantined"
    )
    if summary["durations"]:
        lengths = summary["durations"]
        console.print(
            f"{lengths['total'] / 60:.1f} minutes; a clip lasts {lengths['median']:.2f} s "
            f"(median; {lengths['shortest']:.2f} to {lengths['longest']:.2f} s); sample rates "
            + ", ".join(f"{rate} Hz ({count})" for rate, count in summary["sample_rates"].items())
        )
    for name in ("emotion", "speaker", "session", "split", "language"):
        _print_counts(console, name, summary[f"by_{name}"])
    if usual := summary["usual"]:
        complete = f" (a complete copy: {usual['expected']:,})" if usual["expected"] else ""
        counts = ", ".join(f"{label} {count:,}" for label, count in usual["by_emotion"].items())
        console.print(f"Usual task: {usual['task']}: {usual['clips']:,} clips{complete}: {counts}", highlight=False)
    for fate, reasons in summary["reasons"].items():
        _print_counts(console, f"{fate} because", reasons)
    for name, why in summary["unusable"][:MOST_ROWS]:
        console.print(f"cannot be heard: {escape(name)}: {escape(why)}")
    for group in summary["duplicates"][:MOST_ROWS]:
        console.print(f"same content: {escape(', '.join(group))}")
    for warning in warnings_of(summary):
        console.print(f"[yellow]warning: {escape(warning)}[/yellow]")
    why_not = unusable_because(summary)
    console.print(f"[red]Cannot be used: {escape(why_not)}[/red]" if why_not else "Can be used.")


def _print_counts(console: Console, name: str, counts: dict[str, int]) -> None:
    from rich.markup import escape
    from rich.table import Table

    if not counts:
        return
    table = Table(name, "clips")
    for value, count in list(counts.items())[:MOST_ROWS]:
        table.add_row(escape(value), str(count))
    if len(counts) > MOST_ROWS:
        table.add_row(f"and {len(counts) - MOST_ROWS} more", str(sum(list(counts.values())[MOST_ROWS:])))
    console.print(table)


@contextmanager
def shown_progress(title: str, console: Console | None = None) -> Iterator[Progress]:
    """Show a progress bar on standard error and hand out the function that moves it.

    Example:
        >>> from emoscope.corpora import open_corpus
        >>> corpus = open_corpus("polish").where({"word": "nie", "take": 3})
        >>> with shown_progress("Checking polish") as progress:
        ...     checked = corpus.check(progress)
        >>> len(checked)
        15
    """
    from rich import progress as parts
    from rich.console import Console

    bar = parts.Progress(
        parts.TextColumn("{task.description}"),
        parts.BarColumn(),
        parts.MofNCompleteColumn(),
        parts.TimeRemainingColumn(),
        console=console or Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
