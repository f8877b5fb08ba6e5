"""Do effects depend on the letter behind which the right option stands, or on what is said?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from emoscope.analysis.accuracy import level
from emoscope.analysis.effects import by_groups, headline_conditions
from emoscope.analysis.estimate import Estimate, mean_over_parts
from emoscope.analysis.load import Run
from emoscope.analysis.parts import Part, Row, StudyRuns
from emoscope.analysis.responses import Responses, asked_label, evaluated_items, level_of
from emoscope.questions import LETTERS as ALPHABET
from emoscope.report.page import Figure, Note, Question, Table
from emoscope.report.plots import BEYOND, INTERVALS, beside, dots, hollow_note, marks_of, names_of
from emoscope.report.theme import Chart, title
from emoscope.report.wording import by_key, made, made_of, outcome, tally, where
from emoscope.schemas import as_table, empty, schema
from emoscope.vocabulary import GAPS
from emoscope.wording import DONE, bracket, estimate_text, number

NONE = "none"
"""The control of measures of the untouched model."""


def letters(part: Part) -> pl.DataFrame:
    """The untouched model's answers and the headline's effects, by the letter behind which the right option stands.

    A neuron that writes a letter rather than an emotion has effects that depend on the letter. ``apart`` is a letter's
    value minus the mean of the other letters', subtracted speaker by speaker.

    Returns:
        the columns of table ``letters``; effects in points. Of the untouched model (kind ``baseline``) ``uar``
        (``accuracy`` of text questions, which have options of their own) is over the items whose right option has the
        letter, and ``answered`` the share of all items that are answered with the letter, both in %. Empty where fewer
        than two letters occur.
    """
    responses, which, unreliable = part.responses, level_of(part.run), "baseline" in part.unreliable
    places = letter_places(part.run, responses)
    if "baseline" not in responses.rows or not len(responses.items):
        return empty("letters")
    asked = responses.asked("baseline")
    right = places[np.arange(len(responses.items)), responses.truth]
    groups = {letter: asked & (right == letter) for letter in sorted(set(right[asked & (right >= 0)].tolist()))}
    if len(groups) < 2:
        return empty("letters")
    effects, found = by_groups(part, groups), {}
    for letter, used in groups.items():
        found[letter] = {
            ("baseline", NONE, which.lower()): level(responses, ["baseline"], used, which, unreliable=part.unreliable),
            ("baseline", NONE, "answered"): _answered(responses, places, letter, unreliable),
            **effects[letter],
        }
    rows = []
    for letter, values in found.items():
        others = [found[other] for other in groups if other != letter]
        for key, effect in values.items():
            row = dict(zip(("kind", "control", "measure"), key, strict=True)) | {"letter": ALPHABET[letter]}
            rest = [other[key] for other in others if key in other]
            if len(rest) == len(others):
                like = mean_over_parts(rest)
                # all letters are answers to the same items, but each stands before the right option of items of its own
                row |= (effect.beyond(like) if key[2] == "answered" else effect.minus(like)).named("apart")
            rows.append(row | effect.columns())
    return as_table("letters", rows)


def letter_places(run: Run, responses: Responses) -> np.ndarray:
    """At which place each item shows each label, 0 for the letter A; -1 where it does not; dimensions (item, label)."""
    places = np.full((len(responses.items), len(responses.labels)), -1)
    codes = {label: code for code, label in enumerate(responses.labels)}
    for item, options in enumerate(evaluated_items(run)["options"].to_list()):
        for place, option in enumerate(options or ()):
            places[item, codes[option]] = place
    return places


def _answered(responses: Responses, places: np.ndarray, letter: int, unreliable: bool) -> Estimate:
    """The share of all items whose answer stands behind a letter, in %."""
    used, answer = responses.asked("baseline"), responses.answer("baseline")
    chosen = used & (answer >= 0) & (places[np.arange(len(answer)), np.maximum(answer, 0)] == letter)
    items, hits = (responses.per_speaker(mask.astype(float)).sum(axis=1) for mask in (used, chosen))
    return Estimate.share(hits, items, unreliable)


def draw_factors(part: Part) -> Chart | None:
    """The headline's excess gaps for each letter of the right option and within each further label column."""
    groups = (
        (part.table("letters"), "right option at {letter}"),
        (part.table("within").filter(pl.col("value").is_null()), "within the same {column}"),
    )
    charts: list[Chart] = []
    drawn: list[Row] = []
    for kind, measure in GAPS.items():
        every = part.effect(kind, f"excess_{measure}")
        if every is None or every["estimate"] is None:
            continue
        rows = [{"row": "all clips", "series": "difference"} | marks_of(every)]
        for frame, words in groups:
            found = frame.filter(pl.col("estimate").is_not_null(), kind=kind, measure=f"excess_{measure}")
            rows += [{"row": words.format(**row), "series": "difference"} | marks_of(row) for row in found.to_dicts()]
        if len(rows) > 1:
            x = f"{measure.replace('_', ' ')}, {DONE[kind]}: {BEYOND} (points)"
            charts.append(dots(rows, names_of(rows), x, None if charts else "clips that count", width=330))
            drawn += rows
    heading = title(
        "Do the effects depend on the letter of the right option, or on what is said?",
        f"{INTERVALS} Fewer clips count in each row than in the first, so that lines are longer. Left of zero: hurts its "
        "own emotion more than the others; right of zero (second picture): draws its own clips more."
        f"{hollow_note(drawn)}",
    )
    return beside(charts, heading)


