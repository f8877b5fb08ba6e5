"""Look at every file of a corpus, describe what it holds, and print that."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from emoscope.corpora.audio import AudioError, SoundFacts, checksum, hear
from emoscope.corpora.clip import FIELDS, LISTED, STATUSES, Clip, count_values, seconds_of
from emoscope.corpora.files import grouped
from emoscope.corpora.folds import crossfit_fault, fold_column, same_recordings
from emoscope.emotions import ALIASES, in_order
from emoscope.files import Checksums

if TYPE_CHECKING:
    from rich.console import Console

    from emoscope.corpora.corpus import Corpus

Progress = Callable[[int, int], None]
"""Called with (files done, files in all) during long work."""

Summary = Mapping[str, Any]
"""A corpus in plain values, as JSON can hold them (see :meth:`~emoscope.corpora.Corpus.summary`)."""

MOST_ROWS = 30
"""Longer tables (of speakers, say) are cut after so many rows when printed."""

FACTOR, SECONDS = 1.5, 1.0
"""A file is far longer than its row says where it is beyond both: this many times as long, and this many seconds longer."""


def remembered_facts() -> Checksums:
    """Fields of the :class:`SoundFacts` of files, remembered from check to check of one version."""
    return Checksums(f"sound-facts-{version('emoscope')}.json", _facts)


def _facts(path: Path) -> tuple[object, ...]:
    heard = hear(path)
    return heard.duration_s, heard.rate, heard.channels, heard.told


def _number(count: int) -> str:
    return "1 clip" if count == 1 else f"{count} clips"


def sound_notices(notes: Mapping[str, Sequence[str]]) -> list[str]:
    """What is told of single clips (id -> sentences on its sound), each sentence once with how many clips it is about.

    Example:
        >>> sound_notices({"b": ["it clicks"], "a": ["it clicks"], "c": []})
        ['2 clips (such as a): it clicks']
    """
    pairs = [(re.sub(r"channel \d+, (.*?),", r"\1", text), clip) for clip, texts in notes.items() for text in texts]
    clips = grouped(pairs, lambda pair: pair[0])
    return [f"{_number(len(found))} (such as {min(found)[1]}): {what}" for what, found in sorted(clips.items())]


def far_longer_clips(lengths: Iterable[tuple[str, float | None, str | None]]) -> list[tuple[str, float, str]]:
    """The clips whose file is far longer than their row says, of (id, seconds, listed seconds).

    Example:
        >>> far_longer_clips([("a", 300.0, "4.1"), ("b", 4.4, "4.1"), ("c", 300.0, None)])
        [('a', 300.0, '4.1')]
    """
    return [
        (clip, seconds, listed)
        for clip, seconds, listed in lengths
        if listed and seconds is not None and (stated := seconds_of(listed)) is not None
        if seconds > max(FACTOR * stated, stated + SECONDS)
    ]


def length_notices(longer: Sequence[tuple[str, float, str]]) -> list[str]:
    """What is told of the clips that :func:`far_longer_clips` found: one sentence, or none.

    Example:
        >>> length_notices([("a", 300.0, "4.1")])
        ['1 clip of far more sound than their rows say, such as a: 300.0 s, listed 4.1 s; all of it is heard']
    """
    if not longer:
        return []
    clip, seconds, listed = min(longer)
    such = f"such as {clip}: {seconds:.1f} s, listed {listed} s; all of it is heard"
    return [f"{_number(len(longer))} of far more sound than their rows say, {such}"]


@dataclass(frozen=True)
class Inspection:
    """What the files of clips hold: id -> facts (of clips that can be used), why its sound cannot be used, of what it is a copy.

    ``duplicates`` are the ids of clips with the same content, a group each, whether they are used or not.
    """

    facts: dict[str, SoundFacts]
    faults: dict[str, str]
    copies: dict[str, str]
    duplicates: tuple[tuple[str, ...], ...]


def inspect_files(corpus: Corpus, progress: Progress | None = None) -> Inspection:
    """Decode the file of every clip in use of a corpus, as a study does.

    Example:
        >>> from emoscope.corpora import open_corpus
        >>> corpus = open_corpus("polish").where({"word": "nie", "take": 3})
        >>> inspect_files(corpus).facts["m1.a_nie_3"].rate
        16000
    """
    facts: dict[str, SoundFacts] = {}
    sums: dict[str, str] = {}
    faults: dict[str, str] = {}
    # decoding and hashing run outside Python's lock
    with remembered_facts() as remembered, ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        read = pool.map(partial(_read, remembered), corpus.clips)
        try:
            for done, (clip, found) in enumerate(zip(corpus.clips, read, strict=True), start=1):
                if isinstance(found, AudioError):
                    faults[clip.id] = found.reason
                else:
                    facts[clip.id], sums[clip.id] = found
                if progress:
                    progress(done, len(corpus))
        except BaseException:
            # whoever stops a long check does not wait for the rest of the corpus
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    copies = same_recordings(corpus.info, corpus.clips, sums)
    duplicates = tuple(tuple(group) for group in grouped(sums, sums.__getitem__).values() if len(group) > 1)
    facts = {clip: found for clip, found in facts.items() if clip not in copies}
    return Inspection(facts, faults, copies, duplicates)


def _read(remembered: Checksums, clip: Clip) -> tuple[SoundFacts, str] | AudioError:
    try:
        # decoded again, whatever is remembered: that is for dry runs
        facts = remembered.anew(clip.path) if clip.path.is_file() else _facts(clip.path)
        return SoundFacts(*facts), checksum(clip.path)
    except AudioError as error:
        return error


DURATIONS: dict[str, Callable[[list[float]], float]] = {"total": sum, "shortest": min, "median": median, "longest": max}


def describe(corpus: Corpus, seen: Inspection) -> Summary:
    """Describe a corpus whose files were looked at in plain values, as :meth:`~emoscope.corpora.Corpus.summary` does."""
    info, clips, lost, columns = corpus.info, corpus.clips, corpus.lost, corpus.columns
    facts = seen.facts.values()
    seconds = [fact.duration_s for fact in facts]
    asked = [clip for clip in clips if "emotion" in clip.labels]
    lengths = ((clip.id, round(seen.facts[clip.id].duration_s, 3), clip.labels.get(LISTED)) for clip in clips)
    expected = _expected(corpus)
    excluded, by_label = sum(unused.status == "excluded" for unused in lost), sum(unused.by_label for unused in lost)
    return {
        "corpus": info.id,
        "title": info.title,
        "licence": info.licence,
        "language": info.language,
        "clips": len(clips) + len(lost),
        "used": len(clips),
        "excluded": excluded,
        "excluded_by_label": by_label,
        "excluded_otherwise": excluded - by_label,
        "quarantined": len(lost) - excluded,
        "by_emotion": count_values(clips, "emotion"),
        **{f"by_{field}": count_values(clips, field) if field in columns else {} for field in FIELDS},
        "by_language": count_values(clips, "language") if "language" in columns else {info.language: len(clips)},
        "reasons": {
            status: _counted(DETAIL.sub("", unused.why) for unused in lost if unused.status == status)
            for status in STATUSES
        },
        "columns": list(columns),
        "durations": {name: round(of(seconds), 3) for name, of in DURATIONS.items()} if seconds else {},
        "sample_rates": _counted(str(fact.rate) for fact in facts),
        "channels": _counted(str(fact.channels) for fact in facts),
        "duplicates": [list(group) for group in seen.duplicates],
        "unusable": [[unused.id, unused.why] for unused in lost if unused.status == "quarantined"],
        "told": [*corpus.told, *sound_notices({clip: found.told for clip, found in seen.facts.items()})],
        "expected": expected,
        "differences": [[name, *both.values()] for name, both in expected.items() if both["expected"] != both["found"]],
        "missing": _missing(corpus),
        "longer": [list(fields) for fields in far_longer_clips(lengths)],
        "usual": _usual(corpus),
        "cannot_cross_fit": crossfit_fault(asked, fold_column(asked, "speaker", info.folds)),
        "seconds": [round(duration, 3) for duration in seconds],
    }


SCRIPT_KEYS = (
    "clips", "used", "excluded_by_label", "excluded_otherwise", "quarantined", "by_emotion", "by_speaker", "by_split",
    "by_language", "reasons", "durations", "sample_rates", "duplicates", "expected",
    "unusable", "by_session", "usual", "told", "longer", "cannot_cross_fit",
)  # fmt: skip
"""What ``emoscope corpus check --json`` prints of a summary; scripts may rely on these."""


def unusable_because(summary: Summary) -> str | None:
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


def warnings_of(summary: Summary) -> list[str]:
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
        found.append(f"{_number(summary['quarantined'])} cannot be heard")
    copies = sum(len(group) - 1 for group in summary["duplicates"])
    if out := summary["reasons"]["excluded"].get("same recording", 0) if copies else 0:
        found.append(f"{_number(out)} of the same content as another one: each recording is used once")
    if copies > out:
        found.append(f"{_number(copies - out)} of the same content as another take of the speaker, used as released")
    return found


def _usual(corpus: Corpus) -> Summary:
    """The counts of the corpus's usual task, as far as it has one."""
    if (task := corpus.info.usual) is None:
        return {}
    new = {old: name for name, olds in task.merge.items() for old in olds}
    counted = Counter(new.get(label, label) for clip in corpus if (label := clip.labels.get("emotion")))
    counts = {label: counted[label] for label in in_order(task.emotions)}
    return {"task": task.about, "by_emotion": counts, "clips": sum(counts.values()), "expected": task.clips}


