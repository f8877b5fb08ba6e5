"""Do neurons found on one corpus act on another, which direction does more, and do fused sets do better?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

import altair as alt
import polars as pl

from emoscope.analysis.accuracy import level
from emoscope.analysis.acts import Act, Asked
from emoscope.analysis.contrasts import mean, measures
from emoscope.analysis.estimate import Estimate, named, unit, welch
from emoscope.analysis.parts import StudyRuns
from emoscope.analysis.standing import blind_part
from emoscope.report.page import Figure, Question, Table
from emoscope.report.plots import dots, signed_matrix
from emoscope.report.theme import LIGHT, title
from emoscope.report.wording import (
    CLEAR_HIGH,
    CLEAR_LOW,
    OPEN,
    UNTESTED,
    Outcome,
    blind_text,
    made,
    name_selector,
    outcome,
    outcome_at,
    tally,
    value,
)
from emoscope.schemas import as_table, conform
from emoscope.vocabulary import SHARED
from emoscope.wording import estimate_text, listed, number, p_value, spread

FUSED = "fused: "
"""How the name of a source begins that is made of the sets of all corpora."""

SAME_SPEAKERS = "both corpora hold the same speakers: their errors are not independent"


def transfer(study: StudyRuns) -> pl.DataFrame:
    """What the sets of every source do on every corpus, asked about the emotions that all share.

    Args:
        whole: the study.

    Returns:
        the columns of table ``transfer``; empty where there is one corpus.
    """
    rows: list[dict[str, Any]] = []
    for part in study.of_role(SHARED):
        asked = part.asked
        if asked is None:
            continue
        host = {"host": part.of, "chance": asked.panel.chance} | level(asked.panel, ["baseline"]).named("uar")
        mine = asked.acts.get(part.of, {})
        for source, acts in asked.acts.items():
            for key, act in acts.items() if source is not None else ():
                about = {name: act.family[name] for name in ("kind", "selector", "budget", "alpha")} | host
                about |= {"source": source, "diagonal": source == part.of, "fused": str(source).startswith(FUSED)}
                own = mine.get(key) if source != part.of else None
                for excess in (False, True) if act.matched else (False,):
                    rows += [about | row for row in _rows(asked, act, own, excess)]
    return as_table("transfer", _kept(rows))


def _rows(asked: Asked, act: Act, own: Act | None, excess: bool) -> list[dict[str, Any]]:
    """The measures of one act, and how far they differ from those of the host's own sets on the same clips."""
    targets, used = asked.shared([act], excess)
    if not targets or not used.any():
        return []
    each, less = asked.each(act, excess, targets, used), _less(asked, act, own, excess)
    fixed = {"targets": len(targets), "draws": len(each)}
    return [
        fixed | {"measure": "excess_" * excess + name, "unit": unit(name)} | found.columns()
        | (less[name].named("less") if name in less else {})
        for name, found in measures(mean(each)).items()
    ]  # fmt: skip


def _less(asked: Asked, act: Act, own: Act | None, excess: bool) -> dict[str, Estimate]:
    if own is None or (excess and not own.matched):
        return {}
    targets, used = asked.shared([act, own], excess)
    if not targets or not used.any():
        return {}
    first, second = (measures(mean(asked.each(one, excess, targets, used))) for one in (act, own))
    return {name: first[name].beyond(second[name]) for name in first}


