"""What else do the neurons cost: another question, writing down what is said, text alone."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

import numpy as np
import polars as pl

from emoscope.analysis.accuracy import level
from emoscope.analysis.acts import Act, headline_acts
from emoscope.analysis.estimate import Estimate, estimate_of, mean_over_parts, ratio, replicates
from emoscope.analysis.load import Run
from emoscope.analysis.parts import Part, Row, StudyRuns
from emoscope.analysis.responses import answered
from emoscope.report.page import Figure, Question, Table
from emoscope.report.plots import BEYOND_KEY, INTERVALS, beside, dots, marks_of, names_of
from emoscope.report.theme import Chart, title
from emoscope.report.wording import CLEAR_HIGH, CLEAR_LOW, made, outcome, tally
from emoscope.schemas import as_table, empty, schema
from emoscope.vocabulary import COLUMN, MAIN, PRESENTED, SIDE_EFFECT
from emoscope.wording import DONE, estimate_text, number

INTRODUCTION = re.compile(
    r"^\s*(?:the\s+)?(?:speaker|person|man|woman|voice|recording|audio|transcript(?:ion)?)\b[^:\"“”«»„.!?]{0,60}"
    r"(?::|(?=[\"“«„]))\s*",
    re.IGNORECASE,
)
"""What some models put before the words: "The speaker says:", "The transcription of the audio is:"."""


def spoken_words(text: str) -> list[str]:
    r"""The words of a text as they are compared: no introduction, case, punctuation or composed characters.

    Apostrophes inside words are kept; numbers stay as they are written.

    Example:
        >>> spoken_words('The speaker says: "It\u2019s eleven o\'clock!"')
        ["it's", 'eleven', "o'clock"]
    """
    plain = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", INTRODUCTION.sub("", plain, count=1))


def word_errors(spoken: Sequence[str], written: Sequence[str]) -> list[dict[str, int]]:
    """Fewest substitutions, deletions and insertions that turn what is said into what was written, text by text.

    Example:
        >>> word_errors(["stop it now"], ["Stop now, now."])[0]
        {'words': 3, 'errors': 1, 'substitutions': 1, 'deletions': 0, 'insertions': 0}
    """
    import jiwer

    rows = []
    for true, found in zip(spoken, written, strict=True):
        words = spoken_words(true)
        result = jiwer.process_words(" ".join(words), " ".join(spoken_words(found)))
        counts = {name: getattr(result, name) for name in ("substitutions", "deletions", "insertions")}
        rows.append({"words": len(words), "errors": sum(counts.values()), **counts})
    return rows


def transcription(run: Run) -> pl.DataFrame:
    """Word errors of every item under every condition, those of transferred sets too: table ``transcription``.

    It is empty where nothing was written down.
    """
    answers = pl.concat([run.answers, *(of_source.answers for of_source in run.transferred.values())])
    written = answers.filter(scoring="transcription").select("condition", "item", "text")
    written = written.unique(["condition", "item"], keep="first", maintain_order=True)
    if written.is_empty():
        return empty("transcription")
    found = written.join(run.items.select("item", "transcript"), on="item").sort("condition", "item")
    found = found.filter(pl.col("transcript").is_not_null()).with_columns(pl.col("text").fill_null(""))
    # one text may be written many times
    pairs = found.select("transcript", "text").unique(maintain_order=True)
    types, every = schema("transcription"), (pairs["transcript"].to_list(), pairs["text"].to_list())
    counts = ("words", "errors", "substitutions", "deletions", "insertions")
    counted = pl.DataFrame(word_errors(*every), schema={name: types[name] for name in counts})
    texts = {
        name: pl.Series([" ".join(spoken_words(text)) for text in texts], dtype=pl.String)
        for name, texts in zip(("said", "written"), every, strict=True)
    }
    known = pairs.with_columns(*counted.get_columns(), **texts)
    return found.join(known, on=["transcript", "text"], maintain_order="left").select(list(types))


Level = Callable[[list[str]], Estimate]  # conditions -> the mean of their levels in %


def side_effects(study: StudyRuns) -> pl.DataFrame:
    """How well the model does other tasks under a corpus's own sets, and under their matched controls.

    Table ``side_effects`` has, for every corpus of which another task was asked, its own question first.
    """
    rows: list[Row] = []
    for main in study.mains:
        others = [*study.of_role(COLUMN, main.name), *study.of_role(SIDE_EFFECT, main.name)]
        done = [_written(part) if part.presentation == "transcription" else _asked(part) for part in others]
        rows += [*_asked(main), *chain(*done)] if any(done) else []
    order = {row["part"]: place for place, row in enumerate(rows)}
    place = pl.col("part").replace_strict(order, default=None, return_dtype=pl.Int64)
    return as_table("side_effects", rows).sort(place, "kind", "alpha", nulls_last=False)


def _asked(part: Part) -> list[Row]:
    """Levels of a question with options."""
    asked = part.asked
    if asked is None:
        return []
    about = {"corpus": part.of, "part": part.name, "measure": asked.level, "chance": asked.responses.chance}
    about["ability"] = part.presentation if part.role == SIDE_EFFECT else asked.question
    rows = []
    for act in asked.acts.get(None if part.role == MAIN else part.of, {}).values():
        excess = bool(act.matched)
        _, used = answered(asked.responses, act.draws(excess))
        if used.any():
            levels = partial(level, asked.responses, used=used, which=asked.level)
            rows.append(about | _row(act, levels, asked.touched([act], excess)))
    return rows


def _row(act: Act, level: Level, unreliable: bool) -> Row:
    before, under = level(["baseline"]), level(list(act.own.values()))
    change = under.beyond(before)
    row = {"kind": act.family["kind"], "alpha": act.family["alpha"], "unit": "points", "under": float(under.values[0])}
    row |= change.columns() | {"unreliable": unreliable, "draws": len(act.matched), "p": None}
    row |= before.named("baseline") | change.named("change")
    if act.matched:
        like = mean_over_parts([level([draw[t] for t in act.own]) for draw in act.matched])
        beyond = under.beyond(like)
        row |= beyond.named("excess") | {"matched": float(like.values[0]), "p": beyond.interval().p}
    return row


def _written(part: Part) -> list[Row]:
    """Word error rates: 100 times the wrong words of all items over the words that were said."""
    run = part.run
    if part.of not in run.transferred:
        return []
    who = run.items.select("item", who=pl.coalesce("speaker", pl.lit("recording ") + pl.col("clip")))
    counts = transcription(run).join(who, on="item")
    conditions = set(counts["condition"])
    if "baseline" not in conditions:
        return []
    about = {"corpus": part.of, "part": part.name, "ability": part.presentation, "measure": "WER"}
    rows = []
    asked = run.transferred[part.of].conditions.filter(pl.col("condition").is_in(list(conditions)))
    for act in headline_acts(asked).values():
        wanted = {"baseline", *(c for draw in act.draws(True) for c in draw.values())}
        of_act = counts.filter(pl.col("condition").is_in(list(wanted)))
        of_act = of_act.filter(pl.len().over("item") == len(wanted))  # items that were written down under all
        if len(of_act):
            rows.append(about | _row(act, _rates(of_act), unreliable=False))
    return rows


def _rates(counts: pl.DataFrame) -> Level:
    order = counts.select(pl.col("who").unique().sort())
    summed = counts.group_by("condition", "who").agg(pl.col("errors", "words").sum(), pl.len())
    each = {
        str(condition): order.join(group, on="who", how="left", maintain_order="left").fill_null(0)
        for (condition,), group in summed.group_by("condition")
    }
    words, sizes = (each["baseline"][name].to_numpy().astype(float) for name in ("words", "len"))

    def rate(conditions: list[str]) -> Estimate:
        wrong = [replicates(each[condition]["errors"].to_numpy().astype(float)) for condition in conditions]
        return Estimate(ratio(100 * np.mean(wrong, axis=0), replicates(words)), sizes)

    return rate


def draw_side_effects(study: StudyRuns) -> Chart | None:
    """What the headline's neurons cost other abilities, next to matched neurons; word errors apart."""
    found = study.table("side_effects").filter(kind="deactivate")
    charts: list[Chart] = []
    for errors, x in ((False, "change of UAR or accuracy (points)"), (True, "change of word errors (points)")):
        rows = [
            {"row": f"{row['corpus']}: {ability(row['ability'])}", "series": series}
            | marks_of(estimate_of(row, column) | {"unreliable": row["unreliable"]})
            for row in found.filter((pl.col("measure") == "WER") == errors).iter_rows(named=True)
            for column, series in (("change", "selected"), ("excess", "difference"))
            if row[column] is not None
        ]
        if rows:
            charts.append(dots(rows, names_of(rows), x, "corpus", width=330))
    heading = title(
        "What switching the headline’s neurons off costs other abilities",
        f"{INTERVALS} {BEYOND_KEY} Above: left of zero, answers get worse. Word errors, where asked: right of zero is worse.",
    )
    return beside(charts, heading, below=True)


