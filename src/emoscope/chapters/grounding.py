"""Voice or words: the same question, and the activity of the sets, on the voice, on noise in its place and on the transcript."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from emoscope.analysis.accuracy import level
from emoscope.analysis.acts import Act, Asked, Key
from emoscope.analysis.estimate import Estimate, finite, ratio, replicates
from emoscope.analysis.load import in_known_order
from emoscope.analysis.parts import Part, Row, StudyRuns
from emoscope.analysis.responses import presentation
from emoscope.report.page import Figure, Question, Table
from emoscope.report.plots import BEYOND_KEY, INTERVALS, as_rows, beside, dots, marks_of, series_of, with_chance
from emoscope.report.theme import Chart, title
from emoscope.report.wording import HEARD, UNTESTED, Outcome, by_key, made, outcome_at, tally, value
from emoscope.schemas import as_table, read_table
from emoscope.vocabulary import GROUNDING
from emoscope.wording import estimate_text, number, spread

NO_INTERVAL = "no interval of UAR: whether the model hears anything cannot be said"
AT_CHANCE = "UAR is not clear of chance"
NOTHING_TO_REMOVE = f"nothing to remove: {AT_CHANCE}"


def grounding(study: StudyRuns) -> pl.DataFrame:
    """UAR and the effects of a corpus's own sets on the voice and on what stands in its place: table ``grounding``.

    It holds no corpus that was asked on the voice alone.
    """
    rows: list[Row] = []
    for main in study.mains:
        others = [(part, part.asked) for part in study.of_role(GROUNDING, main.name) if part.asked is not None]
        if main.asked is None or not others:
            continue
        rows += _rows(main, main.asked, main.asked.acts[None], None)
        for part, asked in others:
            rows += _rows(part, asked, asked.acts.get(main.name, {}), main.asked)
    return as_table("grounding", rows)


def _rows(part: Part, asked: Asked, acts: Mapping[Key, Act], voice: Asked | None) -> list[Row]:
    used = asked.responses.asked("baseline")
    chance, heard = asked.responses.chance, _uar(asked, used)
    note, nothing = None, None
    above = replace(heard, values=heard.values - chance).interval()
    if above.low is None:
        note = nothing = NO_INTERVAL
    elif above.low <= 0:
        note, nothing = AT_CHANCE, NOTHING_TO_REMOVE
    about = {"corpus": part.of, "presentation": presentation(asked.run), "part": part.name, "chance": chance}
    row = about | {"kind": "baseline", "measure": "uar", "unit": "%", "draws": 1, "note": note}
    row |= heard.columns() | {"p": above.p}
    if voice is not None:
        both = used & _same_clips(asked, voice), voice.responses.asked("baseline") & _same_clips(voice, asked)
        compared = all(mask.any() for mask in both)
        row |= _uar(asked, both[0]).minus(_uar(voice, both[1])).named("less") if compared else {}
    rows = [row]
    for (kind, alpha), act in acts.items():
        same = None if voice is None else voice.acts[None].get((kind, alpha))
        for excess in act.excesses:
            effects, _ = asked.measured([act], excess)
            less: dict[str, Estimate] = {}
            if voice is not None and same is not None and excess in same.excesses:
                before, _ = voice.measured([same], excess, _same_clips(voice, asked))
                there, _ = asked.measured([act], excess, _same_clips(asked, voice))
                less = {name: there[0][name].minus(was) for name, was in before[0].items()} if before and there else {}
            for measure, effect in effects[0].items() if effects else ():
                row = about | {"kind": kind, "alpha": alpha} | act.about(measure, excess) | effect.columns()
                row["note"] = nothing if kind == "deactivate" else None
                rows.append(row | (less[measure].named("less") if less else {}))
    return rows


def _uar(asked: Asked, used: np.ndarray) -> Estimate:
    return level(asked.responses, ["baseline"], used, unreliable=asked.unreliable)


def _same_clips(asked: Asked, other: Asked) -> np.ndarray:
    """Which of the items are about a clip that another part was asked about, dimension (item)."""
    clips = dict(asked.run.items.select("item", "clip").iter_rows())
    there = other.responses.items[other.responses.asked("baseline")].tolist()
    known = set(other.run.items.filter(pl.col("item").is_in(there))["clip"])
    return np.array([clips[item] in known for item in asked.responses.items.tolist()], dtype=bool)


def draw_grounding(study: StudyRuns) -> Chart | None:
    """UAR and gap on the voice, on the transcript in its place, and on noise, a row a corpus and presentation."""
    shown = study.table("grounding").filter(pl.col("estimate").is_not_null())
    rows = [row_of(*pair) for pair in heard_in_order(study, study.table("grounding"))]
    charts: list[Chart] = []
    if len(levels := shown.filter(kind="baseline", measure="uar")):
        x = "UAR, nothing changed (%)"
        marks = as_rows(_marks(levels))
        chart = dots(marks, rows, x, "corpus", most=2, domain=(0, 100), width=280, rule=None)
        charts.append(with_chance(chart, marks.with_columns(levels["chance"]), rows, x))
    effects = shown.filter(pl.col("measure").is_in(["gap", "excess_gap"]), kind="deactivate")
    if len(effects):
        x = "gap, neurons switched off (points)"
        charts.append(dots(_marks(effects), rows, x, "corpus", not charts, most=2, width=280))
    heading = title(
        "The same question on the voice, on the transcript in its place, and on noise",
        f"{INTERVALS} First: the untouched model; grey ticks: guessing. Where UAR is at chance, there is nothing to "
        f"remove. Second: {BEYOND_KEY[0].lower()}{BEYOND_KEY[1:]} Further left: hurts its own emotion more.",
    )
    return beside(charts, heading)


def row_of(corpus: str, presentation: str) -> str:
    """The name of the row of a corpus and of what was heard."""
    return f"{corpus}: {HEARD.get(presentation, presentation)}"


def _marks(found: pl.DataFrame) -> list[Row]:
    """Rows of a table of corpora and presentations as marks of dots."""
    return [
        {"row": row_of(row["corpus"], row["presentation"]), "series": series_of("target", row["measure"])}
        | marks_of(row)
        for row in found.iter_rows(named=True)
    ]


def heard_in_order(study: StudyRuns, found: pl.DataFrame) -> list[tuple[str, str]]:
    """Corpora and presentations of a table, corpora in the order of the study, presentations in that of :data:`HEARD`."""
    order = [*HEARD, *sorted(set(found["presentation"]) - set(HEARD))]
    there = set(found.select("corpus", "presentation").iter_rows())
    return [(name, heard) for name in study.in_order(found["corpus"]) for heard in order if (name, heard) in there]


def say_grounding(study: StudyRuns) -> list[str]:
    """Whether the effect needs the voice: the same sets on the transcript and on noise."""
    outcomes = []
    for row in study.table("grounding").filter(kind="deactivate", measure="excess_gap").iter_rows(named=True):
        where, note = row_of(row["corpus"], row["presentation"]).replace(": ", ", "), row["note"]
        outcomes.append(Outcome(where, UNTESTED, "", note) if note else outcome_at(study, where, row, row["corpus"]))
    return tally(
        outcomes,
        "Switched off, the neurons found on the voice hurt their own emotion more, beyond matched neurons, where this is "
        "heard: {}.",
        "They hurt it less than matched neurons where this is heard: {}.",
        "Whether they hurt it more than matched neurons is open where this is heard: {}.",
    )


def tabulate_grounding(study: StudyRuns) -> pl.DataFrame | None:
    """The same question on the voice, on the transcript and on noise."""
    found = study.table("grounding")
    rows = []
    for corpus, heard in heard_in_order(study, found):
        by = by_key(found.filter(corpus=corpus, presentation=heard), "kind", "measure")
        uar, beyond = by.get(("baseline", "uar")), by.get(("deactivate", "excess_gap"))
        rows.append(
            {
                "corpus": corpus,
                "what is heard": HEARD.get(heard, heard),
                "UAR (%)": spread(uar, sign=False),
                "chance (%)": number(value(uar, "chance")),
                "off: excess gap": spread(beyond),
                "minus the voice’s": estimate_text(beyond, "less"),
                "amplified: excess pull": spread(by.get(("steer", "excess_pull_overall"))),
                "note": (uar and uar["note"]) or "",
            }
        )
    return made(rows)


UNKNOWN = "speakers are unknown"


def selectivity(study: StudyRuns) -> pl.DataFrame:
    """Activity of each emotion's set on clips of that emotion minus on those of the others, per presentation.

    Means are over items within an emotion of the clips; the others are averaged over their emotions. Table
    ``selectivity``, with jackknife intervals over speakers.
    """
    rows: list[Row] = []
    for main in study.mains:
        stored = read_table(main.run.folder, "set_activity")
        for (presented, scope), group in stored.group_by("presentation", "scope", maintain_order=True):
            about = {"corpus": main.name, "presentation": presented, "scope": scope}
            for measure, scale, name in (("firing", 100.0, "points"), ("mean_activation", 1.0, "activation")):
                found = _of_emotions(group.with_columns(pl.col(measure) * scale), measure)
                rows += [about | {"measure": measure, "unit": name} | row for row in found]
    return as_table("selectivity", rows)


def _of_emotions(stored: pl.DataFrame, measure: str) -> list[Row]:
    emotions = in_known_order(stored["emotion"])
    sets, sizes = _cells(stored, measure, emotions, "target")
    controls, _ = _cells(stored, measure, emotions, "matched")
    rows = []
    for emotion in (None, *emotions):
        places = [place for place, name in enumerate(emotions) if emotion in (None, name)]
        own, others = (cells[:, places].mean(axis=1) for cells in sets)
        matched = (controls[0] - controls[1])[:, places].mean(axis=1)
        row = {"emotion": emotion, "own": finite(own[0]), "others": finite(others[0]), "matched": finite(matched[0])}
        row |= Estimate(own - others, sizes).columns() | {"items": int(sizes.sum())}
        row |= Estimate(own - others - matched, sizes).named("excess")
        if stored["speaker"].null_count():
            row |= dict.fromkeys(("low", "high", "excess_low", "excess_high")) | {"reason": UNKNOWN}
        rows.append(row)
    return rows


def _cells(
    stored: pl.DataFrame, measure: str, emotions: tuple[str, ...], control: str
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Activity on clips of the set's own emotion and on the others', (1 + speaker, emotion), and items per speaker."""
    truths = in_known_order([*stored["truth"], *emotions])
    speakers = sorted(set(stored["speaker"].fill_null("")))
    sums = np.zeros((len(speakers), len(emotions), len(truths)))
    items = np.zeros_like(sums)
    of_control = stored.filter(pl.col("control").fill_null("target") == control)
    for row in of_control.select("speaker", "emotion", "truth", "items", measure).iter_rows(named=True):
        place = speakers.index(row["speaker"] or ""), emotions.index(row["emotion"]), truths.index(row["truth"])
        sums[place] += row[measure] * row["items"]
        items[place] += row["items"]
    cells = ratio(replicates(sums), replicates(items))
    heard = [truth for truth in range(len(truths)) if items[:, :, truth].any()]
    if not heard:  # a study without such controls
        nothing = np.full(cells.shape[:2], np.nan)
        return (nothing, nothing), items[:, 0].sum(axis=1)
    places = [truths.index(emotion) for emotion in emotions]
    own = np.stack([cells[:, e, place] for e, place in enumerate(places)], axis=1)
    rest = [[truth for truth in heard if truth != place] for place in places]
    others = np.stack([cells[:, e, list(foreign)].mean(axis=1) for e, foreign in enumerate(rest)], axis=1)
    return (own, others), items[:, 0].sum(axis=1)