def _kept(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fill in the share of the diagonal that is kept, where the diagonal is clear of zero."""
    alike = ("host", "kind", "alpha", "measure")
    clear = {
        tuple(row[name] for name in alike): row["estimate"]
        for row in rows
        if row["diagonal"] and row["low"] is not None and (row["low"] > 0 or row["high"] < 0)
    }
    shares = [clear.get(tuple(row[name] for name in alike)) for row in rows]
    return [
        row | {"kept": None if whole is None or row["estimate"] is None else 100 * row["estimate"] / whole}
        for row, whole in zip(rows, shares, strict=True)
    ]


def asymmetry(found: pl.DataFrame, study: StudyRuns) -> pl.DataFrame:
    """Whether the sets of one corpus do more on another one than the other way round.

    The two effects are of different clips and speakers, so the interval of their difference is Welch's (1947): with
    the jackknife errors s1 and s2 and their degrees of freedom f1 and f2, error^2 = s1^2 + s2^2 and
    df = error^4 / (s1^4 / f1 + s2^4 / f2). It is conditional on the selected sets, as all intervals are.

    Args:
        found: the table of transfer.
        whole: the study.

    Returns:
        the columns of table ``asymmetry``; without an interval where both corpora hold the same speakers.
    """
    people = {
        part.of: {(part.corpus, speaker) for speaker in part.asked.panel.speakers}
        for part in study.of_role(SHARED)
        if part.asked is not None
    }
    alike = ("kind", "selector", "budget", "alpha", "measure")
    by_place: dict[tuple[str, str], dict[tuple[Any, ...], dict[str, Any]]] = {}
    for row in found.iter_rows(named=True):
        by_place.setdefault((row["source"], row["host"]), {})[tuple(row[name] for name in alike)] = row
    rows = []
    for first, second in combinations(people, 2):
        forward, backward = by_place.get((first, second), {}), by_place.get((second, first), {})
        for key in [key for key in forward if key in backward]:
            there, back = forward[key], backward[key]
            row = dict(zip(alike, key, strict=True)) | {"first": first, "second": second, "unit": there["unit"]}
            row |= {"hollow": there["hollow"] or back["hollow"]}
            row |= named("forward", there) | named("backward", back)
            why_not = SAME_SPEAKERS if people[first] & people[second] else None
            rows.append(row | welch(there, back, why_not))
    return as_table("asymmetry", rows)


def agreement(study: StudyRuns) -> pl.DataFrame:
    """How alike the corpora score neurons, as the run wrote it; empty where it did not.

    Returns:
        the columns of table ``agreement``.
    """
    path = study.folder / "agreement.parquet"
    frame = pl.read_parquet(path) if path.is_file() else pl.DataFrame()
    return conform(frame, "agreement").sort("source", "target", "selector", "emotion")


def draw_transfer(study: StudyRuns) -> Any | None:
    """Excess gap of the sets of every source on the clips of every corpus, each cell with its interval."""
    return _sources(study, "deactivate", "excess_gap", title(
        "Whose neurons act on whose clips: switched off",
        "Row: where the neurons were found; column: whose clips were asked, about the emotions that all corpora share. Cell: excess gap "
        "in points, beyond matched neurons, with its 95 % interval over the column’s speakers; below zero: hurts its own emotion more. "
        "Framed: found and asked on the same corpus, on other speakers. Bold: clear of zero.",
    ))  # fmt: skip


def draw_transfer_steer(study: StudyRuns) -> Any | None:
    """Excess pull on all clips of the sets of every source, amplified, on the clips of every corpus."""
    return _sources(study, "steer", "excess_pull_overall", title(
        "Whose neurons act on whose clips: amplified",
        "As above, amplified at the headline’s alpha. Cell: how many more of all clips are answered with the amplified emotion than under "
        "matched neurons, in points, with its 95 % interval.",
    ))  # fmt: skip


def draw_agreement(study: StudyRuns) -> Any | None:
    """Overlap of the sets and rank correlation of the scores of every two corpora, at equal numbers of clips."""
    found = study.table("agreement")
    if found is None or not study.mains:
        return None
    head = study.mains[0].selector
    own = found.filter(pl.col("selector") == head) if head in set(found["selector"]) else found
    own = study.by_corpus(study.by_corpus(own, "target"), "source")
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
        chart = dots(means.drop("chance").to_dicts(), rows, x, "corpora", not charts, width=300)
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


def _sources(study: StudyRuns, kind: str, measure: str, heading: alt.TitleParams) -> Any | None:
    found = study.table("transfer")
    if found.is_empty():
        return None
    found = found.filter((pl.col("kind") == kind) & (pl.col("measure") == measure) & pl.col("estimate").is_not_null())
    if found.is_empty():
        return None
    mains = [part.name for part in study.mains]
    hosts = [name for name in mains if name in set(found["host"])]
    sources = study.in_order(found["source"])
    cells = found.select(
        pl.col("source").alias("row"), pl.col("host").alias("column"), "low", "high", "hollow", value="estimate"
    )
    most = max(5.0, *(abs(value) for value in cells["value"]))
    legend = {"excess_gap": "excess gap (points)"}.get(measure, "excess pull (points)")
    chart = signed_matrix(cells, sources, hosts, most, legend, x="clips of", y="neurons found on")
    return chart.properties(title=heading)


def say_transfer(study: StudyRuns) -> list[str]:
    """On how many pairs of corpora sets of one act on the other, what is kept, which direction does more, and fusion."""
    found = study.table("transfer")
    if found.is_empty():
        return []
    off = found.filter((pl.col("kind") == "deactivate") & (pl.col("measure") == "excess_gap"))
    one_way = [
        (row, outcome_at(study, f"{row['source']} on {row['host']}", row, row["host"]))
        for row in off.filter(~pl.col("diagonal") & ~pl.col("fused")).iter_rows(named=True)
    ]
    said = []
    if one_way:
        hurt = [(row, one) for row, one in one_way if one.found == CLEAR_LOW]
        said.append(
            f"Neurons found on one corpus and switched off on another hurt their own emotion more, beyond matched neurons, in {len(hurt)} "
            f"of {len(one_way)} directions{': ' + _kept_in_words(hurt) if hurt else ''}."
        )
        said += _counted([one for _, one in one_way], len(one_way))
    said += _own(study, off)
    said += _fused(study, off)
    return [*said, *_asymmetry(study)]


def _kept_in_words(hurt: Iterable[tuple[Mapping[str, Any], Outcome]]) -> str:
    texts = []
    for row, one in hurt:
        kept = "" if row["kept"] is None else f" ({number(row['kept'], 0)} % of what {row['host']}’s own do)"
        texts.append(f"{one.where} {one.text}{kept}")
    return listed(texts)


def _counted(outcomes: list[Outcome], of: int) -> list[str]:
    counts = {name: sum(one.found == name for one in outcomes) for name in (OPEN, CLEAR_HIGH, UNTESTED)}
    words = {OPEN: "open in {}", CLEAR_HIGH: "the other way round in {}", UNTESTED: "not tested in {}"}
    parts = [words[name].format(count) for name, count in counts.items() if count]
    return [f"Of the {of} directions it is {listed(parts)}."] if parts else []


def _own(study: StudyRuns, off: pl.DataFrame) -> list[str]:
    rows = off.filter("diagonal").iter_rows(named=True)
    return tally(
        [outcome_at(study, row["host"], row, row["host"]) for row in rows],
        "For comparison, neurons found on other speakers of the same corpus, about the shared emotions: {}.",
        "On the same corpus, about the shared emotions, they hurt their own emotion less than matched neurons: {}.",
        "On the same corpus, about the shared emotions, it is open: {}.",
    )


def _fused(study: StudyRuns, off: pl.DataFrame) -> list[str]:
    fused = off.filter("fused")
    texts = []
    for name in study.in_order(fused["source"]):
        outcomes = [
            outcome_at(study, row["host"], row, row["host"])
            for row in fused.filter(pl.col("source") == name).iter_rows(named=True)
        ]
        hurt = [one.where for one in outcomes if one.found == CLEAR_LOW]
        which = f" ({listed(hurt)})" if hurt else ""
        texts.append(f"{name.removeprefix('fused: ')} on {len(hurt)} of {len(outcomes)} corpora{which}")
    return (
        [f"Sets fused over all corpora hurt their own emotion more, beyond matched neurons: {listed(texts)}."]
        if texts
        else []
    )


def _asymmetry(study: StudyRuns) -> list[str]:
    found = study.table("asymmetry")
    if found.is_empty():
        return []
    rows = list(
        found.filter((pl.col("kind") == "deactivate") & (pl.col("measure") == "excess_gap")).iter_rows(named=True)
    )
    outcomes = [outcome(f"{row['first']} to {row['second']} minus back", row) for row in rows]
    clear = [one for one in outcomes if one.found in (CLEAR_LOW, CLEAR_HIGH)]
    if not outcomes:
        return []
    if not clear:
        return ["In no pair of corpora are the two directions told apart."]
    return [f"The two directions differ: {listed([f'{one.where} {one.text}' for one in clear])}."]


def tabulate_transfer(study: StudyRuns) -> pl.DataFrame | None:
    """What the sets of every source do on every corpus, beside the corpus's own sets."""
    found = study.table("transfer")
    if found.is_empty():
        return None
    rows = []
    mains = [part.name for part in study.mains if part.name in set(found["host"])]
    for host, source in ((host, source) for host in mains for source in study.in_order(found["source"])):
        group = found.filter((pl.col("host") == host) & (pl.col("source") == source))
        if group.is_empty():
            continue
        by = {(row["kind"], row["measure"]): row for row in group.iter_rows(named=True)}
        off = by.get(("deactivate", "excess_gap"))
        some = next(iter(by.values()))
        asked = next((part.options for part in study.of_role(SHARED) if part.of == host), 0)
        blind = blind_part(lambda measure, by=by: by.get(("deactivate", measure)), asked)  # type: ignore[misc]
        rows.append({
            "clips of": host, "found on": source, "gap": spread(by.get(("deactivate", "gap"))), "excess gap": spread(off),
            "blind part of it": blind_text(blind), "minus own sets’": "–" if some["diagonal"] else estimate_text(off, "less"),
            "kept (%)": "–" if some["diagonal"] else number(value(off, "kept"), 0),
            "excess pull": spread(by.get(("steer", "excess_pull_overall"))),
            "UAR (%)": estimate_text(some, "uar", sign=False),
        })  # fmt: skip
    return made(rows)


def tabulate_asymmetry(study: StudyRuns) -> pl.DataFrame | None:
    """The two directions between every two corpora and their difference."""
    found = study.table("asymmetry")
    names = {
        ("deactivate", "excess_gap"): "off: excess gap",
        ("steer", "excess_pull_overall"): "amplified: excess pull",
    }
    rows = []
    for row in (
        [] if found is None else study.by_corpus(study.by_corpus(found, "second"), "first").iter_rows(named=True)
    ):
        if (row["kind"], row["measure"]) in names:
            rows.append({
                "corpora": f"{row['first']} and {row['second']}", "what": names[row["kind"], row["measure"]],
                "first on second": estimate_text(row, "forward"),
                "second on first": estimate_text(row, "backward"),
                "difference": spread(row), "p": p_value(row["p"]), "why": row["reason"] or "",
            })  # fmt: skip
    return made(rows)


QUESTIONS = (
    Question(
        "transfer",
        10,
        (
            Figure("transfer", draw_transfer, "sets were not exchanged between corpora", pages="study"),
            Figure("transfer_steer", draw_transfer_steer, "sets of other corpora were not amplified", pages="study"),
            Figure("agreement", draw_agreement, "scores of two corpora were not compared", pages="study"),
            Table(
                "transfer",
                tabulate_transfer,
                "Neurons found on one corpus, acting on another, about the emotions that all share (points). "
                "“Kept”: in % of the corpus’s own excess gap, where that is clear of zero.",
                pages="study",
            ),
            Table(
                "asymmetry",
                tabulate_asymmetry,
                "The two directions of every pair of corpora (points). The difference is between two groups of "
                "speakers, so its interval is wide.",
                pages="study",
            ),
        ),
        says=say_transfer,
        study_tables={
            "transfer": transfer,
            "asymmetry": lambda study: asymmetry(study.table("transfer"), study),
            "agreement": agreement,
        },
    ),
)
