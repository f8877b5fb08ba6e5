"""Does the model know emotion at all: UAR, recall, confusion, forms of answers, and the MLP reference lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from emoscope.analysis.accuracy import level
from emoscope.analysis.estimate import Estimate, estimate_of
from emoscope.analysis.parts import Part, StudyRuns
from emoscope.analysis.responses import UNREADABLE, Responses
from emoscope.report.page import Figure, Note, Question, Table
from emoscope.report.plots import HOLLOW, INTERVALS, dots, heat
from emoscope.report.theme import title
from emoscope.report.wording import blind_text, made, value
from emoscope.schemas import as_table
from emoscope.wording import estimate_text, listed, number, spread


def confusion(by_scoring: dict[str, Responses], conditions: pl.DataFrame) -> pl.DataFrame:
    """Counts and shares of answers by true label, under conditions that concern no single emotion.

    Args:
        by_scoring: scoring to its responses.
        conditions: the table of conditions; those with a target are left out.

    Returns:
        the columns of table ``confusion``; share, low and high in % of the items of that true label. On the
        diagonal the share is the recall. Answers that cannot be read have a null ``answer``.
    """
    targeted = set(conditions.filter(pl.col("target").is_not_null())["condition"])
    rows: list[dict[str, Any]] = []
    for scoring, responses in by_scoring.items():
        for condition in [one for one in responses.rows if one not in targeted]:
            used, answer = responses.asked(condition), responses.answer(condition)
            items = responses.per_speaker(used.astype(float))
            codes = [*range(len(responses.labels)), *([UNREADABLE] if (answer == UNREADABLE).any() else [])]
            for e in np.flatnonzero(items.sum(axis=0)):
                for a in codes:
                    counts = responses.per_speaker((used & (answer == a)).astype(float))[:, e]
                    found = Estimate.share(counts, items[:, e]).columns()
                    row = found | {"condition": condition, "scoring": scoring, "truth": responses.labels[e]}
                    row["answer"] = None if a == UNREADABLE else responses.labels[a]
                    rows.append(row | {"count": int(counts.sum()), "share": found["estimate"]})
    return as_table("confusion", rows)


def reliance(responses: Responses, conditions: pl.DataFrame) -> pl.DataFrame:
    """UAR with MLP layers switched off: all, one at a time, and the union of all sets.

    Args:
        responses: the answers by likelihood.
        conditions: the table of conditions.

    Returns:
        the columns of table ``reliance``: uar and commonest_share in %, change in points against the baseline,
        commonest is the label answered most (a model may answer one label always).
    """
    rows = []
    there = conditions.filter((pl.col("kind") == "reliance") & pl.col("condition").is_in(list(responses.rows)))
    for condition, to in there.select("condition", "to").iter_rows():
        used = responses.asked(condition)
        if not used.any() or "baseline" not in responses.rows:
            continue
        found, moved = level(responses, [condition]), level(responses, [condition], against="baseline")
        answers = responses.answer(condition)[used]
        counts = np.bincount(answers[answers >= 0], minlength=len(responses.labels))
        rows.append({
            "condition": condition, "layers": condition.split("/")[1].removeprefix("layer="), "to": to or "zero",
            "n": int(used.sum()),
            **found.named("uar"), **moved.named("change"),
            "commonest": responses.labels[int(counts.argmax())], "reason": moved.interval().reason,
            "commonest_share": 100 * float(counts.max() / used.sum()),
        })  # fmt: skip
    frame = as_table("reliance", rows)
    number = pl.col("layers").cast(pl.Int64, strict=False)
    return frame.sort(pl.col("to") != "zero", number, "layers")  # "all" and "union", which are no numbers, come first


def draw_recall(part: Part) -> Any | None:
    """Recall per emotion and UAR of the untouched model, next to chance."""
    confusion = part.table("confusion").filter(
        (pl.col("condition") == "baseline") & (pl.col("truth") == pl.col("answer"))
    )
    uar = part.table("uar").filter(pl.col("condition") == "baseline")
    if uar.is_empty():
        return None
    every, likeliest = "all emotions (UAR)", pl.col("scoring") == "likelihood"
    rows = pl.concat([
        uar.select(pl.lit(every).alias("row"), pl.col("uar").alias("estimate"), "low", "high", "scoring"),
        confusion.select(pl.col("truth").alias("row"), pl.col("share").alias("estimate"), "low", "high", "scoring"),
    ]).with_columns(
        pl.when(likeliest).then(pl.lit("selected")).otherwise(pl.lit("control")).alias("series"),
        pl.lit(bool(uar["unreliable"].any())).alias("unreliable"),
    )  # fmt: skip
    written = " Circle: the likeliest letter; diamond: the written answer." if len(uar) > 1 else ""
    return dots(
        rows, order=[every, *part.emotions], x="clips named correctly (%)", y="emotion of the clip", domain=(0, 100),
        rule=float(uar["chance"][0]), rule_name="guessing",
    ).properties(
        title=title(
            "How often the untouched model names the emotion correctly",
            f"{INTERVALS} Dashed line: what guessing would give.{written}{' ' + HOLLOW if uar['unreliable'].any() else ''}",
        )
    )  # fmt: skip


def draw_confusion(part: Part) -> Any | None:
    """Which emotion the untouched model answers for which."""
    found = part.table("confusion").filter((pl.col("condition") == "baseline") & (pl.col("scoring") == "likelihood"))
    if found.is_empty():
        return None
    cells = found.select(
        pl.col("truth").alias("row"),
        pl.col("answer").fill_null("unreadable").alias("column"),
        pl.col("share").alias("value"),
    )
    columns = [*part.responses.labels, *(["unreadable"] if found["answer"].null_count() else [])]
    return heat(
        cells, rows=part.emotions, columns=columns, x="answer of the model", y="emotion of the clip",
        legend="share of the row (%)",
    ).properties(
        title=title(
            "What the untouched model answers for each emotion",
            "Each row adds up to 100 %: of the clips of that emotion, the share answered with the column's emotion.",
        )
    )  # fmt: skip


def draw_reliance(part: Part) -> Any | None:
    """UAR with MLP layers switched off: reference lines for the effects of sets."""
    found, base = part.table("reliance"), part.uar("baseline")
    if found.is_empty() or base is None:
        return None
    names = {"all": "all MLP layers off", "union": "all selected neurons off"}
    labelled = [names.get(name, f"layer {name} off") for name in found["layers"]]
    rows = pl.DataFrame(
        [{"row": "nothing off", "estimate": base["uar"], "low": base["low"], "high": base["high"], "series": "selected"}]
        + [
            {"row": label, **estimate_of(row, "uar")}
            | {"series": "control" if row["to"] == "mean" else "selected"}
            for label, row in zip(labelled, found.iter_rows(named=True), strict=True)
        ],
        schema={"row": pl.String, "estimate": pl.Float64, "low": pl.Float64, "high": pl.Float64, "series": pl.String},
    )  # fmt: skip
    means = " Circle: set to zero; diamond: to their mean." if "control" in set(rows["series"]) else ""
    return dots(
        rows, order=["nothing off", *dict.fromkeys(labelled)], x="UAR (%)", y="what was switched off", domain=(0, 100),
        rule=base["chance"], rule_name="guessing",
    ).properties(
        title=title(
            "How much the answers rest on the MLP layers at all",
            f"{INTERVALS}{means} Where UAR hardly falls with all layers off, small effects of sets say little.",
        )
    )  # fmt: skip


def tabulate_baseline(part: Part) -> pl.DataFrame | None:
    """UAR, accuracy, letter mass and agreement of the untouched model and of the numerical null."""
    return _answers(part.table("uar").filter(pl.col("condition").is_in(["baseline", "null"])))


def tabulate_generated(part: Part) -> pl.DataFrame | None:
    """The same for the other conditions whose answers were also written out."""
    written = part.table("uar").filter((pl.col("scoring") == "generation") & (pl.col("condition") != "baseline"))
    found = part.table("uar").filter(pl.col("condition").is_in(written["condition"].to_list()))
    return _answers(found.filter(pl.col("condition") != "null"))


def _answers(found: pl.DataFrame) -> pl.DataFrame | None:
    if found.is_empty():
        return None
    rows = [
        {
            "condition": row["condition"], "scoring": row["scoring"], "items": str(row["n"]),
            "UAR (%)": estimate_text({**row, "estimate": row["uar"]}, sign=False),
            "accuracy (%)": number(row["accuracy"]), "chance (%)": number(row["chance"]),
            "changed answers (%)": number(row["changed"]), "letter mass": number(row["letter_mass"], 2),
            "agreement (%)": number(row["agreement"]), "in words (%)": number(row["share_word"]),
            "refused (%)": number(row["share_refused"]), "unparsable (%)": number(row["share_unparsable"]),
        }
        for row in found.sort("kind", "condition", "scoring").iter_rows(named=True)
    ]  # fmt: skip
    return pl.DataFrame(rows)


def no_interval(part: Part) -> str | None:
    """Why the untouched model's numbers have no intervals; ``None`` where they do."""
    reasons = part.table("uar").filter(condition="baseline")["reason"].drop_nulls()
    return f"No intervals: {reasons[0]}." if len(reasons) else None


