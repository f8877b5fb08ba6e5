"""Does the model know emotion at all: UAR, recall, confusion, forms of answers, and the MLP reference lines."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from emoscope.analysis.accuracy import level
from emoscope.analysis.estimate import Estimate, estimate_of
from emoscope.analysis.parts import Part, Row, StudyRuns, first
from emoscope.analysis.responses import UNREADABLE, Responses
from emoscope.report.page import Figure, Note, Question, Table
from emoscope.report.plots import HOLLOW, INTERVALS, dots, heat
from emoscope.report.theme import Chart, title, titled
from emoscope.report.wording import blind_text, made, on, value
from emoscope.schemas import as_table
from emoscope.wording import estimate_text, number, spread


def confusion(by_scoring: Mapping[str, Responses], conditions: pl.DataFrame) -> pl.DataFrame:
    """Counts and shares of answers by true label, for each scoring, under the conditions that have no target.

    Returns:
        the columns of table ``confusion``; share, low and high in % of the items of that true label. On the
        diagonal the share is the recall. Answers that cannot be read have a null ``answer``.
    """
    targeted = set(conditions.filter(pl.col("target").is_not_null())["condition"])
    rows: list[Row] = []
    for scoring, responses in by_scoring.items():
        for condition in [name for name in responses.rows if name not in targeted]:
            used, answer = responses.asked(condition), responses.answer(condition)
            items = responses.per_speaker(used.astype(float))
            codes = [*range(len(responses.labels)), *([UNREADABLE] if (answer == UNREADABLE).any() else [])]
            given = {a: responses.per_speaker((used & (answer == a)).astype(float)) for a in codes}
            for e in np.flatnonzero(items.sum(axis=0)):
                for a in codes:
                    counts = given[a][:, e]
                    found = Estimate.share(counts, items[:, e]).columns()
                    row = found | {"condition": condition, "scoring": scoring, "truth": responses.labels[e]}
                    row["answer"] = None if a == UNREADABLE else responses.labels[a]
                    rows.append(row | {"count": int(counts.sum()), "share": found["estimate"]})
    return as_table("confusion", rows)


def reliance(responses: Responses, conditions: pl.DataFrame) -> pl.DataFrame:
    """UAR with MLP layers switched off: all, one at a time, and the union of all sets.

    Returns:
        the columns of table ``reliance``: uar and commonest_share in %, change in points against the baseline,
        commonest is the label answered most (a model may answer one label always).
    """
    rows = []
    there = conditions.filter(pl.col("condition").is_in(list(responses.rows)), kind="reliance")
    for condition, to in there.select("condition", "to").iter_rows():
        used = responses.asked(condition)
        if not used.any() or "baseline" not in responses.rows:
            continue
        found, moved = level(responses, [condition]), level(responses, [condition], against="baseline")
        answers = responses.answer(condition)[used]
        counts = np.bincount(answers[answers >= 0], minlength=len(responses.labels))
        row = {"condition": condition, "layers": condition.split("/")[1].removeprefix("layer="), "to": to or "zero"}
        row |= found.named("uar") | moved.named("change") | {"n": int(used.sum()), "reason": moved.interval().reason}
        row |= {"commonest": responses.labels[int(counts.argmax())]}
        rows.append(row | {"commonest_share": 100 * float(counts.max() / used.sum())})
    number = pl.col("layers").cast(pl.Int64, strict=False)
    # "all" and "union", which are no numbers, come first
    return as_table("reliance", rows).sort(pl.col("to") != "zero", number, "layers")


def draw_recall(part: Part) -> Chart | None:
    """Recall per emotion and UAR of the untouched model, next to chance."""
    recall = part.table("confusion").filter(pl.col("truth") == pl.col("answer"), condition="baseline")
    uar = part.table("uar").filter(condition="baseline")
    if uar.is_empty():
        return None
    every, unreliable = "all emotions (UAR)", bool(uar["unreliable"].any())
    series = pl.when(pl.col("scoring") == "likelihood").then(pl.lit("selected")).otherwise(pl.lit("control"))
    ends = ("low", "high", "scoring")
    total = uar.select(*ends, row=pl.lit(every), estimate="uar")
    each = recall.select(*ends, row="truth", estimate="share")
    rows = pl.concat([total, each]).with_columns(series=series, unreliable=pl.lit(unreliable))
    written = " Circle: the likeliest letter; diamond: the written answer." if len(uar) > 1 else ""
    heading = title(
        "How often the untouched model names the emotion correctly",
        f"{INTERVALS} Dashed line: what guessing would give.{written}{' ' + HOLLOW if unreliable else ''}",
    )
    order, x, chance = [every, *part.emotions], "clips named correctly (%)", float(uar["chance"][0])
    chart = dots(rows, order, x, "emotion of the clip", domain=(0, 100), rule=chance, rule_name="guessing")
    return titled(chart, heading)


def draw_confusion(part: Part) -> Chart | None:
    """Which emotion the untouched model answers for which."""
    found = part.table("confusion").filter(condition="baseline", scoring="likelihood")
    if found.is_empty():
        return None
    cells = found.select(row="truth", column=pl.col("answer").fill_null("unreadable"), value="share")
    columns = [*part.responses.labels, *(["unreadable"] if found["answer"].null_count() else [])]
    chart = heat(cells, part.emotions, columns, "answer of the model", "emotion of the clip", "share of the row (%)")
    heading = title(
        "What the untouched model answers for each emotion",
        "Each row adds up to 100 %: of the clips of that emotion, the share answered with the column's emotion.",
    )
    return titled(chart, heading)


def draw_reliance(part: Part) -> Chart | None:
    """UAR with MLP layers switched off: reference lines for the effects of sets."""
    found, base = part.table("reliance"), part.uar("baseline")
    if found.is_empty() or base is None:
        return None
    names = {"all": "all MLP layers off", "union": "all selected neurons off"}
    labelled = [names.get(name, f"layer {name} off") for name in found["layers"]]
    marks = [
        {"row": "nothing off", "series": "selected", "low": base["low"], "high": base["high"], "estimate": base["uar"]}
    ]
    marks += [
        {"row": label, "series": "control" if row["to"] == "mean" else "selected"} | estimate_of(row, "uar")
        for label, row in zip(labelled, found.iter_rows(named=True), strict=True)
    ]
    means = " Circle: set to zero; diamond: to their mean." if "mean" in set(found["to"]) else ""
    heading = title(
        "How much the answers rest on the MLP layers at all",
        f"{INTERVALS}{means} Where UAR hardly falls with all layers off, small effects of sets say little.",
    )
    order, chance = ["nothing off", *dict.fromkeys(labelled)], base["chance"]
    chart = dots(marks, order, "UAR (%)", "what was switched off", domain=(0, 100), rule=chance, rule_name="guessing")
    return titled(chart, heading)


def tabulate_baseline(part: Part) -> pl.DataFrame | None:
    """UAR, accuracy, letter mass and agreement of the untouched model and of the numerical null."""
    return _answers(part.table("uar").filter(pl.col("condition").is_in(["baseline", "null"])))


def tabulate_generated(part: Part) -> pl.DataFrame | None:
    """The same for the other conditions whose answers were also written out."""
    written = part.table("uar").filter(~pl.col("condition").is_in(["baseline", "null"]))
    return _answers(written.filter((pl.col("scoring") == "generation").any().over("condition")))


def _answers(found: pl.DataFrame) -> pl.DataFrame | None:
    rows = [
        {"condition": row["condition"], "scoring": row["scoring"], "items": str(row["n"])}
        | {"UAR (%)": estimate_text(row | {"estimate": row["uar"]}, sign=False)}
        | {heading: number(row[name], digits) for heading, (name, digits) in ANSWERED.items()}
        for row in found.sort("kind", "condition", "scoring").iter_rows(named=True)
    ]
    return pl.DataFrame(rows) if rows else None


ANSWERED = {
    "accuracy (%)": ("accuracy", 1),
    "chance (%)": ("chance", 1),
    "changed answers (%)": ("changed", 1),
    "letter mass": ("letter_mass", 2),
    "agreement (%)": ("agreement", 1),
    "in words (%)": ("share_word", 1),
    "refused (%)": ("share_refused", 1),
    "unparsable (%)": ("share_unparsable", 1),
}
"""What is said of answers under a condition: heading -> column and digits."""


def no_interval(part: Part) -> str | None:
    """Why the untouched model's numbers have no intervals; ``None`` where they do."""
    reasons = part.table("uar").filter(condition="baseline")["reason"].drop_nulls()
    return f"No intervals: {reasons[0]}." if len(reasons) else None


