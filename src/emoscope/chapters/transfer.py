"""Do neurons found on one corpus act on another, which direction does more, and do fused sets do better?"""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import combinations, product

import polars as pl

from emoscope.analysis.accuracy import level
from emoscope.analysis.acts import Act, Asked
from emoscope.analysis.estimate import named, welch
from emoscope.analysis.parts import Row, StudyRuns
from emoscope.analysis.standing import blind_part
from emoscope.report import wording
from emoscope.report.page import Figure, Question, Table
from emoscope.report.plots import beside, dots, signed_matrix, with_chance
from emoscope.report.theme import Chart, title, titled
from emoscope.schemas import as_table, conform
from emoscope.vocabulary import SHARED
from emoscope.wording import DONE, estimate_text, listed, number, p_value, spread

FUSED = "fused: "
"""How the name of a source begins that is made of the sets of all corpora."""

SAME_SPEAKERS = "both corpora hold the same speakers: their errors are not independent"


def transfer(study: StudyRuns) -> pl.DataFrame:
    """What the sets of every source do on every corpus, asked about the emotions that all share: table ``transfer``."""
    rows: list[Row] = []
    for part in study.of_role(SHARED):
        asked = part.asked
        if asked is None:
            continue
        host = {"host": part.of, "chance": asked.responses.chance} | level(asked.responses, ["baseline"]).named("uar")
        of_host = asked.acts.get(part.of, {})
        for source, acts in asked.acts.items():
            for key, act in acts.items() if source is not None else ():
                about = {name: act.family[name] for name in ("kind", "selector", "budget", "alpha")} | host
                about |= {"source": source, "diagonal": source == part.of, "fused": str(source).startswith(FUSED)}
                own = of_host.get(key) if source != part.of else None
                for excess in act.excesses:
                    rows += [about | row for row in _rows(asked, act, own, excess)]
    return _kept(as_table("transfer", rows))


def _rows(asked: Asked, act: Act, own: Act | None, excess: bool) -> list[Row]:
    """The measures of one act, and how far they differ from those of the host's own sets on the same clips."""
    found, targets = asked.measured([act], excess)
    both, _ = asked.measured([act, own], excess) if own and (own.matched or not excess) else ([], 0)
    rows = []
    for name, effect in found[0].items() if found else ():
        less = both[0][name].beyond(both[1][name]).named("less") if both else {}
        rows.append({"targets": targets} | act.about(name, excess) | effect.columns() | less)
    return rows


def _kept(found: pl.DataFrame) -> pl.DataFrame:
    """Fill in the share of the diagonal that is kept, where the diagonal is clear of zero."""
    alike = ["host", "kind", "alpha", "measure"]
    clear = found.filter(pl.col("diagonal") & ((pl.col("low") > 0) | (pl.col("high") < 0)))
    clear = clear.select(*alike, whole="estimate").unique(alike, keep="last")
    known = found.join(clear, on=alike, how="left", nulls_equal=True, maintain_order="left")
    return known.with_columns(kept=100 * pl.col("estimate") / pl.col("whole")).drop("whole")


def asymmetry(study: StudyRuns) -> pl.DataFrame:
    """Whether the sets of one corpus do more on another one than the other way round, from the table of transfer.

    The two effects are of different clips and speakers, so the interval of their difference is Welch's (1947): with
    the jackknife errors s1 and s2 and their degrees of freedom f1 and f2, error^2 = s1^2 + s2^2 and
    df = error^4 / (s1^4 / f1 + s2^4 / f2). It is conditional on the selected sets, as all intervals are. There is none
    where both corpora hold the same speakers.
    """
    people = {
        part.of: {(part.corpus, speaker) for speaker in part.asked.responses.speakers}
        for part in study.of_role(SHARED)
        if part.asked is not None
    }
    alike = ("kind", "selector", "budget", "alpha", "measure")
    found = study.table("transfer")
    rows = []
    for first, second in combinations(people, 2):
        forward = wording.by_key(found.filter(source=first, host=second), *alike)
        backward = wording.by_key(found.filter(source=second, host=first), *alike)
        for key in [key for key in forward if key in backward]:
            there, back = forward[key], backward[key]
            row = there | {"first": first, "second": second, "unreliable": there["unreliable"] or back["unreliable"]}
            row |= named("forward", there) | named("backward", back)
            why_not = SAME_SPEAKERS if people[first] & people[second] else None
            rows.append(row | welch(there, back, why_not))
    return as_table("asymmetry", rows)


def agreement(study: StudyRuns) -> pl.DataFrame:
    """How alike the corpora score neurons, as the run wrote it in table ``agreement``; empty where it did not."""
    path = study.folder / "agreement.parquet"
    frame = pl.read_parquet(path) if path.is_file() else pl.DataFrame()
    return conform(frame, "agreement").sort("source", "target", "selector", "emotion")