COLUMNS = {
    "UAR (%)": ("baseline", "none", "uar"),
    "accuracy (%)": ("baseline", "none", "accuracy"),
    "answered so (%)": ("baseline", "none", "answered"),
    "switched off: own emotion": ("deactivate", "target", "self"),
    "other emotions": ("deactivate", "target", "cross"),
    "excess gap": ("deactivate", "target", "excess_gap"),
    "apart from other letters": ("deactivate", "target", "excess_gap"),
    "amplified: excess pull gap": ("steer", "target", "excess_pull_gap"),
}
"""Heading -> kind, control and measure."""


def tabulate_letters(part: Part) -> pl.DataFrame | None:
    """The untouched model and the headline's effects by the letter of the right option."""
    by = by_key(part.table("letters"), "letter", "kind", "control", "measure")
    rows = []
    for letter in part.table("letters")["letter"].unique().sort():
        found = {heading: by.get((letter, *key)) for heading, key in COLUMNS.items()}
        clips = next(row["n"] for row in found.values() if row)
        row = {"right option at": letter, "clips": str(clips)}
        for heading, effect in found.items():
            name = "apart" if heading.startswith("apart") else "estimate"
            row[heading] = estimate_text(effect, name, sign=not heading.endswith("(%)"))
        rows.append(row)
    return made(rows)


def letters_note(part: Part) -> str | None:
    """Whether the excess gap depends on the letter, in a sentence; ``None`` where it was not measured."""
    if part.pilot is not None:  # it supports no claim
        return None
    found = part.table("letters").filter(pl.col("apart_low").is_not_null(), kind="deactivate", measure="excess_gap")
    if found.is_empty() or not part.speakers:
        return None
    clear = found.filter((pl.col("apart_low") > 0) | (pl.col("apart_high") < 0))
    if clear.is_empty():
        return f"Of {len(found)} letters, none has an excess gap that is clear of the mean of the others."
    texts = [
        f"at {row['letter']} it is {number(abs(row['apart']))} points {'weaker' if row['apart'] > 0 else 'stronger'} "
        f"{bracket(row['apart_low'], row['apart_high'])}"
        for row in clear.iter_rows(named=True)
    ]
    return (
        f"The excess gap depends on the letter of the right option: {'; '.join(texts)} than the mean of the other letters. "
        f"Not corrected for {len(found)} letters, of which {number(0.05 * len(found))} would be told apart by chance."
    )


NO_LABELS = (set(schema("items")) - {"emotion"}) | {"presentation"}
"""Columns of the items that are no labels of the corpus."""

MOST_VALUES = 100
"""A column of more values names clips rather than what they have in common."""


def within(part: Part) -> pl.DataFrame:
    """The headline's effects within each value of every other label column, and their mean over the values.

    Where each word is spoken in every emotion, effects within a word cannot come from the word.

    Returns:
        the columns of table ``within``, in points. A null ``value`` is the mean over the values, each counting alike;
        ``values`` says over how many, ``covered`` how many % of the items lie in them. Empty where the corpus has no
        such column.
    """
    rows: list[Row] = []
    for column, values in crossed_columns(part).items():
        found = by_groups(part, values, own_emotions=True)
        covered = 100 * float(np.any(list(values.values()), axis=0).mean())
        for key in dict.fromkeys(key for effects in found.values() for key in effects):
            parts = {value: effects[key] for value, effects in found.items() if key in effects}
            about = dict(zip(("kind", "control", "measure"), key, strict=True)) | {"column": column, "covered": covered}
            mean = mean_over_parts(list(parts.values()))
            rows.append(about | mean.columns() | {"value": None, "values": len(parts)})
            rows += [about | effect.columns() | {"value": value, "values": 1} for value, effect in parts.items()]
    return as_table("within", rows)


