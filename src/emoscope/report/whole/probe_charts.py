"""Figures of a whole study that rest on its own tables: transfer, dissociation, side effects, voice or words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import altair as alt
import polars as pl

from emoscope.report.answer_charts import INTERVALS
from emoscope.report.content import name_selector
from emoscope.report.theme import LIGHT, title
from emoscope.report.whole.content import Whole
from emoscope.report.whole.marks import dotted, intervals_matrix, marks, names_of, panels

HEARD = {"audio": "voice", "transcript": "transcript", "noise": "noise"}
"""What is heard, in words, in the order of figures and tables."""

ABILITIES = {"transcription": "writing down the words", "text": "questions without sound"}
"""Abilities in words; others are names of label columns."""

LAST = pl.col("what").replace_strict({"effect": 0, "difference": 1, "interaction": 2}, default=3, return_dtype=pl.Int64)
"""Sorts rows of the table of dissociation, what rests on others last."""

BEYOND_KEY = "Circle: selected neurons; square: beyond matched ones."


def transfer(whole: Whole) -> Any | None:
    """Excess gap of the sets of every source on the clips of every corpus, each cell with its interval."""
    return _sources(whole, "deactivate", "excess_gap", title(
        "Whose neurons act on whose clips: switched off",
        "Row: where the neurons were found; column: whose clips were asked, about the emotions that all corpora share. Cell: excess gap "
        "in points, beyond matched neurons, with its 95 % interval over the column’s speakers; below zero: hurts its own emotion more. "
        "Framed: found and asked on the same corpus, on other speakers. Bold: clear of zero.",
    ))  # fmt: skip


def transfer_steer(whole: Whole) -> Any | None:
    """Excess pull on all clips of the sets of every source, amplified, on the clips of every corpus."""
    return _sources(whole, "steer", "excess_pull_overall", title(
        "Whose neurons act on whose clips: amplified",
        "As above, amplified at the headline’s alpha. Cell: how many more of all clips are answered with the amplified emotion than under "
        "matched neurons, in points, with its 95 % interval.",
    ))  # fmt: skip


def agreement(whole: Whole) -> Any | None:
    """Overlap of the sets and rank correlation of the scores of every two corpora, at equal numbers of clips."""
    found = whole.tables.get("agreement")
    if found is None or not whole.mains:
        return None
    head = whole.mains[0].selector
    own = found.filter(pl.col("selector") == head) if head in set(found["selector"]) else found
    own = by_corpus(whole, by_corpus(whole, own, "target"), "source")
    own = own.with_columns(pl.concat_str("source", pl.lit(" – "), "target").alias("row"))
    rows = list(dict.fromkeys(own["row"]))
    charts: list[Any] = []
    for column, scale, x in (
        ("jaccard", 100.0, "neurons shared (Jaccard, %)"),
        ("spearman", 1.0, "rank correlation of scores"),
    ):
        means = own.group_by("row", maintain_order=True).agg(
            (scale * pl.col(column).mean()).alias("estimate"), (scale * pl.col(column).min()).alias("low"),
            (scale * pl.col(column).max()).alias("high"), (100 * pl.col("chance").mean()).alias("chance"),
        ).with_columns(pl.lit("selected").alias("series")).drop_nulls("estimate")  # fmt: skip
        if means.is_empty():
            continue
        chart = dotted(means.drop("chance").to_dicts(), rows, x, "corpora", not charts, width=300)
        if column == "jaccard":
            tick = alt.Chart(means.select("row", "chance").drop_nulls()).mark_tick(
                color=LIGHT.muted, thickness=2, size=16
            )
            chart = alt.layer(chart, tick.encode(x=alt.X("chance:Q", title=x), y=alt.Y("row:N", sort=rows)))
        charts.append(chart)
    if not charts:
        return None
    return alt.hconcat(*charts, spacing=24).properties(
        title=title(
            f"How alike two corpora score neurons ({name_selector(head)})",
            "Mark: mean over emotions; line: from the least to the most alike emotion, which is no interval. Grey ticks: two random sets "
            "of these sizes. Both corpora give equally many clips.",
        )
    )  # fmt: skip


def dissociation(whole: Whole) -> Any | None:
    """What each question loses under its own and under the other question's neurons, a panel a corpus and column."""
    found = whole.tables.get("dissociation")
    if found is None:
        return None
    found = found.filter((pl.col("kind") == "deactivate") & pl.col("measure").is_in(["damage", "excess_damage"]))
    frames: dict[str, list[dict[str, Any]]] = {}
    generic = found["column"].n_unique() > 1
    found = by_corpus(whole, found)
    for row in found.filter(pl.col("estimate").is_not_null()).iter_rows(named=True):
        panel = f"{row['corpus']}: {row['column']}"
        series = "difference" if row["measure"].startswith("excess_") else "selected"
        frames.setdefault(panel, []).append({"row": dissociated(row, generic), "series": series} | marks(row))
    names = [dissociated(row, generic) for row in found.sort(LAST).iter_rows(named=True)]
    return panels(
        frames, list(dict.fromkeys(names)), "change of UAR (points)", "question",
        title(
            "Each question under its own neurons and under the other’s",
            f"{INTERVALS} {BEYOND_KEY} Left of zero: answers get worse. Own minus other, and both together (the interaction): left of zero, "
            "each question suffers more under its own neurons; the same clips are asked both questions.",
        ),
    )  # fmt: skip


