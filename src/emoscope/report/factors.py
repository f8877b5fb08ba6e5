"""What else an effect could come from: the letter of the right option, what is said, and arousal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import altair as alt
import polars as pl

from emoscope.emotions import arousal_of
from emoscope.report.answer_charts import HOLLOW, INTERVALS
from emoscope.report.content import Content, bracket, number
from emoscope.report.effect_charts import BEYOND
from emoscope.report.marks import dots
from emoscope.report.theme import title

KINDS = {"deactivate": ("gap", "switched off"), "steer": ("pull_gap", "amplified")}
"""The measure that a kind of intervention is judged by, and what was done, in words."""


def factors(content: Content) -> Any | None:
    """The headline's excess gaps for each letter of the right option and within each further label column."""
    parts = (
        (content.tables.letters, "right option at {letter}"),
        (content.tables.within.filter(pl.col("value").is_null()), "within the same {column}"),
    )
    charts: list[Any] = []
    hollow = False
    for kind, (measure, done) in KINDS.items():
        name, every = f"excess_{measure}", content.effect(kind, f"excess_{measure}")
        if every is None or every["estimate"] is None:
            continue
        rows = [{"row": "all clips"} | every]
        for frame, words in parts:
            found = frame.filter(
                (pl.col("kind") == kind) & (pl.col("measure") == name) & pl.col("estimate").is_not_null()
            )
            rows += [row | {"row": words.format(**row)} for row in found.iter_rows(named=True)]
        if len(rows) == 1:
            continue
        drawn = [{end: row[end] for end in ("row", "estimate", "low", "high")} | {"hollow": bool(row["hollow"])} for row in rows]  # fmt: skip
        marks = pl.DataFrame(drawn, infer_schema_length=None).with_columns(pl.lit("difference").alias("series"))
        x = f"{measure.replace('_', ' ')}, {done}: {BEYOND} (points)"
        order = [row["row"] for row in drawn]
        charts.append(dots(marks, order, x, None if charts else "clips that count", rule=0.0, width=330))
        hollow = hollow or bool(marks["hollow"].any())
    if not charts:
        return None
    return alt.hconcat(*charts, spacing=24).properties(
        title=title(
            "Do the effects depend on the letter of the right option, or on what is said?",
            f"{INTERVALS} Fewer clips count in each row than in the first, so that lines are longer. Left of zero: hurts its own "
            f"emotion more than the others; right of zero (second picture): draws its own clips more.{' ' + HOLLOW if hollow else ''}",
        )
    )  # fmt: skip


def letters(content: Content) -> pl.DataFrame | None:
    """The untouched model and the headline's effects by the letter of the right option."""
    by = _by(content.tables.letters, "kind", "control", "measure", "letter")
    columns = [
        ("UAR (%)", ("baseline", "none", "uar"), "estimate"), ("accuracy (%)", ("baseline", "none", "accuracy"), "estimate"),
        ("answered so (%)", ("baseline", "none", "answered"), "estimate"),
        ("switched off: own emotion", ("deactivate", "target", "self"), "estimate"),
        ("other emotions", ("deactivate", "target", "cross"), "estimate"),
        ("excess gap", ("deactivate", "target", "excess_gap"), "estimate"),
        ("apart from other letters", ("deactivate", "target", "excess_gap"), "apart"),
        ("amplified: excess pull gap", ("steer", "target", "excess_pull_gap"), "estimate"),
    ]  # fmt: skip
    rows = []
    for letter in content.tables.letters["letter"].unique().sort():
        one = by.get(("baseline", "none", "uar", letter)) or by["baseline", "none", "accuracy", letter]
        row = {"right option at": letter, "clips": str(one["n"])}
        for heading, key, name in columns:
            row[heading] = _spread(by.get((*key, letter)), name, sign=key[0] != "baseline")
        rows.append(row)
    return _filled(rows)


def within(content: Content) -> pl.DataFrame | None:
    """The headline's gaps within each further label column, next to those over all clips."""
    found = content.tables.within.filter(pl.col("value").is_null())
    by = _by(found, "kind", "control", "measure", "column")
    columns = [
        (f"{done}: {which}{measure.replace('_', ' ')}", kind, control, prefix + measure)
        for kind, (measure, done) in KINDS.items()
        for which, control, prefix in (("", "target", ""), ("matched, ", "matched", ""), ("excess ", "target", "excess_"))
    ]  # fmt: skip
    rows = []
    if not found.is_empty():
        row = {"clips that count": "all", "values": "", "share of clips (%)": number(100.0, 0)}
        rows.append(
            row | {name: _spread(content.effect(kind, which, control)) for name, kind, control, which in columns}
        )
    for column in found["column"].unique().sort():
        any_row = found.filter(pl.col("column") == column).row(0, named=True)
        row = {"clips that count": f"within the same {column}", "values": str(any_row["values"])}
        row["share of clips (%)"] = number(any_row["covered"], 0)
        rows.append(
            row | {name: _spread(by.get((kind, control, which, column))) for name, kind, control, which in columns}
        )
    return _filled(rows)


def arousal(content: Content) -> pl.DataFrame | None:
    """The headline's effects on emotions of the same and of the other arousal."""
    by = _by(content.tables.arousal, "kind", "control", "measure")
    rows = []
    for kind, cross, done in (
        ("deactivate", "cross", "switched off: accuracy"),
        ("steer", "pull_cross", "amplified: share answered so"),
    ):
        for end, words in (
            ("same", "emotions of the same arousal"),
            ("other", "emotions of the other arousal"),
            ("apart", "same minus other"),
        ):
            one = by.get((kind, "target", f"{cross}_{end}"))
            if one is not None:
                rows.append({
                    "effect on": f"{words}, {done}", "pairs": str(one["pairs"]), "selected": _spread(one),
                    "matched": _spread(by.get((kind, "matched", f"{cross}_{end}"))),
                    "selected minus matched": _spread(by.get((kind, "target", f"excess_{cross}_{end}"))),
                })  # fmt: skip
    return _filled(rows)