def ability(name: str) -> str:
    """An ability in words; others than presentations are names of label columns.

    Example:
        >>> ability("text"), ability("word")
        ('questions without sound', 'question on “word”')
    """
    known = PRESENTED[name].ability if name in PRESENTED else ""
    return known or f"question on “{name}”"


def say_side_effects(study: StudyRuns) -> list[str]:
    """Which other abilities the headline's neurons cost more than matched neurons do."""
    outcomes = []
    others = pl.col("part") != pl.col("corpus")  # the rows of a main part are about the study's own question
    for row in study.table("side_effects").filter(others, kind="deactivate").iter_rows(named=True):
        finding = outcome(f"{row['corpus']}, {ability(row['ability'])}", row | estimate_of(row, "excess"))
        if row["measure"] == "WER":  # more errors are harm
            turned = {CLEAR_LOW: CLEAR_HIGH, CLEAR_HIGH: CLEAR_LOW}.get(finding.found, finding.found)
            finding = replace(finding, where=f"{finding.where}, word errors", found=turned)
        outcomes.append(finding)
    return tally(
        outcomes,
        "Switching the headline’s neurons off harms more than matched neurons do: {}.",
        "It harms less than matched neurons do: {}.",
        "No harm beyond matched neurons is clear of zero, which is no proof that there is none: {}.",
    )