SHOWN = {"deactivate": "excess_gap", "steer": "excess_pull_overall"}
"""The measure of each kind of intervention that is shown."""

CELLS = {
    "deactivate": "Row: where the neurons were found; column: whose clips were asked, about the emotions that all "
    "corpora share. Cell: excess gap in points, beyond matched neurons, with its 95 % interval over the column’s "
    "speakers; below zero: hurts its own emotion more. Framed: found and asked on the same corpus, on other speakers. "
    "Bold: clear of zero.",
    "steer": "As above, amplified at the headline’s alpha. Cell: how many more of all clips are answered with the "
    "amplified emotion than under matched neurons, in points, with its 95 % interval.",
}
"""How to read the two matrices."""


def draw_transfer(study: StudyRuns, kind: str) -> Chart | None:
    """An excess of the sets of every source on the clips of every corpus, each cell with its interval."""
    measure, legend = SHOWN[kind], {"deactivate": "excess gap (points)", "steer": "excess pull (points)"}[kind]
    found = study.table("transfer").filter(pl.col("estimate").is_not_null(), kind=kind, measure=measure)
    if found.is_empty():
        return None
    hosts = [part.name for part in study.mains if part.name in set(found["host"])]
    cells = found.select("low", "high", "unreliable", row="source", column="host", value="estimate")
    most = max(5.0, *(abs(value) for value in cells["value"]))
    sources = study.in_order(found["source"])
    chart = signed_matrix(cells, sources, hosts, most, legend, x="clips of", y="neurons found on")
    return titled(chart, title(f"Whose neurons act on whose clips: {DONE[kind]}", CELLS[kind]))


def draw_agreement(study: StudyRuns) -> Chart | None:
    """Overlap of the sets and rank correlation of the scores of every two corpora, at equal numbers of clips."""
    if not study.mains:
        return None
    found, head = study.table("agreement"), study.mains[0].selector
    own = found.filter(selector=head) if head in set(found["selector"]) else found
    own = study.by_corpus(study.by_corpus(own, "target"), "source")
    own = own.with_columns(row=pl.concat_str("source", pl.lit(" – "), "target"))
    rows = own["row"].unique(maintain_order=True).to_list()
    charts: list[Chart] = []
    for column, scale, x in (
        ("jaccard", 100.0, "neurons shared (Jaccard, %)"),
        ("spearman", 1.0, "rank correlation of scores"),
    ):
        means = own.group_by("row", maintain_order=True).agg(
            estimate=scale * pl.col(column).mean(),
            low=scale * pl.col(column).min(),
            high=scale * pl.col(column).max(),
            chance=100 * pl.col("chance").mean(),
            series=pl.lit("selected"),
        )
        means = means.drop_nulls("estimate")
        if means.is_empty():
            continue
        chart = dots(means.drop("chance").to_dicts(), rows, x, "corpora", not charts, width=300)
        charts.append(with_chance(chart, means, rows, x) if column == "jaccard" else chart)
    heading = title(
        f"How alike two corpora score neurons ({wording.name_selector(head)})",
        "Mark: mean over emotions; line: from the least to the most alike emotion, which is no interval. Grey ticks: two "
        "random sets of these sizes. Both corpora give equally many clips.",
    )
    return beside(charts, heading)


OTHERWISE = {wording.OPEN: "open", wording.CLEAR_HIGH: "the other way round", wording.UNTESTED: "not tested"}
"""What a direction may be other than clear, in words."""


def say_transfer(study: StudyRuns) -> list[str]:
    """On how many pairs of corpora sets of one act on the other, what is kept, which direction does more, and fusion."""
    off = study.table("transfer").filter(kind="deactivate", measure="excess_gap")
    one_way = [
        (row, wording.outcome_at(study, f"{row['source']} on {row['host']}", row, row["host"]))
        for row in off.filter(~pl.col("diagonal") & ~pl.col("fused")).iter_rows(named=True)
    ]
    sentences = []
    if one_way:
        clear = [(row, finding) for row, finding in one_way if finding.found == wording.CLEAR_LOW]
        hurt = [f"{finding.where} {finding.text}{_kept_in_words(row)}" for row, finding in clear]
        sentences.append(
            "Neurons found on one corpus and switched off on another hurt their own emotion more, beyond matched neurons, "
            f"in {len(hurt)} of {len(one_way)} directions{': ' + listed(hurt) if hurt else ''}."
        )
        counts = Counter(finding.found for _, finding in one_way)
        if others := [f"{words} in {counts[name]}" for name, words in OTHERWISE.items() if counts[name]]:
            sentences.append(f"Of the {len(one_way)} directions it is {listed(others)}.")
    sentences += wording.tally(
        _at_hosts(study, off.filter("diagonal")),
        "For comparison, neurons found on other speakers of the same corpus, about the shared emotions: {}.",
        "On the same corpus, about the shared emotions, they hurt their own emotion less than matched neurons: {}.",
        "On the same corpus, about the shared emotions, it is open: {}.",
    )
    return [*sentences, *_fused(study, off.filter("fused")), *_asymmetry(study)]