def forms_note(part: Part) -> str | None:
    """How many written answers refuse, cannot be read, or name the option, in a sentence; ``None`` where none were written."""
    row = part.uar("baseline", "generation")
    if row is None or row["share_refused"] is None:
        return None
    lost = row["share_refused"] + row["share_unparsable"]
    text = (
        f"Of the untouched model’s written answers {number(row['share_refused'])} % are refusals, {number(row['share_unparsable'])} % cannot "
        f"be read, and {number(row['share_word'])} % name the option in words."
    )
    if not lost:
        return text
    over = (
        ""
        if row["uar_readable"] is None
        else f"; over the answers that could be read it would be {number(row['uar_readable'])} %"
    )
    return (
        f"{text} UAR counts refusals and unreadable answers as not correct ({number(row['uar'])} %){over}. They are no answer to "
        "another emotion, and effects rest on the likeliest letter, not on them."
    )


def reliance_note(part: Part) -> str | None:
    """What is left with every MLP layer off, in a sentence; ``None`` where that was not asked."""
    found = part.table("reliance").filter(part.table("reliance")["layers"] == "all")
    if found.is_empty():
        return None
    row = found.row(0, named=True)
    return (
        f"With every MLP layer off, UAR is {number(row['uar'])} %, and {number(row['commonest_share'], 0)} % of the answers are "
        f"“{row['commonest']}”. This is a reference line, not an upper bound: with all layers off the model may no longer know "
        "which letter stands for what."
    )