def draw_selectivity(study: StudyRuns) -> Chart | None:
    """Activity of the headline's neurons on clips of their emotion minus that on the others, by what is heard."""
    found = study.table("selectivity").filter(pl.col("emotion").is_null() & pl.col("estimate").is_not_null())
    rows = [row_of(*pair) for pair in heard_in_order(study, found)]
    charts: list[Chart] = []
    for measure, x in (
        ("firing", "own minus other clips: firing (points)"),
        ("mean_activation", "own minus other clips: activation"),
    ):
        if marks := _marks(found.filter(measure=measure)):
            charts.append(dots(marks, rows, x, "corpus", not charts, width=280))
    heading = title(
        "Do the neurons still tell their emotion apart without the voice?",
        f"{INTERVALS} Activity of an emotion’s neurons on clips of that emotion minus that on the others, mean over "
        "emotions; zero: they do not.",
    )
    return beside(charts, heading)


QUESTIONS = (
    Question(
        "grounding",
        10,
        (
            Figure("grounding", draw_grounding, "nothing was heard in place of the voice", pages="study"),
            Table(
                "grounding",
                tabulate_grounding,
                "The same question on the voice, on the transcript in its place, and on noise of equal length and"
                " loudness (points).",
                pages="study",
            ),
        ),
        says=say_grounding,
        study_tables={"grounding": grounding},
    ),
    Question(
        "grounding",
        20,
        (
            Figure(
                "selectivity", draw_selectivity, "the sets’ activity without the voice was not recorded", pages="study"
            ),
        ),
        study_tables={"selectivity": selectivity},
    ),
)