def crossed_columns(part: Part) -> dict[str, dict[str, np.ndarray]]:
    """The label columns of which at least two values each hold two or more of the emotions that have a set.

    Within a value an emotion counts where at least two speakers spoke it, since the jackknife leaves one out.

    Returns:
        column to value to its items of these emotions, dimension (item).
    """
    run, responses = part.run, part.responses
    items, asked = evaluated_items(run), asked_label(run)
    targets = set(headline_conditions(run.conditions)["target"].drop_nulls())
    codes = [code for code, label in enumerate(responses.labels) if label in targets]
    found: dict[str, dict[str, np.ndarray]] = {}
    for name, dtype in items.schema.items():
        if dtype != pl.String or name in {*NO_LABELS, asked} or items[name].n_unique() > MOST_VALUES + 1:
            continue
        column, values = items[name].to_numpy(), {}
        for value in items[name].drop_nulls().unique().sort().to_list():
            here = column == value
            voices = {code: responses.speaker[here & (responses.truth == code)] for code in codes}
            heard = [code for code, speakers in voices.items() if len(np.unique(speakers)) > 1]
            if len(heard) > 1:
                values[value] = here & np.isin(responses.truth, heard)
        if len(values) > 1:
            found[name] = values
    return found


def tabulate_within(study: StudyRuns) -> pl.DataFrame | None:
    """The headline's gaps within each further label column, next to those over all clips."""
    sides = (("", "target", ""), ("matched, ", "matched", ""), ("excess ", "target", "excess_"))
    columns = [
        (f"{DONE[kind]}: {which}{measure.replace('_', ' ')}", (kind, prefix + measure, control))
        for kind, measure in GAPS.items()
        for which, control, prefix in sides
    ]
    rows = []
    for part in study.mains:
        found = part.table("within").filter(pl.col("value").is_null())
        by = by_key(found, "kind", "measure", "control", "column")
        named = found.unique("column", keep="first", maintain_order=True).sort("column")
        for label in (None, *named.iter_rows(named=True)) if len(found) else ():
            row = {"corpus": part.name, "clips that count": "all", "values": ""}
            if label is not None:
                row |= {"clips that count": f"within the same {label['column']}", "values": str(label["values"])}
            row["share of clips (%)"] = number(label["covered"] if label else 100.0, 0)
            effects = {name: by.get((*key, label["column"])) if label else part.effect(*key) for name, key in columns}
            rows.append(row | {name: estimate_text(effect) for name, effect in effects.items()})
    return made_of(study, rows)


def say_within(study: StudyRuns) -> list[str]:
    """Whether effects hold among clips that share a word, or another label."""
    found = []
    for part in study.mains:
        every = part.effect("deactivate", "excess_gap")
        rows = part.table("within").filter(pl.col("value").is_null(), kind="deactivate", measure="excess_gap")
        for row in rows.filter(control="target").iter_rows(named=True):
            finding = outcome(where(study, part, f"within the same {row['column']}"), row, part)
            over = f" (over all clips {number(every['estimate'], sign=True)})" if every else ""
            found.append(replace(finding, text=finding.text + over))
    lead = "Among clips that share it, switching off"
    return tally(
        found,
        f"{lead} still hurts the own emotion more, beyond matched neurons, so that it does not come from it alone: {{}}.",
        f"{lead} hurts the own emotion less than matched neurons do: {{}}.",
        "Among clips that share it, whether switching off hurts the own emotion more is open: {}.",
    )


QUESTIONS = (
    Question(
        "factors",
        10,
        (
            Figure("factors", draw_factors, "nothing was switched off or amplified next to matched neurons"),
            Table(
                "letters",
                tabulate_letters,
                "By the letter behind which the right option stands, with 95 % intervals over speakers. Answered "
                "so: the share of all clips that the untouched model answers with the letter. Effects in points; "
                "excess: beyond matched neurons; apart: from the mean of the other letters. Exploration: not "
                "corrected for their number.",
            ),
            Note(letters_note),
        ),
        tables={"letters": letters},
    ),
    Question(
        "factors",
        20,
        (
            Table(
                "within",
                tabulate_within,
                "Gaps over the clips of one value of a label column at a time, then averaged over its values, in points "
                "with 95 % intervals over speakers. A gap within what is said alike does not come from what is said.",
                pages="both",
            ),
        ),
        says=say_within,
        says_on="both",
        tables={"within": within},
    ),
)