DETAIL = re.compile(r" \((?:of|as) .*\)$| \([^()]*\d (?:s|bytes)\b[^()]*\)|^its header promises [^:]*(?=: open)")
"""What a reason says of a single clip: of which file it is a copy, or numbers."""


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _expected(corpus: Corpus) -> dict[str, dict[str, int]]:
    """What a complete copy holds -> how many it holds, and how many were found."""
    expected = corpus.info.expected
    labelled = {lost.clip.id: lost.clip for lost in corpus.lost if lost.clip} | {clip.id: clip for clip in corpus}
    found = {"clips": len(labelled), "speakers": len({clip.speaker for clip in labelled.values()} - {None})}
    for name in expected.keys() - found.keys():
        column, _, value = name.rpartition("=")
        found[name] = sum(clip.value(column or "emotion") == value for clip in labelled.values())
    return {name: {"expected": number, "found": found[name]} for name, number in expected.items()}


def _missing(corpus: Corpus) -> list[str]:
    """Emotions that no clip has, and those of which no clip can be heard; what a rule excluded is not missing."""
    kept = {clip.value("emotion") for clip in corpus}
    known = {(lost.status, lost.clip.value("emotion")) for lost in corpus.lost if lost.clip}
    quarantined = {emotion for status, emotion in known if status == "quarantined"}
    should = quarantined | (corpus.info.expected.keys() & ALIASES.keys())
    dropped = {emotion for status, emotion in known if status == "excluded"}
    return list(in_order(emotion for emotion in should - kept - dropped if emotion))


def print_summary(summary: Summary, console: Console | None = None) -> None:
    """Print a summary from :meth:`~emoscope.corpora.Corpus.summary` as tables, by default to the terminal."""
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
    for status, reasons in summary["reasons"].items():
        _print_counts(console, f"{status} because", reasons)
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

    table = Table(name, "clips")
    for value, count in list(counts.items())[:MOST_ROWS]:
        table.add_row(escape(value), str(count))
    if more := list(counts.values())[MOST_ROWS:]:
        table.add_row(f"and {len(more)} more", str(sum(more)))
    if counts:
        console.print(table)


@contextmanager
def shown_progress(title: str, console: Console | None = None) -> Iterator[Progress]:
    """Show a progress bar on standard error and hand out the function that moves it.

    Example:
        >>> with shown_progress("Checking polish") as progress:
        ...     progress(1, 450)
    """
    from rich import progress as parts
    from rich.console import Console

    columns = ("{task.description}", parts.BarColumn(), parts.MofNCompleteColumn(), parts.TimeRemainingColumn())
    with parts.Progress(*columns, console=console or Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