def forms_note(part: Part) -> str | None:
    """How many written answers refuse, cannot be read, or name the option; ``None`` where none were written."""
    row = part.uar("baseline", "generation")
    if row is None or row["share_refused"] is None:
        return None
    text = (
        f"Of the untouched model’s written answers {number(row['share_refused'])} % are refusals, "
        f"{number(row['share_unparsable'])} % cannot be read, and {number(row['share_word'])} % name the option in "
        "words."
    )
    if not row["share_refused"] + row["share_unparsable"]:
        return text
    readable = row["uar_readable"]
    over = "" if readable is None else f"; over the answers that could be read it would be {number(readable)} %"
    return (
        f"{text} UAR counts refusals and unreadable answers as not correct ({number(row['uar'])} %){over}. They are no "
        "answer to another emotion, and effects rest on the likeliest letter, not on them."
    )


def say_reliance(study: StudyRuns) -> list[str]:
    """What is left with every MLP layer off."""
    texts = []
    for part in study.mains:
        row, base = first(part.table("reliance"), (pl.col("layers") == "all") & (pl.col("to") == "zero")), part.uar()
        if row is not None and base is not None:
            texts.append(
                f"from {number(base['uar'], 0)} to {number(row['uar'], 0)} %{on(study, part)}, where "
                f"{number(row['commonest_share'], 0)} % of the answers are “{row['commonest']}”"
            )
    if not texts:
        return []
    return [
        f"With every MLP layer off, UAR goes {'; '.join(texts)}. This is a reference line, not an upper bound: with "
        "all layers off the model may no longer know which letter stands for what."
    ]


