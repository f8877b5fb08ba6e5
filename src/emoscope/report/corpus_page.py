"""One page that shows what a corpus holds; it opens offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import polars as pl

from emoscope.corpora.check import unusable_because, warnings_of
from emoscope.emotions import in_order
from emoscope.report.markup import to_html
from emoscope.report.page import Figure, draw_those_there, render, write_text
from emoscope.report.theme import LIGHT, Chart, title

MOST_ROWS = 500
"""Longer tables are cut after so many rows; the rest is counted in a last one."""

BINS = 24
"""Bars of the figure of durations, at most."""

WIDTH = 560
"""Of a figure, in pixels."""


def write_corpus_page(summary: Mapping[str, Any], path: Path, version: str = "") -> None:
    """Write the page of a corpus from what :func:`emoscope.corpora.check.describe` made, and of emoscope's version."""
    html = render(
        "corpus.html",
        summary=summary,
        cannot=unusable_because(summary),
        warnings=warnings_of(summary),
        version=version,
        figures=draw_those_there((Figure("emotions", emotions), Figure("durations", durations)), summary),
        tables=[(name, to_html(frame, f"corpus{n}")) for n, (name, frame) in enumerate(_tables(summary).items())],
    )
    write_text(html, path)


def emotions(summary: Mapping[str, Any]) -> Chart | None:
    """Clips in use of each emotion, those that should be there and are not as empty bars."""
    counts = {**dict.fromkeys(summary["missing"], 0), **summary["by_emotion"]}
    if not counts:
        return None
    rows = pl.DataFrame({"emotion": list(counts), "clips": list(counts.values())})
    y = alt.Y("emotion:N", sort=list(in_order(counts)), title=None)
    base = alt.Chart(rows).encode(y=y, x=alt.X("clips:Q", title="clips in use"))
    bars = base.mark_bar(color=LIGHT.accent, height=14)
    numbers = base.mark_text(align="left", dx=5, color=LIGHT.ink, fontSize=12)
    numbers = numbers.encode(text=alt.Text("clips:Q", format=","))
    heading = title("Clips of each emotion", "Clips that can be used, by label.")
    return alt.layer(bars, numbers).properties(width=WIDTH, height=alt.Step(24), title=heading)


def durations(summary: Mapping[str, Any]) -> Chart | None:
    """How long the clips are."""
    if not summary["seconds"]:
        return None
    lengths = pl.Series("seconds", summary["seconds"])
    shortest, longest = summary["durations"]["shortest"], summary["durations"]["longest"]
    step = max((longest - shortest) / BINS, 0.001)
    bins = pl.DataFrame({"bin": ((lengths - shortest) / step).floor().clip(upper_bound=BINS - 1)})
    low, high = shortest + pl.col("bin") * step, shortest + (pl.col("bin") + 1) * step
    rows = bins.group_by("bin").len("clips").sort("bin").with_columns(low=low, high=high)
    x = alt.X("low:Q", title="duration (s)", scale=alt.Scale(nice=False, zero=False))
    bars = alt.Chart(rows).mark_bar(color=LIGHT.accent, stroke=LIGHT.page)
    drawn = bars.encode(x=x, x2="high:Q", y2=alt.datum(0), y=alt.Y("clips:Q", title="clips in use"))
    heading = title("How long the clips are", "Each bar counts the clips of a range of durations.")
    return drawn.properties(width=WIDTH, height=180, title=heading)


def _tables(summary: Mapping[str, Any]) -> dict[str, pl.DataFrame]:
    expected = [(name, str(both["expected"]), str(both["found"])) for name, both in summary["expected"].items()]
    found = {"A complete copy, and this one": _cut(expected, "what", "expected", "found")}
    for name in ("emotion", "speaker", "split", "language"):
        found[f"Clips in use by {name}"] = _counted("value", summary[f"by_{name}"])
    for status, reasons in summary["reasons"].items():
        found[f"Why clips are {status}"] = _counted("why", reasons)
    found["Sampling rates (Hz)"] = _counted("value", summary["sample_rates"])
    found["Channels"] = _counted("value", summary["channels"])
    found["Clips that cannot be heard"] = _cut(summary["unusable"], "what", "why")
    found["Clips with the same part"] = _cut([(", ".join(group),) for group in summary["duplicates"]], "what")
    return {name: frame for name, frame in found.items() if len(frame)}


def _counted(what: str, counts: Mapping[str, int]) -> pl.DataFrame:
    rest = sum(list(counts.values())[MOST_ROWS:])
    return _cut([(name, str(count)) for name, count in counts.items()], what, "clips", rest=str(rest))


def _cut(rows: Sequence[Sequence[str]], *columns: str, rest: str = "") -> pl.DataFrame:
    """The first rows, and in one more how many there are besides, with the rest in its other columns."""
    shown = [tuple(row) for row in rows[:MOST_ROWS]]
    if len(rows) > MOST_ROWS:
        shown.append((f"and {len(rows) - MOST_ROWS} more", *[rest] * (len(columns) - 1)))
    return pl.DataFrame(shown, schema=dict.fromkeys(columns, pl.String), orient="row")
