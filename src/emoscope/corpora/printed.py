"""Print the summary of a corpus, and the progress of looking at it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from emoscope.corpora.check import unusable_because, warnings_of
from emoscope.corpora.corpus import Progress

if TYPE_CHECKING:
    from rich.console import Console

MOST_ROWS = 30
"""Longer tables (of speakers, say) are cut after so many rows when printed."""


def print_summary(summary: dict[str, Any], console: Console | None = None) -> None:
    """Print a summary from :func:`~emoscope.corpora.check.summarise` as tables.

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