def tabulate_corpora(study: StudyRuns) -> pl.DataFrame | None:
    """The untouched model and the headline's neurons on each corpus."""
    rows = []
    for part in study.mains:
        uar = part.uar()
        off, steered = (
            "–" if study.pilot else (part.verdict(kind) or {}).get("verdict") or "–" for kind in ("deactivate", "steer")
        )
        rows.append(
            {
                "corpus": part.name,
                "speakers": "–" if uar is None else "unknown" if part.unknown_speakers else str(uar["speakers"]),
                "UAR (%)": spread(uar and {**uar, "estimate": uar["uar"]}, sign=False),
                "chance (%)": number(value(uar, "chance")),
                "off: excess gap": spread(part.effect("deactivate", "excess_gap")),
                "blind part of it": blind_text(part.blind()),
                "off: evidence (AUC points)": estimate_text(part.verdict("deactivate"), "excess_evidence"),
                "off: verdict": off,
                "amplified: excess pull": spread(part.effect("steer", "excess_pull_overall")),
                "amplified: verdict": steered,
            }
        )
    return made(rows)


QUESTIONS = (
    Question(
        "model",
        10,
        (
            Note(no_interval),
            Figure("recall", draw_recall, "baseline answers"),
            Figure("confusion", draw_confusion, "baseline answers"),
            Table(
                "baseline",
                tabulate_baseline,
                "The untouched model, with 95 % intervals over speakers. Changed answers: share of items answered"
                " otherwise than at baseline; in the row “null” nothing but the batches differs. Of written "
                "answers: the share that names the option in words, refuses, or cannot be read; UAR counts the "
                "last two as not correct.",
            ),
            Note(forms_note),
            Table(
                "generated",
                tabulate_generated,
                "Likeliest letters and written answers of the same items, for every condition that was also "
                "written out.",
                folded="Conditions whose answers were also written out",
            ),
            Table(
                "corpora",
                tabulate_corpora,
                "The untouched model and the headline’s neurons on each corpus, beyond matched neurons; 95 % "
                "intervals over speakers. Blind part: answers that move alike on clips of all emotions give as "
                "much of the excess gap.",
                pages="study",
            ),
        ),
        tables={"confusion": lambda part: confusion(part.by_scoring, part.run.conditions)},
    ),
    Question(
        "controls",
        30,
        (Figure("reliance", draw_reliance, "no MLP layer was switched off"),),
        says=say_reliance,
        says_on="both",
        tables={"reliance": lambda part: reliance(part.responses, part.run.conditions)},
    ),
)