def tabulate_side_effects(study: StudyRuns) -> pl.DataFrame | None:
    """Other abilities with nothing changed, under the headline's neurons and under matched ones."""
    return made(
        [
            {
                "corpus": row["corpus"],
                "what": f"{ability(row['ability'])} ({row['measure']})",
                "neurons": DONE.get(row["kind"], row["kind"]),
                "items": number(row["n"], 0),
                "chance (%)": number(row["chance"]),
                "nothing changed (%)": estimate_text(row, "baseline", sign=False),
                "selected (%)": number(row["under"]),
                "matched (%)": number(row["matched"]),
                "beyond matched": estimate_text(row, "excess"),
                "why": row["reason"] or "",
            }
            for row in study.table("side_effects").iter_rows(named=True)
        ]
    )


QUESTIONS = (
    Question(
        "side-effects",
        10,
        (
            Figure("side_effects", draw_side_effects, "no other ability was tested", pages="study"),
            Table(
                "side_effects",
                tabulate_side_effects,
                "Other abilities with nothing changed, under the headline’s neurons and under matched ones, and "
                "their difference (points). WER is the word error rate: a rise is harm.",
                pages="study",
            ),
        ),
        says=say_side_effects,
        tables={"transcription": lambda part: transcription(part.run)},
        study_tables={"side_effects": side_effects},
    ),
)