def _kept_in_words(row: Row) -> str:
    return "" if row["kept"] is None else f" ({number(row['kept'], 0)} % of what {row['host']}’s own do)"


def _at_hosts(study: StudyRuns, found: pl.DataFrame) -> list[wording.Outcome]:
    return [wording.outcome_at(study, row["host"], row, row["host"]) for row in found.iter_rows(named=True)]


def _fused(study: StudyRuns, fused: pl.DataFrame) -> list[str]:
    texts = []
    for name in study.in_order(fused["source"]):
        outcomes = _at_hosts(study, fused.filter(source=name))
        hurt = [finding.where for finding in outcomes if finding.found == wording.CLEAR_LOW]
        which = f" ({listed(hurt)})" if hurt else ""
        texts.append(f"{name.removeprefix(FUSED)} on {len(hurt)} of {len(outcomes)} corpora{which}")
    lead = "Sets fused over all corpora hurt their own emotion more, beyond matched neurons"
    return [f"{lead}: {listed(texts)}."] if texts else []


def _asymmetry(study: StudyRuns) -> list[str]:
    found = study.table("asymmetry").filter(kind="deactivate", measure="excess_gap")
    if found.is_empty():
        return []
    clear = []
    for row in found.iter_rows(named=True):
        finding = wording.outcome(f"{row['first']} to {row['second']} minus back", row)
        clear += [f"{finding.where} {finding.text}"] if finding.found in (wording.CLEAR_LOW, wording.CLEAR_HIGH) else []
    differ = f"The two directions differ: {listed(clear)}."
    return [differ if clear else "In no pair of corpora are the two directions told apart."]


def tabulate_transfer(study: StudyRuns) -> pl.DataFrame | None:
    """What the sets of every source do on every corpus, beside the corpus's own sets."""
    found = study.table("transfer")
    options = {part.of: part.options for part in study.of_role(SHARED)}
    rows = []
    for host, source in product([part.name for part in study.mains], study.in_order(found["source"])):
        group = found.filter(host=host, source=source)
        if group.is_empty():
            continue
        by, some = wording.by_key(group, "kind", "measure"), group.row(0, named=True)
        off = by.get(("deactivate", "excess_gap"))
        blind = blind_part(lambda measure, by=by: by.get(("deactivate", measure)), options.get(host, 0))  # type: ignore[misc]
        rows.append(
            {
                "clips of": host,
                "found on": source,
                "gap": spread(by.get(("deactivate", "gap"))),
                "excess gap": spread(off),
                "blind part of it": wording.blind_text(blind),
                "minus own sets’": "–" if some["diagonal"] else estimate_text(off, "less"),
                "kept (%)": "–" if some["diagonal"] else number(wording.value(off, "kept"), 0),
                "excess pull": spread(by.get(("steer", "excess_pull_overall"))),
                "UAR (%)": estimate_text(some, "uar", sign=False),
            }
        )
    return wording.made(rows)


def tabulate_asymmetry(study: StudyRuns) -> pl.DataFrame | None:
    """The two directions between every two corpora and their difference."""
    names = {"excess_gap": "off: excess gap", "excess_pull_overall": "amplified: excess pull"}
    wanted = pl.col("measure") == pl.col("kind").replace_strict(SHOWN, default=None)
    found = study.by_corpus(study.by_corpus(study.table("asymmetry").filter(wanted), "second"), "first")
    return wording.made(
        [
            {
                "corpora": f"{row['first']} and {row['second']}",
                "what": names[row["measure"]],
                "first on second": estimate_text(row, "forward"),
                "second on first": estimate_text(row, "backward"),
                "difference": spread(row),
                "p": p_value(row["p"]),
                "why": row["reason"] or "",
            }
            for row in found.iter_rows(named=True)
        ]
    )


QUESTIONS = (
    Question(
        "transfer",
        10,
        (
            Figure(
                "transfer",
                partial(draw_transfer, kind="deactivate"),
                "sets were not exchanged between corpora",
                "study",
            ),
            Figure(
                "transfer_steer",
                partial(draw_transfer, kind="steer"),
                "sets of other corpora were not amplified",
                "study",
            ),
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
        study_tables={"transfer": transfer, "asymmetry": asymmetry, "agreement": agreement},
    ),
)