TABLES: Mapping[str, tuple[Callable[[Content], pl.DataFrame | None], str]] = {
    "letters": (letters, "By the letter behind which the right option stands, with 95 % intervals over speakers. Answered so: the share of all clips "
                "that the untouched model answers with the letter. Effects in points; excess: beyond matched neurons; apart: from the mean of "
                "the other letters. Exploration: not corrected for their number."),
    "within": (within, "Gaps over the clips of one value of a label column at a time, then averaged over its values, in points with 95 % intervals "
               "over speakers. A gap within what is said alike does not come from what is said."),
    "arousal": (arousal, "Effects on other emotions than the neurons’ own, by whether their arousal is the same, means over pairs of emotions in points "
                "with 95 % intervals over speakers. Neurons that hold arousal act more on emotions of the same arousal."),
}  # fmt: skip
"""Name to the function that fills a table, and its caption."""


def notes(content: Content) -> dict[str, str | None]:
    """One sentence by rule on each of letters, what is said, arousal and how answers were written; ``None`` without.

    A pilot supports no claim, so it has the last alone.
    """
    if content.pilot is not None:
        return {"letters": None, "within": None, "arousal": None, "forms": _on_forms(content)}
    return {
        "letters": _on_letters(content), "within": _on_columns(content), "arousal": _on_arousal(content),
        "forms": _on_forms(content),
    }  # fmt: skip


def _on_letters(content: Content) -> str | None:
    found = content.tables.letters.filter(
        (pl.col("kind") == "deactivate") & (pl.col("measure") == "excess_gap") & pl.col("apart_low").is_not_null()
    )
    if found.is_empty() or not content.speakers:
        return None
    clear = found.filter((pl.col("apart_low") > 0) | (pl.col("apart_high") < 0))
    if clear.is_empty():
        return f"Of {len(found)} letters, none has an excess gap that is clear of the mean of the others."
    told = [
        f"at {row['letter']} it is {number(abs(row['apart']))} points {'weaker' if row['apart'] > 0 else 'stronger'} "
        f"{bracket(row['apart_low'], row['apart_high'])}"
        for row in clear.iter_rows(named=True)
    ]
    chance = number(0.05 * len(found))
    return (
        f"The excess gap depends on the letter of the right option: {'; '.join(told)} than the mean of the other letters. "
        f"Not corrected for {len(found)} letters, of which {chance} would be told apart by chance."
    )


def _on_columns(content: Content) -> str | None:
    found = content.tables.within.filter(
        pl.col("value").is_null() & (pl.col("kind") == "deactivate") & (pl.col("measure") == "excess_gap")
    )
    every, said = content.effect("deactivate", "excess_gap"), []
    for row in found.iter_rows(named=True):
        if row["low"] is None or not content.speakers or row["hollow"] or every is None:
            continue
        clear = row["low"] > 0 or row["high"] < 0
        lead = "Within the same" if clear else "Whether the excess gap holds within the same"
        end = f"{number(row['estimate'], sign=True)} points {bracket(row['low'], row['high'])}, over all clips {number(every['estimate'], sign=True)}"
        said.append(
            f"{lead} {row['column']} the excess gap is {end}: it does not come from the {row['column']} alone."
            if clear
            else f"{lead} {row['column']} remains open ({end})."
        )
    return " ".join(said) or None


def _on_arousal(content: Content) -> str | None:
    by = _by(content.tables.arousal, "kind", "control", "measure")
    row = by.get(("deactivate", "target", "excess_cross_apart"))
    if row is None:
        return None
    groups = {level: [e for e in content.emotions if arousal_of(e) == level] for level in ("high", "low")}
    named = "; ".join(f"{level}: {', '.join(group)}" for level, group in groups.items())
    told = f"{number(row['estimate'], sign=True)} points {bracket(row['low'], row['high'])}".strip()
    if row["low"] is None or not content.speakers or row["hollow"]:
        claim = f"Same minus other arousal, beyond matched neurons: {told}; no conclusion is drawn."
    elif row["high"] < 0:
        claim = f"Beyond matched neurons, switching off hurts emotions of the same arousal more than those of the other ({told}): the sets hold arousal, too."
    elif row["low"] > 0:
        claim = f"Beyond matched neurons, switching off hurts emotions of the other arousal more than those of the same ({told})."
    else:
        claim = f"Whether switching off hurts emotions of the same arousal more than those of the other remains open (beyond matched neurons {told})."
    return f"{claim} Arousal by ratings of words (Warriner et al. 2013), {named}."


def _on_forms(content: Content) -> str | None:
    row = content.uar("baseline", "generation")
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


def _by(frame: pl.DataFrame, *names: str) -> dict[tuple[str, ...], dict[str, Any]]:
    return {tuple(row[name] for name in names): row for row in frame.iter_rows(named=True)}


def _spread(row: Mapping[str, Any] | None, name: str = "estimate", sign: bool = True) -> str:
    if row is None:
        return "–"
    ends = (row["low"], row["high"]) if name == "estimate" else (row[f"{name}_low"], row[f"{name}_high"])
    return f"{number(row[name], sign=sign)} {bracket(*ends)}".strip()


def _filled(rows: list[dict[str, str]]) -> pl.DataFrame | None:
    """The table without columns that hold nothing; ``None`` where there are no rows."""
    if not rows:
        return None
    frame = pl.DataFrame(rows)
    return frame.select([name for name in frame.columns if set(frame[name]) != {"–"}])