def dissociated(row: Mapping[str, Any], generic: bool = False) -> str:
    """What a row of the table of dissociation is, in words.

    Args:
        row: of the table.
        generic: leave the column's name out, so that panels of several columns share their rows.

    Example:
        >>> dissociated({"what": "effect", "question": "word", "sets": "emotion", "column": "word"})
        'asked word, neurons: emotion'
        >>> dissociated({"what": "difference", "question": "word", "sets": None, "column": "word"}, generic=True)
        'asked the column: own minus other'
    """
    called = {row["column"]: "the column"} if generic else {}
    question, sets = (called.get(row[name], row[name]) for name in ("question", "sets"))
    if row["what"] == "effect":
        return f"asked {question}, neurons: {sets}"
    return f"asked {question}: own minus other" if row["what"] == "difference" else "both together"


def side_effects(whole: Whole) -> Any | None:
    """What the headline's neurons cost other abilities, next to matched neurons; word errors apart."""
    found = whole.tables.get("side_effects")
    if found is None:
        return None
    found = found.filter(pl.col("kind") == "deactivate")
    charts: list[Any] = []
    for errors, x in ((False, "change of UAR or accuracy (points)"), (True, "change of word errors (points)")):
        rows: list[dict[str, Any]] = []
        for row in found.filter((pl.col("measure") == "WER") == errors).iter_rows(named=True):
            named = {"row": f"{row['corpus']}: {ability(row['ability'])}", "hollow": bool(row["hollow"])}
            for column, series in (("change", "selected"), ("excess", "difference")):
                if row[column] is not None:
                    ends = {"estimate": row[column], "low": row[f"{column}_low"], "high": row[f"{column}_high"]}
                    rows.append(named | {"series": series} | ends)
        if rows:
            charts.append(dotted(rows, names_of(rows), x, "corpus", width=330))
    if not charts:
        return None
    return alt.vconcat(*charts, spacing=24).properties(
        title=title(
            "What switching the headline’s neurons off costs other abilities",
            f"{INTERVALS} {BEYOND_KEY} Above: left of zero, answers get worse. Word errors, where asked: right of zero is worse.",
        )
    )  # fmt: skip


def grounding(whole: Whole) -> Any | None:
    """UAR and gap on the voice, on the transcript in its place, and on noise, a row a corpus and presentation."""
    found = whole.tables.get("grounding")
    if found is None:
        return None
    rows = [f"{corpus}: {HEARD.get(one, one)}" for corpus, one in heard_in_order(whole, found)]
    named = pl.concat_str("corpus", pl.lit(": "), pl.col("presentation").replace(HEARD)).alias("row")
    shown = found.with_columns(named).filter(pl.col("estimate").is_not_null())
    levels = shown.filter((pl.col("kind") == "baseline") & (pl.col("measure") == "uar"))
    charts: list[Any] = []
    if len(levels):
        x = "UAR, nothing changed (%)"
        marked = [{"row": row["row"], "series": "selected"} | marks(row) for row in levels.iter_rows(named=True)]
        chart = dotted(marked, rows, x, "corpus", most=2, domain=(0, 100), width=280, rule=None)
        tick = alt.Chart(levels.select("row", "chance").drop_nulls()).mark_tick(color=LIGHT.muted, thickness=2, size=16)
        charts.append(alt.layer(chart, tick.encode(x=alt.X("chance:Q", title=x), y=alt.Y("row:N", sort=rows))))
    effects = shown.filter((pl.col("kind") == "deactivate") & pl.col("measure").is_in(["gap", "excess_gap"]))
    if len(effects):
        series = {"gap": "selected", "excess_gap": "difference"}
        marked = [
            {"row": row["row"], "series": series[row["measure"]]} | marks(row) for row in effects.iter_rows(named=True)
        ]
        x = "gap, neurons switched off (points)"
        charts.append(dotted(marked, rows, x, "corpus", not charts, most=2, width=280))
    if not charts:
        return None
    return alt.hconcat(*charts, spacing=24).properties(
        title=title(
            "The same question on the voice, on the transcript in its place, and on noise",
            f"{INTERVALS} First: the untouched model; grey ticks: guessing. Where UAR is at chance, there is nothing to remove. "
            f"Second: {BEYOND_KEY[0].lower()}{BEYOND_KEY[1:]} Further left: hurts its own emotion more.",
        )
    )  # fmt: skip


