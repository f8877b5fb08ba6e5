"""Read every file of a corpus: which can be used, how long they are, and which hold the same content."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from emoscope.corpora.audio import UNREADABLE, AudioError, checksum, load_audio
from emoscope.corpora.clip import Clip
from emoscope.corpora.corpus import Corpus, Progress
from emoscope.corpora.video import VideoError, is_video, video_facts

if TYPE_CHECKING:
    from rich.console import Console

MOST_ROWS = 30
"""Longer tables (of speakers, say) are cut after so many rows when printed."""


@dataclass(frozen=True)
class FileFacts:
    """What a sound file holds: length in seconds, sampling rate in Hz, channels, content hash."""

    duration_s: float
    rate: int
    channels: int
    checksum: str


@dataclass(frozen=True)
class Inspection:
    """A corpus whose unusable clips are quarantined, and the facts of the files of all others.

    Attributes:
        corpus: the clips that can be used, and those lost.
        facts: clip id -> what its file holds.
        duplicates: ids of clips with the same content, a group each; they stay in use.
    """

    corpus: Corpus
    facts: dict[str, FileFacts]
    duplicates: tuple[tuple[str, ...], ...]


def inspect_files(corpus: Corpus, decode: bool = True, progress: Progress | None = None) -> Inspection:
    """Read the file of every clip in use.

    Args:
        corpus: the corpus.
        decode: decode each file as the models hear it, which finds every fault (silence, cut files);
            ``False`` reads headers and content hashes only.
        progress: called with (files done, files in all).

    Example:
        >>> from emoscope.corpora import open_corpus
        >>> seen = inspect_files(open_corpus("polish").where({"word": "nie", "take": 3}))
        >>> seen.facts["m1.a_nie_3"].rate, len(seen.corpus), seen.duplicates
        (16000, 15, ())
    """
    facts: dict[str, FileFacts] = {}
    faults: dict[str, str] = {}
    # decoding and hashing run outside Python's lock
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        read = pool.map(lambda clip: _read(clip, decode), corpus.clips)
        try:
            for done, (clip, found) in enumerate(zip(corpus.clips, read, strict=True), start=1):
                if isinstance(found, str):
                    faults[clip.id] = found
                else:
                    facts[clip.id] = found
                if progress:
                    progress(done, len(corpus))
        except BaseException:
            # whoever stops a long check does not wait for the rest of the corpus
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    same: dict[str, list[str]] = defaultdict(list)
    for name, fact in facts.items():
        same[fact.checksum].append(name)
    duplicates = tuple(tuple(group) for group in same.values() if len(group) > 1)
    return Inspection(corpus.lose("quarantined", faults), facts, duplicates)


def _read(clip: Clip, decode: bool) -> FileFacts | str:
    import soundfile

    try:
        if not clip.path.is_file():
            raise AudioError(clip.path, "file not found")
        if decode:
            load_audio(clip.path, loudness="as recorded")
        elif clip.path.stat().st_size == 0:
            raise AudioError(clip.path, "file is empty")
        if is_video(clip.path):
            return FileFacts(*video_facts(clip.path), checksum(clip.path))
        info = soundfile.info(clip.path)
        return FileFacts(info.duration, info.samplerate, info.channels, checksum(clip.path))
    except AudioError as error:
        return error.reason
    except VideoError as error:
        return str(error)
    except soundfile.SoundFileError:
        return UNREADABLE


def summarise(corpus: Corpus, decode: bool = True, progress: Progress | None = None) -> dict[str, Any]:
    """Describe a corpus in plain values: counts, durations, sample rates, repeated content, reasons.

    ``clips`` is always the sum of ``used``, ``excluded`` and ``quarantined``. Durations are in seconds, sample
    rates in Hz. ``differences`` names what a complete copy holds otherwise (``[what, expected, found]``); clips
    that a filter excluded count as found.

    Args:
        corpus: the corpus.
        decode: see :func:`inspect_files`.
        progress: called with (files done, files in all).

    Example:
        >>> from emoscope.corpora import open_corpus
        >>> facts = summarise(open_corpus("polish"), decode=False)
        >>> facts["used"], facts["by_emotion"], facts["sample_rates"], facts["differences"]
        (450, {'anger': 150, 'fear': 150, 'neutral': 150}, {'16000': 450}, [])
    """
    seen = inspect_files(corpus, decode, progress)
    used = seen.corpus
    fates = Counter(lost.fate for lost in used.lost)
    lengths = sorted(fact.duration_s for fact in seen.facts.values())
    return {
        "corpus": used.info.id,
        "title": used.info.title,
        "licence": used.info.licence,
        "language": used.info.language,
        "clips": len(used) + len(used.lost),
        "used": len(used),
        "excluded": fates["excluded"],
        "quarantined": fates["quarantined"],
        "by_emotion": used.counts("emotion"),
        **{f"by_{field}": used.counts(field) if field in used.columns else {} for field in ("speaker", "split")},
        "reasons": {fate: _reasons(used, fate) for fate in ("excluded", "quarantined")},
        "columns": list(used.columns),
        "duration_s": {
            "total": round(sum(lengths), 3),
            "shortest": round(lengths[0], 3),
            "median": round(median(lengths), 3),
            "longest": round(lengths[-1], 3),
        }
        if lengths
        else {},
        "sample_rates": _counted(str(fact.rate) for fact in seen.facts.values()),
        "channels": _counted(str(fact.channels) for fact in seen.facts.values()),
        "duplicates": [list(group) for group in seen.duplicates],
        "unusable": [[lost.id, lost.why] for lost in used.lost if lost.fate == "quarantined"],
        "decoded": decode,
        "expected": dict(used.info.expected),
        "differences": _differences(used),
    }


def _reasons(corpus: Corpus, fate: str) -> dict[str, int]:
    return dict(Counter(lost.why for lost in corpus.lost if lost.fate == fate).most_common())


def _counted(values: Iterator[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _differences(corpus: Corpus) -> list[list[Any]]:
    labelled = {lost.clip.id: lost.clip for lost in corpus.lost if lost.clip} | {clip.id: clip for clip in corpus}

    def found(name: str) -> int:
        if name == "clips":
            return len(labelled)
        if name == "speakers":
            return len({clip.speaker for clip in labelled.values()} - {None})
        column, _, value = name.rpartition("=")
        return sum(clip.value(column or "emotion") == value for clip in labelled.values())

    counted = [[name, expected, found(name)] for name, expected in corpus.info.expected.items()]
    return [[name, expected, number] for name, expected, number in counted if number != expected]


def print_summary(summary: dict[str, Any], console: Console | None = None) -> None:
    """Print a summary from :func:`summarise` as tables.

    Args:
        summary: the summary.
        console: where to print; the terminal by default.
    """
    from rich.console import Console
    from rich.markup import escape

    console = console or Console()
    console.print(
        f"[bold]{escape(summary['title'])}[/bold] ({escape(summary['corpus'])}), {escape(summary['licence'])}"
    )
    console.print(
        f"{summary['clips']} clips: {summary['used']} used, {summary['excluded']} excluded, "
        f"{summary['quarantined']} quarantined"
    )
    if summary["duration_s"]:
        lengths = summary["duration_s"]
        console.print(
            f"{lengths['total'] / 60:.1f} minutes; a clip lasts {lengths['median']:.2f} s "
            f"(median; {lengths['shortest']:.2f} to {lengths['longest']:.2f} s); sample rates "
            + ", ".join(f"{rate} Hz ({count})" for rate, count in summary["sample_rates"].items())
        )
    for name in ("emotion", "speaker", "split"):
        _print_counts(console, name, summary[f"by_{name}"])
    for fate, reasons in summary["reasons"].items():
        _print_counts(console, f"{fate} because", reasons)
    for group in summary["duplicates"][:MOST_ROWS]:
        console.print(f"same content: {escape(', '.join(group))}")
    for name, expected, found in summary["differences"]:
        console.print(f"[yellow]a complete copy holds {expected} {escape(name)}, found {found}[/yellow]")
    if not summary["decoded"]:
        console.print("headers were read, the sound itself was not decoded")


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
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console or Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