def say_reliance(study: StudyRuns) -> list[str]:
    """What is left on each corpus with every MLP layer off."""
    texts = []
    for part in study.mains:
        table, base = part.table("reliance"), part.uar()
        found = None if table is None else table.filter((pl.col("layers") == "all") & (pl.col("to") == "zero"))
        if found is not None and len(found) and base is not None:
            texts.append(f"from {number(base['uar'], 0)} to {number(found['uar'][0], 0)} % on {part.name}")
    return (
        [f"With every MLP layer off, UAR goes {listed(texts)}: a mark to compare with, no upper bound."]
        if texts
        else []
    )


def tabulate_corpora(study: StudyRuns) -> pl.DataFrame | None:
    """The untouched model and the headline's neurons on each corpus."""
    rows = []
    for part in study.mains:
        uar = part.uar()
        off, steered = part.verdict("deactivate"), part.verdict("steer")
        rows.append({
            "corpus": part.name, "speakers": "–" if uar is None else "unknown" if part.unknown_speakers else str(uar["speakers"]),
            "UAR (%)": spread(uar and {**uar, "estimate": uar["uar"]}, sign=False), "chance (%)": number(value(uar, "chance")),
            "off: excess gap": spread(part.effect("deactivate", "excess_gap")), "blind part of it": blind_text(part.blind()),
            "off: evidence (AUC points)": spread(part.effect("deactivate", "excess_sensitivity")),
            "off: verdict": _verdict(study, off), "amplified: excess pull": spread(part.effect("steer", "excess_pull_overall")),
            "amplified: verdict": _verdict(study, steered),
        })  # fmt: skip
    return made(rows)


def _verdict(study: StudyRuns, row: Mapping[str, Any] | None) -> str:
    """A verdict, which a pilot does not give."""
    return "–" if row is None or study.pilot else row["verdict"] or "–"


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
        (
            Figure("reliance", draw_reliance, "no MLP layer was switched off"),
            Note(reliance_note),
        ),
        says=say_reliance,
        tables={"reliance": lambda part: reliance(part.responses, part.run.conditions)},
    ),
)