def selectivity(whole: Whole) -> Any | None:
    """Activity of the headline's neurons on clips of their emotion minus that on the others, by what is heard."""
    found = whole.tables.get("selectivity")
    if found is None:
        return None
    found = found.filter(pl.col("emotion").is_null() & pl.col("estimate").is_not_null())
    rows = [f"{corpus}: {HEARD.get(one, one)}" for corpus, one in heard_in_order(whole, found)]
    charts: list[Any] = []
    for measure, x in (
        ("firing", "own minus other clips: firing (points)"),
        ("mean_activation", "own minus other clips: activation"),
    ):
        part = found.filter(pl.col("measure") == measure)
        marked = [
            {"row": f"{row['corpus']}: {HEARD.get(row['presentation'], row['presentation'])}", "series": "selected"} | marks(row)
            for row in part.iter_rows(named=True)
        ]  # fmt: skip
        if marked:
            charts.append(dotted(marked, rows, x, "corpus", not charts, width=280))
    if not charts:
        return None
    return alt.hconcat(*charts, spacing=24).properties(
        title=title(
            "Do the neurons still tell their emotion apart without the voice?",
            f"{INTERVALS} Activity of an emotion’s neurons on clips of that emotion minus that on the others, mean over emotions; zero: they do not.",
        )
    )  # fmt: skip


def ability(name: str) -> str:
    """An ability in words.

    Example:
        >>> ability("text"), ability("word")
        ('questions without sound', 'question on “word”')
    """
    return ABILITIES.get(name, f"question on “{name}”")


def heard_in_order(whole: Whole, found: pl.DataFrame) -> list[tuple[str, str]]:
    """Corpora and presentations of a table, corpora in the order of the study, presentations in that of :data:`HEARD`."""
    corpora = in_study_order(whole, found["corpus"])
    order = [*HEARD, *sorted(set(found["presentation"]) - set(HEARD))]
    there = set(found.select("corpus", "presentation").iter_rows())
    return [(corpus, one) for corpus in corpora for one in order if (corpus, one) in there]


def by_corpus(whole: Whole, found: pl.DataFrame, column: str = "corpus") -> pl.DataFrame:
    """A table with its corpora in the order of the study."""
    order = in_study_order(whole, found[column])
    places = pl.col(column).replace_strict(order, list(range(len(order))), return_dtype=pl.Int64)
    return found.sort(places, maintain_order=True) if order else found


def in_study_order(whole: Whole, sources: Iterable[str]) -> list[str]:
    """Sources of sets: the corpora in the order of the study, then the fused sets."""
    there = set(sources)
    study: Any = whole.manifest.get("study") or {}
    fused = [
        f"fused: {name}" for name in (study.get("transfer") or {}).get("fuse") or ("overlap", "joint", "consistency")
    ]
    known = [*(part.name for part in whole.mains), *fused]
    return [*(name for name in known if name in there), *sorted(there - set(known))]


def _sources(whole: Whole, kind: str, measure: str, heading: alt.TitleParams) -> Any | None:
    found = whole.tables.get("transfer")
    if found is None:
        return None
    found = found.filter((pl.col("kind") == kind) & (pl.col("measure") == measure) & pl.col("estimate").is_not_null())
    if found.is_empty():
        return None
    mains = [part.name for part in whole.mains]
    hosts = [name for name in mains if name in set(found["host"])]
    sources = in_study_order(whole, found["source"])
    return intervals_matrix(
        found, sources, hosts, {"excess_gap": "excess gap (points)"}.get(measure, "excess pull (points)")
    ).properties(title=heading)


FIGURES: Mapping[str, Callable[[Whole], Any | None]] = {
    "transfer": transfer, "transfer_steer": transfer_steer, "agreement": agreement, "dissociation": dissociation,
    "side_effects": side_effects, "grounding": grounding, "selectivity": selectivity,
}  # fmt: skip
"""Name to figure."""
